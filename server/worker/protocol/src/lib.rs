//! What the server and a function worker say to each other over one socket pair: typed messages
//! with a bound on every length, and the order in which they may come ([`Session`]).
//!
//! Pure: nothing here opens, spawns, waits or reads a clock. `../README.md` is the specification.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod bytes;
mod frame;
pub mod launcher;
pub mod limits;
mod session;
mod to_server;
mod to_worker;

pub use bytes::{DecodeError, ELLIPSIS, Field, TooLong};
pub use frame::{Frame, FrameError, body_bytes, read};
pub use session::{NotNow, Session, Violation};
pub use to_server::{CompileError, FetchRequest, Level, Redirect, Thrown, ToServer};
pub use to_worker::{
    Execution, Failure, FetchResponse, Header, Invoke, LogBounds, Pair, SecretAnswer, SecretText,
    ToWorker,
};

/// The version of these messages. Server and worker come from one build; [`ToServer::Ready`] shows
/// it.
pub const VERSION: u8 = 1;

#[cfg(test)]
mod tests;
