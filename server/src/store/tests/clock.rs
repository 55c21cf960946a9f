//! The time that a store seals, and starts at machines whose clocks say something else.

use super::super::body::OwnerBody;
use super::super::core::Core;
use super::super::engine::{Commit, Engine};
use super::super::record::Address;
use super::damage::with_records;
use super::held::Owner;
use super::*;
use crate::clock::Suspicion;
use neo_secrets_attestation::binding::clock_message;
use neo_secrets_attestation::time::UnixTime;

const DAY: i64 = 86_400;

/// A machine's clock that is so many seconds from [`at`] 0.
fn machine(seconds: i64) -> Arc<Clock> {
    let start = 1_700_000_000_u64.saturating_add_signed(seconds);
    Arc::new(Clock::start(SystemTime::UNIX_EPOCH + Duration::from_secs(start)))
}

fn open_at(disk: &Disk, chip: &Chip, seconds: i64) -> (Store, Arc<Clock>) {
    let clock = machine(seconds);
    let closed = opening::open_backend(disk.backend(), disk.space()).unwrap();
    let derive = |request: &_| chip.derive(request);
    let unsealed = closed.unseal(&chip.boot(), derive, LIMITS, &config(), &clock);
    (unsealed.ok().unwrap().store.opened(), clock)
}

/// Whole seconds after [`at`] 0. A test takes less than a minute.
fn seconds(clock: &Clock) -> u64 {
    clock.now().unix_seconds() - at(0).unix_seconds()
}

/// Claimed at [`at`] 0, and still open.
fn founded(owner: &Owner) -> (Disk, Chip, (Engine, Core, ClaimAnswer)) {
    let (disk, chip) = (Disk::default(), Chip::new(1));
    let founding = Founding {
        owner: owner.public(),
        config: config(),
        account_name: label("a"),
        sealer: &chip.sealer(),
        clock: machine(0),
    };
    let founded = founding::found((disk.backend(), disk.space()), founding, LIMITS).unwrap();
    (disk, chip, founded)
}

fn claimed(owner: &Owner) -> (Disk, Chip, ClaimAnswer) {
    let (disk, chip, (_engine, _core, claim)) = founded(owner);
    (disk, chip, claim)
}

/// As [`claimed`], by a server that sealed no time.
fn claimed_before_times(owner: &Owner) -> (Disk, Chip, ClaimAnswer) {
    let (disk, chip, (engine, core, claim)) = founded(owner);
    let snapshot = engine.snapshot().unwrap();
    let (access, system, mut changes) = (core.access(&snapshot), core.system(), Changes::default());
    let body = access.get(system, &Address::owner()).unwrap();
    let body = OwnerBody { is_timed: None, ..body };
    access.put(&mut changes, system, &Address::owner(), &body).unwrap();
    changes.remove(Address::clock().key().to_vec());
    engine.write(|batch| Ok((batch.apply(&changes)?, Commit::Yes))).unwrap();
    (disk, chip, claim)
}

fn setting(owner: &Owner, store: StoreId, number: u64, time: Timestamp) -> ClockSetting {
    let signed = UnixTime::from_seconds(time.unix_seconds()).unwrap();
    let signature = owner.sign_message(&clock_message(&store, number, signed));
    ClockSetting { number, time, signature, origin: origin("sets") }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn a_start_believes_the_machine_within_a_week_of_the_sealed_time() {
    let (disk, chip, _) = claimed(&Owner::new());
    for (machine, time, suspicion) in [
        (5, 5, None),
        (7 * DAY - 60, 7 * 86_400 - 60, None),
        (-365 * DAY, 0, Some(Suspicion::Behind)),
        (8 * DAY, 0, Some(Suspicion::Ahead)),
    ] {
        // Each as after a loss of power: an end would seal the time.
        let disk = Disk::of(disk.bytes());
        let (store, clock) = open_at(&disk, &chip, machine);
        let since = seconds(&clock) - time;
        assert!(since < 60, "{machine}: {since}");
        assert_eq!(clock.suspicion(), suspicion, "{machine}");
        assert_eq!(store.stats().commits, 0, "what is only opened is not written to");
    }
}

#[test]
fn what_happens_takes_the_sealed_time_along() {
    let (disk, chip, claim) = claimed(&Owner::new());
    // Six days later by the machine, something is written.
    let (store, clock) = open_at(&disk, &chip, 6 * DAY);
    assert_eq!(clock.suspicion(), None);
    assert!(wait(store.authenticate(&claim.owner_token, clock.now())).is_ok());
    assert_eq!(store.stats().commits, 1);
    // Power is lost. The machine back at the claim is a week behind now, and six days on is no week ahead.
    let cut = Disk::of(disk.bytes());
    let (_, clock) = open_at(&cut, &chip, 0);
    assert_eq!(clock.suspicion(), Some(Suspicion::Behind));
    assert!(seconds(&clock) - 6 * 86_400 < 60);
    drop(store);
    let (_, clock) = open_at(&disk, &chip, 12 * DAY);
    assert_eq!(clock.suspicion(), None);
}

#[test]
fn the_owner_alone_sets_a_suspect_clock() {
    let owner = Owner::new();
    let (disk, chip, claim) = claimed(&owner);
    let id = claim.store_id;
    let (store, clock) = open_at(&disk, &chip, 365 * DAY);
    assert_eq!(clock.suspicion(), Some(Suspicion::Ahead));
    let a_year = at(365 * 86_400);
    let before = disk.bytes();
    for (setting, is_number) in [
        (setting(&owner, id, 0, a_year), true),
        (setting(&owner, id, 2, a_year), true),
        (setting(&owner, StoreId([0; 16]), 1, a_year), false),
        (setting(&Owner::new(), id, 1, a_year), false),
        (ClockSetting { number: 1, ..setting(&owner, id, 2, a_year) }, false),
        (ClockSetting { time: at(9), ..setting(&owner, id, 1, a_year) }, false),
    ] {
        match wait(store.set_clock(setting)) {
            Err(AcceptError::Number { next: 1 }) => assert!(is_number),
            Err(AcceptError::Signature) => assert!(!is_number),
            _ => panic!("set, or failed"),
        }
    }
    assert!(disk.bytes() == before);
    assert!(seconds(&clock) < 60);
    wait(store.set_clock(setting(&owner, id, 1, a_year))).unwrap();
    assert_eq!(clock.suspicion(), None);
    assert!(seconds(&clock) - 365 * 86_400 < 60);
    let again = wait(store.set_clock(setting(&owner, id, 1, at(0))));
    assert!(matches!(again, Err(AcceptError::Number { next: 2 })));
    // And it tells of it.
    let owner_caller = OwnerCaller { key: KeyId::from_bytes([0; 18]) };
    let events = store.instance_events(&owner_caller, &super::log::query(10, 0)).unwrap();
    let told: Vec<_> = events.items.iter().map(|event| event.action).collect();
    assert_eq!(told, [crate::audit::Action::ClockSet]);
    drop(store);
    let (store, clock) = open_at(&disk, &chip, 365 * DAY + 5);
    assert_eq!(clock.suspicion(), None);
    // Back again, too: the owner's word is above the machine's.
    wait(store.set_clock(setting(&owner, id, 2, at(3_600)))).unwrap();
    assert!(seconds(&clock) - 3_600 < 60);
    drop(store);
    let (_, clock) = open_at(&disk, &chip, 3_605);
    assert_eq!((clock.suspicion(), seconds(&clock) / 60), (None, 60));
}

#[test]
fn a_store_whose_time_was_taken_away_does_not_open() {
    let (disk, chip, _) = claimed(&Owner::new());
    let mut changes = Changes::default();
    changes.remove(Address::clock().key().to_vec());
    let disk = with_records(&disk, &changes);
    let closed = opening::open_backend(disk.backend(), disk.space()).unwrap();
    let derive = |request: &_| chip.derive(request);
    let unsealed = closed.unseal(&chip.boot(), derive, LIMITS, &config(), &machine(0));
    let why = format!("{:?}", unsealed.err().unwrap().error);
    assert!(why.contains("Damaged") && why.contains("clock"), "{why}");
}

#[test]
fn a_store_from_before_times_were_sealed_begins_with_its_next_write() {
    let owner = Owner::new();
    let (disk, chip, claim) = claimed_before_times(&owner);
    let (store, clock) = open_at(&disk, &chip, 1_000 * DAY);
    assert_eq!(clock.suspicion(), None, "there is nothing to compare it with");
    drop(store);
    let (store, clock) = open_at(&disk, &chip, 0);
    assert_eq!(clock.suspicion(), None, "an end begins nothing");
    drop(store);
    let (store, clock) = open_at(&disk, &chip, 1_000 * DAY);
    assert!(wait(store.authenticate(&claim.owner_token, clock.now())).is_ok());
    drop(store);
    let (_, clock) = open_at(&disk, &chip, 0);
    assert_eq!(clock.suspicion(), Some(Suspicion::Behind));
}
