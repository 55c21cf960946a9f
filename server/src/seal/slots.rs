//! The slot table's bytes (STORE.md §4).

use super::{BootIdentity, DerivedKey, Difference, Differences, IdBlock};
use crate::keys::{CryptoError, DoesNotOpen, RootKey, SlotKek, label, list};
use crate::limits::{SLOT_TABLE_BYTES, SLOTS};
use crate::secret::{KeyBytes, random_array};
use crate::store::Header;
use neo_secrets_attestation::bytes::{ReadError, Reader};
use neo_secrets_attestation::tcb::{Tcb, TcbVersion};
use sha2::{Digest, Sha256};

const TABLE_FORMAT: u8 = 1;
const MAC_BYTES: usize = 32;
/// What stands before the wrapped key, and is bound to it.
const CONTEXT_BYTES: usize = 196;
const BODY_BYTES: usize = CONTEXT_BYTES + 48;

/// Why a slot table's bytes are none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotTableError {
    /// Cut, or too long.
    #[error("the slot table is cut or too long: {0}")]
    Length(#[from] ReadError),
    /// Not format 1.
    #[error("the slot table has the unknown format {got}")]
    Format {
        /// The format.
        got: u8,
    },
    /// A kind that this server doesn't know, or that is reserved.
    #[error("the slot table has a slot of the unknown kind {got}")]
    Kind {
        /// The kind.
        got: u8,
    },
    /// A count of slots or of one kind that no table has.
    #[error("the slot table has not exactly one firmware slot and at most one identity slot")]
    Count,
    /// The slots are not in the order of their kinds.
    #[error("the slot table's slots are not in order")]
    Order,
}

/// What a slot wraps, and so which label its KEK has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotKind {
    /// The root key.
    Firmware,
    /// The instance key's seed.
    Identity,
}

impl SlotKind {
    const fn number(self) -> u8 {
        match self {
            Self::Firmware => 1,
            Self::Identity => 0x10,
        }
    }

    const fn label(self) -> &'static [u8] {
        match self {
            Self::Firmware => label::SLOT,
            Self::Identity => label::IDENTITY_SLOT,
        }
    }
}

/// A slot table, as it stands in a file: nothing in it is to be trusted but by [`Self::check`].
pub(crate) struct SlotTable {
    pub(super) firmware: Slot,
    pub(super) identity: Option<Slot>,
    mac: [u8; MAC_BYTES],
}

/// One key, wrapped, with what was recorded of the machine that wrapped it.
pub(super) struct Slot {
    salt: [u8; 32],
    pub(super) tcb_version: TcbVersion,
    measurement: [u8; 48],
    policy: u64,
    guest_svn: u32,
    host_data: [u8; 32],
    chip_hash: [u8; 32],
    id_block_hash: [u8; 32],
    wrapped: [u8; 48],
}

impl SlotTable {
    /// Wraps the root key and the instance key's seed for this machine at `tcb`.
    pub(super) fn seal(
        header: &Header,
        boot: &BootIdentity,
        tcb: Tcb,
        derived: &DerivedKey,
        root: &RootKey,
        instance_seed: &KeyBytes,
    ) -> Result<Self, CryptoError> {
        let wrap = |kind, key| Slot::wrap(kind, header, boot, tcb.to_version(), derived, key);
        let firmware = wrap(SlotKind::Firmware, root.bytes())?;
        let identity = Some(wrap(SlotKind::Identity, instance_seed)?);
        let mut table = Self { firmware, identity, mac: [0; MAC_BYTES] };
        let key = root.slot_table_key(&header.store_id);
        table.mac = key.mac(&header.to_bytes(), &table.authenticated_bytes());
        Ok(table)
    }

    /// Parses a table; every byte of it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, SlotTableError> {
        let mut outer = Reader::new(bytes);
        let mut reader = Reader::new(outer.take(bytes.len(), SLOT_TABLE_BYTES)?);
        let got = reader.u8()?;
        if got != TABLE_FORMAT {
            return Err(SlotTableError::Format { got });
        }
        let count = usize::from(reader.u8()?);
        if !(1..=SLOTS).contains(&count) {
            return Err(SlotTableError::Count);
        }
        let (mut firmware, mut identity) = (None, None);
        for _ in 0..count {
            let kind = reader.u8()?;
            let place = match kind {
                kind if kind == SlotKind::Firmware.number() => &mut firmware,
                kind if kind == SlotKind::Identity.number() => &mut identity,
                got => return Err(SlotTableError::Kind { got }),
            };
            let length = usize::from(reader.u16_be()?);
            let slot = Slot::parse(reader.take(length, BODY_BYTES)?)?;
            if place.replace(slot).is_some() {
                return Err(SlotTableError::Count);
            }
        }
        let mac = reader.array()?;
        reader.finish()?;
        let table = Self { firmware: firmware.ok_or(SlotTableError::Count)?, identity, mac };
        // The MAC is of the bytes that a table is written as: there are no others.
        if table.to_bytes() == bytes { Ok(table) } else { Err(SlotTableError::Order) }
    }

    /// The table's bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.authenticated_bytes();
        bytes.extend_from_slice(&self.mac);
        bytes
    }

    /// Yields the root key that the firmware slot gave, if it authenticates the whole table.
    pub(super) fn check(&self, header: &Header, key: KeyBytes) -> Result<RootKey, DoesNotOpen> {
        let root = RootKey::from_slot(key);
        let table_key = root.slot_table_key(&header.store_id);
        match table_key.verifies(&header.to_bytes(), &self.authenticated_bytes(), &self.mac) {
            true => Ok(root),
            false => Err(DoesNotOpen),
        }
    }

    fn authenticated_bytes(&self) -> Vec<u8> {
        let slots = [
            (SlotKind::Firmware, Some(&self.firmware)),
            (SlotKind::Identity, self.identity.as_ref()),
        ];
        let present = slots.into_iter().filter_map(|(kind, slot)| Some((kind, slot?)));
        let mut bytes = vec![TABLE_FORMAT, 0];
        for (kind, slot) in present {
            bytes[1] += 1;
            bytes.push(kind.number());
            let body = slot.to_bytes();
            bytes.extend_from_slice(&u16::try_from(body.len()).expect("244 bytes").to_be_bytes());
            bytes.extend_from_slice(&body);
        }
        bytes
    }
}

impl Slot {
    fn wrap(
        kind: SlotKind,
        header: &Header,
        boot: &BootIdentity,
        tcb_version: TcbVersion,
        derived: &DerivedKey,
        key: &KeyBytes,
    ) -> Result<Self, CryptoError> {
        let salt = random_array()?;
        let mut slot = Self {
            salt,
            tcb_version,
            measurement: boot.measurement,
            policy: boot.policy,
            guest_svn: boot.guest_svn,
            host_data: boot.host_data,
            chip_hash: hash_chip_id(&salt, &boot.chip_id),
            id_block_hash: hash_id_block(&salt, &boot.id_block),
            wrapped: [0; 48],
        };
        let kek = slot.kek(kind, header, boot, derived);
        slot.wrapped = kek.wrap(&slot.wrap_context(kind, header), key)?;
        Ok(slot)
    }

    /// The key in the slot, under the key that the firmware derived for the slot's TCB on this
    /// machine.
    pub(super) fn open(
        &self,
        kind: SlotKind,
        header: &Header,
        boot: &BootIdentity,
        derived: &DerivedKey,
    ) -> Result<KeyBytes, DoesNotOpen> {
        let kek = self.kek(kind, header, boot, derived);
        kek.unwrap(&self.wrap_context(kind, header), self.wrapped)
    }

    /// What is recorded differently from this boot; tells people why a slot did not open, and
    /// decides nothing.
    pub(super) fn differences(&self, boot: &BootIdentity) -> Differences {
        let Self {
            salt,
            tcb_version: _,
            measurement,
            policy,
            guest_svn,
            host_data,
            chip_hash,
            id_block_hash,
            wrapped: _,
        } = self;
        let compared = [
            (Difference::Chip, chip_hash == &hash_chip_id(salt, &boot.chip_id)),
            (Difference::Measurement, measurement == &boot.measurement),
            (Difference::HostData, host_data == &boot.host_data),
            (Difference::Policy, policy == &boot.policy),
            (Difference::GuestSvn, guest_svn == &boot.guest_svn),
            (Difference::IdBlock, id_block_hash == &hash_id_block(salt, &boot.id_block)),
        ];
        Differences(
            compared.into_iter().filter(|(_, equal)| !equal).map(|(what, _)| what).collect(),
        )
    }

    /// What identifies the VM is this boot's; of the file only the salt and the TCB enter, and the
    /// TCB has been bounded. HOST_DATA and the ID block's keys enter here too, so that nothing
    /// rests on the firmware's always mixing them.
    fn kek(
        &self,
        kind: SlotKind,
        header: &Header,
        boot: &BootIdentity,
        derived: &DerivedKey,
    ) -> SlotKek {
        let context = list(&[
            kind.label(),
            &[kind.number()],
            &Header::FORMAT.to_be_bytes(),
            &header.store_id.0,
            &boot.measurement,
            &boot.policy.to_be_bytes(),
            &self.tcb_version.0,
            &boot.guest_svn.to_be_bytes(),
            &boot.host_data,
            &boot.id_block.id_key_digest,
            &boot.id_block.author_key_digest,
        ]);
        SlotKek::new(&derived.0, &self.salt, &context)
    }

    fn wrap_context(&self, kind: SlotKind, header: &Header) -> Vec<u8> {
        list(&[kind.label(), &header.to_bytes(), &[kind.number()], &self.context_bytes()])
    }

    fn context_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BODY_BYTES);
        bytes.extend_from_slice(&self.salt);
        bytes.extend_from_slice(&self.tcb_version.0);
        bytes.extend_from_slice(&self.measurement);
        bytes.extend_from_slice(&self.policy.to_be_bytes());
        bytes.extend_from_slice(&self.guest_svn.to_be_bytes());
        bytes.extend_from_slice(&self.host_data);
        bytes.extend_from_slice(&self.chip_hash);
        bytes.extend_from_slice(&self.id_block_hash);
        bytes
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.context_bytes();
        bytes.extend_from_slice(&self.wrapped);
        bytes
    }

    fn parse(bytes: &[u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(bytes);
        let slot = Self {
            salt: reader.array()?,
            tcb_version: TcbVersion(reader.array()?),
            measurement: reader.array()?,
            policy: u64::from_be_bytes(reader.array()?),
            guest_svn: reader.u32_be()?,
            host_data: reader.array()?,
            chip_hash: reader.array()?,
            id_block_hash: reader.array()?,
            wrapped: reader.array()?,
        };
        reader.finish()?;
        Ok(slot)
    }
}

fn hash_chip_id(salt: &[u8; 32], chip_id: &[u8; 64]) -> [u8; 32] {
    Sha256::digest(list(&[label::CHIP_ID, salt, chip_id])).into()
}

fn hash_id_block(salt: &[u8; 32], block: &IdBlock) -> [u8; 32] {
    let IdBlock { family_id, image_id, id_key_digest, author_key_digest } = block;
    let fields =
        list(&[label::ID_BLOCK, salt, family_id, image_id, id_key_digest, author_key_digest]);
    Sha256::digest(fields).into()
}
