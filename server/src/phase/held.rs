//! A store that only waits for its owner to accept the configuration: from `Sealed` to `Serving`.

use std::sync::{Arc, Mutex, PoisonError};

use neo_secrets_attestation::config::AttestedConfig;
use neo_secrets_attestation::ed25519::Signature;
use neo_secrets_attestation::evidence::{SealedStore, StoreId};
use neo_secrets_attestation::tcb::Tcb;

use super::{Identity, Instance, Phase, Sealed, SealedReason, Serving};
use crate::audit::Origin;
use crate::store::{AcceptError, Acceptance, HeldStore};

/// What there is for the owner to accept.
pub struct Pending {
    /// The store.
    pub store_id: StoreId,
    /// The number of the owner's next act.
    pub number: u64,
    /// What the owner has accepted before.
    pub accepted: AttestedConfig,
    /// The keys in which this start's configuration differs.
    pub differing: Vec<&'static str>,
}

/// Why a configuration was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AcceptConfigError {
    /// Not in this phase.
    #[error("no configuration waits to be accepted")]
    NotNow,
    /// The store says no.
    #[error(transparent)]
    Refused(#[from] AcceptError),
    /// The thread that did it ended in a panic.
    #[error("accepting the configuration panicked")]
    Panicked,
}

/// A store whose key is at hand.
pub(super) struct Held {
    store: Box<HeldStore>,
    sealed_at: Tcb,
}

impl Sealed {
    pub(super) fn hold(store: Box<HeldStore>, sealed_at: Tcb, differing: &[&str]) -> Phase {
        let text = format!(
            "the configuration differs from the one that the owner has accepted, in {}; its owner \
             may accept it: neo-secrets accept-config",
            differing.join(", ")
        );
        let shown =
            SealedStore { store_id: store.store_id(), instance_key: Some(store.instance_key()) };
        Phase::Sealed(Sealed {
            reason: SealedReason { code: "config-changed", text },
            store: Some(shown),
            held: Some(Mutex::new(Some(Held { store, sealed_at }))),
        })
    }
}

impl Instance {
    /// What there is for the owner to accept, where the configuration has changed.
    pub fn pending(&self) -> Option<Pending> {
        let phase = self.phase();
        let Phase::Sealed(Sealed { held: Some(held), .. }) = &*phase else { return None };
        let held = held.lock().unwrap_or_else(PoisonError::into_inner);
        let store = &held.as_ref()?.store;
        Some(Pending {
            store_id: store.store_id(),
            number: store.next_act(),
            accepted: store.accepted().clone(),
            differing: store.accepted().differing(&self.identity.attested),
        })
    }

    /// Opens the store where its owner accepts this start's configuration.
    ///
    /// # Errors
    /// [`AcceptConfigError`]; the store stays closed.
    pub async fn accept_config(
        self: Arc<Self>,
        number: u64,
        signature: Signature,
        origin: Origin,
    ) -> Result<(), AcceptConfigError> {
        let task = tokio::task::spawn_blocking(move || self.accept(number, &signature, origin));
        task.await.map_err(|_| AcceptConfigError::Panicked)?
    }

    fn accept(
        &self,
        number: u64,
        signature: &Signature,
        origin: Origin,
    ) -> Result<(), AcceptConfigError> {
        let phase = self.phase();
        let Phase::Sealed(Sealed { held: Some(held), .. }) = &*phase else {
            return Err(AcceptConfigError::NotNow);
        };
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        let Held { store, sealed_at } = held.take().ok_or(AcceptConfigError::NotNow)?;
        let Identity { config: text, attested: config, .. } = &self.identity;
        match store.accept(&Acceptance { number, signature, text, config, origin }) {
            Ok(store) => {
                tracing::info!("the owner has accepted the configuration");
                let serving = Arc::new(Phase::Serving(Serving::new(store, sealed_at)));
                // A server that began to drain meanwhile keeps draining; what was accepted stays.
                self.phase.rcu(|now| {
                    if Arc::ptr_eq(now, &phase) { serving.clone() } else { now.clone() }
                });
                Ok(())
            }
            Err((store, error)) => {
                *held = store.map(|store| Held { store, sealed_at });
                Err(error.into())
            }
        }
    }
}
