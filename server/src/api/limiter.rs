//! Rate limits: a token bucket for each key, or peer, in a bounded table.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Buckets that hold `limit` tokens and fill up within `period`.
pub struct Limiter<K> {
    limit: u64,
    interval_ns: u64,
    entries_max: usize,
    epoch: Instant,
    buckets: Mutex<Buckets<K>>,
}

struct Buckets<K> {
    /// When each bucket is full again, in nanoseconds from the epoch; a time past means full.
    full_at_ns: HashMap<K, u64>,
    /// The bucket that those share who find the table full of busier ones.
    overflow_full_at_ns: u64,
}

/// What is left in a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Tokens of a full bucket.
    pub limit: u64,
    /// Tokens left.
    pub remaining: u64,
    /// Until the bucket is full.
    pub full_in: Duration,
}

/// The bucket is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// As for a request that passed; nothing remains.
    pub quota: Quota,
    /// Until there is a token.
    pub retry_after: Duration,
}

impl<K: Copy + Eq + Hash> Limiter<K> {
    /// A limit of `limit` (at least 1) in each `period`, counted for at most `entries_max` keys. A
    /// bucket that has filled up again is forgotten when room is needed.
    pub fn new(limit: u64, period: Duration, entries_max: usize, now: Instant) -> Self {
        let period_ns = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        let buckets = Buckets { full_at_ns: HashMap::new(), overflow_full_at_ns: 0 };
        let (limit, interval_ns) = (limit.max(1), (period_ns / limit.max(1)).max(1));
        Limiter { limit, interval_ns, entries_max, epoch: now, buckets: Mutex::new(buckets) }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// [`Exceeded`] where there is none.
    pub fn take(&self, key: K, now: Instant) -> Result<Quota, Exceeded> {
        let now_ns = self.nanoseconds(now);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let buckets = &mut *buckets;
        if buckets.full_at_ns.len() >= self.entries_max && !buckets.full_at_ns.contains_key(&key) {
            buckets.full_at_ns.retain(|_, full_at_ns| *full_at_ns > now_ns);
        }
        let room = buckets.full_at_ns.len() < self.entries_max;
        let full_at_ns = match buckets.full_at_ns.get_mut(&key) {
            Some(full_at_ns) => full_at_ns,
            None if room => buckets.full_at_ns.entry(key).or_insert(0),
            None => &mut buckets.overflow_full_at_ns,
        };
        let after_ns = (*full_at_ns).max(now_ns).saturating_add(self.interval_ns);
        let full_in_ns = after_ns.saturating_sub(now_ns);
        let capacity_ns = self.interval_ns.saturating_mul(self.limit);
        if full_in_ns > capacity_ns {
            let full_in = Duration::from_nanos(full_at_ns.saturating_sub(now_ns));
            let quota = Quota { limit: self.limit, remaining: 0, full_in };
            let retry_after = Duration::from_nanos(full_in_ns - capacity_ns);
            return Err(Exceeded { quota, retry_after });
        }
        *full_at_ns = after_ns;
        let remaining = (capacity_ns - full_in_ns) / self.interval_ns;
        Ok(Quota { limit: self.limit, remaining, full_in: Duration::from_nanos(full_in_ns) })
    }

    /// Gives a token back that was taken for this key.
    pub fn give_back(&self, key: K) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let buckets = &mut *buckets;
        let own = buckets.full_at_ns.get_mut(&key);
        let full_at_ns = own.unwrap_or(&mut buckets.overflow_full_at_ns);
        *full_at_ns = full_at_ns.saturating_sub(self.interval_ns);
    }

    fn nanoseconds(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.epoch).as_nanos();
        u64::try_from(since).unwrap_or(u64::MAX) // after 584 years
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_token_given_back_can_be_taken_again() {
        let start = Instant::now();
        let limiter = Limiter::new(2, SECOND, 1, start);
        let first = limiter.take("a", start);
        limiter.give_back("a");
        assert_eq!(limiter.take("a", start), first);
        assert!(limiter.take("a", start).is_ok());
        assert!(limiter.take("a", start).is_err());
        limiter.give_back("a");
        assert!(limiter.take("a", start).is_ok());
        // "b" and "c" found the table full, and share a bucket.
        assert!(limiter.take("b", start).is_ok() && limiter.take("c", start).is_ok());
        limiter.give_back("b");
        assert!(limiter.take("c", start).is_ok());
        assert!(limiter.take("b", start).is_err());
    }

    #[test]
    fn spends_the_bucket_and_fills_it_again() {
        let start = Instant::now();
        let limiter = Limiter::new(4, SECOND, 10, start);
        let quota =
            |remaining, ms| Quota { limit: 4, remaining, full_in: Duration::from_millis(ms) };
        assert_eq!(limiter.take("a", start), Ok(quota(3, 250)));
        assert_eq!(limiter.take("a", start), Ok(quota(2, 500)));
        assert_eq!(limiter.take("a", start), Ok(quota(1, 750)));
        assert_eq!(limiter.take("a", start), Ok(quota(0, 1000)));
        let retry_after = Duration::from_millis(250);
        let exceeded = Exceeded { quota: quota(0, 1000), retry_after };
        assert_eq!(limiter.take("a", start), Err(exceeded));
        assert_eq!(limiter.take("a", start), Err(exceeded), "a refusal costs nothing");
        assert_eq!(limiter.take("b", start), Ok(quota(3, 250)), "another key has its own");
        assert_eq!(limiter.take("a", start + retry_after), Ok(quota(0, 1000)));
        assert_eq!(limiter.take("a", start + 10 * SECOND), Ok(quota(3, 250)));
    }

    #[test]
    fn the_table_is_bounded_and_forgets_full_buckets_only() {
        let start = Instant::now();
        let limiter = Limiter::new(2, SECOND, 2, start);
        for key in [1, 2] {
            assert_eq!(limiter.take(key, start).map(|quota| quota.remaining), Ok(1));
        }
        // No room: 3 and 4 share one bucket, and 1 keeps its own.
        assert_eq!(limiter.take(3, start).map(|quota| quota.remaining), Ok(1));
        assert_eq!(limiter.take(4, start).map(|quota| quota.remaining), Ok(0));
        assert!(limiter.take(3, start).is_err());
        assert_eq!(limiter.take(1, start).map(|quota| quota.remaining), Ok(0));
        // Later their buckets are full, so there is room.
        assert_eq!(limiter.take(3, start + SECOND).map(|quota| quota.remaining), Ok(1));
        assert_eq!(limiter.buckets.lock().unwrap().full_at_ns.len(), 1);
    }
}
