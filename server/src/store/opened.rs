//! Secrets that pages have shown lately, so that a page that is asked for again opens only what has
//! changed.

use crate::limits::{OPENED_RECORD_BYTES, OPENED_SECRETS};
use crate::model::Secret;
use crate::store::core::AccountKeys;
use crate::store::engine::Gone;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, Weak};

/// What records opened as. Under one key and at one place, the same sealed bytes always open as the
/// same: so who finds all of these the same has checked as much as who opens. What was changed or
/// removed since has other bytes, or none, and nobody asks for it; the commit takes it from here, too,
/// and no page of an older view puts it back.
#[derive(Default)]
pub(super) struct Opened(RwLock<State>);

#[derive(Default)]
struct State {
    /// How many changes and removals of secrets, and deletions of accounts, the newest commit has seen.
    changes: u64,
    /// By their engine keys: that is account, kind and id.
    entries: HashMap<Vec<u8>, Entry>,
}

struct Entry {
    /// The keys that opened it; kept weakly, so that they go with their account.
    keys: Weak<AccountKeys>,
    sealed: Vec<u8>,
    secret: Secret,
}

/// One account's secrets, for one page.
pub(super) struct Page<'o> {
    opened: &'o Opened,
    account: &'o Arc<AccountKeys>,
    changes: u64,
    new: Vec<(Vec<u8>, Entry)>,
}

impl Opened {
    /// For a page of this account, by a view that has seen so many changes.
    pub(super) fn page<'o>(&'o self, account: &'o Arc<AccountKeys>, changes: u64) -> Page<'o> {
        Page { opened: self, account, changes, new: Vec::new() }
    }

    /// Forgets what a commit has changed or removed, and everything where it has deleted an account:
    /// before it, which has seen so many changes, is shown to readers.
    pub(super) fn forget(&self, gone: &Gone, changes: u64) {
        if gone.count() == 0 {
            return;
        }
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        state.changes = changes;
        let forgotten = match gone.accounts.is_empty() {
            true => gone.secrets.iter().filter_map(|key| state.entries.remove_entry(key)).collect(),
            false => std::mem::take(&mut state.entries),
        };
        // Freed when nobody waits for it any more.
        drop(state);
        drop(forgotten);
    }
}

#[cfg(test)]
impl Opened {
    /// How many secrets it has.
    pub(super) fn len(&self) -> usize {
        self.0.read().unwrap().entries.len()
    }
}

impl Page<'_> {
    /// The secret that stands sealed like this at this engine key: known, or else opened by `open`,
    /// and kept.
    pub(super) fn secret<E>(
        &mut self,
        key: &[u8],
        sealed: &[u8],
        open: impl FnOnce() -> Result<Secret, E>,
    ) -> Result<Secret, E> {
        if let Some(secret) = self.known(key, sealed) {
            return Ok(secret);
        }
        let secret = open()?;
        if sealed.len() <= OPENED_RECORD_BYTES {
            let (keys, sealed) = (Arc::downgrade(self.account), sealed.to_vec());
            self.new.push((key.to_vec(), Entry { keys, sealed, secret: secret.clone() }));
        }
        Ok(secret)
    }

    /// Locks for one look only. The way to a page is as long as its offset, and opening takes what the
    /// disk does; whoever keeps a page meanwhile is a reactor, and who forgets is the writer.
    fn known(&self, key: &[u8], sealed: &[u8]) -> Option<Secret> {
        let known = self.opened.0.read().unwrap_or_else(PoisonError::into_inner);
        let entry = known.entries.get(key)?;
        (entry.sealed == sealed && entry.is_of(self.account)).then(|| entry.secret.clone())
    }

    /// Keeps what was opened, for the next page.
    pub(super) fn keep(self) {
        let Self { opened, account: _, changes, new } = self;
        if new.is_empty() {
            return;
        }
        let mut state = opened.0.write().unwrap_or_else(PoisonError::into_inner);
        if state.changes != changes {
            return;
        }
        let is_full = state.entries.len() + new.len() > OPENED_SECRETS;
        let old = is_full.then(|| std::mem::take(&mut state.entries));
        state.entries.extend(new.into_iter().take(OPENED_SECRETS));
        // Freed when nobody waits for it any more.
        drop(state);
        drop(old);
    }
}

impl Entry {
    fn is_of(&self, account: &Arc<AccountKeys>) -> bool {
        std::ptr::eq(self.keys.as_ptr(), Arc::as_ptr(account))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::AccountKey;
    use crate::model::{
        AccountId, Revision, SecretId, SecretName, Tags, Timestamp, Version, VersionInfo,
    };
    use crate::store::Header;
    use neo_secrets_attestation::evidence::StoreId;

    fn account(byte: u8) -> Arc<AccountKeys> {
        let header = Header { store_id: StoreId([7; 16]) };
        let id = AccountId::from_bytes([byte; 18]);
        Arc::new(AccountKeys::new(&header, id, AccountKey::random().unwrap()))
    }

    fn secret(revision: u64) -> Secret {
        let at = Timestamp::from_unix_millis(0);
        Secret {
            id: SecretId::from_bytes([5; 18]),
            name: SecretName::parse("a".to_owned()).unwrap(),
            description: None,
            tags: Tags::default(),
            created_at: at,
            updated_at: at,
            expires_at: None,
            version: Version(1),
            revision: Revision(revision),
            versions: Vec::<VersionInfo>::new(),
            use_only: None,
        }
    }

    /// What a page shows where the record stands sealed like this, and whether it opened it; opened,
    /// it has this revision.
    fn shown(
        opened: &Opened,
        (account, changes): (&Arc<AccountKeys>, u64),
        key: &[u8],
        sealed: &[u8],
        revision: u64,
    ) -> (Revision, bool) {
        let (mut page, mut was_opened) = (opened.page(account, changes), false);
        let open = || {
            was_opened = true;
            Ok::<_, ()>(secret(revision))
        };
        let shown = page.secret(key, sealed, open).unwrap().revision;
        page.keep();
        (shown, was_opened)
    }

    #[test]
    fn the_same_bytes_at_the_same_place_under_the_same_keys_are_known() {
        let (opened, one, other) = (Opened::default(), account(1), account(2));
        let first = shown(&opened, (&one, 0), b"key", b"sealed", 1);
        assert_eq!(first, (Revision(1), true));
        assert_eq!(shown(&opened, (&one, 0), b"key", b"sealed", 2), (Revision(1), false));
        assert_eq!(shown(&opened, (&one, 0), b"kez", b"sealed", 3), (Revision(3), true));
        // One bit in the last byte, a longer and a shorter one.
        for (revision, sealed) in [(4, b"seale\x65".as_slice()), (5, b"sealed."), (6, b"seale")] {
            let changed = shown(&opened, (&one, 0), b"key", sealed, revision);
            assert_eq!(changed, (Revision(revision), true));
            let known = shown(&opened, (&one, 0), b"key", sealed, 9);
            assert_eq!(known, (Revision(revision), false));
        }
        assert_eq!(shown(&opened, (&other, 0), b"key", b"seale", 7), (Revision(7), true));
        // The same account's keys, opened once more, are others.
        assert_eq!(shown(&opened, (&account(2), 0), b"key", b"seale", 8), (Revision(8), true));
    }

    #[test]
    fn what_does_not_open_is_not_known() {
        let (opened, one) = (Opened::default(), account(1));
        let mut page = opened.page(&one, 0);
        assert_eq!(page.secret(b"key", b"sealed", || Err("damaged")), Err("damaged"));
        page.keep();
        assert_eq!(shown(&opened, (&one, 0), b"key", b"sealed", 1), (Revision(1), true));
    }

    fn account_gone() -> Gone {
        Gone { accounts: vec![AccountId::from_bytes([9; 18])], secrets: Vec::new() }
    }

    #[test]
    fn what_a_commit_changes_is_forgotten_and_not_put_back() {
        let (opened, one) = (Opened::default(), account(1));
        for key in [b"key", b"kez"] {
            assert_eq!(shown(&opened, (&one, 0), key, b"sealed", 1), (Revision(1), true));
        }
        let mut late = opened.page(&one, 0);
        late.secret(b"key", b"sealee", || Ok::<_, ()>(secret(2))).unwrap();
        let gone = Gone { accounts: Vec::new(), secrets: vec![b"key".to_vec()] };
        opened.forget(&gone, 1);
        late.keep();
        assert!(opened.0.read().unwrap().entries.keys().eq([b"kez"]));
        // The view before it has it still, and opens it.
        assert_eq!(shown(&opened, (&one, 0), b"key", b"sealed", 3), (Revision(3), true));
        assert_eq!(shown(&opened, (&one, 1), b"kez", b"sealed", 4), (Revision(1), false));
        opened.forget(&Gone::default(), 1);
        assert!(opened.0.read().unwrap().entries.keys().eq([b"kez"]));
    }

    #[test]
    fn an_accounts_deletion_forgets_all() {
        let (opened, one) = (Opened::default(), account(1));
        assert_eq!(shown(&opened, (&one, 0), b"key", b"sealed", 1), (Revision(1), true));
        opened.forget(&Gone::default(), 0);
        assert_eq!(shown(&opened, (&one, 0), b"key", b"sealed", 2), (Revision(1), false));
        let mut page = opened.page(&one, 0);
        page.secret(b"kez", b"sealed", || Ok::<_, ()>(secret(3))).unwrap();
        drop(page);
        opened.forget(&account_gone(), 1);
        assert!(opened.0.read().unwrap().entries.is_empty());
        // Views from before take nothing, and add nothing; later ones begin anew.
        for changes in [0, 0, 2] {
            let old = shown(&opened, (&one, changes), b"key", b"sealed", 4);
            assert_eq!(old, (Revision(4), true));
        }
        assert_eq!(shown(&opened, (&one, 1), b"key", b"sealed", 5), (Revision(5), true));
        assert_eq!(shown(&opened, (&one, 1), b"key", b"sealed", 6), (Revision(5), false));
    }

    #[test]
    fn nobody_waits_for_a_page() {
        let (opened, one) = (Opened::default(), account(1));
        let mut page = opened.page(&one, 0);
        assert!(opened.0.try_write().is_ok(), "on its way");
        let open = || {
            assert!(opened.0.try_write().is_ok(), "while it opens");
            // Another page is shown and kept, and an account is deleted.
            assert_eq!(shown(&opened, (&one, 0), b"kez", b"sealed", 1), (Revision(1), true));
            opened.forget(&account_gone(), 1);
            Ok::<_, ()>(secret(2))
        };
        assert_eq!(page.secret(b"key", b"sealed", open).unwrap().revision, Revision(2));
        page.keep();
        assert!(opened.0.read().unwrap().entries.is_empty());
    }

    #[test]
    fn it_is_bounded() {
        let (opened, one) = (Opened::default(), account(1));
        let count = || opened.0.read().unwrap().entries.len();
        let large = [0; OPENED_RECORD_BYTES + 1];
        shown(&opened, (&one, 0), b"key", &large, 1);
        assert_eq!(count(), 0);
        shown(&opened, (&one, 0), b"key", &large[1..], 1);
        assert_eq!(count(), 1);
        for round in 0..3 {
            let mut page = opened.page(&one, 0);
            for number in 0..OPENED_SECRETS + 10 {
                let key = format!("{round} {number}");
                page.secret(key.as_bytes(), b"sealed", || Ok::<_, ()>(secret(1))).unwrap();
            }
            page.keep();
            assert_eq!(count(), OPENED_SECRETS);
        }
        assert!(opened.0.read().unwrap().entries.keys().all(|key| key.starts_with(b"2 ")));
    }
}
