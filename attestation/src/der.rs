//! A reader for the part of DER that certificates and CRLs are made of. Whatever has two encodings
//! in BER has one here: minimal definite lengths, canonical integers, FALSE left out.

use thiserror::Error;

use crate::bytes::{ReadError, Reader};
use crate::limits::CRL_BYTES_MAX;
use crate::time::{UnixTime, two_digits};

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT_ID: u8 = 0x06;
pub(crate) const UTF8_STRING: u8 = 0x0C;
pub(crate) const PRINTABLE_STRING: u8 = 0x13;
pub(crate) const IA5_STRING: u8 = 0x16;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// The tag of a constructed, context-specific element.
pub(crate) const fn context(number: u8) -> u8 {
    0xA0 | number
}

/// Why bytes are not the DER that was expected.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DerError {
    /// The input ends too early, or too late.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Another element than the one expected.
    #[error("tag {got:#04x} at offset {position} instead of {expected:#04x}")]
    Tag {
        /// Offset of the tag.
        position: usize,
        /// The tag found.
        got: u8,
        /// The tag expected.
        expected: u8,
    },
    /// A length that is indefinite, longer than need be, or above 65,535.
    #[error("the length at offset {position} is not canonical")]
    Length {
        /// Offset of the length.
        position: usize,
    },
    /// Contents that its type does not allow, or not in this form.
    #[error("the value before offset {position} is malformed")]
    Value {
        /// Offset after the value.
        position: usize,
    },
}

/// Reads elements one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Der<'a>(Reader<'a>);

/// One element: its tag, its contents, and all its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a> {
    pub tag: u8,
    pub contents: &'a [u8],
    pub whole: &'a [u8],
}

impl<'a> Der<'a> {
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(Reader::new(bytes))
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the next element has this tag.
    pub fn next_is(&self, tag: u8) -> bool {
        self.0.peek() == Some(tag)
    }

    pub fn finish(self) -> Result<(), DerError> {
        Ok(self.0.finish()?)
    }

    /// The next element, whatever it is.
    pub fn element(&mut self) -> Result<Element<'a>, DerError> {
        let mut start = self.0.clone();
        let tag = self.0.u8()?;
        let position = self.0.position();
        let len = match self.0.u8()? {
            short @ 0..=0x7F => usize::from(short),
            0x81 => usize::from(self.0.u8()?),
            0x82 => usize::from(self.0.u16_be()?),
            _ => return Err(DerError::Length { position }),
        };
        let header = self.0.position() - position;
        let canonical = match header {
            1 => true,
            2 => len >= 0x80,
            _ => len >= 0x100,
        };
        if !canonical {
            return Err(DerError::Length { position });
        }
        let contents = self.0.take(len, CRL_BYTES_MAX)?;
        let whole = start.take(self.0.position() - start.position(), usize::MAX)?;
        Ok(Element { tag, contents, whole })
    }

    /// The next element, which must have this tag.
    pub fn expect(&mut self, expected: u8) -> Result<Element<'a>, DerError> {
        let position = self.0.position();
        let element = self.element()?;
        match element.tag {
            tag if tag == expected => Ok(element),
            got => Err(DerError::Tag { position, got, expected }),
        }
    }

    /// The contents of the next element, which must have this tag.
    pub fn contents(&mut self, expected: u8) -> Result<&'a [u8], DerError> {
        self.expect(expected).map(|element| element.contents)
    }

    /// A reader of the elements within the next one, which must have this tag.
    pub fn inside(&mut self, expected: u8) -> Result<Self, DerError> {
        self.contents(expected).map(Self::new)
    }

    /// A reader of the elements within the next one where it has this tag.
    pub fn inside_optional(&mut self, tag: u8) -> Result<Option<Self>, DerError> {
        if self.next_is(tag) { self.inside(tag).map(Some) } else { Ok(None) }
    }

    /// The contents of an INTEGER, in their only form.
    pub fn integer(&mut self) -> Result<&'a [u8], DerError> {
        let contents = self.contents(INTEGER)?;
        match contents {
            [] | [0x00, 0x00..=0x7F, ..] | [0xFF, 0x80..=0xFF, ..] => Err(self.malformed()),
            _ => Ok(contents),
        }
    }

    /// An INTEGER from 0 to 255.
    pub fn small_integer(&mut self) -> Result<u8, DerError> {
        match self.integer()? {
            [value @ 0..=0x7F] | [0, value] => Ok(*value),
            _ => Err(self.malformed()),
        }
    }

    /// A non-negative INTEGER of any size: its bytes, big-endian, without the zero that makes it
    /// non-negative.
    pub fn magnitude(&mut self) -> Result<&'a [u8], DerError> {
        match self.integer()? {
            [0x80..=0xFF, ..] => Err(self.malformed()),
            [0, rest @ ..] if !rest.is_empty() => Ok(rest),
            bytes => Ok(bytes),
        }
    }

    /// A BIT STRING of whole bytes.
    pub fn bit_string(&mut self) -> Result<&'a [u8], DerError> {
        match self.contents(BIT_STRING)? {
            [0, bytes @ ..] => Ok(bytes),
            _ => Err(self.malformed()),
        }
    }

    /// A BOOLEAN that defaults to FALSE, and so stands there only when it is TRUE.
    pub fn default_false(&mut self) -> Result<bool, DerError> {
        if !self.next_is(BOOLEAN) {
            return Ok(false);
        }
        match self.contents(BOOLEAN)? {
            [0xFF] => Ok(true),
            _ => Err(self.malformed()),
        }
    }

    /// A string of printable ASCII, in any of the three types that carry one.
    pub fn text(&mut self) -> Result<&'a str, DerError> {
        let position = self.0.position();
        let Element { tag, contents, .. } = self.element()?;
        if ![UTF8_STRING, PRINTABLE_STRING, IA5_STRING].contains(&tag) {
            return Err(DerError::Tag { position, got: tag, expected: UTF8_STRING });
        }
        let printable = contents.iter().all(|byte| (0x20..0x7F).contains(byte));
        match str::from_utf8(contents) {
            Ok(text) if printable && !text.is_empty() => Ok(text),
            _ => Err(self.malformed()),
        }
    }

    /// A UTCTime or a GeneralizedTime, in the forms of RFC 5280: seconds and `Z`.
    pub fn time(&mut self) -> Result<UnixTime, DerError> {
        let Element { tag, contents, .. } = self.element()?;
        let time = match (tag, contents) {
            (UTC_TIME, [y0, y1, rest @ ..]) => two_digits(*y0, *y1).and_then(|year| {
                let century = if year < 50 { 20 } else { 19 };
                civil(century, year, rest)
            }),
            (GENERALIZED_TIME, [c0, c1, y0, y1, rest @ ..]) => two_digits(*c0, *c1)
                .zip(two_digits(*y0, *y1))
                .and_then(|(century, year)| civil(century, year, rest)),
            _ => None,
        };
        time.ok_or_else(|| self.malformed())
    }

    fn malformed(&self) -> DerError {
        DerError::Value { position: self.0.position() }
    }
}

/// The time whose month and lesser parts stand in `rest` as `MMDDhhmmssZ`.
fn civil(century: u8, year: u8, rest: &[u8]) -> Option<UnixTime> {
    let [m0, m1, d0, d1, h0, h1, i0, i1, s0, s1, b'Z'] = rest else { return None };
    let year = u16::from(century) * 100 + u16::from(year);
    let date = (year, two_digits(*m0, *m1)?, two_digits(*d0, *d1)?);
    UnixTime::from_civil(
        date,
        (two_digits(*h0, *h1)?, two_digits(*i0, *i1)?, two_digits(*s0, *s1)?),
    )
}

/// An object identifier in dotted form, for error messages; a long one is cut off (`..`).
pub(crate) fn dotted(oid: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 64;
    let mut parts = Vec::new();
    let mut value = 0u64;
    for byte in oid.iter().take(SHOWN_BYTES_MAX) {
        value = value.wrapping_shl(7) | u64::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            if parts.is_empty() {
                let first = (value / 40).min(2);
                parts.push(first.to_string());
                value -= first * 40;
            }
            parts.push(value.to_string());
            value = 0;
        }
    }
    if oid.len() > SHOWN_BYTES_MAX {
        parts.push(".".to_owned());
    }
    parts.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_one_form() {
        let long = |header: &[u8], len: usize| [header, &vec![7; len]].concat();
        for (bytes, len) in [
            (long(&[4, 0x7F], 0x7F), 0x7F),
            (long(&[4, 0x81, 0x80], 0x80), 0x80),
            (long(&[4, 0x82, 1, 0], 0x100), 0x100),
        ] {
            let mut der = Der::new(&bytes);
            let element = der.element().unwrap();
            assert_eq!((element.tag, element.contents.len()), (OCTET_STRING, len));
            assert_eq!(element.whole, bytes);
            assert_eq!(der.finish(), Ok(()));
        }
        for header in [&[4, 0x80][..], &[4, 0x81, 0x7F], &[4, 0x82, 0, 0xFF], &[4, 0x83, 1, 0, 0]] {
            let bytes = long(header, 0x1_0000);
            assert_eq!(Der::new(&bytes).element().unwrap_err(), DerError::Length { position: 1 });
        }
    }

    #[test]
    fn integers_have_one_form() {
        let small = |bytes: &[u8]| Der::new(bytes).small_integer();
        assert_eq!(small(&[2, 1, 0x7F]), Ok(0x7F));
        assert_eq!(small(&[2, 2, 0, 0x80]), Ok(0x80));
        for bytes in [&[2, 0][..], &[2, 1, 0x80], &[2, 2, 0, 0x7F], &[2, 2, 1, 0]] {
            assert_eq!(small(bytes), Err(DerError::Value { position: bytes.len() }));
        }
        assert_eq!(Der::new(&[2, 1, 0]).magnitude(), Ok(&[0][..]));
        assert_eq!(Der::new(&[2, 2, 0, 0x80]).magnitude(), Ok(&[0x80][..]));
        assert_eq!(Der::new(&[2, 1, 0xFF]).magnitude(), Err(DerError::Value { position: 3 }));
    }

    #[test]
    fn times_booleans_and_texts() {
        let time = |tag: u8, text: &str| {
            let bytes = [&[tag, text.len() as u8], text.as_bytes()].concat();
            Der::new(&bytes).time().ok().map(|time| time.to_string())
        };
        assert_eq!(time(UTC_TIME, "491231235959Z").unwrap(), "2049-12-31T23:59:59Z");
        assert_eq!(time(UTC_TIME, "700101000000Z").unwrap(), "1970-01-01T00:00:00Z");
        assert_eq!(time(GENERALIZED_TIME, "20500101000000Z").unwrap(), "2050-01-01T00:00:00Z");
        for text in ["500101000000Z", "4912312359Z", "491231235959+0000", "490230000000Z", ""] {
            assert_eq!(time(UTC_TIME, text), None, "{text}");
        }
        assert_eq!(Der::new(&[1, 1, 0xFF]).default_false(), Ok(true));
        assert_eq!(Der::new(&[4, 0]).default_false(), Ok(false));
        assert_eq!(Der::new(&[1, 1, 0]).default_false(), Err(DerError::Value { position: 3 }));
        assert_eq!(Der::new(b"\x16\x01A").text(), Ok("A"));
        assert_eq!(Der::new(b"\x16\x01\n").text(), Err(DerError::Value { position: 3 }));
        assert!(matches!(Der::new(b"\x1E\x01A").text(), Err(DerError::Tag { got: 0x1E, .. })));
        assert_eq!(dotted(&[0x2B, 6, 1, 4, 1, 0x9C, 0x78, 1, 3, 8]), "1.3.6.1.4.1.3704.1.3.8");
        assert_eq!(dotted(&[0x55, 4, 3]), "2.5.4.3");
        // A certificate that nobody has vouched for yet can name anything.
        let long = dotted(&[0x2A; 8_000]);
        assert!(long.starts_with("1.2.42.42.") && long.ends_with(".."), "{long}");
        assert!(long.len() < 300, "{}", long.len());
    }
}
