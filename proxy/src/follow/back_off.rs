//! How long it is waited before the server is asked again: longer each time, and never by all sidecars at once.

use std::time::Duration;

/// The first wait, at most.
const FIRST: Duration = Duration::from_millis(500);
/// The longest wait, but for one that the server names.
const LONGEST: Duration = Duration::from_secs(30);
/// The longest wait that a server may name.
const NAMED_MOST: Duration = Duration::from_mins(2);

/// Counts the attempts that failed.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    failed: u32,
}

impl BackOff {
    /// The server was there.
    pub(super) fn reset(&mut self) {
        self.failed = 0;
    }

    /// The next wait. The server's own wish is a floor.
    pub(super) fn next(&mut self, named: Option<Duration>) -> Duration {
        let most = FIRST.saturating_mul(1 << self.failed.min(10)).min(LONGEST);
        self.failed = self.failed.saturating_add(1);
        // Between a quarter and the whole: a thousand sidecars that lost one server come back spread over it.
        let wait = most.mul_f64(0.25 + 0.75 * random());
        named.map_or(wait, |named| named.min(NAMED_MOST) + wait)
    }
}

/// From 0 up to 1.
fn random() -> f64 {
    let mut bytes = [0; 4];
    // Without random bytes everybody waits for the middle.
    if getrandom::fill(&mut bytes).is_err() {
        return 0.5;
    }
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_spread_and_begin_anew() {
        let mut back_off = BackOff::default();
        for attempt in 0..40 {
            let most = FIRST.saturating_mul(1 << attempt.min(10)).min(LONGEST);
            let wait = back_off.next(None);
            assert!(wait >= most / 4 && wait <= most, "{attempt}: {wait:?}");
        }
        let waits: std::collections::HashSet<_> = (0..20).map(|_| back_off.next(None)).collect();
        assert!(waits.len() > 10, "{waits:?}");
        back_off.reset();
        assert!(back_off.next(None) <= FIRST);
        let named = back_off.next(Some(Duration::from_secs(7)));
        assert!(named >= Duration::from_secs(7) && named < Duration::from_secs(9), "{named:?}");
        assert!(back_off.next(Some(Duration::from_hours(9))) <= NAMED_MOST + LONGEST);
    }
}
