//! Names: in records of many, in records of their own, in memory, and where these disagree.

use super::super::body::{NameBody, NamesBody, StateBody};
use super::super::core::AccountKeys;
use super::super::names::{self, NameList};
use super::super::record::{Address, Kind};
use super::accounts::{await_waiting, hold_writer};
use super::audit::{audit, kind_of, records};
use super::crash::Dice;
use super::damage::with_records;
use super::*;
use crate::limits::{NAMES_IN_RECORDS, NAMES_PER_RECORD, NAMES_READ_AT_ONCE};
use std::collections::BTreeMap;

/// How many records of many names there are, and how many of one.
fn counts(instance: &Instance) -> (usize, usize) {
    let all = records(instance.store());
    let of = |kind: Kind| all.keys().filter(|key| kind_of(key) == kind as u8).count();
    (of(Kind::Names), of(Kind::Name))
}

/// Adds what an earlier server would have written of the first account's names: a record each.
pub(super) fn alone(instance: &Instance, changes: &mut Changes) {
    let snapshot = instance.store().writer.snapshot().unwrap();
    let access = instance.store().writer.shared.core.access(&*snapshot);
    let keys = access.account(instance.claim.account).unwrap();
    for key in records(instance.store()).keys() {
        if kind_of(key) == Kind::Names as u8 {
            changes.remove(key.clone());
        }
        if kind_of(key) == Kind::Secret as u8 {
            let secret = SecretId::from_bytes(key[19..].try_into().unwrap());
            let name = access.get(&*keys, &Address::secret(keys.id, secret)).unwrap().name;
            let address = Address::name(keys.id, &keys.hash(&name));
            access.put(changes, &*keys, &address, &NameBody { name, secret }).unwrap();
        }
    }
}

/// Adds a state of the account's that counts no names in shared records, as an earlier server's.
pub(super) fn set_names_in(
    disk: &disk::Disk,
    chip: &Chip,
    account: AccountId,
    changes: &mut Changes,
) {
    let store = open(&disk::Disk::of(disk.bytes()), chip, LIMITS).unwrap();
    let snapshot = store.writer.snapshot().unwrap();
    let access = store.writer.shared.core.access(&*snapshot);
    let keys = access.account(account).unwrap();
    let state = access.get(&*keys, &Address::state(account)).unwrap();
    let state = StateBody { names: None, ..state };
    access.put(changes, &*keys, &Address::state(account), &state).unwrap();
}

/// Has the first account's state changed behind all counters.
fn set_names(instance: &Instance, names: Option<u64>) {
    set_state(instance, move |state| state.names = names);
}

pub(super) fn set_state(instance: &Instance, change: impl FnOnce(&mut StateBody) + Send + 'static) {
    let account = instance.claim.account;
    let set = move |access: &Access<'_>, changes: &mut Changes| -> Result<(), StoreFailure> {
        let keys = access.account(account)?;
        let mut state = access.get(&*keys, &Address::state(account))?;
        change(&mut state);
        access.put(changes, &*keys, &Address::state(account), &state)
    };
    instance.wait(instance.store().writer.submit(account, set)).unwrap();
}

impl Instance {
    /// Closes the store, and opens it with these records.
    pub(super) fn replace(&mut self, changes: &Changes) {
        drop(self.store.take());
        self.disk = with_records(&self.disk, changes);
        self.reopen();
    }
}

/// How many secrets are listed.
fn list(instance: &Instance) -> usize {
    let page = Page { limit: 100, offset: 0, prefix: None };
    instance.store().list_secrets(&instance.grant(), &page).unwrap().items.len()
}

pub(super) fn with_access<T>(
    instance: &Instance,
    work: impl FnOnce(&Access<'_>, &AccountKeys) -> T,
) -> T {
    let snapshot = instance.store().writer.snapshot().unwrap();
    let access = instance.store().writer.shared.core.access(&*snapshot);
    let keys = access.account(instance.claim.account).unwrap();
    work(&access, &keys)
}

pub(super) fn hash_of(instance: &Instance, name: &str) -> [u8; 32] {
    with_access(instance, |_, keys| keys.hash(&super::name(name)))
}

fn forget(instance: &Instance) {
    instance.store().writer.shared.core.places.forget_all();
}

#[test]
fn names_share_records_and_leave_none_behind() {
    let mut instance = Instance::new();
    let name = |index: usize| format!("name-{index}");
    let count = 2 * NAMES_PER_RECORD + 1;
    let ids: Vec<_> =
        (0..count).map(|index| instance.create(&name(index), "v").unwrap().id).collect();
    assert_eq!(counts(&instance), (3, 0));
    audit(instance.store()).unwrap();
    for reopens in [false, true] {
        if reopens {
            instance.reopen();
        }
        for index in [0, NAMES_PER_RECORD, count - 1] {
            let taken = instance.create(&name(index), "other").unwrap_err();
            assert_eq!(taken, CreateSecretError::NameTaken);
        }
    }
    // The last record, alone in its own, and all of the first.
    instance.delete(ids[count - 1]).unwrap();
    ids[..NAMES_PER_RECORD].iter().for_each(|id| instance.delete(*id).unwrap());
    assert_eq!(counts(&instance), (1, 0));
    audit(instance.store()).unwrap();
    let again = instance.create(&name(0), "anew").unwrap();
    assert_eq!(instance.value(again.id, None).unwrap(), "anew");
    instance.reopen();
    assert_eq!(instance.value(again.id, None).unwrap(), "anew");
    assert_eq!(audit(instance.store()).unwrap().len(), NAMES_PER_RECORD + 1);
}

/// Random creations and deletions, several to a commit, beside a model; memory is forgotten, and the
/// store opened anew, in between.
#[test]
fn names_lead_where_a_model_says() {
    for seed in 0..4 {
        let (mut instance, mut dice) = (Instance::new(), Dice::new(0xA11 + seed));
        let mut model = BTreeMap::new();
        for round in 0..60 {
            let when = format!("seed {seed}, round {round}");
            let store = instance.share();
            let release = hold_writer(&store, &instance.runtime);
            let mut tasks = Vec::new();
            for waiting in 1..=1 + dice.below(40) {
                let name = format!("name-{}", dice.below(220));
                // Rather few go, at first.
                let known = model.get(&name).copied().filter(|_| dice.below(150) < 30 + round);
                let (for_task, admin) = (store.clone(), instance.admin.clone());
                tasks.push(instance.runtime.spawn(async move {
                    let made = match known {
                        Some(id) => for_task.delete_secret(act(&admin, 5), id).await.is_ok(),
                        None => false,
                    };
                    if known.is_some() {
                        return (name, None, made);
                    }
                    let created =
                        for_task.create_secret(act(&admin, 1), new_secret(&name, "v")).await;
                    let id = created.as_ref().ok().map(|secret| secret.id);
                    assert!(id.is_some() || created == Err(CreateSecretError::NameTaken));
                    (name, id, id.is_some())
                }));
                await_waiting(&store, waiting);
            }
            drop(release);
            for task in tasks {
                let (name, id, made) = instance.runtime.block_on(task).unwrap();
                match id {
                    Some(id) => {
                        assert_eq!(model.insert(name, id), None, "{when}: given twice");
                    }
                    None if made => drop(model.remove(&name)),
                    None => {}
                }
            }
            instance.take_back(store);
            match dice.below(4) {
                0 => forget(&instance),
                1 => instance.reopen(),
                _ => {}
            }
            let contents = audit(instance.store()).unwrap_or_else(|what| panic!("{when}: {what}"));
            let found = contents.into_iter().map(|(name, (id, ..))| (name, id));
            assert!(found.eq(model.clone()), "{when}");
        }
        assert!(model.len() > NAMES_PER_RECORD, "{}", model.len());
    }
}

/// A store from before names shared records: its names lead on, and new ones come beside them.
#[test]
fn names_of_an_older_store_lead_on() {
    let mut instance = Instance::new();
    let [a, b] = ["a", "b"].map(|name| instance.create(name, name).unwrap().id);
    let mut changes = Changes::default();
    alone(&instance, &mut changes);
    set_names(&instance, None);
    instance.replace(&changes);
    assert_eq!(counts(&instance), (0, 2));
    audit(instance.store()).unwrap();
    assert_eq!(instance.create("a", "other").unwrap_err(), CreateSecretError::NameTaken);
    let c = instance.create("c", "c").unwrap().id;
    assert_eq!(counts(&instance), (1, 2));
    assert_eq!(instance.create("b", "other").unwrap_err(), CreateSecretError::NameTaken);
    assert_eq!(instance.create("c", "other").unwrap_err(), CreateSecretError::NameTaken);
    for (id, text) in [(a, "a"), (b, "b"), (c, "c")] {
        assert_eq!(instance.value(id, None).unwrap(), text);
    }
    instance.delete(a).unwrap();
    assert_eq!(counts(&instance), (1, 1));
    instance.create("a", "anew").unwrap();
    assert_eq!(counts(&instance), (1, 1));
    instance.delete(c).unwrap();
    audit(instance.store()).unwrap();
}

/// Two names that memory can't tell apart: the second has a record of its own, and both lead on.
#[test]
fn a_name_whose_place_is_taken_stands_alone() {
    let mut instance = Instance::new();
    let one = instance.create("one", "1").unwrap().id;
    let (hash, number) = (hash_of(&instance, "two"), 0);
    // As if there were another name whose hash begins like that of the second.
    let other = [&hash[..8], &[0; 8], one.as_bytes()].concat();
    let mut changes = Changes::default();
    with_access(&instance, |access, keys| {
        let address = Address::names(keys.id, number);
        let mut names = access.get(keys, &address).unwrap().names.as_bytes().to_vec();
        names.extend(other);
        let names = NameList::parse(&names).unwrap();
        access.put(&mut changes, keys, &address, &NamesBody { names }).unwrap();
    });
    set_state(&instance, |state| (state.names, state.secrets) = (Some(2), 2));
    instance.replace(&changes);
    let two = instance.create("two", "2").unwrap().id;
    assert_eq!(counts(&instance), (1, 1));
    assert_eq!(instance.create("two", "other").unwrap_err(), CreateSecretError::NameTaken);
    for (id, text) in [(one, "1"), (two, "2")] {
        assert_eq!(instance.value(id, None).unwrap(), text);
        instance.delete(id).unwrap();
    }
    assert_eq!(counts(&instance), (1, 0), "the other is left");
    instance.create("two", "2").unwrap();
    assert_eq!(counts(&instance), (1, 1));
}

/// Beyond what memory is for, names have records of their own.
#[test]
fn names_beyond_the_bound_stand_alone() {
    let instance = Instance::new();
    let one = instance.create("one", "1").unwrap().id;
    set_names(&instance, Some(NAMES_IN_RECORDS));
    let two = instance.create("two", "2").unwrap().id;
    assert_eq!(counts(&instance), (1, 1));
    assert_eq!(instance.create("two", "other").unwrap_err(), CreateSecretError::NameTaken);
    instance.delete(one).unwrap();
    let three = instance.create("three", "3").unwrap().id;
    assert_eq!(counts(&instance), (1, 1));
    for (id, text) in [(two, "2"), (three, "3")] {
        assert_eq!(instance.value(id, None).unwrap(), text);
    }
}

/// What does not open, is gone, or is older than the account's state, is damage to whoever needs a name
/// of that account, and to nobody else.
#[test]
fn damaged_names_are_noticed_where_they_are_needed() {
    let mut instance = Instance::new();
    let name = |index: usize| format!("name-{index}");
    let first = instance.create(&name(0), "v").unwrap().id;
    let older = records(instance.store());
    for index in 1..=NAMES_PER_RECORD {
        instance.create(&name(index), "v").unwrap();
    }
    drop(instance.store.take());
    let disk = instance.disk.bytes();
    let is_names = |key: &&Vec<u8>| kind_of(key) == Kind::Names as u8;
    let key = older.keys().find(is_names).unwrap().clone();
    let mut flipped = older[&key].clone();
    flipped[50] ^= 1;
    for (what, record) in
        [("flipped", Some(flipped)), ("gone", None), ("older", Some(older[&key].clone()))]
    {
        let mut changes = Changes::default();
        match record {
            Some(bytes) => changes.put(key.clone(), bytes),
            None => changes.remove(key.clone()),
        }
        instance.disk = with_records(&disk::Disk::of(disk.clone()), &changes);
        instance.store = Some(open(&instance.disk, &instance.chip, LIMITS).unwrap());
        let damaged = StoreFailure::Damaged { kind: "names" };
        let create = instance.create("another", "v").unwrap_err();
        assert_eq!(create, CreateSecretError::Store(damaged.clone()), "{what}");
        let reveal = instance.store().reveal(instance.act(3), first, None);
        let refused = instance.wait(reveal).err().unwrap();
        assert_eq!(refused, ReadError::Store(damaged.clone()), "{what}");
        let update = instance.update(first, new_value("w")).unwrap_err();
        assert_eq!(update, UpdateSecretError::Store(damaged.clone()), "{what}");
        let delete = instance.delete(first).unwrap_err();
        assert_eq!(delete, DeleteSecretError::Store(damaged), "{what}");
        assert_eq!(list(&instance), NAMES_PER_RECORD + 1, "{what}");
        let other = instance.tenant("other");
        let made = instance.store().create_secret(act(&other.caller, 1), new_secret("a", "v"));
        instance.wait(made).unwrap();
        drop(instance.store.take());
    }
}

/// Reading ahead leaves memory as the writer would.
#[test]
fn places_that_are_read_ahead_are_those_of_the_store() {
    let instance = Instance::new();
    let one = instance.create("one", "1").unwrap().id;
    forget(&instance);
    let snapshot = instance.store().writer.snapshot().unwrap();
    let access = instance.store().writer.shared.core.access(&*snapshot);
    assert!(!names::is_long_to_read(&access, instance.claim.account).unwrap());
    names::read_ahead(&access, instance.claim.account).unwrap();
    assert_eq!(instance.create("one", "other").unwrap_err(), CreateSecretError::NameTaken);
    instance.create("two", "2").unwrap();
    // What is older than what was forgotten is not kept.
    forget(&instance);
    names::read_ahead(&access, instance.claim.account).unwrap();
    assert_eq!(instance.create("two", "other").unwrap_err(), CreateSecretError::NameTaken);
    instance.delete(one).unwrap();
    audit(instance.store()).unwrap();
}

/// Many names are read one turn after the other, and where they are damaged the writer does not hear
/// of it: it is held all the while.
#[test]
fn the_writer_does_not_wait_for_many_names_that_are_damaged() {
    let mut instance = Instance::new();
    let one = instance.create("one", "1").unwrap().id;
    set_names(&instance, Some(NAMES_READ_AT_ONCE + 1));
    instance.reopen();
    let store = instance.share();
    let turn = instance.wait(store.writer.shared.core.turns.take(instance.claim.account));
    let release = hold_writer(&store, &instance.runtime);
    let mut create = Box::pin(store.create_secret(instance.act(1), new_secret("two", "2")));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(create.as_mut().poll(&mut context).is_pending(), "it has no turn");
    assert_eq!(store.waiting_writes(), 0);
    drop(turn);
    let damaged = StoreFailure::Damaged { kind: "names" };
    let refused = instance.wait(unheard(&store, create)).unwrap_err();
    assert_eq!(refused, CreateSecretError::Store(damaged.clone()));
    let delete = instance.wait(unheard(&store, store.delete_secret(instance.act(1), one)));
    assert_eq!(delete.unwrap_err(), DeleteSecretError::Store(damaged));
    drop(release);
}

/// What a call answers of which the writer has not heard.
async fn unheard<T>(store: &Store, call: impl Future<Output = T>) -> T {
    let heard = async {
        while store.waiting_writes() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = call => answer,
        () = heard => panic!("the writer heard of it"),
    }
}
