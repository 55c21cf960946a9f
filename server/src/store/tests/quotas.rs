//! Quotas: what counts, exactly, and what stops.

use super::super::body::StateBody;
use super::super::record::Address;
use super::*;
use crate::model::{AccountChange, Quotas};
use std::sync::Arc;
use tokio::task::JoinSet;

impl Instance {
    pub(super) fn owner_act(&self) -> Act<OwnerCaller> {
        let caller = self.authenticate(&self.claim.owner_token, at(1)).unwrap();
        let Caller::Owner(by) = caller else { panic!("the owner's token is no owner's") };
        Act { by, origin: origin("by-the-owner"), now: at(7) }
    }

    pub(super) fn usage(&self) -> PerResource<u64> {
        self.store().account(&self.owner_act().by, self.claim.account).unwrap().usage
    }

    /// Sets one quota of the first account, by the owner.
    pub(super) fn set_quota(&self, resource: Resource, quota: Field<u64>) -> Account {
        let mut quotas = keep_all();
        *match resource {
            Resource::Secrets => &mut quotas.secrets,
            Resource::ValueBytes => &mut quotas.value_bytes,
            Resource::ApiKeys => &mut quotas.api_keys,
            Resource::AuditEvents => &mut quotas.audit_events,
            Resource::Functions => &mut quotas.functions,
        } = quota;
        let change = AccountChange { name: None, quotas };
        let id = self.claim.account;
        self.wait(self.store().update_account(self.owner_act(), id, change)).unwrap()
    }
}

pub(super) fn keep_all() -> PerResource<Field<u64>> {
    PerResource::each(|_| Field::Keep)
}

#[test]
fn value_bytes_are_those_of_all_kept_versions() {
    let mut instance = Instance::new();
    let bytes = |instance: &Instance| instance.usage().value_bytes;
    let id = instance.create("a", "12345").unwrap().id;
    let other = instance.create("b", "☃").unwrap().id;
    assert_eq!(bytes(&instance), 5 + 3);
    instance.update(id, new_value("1")).unwrap();
    instance.update(id, new_value("12")).unwrap();
    assert_eq!(bytes(&instance), 5 + 1 + 2 + 3);
    // Three versions are kept: the fourth drops the first one's five bytes.
    instance.update(id, new_value("1234")).unwrap();
    assert_eq!(bytes(&instance), 1 + 2 + 4 + 3);
    instance.rollback(id, 3).unwrap();
    assert_eq!(bytes(&instance), 2 + 4 + 2 + 3);
    instance.update(id, no_change()).unwrap();
    instance.reopen();
    assert_eq!(bytes(&instance), 2 + 4 + 2 + 3);
    audit::audit(instance.store()).unwrap();
    // Fewer are kept: the next new value drops as many as are too many.
    instance.limits.versions_kept = 1;
    instance.reopen();
    assert_eq!(bytes(&instance), 2 + 4 + 2 + 3);
    instance.update(id, new_value("123456")).unwrap();
    assert_eq!(bytes(&instance), 6 + 3);
    instance.delete(id).unwrap();
    instance.delete(other).unwrap();
    assert_eq!(bytes(&instance), 0);
    audit::audit(instance.store()).unwrap();
}

#[test]
fn a_quota_below_the_use_stops_growth_only() {
    let instance = Instance::new();
    let id = instance.create("a", "1234567890").unwrap().id;
    let second = instance.create("b", "1").unwrap().id;
    let shown = instance.set_quota(Resource::ValueBytes, Field::Set(5));
    assert_eq!((shown.quotas.value_bytes, shown.usage.value_bytes), (5, 11));
    assert_eq!(shown.quotas, PerResource { value_bytes: 5, ..PER_ACCOUNT });
    let full = full(Resource::ValueBytes, 5);
    let create = instance.create("c", "1").unwrap_err();
    assert_eq!(create, CreateSecretError::Store(full.clone()));
    let update = instance.update(id, new_value("1")).unwrap_err();
    assert_eq!(update, UpdateSecretError::Store(full.clone()));
    let rollback = instance.rollback(id, 1).unwrap_err();
    assert_eq!(rollback, RollbackSecretError::Store(full.clone()));
    // What adds no bytes is no growth, and what frees some is none either.
    instance.update(id, no_change()).unwrap();
    assert_eq!(instance.usage().value_bytes, 11);
    instance.delete(id).unwrap();
    instance.update(second, new_value("1234")).unwrap();
    let update = instance.update(second, new_value("1")).unwrap_err();
    assert_eq!(update, UpdateSecretError::Store(full));
    instance.set_quota(Resource::ValueBytes, Field::Set(6));
    instance.update(second, new_value("1")).unwrap();
    // With as many versions as are kept, a new value may take the place of the oldest one's bytes.
    instance.update(second, new_value("1")).unwrap();
    assert_eq!(instance.usage().value_bytes, 6);
    let back = instance.set_quota(Resource::ValueBytes, Field::Clear);
    assert_eq!(back.quotas, PER_ACCOUNT);
    audit::audit(instance.store()).unwrap();
}

#[test]
fn an_accounts_own_quotas_come_before_the_configurations() {
    let mut instance = Instance::with_quotas(PerResource { secrets: 2, ..PER_ACCOUNT });
    instance.set_quota(Resource::Secrets, Field::Set(3));
    for name in ["a", "b", "c"] {
        instance.create(name, "v").unwrap();
    }
    let refused = instance.create("d", "v").unwrap_err();
    assert_eq!(refused, CreateSecretError::Store(full(Resource::Secrets, 3)));
    instance.set_quota(Resource::ApiKeys, Field::Set(0));
    let key = instance.create_key(&instance.admin, new_key(&[Permission::Read], Scope::All));
    assert_eq!(key.err().unwrap(), CreateKeyError::Store(full(Resource::ApiKeys, 0)));
    instance.set_quota(Resource::AuditEvents, Field::Set(4));
    instance.limits.per_account.secrets = 1;
    instance.reopen();
    // They are the account's, and stay; the configuration's hold where there is none.
    let shown = instance.set_quota(Resource::Secrets, Field::Keep);
    let own =
        Quotas { secrets: Some(3), api_keys: Some(0), audit_events: Some(4), ..Quotas::default() };
    assert_eq!(
        shown.quotas,
        own.zip(instance.limits.per_account).map(|(own, default)| own.unwrap_or(default))
    );
    assert_eq!(shown.usage.audit_events, 3);
    let id = instance.page(1, 0).items.remove(0).id;
    instance.update(id, new_value("w")).unwrap();
    let refused = instance.update(id, new_value("x")).unwrap_err();
    assert_eq!(refused, UpdateSecretError::Store(full(Resource::AuditEvents, 4)));
    instance.delete(id).unwrap();
    let shown = instance.set_quota(Resource::Secrets, Field::Clear);
    assert_eq!((shown.quotas.secrets, shown.usage.secrets, shown.usage.audit_events), (1, 2, 5));
}

#[test]
fn sixty_four_at_once_overshoot_no_quota() {
    let instance = Instance::with_quotas(PerResource {
        secrets: 40,
        value_bytes: 200,
        api_keys: 20,
        ..PER_ACCOUNT
    });
    for index in 0..20 {
        instance.create(&format!("old-{index}"), "12345").unwrap();
    }
    let ids: Vec<_> = instance.page(20, 0).items.iter().map(|item| item.id).collect();
    let mut instance = instance;
    let store = Arc::new(instance.store.take().unwrap());
    let mut tasks = JoinSet::new();
    for index in 0..64_usize {
        let (store, caller, id) = (Arc::clone(&store), instance.admin.clone(), ids[index % 20]);
        let task = async move {
            let secret = new_secret(&format!("new-{index}"), "12345");
            let key = new_key(&[Permission::Read], Scope::All);
            (
                store.create_secret(act(&caller, 1), secret).await.is_ok(),
                store.update_secret(act(&caller, 1), id, new_value("12345"), None).await.is_ok(),
                store.create_key(act(&caller, 1), key).await.is_ok(),
            )
        };
        tasks.spawn_on(task, instance.runtime.handle());
    }
    let outcomes = instance.runtime.block_on(tasks.join_all());
    instance.store = Arc::into_inner(store);
    let made = |made: fn(&(bool, bool, bool)) -> bool| {
        outcomes.iter().filter(|outcome| made(outcome)).count() as u64
    };
    let usage = instance.usage();
    assert_eq!(usage.value_bytes, 200, "full to the byte");
    assert_eq!(usage.secrets, 20 + made(|outcome| outcome.0));
    // An update that drops a version of as many bytes is never refused.
    assert!(made(|outcome| outcome.0) + made(|outcome| outcome.1) >= 20);
    assert_eq!((usage.api_keys, made(|outcome| outcome.2)), (20, 19));
    audit::audit(instance.store()).unwrap();
}

#[test]
fn a_counter_that_is_too_low_is_damage() {
    let instance = Instance::new();
    let id = instance.create("a", "12345").unwrap().id;
    let account = instance.claim.account;
    let lower = move |access: &Access<'_>, changes: &mut Changes| -> Result<(), StoreFailure> {
        let keys = access.account(account)?;
        let state = access.get(&*keys, &Address::state(account))?;
        let state = StateBody { value_bytes: 4, ..state };
        access.put(changes, &*keys, &Address::state(account), &state)
    };
    instance.wait(instance.store().writer.submit(account, lower)).unwrap();
    let damaged = StoreFailure::Damaged { kind: "state" };
    assert_eq!(instance.delete(id).unwrap_err(), DeleteSecretError::Store(damaged));
}
