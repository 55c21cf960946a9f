//! What the server tells a worker.

use zeroize::Zeroizing;

use crate::bytes::{DecodeError, Field, Reader, TooLong, Writer};
use crate::frame::Frame;
use crate::limits;

/// A message to the worker. Without Debug: it may carry a secret.
pub enum ToWorker {
    /// The code that this worker will serve, once in its life.
    Load {
        /// JavaScript, with no NUL.
        code: String,
    },
    /// Run the code.
    Invoke(Box<Invoke>),
    /// What a [`crate::ToServer::ReadSecret`] asked for.
    Secret {
        /// Which request.
        request: u64,
        /// The answer.
        answer: SecretAnswer,
    },
    /// What a [`crate::ToServer::Fetch`] asked for.
    Fetched {
        /// Which request.
        request: u64,
        /// The response, or why there is none.
        answer: Result<FetchResponse, Failure>,
    },
}

/// One invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoke {
    /// `context.params`, JSON.
    pub params: String,
    /// `context.environment`.
    pub environment: Vec<Pair>,
    /// The names that the function has declared: for good errors only, the server decides.
    pub secrets: Vec<String>,
    /// What begins the placeholders that `context.secrets.ref` gives; random, of this invocation.
    pub reference: String,
    /// `context.execution`.
    pub execution: Execution,
    /// How long it may run.
    pub timeout_ms: u32,
    /// How much memory the engine may take.
    pub memory_mib: u32,
    /// How much it may log.
    pub log: LogBounds,
}

/// A name and its value in the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

/// What code learns about its execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// An opaque text.
    pub id: String,
    /// RFC 3339.
    pub started_at: String,
}

/// How much an invocation may log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBounds {
    /// Lines, beside the one that says that the rest is left out.
    pub lines: u32,
    /// Bytes of all lines.
    pub bytes: u32,
}

/// What became of a secret read.
pub enum SecretAnswer {
    /// The live version's value.
    Value(SecretText),
    /// The function has not declared this name, or may not read it.
    Denied,
    /// There is no such secret, or it has expired.
    NotFound,
    /// The server could not read it.
    Failed(Failure),
}

/// A secret's value, wiped when dropped.
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes the text over; nothing is copied.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Why the server did not do what was asked: a message for the function's author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(pub String);

/// What came back from a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchResponse {
    /// 200 to 599.
    pub status: u16,
    /// The reason phrase; may be empty.
    pub status_text: String,
    /// Where the response came from, after redirects.
    pub url: String,
    /// Whether there was a redirect.
    pub redirected: bool,
    /// Headers in their order.
    pub headers: Vec<Header>,
    /// The body.
    pub body: Vec<u8>,
}

/// A header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value: bytes, as HTTP has them.
    pub value: Vec<u8>,
}

const LOAD: u8 = 1;
const INVOKE: u8 = 2;
const SECRET: u8 = 3;
const FETCHED: u8 = 4;

const VALUE: u8 = 0;
const DENIED: u8 = 1;
const NOT_FOUND: u8 = 2;
const FAILED: u8 = 3;

/// More than the fixed fields of any message take.
const FIXED_BYTES: usize = 256;

impl ToWorker {
    /// The message as bytes.
    ///
    /// # Errors
    /// [`TooLong`] where a field is over its bound.
    pub fn encode(&self) -> Result<Frame, TooLong> {
        let bytes = match self {
            Self::Load { code } => code.len(),
            Self::Invoke(invoke) => invoke.params.len(),
            Self::Secret { answer: SecretAnswer::Value(value), .. } => value.expose().len(),
            Self::Secret { .. } | Self::Fetched { answer: Err(_), .. } => 0,
            Self::Fetched { answer: Ok(response), .. } => response.body.len(),
        };
        Frame::filled(bytes.saturating_add(FIXED_BYTES), |out| self.write(out))
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        match self {
            Self::Load { code } => {
                out.u8(LOAD);
                out.text(limits::CODE, code)
            }
            Self::Invoke(invoke) => {
                out.u8(INVOKE);
                invoke.write(out)
            }
            Self::Secret { request, answer } => {
                out.u8(SECRET);
                out.u64(*request);
                answer.write(out)
            }
            Self::Fetched { request, answer } => {
                out.u8(FETCHED);
                out.u64(*request);
                out.u8(u8::from(answer.is_ok()));
                match answer {
                    Ok(response) => response.write(out),
                    Err(Failure(message)) => out.text(limits::FAILURE, message),
                }
            }
        }
    }

    /// The message that these bytes are.
    ///
    /// # Errors
    /// As [`DecodeError`] says.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let message = match reader.u8()? {
            LOAD => Self::Load { code: reader.text(limits::CODE)?.to_owned() },
            INVOKE => Self::Invoke(Box::new(Invoke::read(&mut reader)?)),
            SECRET => {
                Self::Secret { request: reader.u64()?, answer: SecretAnswer::read(&mut reader)? }
            }
            FETCHED => {
                let request = reader.u64()?;
                let answer = if reader.choice("answer", &[false, true])? {
                    Ok(FetchResponse::read(&mut reader)?)
                } else {
                    Err(Failure(reader.text(limits::FAILURE)?.to_owned()))
                };
                Self::Fetched { request, answer }
            }
            kind => return Err(DecodeError::Kind(kind)),
        };
        reader.finish()?;
        Ok(message)
    }
}

impl Invoke {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let Self {
            params,
            environment,
            secrets,
            reference,
            execution: Execution { id, started_at },
            timeout_ms,
            memory_mib,
            log: LogBounds { lines, bytes },
        } = self;
        out.text(limits::PARAMS, params)?;
        out.length(limits::ENVIRONMENT, environment.len())?;
        for Pair { name, value } in environment {
            out.text(limits::ENVIRONMENT_NAME, name)?;
            out.text(limits::ENVIRONMENT_VALUE, value)?;
        }
        out.length(limits::SECRETS, secrets.len())?;
        for name in secrets {
            out.text(limits::SECRET_NAME, name)?;
        }
        out.text(limits::REFERENCE, reference)?;
        out.text(limits::EXECUTION_ID, id)?;
        out.text(limits::STARTED_AT, started_at)?;
        out.u32(*timeout_ms);
        out.u32(*memory_mib);
        out.u32(*lines);
        out.u32(*bytes);
        Ok(())
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            params: reader.text(limits::PARAMS)?.to_owned(),
            environment: reader.list(limits::ENVIRONMENT, |reader| {
                Ok(Pair {
                    name: reader.text(limits::ENVIRONMENT_NAME)?.to_owned(),
                    value: reader.text(limits::ENVIRONMENT_VALUE)?.to_owned(),
                })
            })?,
            secrets: reader.list(limits::SECRETS, |reader| {
                reader.text(limits::SECRET_NAME).map(str::to_owned)
            })?,
            reference: reader.text(limits::REFERENCE)?.to_owned(),
            execution: Execution {
                id: reader.text(limits::EXECUTION_ID)?.to_owned(),
                started_at: reader.text(limits::STARTED_AT)?.to_owned(),
            },
            timeout_ms: reader.number("timeout", &limits::TIMEOUT_MS)?,
            memory_mib: reader.number("memory", &limits::MEMORY_MIB)?,
            log: LogBounds {
                lines: reader.number("log lines", &limits::LOG_LINES)?,
                bytes: reader.number("log bytes", &limits::LOG_BYTES)?,
            },
        })
    }
}

impl SecretAnswer {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        match self {
            Self::Value(value) => {
                out.u8(VALUE);
                out.text(limits::SECRET_VALUE, value.expose())
            }
            Self::Denied => {
                out.u8(DENIED);
                Ok(())
            }
            Self::NotFound => {
                out.u8(NOT_FOUND);
                Ok(())
            }
            Self::Failed(Failure(message)) => {
                out.u8(FAILED);
                out.text(limits::FAILURE, message)
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            VALUE => Self::Value(SecretText::new(reader.text(limits::SECRET_VALUE)?.to_owned())),
            DENIED => Self::Denied,
            NOT_FOUND => Self::NotFound,
            FAILED => Self::Failed(Failure(reader.text(limits::FAILURE)?.to_owned())),
            other => {
                return Err(DecodeError::Value { field: "answer", value: u32::from(other) });
            }
        })
    }
}

impl FetchResponse {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let Self { status, status_text, url, redirected, headers, body } = self;
        out.u32(u32::from(*status));
        out.text(limits::STATUS_TEXT, status_text)?;
        out.text(limits::URL, url)?;
        out.u8(u8::from(*redirected));
        write_headers(out, headers)?;
        out.bytes(limits::BODY, body)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            status: {
                let value = reader.u32()?;
                let status = u16::try_from(value).ok().filter(|it| limits::STATUS.contains(it));
                status.ok_or(DecodeError::Value { field: "status", value })?
            },
            status_text: reader.text(limits::STATUS_TEXT)?.to_owned(),
            url: reader.text(limits::URL)?.to_owned(),
            redirected: reader.choice("redirected", &[false, true])?,
            headers: read_headers(reader)?,
            body: reader.bytes(limits::BODY)?.to_vec(),
        })
    }
}

pub(crate) fn write_headers(out: &mut Vec<u8>, headers: &[Header]) -> Result<(), TooLong> {
    out.length(limits::HEADERS, headers.len())?;
    for Header { name, value } in headers {
        out.text(limits::HEADER_NAME, name)?;
        out.bytes(limits::HEADER_VALUE, value)?;
    }
    Ok(())
}

pub(crate) fn read_headers(reader: &mut Reader<'_>) -> Result<Vec<Header>, DecodeError> {
    const NAME: Field = limits::HEADER_NAME;
    reader.list(limits::HEADERS, |reader| {
        Ok(Header {
            name: reader.text(NAME)?.to_owned(),
            value: reader.bytes(limits::HEADER_VALUE)?.to_vec(),
        })
    })
}
