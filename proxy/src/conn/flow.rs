//! Bytes carried between two streams: what tunnels that are passed through and WebSockets share.
//!
//! Idle is counted over both directions together, so that a long download keeps its silent upload alive; a write of
//! which nothing is taken ends the flow, however much is still read. What was carried is counted here and outlives the
//! carrying: a flow that is cut is recorded with what it had carried.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

/// How much is read at once in either direction.
pub(crate) const CHUNK: usize = 16 * 1024;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the agent.
    Up,
    /// To the agent.
    Down,
}

/// What taking from a stream came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Took {
    /// Something came.
    Bytes,
    /// The caller's own deadline passed.
    Late,
    /// The stream ended or failed, or nothing moved either way for too long.
    End,
}

/// How one direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// Everything that came was passed on, and the receiver told of the end.
    Whole,
    /// The receiver is gone, or takes nothing any more.
    Stuck,
}

/// The two directions of one flow.
#[derive(Debug)]
pub(crate) struct Flow {
    idle: Duration,
    /// How long a write may go on without anything being taken.
    pub(crate) stall: Duration,
    moved: Mutex<Instant>,
    up: AtomicU64,
    down: AtomicU64,
}

impl Flow {
    pub(crate) fn new(idle: Duration, stall: Duration) -> Self {
        let moved = Mutex::new(Instant::now());
        Self { idle, stall, moved, up: AtomicU64::new(0), down: AtomicU64::new(0) }
    }

    /// Bytes that went this way so far.
    pub(crate) fn carried(&self, direction: Direction) -> u64 {
        self.count(direction).load(Ordering::Relaxed)
    }

    /// Passes bytes on until an end, and tells the receiver of it.
    pub(crate) async fn pass<R, W>(&self, mut from: R, mut to: W, direction: Direction) -> Passed
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        while self.take(&mut from, &mut chunk, None).await == Took::Bytes {
            if !self.give(&mut to, &chunk, direction).await {
                return Passed::Stuck;
            }
            chunk.clear();
        }
        // If it cannot be told it is gone already.
        drop(timeout(self.stall, to.shutdown()).await);
        Passed::Whole
    }

    /// Takes what comes next, until `late` at most.
    pub(crate) async fn take<R>(&self, from: &mut R, chunk: &mut BytesMut, late: Option<Instant>) -> Took
    where
        R: AsyncRead + Unpin,
    {
        loop {
            let idle = self.idle_at();
            match timeout_at(late.map_or(idle, |late| late.min(idle)), from.read_buf(chunk)).await {
                Ok(Ok(1..)) => {
                    self.move_on();
                    return Took::Bytes;
                }
                Ok(Ok(0) | Err(_)) => return Took::End,
                Err(_) if late.is_some_and(|late| late <= Instant::now()) => return Took::Late,
                // The other direction has moved meanwhile.
                Err(_) if self.idle_at() > Instant::now() => {}
                Err(_) => return Took::End,
            }
        }
    }

    /// Writes all of it; false if the receiver is gone or takes nothing any more.
    pub(crate) async fn give<W>(&self, to: &mut W, mut bytes: &[u8], direction: Direction) -> bool
    where
        W: AsyncWrite + Unpin,
    {
        while !bytes.is_empty() {
            let Ok(Ok(count @ 1..)) = timeout(self.stall, to.write(bytes)).await else { return false };
            self.move_on();
            self.count(direction).fetch_add(count as u64, Ordering::Relaxed);
            bytes = bytes.get(count..).unwrap_or_default();
        }
        matches!(timeout(self.stall, to.flush()).await, Ok(Ok(())))
    }

    fn count(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }

    fn move_on(&self) {
        *self.moved.lock() = Instant::now();
    }

    fn idle_at(&self) -> Instant {
        *self.moved.lock() + self.idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_direction_that_is_silent_lives_as_long_as_the_other_moves() {
        let flow = Flow::new(10 * SECOND, 10 * SECOND);
        let (mut agent, silent) = duplex(64);
        let start = Instant::now();
        let mut chunk = BytesMut::new();
        let (_kept, mut from) = (silent, &mut agent);
        let other = async {
            for _ in 0..5 {
                tokio::time::sleep(9 * SECOND).await;
                assert!(flow.give(&mut tokio::io::sink(), b"x", Direction::Down).await);
            }
        };
        let (took, ()) = tokio::join!(flow.take(&mut from, &mut chunk, None), other);
        assert_eq!((took, start.elapsed()), (Took::End, 55 * SECOND));
        assert_eq!((flow.carried(Direction::Up), flow.carried(Direction::Down)), (0, 5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_of_which_nothing_is_taken_ends_and_counts_what_was() {
        let flow = Flow::new(100 * SECOND, 2 * SECOND);
        let (mut to, mut reader) = duplex(4);
        let start = Instant::now();
        let slow = async {
            tokio::time::sleep(SECOND).await;
            let mut two = [0; 2];
            reader.read_exact(&mut two).await.unwrap();
            reader
        };
        let (gave, _reader) = tokio::join!(flow.give(&mut to, b"0123456789", Direction::Down), slow);
        assert_eq!((gave, start.elapsed()), (false, 3 * SECOND));
        assert_eq!(flow.carried(Direction::Down), 6);
    }

    #[tokio::test(start_paused = true)]
    async fn the_callers_deadline_is_told_apart_from_the_end() {
        let flow = Flow::new(10 * SECOND, SECOND);
        let (mut from, _writer) = duplex(4);
        let mut chunk = BytesMut::new();
        let late = Some(Instant::now() + SECOND);
        assert_eq!(flow.take(&mut from, &mut chunk, late).await, Took::Late);
        assert_eq!(flow.take(&mut from, &mut chunk, None).await, Took::End);
    }
}
