//! As much of a DER writer as the targets need, apart from the readers that they test.

/// An element with this tag.
pub fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = u16::try_from(contents.len()).unwrap();
    let [high, low] = length.to_be_bytes();
    let header = match length {
        ..=0x7F => vec![tag, low],
        0x80..=0xFF => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [&header, contents].concat()
}

/// An INTEGER from 0 to 255.
pub fn integer(number: u8) -> Vec<u8> {
    if number < 0x80 { element(2, &[number]) } else { element(2, &[0, number]) }
}

/// The element `[3]` of a certificate with these extensions: encoded identifiers and values, none
/// critical.
pub fn extensions(list: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let extension = |(oid, value): &(Vec<u8>, Vec<u8>)| {
        element(0x30, &[element(6, oid), element(4, value)].concat())
    };
    let list: Vec<u8> = list.iter().flat_map(extension).collect();
    element(0xA3, &element(0x30, &list))
}
