//! One worker: its process, from the start to the end that is waited for.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use neo_secrets_worker_protocol::limits as protocol;
use neo_secrets_worker_protocol::{CompileError, ToServer, ToWorker};
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use super::counters::{Counted, Counters, State};
use super::launch::{Launch, Process, Started};
use super::link::{Link, LinkError, SendError};
use crate::limits;

/// A worker and the server's end of its socket. Dropped, it is killed, and a task waits for its end.
pub struct Worker {
    /// There until it is dropped, with what counts it.
    process: Option<(Process, Counted)>,
    pub(super) link: Link,
    /// What its invocations have taken together.
    pub(super) spent: Duration,
}

/// Why there is no worker.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The program does not start at all.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It has not said that its sandbox is on. Its own words are about the sandbox and no more,
    /// since it has seen nothing yet.
    #[error("the worker's sandbox is not on: {0}")]
    NotReady(String),
    /// Who starts workers has ended.
    #[error("the worker launcher has ended")]
    NoLauncher,
}

/// What is told of code that no worker has loaded in [`protocol::LOAD_TIMEOUT`]: most of its time
/// went by in the engine, so it is the code's own fault.
pub fn too_long() -> CompileError {
    let message = "the code takes too long to compile".to_owned();
    CompileError { message, line: 1, column: 1 }
}

/// What a worker made of code.
#[derive(Debug)]
pub enum Loaded {
    /// It can run it.
    Ok,
    /// It is no JavaScript that it knows.
    CompileError(CompileError),
    /// It takes too long to say; it is to be ended.
    Late,
    /// It has gone, or broke the order; it is to be ended.
    Broken,
}

impl Worker {
    /// Starts a worker and waits until it is ready for code.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start(launch: &Launch, counters: &Arc<Counters>) -> Result<Self, StartError> {
        let started = Instant::now();
        let Started { process, socket, words: said } = launch.start().await?;
        let counted = Counted::new(counters, State::Starting);
        let (process, link) = (Some((process, counted)), Link::new(socket));
        let mut worker = Self { process, link, spent: Duration::ZERO };
        let ready = timeout(protocol::READY_TIMEOUT, worker.link.next()).await;
        if matches!(ready, Ok(Ok(ToServer::Ready))) {
            counters.note_start(started.elapsed());
            return Ok(worker);
        }
        drop(worker);
        let (mut words, mut said) = (Vec::new(), said.take(limits::WORKER_WORDS_BYTES));
        // Cut short, it is still what there is to tell.
        let _ended = timeout(protocol::GRACE, said.read_to_end(&mut words)).await;
        let words = crate::api::text::printable(String::from_utf8_lossy(&words).trim());
        Err(StartError::NotReady(words))
    }

    /// Gives it the code that it will serve as long as it lives.
    pub async fn load(&mut self, code: &str) -> Loaded {
        self.set(State::Starting);
        if self.link.send(&ToWorker::Load { code: code.to_owned() }).is_err() {
            return Loaded::Broken;
        }
        match timeout(protocol::LOAD_TIMEOUT, self.link.next()).await {
            Ok(Ok(ToServer::Loaded)) => Loaded::Ok,
            Ok(Ok(ToServer::CompileError(error))) => Loaded::CompileError(error),
            Ok(Err(error)) => {
                note_broken(&error, "loading");
                Loaded::Broken
            }
            Ok(Ok(_)) => Loaded::Broken,
            Err(_) => Loaded::Late,
        }
    }

    /// Waits for what an idle worker never does: it ends, or says something.
    pub async fn stray(&mut self) {
        if let Err(error) = self.link.next().await {
            note_broken(&error, "idle");
        }
    }

    /// Whether it may be kept for another invocation.
    pub fn is_fresh(&self) -> bool {
        let process = self.process.as_ref().and_then(|(process, _)| process.id());
        let resident = process.and_then(resident_bytes);
        self.link.is_idle()
            && self.spent < protocol::LIFE
            && resident.is_some_and(|bytes| bytes <= limits::IDLE_WORKER_BYTES)
    }

    /// For the metrics.
    pub fn set(&mut self, state: State) {
        if let Some((_, counted)) = &mut self.process {
            counted.set(state);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some((process, mut counted)) = self.process.take() {
            counted.set(State::Ending);
            process.end(counted);
        }
    }
}

/// What is resident of a process, as the system says.
fn resident_bytes(id: u32) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{id}/statm")).ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    pages.checked_mul(u64::try_from(rustix::param::page_size()).ok()?)
}

/// Tells the log of a worker that is not ours any more: never what it said.
pub fn note_broken(error: &LinkError, state: &'static str) {
    match error {
        LinkError::Gone => tracing::warn!(state, "a function's worker has ended by itself"),
        LinkError::Broken(code) => {
            tracing::warn!(code, state, "a function's worker broke the protocol");
        }
    }
}

impl From<SendError> for LinkError {
    fn from(_: SendError) -> Self {
        LinkError::Broken("order")
    }
}
