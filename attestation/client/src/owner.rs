//! The owner's Ed25519 key pair in a PEM file: it claims an instance, and later signs what only an
//! owner may do.

use std::path::{Path, PathBuf};

use neo_secrets_attestation::binding::{
    Exporter, claim_message, clock_message, configuration_message,
};
use neo_secrets_attestation::ed25519::{PublicKey, Signature};
use neo_secrets_attestation::evidence::{ConfigText, StoreId};
use neo_secrets_attestation::time::UnixTime;
use openssl::pkey::{Id, PKey, Private};
use openssl::sign::Signer;
use zeroize::Zeroizing;

use crate::files::{self, FileError};
use crate::limits;

/// The owner's key pair. OpenSSL wipes the private half when it is dropped.
pub struct OwnerKey {
    pair: PKey<Private>,
    public: PublicKey,
}

/// Why there is no owner's key pair.
#[derive(Debug, thiserror::Error)]
pub enum OwnerKeyError {
    /// The file could not be read or created.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file holds no PEM private key, or one with a passphrase.
    #[error(
        "{} holds no private key that can be read: expected an Ed25519 PEM file (BEGIN PRIVATE \
         KEY) without a passphrase, as `openssl genpkey -algorithm ed25519` writes it",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
    },
    /// The key is of another kind.
    #[error("{} holds a private key of another kind: expected Ed25519", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
    },
    /// OpenSSL could not make, encode or use a key.
    #[error("OpenSSL failed: {0}")]
    OpenSsl(#[from] openssl::error::ErrorStack),
}

impl OwnerKey {
    /// Reads the key pair from `path`.
    pub fn read(path: &Path) -> Result<Self, OwnerKeyError> {
        let pem = files::read_bounded(path, limits::OWNER_FILE_BYTES_MAX)?;
        // An empty answer to the question for a passphrase keeps OpenSSL from asking the terminal.
        let pair = PKey::private_key_from_pem_callback(&pem, |_| Ok(0))
            .map_err(|_| OwnerKeyError::Unreadable { path: path.to_owned() })?;
        if pair.id() != Id::ED25519 {
            return Err(OwnerKeyError::Kind { path: path.to_owned() });
        }
        Self::new(pair)
    }

    /// Makes a key pair and writes it to `path` with mode 0600; an existing file is never
    /// overwritten.
    pub fn create(path: &Path) -> Result<Self, OwnerKeyError> {
        let pair = PKey::generate_ed25519()?;
        let pem = Zeroizing::new(pair.private_key_to_pem_pkcs8()?);
        files::create(path, &pem)?;
        Self::new(pair)
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// The signature that claims an instance over the connection with this exporter.
    pub fn sign_claim(&self, exporter: &Exporter) -> Result<Signature, OwnerKeyError> {
        self.sign(&claim_message(exporter))
    }

    /// The signature that accepts a configuration for a store, as the owner's `number`th act.
    pub fn sign_configuration(
        &self,
        store: &StoreId,
        number: u64,
        config: &ConfigText,
    ) -> Result<Signature, OwnerKeyError> {
        self.sign(&configuration_message(store, number, config))
    }

    /// The signature that sets a store's time, as the owner's `number`th act.
    pub fn sign_clock(
        &self,
        store: &StoreId,
        number: u64,
        time: UnixTime,
    ) -> Result<Signature, OwnerKeyError> {
        self.sign(&clock_message(store, number, time))
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, OwnerKeyError> {
        let mut signature = [0; 64];
        let mut signer = Signer::new_without_digest(&self.pair)?;
        signer.sign_oneshot(&mut signature, message)?;
        Ok(Signature(signature))
    }

    fn new(pair: PKey<Private>) -> Result<Self, OwnerKeyError> {
        let raw = pair.raw_public_key()?;
        let public = raw.try_into().expect("an Ed25519 public key has 32 bytes");
        Ok(Self { pair, public: PublicKey(public) })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use openssl::symm::Cipher;

    use super::*;
    use crate::files::tests::Folder;

    #[test]
    fn a_created_key_pair_reads_back_and_signs_claims() {
        let folder = Folder::new();
        let path = folder.join("owner.pem");
        let made = OwnerKey::create(&path).unwrap();
        let read = OwnerKey::read(&path).unwrap();
        assert_eq!(made.public(), read.public());
        assert_eq!(files::mode_open_to_others(&path), None);
        let (one, other) = (Exporter([1; 32]), Exporter([2; 32]));
        let signature = read.sign_claim(&one).unwrap();
        assert_eq!(made.public().verify(&claim_message(&one), &signature), Ok(()));
        assert!(made.public().verify(&claim_message(&other), &signature).is_err());
    }

    #[test]
    fn a_key_pair_is_never_overwritten() {
        let folder = Folder::new();
        let path = folder.join("owner.pem");
        let first = OwnerKey::create(&path).unwrap();
        let second = OwnerKey::create(&path).err().unwrap();
        assert!(matches!(second, OwnerKeyError::File(FileError::Exists { .. })));
        assert_eq!(OwnerKey::read(&path).unwrap().public(), first.public());
    }

    #[test]
    fn other_files_are_refused() {
        let folder = Folder::new();
        let path = folder.join("owner.pem");
        let refused = |pem: &[u8]| {
            fs::write(&path, pem).unwrap();
            OwnerKey::read(&path).err().unwrap()
        };
        let key = PKey::generate_ed25519().unwrap();
        let locked = key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"x").unwrap();
        assert!(matches!(refused(&locked), OwnerKeyError::Unreadable { .. }));
        assert!(matches!(refused(b""), OwnerKeyError::Unreadable { .. }));
        let public = key.public_key_to_pem().unwrap();
        assert!(matches!(refused(&public), OwnerKeyError::Unreadable { .. }));
        let other = PKey::generate_x25519().unwrap().private_key_to_pem_pkcs8().unwrap();
        assert!(matches!(refused(&other), OwnerKeyError::Kind { .. }));
    }
}
