//! Reading bodies: bounded, timed, and wiped.

use actix_web::http::header::{self, HeaderMap};
use actix_web::web::{Bytes, Payload};
use zeroize::Zeroize;

use super::error::ApiError;
use super::json::Object;
use crate::limits;

/// A request's body; can be read once.
pub struct Body {
    payload: Option<Payload>,
    declared_bytes: Option<u64>,
    is_json: bool,
}

impl Body {
    /// The body that goes with these headers.
    pub fn new(headers: &HeaderMap, payload: Payload) -> Self {
        let declared_bytes = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        Body { payload: Some(payload), declared_bytes, is_json: is_json(headers) }
    }

    /// Reads a JSON object with these fields, from at most `bytes_max` bytes.
    ///
    /// # Errors
    /// 415, 413, 400
    pub async fn json(&mut self, known: &[&str], bytes_max: usize) -> Result<Object, ApiError> {
        let bytes = self.read(bytes_max).await?;
        if !self.is_json && !bytes.is_empty() {
            wipe(bytes);
            return Err(ApiError::UnsupportedMediaType);
        }
        let object = Object::parse(&bytes, known);
        wipe(bytes);
        object
    }

    /// Makes sure that there is no body.
    ///
    /// # Errors
    /// 413, 400
    pub async fn none(&mut self) -> Result<(), ApiError> {
        if self.declared_bytes.is_some_and(|bytes| bytes > limits::BODY_BYTES as u64) {
            return Err(ApiError::PayloadTooLarge);
        }
        self.read(0).await.map(drop).map_err(|error| match error {
            ApiError::PayloadTooLarge => ApiError::invalid("This call takes no body."),
            error => error,
        })
    }

    async fn read(&mut self, bytes_max: usize) -> Result<Bytes, ApiError> {
        if self.declared_bytes.is_some_and(|bytes| bytes > bytes_max as u64) {
            return Err(ApiError::PayloadTooLarge);
        }
        let Some(payload) = self.payload.take() else { return Ok(Bytes::new()) };
        let read = payload.to_bytes_limited(bytes_max);
        match tokio::time::timeout(limits::BODY_TIMEOUT, read).await {
            Ok(Ok(Ok(bytes))) => Ok(bytes),
            Ok(Ok(Err(_))) => Err(ApiError::invalid("The body ended before it was whole.")),
            Ok(Err(_)) => Err(ApiError::PayloadTooLarge),
            Err(_) => Err(ApiError::invalid("The body took too long to arrive.")),
        }
    }

    /// Drops what is left of a small body, so that the connection, which the client has verified, stays.
    /// After a large or slow one the connection closes.
    pub async fn discard(&mut self) {
        let Some(payload) = self.payload.take() else { return };
        if self.declared_bytes.is_some_and(|bytes| bytes > limits::DISCARD_BYTES as u64) {
            return;
        }
        let read = payload.to_bytes_limited(limits::DISCARD_BYTES);
        if let Ok(Ok(Ok(bytes))) = tokio::time::timeout(limits::DISCARD_TIMEOUT, read).await {
            wipe(bytes);
        }
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

/// A body may hold a secret's value. Best effort: the connection's own buffers are not ours to wipe.
fn wipe(bytes: Bytes) {
    if let Ok(mut bytes) = bytes.try_into_mut() {
        bytes.as_mut().zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

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
