//! Sealing: from this boot's report and the firmware's derived key to the store's root key.

use crate::secret::KeyBytes;
use neo_secrets_attestation::firmware::{self, FirmwareError};
use neo_secrets_attestation::product::Product;
use neo_secrets_attestation::report::Report;

/// What this boot's report says about this machine, checked to be fit to seal to.
pub struct BootIdentity {}

/// A MSG_KEY_REQ of 32 bytes.
pub struct KeyRequest([u8; 32]);

/// The key that the firmware derived for one [`KeyRequest`].
pub struct DerivedKey(KeyBytes);

/// An identity with the key derived for its [`BootIdentity::seal_request`]: seals a new store.
pub struct Sealer {}

/// Why a machine with this report can't seal a store.
#[derive(Debug, thiserror::Error)]
pub enum SealError {}

impl BootIdentity {
    /// Takes this boot's report; `product` is what the chip's certificates name.
    ///
    /// # Errors
    /// What makes it unfit.
    pub fn from_report(_report: &Report, _product: Product) -> Result<Self, SealError> {
        todo!()
    }

    /// The request for the key that a new store is sealed with: at min(committed, launch) TCB.
    #[must_use]
    pub fn seal_request(&self) -> KeyRequest {
        todo!()
    }

    /// A sealer from the answer to [`Self::seal_request`].
    #[must_use]
    pub fn sealer(self, _key: DerivedKey) -> Sealer {
        todo!()
    }
}

impl KeyRequest {
    /// The message.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl DerivedKey {
    /// Takes the key from a raw MSG_KEY_RSP of 64 bytes; the caller wipes the answer.
    ///
    /// # Errors
    /// What the answer says instead of a key.
    pub fn from_response(answer: &[u8]) -> Result<Self, FirmwareError> {
        let key = firmware::key_response(answer)?;
        KeyBytes::filled(|bytes| {
            bytes.copy_from_slice(key);
            Ok(())
        })
        .map(Self)
    }
}
