//! Keys and values: wiped when dropped, never shown by `Debug`, `Display` or an error.

use std::io::Read;

use hyper::body::Bytes;
use hyper::header::HeaderValue;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use crate::limits;

/// A bearer key of the API. It is visible ASCII; the text never leaves through `Debug` or an error.
pub struct ApiKey(Zeroizing<Vec<u8>>);

/// Why the bytes of a key file are not a key. The bytes themselves are not told.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyError {
    /// Nothing but an optional newline.
    #[error("expected one key and a newline, got nothing")]
    Empty,
    /// More than one line, a space, or a byte that is not visible ASCII.
    #[error(
        "expected one key of visible ASCII characters and a newline, got another byte at offset \
         {offset}"
    )]
    Character {
        /// Offset of the first byte that cannot stand in a key.
        offset: usize,
    },
    /// Longer than a key file may be.
    #[error("expected at most {max} bytes", max = limits::KEY_FILE_BYTES_MAX)]
    TooLong,
}

impl ApiKey {
    /// Takes a key as it stands in a key file: the key and at most one newline.
    pub fn from_file_bytes(mut bytes: Zeroizing<Vec<u8>>) -> Result<Self, ApiKeyError> {
        if bytes.len() > limits::KEY_FILE_BYTES_MAX {
            return Err(ApiKeyError::TooLong);
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        if bytes.is_empty() {
            return Err(ApiKeyError::Empty);
        }
        match bytes.iter().position(|byte| !byte.is_ascii_graphic()) {
            Some(offset) => Err(ApiKeyError::Character { offset }),
            None => Ok(Self(bytes)),
        }
    }

    /// The key's characters.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The `Authorization` header's value, marked sensitive; its memory is wiped when the last user
    /// drops it.
    pub(crate) fn to_authorization(&self) -> HeaderValue {
        let mut text = Zeroizing::new(Vec::with_capacity(7 + self.0.len()));
        text.extend_from_slice(b"Bearer ");
        text.extend_from_slice(&self.0);
        let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(text))
            .expect("`Bearer ` and visible ASCII, as from_file_bytes checked");
        value.set_sensitive(true);
        value
    }
}

/// A secret's value: 1 to 65,536 bytes of UTF-8.
pub struct SecretValue(Zeroizing<Vec<u8>>);

/// Why bytes are not a secret's value. The bytes themselves are not told.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretValueError {
    /// No byte at all.
    #[error("expected a value of at least 1 byte, got nothing")]
    Empty,
    /// More bytes than the API takes.
    #[error("expected a value of at most {max} bytes, got more", max = limits::VALUE_BYTES_MAX)]
    TooLong,
    /// Not UTF-8: the API carries values in JSON.
    #[error(
        "expected UTF-8 text, got another byte at offset {offset}; encode binary values first, for \
         example with base64"
    )]
    NotUtf8 {
        /// Offset of the first byte that is not UTF-8.
        offset: usize,
    },
}

impl SecretValue {
    /// Takes the exact bytes of a value.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Self, SecretValueError> {
        if bytes.is_empty() {
            return Err(SecretValueError::Empty);
        }
        if bytes.len() > limits::VALUE_BYTES_MAX {
            return Err(SecretValueError::TooLong);
        }
        match std::str::from_utf8(&bytes) {
            Ok(_) => Ok(Self(bytes)),
            Err(error) => Err(SecretValueError::NotUtf8 { offset: error.valid_up_to() }),
        }
    }

    /// The value's bytes, which are UTF-8.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether the last byte is a newline.
    pub fn ends_in_newline(&self) -> bool {
        self.0.last() == Some(&b'\n')
    }

    /// The value without one newline (LF or CR LF) at its end.
    pub fn strip_newline(mut self) -> Result<Self, SecretValueError> {
        if self.0.last() == Some(&b'\n') {
            self.0.pop();
            if self.0.last() == Some(&b'\r') {
                self.0.pop();
            }
        }
        if self.0.is_empty() { Err(SecretValueError::Empty) } else { Ok(self) }
    }
}

/// Text that is wiped when dropped, and never shown by `Debug`. It is read from JSON without a copy of
/// ours that stays behind.
pub(crate) struct Wiped(Zeroizing<String>);

impl Wiped {
    pub(crate) fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// The text's bytes, in the same memory.
    pub(crate) fn into_bytes(mut self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(std::mem::take(&mut *self.0).into_bytes())
    }
}

impl From<Zeroizing<String>> for Wiped {
    fn from(text: Zeroizing<String>) -> Self {
        Self(text)
    }
}

impl<'de> Deserialize<'de> for Wiped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Wiped;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Wiped, E> {
                Ok(Wiped::new(text))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Reads to the end of `source`, at most `max` bytes, into memory that is wiped, also where it is
/// outgrown. One byte more than `max` is kept when there is more, so that the caller sees that it
/// is too long.
pub(crate) fn read_wiped(mut source: impl Read, max: usize) -> std::io::Result<Zeroizing<Vec<u8>>> {
    const FIRST: usize = 128 * 1024;
    let mut buffer = Zeroizing::new(vec![0; FIRST.min(max + 1)]);
    let mut filled = 0;
    while filled <= max {
        if filled == buffer.len() {
            let mut larger = Zeroizing::new(vec![0; (2 * filled).min(max + 1)]);
            larger.iter_mut().zip(buffer.iter()).for_each(|(to, from)| *to = *from);
            buffer = larger;
        }
        let free = buffer.get_mut(filled..).unwrap_or_default();
        match source.read(free) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(buffer)
}

/// Appends `text` as a JSON string. `out` never grows past its capacity where the caller reserved
/// `6 * text.len() + 2`, so no unwiped copy is left behind.
pub(crate) fn push_json_string(out: &mut Vec<u8>, text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            0..0x20 => {
                let low = HEX[usize::from(byte & 15)];
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[b'0' + (byte >> 4), low]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &[u8]) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(text.to_vec())
    }

    #[test]
    fn a_key_file_is_one_key_and_at_most_one_newline() {
        for text in [&b"neo_abc"[..], b"neo_abc\n", b"neo_abc\r\n"] {
            let key = ApiKey::from_file_bytes(bytes(text)).ok().unwrap();
            assert_eq!(key.expose(), b"neo_abc");
            let header = key.to_authorization();
            assert_eq!(header.as_bytes(), b"Bearer neo_abc");
            assert!(!format!("{header:?}").contains("neo_abc"));
        }
        let refused = |text: &[u8]| ApiKey::from_file_bytes(bytes(text)).err().unwrap();
        assert_eq!(refused(b""), ApiKeyError::Empty);
        assert_eq!(refused(b"\n"), ApiKeyError::Empty);
        assert_eq!(refused(b"a b"), ApiKeyError::Character { offset: 1 });
        assert_eq!(refused(b"a\n\n"), ApiKeyError::Character { offset: 1 });
        assert_eq!(refused("schlüssel".as_bytes()), ApiKeyError::Character { offset: 4 });
        assert_eq!(refused(&[b'a'; limits::KEY_FILE_BYTES_MAX + 1]), ApiKeyError::TooLong);
    }

    #[test]
    fn a_value_is_bounded_utf8() {
        let refused = |text: &[u8]| SecretValue::new(bytes(text)).err().unwrap();
        assert_eq!(refused(b""), SecretValueError::Empty);
        assert_eq!(refused(&[b'a'; 65_537]), SecretValueError::TooLong);
        assert_eq!(refused(b"ab\xff"), SecretValueError::NotUtf8 { offset: 2 });
        assert!(SecretValue::new(bytes(&[b'a'; 65_536])).is_ok());
    }

    #[test]
    fn exactly_one_newline_is_stripped() {
        for (from, to) in
            [("a\n", "a"), ("a\n\n", "a\n"), ("a\r\n", "a"), ("a", "a"), ("a\r", "a\r")]
        {
            let value = SecretValue::new(bytes(from.as_bytes())).ok().unwrap();
            assert_eq!(value.ends_in_newline(), from.ends_with('\n'));
            assert_eq!(value.strip_newline().ok().unwrap().expose(), to.as_bytes());
        }
        let only = SecretValue::new(bytes(b"\n")).ok().unwrap();
        assert_eq!(only.strip_newline().err(), Some(SecretValueError::Empty));
    }

    #[test]
    fn json_strings_read_back_and_stay_in_their_memory() {
        let all: String = (0..0x300u32).filter_map(char::from_u32).collect();
        let mut out = Vec::with_capacity(6 * all.len() + 2);
        let before = out.as_ptr();
        push_json_string(&mut out, all.as_bytes());
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), all);
        assert_eq!(out.as_ptr(), before);
    }

    #[test]
    fn reading_stops_one_byte_past_the_limit() {
        assert_eq!(read_wiped(&b"abcdef"[..], 3).unwrap().as_slice(), b"abcd");
        assert_eq!(read_wiped(&b"abc"[..], 3).unwrap().as_slice(), b"abc");
        assert_eq!(read_wiped(&b""[..], 3).unwrap().as_slice(), b"");
        let long: Vec<u8> = (0..1_000_000u32).map(|n| n.to_le_bytes()[1]).collect();
        assert_eq!(read_wiped(&long[..], 1_000_000).unwrap().as_slice(), long);
        assert_eq!(read_wiped(&long[..], 999_998).unwrap().len(), 999_999);
    }
}
