//! Rates: a provider's `requestsPerMinute` for each agent, and the mints of leaves.
//!
//! GCRA: one number for each pair, exact, and no timer. The state outlives plans, so that a reload gives nobody a new minute.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::agent::AgentName;
use control::provider::Provider;
use control::refusal::{Code, Refusal};
use parking_lot::Mutex;

/// A rate with a burst of its whole count: `theoretical` is when the bucket would be full again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    theoretical: Instant,
}

impl Bucket {
    pub(crate) fn new(now: Instant) -> Self {
        Self { theoretical: now }
    }

    /// Takes one; else says how long to wait.
    pub(crate) fn take(&mut self, count: u32, window: Duration, now: Instant) -> Result<(), Duration> {
        let step = window / count.max(1);
        let next = self.theoretical.max(now) + step;
        match next.checked_duration_since(now + window) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                self.theoretical = next;
                Ok(())
            }
        }
    }

    fn is_full(&self, now: Instant) -> bool {
        self.theoretical <= now
    }
}

/// Project, provider and agent.
type Key = (Arc<str>, Arc<str>, AgentName);

/// The rates of all providers and agents.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<HashMap<Key, Bucket>>);

/// Above this many pairs, those whose bucket is full are forgotten: they would be made again just so.
const FORGET_ABOVE: usize = 4096;

impl Rates {
    /// Takes one request of this agent's minute (DW1009).
    pub(crate) fn take(
        &self,
        provider: &Provider,
        agent: &AgentName,
        per_minute: NonZeroU32,
    ) -> Result<(), Refusal> {
        let now = Instant::now();
        let key = (Arc::clone(&provider.project), Arc::clone(&provider.name), agent.clone());
        let mut buckets = self.0.lock();
        if buckets.len() > FORGET_ABOVE {
            buckets.retain(|_, bucket| !bucket.is_full(now));
        }
        let bucket = buckets.entry(key).or_insert_with(|| Bucket::new(now));
        bucket.take(per_minute.get(), Duration::from_secs(60), now).map_err(|wait| {
            Refusal::new(
                Code::Dw1009,
                format!("over the provider's limit of {per_minute} requests in a minute"),
            )
            .of_provider(&provider.name)
            .retry_after(wait + Duration::from_millis(999))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_whole_count_at_once_and_then_one_at_a_time() {
        let start = Instant::now();
        let minute = Duration::from_secs(60);
        let mut bucket = Bucket::new(start);
        for _ in 0..3 {
            assert_eq!(bucket.take(3, minute, start), Ok(()));
        }
        assert_eq!(bucket.take(3, minute, start), Err(Duration::from_secs(20)));
        assert_eq!(bucket.take(3, minute, start + Duration::from_secs(19)), Err(Duration::from_secs(1)));
        assert_eq!(bucket.take(3, minute, start + Duration::from_secs(20)), Ok(()));
        assert!(bucket.take(3, minute, start + Duration::from_secs(20)).is_err());
    }
}
