//! Opening an existing store: first the file, then the seal.

use crate::clock::Clock;
use crate::disk::{Disk, LookError};
use crate::keys::RootKey;
use crate::seal::{
    self, BootIdentity, DerivedKey, KeyRequest, Opened, Rewrap, SlotTable, UnsealError,
};
use crate::store::body::OwnerBody;
use crate::store::core::Core;
use crate::store::engine::{Changes, Commit, Engine, EngineError, View};
use crate::store::error::StoreFailure;
use crate::store::header::HeaderError;
use crate::store::held::HeldStore;
use crate::store::raw::RawBackend;
use crate::store::record::{header_key, slots_key};
use crate::store::room::{self, Space};
use crate::store::upgrade;
use crate::store::writer::Writer;
use crate::store::{Header, Place, Store, StoreLimits};
use neo_secrets_attestation::config::AttestedConfig;
use neo_secrets_attestation::ed25519::PublicKey;
use neo_secrets_attestation::evidence::StoreId;
use neo_secrets_attestation::tcb::Tcb;
use redb::StorageBackend;
use redb::backends::FileBackend;
use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What stands at the store's path.
pub enum Found {
    /// No file: the instance is unclaimed.
    Nothing,
    /// A store, still sealed.
    Closed(ClosedStore),
}

/// Why a store's file can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the store is in use by another process")]
    Locked,
    /// Not a store of ours.
    #[error("the file is not a Neo Secrets store")]
    Foreign,
    /// Written by a newer server.
    #[error(
        "the store has format {found}, written by a newer server; this one knows up to {known}: upgrade"
    )]
    NewerFormat {
        /// The file's.
        found: u16,
        /// This server's.
        known: u16,
    },
    /// The file was cut or changed from outside.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The file could not be read.
    #[error("the store could not be read: {0}")]
    Io(#[from] io::Error),
    /// The disk holds no store of ours, or less of it than was written.
    #[error(transparent)]
    Disk(#[from] LookError),
}

impl From<EngineError> for OpenError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Locked => Self::Locked,
            EngineError::Foreign => Self::Foreign,
            EngineError::Damaged(what) => Self::Damaged(what),
            EngineError::Panicked(what) => Self::Damaged(format!("the engine panicked: {what}")),
            EngineError::Io(what) => Self::Io(io::Error::other(what)),
            EngineError::Seal(failure) => Self::Io(io::Error::other(failure)),
        }
    }
}

/// A store whose root key is still sealed. Its records stay closed; the file stays locked.
pub struct ClosedStore {
    engine: Engine,
    header: Header,
    slots: Vec<u8>,
}

/// What opening a store gave.
pub struct Unsealed {
    /// The store, open or held.
    pub store: Opening,
    /// What became of the key slot after a TCB raise.
    pub rewrap: Rewrap,
    /// The TCB that the store is sealed at now.
    pub sealed_at: Tcb,
}

/// Whether a store may be used with the configuration of this start.
pub enum Opening {
    /// With the one that it was claimed with, or that its owner has accepted.
    Open(Store),
    /// Only once its owner accepts it.
    Held(Box<HeldStore>),
}

/// A store that stays sealed, and what may still be shown of it.
pub struct StillSealed<E> {
    /// The store.
    pub store: ClosedStore,
    /// The instance key's public half, where the identity slot opened.
    pub instance_key: Option<PublicKey>,
    /// Why.
    pub error: UnsealError<E>,
}

/// Looks at what stands there.
pub(super) fn open(place: &Place) -> Result<Found, OpenError> {
    match place {
        Place::File(path) => open_file(path),
        Place::Disk(disk) => open_disk(disk),
    }
}

fn open_disk(disk: &Arc<Disk>) -> Result<Found, OpenError> {
    let Some(header) = disk.look()? else { return Ok(Found::Nothing) };
    let backend = RawBackend::existing(disk.clone(), header);
    let space = backend.space();
    let store = open_backend(backend, space).map_err(|error| match error {
        OpenError::Foreign => {
            OpenError::Damaged("the disk's header is ours, and no store is behind it".to_owned())
        }
        other => other,
    })?;
    if store.header.store_id != header.store_id {
        return Err(OpenError::Damaged("the disk's header names another store".to_owned()));
    }
    Ok(Found::Closed(store))
}

fn open_file(path: &Path) -> Result<Found, OpenError> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error.into()),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() == 0 {
        return Err(OpenError::Foreign);
    }
    let space = room::of_file(&file)?;
    let backend = FileBackend::new(file).map_err(EngineError::from)?;
    open_backend(backend, space).map(Found::Closed)
}

/// Opens a file that is not empty.
pub(super) fn open_backend(
    backend: impl StorageBackend,
    space: Space,
) -> Result<ClosedStore, OpenError> {
    let engine = Engine::open(backend, space)?;
    let snapshot = engine.snapshot()?;
    let header = snapshot.get(&header_key())?.ok_or(OpenError::Foreign)?;
    let header = Header::parse(&header).map_err(|error| match error {
        HeaderError::Format(found) if found > Header::FORMAT => {
            OpenError::NewerFormat { found, known: Header::FORMAT }
        }
        HeaderError::Format(_) | HeaderError::Malformed => {
            OpenError::Damaged("its header is malformed".to_owned())
        }
    })?;
    // A table that is not there fails to parse when it is needed.
    let slots = snapshot.get(&slots_key())?.unwrap_or_default();
    Ok(ClosedStore { engine, header, slots })
}

impl ClosedStore {
    /// The store's id, as the file says.
    #[must_use]
    pub fn store_id(&self) -> StoreId {
        self.header.store_id
    }

    /// Opens the store: asks `derive` for the key of its slot, and after a TCB raise once more for
    /// the key of this boot's TCB. Blocks.
    ///
    /// # Errors
    /// The store as it was, and why it did not open.
    pub fn unseal<E: fmt::Display>(
        self,
        boot: &BootIdentity,
        derive: impl FnMut(&KeyRequest) -> Result<DerivedKey, E>,
        limits: StoreLimits,
        config: &AttestedConfig,
        clock: &Arc<Clock>,
    ) -> Result<Unsealed, Box<StillSealed<E>>> {
        let opened = SlotTable::parse(&self.slots)
            .map_err(|error| (error.into(), None))
            .and_then(|table| seal::unseal(&self.header, &table, boot, derive));
        let (error, instance_key) = match opened {
            Err(failed) => failed,
            Ok(Opened { root, tcb, rewrapped }) => {
                match self.open_records(&root, rewrapped, limits, config, clock) {
                    Err(failure) => (failure.into(), None),
                    Ok((core, owner, rewrap)) => {
                        let Self { engine, header, slots } = self;
                        let sealed_at = match rewrap {
                            Rewrap::Done => boot.tcb_ceiling(),
                            Rewrap::NotNeeded | Rewrap::Failed(_) => tcb,
                        };
                        if owner.config.0 != *config {
                            let store =
                                Opening::Held(Box::new(HeldStore::new(engine, core, owner)));
                            return Ok(Unsealed { store, rewrap, sealed_at });
                        }
                        let (engine, failure) = match Writer::start(engine, core) {
                            Ok(writer) => {
                                let store = Opening::Open(Store { writer });
                                return Ok(Unsealed { store, rewrap, sealed_at });
                            }
                            Err(failed) => *failed,
                        };
                        let store = Self { engine, header, slots };
                        let error = UnsealError::Store(failure.into());
                        return Err(Box::new(StillSealed { store, instance_key: None, error }));
                    }
                }
            }
        };
        Err(Box::new(StillSealed { store: self, instance_key, error }))
    }

    fn open_records(
        &self,
        root: &RootKey,
        rewrapped: Option<Result<SlotTable, String>>,
        limits: StoreLimits,
        config: &AttestedConfig,
        clock: &Arc<Clock>,
    ) -> Result<(Core, OwnerBody, Rewrap), StoreFailure> {
        let snapshot = self.engine.snapshot()?;
        let core = Core::open(self.header, root, &snapshot, limits, clock.clone())?;
        let owner = upgrade::owner(&self.engine, &core, config)?;
        core.settled.store(owner.settled, Ordering::Release);
        upgrade::upgrade(&self.engine, &core)?;
        let rewrap = match rewrapped {
            None => Rewrap::NotNeeded,
            Some(Err(cause)) => Rewrap::Failed(cause),
            Some(Ok(table)) => {
                let mut changes = Changes::default();
                changes.put(slots_key(), table.to_bytes());
                self.engine.write(|batch| Ok((batch.apply(&changes)?, Commit::Yes)))?;
                Rewrap::Done
            }
        };
        Ok((core, owner, rewrap))
    }
}
