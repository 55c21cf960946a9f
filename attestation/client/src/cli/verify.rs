//! `neo-secrets verify`.

use data_encoding::HEXLOWER;
use neo_secrets_attestation::appraise::Appraised;
use neo_secrets_attestation::evidence::ClaimPhase;
use neo_secrets_attestation::explain::explain;
use neo_secrets_attestation::reference::Covers;
use neo_secrets_attestation::roots::Provenance;
use neo_secrets_attestation::verify::CrlStatus;
use serde_json::{Value, json};

use crate::cli::args::Verify;
use crate::cli::outcome::{Failure, Shown};
use crate::cli::refusal;
use crate::cli::settings::Settings;
use crate::cli::terminal;
use crate::connection::{OpenError, Refused};
use crate::files;
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
    let mut human = summary(&settings.url, appraised);
    if *explains {
        human.push_str(&refusal::steps_text(&explain(Ok(appraised))));
    }
    let pinned = settings.pin.is_some();
    if !pinned && appraised.claims().phase.instance_key().is_some() {
        human.push_str(
            "note: no instance key was pinned: compare the one above with what the instance's \
             owner tells you\n",
        );
    }
    if let Some(path) = write_cert {
        let pem = connection.certificate_pem().map_err(Failure::error)?;
        files::replace(path, &pem).map_err(Failure::error)?;
        human.push_str(&format!("certificate: {} (for curl --cacert)\n", path.display()));
    }
    let mut shown = to_json(&settings.url, appraised, pinned);
    if *explains {
        shown["steps"] = json!(explain(Ok(appraised)));
    }
    if *save_profile {
        let path = save(&settings, appraised)?;
        human.push_str(&format!("profile: {path}\n"));
        shown["profile"] = json!(path);
    }
    Ok(Shown::new(human, &shown))
}

fn explain_refusal(refused: &Refused) -> Result<(), Failure> {
    let steps = match refused {
        Refused::Evidence(refusal) => explain(Err(refusal)),
        Refused::FirmwareOnly(appraised) => explain(Ok(appraised)),
    };
    terminal::print(refusal::steps_text(&steps).as_bytes()).map_err(Failure::error)
}

/// Writes the profile; its pin is the one that was given, or, at the first use, the instance's.
fn save(settings: &Settings, appraised: &Appraised) -> Result<String, Failure> {
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
    settings.to_profile(pin, None).write(path).map_err(Failure::error)?;
    Ok(path.display().to_string())
}

/// What was verified, in a few lines.
pub(crate) fn summary(url: &InstanceUrl, appraised: &Appraised) -> String {
    let (report, claims, config) = (appraised.report(), appraised.claims(), appraised.config());
    let measurement = appraised.measurement();
    let mut text = String::new();
    let mut line = |name: &str, value: String| text.push_str(&format!("{name:<13}{value}\n"));
    match appraised.provenance() {
        Provenance::Amd => line("verified", url.to_string()),
        Provenance::Simulated => {
            line("SIMULATED", format!("{url}: this proves nothing about any machine"));
        }
    }
    if appraised.covers() == Covers::Firmware {
        line("WARNING", "FIRMWARE ONLY, IMAGE NOT PROVEN".to_owned());
    }
    line("product", format!("{} ({})", report.product(), report.report().key_info.signing_key));
    line("image", claims.image_version.as_str().to_owned());
    line("measurement", HEXLOWER.encode(&measurement.digest));
    line("machine", format!("{} x {}", measurement.vcpus, measurement.vcpu_type));
    line("phase", claims.phase.as_str().to_owned());
    if let Some(store) = claims.phase.store_id() {
        line("store", store.to_string());
    }
    if let Some(key) = claims.phase.instance_key() {
        line("instance key", key.to_string());
    }
    line("seal", config.seal.as_str().to_owned());
    line("reveal", config.reveal.as_str().to_owned());
    line("owner key", config.owner_key.to_string());
    line("TCB", report.tcbs().reported.to_string());
    line(
        "revocation",
        match report.crl() {
            CrlStatus::Current { next_update } => format!("checked; next CRL {next_update}"),
            CrlStatus::Stale { next_update } => {
                format!("checked with an OLD CRL, due {next_update}")
            }
            CrlStatus::NotChecked => "NOT CHECKED".to_owned(),
        },
    );
    line("policy until", appraised.policy_expires().to_string());
    text
}

fn to_json(url: &InstanceUrl, appraised: &Appraised, pinned: bool) -> Value {
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
