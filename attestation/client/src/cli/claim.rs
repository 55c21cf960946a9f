//! `neo-secrets claim`: takes an unclaimed instance into possession and pins it.

use std::path::{Path, PathBuf};

use hyper::{Method, StatusCode};
use neo_secrets_attestation::config;
use neo_secrets_attestation::ed25519::PublicKey;
use neo_secrets_attestation::evidence::ClaimPhase;
use neo_secrets_attestation::time::UnixTime;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use crate::cli::args::Claim;
use crate::cli::environment::Environment;
use crate::cli::outcome::{Exit, Failure, Shown};
use crate::cli::page::{Cell, Page, Paint};
use crate::cli::refusal;
use crate::cli::session::announce;
use crate::cli::set_clock;
use crate::cli::settings::{self, Settings, system_time};
use crate::cli::terminal::{self, printable};
use crate::cli::value::Body;
use crate::connection::{Answer, OpenError, Request, VerifiedConnection};
use crate::files::{self, FileError};
use crate::owner::OwnerKey;
use crate::profile::Profile;

/// The server's answer to a claim.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claimed<'a> {
    store_id: &'a str,
    instance_key: &'a str,
    owner_key: &'a str,
    admin_key: &'a str,
    account: Account<'a>,
}

#[derive(Deserialize)]
struct Account<'a> {
    id: &'a str,
    name: std::borrow::Cow<'a, str>,
}

pub(crate) async fn run(
    command: &Claim,
    settings: Settings,
    environment: &Environment,
) -> Result<Shown, Failure> {
    let Claim { instance: _, owner_key, account_name, out_dir } = command;
    let profile = settings.profile_to_claim()?;
    let folder = key_folder(out_dir.as_deref(), &profile, environment)?;
    let (owner_file, admin_file) = (folder.join("owner.key"), folder.join("admin.key"));
    // Whatever could fail here fails before the instance is claimed.
    for folder in [Some(folder.as_path()), profile.parent()].into_iter().flatten() {
        if !folder.as_os_str().is_empty() {
            files::make_private_folder(folder).map_err(Failure::error)?;
        }
    }
    for path in [&owner_file, &admin_file, &profile] {
        files::check_can_replace(path).map_err(Failure::error)?;
    }
    if owner_key.symlink_metadata().is_err() {
        files::check_can_create(owner_key).map_err(Failure::error)?;
    }

    let mut client = settings.client()?;
    let connection = client.connection().await.map_err(|error| unverified(error, &profile))?;
    announce(&settings.url, connection);
    check_unsealed(connection)?;
    // Nothing is left behind of a machine that is refused.
    let pair = owner_pair(owner_key)?;
    check_owner(connection, &pair)?;
    let answer = claim(connection, &pair, account_name.as_deref()).await?;
    let claimed: Claimed<'_> = serde_json::from_slice(&answer.body)
        .map_err(|_| Failure::error("the server's answer to the claim is not the API's"))?;
    let instance_key: PublicKey = claimed.instance_key.parse().map_err(|error| {
        Failure::error(format!("the claim's answer has no instance key: {error}"))
    })?;
    // The pin first: whoever finds the keys written finds the pin as well.
    let kept = settings.to_profile(Some(instance_key), None, Some(admin_file.clone()));
    kept.write(&profile).map_err(lost)?;
    keep(&owner_file, claimed.owner_key).map_err(lost)?;
    keep(&admin_file, claimed.admin_key).map_err(lost)?;
    // Once more, on a new connection: the instance shows the key that its answer named.
    client.disconnect();
    client.pin(instance_key);
    let connection = client.connection().await.map_err(refusal::failure)?;
    let receipts = settings::receipts_to_keep(connection.appraised());
    let time = time_of(connection).await;
    Profile { receipts, ..kept }.write(&profile).map_err(lost)?;

    let simulated = settings.is_simulated();
    let path = |path: &Path| path.display().to_string();
    let url = settings.url.to_string();
    let account = printable(&claimed.account.name);
    let state = if simulated { "claimed (SIMULATED)" } else { "claimed" };
    let paint = if simulated { Paint::Warning } else { Paint::Good };
    let fields = vec![
        (state, Cell::Painted(paint, url)),
        ("store", claimed.store_id.into()),
        ("instance key", instance_key.to_string().into()),
        ("account", format!("{account} ({})", claimed.account.id).into()),
        ("owner pair", path(owner_key).into()),
        ("owner key", path(&owner_file).into()),
        ("admin key", path(&admin_file).into()),
        ("profile", path(&profile).into()),
    ];
    let json = json!({
        "claimed": true,
        "simulated": simulated,
        "url": settings.url.to_string(),
        "storeId": claimed.store_id,
        "instanceKey": instance_key.to_string(),
        "account": { "id": claimed.account.id, "name": claimed.account.name },
        "ownerPublicKey": pair.public().to_string(),
        "ownerKeyFile": path(&owner_file),
        "adminKeyFile": path(&admin_file),
        "profile": path(&profile),
    });
    let page = Page::new()
        .fields(fields)
        .hint("keep the owner pair safe: without it the instance cannot be recovered or moved")
        .hint(format!(
            "next: {} keys create NAME --permission read,write --out NAME.key",
            settings.program_with_profile
        ))
        .hint(format!(
            "      {} profile export --out FILE.json: a profile for a colleague",
            settings.program_with_profile
        ))
        .essential(Vec::new());
    if let Some(time) = time.filter(|time| is_far(*time, system_time())) {
        terminal::warn(&format!(
            "warning: the instance's time is {time}, which is its host's word, and this machine's is {}: \
             expiries go by the instance's; to set it: {} set-clock {} --owner-key {}",
            system_time(),
            settings.program_with_profile,
            settings.url,
            owner_key.display()
        ));
    }
    Ok(Shown::new(page, &json))
}

/// The time that the instance goes by, where it says it.
async fn time_of(connection: &mut VerifiedConnection) -> Option<UnixTime> {
    let path = set_clock::PATH.to_owned();
    let request = Request { method: Method::GET, path, key: None, body: None, if_match: None };
    let answer = connection.send(&request).await.ok()?;
    let clock: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    clock["time"].as_str()?.parse().ok()
}

/// Whether two clocks are more than an hour apart.
fn is_far(one: UnixTime, other: UnixTime) -> bool {
    one.seconds().abs_diff(other.seconds()) > 3_600
}

/// Where the API keys go: the folder that is named, or the profile's.
fn key_folder(
    out_dir: Option<&Path>,
    profile: &Path,
    environment: &Environment,
) -> Result<PathBuf, Failure> {
    if let Some(folder) = out_dir {
        return Ok(folder.to_owned());
    }
    environment.key_folder(profile).ok_or_else(|| {
        Failure::usage("there is no place for the keys").advice("type --out-dir DIR, or set HOME")
    })
}

fn owner_pair(path: &Path) -> Result<OwnerKey, Failure> {
    if path.symlink_metadata().is_ok() {
        if let Some(mode) = files::mode_open_to_others(path) {
            terminal::warn(&format!(
                "warning: {} has mode {mode:04o}: others can read your key pair; chmod 600 it",
                path.display()
            ));
        }
        return OwnerKey::read(path).map_err(Failure::error);
    }
    let pair = OwnerKey::create(path).map_err(Failure::error)?;
    terminal::note(&format!("made your key pair: {} (mode 0600)", path.display()));
    Ok(pair)
}

fn unverified(error: OpenError, profile: &Path) -> Failure {
    let failure = refusal::failure(error);
    if !failure.by_pin {
        return failure;
    }
    failure.advice(format!(
        "{} pins another instance, or this one lost its store: to claim anew, name another \
         --profile, or move that file away",
        profile.display()
    ))
}

/// Says before anything is sent what the server would refuse.
fn check_unsealed(connection: &VerifiedConnection) -> Result<(), Failure> {
    match connection.appraised().claims().phase {
        ClaimPhase::Sealed(_) => {
            Err(Failure::error("the instance is sealed: its store must be opened, not claimed"))
        }
        ClaimPhase::Unclaimed | ClaimPhase::Serving { .. } => Ok(()),
    }
}

/// Says before anything is sent whether the configuration names another owner.
fn check_owner(connection: &VerifiedConnection, pair: &OwnerKey) -> Result<(), Failure> {
    match connection.appraised().config().owner_key {
        config::OwnerKey::Named(named) if named != pair.public() => {
            let own = pair.public();
            let message =
                format!("the instance's configuration names the owner {named}; yours is {own}");
            Err(Failure::new(Exit::NotAuthorised, message).advice("--owner-key names another pair"))
        }
        config::OwnerKey::Named(_) | config::OwnerKey::Any => Ok(()),
    }
}

/// Sends the claim on the very connection whose exporter it is signed over.
async fn claim(
    connection: &mut VerifiedConnection,
    pair: &OwnerKey,
    account_name: Option<&str>,
) -> Result<Answer, Failure> {
    let signature = pair.sign_claim(connection.exporter()).map_err(Failure::error)?;
    let mut body = Body::new(None);
    body.field("ownerPublicKey", &json!(pair.public().to_string()));
    body.field("signature", &json!(signature.to_string()));
    if let Some(name) = account_name {
        body.field("accountName", &json!(name));
    }
    let body = Some(body.finish());
    let path = "/v1/claim".to_owned();
    let request = Request { method: Method::POST, path, key: None, body, if_match: None };
    let again = "type the same command again: the same owner may repeat a claim until one of its \
        keys was used";
    let answer = connection.send(&request).await;
    let answer = answer.map_err(|error| Failure::error(format!("claim: {error}")).advice(again))?;
    match answer.status {
        StatusCode::CREATED => Ok(answer),
        StatusCode::CONFLICT => Err(Failure::from_answer(&answer).advice(
            "somebody has claimed it already; if that was not you, do not use it. Its owner can \
             hand you a profile",
        )),
        _ => Err(Failure::from_answer(&answer)),
    }
}

/// Writes a key file; what lies there is kept under another name.
fn keep(path: &Path, key: &str) -> Result<(), FileError> {
    let mut line = Zeroizing::new(Vec::with_capacity(key.len() + 1));
    line.extend_from_slice(key.as_bytes());
    line.push(b'\n');
    if let Some(aside) = files::set_aside(path)? {
        terminal::note(&format!(
            "note: the {} of before is now {}",
            path.display(),
            aside.display()
        ));
    }
    files::create(path, &line)
}

fn lost(error: impl std::fmt::Display) -> Failure {
    Failure::error(format!("the instance is claimed, but what it answered is lost: {error}"))
        .advice(
            "type the same command again: the claim may be repeated until one of its keys was used",
        )
}
