//! Counts the events that may confirm a guess, per agent and secret version.
//!
//! At the third within an hour the use is refused (DW2009) until the secret is rotated or an operator clears it:
//! otherwise an agent that makes an upstream echo its guesses learns the secret character by character.
//! Invariant: what is blocked is never forgotten to make room; when all room is taken by it, everything is blocked.
//! Kept in memory: a restart forgets, which an agent cannot cause.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use control::vault::Version;
use parking_lot::Mutex;

/// Events that are too many.
const LIMIT: usize = 3;

/// Within this time.
const WINDOW: Duration = Duration::from_secs(3600);

/// Uses of which events are kept.
const ROOM: usize = 4096;

/// Who used what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Use {
    /// The agent's name.
    pub agent: Arc<str>,
    /// The secret's name, with its project.
    pub secret: Arc<str>,
    /// The secret's version: a rotation starts anew.
    pub version: Version,
}

/// Whether a use may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Open,
    /// Refuse it with DW2009.
    Blocked,
}

#[derive(Debug)]
enum Entry {
    Counting(VecDeque<Instant>),
    Blocked,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Incidents {
    /// How many uses are blocked; without any, nothing else is looked at.
    blocked: AtomicUsize,
    entries: Mutex<HashMap<Use, Entry>>,
}

impl Incidents {
    /// Whether this use may go on. Costs one relaxed load while nothing is blocked.
    #[must_use]
    pub fn standing(&self, of: &Use) -> Standing {
        match self.blocked.load(Ordering::Relaxed) {
            0 => Standing::Open,
            count if count >= ROOM => Standing::Blocked,
            _ if matches!(self.entries.lock().get(of), Some(Entry::Blocked)) => Standing::Blocked,
            _ => Standing::Open,
        }
    }

    /// Takes note of an event.
    pub fn record(&self, of: &Use, now: Instant) -> Standing {
        let mut entries = self.entries.lock();
        if entries.len() >= ROOM && !entries.contains_key(of) {
            make_room(&mut entries, now);
        }
        if entries.len() >= ROOM && !entries.contains_key(of) {
            return Standing::Blocked;
        }
        let entry = entries.entry(of.clone()).or_insert_with(|| Entry::Counting(VecDeque::new()));
        let Entry::Counting(times) = entry else { return Standing::Blocked };
        times.retain(|time| now.saturating_duration_since(*time) < WINDOW);
        times.push_back(now);
        if times.len() < LIMIT {
            return Standing::Open;
        }
        *entry = Entry::Blocked;
        self.blocked.fetch_add(1, Ordering::Relaxed);
        Standing::Blocked
    }

    /// An operator lets the agent use the secret again, in any version. Returns whether anything was blocked.
    pub fn clear(&self, agent: &str, secret: &str) -> bool {
        self.forget(|of| *of.agent == *agent && *of.secret == *secret)
    }

    /// A secret has a new version: the older ones are not used any more.
    pub fn rotated(&self, secret: &str, version: Version) {
        self.forget(|of| *of.secret == *secret && of.version.is_before(version));
    }

    /// The uses that are blocked, for an operator.
    #[must_use]
    pub fn blocked(&self) -> Vec<Use> {
        let entries = self.entries.lock();
        entries
            .iter()
            .filter(|(_, entry)| matches!(entry, Entry::Blocked))
            .map(|(of, _)| of.clone())
            .collect()
    }

    fn forget(&self, what: impl Fn(&Use) -> bool) -> bool {
        let mut entries = self.entries.lock();
        let mut lifted = 0;
        entries.retain(|of, entry| {
            let goes = what(of);
            lifted += usize::from(goes && matches!(entry, Entry::Blocked));
            !goes
        });
        self.blocked.fetch_sub(lifted, Ordering::Relaxed);
        lifted > 0
    }
}

/// Forgets what is over; if nothing is, the use whose last event is the oldest.
fn make_room(entries: &mut HashMap<Use, Entry>, now: Instant) {
    entries.retain(|_, entry| match entry {
        Entry::Counting(times) => {
            times.back().is_some_and(|last| now.saturating_duration_since(*last) < WINDOW)
        }
        Entry::Blocked => true,
    });
    if entries.len() < ROOM {
        return;
    }
    let last = |entry: &Entry| match entry {
        Entry::Counting(times) => times.back().copied(),
        Entry::Blocked => None,
    };
    let oldest =
        entries.iter().filter_map(|(of, entry)| Some((last(entry)?, of))).min_by_key(|(time, _)| *time);
    if let Some(oldest) = oldest.map(|(_, of)| of.clone()) {
        entries.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(agent: &str, version: u64) -> Use {
        Use { agent: agent.into(), secret: "s".into(), version: version.into() }
    }

    #[test]
    fn refuses_the_use_at_the_third_event_within_an_hour() {
        let incidents = Incidents::default();
        let start = Instant::now();
        assert_eq!(incidents.record(&of("a", 1), start), Standing::Open);
        assert_eq!(incidents.record(&of("a", 1), start + Duration::from_secs(1)), Standing::Open);
        assert_eq!(incidents.standing(&of("a", 1)), Standing::Open);
        assert_eq!(incidents.record(&of("a", 1), start + Duration::from_secs(3599)), Standing::Blocked);
        assert_eq!(incidents.standing(&of("a", 1)), Standing::Blocked);
        assert_eq!(incidents.standing(&of("b", 1)), Standing::Open);
        assert_eq!(incidents.standing(&of("a", 2)), Standing::Open);
        // Time alone does not lift it.
        assert_eq!(incidents.record(&of("a", 1), start + 3 * WINDOW), Standing::Blocked);
    }

    #[test]
    fn refuses_everything_when_all_room_is_blocked() {
        let incidents = Incidents::default();
        let now = Instant::now();
        for agent in 0..ROOM {
            for _ in 0..LIMIT {
                incidents.record(&of(&agent.to_string(), 1), now);
            }
        }
        assert_eq!(incidents.record(&of("new", 1), now), Standing::Blocked);
        assert_eq!(incidents.standing(&of("other", 1)), Standing::Blocked);
        incidents.clear("17", "s");
        assert_eq!(incidents.standing(&of("other", 1)), Standing::Open);
        assert_eq!(incidents.standing(&of("18", 1)), Standing::Blocked);
    }

    #[test]
    fn forgets_events_that_are_an_hour_apart() {
        let incidents = Incidents::default();
        let start = Instant::now();
        for hour in 0..10 {
            assert_eq!(incidents.record(&of("a", 1), start + hour * WINDOW), Standing::Open);
        }
        // An event counts for less than an hour: two that are just over do not block with a third.
        for after in [Duration::ZERO, Duration::ZERO, WINDOW] {
            assert_eq!(incidents.record(&of("b", 1), start + after), Standing::Open);
        }
    }

    #[test]
    fn rotation_and_an_operator_lift_it() {
        let incidents = Incidents::default();
        for _ in 0..3 {
            incidents.record(&of("a", 1), Instant::now());
        }
        assert_eq!(incidents.blocked(), [of("a", 1)]);
        incidents.rotated("s", 2.into());
        assert_eq!(incidents.standing(&of("a", 1)), Standing::Open);
        for _ in 0..3 {
            incidents.record(&of("a", 2), Instant::now());
        }
        assert!(incidents.clear("a", "s"));
        assert!(!incidents.clear("a", "s"));
        assert_eq!(incidents.standing(&of("a", 2)), Standing::Open);
    }

    #[test]
    fn stays_bounded_and_keeps_what_is_blocked() {
        let incidents = Incidents::default();
        let start = Instant::now();
        for _ in 0..3 {
            incidents.record(&of("bad", 1), start);
        }
        for agent in 0..u32::try_from(ROOM).unwrap() + 10 {
            incidents.record(&of(&agent.to_string(), 1), start + Duration::from_micros(agent.into()));
        }
        assert!(incidents.entries.lock().len() <= ROOM);
        assert_eq!(incidents.standing(&of("bad", 1)), Standing::Blocked);
    }

    #[test]
    fn what_is_lifted_is_this_agents_this_secrets_and_older_only() {
        let incidents = Incidents::default();
        let other = Use { secret: "t".into(), ..of("a", 1) };
        for of in [&of("a", 1), &of("a", 2), &of("b", 1), &other] {
            for _ in 0..3 {
                incidents.record(of, Instant::now());
            }
        }
        incidents.rotated("s", 2.into());
        let standing = |of: &Use| incidents.standing(of);
        assert_eq!((standing(&of("a", 1)), standing(&of("b", 1))), (Standing::Open, Standing::Open));
        assert_eq!((standing(&of("a", 2)), standing(&other)), (Standing::Blocked, Standing::Blocked));
        assert!(!incidents.clear("b", "s") && !incidents.clear("a", "u"));
        assert!(incidents.clear("a", "t"));
        assert_eq!(incidents.blocked(), [of("a", 2)]);
        assert_eq!((standing(&of("a", 2)), standing(&other)), (Standing::Blocked, Standing::Open));
    }

    #[test]
    fn makes_room_by_what_is_over_and_else_by_the_oldest() {
        let start = Instant::now();
        let at = |agent: usize| start + Duration::from_millis(u64::try_from(agent).unwrap());
        let full = || {
            let incidents = Incidents::default();
            for agent in 0..ROOM {
                for _ in 0..2 {
                    incidents.record(&of(&agent.to_string(), 1), at(agent));
                }
            }
            incidents
        };
        let incidents = full();
        assert_eq!(incidents.record(&of("new", 1), at(ROOM)), Standing::Open);
        assert_eq!(incidents.record(&of("1", 1), at(ROOM)), Standing::Blocked);
        assert_eq!(incidents.record(&of("0", 1), at(ROOM)), Standing::Open);
        let incidents = full();
        incidents.record(&of("new", 1), at(100) + WINDOW);
        assert_eq!(incidents.entries.lock().len(), ROOM - 101 + 1);
    }
}
