//! What a worker tells the server: to be believed no more than the function's code itself.

use crate::VERSION;
use crate::bytes::{DecodeError, Reader, TooLong, Writer};
use crate::frame::Frame;
use crate::limits;
use crate::to_worker::{Header, read_headers, write_headers};

/// A message to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToServer {
    /// The sandbox is on; the worker has seen no code.
    Ready,
    /// The code's syntax is right; invocations may come.
    Loaded,
    /// The code's syntax is wrong; the worker ends.
    CompileError(CompileError),
    /// `context.secrets.get`.
    ReadSecret {
        /// Counts up by one with each request of the worker's life.
        request: u64,
        /// The secret's name.
        name: String,
    },
    /// `fetch`.
    Fetch {
        /// Counts up by one with each request of the worker's life.
        request: u64,
        /// What to fetch.
        fetch: Box<FetchRequest>,
    },
    /// A log line.
    Log {
        /// Its level.
        level: Level,
        /// Its text.
        text: String,
    },
    /// The invocation is over; this is JSON, to be parsed before it is believed.
    Done {
        /// The result.
        result: String,
    },
    /// The invocation is over: the code threw.
    Thrown(Thrown),
    /// The invocation is over its time; the worker ends.
    TimedOut,
    /// The invocation is over its memory; the worker ends.
    MemoryExceeded,
}

/// Where the code's syntax is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    /// What is wrong.
    pub message: String,
    /// Line of the user's code, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

/// What the code threw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thrown {
    /// The error's name.
    pub name: String,
    /// Its message.
    pub message: String,
    /// Its stack, of the user's code; may be empty.
    pub stack: String,
}

/// The level of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// `debug`
    Debug,
    /// `info`
    Info,
    /// `warn`
    Warn,
    /// `error`
    Error,
}

/// What a fetch does at a redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// It follows.
    Follow,
    /// It fails.
    Error,
    /// It hands the redirect to the code.
    Manual,
}

/// A request that code makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequest {
    /// An upper-case method, or an extension's as the code wrote it.
    pub method: String,
    /// An absolute URL.
    pub url: String,
    /// Headers in their order.
    pub headers: Vec<Header>,
    /// The body, where there is one.
    pub body: Option<Vec<u8>>,
    /// What to do at a redirect.
    pub redirect: Redirect,
}

const LEVELS: [Level; 4] = [Level::Debug, Level::Info, Level::Warn, Level::Error];
const REDIRECTS: [Redirect; 3] = [Redirect::Follow, Redirect::Error, Redirect::Manual];

const READY: u8 = 1;
const LOADED: u8 = 2;
const COMPILE_ERROR: u8 = 3;
const READ_SECRET: u8 = 4;
const FETCH: u8 = 5;
const LOG: u8 = 6;
const DONE: u8 = 7;
const THROWN: u8 = 8;
const TIMED_OUT: u8 = 9;
const MEMORY_EXCEEDED: u8 = 10;

/// More than the fixed fields of any message take.
const FIXED_BYTES: usize = 256;

fn place<T: PartialEq>(choices: &[T], choice: &T) -> u8 {
    let place = choices.iter().position(|other| other == choice);
    place.and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX)
}

impl ToServer {
    /// The message as bytes.
    ///
    /// # Errors
    /// [`TooLong`] where a field is over its bound.
    pub fn encode(&self) -> Result<Frame, TooLong> {
        let bytes = match self {
            Self::Fetch { fetch, .. } => fetch.body.as_ref().map_or(0, Vec::len),
            Self::Done { result } => result.len(),
            _ => 0,
        };
        Frame::filled(bytes.saturating_add(FIXED_BYTES), |out| self.write(out))
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        match self {
            Self::Ready => {
                out.u8(READY);
                out.u8(VERSION);
            }
            Self::Loaded => out.u8(LOADED),
            Self::CompileError(CompileError { message, line, column }) => {
                out.u8(COMPILE_ERROR);
                out.text(limits::ERROR_MESSAGE, message)?;
                out.u32(*line);
                out.u32(*column);
            }
            Self::ReadSecret { request, name } => {
                out.u8(READ_SECRET);
                out.u64(*request);
                out.text(limits::SECRET_NAME, name)?;
            }
            Self::Fetch { request, fetch } => {
                out.u8(FETCH);
                out.u64(*request);
                fetch.write(out)?;
            }
            Self::Log { level, text } => {
                out.u8(LOG);
                out.u8(place(&LEVELS, level));
                out.text(limits::LOG_LINE, text)?;
            }
            Self::Done { result } => {
                out.u8(DONE);
                out.text(limits::RESULT, result)?;
            }
            Self::Thrown(Thrown { name, message, stack }) => {
                out.u8(THROWN);
                out.text(limits::ERROR_NAME, name)?;
                out.text(limits::ERROR_MESSAGE, message)?;
                out.text(limits::ERROR_STACK, stack)?;
            }
            Self::TimedOut => out.u8(TIMED_OUT),
            Self::MemoryExceeded => out.u8(MEMORY_EXCEEDED),
        }
        Ok(())
    }

    /// The message that these bytes are.
    ///
    /// # Errors
    /// As [`DecodeError`] says.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let message = match reader.u8()? {
            READY => match reader.u8()? {
                VERSION => Self::Ready,
                other => {
                    return Err(DecodeError::Value { field: "version", value: u32::from(other) });
                }
            },
            LOADED => Self::Loaded,
            COMPILE_ERROR => Self::CompileError(CompileError {
                message: reader.text(limits::ERROR_MESSAGE)?.to_owned(),
                line: reader.u32()?,
                column: reader.u32()?,
            }),
            READ_SECRET => Self::ReadSecret {
                request: reader.u64()?,
                name: reader.text(limits::SECRET_NAME)?.to_owned(),
            },
            FETCH => Self::Fetch {
                request: reader.u64()?,
                fetch: Box::new(FetchRequest::read(&mut reader)?),
            },
            LOG => Self::Log {
                level: reader.choice("level", &LEVELS)?,
                text: reader.text(limits::LOG_LINE)?.to_owned(),
            },
            DONE => Self::Done { result: reader.text(limits::RESULT)?.to_owned() },
            THROWN => Self::Thrown(Thrown {
                name: reader.text(limits::ERROR_NAME)?.to_owned(),
                message: reader.text(limits::ERROR_MESSAGE)?.to_owned(),
                stack: reader.text(limits::ERROR_STACK)?.to_owned(),
            }),
            TIMED_OUT => Self::TimedOut,
            MEMORY_EXCEEDED => Self::MemoryExceeded,
            kind => return Err(DecodeError::Kind(kind)),
        };
        reader.finish()?;
        Ok(message)
    }
}

impl FetchRequest {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let Self { method, url, headers, body, redirect } = self;
        out.text(limits::METHOD, method)?;
        out.text(limits::URL, url)?;
        write_headers(out, headers)?;
        out.u8(u8::from(body.is_some()));
        if let Some(body) = body {
            out.bytes(limits::BODY, body)?;
        }
        out.u8(place(&REDIRECTS, redirect));
        Ok(())
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            method: reader.text(limits::METHOD)?.to_owned(),
            url: reader.text(limits::URL)?.to_owned(),
            headers: read_headers(reader)?,
            body: reader.option("body", |reader| reader.bytes(limits::BODY).map(<[u8]>::to_vec))?,
            redirect: reader.choice("redirect", &REDIRECTS)?,
        })
    }
}
