//! What is trusted, from the texts of the files or of the profile, and what it is called in errors.

use std::path::{Path, PathBuf};

use neo_secrets_attestation::appraise::Pin;
use neo_secrets_attestation::ed25519::PublicKey;
use neo_secrets_attestation::exchange::Trust;
use neo_secrets_attestation::policy::Policy;
use neo_secrets_attestation::reference::ReferenceValues;
use neo_secrets_attestation::roots::Roots;

use crate::cli::args::Global;
use crate::cli::outcome::Failure;

/// What the texts and the pin come to.
pub(crate) fn trust(
    reference: &str,
    policy: &str,
    simulated_root: Option<&[u8]>,
    pin: Option<PublicKey>,
    origins: &Origins,
) -> Result<Trust, Failure> {
    Ok(Trust {
        roots: match simulated_root {
            None => Roots::Amd,
            Some(der) => Roots::simulated(der)
                .map_err(|error| Failure::error(format!("{}: {error}", origins.root)))?,
        },
        reference: ReferenceValues::parse(reference.as_bytes()).map_err(|error| {
            let failure = Failure::error(format!("{}: {error}", origins.reference));
            let looks = "this looks like policy.json, which --policy takes";
            looks_like(failure, reference, "products", looks)
        })?,
        policy: Policy::parse(policy.as_bytes()).map_err(|error| {
            let failure = Failure::error(format!("{}: {error}", origins.policy));
            let looks = "this looks like reference.json, which --reference takes";
            looks_like(failure, policy, "measurements", looks)
        })?,
        pin: pin.map_or(Pin::Unpinned, Pin::InstanceKey),
    })
}

/// Where what is trusted was taken from, as errors name it.
pub(crate) struct Origins {
    pub(crate) reference: String,
    pub(crate) policy: String,
    pub(crate) root: String,
}

impl Origins {
    /// The options that name a file; the profile has the rest.
    pub(crate) fn new(global: &Global, profile: Option<&Path>) -> Self {
        let of_profile = profile.map_or_else(|| Self::in_profile(Path::new("?")), Self::in_profile);
        let name = |option: &str, path: &Option<PathBuf>, other: String| {
            path.as_ref().map_or(other, |path| format!("{option} {}", path.display()))
        };
        Self {
            reference: name("--reference", &global.reference, of_profile.reference),
            policy: name("--policy", &global.policy, of_profile.policy),
            root: name("--trust-simulated", &global.trust_simulated, of_profile.root),
        }
    }

    pub(crate) fn in_profile(profile: &Path) -> Self {
        let of = |what: &str| format!("the {what} in the profile {}", profile.display());
        Self { reference: of("reference"), policy: of("policy"), root: of("simulated root") }
    }
}

/// Where the text is JSON with a field of the other file, it is pointed out.
fn looks_like(failure: Failure, text: &str, field: &str, advice: &str) -> Failure {
    let has =
        serde_json::from_str::<serde_json::Value>(text).is_ok_and(|it| it.get(field).is_some());
    if has { failure.advice(advice) } else { failure }
}
