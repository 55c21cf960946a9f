//! The store: sealed records in an embedded database file. STORE.md specifies every byte.

use crate::access::{Admin, Caller, Grant, Read, Reveal, Token, Write};
use crate::model::{
    AccountId, ApiKey, Change, KeyId, Label, NewKey, NewSecret, Overlap, Page, Revision, Secret,
    SecretId, SecretPage, SecretValue, Timestamp, Version,
};
use crate::seal::{BootIdentity, DerivedKey, KeyRequest, Sealer};
use neo_secrets_attestation::binding::ReportData;
use neo_secrets_attestation::ed25519::{PublicKey, Signature};
use neo_secrets_attestation::evidence::StoreId;
use std::path::Path;

/// Bounds that the configuration may set.
#[derive(Clone, Copy, Debug)]
pub struct StoreLimits {
    /// Values kept of each secret, the newest one included; at least 1.
    pub versions_kept: usize,
    /// Live secrets of one account.
    pub secrets_per_account: u64,
    /// API keys of one account.
    pub keys_per_account: u64,
}

/// What stands at the store's path.
pub enum Found {
    /// No file: the instance is unclaimed.
    Nothing,
    /// A store, still sealed.
    Closed(ClosedStore),
}

/// Why a store's file can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the store is in use by another process")]
    Locked,
    /// Not a store of ours.
    #[error("the file is not a Neo Secrets store")]
    Foreign,
    /// Written by a newer server.
    #[error("the store has format {found}; this server knows up to {known}: upgrade the server")]
    NewerFormat {
        /// The file's.
        found: u16,
        /// This server's.
        known: u16,
    },
    /// The file was cut or changed from outside.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The file could not be read.
    #[error("the store could not be read: {0}")]
    Io(#[from] std::io::Error),
}

/// A store whose root key is still sealed. Its records stay closed.
pub struct ClosedStore {}

/// What opening a store gave.
pub struct Unsealed {
    /// The store, open.
    pub store: Store,
    /// Whether the TCB was raised since it was sealed.
    pub rewrap: Rewrap,
}

/// What became of the key slot after a TCB raise.
#[derive(Debug)]
pub enum Rewrap {
    /// The slot already has this boot's TCB.
    NotNeeded,
    /// The slot now has this boot's TCB.
    Done,
    /// The old slot stays, and still opens: this went wrong.
    Failed(String),
}

/// A store that stays sealed, and what may still be shown of it.
pub struct StillSealed<E> {
    /// The store.
    pub store: ClosedStore,
    /// The instance key's public half, where the identity slot opened.
    pub instance_key: Option<PublicKey>,
    /// Why.
    pub error: UnsealError<E>,
}

/// Why a store did not open.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError<E> {
    /// The firmware was asked and gave no key.
    #[error("the firmware gave no key: {0}")]
    Derive(E),
}

/// What a claim brings.
pub struct Founding<'a> {
    /// The owner's public key.
    pub owner: PublicKey,
    /// The name of the first account.
    pub account_name: Label,
    /// What the store is sealed with.
    pub sealer: &'a Sealer,
    /// The time.
    pub now: Timestamp,
}

/// What a claim answers; the tokens are shown once.
pub struct ClaimAnswer {
    /// The store.
    pub store_id: StoreId,
    /// The instance key's public half.
    pub instance_key: PublicKey,
    /// The owner's bearer key.
    pub owner_token: Token,
    /// The first account.
    pub account: AccountId,
    /// Its name.
    pub account_name: Label,
    /// The first account's admin key: admin and reveal, every secret, no expiry.
    pub admin_token: Token,
}

/// Why no store was made. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// There is a file already; it is left as it is.
    #[error("there is a store already")]
    Exists,
    /// The disk or the system failed.
    #[error("the store could not be made: {0}")]
    Failed(String),
}

/// The store itself failed; what every verb may answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreFailure {
    /// A write failed earlier, or the store is closing. Nothing works until it is opened again.
    #[error("the store is unavailable until it is opened again")]
    Unavailable,
    /// A record did not open: the file was changed from outside.
    #[error("a record of kind {kind} is damaged")]
    Damaged {
        /// The kind of the record.
        kind: &'static str,
    },
}

/// Why a token did not authenticate.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Unknown, revoked or expired: one answer.
    #[error("the key is unknown, revoked or expired")]
    Unauthorized,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreFailure),
}

/// Why a claim was not repeated.
#[derive(Debug, thiserror::Error)]
pub enum ClaimAgainError {
    /// By another owner, or one of its keys has been used.
    #[error("the instance is already claimed")]
    AlreadyClaimed,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreFailure),
}

/// Why a read gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No such object for this key.
    #[error("not found")]
    NotFound,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreFailure),
}

/// Why a secret was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateSecretError {
    /// The name lies outside the key's patterns.
    #[error("this key does not reach secrets of that name")]
    OutsideScope,
    /// A live secret has that name.
    #[error("a secret of that name exists")]
    NameTaken,
    /// The account is full.
    #[error("the account has its limit of {limit} secrets")]
    QuotaExceeded {
        /// Secrets of an account.
        limit: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreFailure),
}

/// Why a secret was not updated.
#[derive(Debug, thiserror::Error)]
pub enum UpdateSecretError {
    /// No such secret for this key.
    #[error("not found")]
    NotFound,
    /// The caller expected another revision.
    #[error("the secret is at revision {}", current.0)]
    RevisionMismatch {
        /// The one it has.
        current: Revision,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreFailure),
}

/// Why a secret was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteSecretError {
    /// No such secret for this key.
    #[error("not found")]
    NotFound,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreFailure),
}

/// Why a key was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateKeyError {
    /// It would allow what the issuing key does not.
    #[error("a key issues only keys whose permissions lie within its own")]
    PermissionsExceed,
    /// It would reach secrets that the issuing key does not surely reach.
    #[error("a key issues only keys whose patterns lie within its own")]
    ScopeExceeds,
    /// The account is full.
    #[error("the account has its limit of {limit} keys")]
    QuotaExceeded {
        /// Keys of an account.
        limit: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreFailure),
}

/// Why a key was not revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevokeKeyError {
    /// No such key, or none that lies within the caller's.
    #[error("not found")]
    NotFound,
    /// It is the account's last admin key that reaches everything and does not expire.
    #[error("this is the account's last admin key")]
    LastAdmin,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreFailure),
}

/// Why a key was not rotated.
#[derive(Debug, thiserror::Error)]
pub enum RotateKeyError {
    /// No such key, or none that lies within the caller's.
    #[error("not found")]
    NotFound,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreFailure),
}

/// Counters since the store was opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreStats {
    /// Durable commits.
    pub commits: u64,
    /// Writes that those commits carried.
    pub writes: u64,
}

/// The store's public keys.
#[derive(Clone, Copy, Debug)]
pub struct InstanceKeys {
    /// Signs evidence.
    pub instance: PublicKey,
    /// Will sign the log's notes.
    pub log: PublicKey,
    /// Will sign receipts.
    pub receipt: PublicKey,
}

/// An open store. Reads take a snapshot and run where they are called (they read the disk, so a
/// long list belongs off the reactor); writes go to one writer, which commits together all that wait.
pub struct Store {}

impl Store {
    /// Looks at what stands at `path`. Reads the whole file once, to check it.
    ///
    /// # Errors
    /// Why what stands there is not a store to open.
    pub fn open(_path: &Path) -> Result<Found, OpenError> {
        todo!()
    }

    /// Makes a store at `path`, complete or not at all.
    ///
    /// # Errors
    /// Why there is none.
    pub fn create(
        _path: &Path,
        _founding: Founding<'_>,
        _limits: StoreLimits,
    ) -> Result<(Self, ClaimAnswer), CreateError> {
        todo!()
    }

    /// The store's id.
    #[must_use]
    pub fn store_id(&self) -> StoreId {
        todo!()
    }

    /// The public keys.
    #[must_use]
    pub fn instance_keys(&self) -> InstanceKeys {
        todo!()
    }

    /// The instance's signature over one batch's REPORT_DATA.
    ///
    /// # Errors
    /// Where OpenSSL fails.
    pub fn sign_evidence(&self, _report_data: &ReportData) -> Result<Signature, StoreFailure> {
        todo!()
    }

    /// Fresh tokens for the owner who claimed, as long as none of the first ones was used.
    ///
    /// # Errors
    /// `AlreadyClaimed` for everyone else, and from then on.
    pub async fn claim_again(&self, _owner: PublicKey) -> Result<ClaimAnswer, ClaimAgainError> {
        todo!()
    }

    /// Who holds this token. The first success of a store's life is made durable before it is
    /// answered, since it ends the owner's right to repeat the claim.
    ///
    /// # Errors
    /// `Unauthorized` says nothing about why.
    pub async fn authenticate(&self, _token: &Token, _now: Timestamp) -> Result<Caller, AuthError> {
        todo!()
    }

    /// One secret's metadata.
    ///
    /// # Errors
    /// `NotFound` also where the key doesn't reach it.
    pub fn secret(&self, _grant: &Grant<Read>, _id: SecretId) -> Result<Secret, ReadError> {
        todo!()
    }

    /// A page of secrets, newest first. A prefix or a narrowed key makes this a scan of the account.
    ///
    /// # Errors
    /// The store's failures.
    pub fn list_secrets(&self, _: &Grant<Read>, _: &Page) -> Result<SecretPage, StoreFailure> {
        todo!()
    }

    /// The keys that lie within the caller's, oldest first.
    ///
    /// # Errors
    /// The store's failures.
    pub fn list_keys(&self, _grant: &Grant<Admin>) -> Result<Vec<ApiKey>, StoreFailure> {
        todo!()
    }

    /// A secret's value: the newest, or the version asked for. Expired ones are as missing.
    ///
    /// # Errors
    /// `NotFound` also for a version no longer kept.
    pub fn secret_value(
        &self,
        _grant: &Grant<Reveal>,
        _id: SecretId,
        _version: Option<Version>,
        _now: Timestamp,
    ) -> Result<SecretValue, ReadError> {
        todo!()
    }

    /// Creates a secret.
    ///
    /// # Errors
    /// See [`CreateSecretError`]; nothing is written then.
    pub async fn create_secret(
        &self,
        _grant: Grant<Write>,
        _new: NewSecret,
        _now: Timestamp,
    ) -> Result<Secret, CreateSecretError> {
        todo!()
    }

    /// Changes a secret, where `expected` is given only from that revision.
    ///
    /// # Errors
    /// See [`UpdateSecretError`]; nothing is written then.
    pub async fn update_secret(
        &self,
        _grant: Grant<Write>,
        _id: SecretId,
        _change: Change,
        _expected: Option<Revision>,
        _now: Timestamp,
    ) -> Result<Secret, UpdateSecretError> {
        todo!()
    }

    /// Deletes a secret with all its versions; its name is free again.
    ///
    /// # Errors
    /// See [`DeleteSecretError`]; nothing is written then.
    pub async fn delete_secret(
        &self,
        _grant: Grant<Admin>,
        _id: SecretId,
    ) -> Result<(), DeleteSecretError> {
        todo!()
    }

    /// Issues a key; its token is shown this once.
    ///
    /// # Errors
    /// See [`CreateKeyError`]; nothing is written then.
    pub async fn create_key(
        &self,
        _grant: Grant<Admin>,
        _new: NewKey,
        _now: Timestamp,
    ) -> Result<(ApiKey, Token), CreateKeyError> {
        todo!()
    }

    /// Revokes a key.
    ///
    /// # Errors
    /// See [`RevokeKeyError`]; nothing is written then.
    pub async fn revoke_key(&self, _grant: Grant<Admin>, _id: KeyId) -> Result<(), RevokeKeyError> {
        todo!()
    }

    /// Gives a key a new token. The old one works for `overlap` longer; one before that dies now.
    ///
    /// # Errors
    /// See [`RotateKeyError`]; nothing is written then.
    pub async fn rotate_key(
        &self,
        _grant: Grant<Admin>,
        _id: KeyId,
        _overlap: Overlap,
        _now: Timestamp,
    ) -> Result<(ApiKey, Token), RotateKeyError> {
        todo!()
    }

    /// Counters since the store was opened.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        todo!()
    }

    /// Ends the writer after the writes that wait, and syncs. Everything answers Unavailable then.
    pub async fn shutdown(&self) {
        todo!()
    }
}

impl ClosedStore {
    /// The store's id.
    #[must_use]
    pub fn store_id(&self) -> StoreId {
        todo!()
    }

    /// Opens the store: asks `derive` for the key of its slot, and after a TCB raise once more for
    /// the key of this boot's TCB. Blocks.
    ///
    /// # Errors
    /// The store as it was, and why it did not open.
    pub fn unseal<E: std::fmt::Display>(
        self,
        _boot: &BootIdentity,
        _derive: impl FnMut(&KeyRequest) -> Result<DerivedKey, E>,
        _limits: StoreLimits,
    ) -> Result<Unsealed, Box<StillSealed<E>>> {
        todo!()
    }
}
