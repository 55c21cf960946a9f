//! Accounts: made, changed and deleted by the owner, who sees how much is in one and never what.

use crate::access::{OwnerCaller, Permission, Permissions, Scope, Token};
use crate::audit::{Act, Action, Object};
use crate::keys::AccountKey;
use crate::model::{
    Account, AccountChange, AccountId, AccountPage, ApiKey, Id, KeyId, Label, NewAccount,
    PerResource, Quotas, Timestamp,
};
use crate::secret::KeyBytes;
use crate::store::api_keys::{body_of, new_token, put_token};
use crate::store::audit::{kept, note};
use crate::store::body::{AccountBody, AccountKeyBody, DeletionBody, StateBody, TokenBody};
use crate::store::core::{Access, AccountKeys};
use crate::store::engine::{Changes, Order, Snapshot};
use crate::store::error::{AccountError, CreateAccountError, StoreFailure};
use crate::store::functions;
use crate::store::record::{Address, Kind, SYSTEM, id_at_end};
use crate::store::secrets::next_id;
use std::ops::ControlFlow;

/// An account that was just made.
pub(super) struct Made {
    pub(super) account: AccountKeys,
    pub(super) admin_key: KeyId,
    pub(super) admin_token: Token,
}

/// Makes an account with its first key. The system's state, which counts it, is still to be put.
pub(super) fn make(
    access: &Access<'_>,
    changes: &mut Changes,
    system_state: &mut StateBody,
    new: NewAccount,
    now: Timestamp,
) -> Result<Made, StoreFailure> {
    let NewAccount { name, quotas } = new;
    let id = next_id(system_state, now)?;
    system_state.accounts = system_state.accounts.saturating_add(1);
    let account = AccountKeys::new(&access.core.header, id, AccountKey::random()?);
    put_account_key(access, changes, &account)?;
    let body = AccountBody { name, created_at: now };
    access.put(changes, access.core.system(), &Address::account(id), &body)?;
    let mut state = StateBody::new(quotas);
    let (admin_key, admin_token) = put_admin_key(access, changes, &mut state, &account, now)?;
    access.put(changes, &account, &Address::state(id), &state)?;
    Ok(Made { account, admin_key, admin_token })
}

pub(super) fn put_account_key(
    access: &Access<'_>,
    changes: &mut Changes,
    account: &AccountKeys,
) -> Result<(), StoreFailure> {
    let body = AccountKeyBody { key: account.key().bytes().copy() };
    access.put(changes, access.core.wrap(), &Address::account_key(account.id), &body)
}

/// The account's first key. It has `reveal` too: only a key with it can ever issue it.
fn put_admin_key(
    access: &Access<'_>,
    changes: &mut Changes,
    state: &mut StateBody,
    account: &AccountKeys,
    now: Timestamp,
) -> Result<(KeyId, Token), StoreFailure> {
    let permissions = Permissions::new(&[Permission::Admin, Permission::Reveal])
        .map_err(|_| StoreFailure::Unavailable)?;
    let name = Label::parse("admin".to_owned()).map_err(|_| StoreFailure::Unavailable)?;
    let id = next_id(state, now)?;
    let (scope, expires_at) = (Scope::All, None);
    let old_key_until = None;
    let key = ApiKey { id, name, permissions, scope, expires_at, created_at: now, old_key_until };
    // Whatever the quota: without it the account would be nobody's.
    (state.keys, state.lasting_admins) = (1, 1);
    let (token, hash) = new_token(access)?;
    put_token(access, changes, &hash, TokenBody { account: account.id, key: id })?;
    access.put(changes, account, &Address::api_key(account.id, id), &body_of(&key, hash))?;
    Ok((id, token))
}

pub(super) fn create(
    access: &Access<'_>,
    changes: &mut Changes,
    act: &Act<OwnerCaller>,
    new: NewAccount,
) -> Result<(Account, Token), CreateAccountError> {
    let system = access.core.system();
    let mut system_state = access.state(system)?;
    let limit = access.core.limits.accounts;
    if system_state.accounts >= limit {
        return Err(CreateAccountError::TooMany { limit });
    }
    let (name, quotas) = (new.name.clone(), new.quotas);
    let Made { account, admin_key: _, admin_token } =
        make(access, changes, &mut system_state, new, act.now)?;
    changes.set_state(access.core.system_keys(), system_state);
    note(changes, act, Action::AccountCreate, object(account.id, name.clone()));
    let usage = PerResource { api_keys: 1, ..PerResource::default() };
    let quotas = effective(access, quotas);
    Ok((Account { id: account.id, name, created_at: act.now, quotas, usage }, admin_token))
}

/// Only the page is opened.
pub(super) fn list(
    access: &Access<'_>,
    snapshot: &Snapshot,
    limit: usize,
    offset: u64,
) -> Result<AccountPage, StoreFailure> {
    let system = access.core.system();
    let mut found = Vec::new();
    let mut outcome = Ok(());
    let open_at = |key: &[u8], bytes: &[u8]| {
        let damaged = StoreFailure::Damaged { kind: Kind::Account.name() };
        let id = Id::from_bytes(id_at_end(key).ok_or(damaged)?);
        shown(access, id, access.open(system, &Address::account(id), bytes)?)
    };
    let visit = |key: &[u8], bytes: &[u8]| match open_at(key, bytes) {
        Ok(account) => {
            found.push(account);
            if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        }
        Err(failure) => {
            outcome = Err(failure);
            ControlFlow::Break(())
        }
    };
    let prefix = Address::<AccountBody>::prefix(SYSTEM);
    snapshot.scan(&prefix, Order::NewestFirst, offset, visit)?;
    outcome?;
    let total = access.state(system)?.accounts;
    Ok(AccountPage { items: found, total })
}

pub(super) fn account(access: &Access<'_>, id: AccountId) -> Result<Account, AccountError> {
    Ok(shown(access, id, find(access, id)?)?)
}

fn find(access: &Access<'_>, id: AccountId) -> Result<AccountBody, AccountError> {
    let body = access.find(access.core.system(), &Address::account(id))?;
    body.ok_or(AccountError::NotFound)
}

/// The account that this is the record of, with what its own state says.
fn shown(access: &Access<'_>, id: AccountId, body: AccountBody) -> Result<Account, StoreFailure> {
    let AccountBody { name, created_at } = body;
    let keys = access.account(id)?;
    let state = access.state(&keys)?;
    let usage = PerResource {
        secrets: state.secrets,
        value_bytes: state.value_bytes,
        api_keys: state.keys,
        audit_events: kept(access, &keys)?,
        functions: functions::count(access, &keys)?,
    };
    Ok(Account { id, name, created_at, quotas: effective(access, state.quotas), usage })
}

fn effective(access: &Access<'_>, quotas: Quotas) -> PerResource<u64> {
    let defaults = access.core.limits.per_account;
    quotas.zip(defaults).map(|(own, default)| own.unwrap_or(default))
}

fn object(id: AccountId, name: Label) -> Object {
    Object::Account { id, name }
}

pub(super) fn update(
    access: &Access<'_>,
    changes: &mut Changes,
    act: &Act<OwnerCaller>,
    (id, change): (AccountId, AccountChange),
) -> Result<Account, AccountError> {
    let mut body = find(access, id)?;
    let AccountChange { name, quotas } = change;
    if let Some(name) = name {
        body.name = name;
        access.put(changes, access.core.system(), &Address::account(id), &body)?;
    }
    let keys = access.account(id)?;
    let mut state = access.state(&keys)?;
    state.quotas = quotas.zip(state.quotas).map(|(change, mut quota)| {
        change.apply(&mut quota);
        quota
    });
    let quotas = effective(access, state.quotas);
    changes.set_state(&keys, state);
    note(changes, act, Action::AccountUpdate, object(id, body.name.clone()));
    Ok(Account { quotas, ..shown(access, id, body)? })
}

/// The account's key goes, and nothing of it opens from then on; [`super::sweep`] does the rest.
pub(super) fn delete(
    access: &Access<'_>,
    changes: &mut Changes,
    act: &Act<OwnerCaller>,
    id: AccountId,
) -> Result<(), AccountError> {
    let body = find(access, id)?;
    let system = access.core.system();
    let mut system_state = access.state(system)?;
    let damaged = StoreFailure::Damaged { kind: Kind::State.name() };
    system_state.accounts = system_state.accounts.checked_sub(1).ok_or(damaged)?;
    changes.set_state(access.core.system_keys(), system_state);
    changes.remove(Address::account_key(id).key().to_vec());
    changes.remove(Address::account(id).key().to_vec());
    let deletion = DeletionBody { deleted_at: act.now };
    access.put(changes, system, &Address::deletion(id), &deletion)?;
    changes.deletes_account = Some(id);
    note(changes, act, Action::AccountDelete, object(id, body.name));
    Ok(())
}

impl KeyBytes {
    /// A second copy, for a record that is sealed at once.
    pub(super) fn copy(&self) -> Self {
        Self::copied(self.expose()).expect("32 bytes are copied")
    }
}
