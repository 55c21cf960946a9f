//! The certificates and the CRL that go with the evidence (SPEC.md §6.2): what is kept in the data
//! folder, else what the host handed over. Anybody may send others; only what verifies is kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use data_encoding::BASE64;
use neo_secrets_attestation::endorsements::Endorsements;
use neo_secrets_attestation::error::VerifyError;
use neo_secrets_attestation::time::UnixTime;
use neo_secrets_attestation::verify::{
    CrlRule, CspIdRule, Rules, VerifiedCrl, verify_crl, verify_report,
};

use super::{Instance, Processor};
use crate::data::Data;
use crate::disk::Kept as File;

/// What log and errors call the kept chain and the kept CRL.
const CHAIN: &str = "certificates.pem";
const CRL: &str = "crl.der";

/// What an instance keeps to go with its evidence.
pub struct Endorsed {
    data: Data,
    /// Uploads are verified one at a time; one that goes on without its sender holds it too.
    keeping: Arc<tokio::sync::Mutex<()>>,
    missing: AtomicBool,
}

/// What became of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is on the disk.
    Now,
    /// It was there before; nothing was written.
    Already,
}

/// Why an upload is not kept. What was there before still is.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// This start has made no report that it could be compared with.
    #[error("there is no report yet")]
    NoReport,
    /// It does not verify.
    #[error(transparent)]
    Refused(#[from] VerifyError),
    /// A CRL, and no chain whose root could have signed it.
    #[error("there are no certificates yet")]
    NoCertificates,
    /// A CRL that is not newer than the kept one.
    #[error("the kept CRL is of {held}")]
    NotNewer {
        /// Its `thisUpdate`.
        held: UnixTime,
    },
    /// The disk failed.
    #[error("{0}")]
    Disk(#[from] std::io::Error),
    /// The thread that verified ended in a panic.
    #[error("the verification panicked")]
    Panicked,
}

/// Why there are no endorsements.
#[derive(Debug, thiserror::Error)]
pub enum EndorsementsMissing {
    /// Nobody has put any here, and the host has handed over none.
    #[error("{CHAIN} is missing")]
    Nothing,
    /// A file is not as it must be.
    #[error("{file}: {cause}")]
    File {
        /// Its name.
        file: &'static str,
        /// What is wrong with it.
        cause: String,
    },
}

impl Endorsed {
    /// Kept there.
    pub fn new(data: Data) -> Self {
        Endorsed { data, keeping: Arc::default(), missing: AtomicBool::new(false) }
    }

    /// What goes with a report now. The files are read anew: whoever manages the machine may
    /// replace them.
    ///
    /// # Errors
    /// [`EndorsementsMissing`]; the log has been told, once until they are there again.
    pub fn current(&self, processor: &Processor) -> Result<Endorsements, EndorsementsMissing> {
        let current = self.read(processor);
        match &current {
            Ok(_) => self.missing.store(false, Ordering::Relaxed),
            Err(reason) => {
                if !self.missing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%reason, "no evidence: the chip's certificates are missing");
                }
            }
        }
        current
    }

    fn read(&self, processor: &Processor) -> Result<Endorsements, EndorsementsMissing> {
        let given = processor.given_endorsements();
        let given_crl = given.as_ref().and_then(|given| given.crl.clone());
        let chain = self.chain()?.or(given).ok_or(EndorsementsMissing::Nothing)?;
        Ok(Endorsements { crl: self.crl()?.or(given_crl), ..chain })
    }

    /// What [`Self::read`] gives, but what is of no use is as good as absent: it must not keep
    /// anybody from bringing something better.
    fn usable(&self, processor: &Processor) -> (Option<Endorsements>, Option<Vec<u8>>) {
        let given = processor.given_endorsements();
        let given_crl = given.as_ref().and_then(|given| given.crl.clone());
        let (chain, crl) = (self.chain().ok().flatten(), self.crl().ok().flatten());
        let chain = chain.or(given).map(|chain| Endorsements { crl: None, ..chain });
        (chain, crl.or(given_crl))
    }

    fn chain(&self) -> Result<Option<Endorsements>, EndorsementsMissing> {
        let bytes = self.data.kept(File::Chain).map_err(|error| unfit(CHAIN, &error))?;
        let chain = bytes.map(|bytes| Endorsements::from_files(&[&bytes])).transpose();
        chain.map_err(|error| unfit(CHAIN, &error))
    }

    fn crl(&self) -> Result<Option<Vec<u8>>, EndorsementsMissing> {
        self.data.kept(File::Crl).map_err(|error| unfit(CRL, &error))
    }

    fn keep_chain(
        &self,
        processor: &Processor,
        chain: &Endorsements,
        now: UnixTime,
    ) -> Result<Kept, KeepError> {
        let report = processor.last_report().ok_or(KeepError::NoReport)?;
        let roots = processor.roots();
        let (held, held_crl) = self.usable(processor);
        let crl = held_crl.filter(|crl| verify_crl(crl, &chain.ark, &roots, now).is_ok());
        let rules = Rules { roots, crl: CrlRule::MayBeAbsent, csp_ids: CspIdRule::Any };
        let Endorsements { vek, ask, ark, crl: _ } = chain.clone();
        verify_report(&report, &Endorsements { vek, ask, ark, crl }, &rules, now)?;
        if held.as_ref() == Some(chain) {
            return Ok(Kept::Already);
        }
        let pem = [&chain.vek, &chain.ask, &chain.ark].map(|certificate| pem(certificate));
        self.data.keep(File::Chain, pem.concat().as_bytes())?;
        tracing::info!("other certificates are kept for the evidence");
        Ok(Kept::Now)
    }

    fn keep_crl(
        &self,
        processor: &Processor,
        der: &[u8],
        now: UnixTime,
    ) -> Result<(VerifiedCrl, Kept), KeepError> {
        let (chain, held) = self.usable(processor);
        let (ark, roots) = (chain.ok_or(KeepError::NoCertificates)?.ark, processor.roots());
        let crl = verify_crl(der, &ark, &roots, now)?;
        if held.as_deref() == Some(der) {
            return Ok((crl, Kept::Already));
        }
        // One that is not genuine, or of the future, must not stand in the way.
        if let Some(Ok(held)) = held.map(|held| verify_crl(&held, &ark, &roots, now))
            && crl.this_update() <= held.this_update()
        {
            return Err(KeepError::NotNewer { held: held.this_update() });
        }
        self.data.keep(File::Crl, der)?;
        tracing::info!("a newer CRL is kept for the evidence");
        Ok((crl, Kept::Now))
    }
}

fn unfit(file: &'static str, cause: &dyn std::fmt::Display) -> EndorsementsMissing {
    EndorsementsMissing::File { file, cause: cause.to_string() }
}

/// RFC 7468: lines of 64 characters.
fn pem(der: &[u8]) -> String {
    let lines = der.chunks(48).map(|line| BASE64.encode(line) + "\n").collect::<String>();
    format!("-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n")
}

impl Instance {
    /// Keeps this chain (its CRL plays no part) if it certifies this machine's reports.
    ///
    /// # Errors
    /// [`KeepError`]
    pub async fn keep_chain(
        self: Arc<Self>,
        chain: Endorsements,
        now: UnixTime,
    ) -> Result<Kept, KeepError> {
        self.one_at_a_time(move |instance| {
            instance.endorsed.keep_chain(&instance.processor, &chain, now)
        })
        .await
    }

    /// Keeps this CRL if it is newer.
    ///
    /// # Errors
    /// [`KeepError`]
    pub async fn keep_crl(
        self: Arc<Self>,
        der: Vec<u8>,
        now: UnixTime,
    ) -> Result<(VerifiedCrl, Kept), KeepError> {
        self.one_at_a_time(move |instance| {
            instance.endorsed.keep_crl(&instance.processor, &der, now)
        })
        .await
    }

    /// The last report of this start, raw, where there is one.
    pub fn last_report(&self) -> Option<[u8; super::REPORT_BYTES]> {
        self.processor.last_report()
    }

    async fn one_at_a_time<T: Send + 'static>(
        self: Arc<Self>,
        keep: impl FnOnce(&Self) -> Result<T, KeepError> + Send + 'static,
    ) -> Result<T, KeepError> {
        let only_this = self.endorsed.keeping.clone().lock_owned().await;
        let task = tokio::task::spawn_blocking(move || {
            let _until_it_ends = only_this;
            keep(&self)
        });
        task.await.map_err(|_| KeepError::Panicked)?
    }
}
