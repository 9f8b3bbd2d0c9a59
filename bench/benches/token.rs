//! What does a request pay for a token that is there: one load, two clocks, one count? Asked for: at most 1 µs.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use divan::{Bencher, black_box};
use proxy::schemes::shared::cells::Cells;
use proxy::schemes::shared::token::{Cell, Fresh, Now, Obtaining};

fn main() {
    divan::main();
}

fn issued() -> Obtaining<u64> {
    let life = Duration::from_secs(3600);
    Box::pin(async move { Ok(Fresh { value: Arc::new(7), since: Now::read(), life }) })
}

/// A cell with a token that lives for an hour.
fn filled() -> Arc<Cell<u64>> {
    let cell: Arc<Cell<u64>> = Arc::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(cell.value(Now::read(), issued)).expect("a token");
    cell
}

/// As a request does it; a hit never waits.
fn hit(cell: &Arc<Cell<u64>>) -> Arc<u64> {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(cell.value(Now::read(), issued)).poll(&mut context) {
        Poll::Ready(Ok(value)) => value,
        Poll::Ready(Err(_)) | Poll::Pending => unreachable!("the token is there"),
    }
}

#[divan::bench]
fn token_hit(bencher: Bencher) {
    let cell = filled();
    bencher.bench_local(|| hit(black_box(&cell)));
}

/// With the look-up of its part among 200 (a repository, an agent's session).
#[divan::bench]
fn part_hit(bencher: Bencher) {
    let cells: Cells<u64> = Cells::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let parts: Vec<String> = (0..200).map(|n| format!("repository:acme/app-{n}:pull")).collect();
    for part in &parts {
        let cell = cells.of(part, "bot", || Ok(())).expect("room");
        runtime.block_on(cell.value(Now::read(), issued)).expect("a token");
    }
    let mut next = parts.iter().cycle();
    bencher.bench_local(|| {
        let part = black_box(next.next().expect("a part"));
        hit(&cells.of(part, "bot", || Ok(())).expect("room"))
    });
}

/// The same from four workers at once.
#[divan::bench(threads = 4)]
fn token_hit_shared(bencher: Bencher) {
    let cell = filled();
    bencher.bench(|| hit(black_box(&cell)));
}
