//! Tokens, keys, permissions, patterns.

use super::*;
use crate::access::{Denied, OwnerCaller};

const READ: &[Permission] = &[Permission::Read];
const ADMIN: &[Permission] = &[Permission::Admin];

#[test]
fn every_failure_to_authenticate_is_the_same() {
    let mut instance = Instance::new();
    let unauthorized = |instance: &Instance, token: &Token, seconds| {
        assert_eq!(instance.authenticate(token, at(seconds)).unwrap_err(), AuthError::Unauthorized);
    };
    unauthorized(&instance, &Token::random().unwrap(), 1);
    let expiring = NewKey { expires_at: Some(at(100)), ..new_key(READ, Scope::All) };
    let (_, expiring) = instance.create_key(&instance.admin, expiring).unwrap();
    assert!(instance.authenticate(&expiring, at(99)).is_ok());
    unauthorized(&instance, &expiring, 100);
    let (revoked, token) = instance.create_key(&instance.admin, new_key(READ, Scope::All)).unwrap();
    instance.wait(instance.store().revoke_key(instance.act(5), revoked.id)).unwrap();
    unauthorized(&instance, &token, 2);
    instance.reopen();
    unauthorized(&instance, &token, 2);
    let again = instance.wait(instance.store().revoke_key(instance.act(5), revoked.id));
    assert_eq!(again.unwrap_err(), RevokeKeyError::NotFound);
    audit::audit(instance.store()).unwrap();
}

#[test]
fn the_owner_reaches_no_secrets() {
    let instance = Instance::new();
    let owner = instance.authenticate(&instance.claim.owner_token, at(1)).unwrap();
    assert!(matches!(owner, Caller::Owner(OwnerCaller { .. })));
    assert_eq!(owner.account_id(), None);
    let denied = owner.grant::<Read>().err().unwrap();
    assert_eq!(denied, Denied { permission: Permission::Read });
    assert!(owner.grant::<Admin>().is_err() && owner.grant::<Reveal>().is_err());
}

#[test]
fn grants_follow_permissions() {
    let instance = Instance::new();
    let (_, reader) = instance.key(READ, Scope::All);
    assert!(reader.grant::<Read>().is_ok());
    let denied = reader.grant::<Write>().err().unwrap();
    assert_eq!(denied.to_string(), "this key lacks the permission write");
    let (_, admin) = instance.key(ADMIN, Scope::All);
    assert!(admin.grant::<Read>().is_ok() && admin.grant::<Write>().is_ok());
    assert!(admin.grant::<crate::access::Execute>().is_ok());
    assert!(admin.grant::<Reveal>().is_err(), "admin does not include reveal");
}

#[test]
fn a_key_issues_only_what_lies_within_it() {
    use Permission::{Admin as A, Execute as X, Read as R, Reveal as V, Write as W};
    let instance = Instance::new();
    let (_, plain) = instance.key(&[A], Scope::All);
    let (_, narrow) = instance.key(&[A, V], globs(&["db-*", "cache"]));
    let permissions = Err(CreateKeyError::PermissionsExceed);
    let scope = Err(CreateKeyError::ScopeExceeds);
    let table = [
        (&plain, vec![A, R, W, X], Scope::All, Ok(())),
        (&plain, vec![R], globs(&["*"]), Ok(())),
        (&plain, vec![V], Scope::All, permissions.clone()),
        (&plain, vec![A, V], globs(&["a"]), permissions),
        (&narrow, vec![V], globs(&["db-*"]), Ok(())),
        (&narrow, vec![A, V], globs(&["db-1*", "cache", "db-*-x"]), Ok(())),
        (&narrow, vec![R], Scope::All, scope.clone()),
        (&narrow, vec![R], globs(&["*"]), scope.clone()),
        (&narrow, vec![R], globs(&["db*"]), scope.clone()),
        (&narrow, vec![R], globs(&["db-1", "cach*"]), scope.clone()),
        (&narrow, vec![R], globs(&["*db-1"]), scope),
    ];
    for (by, permissions, scope, expected) in table {
        let text = format!("{permissions:?} {scope:?}");
        let outcome = instance.create_key(by, new_key(&permissions, scope)).map(drop);
        assert_eq!(outcome, expected, "{text}");
    }
    audit::audit(instance.store()).unwrap();
}

#[test]
fn an_expiring_key_leaves_nothing_that_outlasts_it() {
    let instance = Instance::new();
    let until = |end| NewKey { expires_at: end, ..new_key(ADMIN, Scope::All) };
    let (own, token) = instance.create_key(&instance.admin, until(Some(at(9)))).unwrap();
    let expiring = instance.authenticate(&token, at(1)).unwrap();
    for (end, expected) in [
        (None, Err(CreateKeyError::Outlasts)),
        (Some(at(10)), Err(CreateKeyError::Outlasts)),
        (Some(at(9)), Ok(())),
    ] {
        assert_eq!(instance.create_key(&expiring, until(end)).map(drop), expected, "{end:?}");
    }
    let (lasting, _) = instance.create_key(&instance.admin, until(None)).unwrap();
    let rotate = |id| {
        let overlap = Overlap::from_seconds(5).unwrap();
        instance.wait(instance.store().rotate_key(act(&expiring, 1), id, overlap)).map(drop)
    };
    assert_eq!(rotate(lasting.id), Err(RotateKeyError::Outlasts));
    assert_eq!(rotate(own.id), Ok(()));
    audit::audit(instance.store()).unwrap();
}

#[test]
fn keys_outside_ones_own_are_as_missing() {
    let instance = Instance::new();
    let (own, narrow) = instance.key(ADMIN, globs(&["db-*"]));
    let (inside, _) = instance.key(READ, globs(&["db-1"]));
    let (outside, _) = instance.key(READ, globs(&["web"]));
    let (revealing, _) = instance.key(&[Permission::Reveal], globs(&["db-1"]));
    let ids = |caller: &Caller| -> Vec<KeyId> {
        let keys = instance.store().list_keys(&caller.grant().unwrap()).unwrap();
        keys.into_iter().map(|key| key.id).collect()
    };
    assert_eq!(ids(&narrow), [own.id, inside.id]);
    assert_eq!(ids(&instance.admin).len(), 5, "oldest first, all of them");
    assert_eq!(ids(&instance.admin)[1..], [own.id, inside.id, outside.id, revealing.id]);
    let overlap = Overlap::from_seconds(0).unwrap();
    for id in [outside.id, revealing.id, instance.admin.key_id()] {
        let revoked = instance.wait(instance.store().revoke_key(act(&narrow, 5), id));
        assert_eq!(revoked.unwrap_err(), RevokeKeyError::NotFound);
        let rotate = instance.store().rotate_key(act(&narrow, 1), id, overlap);
        assert_eq!(instance.wait(rotate).err().unwrap(), RotateKeyError::NotFound);
    }
    instance.wait(instance.store().revoke_key(act(&narrow, 5), inside.id)).unwrap();
}

#[test]
fn the_last_lasting_admin_key_stays() {
    let instance = Instance::new();
    let first = instance.admin.key_id();
    let revoke = |by: &Caller, id| instance.wait(instance.store().revoke_key(act(by, 5), id));
    instance.key(ADMIN, globs(&["db-*"]));
    let expiring = NewKey { expires_at: Some(at(9_999)), ..new_key(ADMIN, Scope::All) };
    instance.create_key(&instance.admin, expiring).unwrap();
    assert_eq!(revoke(&instance.admin, first).unwrap_err(), RevokeKeyError::LastAdmin);
    let (second, other) = instance.key(&[Permission::Admin, Permission::Reveal], Scope::All);
    revoke(&other, first).unwrap();
    assert_eq!(revoke(&other, second.id).unwrap_err(), RevokeKeyError::LastAdmin);
    audit::audit(instance.store()).unwrap();
}

#[test]
fn a_lost_answer_to_the_last_admins_rotation_leaves_a_way_in() {
    let instance = Instance::new();
    let first = instance.admin.key_id();
    let rotate = |by: &Caller, id, seconds| {
        let overlap = Overlap::from_seconds(seconds).unwrap();
        instance.wait(instance.store().rotate_key(act(by, 10), id, overlap)).map(|done| done.1)
    };
    let least = Overlap::LAST_ADMIN.seconds();
    for seconds in [0, least - 1] {
        let refused = rotate(&instance.admin, first, seconds);
        assert_eq!(refused.err().unwrap(), RotateKeyError::LastAdmin);
    }
    // The new token is lost, and lost again; the old one still is a way to another one.
    let mut lost = Vec::new();
    for _ in 0..3 {
        let again = instance.authenticate(&instance.claim.admin_token, at(10 + least - 1)).unwrap();
        lost.push(rotate(&again, first, least).unwrap());
    }
    let again = instance.authenticate(&instance.claim.admin_token, at(10 + least - 1)).unwrap();
    for token in &lost[..2] {
        assert_eq!(instance.authenticate(token, at(11)).unwrap_err(), AuthError::Unauthorized);
    }
    let token = rotate(&again, first, least).unwrap();
    let admin = instance.authenticate(&token, at(11)).unwrap();
    // A second one is a way in, too. A narrowed or an expiring one is none.
    let expiring = NewKey { expires_at: Some(at(9_999)), ..new_key(ADMIN, Scope::All) };
    for new in [new_key(ADMIN, globs(&["a*"])), expiring] {
        let (key, token) = instance.create_key(&admin, new).unwrap();
        let other = instance.authenticate(&token, at(11)).unwrap();
        rotate(&other, key.id, 0).unwrap();
        assert_eq!(rotate(&admin, first, 0).err().unwrap(), RotateKeyError::LastAdmin);
    }
    instance.create_key(&admin, new_key(ADMIN, Scope::All)).unwrap();
    rotate(&admin, first, 0).unwrap();
    audit::audit(instance.store()).unwrap();
}

#[test]
fn rotation_overlaps_once() {
    let mut instance = Instance::new();
    let (key, first) = instance.create_key(&instance.admin, new_key(READ, Scope::All)).unwrap();
    let rotate = |instance: &Instance, seconds, now| {
        let overlap = Overlap::from_seconds(seconds).unwrap();
        let rotated = instance.store().rotate_key(instance.act(now), key.id, overlap);
        let (same, token) = instance.wait(rotated).unwrap();
        let old_key_until = Some(at(now + seconds)).filter(|_| seconds > 0);
        assert_eq!(same, ApiKey { old_key_until, ..key.clone() });
        token
    };
    let second = rotate(&instance, 60, 100);
    assert!(instance.authenticate(&first, at(159)).is_ok());
    assert_eq!(instance.authenticate(&first, at(160)).unwrap_err(), AuthError::Unauthorized);
    instance.reopen();
    assert!(instance.authenticate(&first, at(159)).is_ok());
    assert!(instance.authenticate(&second, at(500)).is_ok());
    // The next rotation ends the first token's overlap at once, and begins the second's.
    let third = rotate(&instance, 60, 110);
    assert_eq!(instance.authenticate(&first, at(111)).unwrap_err(), AuthError::Unauthorized);
    assert!(instance.authenticate(&second, at(111)).is_ok());
    let fourth = rotate(&instance, 0, 120);
    for dead in [&first, &second, &third] {
        assert_eq!(instance.authenticate(dead, at(120)).unwrap_err(), AuthError::Unauthorized);
    }
    assert_eq!(instance.authenticate(&fourth, at(120)).unwrap().key_id(), key.id);
    audit::audit(instance.store()).unwrap();
    assert!(Overlap::from_seconds(Overlap::SECONDS_MAX + 1).is_err());
}

#[test]
fn narrowed_keys_see_their_secrets_only() {
    let instance = Instance::new();
    for secret in ["db-1", "web", "db-2", "cache", "db-10"] {
        instance.create(secret, "v").unwrap();
    }
    let (_, narrow) =
        instance.key(&[Permission::Admin, Permission::Reveal], globs(&["db-2", "db-1*", "cache"]));
    let list = |limit, offset, prefix: Option<&str>| {
        let prefix = prefix.map(|text| crate::model::NamePrefix::parse(text.to_owned()).unwrap());
        let page = Page { limit, offset, prefix };
        let page = instance.store().list_secrets(&narrow.grant().unwrap(), &page).unwrap();
        let names: Vec<_> = page.items.iter().map(|item| item.name.as_str().to_owned()).collect();
        (names.join(" "), page.total)
    };
    assert_eq!(list(10, 0, None), ("db-10 cache db-2 db-1".to_owned(), 4));
    assert_eq!(list(2, 1, None), ("cache db-2".to_owned(), 4));
    assert_eq!(list(10, 4, None), (String::new(), 4));
    assert_eq!(list(1, 1, Some("db-1")), ("db-1".to_owned(), 2));
    let web =
        instance.page(10, 0).items.into_iter().find(|item| item.name.as_str() == "web").unwrap().id;
    let store = instance.store();
    assert_eq!(store.secret(&narrow.grant().unwrap(), web).unwrap_err(), ReadError::NotFound);
    let value = value_of(store, &narrow, web, None, 1);
    assert_eq!(value.err().unwrap(), ReadError::NotFound);
    let update = store.update_secret(act(&narrow, 1), web, new_value("x"), None);
    assert_eq!(instance.wait(update).unwrap_err(), UpdateSecretError::NotFound);
    let rollback = store.rollback_secret(act(&narrow, 1), web, Version(1), None);
    assert_eq!(instance.wait(rollback).unwrap_err(), RollbackSecretError::NotFound);
    let delete = instance.wait(store.delete_secret(act(&narrow, 5), web));
    assert_eq!(delete.unwrap_err(), DeleteSecretError::NotFound);
    let create = |secret| {
        let new = new_secret(secret, "v");
        instance.wait(store.create_secret(act(&narrow, 1), new)).map(drop)
    };
    // Outside its patterns a key does not even learn that a name is taken.
    assert_eq!(create("web"), Err(CreateSecretError::OutsideScope));
    assert_eq!(create("cache"), Err(CreateSecretError::NameTaken));
    assert_eq!(create("db-11"), Ok(()));
}

#[test]
fn a_claim_is_repeated_until_a_token_is_used() {
    let (disk, chip) = (Disk::default(), Chip::new(1));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let wait = |future| runtime.block_on(future);
    let (store, first) = found(&disk, &chip, LIMITS);
    assert_eq!(
        wait(store.claim_again(PublicKey([1; 32]))).err().unwrap(),
        ClaimAgainError::AlreadyClaimed
    );
    let second = runtime.block_on(store.claim_again(OWNER)).unwrap();
    drop(store);
    let store = open(&disk, &chip, LIMITS).unwrap();
    let third = runtime.block_on(store.claim_again(OWNER)).unwrap();
    assert_eq!((first.store_id, first.account), (third.store_id, third.account));
    assert_eq!(first.instance_key, third.instance_key);
    assert_eq!(third.account_name.as_str(), "first account");
    let authenticate = |store: &Store, token| runtime.block_on(store.authenticate(token, at(1)));
    for dead in [&first, &second] {
        for token in [&dead.owner_token, &dead.admin_token] {
            assert_eq!(authenticate(&store, token).unwrap_err(), AuthError::Unauthorized);
        }
    }
    // Failing to authenticate uses nothing; the first success ends it, durably.
    let fourth = runtime.block_on(store.claim_again(OWNER)).unwrap();
    let commits = store.stats().commits;
    assert!(authenticate(&store, &fourth.admin_token).is_ok());
    assert_eq!(store.stats().commits, commits + 1);
    assert!(authenticate(&store, &fourth.owner_token).is_ok());
    assert_eq!(store.stats().commits, commits + 1, "only the first use writes");
    let again = |store: &Store| runtime.block_on(store.claim_again(OWNER)).err().unwrap();
    assert_eq!(again(&store), ClaimAgainError::AlreadyClaimed);
    drop(store);
    let store = open(&disk, &chip, LIMITS).unwrap();
    assert_eq!(again(&store), ClaimAgainError::AlreadyClaimed);
    assert!(authenticate(&store, &fourth.admin_token).is_ok());
    assert_eq!(store.stats().commits, 0);
    audit::audit(&store).unwrap();
}

#[test]
fn a_revoked_keys_waiting_writes_are_not_made() {
    let instance = Instance::new();
    let (key, caller) = instance.key(ADMIN, Scope::All);
    instance.wait(instance.store().revoke_key(instance.act(5), key.id)).unwrap();
    // It authenticated before it was revoked; its requests come after.
    let create = instance.store().create_secret(act(&caller, 2), new_secret("a", "v"));
    let revoked = StoreFailure::KeyRevoked;
    assert_eq!(instance.wait(create).unwrap_err(), CreateSecretError::Store(revoked.clone()));
    let escape = instance.create_key(&caller, new_key(ADMIN, Scope::All));
    assert_eq!(escape.err().unwrap(), CreateKeyError::Store(revoked));
}

#[test]
fn a_replaced_tokens_waiting_writes_are_not_made() {
    let instance = Instance::new();
    let (key, token) = instance.create_key(&instance.admin, new_key(ADMIN, Scope::All)).unwrap();
    let rotate = |seconds| {
        let overlap = Overlap::from_seconds(seconds).unwrap();
        instance.wait(instance.store().rotate_key(instance.act(2), key.id, overlap)).unwrap()
    };
    let create = |caller: &Caller, secret| {
        let new = new_secret(secret, "v");
        instance.wait(instance.store().create_secret(act(caller, 2), new)).map(drop)
    };
    let holder = instance.authenticate(&token, at(1)).unwrap();
    let (_, second) = rotate(60);
    let second = instance.authenticate(&second, at(2)).unwrap();
    assert_eq!((create(&holder, "within"), create(&second, "second")), (Ok(()), Ok(())));
    rotate(60);
    let revoked = Err(CreateSecretError::Store(StoreFailure::KeyRevoked));
    assert_eq!((create(&holder, "late"), create(&second, "overlap")), (revoked.clone(), Ok(())));
    // A token that is known to be stolen: whoever holds it has requests under way.
    rotate(0);
    assert_eq!(create(&second, "later"), revoked);
    let escape = instance.create_key(&second, new_key(ADMIN, Scope::All));
    assert_eq!(escape.err().unwrap(), CreateKeyError::Store(StoreFailure::KeyRevoked));
}

#[test]
fn keys_have_their_quota() {
    let instance = Instance::with_quotas(PerResource { api_keys: 3, ..PER_ACCOUNT });
    let (second, _) = instance.key(READ, Scope::All);
    instance.key(READ, Scope::All);
    let refused = instance.create_key(&instance.admin, new_key(READ, Scope::All));
    assert_eq!(refused.err().unwrap(), CreateKeyError::Store(full(Resource::ApiKeys, 3)));
    instance.wait(instance.store().revoke_key(instance.act(5), second.id)).unwrap();
    instance.key(READ, Scope::All);
}

#[test]
fn expired_secrets_give_no_value_and_keep_their_name() {
    let instance = Instance::new();
    let new = NewSecret { expires_at: Some(at(50)), ..new_secret("a", "v") };
    let secret = instance.wait(instance.store().create_secret(instance.act(1), new)).unwrap();
    let value = |seconds| {
        let value = value_of(instance.store(), &instance.admin, secret.id, None, seconds);
        value.map(|value| value.expose().to_vec())
    };
    assert_eq!(value(49).unwrap(), b"v");
    assert_eq!(value(50).unwrap_err(), ReadError::NotFound);
    assert!(secret.is_expired(at(50)) && !secret.is_expired(at(49)));
    assert_eq!(instance.page(1, 0).total, 1);
    assert_eq!(instance.create_at("a", "v", at(60)).unwrap_err(), CreateSecretError::NameTaken);
}
