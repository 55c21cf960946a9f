//! Where an instance keeps what outlives it: a folder, or a whole disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskError, Kept};
use crate::files::{self, ReadError};
use crate::limits;
use crate::store::Place;

/// VEK, ASK and ARK in PEM: one file, so that a chain is replaced whole.
const CHAIN_FILE: &str = "endorsements/certificates.pem";
/// The CRL, DER.
const CRL_FILE: &str = "endorsements/crl.der";

/// Where an instance keeps what outlives it.
#[derive(Clone, Debug)]
pub enum Data {
    /// A folder, with a file for the store and others for the evidence.
    Folder(PathBuf),
    /// A disk of its own.
    Disk(Arc<Disk>),
}

impl Data {
    /// Takes a folder, or opens a disk for this process alone.
    ///
    /// # Errors
    /// [`DiskError`]
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        if path.is_dir() {
            return Ok(Data::Folder(path.to_owned()));
        }
        Ok(Data::Disk(Arc::new(Disk::open(path)?)))
    }

    /// Where the store is.
    pub fn store(&self) -> Place {
        match self {
            Data::Folder(folder) => Place::File(folder.join("store.redb")),
            Data::Disk(disk) => Place::Disk(disk.clone()),
        }
    }

    /// What is kept for the evidence, where something is.
    pub(crate) fn kept(&self, kept: Kept) -> Result<Option<Vec<u8>>, ReadError> {
        match self {
            Data::Folder(folder) => {
                let bytes_max = match kept {
                    Kept::Chain => limits::CHAIN_FILE_BYTES,
                    Kept::Crl => limits::CRL_FILE_BYTES,
                };
                match files::read_bounded(&folder.join(file(kept)), bytes_max) {
                    Ok(bytes) => Ok(Some(bytes)),
                    Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                        Ok(None)
                    }
                    Err(error) => Err(error),
                }
            }
            Data::Disk(disk) => Ok(disk.kept(kept)?),
        }
    }

    /// Keeps something else for the evidence, whole.
    pub(crate) fn keep(&self, kept: Kept, bytes: &[u8]) -> io::Result<()> {
        match self {
            Data::Folder(folder) => files::replace(&folder.join(file(kept)), bytes),
            Data::Disk(disk) => disk.keep(kept, bytes),
        }
    }
}

fn file(kept: Kept) -> &'static str {
    match kept {
        Kept::Chain => CHAIN_FILE,
        Kept::Crl => CRL_FILE,
    }
}
