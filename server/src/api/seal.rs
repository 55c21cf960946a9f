//! `GET /v1/seal`

use neo_secrets_attestation::ed25519::PublicKey;
use neo_secrets_attestation::tcb::Tcb;
use serde::Serialize;

use super::Answer;
use super::error::ApiError;
use super::request::Call;

/// What the store is sealed to.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub(super) struct SealState {
    #[cfg_attr(test, schema(value_type = super::openapi::StoreIdText))]
    store_id: String,
    #[cfg_attr(test, schema(value_type = super::openapi::PublicKeyText))]
    instance_key: PublicKey,
    seal: &'static str,
    slots: Vec<Slot>,
}

/// A key slot that opens the store.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = KeySlot))]
struct Slot {
    kind: &'static str,
    #[cfg_attr(test, schema(value_type = super::openapi::TcbObject))]
    tcb: Tcb,
}

/// What the store is sealed to, for the owner.
pub async fn state(mut call: Call<'_>) -> Result<Answer, ApiError> {
    call.owner()?;
    call.query(&[]).await?;
    let store = &call.serving.store;
    Ok(Answer::ok(&SealState {
        store_id: store.store_id().to_string(),
        instance_key: store.instance_keys().instance,
        seal: call.api.seal.as_str(),
        slots: vec![Slot { kind: "firmware", tcb: call.serving.sealed_at }],
    }))
}
