//! Nobody is waited for without end: a caller that takes nothing of its answer, a body that stops.

use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A wait for the other end's next sign of life. What goes on at once costs no timer.
pub(super) struct Patience {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, timer: None }
    }

    /// Something went on.
    pub(super) fn renew(&mut self) {
        self.timer = None;
    }

    /// Ready where nothing went on for too long.
    pub(super) fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        self.timer.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(context)
    }
}

/// A caller's connection, which fails where the caller takes no byte for too long.
pub(super) struct Patient<T> {
    io: T,
    patience: Patience,
}

impl<T> Patient<T> {
    pub(super) fn new(io: T, patience: Patience) -> Self {
        Self { io, patience }
    }

    fn limit<R>(
        &mut self,
        progress: Poll<io::Result<R>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<R>> {
        if progress.is_ready() {
            self.patience.renew();
            return progress;
        }
        self.patience.poll_over(context).map(|()| Err(ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Patient<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Patient<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        self.limit(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(context, parts);
        self.limit(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn a_caller_that_takes_nothing_is_left() {
        let limit = Duration::from_millis(20);
        let (here, mut there) = duplex(4);
        let mut here = Patient::new(here, Patience::new(limit));
        here.write_all(b"four").await.unwrap();
        let error = here.write_all(b"more").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        there.read_exact(&mut [0; 4]).await.unwrap();
        here.write_all(b"more").await.unwrap();
    }

    #[tokio::test]
    async fn one_that_takes_a_little_at_a_time_is_waited_for() {
        let limit = Duration::from_secs(600);
        let (here, mut there) = duplex(1);
        let mut here = Patient::new(here, Patience::new(limit));
        let reader = tokio::spawn(async move {
            let mut read = Vec::new();
            there.read_to_end(&mut read).await.unwrap();
            read
        });
        here.write_all(b"byte by byte").await.unwrap();
        here.shutdown().await.unwrap();
        drop(here);
        assert_eq!(reader.await.unwrap(), b"byte by byte");
    }
}
