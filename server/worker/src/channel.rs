//! The one way in and out: the socket at standard input. Only a process in its sandbox has it.

use std::cell::Cell;
use std::io::{self, Read, Stdin};
use std::time::{Duration, Instant};

use neo_secrets_worker_protocol::{ToServer, ToWorker, limits, read};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, write};

use crate::limits::SERVER_CHECK_INTERVAL;
use crate::sandbox::Sandboxed;

/// Messages to and from the server. Where the server is gone, so is the reason for this process:
/// every method ends it then.
pub(crate) struct Channel {
    socket: Stdin,
    server_checked: Cell<Instant>,
    _sandboxed: Sandboxed,
}

struct Bytes<'a>(&'a Stdin);

impl Read for Bytes<'_> {
    // Not Stdin's own: that has a buffer, and a poll would not see what lies in it.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(self.0, buffer)?)
    }
}

impl Channel {
    pub(crate) fn new(sandboxed: Sandboxed) -> Self {
        Self {
            socket: io::stdin(),
            server_checked: Cell::new(Instant::now()),
            _sandboxed: sandboxed,
        }
    }

    /// Sends a message whose fields the caller has bounded.
    pub(crate) fn send(&self, message: &ToServer) {
        let Ok(frame) = message.encode() else { end(1) };
        let mut rest = frame.as_bytes();
        while !rest.is_empty() {
            match write(&self.socket, rest) {
                Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(_) => end(0),
            }
        }
    }

    /// The server's next message; waits for it.
    pub(crate) fn receive(&self) -> ToWorker {
        let Ok(bytes) = read(&mut Bytes(&self.socket), limits::TO_WORKER_BYTES) else { end(0) };
        let Ok(message) = ToWorker::decode(&bytes) else { end(1) };
        message
    }

    /// Waits until there is a message, or this time has passed; says whether there is one.
    pub(crate) fn wait(&self, at_most: Duration) -> bool {
        let polled = self.poll(PollFlags::IN, at_most);
        !polled.is_empty()
    }

    /// Ends the process if the server has gone; looks only now and then.
    pub(crate) fn check_server(&self) {
        if self.server_checked.get().elapsed() < SERVER_CHECK_INTERVAL {
            return;
        }
        self.server_checked.set(Instant::now());
        if self.poll(PollFlags::empty(), Duration::ZERO).contains(PollFlags::HUP) {
            end(0);
        }
    }

    fn poll(&self, events: PollFlags, at_most: Duration) -> PollFlags {
        let timeout = Timespec {
            tv_sec: i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: at_most.subsec_nanos().into(),
        };
        let mut sockets = [PollFd::new(&self.socket, events)];
        match poll(&mut sockets, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => end(1),
        }
        let [socket] = sockets;
        socket.revents()
    }
}

/// Ends the process. Nothing is freed: that is the kernel's, and faster.
pub(crate) fn end(code: i32) -> ! {
    std::process::exit(code)
}
