//! The room for large answers, shared between accounts: none takes more of it than it leaves.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::AccountId;

/// What there is.
pub(super) struct Pieces {
    all: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    /// Of those that hold any.
    accounts: HashMap<AccountId, usize>,
}

/// What one answer holds, until it is dropped.
pub(super) struct Held {
    pieces: Arc<Pieces>,
    account: AccountId,
    count: usize,
}

/// The account has its share.
#[derive(Debug)]
pub(super) struct Full;

impl Pieces {
    pub(super) fn new(all: usize) -> Arc<Self> {
        Arc::new(Self { all, taken: Mutex::default() })
    }

    /// None yet.
    pub(super) fn none(self: &Arc<Self>, account: AccountId) -> Held {
        Held { pieces: self.clone(), account, count: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// As many as this, if they are more.
    pub(super) fn grow(&mut self, to: usize) -> Result<(), Full> {
        let Some(more) = to.checked_sub(self.count).filter(|more| *more > 0) else { return Ok(()) };
        let mut taken = self.pieces.lock();
        let own = taken.accounts.get(&self.account).copied().unwrap_or_default();
        if own + more > self.pieces.all.saturating_sub(taken.all) {
            return Err(Full);
        }
        taken.all += more;
        taken.accounts.insert(self.account, own + more);
        self.count = to;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut taken = self.pieces.lock();
        taken.all -= self.count;
        if let Entry::Occupied(mut own) = taken.accounts.entry(self.account) {
            *own.get_mut() -= self.count;
            if *own.get() == 0 {
                own.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_more_than_is_left() {
        let pieces = Pieces::new(100);
        let account = |number| AccountId::from_bytes([number; 18]);
        let (mut one, mut same) = (pieces.none(account(1)), pieces.none(account(1)));
        one.grow(30).unwrap();
        same.grow(20).unwrap();
        same.grow(20).unwrap();
        assert!(same.grow(21).is_err());
        let mut other = pieces.none(account(2));
        other.grow(25).unwrap();
        assert!(other.grow(26).is_err());
        drop(one);
        other.grow(26).unwrap();
        drop((same, other));
        let taken = pieces.lock();
        assert!(taken.all == 0 && taken.accounts.is_empty(), "who has left is forgotten");
    }
}
