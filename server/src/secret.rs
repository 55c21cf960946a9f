//! Secret bytes and randomness: wiped when dropped, never printed, compared in constant time.

use std::cell::RefCell;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// From here on the process's memory, and so no key, is written to a core file when it ends by a
/// fault, and no process of the same user reads it: a changed store can make the engine end the
/// process (STORE.md §8).
///
/// # Errors
/// As the system says.
pub(crate) fn keep_out_of_core_files() -> std::io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Bytes that are wiped when dropped. No Debug, Clone or PartialEq: reading them is `expose()`.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes over the buffer; nothing is copied.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes themselves.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// A key of 32 bytes, wiped when dropped. The type of a purpose wraps this one.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct KeyBytes(Box<[u8; 32]>);

impl KeyBytes {
    /// A fresh random key.
    pub(crate) fn random() -> Result<Self, RandomError> {
        Self::filled(fill_random)
    }

    /// A key that `fill` writes in place; on the heap, so that moving it leaves no copies behind.
    pub(crate) fn filled<E>(fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut key = Self(Box::new([0; 32]));
        fill(key.0.as_mut_slice())?;
        Ok(key)
    }

    /// A copy of these bytes; `None` unless there are exactly 32.
    pub(crate) fn copied(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == 32)
            .then(|| {
                Self::filled(|key| -> Result<(), std::convert::Infallible> {
                    key.copy_from_slice(bytes);
                    Ok(())
                })
            })
            .and_then(Result::ok)
    }

    /// The bytes themselves.
    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The operating system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no random bytes: {0}")]
pub struct RandomError(getrandom::Error);

/// Fills the buffer from the operating system's generator: the only source of randomness here.
///
/// # Errors
/// [`RandomError`] where the system has none.
pub fn fill_random(buffer: &mut [u8]) -> Result<(), RandomError> {
    getrandom::fill(buffer).map_err(RandomError)
}

/// `N` random bytes for what is not secret (ids, salts): drawn from the system many at a time, since a
/// write takes several, and each is given once.
///
/// # Errors
/// As [`fill_random`].
pub fn random_array<const N: usize>() -> Result<[u8; N], RandomError> {
    const { assert!(N <= DRAWN_BYTES) };
    DRAWN.with_borrow_mut(|drawn| {
        if drawn.left < N {
            drawn.left = 0;
            fill_random(&mut drawn.bytes)?;
            drawn.left = DRAWN_BYTES;
        }
        let (left, _) = drawn.bytes.split_at(drawn.left);
        let (rest, given) = left.split_last_chunk().expect("at least N bytes are left");
        drawn.left = rest.len();
        Ok(*given)
    })
}

const DRAWN_BYTES: usize = 1_024;

thread_local! {
    static DRAWN: RefCell<Drawn> =
        const { RefCell::new(Drawn { bytes: [0; DRAWN_BYTES], left: 0 }) };
}

/// Random bytes, of which the first ones are left.
struct Drawn {
    bytes: [u8; DRAWN_BYTES],
    left: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_is_given_once() {
        let mut given = std::collections::HashSet::new();
        for _ in 0..1_000 {
            assert!(given.insert(random_array::<32>().unwrap().to_vec()));
            assert!(given.insert(random_array::<12>().unwrap().to_vec()));
        }
        // Nor in part: the pieces lie side by side.
        let whole = random_array::<DRAWN_BYTES>().unwrap();
        assert!(whole.chunks(12).all(|piece| given.insert(piece.to_vec())));
    }

    #[test]
    fn no_core_file_is_written() {
        keep_out_of_core_files().unwrap();
        let now = rustix::process::dumpable_behavior().unwrap();
        assert_eq!(now, DumpableBehavior::NotDumpable);
    }
}
