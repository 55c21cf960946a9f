//! Who runs next: fair between accounts, and never more at a time than the machine has room for.
//!
//! An account may take of what is free, and of the queue, no more than it leaves. One that is alone
//! so has half of each, two have a third each, and whoever comes anew finds room.
//!
//! Who is first and finds too little memory free is passed by others meanwhile, as far as they leave
//! it what it needs: all that have passed it and are still at work hold no more than there is beyond
//! its need, and leave one turn. So it waits at the longest until those have ended that were at work
//! when it became the first, and each of them has a time limit.

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
    /// Memory of those that run, in a unit of the owner's choice.
    pub memory: u64,
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
    memory: u64,
    waiting: usize,
    passed: Passed,
    /// Those that run or wait; so the queue bounds this too.
    accounts: HashMap<AccountId, Account>,
}

/// The first in order, where it found too little memory, and what has passed it and is at work.
#[derive(Default)]
struct Passed {
    arrival: Option<u64>,
    /// Counts who became the first, as one may do again.
    first: u64,
    running: usize,
    memory: u64,
}

/// What may be taken.
#[derive(Clone, Copy)]
struct Free {
    running: usize,
    memory: u64,
}

#[derive(Default)]
struct Account {
    running: usize,
    memory: u64,
    waiting: usize,
    waiters: VecDeque<Waiter>,
}

struct Waiter {
    arrival: u64,
    memory: u64,
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
    memory: u64,
    /// Where it has passed another: which [`Passed::first`].
    passed: Option<u64>,
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
        memory: u32,
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
        let memory = u64::from(memory).min(self.room.memory);
        entry.waiters.push_back(Waiter { arrival, memory, steps, wake });
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
            let free = Free {
                running: self.room.running - state.running,
                memory: self.room.memory.saturating_sub(state.memory),
            };
            let Some((first, arrival, memory)) = state.next(free, None) else { break };
            let (account, passed) = if memory <= free.memory {
                (first, None)
            } else {
                let free = state.passed.beside(arrival, memory, self.room, free);
                let Some((account, ..)) = state.next(free, Some(first)) else { break };
                (account, Some(state.passed.first))
            };
            let Some(entry) = state.accounts.get_mut(&account) else { break };
            let Some(waiter) = entry.waiters.pop_front() else { break };
            let Waiter { memory, steps, wake, .. } = waiter;
            entry.running += 1;
            entry.memory += memory;
            entry.waiting -= steps;
            state.running += 1;
            state.memory += memory;
            state.waiting -= steps;
            if passed.is_some() {
                state.passed.running += 1;
                state.passed.memory += memory;
            }
            given.push((wake, Turn { share: self.clone(), account, memory, passed }));
        }
        given
    }
}

impl State {
    /// Whose turn is next, when its waiter arrived, and what that takes: who has the least at work
    /// comes first, and then who came first. `behind` this account, it is the first one that fits.
    fn next(&self, free: Free, behind: Option<AccountId>) -> Option<(AccountId, u64, u64)> {
        self.accounts
            .iter()
            .filter_map(|(id, account)| Some((id, account, account.waiters.front()?)))
            .filter(|(_, account, waiter)| {
                account.running == 0
                    || account.running < free.running
                        && account.memory + waiter.memory <= free.memory
            })
            .filter(|(id, _, waiter)| {
                let fits = free.running > 0 && waiter.memory <= free.memory;
                behind.is_none_or(|first| **id != first && fits)
            })
            .min_by_key(|(_, account, waiter)| (account.running, waiter.arrival))
            .map(|(id, _, waiter)| (*id, waiter.arrival, waiter.memory))
    }

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

impl Passed {
    /// What of this is free for others than the first, which arrived then and needs so much memory.
    fn beside(&mut self, arrival: u64, memory: u64, room: Room, free: Free) -> Free {
        if self.arrival != Some(arrival) {
            // Who is at work now has passed nobody.
            let (arrival, first) = (Some(arrival), self.first + 1);
            *self = Self { arrival, first, running: 0, memory: 0 };
        }
        let running = (room.running - 1).saturating_sub(self.running);
        let beyond = room.memory.saturating_sub(memory).saturating_sub(self.memory);
        Free { running: running.min(free.running), memory: beyond.min(free.memory) }
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
                entry.memory -= self.memory;
                state.running -= 1;
                state.memory -= self.memory;
            }
            if self.passed == Some(state.passed.first) {
                state.passed.running -= 1;
                state.passed.memory -= self.memory;
            }
            state.tidy(self.account);
            self.share.schedule(state)
        };
        hand_over(given);
    }
}

#[cfg(test)]
mod tests;
