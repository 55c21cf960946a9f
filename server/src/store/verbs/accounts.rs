//! Accounts: the owner's verbs.

use crate::access::{OwnerCaller, Token};
use crate::audit::Act;
use crate::model::{Account, AccountChange, AccountId, AccountPage, NewAccount};
use crate::store::core::Access;
use crate::store::engine::Changes;
use crate::store::record::SYSTEM;
use crate::store::{AccountError, CreateAccountError, Store, StoreFailure, accounts};

impl Store {
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
}
