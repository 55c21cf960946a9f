//! HTTP/1.1 on one connection, run by whoever waits for something on it. It has no task of its own:
//! a request costs no switch between tasks, and nothing happens on a connection that nobody uses.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{Either, Full};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::limits;

/// A body to send: bytes at hand, or a stream of them.
pub(crate) type Outgoing = Either<Full<Bytes>, UnsyncBoxBody<Bytes, BoxError>>;

/// Why a stream of bytes to send ended early.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A connection that takes one request at a time.
pub(crate) struct Http {
    sender: SendRequest<Outgoing>,
    driver: Driver,
}

/// hyper's half of a connection; `None` once that is closed.
struct Driver(Option<Connection<TokioIo<TlsStream<TcpStream>>, Outgoing>>);

/// Why a request has no answer.
pub(crate) enum Unanswered {
    /// The connection was gone before a byte of the request left; here it is.
    NotSent(Box<Request<Outgoing>>, hyper::Error),
    /// The connection broke afterwards.
    Lost(hyper::Error),
}

impl Http {
    /// Nothing is sent yet.
    pub(crate) async fn start(stream: TlsStream<TcpStream>) -> Result<Self, hyper::Error> {
        let (sender, driver) = Builder::new()
            .max_header_size(limits::HEAD_BYTES_MAX)
            .max_buf_size(limits::BUFFER_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await?;
        Ok(Self { sender, driver: Driver(Some(driver)) })
    }

    /// Sends a request and waits for the head of its answer. Where this future is dropped before
    /// its end, the connection is of no use any more.
    pub(crate) async fn send(
        &mut self,
        request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, Unanswered> {
        let Self { sender, driver } = self;
        let mut answer = pin!(sender.try_send_request(request));
        let answer = poll_fn(|context| {
            driver.run(context);
            answer.as_mut().poll(context)
        });
        answer.await.map_err(|mut error| match error.take_message() {
            Some(unsent) => Unanswered::NotSent(Box::new(unsent), error.into_error()),
            None => Unanswered::Lost(error.into_error()),
        })
    }

    /// The next part of an answer's body.
    pub(crate) fn poll_frame(
        &mut self,
        body: &mut Incoming,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match Pin::new(&mut *body).poll_frame(context) {
            Poll::Pending => {
                self.driver.run(context);
                Pin::new(body).poll_frame(context)
            }
            ready => ready,
        }
    }

    /// Whether the connection stands and takes a request now.
    pub(crate) fn is_idle(&mut self) -> bool {
        self.driver.run(&mut Context::from_waker(Waker::noop()));
        self.sender.is_ready()
    }

    /// Waits until it takes a request; false where it is closed.
    pub(crate) async fn idle(&mut self) -> bool {
        let idle = poll_fn(|context| {
            self.driver.run(context);
            self.sender.poll_ready(context)
        });
        idle.await.is_ok()
    }
}

impl Driver {
    /// Reads and writes what can be read and written now. What it fails with, the sender or the
    /// answer's body learns as well.
    fn run(&mut self, context: &mut Context<'_>) {
        if let Some(connection) = &mut self.0
            && Pin::new(connection).poll(context).is_ready()
        {
            self.0 = None;
        }
    }
}
