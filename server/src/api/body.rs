//! Reading bodies: bounded, timed, and wiped.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::body::{BodyStream, MessageBody};
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::{Bytes, Payload};
use tokio::sync::{Semaphore, SemaphorePermit};
use zeroize::Zeroizing;

use super::error::ApiError;
use super::json::{Object, RawObject};
use super::request;
use crate::connection::Framing;
use crate::limits;

/// A request's body; can be read once.
pub struct Body {
    stream: BodyStream<Payload>,
    /// 0 where the head doesn't say.
    declared_bytes: u64,
    is_json: bool,
    /// Whether the library would take what follows on the connection for more of it.
    is_endless: bool,
    is_over: bool,
    is_broken: bool,
    room: &'static Semaphore,
    taken: Option<SemaphorePermit<'static>>,
}

/// Room for the large bodies of all requests, in bytes.
pub static ROOM: Semaphore = Semaphore::const_new(limits::LARGE_BODIES_BYTES);

impl Body {
    /// The body of this request, framed like this; a large one takes its place in the room until it
    /// is dropped.
    pub fn new(
        request: &HttpRequest,
        framing: Framing,
        payload: Payload,
        room: &'static Semaphore,
    ) -> Self {
        let is_endless = request::takes_all_that_follows(request, framing);
        Body {
            stream: BodyStream::new(payload),
            declared_bytes: match framing {
                Framing::Length(bytes) => bytes,
                Framing::Chunked => 0,
            },
            // Nobody asks of which kind nothing is.
            is_json: framing != Framing::Length(0) && is_json(request.headers()),
            is_endless,
            is_over: framing == Framing::Length(0) && !is_endless,
            is_broken: false,
            room,
            taken: None,
        }
    }

    /// Whether it has turned out never to end: neither will a next request come.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Reads a JSON object with these fields, from at most `bytes_max` bytes.
    ///
    /// # Errors
    /// 415, 413, 400
    pub async fn json(&mut self, known: &[&str], bytes_max: usize) -> Result<Object, ApiError> {
        Object::parse(&self.json_bytes(bytes_max).await?, known)
    }

    /// As [`Body::json`]; the fields may hold whatever JSON there is.
    ///
    /// # Errors
    /// 415, 413, 400
    pub async fn raw_json(
        &mut self,
        known: &[&str],
        bytes_max: usize,
    ) -> Result<RawObject, ApiError> {
        RawObject::parse(&self.json_bytes(bytes_max).await?, known)
    }

    async fn json_bytes(&mut self, bytes_max: usize) -> Result<Zeroizing<Vec<u8>>, ApiError> {
        if self.is_endless {
            return Err(ApiError::invalid("A request to change protocols has no body here."));
        }
        let bytes = self.read(bytes_max).await?;
        if !self.is_json && !bytes.is_empty() {
            return Err(ApiError::UnsupportedMediaType);
        }
        Ok(bytes)
    }

    /// Makes sure that there is no body.
    ///
    /// # Errors
    /// 413, 400
    pub async fn none(&mut self) -> Result<(), ApiError> {
        if self.is_endless && self.declared_bytes == 0 {
            // The connection ends with the answer, since the library waits for more.
            return Ok(());
        }
        if self.declares_more_than(limits::BODY_BYTES) {
            return Err(ApiError::PayloadTooLarge);
        }
        if self.is_over {
            return Ok(());
        }
        // In a box, as what few calls need: the future of every request has room for all of its own.
        Box::pin(self.read(0)).await.map(drop).map_err(|error| match error {
            ApiError::PayloadTooLarge => ApiError::invalid("This call takes no body."),
            error => error,
        })
    }

    /// Reads and drops what is left of the body. Without that, the connection, which the client has
    /// verified, would have to close, and be reset, which costs some clients the answer. A body
    /// that goes on for too long even for this ends that way.
    pub async fn discard(&mut self) {
        if self.is_endless || self.is_over {
            return;
        }
        let drop_all = async { while let Some(Ok(_)) = self.next().await {} };
        // In time or not, it is over.
        let _late = Box::pin(tokio::time::timeout(limits::DISCARD_TIMEOUT, drop_all)).await;
    }

    /// The bytes, wiped when dropped: one of them may be a secret's value. Best effort, since the
    /// connection's own buffers are not ours to wipe.
    async fn read(&mut self, bytes_max: usize) -> Result<Zeroizing<Vec<u8>>, ApiError> {
        self.read_within(bytes_max, limits::BODY_TIMEOUT).await
    }

    async fn read_within(
        &mut self,
        bytes_max: usize,
        patience: Duration,
    ) -> Result<Zeroizing<Vec<u8>>, ApiError> {
        if self.declares_more_than(bytes_max) {
            return Err(ApiError::PayloadTooLarge);
        }
        let read_all = async {
            let mut bytes = Zeroizing::new(Vec::new());
            while let Some(chunk) = self.next().await {
                let chunk =
                    chunk.map_err(|()| ApiError::invalid("The body ended before it was whole."))?;
                if chunk.len() > bytes_max - bytes.len() {
                    return Err(ApiError::PayloadTooLarge);
                }
                let length = bytes.len() + chunk.len();
                let held = bytes.len().max(limits::SMALL_BODY_BYTES);
                self.take_room(length.saturating_sub(held))?;
                if length > bytes.capacity() {
                    // By what came, not by what was declared; and no copy is left behind.
                    let grown = Vec::with_capacity(length.next_power_of_two());
                    let small = std::mem::replace(&mut bytes, Zeroizing::new(grown));
                    bytes.extend_from_slice(&small);
                }
                bytes.extend_from_slice(&chunk);
            }
            Ok(bytes)
        };
        let mut read_all = pin!(read_all);
        // Most requests have no body, or theirs is there already: those need no timer.
        let at_once = poll_fn(|context| Poll::Ready(read_all.as_mut().poll(context))).await;
        if let Poll::Ready(read) = at_once {
            return read;
        }
        tokio::time::timeout(patience, read_all)
            .await
            .map_err(|_| ApiError::invalid("The body took too long to arrive."))?
    }

    fn take_room(&mut self, bytes: usize) -> Result<(), ApiError> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let full = |_| ApiError::unavailable("Too many large bodies are on their way. Try again.");
        let more = self.room.try_acquire_many(bytes).map_err(full)?;
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            None => self.taken = Some(more),
        }
        Ok(())
    }

    async fn next(&mut self) -> Option<Result<Bytes, ()>> {
        if self.is_over {
            return None;
        }
        let chunk = poll_fn(|context| Pin::new(&mut self.stream).poll_next(context)).await;
        self.is_over = !matches!(chunk, Some(Ok(_)));
        self.is_broken = matches!(chunk, Some(Err(_)));
        chunk.map(|chunk| chunk.map_err(drop))
    }

    fn declares_more_than(&self, bytes_max: usize) -> bool {
        self.declared_bytes > bytes_max as u64
    }
}

/// `application/json`, in UTF-8, and not compressed.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE);
    let (Some(content_type), None) = (types.next(), types.next()) else { return false };
    let Ok(content_type) = content_type.to_str() else { return false };
    let mut parts = content_type.split(';').map(str::trim);
    let json = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("application/json"));
    let utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    let plain = headers
        .get_all(header::CONTENT_ENCODING)
        .all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    json && utf8 && plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_http::h1;
    use actix_web::FromRequest;
    use actix_web::test::TestRequest;

    /// Goes with the process.
    fn room(bytes: usize) -> &'static Semaphore {
        Box::leak(Box::new(Semaphore::new(bytes)))
    }

    async fn body_of(payload: h1::Payload, room: &'static Semaphore) -> Body {
        let request = TestRequest::default().to_http_request();
        let payload = Payload::from_request(&request, &mut payload.into()).await.unwrap();
        Body::new(&request, Framing::Chunked, payload, room)
    }

    #[tokio::test]
    async fn large_bodies_share_their_room_and_give_it_back() {
        let room = room(100);
        let read = async |bytes: usize| {
            let (mut sender, payload) = h1::Payload::create(false);
            let mut body = body_of(payload, room).await;
            // In two pieces: small first, then to its whole length.
            sender.feed_data("x".repeat(bytes.min(10)).into());
            sender.feed_data("x".repeat(bytes.saturating_sub(10)).into());
            sender.feed_eof();
            let read = body.read(limits::BODY_BYTES).await.map(|bytes| bytes.len());
            (read, body)
        };
        let small = limits::SMALL_BODY_BYTES;
        let full = ApiError::unavailable("Too many large bodies are on their way. Try again.");
        let (first, held) = read(small + 60).await;
        assert_eq!((first, room.available_permits()), (Ok(small + 60), 40));
        assert_eq!(read(small + 41).await.0, Err(full));
        assert_eq!(read(small).await.0, Ok(small), "a small one needs none");
        assert_eq!(read(small + 40).await.0, Ok(small + 40));
        drop(held);
        assert_eq!(room.available_permits(), 100);
    }

    #[tokio::test]
    async fn a_body_that_comes_too_slowly_or_too_large_is_not_waited_for() {
        let short = Duration::from_millis(20);
        let (mut sender, payload) = h1::Payload::create(false);
        let mut body = body_of(payload, &ROOM).await;
        sender.feed_data("{\"name\":".into());
        let late = ApiError::invalid("The body took too long to arrive.");
        assert_eq!(body.read_within(100, short).await.err(), Some(late));
        sender.feed_data("x".repeat(100).into());
        let large = body.read_within(99, limits::BODY_TIMEOUT).await;
        assert_eq!(large.err(), Some(ApiError::PayloadTooLarge));
        assert!(!body.is_broken());
        let (mut sender, payload) = h1::Payload::create(false);
        let mut body = body_of(payload, &ROOM).await;
        sender.set_error(actix_web::error::PayloadError::Incomplete(None));
        let ended = ApiError::invalid("The body ended before it was whole.");
        assert_eq!(body.read_within(100, limits::BODY_TIMEOUT).await.err(), Some(ended));
        assert!(body.is_broken());
    }

    #[test]
    fn knows_json_in_utf8() {
        let json = |value: &str| {
            is_json(
                TestRequest::default()
                    .insert_header(("content-type", value))
                    .to_http_request()
                    .headers(),
            )
        };
        for good in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "application/json; profile=x",
        ] {
            assert!(json(good), "{good}");
        }
        for bad in [
            "",
            "text/plain",
            "application/jsonp",
            "application/x-www-form-urlencoded",
            "application/json; charset=latin1",
            "application/problem+json",
        ] {
            assert!(!json(bad), "{bad}");
        }
        let packed = TestRequest::default()
            .insert_header(("content-type", "application/json"))
            .insert_header(("content-encoding", "gzip"))
            .to_http_request();
        assert!(!is_json(packed.headers()));
        assert!(!is_json(&HeaderMap::new()));
    }
}
