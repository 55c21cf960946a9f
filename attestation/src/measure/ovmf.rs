//! OVMF's tables: what it tells the host that loads it.

use super::{FOUR_GIB, MeasureError, PAGE_BYTES, guid};
use crate::bytes::{ReadError, Reader};
use crate::limits;

/// OVMF's bytes and what its tables say.
pub(super) struct Firmware<'a> {
    bytes: &'a [u8],
    /// Guest-physical address of the first byte.
    pub address: u64,
    /// Where all processors but the first start.
    pub reset_vector: u32,
    /// Where the firmware looks for the table of hashes.
    pub kernel_hashes: Option<u32>,
    pub sections: Vec<Section>,
}

/// What a section of the SEV metadata is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SectionKind {
    Memory,
    Secrets,
    Cpuid,
    CallingArea,
    KernelHashes,
}

/// Whole pages below 4 GiB.
pub(super) struct Section {
    pub address: u32,
    pub bytes: u32,
    pub kind: SectionKind,
}

impl<'a> Firmware<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MeasureError> {
        let wrong_length = MeasureError::FirmwareBytes { got: bytes.len() };
        if bytes.is_empty() || bytes.len() > limits::FIRMWARE_BYTES_MAX {
            return Err(wrong_length);
        }
        if !bytes.len().is_multiple_of(PAGE_BYTES) {
            return Err(wrong_length);
        }
        let table = Table::find(bytes)?;
        let reset_block = guid(0x00f7_71de, 0x1a7e, 0x4fcb, 0x890e_68c7_7e2f_b44e);
        let reset_vector = table.number(&reset_block, "SEV_ES_RESET_BLOCK")?;
        let metadata = guid(0xdc88_6566, 0x984a, 0x4798, 0xa75e_5585_a7bf_67cc);
        let metadata = table.number(&metadata, "SEV_METADATA")?;
        let hashes = guid(0x7255_371f, 0x3a3b, 0x4b04, 0x927b_1da6_efa8_d454);
        let kernel_hashes = match table.number(&hashes, "SEV_HASH_TABLE") {
            Ok(0) | Err(MeasureError::EntryMissing { .. }) => None,
            found => Some(found?),
        };
        // The firmware ends at 4 GiB.
        let length = u64::try_from(bytes.len()).map_err(|_| wrong_length)?;
        let address = FOUR_GIB.checked_sub(length).ok_or(wrong_length)?;
        let sections = read_sections(bytes, metadata)?;
        Ok(Self { bytes, address, reset_vector, kernel_hashes, sections })
    }

    pub fn pages(&self) -> impl Iterator<Item = &'a [u8]> {
        self.bytes.chunks_exact(PAGE_BYTES)
    }
}

/// OVMF's table of GUIDs, read backwards from 32 bytes before the firmware's end: each entry is its
/// data, its length `u16` (all of the entry), its GUID. The last entry is the table's own and holds
/// the length of all.
struct Table<'a>(Vec<(&'a [u8], &'a [u8])>);

impl<'a> Table<'a> {
    fn find(firmware: &'a [u8]) -> Result<Self, MeasureError> {
        let end = firmware.len().checked_sub(32).ok_or(MeasureError::Footer)?;
        let (before, _) = firmware.split_at_checked(end).ok_or(MeasureError::Footer)?;
        let (before, table_bytes, name) = Self::header(before).ok_or(MeasureError::Footer)?;
        if name != guid(0x96b5_82de, 0x1fb2, 0x45f7, 0xbaea_a366_c55a_082d) {
            return Err(MeasureError::Footer);
        }
        let own_entry = limits::FIRMWARE_ENTRY_HEADER_BYTES;
        let data = table_bytes.checked_sub(own_entry).and_then(|length| last(before, length));
        let (_, mut rest) = data.ok_or(MeasureError::Table)?;
        let mut entries = Vec::new();
        while !rest.is_empty() {
            let (before, length, name) = Self::header(rest).ok_or(MeasureError::Table)?;
            let data = length.checked_sub(own_entry).and_then(|length| last(before, length));
            let (before, data) = data.ok_or(MeasureError::Table)?;
            entries.push((name, data));
            rest = before;
        }
        Ok(Self(entries))
    }

    /// What stands before an entry's length and GUID, and these two.
    fn header(bytes: &[u8]) -> Option<(&[u8], usize, &[u8])> {
        let (bytes, name) = last(bytes, 16)?;
        let (bytes, length) = bytes.split_last_chunk()?;
        Some((bytes, usize::from(u16::from_le_bytes(*length)), name))
    }

    /// The number at the start of an entry. Of entries with one name the last counts, as for QEMU.
    fn number(&self, guid: &[u8; 16], name: &'static str) -> Result<u32, MeasureError> {
        let entry = self.0.iter().find(|(entry, _)| entry == guid);
        let (_, data) = entry.ok_or(MeasureError::EntryMissing { name })?;
        let number = data.first_chunk().ok_or(MeasureError::Table)?;
        Ok(u32::from_le_bytes(*number))
    }
}

/// The last `length` bytes, and those before them.
fn last(bytes: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(bytes.len().checked_sub(length)?)
}

/// The SEV metadata: `ASEV`, length `u32`, version `u32`, count `u32`, then address, length, type
/// of each section.
fn read_sections(firmware: &[u8], from_end: u32) -> Result<Vec<Section>, MeasureError> {
    let from_end = usize::try_from(from_end).map_err(|_| MeasureError::Metadata)?;
    let (_, metadata) = last(firmware, from_end).ok_or(MeasureError::Metadata)?;
    let mut reader = Reader::new(metadata);
    if reader.array()? != *b"ASEV" {
        return Err(MeasureError::Metadata);
    }
    let (length, version, count) = (reader.u32_le()?, reader.u32_le()?, reader.u32_le()?);
    if count > limits::FIRMWARE_SECTIONS_MAX {
        return Err(MeasureError::Sections { got: count });
    }
    if version != 1 || length < 16 + 12 * count {
        return Err(MeasureError::Metadata);
    }
    let sections = (0..count).map(|_| Section::read(&mut reader));
    let sections: Vec<Section> = sections.collect::<Result<_, _>>()?;
    let pages: u64 = sections.iter().map(|section| u64::from(section.bytes >> 12)).sum();
    if pages > limits::FIRMWARE_SECTION_PAGES_MAX {
        return Err(MeasureError::SectionPages);
    }
    Ok(sections)
}

impl Section {
    fn read(reader: &mut Reader<'_>) -> Result<Self, MeasureError> {
        let (address, bytes) = (reader.u32_le()?, reader.u32_le()?);
        let kind = match reader.u32_le()? {
            1 => SectionKind::Memory,
            2 => SectionKind::Secrets,
            3 => SectionKind::Cpuid,
            4 => SectionKind::CallingArea,
            0x10 => SectionKind::KernelHashes,
            got => return Err(MeasureError::SectionType { got }),
        };
        let one_page = match kind {
            SectionKind::Memory | SectionKind::CallingArea => false,
            SectionKind::Secrets | SectionKind::Cpuid | SectionKind::KernelHashes => true,
        };
        let whole_pages = address.is_multiple_of(0x1000) && bytes.is_multiple_of(0x1000);
        let below_4_gib = u64::from(address) + u64::from(bytes) <= FOUR_GIB;
        if !whole_pages || !below_4_gib || one_page && bytes != 0x1000 {
            return Err(MeasureError::SectionExtent { address, bytes });
        }
        Ok(Self { address, bytes, kind })
    }
}

impl From<ReadError> for MeasureError {
    /// Only the metadata is read through a reader.
    fn from(_: ReadError) -> Self {
        Self::Metadata
    }
}
