//! Stores written before values and accounts were counted.

use super::super::body::{SecretBody, StateBody, StateBodyV1, VersionBody, Versions};
use super::super::record::{Address, Kind, SYSTEM, body_version};
use super::audit::{audit, kind_of, records};
use super::damage::with_records;
use super::names;
use super::*;
use crate::model::{ID_BYTES, Id};

/// What the earlier server wrote of a version.
mod v1 {
    use crate::model::{KeyId, Timestamp, Version};

    #[derive(minicbor::Encode)]
    #[cbor(map)]
    pub(super) struct VersionV1 {
        #[n(0)]
        pub(super) version: Version,
        #[n(1)]
        pub(super) created_at: Timestamp,
        #[n(2)]
        pub(super) created_by: KeyId,
    }
}

fn old_versions(versions: &Versions) -> Versions {
    let old = versions.all().iter().map(|kept| {
        let VersionBody { version, created_at, created_by, bytes: _ } = *kept;
        v1::VersionV1 { version, created_at, created_by }
    });
    let bytes = minicbor::to_vec(old.collect::<Vec<_>>()).unwrap();
    minicbor::decode(&bytes).unwrap()
}

/// Closes the store and puts in its place what the earlier server would have written.
fn make_old(instance: &mut Instance, change: impl FnOnce(&mut Changes)) {
    let mut changes = Changes::default();
    names::alone(instance, &mut changes);
    let store = instance.store.take().unwrap();
    let snapshot = store.writer.snapshot().unwrap();
    let access = store.writer.shared.core.access(&*snapshot);
    let keys = access.account(instance.claim.account).unwrap();
    for account in [access.core.system(), &keys] {
        let address = Address::state(account.id);
        let StateBody { last_id, secrets, keys, lasting_admins, .. } =
            access.get(account, &address).unwrap();
        let old = StateBodyV1 { last_id, secrets, keys, lasting_admins };
        access.put(&mut changes, account, &Address::state_v1(account.id), &old).unwrap();
    }
    for key in records(&store).keys().filter(|key| kind_of(key) == Kind::Secret as u8) {
        let id = Id::from_bytes(key[ID_BYTES + 1..].try_into().unwrap());
        let address = Address::secret(keys.id, id);
        let body = access.get(&*keys, &address).unwrap();
        let versions = old_versions(&body.versions);
        access.put(&mut changes, &*keys, &address, &SecretBody { versions, ..body }).unwrap();
    }
    change(&mut changes);
    drop((snapshot, store));
    instance.disk = with_records(&instance.disk, &changes);
}

fn is_old(store: &Store, account: crate::model::AccountId) -> bool {
    let record = records(store).remove(Address::state(account).key()).unwrap();
    body_version(&record) == Some(1)
}

fn filled() -> (Instance, SecretId, SecretId) {
    let instance = Instance::new();
    let one = instance.create("one", "12345").unwrap().id;
    let two = instance.create("two", "123").unwrap().id;
    for text in ["1", "12", "1234"] {
        instance.update(one, new_value(text)).unwrap();
    }
    (instance, one, two)
}

#[test]
fn an_old_store_is_counted_once_and_then_counts_on() {
    let (mut instance, one, two) = filled();
    make_old(&mut instance, |_| {});
    instance.store = Some(open(&instance.disk, &instance.chip, LIMITS).unwrap());
    for account in [SYSTEM, instance.claim.account] {
        assert!(!is_old(instance.store(), account));
    }
    let usage = instance.usage();
    assert_eq!((usage.value_bytes, usage.secrets, usage.api_keys), (1 + 2 + 4 + 3, 2, 1));
    audit(instance.store()).unwrap();
    // The next opening finds nothing to do.
    let before = instance.disk.bytes();
    instance.reopen();
    drop(instance.store.take());
    assert_eq!(
        records_in(&before, &instance.chip),
        records_in(&instance.disk.bytes(), &instance.chip)
    );
    instance.reopen();
    // Old versions know no bytes of their own; what is dropped is counted all the same.
    instance.update(one, new_value("123456")).unwrap();
    assert_eq!(instance.usage().value_bytes, 2 + 4 + 6 + 3);
    instance.rollback(one, 3).unwrap();
    instance.delete(two).unwrap();
    assert_eq!(instance.usage().value_bytes, 4 + 6 + 2);
    audit(instance.store()).unwrap();
    instance.delete(one).unwrap();
    assert_eq!(instance.usage().value_bytes, 0);
}

fn records_in(image: &[u8], chip: &Chip) -> std::collections::BTreeMap<Vec<u8>, Vec<u8>> {
    records(&open(&disk::Disk::of(image.to_vec()), chip, LIMITS).unwrap())
}

#[test]
fn a_failing_disk_leaves_an_old_store_old_or_counted() {
    let (mut instance, ..) = filled();
    make_old(&mut instance, |_| {});
    let image = instance.disk.bytes();
    let (mut failed, mut counted) = (0, 0);
    for operations in 0..30 {
        let disk = Disk::of(image.clone());
        disk.fail_after(operations);
        match open(&disk, &instance.chip, LIMITS) {
            Ok(store) => drop(store),
            Err(NotOpened::Seal(UnsealError::Store(StoreFailure::Unavailable))) => failed += 1,
            Err(NotOpened::File(OpenError::Io(_))) => {}
            Err(other) => panic!("{operations}: {other:?}"),
        }
        disk.repair();
        let store = open(&disk, &instance.chip, LIMITS).unwrap();
        audit(&store).unwrap();
        counted += 1;
    }
    assert!(failed > 2 && counted == 30, "{failed} failed");
}

#[test]
fn a_value_that_does_not_open_counts_as_nothing_and_stays_an_error() {
    let (mut instance, one, two) = filled();
    let account = instance.claim.account;
    make_old(&mut instance, |changes| {
        let address = Address::value(account, two, Version(1));
        changes.put(address.key().to_vec(), vec![1; 400]);
    });
    instance.store = Some(open(&instance.disk, &instance.chip, LIMITS).unwrap());
    assert_eq!(instance.usage().value_bytes, 1 + 2 + 4);
    let damaged = StoreFailure::Damaged { kind: "value" };
    assert_eq!(instance.value(two, None).unwrap_err(), ReadError::Store(damaged.clone()));
    assert_eq!(instance.delete(two).unwrap_err(), DeleteSecretError::Store(damaged));
    assert_eq!(instance.value(one, None).unwrap(), "1234");
    instance.delete(one).unwrap();
}

#[test]
fn a_state_that_only_says_it_is_old_is_damage() {
    let (mut instance, ..) = filled();
    let store = instance.store.take().unwrap();
    let account = instance.claim.account;
    let mut changes = Changes::default();
    for account in [SYSTEM, account] {
        let key = Address::state(account).key().to_vec();
        let mut bytes = records(&store).remove(&key).unwrap();
        bytes[1] = 1;
        changes.put(key, bytes);
    }
    drop(store);
    let disk = with_records(&instance.disk, &changes);
    let damaged = StoreFailure::Damaged { kind: "state" };
    match open(&disk, &instance.chip, LIMITS) {
        Err(NotOpened::Seal(UnsealError::Store(failure))) => assert_eq!(failure, damaged),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it opened"),
    }
}
