//! `neo-secrets secrets ..`: list, create, get, update, versions, rollback, delete.

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::cli::answer::{self, items, json_of, number, text, time};
use crate::cli::args::{
    CreateSecret, Delete, ListSecrets, Object, RollbackSecret, Secrets, UpdateSecret, UseOnly,
};
use crate::cli::confirm::confirm;
use crate::cli::lookup::{SECRETS, find, percent_encode};
use crate::cli::outcome::{Failure, Shown};
use crate::cli::page::{Cell, Column, Page};
use crate::cli::readable::Moment;
use crate::cli::reveal;
use crate::cli::session::Session;
use crate::cli::settings::system_time;
use crate::cli::terminal::printable;
use crate::cli::value::{self, Body};
use crate::connection::Answer;

pub(crate) async fn run(command: &Secrets, session: Session) -> Result<Shown, Failure> {
    match command {
        Secrets::List(list) => self::list(list, session).await,
        Secrets::Create(create) => self::create(create, session).await,
        Secrets::Get(object) => get(object, session).await,
        Secrets::Update(update) => self::update(update, session).await,
        Secrets::Versions(object) => versions(object, session).await,
        Secrets::Rollback(rollback) => self::rollback(rollback, session).await,
        Secrets::Value(reveal) => reveal::run(reveal, session).await,
        Secrets::Delete(delete) => self::delete(delete, session).await,
    }
}

async fn list(command: &ListSecrets, mut session: Session) -> Result<Shown, Failure> {
    let ListSecrets { limit, offset, prefix, detail } = command;
    let mut path = format!("{SECRETS}?limit={limit}&offset={offset}");
    if let Some(prefix) = prefix {
        path.push_str(&format!("&prefix={}", percent_encode(prefix)));
    }
    if *detail {
        path.push_str("&detail=full");
    }
    let answer = session.call(Method::GET, &path, None, None, StatusCode::OK).await?;
    let body = json_of(&answer)?;
    let items = items(&body, "secrets");
    let row = |item: &Value| {
        let mut cells = vec![text(item, "id"), text(item, "name")];
        if *detail {
            cells.push(number(item, "version"));
        }
        cells.extend([time(item, "createdAt"), time(item, "updatedAt")]);
        if *detail {
            cells.extend([answer::expiry(item), tags(item), text(item, "description")]);
        }
        cells
    };
    let rows = items.iter().map(row).collect();
    let names = items.iter().map(|item| text(item, "name")).collect();
    let columns: &[Column] = if *detail { &DETAILED } else { &BRIEF };
    let page = Page::new().table(columns, rows).essential(names);
    Ok(session.shown(answer::with_position(page, &body, items.len(), *offset), &answer))
}

const BRIEF: [Column; 4] =
    [Column::whole("ID"), Column::cut("NAME"), Column::whole("CREATED"), Column::whole("UPDATED")];

const DETAILED: [Column; 8] = [
    Column::whole("ID"),
    Column::cut("NAME"),
    Column::whole("VERSION"),
    Column::whole("CREATED"),
    Column::whole("UPDATED"),
    Column::whole("EXPIRES"),
    Column::cut("TAGS"),
    Column::cut("DESCRIPTION"),
];

async fn create(command: &CreateSecret, mut session: Session) -> Result<Shown, Failure> {
    let CreateSecret { name, source, description, tags, expires_at, use_only, stray } = command;
    let UseOnly { use_only, allow_hosts, header } = use_only;
    value::refuse_stray(stray, "secrets create")?;
    let tags = tag_object(tags)?;
    let value = value::read(source)?;
    let mut body = Body::new(Some(&value));
    drop(value);
    body.field("name", &json!(name));
    if let Some(description) = description {
        body.field("description", &json!(description));
    }
    if let Some(tags) = tags {
        body.field("tags", &tags);
    }
    if let Some(time) = expires_at {
        let time = time.to_come(system_time()).map_err(|past| Failure::usage(past.to_string()))?;
        body.field("expiresAt", &json!(time.to_string()));
    }
    if *use_only {
        body.field("useOnly", &json!(true));
        body.field("allowedHosts", &json!(allow_hosts));
        body.field("allowedHeader", &json!(header));
    }
    let body = Some(body.finish());
    let answer = session.call(Method::POST, SECRETS, body, None, StatusCode::CREATED).await?;
    metadata(&session, &answer, "created")
}

async fn get(command: &Object, mut session: Session) -> Result<Shown, Failure> {
    value::refuse_stray(&command.stray, "secrets get")?;
    let id = find(session.line().await?, &command.object).await?;
    let path = format!("{SECRETS}/{id}");
    let answer = session.call(Method::GET, &path, None, None, StatusCode::OK).await?;
    metadata(&session, &answer, "")
}

async fn update(command: &UpdateSecret, mut session: Session) -> Result<Shown, Failure> {
    let UpdateSecret { object, source, if_match, stray, .. } = command;
    value::refuse_stray(stray, "secrets update")?;
    let changes = metadata_changes(command)?;
    // Without any other change the value is what changes; with one, only where a source is named.
    let takes_value = changes.is_empty() || source.from_file.is_some();
    let value = if takes_value { Some(value::read(source)?) } else { None };
    let mut body = Body::new(value.as_ref());
    drop(value);
    for (name, value) in &changes {
        body.field(name, value);
    }
    let path = format!("{SECRETS}/{}", find(session.line().await?, object).await?);
    let body = Some(body.finish());
    let answer = session.call(Method::PUT, &path, body, *if_match, StatusCode::OK).await?;
    metadata(&session, &answer, "updated")
}

fn metadata_changes(command: &UpdateSecret) -> Result<Vec<(&'static str, Value)>, Failure> {
    let UpdateSecret {
        object: _,
        source: _,
        description,
        clear_description,
        tags,
        clear_tags,
        expires_at,
        clear_expires_at,
        if_match: _,
        stray: _,
    } = command;
    let mut changes = Vec::new();
    let mut change = |name, set: Option<Value>, clear: bool| match set {
        Some(value) => changes.push((name, value)),
        None if clear => changes.push((name, Value::Null)),
        None => {}
    };
    change("description", description.as_ref().map(|text| json!(text)), *clear_description);
    change("tags", tag_object(tags)?, *clear_tags);
    let time = |time: &Moment| json!(time.ahead(system_time()).to_string());
    change("expiresAt", expires_at.as_ref().map(time), *clear_expires_at);
    Ok(changes)
}

async fn versions(command: &Object, mut session: Session) -> Result<Shown, Failure> {
    value::refuse_stray(&command.stray, "secrets versions")?;
    let path =
        format!("{SECRETS}/{}/versions", find(session.line().await?, &command.object).await?);
    let answer = session.call(Method::GET, &path, None, None, StatusCode::OK).await?;
    let body = json_of(&answer)?;
    let items = items(&body, "versions");
    let row = |item: &Value| {
        vec![number(item, "version"), time(item, "createdAt"), text(item, "createdBy")]
    };
    let columns = [Column::whole("VERSION"), Column::whole("CREATED"), Column::whole("CREATED BY")];
    let page = Page::new().table(&columns, items.iter().map(row).collect());
    let numbers = items.iter().map(|item| number(item, "version")).collect();
    Ok(session.shown(page.essential(numbers), &answer))
}

async fn rollback(command: &RollbackSecret, mut session: Session) -> Result<Shown, Failure> {
    let RollbackSecret { object, to, if_match } = command;
    let path = format!("{SECRETS}/{}/rollback", find(session.line().await?, object).await?);
    let mut body = Body::new(None);
    body.field("version", &json!(to));
    let body = Some(body.finish());
    let answer = session.call(Method::POST, &path, body, *if_match, StatusCode::OK).await?;
    metadata(&session, &answer, &format!("brought back version {to} of"))
}

async fn delete(command: &Delete, mut session: Session) -> Result<Shown, Failure> {
    let id = find(session.line().await?, &command.object).await?;
    let question = format!("Delete {} ({id}) with all its versions, for good?", command.object);
    confirm(command.yes, &question)?;
    let path = format!("{SECRETS}/{id}");
    let answer = session.call(Method::DELETE, &path, None, None, StatusCode::OK).await?;
    let page = Page::new().text(format!("deleted {id}\n")).essential(Vec::new());
    Ok(session.shown(page, &answer))
}

fn tag_object(tags: &[(String, String)]) -> Result<Option<Value>, Failure> {
    let mut object = serde_json::Map::new();
    for (key, value) in tags {
        if object.insert(key.clone(), json!(value)).is_some() {
            return Err(Failure::usage(format!("--tag: the key {key:?} was given twice")));
        }
    }
    Ok((!object.is_empty()).then_some(Value::Object(object)))
}

fn metadata(session: &Session, answer: &Answer, done: &str) -> Result<Shown, Failure> {
    let body = json_of(answer)?;
    let mut fields = vec![("id", text(&body, "id")), ("name", text(&body, "name"))];
    fields.push(("version", number(&body, "version")));
    if let Some(revision) = answer.revision {
        fields.push(("revision", revision.to_string().into()));
    }
    fields.extend([("created", time(&body, "createdAt")), ("updated", time(&body, "updatedAt"))]);
    fields.extend([("expires", answer::expiry(&body)), ("tags", tags(&body))]);
    fields.push(("description", text(&body, "description")));
    if body["useOnly"] == true {
        fields.push(("use-only", use_only(&body)));
    }
    let mut page = Page::new();
    if !done.is_empty() {
        let name = printable(body["name"].as_str().unwrap_or_default());
        page = page.hint(format!("{done} {name}")).essential(vec![text(&body, "id")]);
    }
    Ok(session.shown(page.fields(fields), answer))
}

fn use_only(object: &Value) -> Cell {
    let hosts = object["allowedHosts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let hosts: Vec<&str> = hosts.iter().filter_map(Value::as_str).collect();
    let header = object["allowedHeader"].as_str().unwrap_or("?");
    format!("in {header}, to {}", hosts.join(", ")).into()
}

fn tags(object: &Value) -> Cell {
    let tags = object["tags"].as_object().filter(|tags| !tags.is_empty());
    let one = |(key, value): (&String, &Value)| format!("{key}={}", value.as_str().unwrap_or("?"));
    tags.map_or("-".into(), |tags| tags.iter().map(one).collect::<Vec<_>>().join(", ").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::outcome::Exit;

    #[test]
    fn a_repeated_tag_is_refused() {
        let tag = |key: &str| (key.to_owned(), "v".to_owned());
        assert_eq!(tag_object(&[]).unwrap(), None);
        assert_eq!(tag_object(&[tag("a"), tag("b")]).unwrap(), Some(json!({"a": "v", "b": "v"})));
        assert_eq!(tag_object(&[tag("a"), tag("a")]).unwrap_err().exit, Exit::Usage);
    }
}
