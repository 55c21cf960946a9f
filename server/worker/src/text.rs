//! UTF-8 for `TextEncoder` and `TextDecoder`.

/// What became of bytes, and how many of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub(crate) text: String,
    /// Bytes that are in the text; the others are the beginning of a character.
    pub(crate) consumed: usize,
}

/// The bytes are not UTF-8, and the decoder is to say so.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotUtf8;

/// UTF-8 decode of the Encoding standard, without its byte order mark. Where more is to come
/// (`stream`), an unfinished character at the end waits for it.
pub(crate) fn decode(bytes: &[u8], fatal: bool, stream: bool) -> Result<Decoded, NotUtf8> {
    let mut text = String::with_capacity(bytes.len());
    let mut consumed = bytes.len();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        let invalid = chunk.invalid();
        if invalid.is_empty() {
            continue;
        }
        let unfinished =
            std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
        if unfinished && stream {
            consumed = bytes.len().saturating_sub(invalid.len());
        } else if fatal {
            return Err(NotUtf8);
        } else {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    Ok(Decoded { text, consumed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str, consumed: usize) -> Result<Decoded, NotUtf8> {
        Ok(Decoded { text: text.to_owned(), consumed })
    }

    #[test]
    fn errors_become_replacements_or_failures() {
        assert_eq!(decode(b"a\xffb", false, false), decoded("a\u{fffd}b", 3));
        assert_eq!(decode(b"a\xffb", true, false), Err(NotUtf8));
        // One replacement for each maximal part, as the standard says.
        assert_eq!(decode(b"\xf0\x9f\x92", false, false), decoded("\u{fffd}", 3));
        assert_eq!(decode(b"\xed\xa0\x80", false, false), decoded("\u{fffd}\u{fffd}\u{fffd}", 3));
        assert_eq!(decode(b"\xc0\x80", false, false), decoded("\u{fffd}\u{fffd}", 2));
    }

    #[test]
    fn an_unfinished_character_waits() {
        assert_eq!(decode(b"a\xe2\x82", true, true), decoded("a", 1));
        assert_eq!(decode(b"a\xe2\x82", true, false), Err(NotUtf8));
        assert_eq!(decode(b"\xe2\x82\xac", true, true), decoded("€", 3));
    }
}
