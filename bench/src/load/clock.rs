//! The machine's monotonic clock, which the origin and the generator share although they are two processes.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since boot.
pub fn nanoseconds() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}
