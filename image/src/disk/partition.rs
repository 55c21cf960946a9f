//! The EFI system partition: FAT32 with the one program that firmware looks for (Microsoft, "FAT32
//! File System Specification"). Each folder has one cluster, and the program those behind them.

use crate::disk::SECTOR_BYTES;
use crate::error::ImageError;
use crate::files;
use crate::uki::UKI_BYTES_MAX;

/// Room for an image at its limit; with clusters of one sector more than the 65,525 that FAT32 has
/// at least.
const PARTITION_BYTES: usize = 40 << 20;
const SECTORS: usize = PARTITION_BYTES / SECTOR_BYTES;
const RESERVED: usize = 32;
const TABLES: usize = 2;
/// A table has room for an entry of 4 bytes for every sector: a few more than there are clusters.
const TABLE_SECTORS: usize = SECTORS * 4 / SECTOR_BYTES;
const LABEL: &[u8; 11] = b"NEO SECRETS";

// Clusters. Firmware looks for EFI/BOOT/BOOTX64.EFI (UEFI specification, 3.5.1.1).
const ROOT: u32 = 2;
const FOLDER_EFI: u32 = 3;
const FOLDER_BOOT: u32 = 4;
const PROGRAM: u32 = 5;
const LAST: u32 = 0x0FFF_FFFF;

const VOLUME: u8 = 0x08;
const FOLDER: u8 = 0x10;
const FILE: u8 = 0x20;

/// A partition with this program in it.
///
/// # Errors
/// It does not fit.
pub fn system_partition(program: &[u8]) -> Result<Vec<u8>, ImageError> {
    let too_long = ImageError::UkiBytes { got: program.len(), limit: UKI_BYTES_MAX };
    let (Ok(bytes), ..=UKI_BYTES_MAX) = (u32::try_from(program.len()), program.len()) else {
        return Err(too_long);
    };
    let clusters = bytes.div_ceil(SECTOR_BYTES as u32);
    let mut out = Vec::with_capacity(PARTITION_BYTES);
    for sector in 0..RESERVED {
        // The first two sectors, and a copy of them.
        match sector {
            0 | 6 => out.extend(boot_sector(program)),
            1 | 7 => out.extend(information(PROGRAM + clusters)),
            _ => {}
        }
        out.resize((sector + 1) * SECTOR_BYTES, 0);
    }
    for table in 1..=TABLES {
        for entry in [0x0FFF_FFF8, LAST, LAST, LAST, LAST] {
            out.extend(u32::to_le_bytes(entry));
        }
        for next in (PROGRAM + 1)..(PROGRAM + clusters) {
            out.extend(next.to_le_bytes());
        }
        if clusters > 0 {
            out.extend(LAST.to_le_bytes());
        }
        out.resize((RESERVED + table * TABLE_SECTORS) * SECTOR_BYTES, 0);
    }
    for entries in [
        [entry(LABEL, VOLUME, 0, 0), entry(b"EFI        ", FOLDER, FOLDER_EFI, 0), [0; 32]],
        [
            entry(b".          ", FOLDER, FOLDER_EFI, 0),
            entry(b"..         ", FOLDER, 0, 0), // The root is called 0 here.
            entry(b"BOOT       ", FOLDER, FOLDER_BOOT, 0),
        ],
        [
            entry(b".          ", FOLDER, FOLDER_BOOT, 0),
            entry(b"..         ", FOLDER, FOLDER_EFI, 0),
            entry(b"BOOTX64 EFI", FILE, PROGRAM, bytes),
        ],
    ] {
        out.extend(entries.concat());
        out.resize(out.len().next_multiple_of(SECTOR_BYTES), 0);
    }
    out.extend(program);
    out.resize(PARTITION_BYTES, 0);
    Ok(out)
}

fn boot_sector(program: &[u8]) -> Vec<u8> {
    // Decided by what is in it, like every id of the disk.
    let digest = files::sha256(program);
    let mut sector = Vec::with_capacity(SECTOR_BYTES);
    sector.extend(b"\xEB\x58\x90NEO     ");
    sector.extend((SECTOR_BYTES as u16).to_le_bytes());
    sector.push(1); // Sectors of a cluster.
    sector.extend((RESERVED as u16).to_le_bytes());
    sector.push(TABLES as u8);
    sector.extend([0; 4]); // Entries of the root and sectors, as FAT16 counts them.
    sector.push(0xF8); // A fixed disk.
    sector.extend([0; 2]); // Sectors of a table, as FAT16 counts them.
    sector.extend([32, 0, 64, 0]); // A geometry that nobody uses.
    sector.extend(2048u32.to_le_bytes()); // Sectors before the partition.
    sector.extend((SECTORS as u32).to_le_bytes());
    sector.extend((TABLE_SECTORS as u32).to_le_bytes());
    sector.extend([0; 4]); // Both tables are kept; version 0.0.
    sector.extend(ROOT.to_le_bytes());
    sector.extend([1, 0, 6, 0]); // Where information and copy are.
    sector.extend([0; 12]);
    sector.extend([0x80, 0, 0x29]);
    sector.extend(digest.iter().take(4));
    sector.extend(LABEL);
    sector.extend(b"FAT32   ");
    sector.resize(510, 0);
    sector.extend([0x55, 0xAA]);
    sector
}

/// How many clusters are free, and where: those from `free` on.
fn information(free: u32) -> Vec<u8> {
    let clusters = (SECTORS - RESERVED - TABLES * TABLE_SECTORS) as u32;
    let mut sector = b"RRaA".to_vec();
    sector.resize(484, 0);
    sector.extend(b"rrAa");
    sector.extend((clusters + 2 - free).to_le_bytes());
    sector.extend(free.to_le_bytes());
    sector.resize(508, 0);
    sector.extend([0, 0, 0x55, 0xAA]);
    sector
}

/// A directory entry, of the first day that there is.
fn entry(name: &[u8; 11], attributes: u8, cluster: u32, bytes: u32) -> [u8; 32] {
    const DATE: [u8; 2] = 0x0021u16.to_le_bytes();
    let [low, lower, high, higher] = cluster.to_le_bytes();
    let mut entry = [0; 32];
    let parts: [&[u8]; 8] = [
        name,
        &[attributes, 0, 0, 0, 0],
        &DATE,
        &DATE,
        &[high, higher, 0, 0],
        &DATE,
        &[low, lower],
        &bytes.to_le_bytes(),
    ];
    for (place, byte) in entry.iter_mut().zip(parts.concat()) {
        *place = byte;
    }
    entry
}
