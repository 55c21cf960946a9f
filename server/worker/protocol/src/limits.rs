//! Every bound of the protocol, with its reason.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::bytes::Field;

const MIB: usize = 1_048_576;

// Whole messages.

/// A message to the worker: the largest is an answer to a fetch, with a body of 5 MiB.
pub const TO_WORKER_BYTES: usize = 6 * MIB;
/// A message to the server while code runs: the largest is a fetch, with a body of 5 MiB.
pub const TO_SERVER_BYTES: usize = 6 * MIB;
/// A message to the server while no code runs: the largest is a compile error.
pub const TO_SERVER_IDLE_BYTES: usize = 16_384;

// The server's patience with a worker.

/// From the start of the process to [`crate::ToServer::Ready`]: twenty milliseconds on a machine
/// that has nothing else to do.
pub const READY_TIMEOUT: Duration = Duration::from_secs(5);
/// From code to the judgement of its syntax: 256 KiB take a tenth of a second.
pub const LOAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Beyond an invocation's own time, in which a worker still may say how it ended. Then it is killed:
/// some built-in functions run long between two looks at the clock.
pub const GRACE: Duration = Duration::from_millis(250);
/// What a worker's invocations may take together before another replaces it: with the longest one
/// it stays below the sandbox's limit of processor time.
pub const LIFE: Duration = Duration::from_secs(300);

// The launcher.

/// Workers of one launcher: 10,000 at work, 10,000 and 1,000 that wait, which is the most that a
/// configuration asks for, and those that are being ended.
pub const WORKERS: usize = 24_576;
/// A worker's priority: beside code that never rests, the server still answers at once.
pub const WORKER_NICE: i32 = 10;

// A function and its invocation.

/// The code, per the API contract.
pub const CODE: Field = Field::new("code", 262_144);
/// The parameters: what a request's body may hold.
pub const PARAMS: Field = Field::new("params", MIB);
/// Pairs of the environment: members of one object of a request.
pub const ENVIRONMENT: Field = Field::new("environment", 100);
/// Name in the environment; names in use elsewhere have under 64.
pub const ENVIRONMENT_NAME: Field = Field::new("environment name", 256);
/// Value in the environment: what one certificate chain in PEM needs.
pub const ENVIRONMENT_VALUE: Field = Field::new("environment value", 32_768);
/// Secrets that a function declares: members of one list of a request.
pub const SECRETS: Field = Field::new("secrets", 100);
/// A secret's name, per the API contract.
pub const SECRET_NAME: Field = Field::new("secret name", 100);
/// A secret's value, per the API contract.
pub const SECRET_VALUE: Field = Field::new("secret value", 65_536);
/// What begins the placeholders of an invocation: 16 random bytes in hex or base64 need under 33.
pub const REFERENCE: Field = Field::new("reference", 64);
/// The execution's id: the API's have under 32.
pub const EXECUTION_ID: Field = Field::new("execution id", 64);
/// The execution's start: RFC 3339 with nanoseconds has under 36.
pub const STARTED_AT: Field = Field::new("start", 36);
/// How long an invocation may run, per the API contract.
pub const TIMEOUT_MS: RangeInclusive<u32> = 1..=300_000;
/// Memory of an invocation, per the API contract; the engine and its objects take under 1 MiB.
pub const MEMORY_MIB: RangeInclusive<u32> = 8..=512;

// What code says.

/// Log lines of an invocation, at most: what a reader still scrolls through.
pub const LOG_LINES: RangeInclusive<u32> = 1..=10_000;
/// Log text of an invocation, at most: what an execution record holds.
pub const LOG_BYTES: RangeInclusive<u32> = 1..=1_048_576;
/// One log line.
pub const LOG_LINE: Field = Field::new("log line", 16_384);
/// The line that says that the rest of the log is left out.
pub const LOG_REST_BYTES: usize = 128;
/// The result: what a request's body may hold.
pub const RESULT: Field = Field::new("result", MIB);
/// An error's name: genuine ones have under 40.
pub const ERROR_NAME: Field = Field::new("error name", 128);
/// An error's message.
pub const ERROR_MESSAGE: Field = Field::new("error message", 8_192);
/// An error's stack: ten frames, each with a function's name.
pub const ERROR_STACK: Field = Field::new("error stack", 8_192);

// What code asks for.

/// Requests (secret reads and fetches) that wait for an answer at a time: more would only queue.
pub const REQUESTS_PENDING: usize = 64;
/// Requests of an invocation: an endless loop of reads ends here, not in the audit log.
pub const REQUESTS: u32 = 1_000;
/// A URL: what web servers accept.
pub const URL: Field = Field::new("url", 8_192);
/// A method: `VERSION-CONTROL`, the longest registered ones, have 15 to 17.
pub const METHOD: Field = Field::new("method", 32);
/// Headers of a request or a response: web servers send and accept about as many.
pub const HEADERS: Field = Field::new("headers", 100);
/// A header's name.
pub const HEADER_NAME: Field = Field::new("header name", 256);
/// A header's value: what web servers accept.
pub const HEADER_VALUE: Field = Field::new("header value", 8_192);
/// A request's or response's body, per the API contract.
pub const BODY: Field = Field::new("body", 5 * MIB);
/// A response's status: informational ones never reach the code.
pub const STATUS: RangeInclusive<u16> = 200..=599;
/// A response's reason phrase.
pub const STATUS_TEXT: Field = Field::new("status text", 128);
/// Why the server did not do what was asked.
pub const FAILURE: Field = Field::new("failure", 512);
