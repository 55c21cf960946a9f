//! `neo-secrets keys ..`: create, list, revoke, rotate. A key is shown, or written to a file, once.

use std::path::Path;

use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::cli::args::{CreateKey, Delete, Keys, RotateKey};
use crate::cli::outcome::{Exit, Failure, Shown};
use crate::cli::secrets::{confirm, expiry, is_id, json_of, text};
use crate::cli::session::Session;
use crate::cli::terminal::{self, printable, table};
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
        Keys::Rotate(rotate) => self::rotate(rotate, session).await,
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
    body.field("permissions", &json!(names));
    if !secrets.is_empty() {
        body.field("secrets", &json!(secrets));
    }
    if let Some(time) = expires_at {
        body.field("expiresAt", &json!(time.to_string()));
    }
    let body = Some(body.finish());
    let answer = session.call(Method::POST, PATH, body, None, StatusCode::CREATED).await?;
    deliver(&session, &answer, out.as_deref(), files::create)
}

async fn list(mut session: Session) -> Result<Shown, Failure> {
    let answer = session.call(Method::GET, PATH, None, None, StatusCode::OK).await?;
    let body = json_of(&answer)?;
    let row = |key: &Value| {
        [
            text(key, "id"),
            text(key, "name"),
            list_of(&key["permissions"]).unwrap_or_default(),
            list_of(&key["secrets"]).unwrap_or("all".to_owned()),
            expiry(key),
            text(key, "createdAt"),
        ]
    };
    let rows: Vec<_> = items(&body).iter().map(row).collect();
    let heads = ["ID", "NAME", "PERMISSIONS", "SECRETS", "EXPIRES", "CREATED"];
    Ok(session.shown(table(heads, &rows), &answer))
}

async fn revoke(command: &Delete, mut session: Session) -> Result<Shown, Failure> {
    let id = find(&mut session, &command.object).await?;
    confirm(command, &format!("Revoke {} ({id}) at once?", command.object))?;
    let path = format!("{PATH}/{id}");
    let answer = session.call(Method::DELETE, &path, None, None, StatusCode::OK).await?;
    Ok(session.shown(format!("revoked {id}\n"), &answer))
}

async fn rotate(command: &RotateKey, mut session: Session) -> Result<Shown, Failure> {
    let RotateKey { object, overlap_seconds, out } = command;
    if let Some(path) = out {
        files::check_can_replace(path).map_err(Failure::error)?;
    }
    let path = format!("{PATH}/{}/rotate", find(&mut session, object).await?);
    let mut body = Body::new(None);
    body.field("overlapSeconds", &json!(overlap_seconds));
    let body = Some(body.finish());
    let answer = session.call(Method::POST, &path, body, None, StatusCode::OK).await?;
    deliver(&session, &answer, out.as_deref(), files::replace)
}

/// The part of an answer that carries a new key.
#[derive(Deserialize)]
struct NewKey<'a> {
    id: &'a str,
    name: std::borrow::Cow<'a, str>,
    key: &'a str,
}

/// Hands the new key to the user: in a file where one is named, else on stdout, in either case only
/// this once.
fn deliver(
    session: &Session,
    answer: &Answer,
    out: Option<&Path>,
    write: fn(&Path, &[u8]) -> Result<(), files::FileError>,
) -> Result<Shown, Failure> {
    let NewKey { id, name, key } = serde_json::from_slice(&answer.body)
        .map_err(|_| Failure::error("the server's answer is not the API's: no id, name and key"))?;
    let (id, name) = (printable(id), printable(&name));
    let Some(path) = out else {
        terminal::note("note: the key is shown this once and is stored nowhere else: keep it now");
        let human = Zeroizing::new(format!("id    {id}\nname  {name}\nkey   {key}\n"));
        return Ok(Shown::answer(human, answer, session.simulated()));
    };
    let mut line = Zeroizing::new(Vec::with_capacity(key.len() + 1));
    line.extend_from_slice(key.as_bytes());
    line.push(b'\n');
    write(path, &line).map_err(|error| {
        Failure::error(format!("the key {id} was issued, but is lost: {error}"))
            .advice(format!("neo-secrets keys rotate {id} --out FILE gives a new one"))
    })?;
    let simulated = session.simulated();
    let human = format!("id    {id}\nname  {name}\nkey   in {}\n", path.display());
    let file = path.display().to_string();
    let json = json!({ "simulated": simulated, "id": id, "name": name, "keyFile": file });
    Ok(Shown::new(human, &json))
}

fn items(body: &Value) -> &[Value] {
    body["apiKeys"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn list_of(value: &Value) -> Option<String> {
    let texts = value.as_array()?.iter().filter_map(Value::as_str);
    Some(texts.collect::<Vec<_>>().join(","))
}

/// The id of the key that the user named. Names of keys need not differ; then only the id will do.
async fn find(session: &mut Session, object: &str) -> Result<String, Failure> {
    if is_id(ID_PREFIX, object) {
        return Ok(object.to_owned());
    }
    let answer = session.call(Method::GET, PATH, None, None, StatusCode::OK).await?;
    let body = json_of(&answer)?;
    let named = items(&body).iter().filter(|key| key["name"] == object);
    let ids: Vec<&str> = named.filter_map(|key| key["id"].as_str()).collect();
    match ids.as_slice() {
        [id] if is_id(ID_PREFIX, id) => Ok((*id).to_owned()),
        [] => {
            let message = format!("there is no key named {object:?} that this key may see");
            Err(Failure::new(Exit::NotFoundOrConflict, message)
                .advice("neo-secrets keys list shows the names"))
        }
        ids => {
            let message = format!("{} keys are named {object:?}: {}", ids.len(), ids.join(", "));
            Err(Failure::new(Exit::NotFoundOrConflict, message).advice("name the key by its id"))
        }
    }
}
