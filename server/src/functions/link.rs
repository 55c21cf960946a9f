//! The server's end of a worker's socket: frames in and out, and the order in which they may come.

use std::collections::VecDeque;
use std::io;

use neo_secrets_worker_protocol::{
    Frame, NotNow, Session, ToServer, ToWorker, TooLong, Violation, body_bytes,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// What is read at a time.
const PIECE_BYTES: usize = 16_384;
/// Bytes of a frame's length.
const PREFIX: usize = 4;

/// A conversation with one worker.
pub struct Link {
    stream: UnixStream,
    session: Session,
    /// What came and is no whole frame yet.
    incoming: Vec<u8>,
    /// What still has to go out, and how much of the first one has.
    outgoing: VecDeque<Frame>,
    sent: usize,
}

/// How far the queue has gone.
enum Flushed {
    /// There is none.
    All,
    /// The first message has gone.
    One,
    /// The worker has to take some first.
    Part,
}

/// Why there is no further message.
#[derive(Debug, PartialEq, Eq)]
pub enum LinkError {
    /// The worker has gone.
    Gone,
    /// It said what none says whose engine is whole. The word is for the log.
    Broken(&'static str),
}

/// Why a message is not sent.
#[derive(Debug)]
pub enum SendError {
    /// Nobody waits for this answer any more, or the worker is not in a state for it.
    NotNow,
    /// A field is over its bound.
    TooLong,
}

impl Link {
    /// With a worker that has just been started.
    pub fn new(stream: UnixStream) -> Self {
        let (session, incoming, outgoing) = (Session::new(), Vec::new(), VecDeque::new());
        Self { stream, session, incoming, outgoing, sent: 0 }
    }

    /// Puts a message into the queue; [`Link::step`] sends it.
    ///
    /// # Errors
    /// [`SendError`]
    pub fn send(&mut self, message: &ToWorker) -> Result<(), SendError> {
        let frame = message.encode().map_err(|_: TooLong| SendError::TooLong)?;
        self.session.sending(message).map_err(|_: NotNow| SendError::NotNow)?;
        self.outgoing.push_back(frame);
        Ok(())
    }

    /// Bytes that the worker has not taken yet.
    pub fn unsent_bytes(&self) -> usize {
        self.outgoing.iter().map(|frame| frame.as_bytes().len()).sum()
    }

    /// Whether the worker is warm and waits for code or an invocation.
    pub fn is_idle(&self) -> bool {
        self.session.is_ready() || self.session.is_loaded()
    }

    /// Lets go of the memory that a large message took.
    pub fn shrink(&mut self) {
        self.incoming.shrink_to(PIECE_BYTES);
    }

    /// The next message; meanwhile the queue is sent. Nothing is lost where this is dropped before
    /// its end.
    ///
    /// # Errors
    /// [`LinkError`]
    pub async fn next(&mut self) -> Result<ToServer, LinkError> {
        loop {
            if let Some(message) = self.step(true).await? {
                return Ok(message);
            }
        }
    }

    /// As [`Link::next`]; but it also returns, with nothing, when a message has been sent, and it
    /// takes no message in unless it `reads`.
    ///
    /// # Errors
    /// [`LinkError`]
    pub async fn step(&mut self, reads: bool) -> Result<Option<ToServer>, LinkError> {
        loop {
            if reads && let Some(message) = self.parse()? {
                return Ok(Some(message));
            }
            let interest = match (reads, self.flush()) {
                (_, Flushed::One) => return Ok(None),
                (true, Flushed::Part) => Interest::READABLE | Interest::WRITABLE,
                (true, Flushed::All) => Interest::READABLE,
                (false, Flushed::Part) => Interest::WRITABLE,
                (false, Flushed::All) => return std::future::pending().await,
            };
            let ready = self.stream.ready(interest).await.map_err(gone)?;
            if reads && ready.is_readable() {
                self.fill()?;
            }
        }
    }

    /// Sends as much as goes of the first message.
    fn flush(&mut self) -> Flushed {
        while let Some(frame) = self.outgoing.front() {
            let rest = frame.as_bytes().get(self.sent..).unwrap_or_default();
            if rest.is_empty() {
                self.outgoing.pop_front();
                self.sent = 0;
                return Flushed::One;
            }
            match self.stream.try_write(rest) {
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Flushed::Part,
                // What it has said before it went is still read.
                Err(_) => {
                    self.outgoing.clear();
                    self.sent = 0;
                }
            }
        }
        Flushed::All
    }

    fn fill(&mut self) -> Result<(), LinkError> {
        let mut piece = [0; PIECE_BYTES];
        match self.stream.try_read(&mut piece) {
            Ok(0) => Err(LinkError::Gone),
            Ok(read) => {
                self.incoming.extend_from_slice(piece.get(..read).unwrap_or_default());
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(gone(error)),
        }
    }

    /// The first message of what came, if it is whole.
    fn parse(&mut self) -> Result<Option<ToServer>, LinkError> {
        let Some(prefix) = self.incoming.first_chunk::<PREFIX>() else { return Ok(None) };
        let length = body_bytes(*prefix, self.session.frame_bytes_max());
        let end = PREFIX + length.map_err(|_| LinkError::Broken("frame"))?;
        let Some(body) = self.incoming.get(PREFIX..end) else { return Ok(None) };
        let message = ToServer::decode(body).map_err(|_| LinkError::Broken("message"))?;
        self.incoming.drain(..end);
        self.session.received(&message).map_err(|violation| LinkError::Broken(word(violation)))?;
        Ok(Some(message))
    }
}

fn gone(_: io::Error) -> LinkError {
    LinkError::Gone
}

/// A violation in one word: the numbers in it are the worker's own, and so its code's.
const fn word(violation: Violation) -> &'static str {
    match violation {
        Violation::Order => "order",
        Violation::Request { .. } => "request",
        Violation::Pending => "pending",
        Violation::Requests => "requests",
        Violation::Log => "log",
    }
}
