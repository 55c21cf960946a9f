//! What a run of a function's code uses without reading it.

use crate::access::FunctionRun;
use crate::audit::{Act, Action, Object};
use crate::model::{HeaderName, HostName, Revealed, SecretId, SecretName, Version};
use crate::store::audit::note;
use crate::store::body::SecretBody;
use crate::store::core::{Access, AccountKeys};
use crate::store::engine::Changes;
use crate::store::error::{FunctionReadError, FunctionUseError};
use crate::store::executions::{self, check_declares};
use crate::store::record::Address;
use crate::store::secrets;

/// Where code sends the value of a use-only secret.
#[derive(Clone, Debug)]
pub struct SecretUse {
    /// The secret.
    pub name: SecretName,
    /// To this host.
    pub host: HostName,
    /// In this header.
    pub header: HeaderName,
}

/// The secret, if the function may use it, and its value may go there.
fn find(
    access: &Access<'_>,
    account: &AccountKeys,
    act: &Act<FunctionRun>,
    usage: &SecretUse,
) -> Result<(SecretId, SecretBody), FunctionUseError> {
    let SecretUse { name, host, header } = usage;
    check_declares(access, account, &act.by, name)?;
    let found = secrets::named(access, account, name, act.now)?;
    let (id, body) = found.ok_or(FunctionUseError::NotFound)?;
    let rules = body.use_only.as_ref().ok_or(FunctionUseError::Readable)?;
    if !rules.hosts().contains(host) {
        return Err(FunctionUseError::Host);
    }
    if rules.header() != header {
        return Err(FunctionUseError::Header);
    }
    Ok((id, body))
}

/// Opens the newest value. Nobody has been told of it yet, so that it must not leave.
pub(super) fn value(
    access: &Access<'_>,
    act: &Act<FunctionRun>,
    usage: &SecretUse,
) -> Result<Revealed, FunctionUseError> {
    let account = access.account_of(act.by.grant())?;
    let (id, body) = find(access, &account, act, usage)?;
    let version = body.versions.newest().version;
    let value = access.get(&*account, &Address::value(account.id, id, version))?.value;
    Ok(Revealed { id, name: body.name, version, value })
}

/// Records that a value leaves, if all that it was opened for still stands.
pub(super) fn record(
    access: &Access<'_>,
    changes: &mut Changes,
    act: &Act<FunctionRun>,
    (usage, id, version): (SecretUse, SecretId, Version),
) -> Result<(), FunctionUseError> {
    executions::check_run(access, &act.by, act.now)?;
    let account = access.account_of(act.by.grant())?;
    let (now, body) = find(access, &account, act, &usage)?;
    if now != id || !body.versions.has(version) {
        return Err(FunctionUseError::NotFound);
    }
    let SecretUse { name, host, header: _ } = usage;
    note(changes, act, Action::SecretUse, Object::Use { id, name, version, host });
    Ok(())
}

impl From<FunctionReadError> for FunctionUseError {
    fn from(error: FunctionReadError) -> Self {
        match error {
            FunctionReadError::Denied => Self::Denied,
            FunctionReadError::NotFound => Self::NotFound,
            FunctionReadError::Store(failure) => Self::Store(failure),
        }
    }
}
