//! Digests, HMAC and randomness for `crypto`.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Digest;

/// A hash of the Web Cryptography specification.
#[derive(Clone, Copy)]
pub(crate) enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// The hash that the prelude calls so, once it has made the name upper-case.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "SHA-1" => Self::Sha1,
            "SHA-256" => Self::Sha256,
            "SHA-384" => Self::Sha384,
            "SHA-512" => Self::Sha512,
            _ => return None,
        })
    }

    pub(crate) fn digest(self, data: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => sha1::Sha1::digest(data).to_vec(),
            Self::Sha256 => sha2::Sha256::digest(data).to_vec(),
            Self::Sha384 => sha2::Sha384::digest(data).to_vec(),
            Self::Sha512 => sha2::Sha512::digest(data).to_vec(),
        }
    }

    pub(crate) fn sign(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => mac::<Hmac<sha1::Sha1>>(key, data).finalize().into_bytes().to_vec(),
            Self::Sha256 => mac::<Hmac<sha2::Sha256>>(key, data).finalize().into_bytes().to_vec(),
            Self::Sha384 => mac::<Hmac<sha2::Sha384>>(key, data).finalize().into_bytes().to_vec(),
            Self::Sha512 => mac::<Hmac<sha2::Sha512>>(key, data).finalize().into_bytes().to_vec(),
        }
    }

    /// Whether the signature is the whole one of this data; takes as long for a wrong one.
    pub(crate) fn verify(self, key: &[u8], signature: &[u8], data: &[u8]) -> bool {
        match self {
            Self::Sha1 => mac::<Hmac<sha1::Sha1>>(key, data).verify_slice(signature),
            Self::Sha256 => mac::<Hmac<sha2::Sha256>>(key, data).verify_slice(signature),
            Self::Sha384 => mac::<Hmac<sha2::Sha384>>(key, data).verify_slice(signature),
            Self::Sha512 => mac::<Hmac<sha2::Sha512>>(key, data).verify_slice(signature),
        }
        .is_ok()
    }
}

fn mac<M: Mac + KeyInit>(key: &[u8], data: &[u8]) -> M {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(data);
    mac
}
