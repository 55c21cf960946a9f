//! Where names lead (STORE.md §6.3). The names of an account's secrets stand in records of many, in the
//! order in which they were given, so that a commit writes the last of these anew and not a page of
//! the engine for each name. In which of them a name stands is kept in memory; what it leads to is
//! always read from the record, in the view that asks.

use crate::limits::{NAMES_IN_RECORDS, NAMES_PER_RECORD, NAMES_READ_AT_ONCE};
use crate::model::{AccountId, ID_BYTES, SecretId, SecretName};
use crate::store::body::{NameBody, NamesBody, StateBody};
use crate::store::core::{Access, AccountKeys};
use crate::store::engine::Changes;
use crate::store::error::StoreFailure;
use crate::store::places::{Moves, Places};
use crate::store::record::{self, Address, Kind, id_at_end};
use crate::store::room::record_bytes;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

const DAMAGED: StoreFailure = StoreFailure::Damaged { kind: Kind::Names.name() };
const HASH_BYTES: usize = 16;
const ENTRY_BYTES: usize = HASH_BYTES + ID_BYTES;

/// The first half of a name's hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NameHash([u8; HASH_BYTES]);

impl NameHash {
    fn of(account: &AccountKeys, name: &SecretName) -> Self {
        let [first, _] = halves(&account.hash(name));
        Self(first)
    }

    /// What memory knows a name by. Two names of an account may have the same one: the second then has
    /// a record of its own.
    fn place_key(self) -> u64 {
        let [first, _] = halves(&self.0);
        u64::from_be_bytes(first)
    }
}

/// Both halves of an array.
fn halves<const N: usize, const HALF: usize>(whole: &[u8; N]) -> [[u8; HALF]; 2] {
    const { assert!(2 * HALF == N) };
    let (first, second) = whole.split_at(HALF);
    [first, second].map(|half| half.try_into().expect("both have half of the bytes"))
}

/// Names that stand in one record: 1 to [`NAMES_PER_RECORD`] pairs of hash and id. A list that became
/// empty is not written.
#[derive(Clone, Default)]
pub(super) struct NameList(Vec<u8>);

impl NameList {
    /// Of what stands in a record.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let entries = 1..=NAMES_PER_RECORD;
        let whole = bytes.len().is_multiple_of(ENTRY_BYTES);
        let fits = whole && entries.contains(&(bytes.len() / ENTRY_BYTES));
        fits.then(|| Self(bytes.to_vec()))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn len(&self) -> usize {
        self.0.len() / ENTRY_BYTES
    }

    fn iter(&self) -> impl Iterator<Item = (NameHash, SecretId)> {
        self.0.as_chunks::<ENTRY_BYTES>().0.iter().filter_map(|entry| {
            let (hash, id) = entry.split_first_chunk()?;
            Some((NameHash(*hash), SecretId::from_bytes(id.try_into().ok()?)))
        })
    }

    fn find(&self, hash: NameHash) -> Option<SecretId> {
        self.iter().find_map(|(own, id)| (own == hash).then_some(id))
    }

    fn has_key(&self, key: u64) -> bool {
        self.iter().any(|(own, _)| own.place_key() == key)
    }

    fn add(&mut self, hash: NameHash, id: SecretId) {
        self.0.extend_from_slice(&hash.0);
        self.0.extend_from_slice(id.as_bytes());
    }

    fn remove(&mut self, hash: NameHash) {
        let kept = self.iter().filter(|(own, _)| *own != hash);
        let mut left = Self::default();
        kept.for_each(|(hash, id)| left.add(hash, id));
        *self = left;
    }
}

/// What one write does to a name; it was looked up, so that the record is at hand.
pub(super) struct NameChange {
    account: Arc<AccountKeys>,
    hash: NameHash,
    /// The record in which it stands, or will.
    number: u64,
    /// What it leads to from now on; nothing where it is given back.
    to: Option<SecretId>,
}

/// The secret that a name of the account leads to.
pub(super) fn find(
    access: &Access<'_>,
    account: &AccountKeys,
    name: &SecretName,
) -> Result<Option<SecretId>, StoreFailure> {
    match stands(access, account, NameHash::of(account, name))? {
        Some((_, id)) => Ok(Some(id)),
        None => find_alone(access, account, name),
    }
}

/// As [`find`], of an account whose counters are known.
pub(super) fn find_counted(
    access: &Access<'_>,
    account: &AccountKeys,
    state: &StateBody,
    name: &SecretName,
) -> Result<Option<SecretId>, StoreFailure> {
    match stands(access, account, NameHash::of(account, name))? {
        Some((_, id)) => Ok(Some(id)),
        None if state.names == Some(state.secrets) => Ok(None),
        None => find_alone(access, account, name),
    }
}

/// The secret of a name that has a record of its own.
fn find_alone(
    access: &Access<'_>,
    account: &AccountKeys,
    name: &SecretName,
) -> Result<Option<SecretId>, StoreFailure> {
    match access.find(account, &Address::name(account.id, &account.hash(name)))? {
        Some(alone) if alone.name == *name => Ok(Some(alone.secret)),
        Some(_) => Err(StoreFailure::Damaged { kind: Kind::Name.name() }),
        None => Ok(None),
    }
}

/// Gives a name, which leads nowhere yet, to a secret.
pub(super) fn give(
    access: &Access<'_>,
    changes: &mut Changes,
    account: &Arc<AccountKeys>,
    state: &mut StateBody,
    (name, id): (&SecretName, SecretId),
) -> Result<(), StoreFailure> {
    let (hash, names) = (NameHash::of(account, name), state.names.unwrap_or_default());
    let is_free = place(access, account, hash)?.is_none();
    if names < NAMES_IN_RECORDS
        && is_free
        && let Some(number) = number_for_next(access, account)?
    {
        state.names = Some(names.saturating_add(1));
        changes.name(NameChange { account: Arc::clone(account), hash, number, to: Some(id) });
        return Ok(());
    }
    let address = Address::name(account.id, &account.hash(name));
    access.put(changes, &**account, &address, &NameBody { name: name.clone(), secret: id })
}

/// Takes a name from its secret, to which it leads.
pub(super) fn take(
    access: &Access<'_>,
    changes: &mut Changes,
    account: &Arc<AccountKeys>,
    state: &mut StateBody,
    name: &SecretName,
) -> Result<(), StoreFailure> {
    let hash = NameHash::of(account, name);
    match stands(access, account, hash)? {
        Some((number, _)) => {
            let names = state.names.and_then(|names| names.checked_sub(1));
            state.names = Some(names.ok_or(DAMAGED)?);
            changes.name(NameChange { account: Arc::clone(account), hash, number, to: None });
        }
        None => {
            let address = Address::name(account.id, &account.hash(name));
            changes.remove(address.key().to_vec());
        }
    }
    Ok(())
}

/// The record in which a name stands with others, and what it leads to.
fn stands(
    access: &Access<'_>,
    account: &AccountKeys,
    hash: NameHash,
) -> Result<Option<(u64, SecretId)>, StoreFailure> {
    let Some(number) = place(access, account, hash)? else { return Ok(None) };
    let list = list(access, account, number)?.unwrap_or_default();
    // A reader's view may be older than what memory knows; the writer's never is, and what it doesn't
    // find it may give away.
    if access.names.is_some() && !list.has_key(hash.place_key()) {
        return Err(DAMAGED);
    }
    // Two names may have one key in memory.
    Ok(list.find(hash).map(|id| (number, id)))
}

/// The record in which a name would stand with others.
fn place(
    access: &Access<'_>,
    account: &AccountKeys,
    hash: NameHash,
) -> Result<Option<u64>, StoreFailure> {
    let key = hash.place_key();
    if let Some(moved) = access.names.and_then(|names| names.moved(account.id, key)) {
        return Ok(moved);
    }
    with_places(access, account, |places| places.get(key))
}

/// The names of one record, as the batch has them.
fn list(
    access: &Access<'_>,
    account: &AccountKeys,
    number: u64,
) -> Result<Option<NameList>, StoreFailure> {
    if let Some(list) = access.names.and_then(|names| names.list(account.id, number)) {
        return Ok(Some(list));
    }
    let body = access.find(account, &Address::names(account.id, number))?;
    let list = body.map(|body| body.names);
    if let (Some(names), Some(list)) = (access.names, &list) {
        names.keep(account.id, number, list.clone());
    }
    Ok(list)
}

/// The number of the record that the account's next name goes to, which is at hand then. None where
/// there are no more numbers.
fn number_for_next(
    access: &Access<'_>,
    account: &AccountKeys,
) -> Result<Option<u64>, StoreFailure> {
    let names = access.names.ok_or(StoreFailure::Unavailable)?;
    let (last, counted) = with_places(access, account, Places::last)?;
    let last = names.last(account.id).unwrap_or(last);
    let count = match names.changed(account.id, last) {
        Some(count) => count,
        None => {
            let count = list(access, account, last)?.map_or(0, |list| list.len());
            // What was counted when the places were read has to be there still.
            if count != counted {
                return Err(DAMAGED);
            }
            count
        }
    };
    Ok(if count < NAMES_PER_RECORD { Some(last) } else { last.checked_add(1) })
}

/// Looks at an account's places: those in memory, or else those of the view, which are kept where
/// nothing newer may be known.
fn with_places<T>(
    access: &Access<'_>,
    account: &AccountKeys,
    look: impl Fn(&Places) -> T,
) -> Result<T, StoreFailure> {
    let known = &access.core.places;
    if let Some(seen) = known.look(account.id, &look) {
        return Ok(seen);
    }
    let places = read_places(access, account)?;
    let seen = look(&places);
    known.keep(access.name_changes(), account.id, places);
    Ok(seen)
}

/// Whether an account's places are to be read in a thread of their own: they are many, and not in
/// memory.
pub(super) fn is_long_to_read(
    access: &Access<'_>,
    account: AccountId,
) -> Result<bool, StoreFailure> {
    if access.core.places.look(account, &|_: &Places| ()).is_some() {
        return Ok(false);
    }
    let keys = access.account(account)?;
    let state = access.get(&*keys, &Address::state(account))?;
    Ok(state.names.is_some_and(|names| names > NAMES_READ_AT_ONCE))
}

/// Reads an account's places into memory, where they are not there. Where the account does not open,
/// that is for others to say.
pub(super) fn read_ahead(access: &Access<'_>, account: AccountId) -> Result<(), StoreFailure> {
    let Ok(keys) = access.account(account) else { return Ok(()) };
    with_places(access, &keys, |_| ())
}

/// The places of all names that stand with others. There must be as many as the account's state says;
/// what is beyond that is not read.
fn read_places(access: &Access<'_>, account: &AccountKeys) -> Result<Places, StoreFailure> {
    let state = access.get(account, &Address::state(account.id))?;
    let counted = usize::try_from(state.names.unwrap_or_default()).map_err(|_| DAMAGED)?;
    let (mut places, mut outcome) = (Places::default(), Ok(()));
    access.visit(&Address::<NamesBody>::prefix(account.id), &mut |key, bytes| {
        outcome = add_places(access, account, &mut places, (key, bytes));
        match outcome.is_ok() && places.len() <= counted {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    outcome?;
    if places.len() == counted { Ok(places) } else { Err(DAMAGED) }
}

fn add_places(
    access: &Access<'_>,
    account: &AccountKeys,
    places: &mut Places,
    (key, bytes): (&[u8], &[u8]),
) -> Result<(), StoreFailure> {
    let number = u64::from_be_bytes(id_at_end(key).ok_or(DAMAGED)?);
    let body: NamesBody = access.open(account, &Address::names(account.id, number), bytes)?;
    places.end_with(number, body.names.len());
    for (hash, _) in body.names.iter() {
        // None of them stands in two records, or twice in one.
        if places.put(hash.place_key(), number).is_some() {
            return Err(DAMAGED);
        }
    }
    Ok(())
}

/// Names as the writes of one batch leave them: each record is opened once, and sealed once, before the
/// commit.
#[derive(Default)]
pub(super) struct PendingNames(RefCell<BTreeMap<AccountId, Pending>>);

#[derive(Default)]
struct Pending {
    /// What seals the records; none where no name changed.
    keys: Option<Arc<AccountKeys>>,
    records: BTreeMap<u64, PendingRecord>,
    /// The last record, where a name was given.
    last: Option<u64>,
    moves: HashMap<u64, Option<u64>>,
}

#[derive(Default)]
struct PendingRecord {
    list: NameList,
    is_changed: bool,
}

impl PendingNames {
    /// Where a name stands by now, if that changed.
    fn moved(&self, account: AccountId, key: u64) -> Option<Option<u64>> {
        self.0.borrow().get(&account)?.moves.get(&key).copied()
    }

    /// A record that was opened.
    fn list(&self, account: AccountId, number: u64) -> Option<NameList> {
        Some(self.0.borrow().get(&account)?.records.get(&number)?.list.clone())
    }

    /// Keeps what a record says.
    fn keep(&self, account: AccountId, number: u64, list: NameList) {
        let record = PendingRecord { list, is_changed: false };
        self.0.borrow_mut().entry(account).or_default().records.insert(number, record);
    }

    /// The last record, where a name was given.
    fn last(&self, account: AccountId) -> Option<u64> {
        self.0.borrow().get(&account)?.last
    }

    /// How many names a record has that changed.
    fn changed(&self, account: AccountId, number: u64) -> Option<usize> {
        let all = self.0.borrow();
        let record = all.get(&account)?.records.get(&number)?;
        record.is_changed.then(|| record.list.len())
    }

    /// What a write's records of names may take on the disk: a whole one for an account's first change.
    pub(super) fn bytes_for(&self, changes: &[NameChange]) -> u64 {
        let all = self.0.borrow();
        let one = |change: &NameChange| {
            let id = change.account.id;
            let is_first = all.get(&id).is_none_or(|pending| pending.keys.is_none());
            let whole = record::padded_length(NAMES_PER_RECORD * ENTRY_BYTES);
            record_bytes(ID_BYTES, if is_first { whole } else { ENTRY_BYTES })
        };
        changes.iter().map(one).sum()
    }

    /// Takes over what a write that is made does.
    pub(super) fn change(&self, changes: Vec<NameChange>) {
        let mut all = self.0.borrow_mut();
        for NameChange { account, hash, number, to } in changes {
            let pending = all.entry(account.id).or_default();
            pending.keys = Some(account);
            pending.moves.insert(hash.place_key(), to.map(|_| number));
            let record = pending.records.entry(number).or_default();
            record.is_changed = true;
            match to {
                Some(id) => {
                    record.list.add(hash, id);
                    pending.last = Some(number);
                }
                None => record.list.remove(hash),
            }
        }
    }

    /// Writes the records that changed; gives what memory has to take over once they are committed.
    pub(super) fn put(
        self,
        access: &Access<'_>,
        changes: &mut Changes,
    ) -> Result<Vec<(AccountId, Moves)>, StoreFailure> {
        let mut all = Vec::new();
        for (id, Pending { keys, records, last, moves }) in self.0.into_inner() {
            let Some(keys) = keys else { continue };
            // Of an account that a later write of the batch has deleted nothing opens any more.
            if !access.exists(&Address::account_key(id))? {
                continue;
            }
            let counts = records.iter().map(|(number, record)| (*number, record.list.len()));
            let moves = Moves { keys: moves, last, counts: counts.collect() };
            for (number, record) in records.into_iter().filter(|(_, record)| record.is_changed) {
                let (address, names) = (Address::names(id, number), record.list);
                match names.len() {
                    0 => changes.remove(address.key().to_vec()),
                    _ => access.put(changes, &*keys, &address, &NamesBody { names })?,
                }
            }
            all.push((id, moves));
        }
        Ok(all)
    }
}
