//! Secrets that pages have shown lately, so that a page that is asked for again opens only what has
//! changed.

use crate::limits::{OPENED_RECORD_BYTES, OPENED_SECRETS};
use crate::model::Secret;
use crate::store::core::AccountKeys;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, Weak};

/// What records opened as. Under one key and at one place, the same sealed bytes always open as the
/// same: so who finds all of these the same has checked as much as who opens. What was changed or
/// removed since has other bytes, or none, and nobody asks for it. All entries are of one state of
/// the store as to which accounts there are, so that nothing of a deleted account stays.
#[derive(Default)]
pub(super) struct Opened(RwLock<State>);

#[derive(Default)]
struct State {
    deletions: u64,
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
    deletions: u64,
    known: RwLockReadGuard<'o, State>,
    new: Vec<(Vec<u8>, Entry)>,
}

impl Opened {
    /// For a page of this account, by a view with so many deletions.
    pub(super) fn page<'o>(&'o self, account: &'o Arc<AccountKeys>, deletions: u64) -> Page<'o> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Page { opened: self, account, deletions, known, new: Vec::new() }
    }

    /// Forgets everything, unless no account was deleted since; before the commit with this number of
    /// deletions is shown to readers.
    pub(super) fn forget(&self, deletions: u64) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if state.deletions != deletions {
            *state = State { deletions, entries: HashMap::new() };
        }
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
        let is_current = self.known.deletions == self.deletions;
        let entry = self.known.entries.get(key).filter(|_| is_current);
        let entry = entry.filter(|entry| entry.sealed == sealed);
        if let Some(entry) = entry.filter(|entry| entry.is_of(self.account)) {
            return Ok(entry.secret.clone());
        }
        let secret = open()?;
        if is_current && sealed.len() <= OPENED_RECORD_BYTES {
            let (keys, sealed) = (Arc::downgrade(self.account), sealed.to_vec());
            self.new.push((key.to_vec(), Entry { keys, sealed, secret: secret.clone() }));
        }
        Ok(secret)
    }

    /// Keeps what was opened, for the next page.
    pub(super) fn keep(self) {
        let Self { opened, account: _, deletions, known, new } = self;
        drop(known);
        if new.is_empty() {
            return;
        }
        let mut state = opened.0.write().unwrap_or_else(PoisonError::into_inner);
        if state.deletions != deletions {
            return;
        }
        if state.entries.len() + new.len() > OPENED_SECRETS {
            state.entries.clear();
        }
        state.entries.extend(new.into_iter().take(OPENED_SECRETS));
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
        (account, deletions): (&Arc<AccountKeys>, u64),
        key: &[u8],
        sealed: &[u8],
        revision: u64,
    ) -> (Revision, bool) {
        let (mut page, mut was_opened) = (opened.page(account, deletions), false);
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

    #[test]
    fn an_accounts_deletion_forgets_all() {
        let (opened, one) = (Opened::default(), account(1));
        assert_eq!(shown(&opened, (&one, 0), b"key", b"sealed", 1), (Revision(1), true));
        opened.forget(0);
        assert_eq!(shown(&opened, (&one, 0), b"key", b"sealed", 2), (Revision(1), false));
        let mut page = opened.page(&one, 0);
        page.secret(b"kez", b"sealed", || Ok::<_, ()>(secret(3))).unwrap();
        drop(page);
        opened.forget(1);
        assert!(opened.0.read().unwrap().entries.is_empty());
        // Views from before take nothing, and add nothing; later ones begin anew.
        for deletions in [0, 0, 2] {
            let old = shown(&opened, (&one, deletions), b"key", b"sealed", 4);
            assert_eq!(old, (Revision(4), true));
        }
        assert_eq!(shown(&opened, (&one, 1), b"key", b"sealed", 5), (Revision(5), true));
        assert_eq!(shown(&opened, (&one, 1), b"key", b"sealed", 6), (Revision(5), false));
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
