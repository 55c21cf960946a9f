//! What a client needs to verify an instance on a simulated chip: the root, reference.json,
//! policy.json.

use std::path::Path;

use neo_secrets_attestation::config::{AttestedConfig, ConfigError};
use neo_secrets_attestation::evidence::ImageVersion;
use neo_secrets_attestation::policy::{AbiVersion, AnyOf, Policy, ProductPolicy};
use neo_secrets_attestation::product::Product as AttestedProduct;
use neo_secrets_attestation::reference::{Covers, Identity, KnownMeasurement, ReferenceValues};
use neo_secrets_attestation::report::ChipId;
use neo_secrets_attestation::time::UnixTime;
use neo_secrets_attestation::verify::CrlRule;
use neo_secrets_server::seal::tcb_floor;
use time::{Duration, OffsetDateTime};

use crate::chip::Chip;
use crate::files::{self, FileError};
use crate::product::Product;

/// How long the policy holds; every start of `scripts/run` writes a new one.
const POLICY_DAYS: i64 = 365;

/// Why the client's files could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ClientFilesError {
    /// A file could not be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The configuration lacks what the policy repeats.
    #[error("config.toml: {0}")]
    Config(#[from] ConfigError),
}

/// Writes `simulated-root.der`, `reference.json` and `policy.json`, each whole and with mode 0600.
///
/// # Errors
/// `File`; `Config` where the bytes of the server's configuration don't parse.
pub fn write_client_files(
    folder: &Path,
    chip: &Chip,
    config: &[u8],
    now: OffsetDateTime,
) -> Result<(), ClientFilesError> {
    let config = AttestedConfig::parse(config)?;
    files::write(&folder.join("simulated-root.der"), chip.vendor().ark())?;
    files::write(&folder.join("reference.json"), reference(chip).to_json().as_bytes())?;
    files::write(&folder.join("policy.json"), policy(chip, config, now).to_json().as_bytes())?;
    Ok(())
}

/// The reference values that fit the chip's guest. They say of its digest that it covers the image,
/// as that of a measured boot would; the simulated root says that it is made up.
pub fn reference(chip: &Chip) -> ReferenceValues {
    let guest = &chip.settings.guest;
    ReferenceValues {
        image_version: ImageVersion::new(env!("CARGO_PKG_VERSION"))
            .expect("a package's version is short visible ASCII"),
        measurements: vec![KnownMeasurement {
            digest: guest.measurement.0,
            vcpus: 1,
            vcpu_type: "SIMULATED".to_owned(),
            sev_features: 1,
            covers: Covers::Image,
        }],
        host_data: Identity::Exactly(guest.host_data.0),
        family_id: Identity::Exactly(guest.family_id.0),
        image_id: Identity::Exactly(guest.image_id.0),
        id_key_digest: Identity::Exactly(guest.id_key_digest.0),
        author_key_digest: Identity::Exactly(guest.author_key_digest.0),
        guest_svn_min: guest.guest_svn,
        inputs: Vec::new(),
    }
}

/// A policy that this chip meets as it leaves the imaginary factory, for a server with this
/// configuration. The floors are the server's own.
pub fn policy(chip: &Chip, config: AttestedConfig, now: OffsetDateTime) -> Policy {
    let settings = &chip.settings;
    let chip_id = ChipId(settings.chip_id.padded());
    let (product, chips) = match settings.product {
        Product::Milan => (AttestedProduct::Milan, AnyOf::Listed(vec![chip_id])),
        Product::Genoa => (AttestedProduct::Genoa, AnyOf::Any),
        Product::Turin => (AttestedProduct::Turin, AnyOf::Any),
    };
    let expires = (now + Duration::days(POLICY_DAYS)).unix_timestamp();
    let expires = u64::try_from(expires).ok().and_then(UnixTime::from_seconds);
    Policy {
        expires: expires.unwrap_or(UnixTime::MAX),
        abi_min: AbiVersion { major: 1, minor: 51 },
        products: vec![ProductPolicy {
            product,
            cpuid_models: AnyOf::Any,
            tcb_floor: tcb_floor(product),
            chips,
            denied_chips: Vec::new(),
        }],
        csp_ids: Vec::new(),
        crl: CrlRule::Required,
        instance_keys: AnyOf::Any,
        config,
    }
}
