//! Accounts' states as the writes of one batch leave them: each is opened once, and sealed once,
//! before the commit. What a write changes here counts only where the write is made.

use crate::model::AccountId;
use crate::store::body::StateBody;
use crate::store::core::Access;
use crate::store::engine::Changes;
use crate::store::error::StoreFailure;
use crate::store::record::Address;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// The states that a batch has seen.
#[derive(Default)]
pub(super) struct States(RefCell<BTreeMap<AccountId, State>>);

struct State {
    body: StateBody,
    /// Whether the record says something else.
    is_changed: bool,
}

impl States {
    /// An account's state after the writes so far, where it was needed before.
    pub(super) fn get(&self, account: AccountId) -> Option<StateBody> {
        self.0.borrow().get(&account).map(|state| state.body.clone())
    }

    /// Keeps what an account's record says.
    pub(super) fn note(&self, account: AccountId, body: StateBody) {
        self.0.borrow_mut().insert(account, State { body, is_changed: false });
    }

    /// Takes over what a write that is made leaves.
    pub(super) fn change(&self, states: Vec<(AccountId, StateBody)>) {
        let mut all = self.0.borrow_mut();
        for (account, body) in states {
            all.insert(account, State { body, is_changed: true });
        }
    }

    /// Writes the records of those that changed.
    pub(super) fn put(
        self,
        access: &Access<'_>,
        changes: &mut Changes,
    ) -> Result<(), StoreFailure> {
        let changed = self.0.into_inner().into_iter().filter(|(_, state)| state.is_changed);
        for (id, State { body, .. }) in changed {
            match access.account(id) {
                Ok(keys) => access.put(changes, &*keys, &Address::state(id), &body)?,
                // Deleted by a later write of the batch: nothing of it opens any more.
                Err(StoreFailure::KeyRevoked) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }
}
