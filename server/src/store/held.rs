//! A store whose root key is at hand, and which stays closed all the same: the configuration of this
//! start is not the one that its owner has accepted (STORE.md §6.1).

use crate::store::Store;
use crate::store::body::{OwnerBody, OwnerKey, SealedConfig};
use crate::store::core::Core;
use crate::store::engine::{Changes, Commit, Engine};
use crate::store::error::StoreFailure;
use crate::store::record::Address;
use crate::store::writer::Writer;
use neo_secrets_attestation::binding::configuration_message;
use neo_secrets_attestation::config::AttestedConfig;
use neo_secrets_attestation::ed25519::{PublicKey, Signature};
use neo_secrets_attestation::evidence::{ConfigText, StoreId};

/// The store. No record of it can be read.
pub struct HeldStore {
    engine: Engine,
    core: Core,
    owner: OwnerBody,
}

/// What the owner sends.
pub struct Acceptance<'a> {
    /// Which of the owner's acts it is.
    pub number: u64,
    /// Over store, number and configuration.
    pub signature: &'a Signature,
    /// The configuration of this start.
    pub text: &'a ConfigText,
    /// Its attested part.
    pub config: &'a AttestedConfig,
}

/// Why the store stays held.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// Not the owner's next act.
    #[error("the owner's next act has the number {next}")]
    Number {
        /// The next one's.
        next: u64,
    },
    /// Not signed by the owner over this store, number and configuration.
    #[error("the signature is not the owner's over this store, number and configuration")]
    Signature,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreFailure),
}

impl HeldStore {
    pub(super) fn new(engine: Engine, core: Core, owner: OwnerBody) -> Self {
        Self { engine, core, owner }
    }

    /// The store's id.
    #[must_use]
    pub fn store_id(&self) -> StoreId {
        self.core.header.store_id
    }

    /// The instance key's public half.
    #[must_use]
    pub fn instance_key(&self) -> PublicKey {
        self.core.signing.instance.public()
    }

    /// The configuration that the owner has accepted.
    #[must_use]
    pub fn accepted(&self) -> &AttestedConfig {
        &self.owner.config.0
    }

    /// The number of the owner's next act.
    #[must_use]
    pub fn next_act(&self) -> u64 {
        self.owner.acts.saturating_add(1)
    }

    /// Opens the store where its owner accepts this start's configuration, which is sealed into it
    /// first. Blocks.
    ///
    /// # Errors
    /// [`AcceptError`]; the store as it was, unless it failed.
    pub fn accept(
        self,
        acceptance: &Acceptance<'_>,
    ) -> Result<Store, (Option<Box<Self>>, AcceptError)> {
        let Acceptance { number, signature, text, config } = acceptance;
        let next = self.next_act();
        if *number != next {
            return Err((Some(Box::new(self)), AcceptError::Number { next }));
        }
        let OwnerKey(owner) = self.owner.public_key;
        let message = configuration_message(&self.store_id(), next, text);
        if owner.verify(&message, signature).is_err() {
            return Err((Some(Box::new(self)), AcceptError::Signature));
        }
        let Self { engine, core, owner } = self;
        let owner = OwnerBody { config: SealedConfig((*config).clone()), acts: next, ..owner };
        let failed = |failure: StoreFailure| (None, failure.into());
        put(&engine, &core, &owner).map_err(failed)?;
        let writer = Writer::start(engine, core)
            .map_err(|failed| (None, failed.1))
            .map_err(|(held, error)| (held, StoreFailure::from(error).into()))?;
        Ok(Store { writer })
    }
}

fn put(engine: &Engine, core: &Core, owner: &OwnerBody) -> Result<(), StoreFailure> {
    let mut changes = Changes::default();
    let snapshot = engine.snapshot()?;
    core.access(&snapshot).put(&mut changes, core.system(), &Address::owner(), owner)?;
    Ok(engine.write(|batch| Ok((batch.apply(&changes)?, Commit::Yes)))?)
}
