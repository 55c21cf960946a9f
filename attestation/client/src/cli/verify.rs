//! `neo-secrets verify`.

use data_encoding::HEXLOWER;
use neo_secrets_attestation::appraise::Appraised;
use neo_secrets_attestation::ed25519::PublicKey;
use neo_secrets_attestation::evidence::ClaimPhase;
use neo_secrets_attestation::explain::explain;
use neo_secrets_attestation::reference::Covers;
use neo_secrets_attestation::roots::Provenance;
use neo_secrets_attestation::verify::CrlStatus;
use serde_json::{Value, json};

use crate::cli::args::Verify;
use crate::cli::outcome::{Failure, Shown};
use crate::cli::page::{Cell, Page, Paint};
use crate::cli::refusal;
use crate::cli::settings::{self, Settings};
use crate::cli::shell::quoted;
use crate::cli::terminal;
use crate::connection::{OpenError, Refused};
use crate::files;
use crate::profile::ReceiptTrust;
use crate::url::InstanceUrl;

pub(crate) async fn run(
    command: &Verify,
    settings: Settings,
    json: bool,
) -> Result<Shown, Failure> {
    let Verify { instance: _, explain: explains, write_cert, save_profile } = command;
    if *save_profile {
        settings.check_profile_to_save()?;
    }
    let mut client = settings.client()?;
    let connection = match client.connection().await {
        Ok(connection) => connection,
        Err(OpenError::Refused(refused)) => {
            if *explains && !json {
                explain_refusal(&refused)?;
            }
            return Err(refusal::refused_failure(&refused));
        }
        Err(error) => return Err(refusal::failure(error)),
    };
    let appraised = connection.appraised();
    let mut page = Page::new().fields(summary(&settings.url, appraised));
    if *explains {
        page = page.text(refusal::steps_text(&explain(Ok(appraised))));
    }
    let pinned = settings.pin.is_some();
    let pins_now = *save_profile && settings.pins_first_use();
    if !pinned && !pins_now && appraised.claims().phase.instance_key().is_some() {
        page = page.hint(
            "no instance key was pinned: compare the one above with what the instance's owner \
             tells you",
        );
    }
    if let Some(path) = write_cert {
        let pem = connection.certificate_pem().map_err(Failure::error)?;
        files::replace(path, &pem).map_err(Failure::error)?;
        page = page.hint(format!("certificate: {} (for curl --cacert)", path.display()));
    }
    let mut shown = to_json(&settings.url, appraised, pinned);
    if *explains {
        shown["steps"] = json!(explain(Ok(appraised)));
    }
    if *save_profile {
        let (path, pin) = save(&settings, appraised)?;
        page = page.hint(match pin.filter(|_| !pinned) {
            Some(pin) => format!("pinned {pin} in {path}"),
            None => format!("profile: {path}"),
        });
        shown["profile"] = json!(path);
    }
    page = page.hint(next(&settings, appraised, *save_profile));
    Ok(Shown::new(page.essential(Vec::new()), &shown))
}

/// What a phase lets one do next.
fn next(settings: &Settings, appraised: &Appraised, saved: bool) -> String {
    let program = if saved { &settings.program_with_profile } else { &settings.program };
    let kept = settings.profile.as_ref().and_then(|(_, profile)| profile.as_ref());
    let kept = kept.and_then(|profile| profile.key_file.as_ref());
    match appraised.claims().phase {
        ClaimPhase::Unclaimed => {
            format!("next: {program} claim --owner-key owner.pem")
        }
        ClaimPhase::Sealed(_) => {
            "sealed: its operator sees the reason in GET /readyz and in the log".to_owned()
        }
        ClaimPhase::Serving { .. } => match &settings.key_file {
            None => format!("next: {program} --key-file FILE secrets list"),
            Some(file) if !saved && Some(file) != kept => {
                let file = quoted(&file.display().to_string());
                format!("next: {program} --key-file {file} secrets list")
            }
            Some(_) => format!("next: {program} secrets list"),
        },
    }
}

fn explain_refusal(refused: &Refused) -> Result<(), Failure> {
    let steps = match refused {
        Refused::Evidence(refusal) => explain(Err(refusal)),
        Refused::FirmwareOnly(appraised) => explain(Ok(appraised)),
    };
    terminal::print(refusal::steps_text(&steps).as_bytes()).map_err(Failure::error)
}

/// Writes the profile; its pin is the one that was given, or, at the first use, the instance's.
fn save(
    settings: &Settings,
    appraised: &Appraised,
) -> Result<(String, Option<PublicKey>), Failure> {
    let Some((path, _)) = &settings.profile else {
        return Err(Failure::usage(
            "--save-profile needs --profile NAME, or HOME for the default one",
        ));
    };
    // Only a serving instance proves the key that it shows.
    let met = match appraised.claims().phase {
        ClaimPhase::Serving { instance_key, .. } if settings.pins_first_use() => Some(instance_key),
        _ => None,
    };
    let pin = settings.pin.or(met);
    if pin.is_none() {
        terminal::note(
            "note: the profile has no pin; --pin-first-use keeps the key of the instance met now",
        );
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        files::make_private_folder(folder).map_err(Failure::error)?;
    }
    // Evidence that went through the pin, or made it, names the key of that instance's receipts.
    let receipts = pin.and(settings::receipts_to_keep(appraised)).or(settings.kept_receipts());
    settings.to_profile(pin, receipts, None).write(path).map_err(Failure::error)?;
    Ok((path.display().to_string(), pin))
}

/// What was verified, in a few lines.
fn summary(url: &InstanceUrl, appraised: &Appraised) -> Vec<(&'static str, Cell)> {
    let (report, claims, config) = (appraised.report(), appraised.claims(), appraised.config());
    let measurement = appraised.measurement();
    let mut lines = vec![verdict(url, appraised)];
    if appraised.covers() == Covers::Firmware {
        let warning = "FIRMWARE ONLY, IMAGE NOT PROVEN".to_owned();
        lines.push(("WARNING", Cell::Painted(Paint::Bad, warning)));
    }
    let product = format!("{} ({})", report.product(), report.report().key_info.signing_key);
    lines.push(("product", product.into()));
    lines.push(("image", claims.image_version.as_str().into()));
    lines.push(("measurement", HEXLOWER.encode(&measurement.digest).into()));
    lines.push(("machine", format!("{} x {}", measurement.vcpus, measurement.vcpu_type).into()));
    lines.push(("phase", claims.phase.as_str().into()));
    if let Some(store) = claims.phase.store_id() {
        lines.push(("store", store.to_string().into()));
    }
    if let Some(key) = claims.phase.instance_key() {
        lines.push(("instance key", key.to_string().into()));
    }
    if let Some(ReceiptTrust { receipt_key, .. }) = ReceiptTrust::of(appraised) {
        lines.push(("receipt key", receipt_key.to_string().into()));
    }
    lines.push(("seal", config.seal.as_str().into()));
    lines.push(("reveal", config.reveal.as_str().into()));
    lines.push(("owner key", config.owner_key.to_string().into()));
    lines.push(("TCB", report.tcbs().reported.to_string().into()));
    lines.push(("revocation", revocation(report.crl())));
    lines.push(("policy until", Cell::Until(Some(appraised.policy_expires()))));
    lines
}

/// Whether and by whose root it is verified.
pub(crate) fn verdict(url: &InstanceUrl, appraised: &Appraised) -> (&'static str, Cell) {
    match appraised.provenance() {
        Provenance::Amd => ("verified", Cell::Painted(Paint::Good, url.to_string())),
        Provenance::Simulated => {
            let told = format!("{url}: this proves nothing about any machine");
            ("SIMULATED", Cell::Painted(Paint::Warning, told))
        }
    }
}

pub(crate) fn revocation(status: CrlStatus) -> Cell {
    match status {
        CrlStatus::Current { next_update } => format!("checked; next CRL {next_update}").into(),
        CrlStatus::Stale { next_update } => {
            Cell::Painted(Paint::Warning, format!("checked with an OLD CRL, due {next_update}"))
        }
        CrlStatus::NotChecked => Cell::Painted(Paint::Warning, "NOT CHECKED".to_owned()),
    }
}

pub(crate) fn to_json(url: &InstanceUrl, appraised: &Appraised, pinned: bool) -> Value {
    let (report, claims, config) = (appraised.report(), appraised.claims(), appraised.config());
    let covers = match appraised.covers() {
        Covers::Image => "image",
        Covers::Firmware => "firmware",
    };
    let revocation = match report.crl() {
        CrlStatus::Current { .. } => "current",
        CrlStatus::Stale { .. } => "stale",
        CrlStatus::NotChecked => "not checked",
    };
    json!({
        "verified": true,
        "simulated": appraised.provenance() == Provenance::Simulated,
        "url": url.to_string(),
        "product": report.product().to_string(),
        "covers": covers,
        "imageVersion": claims.image_version.as_str(),
        "measurement": HEXLOWER.encode(&appraised.measurement().digest),
        "phase": claims.phase.as_str(),
        "storeId": claims.phase.store_id().map(|id| id.to_string()),
        "instanceKey": claims.phase.instance_key().map(|key| key.to_string()),
        "receiptKey": ReceiptTrust::of(appraised).map(|trust| trust.receipt_key.to_string()),
        "pinned": pinned,
        "tlsSpkiSha256": HEXLOWER.encode(&claims.tls_spki_sha256),
        "config": {
            "seal": config.seal.as_str(),
            "reveal": config.reveal.as_str(),
            "ownerKey": config.owner_key.to_string(),
        },
        "reportedTcb": report.tcbs().reported.to_string(),
        "revocation": revocation,
        "policyExpires": appraised.policy_expires().to_string(),
    })
}
