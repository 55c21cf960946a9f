//! Steps 6 to 11: from a verified report to evidence for one connection (`Verified`), and from that
//! to a decision (`Appraised`). Only [`verify()`] makes the one, only [`appraise()`] the other.

use std::fmt;

use crate::binding::{self, Exporter, Nonce, ReportData, Role};
use crate::config::AttestedConfig;
use crate::ed25519::{PublicKey, Signature};
use crate::endorsements::VekKind;
use crate::evidence::{ClaimPhase, Claims, Document};
use crate::policy::{AbiVersion, AnyOf, Policy, ProductPolicy};
use crate::product::Product;
use crate::reference::{Covers, KnownMeasurement, ReferenceValues};
use crate::report::Report;
use crate::roots::Provenance;
use crate::time::UnixTime;
use crate::verify::{self, Rules, Tcbs, VerifiedReport};

mod error;
#[cfg(test)]
mod tests;

pub use error::{AppraiseError, EvidenceError, UnknownMeasurement};

/// The verifier's own end of one connection, from its own TLS stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// The connection's exporter.
    pub exporter: Exporter,
    /// SHA-256 of the DER SubjectPublicKeyInfo of the server's certificate on this connection.
    pub tls_spki_sha256: [u8; 32],
}

/// What makes evidence fresh: for whom, over which connection, in which role.
#[derive(Clone, Copy, Debug)]
pub struct Freshness<'a> {
    /// What the evidence must have been made for.
    pub role: Role,
    /// The verifier's own nonce.
    pub nonce: &'a Nonce,
    /// The verifier's own connection.
    pub channel: &'a Channel,
}

/// Evidence whose signatures hold and that was made for this very connection. What it says is not
/// yet judged.
#[derive(Clone, Debug)]
pub struct Verified {
    report: VerifiedReport,
    claims: Claims,
    instance_signature: Option<Signature>,
}

/// Steps 1 to 6: checks every signature and that the evidence was made for this nonce on this
/// connection.
pub fn verify(
    document: Document,
    freshness: &Freshness<'_>,
    rules: &Rules,
    now: UnixTime,
) -> Result<Verified, EvidenceError> {
    let Document { report, certificates, claims, path, instance_signature } = document;
    // 1. to 5.
    let report = verify::verify_report(&report, &certificates, rules, now)?;
    // 6. The leaf is computed from our own nonce and exporter, never from the document.
    let Freshness { role, nonce, channel } = *freshness;
    let root = path.root(binding::leaf(role, nonce, &channel.exporter))?;
    let (claimed, own) = (claims.tls_spki_sha256, channel.tls_spki_sha256);
    if claimed != own {
        return Err(EvidenceError::TlsKey { claimed, own });
    }
    let (got, expected) = (report.report().report_data, binding::report_data(&claims, &root).0);
    if got != expected {
        let (got, expected) = (Box::new(got), Box::new(expected));
        return Err(EvidenceError::ReportData { got, expected });
    }
    Ok(Verified { report, claims, instance_signature })
}

impl Verified {
    /// The report and its endorsement.
    pub fn report(&self) -> &VerifiedReport {
        &self.report
    }

    /// What the report vouches for.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }
}

/// The instance that the caller expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// Whichever: the caller has no pin and knows it.
    Unpinned,
    /// The one with this key.
    InstanceKey(PublicKey),
}

/// Evidence that the reference values, the policy and the pin accept.
#[derive(Clone, Debug)]
pub struct Appraised {
    verified: Verified,
    config: AttestedConfig,
    measurement: KnownMeasurement,
    policy_expires: UnixTime,
}

impl Appraised {
    /// Whether the chip is AMD's or SIMULATED.
    pub fn provenance(&self) -> Provenance {
        self.verified.report.provenance()
    }

    /// How much the measurement proves. A caller must refuse [`Covers::Firmware`] unless its user
    /// accepted that.
    pub fn covers(&self) -> Covers {
        self.measurement.covers
    }

    /// The entry of the reference values that matched.
    pub fn measurement(&self) -> &KnownMeasurement {
        &self.measurement
    }

    pub(crate) fn verified(&self) -> &Verified {
        &self.verified
    }

    /// The report and its endorsement.
    pub fn report(&self) -> &VerifiedReport {
        &self.verified.report
    }

    /// What the instance says of itself.
    pub fn claims(&self) -> &Claims {
        &self.verified.claims
    }

    /// The configuration's attested part, equal to the policy's.
    pub fn config(&self) -> &AttestedConfig {
        &self.config
    }

    /// The last second in which the policy holds.
    pub fn policy_expires(&self) -> UnixTime {
        self.policy_expires
    }
}

/// Steps 7 to 11: judges genuine evidence by the reference values, the policy and the pin.
pub fn appraise(
    verified: Verified,
    reference: &ReferenceValues,
    policy: &Policy,
    pin: &Pin,
    now: UnixTime,
) -> Result<Appraised, AppraiseError> {
    let report = verified.report.report();
    guest_policy(report, policy.abi_min)?;
    let measurement = identity(report, &verified.claims, reference)?;
    let config = configuration(&verified.claims, &policy.config)?;
    let entry = platform(&verified.report, policy)?;
    allowed(&verified.report, entry, policy.expires, now)?;
    instance(&verified, policy, pin)?;
    Ok(Appraised { verified, config, measurement, policy_expires: policy.expires })
}

/// Step 7.
fn guest_policy(report: &Report, min: AbiVersion) -> Result<(), AppraiseError> {
    let policy = report.policy;
    if policy.debug_allowed() {
        return Err(AppraiseError::Debug);
    }
    if policy.migrate_ma_allowed() {
        return Err(AppraiseError::MigrateMa);
    }
    if !policy.bit_17() {
        return Err(AppraiseError::PolicyBit17);
    }
    if policy.reserved_bits() != 0 {
        return Err(AppraiseError::PolicyReserved { got: policy.reserved_bits() });
    }
    let (major, minor) = policy.abi_min();
    let got = AbiVersion { major, minor };
    if got < min {
        return Err(AppraiseError::AbiVersion { got, min });
    }
    if report.report_id_ma != [0xFF; 32] {
        return Err(AppraiseError::ReportIdMa { got: report.report_id_ma });
    }
    match report.vmpl {
        0 => Ok(()),
        got => Err(AppraiseError::Vmpl { got }),
    }
}

/// Step 8a.
fn identity(
    report: &Report,
    claims: &Claims,
    reference: &ReferenceValues,
) -> Result<KnownMeasurement, AppraiseError> {
    let ReferenceValues {
        image_version,
        measurements,
        host_data,
        family_id,
        image_id,
        id_key_digest,
        author_key_digest,
        guest_svn_min,
        inputs: _, // What the image was made of, for people.
    } = reference;
    let mut known = measurements.iter();
    let Some(measurement) = known.find(|known| known.digest == report.measurement) else {
        return Err(AppraiseError::Measurement(Box::new(UnknownMeasurement {
            got: report.measurement,
            claimed_version: claims.image_version.as_str().to_owned(),
            reference_version: image_version.as_str().to_owned(),
            nearest: measurements.first().cloned(),
            known: measurements.len(),
        })));
    };
    if !host_data.allows(&report.host_data) {
        let (got, expected) = (report.host_data, host_data.to_string());
        return Err(AppraiseError::HostData { got, expected });
    }
    if !family_id.allows(&report.family_id) {
        let (got, expected) = (report.family_id, family_id.to_string());
        return Err(AppraiseError::FamilyId { got, expected });
    }
    if !image_id.allows(&report.image_id) {
        let (got, expected) = (report.image_id, image_id.to_string());
        return Err(AppraiseError::ImageId { got, expected });
    }
    if !id_key_digest.allows(&report.id_key_digest) {
        let (got, expected) = (report.id_key_digest, id_key_digest.to_string());
        return Err(AppraiseError::IdKeyDigest { got, expected });
    }
    if !author_key_digest.allows(&report.author_key_digest) {
        let (got, expected) = (report.author_key_digest, author_key_digest.to_string());
        return Err(AppraiseError::AuthorKeyDigest { got, expected });
    }
    let (got, min) = (report.guest_svn, *guest_svn_min);
    if got < min {
        return Err(AppraiseError::GuestSvn { got, min });
    }
    Ok(measurement.clone())
}

/// Step 8b.
fn configuration(
    claims: &Claims,
    expected: &AttestedConfig,
) -> Result<AttestedConfig, AppraiseError> {
    let config = claims.config.as_str().as_bytes();
    let config = AttestedConfig::parse(config).map_err(AppraiseError::Config)?;
    let AttestedConfig { seal, reveal, witnesses, quorum, owner_key } = &config;
    let list = |witnesses: &[String]| format!("[{}]", witnesses.join(", "));
    let differs = |field, got: &dyn fmt::Display, expected: &dyn fmt::Display| {
        let (got, expected) = (got.to_string(), expected.to_string());
        Err(AppraiseError::ConfigField { field, got, expected })
    };
    if *seal != expected.seal {
        return differs("seal", &seal.as_str(), &expected.seal.as_str());
    }
    if *reveal != expected.reveal {
        return differs("reveal", &reveal.as_str(), &expected.reveal.as_str());
    }
    if *witnesses != expected.witnesses {
        return differs("witnesses", &list(witnesses), &list(&expected.witnesses));
    }
    if *quorum != expected.quorum {
        return differs("quorum", quorum, &expected.quorum);
    }
    if *owner_key != expected.owner_key {
        return differs("owner_key", owner_key, &expected.owner_key);
    }
    Ok(config)
}

/// Step 9.
fn platform<'a>(
    verified: &VerifiedReport,
    policy: &'a Policy,
) -> Result<&'a ProductPolicy, AppraiseError> {
    let (report, product) = (verified.report(), verified.product());
    let cpuid = report.cpuid;
    let entry = policy.product(product, cpuid);
    let entry = entry.ok_or(AppraiseError::Product { product, cpuid })?;
    let Tcbs { current, reported, committed, launch } = verified.tcbs();
    for (field, tcb) in
        [("REPORTED_TCB", reported), ("COMMITTED_TCB", committed), ("LAUNCH_TCB", launch)]
    {
        if let Some(shortfall) = tcb.first_component_below(&entry.tcb_floor) {
            return Err(AppraiseError::TcbFloor { field, shortfall });
        }
    }
    if let Some(shortfall) = current.first_component_below(committed) {
        return Err(AppraiseError::TcbOrder { shortfall });
    }
    let platform = report.platform_info;
    match product {
        Product::Milan | Product::Genoa if !platform.alias_check_complete() => {
            Err(AppraiseError::AliasCheck)
        }
        Product::Milan | Product::Genoa if !platform.ecc_enabled() => Err(AppraiseError::Ecc),
        Product::Milan | Product::Genoa | Product::Turin => Ok(entry),
    }
}

/// Step 10.
fn allowed(
    verified: &VerifiedReport,
    entry: &ProductPolicy,
    expires: UnixTime,
    now: UnixTime,
) -> Result<(), AppraiseError> {
    if now > expires {
        return Err(AppraiseError::PolicyExpired { now, expires });
    }
    let ProductPolicy { product, cpuid_models: _, tcb_floor: _, chips, denied_chips } = entry;
    // Whoever builds a policy in memory has not been through its parser.
    if *product == Product::Milan && *chips == AnyOf::Any {
        return Err(AppraiseError::MilanWithoutChips);
    }
    let lists_chips = *chips != AnyOf::Any || !denied_chips.is_empty();
    // Only a VCEK is one chip's. Under a VLEK the chip id may be masked, and whoever took the key
    // from a denied chip could write any.
    if lists_chips && verified.signer().kind() == VekKind::Vlek {
        return Err(AppraiseError::ChipNotProven);
    }
    let got = verified.report().chip_id;
    if !chips.allows(&got) {
        return Err(AppraiseError::ChipNotAllowed { got });
    }
    if denied_chips.contains(&got) {
        return Err(AppraiseError::ChipDenied { got });
    }
    Ok(())
}

/// Step 11.
fn instance(verified: &Verified, policy: &Policy, pin: &Pin) -> Result<(), AppraiseError> {
    let got = verified.claims.phase.instance_key();
    match *pin {
        Pin::InstanceKey(expected) if got != Some(expected) => {
            return Err(AppraiseError::Pin { got, expected });
        }
        Pin::InstanceKey(_) | Pin::Unpinned => {}
    }
    match &policy.instance_keys {
        AnyOf::Listed(listed) if !got.is_some_and(|key| listed.contains(&key)) => {
            return Err(AppraiseError::InstanceKeyNotListed { got });
        }
        AnyOf::Listed(_) | AnyOf::Any => {}
    }
    match (&verified.claims.phase, &verified.instance_signature) {
        (ClaimPhase::Unclaimed | ClaimPhase::Sealed(_), _) => Ok(()),
        (ClaimPhase::Serving { .. }, None) => Err(AppraiseError::InstanceSignature),
        (ClaimPhase::Serving { instance_key, .. }, Some(signature)) => {
            let message = ReportData(verified.report.report().report_data);
            let message = binding::instance_message(&message);
            let checked = instance_key.verify(&message, signature);
            checked.map_err(|_| AppraiseError::InstanceSignature)
        }
    }
}
