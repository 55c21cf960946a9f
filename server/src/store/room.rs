//! Room on the disk (STORE.md §7). A write that finds none would end the store, so those that make
//! it larger are refused while there still is a reserve: deletions, revocations and the owner's acts
//! go on.

use crate::limits::{DISK_RECHECK_BYTES, DISK_RESERVE_BYTES, RECORD_OVERHEAD_BYTES};
use crate::store::engine::EngineError;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

/// What the disk has for the store's file, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DiskSpace {
    /// By how much the file can still grow.
    pub(super) free: u64,
    /// What it occupies.
    pub(super) occupied: u64,
}

impl DiskSpace {
    /// What is kept for deletions and the owner; of a small disk a quarter.
    fn reserve(self) -> u64 {
        DISK_RESERVE_BYTES.min(self.free.saturating_add(self.occupied) / 4)
    }
}

/// Asks the disk.
pub(super) type Space = Box<dyn Fn() -> io::Result<DiskSpace> + Send>;

/// The space of a file in a file system.
///
/// # Errors
/// As the system says.
pub(super) fn of_file(file: &File) -> io::Result<Space> {
    let file = file.try_clone()?;
    Ok(Box::new(move || {
        let system = rustix::fs::fstatvfs(&file)?;
        let free = system.f_bavail.saturating_mul(system.f_frsize);
        // In blocks of 512 bytes, whatever the file system's are.
        let occupied = file.metadata()?.blocks().saturating_mul(512);
        Ok(DiskSpace { free, occupied })
    }))
}

/// What the writes of one batch may still take.
#[derive(Debug)]
pub(super) struct Room {
    /// Bytes beyond the reserve.
    left: u64,
}

impl Room {
    /// Takes the room for these records, or leaves all of it where it does not suffice.
    pub(super) fn take(&mut self, bytes: u64) -> bool {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

/// What a batch did with its room: bytes, and writes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct UseOfRoom {
    /// What the records that it wrote may take.
    pub(super) taken: u64,
    /// What those that it removed held.
    pub(super) removed: u64,
    /// How many writes found none.
    pub(super) refused: u64,
}

/// What a record may take with a key and a value of these lengths: the engine's pages come in powers
/// of two.
pub(super) fn record_bytes(key: usize, value: usize) -> u64 {
    let bytes = u64::try_from(key.saturating_add(value)).unwrap_or(u64::MAX);
    bytes.saturating_mul(2).saturating_add(RECORD_OVERHEAD_BYTES)
}

/// Follows the room from batch to batch. While the disk has plenty, that is all there is to know.
/// Else the pages that are free inside the file count too: what it occupies less those in use. To
/// count these the whole file is read, so that is done once; then they are followed by what is
/// written and removed, taken for more and for less than it is, and counted again only when that is
/// much and the room seems used up.
pub(super) struct Gauge {
    space: Space,
    in_use: Option<InUse>,
    /// Whether something was refused since the disk had plenty.
    is_full: bool,
}

/// The pages that hold something.
struct InUse {
    bytes: u64,
    /// What was written and removed since they were counted.
    moved: u64,
}

impl Gauge {
    pub(super) fn new(space: Space) -> Self {
        Self { space, in_use: None, is_full: false }
    }

    /// The room of the next batch. `count` counts the bytes of pages in use.
    pub(super) fn room(
        &mut self,
        count: impl FnOnce() -> Result<u64, EngineError>,
    ) -> Result<Room, EngineError> {
        let space = (self.space)().map_err(|error| EngineError::Io(error.to_string()))?;
        let reserve = space.reserve();
        if space.free >= 2 * reserve {
            if self.is_full {
                tracing::info!("the disk has room again");
            }
            (self.in_use, self.is_full) = (None, false);
            return Ok(Room { left: space.free - reserve });
        }
        let known = self.in_use.as_ref();
        let known = known.filter(|it| !self.is_full || it.moved < DISK_RECHECK_BYTES);
        let in_use = match known {
            Some(in_use) => in_use.bytes,
            None => {
                let bytes = count()?;
                self.in_use = Some(InUse { bytes, moved: 0 });
                bytes
            }
        };
        let inside = space.occupied.saturating_sub(in_use);
        let left = space.free.saturating_add(inside).saturating_sub(reserve);
        Ok(Room { left })
    }

    /// What became of a batch.
    pub(super) fn note(&mut self, batch: &UseOfRoom) {
        let UseOfRoom { taken, removed, refused } = *batch;
        if refused > 0 && !self.is_full {
            tracing::warn!("the disk is full: only what makes room is written");
        }
        self.is_full |= refused > 0;
        if let Some(InUse { bytes, moved }) = &mut self.in_use {
            *bytes = bytes.saturating_add(taken).saturating_sub(removed);
            *moved = moved.saturating_add(taken).saturating_add(removed);
        }
    }
}
