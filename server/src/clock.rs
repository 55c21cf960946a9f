//! The server's one source of time.
//!
//! What the machine's clock says is its host's word. It is asked once, at the start, and believed
//! where it fits the highest time that is sealed in the store: else time goes on from that one, and
//! the owner's signature sets it right (STORE.md §6.2). From then on a clock counts that the host can
//! stop or hurry, and not turn back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::limits;
use crate::model::Timestamp;

/// The time.
pub struct Clock {
    /// What the machine's clock said at the start, in ms since 1970.
    machine: u64,
    /// The start.
    since: Instant,
    /// The time at the start, in ms since 1970. Changed with what is known; each call reads it.
    start: AtomicU64,
    known: Mutex<Known>,
}

#[derive(Clone, Copy)]
struct Known {
    suspicion: Option<Suspicion>,
    /// The highest time that is sealed.
    sealed: Option<u64>,
    /// What the owner is setting it to.
    set: Option<u64>,
}

/// What is wrong with the machine's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspicion {
    /// It is behind the highest time that is sealed.
    Behind,
    /// It is more than a week ahead of that.
    Ahead,
}

/// A time that the next commit seals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToSeal {
    /// The time.
    pub time: Timestamp,
    is_set: bool,
}

impl Suspicion {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Suspicion::Behind => "behind",
            Suspicion::Ahead => "ahead",
        }
    }
}

impl Clock {
    /// Starts where the machine's clock is.
    pub fn start(machine: SystemTime) -> Self {
        Self::started(machine, Instant::now())
    }

    /// One that was started then.
    fn started(machine: SystemTime, since: Instant) -> Self {
        let machine = millis(machine.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
        let known = Known { suspicion: None, sealed: None, set: None };
        Self { machine, since, start: machine.into(), known: Mutex::new(known) }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elapsed(&self) -> u64 {
        millis(self.since.elapsed())
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    /// The time at this moment after the start.
    pub fn at(&self, moment: Instant) -> Timestamp {
        let elapsed = millis(moment.saturating_duration_since(self.since));
        Timestamp::from_unix_millis(self.start.load(Ordering::Relaxed).saturating_add(elapsed))
    }

    /// What the machine's clock would say now.
    pub fn of_machine(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.machine.saturating_add(self.elapsed()))
    }

    /// Whether the machine's clock is not believed.
    pub fn suspicion(&self) -> Option<Suspicion> {
        self.known().suspicion
    }

    /// Takes the highest time that the store has sealed, as it is opened.
    pub fn found(&self, sealed: Timestamp) {
        let sealed = sealed.unix_millis();
        let mut known = self.known();
        let (behind, ahead) = (limits::CLOCK_BEHIND, limits::CLOCK_AHEAD);
        known.suspicion = if self.machine.saturating_add(millis(behind)) < sealed {
            Some(Suspicion::Behind)
        } else if self.machine > sealed.saturating_add(millis(ahead)) {
            Some(Suspicion::Ahead)
        } else {
            None
        };
        known.sealed = Some(sealed);
        let start = match known.suspicion {
            Some(_) => sealed,
            None => self.machine.max(sealed),
        };
        self.start.store(start, Ordering::Relaxed);
        if let Some(suspicion) = known.suspicion {
            tracing::error!(
                machine = suspicion.as_str(),
                "clock-suspect: time goes on from the last that is sealed"
            );
        }
    }

    /// The owner's word, which the next commit seals, and which holds from then on.
    pub fn set(&self, time: Timestamp) {
        self.known().set = Some(time.unix_millis());
    }

    /// What a new store seals.
    pub fn first(&self) -> ToSeal {
        ToSeal { time: self.now(), is_set: false }
    }

    /// What a commit is to seal: the owner's word, or the time, where the last one was sealed a while
    /// ago.
    pub fn to_seal(&self) -> Option<ToSeal> {
        let set = self.known().set.take();
        if let Some(set) = set {
            return Some(ToSeal { time: Timestamp::from_unix_millis(set), is_set: true });
        }
        let (now, sealed) = (self.now(), self.known().sealed);
        let is_due = sealed.is_none_or(|sealed| {
            now.unix_millis() >= sealed.saturating_add(millis(limits::CLOCK_SEAL_INTERVAL))
        });
        is_due.then_some(ToSeal { time: now, is_set: false })
    }

    /// What the end is to seal: nothing, where nothing was sealed before.
    pub fn to_seal_at_end(&self) -> Option<ToSeal> {
        let sealed = self.known().sealed;
        sealed.and_then(|_| self.to_seal())
    }

    /// It has been sealed, durably.
    pub fn note_sealed(&self, ToSeal { time, is_set }: ToSeal) {
        let elapsed = self.elapsed();
        let mut known = self.known();
        known.sealed = Some(time.unix_millis());
        if is_set {
            let start = time.unix_millis().saturating_sub(elapsed);
            self.start.store(start, Ordering::Relaxed);
            known.suspicion = None;
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn time(seconds: u64) -> Timestamp {
        Timestamp::from_unix_millis(seconds * 1_000)
    }

    /// The time in seconds: a test takes less than one.
    fn now(clock: &Clock) -> u64 {
        clock.now().unix_seconds()
    }

    /// A start at a time by the machine's clock, with this one sealed before.
    fn start(machine: u64, sealed: u64) -> Clock {
        let clock = Clock::start(at(machine));
        clock.found(time(sealed));
        clock
    }

    #[test]
    fn the_machines_clock_is_believed_within_a_week_of_the_last_time() {
        const LAST: u64 = 1_000 * DAY;
        assert_eq!(now(&Clock::start(at(LAST))), LAST, "without a store");
        for (machine, its, suspicion) in [
            (LAST, LAST, None),
            (LAST + 1, LAST + 1, None),
            (LAST + 7 * DAY, LAST + 7 * DAY, None),
            (LAST + 7 * DAY + 1, LAST, Some(Suspicion::Ahead)),
            (LAST + 365 * DAY, LAST, Some(Suspicion::Ahead)),
            // Clocks run apart: that is no reason to suspect one.
            (LAST - 3_600, LAST, None),
            (LAST - 3_601, LAST, Some(Suspicion::Behind)),
            (LAST - 365 * DAY, LAST, Some(Suspicion::Behind)),
            (0, LAST, Some(Suspicion::Behind)),
        ] {
            let clock = start(machine, LAST);
            assert_eq!((now(&clock), clock.suspicion()), (its, suspicion), "{machine}");
            assert_eq!(clock.of_machine().unix_seconds(), machine);
        }
        let before = Clock::start(SystemTime::UNIX_EPOCH - Duration::from_secs(1));
        assert_eq!(now(&before), 0);
    }

    #[test]
    fn time_goes_on_from_the_start_whatever_is_believed() {
        let an_hour_ago = Instant::now().checked_sub(Duration::from_secs(3_600)).unwrap();
        let clock = Clock::started(at(DAY), an_hour_ago);
        assert_eq!(now(&clock), DAY + 3_600);
        clock.found(time(100 * DAY));
        assert_eq!(now(&clock), 100 * DAY + 3_600);
        assert_eq!(clock.suspicion(), Some(Suspicion::Behind));
    }

    #[test]
    fn a_time_is_sealed_once_a_minute_at_most() {
        let minutes_ago =
            |minutes: u64| Instant::now().checked_sub(Duration::from_secs(60 * minutes));
        let clock = Clock::started(at(DAY), minutes_ago(2).unwrap());
        let first = clock.to_seal().expect("none is sealed yet");
        assert_eq!(first.time.unix_seconds(), DAY + 120);
        clock.note_sealed(first);
        assert_eq!((clock.to_seal(), clock.to_seal_at_end()), (None, None));
        let clock = Clock::started(at(DAY), minutes_ago(1).unwrap());
        assert_eq!(clock.to_seal_at_end(), None, "an end begins nothing");
        clock.found(time(DAY));
        assert_eq!(clock.to_seal().unwrap().time.unix_seconds(), DAY + 60);
        assert_eq!(clock.to_seal_at_end().unwrap().time.unix_seconds(), DAY + 60);
    }

    #[test]
    fn the_owners_word_holds_once_it_is_sealed() {
        let an_hour_ago = Instant::now().checked_sub(Duration::from_secs(3_600)).unwrap();
        let clock = Clock::started(at(DAY), an_hour_ago);
        clock.found(time(100 * DAY));
        // Backwards too.
        clock.set(time(50 * DAY));
        assert_eq!(now(&clock), 100 * DAY + 3_600, "not yet");
        let sealed = clock.to_seal().unwrap();
        assert_eq!(sealed.time, time(50 * DAY));
        clock.note_sealed(sealed);
        assert_eq!((now(&clock), clock.suspicion()), (50 * DAY, None));
        assert_eq!(clock.to_seal(), None);
        // The next start goes on from there.
        assert_eq!(now(&start(50 * DAY + 5, 50 * DAY)), 50 * DAY + 5);
    }
}
