//! Masking: what a function has read does not stand in its logs, its errors and its records. Best
//! effort: code that wants to can write a value in a way that nothing here knows.

use std::cmp::Reverse;
use std::ops::Range;

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, Encoding, HEXLOWER, HEXUPPER};
use memchr::memmem;
use neo_secrets_worker_protocol::SecretText;
use zeroize::Zeroizing;

use crate::limits;

/// What stands in a value's place.
pub const MASKED: &str = "[masked]";
/// Shorter values, and pieces of base64, are left: they would be found in what has nothing to do
/// with them.
const VALUE_BYTES_MIN: usize = 4;
/// What ends a text that the worker has cut, which it does before anything is masked here.
const ELLIPSIS: &str = "…";
/// A shorter beginning of a spelling is left where a text was cut: it would be found by chance.
const CUT_BYTES_MIN: usize = 8;
/// Stands in no UTF-8, and so in no spelling: for what is masked already, and between texts.
const NOTHING: u8 = 0xff;

/// Values, each once. Their spellings are made one at a time when they are looked for: together they
/// are up to twenty times as long.
#[derive(Default)]
pub struct Mask {
    values: Vec<SecretText>,
}

/// How a value may be written.
#[derive(Clone, Copy)]
enum Spelling {
    AsItIs,
    /// Within JSON.
    Json,
    Hex(&'static Encoding),
    /// In base64, so many bytes after the begin of a group.
    Base64(&'static Encoding, usize),
}

const SPELLINGS: [Spelling; 10] = [
    Spelling::AsItIs,
    Spelling::Json,
    Spelling::Hex(&HEXLOWER),
    Spelling::Hex(&HEXUPPER),
    Spelling::Base64(&BASE64_NOPAD, 0),
    Spelling::Base64(&BASE64_NOPAD, 1),
    Spelling::Base64(&BASE64_NOPAD, 2),
    Spelling::Base64(&BASE64URL_NOPAD, 0),
    Spelling::Base64(&BASE64URL_NOPAD, 1),
    Spelling::Base64(&BASE64URL_NOPAD, 2),
];

impl Mask {
    /// From here on, this value is masked too. False: no more are taken, and it is not to be given
    /// away.
    #[must_use]
    pub fn add(&mut self, value: &SecretText) -> bool {
        let known = |it: &SecretText| it.expose() == value.expose();
        let length = value.expose().len();
        if length < VALUE_BYTES_MIN || self.values.iter().any(known) {
            return true;
        }
        let bytes: usize = self.values.iter().map(|it| it.expose().len()).sum();
        if self.values.len() >= limits::GIVEN_VALUES || bytes + length > limits::GIVEN_BYTES {
            return false;
        }
        self.values.push(SecretText::new(value.expose().to_owned()));
        true
    }

    /// Whether there is nothing to mask.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The texts, with every spelling of a value replaced, the longest first. It takes a time that
    /// grows with the texts' length and with the number of values, and with nothing else; that may
    /// be seconds, so it is not for a reactor.
    pub fn texts(&self, texts: Vec<String>) -> Vec<String> {
        let mut all = texts.join("\0").into_bytes();
        let mut end = 0;
        for text in &texts {
            end += text.len();
            if let Some(between) = all.get_mut(end) {
                *between = NOTHING;
            }
            end += 1;
        }
        let mut found = Vec::new();
        for value in &self.values {
            for spelling in SPELLINGS {
                let written = spelling.of(value);
                if written.len() >= VALUE_BYTES_MIN && memmem::find(&all, &written).is_some() {
                    found.push((written.len(), spelling, value));
                }
            }
        }
        found.sort_by_key(|(length, ..)| Reverse(*length));
        let mut masked = Vec::new();
        for (length, spelling, value) in found {
            let written = spelling.of(value);
            let places: Vec<usize> = memmem::find_iter(&all, written.as_slice()).collect();
            for at in places {
                masked.push(at..at + length);
                if let Some(place) = all.get_mut(at..at + length) {
                    place.fill(NOTHING);
                }
            }
        }
        masked.extend(self.cut(&texts, &all));
        if masked.is_empty() {
            return texts;
        }
        masked.sort_by_key(|place| place.start);
        let (mut masked, mut begin) = (masked.into_iter().peekable(), 0);
        let each = texts.into_iter().map(|text| {
            let (mut new, mut kept, end) = (String::new(), 0, begin + text.len());
            while let Some(place) = masked.next_if(|place| place.start < end) {
                new += text.get(kept..place.start - begin).unwrap_or_default();
                new += MASKED;
                kept = place.end - begin;
            }
            begin = end + 1;
            if kept == 0 { text } else { new + text.get(kept..).unwrap_or_default() }
        });
        each.collect()
    }
}

impl Mask {
    /// Where a text was cut within a spelling: what is left of it, at the text's end. `all` has the
    /// texts, without what is masked already.
    fn cut(&self, texts: &[String], all: &[u8]) -> Vec<Range<usize>> {
        let mut cut = Vec::new();
        let mut begin = 0;
        for text in texts {
            let (from, length) = (begin, text.len());
            begin += length + 1;
            let Some(end) = text.strip_suffix(ELLIPSIS).map(|text| from + text.len()) else {
                continue;
            };
            let left = all.get(from..end).unwrap_or_default();
            let spellings = self.values.iter().flat_map(|it| SPELLINGS.map(|how| how.of(it)));
            let longest = spellings.map(|spelling| begun(left, &spelling)).max().unwrap_or(0);
            if longest >= CUT_BYTES_MIN {
                cut.push(end - longest..end);
            }
        }
        cut
    }
}

/// How many of the spelling's first bytes are the text's last ones, without being all of it: by Knuth,
/// Morris and Pratt, so that no text takes longer than its length.
fn begun(text: &[u8], spelling: &[u8]) -> usize {
    let length = text.len().min(spelling.len().saturating_sub(1));
    let begin = spelling.get(..length).unwrap_or_default();
    // Of each beginning, how long its longest end is that is a beginning too.
    let mut shorter = Vec::with_capacity(length);
    let next = |shorter: &[usize], mut matched: usize, byte: &u8| loop {
        if begin.get(matched) == Some(byte) {
            return matched + 1;
        }
        match matched.checked_sub(1).and_then(|last| shorter.get(last)) {
            Some(less) => matched = *less,
            None => return 0,
        }
    };
    for byte in begin {
        let matched = shorter.last().map_or(0, |last| next(&shorter, *last, byte));
        shorter.push(matched);
    }
    let end = text.get(text.len() - length..).unwrap_or_default();
    end.iter().fold(0, |matched, byte| next(&shorter, matched, byte))
}

impl Spelling {
    fn of(self, value: &SecretText) -> Zeroizing<Vec<u8>> {
        let value = value.expose();
        let text = match self {
            Self::AsItIs => value.to_owned(),
            Self::Json => {
                let json = Zeroizing::new(serde_json::to_string(value).unwrap_or_default());
                json.get(1..json.len().saturating_sub(1)).unwrap_or_default().to_owned()
            }
            Self::Hex(hex) => hex.encode(value.as_bytes()),
            Self::Base64(alphabet, before) => {
                let mut padded = Zeroizing::new(Vec::with_capacity(before + value.len()));
                padded.resize(before, 0);
                padded.extend_from_slice(value.as_bytes());
                let text = Zeroizing::new(alphabet.encode(&padded));
                // Its first characters say something of what comes before, its last of what follows;
                // only where nothing can follow it, and so nothing does, is the last its own.
                let (first, bits) = ((before * 8).div_ceil(6), padded.len() * 8);
                text.get(first..bits / 6).unwrap_or_default().to_owned()
            }
        };
        Zeroizing::new(text.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::{BASE64, BASE64URL};
    use rustix::time::{ClockId, clock_gettime};
    use std::time::Duration;

    fn mask(values: &[&str]) -> Mask {
        let mut mask = Mask::default();
        for value in values {
            assert!(mask.add(&SecretText::new((*value).to_owned())));
        }
        mask
    }

    impl Mask {
        fn text(&self, text: String) -> String {
            let [masked] = self.texts(vec![text]).try_into().unwrap();
            masked
        }
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

    #[test]
    fn a_value_is_masked_where_its_text_was_cut() {
        let mask = mask(&["s3cr3t-value-of-some-length", "s3cr3t-välue", "aaaaaaaaab"]);
        for (cut, masked) in [
            ("x s3cr3t-value-of…", "x [masked]…"),
            ("x s3cr3t-v…", "x [masked]…"),
            // The ellipsis is the worker's, and seven bytes are a coincidence.
            ("x s3cr3t-value-of", "x s3cr3t-value-of"),
            ("x s3cr3t-…", "x s3cr3t-…"),
            ("x s3cr3t-vä…", "x [masked]…"),
            ("s3cr3t-value-of-some-length s3cr3t-välues3cr3t-va…", "[masked] [masked][masked]…"),
            ("aaaaaaaaaaaaaaa…", "aaaaaa[masked]…"),
            ("…", "…"),
        ] {
            assert_eq!(mask.text(cut.to_owned()), masked, "{cut}");
        }
        let hex = HEXLOWER.encode(b"s3cr3t-value-of-some-length");
        let base64 = BASE64.encode(b"u:s3cr3t-value-of-some-length");
        let texts = vec![format!("{}…", &hex[..31]), "…".to_owned(), format!("{}…", &base64[..20])];
        assert_eq!(mask.texts(texts), ["[masked]…", "…", "dTp[masked]…"]);
    }

    proptest::proptest! {
        #[test]
        fn what_is_begun_is_the_longest(text in "[ab]{0,12}", spelling in "[ab]{0,12}") {
            let (text, spelling) = (text.as_bytes(), spelling.as_bytes());
            let longest = (0..spelling.len()).rev().find(|n| text.ends_with(&spelling[..*n]));
            proptest::prop_assert_eq!(begun(text, spelling), longest.unwrap_or(0));
        }
    }

    #[test]
    fn distinct_values_are_bounded_in_number_and_bytes() {
        let text = |number: usize, length: usize| {
            SecretText::new(format!("{number:08}{}", "x".repeat(length - 8)))
        };
        let taken = |length| {
            let mut mask = Mask::default();
            let taken = (0..1_000).take_while(|number| mask.add(&text(*number, length))).count();
            assert!(mask.add(&text(0, length)), "what is known is given again");
            assert!(mask.add(&SecretText::new("abc".to_owned())), "this is never masked");
            taken
        };
        assert_eq!(taken(8), limits::GIVEN_VALUES);
        assert_eq!(taken(65_536), 100, "all that a function may declare");
    }

    #[test]
    fn nothing_is_found_across_texts() {
        let mask = mask(&["abcd", "\0\0\0\0", "masked"]);
        let texts = ["", "ab", "cd", "abcdab", "cdabcd", "", "\0\0\0\0abcd", ""];
        let masked = ["", "ab", "cd", "[masked]ab", "cd[masked]", "", "[masked][masked]", ""];
        assert_eq!(mask.texts(texts.map(str::to_owned).to_vec()), masked);
    }

    /// What masking means, without a thought for time: the longest spelling first, from the left.
    fn naive(values: &[String], text: &str) -> String {
        let mut spellings: Vec<Vec<u8>> = vec![];
        for value in values {
            let value = SecretText::new(value.clone());
            spellings.extend(SPELLINGS.map(|spelling| spelling.of(&value).to_vec()));
        }
        spellings.retain(|it| it.len() >= VALUE_BYTES_MIN);
        spellings.sort_by_key(|it| Reverse(it.len()));
        let mut pieces = vec![text.to_owned()];
        for spelling in spellings {
            let spelling = String::from_utf8(spelling).unwrap();
            let parts = pieces.iter().flat_map(|piece| piece.split(&spelling));
            pieces = parts.map(str::to_owned).collect();
        }
        pieces.join(MASKED)
    }

    proptest::proptest! {
        #[test]
        fn texts_are_masked_as_if_one_by_one(
            values in proptest::collection::vec("[ab\"é]{4,9}", 0..4),
            texts in proptest::collection::vec("[ab\"é\\\\]{0,40}", 0..4),
        ) {
            let mut mask = Mask::default();
            let long: Vec<String> = values.into_iter().filter(|it| it.len() >= 4).collect();
            for value in &long {
                assert!(mask.add(&SecretText::new(value.clone())));
            }
            let expected: Vec<String> = texts.iter().map(|text| naive(&long, text)).collect();
            proptest::prop_assert_eq!(mask.texts(texts), expected);
        }
    }

    #[test]
    fn hostile_texts_take_a_time_that_grows_with_their_length() {
        // Nearly found at every place. Where each place is compared anew, sixteen times as much takes
        // 256 times as long.
        let took = |length: usize| {
            let nearly = format!("{}b", "a".repeat(length - 1));
            let mask = mask(&[&nearly, &nearly[1..]]);
            let text = "a".repeat(16 * length);
            // The thread's own time: what else the machine does is not in it.
            let worked = || clock_gettime(ClockId::ThreadCPUTime);
            let started = worked();
            assert_eq!(mask.text(text).len(), 16 * length);
            Duration::try_from(worked() - started).unwrap()
        };
        let least = |length| (0..5).map(|_| took(length)).min().unwrap();
        let (small, large) = (least(4_096), least(65_536));
        assert!(large < small * 80, "{small:?}, {large:?}");
    }
}
