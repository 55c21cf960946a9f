//! What deleted accounts leave (STORE.md §7): removed by the writer, a bounded number of records in
//! each transaction. What there is to remove is what the records of deletions say; this is only the
//! way through it, which begins anew with each start.

use crate::limits::{SWEEP_ACCOUNTS, SWEEP_RECORDS};
use crate::model::{AccountId, Id};
use crate::store::body::{DeletionBody, TokenBody};
use crate::store::core::Core;
use crate::store::engine::{Batch, Changes, Commit, EngineError};
use crate::store::error::StoreFailure;
use crate::store::record::{Address, SYSTEM, id_at_end};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// The removal of what deleted accounts leave.
pub(super) struct Sweep {
    stage: Stage,
    /// Those that this pass removes.
    deleted: BTreeSet<AccountId>,
    /// Deleted accounts that are not removed yet, those after this pass too.
    left: u64,
}

enum Stage {
    /// Looks which accounts are deleted.
    Look,
    /// Removes these accounts' own records, the last one's first.
    Records(Vec<AccountId>),
    /// Removes the tokens after this engine key that lead to one of the accounts, and at their end
    /// the deletions.
    Tokens(Vec<u8>),
    /// There is nothing to remove.
    Done,
}

impl Sweep {
    /// Before a first look.
    pub(super) fn new() -> Self {
        Self { stage: Stage::Look, deleted: BTreeSet::new(), left: 0 }
    }

    /// One more account was deleted.
    pub(super) fn note_deletion(&mut self) {
        self.left = self.left.saturating_add(1);
        if matches!(self.stage, Stage::Done) {
            self.stage = Stage::Look;
        }
    }

    /// Deleted accounts of which something is left.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// Does a bounded part of what there is to do.
    pub(super) fn step(
        &mut self,
        batch: &mut Batch<'_>,
        core: &Core,
    ) -> Result<Commit, EngineError> {
        let mut changes = Changes::default();
        self.stage = match std::mem::replace(&mut self.stage, Stage::Look) {
            Stage::Look => self.look(batch, core)?,
            Stage::Records(accounts) => remove_records(batch, &mut changes, accounts)?,
            Stage::Tokens(last) => self.remove_tokens(batch, core, &mut changes, last)?,
            Stage::Done => Stage::Done,
        };
        batch.apply(&changes)?;
        Ok(if changes.is_empty() { Commit::Nothing } else { Commit::Yes })
    }

    fn look(&mut self, batch: &Batch<'_>, core: &Core) -> Result<Stage, EngineError> {
        let access = core.access(batch);
        let prefix = Address::<DeletionBody>::prefix(SYSTEM);
        (self.left, self.deleted) = (0, BTreeSet::new());
        batch.scan_after(&prefix, &prefix, |key, bytes| {
            let Some(id) = id_at_end(key).map(Id::from_bytes) else {
                return ControlFlow::Continue(());
            };
            // One that does not open deletes nothing.
            match access.open(core.system(), &Address::deletion(id), bytes) {
                Ok(DeletionBody { deleted_at: _ }) => {
                    self.left = self.left.saturating_add(1);
                    if self.deleted.len() < SWEEP_ACCOUNTS {
                        self.deleted.insert(id);
                    }
                }
                Err(failure) => report(&failure),
            }
            ControlFlow::Continue(())
        })?;
        Ok(match self.deleted.is_empty() {
            true => Stage::Done,
            false => Stage::Records(self.deleted.iter().copied().collect()),
        })
    }

    fn remove_tokens(
        &mut self,
        batch: &Batch<'_>,
        core: &Core,
        changes: &mut Changes,
        mut last: Vec<u8>,
    ) -> Result<Stage, EngineError> {
        let access = core.access(batch);
        let (from, mut seen) = (last.clone(), 0);
        batch.scan_after(&Address::<TokenBody>::prefix(SYSTEM), &from, |key, bytes| {
            last = key.to_vec();
            seen += 1;
            if let Some(address) = Address::token_at(key) {
                match access.open(core.system(), &address, bytes) {
                    Ok(TokenBody { account, key: _ }) if self.deleted.contains(&account) => {
                        changes.remove(key.to_vec());
                    }
                    Ok(_) => {}
                    // It may be of an account that lives.
                    Err(failure) => report(&failure),
                }
            }
            if seen < SWEEP_RECORDS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        if seen == SWEEP_RECORDS {
            return Ok(Stage::Tokens(last));
        }
        for account in &self.deleted {
            changes.remove(Address::deletion(*account).key().to_vec());
        }
        tracing::info!(accounts = self.deleted.len(), "deleted accounts are removed");
        Ok(Stage::Look)
    }
}

fn remove_records(
    batch: &Batch<'_>,
    changes: &mut Changes,
    mut accounts: Vec<AccountId>,
) -> Result<Stage, EngineError> {
    let mut seen = 0;
    if let Some(account) = accounts.last() {
        let prefix = account.as_bytes();
        batch.scan_after(prefix, prefix, |key, _| {
            changes.remove(key.to_vec());
            seen += 1;
            if seen < SWEEP_RECORDS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
    }
    if seen < SWEEP_RECORDS {
        accounts.pop();
    }
    Ok(match accounts.is_empty() {
        true => Stage::Tokens(Address::<TokenBody>::prefix(SYSTEM)),
        false => Stage::Records(accounts),
    })
}

fn report(failure: &StoreFailure) {
    tracing::error!(%failure, "a record did not open");
}
