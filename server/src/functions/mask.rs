//! Masking: what a function has read does not stand in its logs, its errors and its records. Best
//! effort: code that wants to can write a value in a way that nothing here knows.

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, Encoding, HEXLOWER, HEXUPPER};
use memchr::memmem::Finder;
use neo_secrets_worker_protocol::limits::{ERROR_MESSAGE, ERROR_NAME, ERROR_STACK, LOG_LINE};
use neo_secrets_worker_protocol::{ELLIPSIS, SecretText};
use zeroize::Zeroizing;

use crate::limits;

mod find;

use find::{Found, Windows, follow};

/// What stands in a value's place.
pub const MASKED: &str = "[masked]";
/// Shorter values, and pieces of base64, are left: they would be found in what has nothing to do
/// with them.
const VALUE_BYTES_MIN: usize = 4;
/// A beginning of a spelling that is masked like all of it, as far as it goes. The engine shows of an
/// identifier in its messages the first 63 bytes, less a part of a character.
const HEAD_BYTES: usize = 60;
/// A shorter beginning of a spelling is left where a text was cut: it would be found by chance.
const CUT_BYTES_MIN: usize = 8;
/// Stands in no UTF-8, and so in no spelling: between texts.
const NOTHING: u8 = 0xff;

/// Values, each once. Their spellings are made one at a time, once for all texts: together they are up
/// to twenty times as long.
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

    /// The texts, with every spelling of a value replaced; also what is left of one that was cut. It
    /// takes a time that grows with the lengths of the texts and of the values. It may be more than a
    /// second, so it is not for a reactor. Where it would be much more ([`limits::MASKING_BYTES`]),
    /// each text is replaced as a whole.
    pub fn texts(&self, texts: Vec<String>) -> Vec<String> {
        self.texts_within(limits::MASKING_BYTES, texts)
    }

    fn texts_within(&self, work: usize, texts: Vec<String>) -> Vec<String> {
        match self.found(&texts, work) {
            Some(found) => found.replaced(texts),
            None => texts.iter().map(|_| MASKED.to_owned()).collect(),
        }
    }

    /// Where the texts, one after the other and a byte between them, have something to mask. None
    /// where finding it would take too much work.
    fn found(&self, texts: &[String], mut work: usize) -> Option<Found> {
        let mut all = Vec::with_capacity(texts.iter().map(|text| text.len() + 1).sum());
        let mut cuts = vec![];
        for text in texts {
            if was_cut(text) {
                cuts.push(all.len() + text.len() - ELLIPSIS.len());
            }
            all.extend_from_slice(text.as_bytes());
            all.push(NOTHING);
        }
        let windows = Windows::of(&all);
        let mut found = Found::in_bytes(all.len());
        for value in &self.values {
            for written in SPELLINGS.iter().filter_map(|spelling| spelling.of(value)) {
                let Some(head) = written.get(..written.len().min(HEAD_BYTES)) else { continue };
                for end in &cuts {
                    let left = all.get(..*end).unwrap_or_default();
                    // All of it, or a head, is found anyway.
                    let begun = (CUT_BYTES_MIN..head.len()).rev();
                    let begun = begun.filter_map(|length| head.get(..length));
                    if let Some(begun) = begun.into_iter().find(|begun| left.ends_with(begun)) {
                        found.add(end - begun.len(), begun.len());
                    }
                }
                if windows.may_have(head) {
                    work = work.checked_sub(all.len() + written.len())?;
                    if let Some(first) = Finder::new(head).find(&all) {
                        follow(&all, first, &written, head.len(), &mut found);
                    }
                }
            }
        }
        Some(found)
    }
}

/// Whether the worker may have cut this text, which it does before anything is masked here.
fn was_cut(text: &str) -> bool {
    let fields = [LOG_LINE, ERROR_NAME, ERROR_MESSAGE, ERROR_STACK];
    fields.iter().any(|field| field.may_have_clipped(text))
}

impl Spelling {
    /// None where it is too short, or the value itself once more.
    fn of(self, value: &SecretText) -> Option<Zeroizing<Vec<u8>>> {
        let value = value.expose();
        let text = match self {
            Self::AsItIs => value.to_owned(),
            Self::Json => {
                let json = Zeroizing::new(serde_json::to_string(value).unwrap_or_default());
                let json = json.get(1..json.len().saturating_sub(1)).unwrap_or_default();
                if json == value {
                    return None;
                }
                json.to_owned()
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
        let written = Zeroizing::new(text.into_bytes());
        (written.len() >= VALUE_BYTES_MIN).then_some(written)
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

    /// As the worker cuts a text that ends so.
    fn cut(end: &str) -> String {
        let room = ERROR_NAME.max - ELLIPSIS.len() - end.len();
        ERROR_NAME.clip(format!("{}{end}{}", "-".repeat(room), "-".repeat(4)))
    }

    #[test]
    fn a_value_is_masked_where_its_text_was_cut() {
        let mask = mask(&["s3cr3t-value-of-some-length", "s3cr3t-välue", "aaaaaaaaab"]);
        for (end, masked) in [
            ("x s3cr3t-value-of", "x [masked]…"),
            ("x s3cr3t-v", "x [masked]…"),
            // Seven bytes are a coincidence.
            ("x s3cr3t-", "x s3cr3t-…"),
            ("x s3cr3t-vä", "x [masked]…"),
            ("s3cr3t-value-of-some-length s3cr3t-välues3cr3t-va", "[masked] [masked][masked]…"),
            ("aaaaaaaaaaaaaaa", "aaaaaa[masked]…"),
            ("", "…"),
        ] {
            let text = mask.text(cut(end));
            assert_eq!(text.trim_start_matches('-'), masked, "{end}");
        }
        // The worker has not cut these.
        for text in ["x s3cr3t-value-of", "x s3cr3t-value-of…", "…"] {
            assert_eq!(mask.text(text.to_owned()), text);
        }
        let hex = HEXLOWER.encode(b"s3cr3t-value-of-some-length");
        let base64 = BASE64.encode(b"u:s3cr3t-value-of-some-length");
        let texts = mask.texts(vec![cut(&hex[..31]), "…".to_owned(), cut(&base64[..20])]);
        let shown: Vec<&str> = texts.iter().map(|it| it.trim_start_matches('-')).collect();
        assert_eq!(shown, ["[masked]…", "…", "dTp[masked]…"]);
    }

    #[test]
    fn a_long_beginning_of_a_value_is_masked_as_far_as_it_goes() {
        let value = format!("{}é{}", "0123456789".repeat(6), "z".repeat(200));
        let mask = mask(&[&value]);
        // The last two part from the value within its character.
        for (text, masked) in [
            (&value[..60], "[masked]"),
            (&value[..62], "[masked]"),
            (&value[..200], "[masked]"),
            (&value, "[masked]"),
            (&format!("{value}{value}"), "[masked][masked]"),
            (&value[..59], &value[..59]),
            (&value[1..], &value[1..]),
            (&format!("{}è", &value[..60]), "[masked]è"),
            (&format!("{}è{value}", &value[..60]), "[masked]è[masked]"),
        ] {
            let shown = mask.text(format!("cannot read property '{text}' of undefined"));
            assert_eq!(shown, format!("cannot read property '{masked}' of undefined"));
        }
    }

    #[test]
    fn what_overlaps_is_masked_as_one() {
        let mask = mask(&["abcdefgh", "efghijkl", "ijklmnop"]);
        assert_eq!(mask.text("-abcdefghijklmnop-".into()), "-[masked]-");
        assert_eq!(mask.text("abcdefghefghijkl".into()), "[masked][masked]");
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

    /// What masking means, without a thought for time: at each place, as much as any spelling has.
    fn naive(values: &[String], text: &str) -> String {
        let values = values.iter().map(|it| SecretText::new(it.clone()));
        let spelled = values.flat_map(|it| SPELLINGS.map(|how| how.of(&it)));
        let spelled: Vec<_> = spelled.flatten().collect();
        let (mut new, mut end) = (String::new(), 0);
        for (at, character) in text.char_indices() {
            let rest = &text.as_bytes()[at..];
            let follow = |it: &Zeroizing<Vec<u8>>| {
                let same = it.iter().zip(rest).take_while(|(one, other)| one == other).count();
                if same >= it.len().min(HEAD_BYTES) { same } else { 0 }
            };
            let longest = spelled.iter().map(follow).max().unwrap_or(0);
            if longest > 0 && at >= end {
                new += MASKED;
            }
            if longest > 0 {
                end = end.max(text.floor_char_boundary(at + longest));
            }
            if at >= end {
                new.push(character);
            }
        }
        new
    }

    proptest::proptest! {
        #[test]
        fn texts_are_masked_as_if_one_by_one(
            values in proptest::collection::vec("[ab\"é]{4,9}|a{50,70}b?|(aé){18,30}", 0..4),
            texts in proptest::collection::vec("[ab\"éè\\\\]{0,40}|\
                [ab]?a{50,90}[bè]?a{0,80}|\
                (aé){15,45}(aè)?(aé){0,40}", 0..4),
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

    /// The thread's own time, at its least: what else the machine does is not in it.
    fn took(mask: &Mask, texts: &[String]) -> Duration {
        let worked = || clock_gettime(ClockId::ThreadCPUTime);
        let once = || {
            let started = worked();
            assert_eq!(mask.texts(texts.to_vec()).len(), texts.len());
            Duration::try_from(worked() - started).unwrap()
        };
        (0..4).map(|_| once()).min().unwrap()
    }

    #[test]
    fn hostile_texts_take_a_time_that_grows_with_their_length() {
        // Followed at every place. Where each place is compared anew, sixteen times as much takes
        // 256 times as long.
        let least = |length: usize| {
            let nearly = format!("{}b", "a".repeat(length - 1));
            let text = "a".repeat(16 * length);
            let mask = mask(&[&nearly, &nearly[1..]]);
            assert_eq!(mask.text(text.clone()), MASKED);
            took(&mask, &[text])
        };
        let (small, large) = (least(4_096), least(65_536));
        assert!(large < small * 80, "{small:?}, {large:?}");
    }

    #[test]
    fn many_texts_that_look_as_if_they_were_cut_take_no_longer() {
        let value = |number: usize| format!("{number:08}{}", "v".repeat(65_528));
        let values: Vec<String> = (0..100).map(value).collect();
        let mask = mask(&values.iter().map(String::as_str).collect::<Vec<_>>());
        let lines = |line: &str| vec![line.to_owned(); 1_000];
        let (plain, ellipsis) = (took(&mask, &lines("loading")), took(&mask, &lines("loading…")));
        assert!(ellipsis < plain * 2, "{plain:?}, {ellipsis:?}");
    }

    #[test]
    fn beyond_the_work_of_masking_each_text_is_replaced() {
        let values: Vec<String> = (0..20).map(|number| format!("value-{number:04}")).collect();
        let mask = mask(&values.iter().map(String::as_str).collect::<Vec<_>>());
        let texts = vec!["x".repeat(100_000), values.concat(), "others are not searched".into()];
        let each = texts.iter().map(|text| text.len() + 1).sum::<usize>() + values[0].len();
        let masked = [texts[0].clone(), MASKED.repeat(20), texts[2].clone()];
        assert_eq!(mask.texts_within(20 * each, texts.clone()), masked);
        assert_eq!(mask.texts_within(20 * each - 1, texts), [MASKED; 3]);
    }
}
