//! One worker: its process, from the start to the end that is waited for.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use neo_secrets_worker_protocol::limits as protocol;
use neo_secrets_worker_protocol::{CompileError, ToServer, ToWorker};
use rustix::process::{Pid, setpriority_process};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::counters::{Counted, Counters, State};
use super::link::{Link, LinkError, SendError};
use crate::limits;

/// A worker and the server's end of its socket. Dropped, it is killed, and a task waits for its end.
pub struct Worker {
    /// There until it is dropped.
    process: Option<Process>,
    pub(super) link: Link,
    /// What its invocations have taken together.
    pub(super) spent: Duration,
}

struct Process {
    child: Child,
    counted: Counted,
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
    pub async fn start(program: &Path, counters: &Arc<Counters>) -> Result<Self, StartError> {
        let started = Instant::now();
        let (ours, theirs) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut command = Command::new(program);
        command.env_clear().env("TZ", "UTC0");
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::piped());
        // A group of its own: Ctrl-C at the server's terminal is not for the workers.
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn()?;
        // The command keeps its copy of the worker's end as long as it lives.
        drop(command);
        if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
            // Where this fails, it has ended, and will be found so.
            let _ended = setpriority_process(Some(id), limits::WORKER_NICE);
        }
        let said = child.stderr.take();
        let process = Process { child, counted: Counted::new(counters, State::Starting) };
        let link = Link::new(UnixStream::from_std(ours)?);
        let mut worker = Self { process: Some(process), link, spent: Duration::ZERO };
        let ready = timeout(protocol::READY_TIMEOUT, worker.link.next()).await;
        if matches!(ready, Ok(Ok(ToServer::Ready))) {
            counters.note_start(started.elapsed());
            return Ok(worker);
        }
        drop(worker);
        let mut words = Vec::new();
        if let Some(said) = said {
            let mut said = said.take(limits::WORKER_WORDS_BYTES);
            // Cut short, it is still what there is to tell.
            let _ended = timeout(protocol::GRACE, said.read_to_end(&mut words)).await;
        }
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
        let resident = self.process.as_ref().and_then(|it| it.child.id()).and_then(resident_bytes);
        self.link.is_idle()
            && self.spent < protocol::LIFE
            && resident.is_some_and(|bytes| bytes <= limits::IDLE_WORKER_BYTES)
    }

    /// For the metrics.
    pub fn set(&mut self, state: State) {
        if let Some(process) = &mut self.process {
            process.counted.set(state);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let Some(Process { mut child, mut counted }) = self.process.take() else { return };
        counted.set(State::Ending);
        // Where the reactors have ended, the child is killed as it is dropped.
        if let Ok(reactor) = Handle::try_current() {
            reactor.spawn(async move {
                // An error says that it has gone already, or that the system gives no word of it.
                let _gone = child.kill().await;
                drop(counted);
            });
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
