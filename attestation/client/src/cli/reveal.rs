//! `neo-secrets secrets value`: takes a value out, where configuration and key allow it.

use std::path::Path;

use hyper::{Method, StatusCode};
use neo_secrets_attestation::time::UnixTime;
use serde::Deserialize;
use serde_json::json;

use crate::cli::answer::json_of;
use crate::cli::args::RevealSecret;
use crate::cli::lookup::{SECRETS, find};
use crate::cli::outcome::{Exit, Failure, Shown};
use crate::cli::page::Page;
use crate::cli::readable::date_time;
use crate::cli::session::{Line, Session};
use crate::cli::settings::system_time;
use crate::cli::terminal::{self, printable};
use crate::connection::Answer;
use crate::files::{self, FileError};
use crate::secret::Wiped;

/// A value that was taken out of the instance.
pub(crate) struct Revealed {
    pub(crate) version: u64,
    pub(crate) value: Wiped,
}

/// The answer to the call that takes a value out.
#[derive(Deserialize)]
struct Wire {
    version: u64,
    value: Wiped,
}

pub(crate) async fn run(command: &RevealSecret, mut session: Session) -> Result<Shown, Failure> {
    let RevealSecret { object, version, out, force } = command;
    if let Some(path) = out {
        let check = if *force { files::check_can_replace } else { files::check_can_create };
        check(path).map_err(|error| match error {
            FileError::Exists { .. } => Failure::error(error).advice("--force replaces it"),
            FileError::Io { .. } | FileError::TooLarge { .. } => Failure::error(error),
        })?;
    }
    session.check_reveals().await?;
    let simulated = session.simulated();
    let line = session.line().await?;
    let id = find(line, object).await?;
    let answer = ask(line, &id, *version).await?;
    let Revealed { version, value } = read(&answer)?;
    match out {
        Some(path) => keep(path, &value, *force).map(|()| {
            let file = path.display().to_string();
            let json =
                json!({ "simulated": simulated, "id": id, "version": version, "file": file });
            let page = Page::new().hint(format!("version {version} of {object} is in {file}"));
            Shown::new(page, &json)
        }),
        None => Ok(Shown::answer(page(value, version, object)?, &answer, simulated)),
    }
}

/// Asks for the value of a secret.
pub(crate) async fn reveal(line: &mut Line, id: &str) -> Result<Revealed, Failure> {
    read(&ask(line, id, None).await?)
}

async fn ask(line: &mut Line, id: &str, version: Option<u64>) -> Result<Answer, Failure> {
    let query = version.map(|version| format!("?version={version}")).unwrap_or_default();
    let path = format!("{SECRETS}/{id}/value{query}");
    match line.call(Method::GET, &path, None, None, StatusCode::OK).await {
        Err(failure) if failure.exit == Exit::NotFoundOrConflict => {
            Err(expired(line, id).await.unwrap_or_else(|| {
                failure.advice(
                    "it may be deleted or expired, or the version is not kept any more: \
                     neo-secrets secrets get and secrets versions show that",
                )
            }))
        }
        answer => answer,
    }
}

/// The failure where it is for its expiry that no value is given out, and the key may see that.
async fn expired(line: &mut Line, id: &str) -> Option<Failure> {
    let path = format!("{SECRETS}/{id}");
    let answer = line.call(Method::GET, &path, None, None, StatusCode::OK).await.ok()?;
    let body = json_of(&answer).ok()?;
    let time: UnixTime = body["expiresAt"].as_str()?.parse().ok()?;
    let name = printable(body["name"].as_str()?);
    (time <= system_time()).then(|| {
        let message =
            format!("{name} has expired since {}, and its value stays in", date_time(time));
        Failure::new(Exit::NotFoundOrConflict, message).advice(format!(
            "neo-secrets secrets update {name} --clear-expires-at, or --expires-at TIME, brings it \
             back"
        ))
    })
}

fn read(answer: &Answer) -> Result<Revealed, Failure> {
    let Wire { version, value } = serde_json::from_slice(&answer.body).map_err(|_| {
        Failure::error("the server's answer is not the API's: no version and value")
    })?;
    Ok(Revealed { version, value })
}

fn keep(path: &Path, value: &Wiped, force: bool) -> Result<(), Failure> {
    let write = if force { files::replace } else { files::create };
    write(path, value.expose().as_bytes()).map_err(Failure::error)
}

/// The value's exact bytes; on a terminal a newline behind them, so that the prompt stands on a
/// line of its own.
fn page(value: Wiped, version: u64, object: &str) -> Result<Page, Failure> {
    if !terminal::stdout_is_terminal() {
        return Ok(Page::new().bytes(value.into_bytes()));
    }
    let steers = |character: char| character.is_control() && !"\n\t".contains(character);
    if value.expose().chars().any(steers) {
        return Err(Failure::error(
            "the value has control characters, which could steer this terminal, and is not shown",
        )
        .advice("--out FILE writes it to a file; a pipe gets it as it is"));
    }
    let ends = value.expose().ends_with('\n');
    let mut page = Page::new().bytes(value.into_bytes());
    if !ends {
        page = page.text("\n");
        terminal::note(
            "note: a newline was added for the terminal; a pipe or --out FILE gets none",
        );
    }
    terminal::note(&format!("version {version} of {object}"));
    Ok(page)
}
