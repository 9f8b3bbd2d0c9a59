//! The callers' side: places in the ring, entries into it, and what the writer tells back.
//!
//! Taking a place is one atomic addition, closing it one push; neither makes a system call, except when the writer sleeps
//! for want of work or the ring is three quarters full.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::thread::{JoinHandle, Thread};
use std::time::SystemTime;

use crossbeam_queue::ArrayQueue;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::fields::{Entry, Kind};
use super::file::{Destination, StartError};
use super::writer;
use crate::refusal::{Code, Refusal};

/// When a line is safe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Durability {
    /// Written within 10 ms; a crash of the process loses at most 50 ms.
    #[default]
    Batch,
    /// The `open` line is written before the secret's use: a crash of the process loses none.
    Write,
    /// As `write`, and synced to the disk: a crash of the machine loses none.
    Sync,
}

/// How the audit is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where lines go.
    pub destination: Destination,
    /// When a line is safe.
    pub durability: Durability,
    /// How many requests may have a place at once.
    pub capacity: usize,
    /// The clock, for lines of the writer's own.
    pub clock: fn() -> SystemTime,
}

/// Why no place could be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Every place is taken.
    #[error("the audit's queue is full")]
    Full,
    /// The last write failed, or the audit was closed.
    #[error("the audit file cannot be written")]
    Failed,
}

impl Unavailable {
    /// What the agent gets: 503 with DW5003.
    pub fn refusal(self) -> Refusal {
        Refusal::new(
            Code::Dw5003,
            match self {
                Self::Full => "the audit's queue is full, so the request cannot be recorded",
                Self::Failed => "the audit file cannot be written, so the request cannot be recorded",
            },
        )
    }
}

/// The `open` line could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit file cannot be written")]
pub struct Failed;

/// How the audit does, for readiness and metrics.
#[derive(Clone, Debug)]
pub struct Health {
    /// Why the last write failed; `None`: all is well.
    pub failure: Option<Arc<str>>,
    /// Whether the writer runs.
    pub running: bool,
    /// Places that are taken.
    pub taken: usize,
    /// Lines written since the start.
    pub written: u64,
    /// How often no place could be had.
    pub refused: u64,
}

/// The audit. Clones share one writer; when the last is dropped everything is written and the file closed.
#[derive(Clone, Debug)]
pub struct Sink {
    shared: Arc<Shared>,
    writer: Arc<Owner>,
}

impl Sink {
    /// Opens the destination and starts the writer.
    pub fn start(options: &Options) -> Result<Self, StartError> {
        let shared = Arc::new(Shared::new(options));
        let thread = writer::start(options, &shared)?;
        let writer = Arc::new(Owner { shared: Arc::clone(&shared), thread: Mutex::new(Some(thread)) });
        Ok(Self { shared, writer })
    }

    /// Takes a place; has to be done before a secret is opened.
    pub fn reserve(&self) -> Result<Place, Unavailable> {
        let shared = &self.shared;
        let unavailable = if shared.failed.load(Ordering::Acquire) {
            Unavailable::Failed
        } else if shared.taken.fetch_add(1, Ordering::AcqRel) >= shared.capacity {
            shared.taken.fetch_sub(1, Ordering::AcqRel);
            Unavailable::Full
        } else {
            return Ok(Place { shared: Some(Arc::clone(shared)), opened: false });
        };
        shared.refused.fetch_add(1, Ordering::Relaxed);
        Err(unavailable)
    }

    /// Records something that never had a place: a refusal before a secret came into question.
    pub fn record(&self, entry: Entry) -> Result<(), Unavailable> {
        self.reserve().map(|place| place.close(entry))
    }

    /// Records a start, a stop or a reload.
    pub fn lifecycle(&self, reason: impl Into<Cow<'static, str>>, revision: u64) {
        let mut entry = Entry::new(Kind::Lifecycle, (self.shared.clock)());
        entry.reason = reason.into();
        entry.revision = Some(revision);
        self.shared.command(Command::Line(Box::new(entry)));
    }

    /// Opens the file anew after a rotation (SIGHUP); the chain goes on in the new file. If that fails, the old one stays.
    pub async fn reopen(&self) -> Result<(), StartError> {
        let (done, answer) = oneshot::channel();
        self.shared.command(Command::Reopen(done));
        // No answer: the writer has ended, and there is nothing to open.
        answer.await.unwrap_or(Ok(()))
    }

    /// Waits until everything closed so far is written.
    pub async fn flush(&self) -> Result<(), Failed> {
        let (done, answer) = oneshot::channel();
        self.shared.command(Command::Flush(done));
        answer.await.unwrap_or(Err(Failed))
    }

    /// Writes everything and closes the file; no place can be had from now on.
    pub async fn close(&self) -> Result<(), Failed> {
        let (done, answer) = oneshot::channel();
        self.shared.command(Command::Stop(Some(done)));
        answer.await.unwrap_or(Err(Failed))
    }

    /// How the audit does.
    pub fn health(&self) -> Health {
        let shared = &self.shared;
        Health {
            failure: shared.failure.lock().clone(),
            running: self.writer.is_running(),
            taken: shared.taken.load(Ordering::Relaxed),
            written: shared.written.load(Ordering::Relaxed),
            refused: shared.refused.load(Ordering::Relaxed),
        }
    }

    #[cfg(test)]
    pub(super) fn is_asleep(&self) -> bool {
        self.shared.idle.load(Ordering::Relaxed)
    }

    /// When a line is safe.
    pub fn durability(&self) -> Durability {
        self.shared.durability
    }
}

/// A place in the ring. Dropped without an entry it is given back and nothing is recorded.
#[must_use = "a place that is dropped records nothing"]
pub struct Place {
    // Taken by `close`.
    shared: Option<Arc<Shared>>,
    opened: bool,
}

impl Place {
    /// Before the secret's use: with `write` and `sync` returns when the `open` line is written; with `batch` at once.
    pub async fn write_open(&mut self, entry: &Entry) -> Result<(), Failed> {
        let Some(shared) = self.shared.as_ref().filter(|shared| shared.durability != Durability::Batch)
        else {
            return Ok(());
        };
        if shared.failed.load(Ordering::Acquire) {
            return Err(Failed);
        }
        if std::mem::replace(&mut self.opened, true) {
            return Ok(());
        }
        let (done, written) = oneshot::channel();
        shared.push(Message { entry: open(entry), written: Some(done), ends: false });
        // With the fences in push and in the writer's end: either it answers this message, or we see that it has ended.
        if shared.ended.load(Ordering::Relaxed) {
            return Err(Failed);
        }
        shared.wake();
        written.await.unwrap_or(Err(Failed))
    }

    /// An exchange that lasts: writes its `open` line with the next batch, unless it has one.
    pub fn note_open(&mut self, entry: &Entry) {
        if let Some(shared) = self.shared.as_ref().filter(|_| !self.opened) {
            shared.push(Message { entry: open(entry), written: None, ends: false });
            self.opened = true;
        }
    }

    /// Hands the finished entry to the writer. Never blocks.
    pub fn close(mut self, entry: Entry) {
        if let Some(shared) = self.shared.take() {
            shared.push(Message { entry, written: None, ends: true });
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.taken.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("opened", &self.opened).finish_non_exhaustive()
    }
}

fn open(entry: &Entry) -> Entry {
    Entry { kind: Kind::Open, ..entry.clone() }
}

/// An entry on its way to the writer.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) entry: Entry,
    pub(super) written: Option<oneshot::Sender<Result<(), Failed>>>,
    /// Whether its place is free once it has been taken off the ring.
    pub(super) ends: bool,
}

/// What the writer is told besides entries.
#[derive(Debug)]
pub(super) enum Command {
    Line(Box<Entry>),
    Flush(oneshot::Sender<Result<(), Failed>>),
    Reopen(oneshot::Sender<Result<(), StartError>>),
    Stop(Option<oneshot::Sender<Result<(), Failed>>>),
}

/// What callers and writer share.
#[derive(Debug)]
pub(super) struct Shared {
    // Boxed, so that the slots of an idle proxy stay small. Each place can bring two messages: `open` and the end.
    pub(super) ring: ArrayQueue<Box<Message>>,
    pub(super) capacity: usize,
    pub(super) taken: AtomicUsize,
    pub(super) failed: AtomicBool,
    pub(super) failure: Mutex<Option<Arc<str>>>,
    pub(super) written: AtomicU64,
    refused: AtomicU64,
    /// The writer sleeps without a limit and has to be woken by the next entry.
    pub(super) idle: AtomicBool,
    /// The writer has ended and reads nothing any more.
    pub(super) ended: AtomicBool,
    /// `None` once the writer has ended.
    pub(super) commands: Mutex<Option<Vec<Command>>>,
    pub(super) thread: OnceLock<Thread>,
    pub(super) durability: Durability,
    pub(super) clock: fn() -> SystemTime,
}

impl Shared {
    pub(super) fn new(options: &Options) -> Self {
        let capacity = options.capacity.max(1);
        Self {
            ring: ArrayQueue::new(capacity.saturating_mul(2)),
            capacity,
            taken: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            failure: Mutex::new(None),
            written: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            idle: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            commands: Mutex::new(Some(Vec::new())),
            thread: OnceLock::new(),
            durability: options.durability,
            clock: options.clock,
        }
    }

    fn push(&self, message: Message) {
        if self.ring.push(Box::new(message)).is_err() {
            // Cannot happen: each place brings at most two messages and the ring has room for them.
            tracing::error!("the audit's ring overflowed");
            return;
        }
        // With the fence in the writer: either it sees this entry before it sleeps, or we see that it sleeps.
        fence(Ordering::SeqCst);
        if self.idle.load(Ordering::Relaxed) || self.ring.len() >= self.capacity / 4 * 3 {
            self.wake();
        }
    }

    fn command(&self, command: Command) {
        if let Some(commands) = &mut *self.commands.lock() {
            commands.push(command);
        }
        self.wake();
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// Ends the writer when the last sink goes.
#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Owner {
    fn is_running(&self) -> bool {
        self.thread.lock().as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.command(Command::Stop(None));
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the audit's writer panicked");
        }
    }
}
