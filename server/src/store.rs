//! The store: sealed records in an embedded database file. STORE.md specifies every byte.

mod accounts;
mod admitted;
mod api_keys;
mod audit;
pub(crate) mod benching;
pub(crate) mod body;
mod core;
mod engine;
mod error;
mod executions;
mod founding;
mod functions;
mod header;
mod held;
mod names;
mod opened;
mod opening;
mod places;
mod queue;
mod raw;
mod record;
mod room;
mod secrets;
mod states;
mod sweep;
mod turns;
mod upgrade;
mod uses;
mod writer;

use self::core::Access;
use crate::access::{
    Admin, Caller, Execute, FunctionRun, Grant, OwnerCaller, Read, Reveal, Right, Scope, Token,
    Write,
};
use crate::audit::{Act, EventPage, EventQuery};
use crate::clock::Clock;
use crate::disk::Disk;
use crate::model::{
    Account, AccountChange, AccountId, AccountPage, ApiKey, Change, ContentHash, Execution,
    ExecutionEnd, ExecutionId, ExecutionPage, Function, FunctionChange, FunctionCode, FunctionId,
    FunctionPage, KeyId, NewAccount, NewFunction, NewKey, NewSecret, Overlap, Page, PerResource,
    Revealed, Revision, Secret, SecretId, SecretName, SecretNames, SecretPage, Timestamp, Version,
};
pub use crate::seal::{Rewrap, UnsealError};
use engine::{Changes, Snapshot};
pub use error::{
    AccountError, AuthError, ClaimAgainError, ConfirmFunctionError, CreateAccountError,
    CreateFunctionError, CreateKeyError, CreateSecretError, DeleteSecretError, FunctionError,
    FunctionReadError, FunctionUseError, ReadError, RevokeKeyError, RollbackSecretError,
    RotateKeyError, StoreFailure, UpdateFunctionError, UpdateSecretError,
};
pub use founding::{ClaimAnswer, CreateError, Founding};
pub use functions::Invocable;
pub(crate) use header::Header;
pub use held::{AcceptError, Acceptance, ClockSetting, HeldStore};
use neo_secrets_attestation::binding::ReportData;
use neo_secrets_attestation::ed25519::{PublicKey, Signature};
use neo_secrets_attestation::evidence::StoreId;
use neo_secrets_attestation::receipt::Receipt;
pub use opening::{ClosedStore, Found, OpenError, Opening, StillSealed, Unsealed};
use queue::Haste;
use record::SYSTEM;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
pub use uses::SecretUse;
pub(crate) use writer::Commits;
pub use writer::StoreStats;

/// Where a store stands, or will.
#[derive(Clone, Debug)]
pub enum Place {
    /// A file of its own.
    File(PathBuf),
    /// A whole disk.
    Disk(Arc<Disk>),
}

/// Bounds that the configuration may set.
#[derive(Clone, Copy, Debug)]
pub struct StoreLimits {
    /// Values kept of each secret, the newest one included: 1 to 100; what lies outside counts as
    /// the nearest.
    pub versions_kept: usize,
    /// What each account may have that has no quota of its own.
    pub per_account: PerResource<u64>,
    /// Accounts.
    pub accounts: u64,
    /// Bytes of the records of executions of each account. The oldest go where there are more.
    pub execution_bytes: u64,
}

/// The store's public keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceKeys {
    /// Signs evidence.
    pub instance: PublicKey,
    /// Will sign the log's notes.
    pub log: PublicKey,
    /// Signs receipts.
    pub receipt: PublicKey,
}

/// An open store. Reads take a snapshot and run where they are called (they may read the disk, so a
/// long list belongs off the reactor); writes go to one writer, which commits together all that
/// wait. Dropping it closes the file.
pub struct Store {
    writer: writer::Writer,
}

impl Store {
    /// Looks at what stands there. Reads the whole store once, to check it. Blocks.
    ///
    /// # Errors
    /// Why what stands there is not a store to open.
    pub fn open(place: &Place) -> Result<Found, OpenError> {
        opening::open(place)
    }

    /// Makes a store there, complete or not at all. Blocks.
    ///
    /// # Errors
    /// Why there is none.
    pub fn create(
        place: &Place,
        founding: Founding<'_>,
        limits: StoreLimits,
    ) -> Result<(Self, ClaimAnswer), CreateError> {
        founding::create(place, founding, limits)
    }

    /// The store's id.
    #[must_use]
    pub fn store_id(&self) -> StoreId {
        self.writer.shared.core.header.store_id
    }

    /// The public keys.
    #[must_use]
    pub fn instance_keys(&self) -> InstanceKeys {
        let keys = &self.writer.shared.core.signing;
        let (log, receipt) = (keys.log.public(), keys.receipt.public());
        InstanceKeys { instance: keys.instance.public(), log, receipt }
    }

    /// The instance's signature over one batch's REPORT_DATA.
    ///
    /// # Errors
    /// `Unavailable` where OpenSSL fails.
    pub fn sign_evidence(&self, report_data: &ReportData) -> Result<Signature, StoreFailure> {
        Ok(self.writer.shared.core.signing.sign_evidence(report_data)?)
    }

    /// The instance's signature over what one execution came to.
    ///
    /// # Errors
    /// `Unavailable` where OpenSSL fails.
    pub fn sign_receipt(&self, receipt: &Receipt) -> Result<Signature, StoreFailure> {
        Ok(self.writer.shared.core.signing.sign_receipt(receipt)?)
    }

    /// Fresh tokens for the owner who claimed, as long as none of the first ones was used. The name
    /// of the first account stays what it was.
    ///
    /// # Errors
    /// `AlreadyClaimed` for everyone else, and from then on.
    pub async fn claim_again(&self, owner: PublicKey) -> Result<ClaimAnswer, ClaimAgainError> {
        let claim = move |access: &Access<'_>, changes: &mut Changes| {
            api_keys::claim_again(access, changes, owner)
        };
        let api_keys::FreshTokens { account, account_name, owner, admin } =
            self.writer.submit(SYSTEM, claim).await?;
        Ok(ClaimAnswer {
            store_id: self.store_id(),
            instance_key: self.instance_keys().instance,
            owner_token: owner,
            account,
            account_name,
            admin_token: admin,
        })
    }

    /// Who holds this token. The first success of a store's life is made durable before it is
    /// answered, since it ends the owner's right to repeat the claim.
    ///
    /// # Errors
    /// `Unauthorized` says nothing about why.
    pub async fn authenticate(&self, token: &Token, now: Timestamp) -> Result<Caller, AuthError> {
        let core = &self.writer.shared.core;
        let hash = core.hash(token);
        let caller = self.read(|access, snapshot| {
            // A refusal never comes from memory: it costs the same reads whatever its reason.
            let holder = core.admitted.get(snapshot, &hash);
            if let Some(Ok(caller)) = holder.map(|holder| holder.admit(&hash, now)) {
                return Ok(caller);
            }
            let holder = api_keys::holder(access, &hash)?;
            let caller = holder.admit(&hash, now)?;
            core.admitted.keep(snapshot, &hash, holder);
            Ok::<_, AuthError>(caller)
        })?;
        if core.settled.load(Ordering::Acquire) {
            return Ok(caller);
        }
        let settle = move |access: &Access<'_>, changes: &mut Changes| {
            api_keys::settle(access, changes, &hash, now)
        };
        let caller = self.writer.submit(SYSTEM, settle).await?;
        core.settled.store(true, Ordering::Release);
        Ok(caller)
    }

    /// One secret's metadata.
    ///
    /// # Errors
    /// `NotFound` also where the key doesn't reach it.
    pub fn secret(&self, grant: &Grant<Read>, id: SecretId) -> Result<Secret, ReadError> {
        self.read(|access, _| secrets::secret(access, grant, id))
    }

    /// A page of secrets, newest first. Without prefix and for an unnarrowed key only the page is
    /// opened; else every secret of the account is, which takes some microseconds each.
    ///
    /// # Errors
    /// The store's failures.
    pub fn list_secrets(
        &self,
        grant: &Grant<Read>,
        page: &Page,
    ) -> Result<SecretPage, StoreFailure> {
        self.read(|access, snapshot| secrets::list(access, snapshot, grant, page))
    }

    /// The keys that lie within the caller's, oldest first.
    ///
    /// # Errors
    /// The store's failures.
    pub fn list_keys(&self, grant: &Grant<Admin>) -> Result<Vec<ApiKey>, StoreFailure> {
        self.read(|access, snapshot| api_keys::list(access, snapshot, grant))
    }

    /// A part of the account's audit log, newest first. Without a filter and for an unnarrowed key
    /// only the page is opened; else the whole log is, which takes some microseconds an event. A
    /// narrowed key sees what was done to the secrets that it reaches and to keys that lie within
    /// it.
    ///
    /// # Errors
    /// The store's failures.
    pub fn events(
        &self,
        grant: &Grant<Admin>,
        query: &EventQuery,
    ) -> Result<EventPage, StoreFailure> {
        let narrowed = Some(grant).filter(|grant| grant.scope() != &Scope::All);
        self.read(|access, snapshot| {
            audit::list(access, snapshot, (&*access.account_of(grant)?, narrowed), query)
        })
    }

    /// A part of the instance's own audit log, newest first.
    ///
    /// # Errors
    /// The store's failures.
    pub fn instance_events(
        &self,
        _: &OwnerCaller,
        query: &EventQuery,
    ) -> Result<EventPage, StoreFailure> {
        self.read(|access, snapshot| {
            audit::list(access, snapshot, (access.core.system(), None), query)
        })
    }

    /// Takes a value out: the newest, or the version asked for. Expired secrets are as missing. It
    /// is opened where the call runs; the writer then looks whether key, secret and version still
    /// stand, and the value is given only when the log durably tells of it.
    ///
    /// # Errors
    /// `NotFound` also for a version no longer kept.
    pub async fn reveal(
        &self,
        act: Act<Grant<Reveal>>,
        id: SecretId,
        version: Option<Version>,
    ) -> Result<Revealed, ReadError> {
        let revealed = self.read(|access, _| secrets::value(access, &act, id, version))?;
        self.know_names(act.by.account()).await?;
        let version = revealed.version;
        self.write(act, move |access, changes, act| {
            secrets::reveal(access, changes, act, id, version)
        })
        .await?;
        Ok(revealed)
    }

    /// Creates a secret.
    ///
    /// # Errors
    /// See [`CreateSecretError`]; nothing is written then.
    pub async fn create_secret(
        &self,
        act: Act<Grant<Write>>,
        new: NewSecret,
    ) -> Result<Secret, CreateSecretError> {
        self.know_names(act.by.account()).await?;
        self.write(act, move |access, changes, act| secrets::create(access, changes, act, new))
            .await
    }

    /// Changes a secret; where `expected` is given, only from that revision.
    ///
    /// # Errors
    /// See [`UpdateSecretError`]; nothing is written then.
    pub async fn update_secret(
        &self,
        act: Act<Grant<Write>>,
        id: SecretId,
        change: Change,
        expected: Option<Revision>,
    ) -> Result<Secret, UpdateSecretError> {
        self.know_names(act.by.account()).await?;
        self.write(act, move |access, changes, act| {
            secrets::update(access, changes, act, (id, change, expected))
        })
        .await
    }

    /// Makes a kept version's value the newest version; where `expected` is given, only from that
    /// revision.
    ///
    /// # Errors
    /// See [`RollbackSecretError`]; nothing is written then.
    pub async fn rollback_secret(
        &self,
        act: Act<Grant<Write>>,
        id: SecretId,
        version: Version,
        expected: Option<Revision>,
    ) -> Result<Secret, RollbackSecretError> {
        self.know_names(act.by.account()).await?;
        self.write(act, move |access, changes, act| {
            secrets::rollback(access, changes, act, (id, version, expected))
        })
        .await
    }

    /// Deletes a secret with all its versions; its name is free again.
    ///
    /// # Errors
    /// See [`DeleteSecretError`]; nothing is written then.
    pub async fn delete_secret(
        &self,
        act: Act<Grant<Admin>>,
        id: SecretId,
    ) -> Result<(), DeleteSecretError> {
        self.know_names(act.by.account()).await?;
        self.write(act, move |access, changes, act| secrets::delete(access, changes, act, id)).await
    }

    /// A page of functions, newest first, without their code. Every key of the account that may read
    /// sees all of them.
    ///
    /// # Errors
    /// The store's failures.
    pub fn list_functions(
        &self,
        grant: &Grant<Read>,
        limit: usize,
        offset: u64,
    ) -> Result<FunctionPage, StoreFailure> {
        self.read(|access, snapshot| functions::list(access, snapshot, grant, (limit, offset)))
    }

    /// One function, without its code.
    ///
    /// # Errors
    /// `NotFound`, and the store's failures.
    pub fn function(&self, grant: &Grant<Read>, id: FunctionId) -> Result<Function, FunctionError> {
        self.read(|access, _| functions::function(access, grant, id))
    }

    /// One function and its code.
    ///
    /// # Errors
    /// `NotFound`, and the store's failures.
    pub fn function_with_code(
        &self,
        grant: &Grant<Read>,
        id: FunctionId,
    ) -> Result<(Function, FunctionCode), FunctionError> {
        self.read(|access, _| functions::with_code(access, grant, id))
    }

    /// Creates a function. Where it declares secrets, that is reading them: it takes `admin`, and
    /// patterns that reach each name.
    ///
    /// # Errors
    /// See [`CreateFunctionError`]; nothing is written then.
    pub async fn create_function(
        &self,
        act: Act<Grant<Write>>,
        new: NewFunction,
    ) -> Result<Function, CreateFunctionError> {
        self.write(act, move |access, changes, act| functions::create(access, changes, act, new))
            .await
    }

    /// Whether a creation would be refused, as things stand.
    ///
    /// # Errors
    /// See [`CreateFunctionError`].
    pub fn check_function_create(
        &self,
        grant: &Grant<Write>,
        new: &NewFunction,
    ) -> Result<(), CreateFunctionError> {
        self.read(|access, _| functions::check_create(access, grant, new))
    }

    /// Whether a change would be refused, as things stand.
    ///
    /// # Errors
    /// See [`UpdateFunctionError`].
    pub fn check_function_update(
        &self,
        grant: &Grant<Write>,
        id: FunctionId,
        change: &FunctionChange,
    ) -> Result<(), UpdateFunctionError> {
        self.read(|access, _| functions::check_update(access, grant, id, change))
    }

    /// Changes a function. Where it has secrets, or is to have some, what decides over them takes
    /// `admin`, and patterns that reach each name, old and new; but code alone where it is pinned.
    ///
    /// # Errors
    /// See [`UpdateFunctionError`]; nothing is written then.
    pub async fn update_function(
        &self,
        act: Act<Grant<Write>>,
        id: FunctionId,
        change: FunctionChange,
    ) -> Result<Function, UpdateFunctionError> {
        self.write(act, move |access, changes, act| {
            functions::update(access, changes, act, (id, change))
        })
        .await
    }

    /// Says which secrets a function may read.
    ///
    /// # Errors
    /// See [`UpdateFunctionError`]; nothing is written then.
    pub async fn set_function_secrets(
        &self,
        act: Act<Grant<Admin>>,
        id: FunctionId,
        secrets: SecretNames,
    ) -> Result<Function, UpdateFunctionError> {
        let change = FunctionChange::of_secrets(secrets);
        self.write(act, move |access, changes, act| {
            functions::update(access, changes, act, (id, change))
        })
        .await
    }

    /// Confirms a pinned function's code: from then on it reads what the function declares.
    ///
    /// # Errors
    /// See [`ConfirmFunctionError`]; nothing is written then.
    pub async fn confirm_function(
        &self,
        act: Act<Grant<Admin>>,
        id: FunctionId,
        code_sha256: ContentHash,
    ) -> Result<Function, ConfirmFunctionError> {
        self.write(act, move |access, changes, act| {
            functions::confirm(access, changes, act, (id, code_sha256))
        })
        .await
    }

    /// Deletes a function with its code and its executions; its name is free again, and what runs of
    /// it reads nothing more.
    ///
    /// # Errors
    /// See [`FunctionError`]; nothing is written then.
    pub async fn delete_function(
        &self,
        act: Act<Grant<Admin>>,
        id: FunctionId,
    ) -> Result<(), FunctionError> {
        self.write(act, move |access, changes, act| functions::delete(access, changes, act, id))
            .await
    }

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

    /// Issues a key; its token is shown this once.
    ///
    /// # Errors
    /// See [`CreateKeyError`]; nothing is written then.
    pub async fn create_key(
        &self,
        act: Act<Grant<Admin>>,
        new: NewKey,
    ) -> Result<(ApiKey, Token), CreateKeyError> {
        self.write(act, move |access, changes, act| api_keys::create(access, changes, act, new))
            .await
    }

    /// Revokes a key, at once and for what it has under way.
    ///
    /// # Errors
    /// See [`RevokeKeyError`]; nothing is written then.
    pub async fn revoke_key(
        &self,
        act: Act<Grant<Admin>>,
        id: KeyId,
    ) -> Result<(), RevokeKeyError> {
        self.write(act, move |access, changes, act| api_keys::revoke(access, changes, act, id))
            .await
    }

    /// Gives a key a new token. The old one works for `overlap` longer; one before that dies now.
    /// Where the key rotates itself by its old token, that one works on, and the newer one dies.
    ///
    /// # Errors
    /// See [`RotateKeyError`]; nothing is written then.
    pub async fn rotate_key(
        &self,
        act: Act<Grant<Admin>>,
        id: KeyId,
        overlap: Overlap,
    ) -> Result<(ApiKey, Token), RotateKeyError> {
        self.write(act, move |access, changes, act| {
            api_keys::rotate(access, changes, act, (id, overlap))
        })
        .await
    }

    /// Makes an account; its admin key's token is shown this once, and nobody can have another put
    /// into the account from outside.
    ///
    /// # Errors
    /// See [`CreateAccountError`]; nothing is written then.
    pub async fn create_account(
        &self,
        act: Act<OwnerCaller>,
        new: NewAccount,
    ) -> Result<(Account, Token), CreateAccountError> {
        let create = move |access: &Access<'_>, changes: &mut Changes| {
            accounts::create(access, changes, &act, new)
        };
        self.writer.submit(SYSTEM, create).await
    }

    /// A page of accounts, newest first.
    ///
    /// # Errors
    /// The store's failures.
    pub fn list_accounts(
        &self,
        _: &OwnerCaller,
        limit: usize,
        offset: u64,
    ) -> Result<AccountPage, StoreFailure> {
        self.read(|access, snapshot| accounts::list(access, snapshot, limit, offset))
    }

    /// One account.
    ///
    /// # Errors
    /// `NotFound`, and the store's failures.
    pub fn account(&self, _: &OwnerCaller, id: AccountId) -> Result<Account, AccountError> {
        self.read(|access, _| accounts::account(access, id))
    }

    /// Renames an account, or sets its quotas.
    ///
    /// # Errors
    /// See [`AccountError`]; nothing is written then.
    pub async fn update_account(
        &self,
        act: Act<OwnerCaller>,
        id: AccountId,
        change: AccountChange,
    ) -> Result<Account, AccountError> {
        let update = move |access: &Access<'_>, changes: &mut Changes| {
            accounts::update(access, changes, &act, (id, change))
        };
        self.writer.submit(SYSTEM, update).await
    }

    /// Deletes an account with all that is in it: when this answers, none of its keys works, and
    /// nothing of it can be opened. Its records are removed afterwards.
    ///
    /// # Errors
    /// See [`AccountError`]; nothing is written then.
    pub async fn delete_account(
        &self,
        act: Act<OwnerCaller>,
        id: AccountId,
    ) -> Result<(), AccountError> {
        let delete = move |access: &Access<'_>, changes: &mut Changes| {
            accounts::delete(access, changes, &act, id)
        };
        self.writer.submit(SYSTEM, delete).await
    }

    /// The time.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.writer.shared.core.clock
    }

    /// The number of the owner's next act, by the key pair.
    ///
    /// # Errors
    /// The store's failures.
    pub fn next_act(&self) -> Result<u64, StoreFailure> {
        self.read(|access, _| held::next_act(access))
    }

    /// Sets the time to what the owner has signed.
    ///
    /// # Errors
    /// [`AcceptError`]; the time goes on as it was.
    pub async fn set_clock(&self, setting: ClockSetting) -> Result<(), AcceptError> {
        let set = move |access: &Access<'_>, changes: &mut Changes| {
            held::set_clock(access, changes, setting)
        };
        self.writer.submit(SYSTEM, set).await
    }

    /// Writes that wait for their turn.
    #[must_use]
    pub fn waiting_writes(&self) -> usize {
        self.writer.waiting()
    }

    /// Deleted accounts of which records are left, which are being removed.
    #[must_use]
    pub fn deleted_accounts(&self) -> u64 {
        self.writer.deleted_accounts()
    }

    /// Counters since the store was opened.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        self.writer.stats()
    }

    /// The commits since the store was opened.
    pub(crate) fn commits(&self) -> &Commits {
        &self.writer.shared.commits
    }

    /// Makes the writes that wait, and closes the file. Everything answers Unavailable then.
    pub async fn shutdown(&self) {
        self.writer.shutdown().await;
    }

    fn read<T, E: From<StoreFailure>>(
        &self,
        read: impl FnOnce(&Access<'_>, &Snapshot) -> Result<T, E>,
    ) -> Result<T, E> {
        let snapshot: Arc<Snapshot> = self.writer.snapshot()?;
        read(&self.writer.shared.core.access(&*snapshot), &snapshot)
    }

    /// Has it known where the account's names stand, before the writer needs that. Where they are many,
    /// they are read in a thread of their own: other accounts' writes do not wait meanwhile, nor for
    /// names that are damaged.
    async fn know_names(&self, account: AccountId) -> Result<(), StoreFailure> {
        let is_long = || self.read(|access, _| names::is_long_to_read(access, account)) == Ok(true);
        if !is_long() {
            return Ok(());
        }
        let turn = self.writer.shared.core.turns.take(account).await;
        // Another may have read them meanwhile.
        if !is_long() {
            return Ok(());
        }
        let (shared, snapshot) = (Arc::clone(&self.writer.shared), self.writer.snapshot()?);
        let read = move || {
            let _turn = turn;
            names::read_ahead(&shared.core.access(&*snapshot), account)
        };
        tokio::task::spawn_blocking(read).await.unwrap_or(Err(StoreFailure::Unavailable))
    }

    /// A write by a key, which has to stand when its turn comes.
    async fn write<R: Right, T: Send + 'static, E: From<StoreFailure> + Send + 'static>(
        &self,
        act: Act<Grant<R>>,
        write: impl FnOnce(&Access<'_>, &mut Changes, &Act<Grant<R>>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        self.writer
            .submit(act.by.account(), move |access: &Access<'_>, changes: &mut Changes| {
                api_keys::check_standing(access, &act.by, act.now)?;
                write(access, changes, &act)
            })
            .await
    }
}

#[cfg(test)]
pub(crate) mod tests;
