//! Accounts' states as the writes of one batch leave them: each is opened once, and sealed once,
//! before the commit. What a write changes here counts only where the write is made.

use crate::model::AccountId;
use crate::store::body::StateBody;
use crate::store::core::{Access, AccountKeys};
use crate::store::engine::Changes;
use crate::store::error::StoreFailure;
use crate::store::record::Address;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The states that a batch has seen.
#[derive(Default)]
pub(super) struct States(RefCell<BTreeMap<AccountId, State>>);

struct State {
    body: StateBody,
    /// What seals it, where the record says something else.
    changed: Option<Arc<AccountKeys>>,
}

impl States {
    /// An account's state after the writes so far, where it was needed before.
    pub(super) fn get(&self, account: AccountId) -> Option<StateBody> {
        self.0.borrow().get(&account).map(|state| state.body.clone())
    }

    /// Keeps what an account's record says.
    pub(super) fn note(&self, account: AccountId, body: StateBody) {
        self.0.borrow_mut().insert(account, State { body, changed: None });
    }

    /// Takes over what a write that is made leaves.
    pub(super) fn change(&self, states: Vec<(Arc<AccountKeys>, StateBody)>) {
        let mut all = self.0.borrow_mut();
        for (keys, body) in states {
            all.insert(keys.id, State { body, changed: Some(keys) });
        }
    }

    /// Writes the records of those that changed.
    pub(super) fn put(
        self,
        access: &Access<'_>,
        changes: &mut Changes,
    ) -> Result<(), StoreFailure> {
        for (id, State { body, changed }) in self.0.into_inner() {
            let Some(keys) = changed else { continue };
            // Of an account that a later write of the batch has deleted nothing opens any more.
            if access.exists(&Address::account_key(id))? {
                access.put(changes, &*keys, &Address::state(id), &body)?;
            }
        }
        Ok(())
    }
}
