//! What stands in a sealed record (STORE.md §6). Every field is parsed by the parser that admitted
//! it.

use crate::access::{Globs, Permissions, Scope};
use crate::audit::{Event, PeerAddress, RequestId};
use crate::keys::TokenHash;
use crate::limits::VERSIONS_KEPT_MAX;
use crate::model::{
    AccountId, ApiKey, Description, Id, IdKind, IdSequence, KeyId, Label, Revision, Secret,
    SecretId, SecretName, SecretValue, Tags, Timestamp, Version, VersionInfo,
};
use crate::secret::{KeyBytes, SecretBytes};
use crate::store::record::Kind;
use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};
use minicbor::{Decode, Encode};
use neo_secrets_attestation::ed25519::PublicKey;
use std::net::IpAddr;

/// A record's content.
pub(super) trait Body: Encode<()> + for<'b> Decode<'b, ()> {
    /// Its kind.
    const KIND: Kind;
    /// The version of its fields.
    const VERSION: u8 = 1;
}

macro_rules! bodies {
    ($($body:ident: $kind:ident),* $(,)?) => {
        $(impl Body for $body { const KIND: Kind = Kind::$kind; })*
    };
}

bodies! {
    AccountKeyBody: AccountKey,
    InstanceBody: Instance,
    OwnerBody: Owner,
    AccountBody: Account,
    TokenBody: Token,
    StateBody: State,
    KeyBody: ApiKey,
    SecretBody: Secret,
    ValueBody: Value,
    NameBody: Name,
    AuditBody: Audit,
    AuditStateBody: AuditState,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct AccountKeyBody {
    #[n(0)]
    pub(super) key: KeyBytes,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct InstanceBody {
    #[n(0)]
    pub(super) instance: KeyBytes,
    #[n(1)]
    pub(super) log: KeyBytes,
    #[n(2)]
    pub(super) receipt: KeyBytes,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct OwnerBody {
    #[n(0)]
    pub(super) public_key: OwnerKey,
    #[n(1)]
    pub(super) bearer_key: KeyId,
    #[n(2)]
    pub(super) account: AccountId,
    #[n(3)]
    pub(super) admin_key: KeyId,
    /// Whether one of the claim's tokens has been used, so that the claim can't be repeated.
    #[n(4)]
    pub(super) settled: bool,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct AccountBody {
    #[n(0)]
    pub(super) name: Label,
    #[n(1)]
    pub(super) created_at: Timestamp,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct TokenBody {
    #[n(0)]
    pub(super) account: AccountId,
    #[n(1)]
    pub(super) key: KeyId,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct StateBody {
    #[n(0)]
    pub(super) last_id: IdSequence,
    #[n(1)]
    pub(super) secrets: u64,
    #[n(2)]
    pub(super) keys: u64,
    #[n(3)]
    pub(super) lasting_admins: u64,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct KeyBody {
    #[n(0)]
    pub(super) name: Label,
    /// Absent for the owner's bearer key and the decoy, which stand in the system's account.
    #[n(1)]
    pub(super) permissions: Option<Permissions>,
    #[n(2)]
    pub(super) globs: Option<Globs>,
    #[n(3)]
    pub(super) expires_at: Option<Timestamp>,
    #[n(4)]
    pub(super) created_at: Timestamp,
    #[n(5)]
    pub(super) token: TokenHash,
    #[n(6)]
    pub(super) previous: Option<PreviousToken>,
}

/// The token before the last rotation.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct PreviousToken {
    #[n(0)]
    pub(super) token: TokenHash,
    #[n(1)]
    pub(super) works_until: Timestamp,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct SecretBody {
    #[n(0)]
    pub(super) name: SecretName,
    #[n(1)]
    pub(super) description: Option<Description>,
    #[n(2)]
    pub(super) tags: Tags,
    #[n(3)]
    pub(super) created_at: Timestamp,
    #[n(4)]
    pub(super) updated_at: Timestamp,
    #[n(5)]
    pub(super) expires_at: Option<Timestamp>,
    #[n(6)]
    pub(super) revision: Revision,
    #[n(7)]
    pub(super) versions: Versions,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct VersionBody {
    #[n(0)]
    version: Version,
    #[n(1)]
    created_at: Timestamp,
    #[n(2)]
    created_by: KeyId,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct ValueBody {
    #[n(0)]
    pub(super) value: SecretValue,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct NameBody {
    #[n(0)]
    pub(super) name: SecretName,
    #[n(1)]
    pub(super) secret: SecretId,
}

/// Events in their order, at least one; the first one's number ends the record's engine key.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct AuditBody {
    #[n(0)]
    pub(super) events: Vec<Event>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct AuditStateBody {
    /// Events in the account's log: the number of the next one.
    #[n(0)]
    pub(super) events: u64,
}

/// The owner's public key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct OwnerKey(pub(super) PublicKey);

/// Kept versions, oldest first: at least one, each the one before plus one.
#[derive(Clone)]
pub(super) struct Versions(Vec<VersionInfo>);

impl Versions {
    pub(super) fn first(info: VersionInfo) -> Self {
        Self(vec![info])
    }

    pub(super) fn oldest(&self) -> VersionInfo {
        *self.0.first().expect("there is always one")
    }

    pub(super) fn newest(&self) -> VersionInfo {
        *self.0.last().expect("there is always one")
    }

    pub(super) fn has(&self, version: Version) -> bool {
        self.0.iter().any(|info| info.version == version)
    }

    pub(super) fn all(&self) -> &[VersionInfo] {
        &self.0
    }

    /// Adds the next version; gives back those beyond the newest `keep`, which are kept no longer.
    pub(super) fn push(&mut self, at: Timestamp, by: KeyId, keep: usize) -> Vec<Version> {
        let version = Version(self.newest().version.0.saturating_add(1));
        self.0.push(VersionInfo { version, created_at: at, created_by: by });
        let surplus = self.0.len().saturating_sub(keep.clamp(1, VERSIONS_KEPT_MAX));
        self.0.drain(..surplus).map(|info| info.version).collect()
    }
}

impl SecretBody {
    /// The secret that this is the record of.
    pub(super) fn into_secret(self, id: SecretId) -> Secret {
        let Self {
            name,
            description,
            tags,
            created_at,
            updated_at,
            expires_at,
            revision,
            versions,
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
            versions: versions.0,
        }
    }
}

impl KeyBody {
    /// The key that this is the record of; `None` for the owner's and the decoy.
    pub(super) fn to_api_key(&self, id: KeyId) -> Option<ApiKey> {
        Some(ApiKey {
            id,
            name: self.name.clone(),
            permissions: self.permissions?,
            scope: self.scope(),
            expires_at: self.expires_at,
            created_at: self.created_at,
        })
    }

    pub(super) fn scope(&self) -> Scope {
        self.globs.clone().map_or(Scope::All, Scope::Names)
    }
}

/// How a value of a parsed type stands in CBOR: as the plain value it was parsed from.
macro_rules! cbor_as {
    ($($type:ty: |$own:ident| $method:ident($out:expr), |$decoder:ident| $in:expr;)*) => {$(
        impl<C> Encode<C> for $type {
            fn encode<W: Write>(
                &self,
                encoder: &mut Encoder<W>,
                _: &mut C,
            ) -> Result<(), EncodeError<W::Error>> {
                let $own = self;
                encoder.$method($out)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $type {
            fn decode($decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
                $in
            }
        }
    )*};
}

fn refused<E>(_: E) -> DecodeError {
    DecodeError::message("a value that its parser refuses")
}

fn array<const N: usize>(decoder: &mut Decoder<'_>) -> Result<[u8; N], DecodeError> {
    decoder.bytes()?.try_into().map_err(refused)
}

fn text<T>(
    decoder: &mut Decoder<'_>,
    parse: impl FnOnce(String) -> Result<T, crate::model::Issue>,
) -> Result<T, DecodeError> {
    parse(decoder.str()?.to_owned()).map_err(refused)
}

cbor_as! {
    KeyBytes: |own| bytes(own.expose()), |decoder| {
        KeyBytes::copied(decoder.bytes()?).ok_or_else(|| refused(()))
    };
    SecretValue: |own| bytes(own.expose()), |decoder| {
        SecretValue::from_bytes(SecretBytes::new(decoder.bytes()?.to_vec())).map_err(refused)
    };
    OwnerKey: |own| bytes(&own.0.0), |decoder| array(decoder).map(|key| Self(PublicKey(key)));
    TokenHash: |own| bytes(&own.0), |decoder| array(decoder).map(Self);
    IdSequence: |own| bytes(&own.0), |decoder| array(decoder).map(Self);
    SecretName: |own| str(own.as_str()), |decoder| text(decoder, Self::parse);
    Description: |own| str(own.as_str()), |decoder| text(decoder, Self::parse);
    Label: |own| str(own.as_str()), |decoder| text(decoder, Self::parse);
    RequestId: |own| str(own.as_str()), |decoder| text(decoder, Self::parse);
    Version: |own| u64(own.0), |decoder| decoder.u64().map(Self);
    Revision: |own| u64(own.0), |decoder| decoder.u64().map(Self);
    Permissions: |own| u8(own.to_bits()), |decoder| {
        Self::from_bits(decoder.u8()?).ok_or_else(|| refused(()))
    };
    Timestamp: |own| u64(own.unix_millis()), |decoder| {
        let ms = decoder.u64()?;
        Some(Self::from_unix_millis(ms)).filter(|time| time.unix_millis() == ms).ok_or_else(|| refused(()))
    };
    Tags: |own| encode(own.pairs()), |decoder| Self::parse(decoder.decode()?).map_err(refused);
    Globs: |own| encode(own.iter().map(|glob| glob.as_str()).collect::<Vec<_>>()), |decoder| {
        Self::parse(decoder.decode()?).map_err(refused)
    };
    Versions: |own| encode(own.0.iter().map(VersionBody::from).collect::<Vec<_>>()), |decoder| {
        let bodies: Vec<VersionBody> = decoder.decode()?;
        let versions: Vec<_> = bodies.into_iter().map(VersionInfo::from).collect();
        let in_order = versions.is_sorted_by(|one, next| one.version < next.version);
        Some(versions).filter(|all| !all.is_empty() && in_order).map(Self).ok_or_else(|| refused(()))
    };
}

/// 4 bytes or 16.
impl<C> Encode<C> for PeerAddress {
    fn encode<W: Write>(
        &self,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        match self.address() {
            IpAddr::V4(address) => encoder.bytes(&address.octets())?.ok(),
            IpAddr::V6(address) => encoder.bytes(&address.octets())?.ok(),
        }
    }
}

impl<'b, C> Decode<'b, C> for PeerAddress {
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let bytes = decoder.bytes()?;
        let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
        let address = four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
        address.map(Self::new).map_err(refused)
    }
}

impl<C, K: IdKind> Encode<C> for Id<K> {
    fn encode<W: Write>(
        &self,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        encoder.bytes(self.as_bytes())?.ok()
    }
}

impl<'b, C, K: IdKind> Decode<'b, C> for Id<K> {
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        array(decoder).map(Self::from_bytes)
    }
}

impl From<&VersionInfo> for VersionBody {
    fn from(info: &VersionInfo) -> Self {
        let VersionInfo { version, created_at, created_by } = *info;
        Self { version, created_at, created_by }
    }
}

impl From<VersionBody> for VersionInfo {
    fn from(body: VersionBody) -> Self {
        let VersionBody { version, created_at, created_by } = body;
        Self { version, created_at, created_by }
    }
}
