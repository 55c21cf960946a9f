//! The server's half of the conversation: what may be said when. A worker that says anything else
//! has been taken over, or is broken, and is killed.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::limits;
use crate::to_server::ToServer;
use crate::to_worker::{Invoke, LogBounds, ToWorker};

/// One worker's life, as the server sees it.
///
/// Every message from the worker goes through [`Session::received`], every one to it through
/// [`Session::sending`], and the next frame is read with [`Session::frame_bytes_max`].
#[derive(Debug)]
pub struct Session {
    state: State,
    last_request: u64,
    pending: BTreeMap<u64, Asked>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Spawned; the sandbox may not be on yet.
    Starting,
    /// Warm, and has seen no code.
    Ready,
    /// It looks at its code.
    Loading,
    /// Warm, with code.
    Loaded,
    /// An invocation runs.
    Running(Left),
    /// It ends by itself, or is to be killed.
    Over,
}

/// What an invocation may still do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Left {
    requests: u32,
    log_lines: u32,
    log_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Secret,
    Fetch,
}

/// What a worker did that none does whose engine is whole: kill it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Violation {
    /// It said something that can't be said now.
    #[error("a message out of order")]
    Order,
    /// Its requests do not count up by one.
    #[error("request {got}, where {expected} was next")]
    Request {
        /// The number it gave.
        got: u64,
        /// The number after its last one.
        expected: u64,
    },
    /// It waits for more answers than it may.
    #[error("over {} requests at a time", limits::REQUESTS_PENDING)]
    Pending,
    /// The invocation has asked for more than it may.
    #[error("over {} requests", limits::REQUESTS)]
    Requests,
    /// The invocation has logged more than it may.
    #[error("over its log bounds")]
    Log,
}

/// Why the server can't send this now.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NotNow {
    /// The worker isn't in a state for it: an error of the server's.
    #[error("the worker takes no such message now")]
    Order,
    /// Nobody waits for this answer any more: drop it.
    #[error("nobody waits for this answer")]
    Unwanted,
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Session {
    /// A worker that has just been spawned.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: State::Starting, last_request: 0, pending: BTreeMap::new() }
    }

    /// The bound for the worker's next frame: only running code has much to say.
    #[must_use]
    pub const fn frame_bytes_max(&self) -> usize {
        match self.state {
            State::Running(_) => limits::TO_SERVER_BYTES,
            State::Starting | State::Ready | State::Loading | State::Loaded | State::Over => {
                limits::TO_SERVER_IDLE_BYTES
            }
        }
    }

    /// Whether the worker is warm and has seen no code.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// Whether the worker waits for an invocation of its code.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.state == State::Loaded
    }

    /// Whether the worker will do nothing more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Takes note of a message that is about to be sent.
    ///
    /// # Errors
    /// As [`NotNow`] says; then it must not be sent.
    pub fn sending(&mut self, message: &ToWorker) -> Result<(), NotNow> {
        match (message, self.state) {
            (ToWorker::Load { .. }, State::Ready) => self.state = State::Loading,
            (ToWorker::Invoke(invoke), State::Loaded) => {
                self.state = State::Running(Left::of(invoke));
            }
            (ToWorker::Secret { request, .. }, _) => self.answer(*request, Asked::Secret)?,
            (ToWorker::Fetched { request, .. }, _) => self.answer(*request, Asked::Fetch)?,
            (ToWorker::Load { .. } | ToWorker::Invoke(_), _) => return Err(NotNow::Order),
        }
        Ok(())
    }

    fn answer(&mut self, request: u64, asked: Asked) -> Result<(), NotNow> {
        if self.pending.get(&request) != Some(&asked) {
            return Err(NotNow::Unwanted);
        }
        self.pending.remove(&request);
        Ok(())
    }

    /// Judges a message that the worker has sent.
    ///
    /// # Errors
    /// As [`Violation`] says; the session is over and the worker is to be killed.
    pub fn received(&mut self, message: &ToServer) -> Result<(), Violation> {
        let judged = self.judge(message);
        match judged {
            Ok(state) => self.state = state,
            Err(_) => self.state = State::Over,
        }
        if !matches!(self.state, State::Running(_)) {
            self.pending.clear();
        }
        judged.map(drop)
    }

    fn judge(&mut self, message: &ToServer) -> Result<State, Violation> {
        match (message, self.state) {
            (ToServer::Ready, State::Starting) => Ok(State::Ready),
            (ToServer::Loaded, State::Loading) => Ok(State::Loaded),
            (ToServer::CompileError(_), State::Loading) => Ok(State::Over),
            (ToServer::ReadSecret { request, .. }, State::Running(left)) => {
                self.request(*request, Asked::Secret, left)
            }
            (ToServer::Fetch { request, .. }, State::Running(left)) => {
                self.request(*request, Asked::Fetch, left)
            }
            (ToServer::Log { text, .. }, State::Running(left)) => left.log(text),
            (ToServer::Done { .. } | ToServer::Thrown(_), State::Running(_)) => Ok(State::Loaded),
            (ToServer::TimedOut | ToServer::MemoryExceeded, State::Running(_)) => Ok(State::Over),
            (_, _) => Err(Violation::Order),
        }
    }

    fn request(&mut self, got: u64, asked: Asked, left: Left) -> Result<State, Violation> {
        let expected = self.last_request.checked_add(1).ok_or(Violation::Requests)?;
        if got != expected {
            return Err(Violation::Request { got, expected });
        }
        if self.pending.len() >= limits::REQUESTS_PENDING {
            return Err(Violation::Pending);
        }
        let requests = left.requests.checked_sub(1).ok_or(Violation::Requests)?;
        self.last_request = got;
        self.pending.insert(got, asked);
        Ok(State::Running(Left { requests, ..left }))
    }
}

impl Left {
    fn of(invoke: &Invoke) -> Self {
        let LogBounds { lines, bytes } = invoke.log;
        // One line more says that the rest is left out.
        Self {
            requests: limits::REQUESTS,
            log_lines: lines.saturating_add(1),
            log_bytes: usize::try_from(bytes)
                .unwrap_or(usize::MAX)
                .saturating_add(limits::LOG_REST_BYTES),
        }
    }

    fn log(self, text: &str) -> Result<State, Violation> {
        let log_lines = self.log_lines.checked_sub(1).ok_or(Violation::Log)?;
        let log_bytes = self.log_bytes.checked_sub(text.len()).ok_or(Violation::Log)?;
        Ok(State::Running(Self { log_lines, log_bytes, ..self }))
    }
}

#[cfg(test)]
mod tests;
