//! What the store holds: parsed values. A parser answers with the rule that was broken, in words
//! for the client; whoever calls it knows the field's name.

mod accounts;
mod executions;
mod functions;
pub mod use_only;

use crate::access::{Permissions, Scope};
use crate::secret::{RandomError, SecretBytes, random_array};
pub use accounts::{
    Account, AccountChange, AccountPage, NewAccount, PerResource, Quotas, Resource,
};
use data_encoding::BASE64URL_NOPAD;
pub use executions::{
    Execution, ExecutionEnd, ExecutionFault, ExecutionOutcome, ExecutionPage, ExecutionReceipt,
    ExecutionState, ExecutionSummary, JsonText, LogLevel, LogLine, Logs, ReceiptSignature,
    SecretRead, SecretReads,
};
pub use functions::{
    CODE_BYTES_MAX, ContentHash, EGRESS_HOSTS_MAX, ENVIRONMENT_NAME_BYTES_MAX,
    ENVIRONMENT_PAIRS_MAX, ENVIRONMENT_VALUE_BYTES_MAX, EgressHosts, Environment,
    FUNCTION_NAME_CHARS_MAX, FUNCTION_SECRETS_MAX, Function, FunctionChange, FunctionCode,
    FunctionName, FunctionPage, Memory, NewFunction, SecretNames, Timeout,
};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use time::OffsetDateTime;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;
pub use use_only::{HeaderName, HostName, UseOnly};

/// The rule that an input breaks, readable by the client: "must be 1 to 100 characters".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Issue(pub String);

impl Issue {
    fn err<T>(rule: impl Into<String>) -> Result<T, Self> {
        Err(Self(rule.into()))
    }
}

// ---------------------------------------------------------------------------------------------
// Ids

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

// ---------------------------------------------------------------------------------------------
// Time

const RFC3339: StaticFormatDescription =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
/// 9999-12-31T23:59:59Z, the last time that RFC 3339 can write.
const LAST_SECOND: u64 = 253_402_300_799;

/// A time in milliseconds since 1970, UTC, up to the year 9999; written as RFC 3339 in whole
/// seconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Milliseconds since 1970; later than the year 9999 counts as its end.
    #[must_use]
    pub fn from_unix_millis(ms: u64) -> Self {
        Self(ms.min(LAST_SECOND * 1000 + 999))
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn unix_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since 1970.
    #[must_use]
    pub fn unix_seconds(self) -> u64 {
        self.0 / 1000
    }

    /// This time, `seconds` later.
    #[must_use]
    pub fn plus_seconds(self, seconds: u64) -> Self {
        Self::from_unix_millis(self.0.saturating_add(seconds.saturating_mul(1000)))
    }
}

/// A time's text, without an allocation.
#[derive(Clone, Copy)]
pub struct TimeText([u8; 20]);

impl TimeText {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default() // digits and punctuation
    }
}

impl Timestamp {
    /// RFC 3339. Every answer has some: the library's way through a description takes a microsecond
    /// each.
    #[must_use]
    pub fn text(self) -> TimeText {
        let seconds = i64::try_from(self.unix_seconds()).unwrap_or_default();
        // Every number of seconds up to the last one is a time.
        let time =
            OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let century = u8::try_from(time.year() / 100).unwrap_or_default();
        let year = u8::try_from(time.year() % 100).unwrap_or_default();
        let mut text = *b"0000-00-00T00:00:00Z";
        let parts = [
            (0, century),
            (2, year),
            (5, time.month().into()),
            (8, time.day()),
            (11, time.hour()),
            (14, time.minute()),
            (17, time.second()),
        ];
        for (start, number) in parts {
            if let Some([tens, ones]) = text.get_mut(start..start + 2) {
                (*tens, *ones) = (digit(number / 10), digit(number));
            }
        }
        TimeText(text)
    }
}

/// A number's last decimal digit.
fn digit(number: u8) -> u8 {
    b'0' + number % 10
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text().as_str())
    }
}

impl std::str::FromStr for Timestamp {
    type Err = Issue;

    /// `2026-01-31T12:00:00Z` and no other form, from 1970 on.
    fn from_str(text: &str) -> Result<Self, Issue> {
        time::PrimitiveDateTime::parse(text, RFC3339)
            .ok()
            .and_then(|time| u64::try_from(time.assume_utc().unix_timestamp()).ok())
            .map(|seconds| Self::from_unix_millis(seconds.saturating_mul(1000)))
            .filter(|time| time.to_string() == text)
            .map_or_else(
                || Issue::err("must be a time like 2026-01-31T12:00:00Z (UTC, whole seconds)"),
                Ok,
            )
    }
}

// ---------------------------------------------------------------------------------------------
// Texts

/// A text whose Debug output shows nothing: names and descriptions never reach a log.
macro_rules! private_text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
}
use private_text;

private_text!(
    /// The name of a secret: `[A-Za-z0-9][A-Za-z0-9_.-]{0,99}`, case-sensitive.
    SecretName
);
private_text!(
    /// The beginning of a secret's name, to list by: 1 to 100 characters that a name may have.
    NamePrefix
);
private_text!(
    /// A secret's description: at most 500 characters.
    Description
);
private_text!(
    /// The name of an API key or of an account: 1 to 100 characters, none of them a control
    /// character.
    Label
);

/// Characters of a secret's name, at most.
pub const NAME_CHARS_MAX: usize = 100;
/// Characters of a description, at most.
pub const DESCRIPTION_CHARS_MAX: usize = 500;
/// Bytes of a value, at most.
pub const VALUE_BYTES_MAX: usize = 65_536;
/// Tags of a secret, at most.
pub const TAGS_MAX: usize = 20;
/// Characters of a tag's key, at most: a word or two, so that 20 of them stay small.
pub const TAG_KEY_CHARS_MAX: usize = 100;
/// Characters of a tag's value, at most.
pub const TAG_VALUE_CHARS_MAX: usize = 500;

/// Whether a name may contain this byte (at its beginning only letters and digits may stand).
pub(crate) fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}

impl SecretName {
    /// Parses a name.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn parse(text: String) -> Result<Self, Issue> {
        let begins_well = text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
        if begins_well && text.len() <= NAME_CHARS_MAX && text.bytes().all(is_name_byte) {
            return Ok(Self(text));
        }
        Issue::err(
            "must be 1 to 100 letters, digits, '_', '.' or '-' (A-Z, a-z, 0-9), beginning with a \
             letter or digit",
        )
    }
}

impl SecretName {
    /// Whether the name begins with this.
    #[must_use]
    pub fn begins_with(&self, prefix: &NamePrefix) -> bool {
        self.0.starts_with(&prefix.0)
    }
}

impl NamePrefix {
    /// Parses the beginning of a name.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn parse(text: String) -> Result<Self, Issue> {
        match SecretName::parse(text) {
            Ok(SecretName(text)) => Ok(Self(text)),
            Err(Issue(rule)) => Err(Issue(format!("{rule}, as a name does"))),
        }
    }
}

impl Description {
    /// Parses a description.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn parse(text: String) -> Result<Self, Issue> {
        if text.chars().count() <= DESCRIPTION_CHARS_MAX {
            return Ok(Self(text));
        }
        Issue::err("must be at most 500 characters")
    }
}

impl Label {
    /// Parses the name of a key or of an account.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn parse(text: String) -> Result<Self, Issue> {
        let fits = (1..=NAME_CHARS_MAX).contains(&text.chars().count());
        if fits && !text.chars().any(char::is_control) {
            return Ok(Self(text));
        }
        Issue::err("must be 1 to 100 characters without control characters")
    }
}

/// A secret's tags: at most 20 pairs, keys of 1 to 100 characters, values of at most 500.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Tags(BTreeMap<String, String>);

impl Tags {
    /// Parses tags.
    ///
    /// # Errors
    /// The rule they break.
    pub fn parse(pairs: BTreeMap<String, String>) -> Result<Self, Issue> {
        if pairs.len() > TAGS_MAX {
            return Issue::err("must be at most 20 pairs");
        }
        if !pairs.keys().all(|key| (1..=TAG_KEY_CHARS_MAX).contains(&key.chars().count())) {
            return Issue::err("must have keys of 1 to 100 characters");
        }
        if pairs.values().any(|value| value.chars().count() > TAG_VALUE_CHARS_MAX) {
            return Issue::err("must have values of at most 500 characters");
        }
        Ok(Self(pairs))
    }

    /// The pairs, by key.
    #[must_use]
    pub fn pairs(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

impl fmt::Debug for Tags {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Tags(..)")
    }
}

/// A secret's value: 1 byte to 64 KiB of UTF-8, kept exactly, wiped when dropped.
pub struct SecretValue(SecretBytes);

impl SecretValue {
    /// Takes over the buffer, and wipes it if it breaks a rule.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn parse(text: String) -> Result<Self, Issue> {
        Self::from_bytes(SecretBytes::new(text.into_bytes()))
    }

    pub(crate) fn from_bytes(bytes: SecretBytes) -> Result<Self, Issue> {
        let fits = (1..=VALUE_BYTES_MAX).contains(&bytes.expose().len());
        if fits && std::str::from_utf8(bytes.expose()).is_ok() {
            return Ok(Self(bytes));
        }
        Issue::err("must be 1 to 65536 bytes of UTF-8")
    }

    /// How many bytes it has.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        u64::try_from(self.0.expose().len()).unwrap_or(u64::MAX)
    }

    /// The value itself.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

// ---------------------------------------------------------------------------------------------
// Secrets

/// Counts the values of a secret: 1 at creation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Version(pub u64);

/// Counts the changes of a secret: 1 at creation; what `ETag` and `If-Match` carry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Revision(pub u64);

/// A secret without its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Secret {
    /// The id.
    pub id: SecretId,
    /// The name; unique among the account's live secrets.
    pub name: SecretName,
    /// The description, where there is one.
    pub description: Option<Description>,
    /// The tags.
    pub tags: Tags,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// From when on functions and reveal no longer see it.
    pub expires_at: Option<Timestamp>,
    /// The newest value's number.
    pub version: Version,
    /// The number of this state.
    pub revision: Revision,
    /// The values that are kept, oldest first; the last one is `version`.
    pub versions: Vec<VersionInfo>,
    /// Where the value may go, if nobody may read it.
    pub use_only: Option<UseOnly>,
}

impl Secret {
    /// Whether the secret is past its expiry.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

/// Where one kept value came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VersionInfo {
    /// Its number.
    pub version: Version,
    /// When it was written.
    pub created_at: Timestamp,
    /// The key that wrote it.
    pub created_by: KeyId,
}

/// A secret to create.
pub struct NewSecret {
    /// The name.
    pub name: SecretName,
    /// The value.
    pub value: SecretValue,
    /// The description.
    pub description: Option<Description>,
    /// The tags.
    pub tags: Tags,
    /// The expiry.
    pub expires_at: Option<Timestamp>,
    /// Where the value may go, if nobody may read it.
    pub use_only: Option<UseOnly>,
}

/// What to do with a field that may be absent.
pub enum Field<T> {
    /// Leave it as it is.
    Keep,
    /// Take it away.
    Clear,
    /// Put this in its place.
    Set(T),
}

impl<T> Field<T> {
    pub(crate) fn apply(self, to: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Clear => *to = None,
            Self::Set(value) => *to = Some(value),
        }
    }

    /// What there is afterwards, of a field that is always there.
    pub(crate) fn or(self, kept: T, default: T) -> T {
        match self {
            Self::Keep => kept,
            Self::Clear => default,
            Self::Set(value) => value,
        }
    }

    /// As [`Field::or`], with the type's default.
    pub(crate) fn or_default(self, kept: T) -> T
    where
        T: Default,
    {
        self.or(kept, T::default())
    }

    /// Whether it says anything.
    pub(crate) fn is_given(&self) -> bool {
        !matches!(self, Self::Keep)
    }
}

/// A change to a secret. The name can't change.
pub struct Change {
    /// A new value makes a new version; a value can't be cleared.
    pub value: Option<SecretValue>,
    /// The description.
    pub description: Field<Description>,
    /// The tags.
    pub tags: Field<Tags>,
    /// The expiry.
    pub expires_at: Field<Timestamp>,
}

/// A part of a list.
#[derive(Clone, Debug)]
pub struct Page {
    /// At most so many items.
    pub limit: usize,
    /// So many of the newest are left out.
    pub offset: u64,
    /// Only names that begin with this.
    pub prefix: Option<NamePrefix>,
}

/// One page of secrets, newest first, from one snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecretPage {
    /// The page's secrets.
    pub items: Vec<Secret>,
    /// How many match in all.
    pub total: u64,
}

/// A value that was taken out.
pub struct Revealed {
    /// The secret.
    pub id: SecretId,
    /// Its name.
    pub name: SecretName,
    /// The value's number.
    pub version: Version,
    /// The value.
    pub value: SecretValue,
}

// ---------------------------------------------------------------------------------------------
// API keys

/// An API key without its token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiKey {
    /// The id.
    pub id: KeyId,
    /// The name.
    pub name: Label,
    /// What it may do.
    pub permissions: Permissions,
    /// The secrets it may do it to.
    pub scope: Scope,
    /// From when on it opens nothing.
    pub expires_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Until when the text that it had before its last rotation works as well.
    pub old_key_until: Option<Timestamp>,
}

/// An API key to create.
pub struct NewKey {
    /// The name.
    pub name: Label,
    /// What it may do.
    pub permissions: Permissions,
    /// The secrets it may do it to.
    pub scope: Scope,
    /// The expiry.
    pub expires_at: Option<Timestamp>,
}

/// How long a key's old token still works after a rotation: 0 s to 7 days.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Overlap(u64);

impl Overlap {
    /// Seconds, at most: long enough to roll out over a weekend and a holiday.
    pub const SECONDS_MAX: u64 = 7 * 86_400;
    /// Of the rotation of an account's last admin key, at least: long enough to find that the answer
    /// is lost, and to rotate once more by the old token.
    pub const LAST_ADMIN: Self = Self(300);

    /// Parses seconds.
    ///
    /// # Errors
    /// The rule they break.
    pub fn from_seconds(seconds: u64) -> Result<Self, Issue> {
        if seconds <= Self::SECONDS_MAX {
            return Ok(Self(seconds));
        }
        Issue::err("must be 0 to 604800 seconds")
    }

    /// The seconds.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0
    }
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

    #[test]
    fn times_have_one_text() {
        let table = [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-01-31T12:34:56Z", 1_769_862_896),
            ("2024-02-29T00:00:00Z", 1_709_164_800),
            ("9999-12-31T23:59:59Z", LAST_SECOND),
        ];
        for (text, seconds) in table {
            let time: Timestamp = text.parse().unwrap();
            assert_eq!(time.unix_seconds(), seconds);
            assert_eq!(time.to_string(), text);
        }
        for wrong in [
            "",
            "2026-01-31",
            "2026-01-31T12:34:56",
            "2026-01-31t12:34:56z",
            "2026-01-31T12:34:56+00:00",
            "2026-01-31T12:34:56.5Z",
            "2026-02-29T00:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T12:34:60Z",
            "1969-12-31T23:59:59Z",
            "10000-01-01T00:00:00Z",
            "+2026-01-31T12:34:56Z",
            " 2026-01-31T12:34:56Z",
        ] {
            assert!(wrong.parse::<Timestamp>().is_err(), "{wrong}");
        }
        let later = Timestamp::from_unix_millis(1_999);
        assert_eq!((later.unix_seconds(), later.to_string().as_str()), (1, "1970-01-01T00:00:01Z"));
        assert_eq!(Timestamp::from_unix_millis(u64::MAX).to_string(), "9999-12-31T23:59:59Z");
        for seconds in (0..LAST_SECOND).step_by(98_765_431) {
            let time = OffsetDateTime::from_unix_timestamp(seconds.cast_signed()).unwrap();
            let text = Timestamp::from_unix_millis(seconds * 1000).to_string();
            assert_eq!(text, time.format(RFC3339).unwrap());
        }
        let day_seconds = 86_400;
        for day in 0..400 * 366 {
            let time = OffsetDateTime::from_unix_timestamp(day * day_seconds).unwrap();
            let text = Timestamp(time.unix_timestamp().unsigned_abs() * 1000).to_string();
            assert_eq!(text[..10], time.date().to_string());
        }
        let end = Timestamp::from_unix_millis(u64::MAX);
        assert_eq!(end.plus_seconds(u64::MAX), end);
    }

    #[test]
    fn texts_are_bounded() {
        let name = |text: &str| SecretName::parse(text.to_owned()).is_ok();
        assert!(name("a") && name("0_.-Z") && name(&"x".repeat(100)));
        for wrong in ["", ".a", "-a", "_a", "a b", "a/b", "ä", "a\0", &"x".repeat(101)] {
            assert!(!name(wrong), "{wrong}");
        }
        assert!(NamePrefix::parse("a.".to_owned()).is_ok());
        assert!(NamePrefix::parse("-".to_owned()).is_err());
        assert!(Description::parse("☃".repeat(500)).is_ok());
        assert!(Description::parse("☃".repeat(501)).is_err());
        assert!(Label::parse("my key".to_owned()).is_ok());
        for wrong in ["", "a\nb", "\u{85}", &"☃".repeat(101)] {
            assert!(Label::parse(wrong.to_owned()).is_err(), "{wrong}");
        }
        let tags = |count: usize, key: usize, value: usize| {
            let pair = |index| (format!("{index:0>key$}"), "☃".repeat(value));
            Tags::parse((0..count).map(pair).collect())
        };
        assert!(tags(20, 100, 500).is_ok());
        assert!(tags(21, 2, 1).is_err() && tags(1, 101, 1).is_err() && tags(1, 1, 501).is_err());
        assert!(Tags::parse(BTreeMap::from([(String::new(), String::new())])).is_err());
        assert!(SecretValue::parse("x".repeat(65_536)).is_ok());
        assert!(SecretValue::parse("x".repeat(65_537)).is_err());
        assert!(SecretValue::parse(String::new()).is_err());
        assert!(SecretValue::from_bytes(SecretBytes::new(vec![0xFF])).is_err());
    }

    #[test]
    fn what_is_private_shows_nothing() {
        let name = SecretName::parse("needle".to_owned()).unwrap();
        let tags = Tags::parse(BTreeMap::from([("needle".to_owned(), "needle".to_owned())]));
        let description = Description::parse("needle".to_owned()).unwrap();
        let shown = format!("{name:?} {:?} {description:?}", tags.unwrap());
        assert!(!shown.contains("needle"), "{shown}");
    }
}
