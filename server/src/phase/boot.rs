//! A start: from `Starting` to the phase that machine and store allow.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use neo_secrets_attestation::ed25519::PublicKey;
use neo_secrets_attestation::endorsements::Endorsements;
use neo_secrets_attestation::evidence::SealedStore;
use neo_secrets_attestation::product::Product;
use neo_secrets_attestation::report::Report;
use openssl::nid::Nid;
use openssl::x509::X509;

use super::{Instance, Phase, ProcessorError, Sealed, SealedReason, Serving};
use crate::disk::LookError;
use crate::seal::{BootIdentity, UnsealError};
use crate::store::{ClosedStore, Found, OpenError, Opening, Place, Rewrap, Store};

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

impl Instance {
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
