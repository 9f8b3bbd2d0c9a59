//! The callers' side: places in the ring, entries into it, and what the writer tells back.
//!
//! Taking a place is one atomic addition. Closing it writes the line, but for its links in the chain, to a buffer that the
//! writer takes as a whole: nothing of an exchange passes to another thread, and nothing is allocated for it. Neither makes a
//! system call, except when the writer sleeps for want of work or much is waiting.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::fields::{Entry, Kind};
use super::file::{Destination, StartError};
use super::kept::Kept;
use super::line::Lines;
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
    /// Too much of it waits for whoever takes it further.
    #[error("too many audit lines wait for the control server")]
    Held,
}

impl Unavailable {
    /// What the agent gets: 503 with DW5003.
    pub fn refusal(self) -> Refusal {
        Refusal::new(
            Code::Dw5003,
            match self {
                Self::Full => "the audit's queue is full, so the request cannot be recorded",
                Self::Failed => "the audit file cannot be written, so the request cannot be recorded",
                Self::Held => "too many audit lines wait for the control server, so no more are begun",
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
        } else if shared.held.load(Ordering::Acquire) {
            Unavailable::Held
        } else if shared.taken.fetch_add(1, Ordering::AcqRel) >= shared.capacity {
            shared.taken.fetch_sub(1, Ordering::AcqRel);
            Unavailable::Full
        } else {
            return Ok(Place { shared: Some(Arc::clone(shared)), opened: false });
        };
        shared.refused.fetch_add(1, Ordering::Relaxed);
        Err(unavailable)
    }

    /// Whether no place is given out, since too much waits for whoever takes the lines further.
    pub fn hold(&self, held: bool) {
        if self.shared.held.swap(held, Ordering::AcqRel) != held {
            let failure = held.then(|| Arc::from(Unavailable::Held.to_string()));
            tracing::warn!(held, "audit lines wait for the control server");
            *self.shared.waiting.lock() = failure;
        }
    }

    /// The file that is written; `None`: standard output.
    pub fn file(&self) -> Option<PathBuf> {
        self.shared.path.get().cloned().flatten()
    }

    /// Records something that never had a place: a refusal before a secret came into question.
    pub fn record(&self, entry: &Entry) -> Result<(), Unavailable> {
        self.reserve().map(|place| place.close(entry))
    }

    /// Records a start, a stop or a reload.
    pub fn lifecycle(&self, reason: impl Into<Cow<'static, str>>, revision: u64) {
        let mut entry = Entry::new(Kind::Lifecycle, (self.shared.clock)());
        entry.reason = reason.into();
        entry.revision = Some(revision);
        self.shared.push(&entry, Ends::Nothing, None);
        self.shared.wake();
    }

    /// Opens the file anew after a rotation (SIGHUP); the chain goes on in the new file. If that fails, the old one stays.
    pub async fn reopen(&self) -> Result<(), StartError> {
        let (done, answer) = oneshot::channel();
        self.shared.command(Command::Reopen(done));
        // No answer: the writer has ended, and there is nothing to open.
        answer.await.unwrap_or(Ok(()))
    }

    /// The file that is written, and those that will be, for whoever reads them; `None`: it is no file.
    pub async fn kept(&self) -> Option<Kept> {
        let (done, answer) = oneshot::channel();
        self.shared.command(Command::Keep(done));
        answer.await.ok().flatten()
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
            failure: shared.failure.lock().clone().or_else(|| shared.waiting.lock().clone()),
            running: self.writer.is_running(),
            taken: shared.taken.load(Ordering::Relaxed),
            written: shared.written.load(Ordering::Relaxed),
            refused: shared.refused.load(Ordering::Relaxed),
        }
    }

    #[cfg(test)]
    pub(super) fn is_asleep(&self) -> bool {
        self.shared.queue.lock().idle
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
        shared.push(&open(entry), Ends::Nothing, Some(done));
        shared.wake();
        // A writer that has ended answers nobody.
        written.await.unwrap_or(Err(Failed))
    }

    /// An exchange that lasts: writes its `open` line with the next batch, unless it has one.
    pub fn note_open(&mut self, entry: &Entry) {
        if let Some(shared) = self.shared.as_ref().filter(|_| !self.opened) {
            shared.push(&open(entry), Ends::Nothing, None);
            self.opened = true;
        }
    }

    /// Leaves the finished entry to the writer.
    pub fn close(mut self, entry: &Entry) {
        if let Some(shared) = self.shared.take() {
            shared.push(entry, Ends::Place, None);
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

/// What a line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Nothing,
    /// Its place is free once the writer has taken the line.
    Place,
}

/// Who waits for what was queued so far to be written.
pub(super) type Waiting = oneshot::Sender<Result<(), Failed>>;

/// What the writer is told besides lines.
#[derive(Debug)]
pub(super) enum Command {
    Flush(Waiting),
    Reopen(oneshot::Sender<Result<(), StartError>>),
    Keep(oneshot::Sender<Option<Kept>>),
    Stop(Option<Waiting>),
}

/// What waits for the writer. Each place brings two lines at most, `open` and the end, and a line has its limits.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Lines without their links.
    pub(super) text: Vec<u8>,
    lines: Lines,
    /// How many lines these are.
    count: usize,
    /// How many places they free.
    pub(super) ends: usize,
    pub(super) waiting: Vec<Waiting>,
    pub(super) commands: Vec<Command>,
    /// The writer sleeps without a limit and has to be woken.
    pub(super) idle: bool,
    /// The writer has ended and takes nothing any more.
    pub(super) ended: bool,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.commands.is_empty()
    }

    /// All that waits; `text` gives its room to what comes next.
    pub(super) fn take(&mut self, mut text: Vec<u8>) -> Self {
        text.clear();
        self.count = 0;
        Self {
            text: std::mem::replace(&mut self.text, text),
            ends: std::mem::take(&mut self.ends),
            waiting: std::mem::take(&mut self.waiting),
            commands: std::mem::take(&mut self.commands),
            ..Self::default()
        }
    }
}

/// What callers and writer share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Held for the writing of one line, or for taking all of them.
    pub(super) queue: Mutex<Queue>,
    pub(super) capacity: usize,
    pub(super) taken: AtomicUsize,
    pub(super) failed: AtomicBool,
    pub(super) failure: Mutex<Option<Arc<str>>>,
    /// See [`Sink::hold`].
    held: AtomicBool,
    waiting: Mutex<Option<Arc<str>>>,
    pub(super) path: OnceLock<Option<PathBuf>>,
    pub(super) written: AtomicU64,
    refused: AtomicU64,
    pub(super) thread: OnceLock<Thread>,
    pub(super) durability: Durability,
    pub(super) clock: fn() -> SystemTime,
}

impl Shared {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            queue: Mutex::default(),
            capacity: options.capacity.max(1),
            taken: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            failure: Mutex::new(None),
            held: AtomicBool::new(false),
            waiting: Mutex::new(None),
            path: OnceLock::new(),
            written: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            thread: OnceLock::new(),
            durability: options.durability,
            clock: options.clock,
        }
    }

    fn push(&self, entry: &Entry, ends: Ends, waiting: Option<Waiting>) {
        let mut queue = self.queue.lock();
        if queue.ended {
            return;
        }
        let Queue { lines, text, .. } = &mut *queue;
        lines.append(entry, text);
        queue.count += 1;
        queue.ends += usize::from(ends == Ends::Place);
        queue.waiting.extend(waiting);
        let wakes = queue.idle || queue.count >= self.capacity / 4 * 3 || queue.text.len() >= writer::BATCH;
        drop(queue);
        if wakes {
            self.wake();
        }
    }

    fn command(&self, command: Command) {
        let mut queue = self.queue.lock();
        if !queue.ended {
            queue.commands.push(command);
        }
        drop(queue);
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
