//! The seam to the engine. It is trusted for nothing: its errors and panics end in named states,
//! and what it gives back is bytes for [`super::record`] to open.

use crate::audit::Event;
use crate::limits::ENGINE_CACHE_BYTES;
use crate::model::{AccountId, Timestamp};
use crate::store::body::StateBody;
use crate::store::core::AccountKeys;
use crate::store::error::StoreFailure;
use crate::store::names::NameChange;
use crate::store::record::{self, Address, TABLE, decides_access, holds_names, holds_secret};
use crate::store::room::{Gauge, Room, Space, UseOfRoom, record_bytes};
use redb::{
    CommitError, Database, DatabaseError, ReadOnlyTable, ReadableDatabase, ReadableTable,
    StorageBackend, StorageError, Table, TableDefinition, TableError, TransactionError,
    WriteTransaction,
};
use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(TABLE);

/// Why the engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum EngineError {
    /// Another process holds the file.
    #[error("the file is in use")]
    Locked,
    /// Not a file of this engine, or not one with our table.
    #[error("not a store")]
    Foreign,
    /// The file contradicts itself.
    #[error("damaged: {0}")]
    Damaged(String),
    /// The disk failed, or did so before.
    #[error("input or output failed: {0}")]
    Io(String),
    /// The engine panicked.
    #[error("the engine panicked: {0}")]
    Panicked(String),
    /// What goes with every batch, its states, names, events and the time, could not be sealed, so that
    /// nothing of it was written.
    #[error("states, names, events and time could not be sealed: {0}")]
    Seal(StoreFailure),
}

impl From<StorageError> for EngineError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Corrupted(what) => Self::Damaged(what),
            StorageError::Io(cause) if cause.kind() == std::io::ErrorKind::InvalidData => {
                Self::Foreign
            }
            // A page beyond the end: the file was cut.
            StorageError::Io(cause) if cause.kind() == std::io::ErrorKind::UnexpectedEof => {
                Self::Damaged(cause.to_string())
            }
            other => Self::Io(other.to_string()),
        }
    }
}

impl From<TableError> for EngineError {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(cause) => cause.into(),
            TableError::TableDoesNotExist(_) => Self::Foreign,
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<DatabaseError> for EngineError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => Self::Locked,
            DatabaseError::Storage(cause) => cause.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<TransactionError> for EngineError {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Storage(cause) => cause.into(),
            other => Self::Io(other.to_string()),
        }
    }
}

impl From<CommitError> for EngineError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Storage(cause) => cause.into(),
            other => Self::Io(other.to_string()),
        }
    }
}

/// Runs engine code; a panic of the engine becomes an error.
fn guarded<T>(work: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(EngineError::Panicked(text.unwrap_or("without a message").to_owned()))
    })
}

/// The open file. One owner: the thread that writes.
pub(super) struct Engine {
    database: Option<Database>,
    /// Accounts that were deleted since the file was opened.
    deletions: Cell<u64>,
    /// Records that decide access which were written or removed since then.
    access_changes: Cell<u64>,
    /// Records of names which were written or removed since then.
    name_changes: Cell<u64>,
    /// Secrets that were changed or removed, and accounts that were deleted, since then.
    gone: Cell<u64>,
    /// Room on the disk; gone with the database.
    gauge: RefCell<Option<Gauge>>,
}

impl Engine {
    /// Opens the file after checking every page of it, or lays out an empty one. `space` says what
    /// the disk has for it.
    pub(super) fn open(backend: impl StorageBackend, space: Space) -> Result<Self, EngineError> {
        guarded(|| {
            let mut builder = Database::builder();
            builder.set_cache_size(ENGINE_CACHE_BYTES).set_check_integrity_on_open(true);
            let database = Some(builder.create_with_backend(backend)?);
            let gauge = RefCell::new(Some(Gauge::new(space)));
            let (deletions, access_changes, name_changes, gone) = Default::default();
            Ok(Self { database, deletions, access_changes, name_changes, gone, gauge })
        })
    }

    /// What is committed now.
    pub(super) fn snapshot(&self) -> Result<Snapshot, EngineError> {
        let (deletions, access_changes) = (self.deletions.get(), self.access_changes.get());
        let (name_changes, gone) = (self.name_changes.get(), self.gone.get());
        guarded(|| {
            let table = self.database()?.begin_read()?.open_table(RECORDS)?;
            Ok(Snapshot { table, deletions, access_changes, name_changes, gone })
        })
    }

    /// One transaction: what `work` writes becomes durable as a whole before this returns, where
    /// `work` says that there is something to commit; else nothing happens.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&mut Batch<'_>) -> Result<(T, Commit), EngineError>,
    ) -> Result<T, EngineError> {
        guarded(|| {
            let mut transaction = self.database()?.begin_write()?;
            // One sync a commit, which its checksums prove whole. The state of the allocator does not
            // go along: each opening reads the whole file anyway.
            transaction.set_quick_repair(false);
            let mut gauge = self.gauge.borrow_mut();
            let gauge = gauge.as_mut().ok_or_else(closed)?;
            let room = gauge.room(|| allocated(&transaction))?;
            let (answer, commit, deletions, own, use_of_room) = {
                let mut batch = Batch {
                    table: transaction.open_table(RECORDS)?,
                    deletions: self.deletions.get(),
                    access_changes: self.access_changes.get(),
                    name_changes: self.name_changes.get(),
                    own: OwnChanges::default(),
                    room,
                    use_of_room: UseOfRoom::default(),
                };
                let (answer, commit) = work(&mut batch)?;
                (answer, commit, batch.deletions, batch.own, batch.use_of_room)
            };
            gauge.note(&use_of_room);
            match commit {
                Commit::Yes => {
                    transaction.commit()?;
                    self.deletions.set(deletions);
                    self.access_changes.update(|changes| changes + own.access);
                    self.name_changes.update(|changes| changes + own.names);
                    self.gone.update(|gone| gone + own.gone.count());
                }
                Commit::Nothing => transaction.abort()?,
            }
            Ok(answer)
        })
    }

    fn database(&self) -> Result<&Database, EngineError> {
        self.database.as_ref().ok_or_else(closed)
    }

    /// Closes the file and lets go of its lock.
    pub(super) fn close(&mut self) -> Result<(), EngineError> {
        // It holds a descriptor of the file, which keeps the lock.
        *self.gauge.get_mut() = None;
        let Some(database) = self.database.take() else { return Ok(()) };
        guarded(|| Ok(database.close()?))
    }
}

fn closed() -> EngineError {
    EngineError::Io("closed".to_owned())
}

/// The bytes in pages that are in use. Reads the whole file.
fn allocated(transaction: &WriteTransaction) -> Result<u64, EngineError> {
    let stats = transaction.stats()?;
    let page_bytes = u64::try_from(stats.page_size()).unwrap_or(u64::MAX);
    Ok(stats.allocated_pages().saturating_mul(page_bytes))
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Whoever wants to know why a close failed calls it; what was committed is durable anyway.
        let _ = self.close();
    }
}

/// Whether a transaction has anything to commit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Commit {
    Yes,
    Nothing,
}

/// What is shown keys and what stands at them, until it breaks.
pub(super) type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'v;

/// Bytes by engine key: a snapshot, or the transaction that is being written.
pub(super) trait View {
    /// What stands at a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError>;

    /// What stands at the keys that begin with `prefix`, in order; for where there is little.
    fn stored(&self, prefix: &[u8]) -> Result<Vec<Stored>, EngineError>;

    /// Shows each record whose key begins with `prefix`, in order, until `visit` breaks.
    fn visit(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), EngineError>;

    /// How many accounts were deleted since the file was opened, as this view has it: what was
    /// cached under another number may be of an account that is not there.
    fn deletions(&self) -> u64;

    /// How many records that decide access were written or removed since the file was opened: whom a
    /// token admits is cached under one such number. None where this view has some that are not
    /// committed: their number may come again with another content.
    fn access_changes(&self) -> Option<u64>;

    /// How many records of names were written or removed since the file was opened, by what this view
    /// has of commits.
    fn name_changes(&self) -> u64;
}

/// That something stands at a key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) key: Vec<u8>,
    /// Of the key and what stands there.
    pub(super) bytes: u64,
}

impl Stored {
    pub(super) fn new(key: Vec<u8>, value: &[u8]) -> Self {
        let bytes = u64::try_from(key.len().saturating_add(value.len())).unwrap_or(u64::MAX);
        Self { key, bytes }
    }
}

/// One commit's state. Reading it takes no lock that a writer holds.
pub(super) struct Snapshot {
    table: ReadOnlyTable<&'static [u8], &'static [u8]>,
    deletions: u64,
    access_changes: u64,
    name_changes: u64,
    gone: u64,
}

/// The order of a scan.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    OldestFirst,
    NewestFirst,
}

impl Snapshot {
    /// How many secrets were changed or removed, and accounts deleted, since the file was opened.
    pub(super) fn gone(&self) -> u64 {
        self.gone
    }

    /// Shows each record whose key begins with `prefix`, after the first `skipped`, until `visit`
    /// breaks.
    pub(super) fn scan(
        &self,
        prefix: &[u8],
        order: Order,
        skipped: u64,
        mut visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        guarded(|| {
            let after = prefix_end(prefix);
            let mut range = match &after {
                Some(after) => self.table.range(prefix..after.as_slice())?,
                None => self.table.range(prefix..)?,
            };
            let mut left_out = 0;
            loop {
                let next = match order {
                    Order::OldestFirst => range.next(),
                    Order::NewestFirst => range.next_back(),
                };
                let Some(entry) = next else { return Ok(()) };
                let (key, value) = entry?;
                if left_out < skipped {
                    left_out += 1;
                } else if visit(key.value(), value.value()).is_break() {
                    return Ok(());
                }
            }
        })
    }

    /// Shows each record whose key begins with `prefix`, from the one at or below `last` downwards,
    /// until `visit` breaks. `last` begins with `prefix`.
    pub(super) fn scan_down(
        &self,
        prefix: &[u8],
        last: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        guarded(|| {
            for entry in self.table.range(prefix..=last)?.rev() {
                let (key, value) = entry?;
                if visit(key.value(), value.value()).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }
}

/// The least key above all that begin with `prefix`.
fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xFF)?;
    let mut end = prefix.get(..=last)?.to_vec();
    *end.last_mut()? += 1;
    Some(end)
}

impl View for Snapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        guarded(|| Ok(self.table.get(key)?.map(|value| value.value().to_vec())))
    }

    fn stored(&self, prefix: &[u8]) -> Result<Vec<Stored>, EngineError> {
        guarded(|| stored_in(&self.table, prefix))
    }

    fn visit(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), EngineError> {
        guarded(|| visit_in(&self.table, prefix, visit))
    }

    fn deletions(&self) -> u64 {
        self.deletions
    }

    fn access_changes(&self) -> Option<u64> {
        Some(self.access_changes)
    }

    fn name_changes(&self) -> u64 {
        self.name_changes
    }
}

/// The transaction that is being written.
pub(super) struct Batch<'a> {
    table: Table<'a, &'static [u8], &'static [u8]>,
    deletions: u64,
    /// As of the last commit.
    access_changes: u64,
    name_changes: u64,
    own: OwnChanges,
    room: Room,
    use_of_room: UseOfRoom,
}

/// A transaction's own changes.
#[derive(Default)]
struct OwnChanges {
    access: u64,
    names: u64,
    gone: Gone,
}

/// What is not any more what it was.
#[derive(Clone, Default)]
pub(super) struct Gone {
    /// Accounts that were deleted.
    pub(super) accounts: Vec<AccountId>,
    /// The engine keys of secrets that were changed or removed.
    pub(super) secrets: Vec<Vec<u8>>,
}

impl Gone {
    pub(super) fn count(&self) -> u64 {
        let count = self.accounts.len().saturating_add(self.secrets.len());
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}

impl Batch<'_> {
    /// What its writes have changed, removed or deleted.
    pub(super) fn gone(&self) -> &Gone {
        &self.own.gone
    }

    /// Whether the disk has room for these changes, which then is theirs; `names` is what records of
    /// names may take with them.
    pub(super) fn has_room(&mut self, changes: &Changes, names: u64) -> bool {
        let puts = changes.records.iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
        let puts: u64 = puts.map(|(key, value)| record_bytes(key.len(), value.len())).sum();
        let event = changes.event.as_ref();
        let event = event.map_or(0, |(_, event)| record_bytes(0, record::encoded_length(event)));
        let state = |(account, state): &(Arc<AccountKeys>, _)| {
            let address = Address::state(account.id);
            record_bytes(address.key().len(), record::sealed_length(&address, state))
        };
        let states: u64 = changes.states.iter().map(state).sum();
        let sum = puts.saturating_add(event).saturating_add(states).saturating_add(names);
        let has_room = self.room.take(sum);
        self.use_of_room.refused += u64::from(!has_room);
        has_room
    }

    /// Writes, or with `None` removes, what stands at each key. States and names, which are sealed with
    /// others', have been taken out.
    pub(super) fn apply(&mut self, changes: &Changes) -> Result<(), EngineError> {
        let (states, names) = (&changes.states, &changes.names);
        assert!(states.is_empty() && names.is_empty(), "these are put by the writer");
        for (key, value) in &changes.records {
            self.own.access += u64::from(decides_access(key));
            self.own.names += u64::from(holds_names(key));
            let old = match value {
                Some(value) => {
                    self.use_of_room.taken += record_bytes(key.len(), value.len());
                    self.table.insert(key.as_slice(), value.as_slice())?
                }
                None => self.table.remove(key.as_slice())?,
            };
            if old.is_some() && holds_secret(key) {
                self.own.gone.secrets.push(key.clone());
            }
            let removed = old.map_or(0, |old| old.value().len());
            self.use_of_room.removed += u64::try_from(removed).unwrap_or(0);
        }
        self.deletions += u64::from(changes.deletes_account.is_some());
        self.own.gone.accounts.extend(changes.deletes_account);
        Ok(())
    }

    /// Shows each record whose key begins with `prefix` and comes after `last`, until `visit`
    /// breaks. `last` begins with `prefix`.
    pub(super) fn scan_after(
        &self,
        prefix: &[u8],
        last: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        for entry in self.table.range(last..)? {
            let (key, value) = entry?;
            if !key.value().starts_with(prefix) {
                break;
            }
            if key.value() > last && visit(key.value(), value.value()).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl View for Batch<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.table.get(key)?.map(|value| value.value().to_vec()))
    }

    fn stored(&self, prefix: &[u8]) -> Result<Vec<Stored>, EngineError> {
        stored_in(&self.table, prefix)
    }

    fn visit(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), EngineError> {
        visit_in(&self.table, prefix, visit)
    }

    fn deletions(&self) -> u64 {
        self.deletions
    }

    fn access_changes(&self) -> Option<u64> {
        Some(self.access_changes).filter(|_| self.own.access == 0)
    }

    fn name_changes(&self) -> u64 {
        self.name_changes
    }
}

fn stored_in(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    prefix: &[u8],
) -> Result<Vec<Stored>, EngineError> {
    let mut stored = Vec::new();
    visit_in(table, prefix, &mut |key, value| {
        stored.push(Stored::new(key.to_vec(), value));
        ControlFlow::Continue(())
    })?;
    Ok(stored)
}

fn visit_in(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    prefix: &[u8],
    visit: &mut Visit<'_>,
) -> Result<(), EngineError> {
    for entry in table.range(prefix..)? {
        let (key, value) = entry?;
        if !key.value().starts_with(prefix) || visit(key.value(), value.value()).is_break() {
            break;
        }
    }
    Ok(())
}

/// What one write changes: nothing of it happens before all of it is known.
#[derive(Default)]
pub(super) struct Changes {
    records: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// What it leaves of the states of accounts that were there before.
    pub(super) states: Vec<(Arc<AccountKeys>, StateBody)>,
    /// What it does to names that stand in records with others.
    pub(super) names: Vec<NameChange>,
    /// What the log of this account is to tell of it.
    pub(super) event: Option<(AccountId, Event)>,
    /// The account that it deletes.
    pub(super) deletes_account: Option<AccountId>,
    /// The time that the owner sets the clock to, sealed and in force with the rest.
    pub(super) sets_clock: Option<Timestamp>,
}

impl Changes {
    pub(super) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.records.push((key, Some(value)));
    }

    pub(super) fn remove(&mut self, key: Vec<u8>) {
        self.records.push((key, None));
    }

    /// Leaves an account's state so: sealed with the batch.
    pub(super) fn set_state(&mut self, account: &Arc<AccountKeys>, state: StateBody) {
        self.states.push((Arc::clone(account), state));
    }

    /// Gives a name, or takes it back: written with the batch.
    pub(super) fn name(&mut self, change: NameChange) {
        self.names.push(change);
    }

    /// Where something is written or removed.
    #[cfg(test)]
    pub(super) fn keys(&self) -> Vec<Vec<u8>> {
        self.records.iter().map(|(key, _)| key.clone()).collect()
    }

    /// Whether what was done ended something: that is never refused for want of room.
    pub(super) fn ends_something(&self) -> bool {
        self.event.as_ref().is_some_and(|(_, event)| event.action.ends_something())
    }

    pub(super) fn is_empty(&self) -> bool {
        let nothing_shared = self.states.is_empty() && self.names.is_empty();
        self.records.is_empty() && nothing_shared && self.event.is_none()
    }
}

impl From<EngineError> for StoreFailure {
    fn from(error: EngineError) -> Self {
        tracing::error!(%error, "the engine failed");
        match error {
            EngineError::Damaged(_) | EngineError::Foreign => Self::Damaged { kind: "engine page" },
            EngineError::Locked
            | EngineError::Io(_)
            | EngineError::Panicked(_)
            | EngineError::Seal(_) => Self::Unavailable,
        }
    }
}
