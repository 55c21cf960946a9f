//! What stands in a sealed record (STORE.md §6). Every field is parsed by the parser that admitted
//! it.

use crate::access::{Globs, Permissions, Scope};
use crate::audit::{Event, PeerAddress, RequestId};
use crate::keys::TokenHash;
use crate::limits::VERSIONS_KEPT_MAX;
use crate::model::{
    AccountId, ApiKey, ContentHash, Description, EgressHosts, Environment, Execution, ExecutionEnd,
    ExecutionFault, ExecutionId, ExecutionState, Function, FunctionCode, FunctionId, FunctionName,
    HeaderName, HostName, Id, IdKind, IdSequence, JsonText, KeyId, Label, LogLine, Logs, Memory,
    Quotas, ReceiptSignature, Resource, Revision, Secret, SecretId, SecretName, SecretNames,
    SecretRead, SecretReads, SecretValue, Tags, Timeout, Timestamp, UseOnly, Version, VersionInfo,
};
use crate::secret::{KeyBytes, SecretBytes};
use crate::store::StoreLimits;
use crate::store::error::StoreFailure;
use crate::store::names::NameList;
use crate::store::record::{self, Kind};
use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};
use minicbor::{Decode, Encode};
use neo_secrets_attestation::config::{self, AttestedConfig, Reveal, Seal};
use neo_secrets_attestation::ed25519::{PublicKey, Signature};
use std::net::IpAddr;

/// A record's content.
pub(super) trait Body: Encode<()> + for<'b> Decode<'b, ()> {
    /// Its kind.
    const KIND: Kind;
    /// The version of its fields.
    const VERSION: u8;
    /// The oldest version that still opens: what it wrote, this one writes too where the new fields
    /// are absent.
    const OLDEST: u8 = Self::VERSION;
}

macro_rules! bodies {
    ($($body:ident: $kind:ident $version:literal $(from $oldest:literal)?),* $(,)?) => {
        $(impl Body for $body {
            const KIND: Kind = Kind::$kind;
            const VERSION: u8 = $version;
            $(const OLDEST: u8 = $oldest;)?
        })*

        /// Kind and version of every body, for [`crate::fuzzing`].
        pub(crate) const BODIES: &[(u8, u8)] = &[$((Kind::$kind as u8, $version)),*];

        /// [`record::rewritten`] for a body of this kind and version.
        pub(crate) fn rewritten(of: (u8, u8), rest: &[u8], plaintext: &[u8]) -> Option<Vec<u8>> {
            match of {
                $(of if of == (Kind::$kind as u8, $version) => {
                    record::rewritten::<$body>(rest, plaintext)
                })*
                _ => None,
            }
        }

        /// [`record::opens_by_chance`] for a body of this kind and version.
        pub(crate) fn opens_by_chance(of: (u8, u8), rest: &[u8], sealed: &[u8]) -> bool {
            match of {
                $(of if of == (Kind::$kind as u8, $version) => {
                    record::opens_by_chance::<$body>(rest, sealed)
                })*
                _ => false,
            }
        }
    };
}

bodies! {
    AccountKeyBody: AccountKey 1,
    InstanceBody: Instance 1,
    OwnerBodyV1: Owner 1,
    OwnerBody: Owner 3 from 2,
    AccountBody: Account 1,
    DeletionBody: Deletion 1,
    ClockBody: Clock 1,
    TokenBody: Token 1,
    StateBodyV1: State 1,
    StateBody: State 3 from 2,
    KeyBody: ApiKey 1,
    SecretBody: Secret 2 from 1,
    ValueBody: Value 1,
    NameBody: Name 1,
    NamesBody: Names 1,
    AuditBody: Audit 1,
    AuditStateBody: AuditState 1,
    FunctionBody: Function 1,
    CodeBody: Code 1,
    FunctionNameBody: FunctionName 1,
    ExecutionBody: Execution 1,
    FunctionsStateBody: FunctionsState 2 from 1,
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

/// The highest time that is sealed.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct ClockBody {
    #[n(0)]
    pub(super) time: Timestamp,
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
    /// What the owner claimed the instance with, or has accepted since.
    #[n(5)]
    pub(super) config: SealedConfig,
    /// The number of the owner's last act that was signed by the key pair; 0: none yet.
    #[n(6)]
    pub(super) acts: u64,
    /// Whether the claim has sealed a time, so that record 0x08 has to be there. Absent in stores
    /// that are older than that.
    #[n(7)]
    pub(super) is_timed: Option<bool>,
}

/// Before the configuration was sealed.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct OwnerBodyV1 {
    #[n(0)]
    pub(super) public_key: OwnerKey,
    #[n(1)]
    pub(super) bearer_key: KeyId,
    #[n(2)]
    pub(super) account: AccountId,
    #[n(3)]
    pub(super) admin_key: KeyId,
    #[n(4)]
    pub(super) settled: bool,
}

/// The configuration's attested part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SealedConfig(pub(super) AttestedConfig);

#[derive(Encode, Decode)]
#[cbor(map)]
struct ConfigBody {
    /// 1 firmware, 2 unlock.
    #[n(0)]
    seal: u8,
    /// 1 off, 2 by-permission.
    #[n(1)]
    reveal: u8,
    #[n(2)]
    witnesses: Vec<String>,
    #[n(3)]
    quorum: u32,
    /// Absent: any.
    #[n(4)]
    owner_key: Option<OwnerKey>,
}

impl<C> Encode<C> for SealedConfig {
    fn encode<W: Write>(
        &self,
        encoder: &mut Encoder<W>,
        context: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        let AttestedConfig { seal, reveal, witnesses, quorum, owner_key } = &self.0;
        let body = ConfigBody {
            seal: match seal {
                Seal::Firmware => 1,
                Seal::Unlock => 2,
            },
            reveal: match reveal {
                Reveal::Off => 1,
                Reveal::ByPermission => 2,
            },
            witnesses: witnesses.clone(),
            quorum: *quorum,
            owner_key: match owner_key {
                config::OwnerKey::Any => None,
                config::OwnerKey::Named(key) => Some(OwnerKey(*key)),
            },
        };
        body.encode(encoder, context)
    }
}

impl<'b, C> Decode<'b, C> for SealedConfig {
    fn decode(decoder: &mut Decoder<'b>, context: &mut C) -> Result<Self, DecodeError> {
        let ConfigBody { seal, reveal, witnesses, quorum, owner_key } =
            ConfigBody::decode(decoder, context)?;
        let config = AttestedConfig {
            seal: match seal {
                1 => Seal::Firmware,
                2 => Seal::Unlock,
                _ => return Err(refused(())),
            },
            reveal: match reveal {
                1 => Reveal::Off,
                2 => Reveal::ByPermission,
                _ => return Err(refused(())),
            },
            witnesses,
            quorum,
            owner_key: owner_key
                .map_or(config::OwnerKey::Any, |OwnerKey(key)| config::OwnerKey::Named(key)),
        };
        config.checked().map(Self).map_err(refused)
    }
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

/// An account that is deleted, and whose records are still being removed.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct DeletionBody {
    #[n(0)]
    pub(super) deleted_at: Timestamp,
}

#[derive(Clone, Encode, Decode)]
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
    /// Of all versions that are kept.
    #[n(4)]
    pub(super) value_bytes: u64,
    #[n(5)]
    pub(super) quotas: Quotas,
    /// How many accounts there are; in the system's state only.
    #[n(6)]
    pub(super) accounts: u64,
    /// How many names stand in records with others. Absent: none yet.
    #[n(7)]
    pub(super) names: Option<u64>,
}

/// Before values and accounts were counted.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct StateBodyV1 {
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
struct QuotasBody {
    #[n(0)]
    secrets: Option<u64>,
    #[n(1)]
    value_bytes: Option<u64>,
    #[n(2)]
    api_keys: Option<u64>,
    #[n(3)]
    audit_events: Option<u64>,
    #[n(4)]
    functions: Option<u64>,
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
    #[n(8)]
    pub(super) use_only: Option<UseOnly>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct UseOnlyBody {
    #[n(0)]
    hosts: Vec<HostName>,
    #[n(1)]
    header: HeaderName,
}

/// A version that is kept.
#[derive(Clone, Copy, Encode, Decode)]
#[cbor(map)]
pub(super) struct VersionBody {
    #[n(0)]
    pub(super) version: Version,
    #[n(1)]
    pub(super) created_at: Timestamp,
    #[n(2)]
    pub(super) created_by: KeyId,
    /// Of its value; absent where it was written before values were counted.
    #[n(3)]
    pub(super) bytes: Option<u64>,
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

/// The names of some of an account's secrets, in the order in which they were given.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct NamesBody {
    #[n(0)]
    pub(super) names: NameList,
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

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct FunctionBody {
    #[n(0)]
    pub(super) name: FunctionName,
    #[n(1)]
    pub(super) description: Option<Description>,
    #[n(2)]
    pub(super) tags: Tags,
    #[n(3)]
    pub(super) created_at: Timestamp,
    #[n(4)]
    pub(super) updated_at: Timestamp,
    #[n(5)]
    pub(super) timeout: Timeout,
    #[n(6)]
    pub(super) memory: Memory,
    #[n(7)]
    pub(super) secrets: SecretNames,
    #[n(8)]
    pub(super) environment: Environment,
    #[n(9)]
    pub(super) egress: EgressHosts,
    #[n(10)]
    pub(super) pin_code: bool,
    /// Of the code that was confirmed; absent without `pin_code`.
    #[n(11)]
    pub(super) confirmed: Option<ContentHash>,
    /// Of what stands in the code's record.
    #[n(12)]
    pub(super) code_sha256: ContentHash,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct CodeBody {
    #[n(0)]
    pub(super) code: FunctionCode,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct FunctionNameBody {
    #[n(0)]
    pub(super) name: FunctionName,
    #[n(1)]
    pub(super) function: FunctionId,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct ExecutionBody {
    #[n(0)]
    pub(super) code_sha256: ContentHash,
    #[n(1)]
    pub(super) invoked_by: KeyId,
    #[n(2)]
    pub(super) started_at: Timestamp,
    /// In which opening of the store it ran.
    #[n(3)]
    pub(super) opening: Opening,
    #[n(4)]
    pub(super) end: Option<ExecutionEnd>,
}

#[derive(Encode, Decode, Default)]
#[cbor(map)]
pub(super) struct FunctionsStateBody {
    /// Functions that there are.
    #[n(0)]
    pub(super) functions: u64,
    /// What the records of executions take, with their engine keys. Absent, nobody has counted it:
    /// the next record does.
    #[n(1)]
    pub(super) execution_bytes: Option<u64>,
}

impl FunctionsStateBody {
    /// A record of an execution of so many bytes has gone. What is counted wrong is no reason to
    /// keep one, so it is not damage.
    pub(super) fn subtract(&mut self, bytes: u64) {
        self.execution_bytes = self.execution_bytes.map(|all| all.saturating_sub(bytes));
    }
}

/// One opening of the store: random, and kept by nobody but the records of executions. What has
/// not ended in an earlier opening never will.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Opening(pub(super) [u8; 16]);

/// The owner's public key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct OwnerKey(pub(super) PublicKey);

/// Kept versions, oldest first: at least one, each the one before plus one.
#[derive(Clone)]
pub(super) struct Versions(Vec<VersionBody>);

impl Versions {
    pub(super) fn first(at: Timestamp, by: KeyId, bytes: u64) -> Self {
        let (version, bytes) = (Version(1), Some(bytes));
        Self(vec![VersionBody { version, created_at: at, created_by: by, bytes }])
    }

    pub(super) fn oldest(&self) -> VersionBody {
        *self.0.first().expect("there is always one")
    }

    pub(super) fn newest(&self) -> VersionBody {
        *self.0.last().expect("there is always one")
    }

    pub(super) fn has(&self, version: Version) -> bool {
        self.0.iter().any(|kept| kept.version == version)
    }

    pub(super) fn all(&self) -> &[VersionBody] {
        &self.0
    }

    /// Adds the next version; gives back those beyond the newest `keep`, which are kept no longer.
    pub(super) fn push(
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

impl FunctionBody {
    /// The function that this is the record of.
    pub(super) fn into_function(self, id: FunctionId) -> Function {
        let Self {
            name,
            description,
            tags,
            created_at,
            updated_at,
            timeout,
            memory,
            secrets,
            environment,
            egress,
            pin_code,
            confirmed,
            code_sha256,
        } = self;
        Function {
            id,
            name,
            description,
            timeout,
            memory,
            secrets,
            environment,
            egress,
            tags,
            pin_code,
            confirmed,
            code_sha256,
            created_at,
            updated_at,
        }
    }

    /// Whether the code may read secrets at all, as far as it is pinned.
    pub(super) fn may_read(&self) -> bool {
        !self.pin_code || self.confirmed == Some(self.code_sha256)
    }
}

impl ExecutionBody {
    /// The execution that this is the record of, as it is known in this opening of the store.
    pub(super) fn into_execution(
        self,
        (function, id): (FunctionId, ExecutionId),
        now_open: Opening,
    ) -> Execution {
        let Self { code_sha256, invoked_by, started_at, opening, end } = self;
        let state = match end {
            Some(end) => ExecutionState::Ended(Box::new(end)),
            None if opening == now_open => ExecutionState::Running,
            None => ExecutionState::Lost,
        };
        Execution { id, function, code_sha256, invoked_by, started_at, state }
    }
}

impl StateBody {
    /// Before an account's first key and secret.
    pub(super) fn new(quotas: Quotas) -> Self {
        let (last_id, value_bytes, accounts) = (IdSequence::START, 0, 0);
        let (secrets, keys, lasting_admins, names) = (0, 0, 0, None);
        Self { last_id, secrets, keys, lasting_admins, value_bytes, quotas, accounts, names }
    }

    /// How much the account may have of something.
    pub(super) fn quota(&self, resource: Resource, limits: &StoreLimits) -> u64 {
        self.quotas.of(resource).unwrap_or_else(|| *limits.per_account.of(resource))
    }

    /// Counts what the account gets more of, and less. A quota only stops growth: who is above it
    /// may still change what there is.
    pub(super) fn count(
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
            old_key_until: self.previous.as_ref().map(|previous| previous.works_until),
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
    HostName: |own| str(own.as_str()), |decoder| text(decoder, Self::parse);
    HeaderName: |own| str(own.as_str()), |decoder| text(decoder, Self::parse);
    UseOnly: |own| encode(UseOnlyBody::from(own)), |decoder| {
        let UseOnlyBody { hosts, header } = decoder.decode()?;
        Self::new(hosts, header).map_err(refused)
    };
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
    FunctionName: |own| str(own.as_str()), |decoder| text(decoder, Self::parse);
    FunctionCode: |own| str(own.as_str()), |decoder| text(decoder, Self::parse);
    JsonText: |own| str(own.as_str()), |decoder| text(decoder, Self::parse);
    ContentHash: |own| bytes(own.as_bytes()), |decoder| array(decoder).map(Self);
    Opening: |own| bytes(&own.0), |decoder| array(decoder).map(Self);
    ReceiptSignature: |own| bytes(&own.0.0), |decoder| {
        array(decoder).map(|bytes| Self(Signature(bytes)))
    };
    Timeout: |own| u32(own.get()), |decoder| Self::parse(decoder.u64()?).map_err(refused);
    Memory: |own| u32(own.get()), |decoder| Self::parse(decoder.u64()?).map_err(refused);
    Environment: |own| encode(own.pairs()), |decoder| {
        Self::parse(decoder.decode()?).map_err(refused)
    };
    SecretNames: |own| encode(own.iter().map(SecretName::as_str).collect::<Vec<_>>()), |decoder| {
        Self::parse(decoder.decode()?).map_err(refused)
    };
    EgressHosts: |own| encode(own.iter().map(HostName::as_str).collect::<Vec<_>>()), |decoder| {
        Self::parse(decoder.decode()?).map_err(refused)
    };
    SecretReads: |own| encode(own.as_slice()), |decoder| {
        Self::in_order(decoder.decode::<Vec<SecretRead>>()?).map_err(refused)
    };
    // What would be cut was never written.
    Logs: |own| encode(own.lines()), |decoder| {
        let lines: Vec<LogLine> = decoder.decode()?;
        let count = lines.len();
        let logs = Self::kept(lines);
        Some(logs).filter(|logs| logs.lines().len() == count).ok_or_else(|| refused(()))
    };
    ExecutionFault: |own| encode([own.name(), own.message(), own.stack()]), |decoder| {
        let [name, message, stack]: [String; 3] = decoder.decode()?;
        let bytes = name.len() + message.len() + stack.len();
        let fault = Self::new(name, message, stack);
        let kept = fault.name().len() + fault.message().len() + fault.stack().len();
        Some(fault).filter(|_| kept == bytes).ok_or_else(|| refused(()))
    };
    NameList: |own| bytes(own.as_bytes()), |decoder| {
        Self::parse(decoder.bytes()?).ok_or_else(|| refused(()))
    };
    Quotas: |own| encode(QuotasBody::from(*own)), |decoder| {
        decoder.decode::<QuotasBody>().map(Self::from)
    };
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

impl From<VersionBody> for VersionInfo {
    fn from(body: VersionBody) -> Self {
        let VersionBody { version, created_at, created_by, bytes: _ } = body;
        Self { version, created_at, created_by }
    }
}

impl From<&UseOnly> for UseOnlyBody {
    fn from(of: &UseOnly) -> Self {
        Self { hosts: of.hosts().to_vec(), header: of.header().clone() }
    }
}

impl From<Quotas> for QuotasBody {
    fn from(quotas: Quotas) -> Self {
        let Quotas { secrets, value_bytes, api_keys, audit_events, functions } = quotas;
        Self { secrets, value_bytes, api_keys, audit_events, functions }
    }
}

impl From<QuotasBody> for Quotas {
    fn from(body: QuotasBody) -> Self {
        let QuotasBody { secrets, value_bytes, api_keys, audit_events, functions } = body;
        Self { secrets, value_bytes, api_keys, audit_events, functions }
    }
}
