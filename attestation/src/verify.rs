//! Steps 1 to 5: from bytes to a report that a chip signed, in the state that its certificates
//! describe.

use openssl::bn::BigNum;
use openssl::ec::EcKey;
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::pkey::Public;
use openssl::sha::Sha384;

use crate::chain::{self, Chain};
use crate::endorsements::{Endorsements, VekKind};
use crate::error::VerifyError;
use crate::extensions::{VekExtensions, VekOwner};
use crate::limits::{REPORT_BYTES, REPORT_SIGNED_BYTES};
use crate::product::Product;
use crate::report::{EcdsaSignature, Report};
use crate::roots::{Provenance, Roots};
use crate::tcb::{Tcb, TcbVersion};
use crate::time::UnixTime;

/// What the caller trusts and tolerates. There is no default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The roots that a chain may end in.
    pub roots: Roots,
    /// What becomes of a missing or an old revocation list.
    pub crl: CrlRule,
    /// The cloud providers whose VLEKs are accepted.
    pub csp_ids: CspIdRule,
}

/// What becomes of a missing or an old revocation list. One that is there is always verified and
/// obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrlRule {
    /// It must be there and current.
    Required,
    /// It must be there; its time may be over.
    MayBeStale,
    /// It may be missing, or its time be over.
    MayBeAbsent,
}

/// The cloud providers whose VLEKs are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CspIdRule {
    /// Those with one of these CSP_IDs, such as `CN=cc-us-east-2.amazonaws.com`; an empty list
    /// refuses every VLEK.
    Listed(Vec<String>),
    /// Whichever: for looking at a report, not for trusting it.
    Any,
}

/// What is known about revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrlStatus {
    /// A current list names neither the root nor the ASK.
    Current {
        /// When the next list is due.
        next_update: UnixTime,
    },
    /// So does a list whose time is over.
    Stale {
        /// When the next list was due.
        next_update: UnixTime,
    },
    /// There was no list.
    NotChecked,
}

/// A report for which steps 1 to 5 hold. Only [`verify_report`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedReport {
    raw: [u8; REPORT_BYTES],
    report: Report,
    product: Product,
    provenance: Provenance,
    signer: Signer,
    crl: CrlStatus,
    tcbs: Tcbs,
}

/// The key that signed a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// The chip's own, for this chip id: 64 bytes, Turin 8.
    Vcek {
        /// The chip id.
        chip_id: Vec<u8>,
    },
    /// A cloud provider's.
    Vlek {
        /// The provider's CSP_ID.
        csp_id: String,
    },
}

/// The four TCB versions of a report, in the product's layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcbs {
    /// What runs now.
    pub current: Tcb,
    /// What the report was signed as: the certificate has the same.
    pub reported: Tcb,
    /// What the chip can't go below.
    pub committed: Tcb,
    /// What ran at launch.
    pub launch: Tcb,
}

/// A revocation list that a pinned root signed and whose time has begun. Only [`verify_crl`] makes
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedCrl {
    this_update: UnixTime,
    next_update: UnixTime,
}

impl VerifiedCrl {
    /// When it was made: of two lists the one with the later time is the newer.
    pub const fn this_update(&self) -> UnixTime {
        self.this_update
    }

    /// When the next one is due, or was.
    pub const fn next_update(&self) -> UnixTime {
        self.next_update
    }
}

/// Verifies a revocation list by itself (SPEC.md §6.2) under its root, DER: for keeping it, not for
/// judging a chain by it.
pub fn verify_crl(
    der: &[u8],
    ark: &[u8],
    roots: &Roots,
    now: UnixTime,
) -> Result<VerifiedCrl, VerifyError> {
    let crl = chain::verify_crl(der, ark, roots, now)?;
    Ok(VerifiedCrl { this_update: crl.this_update, next_update: crl.next_update })
}

/// Verifies a raw report against its endorsements as of `now`. The first failing step ends it.
pub fn verify_report(
    raw: &[u8],
    endorsements: &Endorsements,
    rules: &Rules,
    now: UnixTime,
) -> Result<VerifiedReport, VerifyError> {
    // 1. Size, version, algorithm, reserved bytes.
    let report = Report::try_from(raw)?;
    let raw: [u8; REPORT_BYTES] =
        raw.try_into().map_err(|_| crate::report::ReportError::Size { got: raw.len() })?;

    // 2, 3. The pinned root; the chain down to the VEK.
    let chain = chain::verify(endorsements, rules, now)?;

    // 4. The report's signature.
    if !signature_verifies(&raw, &report.signature, &chain.vek_key) {
        return Err(VerifyError::ReportSignature);
    }

    // 5. The report describes the machine that the VEK was made for.
    let (signer, tcbs) = identity(&report, &chain, &rules.csp_ids)?;

    let Chain { product, crl, .. } = chain;
    let provenance = rules.roots.provenance();
    Ok(VerifiedReport { raw, report, product, provenance, signer, crl, tcbs })
}

/// ECDSA P-384 with SHA-384 over the raw bytes. A failure of OpenSSL's counts as a bad signature.
fn signature_verifies(
    raw: &[u8; REPORT_BYTES],
    signature: &EcdsaSignature,
    key: &EcKey<Public>,
) -> bool {
    let Some(signed) = raw.get(..REPORT_SIGNED_BYTES) else { return false };
    let mut hash = Sha384::new();
    hash.update(signed);
    let digest = hash.finish();
    let verified = || -> Result<bool, ErrorStack> {
        let (r, s) = (BigNum::from_slice(&signature.r)?, BigNum::from_slice(&signature.s)?);
        EcdsaSig::from_private_components(r, s)?.verify(&digest, key)
    };
    verified().unwrap_or(false)
}

/// Step 5.
fn identity(
    report: &Report,
    chain: &Chain<'_>,
    csp_ids: &CspIdRule,
) -> Result<(Signer, Tcbs), VerifyError> {
    let Chain { product, kind, vek, .. } = chain;

    // a. The key that the report names.
    let (got, expected) = (report.key_info.signing_key, kind.signing_key());
    if got != expected {
        return Err(VerifyError::SigningKey { got, expected });
    }

    // b. The product.
    if let Some(got) = report.cpuid
        && Product::from_cpuid(got) != Some(*product)
    {
        return Err(VerifyError::Cpuid { got, expected: *product });
    }
    let certified = VekExtensions::read(&vek.extensions, *kind, *product)
        .map_err(|(name, error)| VerifyError::Extension { name, error })?;
    if !names_product(certified.product_name, *product) {
        let got = certified.product_name.to_owned();
        return Err(VerifyError::ProductExtension { got, expected: *product });
    }

    // c. The TCB.
    let tcbs = tcbs(report, *product)?;
    for ((component, got), (_, expected)) in
        tcbs.reported.components().into_iter().zip(certified.tcb.components())
    {
        if got != expected {
            return Err(VerifyError::TcbExtension { component, got, expected });
        }
    }

    // d, e. The chip, or the provider.
    let signer = match certified.owner {
        VekOwner::Chip(hwid) => chip(report, hwid, *product)?,
        VekOwner::Provider(csp_id) => provider(csp_id, csp_ids)?,
    };
    Ok((signer, tcbs))
}

/// Whether AMD's name of a product (`Genoa`, `Milan-B0`) is this product's, whatever the stepping.
fn names_product(name: &str, product: Product) -> bool {
    match name.strip_prefix(product.name()).map(str::as_bytes) {
        Some([]) => true,
        Some([b'-', stepping @ ..]) => {
            stepping.len() == 2 && stepping.iter().all(u8::is_ascii_alphanumeric)
        }
        _ => false,
    }
}

fn tcbs(report: &Report, product: Product) -> Result<Tcbs, VerifyError> {
    let tcb = |field, version: TcbVersion| {
        version.of(product).map_err(|error| VerifyError::TcbReserved { field, error })
    };
    Ok(Tcbs {
        current: tcb("CURRENT_TCB", report.current_tcb)?,
        reported: tcb("REPORTED_TCB", report.reported_tcb)?,
        committed: tcb("COMMITTED_TCB", report.committed_tcb)?,
        launch: tcb("LAUNCH_TCB", report.launch_tcb)?,
    })
}

fn chip(report: &Report, hwid: &[u8], product: Product) -> Result<Signer, VerifyError> {
    if report.chip_id.is_masked() {
        return Err(VerifyError::ChipIdMasked);
    }
    if report.chip_id.of(product) != Some(hwid) {
        return Err(VerifyError::HwId { got: report.chip_id, expected: hwid.to_vec() });
    }
    Ok(Signer::Vcek { chip_id: hwid.to_vec() })
}

fn provider(csp_id: &str, rule: &CspIdRule) -> Result<Signer, VerifyError> {
    let csp_id = csp_id.to_owned();
    match rule {
        CspIdRule::Listed(listed) if !listed.contains(&csp_id) => {
            Err(VerifyError::CspId { got: csp_id, listed: listed.clone() })
        }
        CspIdRule::Listed(_) | CspIdRule::Any => Ok(Signer::Vlek { csp_id }),
    }
}

impl VerifiedReport {
    /// The report's fields.
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// The report's bytes.
    pub const fn raw(&self) -> &[u8; REPORT_BYTES] {
        &self.raw
    }

    /// The product, told by the root.
    pub const fn product(&self) -> Product {
        self.product
    }

    /// Whether a chip of AMD's made this, or a simulation.
    pub const fn provenance(&self) -> Provenance {
        self.provenance
    }

    /// The key that signed.
    pub const fn signer(&self) -> &Signer {
        &self.signer
    }

    /// What is known about revocation.
    pub const fn crl(&self) -> CrlStatus {
        self.crl
    }

    /// The TCB versions, in the product's layout.
    pub const fn tcbs(&self) -> &Tcbs {
        &self.tcbs
    }
}

impl Signer {
    /// Its kind.
    pub const fn kind(&self) -> VekKind {
        match self {
            Self::Vcek { .. } => VekKind::Vcek,
            Self::Vlek { .. } => VekKind::Vlek,
        }
    }
}
