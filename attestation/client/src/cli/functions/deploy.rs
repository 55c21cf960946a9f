//! `neo-secrets functions deploy`: a function is created, or changed after its changes were shown.

use hyper::{Method, StatusCode};
use neo_secrets_attestation::receipt::Sha256Digest;
use serde_json::{Value, json};

use super::{page, read_code};
use crate::cli::answer::{json_of, text};
use crate::cli::args::{Clear, Deploy, FunctionName};
use crate::cli::confirm::confirm;
use crate::cli::lookup::{FUNCTIONS, search_function};
use crate::cli::outcome::{Failure, Shown};
use crate::cli::page::{Cell, Column, Page};
use crate::cli::session::{Session, failure};
use crate::cli::terminal::{self, printable};
use crate::cli::value::Body;
use crate::connection::Answer;

pub(crate) async fn run(command: &Deploy, mut session: Session) -> Result<Shown, Failure> {
    let code = read_code(&command.file)?;
    let mut wanted = fields(command)?;
    match search_function(session.line().await?, &command.name).await? {
        None => {
            wanted.retain(|(_, value)| !value.is_null());
            create(command, &code, &wanted, session).await
        }
        Some(id) => change(command, &id, &code, wanted, session).await,
    }
}

/// What the command line says of the function beside its code, in the API's words.
fn fields(command: &Deploy) -> Result<Vec<(&'static str, Value)>, Failure> {
    let Deploy {
        file: _,
        name: _,
        secrets,
        egress,
        environment,
        timeout,
        memory,
        tags,
        description,
        pin_code,
        clear,
        yes: _,
    } = command;
    let list = |list: &[String]| (!list.is_empty()).then(|| json!(list));
    let given = [
        ("description", description.as_ref().map(|text| json!(text)), Some(Clear::Description)),
        ("timeout", timeout.map(|seconds| json!(seconds)), None),
        ("memory", memory.map(|mib| json!(mib)), None),
        ("secrets", list(secrets), Some(Clear::Secrets)),
        ("egress", list(egress), Some(Clear::Egress)),
        ("environment", object(environment, "--env")?, Some(Clear::Env)),
        ("tags", object(tags, "--tag")?, Some(Clear::Tags)),
        ("pinCode", pin_code.map(|pin| json!(pin)), None),
    ];
    let mut fields = Vec::new();
    for (name, value, clears) in given {
        let cleared = clears.is_some_and(|what| clear.contains(&what));
        match value {
            Some(_) if cleared => {
                return Err(Failure::usage(format!("{name} is given, and is to be cleared")));
            }
            Some(value) => fields.push((name, value)),
            None if cleared => fields.push((name, Value::Null)),
            None => {}
        }
    }
    Ok(fields)
}

fn object(pairs: &[(String, String)], option: &str) -> Result<Option<Value>, Failure> {
    let mut object = serde_json::Map::new();
    for (name, value) in pairs {
        if object.insert(name.clone(), json!(value)).is_some() {
            return Err(Failure::usage(format!("{option}: {name:?} was given twice")));
        }
    }
    Ok((!object.is_empty()).then_some(Value::Object(object)))
}

async fn create(
    command: &Deploy,
    code: &str,
    fields: &[(&'static str, Value)],
    mut session: Session,
) -> Result<Shown, Failure> {
    let name = &command.name;
    let mut body = Body::new(None);
    body.field("name", &json!(name));
    body.field("code", &json!(code));
    fields.iter().for_each(|(name, value)| body.field(name, value));
    let answer = session.line().await?.ask(Method::POST, FUNCTIONS, Some(body.finish()), None);
    let answer = answer.await.map_err(failure)?;
    taken(command, code, &answer, StatusCode::CREATED)?;
    let next = format!("next: {} functions invoke {name}", session.settings().program);
    ended(&answer, "created", Some(next), &session)
}

async fn change(
    command: &Deploy,
    id: &str,
    code: &str,
    wanted: Vec<(&'static str, Value)>,
    mut session: Session,
) -> Result<Shown, Failure> {
    let by_id = FunctionName { function: id.to_owned() };
    let (_, answer) = super::read(session.line().await?, &by_id, true).await?;
    let before = json_of(&answer)?;
    let changes = changes(&before, code, wanted);
    if changes.is_empty() {
        return ended(&answer, "nothing changes:", None, &session);
    }
    let row = |(name, value): &(&'static str, Value)| {
        vec![(*name).into(), told(name, &before[*name]).into(), told(name, value).into()]
    };
    let columns = [Column::whole("CHANGES"), Column::cut("NOW"), Column::cut("NEW")];
    let shown = Page::new().table(&columns, changes.iter().map(row).collect());
    terminal::show(&shown.essential(Vec::new())).map_err(Failure::error)?;
    confirm(command.yes, &format!("Change {} ({id})?", command.name))?;
    let mut body = Body::new(None);
    changes.iter().for_each(|(name, value)| body.field(name, value));
    let path = format!("{FUNCTIONS}/{id}");
    let answer = session.line().await?.ask(Method::PUT, &path, Some(body.finish()), None);
    let answer = answer.await.map_err(failure)?;
    taken(command, code, &answer, StatusCode::OK)?;
    let after = json_of(&answer)?;
    let waits = after["pinCode"] == true && after["confirmed"] != true;
    let next = waits.then(|| {
        format!(
            "this code reads no secret until an admin types: {} functions confirm {} --code {}",
            session.settings().program,
            command.name,
            command.file.display()
        )
    });
    ended(&answer, "changed", next, &session)
}

/// What is asked for and is not so already.
fn changes(
    before: &Value,
    code: &str,
    wanted: Vec<(&'static str, Value)>,
) -> Vec<(&'static str, Value)> {
    let is_same = |name: &str, value: &Value| match (value, &before[name]) {
        (Value::Array(wanted), Value::Array(found)) => {
            // The order of secrets and hosts means nothing.
            let sorted = |list: &[Value]| {
                let mut texts: Vec<_> = list.iter().map(Value::to_string).collect();
                texts.sort();
                texts
            };
            sorted(wanted) == sorted(found)
        }
        (Value::Null, found) => match found {
            Value::Array(items) => items.is_empty(),
            Value::Object(pairs) => pairs.is_empty(),
            found => found.is_null(),
        },
        (wanted, found) => wanted == found,
    };
    let mut changes = vec![("code", json!(code))];
    changes.extend(wanted);
    changes.retain(|(name, value)| !is_same(name, value));
    changes
}

/// A value in a line.
fn told(name: &str, value: &Value) -> String {
    let pair =
        |(name, value): (&String, &Value)| format!("{name}={}", value.as_str().unwrap_or_default());
    match value {
        Value::String(code) if name == "code" => {
            let hash = Sha256Digest::of(code.as_bytes()).to_string();
            let short: String = hash.chars().take(12).collect();
            let lines = match code.lines().count() {
                1 => "1 line".to_owned(),
                count => format!("{count} lines"),
            };
            format!("{lines}, SHA-256 {short}..")
        }
        Value::String(text) => text.clone(),
        Value::Array(items) if !items.is_empty() => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
        }
        Value::Object(pairs) if !pairs.is_empty() => {
            pairs.iter().map(pair).collect::<Vec<_>>().join(", ")
        }
        Value::Null | Value::Array(_) | Value::Object(_) => "-".to_owned(),
        other => other.to_string(),
    }
}

/// Where the server refuses the code, the place is shown.
fn taken(
    command: &Deploy,
    code: &str,
    answer: &Answer,
    expected: StatusCode,
) -> Result<(), Failure> {
    if answer.status == expected {
        return Ok(());
    }
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let (error, details) = (&body["error"], &body["error"]["details"]);
    let number = |name: &str| usize::try_from(details[name].as_u64()?).ok();
    let refused = Failure::from_answer(answer);
    let (Some(line), Some(column)) = (number("line"), number("column")) else {
        return Err(refused);
    };
    if error["code"] != "FUNCTION_COMPILE_ERROR" {
        return Err(refused);
    }
    let said = details["issue"].as_str().unwrap_or("a syntax error");
    let place = format!("{}:{line}:{column}", command.file.display());
    let failure = Failure::error(format!("{place}: {}", printable(said)));
    let failure = failure.field("line", line).field("column", column);
    let failure = failure.field("code", "FUNCTION_COMPILE_ERROR").field("status", 400);
    let Some(source) = code.lines().nth(line.saturating_sub(1)) else { return Err(failure) };
    let (source, indent) = excerpt(source, column);
    let number = line.to_string();
    let caret = format!("{:1$} | {2:3$}^", "", number.len(), "", indent);
    Err(failure.detail(format!("{number} | {source}")).detail(caret))
}

/// As much of a line of code as fits on one of a terminal, and how far in it the column stands.
fn excerpt(line: &str, column: usize) -> (String, usize) {
    const BEFORE: usize = 50;
    const SHOWN: usize = 90;
    let at = column.saturating_sub(1);
    let skipped = at.saturating_sub(BEFORE);
    let visible = |part: &mut dyn Iterator<Item = char>| {
        printable(&part.collect::<String>().replace('\t', " "))
    };
    let before = visible(&mut line.chars().skip(skipped).take(at - skipped));
    let behind = visible(&mut line.chars().skip(at).take(SHOWN.saturating_sub(at - skipped)));
    let indent = before.chars().count();
    (before + &behind, indent)
}

fn ended(
    answer: &Answer,
    done: &str,
    next: Option<String>,
    session: &Session,
) -> Result<Shown, Failure> {
    let body = json_of(answer)?;
    let name = printable(body["name"].as_str().unwrap_or_default());
    let id: Cell = text(&body, "id");
    let page = page(&body).hint(format!("{done} {name}")).essential(vec![id]);
    Ok(session.shown(next.into_iter().fold(page, Page::hint), answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_a_change() {
        let before = json!({"code": "a", "secrets": ["x", "y"], "egress": [], "environment": {},
            "timeout": 30, "description": null, "tags": {"a": "b"}, "pinCode": false});
        let same = vec![
            ("secrets", json!(["y", "x"])),
            ("egress", Value::Null),
            ("environment", Value::Null),
            ("timeout", json!(30)),
            ("description", Value::Null),
            ("tags", json!({"a": "b"})),
            ("pinCode", json!(false)),
        ];
        assert_eq!(changes(&before, "a", same), []);
        let other = vec![("secrets", Value::Null), ("timeout", json!(31)), ("tags", Value::Null)];
        let names: Vec<_> =
            changes(&before, "b", other).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["code", "secrets", "timeout", "tags"]);
    }

    #[test]
    fn an_excerpt_holds_its_column_and_steers_nothing() {
        assert_eq!(excerpt("let x = ;", 9), ("let x = ;".to_owned(), 8));
        assert_eq!(excerpt("\tx\u{1b}[2J", 2), (" x\\u{1b}[2J".to_owned(), 1));
        let long = "a".repeat(500) + "b" + &"c".repeat(500);
        let (shown, indent) = excerpt(&long, 501);
        assert_eq!((shown.chars().nth(indent), shown.len()), (Some('b'), 90));
        assert_eq!(excerpt("ab", 3), ("ab".to_owned(), 2));
        assert_eq!(excerpt("", 0), (String::new(), 0));
    }
}
