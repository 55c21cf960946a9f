//! Files that people write or hand on.

use std::path::Path;

use neo_secrets::profile::Profile;
use neo_secrets_attestation::config::AttestedConfig;
use neo_secrets_attestation::limits;
use neo_secrets_attestation::measure::{KernelHashes, Launch, Shape, VcpuType};
use neo_secrets_attestation::policy::Policy;
use neo_secrets_attestation::reference::ReferenceValues;
use neo_secrets_server::config::{Config, ServerName};

use super::{presentable, refused};

/// Reference values that are written from what was read read as the same.
pub fn reference(bytes: &[u8]) -> bool {
    match ReferenceValues::parse(bytes) {
        Err(error) => refused(&error),
        Ok(reference) => {
            assert!(bytes.len() <= limits::REFERENCE_BYTES_MAX);
            let written = reference.to_json();
            assert_eq!(ReferenceValues::parse(written.as_bytes()), Ok(reference));
            true
        }
    }
}

/// A policy that is written from what was read reads as the same.
pub fn policy(bytes: &[u8]) -> bool {
    match Policy::parse(bytes) {
        Err(error) => refused(&error),
        Ok(policy) => {
            assert!(bytes.len() <= limits::POLICY_BYTES_MAX);
            assert_eq!(Policy::parse(policy.to_json().as_bytes()), Ok(policy));
            true
        }
    }
}

/// What the server runs with is what a verifier reads from the same bytes; a configuration that is
/// written from it reads as the same.
pub fn config(bytes: &[u8]) -> bool {
    let attested = AttestedConfig::parse(bytes);
    if let Err(error) = &attested {
        presentable(error);
    }
    let config = match Config::parse(bytes) {
        Ok(config) => config,
        Err(error) => return refused(&error),
    };
    assert_eq!(Ok(&config.attested), attested.as_ref());
    assert_eq!(config.text.as_str().as_bytes(), bytes);
    let AttestedConfig { seal, reveal, witnesses, quorum, owner_key } = &config.attested;
    let names = config.names.iter().map(|name| match name {
        ServerName::Dns(name) => format!("{name:?}"),
        ServerName::Address(address) => format!("\"{address}\""),
    });
    let written = format!(
        "seal = {:?}\nreveal = {:?}\nwitnesses = {witnesses:?}\nquorum = {quorum}\n\
         owner_key = \"{owner_key}\"\nnames = [{}]\n{}",
        seal.as_str(),
        reveal.as_str(),
        Vec::from_iter(names).join(", "),
        config.limits,
    );
    let again = Config::parse(written.as_bytes()).unwrap();
    assert_eq!(
        (again.attested, again.names, again.limits),
        (config.attested, config.names, config.limits)
    );
    true
}

/// A profile that is written from what was read reads as the same.
pub fn profile(bytes: &[u8]) -> bool {
    let path = Path::new("/folder/profile.json");
    match Profile::parse(path, bytes) {
        Err(error) => refused(&error),
        Ok(profile) => {
            let written = profile.to_json(path).unwrap();
            assert_eq!(Profile::parse(path, &written).unwrap(), profile);
            true
        }
    }
}

/// A firmware is measured to the same digest whenever it is, and one without a place for hashes is
/// refused a kernel. OVMF's tables stand at its end, so that bytes before them only fill the page.
pub fn firmware(bytes: &[u8]) -> bool {
    let missing = bytes.len().next_multiple_of(4096) - bytes.len();
    let firmware = [&vec![0; missing], bytes].concat();
    let launch = match Launch::new(&firmware, None) {
        Ok(launch) => launch,
        Err(error) => return refused(&error),
    };
    let shape = Shape { vcpus: 2, vcpu_type: VcpuType::EpycV4, sev_features: 1 };
    let hashes = KernelHashes::new(b"kernel", b"", "console=ttyS0").unwrap();
    match Launch::new(&firmware, Some(&hashes)) {
        Err(error) => presentable(&error),
        Ok(with) => assert_ne!(with.digest(&shape), launch.digest(&shape)),
    }
    true
}
