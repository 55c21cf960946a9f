//! `neo-secrets keys ..`: create, list, revoke, rotate. A key is shown, or written to a file, once.

mod rotate;

use std::path::Path;

use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::cli::answer::{self, items, json_of, text, time};
use crate::cli::args::{CreateKey, Delete, Keys};
use crate::cli::confirm::confirm;
use crate::cli::lookup::is_id;
use crate::cli::outcome::{Exit, Failure, Shown};
use crate::cli::page::{Cell, Column, Page};
use crate::cli::session::{Line, Session};
use crate::cli::settings::system_time;
use crate::cli::shell::quoted;
use crate::cli::terminal::{self, printable};
use crate::cli::value::Body;
use crate::connection::Answer;
use crate::files;

const PATH: &str = "/v1/api-keys";
const ID_PREFIX: &str = "key_";

pub(crate) async fn run(command: &Keys, session: Session) -> Result<Shown, Failure> {
    match command {
        Keys::Create(create) => self::create(create, session).await,
        Keys::List => list(session).await,
        Keys::Revoke(revoke) => self::revoke(revoke, session).await,
        Keys::Rotate(rotate) => rotate::rotate(rotate, session).await,
    }
}

async fn create(command: &CreateKey, mut session: Session) -> Result<Shown, Failure> {
    let CreateKey { name, permissions, secrets, expires_at, out } = command;
    if let Some(path) = out {
        files::check_can_create(path).map_err(Failure::error)?;
    }
    let mut body = Body::new(None);
    body.field("name", &json!(name));
    let mut names: Vec<&str> = permissions.iter().map(|permission| permission.name()).collect();
    names.dedup();
    if let Some(warning) = lacks_read(&names) {
        terminal::warn(warning);
    }
    body.field("permissions", &json!(names));
    if !secrets.is_empty() {
        body.field("secrets", &json!(secrets));
    }
    if let Some(time) = expires_at {
        let time = time.to_come(system_time()).map_err(|past| Failure::usage(past.to_string()))?;
        body.field("expiresAt", &json!(time.to_string()));
    }
    let body = Some(body.finish());
    if let Some(warning) = is_named(session.line().await?, name).await {
        terminal::warn(&warning);
    }
    let answer = session.call(Method::POST, PATH, body, None, StatusCode::CREATED).await?;
    let next = format!(
        "hand it on with a profile ({} profile export --out FILE.json), the key file by a safe way \
         of its own",
        session.settings().program
    );
    deliver(&session, &answer, out.as_deref(), files::create, &[next])
}

async fn list(mut session: Session) -> Result<Shown, Failure> {
    let answer = session.call(Method::GET, PATH, None, None, StatusCode::OK).await?;
    let body = json_of(&answer)?;
    let keys = items(&body, "apiKeys");
    let row = |key: &Value| {
        vec![
            text(key, "id"),
            text(key, "name"),
            answer::list(key, "permissions").unwrap_or_default().into(),
            answer::list(key, "secrets").unwrap_or("all".to_owned()).into(),
            answer::expiry(key),
            time(key, "createdAt"),
            time(key, "oldKeyUntil"),
        ]
    };
    let columns = [
        Column::whole("ID"),
        Column::cut("NAME"),
        Column::whole("PERMISSIONS"),
        Column::cut("SECRETS"),
        Column::whole("EXPIRES"),
        Column::whole("CREATED"),
        Column::whole("OLD KEY UNTIL"),
    ];
    let ids = keys.iter().map(|key| text(key, "id")).collect();
    let page = Page::new().table(&columns, keys.iter().map(row).collect()).essential(ids);
    let now = system_time();
    let expired =
        |key: &&Value| matches!(answer::expiry(key), Cell::Until(Some(time)) if time <= now);
    let page = match keys.iter().filter(expired).count() {
        0 => page,
        count => page.hint(format!(
            "{count} expired: {} keys revoke ID removes one",
            session.settings().program
        )),
    };
    Ok(session.shown(page, &answer))
}

async fn revoke(command: &Delete, mut session: Session) -> Result<Shown, Failure> {
    let key = find(session.line().await?, &command.object).await?;
    let (id, name) = (id_of(&key)?, key["name"].as_str().unwrap_or_default());
    confirm(command.yes, &format!("Revoke {name} ({id}) at once?"))?;
    let path = format!("{PATH}/{id}");
    let answer = session.call(Method::DELETE, &path, None, None, StatusCode::OK).await;
    let answer = answer.map_err(|failure| match failure.exit {
        Exit::NotFoundOrConflict => failure.advice(
            "issue another one first: neo-secrets keys create NAME --permission admin,reveal --out \
             NAME.key",
        ),
        _ => failure,
    })?;
    let page = Page::new().text(format!("revoked {id}\n")).essential(Vec::new());
    Ok(session.shown(page, &answer))
}

/// The part of an answer that carries a new key.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewKey<'a> {
    id: &'a str,
    name: std::borrow::Cow<'a, str>,
    key: &'a str,
    permissions: Vec<String>,
    secrets: Option<Vec<String>>,
    expires_at: Option<String>,
}

/// Hands the new key to the user: in a file where one is named, else on stdout, in either case only
/// this once.
fn deliver(
    session: &Session,
    answer: &Answer,
    out: Option<&Path>,
    write: fn(&Path, &[u8]) -> Result<(), files::FileError>,
    hints: &[String],
) -> Result<Shown, Failure> {
    let NewKey { id, name, key, permissions, secrets, expires_at } =
        serde_json::from_slice(&answer.body).map_err(|_| {
            Failure::error("the server's answer is not the API's: no id, name and key")
        })?;
    let (id, name) = (printable(id), printable(&name));
    let reach = secrets.map_or("all".to_owned(), |globs| globs.join(", "));
    let mut fields: Vec<(&'static str, Cell)> = vec![
        ("id", id.clone().into()),
        ("name", name.clone().into()),
        ("may", permissions.join(", ").into()),
        ("secrets", reach.into()),
        ("expires", answer::expiry(&json!({ "expiresAt": expires_at }))),
    ];
    let Some(path) = out else {
        let cell = || Cell::Key(Zeroizing::new(key.to_owned()));
        fields.push(("key", cell()));
        let page = Page::new()
            .fields(fields)
            .hint(
                "the key is shown this once and stored nowhere else: keep it now, in a file with \
                 mode 0600 (--out FILE does that by itself)",
            )
            .essential(vec![cell()]);
        let page = hints.iter().fold(page, Page::hint);
        return Ok(Shown::answer(page, answer, session.simulated()));
    };
    let mut line = Zeroizing::new(Vec::with_capacity(key.len() + 1));
    line.extend_from_slice(key.as_bytes());
    line.push(b'\n');
    write(path, &line).map_err(|error| {
        Failure::error(format!("the key {id} was issued, but is lost: {error}"))
            .advice(format!("neo-secrets keys rotate {id} --out FILE gives a new one"))
    })?;
    let file = path.display().to_string();
    fields.push(("key file", file.clone().into()));
    let program = &session.settings().program;
    let page = Page::new()
        .fields(fields)
        .hint(use_it(&permissions, program, &quoted(&file)))
        .essential(vec![id.clone().into()]);
    let page = hints.iter().fold(page, Page::hint);
    let simulated = session.simulated();
    let json = json!({ "simulated": simulated, "id": id, "name": name, "keyFile": file });
    Ok(Shown::new(page, &json))
}

/// What a key of these permissions can be used for first.
fn use_it(permissions: &[String], program: &str, file: &str) -> String {
    let has = |name: &str| permissions.iter().any(|permission| permission == name);
    let command = match () {
        () if has("read") || has("admin") => "secrets list",
        () if has("write") => "secrets create NAME",
        () if has("execute") => "functions invoke ID",
        () => "secrets value ID",
    };
    format!("use it: {program} --key-file {file} {command}")
}

/// What to say of a key that finds no secret by its name.
fn lacks_read(permissions: &[&str]) -> Option<&'static str> {
    let has = |name: &str| permissions.contains(&name);
    (has("reveal") && !has("read") && !has("admin")).then_some(
        "warning: without read this key takes values out by id only: it lists no secret and finds \
         none by its name (--permission read,reveal)",
    )
}

/// What to say where a key of this name exists already. Whoever can't list keys is told nothing.
async fn is_named(line: &mut Line, name: &str) -> Option<String> {
    let answer = line.ask(Method::GET, PATH, None, None).await.ok()?;
    let body = json_of(&answer).ok()?;
    let same = items(&body, "apiKeys").iter().find(|key| key["name"] == name)?;
    let id = printable(same["id"].as_str()?);
    Some(format!(
        "warning: another key has this name ({id}): only by their ids can they be told apart"
    ))
}

/// The key that the user named, as the list has it. Names of keys need not differ; then only the id
/// will do.
async fn find(line: &mut Line, object: &str) -> Result<Value, Failure> {
    let answer = line.call(Method::GET, PATH, None, None, StatusCode::OK).await?;
    let body = json_of(&answer)?;
    let field = if is_id(ID_PREFIX, object) { "id" } else { "name" };
    let named = items(&body, "apiKeys").iter().filter(|key| key[field] == object);
    let named: Vec<&Value> = named.collect();
    match named.as_slice() {
        [key] => Ok((*key).clone()),
        [] => {
            let told = if field == "id" { "with the id" } else { "named" };
            let message = format!("there is no key {told} {object:?} that this key may see");
            Err(Failure::new(Exit::NotFoundOrConflict, message)
                .advice("neo-secrets keys list shows the names"))
        }
        keys => {
            let ids: Vec<&str> = keys.iter().filter_map(|key| key["id"].as_str()).collect();
            let message = format!("{} keys are named {object:?}: {}", ids.len(), ids.join(", "));
            Err(Failure::new(Exit::NotFoundOrConflict, message).advice("name the key by its id"))
        }
    }
}

/// The id of a listed key, for a path.
fn id_of(key: &Value) -> Result<&str, Failure> {
    let id = key["id"].as_str().filter(|id| is_id(ID_PREFIX, id));
    id.ok_or_else(|| Failure::error("the server's list has a malformed id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_new_key_is_used_for_suits_its_permissions() {
        let told = |permissions: &[&str]| {
            let owned: Vec<String> = permissions.iter().map(|name| (*name).to_owned()).collect();
            (use_it(&owned, "neo-secrets", "k"), lacks_read(permissions).is_some())
        };
        for (permissions, command, warned) in [
            (&["admin"][..], "secrets list", false),
            (&["read", "reveal"], "secrets list", false),
            (&["admin", "reveal"], "secrets list", false),
            (&["write"], "secrets create NAME", false),
            (&["execute"], "functions invoke ID", false),
            (&["reveal"], "secrets value ID", true),
        ] {
            let expected = format!("use it: neo-secrets --key-file k {command}");
            assert_eq!(told(permissions), (expected, warned));
        }
    }
}
