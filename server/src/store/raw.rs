//! The engine on a raw disk (STORE.md §1.1): its length stands in the disk's header, which is
//! written last where a store is founded.

use crate::disk::{Disk, Header};
use crate::store::room::{DiskSpace, Space};
use neo_secrets_attestation::evidence::StoreId;
use redb::{BackendError, StorageBackend};
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Clones are the same engine's.
#[derive(Clone, Debug)]
pub(super) struct RawBackend {
    disk: Arc<Disk>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    length: u64,
    /// Whose header the disk has; none where the store is being founded.
    store_id: Option<StoreId>,
}

impl RawBackend {
    /// A store's that stands on the disk.
    pub(super) fn existing(disk: Arc<Disk>, header: Header) -> Self {
        let Header { store_id, engine_bytes } = header;
        Self::new(disk, State { length: engine_bytes, store_id: Some(store_id) })
    }

    /// A new store's. Until [`Self::publish`] the disk stays an empty one.
    pub(super) fn empty(disk: Arc<Disk>) -> Self {
        Self::new(disk, State { length: 0, store_id: None })
    }

    fn new(disk: Arc<Disk>, state: State) -> Self {
        Self { disk, state: Arc::new(Mutex::new(state)) }
    }

    /// Makes the disk one with this store; what the engine has synced is there before.
    pub(super) fn publish(&self, store_id: StoreId) -> io::Result<()> {
        let mut state = self.state();
        self.disk.put_header(Header { store_id, engine_bytes: state.length })?;
        self.disk.sync()?;
        state.store_id = Some(store_id);
        Ok(())
    }

    /// What the disk has for it.
    pub(super) fn space(&self) -> Space {
        let backend = self.clone();
        Box::new(move || {
            let occupied = backend.state().length;
            let bytes_max = backend.disk.engine_bytes_max()?;
            if bytes_max < occupied {
                let what = format!("the disk has room for {bytes_max} of {occupied} bytes");
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
            }
            let free = reachable(occupied, bytes_max) - occupied;
            Ok(DiskSpace { free, occupied })
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StorageBackend for RawBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        within(self.state().length, offset, out.len())?;
        self.disk.read_engine(offset, out)
    }

    /// The disk's bytes stay what they are: the engine reads only what it has written.
    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.state();
        let bytes_max = self.disk.engine_bytes_max()?;
        if length > bytes_max {
            let what = format!("the disk is full: {bytes_max} bytes, and {length} are wanted");
            return Err(io::Error::new(io::ErrorKind::StorageFull, what));
        }
        if let Some(store_id) = state.store_id {
            self.disk.put_header(Header { store_id, engine_bytes: length })?;
        }
        state.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        within(self.state().length, offset, data.len())?;
        self.disk.write_engine(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.disk.give_back();
        Ok(())
    }

    /// One engine has the whole disk, or none has; that no other process does is the disk's own
    /// lock.
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        if !matches!((start, end), (Bound::Unbounded | Bound::Included(0), Bound::Unbounded)) {
            return Err(BackendError::Unsupported);
        }
        Ok(self.disk.take())
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(self.close()?)
    }
}

/// How long an engine of this length can get: it doubles, and from 4 GiB on grows by up to twice
/// that at a time, with some pages of its own.
fn reachable(mut length: u64, bytes_max: u64) -> u64 {
    const STEP: u64 = 2 * (4 << 30);
    const OWN: u64 = 1_048_576;
    loop {
        let step = length.clamp(OWN, STEP).saturating_add(OWN);
        match length.checked_add(step) {
            Some(longer) if longer <= bytes_max => length = longer,
            _ => return length,
        }
    }
}

fn within(length: u64, offset: u64, bytes: usize) -> io::Result<()> {
    let end = u64::try_from(bytes).ok().and_then(|bytes| offset.checked_add(bytes));
    match end {
        Some(end) if end <= length => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::reachable;

    #[test]
    fn the_engine_gets_as_long_as_its_steps_allow() {
        const MIB: u64 = 1 << 20;
        assert_eq!(reachable(2 * MIB, 4 * MIB), 2 * MIB);
        assert_eq!(reachable(2 * MIB, 5 * MIB), 5 * MIB);
        assert_eq!(reachable(2 * MIB, 12 * MIB), 11 * MIB);
        let gib = 1_024 * MIB;
        let longest = reachable(2 * MIB, 64 * gib);
        assert!(longest > 55 * gib && longest <= 64 * gib, "{longest}");
    }
}
