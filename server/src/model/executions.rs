//! Executions: what became of one invocation of a function.

use super::{ContentHash, ExecutionId, FunctionId, Issue, KeyId, SecretName, Timestamp, Version};
use minicbor::{Decode, Encode};
use neo_secrets_attestation::ed25519::Signature;
use std::fmt;

/// Bytes of a result, at most: what a worker gives, and an answer holds.
pub const RESULT_BYTES_MAX: usize = 1_048_576;
/// Lines of a log that are kept, at most: what a reader still scrolls through.
pub const LOG_LINES_MAX: usize = 1_000;
/// Bytes of a log that are kept, at most: with the largest result a record stays below 1.5 MiB.
pub const LOG_BYTES_MAX: usize = 262_144;
/// Bytes of an error's name that are kept, at most: genuine ones have under 40.
pub const ERROR_NAME_BYTES_MAX: usize = 128;
/// Bytes of an error's message, and of its stack, that are kept, at most: ten frames, each with a
/// function's name.
pub const ERROR_TEXT_BYTES_MAX: usize = 8_192;
/// Reads that a receipt tells of, at most: as many as an invocation may make.
pub const READS_MAX: usize = 1_000;

/// One execution.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Execution {
    /// The id.
    pub id: ExecutionId,
    /// The function.
    pub function: FunctionId,
    /// Of the code that ran.
    pub code_sha256: ContentHash,
    /// The key that invoked it.
    pub invoked_by: KeyId,
    /// When it began.
    pub started_at: Timestamp,
    /// What became of it.
    pub state: ExecutionState,
}

/// What became of an execution.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ExecutionState {
    /// It has not ended.
    Running,
    /// The server stopped before it ended.
    Lost,
    /// It has ended.
    Ended(Box<ExecutionEnd>),
}

/// How an execution ended.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct ExecutionEnd {
    /// When.
    #[n(0)]
    pub completed_at: Timestamp,
    /// How long it took, in milliseconds.
    #[n(1)]
    pub duration_ms: u64,
    /// How.
    #[n(2)]
    pub outcome: ExecutionOutcome,
    /// What the code logged.
    #[n(3)]
    pub logs: Logs,
}

/// What an execution came to.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub enum ExecutionOutcome {
    /// It gave a result.
    #[n(1)]
    Completed {
        /// The result.
        #[n(0)]
        result: JsonText,
        /// What the instance says of it.
        #[n(1)]
        receipt: ExecutionReceipt,
    },
    /// It threw, or its worker failed.
    #[n(2)]
    Failed(#[n(0)] ExecutionFault),
    /// It took too long.
    #[n(3)]
    TimedOut,
    /// It took too much memory.
    #[n(4)]
    MemoryExceeded,
}

/// What code threw, of which the beginnings are kept.
#[derive(Clone, PartialEq, Eq)]
pub struct ExecutionFault {
    name: String,
    message: String,
    stack: String,
}

/// What the instance has signed of an execution, beside what its record says anyway.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct ExecutionReceipt {
    /// Of the parameters as they were sent.
    #[n(0)]
    pub params_sha256: ContentHash,
    /// Of the result as it was answered.
    #[n(1)]
    pub result_sha256: ContentHash,
    /// What the code was given.
    #[n(2)]
    pub secrets_read: SecretReads,
    /// By the receipt key.
    #[n(3)]
    pub signature: ReceiptSignature,
}

/// A secret that code was given, in one version.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode)]
#[cbor(map)]
pub struct SecretRead {
    /// Its name.
    #[n(0)]
    pub name: SecretName,
    /// The version.
    #[n(1)]
    pub version: Version,
}

/// What a receipt says that code was given: at most 1,000 reads, in their order, none twice.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SecretReads(Vec<SecretRead>);

/// A signature by the receipt key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReceiptSignature(pub Signature);

/// JSON as it was written, up to 1 MiB.
#[derive(Clone, PartialEq, Eq)]
pub struct JsonText(String);

/// What code logged, of which the beginning is kept: up to 1,000 lines and 256 KiB.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Logs(Vec<LogLine>);

/// One line of a log.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LogLine {
    /// Its level.
    #[n(0)]
    pub level: LogLevel,
    /// When it was written.
    #[n(1)]
    pub time: Timestamp,
    /// Its text.
    #[n(2)]
    pub message: String,
}

/// The level of a log line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub enum LogLevel {
    /// `debug`
    #[n(1)]
    Debug,
    /// `info`
    #[n(2)]
    Info,
    /// `warn`
    #[n(3)]
    Warn,
    /// `error`
    #[n(4)]
    Error,
}

/// What a list says of an execution: none of its result and its log, of which a page could have
/// 100 MiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExecutionSummary {
    /// The id.
    pub id: ExecutionId,
    /// The state's name on the wire.
    pub status: &'static str,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended, and how long it took in milliseconds, where it has ended.
    pub ended: Option<(Timestamp, u64)>,
}

/// One page of executions, newest first, from one snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExecutionPage {
    /// The page's executions.
    pub items: Vec<ExecutionSummary>,
    /// How many are kept in all.
    pub total: u64,
}

impl Execution {
    /// What a list says of it.
    #[must_use]
    pub fn summary(&self) -> ExecutionSummary {
        let ended = match &self.state {
            ExecutionState::Running | ExecutionState::Lost => None,
            ExecutionState::Ended(end) => Some((end.completed_at, end.duration_ms)),
        };
        let Self { id, started_at, .. } = *self;
        ExecutionSummary { id, status: self.state.as_str(), started_at, ended }
    }
}

impl ExecutionState {
    /// Every name on the wire.
    pub const NAMES: [&str; 6] =
        ["running", "completed", "failed", "timeout", "memory-exceeded", "lost"];

    /// The name on the wire.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Lost => "lost",
            Self::Ended(end) => match end.outcome {
                ExecutionOutcome::Completed { .. } => "completed",
                ExecutionOutcome::Failed(_) => "failed",
                ExecutionOutcome::TimedOut => "timeout",
                ExecutionOutcome::MemoryExceeded => "memory-exceeded",
            },
        }
    }
}

impl ExecutionFault {
    /// Keeps the beginnings: of the name 128 bytes, of the others 8 KiB each.
    #[must_use]
    pub fn new(mut name: String, mut message: String, mut stack: String) -> Self {
        truncate(&mut name, ERROR_NAME_BYTES_MAX);
        truncate(&mut message, ERROR_TEXT_BYTES_MAX);
        truncate(&mut stack, ERROR_TEXT_BYTES_MAX);
        Self { name, message, stack }
    }

    /// The error's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its message.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Its stack; may be empty.
    #[must_use]
    pub fn stack(&self) -> &str {
        &self.stack
    }
}

/// Cuts a text between two of its characters.
fn truncate(text: &mut String, bytes: usize) {
    text.truncate(text.floor_char_boundary(bytes));
}

impl SecretReads {
    /// Of these reads.
    ///
    /// # Errors
    /// Where there are too many.
    pub fn new(reads: std::collections::BTreeSet<SecretRead>) -> Result<Self, Issue> {
        Self::in_order(reads.into_iter().collect())
    }

    /// Of reads that are in their order.
    pub(crate) fn in_order(reads: Vec<SecretRead>) -> Result<Self, Issue> {
        let in_order = reads.is_sorted_by(|one, next| one < next);
        match in_order && reads.len() <= READS_MAX {
            true => Ok(Self(reads)),
            false => Issue::err("must be at most 1000 reads, by name and version"),
        }
    }

    /// The reads, by name and version.
    #[must_use]
    pub fn as_slice(&self) -> &[SecretRead] {
        &self.0
    }
}

impl JsonText {
    /// Takes over a text that is one JSON value.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn parse(text: String) -> Result<Self, Issue> {
        let is_json = || serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        match text.len() <= RESULT_BYTES_MAX && is_json() {
            true => Ok(Self(text)),
            false => Issue::err("must be JSON of at most 1048576 bytes"),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Logs {
    /// Keeps the lines from the first on, as long as there are under 1,000 and the next one fits
    /// whole.
    #[must_use]
    pub fn kept(lines: Vec<LogLine>) -> Self {
        let mut room = LOG_BYTES_MAX;
        let fits = |line: &LogLine| {
            let left = room.checked_sub(line.message.len());
            room = left.unwrap_or_default();
            left.is_some()
        };
        Self(lines.into_iter().take(LOG_LINES_MAX).take_while(fits).collect())
    }

    /// The lines.
    #[must_use]
    pub fn lines(&self) -> &[LogLine] {
        &self.0
    }
}

impl LogLevel {
    /// All.
    pub const ALL: [Self; 4] = [Self::Debug, Self::Info, Self::Warn, Self::Error];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Shows nothing of what code said: it may be a value that the code has read.
macro_rules! shows_nothing {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )*};
}
shows_nothing!(ExecutionFault, JsonText, LogLine);
