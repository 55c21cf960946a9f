//! The claim: from `Unclaimed` to `Serving`, and its answer once more.

use std::sync::Arc;

use neo_secrets_attestation::ed25519::PublicKey;

use super::{Instance, Phase, Serving};
use crate::model::Label;
use crate::store::{ClaimAgainError, ClaimAnswer, CreateError, Founding, Store, StoreFailure};

/// Why a claim failed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Not in this phase.
    #[error("the instance is neither unclaimed nor serving")]
    NotNow,
    /// By another owner, or one of its keys has been used.
    #[error("the instance is already claimed")]
    AlreadyClaimed,
    /// The store was not made.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreFailure),
    /// The thread that made the store ended in a panic.
    #[error("making the store panicked")]
    Panicked,
}

impl Instance {
    /// Founds the store, or repeats the answer to an owner who has not used it yet. Whoever calls
    /// has verified the owner's signature.
    ///
    /// # Errors
    /// [`ClaimError`]; nothing is left behind.
    pub async fn claim(
        self: Arc<Self>,
        owner: PublicKey,
        account_name: Label,
    ) -> Result<ClaimAnswer, ClaimError> {
        let instance = self.clone();
        let one_at_a_time = self.claiming.clone().lock_owned().await;
        let phase = self.phase();
        match &*phase {
            Phase::Serving(serving) => {
                serving.store.claim_again(owner).await.map_err(|error| match error {
                    ClaimAgainError::AlreadyClaimed => ClaimError::AlreadyClaimed,
                    ClaimAgainError::Store(failure) => ClaimError::Store(failure),
                })
            }
            Phase::Unclaimed(_) => {
                let found = move || {
                    let _until_it_ends = one_at_a_time;
                    instance.found(&phase, owner, account_name)
                };
                let task = tokio::task::spawn_blocking(found);
                task.await.map_err(|_| ClaimError::Panicked)?
            }
            Phase::Starting | Phase::Sealed(_) | Phase::Draining => Err(ClaimError::NotNow),
        }
    }

    fn found(
        &self,
        phase: &Arc<Phase>,
        owner: PublicKey,
        account_name: Label,
    ) -> Result<ClaimAnswer, ClaimError> {
        let Phase::Unclaimed(sealer) = &**phase else { return Err(ClaimError::NotNow) };
        let config = self.identity.attested.clone();
        let clock = self.clock.clone();
        let founding = Founding { owner, config, account_name, sealer, clock };
        let (store, answer) = Store::create(&self.store_place, founding, self.store_limits)?;
        tracing::info!(store = %answer.store_id, "claimed");
        let serving = Arc::new(Phase::Serving(Serving::new(store, sealer.tcb())));
        // A server that began to drain meanwhile keeps draining; the store is whole on disk.
        self.phase.rcu(|now| if Arc::ptr_eq(now, phase) { serving.clone() } else { now.clone() });
        Ok(answer)
    }
}
