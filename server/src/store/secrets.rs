//! Secrets: what each verb reads and changes.

use crate::access::{Grant, Right, Scope};
use crate::audit::{Act, Action, Object};
use crate::model::{
    Change, Id, NewSecret, Page, Resource, Revealed, Revision, Secret, SecretId, SecretName,
    SecretPage, Timestamp, UseOnly, Version,
};
use crate::store::audit::note;
use crate::store::body::{SecretBody, StateBody, ValueBody, VersionBody, Versions};
use crate::store::core::{Access, AccountKeys};
use crate::store::engine::{Changes, Order, Snapshot};
use crate::store::error::{
    CreateSecretError, DeleteSecretError, ReadError, RollbackSecretError, StoreFailure,
    UpdateSecretError,
};
use crate::store::names;
use crate::store::record::{Address, Kind, id_at_end};
use std::ops::ControlFlow;
use std::sync::Arc;

/// A live secret that the key reaches.
fn find(
    access: &Access<'_>,
    account: &AccountKeys,
    scope: &Scope,
    id: SecretId,
) -> Result<Option<SecretBody>, StoreFailure> {
    let body = access.find(account, &Address::secret(account.id, id))?;
    Ok(body.filter(|body| scope.reaches(&body.name)))
}

/// Its name has to lead to a secret before it is changed or its value leaves: where it does not, the
/// name may have been given away. Only the writer can tell.
fn check_name(
    access: &Access<'_>,
    account: &AccountKeys,
    id: SecretId,
    body: &SecretBody,
) -> Result<(), StoreFailure> {
    match names::find(access, account, &body.name)? == Some(id) {
        true => Ok(()),
        false => Err(StoreFailure::Damaged { kind: Kind::Name.name() }),
    }
}

pub(super) fn secret<R: Right>(
    access: &Access<'_>,
    grant: &Grant<R>,
    id: SecretId,
) -> Result<Secret, ReadError> {
    let account = access.account_of(grant)?;
    let body = find(access, &account, grant.scope(), id)?.ok_or(ReadError::NotFound)?;
    Ok(body.into_secret(id))
}

/// A live secret that the key reaches and that has not expired.
fn find_current<R: Right>(
    access: &Access<'_>,
    account: &AccountKeys,
    act: &Act<Grant<R>>,
    id: SecretId,
) -> Result<Option<SecretBody>, StoreFailure> {
    let body = find(access, account, act.by.scope(), id)?;
    Ok(body.filter(|body| body.expires_at.is_none_or(|end| act.now < end)))
}

/// The live secret of this name that has not expired.
pub(super) fn named(
    access: &Access<'_>,
    account: &AccountKeys,
    name: &SecretName,
    now: Timestamp,
) -> Result<Option<(SecretId, SecretBody)>, StoreFailure> {
    let Some(id) = names::find(access, account, name)? else { return Ok(None) };
    let body = access.get(account, &Address::secret(account.id, id))?;
    if body.name != *name {
        return Err(StoreFailure::Damaged { kind: Kind::Name.name() });
    }
    let current = body.expires_at.is_none_or(|end| now < end);
    Ok(Some((id, body)).filter(|_| current))
}

/// Opens a value. Nobody has been told of it yet, so that it must not leave.
pub(super) fn value<R: Right>(
    access: &Access<'_>,
    act: &Act<Grant<R>>,
    id: SecretId,
    version: Option<Version>,
) -> Result<Revealed, ReadError> {
    let account = access.account_of(&act.by)?;
    let body = find_current(access, &account, act, id)?.ok_or(ReadError::NotFound)?;
    if body.use_only.is_some() {
        return Err(ReadError::UseOnly);
    }
    let version = version.unwrap_or(body.versions.newest().version);
    if !body.versions.has(version) {
        return Err(ReadError::NotFound);
    }
    let value = access.get(&*account, &Address::value(account.id, id, version))?.value;
    Ok(Revealed { id, name: body.name, version, value })
}

/// Records that a value leaves, if the secret still stands, its name leads to it, and it still has the
/// version. A version's value never changes, nor whether it is use-only, so what was opened is what is
/// recorded.
pub(super) fn reveal<R: Right>(
    access: &Access<'_>,
    changes: &mut Changes,
    act: &Act<Grant<R>>,
    id: SecretId,
    version: Version,
) -> Result<(), ReadError> {
    let account = access.account_of(&act.by)?;
    let body = find_current(access, &account, act, id)?;
    let body = body.filter(|body| body.versions.has(version)).ok_or(ReadError::NotFound)?;
    check_name(access, &account, id, &body)?;
    note(changes, act, Action::SecretReveal, object(id, body.name, Some(version)));
    Ok(())
}

fn object(id: SecretId, name: SecretName, version: Option<Version>) -> Object {
    Object::Secret { id, name, version }
}

/// Without prefix and patterns only the page is opened; else every secret of the account is.
pub(super) fn list<R: Right>(
    access: &Access<'_>,
    snapshot: &Snapshot,
    grant: &Grant<R>,
    page: &Page,
) -> Result<SecretPage, StoreFailure> {
    let account = access.account_of(grant)?;
    let opens_all = page.prefix.is_some() || grant.scope() != &Scope::All;
    let (skipped_by_engine, mut skip) = if opens_all { (0, page.offset) } else { (page.offset, 0) };
    let mut found = SecretPage { items: Vec::new(), total: 0 };
    let mut outcome = Ok(());
    let matches = |secret: &Secret| {
        let prefix = page.prefix.as_ref().is_none_or(|prefix| secret.name.begins_with(prefix));
        prefix && grant.scope().reaches(&secret.name)
    };
    // A walk through all would only push out what pages show.
    let mut lately = (!opens_all).then(|| access.core.opened.page(&account, snapshot.gone()));
    let mut open = |key: &[u8], bytes: &[u8]| match &mut lately {
        Some(lately) => lately.secret(key, bytes, || open_at(access, &account, key, bytes)),
        None => open_at(access, &account, key, bytes),
    };
    let visit = |key: &[u8], bytes: &[u8]| match open(key, bytes) {
        Err(failure) => {
            outcome = Err(failure);
            ControlFlow::Break(())
        }
        Ok(secret) if matches(&secret) => {
            found.total += 1;
            if skip > 0 {
                skip -= 1;
            } else if found.items.len() < page.limit {
                found.items.push(secret);
            }
            match found.items.len() >= page.limit && !opens_all {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        }
        Ok(_) => ControlFlow::Continue(()),
    };
    let prefix = Address::<SecretBody>::prefix(account.id);
    snapshot.scan(&prefix, Order::NewestFirst, skipped_by_engine, visit)?;
    if let Some(lately) = lately {
        lately.keep();
    }
    outcome?;
    if !opens_all {
        found.total = access.state(&account)?.secrets;
    }
    Ok(found)
}

fn open_at(
    access: &Access<'_>,
    account: &AccountKeys,
    key: &[u8],
    bytes: &[u8],
) -> Result<Secret, StoreFailure> {
    let damaged = StoreFailure::Damaged { kind: Kind::Secret.name() };
    let id = Id::from_bytes(id_at_end(key).ok_or(damaged)?);
    let body = access.open(account, &Address::secret(account.id, id), bytes)?;
    Ok(body.into_secret(id))
}

pub(super) fn create<R: Right>(
    access: &Access<'_>,
    changes: &mut Changes,
    act: &Act<Grant<R>>,
    new: NewSecret,
) -> Result<Secret, CreateSecretError> {
    let NewSecret { name, value, description, tags, expires_at, use_only } = new;
    let Act { by: grant, origin: _, now } = act;
    let now = *now;
    if !grant.scope().reaches(&name) {
        return Err(CreateSecretError::OutsideScope);
    }
    let account = access.account_of(grant)?;
    let mut state = access.state(&account)?;
    if names::find_counted(access, &account, &state, &name)?.is_some() {
        return Err(CreateSecretError::NameTaken);
    }
    let (limits, bytes) = (&access.core.limits, value.bytes());
    state.count(Resource::Secrets, (1, 0), limits)?;
    state.count(Resource::ValueBytes, (bytes, 0), limits)?;
    let id = next_id(&mut state, now)?;
    let body = SecretBody {
        name,
        description,
        tags,
        created_at: now,
        updated_at: now,
        expires_at,
        revision: Revision(1),
        versions: Versions::first(now, grant.key(), bytes),
        use_only,
    };
    let version = body.versions.newest().version;
    access.put(changes, &*account, &Address::secret(account.id, id), &body)?;
    let value_address = Address::value(account.id, id, version);
    access.put(changes, &*account, &value_address, &ValueBody { value })?;
    names::give(access, changes, &account, &mut state, (&body.name, id))?;
    changes.set_state(&account, state);
    note(changes, act, Action::SecretCreate, object(id, body.name.clone(), Some(version)));
    Ok(body.into_secret(id))
}

pub(super) fn update<R: Right>(
    access: &Access<'_>,
    changes: &mut Changes,
    act: &Act<Grant<R>>,
    (id, change, expected): (SecretId, Change, Option<Revision>),
) -> Result<Secret, UpdateSecretError> {
    let account = access.account_of(&act.by)?;
    let body = find(access, &account, act.by.scope(), id)?;
    let mut body = body.ok_or(UpdateSecretError::NotFound)?;
    check_name(access, &account, id, &body)?;
    if expected.is_some_and(|expected| expected != body.revision) {
        return Err(UpdateSecretError::RevisionMismatch { current: body.revision });
    }
    let Change { value, description, tags, expires_at } = change;
    let version = match value {
        Some(value) => {
            if body.use_only.is_some() {
                UseOnly::check(&value).map_err(|issue| UpdateSecretError::Value { issue })?;
            }
            let value = ValueBody { value };
            Some(add_version(access, changes, &account, (id, &mut body), &value, act)?)
        }
        None => None,
    };
    description.apply(&mut body.description);
    expires_at.apply(&mut body.expires_at);
    let mut new_tags = Some(std::mem::take(&mut body.tags));
    tags.apply(&mut new_tags);
    body.tags = new_tags.unwrap_or_default();
    note(changes, act, Action::SecretUpdate, object(id, body.name.clone(), version));
    Ok(put_changed(access, changes, &account, (id, body), act.now)?)
}

/// The version may be the current one: as any other, its value becomes a new version.
pub(super) fn rollback<R: Right>(
    access: &Access<'_>,
    changes: &mut Changes,
    act: &Act<Grant<R>>,
    (id, version, expected): (SecretId, Version, Option<Revision>),
) -> Result<Secret, RollbackSecretError> {
    let account = access.account_of(&act.by)?;
    let body = find(access, &account, act.by.scope(), id)?;
    let mut body = body.ok_or(RollbackSecretError::NotFound)?;
    check_name(access, &account, id, &body)?;
    if expected.is_some_and(|expected| expected != body.revision) {
        return Err(RollbackSecretError::RevisionMismatch { current: body.revision });
    }
    if !body.versions.has(version) {
        let (oldest, newest) = (body.versions.oldest().version, body.versions.newest().version);
        return Err(RollbackSecretError::NotKept { oldest, newest });
    }
    let value = access.get(&*account, &Address::value(account.id, id, version))?;
    let version = add_version(access, changes, &account, (id, &mut body), &value, act)?;
    note(changes, act, Action::SecretRollback, object(id, body.name.clone(), Some(version)));
    Ok(put_changed(access, changes, &account, (id, body), act.now)?)
}

/// Makes a value the newest version, which it gives back, and drops those that are kept no longer;
/// counts the bytes of both.
fn add_version<R: Right>(
    access: &Access<'_>,
    changes: &mut Changes,
    account: &Arc<AccountKeys>,
    (id, body): (SecretId, &mut SecretBody),
    value: &ValueBody,
    act: &Act<Grant<R>>,
) -> Result<Version, StoreFailure> {
    let (limits, bytes) = (&access.core.limits, value.value.bytes());
    let surplus = body.versions.push(act.now, act.by.key(), bytes, limits.versions_kept);
    let dropped = drop_versions(access, changes, account, id, &surplus)?;
    let mut state = access.state(account)?;
    state.count(Resource::ValueBytes, (bytes, dropped), limits)?;
    changes.set_state(account, state);
    let version = body.versions.newest().version;
    access.put(changes, &**account, &Address::value(account.id, id, version), value)?;
    Ok(version)
}

/// Removes the values of these versions; gives back how many bytes they had.
fn drop_versions(
    access: &Access<'_>,
    changes: &mut Changes,
    account: &AccountKeys,
    id: SecretId,
    versions: &[VersionBody],
) -> Result<u64, StoreFailure> {
    let mut dropped: u64 = 0;
    for kept in versions {
        let address = Address::value(account.id, id, kept.version);
        let bytes = match kept.bytes {
            Some(bytes) => bytes,
            None => access.get(account, &address)?.value.bytes(),
        };
        dropped = dropped.saturating_add(bytes);
        changes.remove(address.key().to_vec());
    }
    Ok(dropped)
}

/// Writes a changed secret, as its next revision.
fn put_changed(
    access: &Access<'_>,
    changes: &mut Changes,
    account: &AccountKeys,
    (id, mut body): (SecretId, SecretBody),
    now: Timestamp,
) -> Result<Secret, StoreFailure> {
    body.revision = Revision(body.revision.0.saturating_add(1));
    body.updated_at = now;
    access.put(changes, account, &Address::secret(account.id, id), &body)?;
    Ok(body.into_secret(id))
}

pub(super) fn delete<R: Right>(
    access: &Access<'_>,
    changes: &mut Changes,
    act: &Act<Grant<R>>,
    id: SecretId,
) -> Result<(), DeleteSecretError> {
    let account = access.account_of(&act.by)?;
    let body = find(access, &account, act.by.scope(), id)?.ok_or(DeleteSecretError::NotFound)?;
    check_name(access, &account, id, &body)?;
    let mut state = access.state(&account)?;
    let dropped = drop_versions(access, changes, &account, id, body.versions.all())?;
    state.count(Resource::Secrets, (0, 1), &access.core.limits)?;
    state.count(Resource::ValueBytes, (0, dropped), &access.core.limits)?;
    names::take(access, changes, &account, &mut state, &body.name)?;
    changes.remove(Address::secret(account.id, id).key().to_vec());
    changes.set_state(&account, state);
    note(changes, act, Action::SecretDelete, object(id, body.name, None));
    Ok(())
}

/// The account's next id, noted in its state.
pub(super) fn next_id<K: crate::model::IdKind>(
    state: &mut StateBody,
    now: Timestamp,
) -> Result<Id<K>, StoreFailure> {
    let id = Id::next(&state.last_id, now)?;
    state.last_id = crate::model::IdSequence(*id.as_bytes());
    Ok(id)
}
