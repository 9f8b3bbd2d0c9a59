//! Fixed rate, safe from coordinated omission: request *i* is due at start + i / rate, and its latency counts from when it was due, not from
//! when a session was free to send it. A stalled proxy is charged for every request that waited.

use super::{Ask, Sample, Session, Target, clock};
use rustix::io::Errno;
use rustix::thread::{ClockId, clock_nanosleep_absolute};
use rustix::time::Timespec;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::sync::Semaphore;

/// Sends `total` requests at `per_second` over the sessions.
pub async fn drive(
    target: &Target,
    sessions: Vec<Session>,
    ask: &Ask,
    per_second: u32,
    total: u64,
) -> Sample {
    let interval = 1_000_000_000 / u64::from(per_second.max(1));
    let schedule = Arc::new(Schedule {
        due: Semaphore::new(0),
        next: AtomicU64::new(0),
        first: clock::nanoseconds() + interval,
        interval,
        total,
    });
    let start = Instant::now();
    let workers: Vec<_> = sessions
        .into_iter()
        .map(|session| tokio::spawn(work(target.clone(), session, ask.clone(), Arc::clone(&schedule))))
        .collect();
    let timer = std::thread::spawn(move || schedule.release());
    let mut all = Sample::default();
    for worker in workers {
        match worker.await {
            Ok(sample) => all.merge(sample),
            Err(_) => all.errors += 1,
        }
    }
    if timer.join().is_err() {
        all.errors += 1;
    }
    all.elapsed = start.elapsed();
    all
}

struct Schedule {
    due: Semaphore,
    next: AtomicU64,
    first: u64,
    interval: u64,
    total: u64,
}

impl Schedule {
    /// Releases requests as they fall due. It blocks in the kernel's timer, on a thread of its own: tokio's has a grain of a millisecond.
    fn release(&self) {
        for index in 0..self.total {
            let due = timespec(self.first + index * self.interval);
            while let Err(Errno::INTR) = clock_nanosleep_absolute(ClockId::Monotonic, &due) {}
            self.due.add_permits(1);
        }
    }

    /// Waits for a request to fall due and returns when that was; `None` when all are taken.
    async fn take(&self) -> Option<u64> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        if index >= self.total {
            return None;
        }
        self.due.acquire().await.ok()?.forget();
        Some(self.first + index * self.interval)
    }
}

fn timespec(nanoseconds: u64) -> Timespec {
    Timespec { tv_sec: (nanoseconds / 1_000_000_000) as i64, tv_nsec: (nanoseconds % 1_000_000_000) as i64 }
}

async fn work(target: Target, mut session: Session, ask: Ask, schedule: Arc<Schedule>) -> Sample {
    let mut sample = Sample::default();
    while let Some(due) = schedule.take().await {
        match session.exchange(&ask).await {
            Ok(bytes) => {
                sample.latencies.push(clock::nanoseconds().saturating_sub(due));
                sample.bytes += bytes;
            }
            Err(error) => {
                sample.failed(&error);
                if let Ok(again) = Session::open(&target).await {
                    session = again;
                }
            }
        }
    }
    sample
}
