//! Records of names that tell one thing where the rest of the store, or memory, tells another; each is
//! sealed as the server would, so that nothing but what it says is wrong with it.

use super::super::body::{NameBody, NamesBody};
use super::super::names::{NameList, PendingNames};
use super::super::places::Moves;
use super::super::record::Address;
use super::super::states::States;
use super::super::{accounts, engine::Commit};
use super::accounts::{await_removal, await_waiting, hold_writer, owner_of};
use super::audit::audit;
use super::functions::new_function;
use super::names::{hash_of, set_state, with_access};
use super::states::founded;
use super::*;

const NAMES: StoreFailure = StoreFailure::Damaged { kind: "names" };
const NAME: StoreFailure = StoreFailure::Damaged { kind: "name" };

/// A pair of a record's: the first half of a hash, and an id.
fn pair(hash: &[u8; 32], id: SecretId) -> Vec<u8> {
    [&hash[..16], id.as_bytes()].concat()
}

/// Opens the store anew with these records of names, and as many names and secrets in its state.
fn replace_names(instance: &mut Instance, names: &[(u64, Vec<u8>)], count: u64) {
    let mut changes = Changes::default();
    with_access(instance, |access, keys| {
        for (number, names) in names {
            let body = NamesBody { names: NameList::parse(names).unwrap() };
            access.put(&mut changes, keys, &Address::names(keys.id, *number), &body).unwrap();
        }
    });
    set_state(instance, move |state| (state.names, state.secrets) = (Some(count), count));
    instance.replace(&changes);
}

#[test]
fn a_name_that_stands_twice_is_damage() {
    let mut instance = Instance::new();
    let one = instance.create("one", "1").unwrap().id;
    let [known, other] = ["one", "other"].map(|name| hash_of(&instance, name));
    let twice = [pair(&known, one), pair(&known, one)].concat();
    // In one record, where the state counts both or one; and in two.
    let half = |names: &[u8]| names[..names.len() / 2].to_vec();
    for (names, count) in [
        (vec![(0, twice.clone())], 2),
        (vec![(0, twice.clone())], 1),
        (vec![(0, half(&twice)), (u64::MAX, half(&twice))], 2),
    ] {
        replace_names(&mut instance, &names, count);
        let refused = instance.create("two", "2").unwrap_err();
        assert_eq!(refused, CreateSecretError::Store(NAMES), "{count}");
        assert_eq!(instance.delete(one).unwrap_err(), DeleteSecretError::Store(NAMES));
    }
    // After the greatest number none comes: names stand alone then.
    let full = (0..63).flat_map(|index| [&[index; 16], &one.as_bytes()[..]].concat());
    let full = [pair(&other, one), full.collect()].concat();
    replace_names(&mut instance, &[(0, half(&twice)), (u64::MAX, full)], 65);
    let two = instance.create("two", "2").unwrap().id;
    assert_eq!(instance.create("two", "2").unwrap_err(), CreateSecretError::NameTaken);
    instance.delete(two).unwrap();
    instance.delete(one).unwrap();
    instance.create("one", "1").unwrap();
}

/// A hash that leads to a secret of another name gives that one's value to nobody.
#[test]
fn a_name_that_leads_to_another_secret_is_damage() {
    let mut instance = Instance::new();
    let one = instance.create("one", "1").unwrap().id;
    let make = instance.store().create_function(instance.act(1), new_function("f", &["two"]));
    let function = instance.wait(make).unwrap().id;
    let hash = hash_of(&instance, "two");
    replace_names(&mut instance, &[(0, pair(&hash, one))], 1);
    let run = instance.store().invocable(instance.grant(), function, at(2)).ok().unwrap().run;
    let act = Act { by: run, origin: origin("r"), now: at(2) };
    let read = instance.wait(instance.store().function_read(act, &name("two"), None));
    assert_eq!(read.err().unwrap(), FunctionReadError::Store(NAME));
    assert_eq!(instance.create("two", "2").unwrap_err(), CreateSecretError::NameTaken);
    let reveal = instance.store().reveal(instance.act(3), one, None);
    assert_eq!(instance.wait(reveal).err().unwrap(), ReadError::Store(NAME));
    // So it is with a record for one name that has another.
    let mut changes = Changes::default();
    with_access(&instance, |access, keys| {
        let body = NameBody { name: name("two"), secret: one };
        let address = Address::name(keys.id, &keys.hash(&name("three")));
        access.put(&mut changes, keys, &address, &body).unwrap();
    });
    set_state(&instance, |state| state.secrets = 2);
    instance.replace(&changes);
    assert_eq!(instance.create("three", "3").unwrap_err(), CreateSecretError::Store(NAME));
}

/// What memory has and the records do not, while the store is open.
#[test]
fn memory_that_is_not_what_the_records_say_gives_no_name_away() {
    let instance = Instance::new();
    let one = instance.create("one", "1").unwrap().id;
    let key = u64::from_be_bytes(hash_of(&instance, "two")[..8].try_into().unwrap());
    let follow = |key, number, counts: &[(u64, usize)]| {
        let counts = counts.iter().copied().collect();
        let moved = Moves { keys: [(key, number)].into(), last: None, counts };
        let places = &instance.store().writer.shared.core.places;
        places.follow(vec![(instance.claim.account, moved)], 1);
    };
    // A name in a record without it, and in one that is not there.
    for number in [0, 7] {
        follow(key, Some(number), &[]);
        let refused = instance.create("two", "2").unwrap_err();
        assert_eq!(refused, CreateSecretError::Store(NAMES), "{number}");
    }
    // A last record with another number of names.
    follow(key, None, &[(0, 2)]);
    assert_eq!(instance.create("two", "2").unwrap_err(), CreateSecretError::Store(NAMES));
    follow(key, None, &[(0, 1)]);
    instance.create("two", "2").unwrap();
    instance.delete(one).unwrap();
    audit(instance.store()).unwrap();
}

/// A write that is refused after it was given a name leaves nothing of it to those that follow it in
/// the same commit.
#[test]
fn a_refused_write_gives_no_name() {
    let mut instance = Instance::new();
    let one = instance.create("one", "1").unwrap().id;
    instance.set_quota(Resource::AuditEvents, Field::Set(1));
    let store = instance.share();
    let release = hold_writer(&store, &instance.runtime);
    let (for_task, admin) = (store.clone(), instance.admin.clone());
    let create = instance
        .runtime
        .spawn(async move { for_task.create_secret(act(&admin, 1), new_secret("two", "2")).await });
    await_waiting(&store, 1);
    let (for_task, admin) = (store.clone(), instance.admin.clone());
    let delete =
        instance.runtime.spawn(async move { for_task.delete_secret(act(&admin, 1), one).await });
    await_waiting(&store, 2);
    drop(release);
    let refused = instance.runtime.block_on(create).unwrap().unwrap_err();
    assert_eq!(refused, CreateSecretError::Store(full(Resource::AuditEvents, 1)));
    instance.runtime.block_on(delete).unwrap().unwrap();
    assert_eq!(audit(&store).unwrap().len(), 0);
}

/// Nothing is written of an account that the batch deletes; the first name of a batch is counted with a
/// whole record, later ones with what they add.
#[test]
fn a_batch_writes_no_names_of_an_account_that_it_deletes() {
    let (engine, core, claim) = founded();
    let written = engine.write(|batch| {
        let (states, names) = (States::default(), PendingNames::default());
        let access = core.access_in(batch, (&states, &names));
        let hash = core.hash(&claim.admin_token);
        let caller = api_keys::holder(&access, &hash).unwrap().admit(&hash, at(1)).unwrap();
        let mut rooms = Vec::new();
        for name in ["one", "two"] {
            let mut changes = Changes::default();
            let new = new_secret(name, "v");
            secrets::create(&access, &mut changes, &act::<Write>(&caller, 1), new).unwrap();
            rooms.push(names.bytes_for(&changes.names));
            names.change(std::mem::take(&mut changes.names));
        }
        assert!(rooms[0] > 64 * 34 && rooms[1] > 34 && rooms[1] < rooms[0], "{rooms:?}");
        let mut changes = Changes::default();
        accounts::delete(&access, &mut changes, &owner_of(&access), claim.account).unwrap();
        changes.states.clear();
        batch.apply(&changes)?;
        let mut at_the_end = Changes::default();
        let moves = names.put(&core.access(&*batch), &mut at_the_end).unwrap();
        assert!(moves.is_empty());
        Ok((at_the_end.keys(), Commit::Nothing))
    });
    assert_eq!(written.unwrap(), Vec::<Vec<u8>>::new());
}

#[test]
fn places_of_a_deleted_account_are_forgotten() {
    let instance = Instance::new();
    let tenant = instance.tenant("tenant");
    instance.create("one", "1").unwrap();
    let create = instance.store().create_secret(act(&tenant.caller, 1), new_secret("one", "1"));
    instance.wait(create).unwrap();
    let is_known = |account| {
        let places = &instance.store().writer.shared.core.places;
        places.look(account, &|_: &_| ()).is_some()
    };
    assert!(is_known(tenant.id));
    instance.wait(instance.store().delete_account(instance.owner_act(), tenant.id)).unwrap();
    await_removal(instance.store());
    assert!(!is_known(tenant.id) && is_known(instance.claim.account));
}
