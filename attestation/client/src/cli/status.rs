//! `neo-secrets status`: on one screen what is known of the instance, and what to do next.

use data_encoding::HEXLOWER;
use hyper::{Method, StatusCode};
use neo_secrets_attestation::appraise::Appraised;
use neo_secrets_attestation::config::Reveal;
use neo_secrets_attestation::evidence::ClaimPhase;
use neo_secrets_attestation::verify::CrlStatus;
use serde_json::{Value, json};

use crate::cli::outcome::{Done, Exit, Failure, Shown};
use crate::cli::page::{Cell, Page, Paint};
use crate::cli::refusal;
use crate::cli::session::{self, failure};
use crate::cli::settings::Settings;
use crate::cli::terminal::printable;
use crate::cli::verify;
use crate::client::AttestedClient;
use crate::connection::{Answer, OpenError, Request};
use crate::secret::ApiKey;

pub(crate) async fn run(settings: Settings) -> Result<Done, Failure> {
    let mut client = settings.client()?;
    let appraised = match client.connection().await {
        Ok(connection) => connection.appraised().clone(),
        Err(error) => return Ok(not_verified(&settings, error)),
    };
    let ready = readiness(&mut client).await?;
    let key = key(&settings, &mut client, &appraised).await?;
    let (page, json) = verified(&settings, &appraised, &ready, &key);
    Ok(Shown::with(page, json, not_serving(&settings, &appraised, &ready)))
}

/// Nobody answers there, or who does is refused.
fn not_verified(settings: &Settings, error: OpenError) -> Done {
    let unreachable = matches!(error, OpenError::Connect(_));
    let failure = refusal::failure(error).with_program(&settings.program);
    let failure = failure.simulated(settings.is_simulated());
    let state = match failure.exit {
        Exit::Refused => "refused",
        _ if unreachable => "unreachable",
        _ => "no evidence",
    };
    let fields = vec![
        ("address", settings.url.to_string().into()),
        ("state", Cell::Painted(Paint::Bad, state.to_owned())),
        ("pin", pin(settings)),
        ("policy until", Cell::Until(Some(settings.trust.policy.expires))),
    ];
    let json = json!({
        "url": settings.url.to_string(),
        "verified": false,
        "state": state,
        "simulated": settings.is_simulated(),
    });
    let page = Page::new().fields(fields).essential(vec![state.into()]);
    Shown::with(page, json, Some(failure))
}

fn verified(
    settings: &Settings,
    appraised: &Appraised,
    ready: &Result<(), String>,
    key: &Key,
) -> (Page, Value) {
    let (report, claims, config) = (appraised.report(), appraised.claims(), appraised.config());
    let phase = claims.phase.as_str();
    let state = match ready {
        Ok(()) => Cell::Painted(Paint::Good, phase.to_owned()),
        Err(reason) => Cell::Painted(Paint::Bad, in_phase(phase, reason)),
    };
    let owner = config.owner_key.to_string();
    let (seal, reveal) = (config.seal.as_str(), config.reveal.as_str());
    let fields = vec![
        verify::verdict(&settings.url, appraised),
        ("state", state),
        ("product", report.product().to_string().into()),
        ("TCB", report.tcbs().reported.to_string().into()),
        ("image", claims.image_version.as_str().into()),
        ("measurement", HEXLOWER.encode(&appraised.measurement().digest).into()),
        ("config", format!("seal {seal}, reveal {reveal}, owner {owner}").into()),
        ("policy until", Cell::Until(Some(appraised.policy_expires()))),
        ("CRL due", crl(report.crl())),
        (
            "pin",
            match (&claims.phase, settings.pin) {
                (ClaimPhase::Unclaimed, None) => "none: a claim makes one".into(),
                _ => pin(settings),
            },
        ),
        ("key", key.cell(settings)),
    ];
    let mut json = verify::to_json(&settings.url, appraised, settings.pin.is_some());
    json["state"] = json!(phase);
    json["ready"] = json!(ready.is_ok());
    json["reason"] = json!(ready.as_ref().err());
    json["key"] = key.to_json();
    let page = Page::new().fields(fields).essential(vec![phase.into()]);
    (page, json)
}

/// The failure where a verified instance does not serve: the exit code says whether it can be used.
fn not_serving(
    settings: &Settings,
    appraised: &Appraised,
    ready: &Result<(), String>,
) -> Option<Failure> {
    let Err(reason) = ready else { return None };
    let phase = &appraised.claims().phase;
    let state = in_phase(phase.as_str(), reason);
    let failure = Failure::error(format!("{} is {state}", settings.url));
    Some(match phase {
        ClaimPhase::Unclaimed => failure.advice(format!(
            "take it into possession: {} claim --owner-key owner.pem",
            settings.program
        )),
        ClaimPhase::Sealed(_) => failure.advice(
            "its store stays closed until its operator has mended that; OPERATIONS.md says how for \
             each reason",
        ),
        ClaimPhase::Serving { .. } => failure.advice("its operator has to look at it"),
    })
}

/// The phase and the reason, which begins with the phase where that is all the reason.
fn in_phase(phase: &str, reason: &str) -> String {
    let reason = reason.strip_prefix(&format!("{phase}: ")).unwrap_or(reason);
    format!("{phase}: {reason}")
}

fn crl(status: CrlStatus) -> Cell {
    match status {
        CrlStatus::Current { next_update } => Cell::Until(Some(next_update)),
        CrlStatus::Stale { .. } | CrlStatus::NotChecked => verify::revocation(status),
    }
}

fn pin(settings: &Settings) -> Cell {
    match settings.pin {
        Some(key) => key.to_string().into(),
        None => Cell::Painted(
            Paint::Warning,
            "none: --pin-first-use keeps the instance's key in the profile".to_owned(),
        ),
    }
}

/// Whether the instance says that it serves, and what it says instead.
async fn readiness(client: &mut AttestedClient) -> Result<Result<(), String>, Failure> {
    let answer = get(client, "/readyz", None).await?;
    if answer.status == StatusCode::OK {
        return Ok(Ok(()));
    }
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let told = body["error"]["message"].as_str().map(printable);
    Ok(Err(told.unwrap_or_else(|| format!("it answers {}", answer.status.as_u16()))))
}

/// What is known of the key in use.
enum Key {
    /// None is named.
    None,
    /// It was not sent, and why.
    NotSent(&'static str),
    /// The server does not know it.
    Unknown,
    Owner,
    /// What it may do, as far as reading tells.
    May {
        read: bool,
        admin: bool,
        reveal: Option<bool>,
    },
}

/// Finds out what the key may do, by calls that only read.
async fn key(
    settings: &Settings,
    client: &mut AttestedClient,
    appraised: &Appraised,
) -> Result<Key, Failure> {
    let Some(path) = &settings.key_file else { return Ok(Key::None) };
    if !matches!(appraised.claims().phase, ClaimPhase::Serving { .. }) {
        return Ok(Key::NotSent("the instance does not serve"));
    }
    if settings.check_instance_is_named().is_err() {
        return Ok(Key::NotSent("no pin"));
    }
    let key = session::read_key(path).map_err(|it| settings.about_key_file(path, it))?;
    let key = Some(&key);
    let read = match get(client, "/v1/secrets?limit=1", key).await?.status {
        StatusCode::UNAUTHORIZED => return Ok(Key::Unknown),
        status => status == StatusCode::OK,
    };
    if !read && get(client, "/metrics", key).await?.status == StatusCode::OK {
        return Ok(Key::Owner);
    }
    let admin = get(client, "/v1/api-keys", key).await?.status == StatusCode::OK;
    let reveal = match appraised.config().reveal {
        Reveal::Off => None,
        // No secret has this id: who may reveal gets 404, who may not 403.
        Reveal::ByPermission => {
            let path = "/v1/secrets/sec_AAAAAAAAAAAAAAAAAAAAAAAA/value";
            Some(get(client, path, key).await?.status == StatusCode::NOT_FOUND)
        }
    };
    Ok(Key::May { read, admin, reveal })
}

async fn get(
    client: &mut AttestedClient,
    path: &str,
    key: Option<&ApiKey>,
) -> Result<Answer, Failure> {
    let path = path.to_owned();
    let request = Request { method: Method::GET, path, key, body: None, if_match: None };
    client.send(&request).await.map_err(failure)
}

impl Key {
    fn told(&self) -> String {
        match self {
            Self::None => "none: --key-file FILE names one".to_owned(),
            Self::NotSent(why) => format!("not sent: {why}"),
            Self::Unknown => "unknown, revoked or expired".to_owned(),
            Self::Owner => "the owner's".to_owned(),
            Self::May { read, admin, reveal } => {
                let mut may = Vec::new();
                may.extend(admin.then_some("admin, which includes read, write and execute"));
                may.extend(
                    (*read && !admin).then_some("read (whether it may write, only a write shows)"),
                );
                may.extend(
                    (!*read && !admin)
                        .then_some("not read (whether it may write, only a write shows)"),
                );
                may.extend((*reveal == Some(true)).then_some("reveal"));
                may.join("; ")
            }
        }
    }

    fn cell(&self, settings: &Settings) -> Cell {
        let file = settings.key_file.as_ref().map(|file| format!(" ({})", file.display()));
        let told = self.told() + &file.unwrap_or_default();
        match self {
            Self::Unknown => Cell::Painted(Paint::Bad, told),
            Self::NotSent(_) => Cell::Painted(Paint::Warning, told),
            Self::None | Self::Owner | Self::May { .. } => told.into(),
        }
    }

    fn to_json(&self) -> Value {
        let known = |state: &str| json!({ "state": state });
        match self {
            Self::None => Value::Null,
            Self::NotSent(_) => known("not sent"),
            Self::Unknown => known("unknown"),
            Self::Owner => known("owner"),
            Self::May { read, admin, reveal } => {
                json!({ "state": "valid", "read": read, "admin": admin, "reveal": reveal })
            }
        }
    }
}
