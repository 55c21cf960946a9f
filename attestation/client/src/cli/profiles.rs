//! `neo-secrets profile ..`: export, import, list, show. A profile decides what is trusted, so one
//! from elsewhere is shown before it is kept, and brings no key file along.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use neo_secrets_attestation::exchange::Trust;
use neo_secrets_attestation::roots::Provenance;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::cli::args::{ExportProfile, Global, ImportProfile, ProfileName, Profiles};
use crate::cli::confirm::confirm_or_yes;
use crate::cli::environment::Environment;
use crate::cli::outcome::{Exit, Failure, Shown};
use crate::cli::page::{Cell, Column, Page, Paint};
use crate::cli::settings::system_time;
use crate::cli::shell::quoted;
use crate::cli::terminal;
use crate::cli::trust::{self, Origins};
use crate::files;
use crate::profile::{self, Profile};

pub(crate) fn run(
    command: &Profiles,
    global: &Global,
    environment: &Environment,
) -> Result<Shown, Failure> {
    let place = |name: &ProfileName| path(name.name.as_deref(), global, environment);
    match command {
        Profiles::Export(command) => export(command, &place(&command.profile)?),
        Profiles::Import(command) => {
            let path = path(command.name.as_deref(), global, environment)?;
            import(command, &path, global, environment)
        }
        Profiles::List => list(environment),
        Profiles::Show(name) => show(&place(name)?),
    }
}

/// The profile that is meant: the argument, or else the one in use.
fn path(
    argument: Option<&OsStr>,
    global: &Global,
    environment: &Environment,
) -> Result<PathBuf, Failure> {
    let used = global.profile.as_deref().or(environment.profile.as_deref());
    let name = argument.or(used).unwrap_or(OsStr::new("default"));
    profile::path_of(name, environment.config_folder.as_deref())
        .map_err(|error| Failure::usage(error.to_string()))
}

fn export(command: &ExportProfile, path: &Path) -> Result<Shown, Failure> {
    let profile = Profile { key_file: None, ..read(path)? };
    // What is damaged is not handed on.
    let trust = trust(&profile, path)?;
    if profile.instance_key.is_none() {
        terminal::warn(
            "warning: the profile has no pin, so it does not say which instance is yours: verify \
             --pin-first-use --save-profile keeps one",
        );
    }
    let json = profile.to_json(path).map_err(Failure::error)?;
    let Some(out) = &command.out else {
        let json = Zeroizing::new(json);
        return Ok(Shown { page: Page::new().bytes(json.clone()), json });
    };
    files::create(out, &json).map_err(Failure::error)?;
    let file = out.display().to_string();
    let page = Page::new()
        .fields(facts(&profile, &trust))
        .hint(format!("written to {file}; it holds no key"))
        .hint(format!(
            "the colleague types: neo-secrets profile import {}, then: neo-secrets verify \
             --key-file FILE --save-profile",
            quoted(&file)
        ))
        .essential(Vec::new());
    Ok(Shown::new(page, &json!({ "file": file, "profile": to_json(&profile, &trust) })))
}

fn import(
    command: &ImportProfile,
    path: &Path,
    global: &Global,
    environment: &Environment,
) -> Result<Shown, Failure> {
    let ImportProfile { file, name: _, yes, force } = command;
    let exists = path.symlink_metadata().is_ok();
    if exists && !force {
        let message = format!("there is a profile already: {}", path.display());
        return Err(Failure::new(Exit::NotFoundOrConflict, message).advice(
            "keep the new one under another name (neo-secrets profile import FILE NAME), or \
             replace this one with --force",
        ));
    }
    let read = read(file)?;
    if read.key_file.is_some() {
        terminal::warn(
            "warning: the file names a key file, which is left out: who makes a profile does not \
             choose which of your files is sent as a key",
        );
    }
    let old = exists.then(|| Profile::read(path).ok()).flatten();
    let own = old.as_ref().and_then(|old| own_key_file(old, &read));
    let key_file = global.key_file.clone().or(own);
    let profile = Profile { key_file, ..read };
    let trust = trust(&profile, file)?;
    let page = warnings(Page::new().fields(facts(&profile, &trust)), &profile, &trust);
    terminal::show(&page).map_err(Failure::error)?;
    let replaces = old.as_ref().and_then(|old| loses_pin(old, &profile));
    for warning in replaces.iter().chain(&old.as_ref().and_then(|old| loses_key(old, &profile))) {
        terminal::warn(&format!("warning: {warning}"));
    }
    let instead = if replaces.is_some() { " instead of another pin" } else { "" };
    confirm_or_yes(*yes, &format!("Trust this, and keep it as {}{instead}?", path.display()))?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        files::make_private_folder(folder).map_err(Failure::error)?;
    }
    let write = if *force { Profile::write } else { Profile::create };
    write(&profile, path).map_err(Failure::error)?;
    let program = program_for(path, environment);
    let mut next = format!("next: {program} verify");
    if profile.key_file.is_none() {
        next.push_str(" --key-file FILE --save-profile, with your key's file");
    }
    let kept = path.display().to_string();
    let page =
        Page::new().fields(vec![("profile", kept.clone().into())]).hint(next).essential(Vec::new());
    let mut json = to_json(&profile, &trust);
    json["file"] = kept.into();
    json["replacedPin"] = json!(old.and_then(|old| old.instance_key).map(|key| key.to_string()));
    Ok(Shown::new(page, &json))
}

/// What to say where a profile of this name pinned another instance until now.
fn loses_pin(old: &Profile, new: &Profile) -> Option<String> {
    let pin = old.instance_key.filter(|pin| new.instance_key != Some(*pin))?;
    let instead = match new.instance_key {
        Some(_) => "stands for another instance",
        None => "accepts any instance of the image",
    };
    Some(format!(
        "this replaces the pin {pin} (of {}): from then on the profile {instead}",
        old.url
    ))
}

/// The key file of the profile that is replaced, where the new one is about the same instance.
fn own_key_file(old: &Profile, new: &Profile) -> Option<PathBuf> {
    let same = new.instance_key.is_some()
        && (old.instance_key, &old.url, &old.simulated_root)
            == (new.instance_key, &new.url, &new.simulated_root);
    old.key_file.clone().filter(|_| same)
}

/// What to say where the profile named a key file until now.
fn loses_key(old: &Profile, new: &Profile) -> Option<String> {
    let file = old.key_file.as_ref().filter(|_| new.key_file.is_none())?;
    Some(format!(
        "this is about another instance, address or root, so the profile does not name the key file {} any \
         more",
        file.display()
    ))
}

fn list(environment: &Environment) -> Result<Shown, Failure> {
    let folder = environment.config_folder.as_ref().ok_or_else(|| {
        Failure::usage("there is no folder of profiles").advice("set HOME or XDG_CONFIG_HOME")
    })?;
    let folder = folder.join("profiles");
    let names = names(&folder)
        .map_err(|error| Failure::error(format!("cannot read {}: {error}", folder.display())))?;
    let (mut rows, mut json) = (Vec::new(), Vec::new());
    for name in &names {
        let path = folder.join(format!("{name}.json"));
        match read(&path).and_then(|profile| Ok((trust(&profile, &path)?, profile))) {
            Ok((trust, profile)) => {
                rows.push(row(name, &profile, &trust));
                let mut object = to_json(&profile, &trust);
                object["name"] = json!(name);
                object["keyFile"] = json!(profile.key_file);
                json.push(object);
            }
            Err(failure) => {
                let told = Cell::Painted(Paint::Bad, failure.message.clone());
                rows.push(vec![name.as_str().into(), told]);
                json.push(json!({ "name": name, "error": failure.message }));
            }
        }
    }
    let columns = [
        Column::whole("NAME"),
        Column::cut("URL"),
        Column::whole("PIN"),
        Column::whole("IMAGE"),
        Column::whole("POLICY UNTIL"),
        Column::whole("ROOT"),
        Column::cut("KEY FILE"),
    ];
    let essential = names.iter().map(|name| name.as_str().into()).collect();
    let mut page = Page::new().table(&columns, rows).essential(essential);
    if names.is_empty() {
        page = page.hint(format!(
            "no profile in {}: `claim`, `verify --save-profile` and `profile import` make one",
            folder.display()
        ));
    }
    Ok(Shown::new(page, &json!({ "profiles": json })))
}

/// The names of the profiles in a folder; where there is no folder there are none.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let file = entry?.file_name();
        let name = file.to_str().and_then(|file| file.strip_suffix(".json"));
        names.extend(name.filter(|name| profile::is_name(name)).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

fn row(name: &str, profile: &Profile, trust: &Trust) -> Vec<Cell> {
    let pin = match profile.instance_key {
        Some(_) => "pinned".into(),
        None => Cell::Painted(Paint::Warning, "none".to_owned()),
    };
    let root = match trust.roots.provenance() {
        Provenance::Amd => "AMD".into(),
        Provenance::Simulated => Cell::Painted(Paint::Warning, "SIMULATED".to_owned()),
    };
    vec![
        name.into(),
        profile.url.to_string().into(),
        pin,
        trust.reference.image_version.as_str().into(),
        Cell::Until(Some(trust.policy.expires)),
        root,
        key_file(profile).into(),
    ]
}

fn show(path: &Path) -> Result<Shown, Failure> {
    let profile = read(path)?;
    let trust = trust(&profile, path)?;
    let mut fields = vec![("profile", path.display().to_string().into())];
    fields.extend(facts(&profile, &trust));
    fields.push(("key file", key_file(&profile).into()));
    let mut json = to_json(&profile, &trust);
    json["file"] = json!(path);
    json["keyFile"] = json!(profile.key_file);
    let page = warnings(Page::new().fields(fields), &profile, &trust);
    Ok(Shown::new(page, &json))
}

fn key_file(profile: &Profile) -> String {
    profile.key_file.as_ref().map_or("-".to_owned(), |file| file.display().to_string())
}

fn read(path: &Path) -> Result<Profile, Failure> {
    if !path.exists() {
        let message = format!("there is no profile at {}", path.display());
        return Err(Failure::new(Exit::NotFoundOrConflict, message)
            .advice("neo-secrets profile list shows those in your folder"));
    }
    Profile::read(path).map_err(Failure::error)
}

/// What the profile trusts; an error where a part of it can't be used.
fn trust(profile: &Profile, path: &Path) -> Result<Trust, Failure> {
    let Profile { reference, policy, simulated_root, instance_key, .. } = profile;
    let origins = Origins::in_profile(path);
    trust::trust(reference, policy, simulated_root.as_deref(), *instance_key, &origins)
}

fn facts(profile: &Profile, trust: &Trust) -> Vec<(&'static str, Cell)> {
    let Trust { roots, reference, policy, pin: _ } = trust;
    let root = match roots.provenance() {
        Provenance::Amd => "AMD's".into(),
        Provenance::Simulated => Cell::Painted(
            Paint::Warning,
            "SIMULATED: what it verifies proves nothing about any machine".to_owned(),
        ),
    };
    let pin = match profile.instance_key {
        Some(key) => key.to_string().into(),
        None => Cell::Painted(Paint::Warning, "none: any instance of the image".to_owned()),
    };
    let version = reference.image_version.as_str();
    let image = match reference.measurements.len() {
        1 => format!("{version} (1 measurement)"),
        count => format!("{version} ({count} measurements)"),
    };
    let builder = match profile.reference_key {
        Some(key) => key.to_string().into(),
        None => "not pinned: any reference.json may replace this one".into(),
    };
    let products: Vec<_> = policy.products.iter().map(|entry| entry.product.to_string()).collect();
    let receipts = match profile.receipts {
        Some(trust) => trust.receipt_key.to_string().into(),
        None => "checked with the instance's evidence".into(),
    };
    vec![
        ("instance", profile.url.to_string().into()),
        ("pin", pin),
        ("receipt key", receipts),
        ("root", root),
        ("image", image.into()),
        ("image builder", builder),
        ("products", products.join(", ").into()),
        ("reveal", policy.config.reveal.as_str().into()),
        ("policy until", Cell::Until(Some(policy.expires))),
    ]
}

fn warnings(mut page: Page, profile: &Profile, trust: &Trust) -> Page {
    if profile.instance_key.is_none() {
        page = page.hint(
            "no pin: genuine evidence alone does not tell your instance from somebody else's; ask \
             its owner for the key",
        );
    }
    if trust.policy.expires <= system_time() {
        page = page.hint("the policy has expired: it refuses every instance");
    }
    page
}

fn to_json(profile: &Profile, trust: &Trust) -> Value {
    json!({
        "url": profile.url.to_string(),
        "instanceKey": profile.instance_key.map(|key| key.to_string()),
        "receiptKey": profile.receipts.map(|trust| trust.receipt_key.to_string()),
        "referenceKey": profile.reference_key.map(|key| key.to_string()),
        "simulated": trust.roots.provenance() == Provenance::Simulated,
        "imageVersion": trust.reference.image_version.as_str(),
        "measurements": trust.reference.measurements.len(),
        "policyExpires": trust.policy.expires.to_string(),
        "reveal": trust.policy.config.reveal.as_str(),
    })
}

/// How a command with the profile in this file begins.
fn program_for(path: &Path, environment: &Environment) -> String {
    let folder = environment.config_folder.as_ref().map(|folder| folder.join("profiles"));
    let is_named = path.parent() == folder.as_deref();
    match path.file_stem().and_then(OsStr::to_str).filter(|_| is_named) {
        Some("default") => "neo-secrets".to_owned(),
        Some(name) => format!("neo-secrets --profile {name}"),
        None => format!("neo-secrets --profile {}", quoted(&path.display().to_string())),
    }
}
