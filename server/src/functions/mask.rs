//! Masking: what a function has read does not stand in its logs, its errors and its records. Best
//! effort: code that wants to can write a value in a way that nothing here knows.

use std::collections::HashMap;

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use neo_secrets_worker_protocol::SecretText;
use zeroize::Zeroizing;

/// What stands in a value's place.
pub const MASKED: &str = "[masked]";
/// Shorter values, and pieces of base64, are left: they would be found in what has nothing to do
/// with them.
const VALUE_BYTES_MIN: usize = 4;

/// Spellings of values: as they are, within JSON, in base64 of both alphabets and at any place of
/// a longer text, in hex.
#[derive(Default)]
pub struct Mask {
    spellings: Vec<Zeroizing<Vec<u8>>>,
}

impl Mask {
    /// From here on, this value is masked too.
    pub fn add(&mut self, value: &SecretText) {
        let value = value.expose();
        let known = |it: &Zeroizing<Vec<u8>>| it.as_slice() == value.as_bytes();
        if value.len() < VALUE_BYTES_MIN || self.spellings.iter().any(known) {
            return;
        }
        let bytes = value.as_bytes();
        let json = Zeroizing::new(serde_json::to_string(value).unwrap_or_default());
        let json = json.get(1..json.len().saturating_sub(1)).unwrap_or_default();
        let mut add = |text: &str| {
            self.spellings.push(Zeroizing::new(text.as_bytes().to_vec()));
        };
        add(value);
        add(json);
        add(&Zeroizing::new(HEXLOWER.encode(bytes)));
        add(&Zeroizing::new(HEXUPPER.encode(bytes)));
        for alphabet in [BASE64_NOPAD, BASE64URL_NOPAD] {
            for before in 0..3_usize {
                let mut padded = Zeroizing::new(vec![0; before]);
                padded.extend_from_slice(bytes);
                let text = Zeroizing::new(alphabet.encode(&padded));
                // Its first characters say something of what comes before, its last of what follows;
                // only where nothing can follow it, and so nothing does, is the last its own.
                let (first, bits) = ((before * 8).div_ceil(6), padded.len() * 8);
                let inner = text.get(first..bits / 6).unwrap_or_default();
                if inner.len() >= VALUE_BYTES_MIN {
                    add(inner);
                }
            }
        }
    }

    /// The text, with every spelling of a value replaced: the longest where several begin.
    pub fn text(&self, text: String) -> String {
        let starts = self.by_start();
        if starts.is_empty() {
            return text;
        }
        let bytes = text.as_bytes();
        let (mut masked, mut kept, mut at) = (String::new(), 0, 0);
        while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= VALUE_BYTES_MIN) {
            let found = rest
                .first_chunk::<VALUE_BYTES_MIN>()
                .and_then(|start| starts.get(start))
                .and_then(|spellings| spellings.iter().find(|it| rest.starts_with(it)));
            let Some(spelling) = found else {
                at += 1;
                continue;
            };
            masked += text.get(kept..at).unwrap_or_default();
            masked += MASKED;
            at += spelling.len();
            kept = at;
        }
        match kept {
            0 => text,
            _ => masked + text.get(kept..).unwrap_or_default(),
        }
    }

    /// The spellings by their first bytes, the longest of each first.
    fn by_start(&self) -> HashMap<[u8; VALUE_BYTES_MIN], Vec<&[u8]>> {
        let mut starts: HashMap<_, Vec<&[u8]>> = HashMap::new();
        for spelling in &self.spellings {
            if let Some(start) = spelling.first_chunk::<VALUE_BYTES_MIN>() {
                starts.entry(*start).or_default().push(spelling);
            }
        }
        for spellings in starts.values_mut() {
            spellings.sort_by_key(|spelling| std::cmp::Reverse(spelling.len()));
        }
        starts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::{BASE64, BASE64URL};

    fn mask(values: &[&str]) -> Mask {
        let mut mask = Mask::default();
        for value in values {
            mask.add(&SecretText::new((*value).to_owned()));
        }
        mask
    }

    const VALUE: &str = "s3cr3t-\"välue\"\n?>~";

    #[test]
    fn no_spelling_of_a_value_is_left() {
        let mask = mask(&[VALUE]);
        let bytes = VALUE.as_bytes();
        for spelling in [
            VALUE.to_owned(),
            HEXLOWER.encode(bytes),
            HEXUPPER.encode(bytes),
            BASE64_NOPAD.encode(bytes),
            BASE64URL_NOPAD.encode(bytes),
        ] {
            let text = mask.text(format!("a ä{spelling}|{spelling}{spelling}z"));
            let left = text.replace(MASKED, "");
            // A sixth of the last byte's bits may stay.
            assert!(left.len() <= "a ä|z".len() + 3, "{text}");
            assert_eq!(text.matches(MASKED).count(), 3, "{text}");
        }
        let json = serde_json::to_string(&[VALUE]).unwrap();
        assert_eq!(mask.text(json), format!("[\"{MASKED}\"]"));
    }

    #[test]
    fn base64_of_a_longer_text_is_found_at_each_place() {
        let mask = mask(&["password-of-some-length"]);
        for before in ["", "u", "us", "user:"] {
            for after in ["", "x", "xy", "xyz"] {
                let text = format!("{before}password-of-some-length{after}");
                for encoded in [BASE64.encode(text.as_bytes()), BASE64URL.encode(text.as_bytes())] {
                    let masked = mask.text(encoded.clone());
                    assert!(masked.contains(MASKED), "{text}: {masked}");
                    assert!(masked.len() < 26, "{text}: {masked}");
                }
            }
        }
    }

    #[test]
    fn the_longest_value_wins_and_short_ones_are_left() {
        let mask = mask(&["abcd", "abcdefgh", "xyz", "é€"]);
        assert_eq!(mask.text("abcdefghabcdxyz".into()), format!("{MASKED}{MASKED}xyz"));
        assert_eq!(mask.text("abc".into()), "abc");
        assert_eq!(mask.text("é€é€é".into()), format!("{MASKED}{MASKED}é"));
        assert_eq!(mask.text("ab\u{10FFFF}cd".into()), "ab\u{10FFFF}cd");
        assert_eq!(Mask::default().text("abcd".into()), "abcd");
    }
}
