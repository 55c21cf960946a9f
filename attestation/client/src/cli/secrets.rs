//! `neo-secrets secrets ..`: list, create, get, update, versions, rollback, delete.

use hyper::{Method, StatusCode};
use neo_secrets_attestation::time::UnixTime;
use serde_json::{Value, json};

use crate::cli::args::{
    CreateSecret, Delete, ListSecrets, Object, RollbackSecret, Secrets, UpdateSecret,
};
use crate::cli::outcome::{Exit, Failure, Shown};
use crate::cli::session::Session;
use crate::cli::terminal::{self, printable, table};
use crate::cli::value::{self, Body};
use crate::connection::Answer;
use crate::limits;

const PATH: &str = "/v1/secrets";
const ID_PREFIX: &str = "sec_";

pub(crate) async fn run(command: &Secrets, session: Session) -> Result<Shown, Failure> {
    match command {
        Secrets::List(list) => self::list(list, session).await,
        Secrets::Create(create) => self::create(create, session).await,
        Secrets::Get(object) => get(object, session).await,
        Secrets::Update(update) => self::update(update, session).await,
        Secrets::Versions(object) => versions(object, session).await,
        Secrets::Rollback(rollback) => self::rollback(rollback, session).await,
        Secrets::Delete(delete) => self::delete(delete, session).await,
    }
}

async fn list(command: &ListSecrets, mut session: Session) -> Result<Shown, Failure> {
    let ListSecrets { limit, offset, prefix, detail } = command;
    let mut path = format!("{PATH}?limit={limit}&offset={offset}");
    if let Some(prefix) = prefix {
        path.push_str(&format!("&prefix={}", percent_encode(prefix)));
    }
    if *detail {
        path.push_str("&detail=full");
    }
    let answer = session.call(Method::GET, &path, None, None, StatusCode::OK).await?;
    let body = json_of(&answer)?;
    let items = body["secrets"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut human = if *detail {
        let row = |item: &Value| {
            let version = item["version"].to_string();
            let expiry = expiry(item);
            [
                text(item, "id"),
                text(item, "name"),
                version,
                text(item, "createdAt"),
                text(item, "updatedAt"),
                expiry,
                tags(item),
                text(item, "description"),
            ]
        };
        let rows: Vec<_> = items.iter().map(row).collect();
        table(
            ["ID", "NAME", "VERSION", "CREATED", "UPDATED", "EXPIRES", "TAGS", "DESCRIPTION"],
            &rows,
        )
    } else {
        let row =
            |item: &Value| ["id", "name", "createdAt", "updatedAt"].map(|name| text(item, name));
        let rows: Vec<_> = items.iter().map(row).collect();
        table(["ID", "NAME", "CREATED", "UPDATED"], &rows)
    };
    let total = body["pagination"]["total"].as_u64().unwrap_or_default();
    human.push_str(&page_line(items.len(), *offset, total));
    Ok(session.shown(human, &answer))
}

fn page_line(shown: usize, offset: u64, total: u64) -> String {
    let next = offset.saturating_add(u64::try_from(shown).unwrap_or(u64::MAX));
    match (shown, next < total) {
        (0, _) => format!("none of {total}\n"),
        (_, true) => format!("{}-{next} of {total}; more: --offset {next}\n", offset + 1),
        (_, false) => format!("{}-{next} of {total}\n", offset + 1),
    }
}

async fn create(command: &CreateSecret, mut session: Session) -> Result<Shown, Failure> {
    let CreateSecret { name, source, description, tags, expires_at, stray } = command;
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
        body.field("expiresAt", &json!(time.to_string()));
    }
    let body = Some(body.finish());
    let answer = session.call(Method::POST, PATH, body, None, StatusCode::CREATED).await?;
    metadata(&session, &answer, "created")
}

async fn get(command: &Object, mut session: Session) -> Result<Shown, Failure> {
    value::refuse_stray(&command.stray, "secrets get")?;
    let id = find(&mut session, &command.object).await?;
    let path = format!("{PATH}/{id}");
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
    let path = format!("{PATH}/{}", find(&mut session, object).await?);
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
    let time = |time: &UnixTime| json!(time.to_string());
    change("expiresAt", expires_at.as_ref().map(time), *clear_expires_at);
    Ok(changes)
}

async fn versions(command: &Object, mut session: Session) -> Result<Shown, Failure> {
    value::refuse_stray(&command.stray, "secrets versions")?;
    let path = format!("{PATH}/{}/versions", find(&mut session, &command.object).await?);
    let answer = session.call(Method::GET, &path, None, None, StatusCode::OK).await?;
    let body = json_of(&answer)?;
    let items = body["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let row = |item: &Value| {
        [item["version"].to_string(), text(item, "createdAt"), text(item, "createdBy")]
    };
    let rows: Vec<_> = items.iter().map(row).collect();
    Ok(session.shown(table(["VERSION", "CREATED", "CREATED BY"], &rows), &answer))
}

async fn rollback(command: &RollbackSecret, mut session: Session) -> Result<Shown, Failure> {
    let RollbackSecret { object, to, if_match } = command;
    let path = format!("{PATH}/{}/rollback", find(&mut session, object).await?);
    let mut body = Body::new(None);
    body.field("version", &json!(to));
    let body = Some(body.finish());
    let answer = session.call(Method::POST, &path, body, *if_match, StatusCode::OK).await?;
    metadata(&session, &answer, &format!("brought back version {to} of"))
}

async fn delete(command: &Delete, mut session: Session) -> Result<Shown, Failure> {
    let id = find(&mut session, &command.object).await?;
    confirm(
        command,
        &format!("Delete {} ({id}) with all its versions, for good?", command.object),
    )?;
    let path = format!("{PATH}/{id}");
    let answer = session.call(Method::DELETE, &path, None, None, StatusCode::OK).await?;
    Ok(session.shown(format!("deleted {id}\n"), &answer))
}

/// On a terminal a person is asked; a script is not.
pub(crate) fn confirm(command: &Delete, question: &str) -> Result<(), Failure> {
    if command.yes || !terminal::stdin_is_terminal() {
        return Ok(());
    }
    let answer =
        terminal::ask(&format!("{} [y/N] ", printable(question))).map_err(Failure::error)?;
    match answer.as_str() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::new(Exit::Error, "nothing was done")),
    }
}

/// The id of the secret that the user named: the argument itself where it has an id's form, else
/// found by its name.
async fn find(session: &mut Session, object: &str) -> Result<String, Failure> {
    if is_id(ID_PREFIX, object) {
        return Ok(object.to_owned());
    }
    let unknown = || {
        let message = format!("there is no secret named {object:?} that this key may see");
        Failure::new(Exit::NotFoundOrConflict, message)
            .advice("neo-secrets secrets list shows the names")
    };
    if !is_name(object) {
        return Err(unknown());
    }
    for _ in 0..limits::WALKS_MAX {
        if let Walk::Ended(found) = walk(session, object).await? {
            return found.ok_or_else(unknown);
        }
    }
    Err(Failure::new(Exit::Error, "the list of secrets changes faster than it can be searched")
        .advice("name the secret by its id"))
}

enum Walk {
    /// All pages were seen: the id, where the name was among them.
    Ended(Option<String>),
    /// The total changed, so that an item may have moved to a page already read.
    Disturbed,
}

async fn walk(session: &mut Session, name: &str) -> Result<Walk, Failure> {
    let (prefix, limit) = (percent_encode(name), limits::PAGE_ITEMS_MAX);
    let (mut offset, mut first_total) = (0, None);
    loop {
        let path = format!("{PATH}?limit={limit}&offset={offset}&prefix={prefix}");
        let answer = session.call(Method::GET, &path, None, None, StatusCode::OK).await?;
        let body = json_of(&answer)?;
        let items = body["secrets"].as_array().map(Vec::as_slice).unwrap_or_default();
        if let Some(item) = items.iter().find(|item| item["name"] == name) {
            let id = item["id"].as_str().filter(|id| is_id(ID_PREFIX, id));
            let id = id.ok_or_else(|| Failure::error("the server's list has a malformed id"))?;
            return Ok(Walk::Ended(Some(id.to_owned())));
        }
        let total = body["pagination"]["total"].as_u64();
        if *first_total.get_or_insert(total) != total {
            return Ok(Walk::Disturbed);
        }
        offset += items.len();
        let seen = u64::try_from(offset).unwrap_or(u64::MAX);
        if items.is_empty() || total.is_none_or(|total| seen >= total) {
            return Ok(Walk::Ended(None));
        }
    }
}

/// Whether a text has the form of an id: the prefix and 18 bytes in base64url. Only such a text
/// enters a path.
pub(crate) fn is_id(prefix: &str, text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    text.strip_prefix(prefix).is_some_and(|rest| rest.len() == 24 && rest.bytes().all(fits))
}

/// Whether a secret can have this name.
fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    begins && text.len() <= 100 && text.bytes().all(fits)
}

/// A query's value: everything but unreserved characters as `%XX`.
fn percent_encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
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
    let mut lines = Vec::new();
    if !done.is_empty() {
        lines.push(("", format!("{done} {}", text(&body, "name"))));
    }
    lines.extend([("id", text(&body, "id")), ("name", text(&body, "name"))]);
    lines.push(("version", body["version"].to_string()));
    if let Some(revision) = answer.revision {
        lines.push(("revision", revision.to_string()));
    }
    lines.extend([("created", text(&body, "createdAt")), ("updated", text(&body, "updatedAt"))]);
    lines.extend([("expires", expiry(&body)), ("tags", tags(&body))]);
    lines.push(("description", text(&body, "description")));
    Ok(session.shown(fields(&lines), answer))
}

/// `name  value` lines; a line without a name stands alone.
pub(crate) fn fields(lines: &[(&str, String)]) -> String {
    let line = |(name, value): &(&str, String)| match *name {
        "" => format!("{}\n", printable(value)),
        name => format!("{name:<12} {}\n", printable(value)),
    };
    lines.iter().map(line).collect()
}

pub(crate) fn text(object: &Value, name: &str) -> String {
    object[name].as_str().unwrap_or("-").to_owned()
}

pub(crate) fn expiry(object: &Value) -> String {
    match (object["expiresAt"].as_str(), object["expired"].as_bool()) {
        (None, _) => "never".to_owned(),
        (Some(time), Some(true)) => format!("{time} (expired)"),
        (Some(time), _) => time.to_owned(),
    }
}

fn tags(object: &Value) -> String {
    let tags = object["tags"].as_object().filter(|tags| !tags.is_empty());
    let one = |(key, value): (&String, &Value)| format!("{key}={}", value.as_str().unwrap_or("?"));
    tags.map_or("-".to_owned(), |tags| tags.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// The answer's body as JSON. Used only where it holds no key.
pub(crate) fn json_of(answer: &Answer) -> Result<Value, Failure> {
    serde_json::from_slice(&answer.body)
        .map_err(|error| Failure::error(format!("the server's answer is not the API's: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_ids_exact_form_is_an_id() {
        assert!(is_id("sec_", "sec_AbCdEfGhIjKlMnOpQrStUv-_"));
        for text in [
            "sec_",
            "sec_AbC",
            "key_AbCdEfGhIjKlMnOpQrStUv-_",
            "sec_AbCdEfGhIjKlMnOpQrSt/../",
            "sec_AbCdEfGhIjKlMnOpQrStUv-_x",
            "db-password",
        ] {
            assert!(!is_id("sec_", text), "{text}");
        }
    }

    #[test]
    fn a_query_takes_any_text() {
        assert_eq!(percent_encode("db-1_a.b~"), "db-1_a.b~");
        assert_eq!(percent_encode("a b&c=ü"), "a%20b%26c%3D%C3%BC");
    }

    #[test]
    fn pages_say_what_comes_next() {
        assert_eq!(page_line(0, 0, 0), "none of 0\n");
        assert_eq!(page_line(20, 0, 45), "1-20 of 45; more: --offset 20\n");
        assert_eq!(page_line(5, 40, 45), "41-45 of 45\n");
        assert_eq!(page_line(0, 60, 45), "none of 45\n");
    }

    #[test]
    fn a_repeated_tag_is_refused() {
        let tag = |key: &str| (key.to_owned(), "v".to_owned());
        assert_eq!(tag_object(&[]).unwrap(), None);
        assert_eq!(tag_object(&[tag("a"), tag("b")]).unwrap(), Some(json!({"a": "v", "b": "v"})));
        assert_eq!(tag_object(&[tag("a"), tag("a")]).unwrap_err().exit, Exit::Usage);
    }
}
