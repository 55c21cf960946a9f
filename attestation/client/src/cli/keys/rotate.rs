//! `neo-secrets keys rotate`, and which keys work after it.

use std::path::Path;

use hyper::{Method, StatusCode};
use neo_secrets_attestation::time::UnixTime;
use serde_json::{Value, json};

use super::{PATH, deliver, find, id_of};
use crate::cli::answer::{items, json_of};
use crate::cli::args::RotateKey;
use crate::cli::outcome::{Exit, Failure, Shown};
use crate::cli::readable::{Moment, Span, date_time};
use crate::cli::session::Session;
use crate::cli::settings::{Settings, system_time};
use crate::cli::shell::quoted;
use crate::cli::terminal;
use crate::cli::value::Body;
use crate::connection::Answer;
use crate::files;

pub(super) async fn rotate(command: &RotateKey, mut session: Session) -> Result<Shown, Failure> {
    let RotateKey { object, overlap, out } = command;
    if let Some(path) = out {
        files::check_can_replace(path).map_err(Failure::error)?;
    }
    let before = find(session.line().await?, object).await?;
    let path = format!("{PATH}/{}/rotate", id_of(&before)?);
    let mut body = Body::new(None);
    body.field("overlapSeconds", &json!(overlap.0));
    let body = Some(body.finish());
    let answer = session.call(Method::POST, &path, body, None, StatusCode::OK).await;
    let answer = answer.map_err(|failure| match failure.exit {
        Exit::NotFoundOrConflict if overlap.0 < LAST_ADMIN_SECONDS => failure.advice(format!(
            "neo-secrets keys rotate {} --overlap 5m --out FILE: the old key then works for five \
             minutes more",
            quoted(object)
        )),
        _ => failure,
    })?;
    let now = system_time();
    let until = (overlap.0 > 0).then(|| Moment::Distant(Span(overlap.0)).ahead(now));
    let own = is_own(&mut session, &answer).await;
    let in_use = session.settings().key_file.as_deref().filter(|_| own);
    if let Some(warning) = ended(old_key_until(&before, now), until, in_use) {
        terminal::warn(&warning);
    }
    let mut hints = vec![match until {
        None => "the old key does not work any more".to_owned(),
        Some(until) => format!("the old key works until {}", date_time(until)),
    }];
    hints.extend(in_use.and_then(|file| keep_using(session.settings(), file, out.as_deref())));
    deliver(&session, &answer, out.as_deref(), files::replace, &hints)
}

/// An account's last lasting admin key is rotated with so much overlap, or more.
const LAST_ADMIN_SECONDS: u64 = 300;

fn old_key_until(key: &Value, now: UnixTime) -> Option<UnixTime> {
    let until = key["oldKeyUntil"].as_str()?.parse().ok()?;
    (now < until).then_some(until)
}

/// Whether the key that was just rotated is the one that asked for it. The log tells who did; a key
/// that is known no more was the one.
async fn is_own(session: &mut Session, rotated: &Answer) -> bool {
    let Ok(line) = session.line().await else { return false };
    let Ok(answer) = line.ask(Method::GET, "/v1/audit-log?limit=100", None, None).await else {
        return false;
    };
    if answer.status == StatusCode::UNAUTHORIZED {
        return true;
    }
    let body = json_of(&answer).unwrap_or_default();
    let Some(request) = rotated.request_id.as_deref() else { return false };
    items(&body, "events")
        .iter()
        .any(|event| event["requestId"] == request && event["actor"]["id"] == event["object"]["id"])
}

/// What to say where two keys worked until now: a rotation leaves the new one and one of them.
fn ended(
    before: Option<UnixTime>,
    until: Option<UnixTime>,
    in_use: Option<&Path>,
) -> Option<String> {
    let before = date_time(before?);
    Some(match (until.map(date_time), in_use) {
        (None, _) => format!(
            "warning: two keys worked until now, the older one of them until {before}: neither \
             does any more"
        ),
        (Some(until), Some(file)) => format!(
            "warning: two keys worked until now: the one in {} works until {until}, the other one \
             does not work any more",
            file.display()
        ),
        (Some(until), None) => format!(
            "warning: two keys worked until now: the newer one of them works until {until}, the \
             older one, which was to work until {before}, does not any more"
        ),
    })
}

/// What to type where the file in use has the old key.
fn keep_using(settings: &Settings, in_use: &Path, out: Option<&Path>) -> Option<String> {
    let is_same = |out: &Path| match (out.canonicalize(), in_use.canonicalize()) {
        (Ok(out), Ok(in_use)) => out == in_use,
        _ => out == in_use,
    };
    let profile = settings.profile.as_ref().and_then(|(_, profile)| profile.as_ref());
    let kept = profile.and_then(|profile| profile.key_file.as_deref());
    let (program, file) = (&settings.program, in_use.display());
    match out {
        Some(out) if is_same(out) => None,
        Some(out) => {
            let out = quoted(&out.display().to_string());
            Some(match kept == Some(in_use) {
                true => format!(
                    "the profile still uses {file}: {program} verify --key-file {out} \
                     --save-profile"
                ),
                false => format!("{file} has the old key: type --key-file {out} from now on"),
            })
        }
        None => Some(format!("{file} has the old key: put the new one there")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_of_two_keys_works_on_is_told() {
        let time = |text: &str| Some(text.parse().unwrap());
        let (before, until) = (time("2026-01-01T01:00:00Z"), time("2026-01-01T02:00:00Z"));
        assert_eq!(ended(None, until, None), None);
        let told = ended(before, until, None).unwrap();
        assert!(told.contains("the newer one of them works until 2026-01-01 02:00:00"), "{told}");
        assert!(told.contains("was to work until 2026-01-01 01:00:00"), "{told}");
        let own = ended(before, until, Some(Path::new("admin.key"))).unwrap();
        assert!(own.contains("the one in admin.key works until 2026-01-01 02:00:00"), "{own}");
        assert!(ended(before, None, None).unwrap().contains("neither does any more"));
    }
}
