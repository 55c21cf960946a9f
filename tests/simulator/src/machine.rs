//! A guest launched on a simulated chip, as the server's platform.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use neo_secrets_attestation::roots::Roots;
use neo_secrets_server::platform::{
    Endorsements, KEY_REQUEST_BYTES, KEY_RESPONSE_BYTES, Platform, PlatformError,
    REPORT_RESPONSE_BYTES,
};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::Private;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::chip::{Chip, ChipError};
use crate::faults::{Fault, Faults};
use crate::key;
use crate::pace::{Clock, SystemClock, TokenBucket};
use crate::report::{REPORT_BYTES, ReportBody, sign};
use crate::settings::{ReportVersion, Signer};
use crate::vendor::LeafKind;

/// ECDSA on P-384 with SHA-384.
const SIGNATURE_ALGORITHM: u32 = 1;
/// Bits of KEY_INFO.
const AUTHOR_KEY: u32 = 1 << 0;
const MASK_CHIP_KEY: u32 = 1 << 1;
const SIGNING_KEY_SHIFT: u32 = 2;
const SIGNED_BY_VCEK: u32 = 0;
const SIGNED_BY_VLEK: u32 = 1;
const NOT_SIGNED: u32 = 7;

/// A launched guest with its secure processor.
pub struct Machine {
    chip: Chip,
    signing_key: EcKey<Private>,
    /// New at each launch: what the VM's own derived keys come from.
    vm_root: Zeroizing<[u8; 32]>,
    report_id: [u8; 32],
    endorsements: Mutex<Endorsements>,
    /// Held while a request is at work: the device takes one at a time.
    bucket: Mutex<TokenBucket>,
    clock: Arc<dyn Clock>,
    /// Seconds that the machine's clock is ahead.
    clock_offset: i64,
    faults: Faults,
}

impl Machine {
    /// Launches the chip's guest; certificates and CRL are issued as of `now`.
    ///
    /// # Errors
    /// `Crypto`, `Random`.
    pub fn launch(chip: Chip, now: OffsetDateTime) -> Result<Self, ChipError> {
        Self::launch_by(chip, now, Arc::new(SystemClock::start()))
    }

    /// With a clock that its host has set so many seconds ahead, or behind where they are negative.
    #[must_use]
    pub fn with_clock_offset(self, seconds: i64) -> Self {
        Self { clock_offset: seconds, ..self }
    }

    /// As [`Machine::launch`], with another clock for the rate limit.
    ///
    /// # Errors
    /// `Crypto`, `Random`.
    pub fn launch_by(
        chip: Chip,
        now: OffsetDateTime,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ChipError> {
        let reported = chip.settings.tcb.reported;
        let (kind, vendor) = (chip.leaf_kind(), chip.vendor());
        let key = chip.signing_key(reported)?;
        let leaf = vendor.leaf_draft(&kind, &key, reported, now)?;
        let issuer = match kind {
            LeafKind::Vcek(_) => vendor.ask(),
            LeafKind::Vlek(_) => vendor.asvk(),
        };
        let endorsements = Endorsements {
            vek: leaf.sign(vendor.issuer_key(&kind))?,
            ask: issuer.to_vec(),
            ark: vendor.ark().to_vec(),
            crl: Some(vendor.crl_draft(now)?.sign(vendor.ark_key())?),
        };
        let (mut vm_root, mut report_id) = (Zeroizing::new([0; 32]), [0; 32]);
        getrandom::fill(vm_root.as_mut_slice())?;
        getrandom::fill(&mut report_id)?;
        let rate = chip.settings.rate;
        Ok(Self {
            signing_key: key.ec_key()?,
            vm_root,
            report_id,
            endorsements: Mutex::new(endorsements),
            bucket: Mutex::new(TokenBucket::full(rate.requests_per_second, rate.burst)),
            clock,
            clock_offset: 0,
            faults: Faults::default(),
            chip,
        })
    }

    /// The chip below.
    pub fn chip(&self) -> &Chip {
        &self.chip
    }

    /// The handle on this machine's faults.
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// Puts other certificates or another CRL beside the reports.
    pub fn endorse_with(&self, endorsements: Endorsements) {
        *lock(&self.endorsements) = endorsements;
    }

    /// What a report with this REPORT_DATA says.
    pub fn report_body(&self, report_data: &[u8; 64]) -> ReportBody {
        let settings = &self.chip.settings;
        let (product, guest, tcb) = (settings.product, &settings.guest, settings.tcb);
        let version = settings.report_version;
        let cpuid = match version {
            ReportVersion::V2 => [0; 3],
            ReportVersion::V3 | ReportVersion::V5 => {
                [settings.cpuid.family, settings.cpuid.model, settings.cpuid.stepping]
            }
        };
        let mitigations = match version {
            ReportVersion::V2 | ReportVersion::V3 => 0,
            ReportVersion::V5 => settings.mitigations.0,
        };
        let chip_id = if settings.mask_chip_id { [0; 64] } else { settings.chip_id.padded() };
        ReportBody {
            version: version.into(),
            guest_svn: guest.guest_svn,
            policy: guest.policy.0,
            family_id: guest.family_id.0,
            image_id: guest.image_id.0,
            vmpl: guest.vmpl.into(),
            signature_algo: SIGNATURE_ALGORITHM,
            current_tcb: tcb.current.encode(product),
            platform_info: settings.platform_info.0,
            key_info: self.key_info(),
            report_data: *report_data,
            measurement: guest.measurement.0,
            host_data: guest.host_data.0,
            id_key_digest: guest.id_key_digest.0,
            author_key_digest: guest.author_key_digest.0,
            report_id: self.report_id,
            report_id_ma: [0xFF; 32],
            reported_tcb: tcb.reported.encode(product),
            cpuid,
            chip_id,
            committed_tcb: tcb.committed.encode(product),
            current_version: settings.current_version,
            committed_version: settings.committed_version,
            launch_tcb: tcb.launch.encode(product),
            launch_mit_vector: mitigations,
            current_mit_vector: mitigations,
        }
    }

    /// A signed report with this REPORT_DATA, changed by `forge` before it is signed.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn forged_report(
        &self,
        report_data: &[u8; 64],
        forge: impl FnOnce(&mut [u8; REPORT_BYTES]),
    ) -> Result<[u8; REPORT_BYTES], ChipError> {
        let mut report = self.report_body(report_data).encode();
        forge(&mut report);
        if !self.chip.settings.mask_chip_key {
            sign(&mut report, &self.signing_key)?;
        }
        Ok(report)
    }

    fn key_info(&self) -> u32 {
        let settings = &self.chip.settings;
        let author = if settings.guest.author_key_digest.0 == [0; 48] { 0 } else { AUTHOR_KEY };
        match (settings.mask_chip_key, settings.signer) {
            (true, _) => author | MASK_CHIP_KEY | NOT_SIGNED << SIGNING_KEY_SHIFT,
            (false, Signer::Vcek) => author | SIGNED_BY_VCEK << SIGNING_KEY_SHIFT,
            (false, Signer::Vlek) => author | SIGNED_BY_VLEK << SIGNING_KEY_SHIFT,
        }
    }

    fn foreign_report(&self, report_data: &[u8; 64]) -> Result<[u8; REPORT_BYTES], ChipError> {
        let stranger = EcKey::generate(EcGroup::from_curve_name(Nid::SECP384R1)?.as_ref())?;
        let mut report = self.report_body(report_data).encode();
        sign(&mut report, &stranger)?;
        Ok(report)
    }
}

impl Platform for Machine {
    fn report(&self, report_data: &[u8; 64]) -> Result<[u8; REPORT_RESPONSE_BYTES], PlatformError> {
        let mut bucket = lock(&self.bucket);
        let fault = self.faults.on_report();
        admit(fault, &mut bucket, &*self.clock)?;
        let duration_ms = self.chip.settings.rate.report_ms;
        if duration_ms > 0 {
            self.clock.sleep(Duration::from_millis(duration_ms.into()));
        }
        let (report, size) = match fault {
            Some(Fault::GarbageReport) => (Ok([0xA5; REPORT_BYTES]), REPORT_BYTES),
            Some(Fault::ForeignSignature) => (self.foreign_report(report_data), REPORT_BYTES),
            Some(Fault::TruncatedReport) => {
                (self.forged_report(report_data, |_| ()), REPORT_BYTES - 1)
            }
            _ => (self.forged_report(report_data, |_| ()), REPORT_BYTES),
        };
        Ok(report_response(&report.map_err(io::Error::other)?[..size]))
    }

    fn derive_key(
        &self,
        request: &[u8; KEY_REQUEST_BYTES],
    ) -> Result<Zeroizing<[u8; KEY_RESPONSE_BYTES]>, PlatformError> {
        let mut bucket = lock(&self.bucket);
        let fault = self.faults.on_key(request);
        admit(fault, &mut bucket, &*self.clock)?;
        if fault == Some(Fault::ZeroKey) {
            return Ok(Zeroizing::new([0; KEY_RESPONSE_BYTES]));
        }
        Ok(key::derive(request, &self.chip, &self.vm_root).map_err(io::Error::other)?)
    }

    fn endorsements(&self) -> Option<Endorsements> {
        self.chip.settings.host_certificates.then(|| lock(&self.endorsements).clone())
    }

    fn time(&self) -> std::time::SystemTime {
        let offset = Duration::from_secs(self.clock_offset.unsigned_abs());
        let now = std::time::SystemTime::now();
        match self.clock_offset {
            0.. => now + offset,
            ..0 => now - offset,
        }
    }

    fn only_reports(&self) -> std::io::Result<()> {
        Ok(()) // there is no device to keep anybody from
    }

    fn roots(&self) -> Roots {
        Roots::simulated(self.chip.vendor().ark()).expect("the vendor's root has a product's name")
    }
}

/// The faults that keep any request from being answered, and the rate limit.
fn admit(
    fault: Option<Fault>,
    bucket: &mut TokenBucket,
    clock: &dyn Clock,
) -> Result<(), PlatformError> {
    match fault {
        Some(Fault::Busy) => Err(PlatformError::Busy),
        Some(Fault::Firmware { status }) => Err(PlatformError::Firmware { status }),
        Some(Fault::Device) => Err(io::Error::other("an injected device error").into()),
        _ if bucket.take(clock.elapsed()) => Ok(()),
        _ => Err(PlatformError::Busy),
    }
}

/// MSG_REPORT_RSP: status (4), size (4), reserved (24), the report, zeros.
fn report_response(report: &[u8]) -> [u8; REPORT_RESPONSE_BYTES] {
    let mut response = [0; REPORT_RESPONSE_BYTES];
    let size = u32::try_from(report.len()).expect("a report has 1184 bytes");
    response[4..8].copy_from_slice(&size.to_le_bytes());
    response[32..32 + report.len()].copy_from_slice(report);
    response
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
