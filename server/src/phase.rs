//! What the instance can do now, as types: only [`Serving`] holds an open store. Only this module
//! touches the platform.

mod endorsements;
mod processor;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use neo_secrets_attestation::binding::{Root, report_data};
use neo_secrets_attestation::config::AttestedConfig;
use neo_secrets_attestation::ed25519::{PublicKey, Signature};
use neo_secrets_attestation::endorsements::Endorsements;
use neo_secrets_attestation::evidence::{
    BatchBody, ClaimPhase, Claims, ConfigText, ImageVersion, SealedStore, StoreId,
};
use neo_secrets_attestation::product::Product;
use neo_secrets_attestation::report::Report;
use neo_secrets_attestation::tcb::Tcb;
use openssl::nid::Nid;
use openssl::x509::X509;

use crate::audit::Origin;
use crate::clock::Clock;
use crate::data::Data;
use crate::disk::LookError;
use crate::evidence::EvidenceError;
use crate::limits;
use crate::model::Label;
use crate::seal::{BootIdentity, Sealer, UnsealError};
use crate::store::{
    AcceptError, Acceptance, ClaimAgainError, ClaimAnswer, ClosedStore, CreateError, Found,
    Founding, HeldStore, OpenError, Opening, Place, Rewrap, Store, StoreFailure, StoreLimits,
};

use endorsements::Endorsed;
pub use endorsements::{KeepError, Kept};
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

/// A store whose key is at hand.
struct Held {
    store: Box<HeldStore>,
    sealed_at: Tcb,
}

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

/// Why the server does not start; in every other case it serves a phase.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// Another process has the store: it must not be touched.
    #[error("the store {path} is in use by another process")]
    StoreInUse {
        /// The file.
        path: String,
    },
    /// The file cannot be read at all.
    #[error("the store {path} could not be read: {error}")]
    StoreUnreadable {
        /// The file.
        path: String,
        /// As the system says.
        error: std::io::Error,
    },
    /// Key requests could not be given up.
    #[error("the system call filter could not be put on: {0}")]
    Filter(std::io::Error),
}

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

    fn hold(store: Box<HeldStore>, sealed_at: Tcb, differing: &[&str]) -> Phase {
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

    /// Goes from `Starting` to the phase that machine and store allow. Blocks, for as long as the
    /// secure processor is busy.
    ///
    /// # Errors
    /// Only where the server must not run at all.
    pub fn boot(&self) -> Result<(), BootError> {
        let found = std::panic::catch_unwind(AssertUnwindSafe(|| Store::open(&self.store_place)));
        let phase = match found {
            Ok(Ok(found)) => std::panic::catch_unwind(AssertUnwindSafe(|| self.unseal(found)))
                .unwrap_or_else(|_| damaged("opening it ended in a panic")),
            Ok(Err(error)) => self.closed(error)?,
            Err(_) => damaged("looking at it ended in a panic"),
        };
        if let Phase::Sealed(Sealed { reason, .. }) = &phase {
            tracing::error!(code = reason.code, reason = %reason.text, "the store stays sealed");
        }
        // What follows needs no more keys. Until here nobody was answered but by /healthz and /readyz.
        self.processor.only_reports().map_err(BootError::Filter)?;
        let next = Arc::new(phase);
        // A server that began to drain meanwhile keeps draining.
        let before = self.phase.rcu(|now| match **now {
            Phase::Starting => next.clone(),
            _ => now.clone(),
        });
        if matches!(*before, Phase::Starting) {
            tracing::info!(phase = next.name(), "ready to answer");
        }
        Ok(())
    }

    fn closed(&self, error: OpenError) -> Result<Phase, BootError> {
        let path = || match &self.store_place {
            Place::File(path) => path.display().to_string(),
            Place::Disk(disk) => disk.path().display().to_string(),
        };
        match error {
            OpenError::Locked => Err(BootError::StoreInUse { path: path() }),
            // A start's folder is whoever's starts it; an appliance's disk is the host's, and the
            // appliance says what is wrong with it.
            OpenError::Io(error) => match &self.store_place {
                Place::File(_) => Err(BootError::StoreUnreadable { path: path(), error }),
                Place::Disk(_) => Ok(Phase::sealed("store-unreadable", error.to_string())),
            },
            OpenError::Disk(error) => Ok(unfit_disk(&error)),
            OpenError::Foreign => {
                Ok(Phase::sealed("store-foreign", OpenError::Foreign.to_string()))
            }
            error @ OpenError::NewerFormat { .. } => {
                Ok(Phase::sealed("store-newer", error.to_string()))
            }
            OpenError::Damaged(cause) => Ok(damaged(&cause)),
        }
    }

    fn unseal(&self, found: Found) -> Phase {
        let boot = match self.boot_identity() {
            Ok(boot) => boot,
            Err(reason) => return Sealed::phase(reason, store_of(&found, None)),
        };
        match found {
            Found::Nothing => match self.processor.derive_key(&boot.seal_request()) {
                Ok(key) => Phase::Unclaimed(Box::new(boot.sealer(key))),
                Err(error) => Phase::sealed("processor", error.to_string()),
            },
            Found::Closed(store) => self.open_store(store, &boot),
        }
    }

    fn open_store(&self, store: ClosedStore, boot: &BootIdentity) -> Phase {
        let derive = |request: &_| self.processor.derive_key(request);
        let (limits, config) = (self.store_limits, &self.identity.attested);
        match store.unseal(boot, derive, limits, config, &self.clock) {
            Ok(unsealed) => {
                match unsealed.rewrap {
                    Rewrap::NotNeeded => {}
                    Rewrap::Done => tracing::info!("the key slot was moved to this start's TCB"),
                    Rewrap::Failed(reason) => {
                        tracing::warn!(%reason, "the key slot keeps an older TCB");
                    }
                }
                match unsealed.store {
                    Opening::Open(store) => Phase::Serving(Serving::new(store, unsealed.sealed_at)),
                    Opening::Held(store) => {
                        let differing = store.accepted().differing(&self.identity.attested);
                        Sealed::hold(store, unsealed.sealed_at, &differing)
                    }
                }
            }
            Err(still) => {
                let code = match still.error {
                    UnsealError::Derive(_) => "processor",
                    UnsealError::Key { .. } => "other-machine",
                    UnsealError::TcbAboveFirmware { .. } => "firmware-too-old",
                    UnsealError::Table(_)
                    | UnsealError::TcbReserved { .. }
                    | UnsealError::TcbBelowFloor { .. }
                    | UnsealError::TableForged
                    | UnsealError::Store(_) => "store-damaged",
                };
                let reason = SealedReason { code, text: still.error.to_string() };
                let store = sealed_store(&still.store, still.instance_key);
                Sealed::phase(reason, store)
            }
        }
    }

    /// This start's report: what the store is sealed to.
    fn boot_identity(&self) -> Result<BootIdentity, SealedReason> {
        let failed =
            |error: ProcessorError| SealedReason { code: "processor", text: error.to_string() };
        let unfit = |text: String| SealedReason { code: "machine-unfit", text };
        let report = self.processor.report(&[0; 64], None).map_err(failed)?;
        let report =
            Report::try_from(report.as_slice()).map_err(|error| unfit(error.to_string()))?;
        // A report of version 2 names no processor; the chip's certificates do.
        let certified = || root_product(&self.endorsed.current(&self.processor).ok()?);
        let named = report.cpuid.and_then(Product::from_cpuid);
        let product = named
            .or_else(certified)
            .ok_or_else(|| unfit("neither report nor certificates name a known product".into()))?;
        BootIdentity::from_report(&report, product).map_err(|error| unfit(error.to_string()))
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

fn damaged(cause: &str) -> Phase {
    tracing::error!(%cause, "the store is damaged");
    Phase::sealed("store-damaged", "the store's file was cut or changed from outside")
}

fn unfit_disk(error: &LookError) -> Phase {
    let code = match error {
        LookError::TooSmall { .. } | LookError::Foreign { .. } => "store-foreign",
        LookError::Newer { .. } => "store-newer",
        LookError::Truncated { .. } => "store-truncated",
        LookError::Header => "store-damaged",
        LookError::Io(_) => "store-unreadable",
    };
    Phase::sealed(code, error.to_string())
}

fn store_of(found: &Found, instance_key: Option<PublicKey>) -> Option<SealedStore> {
    match found {
        Found::Nothing => None,
        Found::Closed(store) => sealed_store(store, instance_key),
    }
}

fn sealed_store(store: &ClosedStore, instance_key: Option<PublicKey>) -> Option<SealedStore> {
    Some(SealedStore { store_id: store.store_id(), instance_key })
}

/// The product that the root's common name says (`ARK-Milan`).
fn root_product(certificates: &Endorsements) -> Option<Product> {
    let root = X509::from_der(&certificates.ark).ok()?;
    let name =
        root.subject_name().entries_by_nid(Nid::COMMONNAME).next()?.data().to_string().ok()?;
    name.strip_prefix("ARK-")?.parse().ok()
}

#[cfg(test)]
pub(crate) mod tests;
