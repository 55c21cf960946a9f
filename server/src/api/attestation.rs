//! `GET /v1/attestation?nonce=`

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use neo_secrets_attestation::binding::{Nonce, Role, leaf};

use super::body::Body;
use super::error::ApiError;
use super::query::Query;
use super::{Answer, Api, Connection};
use crate::evidence::EvidenceError;

/// Parameters of [`evidence`].
pub(super) const QUERY: &[&str] = &["nonce"];

/// Evidence that is fresh by the caller's nonce, for the caller's connection.
pub async fn evidence(
    api: &Api,
    request: &HttpRequest,
    query: &str,
    body: &mut Body,
) -> Result<Answer, ApiError> {
    body.none().await?;
    let query = Query::parse(query, QUERY)?;
    let nonce = query.value("nonce").ok_or_else(|| ApiError::field("nonce", "is required"))?;
    let nonce: Nonce =
        nonce.parse().map_err(|error| ApiError::field("nonce", format!("{error}")))?;
    let connection = request.conn_data::<Connection>();
    let exporter =
        connection.and_then(|connection| connection.exporter).ok_or(ApiError::Internal)?;
    match api.evidence.document(leaf(Role::Evidence, &nonce, &exporter)).await {
        Ok(body) => Ok(Answer { body: body.into(), ..Answer::json(StatusCode::OK, &()) }),
        Err(error @ (EvidenceError::QueueFull | EvidenceError::Late)) => {
            Err(ApiError::unavailable(format!("No evidence now: {error}. Try again.")))
        }
        Err(error @ EvidenceError::NoCertificates) => Err(ApiError::unavailable(format!(
            "No evidence now: {error}. Anybody can send them: neo-secrets endorsements update."
        ))),
        Err(EvidenceError::NotNow) => {
            Err(ApiError::unavailable("No evidence now: see /readyz, or the server's log."))
        }
    }
}
