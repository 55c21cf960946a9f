//! How fast the processor answers: a token bucket over a clock that tests move by hand.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A clock that only moves forward.
pub trait Clock: Send + Sync {
    /// Time since the clock was made.
    fn elapsed(&self) -> Duration;
    /// Returns when this much time has passed.
    fn sleep(&self, span: Duration);
}

/// The machine's own clock.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    /// Starts now.
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, span: Duration) {
        std::thread::sleep(span);
    }
}

/// A clock that stands still until a test moves it.
#[derive(Debug, Default)]
pub struct ManualClock(Mutex<Duration>);

impl ManualClock {
    /// Moves the clock on.
    pub fn advance(&self, span: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += span;
    }
}

impl Clock for ManualClock {
    fn elapsed(&self) -> Duration {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sleep(&self, span: Duration) {
        self.advance(span);
    }
}

/// Lets `burst` requests through at once and then `per_second` a second.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    /// What one request costs; zero: nothing is limited.
    cost: Duration,
    capacity: Duration,
    credit: Duration,
    seen: Duration,
}

impl TokenBucket {
    /// `per_second` 0 means without limit.
    pub(crate) fn full(per_second: u32, burst: u32) -> Self {
        let cost = Duration::from_secs(1).checked_div(per_second).unwrap_or_default();
        let capacity = cost.saturating_mul(burst.max(1));
        Self { cost, capacity, credit: capacity, seen: Duration::ZERO }
    }

    /// Whether a request may pass at this time of the clock.
    pub(crate) fn take(&mut self, elapsed: Duration) -> bool {
        let earned = elapsed.saturating_sub(self.seen);
        self.seen = self.seen.max(elapsed);
        self.credit = self.credit.saturating_add(earned).min(self.capacity);
        match self.credit.checked_sub(self.cost) {
            Some(rest) => {
                self.credit = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_so_many_a_second() {
        let mut bucket = TokenBucket::full(4, 8);
        let at = Duration::from_millis;
        assert_eq!((0..20).filter(|_| bucket.take(at(0))).count(), 8);
        assert!(!bucket.take(at(249)));
        assert!(bucket.take(at(250)));
        assert!(!bucket.take(at(250)));
        assert_eq!((0..20).filter(|_| bucket.take(at(1250))).count(), 4);
        assert_eq!((0..20).filter(|_| bucket.take(at(60_000))).count(), 8);
    }

    #[test]
    fn zero_a_second_is_without_limit() {
        let mut bucket = TokenBucket::full(0, 0);
        assert!((0..10_000).all(|_| bucket.take(Duration::ZERO)));
    }
}
