//! What stands on a disk, before anything is written to it.

use std::fmt;
use std::io;

use neo_secrets_attestation::evidence::StoreId;

use super::{Disk, ENGINE_AT, HEADER, Header, MIB, lock};
use crate::limits;

/// What keeps a disk from being used. Nothing of it is changed.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// Too small for a store.
    #[error("the disk has {bytes} bytes; a store takes {} at least", limits::DISK_BYTES_MIN)]
    TooSmall {
        /// Its size.
        bytes: u64,
    },
    /// Not empty, and no disk of ours.
    #[error("the disk is not a Neo Secrets disk: {found} stands on it; it is never written over")]
    Foreign {
        /// What is there.
        found: Foreign,
    },
    /// Of a newer server.
    #[error(
        "the disk has format {found}, written by a newer server; this one knows up to {}: upgrade",
        Header::FORMAT
    )]
    Newer {
        /// The disk's format.
        found: u16,
    },
    /// Shorter than what was written to it.
    #[error("the disk was cut: it has {bytes} bytes, and its store takes {needed}")]
    Truncated {
        /// The disk's size.
        bytes: u64,
        /// What it was.
        needed: u64,
    },
    /// It begins as a disk of ours does, and neither copy of its header is whole.
    #[error("neither copy of the disk's header is whole")]
    Header,
    /// It cannot be read.
    #[error("the disk could not be read: {0}")]
    Io(#[from] io::Error),
}

/// What a foreign disk begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// Something that has a name.
    Named(&'static str),
    /// Something else.
    Unknown {
        /// Where the first byte is that is not zero.
        at: usize,
    },
}

impl fmt::Display for Foreign {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => formatter.write_str(name),
            Self::Unknown { at } => write!(formatter, "something unknown, from byte {at} on,"),
        }
    }
}

/// What foreign disks have at some place.
const KNOWN: [(usize, &[u8], &str); 12] = [
    (0, b"redb\x1A\x0A\xA9\x0D\x0A", "a file of the engine, which belongs into a data folder,"),
    (0, b"LUKS\xBA\xBE", "a LUKS header"),
    (0, b"XFSB", "an XFS file system"),
    (0, b"QFI\xFB", "a qcow2 image"),
    (0, b"conectix", "a VHD image"),
    (0, b"hsqs", "a squashfs file system"),
    (512, b"EFI PART", "a GPT partition table"),
    (512, b"LABELONE", "an LVM volume"),
    (1080, b"\x53\xEF", "an ext file system"),
    (4086, b"SWAPSPACE2", "swap space"),
    (65_600, b"_BHRfS_M", "a btrfs file system"),
    (510, b"\x55\xAA", "an MBR partition table or a FAT file system"),
];

pub(super) fn look(disk: &Disk) -> Result<Option<Header>, LookError> {
    let bytes = disk.medium.bytes()?;
    if bytes < limits::DISK_BYTES_MIN {
        return Err(LookError::TooSmall { bytes });
    }
    let Some(payload) = lock(&disk.header).read(&*disk.medium)? else {
        return nothing_whole(disk);
    };
    let (format, rest) = payload.split_first_chunk().ok_or(LookError::Header)?;
    let format = u16::from_be_bytes(*format);
    if format != Header::FORMAT {
        return Err(LookError::Newer { found: format });
    }
    let (id, rest) = rest.split_first_chunk().ok_or(LookError::Header)?;
    let engine_bytes = u64::from_be_bytes(rest.try_into().map_err(|_| LookError::Header)?);
    let needed = engine_bytes.saturating_add(ENGINE_AT);
    if needed > bytes {
        return Err(LookError::Truncated { bytes, needed });
    }
    Ok(Some(Header { store_id: StoreId(*id), engine_bytes }))
}

/// No header: all zeros, or something that is not ours.
fn nothing_whole(disk: &Disk) -> Result<Option<Header>, LookError> {
    let mut first = vec![0; usize::try_from(MIB).unwrap_or(0)];
    disk.medium.read(0, &mut first)?;
    let Some(at) = first.iter().position(|byte| *byte != 0) else { return Ok(None) };
    let second = HEADER.at.map(|at| usize::try_from(at).unwrap_or(0));
    let begins =
        |at: usize, with: &[u8]| first.get(at..).is_some_and(|rest| rest.starts_with(with));
    if second.into_iter().any(|at| begins(at, &HEADER.magic)) {
        return Err(LookError::Header);
    }
    let named = KNOWN.iter().find(|(at, bytes, _)| begins(*at, bytes));
    let found = named.map_or(Foreign::Unknown { at }, |(.., name)| Foreign::Named(name));
    Err(LookError::Foreign { found })
}
