//! `GET` and `PUT /v1/clock`: the instance's time, and the owner's word on it. Neither asks for a key:
//! what is sent is signed by the owner's key pair.

use actix_web::HttpRequest;
use serde::Serialize;

use super::body::Body;
use super::error::ApiError;
use super::query::Query;
use super::{Answer, Api, fields, health, store_failure};
use crate::audit::Origin;
use crate::limits;
use crate::model::Timestamp;
use crate::phase::{Phase, Serving};
use crate::store::{AcceptError, ClockSetting};

/// Fields of [`set`].
pub(super) const FIELDS: &[&str] = &["number", "time", "signature"];

/// The clock.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Clock))]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown {
    #[cfg_attr(test, schema(value_type = super::openapi::StoreIdText))]
    store_id: String,
    /// The number of the owner's next act, which the signature is over.
    number: u64,
    /// What everything here goes by.
    time: Timestamp,
    /// What the machine's clock says, which its host sets.
    machine_time: Timestamp,
    /// Whether the machine's clock is not believed.
    suspect: bool,
}

/// What time it is.
pub async fn show(api: &Api, query: &str, body: &mut Body) -> Result<Answer, ApiError> {
    body.none().await?;
    Query::parse(query, &[])?;
    let phase = api.instance.phase();
    let Phase::Serving(serving) = &*phase else { return Err(health::unavailable(&phase)) };
    let number = serving.store.next_act();
    let number = number.map_err(|failure| store_failure(serving, &failure))?;
    let clock = api.instance.clock();
    Ok(Answer::ok(&Shown {
        store_id: serving.store.store_id().to_string(),
        number,
        time: clock.now(),
        machine_time: clock.of_machine(),
        suspect: clock.suspicion().is_some(),
    }))
}

/// Sets it. What is refused counts as a failed authentication does.
pub async fn set(
    api: &Api,
    request: &HttpRequest,
    origin: &Origin,
    query: &str,
    body: &mut Body,
) -> Result<Answer, ApiError> {
    let phase = api.instance.phase();
    let Phase::Serving(serving) = &*phase else { return Err(health::unavailable(&phase)) };
    let attempt = api.attempt(request)?;
    let mut sent = body.json(FIELDS, limits::KEYLESS_BODY_BYTES).await?;
    Query::parse(query, &[])?;
    let number = sent.required_integer("number")?;
    let time = fields::ruled("time", sent.required_text("time")?.parse())?;
    let signature = fields::signature(&mut sent)?;
    let setting = ClockSetting { number, time, signature, origin: origin.clone() };
    match serving.store.set_clock(setting).await {
        Ok(()) => {
            attempt.succeeded();
            tracing::info!("the owner has set the clock");
            Ok(Answer::done("Clock set"))
        }
        Err(error) => Err(refused(serving, error)),
    }
}

fn refused(serving: &Serving, error: AcceptError) -> ApiError {
    match error {
        AcceptError::Number { next } => fields::not_next(next),
        AcceptError::Signature => ApiError::Forbidden(
            "The signature is not the owner's over this store, number and time.".into(),
        ),
        AcceptError::Store(failure) => store_failure(serving, &failure),
    }
}
