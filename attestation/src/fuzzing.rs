//! Doors for `tests/fuzz` to the parsers that are private here: bytes in, what was read out.
//! Nothing is verified, and no type of the verification comes through them.

use crate::certificate::{self, Certificate, CertificateError, Crl, KeyKind};
use crate::der::Der;
use crate::endorsements::VekKind;
use crate::extensions::{ExtensionError, VekExtensions, VekOwner};
use crate::product::Product;
use crate::tcb::Tcb;
use crate::time::UnixTime;

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Big-endian.
    pub serial: Vec<u8>,
    /// The issuer's common name.
    pub issuer: String,
    /// The subject's common name.
    pub subject: String,
    /// The first second of its time.
    pub not_before: UnixTime,
    /// The last second of its time.
    pub not_after: UnixTime,
    /// The kind of its key.
    pub key: KeyKind,
    /// Object identifiers, encoded, and values.
    pub extensions: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What a CRL says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrlFacts {
    /// The issuer's common name.
    pub issuer: String,
    /// When it was made.
    pub this_update: UnixTime,
    /// When the next one is due.
    pub next_update: UnixTime,
}

/// What a VEK's extensions say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VekFacts {
    /// AMD's name of the product.
    pub product_name: String,
    /// The TCB.
    pub tcb: Tcb,
    /// HWID, of a VCEK.
    pub chip_id: Option<Vec<u8>>,
    /// CSP_ID, of a VLEK.
    pub csp_id: Option<String>,
}

/// Why a VEK's extensions could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VekFactsError {
    /// They are no extensions.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// One of them is not as AMD makes it.
    #[error("{name} {error}")]
    Extension {
        /// Its name.
        name: &'static str,
        /// What is wrong with it.
        error: ExtensionError,
    },
}

/// Reads a certificate.
pub fn certificate(der: &[u8]) -> Result<CertificateFacts, CertificateError> {
    let certificate = Certificate::parse(der)?;
    let Certificate { serial, issuer, not_before, not_after, subject, .. } = certificate;
    let extension = |it: &certificate::Extension<'_>| (it.oid.to_vec(), it.value.to_vec());
    Ok(CertificateFacts {
        serial: serial.to_vec(),
        issuer: issuer.common_name.to_owned(),
        subject: subject.common_name.to_owned(),
        not_before,
        not_after,
        key: certificate.key.kind(),
        extensions: certificate.extensions.iter().map(extension).collect(),
    })
}

/// Reads a CRL.
pub fn crl(der: &[u8]) -> Result<CrlFacts, CertificateError> {
    let Crl { issuer, this_update, next_update, .. } = Crl::parse(der)?;
    Ok(CrlFacts { issuer: issuer.common_name.to_owned(), this_update, next_update })
}

/// Whether a CRL lists this serial number.
pub fn crl_lists(der: &[u8], serial: &[u8]) -> Result<bool, CertificateError> {
    Crl::parse(der)?.lists(serial)
}

/// Reads a VEK's extensions: the element `[3]` of a certificate.
pub fn vek_extensions(
    der: &[u8],
    kind: VekKind,
    product: Product,
) -> Result<VekFacts, VekFactsError> {
    let mut fields = Der::new(der);
    let extensions = certificate::certificate_extensions(&mut fields)?;
    fields.finish().map_err(CertificateError::from)?;
    let VekExtensions { product_name, tcb, owner } =
        VekExtensions::read(&extensions, kind, product)
            .map_err(|(name, error)| VekFactsError::Extension { name, error })?;
    let (chip_id, csp_id) = match owner {
        VekOwner::Chip(id) => (Some(id.to_vec()), None),
        VekOwner::Provider(id) => (None, Some(id.to_owned())),
    };
    Ok(VekFacts { product_name: product_name.to_owned(), tcb, chip_id, csp_id })
}
