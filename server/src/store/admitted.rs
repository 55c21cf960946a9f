//! Whom the tokens that were used lately admit: what their records say, so that a call that follows
//! another opens none to know its caller.

use crate::keys::TokenHash;
use crate::limits::TOKENS_CACHED;
use crate::store::api_keys::Holder;
use crate::store::engine::View;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Holders of tokens. All are of one committed state of the store as to accounts and keys: a view of
/// another neither takes from here nor adds, but a newer one begins anew. So nothing outlives its
/// revocation.
#[derive(Default)]
pub(super) struct Admitted(RwLock<State>);

#[derive(Default)]
struct State {
    access_changes: u64,
    holders: HashMap<[u8; 32], Arc<Holder>>,
}

impl Admitted {
    /// Who holds this token as the view has it, where that is known.
    pub(super) fn get(&self, view: &dyn View, hash: &TokenHash) -> Option<Arc<Holder>> {
        let access_changes = view.access_changes()?;
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let current = state.access_changes == access_changes;
        state.holders.get(&hash.0).filter(|_| current).cloned()
    }

    /// Keeps a holder whom the view has, and who was let in.
    pub(super) fn keep(&self, view: &dyn View, hash: &TokenHash, holder: Holder) {
        let Some(access_changes) = view.access_changes() else { return };
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if state.access_changes < access_changes || state.holders.len() >= TOKENS_CACHED {
            *state = State { access_changes, holders: HashMap::new() };
        }
        if state.access_changes == access_changes {
            state.holders.insert(hash.0, Arc::new(holder));
        }
    }
}
