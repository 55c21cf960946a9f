//! A disk in memory that remembers every write and sync, so that power can be cut at each of them.

use crate::disk::{Disk as RawDisk, Medium};
use crate::store::room::{DiskSpace, Space};
use redb::{BackendError, StorageBackend};
use std::collections::BTreeSet;
use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// Disks tear writes between sectors.
const SECTOR_BYTES: usize = 512;

/// What the engine did to the disk.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Write { offset: usize, data: Vec<u8> },
    Length(usize),
    Sync,
}

#[derive(Default, Debug)]
struct State {
    bytes: Vec<u8>,
    /// Kept only where power is to be cut.
    log: Option<Vec<Event>>,
    locked_by: Option<u64>,
    raw: bool,
    /// Whether reads fail.
    unreadable: bool,
    /// Writes and syncs that still succeed, where the disk is to fail.
    good_operations: Option<u64>,
    /// Kept only where the disk is to be full.
    blocks: Option<Blocks>,
}

/// The blocks of a sparse file, and how many the disk has for it.
#[derive(Debug)]
struct Blocks {
    occupied: BTreeSet<usize>,
    capacity: usize,
}

const BLOCK_BYTES: usize = 4_096;

/// The disk; its backends are what processes open it by.
#[derive(Clone, Default, Debug)]
pub(crate) struct Disk(Arc<Mutex<State>>);

/// A raw disk's bytes at first: an empty one, behind whose first MiB lies what somebody left there.
pub(super) fn raw_bytes(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    bytes[1_048_576..].fill(0xA5);
    bytes
}

#[derive(Debug)]
pub(super) struct Backend {
    disk: Disk,
    owner: u64,
}

/// What happens to one unsynced event when power is cut.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    Kept,
    Lost,
    /// Only so many sectors of it got written.
    Torn(usize),
}

impl Disk {
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State { bytes, ..State::default() })))
    }

    pub(super) fn logging() -> Self {
        Self(Arc::new(Mutex::new(State { log: Some(Vec::new()), ..State::default() })))
    }

    /// A raw one: of a fixed size, and a store begins with the disk's header.
    pub(super) fn raw(bytes: Vec<u8>) -> Self {
        let log = Some(Vec::new());
        Self(Arc::new(Mutex::new(State { bytes, log, raw: true, ..State::default() })))
    }

    pub(super) fn is_raw(&self) -> bool {
        self.state().raw
    }

    /// As the host may change it.
    pub(super) fn with_bytes<T>(&self, change: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        change(&mut self.state().bytes)
    }

    /// As a server opens a raw disk.
    pub(super) fn opened(&self) -> Arc<RawDisk> {
        assert!(self.is_raw());
        Arc::new(RawDisk::new(self.backend(), std::path::Path::new("/dev/a-disk")))
    }

    pub(super) fn backend(&self) -> Backend {
        static OWNERS: AtomicU64 = AtomicU64::new(0);
        Backend { disk: self.clone(), owner: OWNERS.fetch_add(1, Ordering::Relaxed) }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.state().bytes.clone()
    }

    pub(super) fn log(&self) -> Vec<Event> {
        self.state().log.clone().unwrap()
    }

    /// How many events there have been.
    pub(super) fn position(&self) -> usize {
        self.state().log.as_ref().map_or(0, Vec::len)
    }

    /// From here on, all writes and syncs after the next `operations` fail.
    pub(crate) fn fail_after(&self, operations: u64) {
        self.state().good_operations = Some(operations);
    }

    /// Reads fail from here on.
    pub(super) fn make_unreadable(&self) {
        self.state().unreadable = true;
    }

    pub(crate) fn repair(&self) {
        let mut state = self.state();
        (state.good_operations, state.unreadable) = (None, false);
    }

    /// From here on, the file can take so many bytes more.
    pub(super) fn leave(&self, bytes: usize) {
        let mut state = self.state();
        let occupied: BTreeSet<usize> = match state.blocks.take() {
            Some(blocks) => blocks.occupied,
            None => (0..state.bytes.len().div_ceil(BLOCK_BYTES)).collect(),
        };
        let capacity = occupied.len() + bytes / BLOCK_BYTES;
        state.blocks = Some(Blocks { occupied, capacity });
    }

    /// What the disk says of itself.
    pub(super) fn space(&self) -> Space {
        let disk = self.clone();
        Box::new(move || Ok(disk.state().space()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn spend(&mut self) -> io::Result<()> {
        match &mut self.good_operations {
            Some(0) => Err(io::Error::other("the disk has failed")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn space(&self) -> DiskSpace {
        let bytes = |blocks: usize| (blocks * BLOCK_BYTES) as u64;
        match &self.blocks {
            None => DiskSpace { free: u64::MAX, occupied: self.bytes.len() as u64 },
            Some(Blocks { occupied, capacity }) => DiskSpace {
                free: bytes(capacity - occupied.len()),
                occupied: bytes(occupied.len()),
            },
        }
    }

    fn occupy(&mut self, offset: usize, length: usize) -> io::Result<()> {
        let Some(blocks) = &mut self.blocks else { return Ok(()) };
        for block in offset / BLOCK_BYTES..(offset + length).div_ceil(BLOCK_BYTES) {
            if !blocks.occupied.contains(&block) && blocks.occupied.len() == blocks.capacity {
                return Err(io::ErrorKind::StorageFull.into());
            }
            blocks.occupied.insert(block);
        }
        Ok(())
    }

    fn note(&mut self, event: Event) {
        if let Some(log) = &mut self.log {
            log.push(event);
        }
    }
}

impl Event {
    /// Does to an image what this event did, as far as it got.
    pub(super) fn apply(&self, image: &mut Vec<u8>, fate: Fate) {
        match (self, fate) {
            (_, Fate::Lost) | (Self::Sync, _) => {}
            (Self::Length(length), _) => image.resize(*length, 0),
            (Self::Write { offset, data }, Fate::Kept) => put(image, *offset, data),
            (Self::Write { offset, data }, Fate::Torn(sectors)) => {
                let written = data.len().min(sectors * SECTOR_BYTES);
                put(image, *offset, &data[..written]);
            }
        }
    }
}

fn put(image: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(data);
}

impl Medium for Backend {
    fn bytes(&self) -> io::Result<u64> {
        self.len()
    }

    fn read(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        StorageBackend::read(self, at, out)
    }

    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        StorageBackend::write(self, at, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.disk.state();
        if state.unreadable {
            return Err(io::Error::other("the disk does not read"));
        }
        let offset = offset as usize;
        let end = offset.checked_add(out.len()).ok_or(io::ErrorKind::InvalidInput)?;
        let bytes = state.bytes.get(offset..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.spend()?;
        state.bytes.resize(length as usize, 0);
        state.note(Event::Length(length as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.spend()?;
        state.note(Event::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        state.spend()?;
        let offset = offset as usize;
        if state.bytes.len() < offset + data.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        state.occupy(offset, data.len())?;
        put(&mut state.bytes, offset, data);
        state.note(Event::Write { offset, data: data.to_vec() });
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        if state.locked_by == Some(self.owner) {
            state.locked_by = None;
        }
        Ok(())
    }

    /// One owner has the whole disk, or nobody has.
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        if !matches!((start, end), (Bound::Unbounded | Bound::Included(0), Bound::Unbounded)) {
            return Err(BackendError::Unsupported);
        }
        let mut state = self.disk.state();
        let is_free = state.locked_by.is_none_or(|owner| owner == self.owner);
        if is_free {
            state.locked_by = Some(self.owner);
        }
        Ok(is_free)
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(self.close()?)
    }
}
