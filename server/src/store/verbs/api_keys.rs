//! API keys and their tokens: who holds one, and the keys' own verbs.

use crate::access::{Admin, Caller, Grant, Token};
use crate::audit::Act;
use crate::model::{ApiKey, KeyId, NewKey, Overlap, Timestamp};
use crate::store::core::Access;
use crate::store::engine::Changes;
use crate::store::record::SYSTEM;
use crate::store::{
    AuthError, ClaimAgainError, ClaimAnswer, CreateKeyError, RevokeKeyError, RotateKeyError, Store,
    StoreFailure, api_keys,
};
use neo_secrets_attestation::ed25519::PublicKey;
use std::sync::atomic::Ordering;

impl Store {
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

    /// The keys that lie within the caller's, oldest first.
    ///
    /// # Errors
    /// The store's failures.
    pub fn list_keys(&self, grant: &Grant<Admin>) -> Result<Vec<ApiKey>, StoreFailure> {
        self.read(|access, snapshot| api_keys::list(access, snapshot, grant))
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
}
