//! X.509 certificates and CRLs as AMD makes them: read strictly, and nothing in them believed.
//! OpenSSL does the arithmetic of signatures; what is signed, by which algorithm and with which key
//! is read here, once.

use std::fmt;

use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Public};
use openssl::rsa::{Padding, Rsa};
use openssl::sign::{RsaPssSaltlen, Verifier};
use thiserror::Error;

use crate::der::{Der, DerError, INTEGER, OBJECT_ID, OCTET_STRING, SEQUENCE, SET, context, dotted};
use crate::limits::{
    CERTIFICATE_BYTES_MAX, COMMON_NAME_BYTES_MAX, CRL_BYTES_MAX, EXTENSIONS_MAX,
    NAME_ATTRIBUTES_MAX,
};
use crate::time::UnixTime;

/// Why bytes are not a certificate, or not a CRL, of the kind that AMD makes.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CertificateError {
    /// More bytes than [`crate::limits`] allows.
    #[error("{got} bytes are too many")]
    TooLong {
        /// Bytes given.
        got: usize,
    },
    /// Not the DER of one certificate or CRL.
    #[error("malformed: {0}")]
    Der(#[from] DerError),
    /// Not an X.509 version 3 certificate, or not a version 1 or 2 CRL.
    #[error("not of the X.509 version expected")]
    Version,
    /// Not RSA-PSS with SHA-384, MGF1 with SHA-384, and a salt of 48 bytes.
    #[error("not signed with RSA-PSS, SHA-384, salt 48")]
    SignatureAlgorithm,
    /// A name with other than one common name.
    #[error("a name has {got} common names instead of one")]
    CommonNames {
        /// How many it has.
        got: usize,
    },
    /// A common name with more bytes than [`crate::limits`] allows.
    #[error("a common name has {got} bytes; the limit is {COMMON_NAME_BYTES_MAX}")]
    CommonNameTooLong {
        /// Its bytes.
        got: usize,
    },
    /// A name with more attributes than [`crate::limits`] allows.
    #[error("a name has too many attributes")]
    TooManyAttributes,
    /// More extensions than [`crate::limits`] allows.
    #[error("too many extensions")]
    TooManyExtensions,
    /// An extension that stands there twice.
    #[error("extension {oid} is repeated")]
    ExtensionRepeated {
        /// Its object identifier.
        oid: String,
    },
    /// A critical extension that this package does not know.
    #[error("extension {oid} is critical and unknown")]
    ExtensionCritical {
        /// Its object identifier.
        oid: String,
    },
}

/// A certificate, taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Certificate<'a> {
    signed: Signed<'a>,
    /// Big-endian, without leading zeros.
    pub serial: &'a [u8],
    pub issuer: Name<'a>,
    pub not_before: UnixTime,
    pub not_after: UnixTime,
    pub subject: Name<'a>,
    pub key: PublicKey<'a>,
    pub extensions: Vec<Extension<'a>>,
}

/// A certificate revocation list, taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Crl<'a> {
    signed: Signed<'a>,
    pub issuer: Name<'a>,
    pub this_update: UnixTime,
    pub next_update: UnixTime,
    revoked: Der<'a>,
}

/// Bytes and the signature over them.
#[derive(Clone, Copy, Debug)]
struct Signed<'a> {
    bytes: &'a [u8],
    signature: &'a [u8],
}

/// The one part of a name that identifies anything here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name<'a> {
    pub common_name: &'a str,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Extension<'a> {
    pub oid: &'a [u8],
    pub value: &'a [u8],
}

/// A public key, not yet checked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PublicKey<'a> {
    Rsa { modulus: &'a [u8], exponent: &'a [u8] },
    P384 { point: &'a [u8] },
    Other,
}

/// What a key is, for error messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA with a modulus of so many bits and the exponent 65537.
    Rsa {
        /// Bits of the modulus.
        bits: usize,
    },
    /// RSA with another exponent.
    RsaExponent,
    /// A point on P-384.
    P384,
    /// None of these.
    Other,
}

/// A key that signs certificates: RSA-4096.
pub(crate) struct AuthorityKey(PKey<Public>);

// AlgorithmIdentifiers, whole. AMD writes the trailer field in older certificates and leaves it out
// in newer ones.
const PSS_SHA384_SALT48: &[u8] = b"\x30\x41\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x01\x0A\x30\x34\
    \xA0\x0F\x30\x0D\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\
    \xA1\x1C\x30\x1A\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x01\x08\
    \x30\x0D\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\xA2\x03\x02\x01\x30";
const PSS_SHA384_SALT48_TRAILER: &[u8] =
    b"\x30\x46\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x01\x0A\x30\x39\
    \xA0\x0F\x30\x0D\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\
    \xA1\x1C\x30\x1A\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x01\x08\
    \x30\x0D\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\xA2\x03\x02\x01\x30\
    \xA3\x03\x02\x01\x01";
const RSA_ENCRYPTION: &[u8] = b"\x30\x0D\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x01\x01\x05\x00";
const EC_P384: &[u8] = b"\x30\x10\x06\x07\x2A\x86\x48\xCE\x3D\x02\x01\x06\x05\x2B\x81\x04\x00\x22";

// Object identifiers.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const KEY_USAGE: &[u8] = &[0x55, 29, 15];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 29, 19];
const ISSUING_DISTRIBUTION_POINT: &[u8] = &[0x55, 29, 28];

impl<'a> Certificate<'a> {
    /// Takes the DER of one certificate apart: no byte may be left over.
    pub fn parse(der: &'a [u8]) -> Result<Self, CertificateError> {
        if der.len() > CERTIFICATE_BYTES_MAX {
            return Err(CertificateError::TooLong { got: der.len() });
        }
        let (signed, mut fields) = Signed::parse(der)?;
        let mut version = fields.inside_optional(context(0))?.ok_or(CertificateError::Version)?;
        version_is(&mut version, 2)?;
        version.finish()?;
        let serial = fields.magnitude()?;
        signature_algorithm(&mut fields)?;
        let issuer = Name::parse(&mut fields)?;
        let mut validity = fields.inside(SEQUENCE)?;
        let (not_before, not_after) = (validity.time()?, validity.time()?);
        validity.finish()?;
        let subject = Name::parse(&mut fields)?;
        let key = PublicKey::parse(&mut fields)?;
        let extensions = certificate_extensions(&mut fields)?;
        fields.finish()?;
        Ok(Self { signed, serial, issuer, not_before, not_after, subject, key, extensions })
    }

    /// Whether `key` signed this certificate.
    pub fn is_signed_by(&self, key: &AuthorityKey) -> bool {
        key.verifies(&self.signed)
    }
}

impl<'a> Crl<'a> {
    /// Takes the DER of one CRL apart: no byte may be left over.
    pub fn parse(der: &'a [u8]) -> Result<Self, CertificateError> {
        if der.len() > CRL_BYTES_MAX {
            return Err(CertificateError::TooLong { got: der.len() });
        }
        let (signed, mut fields) = Signed::parse(der)?;
        if fields.next_is(INTEGER) {
            version_is(&mut fields, 1)?;
        }
        signature_algorithm(&mut fields)?;
        let issuer = Name::parse(&mut fields)?;
        let (this_update, next_update) = (fields.time()?, fields.time()?);
        let revoked = fields.inside_optional(SEQUENCE)?.unwrap_or(Der::new(&[]));
        extensions(&mut fields, 0, |extension| {
            extension.oid == ISSUING_DISTRIBUTION_POINT && covers_authorities(extension.value)
        })?;
        fields.finish()?;
        let crl = Self { signed, issuer, this_update, next_update, revoked };
        crl.lists(&[])?; // reads every entry once, so that none can be malformed later
        Ok(crl)
    }

    /// Whether `key` signed this CRL.
    pub fn is_signed_by(&self, key: &AuthorityKey) -> bool {
        key.verifies(&self.signed)
    }

    /// Whether the certificate with this serial number is revoked. What an entry says beside its
    /// number, a reason or a date, does not take it back.
    pub fn lists(&self, serial: &[u8]) -> Result<bool, CertificateError> {
        let mut entries = self.revoked.clone();
        let mut listed = false;
        while !entries.is_empty() {
            let mut entry = entries.inside(SEQUENCE)?;
            listed |= entry.magnitude()? == serial;
            entry.time()?;
            if !entry.is_empty() {
                entry.expect(SEQUENCE)?;
            }
            entry.finish()?;
        }
        Ok(listed)
    }
}

impl<'a> Signed<'a> {
    /// The outer shape that certificates and CRLs share, and a reader of the signed fields.
    fn parse(der: &'a [u8]) -> Result<(Self, Der<'a>), CertificateError> {
        let mut outer = Der::new(der);
        let mut parts = outer.inside(SEQUENCE)?;
        outer.finish()?;
        let body = parts.expect(SEQUENCE)?;
        signature_algorithm(&mut parts)?;
        let signature = parts.bit_string()?;
        parts.finish()?;
        Ok((Self { bytes: body.whole, signature }, Der::new(body.contents)))
    }
}

fn version_is(der: &mut Der<'_>, expected: u8) -> Result<(), CertificateError> {
    if der.small_integer()? != expected {
        return Err(CertificateError::Version);
    }
    Ok(())
}

/// The only algorithm there is here; both places that name it must name it.
fn signature_algorithm(der: &mut Der<'_>) -> Result<(), CertificateError> {
    let algorithm = der.expect(SEQUENCE)?.whole;
    if [PSS_SHA384_SALT48, PSS_SHA384_SALT48_TRAILER].contains(&algorithm) {
        Ok(())
    } else {
        Err(CertificateError::SignatureAlgorithm)
    }
}

/// A certificate's extensions.
pub(crate) fn certificate_extensions<'a>(
    fields: &mut Der<'a>,
) -> Result<Vec<Extension<'a>>, CertificateError> {
    extensions(fields, 3, |extension| [KEY_USAGE, BASIC_CONSTRAINTS].contains(&extension.oid))
}

/// Extensions in the context-specific element `tag`: bounded, none twice, no critical one but those
/// `known`.
fn extensions<'a>(
    fields: &mut Der<'a>,
    tag: u8,
    known: impl Fn(&Extension<'a>) -> bool,
) -> Result<Vec<Extension<'a>>, CertificateError> {
    let mut found: Vec<Extension<'a>> = Vec::new();
    let Some(mut wrapper) = fields.inside_optional(context(tag))? else { return Ok(found) };
    let mut list = wrapper.inside(SEQUENCE)?;
    wrapper.finish()?;
    while !list.is_empty() {
        if found.len() == EXTENSIONS_MAX {
            return Err(CertificateError::TooManyExtensions);
        }
        let mut fields = list.inside(SEQUENCE)?;
        let oid = fields.contents(OBJECT_ID)?;
        let critical = fields.default_false()?;
        let extension = Extension { oid, value: fields.contents(OCTET_STRING)? };
        fields.finish()?;
        if found.iter().any(|earlier| earlier.oid == oid) {
            return Err(CertificateError::ExtensionRepeated { oid: dotted(oid) });
        }
        if critical && !known(&extension) {
            return Err(CertificateError::ExtensionCritical { oid: dotted(oid) });
        }
        found.push(extension);
    }
    Ok(found)
}

/// Whether an issuingDistributionPoint leaves the CRL one of all authorities and all reasons: it
/// may say where the CRL is published ([0]) and that it is about authorities ([2]), nothing else.
fn covers_authorities(value: &[u8]) -> bool {
    let mut outer = Der::new(value);
    let Ok(mut fields) = outer.inside(SEQUENCE) else { return false };
    while let Ok(field) = fields.element() {
        if ![context(0), 0x82].contains(&field.tag) {
            return false;
        }
    }
    fields.is_empty() && outer.is_empty()
}

impl<'a> Name<'a> {
    fn parse(der: &mut Der<'a>) -> Result<Self, CertificateError> {
        let mut parts = der.inside(SEQUENCE)?;
        let (mut attributes, mut common_names, mut common_name) = (0, 0, "");
        while !parts.is_empty() {
            let mut part = parts.inside(SET)?;
            while !part.is_empty() {
                attributes += 1;
                if attributes > NAME_ATTRIBUTES_MAX {
                    return Err(CertificateError::TooManyAttributes);
                }
                let mut attribute = part.inside(SEQUENCE)?;
                if attribute.contents(OBJECT_ID)? == COMMON_NAME {
                    common_names += 1;
                    common_name = attribute.text()?;
                } else {
                    attribute.element()?;
                }
                attribute.finish()?;
            }
        }
        match common_names {
            1 if common_name.len() > COMMON_NAME_BYTES_MAX => {
                Err(CertificateError::CommonNameTooLong { got: common_name.len() })
            }
            1 => Ok(Self { common_name }),
            got => Err(CertificateError::CommonNames { got }),
        }
    }
}

impl<'a> PublicKey<'a> {
    /// A SubjectPublicKeyInfo.
    fn parse(der: &mut Der<'a>) -> Result<Self, CertificateError> {
        let mut info = der.inside(SEQUENCE)?;
        let algorithm = info.expect(SEQUENCE)?.whole;
        let key = info.bit_string()?;
        info.finish()?;
        Ok(match (algorithm, key) {
            (RSA_ENCRYPTION, _) => {
                let mut outer = Der::new(key);
                let mut numbers = outer.inside(SEQUENCE)?;
                outer.finish()?;
                let (modulus, exponent) = (numbers.magnitude()?, numbers.magnitude()?);
                numbers.finish()?;
                Self::Rsa { modulus, exponent }
            }
            (EC_P384, [4, ..]) if key.len() == 97 => Self::P384 { point: key },
            _ => Self::Other,
        })
    }

    pub fn kind(&self) -> KeyKind {
        match self {
            Self::Rsa { exponent: [1, 0, 1], modulus } => {
                let unused = modulus.first().map_or(0, |byte| byte.leading_zeros());
                let bits = u32::try_from(modulus.len() * 8).unwrap_or(u32::MAX) - unused;
                KeyKind::Rsa { bits: usize::try_from(bits).unwrap_or(usize::MAX) }
            }
            Self::Rsa { .. } => KeyKind::RsaExponent,
            Self::P384 { .. } => KeyKind::P384,
            Self::Other => KeyKind::Other,
        }
    }

    /// The key of an authority, if it is RSA-4096 with the exponent 65537.
    pub fn authority(&self) -> Option<AuthorityKey> {
        let Self::Rsa { modulus, exponent } = self else { return None };
        if self.kind() != (KeyKind::Rsa { bits: 4096 }) {
            return None;
        }
        let key = || -> Result<_, ErrorStack> {
            let (n, e) = (BigNum::from_slice(modulus)?, BigNum::from_slice(exponent)?);
            PKey::from_rsa(Rsa::from_public_components(n, e)?)
        };
        key().ok().map(AuthorityKey)
    }

    /// The key of a VEK, if it is a point on P-384.
    pub fn report_signer(&self) -> Option<EcKey<Public>> {
        let Self::P384 { point } = self else { return None };
        let key = || -> Result<_, ErrorStack> {
            let group = EcGroup::from_curve_name(Nid::SECP384R1)?;
            let mut context = openssl::bn::BigNumContext::new()?;
            // Refuses a point off the curve. The curve's cofactor is 1, so that every other point
            // will do.
            let point = EcPoint::from_bytes(&group, point, &mut context)?;
            EcKey::from_public_key(&group, &point)
        };
        key().ok()
    }
}

impl AuthorityKey {
    /// RSA-PSS, SHA-384, MGF1 with SHA-384, a salt of 48 bytes. A failure of OpenSSL's counts as a
    /// bad signature.
    fn verifies(&self, signed: &Signed<'_>) -> bool {
        let verified = || -> Result<bool, ErrorStack> {
            let mut verifier = Verifier::new(MessageDigest::sha384(), &self.0)?;
            verifier.set_rsa_padding(Padding::PKCS1_PSS)?;
            verifier.set_rsa_mgf1_md(MessageDigest::sha384())?;
            verifier.set_rsa_pss_saltlen(RsaPssSaltlen::custom(48))?;
            verifier.verify_oneshot(signed.signature, signed.bytes)
        };
        verified().unwrap_or(false)
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa { bits } => write!(formatter, "RSA-{bits}"),
            Self::RsaExponent => formatter.write_str("RSA with an exponent other than 65537"),
            Self::P384 => formatter.write_str("P-384"),
            Self::Other => formatter.write_str("another kind of key"),
        }
    }
}
