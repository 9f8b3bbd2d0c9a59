//! How long a snapshot holds without a word from the server.
//!
//! Invariant: time that the machine slept counts, and setting the clock changes nothing (CLOCK_BOOTTIME).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Milliseconds since the machine started.
type Now = fn() -> u64;

/// The right to use what the server gave. Clones share it.
#[derive(Clone, Debug)]
pub struct Lease {
    /// When it ends; 0: it never began.
    end: Arc<AtomicU64>,
    life: u64,
    now: Now,
}

impl Lease {
    /// A lease that has not begun, and lasts this long after each renewal.
    pub fn new(life: Duration) -> Self {
        Self::with_clock(life, since_boot)
    }

    /// The same by another clock: milliseconds since some moment, of which none is lost while the machine sleeps.
    pub fn with_clock(life: Duration, now: Now) -> Self {
        Self { end: Arc::default(), life: millis(life), now }
    }

    /// The server spoke.
    pub fn renew(&self) {
        self.end.store((self.now)().saturating_add(self.life).max(1), Ordering::Release);
    }

    /// The server took back what it gave.
    pub fn end(&self) {
        self.end.store(0, Ordering::Release);
    }

    /// It ends this soon, unless the server speaks until then.
    pub fn shorten(&self, left: Duration) {
        let end = (self.now)().saturating_add(millis(left));
        self.end.fetch_min(end, Ordering::AcqRel);
    }

    /// The time of its clock.
    pub fn clock(&self) -> Duration {
        Duration::from_millis((self.now)())
    }

    /// Whether nothing may be used any more.
    pub fn is_over(&self) -> bool {
        (self.now)() >= self.end.load(Ordering::Acquire)
    }

    /// How long it still holds; zero if it is over.
    pub fn left(&self) -> Duration {
        Duration::from_millis(self.end.load(Ordering::Acquire).saturating_sub((self.now)()))
    }

    /// How long the server has been silent; `None` before it first spoke.
    pub fn silent(&self) -> Option<Duration> {
        let end = self.end.load(Ordering::Acquire);
        (end > 0).then(|| Duration::from_millis((self.now)().saturating_add(self.life).saturating_sub(end)))
    }

    /// How long it lasts without a word.
    pub fn life(&self) -> Duration {
        Duration::from_millis(self.life)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn since_boot() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let part = |value: i64| u64::try_from(value).unwrap_or_default();
    part(time.tv_sec).saturating_mul(1000).saturating_add(part(time.tv_nsec) / 1_000_000)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local!(static NOW: Cell<u64> = const { Cell::new(1_000) });

    #[test]
    fn ends_after_its_life_without_a_renewal_and_at_once_when_it_is_taken_back() {
        let lease = Lease::with_clock(Duration::from_secs(1), || NOW.get());
        let other = lease.clone();
        assert!(lease.is_over() && lease.silent().is_none());
        lease.renew();
        assert!(!other.is_over());
        NOW.set(1_999);
        assert_eq!(
            (other.left(), other.silent()),
            (Duration::from_millis(1), Some(Duration::from_millis(999)))
        );
        NOW.set(2_000);
        assert!(other.is_over());
        other.renew();
        assert!(!lease.is_over());
        lease.end();
        assert!(other.is_over());
        assert_eq!(other.left(), Duration::ZERO);
    }

    #[test]
    fn is_shortened_and_never_made_longer() {
        let lease = Lease::with_clock(Duration::from_secs(10), || 1_000);
        lease.shorten(Duration::from_secs(60));
        assert!(lease.is_over(), "it never began");
        lease.renew();
        lease.shorten(Duration::from_secs(5));
        assert_eq!(lease.left(), Duration::from_secs(5));
        lease.shorten(Duration::from_secs(60));
        assert_eq!(lease.left(), Duration::from_secs(5));
        lease.renew();
        assert_eq!(lease.left(), Duration::from_secs(10));
    }

    #[test]
    fn the_clock_of_the_machine_runs() {
        assert!(since_boot() > 0);
    }
}
