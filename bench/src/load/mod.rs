//! The load generator: opens tunnels through a CONNECT proxy (or dials the origin itself), sends requests and keeps every latency.
//!
//! It runs on one current-thread runtime, on the core that the proxy does not use. Nothing here decides what is good: it only counts.

pub mod target;
pub mod session;
pub mod body;
pub mod closed;
pub mod connections;
pub mod paced;
pub mod events;
pub mod idle;
pub mod clock;

pub use session::{Ask, Session};
pub use target::{Protocol, Target};

use std::time::Duration;

/// How many requests may fail before a run is given up: enough to survive a hiccup, too few to measure an error path.
const ERROR_LIMIT: u64 = 100;

/// What one run saw.
#[derive(Debug, Default)]
pub struct Sample {
    /// One latency in nanoseconds for each request that was answered as asked.
    pub latencies: Vec<u64>,
    /// Requests that were not.
    pub errors: u64,
    /// The first of them in words.
    pub first_error: Option<String>,
    /// Payload bytes that went either way.
    pub bytes: u64,
    /// Wall time of the measured part.
    pub elapsed: Duration,
}

impl Sample {
    pub(crate) fn failed(&mut self, error: &crate::BenchError) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| error.to_string());
    }

    pub(crate) fn hopeless(&self) -> bool {
        self.errors >= ERROR_LIMIT
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.errors += other.errors;
        self.bytes += other.bytes;
        self.first_error = self.first_error.take().or(other.first_error);
    }
}
