//! Hexadecimal and base64 of fixed-length bytes, strict both ways: lower case, padded, canonical.

use data_encoding::{BASE64, HEXLOWER};
use serde::Serializer;

/// Decodes exactly `N` bytes of lower-case hexadecimal.
pub(crate) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

/// Decodes exactly `N` bytes of padded, canonical base64.
pub(crate) fn from_base64<const N: usize>(text: &str) -> Option<[u8; N]> {
    decode_base64(text)?.try_into().ok()
}

/// Decodes padded, canonical base64: one text, one spelling. The library also takes several that are
/// written one after the other, each with its padding.
pub(crate) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let is_one = !text.trim_end_matches('=').contains('=');
    is_one.then(|| BASE64.decode(text.as_bytes()).ok()).flatten()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// For `#[serde(serialize_with)]`.
pub(crate) fn serialize_hex<const N: usize, S: Serializer>(
    bytes: &[u8; N],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_one_spelling() {
        assert_eq!(decode_base64("AAECAw=="), Some(vec![0, 1, 2, 3]));
        for other in ["AA==AQID", "AAECAw", "AAECAw=", "AAECAx==", "AAEC Aw==", "AAECAw===", "===="]
        {
            assert_eq!(decode_base64(other), None, "{other}");
        }
        assert_eq!(from_base64::<4>("AA==AQID"), None);
    }
}
