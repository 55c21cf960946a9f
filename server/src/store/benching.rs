//! The part of [`crate::benching`] that is private to the store.

use crate::access::Token;
use crate::keys::{AccountKey, CryptoError, TokenIndexKey};
use crate::model::{Id, Revision, Secret, SecretId, SecretName, Tags, Timestamp};
use crate::store::Header;
use crate::store::body::{SecretBody, Versions};
use crate::store::core::AccountKeys;
use crate::store::error::StoreFailure;
use crate::store::record::{self, Address};
use neo_secrets_attestation::evidence::StoreId;

/// Keys of a store and an account that there are not, and one secret.
pub struct Records {
    header: Header,
    account: AccountKeys,
    tokens: TokenIndexKey,
    address: Address<SecretBody>,
    secret: SecretBody,
}

const ID: SecretId = Id::from_bytes([1; 18]);

impl Records {
    /// Draws the keys; the secret has this name.
    ///
    /// # Errors
    /// No random bytes.
    pub fn new(name: SecretName) -> Result<Self, CryptoError> {
        let header = Header { store_id: StoreId([0; 16]) };
        let account = Id::from_bytes([1; 18]);
        let (key, now) = (AccountKey::random()?, Timestamp::from_unix_millis(0));
        let tokens = key.token_index_key(&header.store_id);
        let secret = SecretBody {
            name,
            description: None,
            tags: Tags::default(),
            created_at: now,
            updated_at: now,
            expires_at: None,
            revision: Revision(1),
            versions: Versions::first(now, Id::from_bytes([1; 18]), 32),
            use_only: None,
        };
        let address = Address::secret(account, ID);
        let account = AccountKeys::new(&header, account, key);
        Ok(Self { header, account, tokens, address, secret })
    }

    /// Seals the secret's metadata.
    ///
    /// # Errors
    /// No random bytes.
    pub fn seal(&self) -> Result<Vec<u8>, CryptoError> {
        record::seal(&self.header, &self.account, &self.address, &self.secret)
    }

    /// Opens what [`Records::seal`] has sealed.
    ///
    /// # Errors
    /// Bytes of another kind.
    pub fn open(&self, sealed: Vec<u8>) -> Result<Secret, StoreFailure> {
        let body = record::open(&self.header, &self.account, &self.address, sealed)?;
        Ok(body.into_secret(ID))
    }

    /// What a token is looked up by.
    #[must_use]
    pub fn token_hash(&self, token: &Token) -> [u8; 32] {
        self.tokens.hash(token).0
    }

    /// What a name is looked up by.
    #[must_use]
    pub fn name_hash(&self, name: &SecretName) -> [u8; 32] {
        self.account.hash(name)
    }
}
