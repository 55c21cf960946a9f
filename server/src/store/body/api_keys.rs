//! What stands in the records of API keys and of their tokens.

use crate::access::{Globs, Permissions, Scope};
use crate::keys::TokenHash;
use crate::model::{AccountId, ApiKey, KeyId, Label, Timestamp};
use minicbor::{Decode, Encode};

#[derive(Encode, Decode)]
#[cbor(map)]
pub(in crate::store) struct TokenBody {
    #[n(0)]
    pub(in crate::store) account: AccountId,
    #[n(1)]
    pub(in crate::store) key: KeyId,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(in crate::store) struct KeyBody {
    #[n(0)]
    pub(in crate::store) name: Label,
    /// Absent for the owner's bearer key and the decoy, which stand in the system's account.
    #[n(1)]
    pub(in crate::store) permissions: Option<Permissions>,
    #[n(2)]
    pub(in crate::store) globs: Option<Globs>,
    #[n(3)]
    pub(in crate::store) expires_at: Option<Timestamp>,
    #[n(4)]
    pub(in crate::store) created_at: Timestamp,
    #[n(5)]
    pub(in crate::store) token: TokenHash,
    #[n(6)]
    pub(in crate::store) previous: Option<PreviousToken>,
}

/// The token before the last rotation.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(in crate::store) struct PreviousToken {
    #[n(0)]
    pub(in crate::store) token: TokenHash,
    #[n(1)]
    pub(in crate::store) works_until: Timestamp,
}

impl KeyBody {
    /// The key that this is the record of; `None` for the owner's and the decoy.
    pub(in crate::store) fn to_api_key(&self, id: KeyId) -> Option<ApiKey> {
        Some(ApiKey {
            id,
            name: self.name.clone(),
            permissions: self.permissions?,
            scope: self.scope(),
            expires_at: self.expires_at,
            created_at: self.created_at,
            old_key_until: self.previous.as_ref().map(|previous| previous.works_until),
        })
    }

    pub(in crate::store) fn scope(&self) -> Scope {
        self.globs.clone().map_or(Scope::All, Scope::Names)
    }
}
