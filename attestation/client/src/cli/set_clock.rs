//! `neo-secrets set-clock`: the owner sets an instance's time to this machine's.

use hyper::Method;
use neo_secrets_attestation::evidence::{ClaimPhase, StoreId};
use serde_json::json;

use crate::cli::answer::json_of;
use crate::cli::args::OwnerAct;
use crate::cli::outcome::{Failure, Shown};
use crate::cli::page::Page;
use crate::cli::refusal;
use crate::cli::session::{announce, call_keyless};
use crate::cli::settings::{Settings, system_time};
use crate::cli::terminal::printable;
use crate::cli::value::Body;
use crate::owner::OwnerKey;

pub(crate) const PATH: &str = "/v1/clock";

pub(crate) async fn run(command: &OwnerAct, settings: Settings) -> Result<Shown, Failure> {
    let pair = OwnerKey::read(&command.owner_key).map_err(Failure::error)?;
    let mut client = settings.client()?;
    let connection = client.connection().await.map_err(refusal::failure)?;
    announce(&settings.url, connection);
    // What is signed is for the store that the evidence shows.
    let store_id: StoreId = match &connection.appraised().claims().phase {
        ClaimPhase::Serving { store_id, .. } => *store_id,
        ClaimPhase::Sealed(_) | ClaimPhase::Unclaimed => {
            return Err(Failure::error("the instance serves no store whose time could be set"));
        }
    };
    let answer = call_keyless(connection, (Method::GET, PATH), None).await?;
    let clock = json_of(&answer)?;
    let (number, before) = (clock["number"].as_u64(), clock["time"].as_str().map(printable));
    let (Some(number), Some(before)) = (number, before) else {
        return Err(Failure::error("the server's answer is not the API's"));
    };
    let time = system_time();
    let signature = pair.sign_clock(&store_id, number, time).map_err(Failure::error)?;
    let mut body = Body::new(None);
    body.field("number", &json!(number));
    body.field("time", &json!(time.to_string()));
    body.field("signature", &json!(signature.to_string()));
    call_keyless(connection, (Method::PUT, PATH), Some(body)).await?;
    let json = json!({
        "set": true, "url": settings.url.to_string(), "storeId": store_id.to_string(),
        "number": number, "before": before, "time": time.to_string(),
    });
    let page = Page::new().fields(vec![
        ("set", settings.url.to_string().into()),
        ("time", time.to_string().into()),
        ("before", before.into()),
        ("act", number.to_string().into()),
    ]);
    Ok(Shown::new(page, &json))
}
