//! In which record each name of an account stands, in memory: read once from the store, and kept up
//! with each commit. What a name leads to is not kept here, and the records are what counts.

use crate::limits::{NAMES_KNOWN, PLACES_WEIGHT};
use crate::model::AccountId;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The places of one account's names.
#[derive(Default)]
pub(super) struct Places {
    /// The number of the record, by the name's key.
    numbers: HashMap<u64, u64>,
    /// The record that the next name goes to, as long as it has room.
    last: u64,
    /// How many names that one has.
    in_last: usize,
    /// The use that was its latest.
    used: AtomicU64,
}

/// What a commit changed of an account's places.
pub(super) struct Moves {
    /// Where names stand now, by their keys.
    pub(super) keys: HashMap<u64, Option<u64>>,
    /// The last record, where a name was given.
    pub(super) last: Option<u64>,
    /// How many names the records have that were looked at.
    pub(super) counts: BTreeMap<u64, usize>,
}

impl Places {
    pub(super) fn get(&self, key: u64) -> Option<u64> {
        self.numbers.get(&key).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// The last record's number, and how many names it has.
    pub(super) fn last(&self) -> (u64, usize) {
        (self.last, self.in_last)
    }

    /// Adds a name; gives back where it stands already.
    pub(super) fn put(&mut self, key: u64, number: u64) -> Option<u64> {
        self.numbers.insert(key, number)
    }

    /// This record is the last one, with so many names.
    pub(super) fn end_with(&mut self, number: u64, names: usize) {
        (self.last, self.in_last) = (number, names);
    }

    fn follow(&mut self, Moves { keys, last, counts }: Moves) {
        for (key, number) in keys {
            match number {
                Some(number) => self.numbers.insert(key, number),
                None => self.numbers.remove(&key),
            };
        }
        // What was given back leaves no memory held that nothing counts.
        if self.numbers.capacity() / 4 > self.numbers.len() {
            self.numbers.shrink_to(self.numbers.len().saturating_mul(2));
        }
        self.last = last.unwrap_or(self.last);
        self.in_last = counts.get(&self.last).copied().unwrap_or(self.in_last);
    }

    /// By what memory it takes.
    fn weight(&self) -> usize {
        self.numbers.len().saturating_add(PLACES_WEIGHT)
    }
}

/// The places that are known: of accounts that were used lately. They are as new as the newest commit,
/// or newer than what readers are shown by the one that is being published.
#[derive(Default)]
pub(super) struct KnownPlaces(RwLock<Known>);

#[derive(Default)]
struct Known {
    accounts: HashMap<AccountId, Places>,
    weight: usize,
    /// How many changes of names the newest commit has seen.
    changes: u64,
    /// How many it had seen when places were last forgotten: what an older view has may lack changes
    /// that nobody here remembers.
    forgotten_at: u64,
    uses: AtomicU64,
}

impl KnownPlaces {
    /// Looks at an account's places, where they are known.
    pub(super) fn look<T>(&self, account: AccountId, look: &impl Fn(&Places) -> T) -> Option<T> {
        let known = self.read();
        let places = known.accounts.get(&account)?;
        places.used.store(known.next_use(), Ordering::Relaxed);
        Some(look(places))
    }

    /// Keeps what a view of so many changes has; unless something may have changed since.
    pub(super) fn keep(&self, changes: u64, account: AccountId, mut places: Places) {
        let mut known = self.write();
        if changes < known.forgotten_at || known.accounts.contains_key(&account) {
            return;
        }
        *places.used.get_mut() = known.next_use();
        known.weight = known.weight.saturating_add(places.weight());
        known.accounts.insert(account, places);
        known.make_room(NAMES_KNOWN);
    }

    /// Takes over what a commit changed, before readers are shown it. It has seen so many changes.
    pub(super) fn follow(&self, moves: Vec<(AccountId, Moves)>, changes: u64) {
        let mut known = self.write();
        let known = &mut *known;
        known.changes = changes;
        for (account, moves) in moves {
            match known.accounts.get_mut(&account) {
                Some(places) => {
                    let before = places.weight();
                    places.follow(moves);
                    known.weight = (known.weight - before).saturating_add(places.weight());
                }
                None => known.forgotten_at = changes,
            }
        }
        known.make_room(NAMES_KNOWN);
    }

    /// Forgets those of these accounts.
    pub(super) fn forget(&self, accounts: &[AccountId]) {
        if accounts.is_empty() {
            return;
        }
        let mut known = self.write();
        for account in accounts {
            if let Some(places) = known.accounts.remove(account) {
                known.weight = known.weight.saturating_sub(places.weight());
                known.forgotten_at = known.changes;
            }
        }
    }

    #[cfg(test)]
    pub(super) fn forget_all(&self) {
        self.write().retain(|_, _| false);
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn next_use(&self) -> u64 {
        self.uses.fetch_add(1, Ordering::Relaxed)
    }

    /// Where there is more than this, keeps of the latest used what is three quarters of it, and at
    /// least the very latest.
    fn make_room(&mut self, weight_max: usize) {
        if self.weight <= weight_max {
            return;
        }
        let mut by_use: Vec<_> = self
            .accounts
            .iter()
            .map(|(account, places)| {
                (places.used.load(Ordering::Relaxed), *account, places.weight())
            })
            .collect();
        by_use.sort_unstable_by_key(|(used, ..)| std::cmp::Reverse(*used));
        let mut sum = 0_usize;
        let kept: HashSet<_> = by_use
            .into_iter()
            .enumerate()
            .take_while(|(index, (.., weight))| {
                sum = sum.saturating_add(*weight);
                *index == 0 || sum <= weight_max - weight_max / 4
            })
            .map(|(_, (_, account, _))| account)
            .collect();
        self.retain(|account, _| kept.contains(&account));
    }

    fn retain(&mut self, mut keep: impl FnMut(AccountId, &Places) -> bool) {
        let before = self.accounts.len();
        self.accounts.retain(|account, places| keep(*account, places));
        self.weight = self.accounts.values().map(Places::weight).sum();
        if self.accounts.len() < before {
            self.forgotten_at = self.changes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::crash::Dice;

    fn account(number: u8) -> AccountId {
        AccountId::from_bytes([number; 18])
    }

    fn places(names: u64) -> Places {
        let mut places = Places::default();
        for key in 0..names {
            assert_eq!(places.put(key, 0), None);
        }
        places
    }

    fn moved(key: u64, number: Option<u64>) -> Moves {
        Moves { keys: [(key, number)].into(), last: number, counts: BTreeMap::new() }
    }

    fn place(known: &KnownPlaces, account: AccountId, key: u64) -> Option<Option<u64>> {
        known.look(account, &|places: &Places| places.get(key))
    }

    #[test]
    fn what_may_have_changed_since_is_not_kept() {
        let known = KnownPlaces::default();
        known.keep(0, account(1), places(1));
        known.follow(vec![(account(1), moved(7, Some(3)))], 5);
        assert_eq!(place(&known, account(1), 7), Some(Some(3)));
        // What is known is newer than any view.
        known.keep(9, account(1), places(1));
        assert_eq!(place(&known, account(1), 7), Some(Some(3)));
        known.forget_all();
        known.keep(4, account(1), places(1));
        assert_eq!(place(&known, account(1), 7), None, "it changed with 5");
        // Of another account, too: nobody knows whether it was known before.
        known.keep(4, account(2), places(1));
        assert_eq!(place(&known, account(2), 0), None);
        known.keep(5, account(1), places(1));
        assert_eq!(place(&known, account(1), 0), Some(Some(0)));
        // A change of places that nobody knows.
        known.follow(vec![(account(2), moved(7, Some(3)))], 6);
        known.keep(5, account(2), places(1));
        assert_eq!(place(&known, account(2), 7), None);
        known.keep(6, account(2), places(1));
        assert_eq!(place(&known, account(2), 7), Some(None));
        known.follow(vec![(account(2), moved(0, None))], 7);
        assert_eq!(place(&known, account(2), 0), Some(None), "taken back");
    }

    /// Commits, evictions, and readers of snapshots of any age that keep what they have read, in any
    /// order: what is known of an account is what the newest commit has that was followed.
    #[test]
    fn no_order_of_readers_and_commits_keeps_what_is_old() {
        const ACCOUNTS: u8 = 3;
        let of = |value: u64| {
            let mut places = Places::default();
            assert_eq!(places.put(0, value), None);
            places
        };
        for seed in 1..200 {
            let (mut dice, known) = (Dice::new(seed), KnownPlaces::default());
            // What each commit has of each account; the last one may be on its way to readers.
            let mut commits = vec![[0_u64; ACCOUNTS as usize]];
            let (mut published, mut readers) = (0, Vec::new());
            for step in 0..120 {
                let index = dice.below(ACCOUNTS.into());
                let own = account(u8::try_from(index).unwrap());
                match dice.below(8) {
                    // The writer reads what it changes, as long as that is not known.
                    0 if published + 1 == commits.len() => {
                        let changes = u64::try_from(published).unwrap();
                        known.keep(changes, own, of(commits[published][index]));
                        let mut next = commits[published];
                        next[index] += 1;
                        commits.push(next);
                    }
                    1..=2 if published + 1 < commits.len() => {
                        let (old, new) = (commits[published], commits[published + 1]);
                        let changed = (0..ACCOUNTS).filter(|index| {
                            let index = usize::from(*index);
                            old[index] != new[index]
                        });
                        let moves = changed
                            .map(|index| (account(index), moved(0, Some(new[usize::from(index)]))));
                        published += 1;
                        known.follow(moves.collect(), u64::try_from(published).unwrap());
                    }
                    3..=4 => readers.push((published, index)),
                    5 if !readers.is_empty() => {
                        let (commit, index) = readers.swap_remove(dice.below(readers.len()));
                        let changes = u64::try_from(commit).unwrap();
                        let own = account(u8::try_from(index).unwrap());
                        known.keep(changes, own, of(commits[commit][index]));
                    }
                    6 => known.forget(&[own]),
                    7 if dice.below(4) == 0 => known.forget_all(),
                    _ => {}
                }
                for index in 0..ACCOUNTS {
                    let found = place(&known, account(index), 0);
                    let newest = commits[published][usize::from(index)];
                    let is_newest = found.is_none_or(|found| found == Some(newest));
                    assert!(is_newest, "seed {seed}, step {step}: {found:?}, not {newest}");
                }
            }
        }
    }

    #[test]
    fn what_was_given_back_holds_no_memory() {
        let known = KnownPlaces::default();
        known.keep(0, account(1), places(10_000));
        known.keep(0, account(2), places(1));
        let back = (1..10_000).map(|key| (key, None)).collect();
        let moves = Moves { keys: back, last: None, counts: BTreeMap::new() };
        known.follow(vec![(account(1), moves)], 1);
        let room = |known: &KnownPlaces| {
            known.look(account(1), &|places: &Places| places.numbers.capacity())
        };
        assert!(room(&known).unwrap() < 10, "{:?}", room(&known));
        assert_eq!(place(&known, account(1), 0), Some(Some(0)));
        assert_eq!(known.read().weight, 2 * (1 + PLACES_WEIGHT));
        known.forget(&[account(1), account(3)]);
        assert_eq!(known.read().weight, 1 + PLACES_WEIGHT);
        assert_eq!(place(&known, account(1), 0), None);
    }

    #[test]
    fn the_latest_used_are_kept_as_far_as_there_is_room() {
        let known = KnownPlaces::default();
        for number in 1..=4 {
            known.keep(0, account(number), places(100));
        }
        assert!(place(&known, account(1), 0).is_some());
        let weight = |known: &KnownPlaces| known.read().weight;
        assert_eq!(weight(&known), 4 * (100 + PLACES_WEIGHT));
        known.write().make_room(4 * (100 + PLACES_WEIGHT));
        assert_eq!(known.read().accounts.len(), 4, "there is room");
        known.write().make_room(300);
        let left = |number| place(&known, account(number), 0).is_some();
        assert_eq!([1, 2, 3, 4].map(left), [true, false, false, false], "three quarters of it");
        assert_eq!(weight(&known), 100 + PLACES_WEIGHT);
        known.write().make_room(10);
        assert!(left(1), "one account is always known");
        let before = weight(&known);
        known.follow(vec![(account(1), moved(100, Some(1)))], 1);
        assert_eq!(weight(&known), before + 1);
    }
}
