//! The API's errors: one variant per code of the contract, and one body for all of them.

use std::borrow::Cow;

use actix_web::http::StatusCode;
use serde::Serialize;

use super::text::printable;
use crate::model::{ExecutionFault, ExecutionId};

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
    /// 400: code whose syntax is wrong.
    FunctionCompile {
        /// What is wrong, and where.
        message: String,
        /// What is wrong.
        issue: String,
        /// From 1.
        line: u32,
        /// From 1.
        column: u32,
    },
    /// 400: an execution took more memory than its function has.
    MemoryLimitExceeded {
        /// Its record.
        execution: ExecutionId,
    },
    /// 429: all workers are at work, and the account has its share of the queue.
    Busy,
    /// 500: a function's code threw, or its worker was lost.
    ExecutionFailed {
        /// What it threw.
        fault: Box<ExecutionFault>,
        /// Its record.
        execution: ExecutionId,
    },
    /// 504: an execution took longer than its function may.
    ExecutionTimeout {
        /// Its record.
        execution: ExecutionId,
    },
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
}

impl ApiError {
    /// 400 for one field: `issue` is the rule that it breaks, as a phrase ("must be ...").
    pub fn field(name: &str, issue: impl Into<String>) -> Self {
        let (name, issue) = (printable(name), issue.into());
        let message = format!("{name}: {issue}").into();
        ApiError::Invalid { message, field: Some(Field { name, issue }) }
    }

    /// 400 for code that does not compile, by the place that is wrong: line and column, from 1.
    pub fn compile(issue: String, line: u32, column: u32) -> Self {
        let message = format!("code: {issue} (line {line}, column {column})");
        ApiError::FunctionCompile { message, issue, line, column }
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
            ApiError::Invalid { .. }
            | ApiError::FunctionCompile { .. }
            | ApiError::MemoryLimitExceeded { .. } => StatusCode::BAD_REQUEST,
            ApiError::Unauthorized => StatusCode::UNAUTHORIZED,
            ApiError::Forbidden(_) => StatusCode::FORBIDDEN,
            ApiError::UnknownPath | ApiError::NotFound => StatusCode::NOT_FOUND,
            ApiError::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            ApiError::Conflict(_) => StatusCode::CONFLICT,
            ApiError::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            ApiError::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ApiError::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ApiError::RateLimited { .. } | ApiError::Busy => StatusCode::TOO_MANY_REQUESTS,
            ApiError::Internal | ApiError::ExecutionFailed { .. } => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            ApiError::ExecutionTimeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            ApiError::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            ApiError::QuotaExceeded(_) => StatusCode::INSUFFICIENT_STORAGE,
        }
    }

    /// The contract's code.
    pub fn code(&self) -> &'static str {
        match self {
            ApiError::Invalid { .. } => "INVALID_REQUEST",
            ApiError::Unauthorized => "UNAUTHORIZED",
            ApiError::Forbidden(_) => "FORBIDDEN",
            ApiError::UnknownPath | ApiError::NotFound => "NOT_FOUND",
            ApiError::MethodNotAllowed { .. } => "METHOD_NOT_ALLOWED",
            ApiError::Conflict(_) => "CONFLICT",
            ApiError::PreconditionFailed => "PRECONDITION_FAILED",
            ApiError::PayloadTooLarge => "PAYLOAD_TOO_LARGE",
            ApiError::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
            ApiError::RateLimited { .. } | ApiError::Busy => "RATE_LIMIT_EXCEEDED",
            ApiError::FunctionCompile { .. } => "FUNCTION_COMPILE_ERROR",
            ApiError::MemoryLimitExceeded { .. } => "MEMORY_LIMIT_EXCEEDED",
            ApiError::ExecutionFailed { .. } => "EXECUTION_ERROR",
            ApiError::ExecutionTimeout { .. } => "EXECUTION_TIMEOUT",
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
            ApiError::MemoryLimitExceeded { .. } => "The function took more memory than it may.",
            ApiError::Busy => "All workers are busy: try again.",
            ApiError::ExecutionFailed { .. } => "The function threw an error.",
            ApiError::ExecutionTimeout { .. } => "The function took more time than it may.",
            ApiError::RateLimited { .. } => "Too many requests: try again later.",
            ApiError::Internal => "The server failed. The request id finds the cause in its log.",
        }
    }

    /// The contract's body.
    pub fn body(&self, request_id: &str) -> String {
        let details = match self {
            ApiError::Invalid { field, .. } => field.clone().map(Details::Field),
            ApiError::Unavailable { phase: Some(phase), .. } => {
                let (name, issue) = ("phase".to_owned(), (*phase).to_owned());
                Some(Details::Field(Field { name, issue }))
            }
            ApiError::FunctionCompile { message: _, issue, line, column } => {
                let (line, column) = (*line, *column);
                Some(Details::Syntax(Syntax { field: "code", issue, line, column }))
            }
            ApiError::MemoryLimitExceeded { execution }
            | ApiError::ExecutionTimeout { execution } => {
                Some(Details::Ended(Ended { execution_id: *execution }))
            }
            ApiError::ExecutionFailed { fault, execution } => Some(Details::Thrown(Thrown {
                name: fault.name(),
                message: fault.message(),
                stack: fault.stack(),
                execution_id: *execution,
            })),
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
    #[cfg_attr(test, schema(value_type = Details))]
    details: Option<Details<'a>>,
    request_id: &'a str,
}

/// What is at fault.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = FaultDetails))]
#[serde(untagged)]
enum Details<'a> {
    Field(Field),
    Syntax(Syntax<'a>),
    Thrown(Thrown<'a>),
    Ended(Ended),
}

/// Where code's syntax is wrong.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = SyntaxAtFault))]
struct Syntax<'a> {
    field: &'static str,
    issue: &'a str,
    line: u32,
    column: u32,
}

/// What code threw; the execution's record has its log.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = ThrownByCode))]
#[serde(rename_all = "camelCase")]
struct Thrown<'a> {
    name: &'a str,
    message: &'a str,
    stack: &'a str,
    execution_id: ExecutionId,
}

/// Which execution was ended; its record has its log.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = EndedExecution))]
#[serde(rename_all = "camelCase")]
struct Ended {
    execution_id: ExecutionId,
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
