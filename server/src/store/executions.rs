//! Executions: what a run of a function reads, and the record that it leaves.

use crate::access::{FunctionRun, Grant, Right};
use crate::audit::{Act, Action, Object};
use crate::limits::EXECUTIONS_KEPT;
use crate::model::{
    Execution, ExecutionEnd, ExecutionId, ExecutionPage, FunctionId, Revealed, SecretId,
    SecretName, Timestamp, Version,
};
use crate::store::api_keys;
use crate::store::audit::note;
use crate::store::body::{Body, ExecutionBody, FunctionsStateBody};
use crate::store::core::{Access, AccountKeys};
use crate::store::engine::{Changes, Stored};
use crate::store::error::{FunctionError, FunctionReadError, StoreFailure};
use crate::store::functions;
use crate::store::record::{Address, execution_at, seal};
use crate::store::secrets;
use std::sync::Arc;

/// Whether the key still stands that invoked this.
pub(super) fn check_run(
    access: &Access<'_>,
    run: &FunctionRun,
    now: Timestamp,
) -> Result<(), StoreFailure> {
    api_keys::check_standing(access, run.grant(), now)?;
    match run.grant().has_expired(now) {
        true => Err(StoreFailure::KeyRevoked),
        false => Ok(()),
    }
}

/// Whether the function still is what was invoked, on the same terms, and may read this name. A name
/// that was bound since then is none of the run's.
pub(super) fn check_declares(
    access: &Access<'_>,
    account: &AccountKeys,
    run: &FunctionRun,
    name: &SecretName,
) -> Result<(), FunctionReadError> {
    let body = functions::find(access, account, run.function())?;
    let may_read = body.is_some_and(|body| {
        let terms = run.terms();
        let stands = body.code_sha256 == terms.code_sha256
            && body.environment == terms.environment
            && body.egress == terms.egress;
        stands && body.may_read() && body.secrets.contains(name) && terms.secrets.contains(name)
    });
    if may_read { Ok(()) } else { Err(FunctionReadError::Denied) }
}

/// Opens the newest value. Nobody has been told of it yet, so that it must not leave.
pub(super) fn value(
    access: &Access<'_>,
    act: &Act<FunctionRun>,
    name: &SecretName,
) -> Result<Revealed, FunctionReadError> {
    let account = access.account_of(act.by.grant())?;
    check_declares(access, &account, &act.by, name)?;
    let found = secrets::named(access, &account, name, act.now)?;
    let (id, body) = found.ok_or(FunctionReadError::NotFound)?;
    if body.use_only.is_some() {
        return Err(FunctionReadError::Denied);
    }
    let version = body.versions.newest().version;
    let value = access.get(&*account, &Address::value(account.id, id, version))?.value;
    Ok(Revealed { id, name: body.name, version, value })
}

/// Records that a value is given to the code, if all that it was opened for still stands: the key
/// with its token, the function with this code and this name, the secret with this version. Whether
/// a secret is use-only never changes.
pub(super) fn read(
    access: &Access<'_>,
    changes: &mut Changes,
    act: &Act<FunctionRun>,
    (id, name, version): (SecretId, SecretName, Version),
) -> Result<(), FunctionReadError> {
    check_run(access, &act.by, act.now)?;
    let account = access.account_of(act.by.grant())?;
    check_declares(access, &account, &act.by, &name)?;
    let found = secrets::named(access, &account, &name, act.now)?;
    let stands = found.is_some_and(|(now, body)| now == id && body.versions.has(version));
    if !stands {
        return Err(FunctionReadError::NotFound);
    }
    let object = Object::Secret { id, name, version: Some(version) };
    note(changes, act, Action::SecretRead, object);
    Ok(())
}

/// Records that an execution runs, where its function still stands.
pub(super) fn begin(
    access: &Access<'_>,
    changes: &mut Changes,
    run: &FunctionRun,
    started_at: Timestamp,
) -> Result<(), FunctionError> {
    api_keys::check_standing(access, run.grant(), started_at)?;
    match put(access, changes, run, started_at, None)? {
        true => Ok(()),
        false => Err(FunctionError::NotFound),
    }
}

/// Writes an execution's record, where its function still stands; gives back whether it does. The
/// oldest records beyond those that are kept go: of the function by number, of the account by bytes.
pub(super) fn put(
    access: &Access<'_>,
    changes: &mut Changes,
    run: &FunctionRun,
    started_at: Timestamp,
    end: Option<ExecutionEnd>,
) -> Result<bool, StoreFailure> {
    let account = access.account_of(run.grant())?;
    let (function, id) = (run.function(), run.execution());
    if functions::find(access, &account, function)?.is_none() {
        return Ok(false);
    }
    let mut state = functions::state(access, &account)?;
    let counted = state.execution_bytes.map_or_else(|| count(access, &account), Ok)?;
    state.execution_bytes = Some(counted);
    let address = Address::execution(account.id, function, id);
    let mut kept = access.executions(account.id, function)?;
    let own = match kept.binary_search_by(|it| it.key.as_slice().cmp(address.key())) {
        Ok(place) => place,
        Err(place) => {
            kept.insert(place, Stored { key: address.key().to_vec(), bytes: 0 });
            place
        }
    };
    // What goes: the function's oldest, and what stood in this one's place.
    let surplus = kept.len().saturating_sub(EXECUTIONS_KEPT);
    let mut gone: Vec<Stored> = kept.drain(..surplus).collect();
    let replaced = own.checked_sub(surplus).filter(|place| *place < kept.len());
    let is_kept = replaced.is_some();
    gone.extend(replaced.map(|place| kept.swap_remove(place)));
    for old in &gone {
        state.subtract(old.bytes);
        changes.remove(old.key.clone());
    }
    if is_kept {
        let (code_sha256, invoked_by) = (run.code_sha256(), run.grant().key());
        let opening = access.core.opening;
        let body = ExecutionBody { code_sha256, invoked_by, started_at, opening, end };
        let record = seal(&access.core.header, &*account, &address, &body)?;
        let bytes = Stored::new(address.key().to_vec(), &record).bytes;
        make_room(access, changes, &account, &mut state, (&gone, bytes))?;
        changes.put(address.key().to_vec(), record);
    }
    functions::put_state(access, changes, &account, &state)?;
    Ok(true)
}

/// What the records of all executions of an account take.
fn count(access: &Access<'_>, account: &AccountKeys) -> Result<u64, StoreFailure> {
    let all = access.all_executions(account.id)?;
    Ok(all.iter().fold(0, |sum: u64, it| sum.saturating_add(it.bytes)))
}

/// Counts a record's bytes, beside those that are `gone` already. Where the account has no room for
/// them, its oldest records go, whichever function's they are: an eighth at once, since all have to
/// be looked through.
fn make_room(
    access: &Access<'_>,
    changes: &mut Changes,
    account: &AccountKeys,
    state: &mut FunctionsStateBody,
    (gone, bytes): (&[Stored], u64),
) -> Result<(), StoreFailure> {
    let mut sum = state.execution_bytes.unwrap_or_default().saturating_add(bytes);
    let limit = access.core.limits.execution_bytes;
    if sum > limit {
        let mut others = access.all_executions(account.id)?;
        others.retain(|it| !gone.iter().any(|gone| gone.key == it.key));
        others.sort_by_key(|it| execution_at(&it.key).map(|id| *id.as_bytes()));
        for old in others {
            if sum <= limit - limit / 8 {
                break;
            }
            sum = sum.saturating_sub(old.bytes);
            changes.remove(old.key);
        }
    }
    state.execution_bytes = Some(sum);
    Ok(())
}

/// A page of those that are kept. Only the page is opened.
pub(super) fn list<R: Right>(
    access: &Access<'_>,
    grant: &Grant<R>,
    function: FunctionId,
    (limit, offset): (usize, u64),
) -> Result<ExecutionPage, FunctionError> {
    let account = standing(access, grant, function)?;
    let stored = access.executions(account.id, function)?;
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    let page = stored.iter().rev().skip(offset).take(limit);
    let items = page
        .map(|Stored { key, .. }| {
            let damaged = StoreFailure::Damaged { kind: ExecutionBody::KIND.name() };
            let id = execution_at(key).ok_or(damaged)?;
            let body = access.get(&*account, &Address::execution(account.id, function, id))?;
            // One is open at a time.
            Ok(body.into_execution((function, id), access.core.opening).summary())
        })
        .collect::<Result<_, StoreFailure>>()?;
    Ok(ExecutionPage { items, total: u64::try_from(stored.len()).unwrap_or(u64::MAX) })
}

pub(super) fn execution<R: Right>(
    access: &Access<'_>,
    grant: &Grant<R>,
    function: FunctionId,
    id: ExecutionId,
) -> Result<Execution, FunctionError> {
    let account = standing(access, grant, function)?;
    let found = access.find(&*account, &Address::execution(account.id, function, id))?;
    let body = found.ok_or(FunctionError::NotFound)?;
    Ok(body.into_execution((function, id), access.core.opening))
}

/// The keys of the account, where it has this function.
fn standing<R: Right>(
    access: &Access<'_>,
    grant: &Grant<R>,
    function: FunctionId,
) -> Result<Arc<AccountKeys>, FunctionError> {
    let account = access.account_of(grant)?;
    functions::find(access, &account, function)?.ok_or(FunctionError::NotFound)?;
    Ok(account)
}
