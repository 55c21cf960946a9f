//! A disk with one partition, which firmware boots from: GUID partition table (UEFI specification
//! 2.10, chapter 5) around an EFI system partition. Held as the parts of it that are not zero.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use flate2::Crc;

use crate::error::ImageError;
use crate::files;

mod containers;
mod partition;

pub use containers::{gcp_archive, qcow2, vhd_footer};
pub use partition::system_partition;

/// A sector.
pub const SECTOR_BYTES: usize = 512;

/// Clouds want disks in whole mebibytes, and partitions begin at one.
pub const MEBIBYTE: usize = 1 << 20;

const FIRST_SECTOR: u64 = 2048;
const TABLE_ENTRIES: usize = 128;
const TABLE_ENTRY_BYTES: usize = 128;
const TABLE_SECTORS: u64 = 32;

/// `C12A7328-F81F-11D2-BA4B-00A0C93EC93B` as it lies on disk: an EFI system partition.
const SYSTEM_PARTITION: [u8; 16] = [
    0x28, 0x73, 0x2A, 0xC1, 0x1F, 0xF8, 0xD2, 0x11, 0xBA, 0x4B, 0x00, 0xA0, 0xC9, 0x3E, 0xC9, 0x3B,
];

/// A disk: a beginning, zeros, and an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    head: Vec<u8>,
    tail: Vec<u8>,
    bytes: u64,
}

impl Disk {
    /// A disk around a system partition: a mebibyte before it, at least one behind, and a length
    /// that is a multiple of `unit` bytes. Its ids follow from what is in it.
    pub fn new(partition: &[u8], unit: usize) -> Self {
        let bytes = (partition.len() + 2 * MEBIBYTE).next_multiple_of(unit);
        let bytes = u64::try_from(bytes).expect("a usize has at most 64 bits");
        let sectors = bytes / 512;
        let length = u64::try_from(partition.len().div_ceil(SECTOR_BYTES)).expect("as above");
        let digest = files::sha256(partition);
        let table = entries(length, &guid(&digest, 1));
        let disk_id = guid(&digest, 0);
        let mut head = protective_record(sectors);
        head.extend(header(1, sectors - 1, 2, sectors, &disk_id, &table));
        head.extend(&table);
        head.resize(MEBIBYTE, 0);
        head.extend(partition);
        let mut tail = table.clone();
        let backup = sectors - 1 - TABLE_SECTORS;
        tail.extend(header(sectors - 1, 1, backup, sectors, &disk_id, &table));
        Self { head, tail, bytes }
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes it whole, zeros too.
    ///
    /// # Errors
    /// The writer's.
    pub fn write_to(&self, out: &mut impl Write) -> std::io::Result<()> {
        out.write_all(&self.head)?;
        let mut rest = self.gap();
        let zeros = [0; 1 << 16];
        while rest > 0 {
            let now = usize::try_from(rest).unwrap_or(zeros.len()).min(zeros.len());
            out.write_all(zeros.get(..now).unwrap_or_default())?;
            rest -= u64::try_from(now).expect("a usize has at most 64 bits");
        }
        out.write_all(&self.tail)
    }

    /// Writes it to a new file, with `footer` behind it, and holes where there are zeros.
    ///
    /// # Errors
    /// With the file's name.
    pub fn save(&self, path: &Path, footer: &[u8]) -> Result<(), ImageError> {
        let write = || {
            let mut file = std::fs::File::create(path)?;
            for (index, block) in self.head.chunks(1 << 16).enumerate() {
                if block.iter().any(|byte| *byte != 0) {
                    file.seek(SeekFrom::Start((index as u64) << 16))?;
                    file.write_all(block)?;
                }
            }
            file.seek(SeekFrom::Start(self.bytes - self.tail.len() as u64))?;
            file.write_all(&self.tail)?;
            file.write_all(footer)?;
            file.sync_all()
        };
        write().map_err(|source| files::at(path, source))
    }

    fn gap(&self) -> u64 {
        self.bytes - (self.head.len() + self.tail.len()) as u64
    }
}

/// A GUID that nothing but the contents decides: version 8 (RFC 9562), as it lies on disk.
fn guid(digest: &[u8; 32], which: usize) -> [u8; 16] {
    let mut guid: [u8; 16] =
        std::array::from_fn(|index| digest.get(16 * which + index).copied().unwrap_or_default());
    let [.., version, variant, _, _, _, _, _, _, _] = &mut guid;
    // Bytes 7 and 8: the third part is little-endian.
    *version = *version & 0x0F | 0x80;
    *variant = *variant & 0x3F | 0x80;
    guid
}

/// The old partition table, which says that all of the disk is taken.
fn protective_record(sectors: u64) -> Vec<u8> {
    let mut record = vec![0; 446];
    let last = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    record.extend([0, 0, 2, 0, 0xEE, 0xFF, 0xFF, 0xFF]);
    record.extend(1u32.to_le_bytes());
    record.extend(last.to_le_bytes());
    record.resize(510, 0);
    record.extend([0x55, 0xAA]);
    record
}

fn entries(sectors: u64, id: &[u8; 16]) -> Vec<u8> {
    let mut table = Vec::with_capacity(TABLE_ENTRIES * TABLE_ENTRY_BYTES);
    table.extend(SYSTEM_PARTITION);
    table.extend(id);
    table.extend(FIRST_SECTOR.to_le_bytes());
    table.extend((FIRST_SECTOR + sectors - 1).to_le_bytes());
    table.extend(0u64.to_le_bytes());
    table.extend("neo-secrets".encode_utf16().flat_map(u16::to_le_bytes));
    table.resize(TABLE_ENTRIES * TABLE_ENTRY_BYTES, 0);
    table
}

fn header(
    own: u64,
    other: u64,
    table_at: u64,
    sectors: u64,
    id: &[u8; 16],
    table: &[u8],
) -> Vec<u8> {
    let mut header = Vec::with_capacity(SECTOR_BYTES);
    header.extend(b"EFI PART\x00\x00\x01\x00");
    header.extend(92u32.to_le_bytes());
    header.extend([0; 8]); // Its checksum, counted as zero; reserved.
    header.extend(own.to_le_bytes());
    header.extend(other.to_le_bytes());
    header.extend((2 + TABLE_SECTORS).to_le_bytes());
    header.extend((sectors - 2 - TABLE_SECTORS).to_le_bytes());
    header.extend(id);
    header.extend(table_at.to_le_bytes());
    header.extend((TABLE_ENTRIES as u32).to_le_bytes());
    header.extend((TABLE_ENTRY_BYTES as u32).to_le_bytes());
    header.extend(crc32(table).to_le_bytes());
    let checksum = crc32(&header).to_le_bytes();
    header.splice(16..20, checksum);
    header.resize(SECTOR_BYTES, 0);
    header
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests;
