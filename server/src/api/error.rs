//! The API's errors: one variant per code of the contract, and one body for all of them.

use std::borrow::Cow;

use actix_web::http::StatusCode;
use serde::Serialize;

use super::text::printable;

/// A failed call. The message is written for the caller: it names no internals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiError {
    /// 400: malformed, missing or out-of-range input.
    Invalid {
        /// One sentence.
        message: Cow<'static, str>,
        /// The field at fault, where one is.
        field: Option<Field>,
    },
    /// 400: a function's code is no JavaScript.
    FunctionCompile {
        /// One sentence, and where the code is wrong.
        message: String,
        /// The same for programs.
        field: Field,
    },
    /// 401: no key, or none that is valid. Never says which.
    Unauthorized,
    /// 403: the key is known and the permission missing, or the claimant is not the owner.
    Forbidden(Cow<'static, str>),
    /// 404: no such path.
    UnknownPath,
    /// 404: no such object for this account.
    NotFound,
    /// 405, with the methods that the path has.
    MethodNotAllowed {
        /// Value of `Allow`.
        allow: String,
    },
    /// 409.
    Conflict(Cow<'static, str>),
    /// 412: `If-Match` does not name the current revision.
    PreconditionFailed,
    /// 413.
    PayloadTooLarge,
    /// 415.
    UnsupportedMediaType,
    /// 429.
    RateLimited {
        /// Value of `Retry-After`, in seconds.
        retry_after_seconds: u64,
    },
    /// 500: a fault of this server; the log has the cause.
    Internal,
    /// 503: cannot serve this now.
    Unavailable {
        /// One sentence, or a reason code, a colon and a sentence.
        message: Cow<'static, str>,
        /// The phase, where that is why (`/readyz`).
        phase: Option<&'static str>,
    },
    /// 507.
    QuotaExceeded(Cow<'static, str>),
}

/// A field at fault, and the rule that it breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = FieldAtFault))]
pub struct Field {
    #[serde(rename = "field")]
    name: String,
    issue: String,
    /// Where the field is code: its line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(value_type = u32))]
    line: Option<u32>,
    /// The column, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(value_type = u32))]
    column: Option<u32>,
}

impl Field {
    fn new(name: String, issue: String) -> Self {
        Field { name, issue, line: None, column: None }
    }
}

impl ApiError {
    /// 400 for one field: `issue` is the rule that it breaks, as a phrase ("must be ...").
    pub fn field(name: &str, issue: impl Into<String>) -> Self {
        let (name, issue) = (printable(name), issue.into());
        let message = format!("{name}: {issue}").into();
        ApiError::Invalid { message, field: Some(Field::new(name, issue)) }
    }

    /// 400 for code that does not compile, by the place that is wrong.
    pub fn compile(issue: String, line: u32, column: u32) -> Self {
        let message = format!("code: {issue} (line {line}, column {column})");
        let (line, column) = (Some(line), Some(column));
        let field = Field { line, column, ..Field::new("code".to_owned(), issue) };
        ApiError::FunctionCompile { message, field }
    }

    /// 400 for the request as a whole.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        ApiError::Invalid { message: message.into(), field: None }
    }

    /// 503 with one sentence.
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        ApiError::Unavailable { message: message.into(), phase: None }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            ApiError::Invalid { .. } | ApiError::FunctionCompile { .. } => StatusCode::BAD_REQUEST,
            ApiError::Unauthorized => StatusCode::UNAUTHORIZED,
            ApiError::Forbidden(_) => StatusCode::FORBIDDEN,
            ApiError::UnknownPath | ApiError::NotFound => StatusCode::NOT_FOUND,
            ApiError::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            ApiError::Conflict(_) => StatusCode::CONFLICT,
            ApiError::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            ApiError::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ApiError::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ApiError::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            ApiError::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            ApiError::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            ApiError::QuotaExceeded(_) => StatusCode::INSUFFICIENT_STORAGE,
        }
    }

    /// The contract's code.
    pub fn code(&self) -> &'static str {
        match self {
            ApiError::Invalid { .. } => "INVALID_REQUEST",
            ApiError::FunctionCompile { .. } => "FUNCTION_COMPILE_ERROR",
            ApiError::Unauthorized => "UNAUTHORIZED",
            ApiError::Forbidden(_) => "FORBIDDEN",
            ApiError::UnknownPath | ApiError::NotFound => "NOT_FOUND",
            ApiError::MethodNotAllowed { .. } => "METHOD_NOT_ALLOWED",
            ApiError::Conflict(_) => "CONFLICT",
            ApiError::PreconditionFailed => "PRECONDITION_FAILED",
            ApiError::PayloadTooLarge => "PAYLOAD_TOO_LARGE",
            ApiError::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
            ApiError::RateLimited { .. } => "RATE_LIMIT_EXCEEDED",
            ApiError::Internal => "INTERNAL_ERROR",
            ApiError::Unavailable { .. } => "SERVICE_UNAVAILABLE",
            ApiError::QuotaExceeded(_) => "QUOTA_EXCEEDED",
        }
    }

    fn message(&self) -> &str {
        match self {
            ApiError::Invalid { message, .. }
            | ApiError::Forbidden(message)
            | ApiError::Conflict(message)
            | ApiError::Unavailable { message, .. }
            | ApiError::QuotaExceeded(message) => message,
            ApiError::FunctionCompile { message, .. } => message,
            ApiError::Unauthorized => "A valid API key is required.",
            ApiError::UnknownPath => "There is nothing at this path.",
            ApiError::NotFound => "There is no such object.",
            ApiError::MethodNotAllowed { .. } => "This path does not have this method.",
            ApiError::PreconditionFailed => "If-Match does not name the current revision.",
            ApiError::PayloadTooLarge => {
                "The body is larger than this call takes; none takes more than 1 MiB."
            }
            ApiError::UnsupportedMediaType => {
                "The body must be application/json in UTF-8, without a content coding."
            }
            ApiError::RateLimited { .. } => "Too many requests: try again later.",
            ApiError::Internal => "The server failed. The request id finds the cause in its log.",
        }
    }

    /// The contract's body.
    pub fn body(&self, request_id: &str) -> String {
        let details = match self {
            ApiError::Invalid { field, .. } => field.clone(),
            ApiError::FunctionCompile { field, .. } => Some(field.clone()),
            ApiError::Unavailable { phase: Some(phase), .. } => {
                Some(Field::new("phase".to_owned(), (*phase).to_owned()))
            }
            _ => None,
        };
        let error = Body { code: self.code(), message: self.message(), details, request_id };
        serde_json::to_string(&Envelope { error }).expect("strings always serialize")
    }
}

/// The body of every failure.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Error))]
pub(super) struct Envelope<'a> {
    error: Body<'a>,
}

/// What failed, why, and in which request.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Fault))]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    code: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Field>,
    request_id: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fields_error_has_the_contracts_body() {
        let error = ApiError::field("name", "is required");
        let body: serde_json::Value = serde_json::from_str(&error.body("r-1")).unwrap();
        let expected = serde_json::json!({"error": {
            "code": "INVALID_REQUEST", "message": "name: is required",
            "details": {"field": "name", "issue": "is required"}, "requestId": "r-1",
        }});
        assert_eq!((body, error.status().as_u16()), (expected, 400));
    }

    #[test]
    fn details_are_absent_where_no_field_is_at_fault() {
        let body: serde_json::Value =
            serde_json::from_str(&ApiError::Unauthorized.body("r")).unwrap();
        let members: Vec<_> = body["error"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(members, ["code", "message", "requestId"]);
    }
}
