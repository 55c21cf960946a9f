//! The secure processor, as the server sees it: raw firmware messages in, raw firmware messages
//! out.
//!
//! The framing of the answers is parsed in one place for every platform, so the simulated and the
//! real one run the same code above this line.

pub mod snp;

use std::io;
use std::time::SystemTime;

pub use neo_secrets_attestation::endorsements::Endorsements;
use neo_secrets_attestation::roots::Roots;
use zeroize::Zeroizing;

/// Bytes of a MSG_KEY_REQ as the guest device takes it.
pub const KEY_REQUEST_BYTES: usize = 32;
/// Bytes of a MSG_KEY_RSP: status (4), reserved (28), key (32).
pub const KEY_RESPONSE_BYTES: usize = 64;
/// Bytes of a MSG_REPORT_RSP as the guest device returns it: status (4), size (4), reserved (24),
/// report (1184), padding.
pub const REPORT_RESPONSE_BYTES: usize = 4000;

/// One machine's secure processor. Calls block; the caller keeps them off the reactor.
pub trait Platform: Send + Sync + 'static {
    /// Sends MSG_REPORT_REQ for VMPL 0 with this REPORT_DATA and returns the raw answer.
    ///
    /// # Errors
    /// `Busy` may be tried again; every other error is final until the machine restarts.
    fn report(&self, report_data: &[u8; 64]) -> Result<[u8; REPORT_RESPONSE_BYTES], PlatformError>;

    /// Sends this MSG_KEY_REQ and returns the raw answer, wiped when dropped.
    ///
    /// # Errors
    /// As [`Platform::report`]. A refusal by the firmware may also be an `Ok` whose status is not
    /// zero.
    fn derive_key(
        &self,
        request: &[u8; KEY_REQUEST_BYTES],
    ) -> Result<Zeroizing<[u8; KEY_RESPONSE_BYTES]>, PlatformError>;

    /// The certificates, and the CRL, that the host hands over with the machine, unverified. Those
    /// that are kept go before them.
    fn endorsements(&self) -> Option<Endorsements>;

    /// Gives up for the whole process what is needed no more once the keys are made: from here on
    /// reports are all that the processor is asked for.
    ///
    /// # Errors
    /// Where that can't be given up.
    fn only_reports(&self) -> io::Result<()>;

    /// What the machine's clock says, which its host sets.
    fn time(&self) -> SystemTime;

    /// Whose reports this kind of machine gives.
    fn roots(&self) -> Roots;
}

/// Why the secure processor gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// Throttled or busy: the same call may go through later.
    #[error("the secure processor is busy")]
    Busy,
    /// The firmware or the hypervisor refused the message.
    #[error("the secure processor refused the request with status {status:#x}")]
    Firmware {
        /// The status word: firmware error in the low half, VMM error in the high half.
        status: u64,
    },
    /// The device could not be used.
    #[error("the secure processor's device failed: {0}")]
    Device(#[from] std::io::Error),
}
