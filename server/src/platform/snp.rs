//! The real secure processor: Linux's `/dev/sev-guest`.
#![allow(unsafe_code)]

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use neo_secrets_attestation::certificate_table::CertificateTable;
use neo_secrets_attestation::roots::Roots;
use nix::errno::Errno;
use zeroize::Zeroizing;

use crate::files::{self, ReadError};
use crate::filter;
use crate::inherited;
use crate::limits;
use crate::options::Flag;

use super::{
    Endorsements, KEY_REQUEST_BYTES, KEY_RESPONSE_BYTES, Platform, PlatformError,
    REPORT_RESPONSE_BYTES,
};

const DEVICE: &str = "/dev/sev-guest";
const MESSAGE_VERSION: u8 = 1;
/// The high half of `exitinfo2` where the host asks to try again later (GHCB specification, SNP
/// guest request).
const HOST_BUSY: u64 = 2;

/// `struct snp_guest_request_ioctl` of `linux/sev-guest.h`.
#[repr(C)]
struct GuestRequest {
    message_version: u8,
    request: u64,
    response: u64,
    exitinfo2: u64,
}

/// `struct snp_report_req`: what MSG_REPORT_REQ carries.
#[repr(C)]
struct ReportRequest {
    report_data: [u8; 64],
    vmpl: u32,
    reserved: [u8; 28],
}

// The sizes are part of the ioctl numbers, 0xC0205300 and 0xC0205301.
const _: () = assert!(size_of::<GuestRequest>() == 32 && size_of::<ReportRequest>() == 96);

mod ioctl {
    #![allow(missing_docs)] // the macro makes public functions of this private module
    nix::ioctl_readwrite!(guest_report, b'S', 0x0, super::GuestRequest);
    nix::ioctl_readwrite!(guest_derived_key, b'S', 0x1, super::GuestRequest);
}

/// What `neo-secretsd` takes beside the flags of every server.
pub const FLAGS: &[Flag] = &[
    Flag {
        name: "--sev-guest-fd",
        value: "NUMBER",
        help: "the device, open already; else the server opens /dev/sev-guest",
        is_required: false,
    },
    Flag {
        name: "--host-certificates",
        value: "FILE",
        help: "the table of certificates that the host gives (auxblob of configfs-tsm)",
        is_required: false,
    },
];

/// Where the kernel says at which privilege level the guest runs (since Linux 6.11).
const VMPL: &str = "/sys/devices/system/cpu/sev/vmpl";

/// An SEV-SNP guest's secure processor.
pub struct SnpDevice {
    device: File,
    endorsements: Option<Endorsements>,
}

/// Why there is no secure processor.
#[derive(Debug, thiserror::Error)]
pub enum OpenDeviceError {
    /// There is no such device, or it may not be opened.
    #[error("{DEVICE}: {0}; this program runs in an SEV-SNP virtual machine only")]
    Open(io::Error),
    /// The flag names no descriptor.
    #[error(
        "--sev-guest-fd {0:?}: must be the number of an open file that this process has inherited, from 3 on"
    )]
    Descriptor(OsString),
    /// The kernel runs below a monitor of the host's choosing, which could have the keys too.
    #[error("this VM runs at VMPL {level}; the server needs VMPL 0, without a paravisor above it")]
    Vmpl {
        /// The level.
        level: String,
    },
    /// The table cannot be read.
    #[error("--host-certificates {}: {error}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: ReadError,
    },
}

impl SnpDevice {
    /// As [`FLAGS`] say, in their order. Before anything else of the process opens a file.
    ///
    /// # Errors
    /// [`OpenDeviceError`]
    pub fn given(flags: Vec<Option<OsString>>) -> Result<Self, OpenDeviceError> {
        let mut flags = flags.into_iter();
        let (descriptor, certificates) = (flags.next().flatten(), flags.next().flatten());
        let device = match descriptor {
            Some(number) => Self::adopt(number)?,
            None => OpenOptions::new()
                .read(true)
                .write(true)
                .open(DEVICE)
                .map_err(OpenDeviceError::Open)?,
        };
        if let Ok(level) = files::read_bounded(Path::new(VMPL), 16) {
            let level = String::from_utf8_lossy(&level).trim().to_owned();
            if level != "0" {
                return Err(OpenDeviceError::Vmpl { level });
            }
        }
        let endorsements = match certificates.map(PathBuf::from) {
            None => None,
            Some(path) => match files::read_bounded(&path, limits::HOST_CERTIFICATES_BYTES) {
                Ok(bytes) => host_endorsements(&bytes),
                Err(error) => return Err(OpenDeviceError::Certificates { path, error }),
            },
        };
        Ok(SnpDevice { device, endorsements })
    }

    /// Takes the descriptor that whoever started this process has opened.
    fn adopt(number: OsString) -> Result<File, OpenDeviceError> {
        let taken = number.to_str().and_then(inherited::descriptor);
        taken.map(File::from).ok_or(OpenDeviceError::Descriptor(number))
    }
}

/// What a host handed over. Its bytes are the host's choice: what is no whole chain is as nothing,
/// and what is one is believed by nobody before it has verified it.
fn host_endorsements(table: &[u8]) -> Option<Endorsements> {
    let table = match CertificateTable::parse(table) {
        Ok(table) => table,
        Err(error) => {
            tracing::warn!(%error, "the host's certificates are left out");
            return None;
        }
    };
    let CertificateTable { vcek, vlek, ask, ark, crl, others: _ } = table;
    let own = <[u8]>::to_vec;
    Some(Endorsements {
        vek: own(vcek.or(vlek)?),
        ask: own(ask?),
        ark: own(ark?),
        crl: crl.map(own),
    })
}

impl Platform for SnpDevice {
    fn report(&self, report_data: &[u8; 64]) -> Result<[u8; REPORT_RESPONSE_BYTES], PlatformError> {
        let request = ReportRequest { report_data: *report_data, vmpl: 0, reserved: [0; 28] };
        let mut response = [0; REPORT_RESPONSE_BYTES];
        let mut message = GuestRequest {
            message_version: MESSAGE_VERSION,
            request: (&raw const request).addr() as u64,
            response: (&raw mut response).expose_provenance() as u64,
            exitinfo2: 0,
        };
        // SAFETY: the device is open; `message` is the struct of this ioctl's number, and lives for
        // the call. The kernel reads a `struct snp_report_req` (96 bytes) at `request` and writes
        // at most a
        // `struct snp_report_resp` (4000 bytes) at `response`; both live for the call, are of that size,
        // and nobody else uses them.
        let outcome = unsafe { ioctl::guest_report(self.device.as_raw_fd(), &raw mut message) };
        finish(outcome, message.exitinfo2)?;
        Ok(response)
    }

    fn derive_key(
        &self,
        request: &[u8; KEY_REQUEST_BYTES],
    ) -> Result<Zeroizing<[u8; KEY_RESPONSE_BYTES]>, PlatformError> {
        let mut response = Zeroizing::new([0; KEY_RESPONSE_BYTES]);
        let mut message = GuestRequest {
            message_version: MESSAGE_VERSION,
            request: request.as_ptr().expose_provenance() as u64,
            response: response.as_mut_ptr().expose_provenance() as u64,
            exitinfo2: 0,
        };
        // SAFETY: as in `report`; the kernel reads a `struct snp_derived_key_req` (32 bytes) at
        // `request`, and writes at most a `struct snp_derived_key_resp` (64 bytes) at `response`.
        let outcome =
            unsafe { ioctl::guest_derived_key(self.device.as_raw_fd(), &raw mut message) };
        finish(outcome, message.exitinfo2)?;
        Ok(response)
    }

    fn endorsements(&self) -> Option<Endorsements> {
        self.endorsements.clone()
    }

    fn only_reports(&self) -> io::Result<()> {
        filter::only_reports()
    }

    fn time(&self) -> SystemTime {
        SystemTime::now()
    }

    fn roots(&self) -> Roots {
        Roots::Amd
    }
}

/// What the kernel's answer means. It tries again by itself while the host is busy, for a minute;
/// what it gives up on with another error than these, it never sends again.
fn finish(outcome: nix::Result<i32>, exitinfo2: u64) -> Result<(), PlatformError> {
    match outcome {
        Ok(_) => Ok(()),
        Err(Errno::EAGAIN | Errno::EINTR) => Err(PlatformError::Busy),
        Err(Errno::EIO) if exitinfo2 >> 32 == HOST_BUSY => Err(PlatformError::Busy),
        Err(Errno::EIO) if exitinfo2 != 0 => Err(PlatformError::Firmware { status: exitinfo2 }),
        Err(error) => Err(PlatformError::Device(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_table_is_taken_whole_or_not_at_all() {
        assert_eq!(host_endorsements(b""), None);
        assert_eq!(host_endorsements(&[0; 24]), None, "an empty table");
        assert_eq!(host_endorsements(&[0xFF; 4096]), None);
    }

    #[test]
    fn the_kernels_answers_are_told_apart() {
        assert!(finish(Ok(0), 0).is_ok());
        assert!(matches!(finish(Err(Errno::EAGAIN), 0), Err(PlatformError::Busy)));
        assert!(matches!(finish(Err(Errno::EIO), HOST_BUSY << 32), Err(PlatformError::Busy)));
        let refused = finish(Err(Errno::EIO), 0x16);
        assert!(matches!(refused, Err(PlatformError::Firmware { status: 0x16 })));
        assert!(matches!(finish(Err(Errno::ENOTTY), 0), Err(PlatformError::Device(_))));
    }
}
