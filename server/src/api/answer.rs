//! What a call gives, and the response that it becomes.

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::web::Bytes;
use serde::Serialize;
use zeroize::Zeroizing;

use super::error::ApiError;
use super::limiter::Quota;
use super::{Exchange, RATE_LIMIT, RATE_REMAINING, RATE_RESET, REQUEST_ID, request, seconds_up};
use crate::model::{Id, IdKind, IdText, Revision};

/// Room for the JSON of most answers that are not lists.
const JSON_BYTES: usize = 512;

/// A call that went well.
pub struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
    pub(super) content_type: &'static str,
    pub(super) location: Option<String>,
    pub(super) revision: Option<Revision>,
    pub(super) object: Option<IdText>,
}

/// That something is done which leaves nothing to show.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct Done {
    success: bool,
    message: &'static str,
}

impl Answer {
    pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Self {
        Self::json_of(status, body, JSON_BYTES)
    }

    /// About so long.
    pub(super) fn json_of(status: StatusCode, body: &impl Serialize, bytes: usize) -> Self {
        let mut json = Vec::with_capacity(bytes);
        serde_json::to_writer(&mut json, body)
            .expect("structs of strings and numbers always serialize");
        Self::with_body(status, json.into())
    }

    /// One with a key or a value in it. The body is written once, into a buffer of its length, and
    /// wiped when it has been handed to the connection.
    pub(super) fn confidential(status: StatusCode, body: &impl Serialize) -> Self {
        let mut length = Length(0);
        let mut bytes = Zeroizing::new(Vec::new());
        let written = serde_json::to_writer(&mut length, body).and_then(|()| {
            bytes.reserve_exact(length.0);
            serde_json::to_writer(&mut *bytes, body)
        });
        written.expect("structs of strings and numbers always serialize");
        Self::with_body(status, Bytes::from_owner(bytes))
    }

    pub(super) fn with_body(status: StatusCode, body: Bytes) -> Self {
        let content_type = "application/json";
        Answer { status, body, content_type, location: None, revision: None, object: None }
    }

    pub(super) fn ok(body: &impl Serialize) -> Self {
        Self::json(StatusCode::OK, body)
    }

    /// For [`crate::benching`].
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Something is done that leaves nothing to show.
    pub(super) fn done(message: &'static str) -> Self {
        Self::ok(&Done { success: true, message })
    }

    /// Names the object in the log.
    pub(super) fn about<K: IdKind>(mut self, object: Id<K>) -> Self {
        self.object = Some(object.text());
        self
    }
}

/// Counts what is written.
struct Length(usize);

impl std::io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What is sent for an outcome.
pub(super) fn response(outcome: Result<Answer, ApiError>, exchange: &Exchange) -> HttpResponse {
    let request_id = exchange.origin.request.as_str();
    match outcome {
        Ok(Answer { status, body, content_type, location, revision, object: _ }) => {
            let mut response = HttpResponse::with_body(status, BoxBody::new(body));
            let headers = response.headers_mut();
            add_headers(headers, content_type, exchange);
            if let Some(location) = location {
                add(headers, header::LOCATION, location.as_bytes());
            }
            if let Some(revision) = revision {
                add(headers, header::ETAG, request::entity_tag(revision).as_bytes());
            }
            response
        }
        Err(error) => {
            let body = BoxBody::new(error.body(request_id));
            let mut response = HttpResponse::with_body(error.status(), body);
            let headers = response.headers_mut();
            add_headers(headers, "application/json", exchange);
            match &error {
                ApiError::MethodNotAllowed { allow } => {
                    add(headers, header::ALLOW, allow.as_bytes());
                }
                ApiError::RateLimited { retry_after_seconds } => {
                    headers.insert(header::RETRY_AFTER, (*retry_after_seconds).into());
                }
                ApiError::Busy => add(headers, header::RETRY_AFTER, b"1"),
                ApiError::Unauthorized => add(headers, header::WWW_AUTHENTICATE, b"Bearer"),
                _ => {}
            }
            response
        }
    }
}

/// The headers of every answer.
fn add_headers(headers: &mut HeaderMap, content_type: &'static str, exchange: &Exchange) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    add(headers, REQUEST_ID, exchange.origin.request.as_str().as_bytes());
    if let Some(Quota { limit, remaining, full_in }) = exchange.quota {
        let reset = exchange.now.unix_seconds().saturating_add(seconds_up(full_in));
        for (name, number) in
            [(RATE_LIMIT, limit), (RATE_REMAINING, remaining), (RATE_RESET, reset)]
        {
            headers.insert(name, number.into());
        }
    }
}

/// Adds a header with a value that is one: visible ASCII characters.
fn add(headers: &mut HeaderMap, name: HeaderName, value: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(value) {
        headers.insert(name, value);
    }
}
