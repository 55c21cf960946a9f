//! What the proxy answers by itself: the API's error body, with codes of its own where the API has
//! none.

use data_encoding::BASE64URL_NOPAD;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use neo_secrets_attestation::exchange::Refusal;
use serde_json::{Value, json};

use crate::connection::{OpenError, Refused};
use crate::limits;
use crate::proxy::pool::NoConnection;

pub(super) const REQUEST_ID: &str = "x-request-id";

/// Why a request was not answered by the instance.
#[derive(Debug)]
pub(super) enum Problem {
    /// 400: the request is malformed, or asks for what this proxy never does.
    Invalid(&'static str),
    /// 403: it comes from a web page, or calls the proxy by a name that is not its own.
    Forbidden(&'static str),
    /// 404: there is nothing at this path of the proxy's own.
    NotFound,
    /// 405.
    MethodNotAllowed,
    /// 408: the body stopped.
    Slow,
    /// 502: the evidence was refused; nothing of the request was sent.
    EvidenceRefused { message: String, details: Value },
    /// 502: there is no connection with evidence to look at; nothing of the request was sent.
    Unreachable(String),
    /// 502: the connection broke after the request had left.
    Lost,
    /// 503: not now; nothing of the request was sent.
    Unavailable(String),
    /// 504: no answer in time.
    Timeout,
}

impl From<&NoConnection> for Problem {
    fn from(error: &NoConnection) -> Self {
        match error {
            NoConnection::Open(OpenError::Refused(refused)) => refusal(refused),
            NoConnection::Open(OpenError::Connect(_)) | NoConnection::Tls(_) => {
                Self::Unreachable(error.to_string())
            }
            NoConnection::NotServing { .. } | NoConnection::TooManyWaiting | NoConnection::Late => {
                Self::Unavailable(error.to_string())
            }
        }
    }
}

fn refusal(refused: &Refused) -> Problem {
    match refused {
        // No evidence came, so none was refused: it is starting, busy or draining, or nothing of
        // ours answers there.
        Refused::Evidence(refusal @ Refusal::Answer { status: 429 | 503, .. }) => {
            Problem::Unavailable(refusal.to_string())
        }
        Refused::Evidence(refusal @ Refusal::Answer { .. }) => {
            Problem::Unreachable(refusal.to_string())
        }
        Refused::Evidence(refusal) => {
            let finding = refusal.finding();
            Problem::EvidenceRefused {
                message: format!(
                    "step {} does not hold: {}. Nothing of the request was sent.",
                    finding.step,
                    finding.step.title()
                ),
                details: json!({
                    "step": finding.step.number(),
                    "field": finding.field,
                    "got": finding.got,
                    "expected": finding.expected,
                }),
            }
        }
        Refused::FirmwareOnly(_) => Problem::EvidenceRefused {
            message: format!("{refused}. Nothing of the request was sent."),
            details: json!({ "field": "covers", "got": "firmware", "expected": "image" }),
        },
    }
}

impl Problem {
    fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::EvidenceRefused { .. } | Self::Unreachable(_) | Self::Lost => {
                StatusCode::BAD_GATEWAY
            }
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "INVALID_REQUEST",
            Self::Forbidden(_) => "FORBIDDEN",
            Self::NotFound => "NOT_FOUND",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::Slow => "REQUEST_TIMEOUT",
            Self::EvidenceRefused { .. } => "EVIDENCE_REFUSED",
            Self::Unreachable(_) => "UPSTREAM_UNREACHABLE",
            Self::Lost => "UPSTREAM_LOST",
            Self::Unavailable(_) => "SERVICE_UNAVAILABLE",
            Self::Timeout => "UPSTREAM_TIMEOUT",
        }
    }

    fn message(&self) -> &str {
        match self {
            Self::Invalid(message) | Self::Forbidden(message) => message,
            Self::EvidenceRefused { message, .. }
            | Self::Unreachable(message)
            | Self::Unavailable(message) => message,
            Self::NotFound => "The proxy has nothing at this path; it has /_proxy/status.",
            Self::MethodNotAllowed => "This path of the proxy takes GET and HEAD only.",
            Self::Slow => "The request's body stopped coming.",
            Self::Lost => {
                "The connection to the instance broke before its answer came. It may or may not \
                 have done what was asked: look before you repeat it."
            }
            Self::Timeout => {
                "The instance has not answered in time. It may or may not have done what was \
                 asked: look before you repeat it."
            }
        }
    }

    /// The API's error body.
    pub(super) fn into_response(self, request_id: &HeaderValue) -> Response<Full<Bytes>> {
        let mut error = json!({
            "code": self.code(),
            "message": self.message(),
            "requestId": request_id.to_str().unwrap_or_default(),
        });
        let mut response = Response::new(Full::default());
        let headers = response.headers_mut();
        match &self {
            Self::EvidenceRefused { details, .. } => error["details"] = details.clone(),
            Self::MethodNotAllowed => {
                headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            }
            Self::Unavailable(_) => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        headers.insert(REQUEST_ID, request_id.clone());
        *response.status_mut() = self.status();
        json_response(response, &json!({ "error": error }))
    }
}

/// Puts a JSON object into an answer of the proxy's own.
pub(super) fn json_response(
    mut response: Response<Full<Bytes>>,
    object: &Value,
) -> Response<Full<Bytes>> {
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.body_mut() = Full::new(format!("{object}\n").into());
    response
}

/// The caller's request id where it is one by the API's rule, else a new one.
pub(super) fn request_id(given: Option<HeaderValue>) -> HeaderValue {
    let fits = |id: &HeaderValue| {
        (1..=limits::REQUEST_ID_BYTES_MAX).contains(&id.len())
            && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    given.filter(fits).unwrap_or_else(|| {
        let mut random = [0; 12];
        // Without randomness a request still is answered; its id only tells it from others.
        let _ = getrandom::fill(&mut random);
        let id = format!("prx_{}", BASE64URL_NOPAD.encode(&random));
        HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("prx"))
    })
}
