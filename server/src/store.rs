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
mod verbs;
mod writer;

use self::core::Access;
use crate::access::{Grant, Right};
use crate::audit::Act;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::model::{AccountId, PerResource};
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
use record::SYSTEM;
use std::path::PathBuf;
use std::sync::Arc;
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
