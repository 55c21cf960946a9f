//! The unified kernel image: an EFI program that carries kernel, initrd and command line as sections
//! (UAPI Group specification "Unified Kernel Image"). The stub is systemd's, as Debian built it.

use crate::error::ImageError;

/// A bound that keeps the image small enough for any EFI system partition.
pub const UKI_BYTES_MAX: usize = 32 << 20;

/// A section to add.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    /// At most 8 bytes, with its dot.
    pub name: &'a str,
    /// What is in it.
    pub bytes: &'a [u8],
}

// Offsets of the PE format (Microsoft, "PE Format"): COFF header behind the signature, PE32+
// optional header behind that, then the table of sections.
const COFF_SECTIONS: usize = 4 + 2;
const COFF_OPTIONAL_BYTES: usize = 4 + 16;
const OPTIONAL: usize = 4 + 20;
const OPTIONAL_MAGIC: u16 = 0x20B;
const INITIALIZED_BYTES: usize = OPTIONAL + 8;
const SECTION_ALIGNMENT: usize = OPTIONAL + 32;
const FILE_ALIGNMENT: usize = OPTIONAL + 36;
const IMAGE_BYTES: usize = OPTIONAL + 56;
const HEADERS_BYTES: usize = OPTIONAL + 60;
const SECTION_HEADER_BYTES: usize = 40;
const READABLE_DATA: u32 = 0x4000_0040;

/// Adds sections to a stub, in this order.
///
/// # Errors
/// The stub is malformed or has no room, or the whole is too long.
pub fn assemble(stub: &[u8], sections: &[Section<'_>]) -> Result<Vec<u8>, ImageError> {
    let mut image = stub.to_vec();
    let header = word(&image, 0x3C)?;
    if image.get(header..header + 4) != Some(b"PE\0\0") {
        return Err(ImageError::Stub("it has no PE signature"));
    }
    if half(&image, header + OPTIONAL)? != OPTIONAL_MAGIC {
        return Err(ImageError::Stub("it is not PE32+"));
    }
    let count = half(&image, header + COFF_SECTIONS)?;
    let optional_bytes = usize::from(half(&image, header + COFF_OPTIONAL_BYTES)?);
    let alignment = word(&image, header + SECTION_ALIGNMENT)?;
    let file_alignment = word(&image, header + FILE_ALIGNMENT)?;
    let headers_end = word(&image, header + HEADERS_BYTES)?;
    if !alignment.is_power_of_two() || !file_alignment.is_power_of_two() {
        return Err(ImageError::Stub("its alignments are no powers of two"));
    }
    let mut place = header + OPTIONAL + optional_bytes + usize::from(count) * SECTION_HEADER_BYTES;
    let mut address = word(&image, header + IMAGE_BYTES)?.next_multiple_of(alignment);
    let mut initialized = word(&image, header + INITIALIZED_BYTES)?;
    image.resize(image.len().next_multiple_of(file_alignment), 0);
    for section in sections {
        let Section { name, bytes } = *section;
        if place + SECTION_HEADER_BYTES > headers_end || name.len() > 8 {
            return Err(ImageError::Stub("its headers have no room for another section"));
        }
        let offset = image.len();
        image.extend(bytes);
        image.resize(image.len().next_multiple_of(file_alignment), 0);
        let raw_bytes = image.len() - offset;
        let name: Vec<u8> = name.bytes().chain([0; 8]).take(8).collect();
        put(&mut image, place, &name)?;
        for (index, value) in [bytes.len(), address, raw_bytes, offset].into_iter().enumerate() {
            put_word(&mut image, place + 8 + 4 * index, value)?;
        }
        put(&mut image, place + 24, &[0; 12])?; // No relocations, no line numbers.
        put(&mut image, place + 36, &READABLE_DATA.to_le_bytes())?;
        place += SECTION_HEADER_BYTES;
        address = (address + bytes.len()).next_multiple_of(alignment);
        initialized += raw_bytes;
        if image.len() > UKI_BYTES_MAX {
            return Err(ImageError::UkiBytes { got: image.len(), limit: UKI_BYTES_MAX });
        }
    }
    let added = u16::try_from(sections.len()).map_err(|_| ImageError::Stub("too many sections"))?;
    put(&mut image, header + COFF_SECTIONS, &(count + added).to_le_bytes())?;
    put_word(&mut image, header + IMAGE_BYTES, address)?;
    put_word(&mut image, header + INITIALIZED_BYTES, initialized)?;
    Ok(image)
}

const SHORT: ImageError = ImageError::Stub("it ends within its headers");

fn half(image: &[u8], offset: usize) -> Result<u16, ImageError> {
    let bytes = image.get(offset..).and_then(<[u8]>::first_chunk).ok_or(SHORT)?;
    Ok(u16::from_le_bytes(*bytes))
}

fn word(image: &[u8], offset: usize) -> Result<usize, ImageError> {
    let bytes = image.get(offset..).and_then(<[u8]>::first_chunk).ok_or(SHORT)?;
    usize::try_from(u32::from_le_bytes(*bytes)).map_err(|_| SHORT)
}

fn put(image: &mut [u8], offset: usize, bytes: &[u8]) -> Result<(), ImageError> {
    let place = image.get_mut(offset..).and_then(|rest| rest.get_mut(..bytes.len()));
    place.ok_or(SHORT)?.copy_from_slice(bytes);
    Ok(())
}

fn put_word(image: &mut [u8], offset: usize, value: usize) -> Result<(), ImageError> {
    let value = u32::try_from(value).map_err(|_| ImageError::Stub("it is too long"))?;
    put(image, offset, &value.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Headers of 0x400 bytes and one section, as small as it gets.
    fn stub() -> Vec<u8> {
        let mut stub = vec![0; 0x600];
        stub[..2].copy_from_slice(b"MZ");
        put_word(&mut stub, 0x3C, 0x80).unwrap();
        stub[0x80..0x84].copy_from_slice(b"PE\0\0");
        put(&mut stub, 0x80 + COFF_SECTIONS, &1u16.to_le_bytes()).unwrap();
        put(&mut stub, 0x80 + COFF_OPTIONAL_BYTES, &240u16.to_le_bytes()).unwrap();
        put(&mut stub, 0x80 + OPTIONAL, &OPTIONAL_MAGIC.to_le_bytes()).unwrap();
        for (offset, value) in [
            (SECTION_ALIGNMENT, 0x1000),
            (FILE_ALIGNMENT, 0x200),
            (IMAGE_BYTES, 0x2000),
            (HEADERS_BYTES, 0x400),
        ] {
            put_word(&mut stub, 0x80 + offset, value).unwrap();
        }
        stub
    }

    #[test]
    fn sections_are_aligned_in_file_and_memory_and_counted() {
        let sections = [
            Section { name: ".cmdline", bytes: b"quiet" },
            Section { name: ".linux", bytes: &[7; 0x1001] },
        ];
        let image = assemble(&stub(), &sections).unwrap();
        assert_eq!(half(&image, 0x80 + COFF_SECTIONS).unwrap(), 3);
        assert_eq!(word(&image, 0x80 + IMAGE_BYTES).unwrap(), 0x5000);
        let table = 0x80 + OPTIONAL + 240 + SECTION_HEADER_BYTES;
        assert_eq!(&image[table..table + 8], b".cmdline");
        let words =
            |place: usize| [8, 12, 16, 20].map(|offset| word(&image, place + offset).unwrap());
        assert_eq!(words(table), [5, 0x2000, 0x200, 0x600]);
        assert_eq!(words(table + SECTION_HEADER_BYTES), [0x1001, 0x3000, 0x1200, 0x800]);
        assert_eq!(&image[0x600..0x605], b"quiet");
        assert_eq!(image.len(), 0x800 + 0x1200);
    }

    #[test]
    fn a_stub_that_is_none_is_refused() {
        for length in 0..0x400 {
            let stub = &stub()[..length];
            let refused = assemble(stub, &[Section { name: ".a", bytes: b"" }; 3]);
            assert!(length > 0x100 || matches!(refused, Err(ImageError::Stub(_))), "{length}");
        }
        let mut other = stub();
        other[0x80] = b'N';
        assert!(matches!(assemble(&other, &[]), Err(ImageError::Stub("it has no PE signature"))));
        let many = [Section { name: ".a", bytes: b"" }; 64];
        assert!(matches!(assemble(&stub(), &many), Err(ImageError::Stub(_))));
    }

    #[test]
    fn more_than_the_limit_is_refused() {
        let bytes = vec![0; UKI_BYTES_MAX];
        let refused = assemble(&stub(), &[Section { name: ".linux", bytes: &bytes }]);
        assert!(matches!(refused, Err(ImageError::UkiBytes { limit: UKI_BYTES_MAX, .. })));
    }
}
