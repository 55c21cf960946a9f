//! What a refusal costs: the same reads, of records of the same size, whatever the reason. So the
//! time that it takes tells nothing, as far as it is ours to decide.

use super::super::core::Access;
use super::super::engine::{EngineError, Stored, View, Visit};
use super::*;
use crate::model::Quotas;
use std::cell::RefCell;

/// Notes what is read through it: the key's length, and the record's where there is one.
struct Noted<'a> {
    view: &'a dyn View,
    reads: RefCell<Vec<(usize, Option<usize>)>>,
}

impl View for Noted<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        let found = self.view.get(key)?;
        self.reads.borrow_mut().push((key.len(), found.as_ref().map(Vec::len)));
        Ok(found)
    }

    fn stored(&self, prefix: &[u8]) -> Result<Vec<Stored>, EngineError> {
        self.view.stored(prefix)
    }

    fn visit(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), EngineError> {
        self.view.visit(prefix, visit)
    }

    fn deletions(&self) -> u64 {
        self.view.deletions()
    }

    fn access_changes(&self) -> Option<u64> {
        self.view.access_changes()
    }

    fn name_changes(&self) -> u64 {
        self.view.name_changes()
    }
}

/// What this reads.
fn reads<T>(
    store: &Store,
    work: impl FnOnce(&Access<'_>) -> T,
) -> (T, Vec<(usize, Option<usize>)>) {
    let snapshot = store.writer.snapshot().unwrap();
    let noted = Noted { view: &*snapshot, reads: RefCell::default() };
    let outcome = work(&store.writer.shared.core.access(&noted));
    (outcome, noted.reads.into_inner())
}

#[test]
fn every_refused_key_costs_the_same_reads() {
    const READ: &[Permission] = &[Permission::Read];
    let instance = Instance::new();
    let until = |end| NewKey { expires_at: Some(at(end)), ..new_key(READ, Scope::All) };
    let make = |new| instance.create_key(&instance.admin, new).unwrap();
    let revoke = |id| instance.wait(instance.store().revoke_key(instance.act(1), id)).unwrap();
    let rotate = |id, overlap| {
        let overlap = Overlap::from_seconds(overlap).unwrap();
        let rotated = instance.store().rotate_key(instance.act(1), id, overlap);
        instance.wait(rotated).unwrap();
    };
    let (_, expired) = make(until(2));
    let (key, revoked) = make(new_key(READ, Scope::All));
    revoke(key.id);
    let (key, rotated_away) = make(new_key(READ, Scope::All));
    rotate(key.id, 0);
    let (key, overlap_over) = make(new_key(READ, Scope::All));
    rotate(key.id, 1);
    let unknown = [(); 3].map(|()| Token::random().unwrap());
    let zero = Token::parse(&format!("neo_{}", "A".repeat(43))).unwrap();

    let cost = |token: &Token, now| {
        let hash = instance.store().writer.shared.core.hash(token);
        reads(instance.store(), |access| api_keys::holder(access, &hash)?.admit(&hash, now))
    };
    let (admitted, known) = cost(&instance.claim.admin_token, at(9));
    assert!(admitted.is_ok());
    let refused = [&expired, &revoked, &rotated_away, &overlap_over, &zero].into_iter();
    for token in refused.chain(&unknown) {
        let (refused, reads) = cost(token, at(9));
        assert_eq!(refused.unwrap_err(), AuthError::Unauthorized);
        // The first looks whether the token is there; what is opened are the two after it.
        assert_eq!((reads.len(), &reads[1..]), (3, &known[1..]), "as for a key that is known");
    }
}

#[test]
fn a_secret_of_another_account_costs_the_same_reads_as_a_missing_one() {
    let instance = Instance::new();
    let own = instance.create("a", "x").unwrap();
    let missing = SecretId::from_bytes([7; 18]);
    let account = NewAccount { name: label("another"), quotas: Quotas::default() };
    let made = instance.store().create_account(instance.owner_act(), account);
    let other = instance.authenticate(&instance.wait(made).unwrap().1, at(1)).unwrap();
    let made = instance.store().create_secret(act(&other, 1), new_secret("a", "x"));
    let elsewhere = instance.wait(made).unwrap().id;
    let cost = |id| {
        reads(instance.store(), |access| secrets::secret(access, &instance.grant::<Read>(), id))
    };
    let (found, own_reads) = cost(own.id);
    assert_eq!(found.unwrap().id, own.id);
    let [(key_bytes, Some(_))] = own_reads[..] else { panic!("{own_reads:?}") };
    for id in [missing, elsewhere] {
        let (outcome, reads) = cost(id);
        assert_eq!(outcome.unwrap_err(), ReadError::NotFound);
        assert_eq!(reads, [(key_bytes, None)]);
    }
}

/// Whether the caller behind a token would come from memory.
fn is_kept(instance: &Instance, token: &Token) -> bool {
    let writer = &instance.store().writer;
    let core = &writer.shared.core;
    core.admitted.get(&*writer.snapshot().unwrap(), &core.hash(token)).is_some()
}

#[test]
fn a_caller_is_known_from_memory_until_a_key_or_an_account_changes() {
    let instance = Instance::new();
    let admin = &instance.claim.admin_token;
    let new = || new_key(&[Permission::Read], Scope::All);
    let (key, token) = instance.create_key(&instance.admin, new()).unwrap();
    let use_it = || instance.authenticate(&token, at(1)).unwrap();
    use_it();
    assert!(is_kept(&instance, &token));
    instance.create("a", "x").unwrap();
    assert!(is_kept(&instance, &token), "a secret changes no caller");

    let changes: [(&str, &dyn Fn()); 4] = [
        ("a new key", &|| drop(instance.create_key(&instance.admin, new()).unwrap())),
        ("a rotation", &|| {
            let overlap = Overlap::from_seconds(60).unwrap();
            let rotated = instance.store().rotate_key(instance.act(1), key.id, overlap);
            instance.wait(rotated).unwrap();
        }),
        ("a new account", &|| {
            let account = NewAccount { name: label("another"), quotas: Quotas::default() };
            let made = instance.store().create_account(instance.owner_act(), account);
            instance.wait(made).unwrap();
        }),
        ("another key's end", &|| {
            let (other, _) = instance.create_key(&instance.admin, new()).unwrap();
            instance.wait(instance.store().revoke_key(instance.act(1), other.id)).unwrap();
        }),
    ];
    for (what, change) in changes {
        use_it();
        assert!(is_kept(&instance, &token));
        change();
        assert!(!is_kept(&instance, &token), "{what}");
    }

    // Rotated with an overlap of 60 seconds: time alone ends it, also where it is kept.
    use_it();
    assert!(is_kept(&instance, &token));
    assert_eq!(instance.authenticate(&token, at(99)).unwrap_err(), AuthError::Unauthorized);
    use_it();
    instance.wait(instance.store().revoke_key(instance.act(1), key.id)).unwrap();
    assert_eq!(instance.authenticate(&token, at(1)).unwrap_err(), AuthError::Unauthorized);
    instance.authenticate(admin, at(1)).unwrap();
}

#[test]
fn a_refused_token_is_not_kept() {
    let instance = Instance::new();
    let until = NewKey { expires_at: Some(at(2)), ..new_key(&[Permission::Read], Scope::All) };
    let (_, expired) = instance.create_key(&instance.admin, until).unwrap();
    for token in [expired, Token::random().unwrap()] {
        assert_eq!(instance.authenticate(&token, at(9)).unwrap_err(), AuthError::Unauthorized);
        assert!(!is_kept(&instance, &token));
    }
}

#[test]
fn a_view_of_another_state_neither_takes_a_caller_from_memory_nor_adds_one() {
    let instance = Instance::new();
    let (key, token) =
        instance.create_key(&instance.admin, new_key(&[Permission::Read], Scope::All)).unwrap();
    let writer = &instance.store().writer;
    let core = &writer.shared.core;
    let hash = core.hash(&token);
    let old = writer.snapshot().unwrap();
    let holder = || api_keys::holder(&core.access(&*old), &hash).unwrap();
    core.admitted.keep(&*old, &hash, holder());
    instance.wait(instance.store().revoke_key(instance.act(1), key.id)).unwrap();
    assert!(core.admitted.get(&*writer.snapshot().unwrap(), &hash).is_none());
    // Somebody else has asked since: what a slow reader of the old state found is not kept.
    instance.authenticate(&instance.claim.admin_token, at(1)).unwrap();
    core.admitted.keep(&*old, &hash, holder());
    assert!(core.admitted.get(&*old, &hash).is_none());
    assert!(core.admitted.get(&*writer.snapshot().unwrap(), &hash).is_none());
}
