//! `neo-secrets seal`: how the store is sealed to its machine.

use hyper::{Method, StatusCode};
use serde_json::Value;

use crate::cli::answer::{items, json_of, text};
use crate::cli::outcome::{Failure, Shown};
use crate::cli::page::{Column, Page};
use crate::cli::session::Session;

pub(crate) async fn run(mut session: Session) -> Result<Shown, Failure> {
    let answer = session.call(Method::GET, "/v1/seal", None, None, StatusCode::OK).await?;
    let body = json_of(&answer)?;
    let row = |slot: &Value| vec![text(slot, "kind"), tcb(&slot["tcb"]).into()];
    let rows = items(&body, "slots").iter().map(row).collect();
    let page = Page::new()
        .fields(vec![
            ("store", text(&body, "storeId")),
            ("instance key", text(&body, "instanceKey")),
            ("seal", text(&body, "seal")),
        ])
        .table(&[Column::whole("SLOT"), Column::whole("OPENS FROM TCB")], rows);
    Ok(session.shown(page, &answer))
}

/// The parts of a TCB version, as the server names them.
fn tcb(tcb: &Value) -> String {
    let parts = tcb.as_object().into_iter().flatten();
    let parts = parts.map(|(name, value)| format!("{name}={value}"));
    parts.collect::<Vec<_>>().join(" ")
}
