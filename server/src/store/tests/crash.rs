//! Power is cut at every write and every sync of a working life, a thousand times and more: what
//! was answered is there, and nothing is there by half.

use super::audit::{Contents, audit};
use super::disk::{Event, Fate, raw_bytes};
use super::functions::new_function;
use super::log::whole_log;
use super::*;
use crate::seal::tests::GENOA;
use neo_secrets_attestation::tcb::Tcb;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A small generator, so that a failure can be repeated.
pub(in crate::store) struct Dice(u64);

impl Dice {
    pub(in crate::store) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(in crate::store) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// Writes that wait together, each to a name of its own.
struct Step {
    before: Contents,
    after: Contents,
    /// When each name's write was answered, as a position in the disk's log, and by which request
    /// it came.
    answered: BTreeMap<String, (usize, String)>,
    /// The log's length when the step began.
    began: usize,
}

struct Life {
    disk: Disk,
    chip: Chip,
    claim: ClaimAnswer,
    founded: usize,
    steps: Vec<Step>,
}

/// A store's life: creations, updates, rollbacks, reveals, reads by a function and deletions, one by
/// one and many at once, keys now and then.
fn live(disk: Disk, steps: usize) -> Life {
    let chip = Chip::new(1);
    let (store, claim) = found(&disk, &chip, LIMITS);
    let founded = disk.position();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let admin = runtime.block_on(store.authenticate(&claim.admin_token, at(0))).unwrap();
    let names: Vec<_> = (0..48).map(|index| format!("name-{index}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let make = store.create_function(act(&admin, 1), new_function("reader", &names));
    let function = runtime.block_on(make).unwrap().id;
    let run = store.invocable(admin.grant().unwrap(), function, at(1)).ok().unwrap().run;
    let store = Arc::new(store);
    let mut dice = Dice::new(0x5EED);
    let mut before = audit(&store).unwrap();
    let mut life = Life { disk, chip, claim, founded, steps: Vec::new() };
    for round in 0..steps {
        let began = life.disk.position();
        let together = if round % 3 == 0 { 1 + dice.below(6) } else { 1 };
        let writes: Vec<_> = (0..together)
            .map(|index| {
                let name = format!("name-{}", dice.below(8) + index * 8);
                let text = format!("{round}-{}", "x".repeat(dice.below(3_000)));
                let oldest =
                    |values: &BTreeMap<u64, String>| Version(*values.keys().next().unwrap());
                let existing = before.get(&name).map(|(id, _, values)| (*id, oldest(values)));
                let (store, disk, admin) = (Arc::clone(&store), life.disk.clone(), admin.clone());
                let (choice, run) = (dice.below(6), run.clone());
                let request = format!("{round}-{index}");
                runtime.spawn(async move {
                    let from = origin(&request);
                    write(&store, (&admin, from, run), &name, existing, choice, &text).await;
                    (name, (disk.position(), request))
                })
            })
            .collect();
        let answered: BTreeMap<_, _> =
            writes.into_iter().map(|write| runtime.block_on(write).unwrap()).collect();
        if round % 7 == 0 {
            let new = new_key(&[Permission::Read], Scope::All);
            runtime.block_on(store.create_key(act(&admin, 9), new)).unwrap();
        }
        let after = audit(&store).unwrap();
        life.steps.push(Step { before, after: after.clone(), answered, began });
        before = after;
    }
    life
}

async fn write(
    store: &Store,
    (admin, origin, run): (&Caller, Origin, FunctionRun),
    name: &str,
    existing: Option<(SecretId, Version)>,
    choice: usize,
    text: &str,
) {
    fn by<R: Right>(admin: &Caller, origin: Origin) -> Act<Grant<R>> {
        Act { origin, ..act(admin, 2) }
    }
    match (existing, choice) {
        (None, _) => {
            store.create_secret(by(admin, origin), new_secret(name, text)).await.unwrap();
        }
        (Some((id, _)), 0) => {
            store.delete_secret(by(admin, origin), id).await.unwrap();
        }
        (Some((id, oldest)), 1) => {
            store.rollback_secret(by(admin, origin), id, oldest, None).await.unwrap();
        }
        (Some((id, _)), 2) => {
            store.reveal(by(admin, origin), id, None).await.ok().unwrap();
        }
        (Some(_), 3) => {
            let act = Act { by: run, origin, now: at(2) };
            store.function_read(act, &super::name(name), None).await.ok().unwrap();
        }
        (Some((id, _)), _) => {
            store.update_secret(by(admin, origin), id, new_value(text), None).await.unwrap();
        }
    }
}

/// The disk's image when power fails after `position` events: all that was synced, and of the rest
/// what fate says.
pub(super) fn cut(
    synced: &[u8],
    unsynced: &[Event],
    mut fate: impl FnMut(&Event) -> Fate,
) -> Vec<u8> {
    let mut image = synced.to_vec();
    for event in unsynced {
        event.apply(&mut image, fate(event));
    }
    image
}

pub(super) fn random_fate(dice: &mut Dice, event: &Event) -> Fate {
    match (dice.below(3), event) {
        (0, _) => Fate::Kept,
        (1, _) => Fate::Lost,
        (_, Event::Write { data, .. }) => Fate::Torn(dice.below(1 + data.len() / 512)),
        (_, Event::Length(_) | Event::Sync) => Fate::Kept,
    }
}

impl Life {
    fn check(&self, position: usize, image: Vec<u8>, how: &str) {
        let context = format!("cut after event {position}, {how}");
        if image.is_empty() {
            assert!(position < self.founded, "{context}");
            return;
        }
        let disk = if self.disk.is_raw() { Disk::raw(image) } else { Disk::of(image) };
        let store = match open(&disk, &self.chip, LIMITS) {
            Ok(store) => store,
            Err(error) => {
                assert!(position < self.founded, "{context}: {error:?}");
                return;
            }
        };
        let found = audit(&store).unwrap_or_else(|what| panic!("{context}: {what}"));
        let index = self.steps.partition_point(|step| step.began <= position);
        let Some(step) = index.checked_sub(1).and_then(|index| self.steps.get(index)) else {
            assert!(found.is_empty(), "{context}");
            return;
        };
        let told = whole_log(&store, self.claim.account);
        let told: BTreeSet<_> = told.iter().map(|event| event.request.as_str()).collect();
        for (position_answered, request) in
            self.steps[..index].iter().flat_map(|step| step.answered.values())
        {
            let answered = *position_answered <= position;
            assert!(!answered || told.contains(&**request), "{context}: {request} is not told of");
        }
        for name in found.keys().chain(step.before.keys()).chain(step.after.keys()) {
            let (now, before, after) =
                (found.get(name), step.before.get(name), step.after.get(name));
            let write = step.answered.get(name);
            let answered = write.is_some_and(|(answered, _)| *answered <= position);
            assert!(now == after || (now == before && !answered), "{context}: {name}");
            // A write and its event are there together, or neither is.
            if let Some((_, request)) = write.filter(|_| before != after) {
                let is_told = told.contains(request.as_str());
                assert_eq!(now == after, is_told, "{context}: {name}, {request}");
            }
        }
        if position.is_multiple_of(16) {
            self.go_on(&store, &context);
        }
    }

    /// A recovered store works.
    fn go_on(&self, store: &Store, context: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let admin = runtime.block_on(store.authenticate(&self.claim.admin_token, at(9)));
        let admin = admin.expect(context);
        let created = store.create_secret(act(&admin, 9), new_secret("after-the-cut", "v"));
        runtime.block_on(created).expect(context);
        audit(store).unwrap_or_else(|what| panic!("{context}: {what}"));
    }
}

#[test]
fn a_thousand_cuts() {
    cut_everywhere(&live(Disk::logging(), 70), Vec::new());
}

#[test]
fn a_thousand_cuts_of_a_raw_disk() {
    let bytes = raw_bytes(16 * 1_048_576);
    cut_everywhere(&live(Disk::raw(bytes.clone()), 70), bytes);
}

/// Cuts a life at each of its events; the disk had these bytes before it.
fn cut_everywhere(life: &Life, mut synced: Vec<u8>) {
    let log = life.disk.log();
    let mut dice = Dice::new(0xD1CE);
    let (mut unsynced, mut cuts) = (Vec::new(), 0);
    for (position, event) in log.iter().enumerate() {
        if matches!(event, Event::Sync) {
            // At a sync: all lost, all kept, and a mixture.
            life.check(position, synced.clone(), "all lost");
            life.check(position, cut(&synced, &unsynced, |_| Fate::Kept), "all kept");
            cuts += 2;
        }
        let image = cut(&synced, &unsynced, |event| random_fate(&mut dice, event));
        life.check(position, image, "mixed");
        cuts += 1;
        match event {
            Event::Sync => {
                unsynced.iter().for_each(|event: &Event| event.apply(&mut synced, Fate::Kept));
                unsynced.clear();
            }
            other => unsynced.push(other.clone()),
        }
    }
    assert!(cuts >= 1_000, "{cuts} cuts");
    life.check(log.len(), synced, "at the end");
}

#[test]
fn a_disk_that_fails_while_the_slot_is_wrapped_anew_leaves_a_way_in() {
    let raised = || Chip::new(1).with_tcb(Tcb { snp: 24, ..GENOA });
    let (mut sealed, mut opened) = (0, 0);
    for operations in 0..30 {
        let disk = Disk::default();
        drop(found(&disk, &Chip::new(1), LIMITS));
        disk.fail_after(operations);
        match open(&disk, &raised(), LIMITS) {
            Ok(store) => {
                opened += 1;
                drop(store);
            }
            Err(NotOpened::Seal(UnsealError::Store(StoreFailure::Unavailable))) => sealed += 1,
            Err(NotOpened::File(OpenError::Io(_))) => {}
            Err(other) => panic!("{operations}: {other:?}"),
        }
        disk.repair();
        audit(&open(&disk, &raised(), LIMITS).unwrap()).unwrap();
    }
    assert!(sealed > 2 && opened > 2, "{sealed} sealed, {opened} opened");
}

#[test]
fn a_failing_disk_makes_the_store_unavailable_until_it_is_opened_again() {
    for operations in 0..12 {
        let mut instance = Instance::new();
        let kept = instance.create("kept", "v").unwrap();
        instance.disk.fail_after(operations);
        let unavailable = CreateSecretError::Store(StoreFailure::Unavailable);
        let lost = loop {
            match instance.create(&format!("maybe-{}", instance.store().stats().writes), "v") {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(lost, unavailable);
        // From here on nothing is answered, even when the disk works again.
        instance.disk.repair();
        assert_eq!(instance.create("later", "v").unwrap_err(), unavailable);
        let read = instance.store().secret(&instance.grant(), kept.id);
        assert_eq!(read.unwrap_err(), ReadError::Store(StoreFailure::Unavailable));
        let auth = instance.authenticate(&instance.claim.admin_token, at(1));
        assert_eq!(auth.unwrap_err(), AuthError::Store(StoreFailure::Unavailable));
        let answered = instance.store().stats().writes;
        instance.reopen();
        let contents = audit(instance.store()).unwrap();
        // What was answered is there (the first write of all was the claim's settling); one more
        // may be.
        let writes = contents.len() as u64 + 1;
        assert!(writes == answered || writes == answered + 1, "{writes} of {answered}");
        assert!(contents.contains_key("kept"));
        instance.create("later", "v").unwrap();
    }
}
