//! The launcher: starts and ends workers for a server that may start no process, and does nothing
//! else. `README.md` has its messages.
//!
//! It trusts nobody: a server that says what it can't say ends it, and with it every worker. A
//! worker has no way to it at all.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, PipeReader};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitCode, Stdio};

use neo_secrets_worker_protocol::launcher::{FromLauncher, Number, TO_LAUNCHER_BYTES, ToLauncher};
use neo_secrets_worker_protocol::limits::{WORKER_NICE, WORKERS};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, sendmsg};
use rustix::process::{Pid, setpgid, setpriority_process};

use crate::limits::ENDING_CHECK_INTERVAL;
use crate::sandbox::{self, ENVIRONMENT};

/// This very file, whatever stands at its path by now.
const PROGRAM: &str = "/proc/self/exe";

/// Why it ends before the server closes its end.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Broken {
    /// No server of ours says that.
    #[error("the server broke the protocol")]
    Protocol,
    /// The socket fails.
    #[error("the server's socket: {0}")]
    Socket(#[from] Errno),
}

/// Starts and ends workers until the server closes its end; then none is left.
pub(crate) fn main() -> ExitCode {
    if let Err(error) = sandbox::launcher_lockdown() {
        return failed(&error);
    }
    // Workers stay in this group, which whoever started this can end as a whole. A leader of a
    // session is one of a group already.
    let _is_leader = setpgid(None, None);
    let socket = io::stdin();
    let mut launcher = Launcher::default();
    let outcome = launcher.serve(socket.as_fd());
    launcher.end_all();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(broken) => failed(&broken),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("neo-secrets-worker: launcher: {error}");
    ExitCode::FAILURE
}

/// The workers.
#[derive(Default)]
struct Launcher {
    last: Number,
    running: BTreeMap<Number, Child>,
    /// Killed, and not gone yet.
    ending: Vec<(Number, Child)>,
}

/// What the server gets of a worker.
struct Ends {
    socket: UnixStream,
    words: PipeReader,
}

impl Launcher {
    fn serve(&mut self, socket: impl AsFd) -> Result<(), Broken> {
        let mut packet = [0; TO_LAUNCHER_BYTES + 1];
        loop {
            self.wait(&socket)?;
            self.reap(&socket)?;
            // Descriptors that came along are the system's to close: there is no place for them.
            let length = match recv(&socket, &mut packet, RecvFlags::DONTWAIT) {
                Ok((0, _)) | Err(Errno::CONNRESET) => return Ok(()),
                Ok((length, _)) => length,
                Err(Errno::AGAIN | Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let packet = packet.get(..length).unwrap_or_default();
            match ToLauncher::decode(packet).map_err(|_| Broken::Protocol)? {
                ToLauncher::Start(number) => self.start(&socket, number)?,
                ToLauncher::End(number) => {
                    let mut child = self.running.remove(&number).ok_or(Broken::Protocol)?;
                    // An error says that it has gone already.
                    let _gone = child.kill();
                    self.ending.push((number, child));
                    self.reap(&socket)?;
                }
            }
        }
    }

    /// Until there is a message, or one of those that end may have.
    fn wait(&self, socket: impl AsFd) -> Result<(), Broken> {
        let timeout = Timespec { tv_sec: 0, tv_nsec: ENDING_CHECK_INTERVAL.subsec_nanos().into() };
        let timeout = (!self.ending.is_empty()).then_some(&timeout);
        match poll(&mut [PollFd::new(&socket, PollFlags::IN)], timeout) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn start(&mut self, socket: impl AsFd, number: Number) -> Result<(), Broken> {
        if self.last.checked_add(1) != Some(number) {
            return Err(Broken::Protocol);
        }
        self.last = number;
        let full = self.running.len() + self.ending.len() >= WORKERS;
        let launched = if full { Err(Errno::AGAIN.into()) } else { launch() };
        match launched {
            Ok((child, Ends { socket: its, words })) => {
                let process = child.id();
                self.running.insert(number, child);
                let ends = [its.as_fd(), words.as_fd()];
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                control.push(SendAncillaryMessage::ScmRights(&ends));
                let packet = FromLauncher::Started { number, process }.encode();
                send(socket, &packet, &mut control)
            }
            Err(error) => {
                let error = error.raw_os_error().and_then(|error| u32::try_from(error).ok());
                let error = error.unwrap_or_default();
                let packet = FromLauncher::Refused { number, error }.encode();
                send(socket, &packet, &mut SendAncillaryBuffer::default())
            }
        }
    }

    /// Tells the server of those that have gone.
    fn reap(&mut self, socket: impl AsFd) -> Result<(), Broken> {
        let mut gone = Vec::new();
        self.ending.retain_mut(|(number, child)| match child.try_wait() {
            Ok(None) => true,
            // An error says that the system gives no word of it.
            Ok(Some(_)) | Err(_) => {
                gone.push(*number);
                false
            }
        });
        for number in gone {
            let packet = FromLauncher::Ended(number).encode();
            send(&socket, &packet, &mut SendAncillaryBuffer::default())?;
        }
        Ok(())
    }

    fn end_all(&mut self) {
        let running = std::mem::take(&mut self.running).into_values();
        let mut all: Vec<Child> = running.chain(self.ending.drain(..).map(|(_, it)| it)).collect();
        for child in &mut all {
            let _gone = child.kill();
        }
        for child in &mut all {
            let _gone = child.wait();
        }
    }
}

/// A worker, as the server starts its own.
fn launch() -> io::Result<(Child, Ends)> {
    let (ours, theirs) = UnixStream::pair()?;
    let (words, its_words) = io::pipe()?;
    let (name, value) = ENVIRONMENT;
    let mut command = Command::new(PROGRAM);
    command.env_clear().env(name, value);
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(its_words);
    let child = command.spawn()?;
    if let Some(id) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // Where this fails, it has ended, and will be found so.
        let _ended = setpriority_process(Some(id), WORKER_NICE);
    }
    Ok((child, Ends { socket: ours, words }))
}

fn send(
    socket: impl AsFd,
    packet: &[u8],
    control: &mut SendAncillaryBuffer<'_, '_, '_>,
) -> Result<(), Broken> {
    loop {
        match sendmsg(&socket, &[IoSlice::new(packet)], control, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            // The server is gone; the next look says so.
            Err(Errno::PIPE | Errno::CONNRESET) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
