//! A log whose records were changed, taken away or aged: an error, never a shorter log.

use super::super::engine::Changes;
use super::super::record::Kind;
use super::audit::{kind_of, records};
use super::damage::with_records;
use super::log::query;
use super::*;
use crate::audit::EventFilter;
use crate::model::ID_BYTES;

const DAMAGED: StoreFailure = StoreFailure::Damaged { kind: "audit" };

type Record = (Vec<u8>, Vec<u8>);

/// Six events, each in a record of its own, and these records by number; the last one is the
/// state's.
fn filled() -> (Instance, Vec<Record>) {
    let instance = Instance::new();
    for index in 0..6 {
        instance.create(&format!("name-{index}"), "v").unwrap();
    }
    let all = records(instance.store()).into_iter();
    let log: Vec<_> = all.filter(|(key, _)| kind_of(key) >= Kind::Audit as u8).collect();
    assert_eq!(log.len(), 7);
    (instance, log)
}

fn changed(instance: &Instance, changes: &Changes) -> Store {
    open(&with_records(&instance.disk, changes), &instance.chip, LIMITS).unwrap()
}

fn read(store: &Store, by: &Caller, query: &EventQuery) -> Result<usize, StoreFailure> {
    store.events(&by.grant().unwrap(), query).map(|page| page.items.len())
}

fn filtered() -> EventQuery {
    let filter = EventFilter { secret: Some(name("name-0")), ..EventFilter::default() };
    EventQuery { filter, ..query(1, 0) }
}

#[test]
fn a_changed_record_is_an_error_wherever_it_is_needed() {
    let (instance, log) = filled();
    let by = &instance.admin;
    for (number, (key, bytes)) in log.iter().enumerate() {
        for position in [0, 1, 2, 40, 200] {
            let (mut changes, mut bytes) = (Changes::default(), bytes.clone());
            bytes[position] ^= 0x80;
            changes.put(key.clone(), bytes);
            let store = changed(&instance, &changes);
            let kind = if number == 6 { "audit state" } else { "audit" };
            let damaged = Err(StoreFailure::Damaged { kind });
            assert_eq!(read(&store, by, &query(10, 0)), damaged, "{number}");
            assert_eq!(read(&store, by, &filtered()), damaged, "{number}");
            // A page opens its own records only.
            let (own, newest) = (query(1, 5 - number.min(5) as u64), query(1, 0));
            assert_eq!(read(&store, by, &own), damaged, "{number}");
            if number < 5 {
                assert_eq!(read(&store, by, &newest), Ok(1), "{number}");
            }
            let create = instance.wait(store.create_secret(instance.act(9), new_secret("b", "v")));
            let expected = damaged.err().filter(|_| number == 6).map(CreateSecretError::Store);
            assert_eq!(create.err(), expected, "{number}");
        }
    }
}

#[test]
fn a_missing_record_is_an_error_and_no_end() {
    let (instance, log) = filled();
    let by = &instance.admin;
    for (number, (key, _)) in log.iter().enumerate() {
        let mut changes = Changes::default();
        changes.remove(key.clone());
        let store = changed(&instance, &changes);
        assert_eq!(read(&store, by, &query(10, 0)), Err(DAMAGED), "{number}");
        assert_eq!(read(&store, by, &filtered()), Err(DAMAGED), "{number}");
        assert_eq!(read(&store, by, &query(1, 0)).is_ok(), number < 5, "{number}");
    }
    // Without the state nothing is written over.
    let (state, _) = &log[6];
    let mut changes = Changes::default();
    changes.remove(state.clone());
    let store = changed(&instance, &changes);
    let create = instance.wait(store.create_secret(instance.act(9), new_secret("b", "v")));
    assert_eq!(create.unwrap_err(), CreateSecretError::Store(DAMAGED));
}

#[test]
fn an_aged_state_is_noticed() {
    let (instance, log) = filled();
    let (state, aged) = log[6].clone();
    instance.create("name-6", "v").unwrap();
    let mut changes = Changes::default();
    changes.put(state, aged);
    let store = changed(&instance, &changes);
    assert_eq!(read(&store, &instance.admin, &query(1, 0)), Err(DAMAGED));
    assert_eq!(read(&store, &instance.admin, &filtered()), Err(DAMAGED));
    let id = instance.page(1, 0).items[0].id;
    let reveal = instance.wait(store.reveal(instance.act(9), id, None));
    assert_eq!(reveal.err().unwrap(), ReadError::Store(DAMAGED));
}

#[test]
fn records_do_not_stand_for_one_another() {
    let (instance, log) = filled();
    let (_, first) = &log[0];
    let ((second, _), (beyond, _)) = (&log[1], &log[5]);
    let mut at_end = beyond.clone();
    *at_end.last_mut().unwrap() += 1;
    for key in [second, &at_end] {
        let mut changes = Changes::default();
        changes.put(key.clone(), first.clone());
        let store = changed(&instance, &changes);
        assert_eq!(read(&store, &instance.admin, &query(10, 0)), Err(DAMAGED));
    }
}

#[test]
fn no_log_is_read_as_another_accounts() {
    let (instance, log) = filled();
    let owner = instance.authenticate(&instance.claim.owner_token, at(1)).unwrap();
    let Caller::Owner(owner) = owner else { panic!("the owner's token is no owner's") };
    // The whole log in the place of the instance's own, or its last record without the state.
    for (moved, kind) in [(&log[..], "audit state"), (&log[5..6], "audit")] {
        let mut changes = Changes::default();
        for (key, bytes) in moved {
            let place = [&[0; ID_BYTES][..], &key[ID_BYTES..]].concat();
            changes.put(place, bytes.clone());
        }
        let store = changed(&instance, &changes);
        let page = store.instance_events(&owner, &query(10, 0));
        assert_eq!(page.unwrap_err(), StoreFailure::Damaged { kind });
        assert_eq!(read(&store, &instance.admin, &query(10, 0)), Ok(6));
    }
}
