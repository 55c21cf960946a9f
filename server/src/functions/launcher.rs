//! The server's side of the launcher: one task has the socket, and whoever wants a worker started or
//! ended tells it. The launcher's own side is `worker/src/launcher.rs`.

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram as StdDatagram, UnixStream as StdStream};

use neo_secrets_worker_protocol::launcher::{
    FROM_LAUNCHER_BYTES, FromLauncher, Number, ToLauncher,
};
use neo_secrets_worker_protocol::limits as protocol;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};
use tokio::io::Interest;
use tokio::net::unix::pipe;
use tokio::net::{UnixDatagram, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::counters::Counted;
use super::launch::{Process, Started};
use super::worker::StartError;

/// Asks the launcher.
pub struct Launcher(mpsc::UnboundedSender<Asked>);

/// A process that the launcher has started. Dropped, it is killed.
pub struct Launched {
    number: Number,
    process: u32,
    /// Goes when the process is gone.
    counted: Option<Counted>,
    ask: mpsc::UnboundedSender<Asked>,
}

/// Bounded by the turns of functions, and by the workers that run.
enum Asked {
    Start(oneshot::Sender<Result<Ends, StartError>>),
    /// With what goes when the worker is gone.
    End(Number, Option<Counted>),
}

/// What comes with the word that a worker runs.
struct Ends {
    launched: Launched,
    socket: OwnedFd,
    words: OwnedFd,
}

/// Why there is no launcher any more.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("it has ended")]
    Gone,
    #[error("it broke the protocol")]
    Broken,
    #[error("its socket: {0}")]
    Socket(#[from] io::Error),
}

impl Launcher {
    /// Takes its socket; within the reactor that the messages come to.
    ///
    /// # Errors
    /// As the system says of the socket.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = StdDatagram::from(socket);
        socket.set_nonblocking(true)?;
        let socket = UnixDatagram::from_std(socket)?;
        let (ask, asked) = mpsc::unbounded_channel();
        let mut talk = Talk::new(ask.downgrade());
        tokio::spawn(async move {
            let lost = talk.serve(&socket, asked).await;
            if let Err(reason) = lost {
                tracing::error!(%reason, "the worker launcher is lost");
            }
        });
        Ok(Self(ask))
    }

    /// Whether there is one.
    ///
    /// # Errors
    /// [`StartError::NoLauncher`]
    pub fn check(&self) -> Result<(), StartError> {
        if self.0.is_closed() { Err(StartError::NoLauncher) } else { Ok(()) }
    }

    /// Has a worker started.
    ///
    /// # Errors
    /// As the launcher says; [`StartError::NoLauncher`] where there is none.
    pub async fn start(&self) -> Result<Started, StartError> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Asked::Start(answer)).map_err(|_| StartError::NoLauncher)?;
        let answered = timeout(protocol::READY_TIMEOUT, answered).await;
        // One that comes later finds nobody, and its worker is killed.
        let answered = answered.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
        let ends = answered.map_err(|_| StartError::NoLauncher)??;
        let Ends { launched, socket, words } = ends;
        let socket = StdStream::from(socket);
        socket.set_nonblocking(true)?;
        Ok(Started {
            process: Process::Launched(launched),
            socket: UnixStream::from_std(socket)?,
            words: pipe::Receiver::from_owned_fd(words)?,
        })
    }
}

impl Launched {
    /// As the system calls it.
    pub fn process(&self) -> u32 {
        self.process
    }

    /// Has it killed.
    pub fn end(mut self, counted: Counted) {
        self.counted = Some(counted);
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        // Where there is no launcher, its workers have gone with it.
        let _lost = self.ask.send(Asked::End(self.number, self.counted.take()));
    }
}

/// What has been asked and not been answered.
struct Talk {
    /// Does not keep the talk going by itself.
    ask: mpsc::WeakUnboundedSender<Asked>,
    last: Number,
    starting: HashMap<Number, oneshot::Sender<Result<Ends, StartError>>>,
    ending: HashMap<Number, Option<Counted>>,
    outgoing: VecDeque<ToLauncher>,
}

impl Talk {
    fn new(ask: mpsc::WeakUnboundedSender<Asked>) -> Self {
        let (starting, ending, outgoing) = Default::default();
        Self { ask, last: 0, starting, ending, outgoing }
    }

    /// Until nobody asks any more.
    async fn serve(
        &mut self,
        socket: &UnixDatagram,
        mut asked: mpsc::UnboundedReceiver<Asked>,
    ) -> Result<(), Lost> {
        loop {
            tokio::select! {
                asked = asked.recv() => match asked {
                    Some(Asked::Start(answer)) => {
                        self.last += 1;
                        self.starting.insert(self.last, answer);
                        self.outgoing.push_back(ToLauncher::Start(self.last));
                    }
                    Some(Asked::End(number, counted)) => {
                        self.ending.insert(number, counted);
                        self.outgoing.push_back(ToLauncher::End(number));
                    }
                    None => return Ok(()),
                },
                ready = socket.writable(), if !self.outgoing.is_empty() => {
                    ready?;
                    self.send(socket)?;
                }
                ready = socket.readable() => {
                    ready?;
                    match socket.try_io(Interest::READABLE, || receive(socket)) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        received => self.take(received.map_err(gone)?)?,
                    }
                }
            }
        }
    }

    /// As much as goes of the first message, which is all or nothing.
    fn send(&mut self, socket: &UnixDatagram) -> Result<(), Lost> {
        let Some(message) = self.outgoing.front() else { return Ok(()) };
        let sent = socket.try_io(Interest::WRITABLE, || {
            Ok(send(socket, &message.encode(), SendFlags::NOSIGNAL)?)
        });
        match sent {
            Ok(_) => drop(self.outgoing.pop_front()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(gone(error)),
        }
        Ok(())
    }

    fn take(&mut self, (packet, ends): (Vec<u8>, Vec<OwnedFd>)) -> Result<(), Lost> {
        if packet.is_empty() {
            return Err(Lost::Gone);
        }
        let message = FromLauncher::decode(&packet).map_err(|_| Lost::Broken)?;
        match (message, <[OwnedFd; 2]>::try_from(ends)) {
            (FromLauncher::Started { number, process }, Ok([socket, words])) => {
                let asker = self.starting.remove(&number).ok_or(Lost::Broken)?;
                // Where nobody asks any more, the end of all of this has begun.
                let Some(ask) = self.ask.upgrade() else { return Ok(()) };
                let launched = Launched { number, process, counted: None, ask };
                // Where whoever asked has gone, it is killed.
                drop(asker.send(Ok(Ends { launched, socket, words })));
            }
            (FromLauncher::Refused { number, error }, Err(none)) if none.is_empty() => {
                let asker = self.starting.remove(&number).ok_or(Lost::Broken)?;
                let error = i32::try_from(error).map_err(|_| Lost::Broken)?;
                // Whoever asked may have gone.
                drop(asker.send(Err(io::Error::from_raw_os_error(error).into())));
            }
            (FromLauncher::Ended(number), Err(none)) if none.is_empty() => {
                drop(self.ending.remove(&number).ok_or(Lost::Broken)?);
            }
            _ => return Err(Lost::Broken),
        }
        Ok(())
    }
}

fn gone(error: io::Error) -> Lost {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Lost::Gone,
        _ => Lost::Socket(error),
    }
}

/// One packet, and the descriptors that came with it.
fn receive(socket: &UnixDatagram) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    // One more than there can be, so that a longer packet is known as one.
    let mut packet = vec![0; FROM_LAUNCHER_BYTES + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut packet)], &mut control, flags)?;
    packet.truncate(received.bytes);
    let mut ends = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            ends.extend(descriptors);
        }
    }
    Ok((packet, ends))
}
