//! `neo-secrets accounts ..`: create, list, show, update, delete, with the owner's key.

use std::path::{Path, PathBuf};

use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::cli::answer::{items, json_of, number, text, time, with_position};
use crate::cli::args::{
    Account, Accounts, CreateAccount, DeleteAccount, ListAccounts, Quota, Quotas, UpdateAccount,
};
use crate::cli::confirm::confirm_or_yes;
use crate::cli::environment::Environment;
use crate::cli::lookup::is_id;
use crate::cli::outcome::{Exit, Failure, Shown};
use crate::cli::page::{Cell, Column, Page};
use crate::cli::session::{Line, Session};
use crate::cli::shell::quoted;
use crate::cli::terminal::{self, printable};
use crate::cli::value::Body;
use crate::connection::Answer;
use crate::files;
use crate::limits;
use crate::profile;

const PATH: &str = "/v1/accounts";
const ID_PREFIX: &str = "acc_";

/// The quotas, as the wire names them.
const QUOTAS: [&str; 5] = ["secrets", "valueBytes", "apiKeys", "auditEvents", "functions"];

pub(crate) async fn run(
    command: &Accounts,
    session: Session,
    environment: &Environment,
) -> Result<Shown, Failure> {
    match command {
        Accounts::Create(create) => self::create(create, session, environment).await,
        Accounts::List(list) => self::list(list, session).await,
        Accounts::Show(account) => show(account, session).await,
        Accounts::Update(update) => self::update(update, session).await,
        Accounts::Delete(delete) => self::delete(delete, session).await,
    }
}

/// The part of the answer that carries the new account's key.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Created<'a> {
    id: &'a str,
    admin_key: &'a str,
}

async fn create(
    command: &CreateAccount,
    mut session: Session,
    environment: &Environment,
) -> Result<Shown, Failure> {
    let CreateAccount { name, quotas, out } = command;
    let path = key_path(out.as_deref(), name, &session, environment)?;
    files::check_can_create(&path).map_err(|error| {
        Failure::error(format!("the admin key of {name} has no place: {error}"))
            .advice("--out FILE names another")
    })?;
    if let Some(id) = ids(session.line().await?, name).await?.first() {
        terminal::warn(&format!(
            "warning: another account has this name ({}): only by their ids can they be told apart",
            printable(id)
        ));
    }
    let mut body = Body::new(None);
    body.field("name", &json!(name));
    if let Some(quotas) = quota_object(quotas) {
        body.field("quotas", &quotas);
    }
    let body = Some(body.finish());
    let answer = session.call(Method::POST, PATH, body, None, StatusCode::CREATED).await?;
    let Created { id, admin_key } = serde_json::from_slice(&answer.body)
        .map_err(|_| Failure::error("the server's answer is not the API's: no id and adminKey"))?;
    let mut line = Zeroizing::new(Vec::with_capacity(admin_key.len() + 1));
    line.extend_from_slice(admin_key.as_bytes());
    line.push(b'\n');
    files::create(&path, &line).map_err(|error| {
        Failure::error(format!("the account {id} was made, but its key is lost: {error}")).advice(
            format!("neo-secrets accounts delete {id}, then create it again with another --out"),
        )
    })?;
    let file = path.display().to_string();
    let simulated = session.simulated();
    let json = json!({ "simulated": simulated, "id": id, "name": name, "adminKeyFile": file });
    let program = &session.settings().program;
    let fields =
        vec![("id", id.into()), ("name", name.as_str().into()), ("admin key", file.clone().into())];
    let page = Page::new()
        .fields(fields)
        .hint(format!("its admin types: {program} --key-file {} keys list", quoted(&file)))
        .essential(vec![id.into()]);
    Ok(Shown::new(page, &json))
}

/// Where the new admin key goes: the file that is named, or one named after the account beside the
/// key in use.
fn key_path(
    out: Option<&Path>,
    name: &str,
    session: &Session,
    environment: &Environment,
) -> Result<PathBuf, Failure> {
    if let Some(path) = out {
        return Ok(path.to_owned());
    }
    let no_place = |why: String| Failure::usage(why).advice("type --out FILE");
    // A name that could be a profile's leads to no other folder.
    if !profile::is_name(name) {
        return Err(no_place(format!("no file can be named after the account {name:?}")));
    }
    let profile = session.settings().profile.as_ref();
    let folder = profile.and_then(|(path, _)| environment.key_folder(path));
    let folder = folder.ok_or_else(|| no_place("there is no place for the key".to_owned()))?;
    if !folder.as_os_str().is_empty() {
        files::make_private_folder(&folder).map_err(Failure::error)?;
    }
    Ok(folder.join(format!("{name}.key")))
}

async fn list(command: &ListAccounts, mut session: Session) -> Result<Shown, Failure> {
    let ListAccounts { limit, offset } = command;
    let path = format!("{PATH}?limit={limit}&offset={offset}");
    let answer = session.call(Method::GET, &path, None, None, StatusCode::OK).await?;
    let body = json_of(&answer)?;
    let accounts = items(&body, "accounts");
    let row = |account: &Value| {
        let mut cells =
            vec![text(account, "id"), text(account, "name"), time(account, "createdAt")];
        cells.extend(QUOTAS.map(|quota| used(account, quota)));
        cells
    };
    let columns = [
        Column::whole("ID"),
        Column::cut("NAME"),
        Column::whole("CREATED"),
        Column::whole("SECRETS"),
        Column::whole("VALUE BYTES"),
        Column::whole("KEYS"),
        Column::whole("AUDIT EVENTS"),
        Column::whole("FUNCTIONS"),
    ];
    let ids = accounts.iter().map(|account| text(account, "id")).collect();
    let page = Page::new().table(&columns, accounts.iter().map(row).collect()).essential(ids);
    Ok(session.shown(with_position(page, &body, accounts.len(), *offset), &answer))
}

async fn show(command: &Account, mut session: Session) -> Result<Shown, Failure> {
    let id = find(session.line().await?, &command.object).await?;
    let path = format!("{PATH}/{id}");
    let answer = session.call(Method::GET, &path, None, None, StatusCode::OK).await?;
    Ok(session.shown(page(&json_of(&answer)?), &answer))
}

async fn update(command: &UpdateAccount, mut session: Session) -> Result<Shown, Failure> {
    let UpdateAccount { object, name, quotas } = command;
    let quotas = quota_object(quotas);
    if name.is_none() && quotas.is_none() {
        return Err(Failure::usage("nothing to change is given").advice(
            "type --name NAME, or a quota: --secrets N, --value-bytes N, --api-keys N, \
             --audit-events N",
        ));
    }
    let path = format!("{PATH}/{}", find(session.line().await?, object).await?);
    let mut body = Body::new(None);
    if let Some(name) = name {
        body.field("name", &json!(name));
    }
    if let Some(quotas) = quotas {
        body.field("quotas", &quotas);
    }
    let body = Some(body.finish());
    let answer = session.call(Method::PUT, &path, body, None, StatusCode::OK).await?;
    let page = page(&json_of(&answer)?).essential(Vec::new());
    Ok(session.shown(page, &answer))
}

async fn delete(command: &DeleteAccount, mut session: Session) -> Result<Shown, Failure> {
    let id = find(session.line().await?, &command.object).await?;
    let path = format!("{PATH}/{id}");
    let account = session.call(Method::GET, &path, None, None, StatusCode::OK).await?;
    confirm_or_yes(command.yes, &question(&json_of(&account)?))?;
    let answer = session.call(Method::DELETE, &path, None, None, StatusCode::OK).await?;
    let page = Page::new().text(format!("deleted {id}\n")).essential(Vec::new());
    Ok(session.shown(page, &answer))
}

/// What is lost with an account.
fn question(account: &Value) -> String {
    let name = account["name"].as_str().unwrap_or("?");
    let id = account["id"].as_str().unwrap_or("?");
    let count = |quota: &str, one: &str| {
        let count = account["usage"][quota].as_u64().unwrap_or_default();
        format!("{count} {one}{}", if count == 1 { "" } else { "s" })
    };
    format!(
        "Delete {name} ({id}) with its {}, {} and {}, for good?",
        count("secrets", "secret"),
        count("functions", "function"),
        count("apiKeys", "key")
    )
}

fn page(account: &Value) -> Page {
    Page::new().fields(vec![
        ("id", text(account, "id")),
        ("name", text(account, "name")),
        ("created", time(account, "createdAt")),
        ("secrets", used(account, "secrets")),
        ("value bytes", used(account, "valueBytes")),
        ("API keys", used(account, "apiKeys")),
        ("audit events", used(account, "auditEvents")),
        ("functions", used(account, "functions")),
    ])
}

/// What is used of a quota: `12 of 1000`.
fn used(account: &Value, quota: &str) -> Cell {
    let count = |list: &str| match number(&account[list], quota) {
        Cell::Text(text) => text,
        _ => String::new(),
    };
    format!("{} of {}", count("usage"), count("quotas")).into()
}

fn quota_object(quotas: &Quotas) -> Option<Value> {
    let Quotas { secrets, value_bytes, api_keys, audit_events, functions } = *quotas;
    let quotas = [secrets, value_bytes, api_keys, audit_events, functions];
    let mut object = Map::new();
    for (name, quota) in QUOTAS.into_iter().zip(quotas) {
        match quota {
            None => continue,
            Some(Quota::Default) => object.insert(name.to_owned(), Value::Null),
            Some(Quota::Number(number)) => object.insert(name.to_owned(), json!(number)),
        };
    }
    (!object.is_empty()).then_some(Value::Object(object))
}

/// The id of the account that the owner named. Names of accounts may not differ; then only the id
/// will do.
async fn find(line: &mut Line, object: &str) -> Result<String, Failure> {
    if is_id(ID_PREFIX, object) {
        return Ok(object.to_owned());
    }
    let ids = ids(line, object).await?;
    match ids.as_slice() {
        [id] if is_id(ID_PREFIX, id) => Ok(id.clone()),
        [] => Err(Failure::new(
            Exit::NotFoundOrConflict,
            format!("there is no account named {object:?}"),
        )
        .advice("neo-secrets accounts list shows the names")),
        ids => Err(Failure::new(
            Exit::NotFoundOrConflict,
            format!("{} accounts are named {object:?}: {}", ids.len(), ids.join(", ")),
        )
        .advice("name the account by its id")),
    }
}

/// The ids of the accounts of this name.
async fn ids(line: &mut Line, name: &str) -> Result<Vec<String>, Failure> {
    let mut ids = Vec::new();
    let mut offset = 0;
    loop {
        let path = format!("{PATH}?limit={}&offset={offset}", limits::PAGE_ITEMS_MAX);
        let answer: Answer = line.call(Method::GET, &path, None, None, StatusCode::OK).await?;
        let body = json_of(&answer)?;
        let accounts = items(&body, "accounts");
        let named = accounts.iter().filter(|account| account["name"] == name);
        ids.extend(named.filter_map(|account| account["id"].as_str()).map(str::to_owned));
        offset += accounts.len();
        let total = body["pagination"]["total"].as_u64().unwrap_or_default();
        if accounts.is_empty() || u64::try_from(offset).unwrap_or(u64::MAX) >= total {
            break;
        }
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_with_an_account_is_said() {
        let account = json!({"id": "acc_1", "name": "team",
            "usage": {"secrets": 1002, "functions": 0, "apiKeys": 1}});
        assert_eq!(
            question(&account),
            "Delete team (acc_1) with its 1002 secrets, 0 functions and 1 key, for good?"
        );
    }
}
