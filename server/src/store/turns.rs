//! Turns at reading where the many names of an account stand: each takes memory and a thread, and
//! one that is done is of use to all that wait.

use crate::limits::NAMES_READERS;
use crate::model::AccountId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{Mutex as Turnstile, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

/// One reads for an account at a time, and [`NAMES_READERS`] do for all accounts.
pub(super) struct Turns {
    accounts: Mutex<HashMap<AccountId, Weak<Turnstile<()>>>>,
    all: Arc<Semaphore>,
}

/// Ends with the reading, also where nobody waits for that any more.
pub(super) struct Turn {
    _of_account: OwnedMutexGuard<()>,
    _of_all: Option<OwnedSemaphorePermit>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { accounts: Mutex::default(), all: Arc::new(Semaphore::new(NAMES_READERS)) }
    }
}

impl Turns {
    /// Waits for a turn. An account whose names don't open, and are tried again and again, so takes no
    /// more than one of the places.
    pub(super) async fn take(&self, account: AccountId) -> Turn {
        let own = self.of(account);
        let of_account = own.lock_owned().await;
        // Never closed.
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok();
        Turn { _of_account: of_account, _of_all: of_all }
    }

    fn of(&self, account: AccountId) -> Arc<Turnstile<()>> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = accounts.get(&account).and_then(Weak::upgrade) {
            return own;
        }
        accounts.retain(|_, own| own.strong_count() > 0);
        let own = Arc::new(Turnstile::new(()));
        accounts.insert(account, Arc::downgrade(&own));
        own
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    fn poll(turn: Pin<&mut impl Future<Output = Turn>>) -> Option<Turn> {
        match turn.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    #[test]
    fn an_account_has_one_turn_and_all_have_few() {
        let turns = Turns::default();
        let account = |number: usize| AccountId::from_bytes([u8::try_from(number).unwrap(); 18]);
        let first = poll(pin!(turns.take(account(0)))).unwrap();
        let mut second = pin!(turns.take(account(0)));
        assert!(poll(second.as_mut()).is_none(), "it is being read");
        // What waits for its account takes none of all accounts' places.
        let others: Vec<_> = (1..NAMES_READERS)
            .map(|number| poll(pin!(turns.take(account(number)))).unwrap())
            .collect();
        let mut late = pin!(turns.take(account(NAMES_READERS)));
        assert!(poll(late.as_mut()).is_none());
        drop(first);
        let late = poll(late.as_mut()).unwrap();
        assert!(poll(second.as_mut()).is_none());
        drop(late);
        drop(poll(second.as_mut()).unwrap());
        drop(others);
        drop(poll(pin!(turns.take(account(9)))).unwrap());
        assert_eq!(turns.accounts.lock().unwrap().len(), 1, "of the others nothing is kept");
    }
}
