//! What the instance can do now, as types: only [`Serving`] holds an open store. Only this module
//! touches the platform.

mod boot;
mod claim;
mod endorsements;
mod held;
mod processor;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use neo_secrets_attestation::binding::{Root, report_data};
use neo_secrets_attestation::config::AttestedConfig;
use neo_secrets_attestation::evidence::{
    BatchBody, ClaimPhase, Claims, ConfigText, ImageVersion, SealedStore,
};
use neo_secrets_attestation::tcb::Tcb;

use crate::clock::Clock;
use crate::data::Data;
use crate::evidence::EvidenceError;
use crate::limits;
use crate::seal::Sealer;
use crate::store::{Place, Store, StoreLimits};

pub use boot::BootError;
pub use claim::ClaimError;
use endorsements::Endorsed;
pub use endorsements::{KeepError, Kept};
use held::Held;
pub use held::{AcceptConfigError, Pending};
pub use processor::{Calls, Processor, ProcessorError, ProcessorState, REPORT_BYTES};

/// The phases. An instance begins in `Starting` and ends in `Draining`.
pub enum Phase {
    /// The secure processor and the store are being looked at.
    Starting,
    /// The store stays closed, and untouched, until the server is started again.
    Sealed(Sealed),
    /// There is no store, and the key to found one is at hand.
    Unclaimed(Box<Sealer>),
    /// The store is open.
    Serving(Arc<Serving>),
    /// The server is ending.
    Draining,
}

/// A closed store.
pub struct Sealed {
    /// Why.
    pub reason: SealedReason,
    /// What can be said of it in the evidence.
    store: Option<SealedStore>,
    /// A store that only waits for its owner to accept the configuration.
    held: Option<Mutex<Option<Held>>>,
}

/// Why a store stays closed: a word for programs and a sentence for people.
#[derive(Debug)]
pub struct SealedReason {
    /// One of the words in OPERATIONS.md.
    pub code: &'static str,
    /// What is wrong, without the server's internals.
    pub text: String,
}

/// An open store.
pub struct Serving {
    /// The store.
    pub store: Store,
    /// The TCB that its key slot is sealed at.
    pub sealed_at: Tcb,
    failed: AtomicBool,
}

/// An instance: its phase and what stays the same in all phases.
pub struct Instance {
    phase: ArcSwap<Phase>,
    processor: Processor,
    endorsed: Endorsed,
    identity: Identity,
    store_place: Place,
    store_limits: StoreLimits,
    clock: Arc<Clock>,
    /// Claims happen one at a time; a claim that goes on without its caller holds it too.
    claiming: Arc<tokio::sync::Mutex<()>>,
}

/// What the claims say in every phase.
pub struct Identity {
    /// SHA-256 of this start's TLS key.
    pub tls_spki_sha256: [u8; 32],
    /// The configuration's exact bytes.
    pub config: ConfigText,
    /// Its attested part.
    pub attested: AttestedConfig,
    /// This build's version.
    pub image_version: ImageVersion,
}

impl Phase {
    /// Every name that [`Phase::name`] gives.
    pub const NAMES: [&str; 5] = ["starting", "sealed", "unclaimed", "serving", "draining"];

    /// The phase in one word: what `/readyz` and the evidence say.
    pub fn name(&self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Sealed(_) => "sealed",
            Phase::Unclaimed(_) => "unclaimed",
            Phase::Serving(_) => "serving",
            Phase::Draining => "draining",
        }
    }

    fn claims(&self) -> Option<ClaimPhase> {
        match self {
            Phase::Starting | Phase::Draining => None,
            Phase::Sealed(sealed) => Some(ClaimPhase::Sealed(sealed.store.clone())),
            Phase::Unclaimed(_) => Some(ClaimPhase::Unclaimed),
            Phase::Serving(serving) => {
                let keys = serving.store.instance_keys();
                Some(ClaimPhase::Serving {
                    store_id: serving.store.store_id(),
                    instance_key: keys.instance,
                    log_key: keys.log,
                    receipt_key: keys.receipt,
                })
            }
        }
    }

    fn sealed(code: &'static str, text: impl Into<String>) -> Self {
        Sealed::phase(SealedReason { code, text: text.into() }, None)
    }
}

impl Sealed {
    fn phase(reason: SealedReason, store: Option<SealedStore>) -> Phase {
        Phase::Sealed(Sealed { reason, store, held: None })
    }
}

impl Serving {
    fn new(store: Store, sealed_at: Tcb) -> Arc<Self> {
        Arc::new(Serving { store, sealed_at, failed: AtomicBool::new(false) })
    }

    /// Notes that the store answered "unavailable": it does so until it is opened again.
    pub fn note_failure(&self) {
        if !self.failed.swap(true, Ordering::Relaxed) {
            tracing::error!(
                "the store has failed and stays unavailable until the server is restarted"
            );
        }
    }

    /// Whether the store has failed.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

impl Instance {
    /// An instance in phase `Starting`, with store and endorsements in `data`.
    pub fn new(
        processor: Processor,
        identity: Identity,
        data: Data,
        store_limits: StoreLimits,
        clock: Clock,
    ) -> Self {
        Instance {
            phase: ArcSwap::from_pointee(Phase::Starting),
            processor,
            store_place: data.store(),
            endorsed: Endorsed::new(data),
            identity,
            store_limits,
            clock: Arc::new(clock),
            claiming: Arc::default(),
        }
    }

    /// The phase at this moment.
    pub fn phase(&self) -> Arc<Phase> {
        self.phase.load_full()
    }

    /// The time.
    pub fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// How the secure processor fares.
    pub fn processor_state(&self) -> ProcessorState {
        self.processor.state()
    }

    /// What the secure processor was asked.
    pub fn processor_calls(&self) -> [&Calls; 2] {
        self.processor.calls()
    }

    /// A batch's evidence over `root`. Blocks.
    ///
    /// # Errors
    /// [`EvidenceError`]
    pub fn attest(&self, root: &Root) -> Result<BatchBody, EvidenceError> {
        let phase = self.phase();
        let Identity { tls_spki_sha256, config, attested: _, image_version } = &self.identity;
        let claims = Claims {
            tls_spki_sha256: *tls_spki_sha256,
            config: config.clone(),
            image_version: image_version.clone(),
            phase: phase.claims().ok_or(EvidenceError::NotNow)?,
        };
        let report_data = report_data(&claims, root);
        let refuse = |error| match error {
            ProcessorError::Busy => EvidenceError::Late,
            _ => EvidenceError::NotNow,
        };
        // First, so that certificates that are sent are compared with a report as they are now.
        let patience = Some(limits::REPORT_PATIENCE);
        let report = self.processor.report(&report_data.0, patience).map_err(refuse)?;
        let certificates = self.endorsed.current(&self.processor);
        let certificates = certificates.map_err(|_| EvidenceError::NoCertificates)?;
        let signature = match &*phase {
            Phase::Serving(serving) => {
                let signature = serving.store.sign_evidence(&report_data);
                Some(signature.map_err(|_| EvidenceError::NotNow)?)
            }
            Phase::Starting | Phase::Sealed(_) | Phase::Unclaimed(_) | Phase::Draining => None,
        };
        Ok(BatchBody::new(&report, &certificates, &claims, signature.as_ref()))
    }

    /// Ends every phase: new calls are refused, waits for the processor end. Gives back the open
    /// store, for its end.
    pub fn drain(&self) -> Option<Arc<Serving>> {
        self.processor.stop();
        match &*self.phase.swap(Arc::new(Phase::Draining)) {
            Phase::Serving(serving) => Some(serving.clone()),
            Phase::Starting | Phase::Sealed(_) | Phase::Unclaimed(_) | Phase::Draining => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
