//! Ids: what each looks like, and the order in which an account gives them out.

use super::{Issue, Timestamp};
use crate::secret::{RandomError, random_array};
use data_encoding::BASE64URL_NOPAD;
use std::fmt;
use std::marker::PhantomData;

/// Bytes of an id: 6 of creation time (big-endian milliseconds since 1970), 12 random.
pub const ID_BYTES: usize = 18;
const ID_TIME_BYTES: usize = 6;
/// Of the longest prefix and the base64url part, which has no remainder.
const ID_TEXT_BYTES_MAX: usize = 5 + ID_BYTES / 3 * 4;
const ID_TIME_MAX: u64 = (1 << (8 * ID_TIME_BYTES)) - 1;

/// What an id names; fixes its prefix.
pub trait IdKind: Copy + Ord + std::hash::Hash + Send + Sync + 'static {
    /// The text before the base64url part.
    const PREFIX: &'static str;
}

/// Marks the ids of secrets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OfSecret;
/// Marks the ids of API keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OfKey;
/// Marks the ids of accounts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OfAccount;
/// Marks the ids of functions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OfFunction;
/// Marks the ids of executions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OfExecution;
impl IdKind for OfSecret {
    const PREFIX: &'static str = "sec_";
}
impl IdKind for OfKey {
    const PREFIX: &'static str = "key_";
}
impl IdKind for OfAccount {
    const PREFIX: &'static str = "acc_";
}
impl IdKind for OfFunction {
    const PREFIX: &'static str = "func_";
}
impl IdKind for OfExecution {
    const PREFIX: &'static str = "exec_";
}

/// An id. Byte order is creation order within one account, even where the clock goes backwards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id<K: IdKind>([u8; ID_BYTES], PhantomData<K>);

/// `sec_...`
pub type SecretId = Id<OfSecret>;
/// `key_...`
pub type KeyId = Id<OfKey>;
/// `acc_...`
pub type AccountId = Id<OfAccount>;
/// `func_...`
pub type FunctionId = Id<OfFunction>;
/// `exec_...`
pub type ExecutionId = Id<OfExecution>;

impl<K: IdKind> Id<K> {
    /// An id of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; ID_BYTES]) -> Self {
        Self(bytes, PhantomData)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; ID_BYTES] {
        &self.0
    }

    /// An id at `now` that follows no sequence.
    pub(crate) fn unordered(now: Timestamp) -> Result<Self, RandomError> {
        let ms = now.unix_millis().min(ID_TIME_MAX);
        Ok(Self::from_bytes(id_bytes(ms, random_array()?)))
    }

    /// The next id at `now`: greater than `last`, whatever the clock says.
    pub(crate) fn next(last: &IdSequence, now: Timestamp) -> Result<Self, RandomError> {
        last.next(now).map(Self::from_bytes)
    }
}

/// An id's text, without an allocation: every answer and every line of the log has some.
#[derive(Clone, Copy)]
pub struct IdText {
    bytes: [u8; ID_TEXT_BYTES_MAX],
    length: usize,
}

impl IdText {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(self.as_bytes()).unwrap_or_default() // a prefix and base64url are ASCII
    }

    /// The text's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl<K: IdKind> Id<K> {
    /// The prefix and base64url.
    #[must_use]
    pub fn text(&self) -> IdText {
        const { assert!(K::PREFIX.len() + ID_BYTES / 3 * 4 <= ID_TEXT_BYTES_MAX) };
        let mut text = IdText { bytes: [0; ID_TEXT_BYTES_MAX], length: 0 };
        let (prefix, rest) = text.bytes.split_at_mut(K::PREFIX.len());
        prefix.copy_from_slice(K::PREFIX.as_bytes());
        let (encoded, _) = rest.split_at_mut(ID_BYTES / 3 * 4);
        BASE64URL_NOPAD.encode_mut(&self.0, encoded);
        text.length = K::PREFIX.len() + encoded.len();
        text
    }
}

impl<K: IdKind> fmt::Display for Id<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text().as_str())
    }
}

impl<K: IdKind> fmt::Debug for Id<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl<K: IdKind> std::str::FromStr for Id<K> {
    type Err = Issue;

    /// Exact and canonical: one text per id.
    fn from_str(text: &str) -> Result<Self, Issue> {
        let mut bytes = [0; ID_BYTES];
        text.strip_prefix(K::PREFIX)
            .filter(|rest| BASE64URL_NOPAD.decode_len(rest.len()) == Ok(ID_BYTES))
            .and_then(|rest| BASE64URL_NOPAD.decode_mut(rest.as_bytes(), &mut bytes).ok())
            .map_or_else(
                || Issue::err(format!("must be an id that begins with {}", K::PREFIX)),
                |_| Ok(Self::from_bytes(bytes)),
            )
    }
}

/// The last id that an account has given out, of whatever kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct IdSequence(pub(crate) [u8; ID_BYTES]);

impl IdSequence {
    /// Before the first id.
    pub(crate) const START: Self = Self([0; ID_BYTES]);

    /// Fresh random bits where the clock has moved on; else the last id plus a random step, so
    /// that order stays creation order and the next id still can't be guessed.
    fn next(&self, now: Timestamp) -> Result<[u8; ID_BYTES], RandomError> {
        let [t0, t1, t2, t3, t4, t5, tail @ ..] = self.0;
        let last_ms = u64::from_be_bytes([0, 0, t0, t1, t2, t3, t4, t5]);
        let now_ms = now.unix_millis().min(ID_TIME_MAX);
        if now_ms > last_ms {
            return Ok(id_bytes(now_ms, random_array()?));
        }
        let step = u64::from_be_bytes(random_array()?) >> 8;
        let [r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, r10, r11] = tail;
        let tail =
            u128::from_be_bytes([0, 0, 0, 0, r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, r10, r11]);
        let next = tail + u128::from(step) + 1;
        let [z0, z1, z2, z3, next @ ..] = next.to_be_bytes();
        if [z0, z1, z2, z3] == [0; 4] {
            Ok(id_bytes(last_ms, next))
        } else {
            Ok(id_bytes(last_ms + 1, random_array()?)) // the random part is used up
        }
    }
}

fn id_bytes(ms: u64, tail: [u8; ID_BYTES - ID_TIME_BYTES]) -> [u8; ID_BYTES] {
    let mut bytes = [0; ID_BYTES];
    bytes[..ID_TIME_BYTES].copy_from_slice(&ms.to_be_bytes()[2..]);
    bytes[ID_TIME_BYTES..].copy_from_slice(&tail);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_text() {
        let id = SecretId::from_bytes([0xFF; 18]);
        assert_eq!(id.to_string(), format!("sec_{}", "_".repeat(24)));
        assert_eq!(id.to_string().parse(), Ok(id));
        let text = KeyId::from_bytes([0; 18]).to_string();
        assert_eq!(text, format!("key_{}", "A".repeat(24)));
        for wrong in [
            "",
            "sec_",
            "key_AAAA",
            &text.replace("key", "sec"),
            &format!("{text}A"),
            &format!("{text}="),
            &text[..27],
            &text.replace('A', "+"),
        ] {
            assert!(wrong.parse::<KeyId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn ids_grow_whatever_the_clock_says() {
        let time = Timestamp::from_unix_millis;
        let mut last = IdSequence::START;
        let times = [5, 5, 5, 4, 0, 6, u64::MAX, 7, u64::MAX, 1 << 48];
        for ms in times {
            let next = last.next(time(ms)).unwrap();
            assert!(next > last.0);
            last = IdSequence(next);
        }
        // The creation time is at the front where the clock has moved on.
        let id = IdSequence::START.next(time(0x0102_0304_0506)).unwrap();
        assert_eq!(id[..6], [1, 2, 3, 4, 5, 6]);
        // Used-up random bits carry over into the time.
        let mut full = [0xFF; 18];
        full[..6].copy_from_slice(&[0, 0, 0, 0, 0, 9]);
        let next = IdSequence(full).next(time(1)).unwrap();
        assert_eq!(next[..6], [0, 0, 0, 0, 0, 10]);
        // Two ids of one millisecond don't follow from each other.
        let step = |last: &IdSequence| last.next(time(5)).unwrap();
        let last = IdSequence(step(&IdSequence::START));
        assert_ne!(step(&last), step(&last));
    }
}
