//! Accounts: made, kept apart, deleted at once and removed afterwards, whatever happens meanwhile.

use super::super::accounts as verbs;
use super::super::engine::{Commit, View};
use super::super::names::PendingNames;
use super::super::record::{Address, SYSTEM};
use super::super::states::States;
use super::super::sweep::Sweep;
use super::audit::{self, audit_all, kind_of, records, records_of};
use super::crash::{Dice, cut, random_fate};
use super::damage::with_records;
use super::disk::Event;
use super::log::{query, short};
use super::quotas::keep_all;
use super::*;
use crate::limits::{SWEEP_RECORDS, WRITES_WAITING};
use crate::model::{AccountChange, AccountId, Quotas};
use std::sync::{Arc, mpsc};
use tokio::task::JoinSet;

const REVOKED: StoreFailure = StoreFailure::KeyRevoked;

fn new_account(name: &str) -> NewAccount {
    NewAccount { name: label(name), quotas: Quotas::default() }
}

/// An account and who holds its admin key.
pub(super) struct Tenant {
    pub(super) id: AccountId,
    token: Token,
    pub(super) caller: Caller,
}

impl Instance {
    pub(super) fn tenant(&self, name: &str) -> Tenant {
        let create = self.store().create_account(self.owner_act(), new_account(name));
        let (account, token) = self.wait(create).unwrap();
        let caller = self.authenticate(&token, at(1)).unwrap();
        Tenant { id: account.id, token, caller }
    }

    fn create_by(&self, caller: &Caller, name: &str) -> Result<Secret, CreateSecretError> {
        self.wait(self.store().create_secret(act(caller, 1), new_secret(name, "value")))
    }

    fn delete_account(&self, id: AccountId) -> Result<(), AccountError> {
        self.wait(self.store().delete_account(self.owner_act(), id))
    }

    fn await_removal(&self) {
        await_removal(self.store());
    }

    fn names(&self) -> Vec<String> {
        let page = self.store().list_accounts(&self.owner_act().by, 100, 0).unwrap();
        assert_eq!(page.total, page.items.len() as u64);
        page.items.iter().map(|account| account.name.as_str().to_owned()).collect()
    }
}

pub(super) fn await_removal(store: &Store) {
    while store.deleted_accounts() > 0 {
        std::thread::yield_now();
    }
}

fn contains(key: &[u8], id: &[u8]) -> bool {
    key.windows(id.len()).any(|window| window == id)
}

#[test]
fn accounts_are_made_listed_and_changed_by_the_owner() {
    let mut instance = Instance::new();
    let quotas = Quotas { secrets: Some(2), ..Quotas::default() };
    let new = NewAccount { name: label("tenant"), quotas };
    let create = instance.store().create_account(instance.owner_act(), new);
    let (made, token) = instance.wait(create).unwrap();
    assert_eq!(made.quotas, PerResource { secrets: 2, ..PER_ACCOUNT });
    assert_eq!(made.usage, PerResource { api_keys: 1, ..PerResource::default() });
    assert_eq!(made.created_at, at(7));
    // The key is as the claim's: admin and reveal, every secret, no expiry.
    let keys = instance.authenticate(&token, at(8)).unwrap();
    assert!(keys.grant::<Reveal>().is_ok());
    let keys = instance.store().list_keys(&keys.grant().unwrap()).unwrap();
    assert_eq!((keys.len(), &keys[0].scope, keys[0].expires_at), (1, &Scope::All, None));
    let second = instance.tenant("second");
    let owner = instance.owner_act().by;
    let page = instance.store().list_accounts(&owner, 2, 1).unwrap();
    let ids: Vec<_> = page.items.iter().map(|account| account.id).collect();
    assert_eq!((ids, page.total), (vec![made.id, instance.claim.account], 3));
    let id = made.id;
    assert_eq!(instance.store().account(&owner, id).unwrap(), made);
    let renamed = AccountChange { name: Some(label("renamed")), quotas: keep_all() };
    let renamed = instance.wait(instance.store().update_account(instance.owner_act(), id, renamed));
    assert_eq!(renamed.unwrap(), Account { name: label("renamed"), ..made });
    instance.reopen();
    assert_eq!(instance.names(), ["second", "renamed", "first account"]);
    // As many as the configuration allows, and no more.
    instance.tenant("fourth");
    instance.tenant("fifth");
    let create = instance.store().create_account(instance.owner_act(), new_account("sixth"));
    let refused = instance.wait(create).err().unwrap();
    assert_eq!(refused, CreateAccountError::TooMany { limit: 5 });
    instance.delete_account(second.id).unwrap();
    instance.tenant("sixth");
    instance.await_removal();
    audit_all(instance.store()).unwrap();
    let log = instance.store().instance_events(&owner, &query(100, 0)).unwrap();
    let told: Vec<_> = log.items.iter().map(|event| short(event).0).collect();
    let expected = ["account.create", "account.delete", "account.create", "account.create"];
    assert_eq!(told[..4], expected);
    assert_eq!(told[4..], ["account.update", "account.create", "account.create"]);
}

#[test]
fn accounts_know_nothing_of_each_other() {
    let instance = Instance::new();
    let (one, two) = (instance.tenant("one"), instance.tenant("two"));
    let own = instance.create_by(&one.caller, "same-name").unwrap();
    let other = instance.create_by(&two.caller, "same-name").unwrap();
    let store = instance.store();
    let grant = one.caller.grant::<Read>().unwrap();
    assert_eq!(store.secret(&grant, own.id).unwrap().id, own.id);
    assert_eq!(store.secret(&grant, other.id).unwrap_err(), ReadError::NotFound);
    let reveal = instance.wait(store.reveal(act(&one.caller, 2), other.id, None));
    assert_eq!(reveal.err().unwrap(), ReadError::NotFound);
    let update = store.update_secret(act(&one.caller, 2), other.id, new_value("x"), None);
    assert_eq!(instance.wait(update).unwrap_err(), UpdateSecretError::NotFound);
    let delete = instance.wait(store.delete_secret(act(&one.caller, 2), other.id));
    assert_eq!(delete.unwrap_err(), DeleteSecretError::NotFound);
    let revoke = instance.wait(store.revoke_key(act(&one.caller, 2), two.caller.key_id()));
    assert_eq!(revoke.unwrap_err(), RevokeKeyError::NotFound);
    let page = Page { limit: 10, offset: 0, prefix: None };
    let page = store.list_secrets(&grant, &page).unwrap();
    assert_eq!((page.items.len(), page.total), (1, 1));
    assert_eq!(audit_all(store).unwrap().len(), 3);
}

#[test]
fn a_deleted_account_is_gone_at_once_for_everyone() {
    let mut instance = Instance::new();
    let kept = instance.create("kept", "value").unwrap();
    let doomed = instance.tenant("doomed");
    let secret = instance.create_by(&doomed.caller, "a").unwrap();
    let key = new_key(&[Permission::Read], Scope::All);
    let (_, reader) = instance.create_key(&doomed.caller, key).unwrap();
    instance.delete_account(doomed.id).unwrap();
    let check = |instance: &Instance| {
        for token in [&doomed.token, &reader] {
            let refused = instance.authenticate(token, at(2)).unwrap_err();
            assert_eq!(refused, AuthError::Unauthorized);
        }
        // What had authenticated before finds nobody to act for, removed or not.
        let read = instance.store().secret(&doomed.caller.grant().unwrap(), secret.id);
        assert_eq!(read.unwrap_err(), ReadError::Store(REVOKED));
        let page = Page { limit: 1, offset: 0, prefix: None };
        let list = instance.store().list_secrets(&doomed.caller.grant().unwrap(), &page);
        assert_eq!(list.unwrap_err(), REVOKED);
        let keys = instance.store().list_keys(&doomed.caller.grant().unwrap());
        assert_eq!(keys.unwrap_err(), REVOKED);
        let log = instance.store().events(&doomed.caller.grant().unwrap(), &query(1, 0));
        assert_eq!(log.unwrap_err(), REVOKED);
        let created = instance.create_by(&doomed.caller, "b").unwrap_err();
        assert_eq!(created, CreateSecretError::Store(REVOKED));
        let revealed =
            instance.wait(instance.store().reveal(act(&doomed.caller, 2), secret.id, None));
        assert_eq!(revealed.err().unwrap(), ReadError::Store(REVOKED));
        let owner = instance.owner_act().by;
        let shown = instance.store().account(&owner, doomed.id);
        assert_eq!(shown.unwrap_err(), AccountError::NotFound);
        assert_eq!(instance.delete_account(doomed.id).unwrap_err(), AccountError::NotFound);
        let change = AccountChange { name: Some(label("x")), quotas: keep_all() };
        let update = instance.store().update_account(instance.owner_act(), doomed.id, change);
        assert_eq!(instance.wait(update).unwrap_err(), AccountError::NotFound);
        assert_eq!(instance.names(), ["first account"]);
        assert_eq!(instance.value(kept.id, None).unwrap(), "value");
    };
    check(&instance);
    instance.await_removal();
    check(&instance);
    instance.reopen();
    check(&instance);
    let left = records(instance.store());
    assert!(!left.keys().any(|key| contains(key, doomed.id.as_bytes())));
    assert_eq!(audit_all(instance.store()).unwrap().len(), 1);
}

#[test]
fn the_last_account_and_the_claims_own_can_be_deleted() {
    let mut instance = Instance::new();
    instance.create("a", "v").unwrap();
    instance.delete_account(instance.claim.account).unwrap();
    instance.await_removal();
    instance.reopen();
    assert!(audit_all(instance.store()).unwrap().is_empty());
    let again = instance.wait(instance.store().claim_again(OWNER));
    assert_eq!(again.err().unwrap(), ClaimAgainError::AlreadyClaimed);
    let tenant = instance.tenant("the next one");
    instance.create_by(&tenant.caller, "a").unwrap();
    assert_eq!(audit_all(instance.store()).unwrap().len(), 1);
}

#[test]
fn no_reader_brings_a_deleted_accounts_key_back() {
    let instance = Instance::new();
    let doomed = instance.tenant("doomed");
    let living = instance.tenant("living");
    let core = &instance.store().writer.shared.core;
    let before = instance.store().writer.snapshot().unwrap();
    core.access(&*before).account(doomed.id).unwrap();
    instance.delete_account(doomed.id).unwrap();
    let after = instance.store().writer.snapshot().unwrap();
    assert!(core.access(&*after).account(doomed.id).is_err());
    // A reader that comes late, of a state in which there is the account.
    for id in [doomed.id, living.id] {
        assert_eq!(core.access(&*before).account(id).unwrap().id, id);
    }
    assert!(core.access(&*after).account(doomed.id).is_err());
    assert_eq!(core.access(&*after).account(living.id).unwrap().id, living.id);
    assert_eq!(instance.authenticate(&doomed.token, at(2)).unwrap_err(), AuthError::Unauthorized);
    assert!(instance.authenticate(&living.token, at(2)).is_ok());
}

impl Instance {
    /// Gives the store away, to be shared by tasks.
    pub(super) fn share(&mut self) -> Arc<Store> {
        Arc::new(self.store.take().unwrap())
    }

    /// The opposite of `share`, as soon as all tasks that have it are done.
    pub(super) fn take_back(&mut self, store: Arc<Store>) {
        while Arc::strong_count(&store) > 1 {
            std::thread::yield_now();
        }
        self.store = Arc::into_inner(store);
    }
}

/// Holds the writer inside a commit until the sender goes.
pub(super) fn hold_writer(store: &Arc<Store>, runtime: &Runtime) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel::<()>();
    let (entered, begun) = mpsc::channel();
    let store = Arc::clone(store);
    runtime.spawn(async move {
        let wait = move |_: &Access<'_>, _: &mut Changes| -> Result<(), StoreFailure> {
            entered.send(()).unwrap();
            let _ = held.recv();
            Ok(())
        };
        store.writer.submit(SYSTEM, wait).await.unwrap();
    });
    begun.recv().unwrap();
    release
}

pub(super) fn await_waiting(store: &Store, writes: usize) {
    while store.waiting_writes() < writes {
        std::thread::yield_now();
    }
}

#[test]
fn writes_that_wait_when_their_account_is_deleted_fail_cleanly() {
    let mut instance = Instance::new();
    let (doomed, living) = (instance.tenant("doomed"), instance.tenant("living"));
    let owner_act = instance.owner_act();
    let store = instance.share();
    let release = hold_writer(&store, &instance.runtime);
    let mut tasks = JoinSet::new();
    for index in 0..60 {
        let is_living = index % 2 == 1;
        let caller = if is_living { &living } else { &doomed }.caller.clone();
        let store = Arc::clone(&store);
        let task = async move {
            let new = new_secret(&format!("name-{index}"), "value");
            let outcome = store.create_secret(act(&caller, 1), new).await.map(drop);
            let refused = Err(CreateSecretError::Store(REVOKED));
            assert_eq!(outcome, if is_living { Ok(()) } else { refused });
        };
        tasks.spawn_on(task, instance.runtime.handle());
    }
    await_waiting(&store, 60);
    // The deletion comes last, and is made first.
    let delete = {
        let store = Arc::clone(&store);
        instance.runtime.spawn(async move { store.delete_account(owner_act, doomed.id).await })
    };
    await_waiting(&store, 61);
    drop(release);
    assert_eq!(instance.runtime.block_on(delete).unwrap(), Ok(()));
    instance.runtime.block_on(tasks.join_all());
    await_removal(&store);
    let contents = audit_all(&store).unwrap();
    assert_eq!(contents[&living.id].len(), 30);
    assert!(!contents.contains_key(&doomed.id));
}

/// Whose writes the writer made, in the order in which it made them, each with the number of
/// commits before its own.
type Made = Arc<std::sync::Mutex<Vec<(&'static str, u64)>>>;

fn write_as(
    store: &Arc<Store>,
    account: AccountId,
    who: &'static str,
    made: &Made,
) -> impl Future<Output = ()> + Send + 'static {
    let (store, made) = (Arc::clone(store), Arc::clone(made));
    async move {
        let shared = Arc::clone(&store.writer.shared);
        let write = move |_: &Access<'_>, changes: &mut Changes| -> Result<(), StoreFailure> {
            made.lock().unwrap().push((who, shared.commits.writes.count()));
            // Something to commit.
            changes.remove(b"nothing stands here".to_vec());
            Ok(())
        };
        store.writer.submit(account, write).await.unwrap();
    }
}

#[test]
fn a_flood_of_one_account_keeps_nobody_waiting() {
    let mut instance = Instance::new();
    let (loud, quiet) = (instance.claim.account, instance.tenant("quiet").id);
    let store = instance.share();
    let release = hold_writer(&store, &instance.runtime);
    let before = store.stats().commits;
    let made = Made::default();
    let mut tasks = JoinSet::new();
    let flood = 4 * WRITES_WAITING;
    let mut spawn = |account, who| {
        tasks.spawn_on(write_as(&store, account, who, &made), instance.runtime.handle());
    };
    (0..flood).for_each(|_| spawn(loud, "loud"));
    await_waiting(&store, WRITES_WAITING);
    spawn(quiet, "quiet");
    spawn(SYSTEM, "owner");
    await_waiting(&store, WRITES_WAITING + 2);
    drop(release);
    instance.runtime.block_on(tasks.join_all());
    let made = made.lock().unwrap();
    // All of the flood waited before these two came; they are in the very next commit all the same.
    assert_eq!(made[..3], [("owner", before), ("loud", before), ("quiet", before)]);
    assert_eq!(made.len(), flood + 2);
    let commits: std::collections::BTreeSet<_> = made.iter().map(|(_, commit)| commit).collect();
    assert!(commits.len() > 4, "{} commits", commits.len());
}

/// The owner, without a token.
pub(super) fn owner_of(access: &Access<'_>) -> Act<OwnerCaller> {
    let owner = access.get(access.core.system(), &Address::owner()).unwrap();
    Act { by: OwnerCaller { key: owner.bearer_key }, origin: origin("by-the-owner"), now: at(9) }
}

#[test]
fn a_deletion_is_small_and_the_removal_takes_bounded_steps() {
    let (disk, chip) = (Disk::default(), Chip::new(1));
    let account_name = label("first account");
    let founding = Founding {
        owner: OWNER,
        config: config(),
        account_name,
        sealer: &chip.sealer(),
        clock: clock(),
    };
    let (engine, core, claim) =
        founding::found((disk.backend(), disk.space()), founding, LIMITS).unwrap();
    let write = |work: &dyn Fn(&Access<'_>, &mut Changes)| {
        let applied = engine.write(|batch| {
            let mut changes = Changes::default();
            let (states, names) = (States::default(), PendingNames::default());
            work(&core.access_in(batch, (&states, &names)), &mut changes);
            states.change(std::mem::take(&mut changes.states));
            names.change(std::mem::take(&mut changes.names));
            states.put(&core.access(&*batch), &mut changes).unwrap();
            let moves = names.put(&core.access(&*batch), &mut changes).unwrap();
            batch.apply(&changes)?;
            Ok((moves, Commit::Yes))
        });
        core.places.follow(applied.unwrap(), engine.snapshot().unwrap().name_changes());
    };
    let stored = || records_of(&engine.snapshot().unwrap());
    let hash = core.hash(&claim.admin_token);
    write(&|access, changes| {
        verbs::create(access, changes, &owner_of(access), new_account("living")).ok().unwrap();
    });
    for index in 0..400 {
        write(&|access, changes| {
            let admin = api_keys::holder(access, &hash).unwrap().admit(&hash, at(1)).unwrap();
            let new = new_secret(&format!("name-{index}"), "value");
            secrets::create(access, changes, &act::<Write>(&admin, 1), new).unwrap();
        });
    }
    let before = stored();
    write(&|access, changes| {
        verbs::delete(access, changes, &owner_of(access), claim.account).unwrap();
    });
    let mut now = stored();
    let changed = before.keys().chain(now.keys()).filter(|key| before.get(*key) != now.get(*key));
    // The account's key and its record went; its deletion came; the count of accounts changed.
    let changed: std::collections::BTreeSet<_> = changed.map(|key| kind_of(key)).collect();
    assert_eq!(changed, [0x02, 0x05, 0x07, 0x10].into());
    assert_eq!(now.len(), before.len() - 1);
    let (mut sweep, mut steps) = (Sweep::new(), 0);
    while !sweep.is_done() {
        let step = engine.write(|batch| Ok((batch.deletions(), sweep.step(batch, &core)?)));
        assert_eq!(step.unwrap(), 1);
        let after = stored();
        assert!(now.len() - after.len() <= SWEEP_RECORDS, "{} and {}", now.len(), after.len());
        (now, steps) = (after, steps + 1);
        if steps % 3 == 0 {
            // A new start finds what is left.
            sweep = Sweep::new();
        }
    }
    assert!(steps > 1_200 / SWEEP_RECORDS, "{steps} steps");
    assert!(now.keys().all(|key| !contains(key, claim.account.as_bytes())));
    drop(engine);
    let store = open(&disk, &chip, LIMITS).unwrap();
    assert_eq!(store.deleted_accounts(), 0);
    assert_eq!(audit_all(&store).unwrap().len(), 1);
}

#[test]
fn a_living_accounts_missing_key_is_an_error_and_no_deletion() {
    let mut instance = Instance::new();
    instance.create("a", "v").unwrap();
    let living = instance.tenant("living");
    let (gone, other) = (instance.tenant("gone"), instance.tenant("other"));
    instance.create_by(&living.caller, "kept").unwrap();
    // A deletion's record, as it stood once; of the same store.
    instance.delete_account(gone.id).unwrap();
    let mut deletion = Vec::new();
    let address = Address::deletion(gone.id);
    let store = instance.share();
    let release = hold_writer(&store, &instance.runtime);
    deletion.extend(records(&store).remove(address.key()));
    drop(release);
    await_removal(&store);
    drop(store);
    let missing = StoreFailure::Damaged { kind: "account key" };
    let garbage = StoreFailure::Damaged { kind: "deletion" };
    let foreign = deletion.pop().unwrap_or_else(|| vec![1; 400]);
    for (planted, expected) in [(None, missing), (Some(foreign), garbage)] {
        let mut changes = Changes::default();
        changes.remove(Address::account_key(living.id).key().to_vec());
        if let Some(bytes) = planted {
            for id in [living.id, other.id] {
                changes.put(Address::deletion(id).key().to_vec(), bytes.clone());
            }
        }
        let disk = with_records(&instance.disk, &changes);
        let store = open(&disk, &instance.chip, LIMITS).unwrap();
        let outcome = instance.wait(store.authenticate(&living.token, at(2)));
        assert_eq!(outcome.unwrap_err(), AuthError::Store(expected.clone()));
        let read = store.secret(&living.caller.grant().unwrap(), SecretId::from_bytes([1; 18]));
        assert_eq!(read.unwrap_err(), ReadError::Store(expected));
        // What does not open deletes nothing, either.
        assert!(instance.wait(store.authenticate(&other.token, at(2))).is_ok());
        let new = new_secret("b", "v");
        instance.wait(store.create_secret(act(&other.caller, 2), new)).unwrap();
        assert_eq!(store.deleted_accounts(), 0);
        let kept = records(&store).into_keys().filter(|key| key.starts_with(living.id.as_bytes()));
        assert!(kept.count() > 4);
    }
}

/// Two accounts; one of them is deleted, while the other one goes on.
struct Deletion {
    disk: Disk,
    chip: Chip,
    doomed: Tenant,
    living: Tenant,
    /// What each of both held before; and the other's names that were written since, each with the
    /// position at which it was answered.
    before: BTreeMap<AccountId, audit::Contents>,
    written: Vec<(String, usize)>,
    began: usize,
    answered: usize,
    removed: usize,
}

fn deletion() -> Deletion {
    let (disk, chip) = (Disk::logging(), Chip::new(1));
    let (store, claim) = found(&disk, &chip, LIMITS);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let admin = runtime.block_on(store.authenticate(&claim.admin_token, at(0))).unwrap();
    let instance = Instance {
        disk: disk.clone(),
        chip: Chip::new(1),
        store: Some(store),
        claim,
        admin,
        limits: LIMITS,
        runtime,
    };
    let (doomed, living) = (instance.tenant("doomed"), instance.tenant("living"));
    for tenant in [&doomed, &living] {
        for index in 0..150 {
            let secret = instance.create_by(&tenant.caller, &format!("name-{index}")).unwrap();
            if index % 3 == 0 {
                let update = instance.store().update_secret(
                    act(&tenant.caller, 2),
                    secret.id,
                    new_value("second"),
                    None,
                );
                instance.wait(update).unwrap();
            }
        }
        for _ in 0..5 {
            let key = new_key(&[Permission::Read], Scope::All);
            instance.create_key(&tenant.caller, key).unwrap();
        }
    }
    let before = audit_all(instance.store()).unwrap();
    let began = disk.position();
    instance.delete_account(doomed.id).unwrap();
    let answered = disk.position();
    let mut written = Vec::new();
    for index in 0..3 {
        let name = format!("later-{index}");
        instance.create_by(&living.caller, &name).unwrap();
        written.push((name, disk.position()));
    }
    instance.await_removal();
    let removed = disk.position();
    assert_eq!(audit_all(instance.store()).unwrap().len(), 2);
    Deletion { disk, chip, doomed, living, before, written, began, answered, removed }
}

impl Deletion {
    /// Whether the account was there after power was cut at this position.
    fn check(&self, position: usize, image: Vec<u8>, how: &str) -> bool {
        let context = format!("cut after event {position} of {}, {how}", self.removed);
        let store = open(&Disk::of(image), &self.chip, LIMITS)
            .unwrap_or_else(|error| panic!("{context}: {error:?}"));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let found = audit_all(&store).unwrap_or_else(|what| panic!("{context}: {what}"));
        let is_there = found.contains_key(&self.doomed.id);
        let key = runtime.block_on(store.authenticate(&self.doomed.token, at(9)));
        match is_there {
            true => {
                assert!(position < self.answered, "{context}: a deleted account is back");
                assert_eq!(found[&self.doomed.id], self.before[&self.doomed.id], "{context}");
                assert!(key.is_ok(), "{context}");
            }
            false => assert_eq!(key.err(), Some(AuthError::Unauthorized), "{context}"),
        }
        let (living, before) = (&found[&self.living.id], &self.before[&self.living.id]);
        for (name, known) in before {
            assert_eq!(living.get(name), Some(known), "{context}: {name}");
        }
        for (name, answered) in &self.written {
            let is_lost = *answered <= position && !living.contains_key(name);
            assert!(!is_lost, "{context}: {name} is lost");
        }
        assert!(runtime.block_on(store.authenticate(&self.living.token, at(9))).is_ok());
        // The removal goes on where it was, to the end.
        await_removal(&store);
        audit_all(&store).unwrap_or_else(|what| panic!("{context}: {what}"));
        let has_records =
            records(&store).keys().any(|key| contains(key, self.doomed.id.as_bytes()));
        assert_eq!(has_records, is_there, "{context}");
        is_there
    }
}

#[test]
fn power_is_cut_at_each_write_of_a_deletion_and_of_the_removal() {
    let life = deletion();
    let log = life.disk.log();
    let mut dice = Dice::new(0xDE1E7E);
    let (mut synced, mut unsynced) = (Vec::new(), Vec::new());
    let (mut there, mut gone) = (0, 0);
    for (position, event) in log.iter().enumerate() {
        let mut check = |image, how| match life.check(position, image, how) {
            true => there += 1,
            false => gone += 1,
        };
        if position >= life.began {
            if matches!(event, Event::Sync) {
                check(synced.clone(), "all lost");
            }
            check(cut(&synced, &unsynced, |event| random_fate(&mut dice, event)), "mixed");
        }
        match event {
            Event::Sync => {
                let kept = |_: &Event| super::disk::Fate::Kept;
                synced = cut(&synced, &unsynced, kept);
                unsynced.clear();
            }
            other => unsynced.push(other.clone()),
        }
    }
    life.check(log.len(), synced, "at the end");
    assert!(there > 5 && gone > 50, "{there} with the account, {gone} without");
}

#[test]
fn a_failing_disk_ends_a_removal_and_the_next_opening_goes_on() {
    for operations in [0, 3, 9, 20, 40] {
        let mut instance = Instance::new();
        let doomed = instance.tenant("doomed");
        for index in 0..150 {
            instance.create_by(&doomed.caller, &format!("name-{index}")).unwrap();
        }
        let store = instance.share();
        let release = hold_writer(&store, &instance.runtime);
        let owner_act = {
            let access = store.writer.snapshot().unwrap();
            owner_of(&store.writer.shared.core.access(&*access))
        };
        let delete = {
            let store = Arc::clone(&store);
            instance.runtime.spawn(async move { store.delete_account(owner_act, doomed.id).await })
        };
        await_waiting(&store, 1);
        instance.disk.fail_after(operations);
        drop(release);
        let deleted = instance.runtime.block_on(delete).unwrap();
        // The removal needs no caller; it fails by itself, unless it was done.
        let new = new_secret("later", "v");
        let _ = instance.runtime.block_on(store.create_secret(act(&instance.admin, 1), new));
        instance.take_back(store);
        drop(instance.store.take());
        instance.disk.repair();
        instance.store = Some(open(&instance.disk, &instance.chip, LIMITS).unwrap());
        instance.await_removal();
        let contents = audit_all(instance.store()).unwrap();
        let is_there = contents.contains_key(&doomed.id);
        assert!(!is_there || deleted.is_err(), "{operations}: {deleted:?}");
        assert_eq!(contents.get(&doomed.id).map_or(150, BTreeMap::len), 150, "{operations}");
    }
}

#[test]
fn racing_creations_overshoot_no_limit_of_accounts() {
    let mut instance = Instance::new();
    let acts: Vec<_> = (0..64).map(|_| instance.owner_act()).collect();
    let store = instance.share();
    let mut tasks = JoinSet::new();
    for owner_act in acts {
        let store = Arc::clone(&store);
        let task =
            async move { store.create_account(owner_act, new_account("one")).await.map(drop) };
        tasks.spawn_on(task, instance.runtime.handle());
    }
    let outcomes = instance.runtime.block_on(tasks.join_all());
    let refused = Err(CreateAccountError::TooMany { limit: 5 });
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 4);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == refused).count(), 60);
    audit_all(&store).unwrap();
}
