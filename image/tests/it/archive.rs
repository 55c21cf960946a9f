//! A reader of the initrd that shares nothing with its writer.

use std::collections::BTreeMap;
use std::io::Read as _;

#[derive(Debug)]
pub struct Entry {
    pub mode: u32,
    pub owner: (u32, u32),
    pub time: u32,
    pub bytes: Vec<u8>,
}

/// Every entry by its path.
pub fn entries(initrd: &[u8]) -> BTreeMap<String, Entry> {
    let mut cpio = Vec::new();
    flate2::read::GzDecoder::new(initrd).read_to_end(&mut cpio).unwrap();
    let mut entries = BTreeMap::new();
    let mut at = 0;
    loop {
        let header = std::str::from_utf8(&cpio[at..at + 110]).unwrap();
        assert_eq!(&header[..6], "070701");
        let field =
            |index: usize| u32::from_str_radix(&header[6 + 8 * index..14 + 8 * index], 16).unwrap();
        let name_end = at + 110 + field(11) as usize;
        let name = std::str::from_utf8(&cpio[at + 110..name_end - 1]).unwrap().to_owned();
        let start = name_end.next_multiple_of(4);
        let end = start + field(6) as usize;
        if name == "TRAILER!!!" {
            assert_eq!(end.next_multiple_of(4), cpio.len());
            return entries;
        }
        let entry = Entry {
            mode: field(1),
            owner: (field(2), field(3)),
            time: field(5),
            bytes: cpio[start..end].to_vec(),
        };
        assert!(entries.insert(name, entry).is_none());
        at = end.next_multiple_of(4);
    }
}
