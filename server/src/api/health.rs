//! `/healthz` and `/readyz`.

use serde::Serialize;

use super::Answer;
use super::body::Body;
use super::error::ApiError;
use super::query::Query;
use crate::phase::{Instance, Phase, ProcessorState};

/// That all is well.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct Health {
    status: &'static str,
}

/// The process lives.
pub async fn live(query: &str, body: &mut Body) -> Result<Answer, ApiError> {
    body.none().await?;
    Query::parse(query, &[])?;
    Ok(Answer::ok(&Health { status: "ok" }))
}

/// Whether the instance serves, and if not, why not.
pub async fn ready(instance: &Instance, query: &str, body: &mut Body) -> Result<Answer, ApiError> {
    body.none().await?;
    Query::parse(query, &[])?;
    let phase = instance.phase();
    let Phase::Serving(serving) = &*phase else { return Err(unavailable(&phase)) };
    let fault = |message: String| {
        Err(ApiError::Unavailable { message: message.into(), phase: Some(phase.name()) })
    };
    if serving.has_failed() {
        return fault("store-failed: a write failed; the server must be restarted".to_owned());
    }
    if let ProcessorState::Dead(reason) = instance.processor_state() {
        return fault(format!("processor-lost: no evidence until the machine restarts: {reason}"));
    }
    Ok(Answer::ok(&Health { status: "serving" }))
}

/// 503, for every phase but `Serving`: a code and a sentence.
pub fn unavailable(phase: &Phase) -> ApiError {
    let message = match phase {
        Phase::Starting => {
            "starting: the secure processor and the store are being looked at".into()
        }
        Phase::Sealed(sealed) => format!("{}: {}", sealed.reason.code, sealed.reason.text).into(),
        Phase::Unclaimed(_) => "unclaimed: the instance has no owner yet".into(),
        Phase::Serving(_) => "serving".into(),
        Phase::Draining => "draining: the server is ending".into(),
    };
    ApiError::Unavailable { message, phase: Some(phase.name()) }
}
