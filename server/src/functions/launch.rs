//! How a worker's process comes and goes: started here, or by the launcher, for a server that may
//! start none.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use neo_secrets_worker_protocol::limits as protocol;
use rustix::process::{Pid, setpriority_process};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;

use super::counters::Counted;
use super::launcher::{Launched, Launcher};
use super::worker::StartError;

/// Who starts workers.
pub enum Workers {
    /// The server itself, of this program.
    Own(PathBuf),
    /// Who has the other end of this socket.
    Launcher(OwnedFd),
}

/// Who starts workers, at work.
pub enum Launch {
    /// As [`Workers::Own`].
    Own(PathBuf),
    /// As [`Workers::Launcher`].
    Launcher(Launcher),
}

/// A worker's process, and the server's ends of its socket and its standard error.
pub struct Started {
    /// To be ended by [`Process::end`].
    pub process: Process,
    /// Its socket.
    pub socket: UnixStream,
    /// What it says before its sandbox is on.
    pub words: pipe::Receiver,
}

/// A worker's process.
pub enum Process {
    /// A child of the server.
    Own(Child),
    /// A child of the launcher.
    Launched(Launched),
}

impl From<PathBuf> for Workers {
    fn from(program: PathBuf) -> Self {
        Self::Own(program)
    }
}

impl Launch {
    /// Within the reactor that the launcher's messages come to.
    ///
    /// # Errors
    /// As the system says of the socket.
    pub fn new(workers: Workers) -> io::Result<Self> {
        Ok(match workers {
            Workers::Own(program) => Launch::Own(program),
            Workers::Launcher(socket) => Launch::Launcher(Launcher::new(socket)?),
        })
    }

    /// Whether anything is wrong that shows before the first worker.
    ///
    /// # Errors
    /// The same that each start would end with.
    pub fn check(&self) -> Result<(), StartError> {
        match self {
            Launch::Own(program) => Ok(std::fs::metadata(program).map(drop)?),
            Launch::Launcher(launcher) => launcher.check(),
        }
    }

    /// Whether nobody is left who could start or end a worker.
    pub fn is_lost(&self) -> bool {
        match self {
            Launch::Own(_) => false,
            Launch::Launcher(launcher) => launcher.check().is_err(),
        }
    }

    /// Starts a process.
    ///
    /// # Errors
    /// [`StartError`]; then there is none.
    pub async fn start(&self) -> Result<Started, StartError> {
        match self {
            Launch::Own(program) => Ok(start_own(program)?),
            Launch::Launcher(launcher) => launcher.start().await,
        }
    }
}

fn start_own(program: &Path) -> io::Result<Started> {
    let (ours, theirs) = StdStream::pair()?;
    ours.set_nonblocking(true)?;
    let ours = UnixStream::from_std(ours)?;
    let (words, its_words) = io::pipe()?;
    let words = pipe::Receiver::from_owned_fd(words.into())?;
    let mut command = Command::new(program);
    command.env_clear().env("TZ", "UTC0");
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(its_words);
    // A group of its own: Ctrl-C at the server's terminal is not for the workers.
    command.process_group(0).kill_on_drop(true);
    let child = command.spawn()?;
    // The command keeps its copies of the worker's ends as long as it lives.
    drop(command);
    if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
        // Where this fails, it has ended, and will be found so.
        let _ended = setpriority_process(Some(id), protocol::WORKER_NICE);
    }
    Ok(Started { process: Process::Own(child), socket: ours, words })
}

impl Process {
    /// As the system calls it, while it may be there.
    pub fn id(&self) -> Option<u32> {
        match self {
            Process::Own(child) => child.id(),
            Process::Launched(launched) => Some(launched.process()),
        }
    }

    /// Kills it; it counts until it is gone.
    pub fn end(self, counted: Counted) {
        match self {
            Process::Own(mut child) => {
                // Where the reactors have ended, the child is killed as it is dropped.
                if let Ok(reactor) = Handle::try_current() {
                    reactor.spawn(async move {
                        // An error says that it has gone already, or that the system gives no word
                        // of it.
                        let _gone = child.kill().await;
                        drop(counted);
                    });
                }
            }
            Process::Launched(launched) => launched.end(counted),
        }
    }
}
