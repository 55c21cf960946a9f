//! The audit log: one event for each write, none for what is refused, and no value without one.

use super::super::audit::{Pending, list};
use super::super::engine::Changes;
use super::super::record::Kind;
use super::audit::{audit, kind_of, records};
use super::damage::with_records;
use super::*;
use crate::audit::{Action, Actor, Event, EventFilter, Object};
use crate::limits::{AUDIT_KEY_RESERVE, RECORD_BYTES, REQUEST_ID_BYTES, WRITE_BATCH};

const ADMIN: &[Permission] = &[Permission::Admin];
const REVEAL: &[Permission] = &[Permission::Reveal];

pub(super) fn query(limit: usize, offset: u64) -> EventQuery {
    EventQuery { limit, offset, filter: EventFilter::default() }
}

/// An account's whole log, oldest first.
pub(super) fn whole_log(store: &Store, account: crate::model::AccountId) -> Vec<Event> {
    let query = query(usize::MAX, 0);
    let read = |access: &Access<'_>, snapshot: &Snapshot| {
        list(access, snapshot, (&*access.account(account)?, None), &query)
    };
    let mut page = store.read(read).unwrap();
    assert_eq!(page.items.len() as u64, page.total);
    page.items.reverse();
    page.items
}

/// Action, name of the object, and version.
pub(super) fn short(event: &Event) -> (&'static str, &str, Option<u64>) {
    let (name, version) = match &event.object {
        Object::Secret { id: _, name, version } => (name.as_str(), version.map(|it| it.0)),
        Object::Key { name, .. } | Object::Account { name, .. } => (name.as_str(), None),
        Object::Function { name, .. } => (name.as_str(), None),
        Object::Use { name, version, .. } => (name.as_str(), Some(version.0)),
        Object::Configuration { .. } | Object::Clock { .. } => ("", None),
    };
    (event.action.as_str(), name, version)
}

impl Instance {
    pub(super) fn log(&self) -> Vec<Event> {
        whole_log(self.store(), self.claim.account)
    }

    pub(super) fn reveal(
        &self,
        by: &Caller,
        id: SecretId,
        version: Option<u64>,
    ) -> Result<String, ReadError> {
        let revealed = self.store().reveal(act(by, 7), id, version.map(Version));
        let revealed = self.wait(revealed)?;
        Ok(String::from_utf8(revealed.value.expose().to_vec()).unwrap())
    }

    fn page_of(&self, by: &Caller, query: &EventQuery) -> (Vec<String>, u64) {
        let page = self.store().events(&by.grant().unwrap(), query).unwrap();
        let shown = |event: &Event| {
            let (action, name, version) = short(event);
            format!("{action} {name} {}", version.unwrap_or(0))
        };
        (page.items.iter().map(shown).collect(), page.total)
    }
}

#[test]
fn each_write_leaves_one_event_and_what_is_refused_leaves_none() {
    let mut instance = Instance::new();
    assert_eq!(instance.log(), []);
    let id = instance.create("a", "one").unwrap().id;
    instance.update(id, new_value("two")).unwrap();
    instance.update(id, Change { description: Field::Clear, ..no_change() }).unwrap();
    instance.rollback(id, 1).unwrap();
    assert_eq!(instance.reveal(&instance.admin, id, None).unwrap(), "one");
    assert_eq!(instance.reveal(&instance.admin, id, Some(2)).unwrap(), "two");
    let (key, _) = instance.key(&[Permission::Read], globs(&["a*"]));
    let overlap = Overlap::from_seconds(9).unwrap();
    for seconds in [0, 9] {
        let overlap = Overlap::from_seconds(seconds).unwrap();
        instance.wait(instance.store().rotate_key(instance.act(3), key.id, overlap)).ok().unwrap();
    }
    instance.wait(instance.store().revoke_key(instance.act(3), key.id)).unwrap();
    // None of these is made.
    instance.create("a", "again").unwrap_err();
    instance.rollback(id, 9).unwrap_err();
    instance.reveal(&instance.admin, id, Some(9)).unwrap_err();
    instance.wait(instance.store().revoke_key(instance.act(3), key.id)).unwrap_err();
    instance.wait(instance.store().rotate_key(instance.act(3), key.id, overlap)).err().unwrap();
    let last = instance.admin.key_id();
    instance.wait(instance.store().revoke_key(instance.act(3), last)).unwrap_err();
    instance.create_key(&instance.admin, new_key(&[Permission::Execute], Scope::All)).ok().unwrap();
    instance.delete(id).unwrap();
    instance.delete(id).unwrap_err();
    instance.reveal(&instance.admin, id, None).unwrap_err();

    instance.reopen();
    let log = instance.log();
    let expected = [
        ("secret.create", "a", Some(1)),
        ("secret.update", "a", Some(2)),
        ("secret.update", "a", None),
        ("secret.rollback", "a", Some(3)),
        ("secret.reveal", "a", Some(3)),
        ("secret.reveal", "a", Some(2)),
        ("key.create", "a key", None),
        ("key.rotate", "a key", None),
        ("key.rotate", "a key", None),
        ("key.revoke", "a key", None),
        ("key.create", "a key", None),
        ("secret.delete", "a", None),
    ];
    assert_eq!(log.iter().map(short).collect::<Vec<_>>(), expected);
    let Event { time, action: _, actor, object, peer, request } = &log[4];
    assert_eq!((*time, *actor), (at(7), Actor::Key(instance.admin.key_id())));
    let version = Some(Version(3));
    assert_eq!(object, &Object::Secret { id, name: name("a"), version });
    assert_eq!((peer.to_string().as_str(), request.as_str()), ("192.0.2.1", "a-request"));
    assert_eq!(log[9].object, log[6].object, "as the key was, though it is gone");
    audit(instance.store()).unwrap();
}

#[test]
fn pages_are_the_same_however_the_writes_shared_commits() {
    let mut instance = Instance::new();
    let ids: Vec<_> =
        (0..40).map(|index| instance.create(&format!("name-{index}"), "v").unwrap().id).collect();
    for _ in 0..3 {
        let ids = ids.clone();
        let revealed = instance.race(40, move |store, caller, index| {
            let id = ids[index];
            async move { store.reveal(act(&caller, 1), id, None).await.map(|it| it.version) }
        });
        assert!(revealed.into_iter().all(|version| version == Ok(Version(1))));
    }
    let audit_records =
        records(instance.store()).keys().filter(|key| kind_of(key) == Kind::Audit as u8).count();
    assert!(audit_records < 100, "{audit_records} records of 160 events");
    let log = instance.log();
    assert_eq!(log.len(), 160);
    for (limit, offset) in [(0, 0), (1, 0), (7, 5), (100, 0), (30, 119), (100, 150), (10, 160)] {
        let page = instance.store().events(&instance.grant(), &query(limit, offset)).unwrap();
        let expected: Vec<_> =
            log.iter().rev().skip(offset as usize).take(limit).cloned().collect();
        assert_eq!((page.items, page.total), (expected, 160), "{limit} from {offset}");
    }
    let far = instance.store().events(&instance.grant(), &query(1, u64::MAX)).unwrap();
    assert_eq!((far.items, far.total), (vec![], 160));
    audit(instance.store()).unwrap();
}

#[test]
fn filters_match_what_they_say() {
    let instance = Instance::new();
    let store = instance.store();
    let id = instance.wait(store.create_secret(instance.act(10), new_secret("a", "v"))).unwrap().id;
    // A secret may be called as another one's id.
    let text = id.to_string();
    instance.wait(store.create_secret(instance.act(20), new_secret(&text, "v"))).unwrap();
    instance.wait(store.create_key(instance.act(30), new_key(ADMIN, Scope::All))).ok().unwrap();
    instance.wait(store.delete_secret(instance.act(40), id)).unwrap();
    instance.wait(store.create_secret(instance.act(50), new_secret("a", "v"))).unwrap();
    let found = |filter, limit, offset| {
        instance.page_of(&instance.admin, &EventQuery { limit, offset, filter })
    };
    let none = EventFilter::default;
    let between = EventFilter { from: Some(at(20)), to: Some(at(40)), ..none() };
    let create = format!("secret.create {text} 1");
    assert_eq!(found(between, 9, 0), (vec!["key.create a key 0".to_owned(), create.clone()], 2));
    let creations = EventFilter { action: Some(Action::SecretCreate), ..none() };
    assert_eq!(found(creations.clone(), 1, 1), (vec![create.clone()], 3));
    let of = |secret: &str| EventFilter { secret: Some(name(secret)), ..none() };
    let (a, both) = (found(of("a"), 9, 0), found(of(&text), 9, 0));
    assert_eq!(a.0, ["secret.create a 1", "secret.delete a 0", "secret.create a 1"]);
    assert_eq!(both.0, ["secret.delete a 0", &create, "secret.create a 1"]);
    assert_eq!(found(of("b"), 9, 0), (vec![], 0));
    let all = EventFilter { from: Some(at(11)), secret: Some(name("a")), ..creations };
    assert_eq!(found(all, 9, 0).0, ["secret.create a 1"]);
}

#[test]
fn a_narrowed_key_sees_what_lies_within_it() {
    let instance = Instance::new();
    let (_, narrow) = instance.key(&[Permission::Admin], globs(&["db-*"]));
    for secret in ["db-1", "web", "db-2"] {
        instance.create(secret, "v").unwrap();
    }
    let labelled = |text, permissions: &[Permission], scope| {
        let new = NewKey { name: label(text), ..new_key(permissions, scope) };
        instance.create_key(&instance.admin, new).unwrap().0.id
    };
    let inside = labelled("inside", &[Permission::Read], globs(&["db-1"]));
    labelled("beside", &[Permission::Read], globs(&["db-1", "web"]));
    labelled("everywhere", &[Permission::Read], Scope::All);
    labelled("revealing", REVEAL, globs(&["db-1"]));
    instance.wait(instance.store().revoke_key(instance.act(2), inside)).unwrap();
    let (seen, total) = instance.page_of(&narrow, &query(10, 0));
    let expected = [
        "key.revoke inside 0",
        "key.create inside 0",
        "secret.create db-2 1",
        "secret.create db-1 1",
        "key.create a key 0",
    ];
    assert_eq!((seen, total), (expected.map(str::to_owned).to_vec(), 5));
    assert_eq!(instance.page_of(&narrow, &query(1, 3)).0, ["secret.create db-1 1"]);
    let filter = EventFilter { secret: Some(name("web")), ..EventFilter::default() };
    let web = EventQuery { limit: 9, offset: 0, filter };
    assert_eq!(instance.page_of(&narrow, &web), (vec![], 0));
    assert_eq!(instance.page_of(&instance.admin, &web).1, 1);
}

#[test]
fn the_owner_reads_the_instances_log_only() {
    let instance = Instance::new();
    instance.create("a", "v").unwrap();
    let Caller::Owner(owner) = instance.authenticate(&instance.claim.owner_token, at(1)).unwrap()
    else {
        panic!("the owner's token is no owner's");
    };
    let page = instance.store().instance_events(&owner, &query(10, 0)).unwrap();
    assert_eq!((page.items, page.total), (vec![], 0));
    // What the owner does is told there, and there only.
    let account = instance.claim.account;
    let by = Act { by: owner.clone(), origin: origin("by-the-owner"), now: at(2) };
    let write = move |_: &Access<'_>, changes: &mut Changes| -> Result<(), StoreFailure> {
        let object = Object::Account { id: account, name: label("renamed") };
        super::super::audit::note(changes, &by, Action::AccountUpdate, object);
        Ok(())
    };
    instance.wait(instance.store().writer.submit(instance.claim.account, write)).unwrap();
    let page = instance.store().instance_events(&owner, &query(10, 0)).unwrap();
    assert_eq!(
        page.items.iter().map(short).collect::<Vec<_>>(),
        [("account.update", "renamed", None)]
    );
    assert_eq!(page.items[0].actor, Actor::Owner(owner.key));
    assert_eq!(instance.log().len(), 1);
}

#[test]
fn a_full_log_stops_what_uses_secrets() {
    let mut instance = Instance::with_quotas(PerResource { audit_events: 30, ..PER_ACCOUNT });
    let id = instance.create("a", "v").unwrap().id;
    let (key, _) = instance.key(ADMIN, Scope::All);
    let full = full(Resource::AuditEvents, 30);
    let outcomes = instance.race(100, |store, caller, _| async move {
        store.reveal(act(&caller, 1), id, None).await.map(|revealed| revealed.version)
    });
    let refused = Err(ReadError::Store(full.clone()));
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 28);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == refused).count(), 72);
    assert_eq!(instance.log().len(), 30);

    let update = instance.update(id, new_value("w"));
    assert_eq!(update.unwrap_err(), UpdateSecretError::Store(full.clone()));
    let rollback = instance.rollback(id, 1);
    assert_eq!(rollback.unwrap_err(), RollbackSecretError::Store(full.clone()));
    assert_eq!(instance.create("b", "v").unwrap_err(), CreateSecretError::Store(full.clone()));
    // A refusal that has a reason of its own keeps it, and nothing was changed.
    assert_eq!(instance.create("a", "v").unwrap_err(), CreateSecretError::NameTaken);
    assert_eq!(instance.value(id, None).unwrap(), "v");
    assert_eq!(instance.store().secret(&instance.grant(), id).unwrap().revision, Revision(1));

    instance.wait(instance.store().revoke_key(instance.act(1), key.id)).unwrap();
    instance.delete(id).unwrap();
    let log = instance.log();
    let last: Vec<_> = log.iter().skip(30).map(short).collect();
    assert_eq!(last, [("key.revoke", "a key", None), ("secret.delete", "a", None)]);
    assert_eq!(instance.create("b", "v").unwrap_err(), CreateSecretError::Store(full));
    audit(instance.store()).unwrap();
    // A greater limit makes room.
    instance.limits.per_account.audit_events = 33;
    instance.reopen();
    instance.create("b", "v").unwrap();
    instance.create("c", "v").unwrap_err();
}

#[test]
fn keys_can_be_replaced_while_the_log_is_full() {
    let instance = Instance::with_quotas(PerResource { audit_events: 2, ..PER_ACCOUNT });
    instance.create("a", "v").unwrap();
    let (key, _) = instance.key(ADMIN, Scope::All);
    let full = full(Resource::AuditEvents, 2);
    assert_eq!(instance.create("b", "v").unwrap_err(), CreateSecretError::Store(full.clone()));
    let overlap = Overlap::from_seconds(0).unwrap();
    let rotate = || instance.wait(instance.store().rotate_key(instance.act(1), key.id, overlap));
    let (second, _) = instance.key(ADMIN, Scope::All);
    for _ in 1..AUDIT_KEY_RESERVE {
        rotate().unwrap();
    }
    assert_eq!(rotate().err().unwrap(), RotateKeyError::Store(full.clone()));
    let create = instance.create_key(&instance.admin, new_key(ADMIN, Scope::All));
    assert_eq!(create.err().unwrap(), CreateKeyError::Store(full));
    instance.wait(instance.store().revoke_key(instance.act(1), second.id)).unwrap();
    assert_eq!(instance.log().len() as u64, 3 + AUDIT_KEY_RESERVE);
    audit(instance.store()).unwrap();
}

#[test]
fn no_value_leaves_once_key_secret_or_version_is_gone() {
    let instance = Instance::new();
    let id = instance.create("a", "v").unwrap().id;
    let (key, by) = instance.key(REVEAL, Scope::All);
    let store = instance.store();
    // What `reveal` does, with something between its two steps.
    let record = |by: &Caller, version| {
        let write = store.write(act::<Reveal>(by, 7), move |access, changes, act| {
            secrets::reveal(access, changes, act, id, Version(version))
        });
        instance.wait(write)
    };
    assert_eq!(record(&by, 1), Ok(()));
    for text in ["w", "x", "y"] {
        instance.update(id, new_value(text)).unwrap();
    }
    assert_eq!(record(&by, 1), Err(ReadError::NotFound), "three are kept");
    let expire = Change { expires_at: Field::Set(at(7)), ..no_change() };
    instance.update(id, expire).unwrap();
    assert_eq!(record(&by, 4), Err(ReadError::NotFound));
    assert_eq!(instance.reveal(&by, id, None).unwrap_err(), ReadError::NotFound);
    instance.update(id, Change { expires_at: Field::Clear, ..no_change() }).unwrap();
    assert_eq!(record(&by, 4), Ok(()));
    instance.wait(store.revoke_key(instance.act(1), key.id)).unwrap();
    let revoked = ReadError::Store(StoreFailure::KeyRevoked);
    assert_eq!(record(&by, 4), Err(revoked.clone()));
    assert_eq!(instance.reveal(&by, id, None).unwrap_err(), revoked);
    instance.delete(id).unwrap();
    assert_eq!(record(&instance.admin, 4), Err(ReadError::NotFound));
    // Another one of that name is another secret.
    instance.create("a", "v").unwrap();
    assert_eq!(record(&instance.admin, 1), Err(ReadError::NotFound));
    let reveals = instance.log().iter().filter(|it| it.action == Action::SecretReveal).count();
    assert_eq!(reveals, 2);
    let (_, narrow) = instance.key(REVEAL, globs(&["b"]));
    let other = instance.page(1, 0).items[0].id;
    assert_eq!(instance.reveal(&narrow, other, None).unwrap_err(), ReadError::NotFound);
}

#[test]
fn reveals_that_race_a_deletion_are_told_of_before_it() {
    for _ in 0..10 {
        let mut instance = Instance::new();
        let id = instance.create("a", "v").unwrap().id;
        let outcomes = instance.race(60, |store, caller, index| async move {
            if index == 30 {
                store.delete_secret(act(&caller, 1), id).await.unwrap();
                return false;
            }
            store.reveal(act(&caller, 1), id, None).await.is_ok()
        });
        let given = outcomes.into_iter().filter(|given| *given).count();
        let log = instance.log();
        let (last, before) = log.split_last().unwrap();
        assert_eq!((last.action, before.len()), (Action::SecretDelete, 1 + given));
    }
}

#[test]
fn a_failing_disk_gives_no_value() {
    for operations in 0..6 {
        let mut instance = Instance::new();
        let id = instance.create("a", "v").unwrap().id;
        instance.disk.fail_after(operations);
        let mut given = 0;
        let refused = loop {
            match instance.reveal(&instance.admin, id, None) {
                Ok(_) => given += 1,
                Err(refused) => break refused,
            }
        };
        assert_eq!(refused, ReadError::Store(StoreFailure::Unavailable));
        instance.disk.repair();
        instance.reopen();
        let told = instance.log().len() - 1;
        assert!(told == given || told == given + 1, "{told} of {given}");
    }
}

#[test]
fn the_largest_batch_fits_its_records() {
    let instance = Instance::new();
    let longest = "☃".repeat(100);
    let patterns: Vec<String> = (0..20).map(|index| format!("{index:x>100}")).collect();
    let scope = Scope::Names(Globs::parse(patterns).unwrap());
    let key = ApiKey {
        id: KeyId::from_bytes([0xFF; 18]),
        name: label(&longest),
        permissions: Permissions::new(&Permission::ALL).unwrap(),
        scope,
        expires_at: None,
        created_at: at(0),
        old_key_until: None,
    };
    let mut largest = instance.act::<Admin>(1).event(Action::KeyCreate, Object::key(&key));
    largest.peer = PeerAddress::new([0xFFFF; 8].into());
    largest.request = RequestId::parse("x".repeat(REQUEST_ID_BYTES)).unwrap();
    let version = Some(Version(u64::MAX));
    let object = Object::Secret {
        id: SecretId::from_bytes([0xFF; 18]),
        name: name(&"n".repeat(100)),
        version,
    };
    let reveal = Event { action: Action::SecretReveal, object, ..largest.clone() };
    let account = instance.claim.account;
    for (event, count) in [(largest, 6), (reveal, 1)] {
        let mut changes = Changes::default();
        let put = |access: &Access<'_>, _: &Snapshot| -> Result<(), StoreFailure> {
            let mut pending = Pending::default();
            for _ in 0..WRITE_BATCH {
                pending.admit(access, (account, event.clone()))?;
            }
            pending.put(access, &mut changes)
        };
        instance.store().read(put).unwrap();
        let disk = with_records(&instance.disk, &changes);
        let store = open(&disk, &instance.chip, LIMITS).unwrap();
        assert_eq!(whole_log(&store, account), vec![event; WRITE_BATCH]);
        let records = records(&store);
        let audit_records = records.iter().filter(|(key, _)| kind_of(key) == Kind::Audit as u8);
        let sizes: Vec<_> = audit_records.map(|(_, value)| value.len()).collect();
        assert_eq!(sizes.len(), count, "{sizes:?}");
        assert!(sizes.iter().all(|size| *size <= RECORD_BYTES));
    }
}
