//! Deadlines: nothing in a test waits for ever, and what timed out is named.

use std::future::Future;
use std::time::{Duration, Instant};

/// Long enough for a loaded two-core machine: a test that passes never waits for it, and none asserts how fast something was.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// How often it is looked.
pub(crate) const LOOK: Duration = Duration::from_millis(5);

/// The output of `future`, or a panic that names what was waited for.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(output) => output,
        Err(_) => panic!("timed out after {DEADLINE:?}: {what}"),
    }
}

/// Polls `probe` until it gives a value; for state that only another process changes (files, ports).
pub async fn eventually<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        pause().await;
    }
}

/// Asks until it is `done`, for at most `limit`; how long it took.
pub async fn until(what: &str, limit: Duration, mut done: impl AsyncFnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !done().await {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        pause().await;
    }
    start.elapsed()
}

/// Between two looks at what another process does: no event tells of it. Nothing may rely on how long it is.
pub async fn pause() {
    tokio::time::sleep(LOOK).await;
}
