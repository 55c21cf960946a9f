//! Secrets: names, values, and what is known of one beside its value.

use super::{Description, Field, Issue, KeyId, SecretId, Tags, Timestamp, UseOnly, private_text};
use crate::secret::SecretBytes;
use std::fmt;

private_text!(
    /// The name of a secret: `[A-Za-z0-9][A-Za-z0-9_.-]{0,99}`, case-sensitive.
    SecretName
);
private_text!(
    /// The beginning of a secret's name, to list by: 1 to 100 characters that a name may have.
    NamePrefix
);

/// Characters of a secret's name, at most.
pub const NAME_CHARS_MAX: usize = 100;
/// Bytes of a value, at most.
pub const VALUE_BYTES_MAX: usize = 65_536;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_bounded() {
        let name = |text: &str| SecretName::parse(text.to_owned()).is_ok();
        assert!(name("a") && name("0_.-Z") && name(&"x".repeat(100)));
        for wrong in ["", ".a", "-a", "_a", "a b", "a/b", "ä", "a\0", &"x".repeat(101)] {
            assert!(!name(wrong), "{wrong}");
        }
        assert!(NamePrefix::parse("a.".to_owned()).is_ok());
        assert!(NamePrefix::parse("-".to_owned()).is_err());
        assert!(SecretValue::parse("x".repeat(65_536)).is_ok());
        assert!(SecretValue::parse("x".repeat(65_537)).is_err());
        assert!(SecretValue::parse(String::new()).is_err());
        assert!(SecretValue::from_bytes(SecretBytes::new(vec![0xFF])).is_err());
    }
}
