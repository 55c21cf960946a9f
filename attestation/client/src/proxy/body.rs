//! Bodies on their way through, a part at a time: neither is ever here as a whole.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

use crate::connection::http::{BoxError, Outgoing};
use crate::limits;
use crate::proxy::patience::Patience;
use crate::proxy::pool::{Pool, Upstream};

/// An answer's body: the proxy's own, or one that comes from the instance.
pub(super) type Answering = Either<Full<Bytes>, Download>;

/// A body stopped coming.
#[derive(Debug, thiserror::Error)]
#[error("nothing came for {} s", limits::PROXY_STALL_TIMEOUT.as_secs())]
pub(super) struct Stalled;

/// The body that a caller sends, as a connection to the instance takes it.
pub(super) fn upload(body: Incoming) -> Outgoing {
    if body.is_end_stream() {
        return Either::Left(Full::default());
    }
    Either::Right(
        Upload { body, patience: Patience::new(limits::PROXY_STALL_TIMEOUT) }.boxed_unsync(),
    )
}

struct Upload {
    body: Incoming,
    patience: Patience,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => {
                self.patience.renew();
                Poll::Ready(frame.map(|frame| Ok(frame?)))
            }
            Poll::Pending => self.patience.poll_over(context).map(|()| Some(Err(Stalled.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer of the instance. With its end the connection goes back to the pool; where
/// it is dropped before that, the connection is closed.
pub(super) struct Download {
    body: Incoming,
    upstream: Option<Upstream>,
    pool: Arc<Pool>,
    patience: Patience,
}

impl Download {
    pub(super) fn new(body: Incoming, upstream: Upstream, pool: Arc<Pool>) -> Self {
        let patience = Patience::new(limits::PROXY_STALL_TIMEOUT);
        let mut download = Self { body, upstream: Some(upstream), pool, patience };
        if download.body.is_end_stream() {
            download.end();
        }
        download
    }

    fn end(&mut self) {
        if let Some(upstream) = self.upstream.take() {
            self.pool.give_back(upstream);
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Some(upstream) = &mut this.upstream else { return Poll::Ready(None) };
        let Poll::Ready(frame) = upstream.http().poll_frame(&mut this.body, context) else {
            return this.patience.poll_over(context).map(|()| Some(Err(Stalled.into())));
        };
        this.patience.renew();
        match frame {
            Some(Ok(frame)) => {
                if this.body.is_end_stream() {
                    this.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                this.upstream = None;
                Poll::Ready(Some(Err(error.into())))
            }
            None => {
                this.end();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.upstream.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
