//! `PUT /v1/attestation/crl`, `PUT /v1/attestation/certificates` and `GET /v1/attestation/report`:
//! what somebody needs to bring a machine the certificates that it lacks. None asks for a key.

use actix_web::HttpRequest;
use data_encoding::BASE64;
use neo_secrets_attestation::endorsements::{Endorsement, Endorsements};
use neo_secrets_attestation::error::VerifyError;
use neo_secrets_attestation::time::UnixTime;
use serde::Serialize;

use super::body::Body;
use super::error::ApiError;
use super::json::Object;
use super::query::Query;
use super::{Answer, Api, health};
use crate::limits;
use crate::phase::{KeepError, Kept, Phase};

/// Fields of [`keep_crl`].
pub(super) const CRL: &[&str] = &["crl"];
/// Fields of [`keep_chain`].
pub(super) const CHAIN: &[&str] = &["vek", "ask", "ark"];

/// The dates of the CRL that was sent.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub(super) struct CrlAccepted {
    success: bool,
    message: &'static str,
    #[cfg_attr(test, schema(value_type = crate::model::Timestamp))]
    this_update: UnixTime,
    #[cfg_attr(test, schema(value_type = crate::model::Timestamp))]
    next_update: UnixTime,
}

/// A report by itself: by it one finds the certificates that AMD has for the chip.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct LastReport {
    #[cfg_attr(test, schema(value_type = super::openapi::ReportText))]
    report: String,
}

/// The last report of this start.
pub async fn report(api: &Api, query: &str, body: &mut Body) -> Result<Answer, ApiError> {
    check_phase(api)?;
    body.none().await?;
    Query::parse(query, &[])?;
    let report = api.instance.last_report().ok_or_else(|| no_report(api))?;
    Ok(Answer::ok(&LastReport { report: BASE64.encode(&report) }))
}

/// Keeps a newer CRL.
pub async fn keep_crl(
    api: &Api,
    request: &HttpRequest,
    query: &str,
    body: &mut Body,
) -> Result<Answer, ApiError> {
    let upload = async {
        let mut fields = fields(query, body, CRL).await?;
        let crl = der(&mut fields, "crl", limits::UPLOADED_CRL_BYTES)?;
        let kept = api.instance.clone().keep_crl(crl, clock(api)).await;
        let (crl, kept) = kept.map_err(|error| refused(api, &error, |_| Endorsement::Crl))?;
        let (this_update, next_update) = (crl.this_update(), crl.next_update());
        let message = "CRL accepted";
        let accepted = CrlAccepted { success: true, message, this_update, next_update };
        Ok((Answer::ok(&accepted), kept))
    };
    charged(api, request, upload).await
}

/// Keeps a chain that certifies this machine's reports.
pub async fn keep_chain(
    api: &Api,
    request: &HttpRequest,
    query: &str,
    body: &mut Body,
) -> Result<Answer, ApiError> {
    let upload = async {
        let mut fields = fields(query, body, CHAIN).await?;
        let mut one = |name| der(&mut fields, name, limits::UPLOADED_CERTIFICATE_BYTES);
        let chain =
            Endorsements { vek: one("vek")?, ask: one("ask")?, ark: one("ark")?, crl: None };
        let kept = api.instance.clone().keep_chain(chain, clock(api)).await;
        // What is wrong with a report by itself shows in that the VEK does not fit it.
        let at_fault = |error: &VerifyError| error.endorsement().unwrap_or(Endorsement::Vek);
        let kept = kept.map_err(|error| refused(api, &error, at_fault))?;
        Ok((Answer::done("Certificates accepted"), kept))
    };
    charged(api, request, upload).await
}

/// Runs an upload where the phase and the peer's account of failures allow one. What fails, and
/// what makes the disk work, counts as a failed authentication does: nobody makes this server
/// verify and write without end, nor by many uploads at once.
async fn charged(
    api: &Api,
    request: &HttpRequest,
    upload: impl Future<Output = Result<(Answer, Kept), ApiError>>,
) -> Result<Answer, ApiError> {
    check_phase(api)?;
    let attempt = api.attempt(request)?;
    let outcome = upload.await;
    if !matches!(outcome, Err(ApiError::Invalid { .. }) | Ok((_, Kept::Now))) {
        attempt.succeeded();
    }
    outcome.map(|(answer, _)| answer)
}

/// The phases that have a report.
fn check_phase(api: &Api) -> Result<(), ApiError> {
    let phase = api.instance.phase();
    match &*phase {
        Phase::Sealed(_) | Phase::Unclaimed(_) | Phase::Serving(_) => Ok(()),
        Phase::Starting | Phase::Draining => Err(health::unavailable(&phase)),
    }
}

async fn fields(query: &str, body: &mut Body, known: &[&str]) -> Result<Object, ApiError> {
    let fields = body.json(known, limits::KEYLESS_BODY_BYTES).await?;
    Query::parse(query, &[])?;
    Ok(fields)
}

fn der(fields: &mut Object, name: &str, bytes_max: usize) -> Result<Vec<u8>, ApiError> {
    let text = fields.required_text(name)?;
    let der = BASE64.decode(text.as_bytes()).ok().filter(|der| !der.is_empty());
    let der = der.ok_or_else(|| ApiError::field(name, "must be DER in base64, with padding"))?;
    if der.len() > bytes_max {
        return Err(ApiError::field(name, format!("must be at most {bytes_max} bytes of DER")));
    }
    Ok(der)
}

fn refused(
    api: &Api,
    error: &KeepError,
    at_fault: impl Fn(&VerifyError) -> Endorsement,
) -> ApiError {
    match error {
        KeepError::NoReport => no_report(api),
        KeepError::Refused(error) => {
            let field = at_fault(error).to_string().to_ascii_lowercase();
            ApiError::field(&field, error.to_string())
        }
        KeepError::NoCertificates => {
            ApiError::field("crl", "cannot be checked yet: send the certificates first")
        }
        KeepError::NotNewer { held } => {
            let rule = format!("must be newer than the kept one, whose thisUpdate is {held}");
            ApiError::field("crl", rule)
        }
        KeepError::Disk(_) => {
            tracing::error!(%error, "the endorsements could not be written");
            ApiError::unavailable("The disk failed; what was kept before still is.")
        }
        KeepError::Panicked => ApiError::Internal,
    }
}

fn no_report(api: &Api) -> ApiError {
    match &*api.instance.phase() {
        phase @ Phase::Sealed(_) => health::unavailable(phase),
        _ => ApiError::unavailable("There is no report yet: see /readyz."),
    }
}

fn clock(api: &Api) -> UnixTime {
    UnixTime::from_seconds(api.now().unix_seconds()).unwrap_or(UnixTime::MAX)
}
