//! Who runs next: fair between accounts, and never more at a time than the machine has room for.
//!
//! An account may take of what is free, and of the queue, no more than it leaves. One that is alone
//! so has half of each, two have a third each, and whoever comes anew finds room.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::Busy;
use crate::limits;
use crate::model::AccountId;

/// What all accounts have together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Invocations at a time.
    pub running: usize,
    /// Memory of those that run, in MiB.
    pub memory_mib: u64,
    /// Length of the queue, in steps of [`limits::WAITING_STEP_BYTES`].
    pub waiting: usize,
}

/// The turns of all accounts.
pub struct Share {
    room: Room,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    arrivals: u64,
    running: usize,
    memory_mib: u64,
    waiting: usize,
    /// Those that run or wait; so the queue bounds this too.
    accounts: HashMap<AccountId, Account>,
}

#[derive(Default)]
struct Account {
    running: usize,
    memory_mib: u64,
    waiting: usize,
    waiters: VecDeque<Waiter>,
}

struct Waiter {
    arrival: u64,
    memory_mib: u64,
    steps: usize,
    wake: oneshot::Sender<Turn>,
}

/// A place in the queue, until it is dropped or its turn has come.
pub struct Place {
    share: Arc<Share>,
    account: AccountId,
    arrival: u64,
    turn: oneshot::Receiver<Turn>,
}

/// The right to run once; it ends when this is dropped.
pub struct Turn {
    share: Arc<Share>,
    account: AccountId,
    memory_mib: u64,
}

/// Turns that were given, to be handed over once the lock is gone: nobody may wait for one any more.
type Given = Vec<(oneshot::Sender<Turn>, Turn)>;

impl Share {
    /// With nobody in it.
    pub fn new(room: Room) -> Arc<Self> {
        Arc::new(Self { room, state: Mutex::default() })
    }

    /// How many run and how many wait.
    pub fn numbers(&self) -> (usize, usize) {
        let state = self.lock();
        (state.running, state.accounts.values().map(|account| account.waiters.len()).sum())
    }

    /// A place in the queue for what takes so much memory to run and so many bytes to wait.
    ///
    /// # Errors
    /// [`Busy`] where it can't run at once and the account has its share of the queue.
    pub fn place(
        self: &Arc<Self>,
        account: AccountId,
        memory_mib: u32,
        bytes: usize,
    ) -> Result<Place, Busy> {
        let (wake, turn) = oneshot::channel();
        let steps = 1 + bytes / limits::WAITING_STEP_BYTES;
        let mut state = self.lock();
        let arrival = state.arrivals;
        state.arrivals += 1;
        let free = self.room.waiting.saturating_sub(state.waiting);
        let entry = state.accounts.entry(account).or_default();
        let fits = entry.waiting + steps <= free;
        // What could never run would wait for ever.
        let memory_mib = u64::from(memory_mib).min(self.room.memory_mib);
        entry.waiters.push_back(Waiter { arrival, memory_mib, steps, wake });
        entry.waiting += steps;
        state.waiting += steps;
        let given = self.schedule(&mut state);
        let waits =
            given.iter().all(|(_, turn)| turn.account != account) || state.waits(account, arrival);
        let place = Place { share: self.clone(), account, arrival, turn };
        drop(state);
        hand_over(given);
        // Dropped, the place is given up.
        if waits && !fits { Err(Busy) } else { Ok(place) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives turns to whoever may run now.
    fn schedule(self: &Arc<Self>, state: &mut State) -> Given {
        let mut given = Given::new();
        while state.running < self.room.running {
            let (free_running, free_memory) = (
                self.room.running - state.running,
                self.room.memory_mib.saturating_sub(state.memory_mib),
            );
            // Who has the least at work comes first, and then who came first. Where that one finds
            // no memory, nobody passes it: it would wait for ever.
            let next = state
                .accounts
                .iter()
                .filter_map(|(id, account)| Some((id, account, account.waiters.front()?)))
                .filter(|(_, account, waiter)| {
                    account.running == 0
                        || account.running < free_running
                            && account.memory_mib + waiter.memory_mib <= free_memory
                })
                .min_by_key(|(_, account, waiter)| (account.running, waiter.arrival))
                .filter(|(_, _, waiter)| waiter.memory_mib <= free_memory)
                .map(|(id, _, _)| *id);
            let Some(account) = next else { break };
            let Some(entry) = state.accounts.get_mut(&account) else { break };
            let Some(waiter) = entry.waiters.pop_front() else { break };
            let Waiter { memory_mib, steps, wake, .. } = waiter;
            entry.running += 1;
            entry.memory_mib += memory_mib;
            entry.waiting -= steps;
            state.running += 1;
            state.memory_mib += memory_mib;
            state.waiting -= steps;
            given.push((wake, Turn { share: self.clone(), account, memory_mib }));
        }
        given
    }
}

impl State {
    fn waits(&self, account: AccountId, arrival: u64) -> bool {
        let entry = self.accounts.get(&account);
        entry.is_some_and(|entry| entry.waiters.iter().any(|waiter| waiter.arrival == arrival))
    }

    /// Forgets an account that has nothing here.
    fn tidy(&mut self, account: AccountId) {
        let idle = |entry: &Account| entry.running == 0 && entry.waiters.is_empty();
        if self.accounts.get(&account).is_some_and(idle) {
            self.accounts.remove(&account);
        }
    }
}

/// Whoever has gone meanwhile gives the turn back by dropping it.
fn hand_over(given: Given) {
    for (wake, turn) in given {
        drop(wake.send(turn));
    }
}

impl Place {
    /// Waits for the turn.
    pub async fn turn(mut self) -> Turn {
        let turn = (&mut self.turn).await;
        turn.expect("only a place that is dropped leaves its queue without a turn")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let given = {
            let mut state = self.share.lock();
            let state = &mut *state;
            if let Some(entry) = state.accounts.get_mut(&self.account)
                && let Some(at) = entry.waiters.iter().position(|it| it.arrival == self.arrival)
                && let Some(waiter) = entry.waiters.remove(at)
            {
                entry.waiting -= waiter.steps;
                state.waiting -= waiter.steps;
                state.tidy(self.account);
            }
            // It may have stood in another's way.
            self.share.schedule(state)
        };
        hand_over(given);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let given = {
            let mut state = self.share.lock();
            let state = &mut *state;
            if let Some(entry) = state.accounts.get_mut(&self.account) {
                entry.running -= 1;
                entry.memory_mib -= self.memory_mib;
                state.running -= 1;
                state.memory_mib -= self.memory_mib;
            }
            state.tidy(self.account);
            self.share.schedule(state)
        };
        hand_over(given);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room { running: 8, memory_mib: 1_000, waiting: 12 };

    fn account(number: u8) -> AccountId {
        AccountId::from_bytes([number; 18])
    }

    /// The turn, where it has come already.
    fn now(place: &mut Place) -> Option<Turn> {
        place.turn.try_recv().ok()
    }

    /// As many as this account gets at once.
    fn fill(share: &Arc<Share>, number: u8) -> (Vec<Turn>, Vec<Place>) {
        let (mut turns, mut places) = (vec![], vec![]);
        while let Ok(mut place) = share.place(account(number), 10, 0) {
            match now(&mut place) {
                Some(turn) => turns.push(turn),
                None => places.push(place),
            }
        }
        (turns, places)
    }

    #[test]
    fn nobody_takes_more_than_is_left() {
        let share = Share::new(ROOM);
        let (one, one_waits) = fill(&share, 1);
        assert_eq!((one.len(), one_waits.len()), (4, 6));
        let (two, two_waits) = fill(&share, 2);
        assert_eq!((two.len(), two_waits.len()), (2, 3));
        let (three, three_waits) = fill(&share, 3);
        assert_eq!((three.len(), three_waits.len()), (1, 2));
        assert_eq!(share.numbers(), (7, 11));
        let (four, _four_waits) = fill(&share, 4);
        assert_eq!(four.len(), 1);
    }

    #[test]
    fn who_has_the_least_at_work_is_next() {
        let share = Share::new(Room { running: 2, ..ROOM });
        let mut first = share.place(account(1), 10, 0).unwrap();
        let first = now(&mut first).unwrap();
        let mut other = share.place(account(2), 10, 0).unwrap();
        let other = now(&mut other).unwrap();
        let mut again = share.place(account(1), 10, 0).unwrap();
        let mut third = share.place(account(3), 10, 0).unwrap();
        assert!(now(&mut again).is_none() && now(&mut third).is_none());
        drop(other);
        assert!(now(&mut again).is_none(), "account 1 has one at work");
        let third = now(&mut third).unwrap();
        drop(first);
        let again = now(&mut again).unwrap();
        drop((third, again));
        assert_eq!(share.numbers(), (0, 0));
        assert!(share.lock().accounts.is_empty(), "who has left is forgotten");
    }

    #[test]
    fn memory_bounds_what_runs_and_the_large_are_not_passed_for_ever() {
        let share = Share::new(ROOM);
        let mut large = share.place(account(1), 600, 0).unwrap();
        let large = now(&mut large).unwrap();
        let mut second = share.place(account(2), 600, 0).unwrap();
        assert!(now(&mut second).is_none());
        let mut small = share.place(account(3), 10, 0).unwrap();
        assert!(now(&mut small).is_none(), "it would pass the one that came before");
        drop(large);
        assert!(now(&mut second).is_some() && now(&mut small).is_some());
        let mut whole = share.place(account(4), 100_000, 0).unwrap();
        assert!(now(&mut whole).is_some(), "more than there is counts as all of it");
    }

    #[test]
    fn a_place_or_turn_that_nobody_wants_is_free_again() {
        let share = Share::new(Room { running: 1, waiting: 4, ..ROOM });
        let first = share.place(account(1), 10, 0).unwrap();
        let waits = share.place(account(1), 10, 0).unwrap();
        let large = share.place(account(2), 10, 10 * limits::WAITING_STEP_BYTES);
        assert!(large.is_err(), "its bytes fill the queue");
        assert_eq!(share.numbers(), (1, 1));
        drop(waits);
        assert_eq!(share.numbers(), (1, 0));
        let mut next = share.place(account(2), 10, 0).unwrap();
        drop(first);
        let next = now(&mut next).unwrap();
        assert_eq!(share.numbers(), (1, 0));
        drop(next);
        assert!(share.lock().accounts.is_empty());
    }
}
