//! What stands in the instance's own records: its keys, the highest time, the owner, and the
//! configuration that the owner has accepted.

use super::values::refused;
use crate::model::{AccountId, KeyId, Timestamp};
use crate::secret::KeyBytes;
use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};
use minicbor::{Decode, Encode};
use neo_secrets_attestation::config::{self, AttestedConfig, Reveal, Seal};
use neo_secrets_attestation::ed25519::PublicKey;

#[derive(Encode, Decode)]
#[cbor(map)]
pub(in crate::store) struct InstanceBody {
    #[n(0)]
    pub(in crate::store) instance: KeyBytes,
    #[n(1)]
    pub(in crate::store) log: KeyBytes,
    #[n(2)]
    pub(in crate::store) receipt: KeyBytes,
}

/// The highest time that is sealed.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(in crate::store) struct ClockBody {
    #[n(0)]
    pub(in crate::store) time: Timestamp,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(in crate::store) struct OwnerBody {
    #[n(0)]
    pub(in crate::store) public_key: OwnerKey,
    #[n(1)]
    pub(in crate::store) bearer_key: KeyId,
    #[n(2)]
    pub(in crate::store) account: AccountId,
    #[n(3)]
    pub(in crate::store) admin_key: KeyId,
    /// Whether one of the claim's tokens has been used, so that the claim can't be repeated.
    #[n(4)]
    pub(in crate::store) settled: bool,
    /// What the owner claimed the instance with, or has accepted since.
    #[n(5)]
    pub(in crate::store) config: SealedConfig,
    /// The number of the owner's last act that was signed by the key pair; 0: none yet.
    #[n(6)]
    pub(in crate::store) acts: u64,
    /// Whether the claim has sealed a time, so that record 0x08 has to be there. Absent in stores
    /// that are older than that.
    #[n(7)]
    pub(in crate::store) is_timed: Option<bool>,
}

/// Before the configuration was sealed.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(in crate::store) struct OwnerBodyV1 {
    #[n(0)]
    pub(in crate::store) public_key: OwnerKey,
    #[n(1)]
    pub(in crate::store) bearer_key: KeyId,
    #[n(2)]
    pub(in crate::store) account: AccountId,
    #[n(3)]
    pub(in crate::store) admin_key: KeyId,
    #[n(4)]
    pub(in crate::store) settled: bool,
}

/// The owner's public key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct OwnerKey(pub(in crate::store) PublicKey);

/// The configuration's attested part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct SealedConfig(pub(in crate::store) AttestedConfig);

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
