//! The two disks, as a host makes them.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use neo_secrets_server::platform::Endorsements;
use openssl::sha::sha256;
use openssl::x509::X509;

/// The data disk's file, and the configuration's.
pub const DATA_DISK: &str = "data.raw";
pub const CONFIG_DISK: &str = "config.raw";

const MIB: u64 = 1 << 20;
const DATA_BYTES: u64 = 256 * MIB;
/// `server/STORE.md` section 1.1.
const CERTIFICATES: (u64, &[u8; 16]) = (MIB, b"neo-secrets vek\0");
const CRL: (u64, &[u8; 16]) = (MIB + 256 * 1024, b"neo-secrets crl\0");

/// An empty data disk, in place of one that may be there.
pub fn blank_data_disk(path: &Path) -> io::Result<()> {
    File::create(path)?.set_len(DATA_BYTES)
}

/// A disk with this text.
pub fn write_config_disk(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut disk = File::create(path)?;
    disk.write_all(text)?;
    // A whole number of sectors; zeros end the text.
    disk.set_len(u64::try_from(text.len()).unwrap().next_multiple_of(4096))
}

/// Puts certificates and CRL where the server keeps them. Whoever has the disk can: they are trusted
/// by nobody who has not verified them. A real host gives them by configfs-tsm, which needs hardware.
pub fn keep_endorsements(disk: &Path, given: &Endorsements) -> io::Result<()> {
    let mut pem = Vec::new();
    for der in [&given.vek, &given.ask, &given.ark] {
        pem.extend(X509::from_der(der)?.to_pem()?);
    }
    let mut disk = OpenOptions::new().write(true).open(disk)?;
    let crl = given.crl.as_deref().unwrap_or_default();
    for ((at, magic), payload) in [(CERTIFICATES, pem.as_slice()), (CRL, crl)] {
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        // A number above those of the server's own copies.
        let head = [magic.as_slice(), &(1_u64 << 62).to_be_bytes(), &length.to_be_bytes()].concat();
        let copy = [head.as_slice(), payload].concat();
        disk.seek(SeekFrom::Start(at))?;
        disk.write_all(&copy)?;
        disk.write_all(&sha256(&copy))?;
    }
    disk.sync_all()
}
