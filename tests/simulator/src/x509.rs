//! Certificates and CRLs in the very form of AMD's, as drafts of which a test can change anything.

use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKeyRef, Private};
use openssl::rsa::Padding;
use openssl::sign::{RsaPssSaltlen, Signer};
use time::OffsetDateTime;

use crate::der;

/// What stands where AMD's certificates say "Advanced Micro Devices".
pub const ORGANIZATION: &str = "SIMULATED, not AMD";

/// AMD's name form, DER, with [`ORGANIZATION`] for the organisation.
pub fn name(common_name: &str) -> Vec<u8> {
    let attribute = |oid: &str, value: Vec<u8>| der::set([der::sequence([der::oid(oid), value])]);
    der::sequence([
        attribute("2.5.4.11", der::utf8_string("Engineering")),
        attribute("2.5.4.6", der::printable_string("US")),
        attribute("2.5.4.7", der::utf8_string("Santa Clara")),
        attribute("2.5.4.8", der::utf8_string("CA")),
        attribute("2.5.4.10", der::utf8_string(ORGANIZATION)),
        attribute("2.5.4.3", der::utf8_string(common_name)),
    ])
}

/// An extension of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Dotted decimal.
    pub oid: String,
    /// Whether it is marked critical.
    pub critical: bool,
    /// What the OCTET STRING holds.
    pub value: Vec<u8>,
}

impl Extension {
    /// One that isn't critical.
    pub fn plain(oid: &str, value: Vec<u8>) -> Self {
        Self { oid: oid.to_owned(), critical: false, value }
    }

    /// One that is.
    pub fn critical(oid: &str, value: Vec<u8>) -> Self {
        Self { oid: oid.to_owned(), critical: true, value }
    }

    fn encode(&self) -> Vec<u8> {
        let critical = if self.critical { der::boolean_true() } else { Vec::new() };
        der::sequence([der::oid(&self.oid), critical, der::octet_string(&self.value)])
    }
}

/// A certificate before it is signed.
#[derive(Clone, Debug)]
pub struct CertificateDraft {
    /// Big-endian; AMD's leaves have 0.
    pub serial: Vec<u8>,
    /// DER name.
    pub issuer: Vec<u8>,
    /// DER name.
    pub subject: Vec<u8>,
    /// First moment of validity.
    pub not_before: OffsetDateTime,
    /// Last moment of validity.
    pub not_after: OffsetDateTime,
    /// DER SubjectPublicKeyInfo.
    pub public_key: Vec<u8>,
    /// In this order.
    pub extensions: Vec<Extension>,
    /// Bytes of PSS salt; AMD's have 48.
    pub salt_bytes: u8,
}

impl CertificateDraft {
    /// Puts this value in place of the extension of that OID; adds it where there is none.
    pub fn set_extension(&mut self, oid: &str, value: Vec<u8>) {
        match self.extensions.iter_mut().find(|extension| extension.oid == oid) {
            Some(extension) => extension.value = value,
            None => self.extensions.push(Extension::plain(oid, value)),
        }
    }

    /// Takes out every extension of that OID.
    pub fn remove_extension(&mut self, oid: &str) {
        self.extensions.retain(|extension| extension.oid != oid);
    }

    /// The certificate, DER.
    ///
    /// # Errors
    /// OpenSSL's, where the key is no RSA key or too short for the salt.
    pub fn sign(&self, key: &PKeyRef<Private>) -> Result<Vec<u8>, ErrorStack> {
        let extensions = der::sequence(self.extensions.iter().map(Extension::encode));
        let to_be_signed = der::sequence([
            der::explicit(0, &der::integer(&[2])),
            der::integer(&self.serial),
            pss_algorithm(self.salt_bytes),
            self.issuer.clone(),
            der::sequence([der::time(self.not_before), der::time(self.not_after)]),
            self.subject.clone(),
            self.public_key.clone(),
            der::explicit(3, &extensions),
        ]);
        signed(to_be_signed, key, self.salt_bytes)
    }
}

/// A certificate revocation list before it is signed.
#[derive(Clone, Debug)]
pub struct CrlDraft {
    /// DER name.
    pub issuer: Vec<u8>,
    /// When it was issued.
    pub this_update: OffsetDateTime,
    /// When the next is due.
    pub next_update: OffsetDateTime,
    /// Big-endian serials of what is revoked, at `this_update`.
    pub revoked: Vec<Vec<u8>>,
    /// The issuer's key identifier.
    pub authority_key_id: Vec<u8>,
    /// The list's own number.
    pub number: u8,
}

impl CrlDraft {
    /// The list, DER.
    ///
    /// # Errors
    /// OpenSSL's, where the key is no RSA key.
    pub fn sign(&self, key: &PKeyRef<Private>) -> Result<Vec<u8>, ErrorStack> {
        let revoked = self
            .revoked
            .iter()
            .map(|serial| der::sequence([der::integer(serial), der::time(self.this_update)]));
        let revoked = if self.revoked.is_empty() { Vec::new() } else { der::sequence(revoked) };
        let extensions = der::sequence([
            authority_key_id(&self.authority_key_id).encode(),
            Extension::plain("2.5.29.20", der::integer(&[self.number])).encode(),
        ]);
        let to_be_signed = der::sequence([
            der::integer(&[1]),
            pss_algorithm(SALT_BYTES),
            self.issuer.clone(),
            der::time(self.this_update),
            der::time(self.next_update),
            revoked,
            der::explicit(0, &extensions),
        ]);
        signed(to_be_signed, key, SALT_BYTES)
    }
}

/// Bytes of salt in AMD's PSS signatures.
pub const SALT_BYTES: u8 = 48;

/// The authority key identifier.
pub fn authority_key_id(id: &[u8]) -> Extension {
    Extension::plain("2.5.29.35", der::sequence([der::value(0x80, id)]))
}

/// RSASSA-PSS with SHA-384 and MGF1 of SHA-384 (RFC 4055).
fn pss_algorithm(salt_bytes: u8) -> Vec<u8> {
    let sha384 = der::sequence([der::oid("2.16.840.1.101.3.4.2.2"), der::null()]);
    let mgf1 = der::sequence([der::oid("1.2.840.113549.1.1.8"), sha384.clone()]);
    let parameters = der::sequence([
        der::explicit(0, &sha384),
        der::explicit(1, &mgf1),
        der::explicit(2, &der::integer(&[salt_bytes])),
    ]);
    der::sequence([der::oid("1.2.840.113549.1.1.10"), parameters])
}

fn signed(
    to_be_signed: Vec<u8>,
    key: &PKeyRef<Private>,
    salt_bytes: u8,
) -> Result<Vec<u8>, ErrorStack> {
    let mut signer = Signer::new(MessageDigest::sha384(), key)?;
    signer.set_rsa_padding(Padding::PKCS1_PSS)?;
    signer.set_rsa_mgf1_md(MessageDigest::sha384())?;
    signer.set_rsa_pss_saltlen(RsaPssSaltlen::custom(salt_bytes.into()))?;
    signer.update(&to_be_signed)?;
    let signature = der::bit_string(&signer.sign_to_vec()?);
    Ok(der::sequence([to_be_signed, pss_algorithm(salt_bytes), signature]))
}
