//! Files that were flipped, cut, and records that were moved: an error or a named closed state, and
//! never "missing" for a record that does not open.

use super::super::engine::{Changes, Commit, Engine};
use super::super::record::{Address, Kind};
use super::audit::{Contents, audit, kind_of, records};
use super::crash::Dice;
use super::executions::failed;
use super::functions::pinned;
use super::*;
use crate::model::ID_BYTES;
use std::collections::BTreeMap;

/// A store with a bit of everything, closed.
fn filled(chip: &Chip, seed: &str) -> (Disk, ClaimAnswer, BTreeMap<Vec<u8>, Vec<u8>>) {
    let (disk, runtime) = (Disk::default(), runtime());
    let (store, claim) = found(&disk, chip, LIMITS);
    let admin = runtime.block_on(store.authenticate(&claim.admin_token, at(0))).unwrap();
    for index in 0..6 {
        let new = new_secret(&format!("{seed}-{index}"), &format!("value of {seed}-{index}"));
        let secret = runtime.block_on(store.create_secret(act(&admin, 1), new)).unwrap();
        if index % 2 == 0 {
            let change = new_value(&format!("second value of {seed}-{index}"));
            runtime.block_on(store.update_secret(act(&admin, 2), secret.id, change, None)).unwrap();
        }
    }
    let new = new_key(&[Permission::Read], globs(&["a*"]));
    runtime.block_on(store.create_key(act(&admin, 2), new)).unwrap();
    for index in 0..2 {
        let new = pinned(&format!("{seed}-{index}"), &["a-0"]);
        let made = runtime.block_on(store.create_function(act(&admin, 2), new)).unwrap();
        let run = store.invocable(admin.grant().unwrap(), made.id, at(2)).ok().unwrap().run;
        runtime.block_on(store.end_execution(run, at(2), failed(seed))).unwrap();
    }
    let all = records(&store);
    (disk, claim, all)
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// Uses everything in a store that opened: either all is as it was, or some verb names the damage.
fn is_whole_or_says_so(store: &Store, claim: &ClaimAnswer, context: &str) -> bool {
    let runtime = runtime();
    let admin = match runtime.block_on(store.authenticate(&claim.admin_token, at(3))) {
        Ok(admin) => admin,
        Err(AuthError::Store(_)) => return false,
        Err(AuthError::Unauthorized) => panic!("{context}: the admin's token is as missing"),
    };
    let page = Page { limit: 100, offset: 0, prefix: None };
    let Ok(list) = store.list_secrets(&admin.grant().unwrap(), &page) else { return false };
    for item in &list.items {
        for info in &item.versions {
            match value_of(store, &admin, item.id, Some(info.version), 3) {
                Ok(value) => {
                    let text = String::from_utf8(value.expose().to_vec()).unwrap();
                    assert!(text.ends_with(item.name.as_str()), "{context}: {text}");
                }
                Err(ReadError::Store(_)) => return false,
                Err(ReadError::NotFound | ReadError::UseOnly) => {
                    panic!("{context}: a value is as missing")
                }
            }
        }
    }
    audit(store).is_ok()
}

/// What becomes of a changed file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// It did not open, or a verb named the damage.
    Refused,
    /// Everything is as it was: the change hit unused bytes.
    Unharmed,
    /// An earlier commit, whole: the engine's switch between its last two was hit (STORE.md, 8).
    Aged,
}

fn outcome(
    image: Vec<u8>,
    chip: &Chip,
    claim: &ClaimAnswer,
    truth: &Contents,
    context: &str,
) -> Outcome {
    match open(&Disk::of(image), chip, LIMITS) {
        Err(NotOpened::File(error @ (OpenError::Locked | OpenError::NewerFormat { .. }))) => {
            panic!("{context}: {error}")
        }
        Err(_) => Outcome::Refused,
        Ok(store) if !is_whole_or_says_so(&store, claim, context) => Outcome::Refused,
        Ok(store) if &audit(&store).unwrap() == truth => Outcome::Unharmed,
        Ok(_) => Outcome::Aged,
    }
}

fn truth(disk: &Disk, chip: &Chip) -> Contents {
    audit(&open(&Disk::of(disk.bytes()), chip, LIMITS).unwrap()).unwrap()
}

#[test]
fn no_flipped_bit_is_taken_for_the_truth() {
    let chip = Chip::new(1);
    let (disk, claim, _) = filled(&chip, "a");
    let (image, truth) = (disk.bytes(), truth(&disk, &chip));
    let mut dice = Dice::new(0xF11B);
    // Each bit of the engine's header, then bits all over.
    let others: Vec<usize> = (0..1_200).map(|_| dice.below(used(&image) * 8)).collect();
    let outcomes = (0..320 * 8).chain(others).map(|bit| {
        let mut flipped = image.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let context = format!("bit {} of byte {}", bit % 8, bit / 8);
        outcome(flipped, &chip, &claim, &truth, &context)
    });
    let outcomes: Vec<_> = outcomes.collect();
    let count = |of| outcomes.iter().filter(|outcome| **outcome == of).count();
    assert!(count(Outcome::Refused) > 500, "{} refused", count(Outcome::Refused));
    assert!(count(Outcome::Aged) < 20, "{} aged", count(Outcome::Aged));
}

/// The file's length without the free space at its end.
fn used(image: &[u8]) -> usize {
    image.iter().rposition(|byte| *byte != 0).unwrap() + 1
}

#[test]
fn no_cut_file_is_taken_for_the_truth() {
    let chip = Chip::new(1);
    let (disk, claim, _) = filled(&chip, "a");
    let (image, truth) = (disk.bytes(), truth(&disk, &chip));
    let mut dice = Dice::new(0xC07);
    let lengths = (1..200).map(|_| 1 + dice.below(used(&image) - 1)).collect::<Vec<_>>();
    for length in lengths.into_iter().chain([1, 63, 64, 319, 320, 4_096, used(&image) - 1]) {
        let context = format!("cut to {length}");
        let cut = image[..length].to_vec();
        assert_eq!(outcome(cut.clone(), &chip, &claim, &truth, &context), Outcome::Refused);
        // Filled up with zeros again: what a lost part of a disk looks like. It may have been
        // unused.
        let mut zeroed = cut;
        zeroed.resize(image.len(), 0);
        assert_ne!(outcome(zeroed, &chip, &claim, &truth, &context), Outcome::Aged);
    }
}

/// The disk's store with these records written past it.
pub(super) fn with_records(disk: &Disk, changes: &Changes) -> Disk {
    let changed = Disk::of(disk.bytes());
    let engine = Engine::open(changed.backend(), changed.space()).unwrap();
    engine.write(|batch| Ok((batch.apply(changes)?, Commit::Yes))).unwrap();
    drop(engine);
    changed
}

#[test]
fn no_record_opens_in_another_place() {
    let chip = Chip::new(1);
    let (disk, claim, own) = filled(&chip, "a");
    let (_, _, foreign) = filled(&chip, "b");
    let mut moves = 0;
    let mut try_at = |key: &[u8], bytes: &[u8], context: &str| {
        let mut changes = Changes::default();
        changes.put(key.to_vec(), bytes.to_vec());
        moves += 1;
        match open(&with_records(&disk, &changes), &chip, LIMITS) {
            Err(NotOpened::File(OpenError::Damaged(_))) => {}
            Err(NotOpened::Seal(
                UnsealError::Table(_) | UnsealError::Key { .. } | UnsealError::Store(_),
            )) => {}
            Err(other) => panic!("{context}: {other:?}"),
            Ok(store) => {
                assert!(!is_whole_or_says_so(&store, &claim, context), "{context}");
            }
        }
    };
    // Every kind of record at the place of one of every kind, of this store and of another one.
    let by_kind: BTreeMap<u8, &Vec<u8>> = own.keys().map(|key| (kind_of(key), key)).collect();
    for (kind, key) in &by_kind {
        for (other, bytes) in own.iter().filter(|(other, _)| other != key) {
            let context = format!("kind {} at {kind:#x}", kind_of(other));
            try_at(key, bytes, &context);
        }
        let same_kind = foreign.iter().filter(|(other, _)| kind_of(other) == *kind);
        for (_, bytes) in same_kind.filter(|(_, bytes)| *bytes != &own[*key]) {
            try_at(key, bytes, &format!("another store's record of kind {kind:#x}"));
        }
        for wrong in [&b""[..], b"x", &[1; 34], &[0; 400_000]] {
            try_at(key, wrong, &format!("{} bytes at kind {kind:#x}", wrong.len()));
        }
    }
    assert!(moves > 400, "{moves}");
}

#[test]
fn a_record_that_does_not_open_is_never_missing() {
    let chip = Chip::new(1);
    let (disk, claim, own) = filled(&chip, "a");
    let runtime = runtime();
    let with_bad = |kind: Kind, changed: &dyn Fn(&mut Vec<u8>)| {
        let (key, bytes) = own
            .iter()
            .rfind(|(key, _)| kind_of(key) == kind as u8 && key[..ID_BYTES] != [0; ID_BYTES])
            .unwrap();
        let mut bytes = bytes.clone();
        changed(&mut bytes);
        let mut changes = Changes::default();
        changes.put(key.clone(), bytes);
        let disk = with_records(&disk, &changes);
        let store = open(&disk, &chip, LIMITS).unwrap();
        let admin = runtime.block_on(store.authenticate(&claim.admin_token, at(3)));
        let id = key.get(19..37).and_then(|id| id.try_into().ok()).unwrap_or([0; ID_BYTES]);
        (store, admin, crate::model::Id::from_bytes(id))
    };
    for position in [0, 1, 2, 40, 200] {
        let flip = |bytes: &mut Vec<u8>| bytes[position] ^= 0x80;
        let damaged = |kind| StoreFailure::Damaged { kind };
        let (store, admin, id) = with_bad(Kind::Secret, &flip);
        let admin = admin.unwrap();
        let read = store.secret(&admin.grant().unwrap(), id);
        assert_eq!(read.unwrap_err(), ReadError::Store(damaged("secret")));
        let deleted = runtime.block_on(store.delete_secret(act(&admin, 5), id));
        assert_eq!(deleted.unwrap_err(), DeleteSecretError::Store(damaged("secret")));
        let page = Page { limit: 100, offset: 0, prefix: None };
        assert_eq!(
            store.list_secrets(&admin.grant().unwrap(), &page).unwrap_err(),
            damaged("secret")
        );
        let (store, admin, _) = with_bad(Kind::State, &flip);
        let create = store.create_secret(act(&admin.unwrap(), 1), new_secret("z", "v"));
        let error = runtime.block_on(create).unwrap_err();
        assert_eq!(error, CreateSecretError::Store(damaged("state")));
        let (store, admin, id) = with_bad(Kind::Value, &flip);
        let value = value_of(&store, &admin.unwrap(), id, None, 1);
        assert_eq!(value.err().unwrap(), ReadError::Store(damaged("value")));
    }
    // A value that is gone while its secret says that it is kept.
    let (store, claim) = (open(&disk, &chip, LIMITS).unwrap(), &claim);
    let admin = runtime.block_on(store.authenticate(&claim.admin_token, at(3))).unwrap();
    let page = Page { limit: 1, offset: 0, prefix: None };
    let newest = store.list_secrets(&admin.grant().unwrap(), &page).unwrap().items.remove(0);
    drop(store);
    let mut changes = Changes::default();
    changes.remove(Address::value(claim.account, newest.id, newest.version).key().to_vec());
    let store = open(&with_records(&disk, &changes), &chip, LIMITS).unwrap();
    let value = value_of(&store, &admin, newest.id, None, 3);
    let damaged = StoreFailure::Damaged { kind: "value" };
    assert_eq!(value.err().unwrap(), ReadError::Store(damaged.clone()));
    let version = newest.version;
    let rollback = store.rollback_secret(act(&admin, 3), newest.id, version, None);
    let refused = runtime.block_on(rollback).unwrap_err();
    assert_eq!(refused, RollbackSecretError::Store(damaged));
}

#[test]
fn a_name_that_was_given_away_is_noticed() {
    let chip = Chip::new(1);
    let (disk, claim, own) = filled(&chip, "a");
    let runtime = runtime();
    let open_without = |changes: &Changes| {
        let store = open(&with_records(&disk, changes), &chip, LIMITS).unwrap();
        let admin = runtime.block_on(store.authenticate(&claim.admin_token, at(3))).unwrap();
        (store, admin)
    };
    // The names are as an earlier server wrote them, in records of their own, which are gone.
    let mut changes = Changes::default();
    own.keys()
        .filter(|key| kind_of(key) == Kind::Names as u8)
        .for_each(|key| changes.remove(key.clone()));
    super::names::set_names_in(&disk, &chip, claim.account, &mut changes);
    let (store, admin) = open_without(&changes);
    let page = Page { limit: 1, offset: 0, prefix: None };
    let first = store.list_secrets(&admin.grant().unwrap(), &page).unwrap().items.remove(0);
    let damaged = StoreFailure::Damaged { kind: "name" };
    let check = || {
        let reveal = runtime.block_on(store.reveal(act(&admin, 3), first.id, None));
        assert_eq!(reveal.err().unwrap(), ReadError::Store(damaged.clone()));
        let update = store.update_secret(act(&admin, 3), first.id, new_value("x"), None);
        let refused = runtime.block_on(update).unwrap_err();
        assert_eq!(refused, UpdateSecretError::Store(damaged.clone()));
        let version = first.version;
        let rollback = store.rollback_secret(act(&admin, 3), first.id, version, None);
        let refused = runtime.block_on(rollback).unwrap_err();
        assert_eq!(refused, RollbackSecretError::Store(damaged.clone()));
        let delete = store.delete_secret(act(&admin, 5), first.id);
        let refused = runtime.block_on(delete).unwrap_err();
        assert_eq!(refused, DeleteSecretError::Store(damaged.clone()));
    };
    check();
    // Another secret has taken the name: it is the one that the name leads to.
    let new = new_secret(first.name.as_str(), "v");
    let create = store.create_secret(act(&admin, 3), new);
    let second = runtime.block_on(create).unwrap();
    check();
    runtime.block_on(store.delete_secret(act(&admin, 5), second.id)).unwrap();
}

/// Uses every verb on whatever stands there. What is aged or missing can't be told from the truth
/// yet (STORE.md, 8), but nothing that was never written is read, and no counter that is wrong ends
/// the store.
fn use_up(store: &Store, claim: &ClaimAnswer, runtime: &Runtime, context: &str) {
    let fine = |failure: &StoreFailure| {
        assert_ne!(failure, &StoreFailure::Unavailable, "{context}");
    };
    match runtime.block_on(store.claim_again(OWNER)) {
        Ok(_) | Err(ClaimAgainError::AlreadyClaimed) => {}
        Err(ClaimAgainError::Store(failure)) => fine(&failure),
    }
    let admin = match runtime.block_on(store.authenticate(&claim.admin_token, at(9))) {
        Ok(admin) => admin,
        Err(AuthError::Unauthorized) => return,
        Err(AuthError::Store(failure)) => return fine(&failure),
    };
    fn grant<R: Right>(caller: &Caller) -> Grant<R> {
        caller.grant().unwrap()
    }
    let list = store.list_secrets(&grant(&admin), &Page { limit: 100, offset: 0, prefix: None });
    for item in list.map_err(|failure| fine(&failure)).map_or(vec![], |page| page.items) {
        match value_of(store, &admin, item.id, None, 9) {
            Ok(value) => assert!(value.expose().ends_with(item.name.as_str().as_bytes())),
            Err(ReadError::Store(failure)) => fine(&failure),
            Err(ReadError::NotFound | ReadError::UseOnly) => {
                panic!("{context}: a listed secret is missing")
            }
        }
        let change = new_value(&format!("another value of {}", item.name.as_str()));
        let update = store.update_secret(act(&admin, 9), item.id, change, None);
        if let Err(UpdateSecretError::Store(failure)) = runtime.block_on(update) {
            fine(&failure);
        }
        let oldest = item.versions[0].version;
        let rollback = store.rollback_secret(act(&admin, 9), item.id, oldest, None);
        match runtime.block_on(rollback) {
            Err(RollbackSecretError::Store(failure)) => fine(&failure),
            Err(_) => {}
            Ok(_) => match value_of(store, &admin, item.id, None, 9) {
                Ok(value) => assert!(value.expose().ends_with(item.name.as_str().as_bytes())),
                Err(other) => panic!("{context}: {other}"),
            },
        }
        let delete = store.delete_secret(act(&admin, 5), item.id);
        if let Err(DeleteSecretError::Store(failure)) = runtime.block_on(delete) {
            fine(&failure);
        }
    }
    let create = store.create_secret(act(&admin, 9), new_secret("a-0", "v"));
    if let Err(CreateSecretError::Store(failure)) = runtime.block_on(create) {
        fine(&failure);
    }
    let create = store.create_key(act(&admin, 9), new_key(&[Permission::Admin], Scope::All));
    if let Err(CreateKeyError::Store(failure)) = runtime.block_on(create) {
        fine(&failure);
    }
    let keys = store.list_keys(&grant(&admin)).map_err(|failure| fine(&failure));
    for key in keys.unwrap_or_default() {
        let overlap = Overlap::from_seconds(60).unwrap();
        let rotate = store.rotate_key(act(&admin, 9), key.id, overlap);
        if let Err(RotateKeyError::Store(failure)) = runtime.block_on(rotate) {
            fine(&failure);
        }
        if let Err(RevokeKeyError::Store(failure)) =
            runtime.block_on(store.revoke_key(act(&admin, 5), key.id))
        {
            fine(&failure);
        }
    }
}

#[test]
fn no_mix_of_old_and_new_records_is_more_than_aged() {
    let chip = Chip::new(1);
    let (disk, claim, before) = filled(&chip, "a");
    let runtime = runtime();
    let store = open(&disk, &chip, LIMITS).unwrap();
    let admin = runtime.block_on(store.authenticate(&claim.admin_token, at(4))).unwrap();
    let page = Page { limit: 100, offset: 0, prefix: None };
    for (index, item) in
        store.list_secrets(&admin.grant().unwrap(), &page).unwrap().items.iter().enumerate()
    {
        if index % 3 == 0 {
            runtime.block_on(store.delete_secret(act(&admin, 5), item.id)).unwrap();
            let text = format!("made anew as {}", item.name.as_str());
            let new = new_secret(item.name.as_str(), &text);
            runtime.block_on(store.create_secret(act(&admin, 5), new)).unwrap();
        } else {
            let change = new_value(&format!("a later value of {}", item.name.as_str()));
            runtime.block_on(store.update_secret(act(&admin, 5), item.id, change, None)).unwrap();
        }
    }
    let new = new_key(&[Permission::Admin], Scope::All);
    runtime.block_on(store.create_key(act(&admin, 5), new)).unwrap();
    let after = records(&store);
    drop(store);
    let mut dice = Dice::new(0x313);
    let keys: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    for round in 0..200 {
        let mut changes = Changes::default();
        // Few or many records aged; in every second round some are gone, too.
        let (share, gone) = (1 + dice.below(8), round % 2 == 0);
        for key in keys.iter().filter(|key| kind_of(key) > Kind::Slots as u8) {
            let old = if gone && dice.below(20) == 0 { None } else { before.get(*key) };
            match old {
                _ if dice.below(8) >= share => {}
                Some(bytes) => changes.put((*key).clone(), bytes.clone()),
                None => changes.remove((*key).clone()),
            }
        }
        match open(&with_records(&disk, &changes), &chip, LIMITS) {
            Ok(store) => use_up(&store, &claim, &runtime, &format!("round {round}")),
            Err(NotOpened::Seal(UnsealError::Store(StoreFailure::Damaged { .. }))) => {}
            Err(other) => panic!("round {round}: {other:?}"),
        }
    }
}

#[test]
fn an_older_file_opens_for_what_it_is() {
    // Rollback is not noticed yet (STORE.md, 8): the older state is whole, and that is all that
    // holds.
    let mut instance = Instance::new();
    instance.create("a", "v").unwrap();
    drop(instance.store.take());
    let older = Disk::of(instance.disk.bytes());
    instance.store = Some(open(&instance.disk, &instance.chip, LIMITS).unwrap());
    instance.create("b", "v").unwrap();
    let store = open(&older, &instance.chip, LIMITS).unwrap();
    let contents = audit(&store).unwrap();
    assert_eq!(contents.keys().collect::<Vec<_>>(), ["a"]);
}
