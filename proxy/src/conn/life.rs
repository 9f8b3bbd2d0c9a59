//! The life of a connection as its worker sees it: when it last moved, whether it has to end.
//!
//! One sweep a second for each worker replaces timers on every connection: an idle tunnel costs no timer, and a request
//! arms none. Revocation, drain and the idle limits all end connections here.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout_at;

use crate::limits::Limits;

/// How a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Closing {
    /// It goes on.
    No,
    /// After what is in flight.
    WhenIdle,
    /// At once.
    Now,
}

/// One connection's marks. Times are milliseconds of the worker's coarse clock.
#[derive(Debug, Default)]
pub(crate) struct Life {
    clock: Arc<Clock>,
    moved: AtomicU64,
    /// When the first byte of a head came that is not complete yet; 0: none.
    head_since: AtomicU64,
    /// Whether partial heads are timed here (h1); h2 frames its own.
    times_heads: AtomicU8,
    exchanges: AtomicU32,
    closing: AtomicU8,
    waker: AtomicWaker,
}

/// The worker's clock, moved on by the sweep: a second is exact enough for limits of seconds and minutes.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    now: AtomicU64,
}

impl Default for Clock {
    fn default() -> Self {
        Self { start: Instant::now(), now: AtomicU64::new(1) }
    }
}

impl Clock {
    fn tick(&self) -> u64 {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        self.now.store(now, Ordering::Relaxed);
        now
    }

    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }
}

impl Life {
    pub(crate) fn new(clock: &Arc<Clock>) -> Arc<Self> {
        let life = Self { clock: Arc::clone(clock), ..Self::default() };
        life.moved.store(clock.now(), Ordering::Relaxed);
        Arc::new(life)
    }

    /// Heads are read by our h1 server: a slow one ends the connection.
    pub(crate) fn time_heads(&self) {
        self.times_heads.store(1, Ordering::Relaxed);
    }

    /// Bytes came in or went out.
    pub(crate) fn moved(&self, is_read: bool) {
        let now = self.clock.now();
        self.moved.store(now, Ordering::Relaxed);
        if is_read
            && self.times_heads.load(Ordering::Relaxed) == 1
            && self.exchanges.load(Ordering::Relaxed) == 0
            && self.head_since.load(Ordering::Relaxed) == 0
        {
            self.head_since.store(now, Ordering::Relaxed);
        }
    }

    /// An exchange began; it ends with the guard.
    pub(crate) fn exchange(self: &Arc<Self>) -> Exchange {
        self.exchanges.fetch_add(1, Ordering::Relaxed);
        self.head_since.store(0, Ordering::Relaxed);
        Exchange(Arc::clone(self))
    }

    /// How it is to end. The caller is woken when that changes.
    pub(crate) fn poll_closing(&self, cx: &Context<'_>) -> Closing {
        self.waker.register(cx.waker());
        match self.closing.load(Ordering::Acquire) {
            0 => Closing::No,
            1 => Closing::WhenIdle,
            _ => Closing::Now,
        }
    }

    /// Ends it; a stronger order replaces a weaker one.
    pub(crate) fn close(&self, closing: Closing) {
        self.closing.fetch_max(closing as u8, Ordering::AcqRel);
        self.waker.wake();
    }

    fn is_overdue(&self, now: u64, limits: &Limits) -> bool {
        let head = self.head_since.load(Ordering::Relaxed);
        let slow_head = head != 0 && now.saturating_sub(head) > limits.request_head;
        let still = now.saturating_sub(self.moved.load(Ordering::Relaxed));
        let busy = self.exchanges.load(Ordering::Relaxed) > 0;
        // With an exchange in flight (a WebSocket is one) its own limits act first; this one catches a client that
        // stopped reading.
        let exchange = (limits.stream_idle + limits.upstream_first_byte).max(limits.tunnel_idle);
        let limit = if busy { exchange } else { limits.tunnel_idle };
        slow_head || still > limit
    }
}

/// An exchange in flight.
#[derive(Debug)]
pub(crate) struct Exchange(Arc<Life>);

impl Drop for Exchange {
    fn drop(&mut self) {
        self.0.exchanges.fetch_sub(1, Ordering::Relaxed);
        self.0.moved.store(self.0.clock.now(), Ordering::Relaxed);
    }
}

/// A worker's connections. `T` says whose they are.
#[derive(Debug)]
pub(crate) struct Registry<T> {
    pub(crate) clock: Arc<Clock>,
    next: AtomicU64,
    lives: Mutex<HashMap<u64, (Arc<Life>, T)>>,
}

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Self { clock: Arc::default(), next: AtomicU64::new(0), lives: Mutex::default() }
    }
}

impl<T> Registry<T> {
    /// Registers a connection until the guard is dropped.
    pub(crate) fn enter(self: &Arc<Self>, owner: T) -> Registered<T> {
        let life = Life::new(&self.clock);
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        self.lives.lock().insert(key, (Arc::clone(&life), owner));
        Registered { registry: Arc::clone(self), key, life }
    }

    /// Closes what is overdue.
    pub(crate) fn sweep(&self, limits: &Limits) {
        let now = self.clock.tick();
        for (life, _) in self.lives.lock().values() {
            if life.is_overdue(now, limits) {
                life.close(Closing::Now);
            }
        }
    }

    /// Closes the connections that this says of.
    pub(crate) fn close_if(&self, closing: Closing, choose: impl Fn(&T) -> bool) {
        for (life, owner) in self.lives.lock().values() {
            if choose(owner) {
                life.close(closing);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.lives.lock().len()
    }
}

/// A registered connection.
#[derive(Debug)]
pub(crate) struct Registered<T> {
    registry: Arc<Registry<T>>,
    key: u64,
    pub(crate) life: Arc<Life>,
}

impl<T> Drop for Registered<T> {
    fn drop(&mut self) {
        self.registry.lives.lock().remove(&self.key);
    }
}

/// How often a worker sweeps: the error of every limit that the sweep keeps.
pub(crate) const SWEEP: Duration = Duration::from_secs(1);

/// The sweeps of a worker, as those see them who wait. A timer for each request would be armed and disarmed for nothing:
/// what waits hears of each sweep, and arms a timer for what is left only once its time is near.
#[derive(Debug, Default)]
pub(crate) struct Ticks(Notify);

impl Ticks {
    /// The worker sweeps.
    pub(crate) fn tick(&self) {
        self.0.notify_waiters();
    }

    /// Polls the work until `end` at most; `None`: it is not done by then.
    pub(crate) async fn until<F: Future + Unpin>(
        &self,
        mut now: tokio::time::Instant,
        end: tokio::time::Instant,
        mut work: F,
    ) -> Option<F::Output> {
        loop {
            // The second tick from here would come too late.
            if end.saturating_duration_since(now) < 2 * SWEEP {
                // Boxed: few wait for so long.
                return Box::pin(timeout_at(end, work)).await.ok();
            }
            let mut tick = pin!(self.0.notified());
            let ticked = poll_fn(|cx| match Pin::new(&mut work).poll(cx) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending => tick.as_mut().poll(cx).map(|()| None),
            });
            if let Some(output) = ticked.await {
                return Some(output);
            }
            now = tokio::time::Instant::now();
        }
    }
}

/// Runs until it ends or the connection has to; `None`: it had to.
pub(crate) async fn until_closed<F: Future>(life: &Life, work: F) -> Option<F::Output> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        if life.poll_closing(cx) == Closing::Now {
            return Poll::Ready(None);
        }
        work.as_mut().poll(cx).map(Some)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::{Instant, sleep};

    use super::*;

    async fn sweeps(ticks: &Ticks) {
        loop {
            sleep(SWEEP).await;
            ticks.tick();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_by_ticks_ends_at_its_time_all_the_same() {
        for millis in [0, 300, 1_999, 2_000, 5_000, 7_300] {
            let (ticks, start, limit) = (Ticks::default(), Instant::now(), Duration::from_millis(millis));
            tokio::select! {
                done = ticks.until(start, start + limit, pending::<()>()) => assert_eq!(done, None),
                () = sweeps(&ticks) => {}
            }
            assert_eq!(start.elapsed(), limit);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_done_between_two_ticks_waits_for_none() {
        for millis in [0, 300, 4_700] {
            let (ticks, start, takes) = (Ticks::default(), Instant::now(), Duration::from_millis(millis));
            let work = pin!(sleep(takes));
            tokio::select! {
                done = ticks.until(start, start + 5 * SWEEP, work) => assert_eq!(done, Some(())),
                () = sweeps(&ticks) => {}
            }
            assert_eq!(start.elapsed(), takes);
        }
    }
}
