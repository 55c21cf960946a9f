//! `GET` and `PUT /v1/configuration`: the owner accepts a configuration that differs from the one
//! before. Neither asks for a key: the store is closed, and what is sent is signed by the owner's key
//! pair.

use actix_web::HttpRequest;
use neo_secrets_attestation::config::AttestedConfig;
use serde::Serialize;

use super::body::Body;
use super::error::ApiError;
use super::query::Query;
use super::{Answer, Api, fields, health};
use crate::audit::Origin;
use crate::limits;
use crate::phase::{AcceptConfigError, Pending};
use crate::store::{AcceptError, StoreFailure};

/// Fields of [`accept`].
pub(super) const FIELDS: &[&str] = &["number", "signature"];

/// A configuration that waits for the owner.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub(super) struct Waiting {
    #[cfg_attr(test, schema(value_type = super::openapi::StoreIdText))]
    store_id: String,
    /// The number of the owner's next act, which the signature is over.
    number: u64,
    /// What the owner has accepted before.
    #[cfg_attr(test, schema(value_type = super::openapi::AttestedConfigObject))]
    accepted: AttestedConfig,
    /// The keys in which this start's configuration differs.
    differing: Vec<&'static str>,
}

/// What there is to accept.
pub async fn waiting(api: &Api, query: &str, body: &mut Body) -> Result<Answer, ApiError> {
    body.none().await?;
    Query::parse(query, &[])?;
    let Pending { store_id, number, accepted, differing } =
        api.instance.pending().ok_or_else(|| not_now(api))?;
    let store_id = store_id.to_string();
    Ok(Answer::ok(&Waiting { store_id, number, accepted, differing }))
}

/// Accepts it. What is refused counts as a failed authentication does.
pub async fn accept(
    api: &Api,
    request: &HttpRequest,
    origin: &Origin,
    query: &str,
    body: &mut Body,
) -> Result<Answer, ApiError> {
    if api.instance.pending().is_none() {
        return Err(not_now(api));
    }
    let attempt = api.attempt(request)?;
    let mut sent = body.json(FIELDS, limits::KEYLESS_BODY_BYTES).await?;
    Query::parse(query, &[])?;
    let number = sent.required_integer("number")?;
    let signature = fields::signature(&mut sent)?;
    match api.instance.clone().accept_config(number, signature, origin.clone()).await {
        Ok(()) => {
            attempt.succeeded();
            Ok(Answer::done("Configuration accepted"))
        }
        Err(error) => Err(refused(api, &error)),
    }
}

fn not_now(api: &Api) -> ApiError {
    match health::unavailable(&api.instance.phase()) {
        ApiError::Unavailable { message, .. } if message == "serving" => {
            ApiError::Conflict("No configuration waits to be accepted.".into())
        }
        unavailable => unavailable,
    }
}

fn refused(api: &Api, error: &AcceptConfigError) -> ApiError {
    match error {
        AcceptConfigError::NotNow => not_now(api),
        AcceptConfigError::Refused(AcceptError::Number { next }) => fields::not_next(*next),
        AcceptConfigError::Refused(AcceptError::Signature) => ApiError::Forbidden(
            "The signature is not the owner's over this store, number and configuration.".into(),
        ),
        AcceptConfigError::Refused(AcceptError::Store(StoreFailure::Unavailable)) => {
            ApiError::unavailable("The store is unavailable.")
        }
        AcceptConfigError::Refused(AcceptError::Store(_)) | AcceptConfigError::Panicked => {
            tracing::error!(%error, "accepting the configuration failed");
            ApiError::Internal
        }
    }
}
