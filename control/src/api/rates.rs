//! How often somebody may call: token buckets, by API token and, for calls without a valid one, by address.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Most callers that are remembered; beyond that, those that have not called for long are forgotten.
const REMEMBERED: usize = 16_384;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// Buckets of one size, by whoever calls.
#[derive(Debug)]
pub(crate) struct Rates<K> {
    per_second: f64,
    burst: f64,
    buckets: Mutex<HashMap<K, Bucket>>,
}

impl<K: Hash + Eq> Rates<K> {
    pub(crate) fn new(per_second: u64, burst: u64) -> Self {
        let float = |number: u64| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
        Self { per_second: float(per_second), burst: float(burst.max(per_second)), buckets: Mutex::default() }
    }

    /// Takes one call, or says how long to wait.
    pub(crate) fn take(&self, key: K, now: Instant) -> Result<(), Duration> {
        self.spend(key, 1, now)
    }

    /// Takes more at once, on credit if something is left at all; or says how long to wait.
    pub(crate) fn spend(&self, key: K, amount: u32, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock();
        if buckets.len() >= REMEMBERED && !buckets.contains_key(&key) {
            buckets.retain(|_, bucket| self.refilled(bucket, now) < self.burst);
            if buckets.len() >= REMEMBERED {
                return Err(Duration::from_secs(1));
            }
        }
        let bucket = buckets.entry(key).or_insert(Bucket { left: self.burst, at: now });
        bucket.left = self.refilled(bucket, now);
        bucket.at = now;
        if bucket.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.left) / self.per_second));
        }
        bucket.left -= f64::from(amount);
        Ok(())
    }

    /// Whether a call would be taken; takes none.
    pub(crate) fn check(&self, key: &K, now: Instant) -> Result<(), Duration> {
        let buckets = self.buckets.lock();
        let Some(bucket) = buckets.get(key) else { return Ok(()) };
        let left = self.refilled(bucket, now);
        if left < 1.0 { Err(Duration::from_secs_f64((1.0 - left) / self.per_second)) } else { Ok(()) }
    }

    fn refilled(&self, bucket: &Bucket, now: Instant) -> f64 {
        let since = now.saturating_duration_since(bucket.at).as_secs_f64();
        (bucket.left + since * self.per_second).min(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_on_credit_is_waited_for() {
        let rates = Rates::new(10, 20);
        let start = Instant::now();
        rates.spend("a", 50, start).unwrap();
        assert_eq!(rates.take("a", start).unwrap_err(), Duration::from_millis(3100));
        rates.take("a", start + Duration::from_millis(3100)).unwrap();
    }

    #[test]
    fn refuses_over_the_burst_and_refills_with_time() {
        let rates = Rates::new(2, 3);
        let start = Instant::now();
        for _ in 0..3 {
            rates.take("a", start).unwrap();
        }
        let wait = rates.take("a", start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(500));
        assert!(rates.check(&"a", start).is_err() && rates.check(&"b", start).is_ok());
        rates.take("b", start).unwrap();
        rates.take("a", start + wait).unwrap();
        assert!(rates.take("a", start + wait).is_err());
    }
}
