//! Every bound of the client, each with its reason.

use std::time::Duration;

/// Opening the TCP connection, all addresses of the host together: a machine that answers does so
/// in one round trip, and a person waits at most this long for one that does not.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The TLS handshake: two round trips and a few milliseconds of signatures.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The evidence exchange: a secure processor gives a few reports a second, and the one that answers
/// this nonce starts when the running one ends; the host may throttle it further.
pub const EVIDENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// One request with its answer: a durable write takes milliseconds, a claim asks the secure
/// processor.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// An answer of the API: a full page of 100 secrets with 500 characters of description and 20 tags
/// each stays under 2 MiB, a function's result and its logs have 1 MiB each; the rest is room for
/// escapes.
pub const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A call that runs a function, which may take 300 s, and may wait for its turn before.
pub const INVOKE_TIMEOUT: Duration = Duration::from_secs(345);

/// A function's code, as the API limits it.
pub const CODE_BYTES_MAX: usize = 256 * 1024;

/// A function's parameters or result, as the API limits them; files with a newline behind.
pub const JSON_BYTES_MAX: usize = 1024 * 1024 + 2;

/// A receipt, as SPEC.md limits it.
pub const RECEIPT_BYTES_MAX: usize = neo_secrets_attestation::limits::RECEIPT_BYTES_MAX;

/// Between two looks at an execution that runs.
pub const EXECUTION_POLL: Duration = Duration::from_millis(500);

/// hyper's read buffer, which holds an answer's whole head: our server's heads are under 2 KiB.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// hyper's read and write buffers of a connection: a few TLS records each way. A body's length does
/// not matter to them.
pub const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// A secret's value, as the API limits it (64 KiB of UTF-8).
pub const VALUE_BYTES_MAX: usize = 64 * 1024;

/// A key file: one key and a newline.
pub const KEY_FILE_BYTES_MAX: usize = 1024;

/// A PEM file with one private key.
pub const OWNER_FILE_BYTES_MAX: usize = 16 * 1024;

/// A profile: reference values, policy, a root certificate, and the escapes of JSON.
pub const PROFILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A reference or policy file, a certificate bundle, a CRL: the largest real one is below 64 KiB.
pub const INPUT_FILE_BYTES_MAX: usize = 1024 * 1024;

/// A reference.json.sig: the base64 of one signature and a newline, 89 bytes.
pub const SIGNATURE_FILE_BYTES_MAX: usize = 256;

/// Secrets or keys on one page: the API's own maximum.
pub const PAGE_ITEMS_MAX: usize = 100;

/// Walks over all pages in search of a name while others delete: a deletion moves items to pages
/// that were already read, so a walk that saw the total change is repeated.
pub const WALKS_MAX: usize = 3;

// Imports and `run`.

/// Verified connections at a time, where there is much to do: the server puts the writes that wait
/// into one commit, so that 1,000 secrets take 4 s on 8 connections, 2.3 s on 16 and 1.2 s on 32,
/// whose handshakes take 0.1 s together.
pub const CONNECTIONS_MAX: usize = 32;

/// Calls for which a further connection is opened: it costs a handshake and a wait for a report.
pub const CALLS_PER_CONNECTION_MIN: usize = 16;

/// Secrets in one command's environment, of which the kernel takes about 2 MiB.
pub const VARIABLES_MAX: usize = 2_000;

/// A file to import: 1,000 secrets of usual length have some 100 KiB, and each byte is held in
/// memory twice.
pub const IMPORT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Secrets of one import.
pub const IMPORT_ITEMS_MAX: usize = 100_000;

/// How often a call of an import waits and is repeated because the server is busy.
pub const BUSY_RETRIES_MAX: usize = 10;

// The proxy.

/// Connections to the instance: it carries out a few requests at a time for each of its cores, and
/// each connection costs it a share of a report.
pub const PROXY_UPSTREAMS_MAX: usize = 64;

/// Connections of callers: with the instance's they stay below the 1024 open files that a process
/// may have unless told otherwise. Further callers wait in the listener's queue.
pub const PROXY_CALLERS_MAX: usize = 512;

/// Requests that wait for a connection to the instance: four for each that there may be.
pub const PROXY_WAITING_MAX: usize = 256;

/// How long a request waits for a connection: opening and verifying one takes at most 50 s, mostly
/// far below one, and nobody gains from a longer queue.
pub const PROXY_WAIT_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection to the instance that nobody used for so long is closed; the server closes it after
/// 75 s, and a request that meets that is lost.
pub const PROXY_IDLE_MAX: Duration = Duration::from_secs(50);

/// How often idle connections are looked at; with [`PROXY_IDLE_MAX`] well below the server's 75 s.
pub const PROXY_SWEEP: Duration = Duration::from_secs(10);

/// After this a busy connection is verified anew, that is, replaced: a policy that has ended or a
/// chip that was revoked is noticed within this time.
pub const PROXY_CONNECTION_AGE_MAX: Duration = Duration::from_secs(3_600);

/// The rest of a request whose answer came early: the server reads and drops it for 5 s.
pub const PROXY_SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// The TLS handshake with a caller.
pub const PROXY_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// From a caller's last answer, or its connecting, to the end of its next request's head: clients
/// keep connections for about this long, and a slow head holds no more than an idle connection does.
pub const PROXY_HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// A request's head, as the server limits it and curl does not exceed it.
pub const PROXY_HEAD_BYTES_MAX: usize = 16 * 1024;

/// Between two parts of a body, either way, and for a caller to take any byte of an answer.
pub const PROXY_STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// From a request's start to its answer's head: the longest call of the API, a function's, may run
/// 300 s; its body may take 30 s to come.
pub const PROXY_ANSWER_TIMEOUT: Duration = Duration::from_secs(345);

/// How often a request is taken to a connection that turns out to be closed before a byte left.
pub const PROXY_ATTEMPTS: usize = 3;

/// How long requests in flight may take to end once the proxy was told to stop.
pub const PROXY_DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// A caller's own `X-Request-ID`, as the API limits it.
pub const REQUEST_ID_BYTES_MAX: usize = 128;
