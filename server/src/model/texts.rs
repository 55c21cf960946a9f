//! Texts that people write beside what they name: descriptions, labels and tags.

use super::{Issue, NAME_CHARS_MAX, private_text};
use std::collections::BTreeMap;
use std::fmt;

private_text!(
    /// A secret's description: at most 500 characters.
    Description
);
private_text!(
    /// The name of an API key or of an account: 1 to 100 characters, none of them a control
    /// character.
    Label
);

/// Characters of a description, at most.
pub const DESCRIPTION_CHARS_MAX: usize = 500;
/// Tags of a secret, at most.
pub const TAGS_MAX: usize = 20;
/// Characters of a tag's key, at most: a word or two, so that 20 of them stay small.
pub const TAG_KEY_CHARS_MAX: usize = 100;
/// Characters of a tag's value, at most.
pub const TAG_VALUE_CHARS_MAX: usize = 500;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SecretName;

    #[test]
    fn texts_are_bounded() {
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
