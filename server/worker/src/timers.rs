//! Timers of an invocation: which is due when. What they call lies with the code.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::limits::TIMERS;

/// A timer's id, given by the prelude.
pub(crate) type TimerId = u32;

/// When a timer is due; of those due at the same time, the one that was started first comes first.
type Due = (Instant, u64);

/// Timers that run.
#[derive(Default)]
pub(crate) struct Timers {
    order: RefCell<BTreeMap<Due, TimerId>>,
    due: RefCell<HashMap<TimerId, Due>>,
    started: Cell<u64>,
}

/// There are as many timers as there may be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooManyTimers;

impl Timers {
    /// Starts a timer, or starts it anew.
    pub(crate) fn start(
        &self,
        id: TimerId,
        now: Instant,
        delay: Duration,
    ) -> Result<(), TooManyTimers> {
        self.stop(id);
        if self.order.borrow().len() >= TIMERS {
            return Err(TooManyTimers);
        }
        self.started.set(self.started.get().wrapping_add(1));
        let due = (now + delay, self.started.get());
        self.order.borrow_mut().insert(due, id);
        self.due.borrow_mut().insert(id, due);
        Ok(())
    }

    /// Stops a timer, if it runs.
    pub(crate) fn stop(&self, id: TimerId) {
        if let Some(due) = self.due.borrow_mut().remove(&id) {
            self.order.borrow_mut().remove(&due);
        }
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.order.borrow().first_key_value().map(|((at, _), _)| *at)
    }

    /// The next one, if it is due; it runs no longer then.
    pub(crate) fn take_due(&self, now: Instant) -> Option<TimerId> {
        if self.next()? > now {
            return None;
        }
        let (_, id) = self.order.borrow_mut().pop_first()?;
        self.due.borrow_mut().remove(&id);
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn they_come_by_time_then_by_start() {
        let (timers, now) = (Timers::default(), Instant::now());
        for (id, delay) in [(1, 2), (2, 1), (3, 1), (4, 0)] {
            timers.start(id, now, delay * MS).unwrap();
        }
        timers.stop(4);
        timers.stop(9);
        assert_eq!(timers.next(), Some(now + MS));
        assert_eq!(timers.take_due(now), None);
        let then = now + 2 * MS;
        let order: Vec<_> = std::iter::from_fn(|| timers.take_due(then)).collect();
        assert_eq!(order, [2, 3, 1]);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn starting_one_anew_moves_it() {
        let (timers, now) = (Timers::default(), Instant::now());
        timers.start(1, now, MS).unwrap();
        timers.start(1, now, 3 * MS).unwrap();
        assert_eq!(timers.next(), Some(now + 3 * MS));
    }

    #[test]
    fn there_are_only_so_many() {
        let (timers, now) = (Timers::default(), Instant::now());
        for id in 0..TIMERS {
            timers.start(u32::try_from(id).unwrap(), now, MS).unwrap();
        }
        assert_eq!(timers.start(u32::MAX, now, MS), Err(TooManyTimers));
        assert_eq!(timers.start(0, now, MS), Ok(()), "one that runs may start anew");
    }
}
