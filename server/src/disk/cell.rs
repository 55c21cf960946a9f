//! Some bytes that are replaced whole: two copies, of which the newest that is whole counts, and
//! the other one is written next.

use sha2::{Digest, Sha256};
use std::io;

use super::Medium;

/// Bytes before the payload: magic, sequence number, length.
const HEAD_BYTES: usize = 16 + 8 + 4;
const HASH_BYTES: usize = 32;

/// Where the two copies are, what they begin with, and how long what they hold may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) at: [u64; 2],
    pub(super) magic: [u8; 16],
    pub(super) bytes_max: u64,
}

/// What is known of the two copies.
#[derive(Debug)]
pub(super) struct Cell {
    place: Place,
    /// Which copy is written next, and with which number; unknown until the copies were read.
    next: Option<(Copy, u64)>,
    /// Whether a copy was written that is not known to be durable.
    unsynced: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copy {
    First,
    Second,
}

impl Cell {
    pub(super) fn at(place: Place) -> Self {
        Cell { place, next: None, unsynced: false }
    }

    /// The newest copy that is whole.
    pub(super) fn read(&mut self, medium: &dyn Medium) -> io::Result<Option<Vec<u8>>> {
        let first = self.copy(medium, Copy::First)?;
        let second = self.copy(medium, Copy::Second)?;
        let (newest, is, next) = match (first, second) {
            (Some(first), Some(second)) if first.0 >= second.0 => {
                (Some(first.1), first.0, Copy::Second)
            }
            (_, Some(second)) => (Some(second.1), second.0, Copy::First),
            (Some(first), None) => (Some(first.1), first.0, Copy::Second),
            (None, None) => (None, 0, Copy::First),
        };
        let number = is.checked_add(1).ok_or_else(|| io::Error::other("no number is left"))?;
        self.next = Some((next, number));
        Ok(newest)
    }

    /// Replaces what is there: after a loss of power it is there whole, or what was before.
    pub(super) fn write(&mut self, medium: &dyn Medium, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).ok();
        let fits = length.filter(|length| u64::from(*length) <= self.place.bytes_max);
        let length = fits.ok_or(io::ErrorKind::InvalidInput)?;
        if self.unsynced {
            // Else both copies might be lost together.
            medium.sync()?;
            self.unsynced = false;
        }
        if self.next.is_none() {
            self.read(medium)?;
        }
        let (copy, number) = self.next.ok_or(io::ErrorKind::InvalidInput)?;
        let mut frame = Vec::with_capacity(HEAD_BYTES + bytes.len() + HASH_BYTES);
        frame.extend(self.place.magic);
        frame.extend(number.to_be_bytes());
        frame.extend(length.to_be_bytes());
        frame.extend(bytes);
        let hash = Sha256::digest(&frame);
        frame.extend(hash);
        self.unsynced = true;
        // Where this fails, the same copy is written again: the other one is the whole one.
        medium.write(self.place.of(copy), &frame)?;
        let other = if copy == Copy::First { Copy::Second } else { Copy::First };
        let number = number.checked_add(1).ok_or_else(|| io::Error::other("no number is left"))?;
        self.next = Some((other, number));
        Ok(())
    }

    /// All that was written is durable.
    pub(super) fn synced(&mut self) {
        self.unsynced = false;
    }

    fn copy(&self, medium: &dyn Medium, copy: Copy) -> io::Result<Option<(u64, Vec<u8>)>> {
        let at = self.place.of(copy);
        let mut head = [0; HEAD_BYTES];
        medium.read(at, &mut head)?;
        let Some((number, length)) = self.place.parse(&head) else { return Ok(None) };
        let mut rest = vec![0; length + HASH_BYTES];
        medium.read(at + 28, &mut rest)?;
        let Some((payload, hash)) = rest.split_last_chunk::<HASH_BYTES>() else { return Ok(None) };
        let whole = Sha256::new().chain_update(head).chain_update(payload).finalize();
        Ok((whole.as_slice() == hash).then(|| (number, payload.to_vec())))
    }
}

impl Place {
    fn of(&self, copy: Copy) -> u64 {
        let [first, second] = self.at;
        match copy {
            Copy::First => first,
            Copy::Second => second,
        }
    }

    /// The number and the payload's length, within the bound.
    fn parse(&self, head: &[u8; HEAD_BYTES]) -> Option<(u64, usize)> {
        let rest = head.strip_prefix(&self.magic)?;
        let (number, rest) = rest.split_first_chunk()?;
        let length = u32::from_be_bytes(rest.try_into().ok()?);
        if u64::from(length) > self.bytes_max {
            return None;
        }
        Some((u64::from_be_bytes(*number), usize::try_from(length).ok()?))
    }
}
