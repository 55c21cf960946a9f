//! A store whose root key is at hand, and which stays closed all the same: the configuration of this
//! start is not the one that its owner has accepted (STORE.md §6.1).

use crate::audit::{Act, Action, Event, Object, Origin, OwnerKeyPair};
use crate::model::{ContentHash, Timestamp};
use crate::store::Store;
use crate::store::audit::{self, Pending};
use crate::store::body::{OwnerBody, OwnerKey, SealedConfig};
use crate::store::core::{Access, Core};
use crate::store::engine::{Changes, Commit, Engine};
use crate::store::error::StoreFailure;
use crate::store::record::{Address, SYSTEM};
use crate::store::writer::Writer;
use neo_secrets_attestation::binding::{clock_message, configuration_message};
use neo_secrets_attestation::config::AttestedConfig;
use neo_secrets_attestation::ed25519::{PublicKey, Signature};
use neo_secrets_attestation::evidence::{ConfigText, StoreId};
use neo_secrets_attestation::time::UnixTime;
use sha2::{Digest, Sha256};

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
    /// Where it comes from.
    pub origin: Origin,
}

/// Why an act is not the owner's.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// Not the owner's next act.
    #[error("the owner's next act has the number {next}")]
    Number {
        /// The next one's.
        next: u64,
    },
    /// Not signed by the owner over this store, this number, and what is to be accepted.
    #[error("the signature is not the owner's over this store, number and content")]
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
        let Acceptance { number, signature, text, config, origin } = acceptance;
        let message = configuration_message(&self.store_id(), *number, text);
        if let Err(error) = check(&self.owner, *number, signature, &message) {
            return Err((Some(Box::new(self)), error));
        }
        let number = *number;
        let Self { engine, core, owner } = self;
        let owner = OwnerBody { config: SealedConfig((*config).clone()), acts: number, ..owner };
        let text_sha256 = ContentHash(Sha256::digest(text.as_str()).into());
        let object = Object::Configuration { number, text_sha256 };
        let act = Act { by: OwnerKeyPair, origin: origin.clone(), now: core.clock.now() };
        let event = act.event(Action::ConfigurationAccept, object);
        let failed = |failure: StoreFailure| (None, failure.into());
        put(&engine, &core, &owner, event).map_err(failed)?;
        let writer = Writer::start(engine, core)
            .map_err(|failed| (None, failed.1))
            .map_err(|(held, error)| (held, StoreFailure::from(error).into()))?;
        Ok(Store { writer })
    }
}

/// Whether this is the owner's next act, and signed.
fn check(
    owner: &OwnerBody,
    number: u64,
    signature: &Signature,
    message: &[u8],
) -> Result<(), AcceptError> {
    let next = owner.acts.saturating_add(1);
    if number != next {
        return Err(AcceptError::Number { next });
    }
    let OwnerKey(key) = owner.public_key;
    key.verify(message, signature).map_err(|_| AcceptError::Signature)
}

fn put(engine: &Engine, core: &Core, owner: &OwnerBody, event: Event) -> Result<(), StoreFailure> {
    let (mut changes, mut events) = (Changes::default(), Pending::default());
    let snapshot = engine.snapshot()?;
    let access = core.access(&snapshot);
    access.put(&mut changes, core.system(), &Address::owner(), owner)?;
    events.admit(&access, (SYSTEM, event))?;
    events.put(&access, &mut changes)?;
    Ok(engine.write(|batch| Ok((batch.apply(&changes)?, Commit::Yes)))?)
}

/// The owner's word on the time.
pub struct ClockSetting {
    /// Which of the owner's acts it is.
    pub number: u64,
    /// The time, in whole seconds.
    pub time: Timestamp,
    /// Over store, number and time.
    pub signature: Signature,
    /// Where it comes from.
    pub origin: Origin,
}

/// Sets the time, which the commit seals.
pub(super) fn set_clock(
    access: &Access<'_>,
    changes: &mut Changes,
    setting: ClockSetting,
) -> Result<(), AcceptError> {
    let ClockSetting { number, time, signature, origin } = setting;
    let core = access.core;
    let owner = access.get(core.system(), &Address::owner())?;
    // A text of a time has none that is later than the last.
    let unix = UnixTime::from_seconds(time.unix_seconds()).unwrap_or(UnixTime::MAX);
    let message = clock_message(&core.header.store_id, number, unix);
    check(&owner, number, &signature, &message)?;
    let owner = OwnerBody { acts: number, ..owner };
    access.put(changes, core.system(), &Address::owner(), &owner)?;
    let act = Act { by: OwnerKeyPair, origin, now: core.clock.now() };
    audit::note(changes, &act, Action::ClockSet, Object::Clock { number, time });
    changes.sets_clock = Some(time);
    Ok(())
}

/// The number of the owner's next act.
pub(super) fn next_act(access: &Access<'_>) -> Result<u64, StoreFailure> {
    let owner = access.get(access.core.system(), &Address::owner())?;
    Ok(owner.acts.saturating_add(1))
}
