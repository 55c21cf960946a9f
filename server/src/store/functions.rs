//! Functions: what each verb reads and changes, and what the code of one may read.

use crate::access::{Execute, FunctionRun, Grant, Permission, Right, Terms};
use crate::audit::{Act, Action, Object};
use crate::model::{
    ContentHash, ExecutionId, Field, Function, FunctionChange, FunctionCode, FunctionId,
    FunctionName, FunctionPage, Id, Memory, NewFunction, Resource, SecretName, SecretNames,
    Timeout, Timestamp,
};
use crate::store::audit::note;
use crate::store::body::{Body, CodeBody, FunctionBody, FunctionNameBody, FunctionsStateBody};
use crate::store::core::{Access, AccountKeys};
use crate::store::engine::{Changes, Order, Snapshot};
use crate::store::error::{
    ConfirmFunctionError, CreateFunctionError, FunctionError, StoreFailure, UpdateFunctionError,
};
use crate::store::executions::check_run;
use crate::store::record::{Address, Kind, id_at_end};
use crate::store::secrets::next_id;
use std::ops::ControlFlow;

/// What an invocation begins with: the function and its code, of one state of the store.
pub struct Invocable {
    /// The function.
    pub function: Function,
    /// The code.
    pub code: FunctionCode,
    /// The proof that it was invoked, which reads secrets and writes its execution's record.
    pub run: FunctionRun,
}

/// Why a key may not bear on what reads a function's secrets.
enum Unbound {
    NeedsAdmin,
    OutsideScope,
}

/// Binding is reading: whoever decides which code reads secrets could read them, so that it takes
/// an admin who reaches each of them.
fn check_binding<'n, R: Right>(
    grant: &Grant<R>,
    names: impl IntoIterator<Item = &'n SecretName>,
) -> Result<(), Unbound> {
    if !grant.permissions().allow(Permission::Admin) {
        return Err(Unbound::NeedsAdmin);
    }
    match names.into_iter().all(|name| grant.scope().reaches(name)) {
        true => Ok(()),
        false => Err(Unbound::OutsideScope),
    }
}

pub(super) fn find(
    access: &Access<'_>,
    account: &AccountKeys,
    id: FunctionId,
) -> Result<Option<FunctionBody>, StoreFailure> {
    access.find(account, &Address::function(account.id, id))
}

/// The name index has to lead to a function before it is changed: where it does not, its name may
/// have been given away.
fn check_name(
    access: &Access<'_>,
    account: &AccountKeys,
    id: FunctionId,
    body: &FunctionBody,
) -> Result<(), StoreFailure> {
    let address = Address::function_name(account.id, &account.function_hash(&body.name));
    let index = access.get(account, &address)?;
    match index.name == body.name && index.function == id {
        true => Ok(()),
        false => Err(StoreFailure::Damaged { kind: Kind::FunctionName.name() }),
    }
}

/// The code of a function: the very one that its record names.
fn code_of(
    access: &Access<'_>,
    account: &AccountKeys,
    id: FunctionId,
    body: &FunctionBody,
) -> Result<FunctionCode, StoreFailure> {
    let CodeBody { code } = access.get(account, &Address::code(account.id, id))?;
    match code.hash() == body.code_sha256 {
        true => Ok(code),
        false => Err(StoreFailure::Damaged { kind: Kind::Code.name() }),
    }
}

/// What an account has of functions; a store of before there were functions has none.
pub(super) fn state(
    access: &Access<'_>,
    account: &AccountKeys,
) -> Result<FunctionsStateBody, StoreFailure> {
    let state = access.find(account, &Address::functions_state(account.id))?;
    Ok(state.unwrap_or_default())
}

/// How many functions an account has.
pub(super) fn count(access: &Access<'_>, account: &AccountKeys) -> Result<u64, StoreFailure> {
    Ok(state(access, account)?.functions)
}

pub(super) fn put_state(
    access: &Access<'_>,
    changes: &mut Changes,
    account: &AccountKeys,
    state: &FunctionsStateBody,
) -> Result<(), StoreFailure> {
    access.put(changes, account, &Address::functions_state(account.id), state)
}

fn object(id: FunctionId, name: FunctionName, code_sha256: ContentHash) -> Object {
    Object::Function { id, name, code_sha256 }
}

/// Only the page is opened.
pub(super) fn list<R: Right>(
    access: &Access<'_>,
    snapshot: &Snapshot,
    grant: &Grant<R>,
    (limit, offset): (usize, u64),
) -> Result<FunctionPage, StoreFailure> {
    let account = access.account_of(grant)?;
    let mut items = Vec::new();
    let mut outcome = Ok(());
    let open_at = |key: &[u8], bytes: &[u8]| -> Result<Function, StoreFailure> {
        let damaged = StoreFailure::Damaged { kind: Kind::Function.name() };
        let id = Id::from_bytes(id_at_end(key).ok_or(damaged)?);
        let body = access.open(&*account, &Address::function(account.id, id), bytes)?;
        Ok(body.into_function(id))
    };
    let visit = |key: &[u8], bytes: &[u8]| match open_at(key, bytes) {
        Ok(function) => {
            items.push(function);
            if items.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        }
        Err(failure) => {
            outcome = Err(failure);
            ControlFlow::Break(())
        }
    };
    let prefix = Address::<FunctionBody>::prefix(account.id);
    snapshot.scan(&prefix, Order::NewestFirst, offset, visit)?;
    outcome?;
    Ok(FunctionPage { items, total: count(access, &account)? })
}

pub(super) fn function<R: Right>(
    access: &Access<'_>,
    grant: &Grant<R>,
    id: FunctionId,
) -> Result<Function, FunctionError> {
    let account = access.account_of(grant)?;
    let body = find(access, &account, id)?.ok_or(FunctionError::NotFound)?;
    Ok(body.into_function(id))
}

pub(super) fn with_code<R: Right>(
    access: &Access<'_>,
    grant: &Grant<R>,
    id: FunctionId,
) -> Result<(Function, FunctionCode), FunctionError> {
    let account = access.account_of(grant)?;
    let body = find(access, &account, id)?.ok_or(FunctionError::NotFound)?;
    let code = code_of(access, &account, id, &body)?;
    Ok((body.into_function(id), code))
}

pub(super) fn invocable(
    access: &Access<'_>,
    grant: Grant<Execute>,
    id: FunctionId,
    now: Timestamp,
) -> Result<Invocable, FunctionError> {
    let (function, code) = with_code(access, &grant, id)?;
    let execution = ExecutionId::unordered(now).map_err(StoreFailure::from)?;
    let run = FunctionRun::new(grant, terms(&function), execution);
    Ok(Invocable { function, code, run })
}

fn terms(function: &Function) -> Terms {
    Terms {
        function: function.id,
        code_sha256: function.code_sha256,
        secrets: function.secrets.clone(),
        environment: function.environment.clone(),
        egress: function.egress.clone(),
    }
}

/// What was invoked and has waited for its turn, as it stands now: a change or an end that was
/// answered meanwhile counts. Its time and memory stay those of its place.
pub(super) fn renewed(
    access: &Access<'_>,
    invocable: Invocable,
    now: Timestamp,
) -> Result<Invocable, FunctionError> {
    let Invocable { function: Function { id, timeout, memory, .. }, code, run } = invocable;
    check_run(access, &run, now)?;
    let account = access.account_of(run.grant())?;
    let body = find(access, &account, id)?.ok_or(FunctionError::NotFound)?;
    let code = match body.code_sha256 == run.code_sha256() {
        true => code,
        false => code_of(access, &account, id, &body)?,
    };
    let function = Function { timeout, memory, ..body.into_function(id) };
    let run = run.on(terms(&function));
    Ok(Invocable { function, code, run })
}

/// Whether a creation would be refused, as it stands now: before the code is looked at. The write
/// looks again.
pub(super) fn check_create<R: Right>(
    access: &Access<'_>,
    grant: &Grant<R>,
    new: &NewFunction,
) -> Result<(), CreateFunctionError> {
    if !new.secrets.is_empty() {
        check_binding(grant, new.secrets.iter())?;
    }
    let account = access.account_of(grant)?;
    check_name_free(access, &account, &new.name)
}

fn check_name_free(
    access: &Access<'_>,
    account: &AccountKeys,
    name: &FunctionName,
) -> Result<(), CreateFunctionError> {
    let address = Address::function_name(account.id, &account.function_hash(name));
    match access.find(account, &address)? {
        None => Ok(()),
        Some(taken) if taken.name == *name => Err(CreateFunctionError::NameTaken),
        Some(_) => Err(StoreFailure::Damaged { kind: Kind::FunctionName.name() }.into()),
    }
}

pub(super) fn create<R: Right>(
    access: &Access<'_>,
    changes: &mut Changes,
    act: &Act<Grant<R>>,
    new: NewFunction,
) -> Result<Function, CreateFunctionError> {
    let NewFunction { name, code, description, timeout, memory, .. } = new;
    let NewFunction { secrets, environment, egress, tags, pin_code, .. } = new;
    let binding = check_binding(&act.by, secrets.iter());
    let confirms = binding.is_ok();
    if !secrets.is_empty() {
        binding?;
    }
    let account = access.account_of(&act.by)?;
    check_name_free(access, &account, &name)?;
    let address = Address::function_name(account.id, &account.function_hash(&name));
    let mut state = access.state(&account)?;
    let limit = state.quota(Resource::Functions, &access.core.limits);
    let mut functions = self::state(access, &account)?;
    if functions.functions >= limit {
        return Err(StoreFailure::QuotaExceeded { resource: Resource::Functions, limit }.into());
    }
    let id = next_id(&mut state, act.now)?;
    let code_sha256 = code.hash();
    let body = FunctionBody {
        name,
        description,
        tags,
        created_at: act.now,
        updated_at: act.now,
        timeout,
        memory,
        secrets,
        environment,
        egress,
        pin_code,
        confirmed: Some(code_sha256).filter(|_| pin_code && confirms),
        code_sha256,
    };
    let index = FunctionNameBody { name: body.name.clone(), function: id };
    access.put(changes, &*account, &Address::function(account.id, id), &body)?;
    access.put(changes, &*account, &Address::code(account.id, id), &CodeBody { code })?;
    access.put(changes, &*account, &address, &index)?;
    changes.set_state(&account, state);
    functions.functions = functions.functions.saturating_add(1);
    put_state(access, changes, &account, &functions)?;
    note(changes, act, Action::FunctionCreate, object(id, body.name.clone(), code_sha256));
    Ok(body.into_function(id))
}

/// Whether a change would be refused, as it stands now: before its code is looked at. The write
/// looks again.
pub(super) fn check_update<R: Right>(
    access: &Access<'_>,
    grant: &Grant<R>,
    id: FunctionId,
    change: &FunctionChange,
) -> Result<(), UpdateFunctionError> {
    let account = access.account_of(grant)?;
    let body = find(access, &account, id)?.ok_or(UpdateFunctionError::NotFound)?;
    check_change(grant, &body, change)?;
    Ok(())
}

/// Whether a key may make a change; where it may, whether it could confirm code, too.
fn check_change<R: Right>(
    grant: &Grant<R>,
    body: &FunctionBody,
    change: &FunctionChange,
) -> Result<bool, Unbound> {
    let added = match &change.secrets {
        Field::Keep | Field::Clear => None,
        Field::Set(secrets) => Some(secrets),
    };
    let names = || body.secrets.iter().chain(added.into_iter().flat_map(SecretNames::iter));
    let binding = check_binding(grant, names());
    let confirms = binding.is_ok();
    if names().next().is_some() && bears_on_reading(change, body.pin_code) {
        binding?;
    }
    Ok(confirms)
}

pub(super) fn update<R: Right>(
    access: &Access<'_>,
    changes: &mut Changes,
    act: &Act<Grant<R>>,
    (id, change): (FunctionId, FunctionChange),
) -> Result<Function, UpdateFunctionError> {
    let account = access.account_of(&act.by)?;
    let mut body = find(access, &account, id)?.ok_or(UpdateFunctionError::NotFound)?;
    check_name(access, &account, id, &body)?;
    let new_secrets = match &change.secrets {
        Field::Keep => body.secrets.clone(),
        Field::Clear => SecretNames::default(),
        Field::Set(secrets) => secrets.clone(),
    };
    let was_pinned = body.pin_code;
    let confirms = check_change(&act.by, &body, &change)?;
    let pin_code = change.pin_code.or(was_pinned, false);
    let adds = new_secrets.iter().any(|name| !body.secrets.contains(name));
    let FunctionChange { code, description, timeout, memory, environment, egress, tags, .. } =
        change;
    if let Some(code) = code {
        body.code_sha256 = code.hash();
        access.put(changes, &*account, &Address::code(account.id, id), &CodeBody { code })?;
    }
    body.confirmed = match (was_pinned, pin_code) {
        (_, false) => None,
        // Whoever asks for it means the code that there is.
        (false, true) => Some(body.code_sha256).filter(|_| confirms),
        // Who confirmed the code meant it to read what was declared then.
        (true, true) => body.confirmed.filter(|_| !adds),
    };
    description.apply(&mut body.description);
    body.timeout = timeout.or(body.timeout, Timeout::DEFAULT);
    body.memory = memory.or(body.memory, Memory::DEFAULT);
    body.secrets = new_secrets;
    body.environment = environment.or_default(body.environment);
    body.egress = egress.or_default(body.egress);
    body.tags = tags.or_default(body.tags);
    body.pin_code = pin_code;
    body.updated_at = act.now;
    access.put(changes, &*account, &Address::function(account.id, id), &body)?;
    let object = object(id, body.name.clone(), body.code_sha256);
    note(changes, act, Action::FunctionUpdate, object);
    Ok(body.into_function(id))
}

/// Whether a change decides what reads a function's secrets, or what becomes of them. Code alone
/// does not where it is pinned: what has changed reads nothing.
fn bears_on_reading(change: &FunctionChange, was_pinned: bool) -> bool {
    let FunctionChange { code, secrets, environment, egress, pin_code, .. } = change;
    (code.is_some() && !was_pinned)
        || secrets.is_given()
        || environment.is_given()
        || egress.is_given()
        || pin_code.is_given()
}

pub(super) fn confirm<R: Right>(
    access: &Access<'_>,
    changes: &mut Changes,
    act: &Act<Grant<R>>,
    (id, code_sha256): (FunctionId, ContentHash),
) -> Result<Function, ConfirmFunctionError> {
    let account = access.account_of(&act.by)?;
    let mut body = find(access, &account, id)?.ok_or(ConfirmFunctionError::NotFound)?;
    check_name(access, &account, id, &body)?;
    if check_binding(&act.by, body.secrets.iter()).is_err() {
        return Err(ConfirmFunctionError::OutsideScope);
    }
    if !body.pin_code {
        return Err(ConfirmFunctionError::NotPinned);
    }
    if code_sha256 != body.code_sha256 {
        return Err(ConfirmFunctionError::OtherCode { current: body.code_sha256 });
    }
    body.confirmed = Some(code_sha256);
    body.updated_at = act.now;
    access.put(changes, &*account, &Address::function(account.id, id), &body)?;
    note(changes, act, Action::FunctionConfirm, object(id, body.name.clone(), code_sha256));
    Ok(body.into_function(id))
}

/// With its code and its executions.
pub(super) fn delete<R: Right>(
    access: &Access<'_>,
    changes: &mut Changes,
    act: &Act<Grant<R>>,
    id: FunctionId,
) -> Result<(), FunctionError> {
    let account = access.account_of(&act.by)?;
    let body = find(access, &account, id)?.ok_or(FunctionError::NotFound)?;
    check_name(access, &account, id, &body)?;
    let damaged = StoreFailure::Damaged { kind: FunctionsStateBody::KIND.name() };
    let mut state = state(access, &account)?;
    state.functions = state.functions.checked_sub(1).ok_or(damaged)?;
    for execution in access.executions(account.id, id)? {
        state.subtract(execution.bytes);
        changes.remove(execution.key);
    }
    let hash = account.function_hash(&body.name);
    changes.remove(Address::function_name(account.id, &hash).key().to_vec());
    changes.remove(Address::code(account.id, id).key().to_vec());
    changes.remove(Address::function(account.id, id).key().to_vec());
    put_state(access, changes, &account, &state)?;
    note(changes, act, Action::FunctionDelete, object(id, body.name, body.code_sha256));
    Ok(())
}

impl From<Unbound> for CreateFunctionError {
    fn from(unbound: Unbound) -> Self {
        match unbound {
            Unbound::NeedsAdmin => Self::NeedsAdmin,
            Unbound::OutsideScope => Self::OutsideScope,
        }
    }
}

impl From<Unbound> for UpdateFunctionError {
    fn from(unbound: Unbound) -> Self {
        match unbound {
            Unbound::NeedsAdmin => Self::NeedsAdmin,
            Unbound::OutsideScope => Self::OutsideScope,
        }
    }
}
