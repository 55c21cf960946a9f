//! What stands in an account's records: its key, its name, how much is in it, and that it is
//! deleted.

use super::Body;
use crate::model::{IdSequence, Label, Quotas, Resource, Timestamp};
use crate::secret::KeyBytes;
use crate::store::StoreLimits;
use crate::store::error::StoreFailure;
use minicbor::{Decode, Encode};

#[derive(Encode, Decode)]
#[cbor(map)]
pub(in crate::store) struct AccountKeyBody {
    #[n(0)]
    pub(in crate::store) key: KeyBytes,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(in crate::store) struct AccountBody {
    #[n(0)]
    pub(in crate::store) name: Label,
    #[n(1)]
    pub(in crate::store) created_at: Timestamp,
}

/// An account that is deleted, and whose records are still being removed.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(in crate::store) struct DeletionBody {
    #[n(0)]
    pub(in crate::store) deleted_at: Timestamp,
}

#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(in crate::store) struct StateBody {
    #[n(0)]
    pub(in crate::store) last_id: IdSequence,
    #[n(1)]
    pub(in crate::store) secrets: u64,
    #[n(2)]
    pub(in crate::store) keys: u64,
    #[n(3)]
    pub(in crate::store) lasting_admins: u64,
    /// Of all versions that are kept.
    #[n(4)]
    pub(in crate::store) value_bytes: u64,
    #[n(5)]
    pub(in crate::store) quotas: Quotas,
    /// How many accounts there are; in the system's state only.
    #[n(6)]
    pub(in crate::store) accounts: u64,
    /// How many names stand in records with others. Absent: none yet.
    #[n(7)]
    pub(in crate::store) names: Option<u64>,
}

/// Before values and accounts were counted.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(in crate::store) struct StateBodyV1 {
    #[n(0)]
    pub(in crate::store) last_id: IdSequence,
    #[n(1)]
    pub(in crate::store) secrets: u64,
    #[n(2)]
    pub(in crate::store) keys: u64,
    #[n(3)]
    pub(in crate::store) lasting_admins: u64,
}

impl StateBody {
    /// Before an account's first key and secret.
    pub(in crate::store) fn new(quotas: Quotas) -> Self {
        let (last_id, value_bytes, accounts) = (IdSequence::START, 0, 0);
        let (secrets, keys, lasting_admins, names) = (0, 0, 0, None);
        Self { last_id, secrets, keys, lasting_admins, value_bytes, quotas, accounts, names }
    }

    /// How much the account may have of something.
    pub(in crate::store) fn quota(&self, resource: Resource, limits: &StoreLimits) -> u64 {
        self.quotas.of(resource).unwrap_or_else(|| *limits.per_account.of(resource))
    }

    /// Counts what the account gets more of, and less. A quota only stops growth: who is above it
    /// may still change what there is.
    pub(in crate::store) fn count(
        &mut self,
        resource: Resource,
        (more, less): (u64, u64),
        limits: &StoreLimits,
    ) -> Result<(), StoreFailure> {
        let limit = self.quota(resource, limits);
        let used = match resource {
            Resource::Secrets => &mut self.secrets,
            Resource::ValueBytes => &mut self.value_bytes,
            Resource::ApiKeys => &mut self.keys,
            // The log counts its own, where it is written; so do functions.
            Resource::AuditEvents | Resource::Functions => return Ok(()),
        };
        let after = used.saturating_add(more).checked_sub(less);
        let after = after.ok_or(StoreFailure::Damaged { kind: Self::KIND.name() })?;
        if after > *used && after > limit {
            return Err(StoreFailure::QuotaExceeded { resource, limit });
        }
        *used = after;
        Ok(())
    }
}
