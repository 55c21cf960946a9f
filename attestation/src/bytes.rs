//! The one bounded reader through which bytes from outside enter.

use thiserror::Error;

/// Reads a byte slice from front to back. Every length is checked against what is left and against
/// a bound.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    position: usize,
}

/// Why bytes could not be read.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ReadError {
    /// The input ends before the field does.
    #[error("{wanted} bytes wanted at offset {position}, {left} left")]
    Truncated {
        /// Offset of the field.
        position: usize,
        /// Bytes asked for.
        wanted: usize,
        /// Bytes left.
        left: usize,
    },
    /// A length from outside is above its bound.
    #[error("length {got} at offset {position} is above {max}")]
    TooLong {
        /// Offset of the field.
        position: usize,
        /// The length that the input asks for.
        got: usize,
        /// The bound, from [`crate::limits`].
        max: usize,
    },
    /// Bytes are left where the input should end.
    #[error("{left} bytes too many at offset {position}")]
    Trailing {
        /// Offset of the first byte too many.
        position: usize,
        /// How many there are.
        left: usize,
    },
}

impl<'a> Reader<'a> {
    /// A reader at the first of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, position: 0 }
    }

    /// Offset of the next byte.
    pub const fn position(&self) -> usize {
        self.position
    }

    /// Whether all bytes have been read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next byte, left where it is.
    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// The next `len` bytes; `len` may come from outside and is at most `max`.
    pub fn take(&mut self, len: usize, max: usize) -> Result<&'a [u8], ReadError> {
        let position = self.position;
        if len > max {
            return Err(ReadError::TooLong { position, got: len, max });
        }
        let left = self.rest.len();
        let truncated = ReadError::Truncated { position, wanted: len, left };
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(truncated)?;
        self.rest = rest;
        self.position += len;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, N)?);
        Ok(array)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, ReadError> {
        self.array().map(u8::from_le_bytes)
    }

    /// Two bytes, big-endian.
    pub fn u16_be(&mut self) -> Result<u16, ReadError> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes, big-endian.
    pub fn u32_be(&mut self) -> Result<u32, ReadError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Four bytes, little-endian.
    pub fn u32_le(&mut self) -> Result<u32, ReadError> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes, little-endian.
    pub fn u64_le(&mut self) -> Result<u64, ReadError> {
        self.array().map(u64::from_le_bytes)
    }

    /// Ends the reading: nothing may be left.
    pub fn finish(self) -> Result<(), ReadError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(ReadError::Trailing { position: self.position, left }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_in_order_and_refuses_each_way_of_being_wrong() {
        let mut reader = Reader::new(&[1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16_be(), Ok(0x0203));
        assert_eq!(reader.u32_le().map(u32::to_le_bytes), Ok([4, 5, 6, 7]), "the last four bytes");
        let truncated = ReadError::Truncated { position: 7, wanted: 1, left: 0 };
        assert_eq!(reader.u8(), Err(truncated));
        assert_eq!(reader.finish(), Ok(()));

        let mut reader = Reader::new(&[0; 4]);
        assert_eq!(reader.take(5, 4), Err(ReadError::TooLong { position: 0, got: 5, max: 4 }));
        assert_eq!(reader.take(2, 4), Ok(&[0, 0][..]));
        assert_eq!(reader.finish(), Err(ReadError::Trailing { position: 2, left: 2 }));
    }
}
