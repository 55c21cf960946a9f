//! `neo-secrets functions ..`.

mod deploy;
mod executions;
mod invoke;
mod receipt;

use std::path::Path;

use hyper::{Method, StatusCode};
use neo_secrets_attestation::receipt::Sha256Digest;
use serde_json::{Value, json};

use crate::cli::answer::{self, items, json_of, number, text, time};
use crate::cli::args::{
    ConfirmFunction, Delete, FunctionName, FunctionSecrets, Functions, ListFunctions, ShowFunction,
};
use crate::cli::confirm::{confirm, confirm_or_yes};
use crate::cli::lookup::{FUNCTIONS, find_function};
use crate::cli::outcome::{Done, Exit, Failure, Shown};
use crate::cli::page::{Cell, Column, Page, Paint};
use crate::cli::session::{Line, Session};
use crate::cli::terminal::{self, printable};
use crate::cli::value::Body;
use crate::connection::Answer;
use crate::files;
use crate::limits;

pub(crate) use receipt::verify;

pub(crate) async fn run(command: &Functions, session: Session) -> Result<Done, Failure> {
    let shown = match command {
        Functions::Deploy(command) => deploy::run(command, session).await,
        Functions::Invoke(command) => invoke::run(command, session).await,
        Functions::Logs(command) => executions::run(command, session).await,
        Functions::List(command) => list(command, session).await,
        Functions::Show(command) => show(command, session).await,
        Functions::Confirm(command) => self::confirm_code(command, session).await,
        Functions::Secrets(command) => set_secrets(command, session).await,
        Functions::Delete(command) => delete(command, session).await,
        Functions::Verify(_) => Err(Failure::usage("a receipt is verified without a key")),
    };
    Ok(shown?.into())
}

async fn list(command: &ListFunctions, mut session: Session) -> Result<Shown, Failure> {
    let ListFunctions { limit, offset } = command;
    let path = format!("{FUNCTIONS}?limit={limit}&offset={offset}");
    let answer = session.call(Method::GET, &path, None, None, StatusCode::OK).await?;
    let body = json_of(&answer)?;
    let functions = items(&body, "functions");
    let row = |function: &Value| {
        vec![
            text(function, "id"),
            text(function, "name"),
            names(function, "secrets").into(),
            names(function, "egress").into(),
            pinned(function),
            time(function, "updatedAt"),
        ]
    };
    let columns = [
        Column::whole("ID"),
        Column::cut("NAME"),
        Column::cut("SECRETS"),
        Column::cut("EGRESS"),
        Column::whole("CODE"),
        Column::whole("UPDATED"),
    ];
    let essential = functions.iter().map(|function| text(function, "name")).collect();
    let page = Page::new().table(&columns, functions.iter().map(row).collect());
    let page = answer::with_position(page.essential(essential), &body, functions.len(), *offset);
    Ok(session.shown(page, &answer))
}

/// The names of a list, or `-`.
fn names(function: &Value, field: &str) -> String {
    answer::list(function, field).filter(|names| !names.is_empty()).unwrap_or("-".to_owned())
}

/// Whether changed code would read secrets.
fn pinned(function: &Value) -> Cell {
    match (function["pinCode"].as_bool(), function["confirmed"].as_bool()) {
        (Some(true), Some(true)) => Cell::Painted(Paint::Good, "confirmed".to_owned()),
        (Some(true), _) => Cell::Painted(Paint::Warning, "NOT CONFIRMED".to_owned()),
        _ => "not pinned".into(),
    }
}

async fn show(command: &ShowFunction, mut session: Session) -> Result<Shown, Failure> {
    let (id, answer) = read(session.line().await?, &command.function, command.code).await?;
    let body = json_of(&answer)?;
    if !command.code {
        return Ok(session.shown(page(&body).essential(vec![id.into()]), &answer));
    }
    let code = body["code"].as_str().ok_or_else(|| Failure::error("the answer has no code"))?;
    let page = if terminal::stdout_is_terminal() { lines(code) } else { code.to_owned() };
    Ok(session.shown(Page::new().text(page), &answer))
}

/// Code for a terminal: nothing in it hides or steers.
fn lines(code: &str) -> String {
    code.lines().map(|line| printable(&line.replace('\t', "    ")) + "\n").collect()
}

/// The function that the user named: its id, and what the server says of it.
async fn read(
    line: &mut Line,
    name: &FunctionName,
    with_code: bool,
) -> Result<(String, Answer), Failure> {
    let id = find_function(line, &name.function).await?;
    let query = if with_code { "?includeCode=true" } else { "" };
    let path = format!("{FUNCTIONS}/{id}{query}");
    let answer = line.call(Method::GET, &path, None, None, StatusCode::OK).await?;
    Ok((id, answer))
}

fn page(function: &Value) -> Page {
    let pairs = |field: &str| {
        let pairs = function[field].as_object().filter(|pairs| !pairs.is_empty());
        let one =
            |(name, value): (&String, &Value)| format!("{name}={}", value.as_str().unwrap_or("?"));
        pairs.map_or("-".to_owned(), |pairs| pairs.iter().map(one).collect::<Vec<_>>().join(", "))
    };
    Page::new().fields(vec![
        ("id", text(function, "id")),
        ("name", text(function, "name")),
        ("code SHA-256", text(function, "codeSha256")),
        ("pinned code", pinned(function)),
        ("secrets", names(function, "secrets").into()),
        ("egress", names(function, "egress").into()),
        ("environment", pairs("environment").into()),
        ("timeout (s)", number(function, "timeout")),
        ("memory (MiB)", number(function, "memory")),
        ("tags", pairs("tags").into()),
        ("description", text(function, "description")),
        ("created", time(function, "createdAt")),
        ("updated", time(function, "updatedAt")),
    ])
}

/// A file with code.
fn read_code(path: &Path) -> Result<String, Failure> {
    let bytes = files::read_bounded(path, limits::CODE_BYTES_MAX).map_err(Failure::error)?;
    String::from_utf8(bytes.to_vec())
        .map_err(|error| Failure::error(format!("{} is not UTF-8: {error}", path.display())))
}

async fn confirm_code(command: &ConfirmFunction, mut session: Session) -> Result<Shown, Failure> {
    let ConfirmFunction { function, code, yes } = command;
    let expected = code.as_deref().map(read_code).transpose()?;
    let (id, answer) = read(session.line().await?, function, true).await?;
    let body = json_of(&answer)?;
    let program = &session.settings().program;
    if body["pinCode"] != true {
        let message = format!("{} does not pin its code: there is nothing to confirm", id);
        return Err(Failure::usage(message)
            .advice(format!("{program} functions deploy FILE --name NAME --pin-code pins it")));
    }
    // What is confirmed is the hash of what was read here, whatever the server calls it.
    let served = body["code"].as_str().ok_or_else(|| Failure::error("the answer has no code"))?;
    let hash = Sha256Digest::of(served.as_bytes());
    let question = format!("Let this code ({hash}) read {}?", names(&body, "secrets"));
    match &expected {
        Some(expected) if expected != served => {
            let own = Sha256Digest::of(expected.as_bytes());
            let message = format!("the function's code is {hash}; the file's is {own}");
            return Err(Failure::new(Exit::NotFoundOrConflict, message)
                .advice(format!("{program} functions show {id} --code prints the function's")));
        }
        Some(_) => confirm(*yes, &question)?,
        None => {
            if !yes {
                let shown = Page::new().text(lines(served));
                terminal::show(&shown.essential(Vec::new())).map_err(Failure::error)?;
            }
            confirm_or_yes(*yes, &question)?;
        }
    }
    let mut body = Body::new(None);
    body.field("codeSha256", &json!(hash));
    let (path, body) = (format!("{FUNCTIONS}/{id}/confirm"), Some(body.finish()));
    let answer = session.call(Method::POST, &path, body, None, StatusCode::OK).await?;
    let page = page(&json_of(&answer)?).hint(format!("confirmed {hash}"));
    Ok(session.shown(page.essential(Vec::new()), &answer))
}

async fn set_secrets(command: &FunctionSecrets, mut session: Session) -> Result<Shown, Failure> {
    let FunctionSecrets { function, set, none: _, yes } = command;
    let (id, answer) = read(session.line().await?, function, false).await?;
    let before = names(&json_of(&answer)?, "secrets");
    let after = if set.is_empty() { "-".to_owned() } else { set.join(",") };
    confirm(*yes, &format!("{} reads {before} now. Let it read {after}?", function.function))?;
    let mut body = Body::new(None);
    body.field("secrets", &json!(set));
    let (path, body) = (format!("{FUNCTIONS}/{id}/secrets"), Some(body.finish()));
    let answer = session.call(Method::PUT, &path, body, None, StatusCode::OK).await?;
    let page = page(&json_of(&answer)?).hint(format!("secrets: {before} -> {after}"));
    Ok(session.shown(page.essential(Vec::new()), &answer))
}

async fn delete(command: &Delete, mut session: Session) -> Result<Shown, Failure> {
    let id = find_function(session.line().await?, &command.object).await?;
    let question = format!("Delete {} ({id}) with its executions, for good?", command.object);
    confirm(command.yes, &question)?;
    let path = format!("{FUNCTIONS}/{id}");
    let answer = session.call(Method::DELETE, &path, None, None, StatusCode::OK).await?;
    let page = Page::new().text(format!("deleted {id}\n")).essential(Vec::new());
    Ok(session.shown(page, &answer))
}
