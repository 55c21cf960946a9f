//! Executions: what one begins with, what it reads and uses, and what is kept of it.

use crate::access::{Execute, FunctionRun, Grant, Read};
use crate::audit::Act;
use crate::model::{
    Execution, ExecutionEnd, ExecutionId, ExecutionPage, FunctionId, Revealed, SecretId,
    SecretName, Timestamp, Version,
};
use crate::store::core::Access;
use crate::store::engine::Changes;
use crate::store::queue::Haste;
use crate::store::{
    FunctionError, FunctionReadError, FunctionUseError, Invocable, SecretUse, Store, StoreFailure,
    executions, functions, uses,
};

impl Store {
    /// What an invocation begins with. Nothing is written of it yet.
    ///
    /// # Errors
    /// `NotFound`, and the store's failures.
    pub fn invocable(
        &self,
        grant: Grant<Execute>,
        id: FunctionId,
        now: Timestamp,
    ) -> Result<Invocable, FunctionError> {
        self.read(|access, _| functions::invocable(access, grant, id, now))
    }

    /// Gives the newest value of a secret to a function's code, as [`Store::reveal`] gives one to a
    /// caller: only when the log durably tells of it, and if key, function, terms and version still
    /// stand then. `told` is what the log has told of this run's read of that name before: the same
    /// value again is no event. `now` is the time of the read.
    ///
    /// # Errors
    /// See [`FunctionReadError`]. `KeyRevoked` also where the key has expired meanwhile.
    pub async fn function_read(
        &self,
        act: Act<FunctionRun>,
        name: &SecretName,
        told: Option<(SecretId, Version)>,
    ) -> Result<Revealed, FunctionReadError> {
        self.know_names(act.by.grant().account()).await?;
        let (revealed, is_told) = self.read(|access, _| {
            let revealed = executions::value(access, &act, name)?;
            let is_told = told == Some((revealed.id, revealed.version));
            if is_told {
                executions::check_run(access, &act.by, act.now)?;
            }
            Ok::<_, FunctionReadError>((revealed, is_told))
        })?;
        if is_told {
            return Ok(revealed);
        }
        let read = (revealed.id, revealed.name.clone(), revealed.version);
        let account = act.by.grant().account();
        let write = move |access: &Access<'_>, changes: &mut Changes| {
            executions::read(access, changes, &act, read)
        };
        self.writer.submit(account, write).await?;
        Ok(revealed)
    }

    /// Gives the newest value of a use-only secret, to be sent to a host in a header: only if the
    /// secret allows both, and otherwise as [`Store::function_read`] gives one to code.
    ///
    /// # Errors
    /// See [`FunctionUseError`]. `KeyRevoked` also where the key has expired meanwhile.
    pub async fn function_use(
        &self,
        act: Act<FunctionRun>,
        usage: SecretUse,
    ) -> Result<Revealed, FunctionUseError> {
        self.know_names(act.by.grant().account()).await?;
        let opened = self.read(|access, _| uses::value(access, &act, &usage))?;
        let used = (usage, opened.id, opened.version);
        let account = act.by.grant().account();
        let write = move |access: &Access<'_>, changes: &mut Changes| {
            uses::record(access, changes, &act, used)
        };
        self.writer.submit(account, write).await?;
        Ok(opened)
    }

    /// What was invoked and has waited for its turn, as it stands now.
    ///
    /// # Errors
    /// `NotFound` where the function was deleted; `KeyRevoked` where the key that invoked it was
    /// revoked, has expired, or has lost the token that it came with.
    pub fn renewed(
        &self,
        invocable: Invocable,
        now: Timestamp,
    ) -> Result<Invocable, FunctionError> {
        self.read(|access, _| functions::renewed(access, invocable, now))
    }

    /// Records that an execution runs: durably, before this answers.
    ///
    /// # Errors
    /// `NotFound` where the function was deleted.
    pub async fn begin_execution(
        &self,
        run: FunctionRun,
        started_at: Timestamp,
    ) -> Result<(), FunctionError> {
        let account = run.grant().account();
        let begin = move |access: &Access<'_>, changes: &mut Changes| {
            executions::begin(access, changes, &run, started_at)
        };
        self.writer.submit(account, begin).await
    }

    /// Records how an execution ended, whether it was begun here or not: durable when this answers,
    /// which it does with the next commit, or soon without one.
    /// Of a function that was deleted meanwhile there is nothing to record.
    ///
    /// # Errors
    /// The store's failures.
    pub async fn end_execution(
        &self,
        run: FunctionRun,
        started_at: Timestamp,
        end: ExecutionEnd,
    ) -> Result<(), StoreFailure> {
        let account = run.grant().account();
        let write = move |access: &Access<'_>, changes: &mut Changes| {
            executions::put(access, changes, &run, started_at, Some(end)).map(|_| ())
        };
        self.writer.submit_with(account, Haste::Patient, write).await
    }

    /// A page of a function's executions that are kept, newest first.
    ///
    /// # Errors
    /// `NotFound` where there is no such function.
    pub fn list_executions(
        &self,
        grant: &Grant<Read>,
        function: FunctionId,
        limit: usize,
        offset: u64,
    ) -> Result<ExecutionPage, FunctionError> {
        self.read(|access, _| executions::list(access, grant, function, (limit, offset)))
    }

    /// One execution.
    ///
    /// # Errors
    /// `NotFound` also where it is no longer kept.
    pub fn execution(
        &self,
        grant: &Grant<Read>,
        function: FunctionId,
        id: ExecutionId,
    ) -> Result<Execution, FunctionError> {
        self.read(|access, _| executions::execution(access, grant, function, id))
    }
}
