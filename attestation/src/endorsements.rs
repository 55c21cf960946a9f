//! The certificates that vouch for a report, and the sorting of a bag of files into them.

use std::borrow::Cow;
use std::fmt;

use thiserror::Error;

use crate::certificate::{Certificate, CertificateError};
use crate::encoding::decode_base64;
use crate::limits::{CERTIFICATE_FILE_BYTES_MAX, CERTIFICATES_MAX};
use crate::product::Product;
use crate::report::SigningKey;

/// The certificates that vouch for a report, as DER, unverified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endorsements {
    /// The VCEK or VLEK.
    pub vek: Vec<u8>,
    /// The ASK of a VCEK, the ASVK of a VLEK.
    pub ask: Vec<u8>,
    /// The root.
    pub ark: Vec<u8>,
    /// The root's revocation list.
    pub crl: Option<Vec<u8>>,
}

/// One of the endorsements, for error messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endorsement {
    /// The root.
    Ark,
    /// The authority below it: ASK or ASVK.
    Ask,
    /// The key that signs reports: VCEK or VLEK.
    Vek,
    /// The root's revocation list.
    Crl,
}

/// The kind of a key that signs reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VekKind {
    /// The chip's own key.
    Vcek,
    /// A key that AMD loads for a cloud provider: it names the provider, not the chip.
    Vlek,
}

/// Why files don't yield endorsements.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EndorsementsError {
    /// A file is too large.
    #[error("file {file} has {got} bytes; the limit is {CERTIFICATE_FILE_BYTES_MAX}")]
    FileTooLong {
        /// Which of the files, from 0.
        file: usize,
        /// Its bytes.
        got: usize,
    },
    /// A file is neither DER nor holds a PEM block of the kind wanted.
    #[error("file {file} holds no {wanted}, neither in DER nor in PEM")]
    Nothing {
        /// Which of the files, from 0.
        file: usize,
        /// The PEM label wanted.
        wanted: &'static str,
    },
    /// A PEM block is not base64, or has no end.
    #[error("file {file} has a malformed PEM block")]
    Pem {
        /// Which of the files, from 0.
        file: usize,
    },
    /// A file holds more than one revocation list.
    #[error("file {file} holds more than one CRL")]
    SeveralCrls {
        /// Which of the files, from 0.
        file: usize,
    },
    /// A certificate can't be read.
    #[error("file {file}: {error}")]
    Certificate {
        /// Which of the files, from 0.
        file: usize,
        /// What is wrong with it.
        error: CertificateError,
    },
    /// More certificates than [`crate::limits`] allows.
    #[error("more than {CERTIFICATES_MAX} certificates")]
    TooMany,
    /// No certificate has this name.
    #[error("no certificate is named {name}")]
    Missing {
        /// The common name.
        name: String,
    },
    /// Two different certificates have this name.
    #[error("more than one certificate is named {name}")]
    Several {
        /// The common name.
        name: String,
    },
}

const PEM_CERTIFICATE: &str = "CERTIFICATE";
const PEM_CRL: &str = "X509 CRL";
const EITHER_VEK: &str = "SEV-VCEK or SEV-VLEK";

impl Endorsements {
    /// Finds the one VEK among the certificates of `files`, its authority by the issuer that it
    /// names, and that one's root. Each file is DER or PEM; order, duplicates and certificates of
    /// other products don't matter. Nothing is verified.
    pub fn from_files(files: &[&[u8]]) -> Result<Self, EndorsementsError> {
        let mut bag: Vec<Cow<'_, [u8]>> = Vec::new();
        let mut origins = Vec::new();
        for (file, bytes) in files.iter().enumerate() {
            for der in decode(file, bytes, PEM_CERTIFICATE)? {
                if !bag.contains(&der) {
                    bag.push(der);
                    origins.push(file);
                }
                if bag.len() > CERTIFICATES_MAX {
                    return Err(EndorsementsError::TooMany);
                }
            }
        }
        let mut named = Vec::new();
        for (der, &file) in bag.iter().zip(&origins) {
            named.push(
                Named::parse(der)
                    .map_err(|error| EndorsementsError::Certificate { file, error })?,
            );
        }
        let vek = only(&named, EITHER_VEK, |name| VekKind::from_common_name(name).is_some())?;
        let ask = only(&named, vek.issuer, |name| name == vek.issuer)?;
        let ark = only(&named, ask.issuer, |name| name == ask.issuer)?;
        let [vek, ask, ark] = [vek, ask, ark].map(|certificate| certificate.der.to_vec());
        Ok(Self { vek, ask, ark, crl: None })
    }

    /// Adds the one CRL in a file: DER or PEM.
    pub fn with_crl_file(self, bytes: &[u8]) -> Result<Self, EndorsementsError> {
        let mut crls = decode(0, bytes, PEM_CRL)?;
        match (crls.pop(), crls.is_empty()) {
            (Some(crl), true) => Ok(Self { crl: Some(crl.into_owned()), ..self }),
            _ => Err(EndorsementsError::SeveralCrls { file: 0 }),
        }
    }
}

/// A certificate in the bag.
#[derive(Clone, Copy)]
struct Named<'a> {
    subject: &'a str,
    issuer: &'a str,
    der: &'a [u8],
}

impl<'a> Named<'a> {
    fn parse(der: &'a [u8]) -> Result<Self, CertificateError> {
        let Certificate { subject, issuer, .. } = Certificate::parse(der)?;
        Ok(Self { subject: subject.common_name, issuer: issuer.common_name, der })
    }
}

/// The only certificate whose subject fits.
fn only<'a>(
    bag: &[Named<'a>],
    name: &str,
    fits: impl Fn(&str) -> bool,
) -> Result<Named<'a>, EndorsementsError> {
    let mut found = bag.iter().filter(|certificate| fits(certificate.subject));
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(*only),
        (None, _) => Err(EndorsementsError::Missing { name: name.to_owned() }),
        (Some(_), Some(_)) => Err(EndorsementsError::Several { name: name.to_owned() }),
    }
}

/// The DER of every PEM block with `label` in a file, or the file itself where it is DER: never an
/// empty list.
fn decode<'a>(
    file: usize,
    bytes: &'a [u8],
    label: &'static str,
) -> Result<Vec<Cow<'a, [u8]>>, EndorsementsError> {
    if bytes.len() > CERTIFICATE_FILE_BYTES_MAX {
        return Err(EndorsementsError::FileTooLong { file, got: bytes.len() });
    }
    if bytes.first() == Some(&crate::der::SEQUENCE) {
        return Ok(vec![Cow::Borrowed(bytes)]);
    }
    let text = String::from_utf8_lossy(bytes);
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let mut blocks = Vec::new();
    for block in text.split(&begin).skip(1) {
        let (body, _) = block.split_once(&end).ok_or(EndorsementsError::Pem { file })?;
        let body: String = body.split_ascii_whitespace().collect();
        let der = decode_base64(&body).ok_or(EndorsementsError::Pem { file })?;
        blocks.push(Cow::Owned(der));
    }
    if blocks.is_empty() {
        return Err(EndorsementsError::Nothing { file, wanted: label });
    }
    Ok(blocks)
}

/// The common name of a product's root.
pub(crate) fn ark_name(product: Product) -> String {
    format!("ARK-{product}")
}

impl VekKind {
    /// The kind of the key whose certificate has this common name.
    pub(crate) fn from_common_name(name: &str) -> Option<Self> {
        [Self::Vcek, Self::Vlek].into_iter().find(|kind| kind.common_name() == name)
    }

    /// The common name of such a key.
    pub(crate) const fn common_name(self) -> &'static str {
        match self {
            Self::Vcek => "SEV-VCEK",
            Self::Vlek => "SEV-VLEK",
        }
    }

    /// The common name of the authority that signs such keys.
    pub(crate) fn authority_name(self, product: Product) -> String {
        match self {
            Self::Vcek => format!("SEV-{product}"),
            Self::Vlek => format!("SEV-VLEK-{product}"),
        }
    }

    /// What KEY_INFO of a report that such a key signs says.
    pub const fn signing_key(self) -> SigningKey {
        match self {
            Self::Vcek => SigningKey::Vcek,
            Self::Vlek => SigningKey::Vlek,
        }
    }
}

impl fmt::Display for VekKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.signing_key().fmt(formatter)
    }
}

impl fmt::Display for Endorsement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Ark => "ARK",
            Self::Ask => "ASK",
            Self::Vek => "VEK",
            Self::Crl => "CRL",
        })
    }
}
