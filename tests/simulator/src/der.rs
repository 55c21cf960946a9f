//! A DER writer: what X.509 certificates and CRLs need, and no more.
//!
//! Public, so that forgery tests can write any extension they like.

use time::OffsetDateTime;

/// One value: tag, definite length, content.
pub fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len().to_be_bytes();
    let significant = length.iter().position(|b| *b != 0).unwrap_or(length.len() - 1);
    let length = &length[significant..];
    if content.len() >= 0x80 {
        out.push(0x80 | length.len() as u8);
    }
    out.extend_from_slice(length);
    out.extend_from_slice(content);
    out
}

fn joined<P: AsRef<[u8]>>(tag: u8, parts: impl IntoIterator<Item = P>) -> Vec<u8> {
    let content: Vec<u8> = parts.into_iter().flat_map(|p| p.as_ref().to_vec()).collect();
    value(tag, &content)
}

/// SEQUENCE of values that are DER already.
pub fn sequence<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Vec<u8> {
    joined(0x30, parts)
}

/// SET of values that are DER already (the caller sorts them).
pub fn set<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Vec<u8> {
    joined(0x31, parts)
}

/// `[number]`, constructed: an EXPLICIT tag around one value.
pub fn explicit(number: u8, inner: &[u8]) -> Vec<u8> {
    value(0xA0 | number, inner)
}

/// INTEGER from unsigned big-endian bytes, in the fewest bytes.
pub fn integer(big_endian: &[u8]) -> Vec<u8> {
    let start = big_endian.iter().position(|b| *b != 0).unwrap_or(big_endian.len());
    let mut content = big_endian[start..].to_vec();
    if content.first().is_none_or(|b| *b >= 0x80) {
        content.insert(0, 0);
    }
    value(0x02, &content)
}

/// OBJECT IDENTIFIER from dotted decimal text. Panics on text that is none: callers pass constants.
pub fn oid(dotted: &str) -> Vec<u8> {
    let arcs: Vec<u64> = dotted.split('.').map(|arc| arc.parse().expect("a decimal arc")).collect();
    let mut content = Vec::new();
    for arc in std::iter::once(arcs[0] * 40 + arcs[1]).chain(arcs[2..].iter().copied()) {
        let groups = (64 - arc.leading_zeros()).div_ceil(7).max(1);
        for group in (0..groups).rev() {
            let more = if group > 0 { 0x80 } else { 0 };
            content.push(more | ((arc >> (7 * group)) & 0x7F) as u8);
        }
    }
    value(0x06, &content)
}

/// OCTET STRING.
pub fn octet_string(content: &[u8]) -> Vec<u8> {
    value(0x04, content)
}

/// BIT STRING without unused bits.
pub fn bit_string(content: &[u8]) -> Vec<u8> {
    value(0x03, &[&[0], content].concat())
}

/// UTF8String.
pub fn utf8_string(text: &str) -> Vec<u8> {
    value(0x0C, text.as_bytes())
}

/// PrintableString.
pub fn printable_string(text: &str) -> Vec<u8> {
    value(0x13, text.as_bytes())
}

/// IA5String.
pub fn ia5_string(text: &str) -> Vec<u8> {
    value(0x16, text.as_bytes())
}

/// BOOLEAN TRUE.
pub fn boolean_true() -> Vec<u8> {
    value(0x01, &[0xFF])
}

/// NULL.
pub fn null() -> Vec<u8> {
    value(0x05, &[])
}

/// Time of a certificate, in UTC: UTCTime until 2049, GeneralizedTime from 2050 (RFC 5280
/// §4.1.2.5).
pub fn time(at: OffsetDateTime) -> Vec<u8> {
    let at = at.to_offset(time::UtcOffset::UTC);
    let rest = format!(
        "{:02}{:02}{:02}{:02}{:02}Z",
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    );
    match at.year() {
        year @ 1950..2050 => value(0x17, format!("{:02}{rest}", year % 100).as_bytes()),
        year => value(0x18, format!("{year:04}{rest}").as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_short_form_below_128_and_the_fewest_bytes_above() {
        assert_eq!(value(4, &[7; 0])[..2], [4, 0]);
        assert_eq!(value(4, &[7; 127])[..2], [4, 127]);
        assert_eq!(value(4, &[7; 128])[..3], [4, 0x81, 128]);
        assert_eq!(value(4, &[7; 256])[..4], [4, 0x82, 1, 0]);
    }

    #[test]
    fn integers_are_unsigned_and_minimal() {
        assert_eq!(integer(&[]), [2, 1, 0]);
        assert_eq!(integer(&[0, 0]), [2, 1, 0]);
        assert_eq!(integer(&[0x7F]), [2, 1, 0x7F]);
        assert_eq!(integer(&[0xD5]), [2, 2, 0, 0xD5]);
        assert_eq!(integer(&[1, 0, 1]), [2, 3, 1, 0, 1]);
    }

    #[test]
    fn object_identifiers_use_base_128() {
        assert_eq!(oid("1.3.6.1.4.1.3704.1.3.8"), [6, 10, 0x2B, 6, 1, 4, 1, 0x9C, 0x78, 1, 3, 8]);
        assert_eq!(oid("2.5.29.0"), [6, 3, 0x55, 0x1D, 0]);
    }

    #[test]
    fn times_change_their_form_in_2050() {
        let at = time::macros::datetime!(2049-12-31 23:59:59 UTC);
        assert_eq!(super::time(at), value(0x17, b"491231235959Z"));
        let at = at + time::Duration::SECOND;
        assert_eq!(super::time(at), value(0x18, b"20500101000000Z"));
    }
}
