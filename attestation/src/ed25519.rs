//! Ed25519 public keys and signatures (RFC 8032), checked by OpenSSL.

use std::{fmt, str::FromStr};

use openssl::pkey::{Id, PKey};
use openssl::sign::Verifier;
use serde::Serialize;

use crate::encoding::{base64, from_base64};

/// An Ed25519 public key. Its text form is padded base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

/// An Ed25519 signature. Its text form is padded base64.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

/// The signature is not one of this key over this message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the Ed25519 signature does not verify")]
pub struct SignatureMismatch;

/// The text is not base64 of the right number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected padded base64 of {bytes} bytes")]
pub struct KeyTextError {
    /// How many bytes the text should stand for.
    pub bytes: usize,
}

impl PublicKey {
    /// Checks `signature` over exactly `message`.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), SignatureMismatch> {
        let valid = PKey::public_key_from_raw_bytes(&self.0, Id::ED25519).and_then(|key| {
            Verifier::new_without_digest(&key)?.verify_oneshot(&signature.0, message)
        });
        match valid {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(SignatureMismatch),
        }
    }
}

impl FromStr for PublicKey {
    type Err = KeyTextError;

    fn from_str(text: &str) -> Result<Self, KeyTextError> {
        from_base64(text).map(Self).ok_or(KeyTextError { bytes: 32 })
    }
}

impl FromStr for Signature {
    type Err = KeyTextError;

    fn from_str(text: &str) -> Result<Self, KeyTextError> {
        from_base64(text).map(Self).ok_or(KeyTextError { bytes: 64 })
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&base64(&self.0))
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&base64(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({self})")
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Signature({self})")
    }
}

impl Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
