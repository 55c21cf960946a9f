//! Opening a slot table: the checks before the firmware is asked, the unwrapping, the wrapping
//! anew.

use super::slots::{Slot, SlotKind, SlotTable, SlotTableError};
use super::{BootIdentity, DerivedKey, Differences, KeyRequest, tcb_floor};
use crate::keys::{RootKey, SigningKey};
use crate::store::{Header, StoreFailure};
use neo_secrets_attestation::ed25519::PublicKey;
use neo_secrets_attestation::tcb::{Tcb, TcbReserved, TcbShortfall};
use std::fmt;

/// Why a store did not open. `E` is why the firmware gave no key.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError<E> {
    /// The slot table is malformed.
    #[error(transparent)]
    Table(#[from] SlotTableError),
    /// The slot's TCB has a reserved byte set: it is of another product, or was changed.
    #[error("the key slot: {cause} ({differences})")]
    TcbReserved {
        /// Which byte.
        cause: TcbReserved,
        /// What else is recorded differently.
        differences: Differences,
    },
    /// The slot asks for a key of firmware that is too old. The firmware was not asked.
    #[error(
        "the key slot's TCB is below the floor ({}): the file was changed, or sealed by old firmware ({differences})",
        Shortfall(shortfall)
    )]
    TcbBelowFloor {
        /// What falls short of the floor.
        shortfall: TcbShortfall,
        /// What is recorded differently.
        differences: Differences,
    },
    /// This machine's firmware is older than the one the store was sealed with, and can't derive
    /// its key. It was not asked.
    #[error(
        "this machine's TCB is below the key slot's ({}): update its firmware ({differences})",
        Shortfall(shortfall)
    )]
    TcbAboveFirmware {
        /// What this machine lacks; the floor is the slot's.
        shortfall: TcbShortfall,
        /// What is recorded differently.
        differences: Differences,
    },
    /// The firmware was asked and gave no key.
    #[error("the firmware gave no key: {0}")]
    Derive(E),
    /// The machine's key does not open the slot: the store is sealed to another machine, or the
    /// slot was changed.
    #[error("the machine's key does not open the key slot: {differences}")]
    Key {
        /// What is recorded differently.
        differences: Differences,
    },
    /// The slot opened and its key does not authenticate the table: the table was changed.
    #[error("the slot table is not the one that its root key authenticates")]
    TableForged,
    /// The root key is there, and the store's first records do not open.
    #[error(transparent)]
    Store(#[from] StoreFailure),
}

/// A shortfall in a message.
struct Shortfall<'a>(&'a TcbShortfall);

impl fmt::Display for Shortfall<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TcbShortfall { component, got, floor } = self.0;
        write!(formatter, "{component} {} < {}", super::Part(*got), super::Part(*floor))
    }
}

/// What became of the key slot after the TCB was raised.
#[derive(Debug)]
pub enum Rewrap {
    /// The slot already has this boot's TCB.
    NotNeeded,
    /// The slot now has this boot's TCB.
    Done,
    /// The old slot stays, and still opens the store: this went wrong.
    Failed(String),
}

/// What an opened slot table gives.
pub(crate) struct Opened {
    pub(crate) root: RootKey,
    /// What the slot that opened is sealed at.
    pub(crate) tcb: Tcb,
    /// The table to write in place of the old one, where the TCB was raised.
    pub(crate) rewrapped: Option<Result<SlotTable, String>>,
}

/// A table that stayed closed; the instance key's public half where its own slot opened.
pub(crate) type NotOpened<E> = (UnsealError<E>, Option<PublicKey>);

/// Opens the table of the store that `header` names. Asks for one key, and after a TCB raise for a
/// second one.
pub(crate) fn unseal<E: fmt::Display>(
    header: &Header,
    table: &SlotTable,
    boot: &BootIdentity,
    mut derive: impl FnMut(&KeyRequest) -> Result<DerivedKey, E>,
) -> Result<Opened, NotOpened<E>> {
    let slot = &table.firmware;
    let tcb = sealed_tcb(slot, boot).map_err(|error| (error, None))?;
    let derived =
        derive(&boot.key_request(&tcb)).map_err(|error| (UnsealError::Derive(error), None))?;
    let identity = || open_identity(header, table, boot, &tcb, &derived);
    let key = slot.open(SlotKind::Firmware, header, boot, &derived).map_err(|_| {
        let error = UnsealError::Key { differences: slot.differences(boot) };
        (error, identity().map(|key| key.public()))
    })?;
    let root = table
        .check(header, key)
        .map_err(|_| (UnsealError::TableForged, identity().map(|key| key.public())))?;
    let rewrapped = (tcb != boot.tcb_ceiling).then(|| {
        let instance = identity().ok_or("the identity slot does not open")?;
        let request = boot.key_request(&boot.tcb_ceiling);
        let derived = derive(&request).map_err(|error| error.to_string())?;
        SlotTable::seal(header, boot, boot.tcb_ceiling, &derived, &root, instance.seed())
            .map_err(|error| error.to_string())
    });
    Ok(Opened { root, tcb, rewrapped })
}

/// The TCB to ask for: the slot's, which the file may have from anyone, between the floor and this
/// boot's.
fn sealed_tcb<E>(slot: &Slot, boot: &BootIdentity) -> Result<Tcb, UnsealError<E>> {
    let differences = || slot.differences(boot);
    let tcb = slot
        .tcb_version
        .of(boot.product)
        .map_err(|cause| UnsealError::TcbReserved { cause, differences: differences() })?;
    if let Some(shortfall) = tcb.first_component_below(&tcb_floor(boot.product)) {
        return Err(UnsealError::TcbBelowFloor { shortfall, differences: differences() });
    }
    if let Some(shortfall) = boot.tcb_ceiling.first_component_below(&tcb) {
        return Err(UnsealError::TcbAboveFirmware { shortfall, differences: differences() });
    }
    Ok(tcb)
}

/// The instance key, where its slot opens; the slot has to be of the TCB that the key was derived
/// for.
fn open_identity(
    header: &Header,
    table: &SlotTable,
    boot: &BootIdentity,
    tcb: &Tcb,
    derived: &DerivedKey,
) -> Option<SigningKey> {
    let slot = table.identity.as_ref().filter(|slot| slot.tcb_version == tcb.to_version())?;
    let seed = slot.open(SlotKind::Identity, header, boot, derived).ok()?;
    SigningKey::from_seed(seed).ok()
}
