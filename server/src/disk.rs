//! A raw disk, or a file that plays one: no file system, no partition, nothing that a kernel would
//! parse (STORE.md §1.1). What it holds is the host's to change, so nothing here is trusted, and
//! nothing is read or allocated by a length that the disk does not have.

mod cell;
mod look;

use std::fs::{File, TryLockError};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use neo_secrets_attestation::evidence::StoreId;
use rustix::fs::{Mode, OFlags};

use crate::limits;
use cell::{Cell, Place};
pub use look::LookError;

const MIB: u64 = 1_048_576;
/// The two copies of the disk's header, in the first MiB.
const HEADER: Place = Place { at: [0, 4096], magic: *b"neo-secrets disk", bytes_max: 64 };
/// The two copies of the certificates, in the second MiB.
const CHAIN: Place = Place {
    at: [MIB, MIB + 131_072],
    magic: *b"neo-secrets vek\0",
    bytes_max: limits::CHAIN_FILE_BYTES,
};
/// The two copies of the CRL, in the second MiB.
const CRL: Place = Place {
    at: [MIB + 262_144, MIB + 393_216],
    magic: *b"neo-secrets crl\0",
    bytes_max: limits::CRL_FILE_BYTES,
};
/// Where the engine's bytes begin.
const ENGINE_AT: u64 = 2 * MIB;

/// What a disk does. All of it blocks.
pub(crate) trait Medium: Send + Sync + std::fmt::Debug + 'static {
    /// Its size at this moment.
    fn bytes(&self) -> io::Result<u64>;
    /// Reads exactly so many bytes.
    fn read(&self, at: u64, out: &mut [u8]) -> io::Result<()>;
    /// Writes all of them; they are within the size.
    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Returns once all that was written is durable.
    fn sync(&self) -> io::Result<()>;
}

/// A block device or a file, locked against every other process.
#[derive(Debug)]
struct Device(File);

/// A disk that this process alone has open.
#[derive(Debug)]
pub struct Disk {
    medium: Box<dyn Medium>,
    path: PathBuf,
    header: Mutex<Cell>,
    chain: Mutex<Cell>,
    crl: Mutex<Cell>,
    /// Whether it was looked at, and is empty or a disk of ours. Any other is never written to.
    ours: AtomicBool,
    /// Whether an engine has it.
    taken: AtomicBool,
}

/// Which file of the evidence's is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// VEK, ASK and ARK.
    Chain,
    /// The CRL.
    Crl,
}

/// Why a disk was not opened.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Neither a block device nor a file.
    #[error("neither a folder, a block device nor a file")]
    Kind,
    /// Another process has it, or it is mounted.
    #[error("in use by another process")]
    InUse,
    /// As the system says.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What the header of a disk of ours says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) store_id: StoreId,
    /// Bytes of the engine.
    pub(crate) engine_bytes: u64,
}

impl Header {
    /// The one format that this server writes and opens.
    pub(crate) const FORMAT: u16 = 1;

    fn to_bytes(self) -> [u8; 26] {
        let mut bytes = [0; 26];
        bytes[..2].copy_from_slice(&Self::FORMAT.to_be_bytes());
        bytes[2..18].copy_from_slice(&self.store_id.0);
        bytes[18..].copy_from_slice(&self.engine_bytes.to_be_bytes());
        bytes
    }
}

impl Disk {
    /// Opens a block device, or a file that plays one, for this process alone.
    ///
    /// # Errors
    /// [`DiskError`]
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let kind = path.metadata()?.file_type();
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let flags = match (kind.is_block_device(), kind.is_file()) {
            // The kernel then lets nobody else have it so, and no file system mount it.
            (true, _) => flags | OFlags::EXCL,
            (false, true) => flags,
            (false, false) => return Err(DiskError::Kind),
        };
        let file = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::BUSY) => return Err(DiskError::InUse),
            Err(error) => return Err(io::Error::from(error).into()),
        };
        match file.try_lock() {
            Ok(()) => Ok(Self::new(Device(file), path)),
            Err(TryLockError::WouldBlock) => Err(DiskError::InUse),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    pub(crate) fn new(medium: impl Medium, path: &Path) -> Self {
        Disk {
            medium: Box::new(medium),
            path: path.to_owned(),
            header: Mutex::new(Cell::at(HEADER)),
            chain: Mutex::new(Cell::at(CHAIN)),
            crl: Mutex::new(Cell::at(CRL)),
            ours: AtomicBool::new(false),
            taken: AtomicBool::new(false),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The header, or nothing where the disk is empty.
    ///
    /// # Errors
    /// [`LookError`]: what else stands there.
    pub(crate) fn look(&self) -> Result<Option<Header>, LookError> {
        self.ours.store(false, Ordering::SeqCst);
        let header = look::look(self)?;
        self.ours.store(true, Ordering::SeqCst);
        Ok(header)
    }

    /// Makes this the header: durable once [`Self::sync`] returns, and until then either the old
    /// one or this one.
    pub(crate) fn put_header(&self, header: Header) -> io::Result<()> {
        self.put(&self.header, &header.to_bytes())
    }

    /// What is kept for the evidence. A copy that was cut or changed is as one that is not there.
    pub(crate) fn kept(&self, kept: Kept) -> io::Result<Option<Vec<u8>>> {
        if !self.ours.load(Ordering::SeqCst) {
            return Ok(None);
        }
        let mut cell = lock(self.cell(kept));
        cell.read(&*self.medium)
    }

    /// Keeps something else for the evidence, durably, or what was kept before still is.
    pub(crate) fn keep(&self, kept: Kept, bytes: &[u8]) -> io::Result<()> {
        self.put(self.cell(kept), bytes)?;
        self.sync()
    }

    fn cell(&self, kept: Kept) -> &Mutex<Cell> {
        match kept {
            Kept::Chain => &self.chain,
            Kept::Crl => &self.crl,
        }
    }

    fn put(&self, cell: &Mutex<Cell>, bytes: &[u8]) -> io::Result<()> {
        if !self.ours.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is not one of this server's"));
        }
        lock(cell).write(&*self.medium, bytes)
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.medium.sync()?;
        for cell in [&self.header, &self.chain, &self.crl] {
            lock(cell).synced();
        }
        Ok(())
    }

    /// How long the engine may get.
    pub(crate) fn engine_bytes_max(&self) -> io::Result<u64> {
        Ok(self.medium.bytes()?.saturating_sub(ENGINE_AT))
    }

    /// Reads the engine's bytes.
    pub(crate) fn read_engine(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        let at = self.within(at, out.len())?;
        self.medium.read(at, out)
    }

    /// Writes the engine's bytes.
    pub(crate) fn write_engine(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let at = self.within(at, bytes.len())?;
        self.medium.write(at, bytes)
    }

    /// A place on the disk as it is now: one that was shrunk fails, and one that is a file is not
    /// made longer.
    fn within(&self, at: u64, length: usize) -> io::Result<u64> {
        let size = self.medium.bytes()?;
        let start = at.checked_add(ENGINE_AT);
        let length = u64::try_from(length).ok();
        let end = start.zip(length).and_then(|(start, length)| start.checked_add(length));
        match (start, end) {
            (Some(start), Some(end)) if end <= size => Ok(start),
            _ => Err(io::Error::other(format!("the disk ends at {size} bytes"))),
        }
    }

    /// One engine at a time: true where there is no other.
    pub(crate) fn take(&self) -> bool {
        !self.taken.swap(true, Ordering::SeqCst)
    }

    /// The engine is done with it.
    pub(crate) fn give_back(&self) {
        self.taken.store(false, Ordering::SeqCst);
    }
}

fn lock(cell: &Mutex<Cell>) -> std::sync::MutexGuard<'_, Cell> {
    cell.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Medium for Device {
    fn bytes(&self) -> io::Result<u64> {
        // What a device's metadata says is not its size. Nothing else uses the position.
        (&self.0).seek(SeekFrom::End(0))
    }

    fn read(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, at)
    }

    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
