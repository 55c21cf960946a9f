//! One connection, between TLS and the HTTP library: what the library leaves open, or does at a cost.
//! It gives a time limit to the first head only, sets another timer after each call, decodes ahead of
//! the call that runs, and answers what is no HTTP request with a bare status.

mod framing;

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop::has_budget_remaining;
use tokio::time::{Instant, Sleep, sleep};

use crate::limits;
pub use framing::Framing;
use framing::{Refused, Stage};

/// The calls of one connection: one runs at a time.
#[derive(Default)]
pub struct Calls {
    begun: Cell<u64>,
    running: Cell<bool>,
    /// What follows the head of the last one begun.
    framing: Cell<Option<Framing>>,
    /// Who waits for a call to begin or to end.
    reader: Cell<Option<Waker>>,
}

/// A call, until it is dropped.
pub struct Running(Rc<Calls>);

impl Calls {
    /// Notes that a request's head is whole, and its call begins.
    pub fn begin(self: &Rc<Self>, framing: Framing) -> Running {
        self.begun.set(self.begun.get().wrapping_add(1));
        self.running.set(true);
        self.framing.set(Some(framing));
        self.wake();
        Running(self.clone())
    }

    fn wake(&self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.set(false);
        self.0.wake();
    }
}

/// How long a peer may take, outside its calls.
pub struct Patience {
    /// From one call's end to the next call, the answer's way included.
    pub between_calls: Duration,
    /// From a head's first byte to its last; the HTTP library times the first head itself.
    pub head: Duration,
    /// For closing.
    pub end: Duration,
}

impl Patience {
    /// A listener's.
    pub const LISTENER: Patience = Patience {
        between_calls: limits::KEEP_ALIVE,
        head: limits::HEAD_TIMEOUT,
        end: limits::DISCONNECT_TIMEOUT,
    };
}

/// A connection that waits for no peer forever, and whose every answer is the API's.
pub struct Watched<T, G> {
    io: T,
    _guard: G,
    calls: Rc<Calls>,
    patience: Patience,
    calls_seen: u64,
    wait: Wait,
    /// When that ends.
    deadline: Instant,
    /// Rings at the deadline or before it: where it is put off, which each call does, the alarm is
    /// only when it rings.
    alarm: Pin<Box<Sleep>>,
    /// Whom the alarm wakes.
    woken: Option<Waker>,
    /// How far the library has been given the current request, and what came behind it.
    stage: Stage,
    behind: Vec<u8>,
    head_refused: Option<Refused>,
    /// What is left of the answer that stands in for the library's, and whether it is all sent.
    refusal: Option<(Vec<u8>, bool)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Call,
    Head,
    End,
}

impl<T: AsyncRead + AsyncWrite + Unpin, G> Watched<T, G> {
    /// Watches a connection that has had no call yet; the guard is dropped with it.
    pub fn new(io: T, guard: G, patience: Patience) -> Self {
        let alarm = Box::pin(sleep(patience.between_calls));
        let (calls, wait) = (Rc::default(), Wait::Call);
        Watched {
            io,
            _guard: guard,
            calls,
            patience,
            calls_seen: 0,
            wait,
            deadline: alarm.deadline(),
            alarm,
            woken: None,
            stage: Stage::start(),
            behind: Vec::new(),
            head_refused: None,
            refusal: None,
        }
    }

    /// What it watches.
    pub fn io(&self) -> &T {
        &self.io
    }

    /// Where its calls are noted.
    pub fn calls(&self) -> Rc<Calls> {
        self.calls.clone()
    }

    fn wait_for(&mut self, wait: Wait) {
        self.wait = wait;
        let patience = match wait {
            Wait::Call => self.patience.between_calls,
            Wait::Head => self.patience.head,
            Wait::End => self.patience.end,
        };
        self.deadline = Instant::now() + patience;
        if self.deadline < self.alarm.deadline() {
            self.alarm.as_mut().reset(self.deadline);
            self.woken = None;
        }
    }

    /// Comes before all else: the library ends each of its turns with a flush, so this sees every
    /// call that ends.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.wait != Wait::End {
            if self.calls.running.get() {
                return Ok(());
            }
            if self.calls_seen != self.calls.begun.get() {
                self.calls_seen = self.calls.begun.get();
                self.wait_for(Wait::Call);
            }
        }
        let waker = context.waker();
        let is_set = self.woken.as_ref().is_some_and(|woken| woken.will_wake(waker));
        if is_set && !self.alarm.is_elapsed() {
            return Ok(());
        }
        // Without any, the alarm is not looked at, and the task is woken for that.
        let has_budget = has_budget_remaining();
        while self.alarm.as_mut().poll(context).is_ready() {
            if Instant::now() >= self.deadline {
                match self.wait {
                    Wait::Call | Wait::Head => self.wait_for(Wait::End),
                    Wait::End => return Err(ErrorKind::TimedOut.into()),
                }
            }
            self.alarm.as_mut().reset(self.deadline);
        }
        self.woken = has_budget.then(|| waker.clone());
        Ok(())
    }

    /// Reads what belongs to the current request only. Pending while it is whole, and its call runs
    /// or has yet to begin; an end of the connection is not looked for then, so that a peer that has
    /// closed its half still has its answer.
    fn poll_request(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.stage == Stage::Whole
            && let Some(framing) = self.calls.framing.take()
        {
            self.stage = Stage::body(framing);
        }
        if self.stage == Stage::Over && !self.calls.running.get() {
            self.stage = Stage::start();
        }
        if self.stage.holds() {
            self.calls.reader.set(Some(context.waker().clone()));
            return Poll::Pending;
        }
        if self.stage == Stage::Broken {
            return Poll::Ready(Ok(())); // as if the peer had closed
        }
        let refused;
        if self.behind.is_empty() {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
            let read = buffer.filled_mut().get_mut(before..).unwrap_or_default();
            let taken;
            (taken, refused) = self.stage.advance(read);
            self.behind.extend_from_slice(read.get(taken..).unwrap_or_default());
            buffer.set_filled(before + taken);
        } else {
            let room = self.behind.len().min(buffer.remaining());
            let behind = self.behind.get_mut(..room).unwrap_or_default();
            let taken;
            (taken, refused) = self.stage.advance(behind);
            buffer.put_slice(behind.get(..taken).unwrap_or_default());
            self.behind.drain(..taken);
        }
        self.head_refused = self.head_refused.or(refused);
        Poll::Ready(Ok(()))
    }

    /// Sends the refusal and closes, then reads until the peer closes too: with bytes unread, the
    /// system would reset the connection, and the refusal could be lost.
    fn poll_refuse(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some((unsent, is_sent)) = &mut self.refusal else { return Poll::Ready(Ok(())) };
        let mut io = Pin::new(&mut self.io);
        while !unsent.is_empty() {
            match ready!(io.as_mut().poll_write(context, unsent))? {
                0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                sent => drop(unsent.drain(..sent)),
            }
        }
        if !*is_sent {
            ready!(io.as_mut().poll_shutdown(context))?;
            *is_sent = true;
        }
        loop {
            let mut rest = [0; 4_096];
            let mut rest = ReadBuf::new(&mut rest);
            ready!(io.as_mut().poll_read(context, &mut rest))?;
            if rest.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin, G: Unpin> AsyncRead for Watched<T, G> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.poll_deadline(context)?;
        if this.wait == Wait::End {
            return Poll::Ready(Ok(())); // as if the peer had closed
        }
        let before = buffer.filled().len();
        ready!(this.poll_request(context, buffer))?;
        let is_waiting = this.wait == Wait::Call && !this.calls.running.get();
        // Of a whole head the call begins at once.
        let is_partial = this.stage != Stage::Whole;
        if is_waiting && is_partial && this.calls_seen > 0 && buffer.filled().len() > before {
            this.wait_for(Wait::Head);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin, G: Unpin> AsyncWrite for Watched<T, G> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut ours = bytes;
        if this.refusal.is_none()
            && let Some((before, bare)) = bare_answer(bytes)
        {
            ours = before;
            if before.is_empty() {
                let refusal = match this.head_refused {
                    Some(Refused::TooLarge) => crate::api::refusal("HTTP/1.1 431", bare),
                    Some(Refused::BareLf) | None => crate::api::refusal(bare, bare),
                };
                this.refusal = Some((refusal.into_bytes(), false));
                this.wait_for(Wait::End);
            }
        }
        this.poll_deadline(context)?;
        if this.refusal.is_some() {
            ready!(this.poll_refuse(context))?;
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut this.io).poll_write(context, ours)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.poll_deadline(context)?;
        Pin::new(&mut this.io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.poll_deadline(context)?;
        Pin::new(&mut this.io).poll_shutdown(context)
    }
}

/// The library's own answer where these bytes end with one, and what comes before it. It has no
/// body and no request id, and every answer of the API has both; no body of ours has a raw line end.
fn bare_answer(bytes: &[u8]) -> Option<(&[u8], &str)> {
    let end = b"\r\n\r\n";
    let head = bytes.strip_suffix(end)?;
    let line = head.windows(end.len()).rposition(|four| four == end).map_or(0, |at| at + end.len());
    let line_end = line + head.get(line..)?.windows(2).position(|two| two == b"\r\n")?;
    let start = line + head.get(line..line_end)?.windows(7).rposition(|name| name == b"HTTP/1.")?;
    let (before, head) = head.split_at_checked(start)?;
    let head = str::from_utf8(head).ok()?;
    let is_bare = head.lines().any(|line| line == "content-length: 0")
        && !head.lines().any(|line| line.starts_with("x-request-id:"));
    is_bare.then_some((before, head))
}

#[cfg(test)]
mod tests;
