//! What stands in the records of secrets: metadata with the kept versions, values, and names.

use super::values::{cbor_as, refused};
use crate::limits::VERSIONS_KEPT_MAX;
use crate::model::{
    Description, KeyId, Revision, Secret, SecretId, SecretName, SecretValue, Tags, Timestamp,
    UseOnly, Version, VersionInfo,
};
use crate::store::names::NameList;
use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};
use minicbor::{Decode, Encode};

#[derive(Encode, Decode)]
#[cbor(map)]
pub(in crate::store) struct SecretBody {
    #[n(0)]
    pub(in crate::store) name: SecretName,
    #[n(1)]
    pub(in crate::store) description: Option<Description>,
    #[n(2)]
    pub(in crate::store) tags: Tags,
    #[n(3)]
    pub(in crate::store) created_at: Timestamp,
    #[n(4)]
    pub(in crate::store) updated_at: Timestamp,
    #[n(5)]
    pub(in crate::store) expires_at: Option<Timestamp>,
    #[n(6)]
    pub(in crate::store) revision: Revision,
    #[n(7)]
    pub(in crate::store) versions: Versions,
    #[n(8)]
    pub(in crate::store) use_only: Option<UseOnly>,
}

/// A version that is kept.
#[derive(Clone, Copy, Encode, Decode)]
#[cbor(map)]
pub(in crate::store) struct VersionBody {
    #[n(0)]
    pub(in crate::store) version: Version,
    #[n(1)]
    pub(in crate::store) created_at: Timestamp,
    #[n(2)]
    pub(in crate::store) created_by: KeyId,
    /// Of its value; absent where it was written before values were counted.
    #[n(3)]
    pub(in crate::store) bytes: Option<u64>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(in crate::store) struct ValueBody {
    #[n(0)]
    pub(in crate::store) value: SecretValue,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(in crate::store) struct NameBody {
    #[n(0)]
    pub(in crate::store) name: SecretName,
    #[n(1)]
    pub(in crate::store) secret: SecretId,
}

/// The names of some of an account's secrets, in the order in which they were given.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(in crate::store) struct NamesBody {
    #[n(0)]
    pub(in crate::store) names: NameList,
}

/// Kept versions, oldest first: at least one, each the one before plus one.
#[derive(Clone)]
pub(in crate::store) struct Versions(Vec<VersionBody>);

impl Versions {
    pub(in crate::store) fn first(at: Timestamp, by: KeyId, bytes: u64) -> Self {
        let (version, bytes) = (Version(1), Some(bytes));
        Self(vec![VersionBody { version, created_at: at, created_by: by, bytes }])
    }

    pub(in crate::store) fn oldest(&self) -> VersionBody {
        *self.0.first().expect("there is always one")
    }

    pub(in crate::store) fn newest(&self) -> VersionBody {
        *self.0.last().expect("there is always one")
    }

    pub(in crate::store) fn has(&self, version: Version) -> bool {
        self.0.iter().any(|kept| kept.version == version)
    }

    pub(in crate::store) fn all(&self) -> &[VersionBody] {
        &self.0
    }

    /// Adds the next version; gives back those beyond the newest `keep`, which are kept no longer.
    pub(in crate::store) fn push(
        &mut self,
        at: Timestamp,
        by: KeyId,
        bytes: u64,
        keep: usize,
    ) -> Vec<VersionBody> {
        let version = Version(self.newest().version.0.saturating_add(1));
        self.0.push(VersionBody { version, created_at: at, created_by: by, bytes: Some(bytes) });
        let surplus = self.0.len().saturating_sub(keep.clamp(1, VERSIONS_KEPT_MAX));
        self.0.drain(..surplus).collect()
    }
}

impl SecretBody {
    /// The secret that this is the record of.
    pub(in crate::store) fn into_secret(self, id: SecretId) -> Secret {
        let Self {
            name,
            description,
            tags,
            created_at,
            updated_at,
            expires_at,
            revision,
            versions,
            use_only,
        } = self;
        Secret {
            id,
            name,
            description,
            tags,
            created_at,
            updated_at,
            expires_at,
            version: versions.newest().version,
            revision,
            versions: versions.0.into_iter().map(VersionInfo::from).collect(),
            use_only,
        }
    }
}

cbor_as! {
    Versions: |own| encode(&own.0), |decoder| {
        // Of indefinite length they were never written.
        let count = decoder.array()?.ok_or_else(|| refused(()))?;
        let count = usize::try_from(count).map_err(refused)?;
        let mut versions = Vec::with_capacity(count.min(VERSIONS_KEPT_MAX));
        for _ in 0..count {
            versions.push(decoder.decode::<VersionBody>()?);
        }
        let in_order = versions.is_sorted_by(|one, next| one.version < next.version);
        Some(versions).filter(|all| !all.is_empty() && in_order).map(Self).ok_or_else(|| refused(()))
    };
}

impl From<VersionBody> for VersionInfo {
    fn from(body: VersionBody) -> Self {
        let VersionBody { version, created_at, created_by, bytes: _ } = body;
        Self { version, created_at, created_by }
    }
}
