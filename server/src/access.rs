//! Who calls, and what they may do: token -> [`Caller`] -> [`Grant`]. The store's verbs take
//! grants.

mod function_run;

use crate::keys::TokenHash;
use crate::model::{AccountId, Issue, KeyId, NAME_CHARS_MAX, SecretName, Timestamp, is_name_byte};
use crate::secret::{KeyBytes, RandomError};
use data_encoding::BASE64URL_NOPAD;
pub use function_run::{FunctionRun, Terms};
use std::fmt;
use std::marker::PhantomData;
use zeroize::Zeroizing;

/// One thing that an API key may be allowed to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Permission {
    /// List, and see metadata.
    Read,
    /// Create and update.
    Write,
    /// Invoke functions.
    Execute,
    /// Read, write, execute, and deletion, keys, audit.
    Admin,
    /// Take a value out; no other permission includes it.
    Reveal,
}

impl Permission {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 5] = [Self::Read, Self::Write, Self::Execute, Self::Admin, Self::Reveal];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Execute => "execute",
            Self::Admin => "admin",
            Self::Reveal => "reveal",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::Write => 2,
            Self::Execute => 4,
            Self::Admin => 8,
            Self::Reveal => 16,
        }
    }

    /// This permission and those it includes.
    const fn with_included(self) -> u8 {
        match self {
            Self::Admin => {
                Self::Admin.bit() | Self::Read.bit() | Self::Write.bit() | Self::Execute.bit()
            }
            other => other.bit(),
        }
    }
}

/// A set of permissions, at least one, as it was given; what it includes is worked out when asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Permissions(u8);

impl Permissions {
    /// A set of these; `Issue` where there are none or one stands twice.
    ///
    /// # Errors
    /// The rule they break.
    pub fn new(permissions: &[Permission]) -> Result<Self, Issue> {
        let mut bits = 0;
        for permission in permissions {
            if bits & permission.bit() != 0 {
                return Err(Issue(format!("lists {} twice", permission.as_str())));
            }
            bits |= permission.bit();
        }
        if bits == 0 {
            return Err(Issue("must list at least one permission".to_owned()));
        }
        Ok(Self(bits))
    }

    /// Parses the names on the wire.
    ///
    /// # Errors
    /// The rule they break.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, Issue> {
        let permissions: Vec<_> = names
            .into_iter()
            .map(|name| {
                Permission::ALL.into_iter().find(|known| known.as_str() == name).ok_or_else(|| {
                    Issue("must be of read, write, execute, admin, reveal".to_owned())
                })
            })
            .collect::<Result<_, _>>()?;
        Self::new(&permissions)
    }

    /// Those listed, in the order of [`Permission::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.into_iter().filter(move |permission| self.0 & permission.bit() != 0)
    }

    /// Whether the set allows this: listed, or included in one that is listed.
    #[must_use]
    pub fn allow(self, permission: Permission) -> bool {
        self.effective() & permission.bit() != 0
    }

    /// Whether everything this set allows is allowed by `other`.
    #[must_use]
    pub fn lie_within(self, other: Self) -> bool {
        self.effective() & !other.effective() == 0
    }

    fn effective(self) -> u8 {
        self.iter().fold(0, |bits, permission| bits | permission.with_included())
    }

    pub(crate) fn to_bits(self) -> u8 {
        self.0
    }

    pub(crate) fn from_bits(bits: u8) -> Option<Self> {
        let known = Permission::ALL.into_iter().fold(0, |all, permission| all | permission.bit());
        (bits != 0 && bits & !known == 0).then_some(Self(bits))
    }
}

// ---------------------------------------------------------------------------------------------
// Globs

/// A pattern for names: characters of a name, and `*` for any run of them, the empty one too.
#[derive(Clone, PartialEq, Eq)]
pub struct Glob(String);

impl fmt::Debug for Glob {
    /// Shows nothing: a pattern may be a name, and names never reach a log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Glob(..)")
    }
}

impl Glob {
    /// Parses a pattern of 1 to 100 characters.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn parse(text: String) -> Result<Self, Issue> {
        let fits = (1..=NAME_CHARS_MAX).contains(&text.len());
        if fits && text.bytes().all(|byte| byte == b'*' || is_name_byte(byte)) {
            return Ok(Self(text));
        }
        Err(Issue("must be patterns of 1 to 100 name characters and '*'".to_owned()))
    }

    /// The pattern.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn matches(&self, name: &SecretName) -> bool {
        covers(self.0.as_bytes(), name.as_str().as_bytes())
    }

    /// Every name that this one matches is matched by `other`: `other` covers this pattern's
    /// text, where only its `*` may cover a `*`. It never errs towards yes.
    fn lies_within(&self, other: &Self) -> bool {
        covers(other.0.as_bytes(), self.0.as_bytes())
    }
}

/// Whether the pattern covers the whole text. A `*` in the text is covered by a `*` only. Each
/// `*` first takes as little as it can, and only the last one passed ever has to take more.
fn covers(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern_rest, mut text_rest) = (pattern, text);
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern_rest.split_first(), text_rest.split_first()) {
            (Some((b'*', after)), _) => {
                pattern_rest = after;
                retry = Some((after, text_rest));
            }
            (Some((want, after)), Some((have, rest))) if want == have => {
                (pattern_rest, text_rest) = (after, rest);
            }
            (None, None) => return true,
            _ => match retry.and_then(|(after, taken)| Some((after, taken.split_first()?.1))) {
                Some((after, rest)) => {
                    (pattern_rest, text_rest) = (after, rest);
                    retry = Some((after, rest));
                }
                None => return false,
            },
        }
    }
}

/// The secrets that a key reaches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Scope {
    /// All of the account's, also later ones.
    All,
    /// Those whose names match one of these patterns.
    Names(Globs),
}

/// 1 to 20 patterns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Globs(Vec<Glob>);

impl Globs {
    /// Patterns of one key, at most: they are tried one by one at each request.
    pub const COUNT_MAX: usize = 20;

    /// Parses patterns.
    ///
    /// # Errors
    /// The rule they break.
    pub fn parse(patterns: Vec<String>) -> Result<Self, Issue> {
        if !(1..=Self::COUNT_MAX).contains(&patterns.len()) {
            return Err(Issue(
                "must be 1 to 20 patterns; without the field the key reaches every secret"
                    .to_owned(),
            ));
        }
        patterns.into_iter().map(Glob::parse).collect::<Result<_, _>>().map(Self)
    }

    /// The patterns.
    pub fn iter(&self) -> impl Iterator<Item = &Glob> {
        self.0.iter()
    }
}

impl Scope {
    /// Whether the key reaches a secret of this name.
    #[must_use]
    pub fn reaches(&self, name: &SecretName) -> bool {
        match self {
            Self::All => true,
            Self::Names(globs) => globs.iter().any(|glob| glob.matches(name)),
        }
    }

    /// Whether everything in this scope surely lies within `other`: each pattern within one of
    /// the other's. Some scopes that do lie within (by the sum of several patterns) are refused.
    #[must_use]
    pub fn lies_within(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::All) => true,
            (Self::All, Self::Names(_)) => false,
            (Self::Names(own), Self::Names(others)) => {
                own.iter().all(|glob| others.iter().any(|wider| glob.lies_within(wider)))
            }
        }
    }
}

// ---------------------------------------------------------------------------------------------
// Tokens

/// A bearer key: `neo_` and base64url of 32 random bytes. No Debug; wiped when dropped.
pub struct Token(KeyBytes);

impl Token {
    const PREFIX: &'static str = "neo_";
    /// Characters of a token's text.
    pub const TEXT_CHARS: usize = 47;

    pub(crate) fn random() -> Result<Self, RandomError> {
        KeyBytes::random().map(Self)
    }

    /// Parses a token; exact and canonical. `None` says nothing about why.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(Self::PREFIX).filter(|_| text.len() == Self::TEXT_CHARS)?;
        // 43 characters are 32 bytes; decoded where they stay.
        let decode = |key: &mut [u8]| BASE64URL_NOPAD.decode_mut(rest.as_bytes(), key).map(drop);
        KeyBytes::filled(decode).ok().map(Self)
    }

    /// The text to hand to its owner, once.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(Self::TEXT_CHARS));
        text.push_str(Self::PREFIX);
        BASE64URL_NOPAD.encode_append(self.0.expose(), &mut text);
        text
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }
}

// ---------------------------------------------------------------------------------------------
// Callers and grants

/// Who has authenticated. Only the store makes one.
#[derive(Clone, Debug)]
pub enum Caller {
    /// The instance's owner: reaches no account's secrets.
    Owner(OwnerCaller),
    /// An API key of an account.
    Key(KeyCaller),
}

/// The owner's key.
#[derive(Clone, Debug)]
pub struct OwnerCaller {
    pub(crate) key: KeyId,
}

/// An API key that has authenticated.
#[derive(Clone, Debug)]
pub struct KeyCaller {
    pub(crate) account: AccountId,
    pub(crate) key: KeyId,
    pub(crate) permissions: Permissions,
    pub(crate) scope: Scope,
    pub(crate) expires_at: Option<Timestamp>,
    /// The token that it authenticated by.
    pub(crate) token: TokenHash,
}

impl Caller {
    /// The key's id, for rate limits and logs.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        match self {
            Self::Owner(owner) => owner.key,
            Self::Key(key) => key.key,
        }
    }

    /// The account; the owner has none.
    #[must_use]
    pub fn account_id(&self) -> Option<AccountId> {
        match self {
            Self::Owner(_) => None,
            Self::Key(key) => Some(key.account),
        }
    }

    /// The right to act in the key's account, where its permissions allow it.
    ///
    /// # Errors
    /// [`Denied`] with the permission that is missing.
    pub fn grant<R: Right>(&self) -> Result<Grant<R>, Denied> {
        match self {
            Self::Key(key) if key.permissions.allow(R::PERMISSION) => {
                Ok(Grant { caller: key.clone(), right: PhantomData })
            }
            Self::Owner(_) | Self::Key(_) => Err(Denied { permission: R::PERMISSION }),
        }
    }
}

/// The key lacks a permission.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("this key lacks the permission {}", permission.as_str())]
pub struct Denied {
    /// The missing one.
    pub permission: Permission,
}

mod sealed {
    pub trait Sealed {}
}

/// A permission as a type.
pub trait Right: sealed::Sealed + Send + Sync + 'static {
    /// The permission it stands for.
    const PERMISSION: Permission;
}

macro_rules! rights {
    ($($right:ident),*) => {$(
        #[doc = concat!("The right that `Permission::", stringify!($right), "` gives.")]
        pub struct $right;
        impl sealed::Sealed for $right {}
        impl Right for $right {
            const PERMISSION: Permission = Permission::$right;
        }
    )*};
}
rights!(Read, Write, Execute, Admin, Reveal);

/// The proof that a caller may do what `R` says, within its scope. Made by [`Caller::grant`] only.
pub struct Grant<R: Right> {
    caller: KeyCaller,
    right: PhantomData<R>,
}

impl<R: Right> Grant<R> {
    /// The account to act in.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.caller.account
    }

    /// The key that acts.
    #[must_use]
    pub fn key(&self) -> KeyId {
        self.caller.key
    }

    /// The secrets it reaches.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.caller.scope
    }

    pub(crate) fn permissions(&self) -> Permissions {
        self.caller.permissions
    }

    pub(crate) fn token(&self) -> TokenHash {
        self.caller.token
    }

    /// Whether the key has expired since it authenticated: for what lasts longer than a call.
    pub(crate) fn has_expired(&self, now: Timestamp) -> bool {
        self.caller.expires_at.is_some_and(|end| end <= now)
    }

    /// Whether a key that works until `end` (`None`: for ever) works on after this one has expired.
    pub(crate) fn is_outlasted_by(&self, end: Option<Timestamp>) -> bool {
        match (self.caller.expires_at, end) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(own), Some(other)) => other > own,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn glob(text: &str) -> Glob {
        Glob::parse(text.to_owned()).unwrap()
    }

    fn scope(patterns: &[&str]) -> Scope {
        let patterns = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        Scope::Names(Globs::parse(patterns).unwrap())
    }

    fn name(text: &str) -> SecretName {
        SecretName::parse(text.to_owned()).unwrap()
    }

    #[test]
    fn globs_match_names() {
        let table = [
            ("a", "a", true),
            ("a", "A", false),
            ("a", "ab", false),
            ("*", "anything.at-all_9", true),
            ("a*", "a", true),
            ("a*", "ba", false),
            ("*a", "banana", true),
            ("*an", "banana", false),
            ("b*n*a", "banana", true),
            ("b*na*na", "banana", true),
            ("b*x*a", "banana", false),
            ("**a**", "a", true),
            ("db-*-url", "db--url", true),
            ("db-*-url", "db-url", false),
            ("*.*", "a.b", true),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(glob(pattern).matches(&name(text)), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn containment_of_globs() {
        let table = [
            ("a", "a", true),
            ("a", "*", true),
            ("*", "a", false),
            ("*", "**", true),
            ("**", "*", true),
            ("a*", "a*", true),
            ("ab*", "a*", true),
            ("a*", "ab*", false),
            ("a*b", "a*", true),
            ("a*b", "*b", true),
            ("a*b", "a*b*", true),
            ("a*b*", "a*b", false),
            ("*a*", "*", true),
            ("*", "*a*", false),
            ("a*c*e", "a*e", true),
            ("a*e", "a*c*e", false),
            ("a*", "*a", false),
            ("db-*", "db*", true),
            ("db*", "db-*", false),
        ];
        for (inner, outer, expected) in table {
            assert_eq!(glob(inner).lies_within(&glob(outer)), expected, "{inner} in {outer}");
        }
        assert!(scope(&["a*", "b"]).lies_within(&scope(&["b*", "a*"])));
        assert!(!scope(&["a*", "c"]).lies_within(&scope(&["b*", "a*"])));
        assert!(!Scope::All.lies_within(&scope(&["*"])));
        assert!(scope(&["*"]).lies_within(&Scope::All) && Scope::All.lies_within(&Scope::All));
    }

    proptest! {
        /// Whatever lies within by the rule, lies within by what it matches.
        #[test]
        fn containment_never_errs_towards_yes(
            inner in "[ab*]{1,5}",
            outer in "[ab*]{1,5}",
            names in proptest::collection::vec("[ab]{1,7}", 40),
        ) {
            let (inner, outer) = (glob(&inner), glob(&outer));
            if inner.lies_within(&outer) {
                for text in names {
                    prop_assert!(!inner.matches(&name(&text)) || outer.matches(&name(&text)));
                }
            }
        }

        /// Matching agrees with the definition, written down plainly.
        #[test]
        fn matching_agrees_with_its_definition(pattern in "[ab*]{1,6}", text in "[ab]{1,7}") {
            fn defined(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern.split_first(), text.split_first()) {
                    (None, None) => true,
                    (Some((b'*', rest)), _) => (0..=text.len()).any(|cut| defined(rest, &text[cut..])),
                    (Some((want, rest)), Some((have, after))) => want == have && defined(rest, after),
                    (None, Some(_)) | (Some(_), None) => false,
                }
            }
            let expected = defined(pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(glob(&pattern).matches(&name(&text)), expected);
        }
    }

    #[test]
    fn a_slow_pattern_is_not_slow() {
        let pattern = glob(&"*a".repeat(50));
        let long = name(&"a".repeat(99).replace("aaa", "aab"));
        for _ in 0..10_000 {
            assert!(!pattern.matches(&long));
        }
    }

    #[test]
    fn globs_are_bounded() {
        for wrong in ["", "a b", "ä", "a?", "a/b", &"x".repeat(101)] {
            assert!(Glob::parse(wrong.to_owned()).is_err(), "{wrong}");
        }
        assert!(Globs::parse(vec![]).is_err());
        assert!(Globs::parse(vec!["a".to_owned(); 21]).is_err());
        assert_eq!(Globs::parse(vec!["a".to_owned(); 20]).unwrap().iter().count(), 20);
    }

    #[test]
    fn permissions_include_and_lie_within() {
        use Permission::{Admin as A, Execute as X, Read as R, Reveal as V, Write as W};
        let set = |permissions: &[Permission]| Permissions::new(permissions).unwrap();
        for permission in [R, W, X, A] {
            assert!(set(&[A]).allow(permission));
        }
        assert!(!set(&[A]).allow(V) && !set(&[R, W, X, V]).allow(A) && !set(&[W]).allow(R));
        assert!(set(&[R, W, X]).lie_within(set(&[A])));
        assert!(!set(&[A]).lie_within(set(&[R, W, X, V])));
        assert!(!set(&[V]).lie_within(set(&[A])));
        assert_eq!(set(&[V, R]).iter().collect::<Vec<_>>(), [R, V]);
        assert_eq!(Permissions::parse(["admin", "reveal"]).unwrap(), set(&[A, V]));
        for wrong in [&["Admin"][..], &["read", "read"], &[], &["owner"]] {
            assert!(Permissions::parse(wrong.iter().copied()).is_err(), "{wrong:?}");
        }
        for bits in 0..=255 {
            let known = Permissions::from_bits(bits);
            assert_eq!(known.is_some(), (1..32).contains(&bits));
            assert!(known.is_none_or(|set| set.to_bits() == bits));
        }
    }

    #[test]
    fn tokens_have_one_text() {
        let token = Token::random().unwrap();
        let text = token.to_text();
        assert_eq!(text.len(), Token::TEXT_CHARS);
        assert_eq!(Token::parse(&text).unwrap().expose(), token.expose());
        let mut other_end = text.to_string();
        // The last character carries four bits: of its 64 forms only 16 are canonical.
        other_end.pop();
        let parsed = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['-', '_']);
        let parsed = parsed.filter(|last| Token::parse(&format!("{other_end}{last}")).is_some());
        assert_eq!(parsed.count(), 16);
        for wrong in
            ["", "neo_", &text[..46], &text[1..], &format!("{}=", &*text), &text.to_uppercase()]
        {
            assert!(Token::parse(wrong).is_none());
        }
    }
}
