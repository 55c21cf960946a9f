//! Takes the values of use-only secrets out of what a host answers. Best effort: a host that means to
//! can send a value in a form that nobody looks for.

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use memchr::memmem;
use zeroize::Zeroizing;

use crate::model::SecretValue;

/// What stands where a value stood.
const MASK: &[u8] = b"***";

/// Values in the forms that they are looked for.
#[derive(Default)]
pub(super) struct Masks(Vec<Zeroizing<Vec<u8>>>);

impl Masks {
    /// Adds a value as it is, as JSON has it, and as base64 and hex of it. In base64 it may stand at any place of a
    /// longer text, `user:value` for one; so what is looked for is what does not depend on the
    /// bytes around it.
    pub(super) fn add(&mut self, value: &SecretValue) {
        let value = value.expose();
        self.0.push(Zeroizing::new(value.to_vec()));
        // Use-only values are visible ASCII, of which JSON escapes these two.
        let mut json = Zeroizing::new(Vec::with_capacity(2 * value.len()));
        for byte in value {
            json.extend(matches!(byte, b'"' | b'\\').then_some(b'\\'));
            json.push(*byte);
        }
        self.0.push(json);
        for hex in [HEXLOWER, HEXUPPER] {
            self.0.push(Zeroizing::new(hex.encode(value).into_bytes()));
        }
        for before in 0..3 {
            let mut bytes = Zeroizing::new(vec![0; before]);
            bytes.reserve_exact(value.len());
            bytes.extend_from_slice(value);
            // With one byte before it the first two characters are of both, with two the first
            // three; so is the last one where the bytes don't fill their group.
            let of_both = if before == 0 { 0 } else { before + 1 };
            for base64 in [BASE64_NOPAD, BASE64URL_NOPAD] {
                let mut text = Zeroizing::new(base64.encode(&bytes).into_bytes());
                if bytes.len() % 3 != 0 {
                    text.pop();
                }
                text.drain(..of_both);
                self.0.push(text);
            }
        }
    }

    /// Whether there is nothing to look for.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These bytes, masked.
    pub(super) fn apply(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        for form in &self.0 {
            let finder = memmem::Finder::new(form.as_slice());
            if finder.find(&bytes).is_none() {
                continue;
            }
            let mut masked = Vec::with_capacity(bytes.len());
            let mut rest = 0;
            for place in finder.find_iter(&bytes) {
                masked.extend_from_slice(bytes.get(rest..place).unwrap_or_default());
                masked.extend_from_slice(MASK);
                rest = place + form.len();
            }
            masked.extend_from_slice(bytes.get(rest..).unwrap_or_default());
            drop(Zeroizing::new(std::mem::replace(&mut bytes, masked)));
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::{BASE64, BASE64URL};

    const VALUE: &str = "sk_live>?\"\\0123456789";

    fn mask(text: &str) -> String {
        let mut masks = Masks::default();
        masks.add(&SecretValue::parse(VALUE.to_owned()).unwrap());
        String::from_utf8(masks.apply(text.as_bytes().to_vec())).unwrap()
    }

    #[test]
    fn each_form_is_found_anywhere() {
        let json = serde_json::json!({"a": VALUE, "b": [VALUE]}).to_string();
        assert_eq!(mask(&json), r#"{"a":"***","b":["***"]}"#);
        assert_eq!(mask(&format!("{VALUE}{VALUE}")), "******");
        assert_eq!(mask(&format!("x{}y", HEXLOWER.encode(VALUE.as_bytes()))), "x***y");
        assert_eq!(mask(&HEXUPPER.encode(VALUE.as_bytes())), "***");
        for around in 0..9 {
            let (before, after) = (around % 3, around / 3);
            let text = format!("{}{VALUE}{}", "u".repeat(before), "v".repeat(after));
            for base64 in [BASE64, BASE64URL, BASE64_NOPAD, BASE64URL_NOPAD] {
                let masked = mask(&format!("<{}>", base64.encode(text.as_bytes())));
                // What is left is of the bytes around it, and a few bits of its ends.
                assert!(masked.contains("***") && masked.len() <= 3 + 2 + 10, "{around}: {masked}");
            }
        }
    }

    #[test]
    fn nothing_else_is_touched() {
        let text = &VALUE[..VALUE.len() - 1];
        assert_eq!(mask(text), text);
        assert_eq!(mask(""), "");
        let nothing = Masks::default();
        assert!(nothing.is_empty());
        assert_eq!(nothing.apply(VALUE.as_bytes().to_vec()), VALUE.as_bytes());
    }
}
