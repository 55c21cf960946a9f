//! Fixed layouts: one spelling for each message, every length bounded before it is believed.

use thiserror::Error;

/// What ends a text that was cut.
pub const ELLIPSIS: &str = "…";

/// A field of a message and how long it may be: bytes of a text, items of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// What errors call it.
    pub name: &'static str,
    /// The bound.
    pub max: usize,
}

impl Field {
    pub(crate) const fn new(name: &'static str, max: usize) -> Self {
        Self { name, max }
    }

    /// Whether so much fits.
    ///
    /// # Errors
    /// [`TooLong`].
    pub const fn check(self, len: usize) -> Result<(), TooLong> {
        if len > self.max { Err(TooLong { field: self.name, len, max: self.max }) } else { Ok(()) }
    }

    /// The text, cut to the field's length; a cut one says so by an [`ELLIPSIS`].
    #[must_use]
    pub fn clip(self, mut text: String) -> String {
        if text.len() > self.max {
            text.truncate(text.floor_char_boundary(self.max.saturating_sub(ELLIPSIS.len())));
            text.push_str(ELLIPSIS);
        }
        text
    }

    /// Whether [`Field::clip`] may have cut this text: it has such an end, and such a length.
    #[must_use]
    pub fn may_have_clipped(self, text: &str) -> bool {
        // A character of four bytes that did not fit leaves three of them unused.
        let lengths = self.max.saturating_sub(3)..=self.max;
        lengths.contains(&text.len()) && text.ends_with(ELLIPSIS)
    }
}

/// A field is longer than the protocol allows.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{field}: {len}, over {max}")]
pub struct TooLong {
    /// Which field.
    pub field: &'static str,
    /// How long it is.
    pub len: usize,
    /// The bound.
    pub max: usize,
}

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The message ends before its fields do.
    #[error("the message ends too early")]
    Truncated,
    /// Bytes are left after the last field.
    #[error("{0} bytes too many")]
    Trailing(usize),
    /// No message of this direction has this kind.
    #[error("there is no message of kind {0}")]
    Kind(u8),
    /// A field is over its bound.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// A text is not UTF-8.
    #[error("{0} is not UTF-8")]
    Text(&'static str),
    /// A number or choice has a value that it can't have.
    #[error("{field} can't be {value}")]
    Value {
        /// Which field.
        field: &'static str,
        /// What it was.
        value: u32,
    },
}

/// Reads one message from front to back.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A number within a range.
    pub(crate) fn number(
        &mut self,
        field: &'static str,
        range: &std::ops::RangeInclusive<u32>,
    ) -> Result<u32, DecodeError> {
        let value = self.u32()?;
        if range.contains(&value) { Ok(value) } else { Err(DecodeError::Value { field, value }) }
    }

    /// One of a list of choices, by its place.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        field: &'static str,
        choices: &[T],
    ) -> Result<T, DecodeError> {
        let place = self.u8()?;
        let value = u32::from(place);
        choices.get(usize::from(place)).copied().ok_or(DecodeError::Value { field, value })
    }

    fn length(&mut self, field: Field) -> Result<usize, DecodeError> {
        let len = usize::try_from(self.u32()?).map_err(|_| DecodeError::Truncated)?;
        field.check(len)?;
        Ok(len)
    }

    pub(crate) fn bytes(&mut self, field: Field) -> Result<&'a [u8], DecodeError> {
        let len = self.length(field)?;
        self.take(len)
    }

    pub(crate) fn text(&mut self, field: Field) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes(field)?).map_err(|_| DecodeError::Text(field.name))
    }

    /// A list; each item is read before the next is believed, so nothing is set aside by the count.
    pub(crate) fn list<T>(
        &mut self,
        field: Field,
        mut item: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let len = self.length(field)?;
        let mut items = Vec::new();
        for _ in 0..len {
            items.push(item(self)?);
        }
        Ok(items)
    }

    pub(crate) fn option<T>(
        &mut self,
        field: &'static str,
        value: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.choice(field, &[false, true])? { value(self).map(Some) } else { Ok(None) }
    }

    /// Ends the message: nothing may be left.
    pub(crate) const fn finish(self) -> Result<(), DecodeError> {
        match self.0.len() {
            0 => Ok(()),
            left => Err(DecodeError::Trailing(left)),
        }
    }
}

/// Appends the fields of one message.
pub(crate) trait Writer {
    fn u8(&mut self, value: u8);
    fn u32(&mut self, value: u32);
    fn u64(&mut self, value: u64);
    fn length(&mut self, field: Field, len: usize) -> Result<(), TooLong>;
    fn bytes(&mut self, field: Field, bytes: &[u8]) -> Result<(), TooLong>;

    fn text(&mut self, field: Field, text: &str) -> Result<(), TooLong> {
        self.bytes(field, text.as_bytes())
    }
}

impl Writer for Vec<u8> {
    fn u8(&mut self, value: u8) {
        self.push(value);
    }

    fn u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn length(&mut self, field: Field, len: usize) -> Result<(), TooLong> {
        field.check(len)?;
        let too_long = TooLong { field: field.name, len, max: field.max };
        self.u32(u32::try_from(len).map_err(|_| too_long)?);
        Ok(())
    }

    fn bytes(&mut self, field: Field, bytes: &[u8]) -> Result<(), TooLong> {
        self.length(field, bytes.len())?;
        self.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters_and_known_as_such() {
        let field = Field::new("text", 32);
        for character in ["a", "ä", "€", "😀"] {
            for before in ["", "b", "bb", "bbb"] {
                let clipped = field.clip(format!("{before}{}", character.repeat(33)));
                assert!(clipped.ends_with(&format!("{character}{ELLIPSIS}")), "{clipped}");
                assert!(field.check(clipped.len()).is_ok(), "{clipped}");
                assert!(field.may_have_clipped(&clipped), "{clipped}");
            }
        }
        let fits = "a".repeat(32);
        assert!(!field.may_have_clipped(&fits), "it is not cut");
        assert!(!field.may_have_clipped("loading…"), "it was never so long");
        assert_eq!(field.clip(fits.clone()), fits);
    }
}
