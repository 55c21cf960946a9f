//! `neo-secrets functions logs`: the last executions, or one with its logs.

use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::invoke::{LogLine, exactly_as_it_stands};
use crate::cli::answer::{items, json_of, number, text, time, with_position};
use crate::cli::args::Logs;
use crate::cli::lookup::{FUNCTIONS, find_function, is_id};
use crate::cli::outcome::{Failure, Shown};
use crate::cli::page::{Cell, Column, Page, Paint};
use crate::cli::session::Session;
use crate::cli::terminal::printable;

pub(crate) async fn run(command: &Logs, mut session: Session) -> Result<Shown, Failure> {
    let id = find_function(session.line().await?, &command.function.function).await?;
    match &command.execution {
        None => list(command, &id, session).await,
        Some(execution) if is_id("exec_", execution) => show(&id, execution, session).await,
        Some(other) => Err(Failure::usage(format!("{other:?} is no execution's id"))
            .advice("without one, functions logs NAME lists them")),
    }
}

async fn list(command: &Logs, id: &str, mut session: Session) -> Result<Shown, Failure> {
    let Logs { limit, offset, .. } = command;
    let path = format!("{FUNCTIONS}/{id}/executions?limit={limit}&offset={offset}");
    let answer = session.call(Method::GET, &path, None, None, StatusCode::OK).await?;
    let body = json_of(&answer)?;
    let executions = items(&body, "executions");
    let row = |execution: &Value| {
        vec![
            text(execution, "id"),
            status(execution),
            time(execution, "startedAt"),
            number(execution, "duration"),
        ]
    };
    let columns = [
        Column::whole("ID"),
        Column::whole("STATUS"),
        Column::whole("STARTED"),
        Column::whole("MS"),
    ];
    let ids = executions.iter().map(|execution| text(execution, "id")).collect();
    let page = Page::new().table(&columns, executions.iter().map(row).collect()).essential(ids);
    let page = with_position(page, &body, executions.len(), *offset);
    let page = match executions.is_empty() {
        true => page,
        false => {
            let program = &session.settings().program;
            page.hint(format!("one with its logs: {program} functions logs {id} ID"))
        }
    };
    Ok(session.shown(page, &answer))
}

fn status(execution: &Value) -> Cell {
    match execution["status"].as_str() {
        Some("completed") => Cell::Painted(Paint::Good, "completed".to_owned()),
        Some("running") => "running".into(),
        Some(other) => Cell::Painted(Paint::Bad, other.to_owned()),
        None => "-".into(),
    }
}

/// What is kept of an execution; its result to the byte, however deep it is.
#[derive(Deserialize)]
struct Kept<'a> {
    execution: Value,
    #[serde(default, borrow, deserialize_with = "exactly_as_it_stands")]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Value,
    #[serde(default)]
    logs: Vec<LogLine>,
    receipt: Option<SignedBy>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignedBy {
    secrets_read: Vec<Value>,
}

async fn show(id: &str, execution: &str, mut session: Session) -> Result<Shown, Failure> {
    let path = format!("{FUNCTIONS}/{id}/executions/{execution}");
    let answer = session.call(Method::GET, &path, None, None, StatusCode::OK).await?;
    let kept = serde_json::from_slice(&answer.body);
    let Kept { execution, result, error, logs, receipt } = kept.map_err(|error| {
        Failure::error(format!("the server's answer is not the API's: {error}"))
    })?;
    let mut fields = vec![
        ("id", text(&execution, "id")),
        ("status", status(&execution)),
        ("started", time(&execution, "startedAt")),
        ("completed", time(&execution, "completedAt")),
        ("duration (ms)", number(&execution, "duration")),
    ];
    if let Some(message) = error["message"].as_str() {
        let name = error["name"].as_str().unwrap_or("error");
        fields.push(("error", format!("{name}: {message}").into()));
    }
    if let Some(SignedBy { secrets_read }) = receipt {
        let read = secrets_read.iter().map(|secret| {
            let name = secret["name"].as_str().unwrap_or("?");
            format!("{name} (version {})", secret["version"].as_u64().unwrap_or_default())
        });
        let read = read.collect::<Vec<_>>().join(", ");
        fields.push(("secrets read", if read.is_empty() { "none".into() } else { read.into() }));
    }
    if let Some(result) = result {
        fields.push(("result", result.get().into()));
    }
    let mut lines = String::new();
    for line in error["stack"].as_str().unwrap_or_default().lines() {
        lines.push_str(&format!("  {}\n", printable(line.trim())));
    }
    for LogLine { level, message } in logs {
        lines.push_str(&format!("{}: {}\n", printable(&level), printable(&message)));
    }
    Ok(session.shown(Page::new().fields(fields).text(lines), &answer))
}
