//! Bringing records up to date that an older server wrote (STORE.md §3), before the store is used:
//! states from before values and accounts were counted, all in one transaction, and the owner's
//! from before the configuration was sealed.

use crate::model::{AccountId, Quotas, SecretId, Version};
use crate::store::body::{
    AccountBody, Body, OwnerBody, OwnerBodyV1, SealedConfig, StateBody, StateBodyV1, ValueBody,
};
use crate::store::core::{Access, AccountKeys, Core};
use crate::store::engine::{Changes, Commit, Engine, Order, Snapshot, View};
use crate::store::error::StoreFailure;
use crate::store::record::{Address, SYSTEM, body_version, id_at_end};
use neo_secrets_attestation::config::AttestedConfig;
use std::ops::ControlFlow;

/// Brings old states up to date. Reads every value once where there are any.
pub(super) fn upgrade(engine: &Engine, core: &Core) -> Result<(), StoreFailure> {
    let snapshot = engine.snapshot()?;
    let access = core.access(&snapshot);
    if !is_old(&snapshot, SYSTEM)? {
        return Ok(());
    }
    let mut changes = Changes::default();
    let accounts = accounts(&snapshot)?;
    for id in accounts.iter().copied() {
        if is_old(&snapshot, id)? {
            let keys = access.account(id)?;
            let value_bytes = value_bytes(&access, &snapshot, &keys)?;
            put(&access, &mut changes, &keys, value_bytes, 0)?;
        }
    }
    let count = u64::try_from(accounts.len()).unwrap_or(u64::MAX);
    put(&access, &mut changes, core.system(), 0, count)?;
    engine.write(|batch| Ok((batch.apply(&changes)?, Commit::Yes)))?;
    tracing::info!(accounts = count, "the store's counters were brought up to date");
    Ok(())
}

/// Seals this start's configuration where none was sealed at the claim, and reads the owner's record.
pub(super) fn owner(
    engine: &Engine,
    core: &Core,
    config: &AttestedConfig,
) -> Result<OwnerBody, StoreFailure> {
    let snapshot = engine.snapshot()?;
    let (access, system) = (core.access(&snapshot), core.system());
    let record = snapshot.get(Address::owner().key())?;
    if record.and_then(|bytes| body_version(&bytes)) != Some(OwnerBodyV1::VERSION) {
        return access.get(system, &Address::owner());
    }
    let OwnerBodyV1 { public_key, bearer_key, account, admin_key, settled } =
        access.get(system, &Address::owner_v1())?;
    let (config, acts, is_timed) = (SealedConfig(config.clone()), 0, None);
    let owner =
        OwnerBody { public_key, bearer_key, account, admin_key, settled, config, acts, is_timed };
    let mut changes = Changes::default();
    access.put(&mut changes, system, &Address::owner(), &owner)?;
    engine.write(|batch| Ok((batch.apply(&changes)?, Commit::Yes)))?;
    tracing::info!("this start's configuration was sealed into the store");
    Ok(owner)
}

fn is_old(snapshot: &Snapshot, account: AccountId) -> Result<bool, StoreFailure> {
    let record = snapshot.get(Address::state(account).key())?;
    Ok(record.and_then(|bytes| body_version(&bytes)) == Some(StateBodyV1::VERSION))
}

fn accounts(snapshot: &Snapshot) -> Result<Vec<AccountId>, StoreFailure> {
    let mut accounts = Vec::new();
    let prefix = Address::<AccountBody>::prefix(SYSTEM);
    snapshot.scan(&prefix, Order::OldestFirst, 0, |key, _| {
        accounts.extend(id_at_end(key).map(AccountId::from_bytes));
        ControlFlow::Continue(())
    })?;
    Ok(accounts)
}

/// The bytes of all values. One that does not open counts as nothing: it is an error to whoever
/// reads it, and not to all who use the store.
fn value_bytes(
    access: &Access<'_>,
    snapshot: &Snapshot,
    account: &AccountKeys,
) -> Result<u64, StoreFailure> {
    let mut sum: u64 = 0;
    let prefix = Address::<ValueBody>::prefix(account.id);
    snapshot.scan(&prefix, Order::OldestFirst, 0, |key, bytes| {
        let opened = address(account.id, key).map(|address| access.open(account, &address, bytes));
        match opened {
            Some(Ok(ValueBody { value })) => sum = sum.saturating_add(value.bytes()),
            Some(Err(failure)) => tracing::error!(%failure, "a record did not open"),
            None => {}
        }
        ControlFlow::Continue(())
    })?;
    Ok(sum)
}

fn address(account: AccountId, key: &[u8]) -> Option<Address<ValueBody>> {
    let (id, version) = id_at_end::<26>(key)?.split_first_chunk().map(|(id, version)| {
        let version = version.try_into().map(u64::from_be_bytes);
        (SecretId::from_bytes(*id), version)
    })?;
    Some(Address::value(account, id, Version(version.ok()?)))
}

fn put(
    access: &Access<'_>,
    changes: &mut Changes,
    account: &AccountKeys,
    value_bytes: u64,
    accounts: u64,
) -> Result<(), StoreFailure> {
    let StateBodyV1 { last_id, secrets, keys, lasting_admins } =
        access.get(account, &Address::state_v1(account.id))?;
    let (quotas, names) = (Quotas::default(), None);
    let state =
        StateBody { last_id, secrets, keys, lasting_admins, value_bytes, quotas, accounts, names };
    access.put(changes, account, &Address::state(account.id), &state)
}
