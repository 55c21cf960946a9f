//! Writes DER.

use neo_secrets_attestation::time::UnixTime;

/// An element: tag, length, contents.
pub fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let len = contents.len();
    let [high, low] = u16::try_from(len).unwrap().to_be_bytes();
    let header = match len {
        0..=0x7F => vec![tag, low],
        0x80..=0xFF => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [&header, contents].concat()
}

pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(0x30, &parts.concat())
}

/// A non-negative integer, big-endian.
pub fn integer(magnitude: &[u8]) -> Vec<u8> {
    match magnitude {
        [] => element(2, &[0]),
        [0x80..=0xFF, ..] => element(2, &[&[0], magnitude].concat()),
        _ => element(2, magnitude),
    }
}

pub fn bit_string(bytes: &[u8]) -> Vec<u8> {
    element(3, &[&[0], bytes].concat())
}

/// An object identifier, from its encoded contents.
pub fn oid(contents: &[u8]) -> Vec<u8> {
    element(6, contents)
}

/// UTCTime before 2050, GeneralizedTime from then on.
pub fn time(time: UnixTime) -> Vec<u8> {
    let text = time.to_string().replace(['-', ':', 'T'], "");
    match text.strip_prefix("20").filter(|rest| *rest < "50") {
        Some(short) => element(0x17, short.as_bytes()),
        None => element(0x18, text.as_bytes()),
    }
}

/// A name with these common names, among what AMD's names have besides.
pub fn name(common_names: &[&str]) -> Vec<u8> {
    let attribute = |number: u8, tag: u8, text: &str| {
        let oid = oid(&[0x55, 4, number]);
        let pair = sequence(&[&oid, &element(tag, text.as_bytes())]);
        element(0x31, &pair)
    };
    let mut parts = vec![
        attribute(11, 0x0C, "Engineering"),
        attribute(6, 0x13, "US"),
        attribute(7, 0x0C, "Santa Clara"),
        attribute(8, 0x0C, "CA"),
        attribute(10, 0x0C, "A vendor for tests"),
    ];
    parts.extend(common_names.iter().map(|text| attribute(3, 0x0C, text)));
    element(0x30, &parts.concat())
}

/// The AlgorithmIdentifier of RSA-PSS with this hash and this salt.
pub fn pss(hash: Hash, salt_bytes: u8) -> Vec<u8> {
    let last = match hash {
        Hash::Sha256 => 1,
        Hash::Sha384 => 2,
    };
    let hash = sequence(&[&oid(&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, last]), &element(5, &[])]);
    let mgf1 = sequence(&[&oid(&[0x2A, 0x86, 0x48, 0x86, 0xF7, 13, 1, 1, 8]), &hash]);
    let parameters = sequence(&[
        &element(0xA0, &hash),
        &element(0xA1, &mgf1),
        &element(0xA2, &integer(&[salt_bytes])),
    ]);
    sequence(&[&oid(&[0x2A, 0x86, 0x48, 0x86, 0xF7, 13, 1, 1, 10]), &parameters])
}

/// A hash function of a signature.
#[derive(Clone, Copy)]
pub enum Hash {
    Sha256,
    Sha384,
}
