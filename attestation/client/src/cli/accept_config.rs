//! `neo-secrets accept-config`: the owner accepts the configuration that an instance was started with,
//! where it differs from the one before.

use hyper::Method;
use neo_secrets_attestation::evidence::{ClaimPhase, StoreId};
use serde_json::json;

use crate::cli::answer::json_of;
use crate::cli::args::OwnerAct;
use crate::cli::outcome::{Failure, Shown};
use crate::cli::page::Page;
use crate::cli::refusal;
use crate::cli::session::{announce, call_keyless};
use crate::cli::settings::Settings;
use crate::cli::terminal::printable;
use crate::cli::value::Body;
use crate::owner::OwnerKey;

const PATH: &str = "/v1/configuration";

pub(crate) async fn run(command: &OwnerAct, settings: Settings) -> Result<Shown, Failure> {
    let pair = OwnerKey::read(&command.owner_key).map_err(Failure::error)?;
    let mut client = settings.client()?;
    let connection = client.connection().await.map_err(refusal::failure)?;
    announce(&settings.url, connection);
    // What is signed is what the evidence shows, and what the owner's policy allows.
    let claims = connection.appraised().claims();
    let store_id: StoreId = match &claims.phase {
        ClaimPhase::Sealed(Some(store)) => store.store_id,
        ClaimPhase::Sealed(None) | ClaimPhase::Unclaimed | ClaimPhase::Serving { .. } => {
            return Err(Failure::error("no configuration waits to be accepted"));
        }
    };
    let config = claims.config.clone();
    let answer = call_keyless(connection, (Method::GET, PATH), None).await?;
    let waiting = json_of(&answer)?;
    let number = waiting["number"].as_u64();
    let number = number.ok_or_else(|| Failure::error("the server's answer is not the API's"))?;
    let differing: Vec<String> = waiting["differing"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|key| key.as_str().map(printable))
        .collect();
    let signature = pair.sign_configuration(&store_id, number, &config).map_err(Failure::error)?;
    let mut body = Body::new(None);
    body.field("number", &json!(number));
    body.field("signature", &json!(signature.to_string()));
    call_keyless(connection, (Method::PUT, PATH), Some(body)).await?;
    let json = json!({
        "accepted": true, "url": settings.url.to_string(), "storeId": store_id.to_string(),
        "number": number, "differing": differing,
    });
    let page = Page::new().fields(vec![
        ("accepted", settings.url.to_string().into()),
        ("changed", differing.join(", ").into()),
        ("act", number.to_string().into()),
    ]);
    Ok(Shown::new(page, &json))
}
