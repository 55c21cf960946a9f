//! Sealing (STORE.md §4): from this boot's report and the firmware's derived key to the root key.

mod slots;
mod unseal;

use crate::keys::CryptoError;
use crate::secret::KeyBytes;
use neo_secrets_attestation::firmware::{self, FirmwareError};
use neo_secrets_attestation::product::Product;
use neo_secrets_attestation::report::{GuestPolicy, Report, SigningKey};
use neo_secrets_attestation::tcb::{Tcb, TcbReserved, TcbShortfall, TcbVersion};
pub(crate) use slots::SlotTable;
pub use slots::SlotTableError;
use std::fmt;
pub(crate) use unseal::{Opened, unseal};
pub use unseal::{Rewrap, UnsealError};

/// The lowest TCB that a key is asked for, by product. Compiled in: an edited file can't lower it.
/// The values are the lowest of the genuine reports at hand; Genoa's microcode is the lowest of any
/// of its CPUID models.
#[must_use]
pub const fn tcb_floor(product: Product) -> Tcb {
    match product {
        Product::Milan => Tcb { fmc: None, boot_loader: 3, tee: 0, snp: 8, microcode: 115 },
        Product::Genoa => Tcb { fmc: None, boot_loader: 10, tee: 0, snp: 23, microcode: 27 },
        Product::Turin => Tcb { fmc: Some(1), boot_loader: 1, tee: 1, snp: 4, microcode: 81 },
    }
}

/// What this boot's report says of this machine, fit to seal to.
#[derive(Clone, Debug)]
pub struct BootIdentity {
    product: Product,
    /// min(committed, launch): what the firmware may be asked for at most.
    tcb_ceiling: Tcb,
    chip_id: [u8; 64],
    measurement: [u8; 48],
    host_data: [u8; 32],
    policy: u64,
    guest_svn: u32,
    id_block: IdBlock,
}

/// The identity block's part of a report; all zero where the VM was started without one.
#[derive(Clone, Debug)]
struct IdBlock {
    family_id: [u8; 16],
    image_id: [u8; 16],
    id_key_digest: [u8; 48],
    author_key_digest: [u8; 48],
}

/// Why a machine with this report can't seal a store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The derived key would be rooted in a key that other chips have too, or in none.
    #[error("reports are signed by {got}; only a chip's own key (VCEK) can seal a store")]
    SigningKey {
        /// What signs.
        got: SigningKey,
    },
    /// The host hides which chip this is.
    #[error("the chip's key or id is masked by the host")]
    ChipMasked,
    /// A chip id that this product's chips don't have.
    #[error("the chip id is not one of {product}")]
    ChipId {
        /// The product.
        product: Product,
    },
    /// The report's processor is not the product that the chip's certificates name.
    #[error("the report's processor is not {certified}, which the chip's certificates name")]
    Product {
        /// What the certificates name.
        certified: Product,
    },
    /// The host can read the VM's memory.
    #[error("the VM's policy {policy:#x} allows debugging")]
    Debug {
        /// The policy.
        policy: u64,
    },
    /// The VM can be moved by a migration agent.
    #[error("the VM's policy {policy:#x} allows a migration agent, or it has one")]
    MigrationAgent {
        /// The policy.
        policy: u64,
    },
    /// The request is made for VMPL 0.
    #[error("the report is of VMPL {got}, not 0")]
    Vmpl {
        /// The report's.
        got: u32,
    },
    /// A reserved byte of a TCB version is set.
    #[error("{which} TCB: {cause}")]
    TcbReserved {
        /// Launch or committed.
        which: &'static str,
        /// Which byte.
        cause: TcbReserved,
    },
    /// The firmware is older than any that a store is sealed to.
    #[error("{which} TCB: {} is {}, below the floor of {}", shortfall.component, Part(shortfall.got), Part(shortfall.floor))]
    TcbBelowFloor {
        /// Launch or committed.
        which: &'static str,
        /// What falls short.
        shortfall: TcbShortfall,
    },
}

/// A TCB component's value in a message.
struct Part(Option<u8>);

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => write!(formatter, "{value}"),
            None => formatter.write_str("absent"),
        }
    }
}

impl BootIdentity {
    /// Takes this boot's report; `certified` is the product that the chip's certificates name.
    ///
    /// # Errors
    /// What makes the machine unfit to seal.
    pub fn from_report(report: &Report, certified: Product) -> Result<Self, SealError> {
        let Report {
            version: _,
            guest_svn,
            policy,
            family_id,
            image_id,
            vmpl,
            signature_algorithm: _,
            current_tcb: _,
            platform_info: _,
            key_info,
            report_data: _,
            measurement,
            host_data,
            id_key_digest,
            author_key_digest,
            report_id: _,
            report_id_ma,
            reported_tcb: _, // the host can lower it at will; keys depend on committed and launch
            cpuid,
            chip_id,
            committed_tcb,
            current_version: _,
            committed_version: _,
            launch_tcb,
            mitigations: _,
            signature: _,
        } = report;
        if key_info.signing_key != SigningKey::Vcek {
            return Err(SealError::SigningKey { got: key_info.signing_key });
        }
        if key_info.mask_chip_key || chip_id.is_masked() {
            return Err(SealError::ChipMasked);
        }
        if cpuid.is_some_and(|cpuid| Product::from_cpuid(cpuid) != Some(certified)) {
            return Err(SealError::Product { certified });
        }
        if chip_id.of(certified).is_none() {
            return Err(SealError::ChipId { product: certified });
        }
        check_policy(*policy, report_id_ma, *vmpl)?;
        let launch = sealable_tcb("launch", *launch_tcb, certified)?;
        let committed = sealable_tcb("committed", *committed_tcb, certified)?;
        Ok(Self {
            product: certified,
            tcb_ceiling: committed.min(&launch),
            chip_id: chip_id.0,
            measurement: *measurement,
            host_data: *host_data,
            policy: policy.0,
            guest_svn: *guest_svn,
            id_block: IdBlock {
                family_id: *family_id,
                image_id: *image_id,
                id_key_digest: *id_key_digest,
                author_key_digest: *author_key_digest,
            },
        })
    }

    /// The request for the key that a new store is sealed with: at min(committed, launch).
    #[must_use]
    pub fn seal_request(&self) -> KeyRequest {
        self.key_request(&self.tcb_ceiling)
    }

    /// A sealer from the answer to [`Self::seal_request`].
    #[must_use]
    pub fn sealer(self, key: DerivedKey) -> Sealer {
        Sealer { boot: self, key }
    }

    /// The TCB that a slot is moved to after a raise.
    pub(crate) fn tcb_ceiling(&self) -> Tcb {
        self.tcb_ceiling
    }

    /// MSG_KEY_REQ (AMD 56860, message version 1). Only `tcb` may have its origin in a file, and it
    /// has been found to lie between the floor and this boot's TCB.
    fn key_request(&self, tcb: &Tcb) -> KeyRequest {
        // Bit 0, ROOT_KEY_SELECT: 0, the chip's key. Bits 2:1, KEY_SEL: 1, VCEK and never VLEK.
        const ROOT_VCEK: u32 = 1 << 1;
        const VMPL: u32 = 0;
        let (fields, guest_svn) = match self.id_block.is_present() {
            false => (POLICY | MEASUREMENT | TCB_VERSION, 0),
            true => (
                POLICY | IMAGE_ID | FAMILY_ID | MEASUREMENT | GUEST_SVN | TCB_VERSION,
                self.guest_svn,
            ),
        };
        let mut request = [0; 32];
        request[0x00..0x04].copy_from_slice(&ROOT_VCEK.to_le_bytes());
        request[0x08..0x10].copy_from_slice(&fields.to_le_bytes());
        request[0x10..0x14].copy_from_slice(&VMPL.to_le_bytes());
        request[0x14..0x18].copy_from_slice(&guest_svn.to_le_bytes());
        request[0x18..0x20].copy_from_slice(&tcb.to_version().0);
        KeyRequest(request)
    }
}

// GUEST_FIELD_SELECT.
const POLICY: u64 = 1 << 0;
const IMAGE_ID: u64 = 1 << 1;
const FAMILY_ID: u64 = 1 << 2;
const MEASUREMENT: u64 = 1 << 3;
const GUEST_SVN: u64 = 1 << 4;
const TCB_VERSION: u64 = 1 << 5;

fn check_policy(policy: GuestPolicy, report_id_ma: &[u8; 32], vmpl: u32) -> Result<(), SealError> {
    if policy.debug_allowed() {
        return Err(SealError::Debug { policy: policy.0 });
    }
    if policy.migrate_ma_allowed() || report_id_ma != &[0xFF; 32] {
        return Err(SealError::MigrationAgent { policy: policy.0 });
    }
    if vmpl != 0 {
        return Err(SealError::Vmpl { got: vmpl });
    }
    Ok(())
}

fn sealable_tcb(
    which: &'static str,
    version: TcbVersion,
    product: Product,
) -> Result<Tcb, SealError> {
    let tcb = version.of(product).map_err(|cause| SealError::TcbReserved { which, cause })?;
    match tcb.first_component_below(&tcb_floor(product)) {
        Some(shortfall) => Err(SealError::TcbBelowFloor { which, shortfall }),
        None => Ok(tcb),
    }
}

impl IdBlock {
    fn is_present(&self) -> bool {
        self.id_key_digest != [0; 48]
    }
}

/// A MSG_KEY_REQ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRequest([u8; 32]);

impl KeyRequest {
    /// The message.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The key that the firmware derived for one [`KeyRequest`]; wiped when dropped.
pub struct DerivedKey(KeyBytes);

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

/// This machine with its derived key: seals a new store.
pub struct Sealer {
    boot: BootIdentity,
    key: DerivedKey,
}

impl Sealer {
    /// The TCB that [`Self::seal`] seals at.
    pub(crate) fn tcb(&self) -> Tcb {
        self.boot.tcb_ceiling
    }

    /// The slots of a new store.
    pub(crate) fn seal(
        &self,
        header: &crate::store::Header,
        root: &crate::keys::RootKey,
        instance: &crate::keys::SigningKey,
    ) -> Result<SlotTable, CryptoError> {
        let tcb = self.boot.tcb_ceiling;
        SlotTable::seal(header, &self.boot, tcb, &self.key, root, instance.seed())
    }
}

/// What a slot's record says differently from this boot; for messages only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Another chip.
    Chip,
    /// Another launch measurement.
    Measurement,
    /// Other HOST_DATA.
    HostData,
    /// Another guest policy.
    Policy,
    /// Another guest SVN.
    GuestSvn,
    /// Another ID block.
    IdBlock,
}

/// What differs, in the order of [`Difference`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Differences(pub Vec<Difference>);

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Chip => "chip",
            Self::Measurement => "measurement",
            Self::HostData => "host_data",
            Self::Policy => "policy",
            Self::GuestSvn => "guest_svn",
            Self::IdBlock => "id_block",
        })
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return formatter.write_str("nothing that is recorded differs");
        }
        let names: Vec<_> = self.0.iter().map(Difference::to_string).collect();
        write!(formatter, "differs: {}", names.join(", "))
    }
}

#[cfg(test)]
pub(crate) mod tests;
