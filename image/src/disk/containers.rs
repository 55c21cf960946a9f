//! The forms in which clouds and QEMU take a disk.

use std::io::Write;

use flate2::{Compression, GzBuilder};

use crate::disk::Disk;
use crate::files;

/// GCP: `disk.raw` in a tar archive of GNU's old form, in gzip. The disk must have whole gibibytes.
///
/// # Errors
/// None but the memory's.
pub fn gcp_archive(disk: &Disk) -> std::io::Result<Vec<u8>> {
    let gzip = GzBuilder::new().mtime(0).operating_system(255);
    let mut out = gzip.write(Vec::new(), Compression::default());
    let mut header = [0; 512];
    let mut put = |offset: usize, bytes: &[u8]| {
        // Constant offsets: each is below 512 by inspection.
        header[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    put(0, b"disk.raw");
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", disk.bytes()).as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        0"); // The checksum, counted as blanks; an ordinary file.
    put(257, b"ustar  \0");
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.write_all(&header)?;
    disk.write_to(&mut out)?;
    out.write_all(&[0; 1024])?; // The end; the disk has whole blocks.
    out.finish()
}

/// Azure: the last sector of a fixed VHD (Microsoft, "Virtual Hard Disk Image Format
/// Specification"), without a time and with an id that follows from the disk.
pub fn vhd_footer(disk: &Disk) -> [u8; 512] {
    let mut footer = [0; 512];
    let mut put = |offset: usize, bytes: &[u8]| {
        // Constant offsets: each is below 512 by inspection.
        footer[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    let [id @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = files::sha256(&disk.head);
    let (cylinders, heads, sectors) = geometry(disk.bytes() / 512);
    put(0, b"conectix");
    put(8, &2u32.to_be_bytes()); // Reserved, always set.
    put(12, &0x0001_0000u32.to_be_bytes());
    put(16, &[0xFF; 8]); // No header: the disk is fixed.
    put(28, b"neo ");
    put(32, &0x0001_0000u32.to_be_bytes());
    put(36, b"Wi2k"); // Importers know this one and "Mac ".
    put(40, &disk.bytes().to_be_bytes());
    put(48, &disk.bytes().to_be_bytes());
    put(56, &cylinders.to_be_bytes());
    put(58, &[heads, sectors]);
    put(60, &2u32.to_be_bytes()); // Fixed.
    put(68, &id);
    let sum: u32 = footer.iter().copied().map(u32::from).sum();
    footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
    footer
}

/// Cylinders, heads, sectors of a track: the specification's appendix.
fn geometry(sectors: u64) -> (u16, u8, u8) {
    let total = u32::try_from(sectors).unwrap_or(u32::MAX).min(65_535 * 16 * 255);
    let (mut heads, mut per_track) = (16, 255);
    if total < 65_535 * 16 * 63 {
        per_track = 17;
        heads = (total / per_track).div_ceil(1024).max(4);
        if total / per_track >= heads * 1024 || heads > 16 {
            (heads, per_track) = (16, 31);
        }
        if total / per_track >= heads * 1024 {
            per_track = 63;
        }
    }
    let narrow = |number: u32| u8::try_from(number).unwrap_or(u8::MAX);
    let cylinders = u16::try_from(total / per_track / heads).unwrap_or(u16::MAX);
    (cylinders, narrow(heads), narrow(per_track))
}

const CLUSTER_BYTES: usize = 1 << 16;
const OWN: u64 = 1 << 63;

/// QEMU: qcow2, version 3, without what is zero (QEMU's docs/interop/qcow2.rst). Clusters: header,
/// table of counts, counts, first-level table, second-level table, data.
///
/// The one second-level table maps 512 MiB.
pub fn qcow2(disk: &Disk) -> Vec<u8> {
    assert!(disk.bytes() <= 512 << 20, "a build's disk is smaller");
    let mut whole = Vec::new();
    disk.write_to(&mut whole).expect("a vector takes everything");
    let mut data = Vec::new();
    let mut map = Vec::with_capacity(CLUSTER_BYTES);
    let mut clusters: u64 = 5;
    for block in whole.chunks(CLUSTER_BYTES) {
        if block.iter().all(|byte| *byte == 0) {
            map.extend(0u64.to_be_bytes());
        } else {
            map.extend((clusters << 16 | OWN).to_be_bytes());
            data.extend(block);
            data.resize(data.len().next_multiple_of(CLUSTER_BYTES), 0);
            clusters += 1;
        }
    }
    let cluster = |mut bytes: Vec<u8>| {
        bytes.resize(CLUSTER_BYTES, 0);
        bytes
    };
    let mut header = Vec::new();
    header.extend(b"QFI\xFB");
    header.extend(3u32.to_be_bytes());
    header.extend([0; 12]); // No backing file.
    header.extend(16u32.to_be_bytes()); // A cluster's bits.
    header.extend(disk.bytes().to_be_bytes());
    header.extend(0u32.to_be_bytes()); // Not encrypted.
    header.extend(1u32.to_be_bytes()); // Entries of the first-level table.
    header.extend((3u64 << 16).to_be_bytes());
    header.extend((1u64 << 16).to_be_bytes());
    header.extend(1u32.to_be_bytes()); // Clusters of the table of counts.
    header.extend([0; 12]); // No snapshots.
    header.extend([0; 24]); // No features.
    header.extend(4u32.to_be_bytes()); // Counts of 16 bits.
    header.extend(104u32.to_be_bytes());
    let counts = (0..clusters).flat_map(|_| 1u16.to_be_bytes()).collect();
    let parts = [
        header,
        (2u64 << 16).to_be_bytes().to_vec(),
        counts,
        (4u64 << 16 | OWN).to_be_bytes().to_vec(),
        map,
    ];
    parts.into_iter().flat_map(cluster).chain(data).collect()
}
