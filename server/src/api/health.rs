//! `/healthz` and `/readyz`.

use serde::Serialize;

use super::Answer;
use super::body::Body;
use super::error::ApiError;
use super::query::Query;
use crate::clock::Suspicion;
use crate::phase::{Instance, Phase, ProcessorState};

/// That all is well.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct Health {
    status: &'static str,
    /// Where an operator has to look all the same: a word of OPERATIONS.md and a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(value_type = String, required = false))]
    warning: Option<&'static str>,
}

/// The process lives.
pub async fn live(query: &str, body: &mut Body) -> Result<Answer, ApiError> {
    body.none().await?;
    Query::parse(query, &[])?;
    Ok(Answer::ok(&Health { status: "ok", warning: None }))
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
    let warning = instance.clock().suspicion().map(|suspicion| match suspicion {
        Suspicion::Behind => {
            "clock-suspect: the machine's clock is behind the time that the store has sealed, which \
             goes on; its owner may set it: neo-secrets set-clock"
        }
        Suspicion::Ahead => {
            "clock-suspect: the machine's clock is more than a week ahead of the time that the store \
             has sealed, which goes on; its owner may set it: neo-secrets set-clock"
        }
    });
    Ok(Answer::ok(&Health { status: "serving", warning }))
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
