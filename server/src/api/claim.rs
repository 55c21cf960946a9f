//! `POST /v1/claim`

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use neo_secrets_attestation::binding::claim_message;
use neo_secrets_attestation::config::OwnerKey;
use neo_secrets_attestation::ed25519::{PublicKey, Signature};
use serde::Serialize;

use super::body::Body;
use super::error::ApiError;
use super::json::Sent;
use super::query::Query;
use super::{Answer, Api, Connection, health};
use crate::limits;
use crate::model::{AccountId, Label};
use crate::phase::{ClaimError, Phase};
use crate::store::{ClaimAnswer, StoreFailure};

/// Fields of [`claim`].
pub(super) const FIELDS: &[&str] = &["ownerPublicKey", "signature", "accountName", "unlockHalf"];

/// The first account's name where the claim has none.
const ACCOUNT_NAME: &str = "default";

/// What a claim gave. The two keys are shown in this answer only.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub(super) struct Claimed<'a> {
    #[cfg_attr(test, schema(value_type = super::openapi::StoreIdText))]
    store_id: String,
    #[cfg_attr(test, schema(value_type = super::openapi::PublicKeyText))]
    instance_key: PublicKey,
    #[cfg_attr(test, schema(value_type = super::openapi::TokenText))]
    owner_key: &'a str,
    account: Account<'a>,
    #[cfg_attr(test, schema(value_type = super::openapi::TokenText))]
    admin_key: &'a str,
}

/// The first account.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = FirstAccount))]
struct Account<'a> {
    id: AccountId,
    name: &'a Label,
}

/// Makes the caller the instance's owner, by a signature over this very connection.
pub async fn claim(
    api: &Api,
    request: &HttpRequest,
    query: &str,
    body: &mut Body,
) -> Result<Answer, ApiError> {
    let phase = api.instance.phase();
    if !matches!(*phase, Phase::Unclaimed(_) | Phase::Serving(_)) {
        return Err(health::unavailable(&phase));
    }
    let connection = request.conn_data::<Connection>();
    let exporter =
        connection.and_then(|connection| connection.exporter).ok_or(ApiError::Internal)?;
    let mut fields = body.json(FIELDS, limits::KEYLESS_BODY_BYTES).await?;
    Query::parse(query, &[])?;
    let owner: PublicKey = parsed("ownerPublicKey", &fields.required_text("ownerPublicKey")?)?;
    let signature: Signature = parsed("signature", &fields.required_text("signature")?)?;
    let account_name = match fields.text("accountName")? {
        Sent::Absent | Sent::Null => Label::parse(ACCOUNT_NAME.to_owned()),
        Sent::Value(name) => Label::parse(name.to_string()),
    };
    let account_name =
        account_name.map_err(|issue| ApiError::field("accountName", issue.to_string()))?;
    if !matches!(fields.text("unlockHalf")?, Sent::Absent) {
        let issue =
            "is only for seal = \"unlock\"; this instance is sealed by its firmware key alone";
        return Err(ApiError::field("unlockHalf", issue));
    }

    if owner.verify(&claim_message(&exporter), &signature).is_err() {
        return Err(ApiError::Forbidden(
            "The signature is not the owner's over this connection.".into(),
        ));
    }
    match api.owner {
        OwnerKey::Any => {}
        OwnerKey::Named(named) if named == owner => {}
        OwnerKey::Named(_) => {
            return Err(ApiError::Forbidden("The configuration names another owner.".into()));
        }
    }
    match api.instance.clone().claim(owner, account_name).await {
        Ok(answer) => Ok(claimed(&answer)),
        Err(error) => Err(refused(api, &error)),
    }
}

fn parsed<T>(field: &str, text: &str) -> Result<T, ApiError>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    text.parse().map_err(|error: T::Err| ApiError::field(field, error.to_string()))
}

fn claimed(answer: &ClaimAnswer) -> Answer {
    let (owner_key, admin_key) = (answer.owner_token.to_text(), answer.admin_token.to_text());
    let body = Claimed {
        store_id: answer.store_id.to_string(),
        instance_key: answer.instance_key,
        owner_key: &owner_key,
        account: Account { id: answer.account, name: &answer.account_name },
        admin_key: &admin_key,
    };
    Answer::confidential(StatusCode::CREATED, &body).about(answer.account)
}

fn refused(api: &Api, error: &ClaimError) -> ApiError {
    match error {
        ClaimError::NotNow => health::unavailable(&api.instance.phase()),
        ClaimError::AlreadyClaimed => ApiError::Conflict("The instance is already claimed.".into()),
        ClaimError::Create(_) | ClaimError::Panicked => {
            tracing::error!(%error, "the claim failed");
            ApiError::unavailable("The store could not be made.")
        }
        ClaimError::Store(StoreFailure::Unavailable) => {
            ApiError::unavailable("The store is unavailable.")
        }
        ClaimError::Store(
            failure @ (StoreFailure::Damaged { .. }
            | StoreFailure::DiskFull
            | StoreFailure::KeyRevoked
            | StoreFailure::QuotaExceeded { .. }),
        ) => {
            tracing::error!(%failure, "the claim failed");
            ApiError::Internal
        }
    }
}
