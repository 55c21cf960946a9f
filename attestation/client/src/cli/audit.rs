//! `neo-secrets audit`: who did what, newest first.

use hyper::{Method, StatusCode};
use serde_json::Value;

use crate::cli::answer::{items, json_of, number, text, time, with_position};
use crate::cli::args::Audit;
use crate::cli::lookup::percent_encode;
use crate::cli::outcome::{Failure, Shown};
use crate::cli::page::{Cell, Column, Page};
use crate::cli::readable::Moment;
use crate::cli::session::Session;
use crate::cli::settings::system_time;

pub(crate) async fn run(command: &Audit, mut session: Session) -> Result<Shown, Failure> {
    let path = path(command);
    let answer = session.call(Method::GET, &path, None, None, StatusCode::OK).await?;
    let body = json_of(&answer)?;
    let events = items(&body, "events");
    let columns = [
        Column::whole("TIME (UTC)"),
        Column::whole("ACTION"),
        Column::whole("BY"),
        Column::whole("OBJECT"),
        Column::cut("NAME"),
        Column::whole("VERSION"),
        Column::whole("FROM"),
    ];
    let page = Page::new().table(&columns, events.iter().map(row).collect());
    Ok(session.shown(with_position(page, &body, events.len(), command.offset), &answer))
}

fn path(command: &Audit) -> String {
    let Audit { from, to, action, secret, limit, offset, owner: _ } = command;
    let mut path = format!("/v1/audit-log?limit={limit}&offset={offset}");
    let time = |moment: &Moment| moment.ago(system_time()).to_string();
    let filters = [
        ("from", from.as_ref().map(time)),
        ("to", to.as_ref().map(time)),
        ("action", action.clone()),
        ("secret", secret.clone()),
    ];
    for (name, value) in filters {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", percent_encode(&value)));
        }
    }
    path
}

fn row(event: &Value) -> Vec<Cell> {
    let (actor, object) = (&event["actor"], &event["object"]);
    let by = actor["id"].as_str().or(actor["type"].as_str()).unwrap_or("-");
    // Events are compared with what happened elsewhere: their times are exact on a terminal too.
    let exact = match time(event, "time") {
        Cell::Time(time) => Cell::Stamp(time),
        other => other,
    };
    vec![
        exact,
        text(event, "action"),
        by.into(),
        text(object, "id"),
        text(object, "name"),
        number(object, "version"),
        text(event, "from"),
    ]
}
