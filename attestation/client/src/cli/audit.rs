//! `neo-secrets audit`: who did what, newest first.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use hyper::{Method, StatusCode};
use neo_secrets_attestation::time::UnixTime;
use serde_json::{Value, json};

use crate::cli::answer::{items, json_of, number, text, time, with_position};
use crate::cli::args::Audit;
use crate::cli::lookup::percent_encode;
use crate::cli::outcome::{Failure, Shown};
use crate::cli::page::{Cell, Column, Page};
use crate::cli::readable::Moment;
use crate::cli::session::{self, Session};
use crate::cli::settings::system_time;
use crate::connection::Answer;
use crate::limits;

pub(crate) async fn run(command: &Audit, mut session: Session) -> Result<Shown, Failure> {
    let now = system_time();
    if let (Some(from), Some(to)) = (command.from, command.to) {
        let (from, to) = (from.ago(now), to.ago(now));
        if from > to {
            return Err(Failure::usage(format!("--from {from} is later than --to {to}"))
                .advice("a distance is counted back from now: --from 10m --to 5m"));
        }
    }
    let filters = filters(command, now);
    let (body, answer) = match command.all {
        true => (all(&mut session, &filters).await?, None),
        false => {
            let path = path(command.limit.into(), command.offset, &filters);
            let answer = session.call(Method::GET, &path, None, None, StatusCode::OK).await?;
            (json_of(&answer)?, Some(answer))
        }
    };
    let names = if command.owner { HashMap::new() } else { names(&mut session).await };
    let events = items(&body, "events");
    let columns = [
        Column::whole("TIME (UTC)"),
        Column::whole("ACTION"),
        Column::whole("BY"),
        Column::whole("OBJECT"),
        Column::cut("NAME"),
        Column::whole("VERSION"),
        Column::whole("FROM"),
        Column::cut("BY NAME"),
    ];
    let rows = events.iter().map(|event| row(event, &names)).collect();
    let page =
        with_position(Page::new().table(&columns, rows), &body, events.len(), command.offset);
    Ok(match answer {
        Some(answer) => session.shown(page, &answer),
        None => {
            let mut json = body;
            json["simulated"] = session.simulated().into();
            Shown::new(page, &json)
        }
    })
}

/// The query's part that says which events are asked for.
fn filters(command: &Audit, now: UnixTime) -> String {
    let Audit { from, to, action, secret, limit: _, offset: _, all: _, owner: _ } = command;
    let time = |moment: &Moment| moment.ago(now).to_string();
    let filters = [
        ("from", from.as_ref().map(time)),
        ("to", to.as_ref().map(time)),
        ("action", action.clone()),
        ("secret", secret.clone()),
    ];
    let mut query = String::new();
    for (name, value) in filters {
        if let Some(value) = value {
            query.push_str(&format!("&{name}={}", percent_encode(&value)));
        }
    }
    query
}

fn path(limit: usize, offset: u64, filters: &str) -> String {
    format!("/v1/audit-log?limit={limit}&offset={offset}{filters}")
}

/// The whole log, as one page. Events that are added meanwhile move older ones to later pages: the
/// request that an event is of tells it.
async fn all(session: &mut Session, filters: &str) -> Result<Value, Failure> {
    let (mut events, mut seen) = (Vec::new(), HashSet::new());
    let mut offset = 0;
    loop {
        let path = path(limits::PAGE_ITEMS_MAX, offset, filters);
        let answer = patient(session, &path).await?;
        let mut body = json_of(&answer)?;
        let page = match body["events"].take() {
            Value::Array(page) => page,
            _ => Vec::new(),
        };
        offset = offset.saturating_add(u64::try_from(page.len()).unwrap_or(u64::MAX));
        let total = body["pagination"]["total"].as_u64().unwrap_or_default();
        let ended = page.is_empty() || offset >= total;
        events.extend(page.into_iter().filter(|event| seen.insert(event.to_string())));
        if ended {
            let total = events.len();
            let pagination = json!({ "total": total, "limit": total, "offset": 0 });
            return Ok(json!({ "events": events, "pagination": pagination }));
        }
    }
}

/// A page, for which it waits where the server is too busy for this key.
async fn patient(session: &mut Session, path: &str) -> Result<Answer, Failure> {
    let mut tries = 0;
    loop {
        let answer = session.line().await?.ask(Method::GET, path, None, None).await;
        let answer = answer.map_err(session::failure)?;
        tries += 1;
        match answer.status {
            StatusCode::OK => return Ok(answer),
            StatusCode::TOO_MANY_REQUESTS if tries <= limits::BUSY_RETRIES_MAX => {
                let seconds = answer.retry_after_seconds.unwrap_or(1).clamp(1, 60);
                tokio::time::sleep(Duration::from_secs(seconds)).await;
            }
            _ => return Err(Failure::from_answer(&answer)),
        }
    }
}

/// The names of the keys that there are, by their ids; none where the key can't list them.
async fn names(session: &mut Session) -> HashMap<String, String> {
    let Ok(line) = session.line().await else { return HashMap::new() };
    let Ok(answer) = line.ask(Method::GET, "/v1/api-keys", None, None).await else {
        return HashMap::new();
    };
    let body = json_of(&answer).unwrap_or_default();
    let named =
        |key: &Value| Some((key["id"].as_str()?.to_owned(), key["name"].as_str()?.to_owned()));
    items(&body, "apiKeys").iter().filter_map(named).collect()
}

fn row(event: &Value, names: &HashMap<String, String>) -> Vec<Cell> {
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
        names.get(by).map_or("-", String::as_str).into(),
    ]
}
