//! Secrets: their metadata, their values, and their changes.

use crate::access::{Admin, Grant, Read, Reveal, Write};
use crate::audit::Act;
use crate::model::{
    Change, NewSecret, Page, Revealed, Revision, Secret, SecretId, SecretPage, Version,
};
use crate::store::{
    CreateSecretError, DeleteSecretError, ReadError, RollbackSecretError, Store, StoreFailure,
    UpdateSecretError, secrets,
};

impl Store {
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
}
