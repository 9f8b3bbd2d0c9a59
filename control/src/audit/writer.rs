//! The writer's side: one thread takes the lines that wait, links them into the chain and writes them.
//!
//! It polls every 10 ms, so that a request wakes nobody, and sleeps for good after a second without work. What could not
//! be written is kept and tried again; until that works no new place is given out, so that what is kept stays bounded.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::fields::{Entry, Kind};
use super::file::{self, Opened, StartError};
use super::kept::Kept;
use super::line;
use super::sink::{Command, Durability, Failed, Options, Shared, Waiting};
use super::verify::gap_text;

/// How often it looks for lines.
const POLL: Duration = Duration::from_millis(10);
/// How many looks without work come before the long sleep.
const IDLE_POLLS: u32 = 100;
/// How often a failed write is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// Lines are written once this much of them is waiting.
pub(super) const BATCH: usize = 256 * 1024;

pub(super) fn start(options: &Options, shared: &Arc<Shared>) -> Result<JoinHandle<()>, StartError> {
    let opened = options.destination.open()?;
    shared.path.get_or_init(|| opened.path.clone());
    let mut writer = Writer::new(opened, Arc::clone(shared));
    let thread = thread::Builder::new()
        .name("audit".to_owned())
        .spawn(move || writer.run())
        .map_err(StartError::Thread)?;
    shared.thread.get_or_init(|| thread.thread().clone());
    Ok(thread)
}

struct Writer {
    shared: Arc<Shared>,
    file: File,
    path: Option<PathBuf>,
    regular: bool,
    /// For whoever reads what is written.
    kept: Option<Kept>,
    links: line::Links,
    /// The room of the last lines taken, for the next.
    room: Vec<u8>,
    pending: Vec<u8>,
    /// How much of `pending` the file has.
    written: usize,
    unsynced: bool,
    /// Lines in `pending`.
    count: u64,
    waiting: Vec<Waiting>,
}

/// What a round came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    Worked,
    Nothing,
    Stop,
}

impl Writer {
    fn new(opened: Opened, shared: Arc<Shared>) -> Self {
        let mut writer = Self {
            shared,
            links: line::Links::default(),
            room: Vec::new(),
            file: opened.file,
            path: opened.path,
            regular: opened.regular,
            kept: None,
            pending: Vec::new(),
            written: 0,
            unsynced: false,
            count: 0,
            waiting: Vec::new(),
        };
        writer.go_on(opened.continuation);
        writer
    }

    /// Continues a file from its end.
    fn go_on(&mut self, from: super::verify::Continuation) {
        self.links = line::Links::new(from.chain);
        if from.newline {
            self.pending.push(b'\n');
        }
        if let Some((len, digest)) = from.gap {
            let mut entry = Entry::new(Kind::Recovered, (self.shared.clock)());
            entry.reason = gap_text(len, digest).into();
            self.append(&entry);
        }
    }

    fn run(&mut self) {
        let mut quiet = 0;
        loop {
            match self.round() {
                Round::Stop => break,
                Round::Worked => quiet = 0,
                Round::Nothing => quiet += 1,
            }
            if self.shared.failed.load(Ordering::Relaxed) {
                thread::park_timeout(RETRY);
            } else if quiet < IDLE_POLLS {
                thread::park_timeout(POLL);
            } else {
                self.sleep();
                quiet = 0;
            }
        }
    }

    fn sleep(&self) {
        let mut queue = self.shared.queue.lock();
        queue.idle = queue.is_empty();
        let idle = queue.idle;
        drop(queue);
        if idle {
            // Whoever queues something from here on sees that we sleep, and the next `park` returns at once.
            thread::park();
            self.shared.queue.lock().idle = false;
        }
    }

    fn round(&mut self) -> Round {
        let taken = self.shared.queue.lock().take(std::mem::take(&mut self.room));
        let worked = !self.pending.is_empty() || !taken.is_empty();
        let mut stop = None;
        // Lines before commands: what was closed before a command was given is written before it is answered.
        self.link(taken.text, taken.ends, taken.waiting);
        for command in taken.commands {
            match command {
                Command::Flush(done) => self.waiting.push(done),
                Command::Reopen(done) => {
                    self.flush();
                    if done.send(self.reopen()).is_err() {
                        // Nobody waits for the answer.
                    }
                }
                Command::Keep(done) => {
                    if done.send(self.keep()).is_err() {
                        // Nobody waits for the answer.
                    }
                }
                Command::Stop(done) => stop = Some(done),
            }
        }
        self.flush();
        if let Some(done) = stop {
            self.stop(done);
            return Round::Stop;
        }
        if worked { Round::Worked } else { Round::Nothing }
    }

    /// Links the lines that were taken; writes whenever a batch is full.
    fn link(&mut self, mut text: Vec<u8>, ends: usize, waiting: Vec<Waiting>) {
        self.shared.taken.fetch_sub(ends, Ordering::AcqRel);
        // Escaped as they are, lines hold no newline but at their end.
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', &text) {
            self.links.append(text.get(start..end).unwrap_or_default(), &mut self.pending);
            start = end + 1;
            self.count += 1;
            if self.pending.len() >= BATCH && !self.shared.failed.load(Ordering::Relaxed) {
                self.flush();
            }
        }
        self.waiting.extend(waiting);
        text.clear();
        text.shrink_to(2 * BATCH);
        self.room = text;
    }

    /// A line of the writer's own.
    fn append(&mut self, entry: &Entry) {
        let mut line = Vec::new();
        line::Lines::default().append(entry, &mut line);
        self.link(line, 0, Vec::new());
    }

    fn flush(&mut self) {
        match self.write() {
            Ok(()) => self.succeeded(),
            Err(error) => self.failed(&error),
        }
    }

    fn write(&mut self) -> io::Result<()> {
        while let Some(rest) = self.pending.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.written += written;
                    self.unsynced = true;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.unsynced && self.regular && self.shared.durability == Durability::Sync {
            self.file.sync_data()?;
        }
        self.unsynced = false;
        Ok(())
    }

    fn succeeded(&mut self) {
        self.pending.clear();
        self.pending.shrink_to(2 * BATCH);
        self.written = 0;
        self.shared.written.fetch_add(std::mem::take(&mut self.count), Ordering::Relaxed);
        if self.shared.failed.swap(false, Ordering::AcqRel) {
            *self.shared.failure.lock() = None;
            tracing::info!("the audit is written again");
        }
        self.answer(Ok(()));
    }

    fn failed(&mut self, error: &io::Error) {
        if !self.shared.failed.swap(true, Ordering::AcqRel) {
            *self.shared.failure.lock() = Some(error.to_string().into());
            tracing::error!(%error, "the audit cannot be written; requests are refused until it can");
        }
        self.answer(Err(Failed));
    }

    fn answer(&mut self, outcome: Result<(), Failed>) {
        for waiting in self.waiting.drain(..) {
            if waiting.send(outcome).is_err() {
                // The request was dropped while it waited; its line is written all the same.
            }
        }
    }

    /// From here on every file that is written is kept until it was read.
    fn keep(&mut self) -> Option<Kept> {
        if self.kept.is_none() && self.regular {
            let kept = Kept::default();
            match kept.push(&self.file) {
                Ok(()) => self.kept = Some(kept),
                Err(error) => tracing::error!(%error, "the audit file cannot be kept for reading"),
            }
        }
        self.kept.clone()
    }

    fn reopen(&mut self) -> Result<(), StartError> {
        let Some(path) = self.path.clone().filter(|path| !file::is_same(&self.file, path)) else {
            return Ok(());
        };
        if self.kept.as_ref().is_some_and(Kept::is_full) {
            return Err(StartError::Waiting);
        }
        let opened = file::open(&path)?;
        let fresh = opened.continuation == file::FRESH;
        if !fresh && !self.pending.is_empty() {
            // What waits is chained behind the old file's end and cannot stand behind another.
            return Err(StartError::NotFresh(path));
        }
        if let Some(kept) = &self.kept {
            kept.push(&opened.file).map_err(|error| StartError::Open(path, error))?;
        }
        // A line of which the old file has only a part goes to the new file whole.
        let done = self.pending.get(..self.written).unwrap_or_default();
        let kept = done.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.pending.drain(..kept);
        self.written = 0;
        self.file = opened.file;
        self.regular = opened.regular;
        if !fresh {
            self.go_on(opened.continuation);
        }
        Ok(())
    }

    fn stop(&mut self, done: Option<Waiting>) {
        self.shared.failed.store(true, Ordering::Release);
        // Whoever queues something from here on gets no answer, and sees by that that there is none.
        let rest = {
            let mut queue = self.shared.queue.lock();
            queue.ended = true;
            queue.take(Vec::new())
        };
        self.link(rest.text, rest.ends, rest.waiting);
        let outcome = match self.write() {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::error!(%error, lines = self.count, "the audit ends with lines that could not be written");
                Err(Failed)
            }
        };
        self.answer(outcome);
        if self.regular && self.file.sync_data().is_err() {
            tracing::warn!("the audit file cannot be synced");
        }
        if let Some(done) = done
            && done.send(outcome).is_err()
        {
            // Nobody waits for the end.
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::super::file::Destination;
    use super::super::verify::verify;
    use super::*;

    fn lines_of(file: &File) -> Vec<u64> {
        use std::os::unix::fs::FileExt as _;
        let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let lines = bytes.split(|byte| *byte == b'\n').filter_map(super::super::read_links);
        lines.map(|(_, chain)| chain.seq).collect()
    }

    #[test]
    fn files_that_were_rotated_wait_in_order_until_they_were_read_and_no_more_than_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let options = Options {
            destination: Destination::File(path.clone()),
            durability: Durability::Batch,
            capacity: 1,
            clock: || UNIX_EPOCH,
        };
        let mut writer = Writer::new(options.destination.open().unwrap(), Arc::new(Shared::new(&options)));
        let line = |writer: &mut Writer| {
            writer.append(&Entry::new(Kind::Lifecycle, UNIX_EPOCH));
            writer.flush();
        };
        let kept = writer.keep().unwrap();
        line(&mut writer);
        let mut rotations = 0;
        loop {
            // Whether the name goes to the next file, or to none: the writer knows what it wrote.
            std::fs::rename(&path, folder.path().join("old")).unwrap();
            if let Err(refused) = writer.reopen() {
                assert!(matches!(refused, StartError::Waiting), "{refused}");
                break;
            }
            rotations += 1;
            assert!(rotations < 100, "no bound");
            line(&mut writer);
        }
        assert_eq!(rotations, 15);
        line(&mut writer);
        for seq in 1..=15 {
            assert!(kept.is_over());
            assert_eq!(lines_of(&kept.first().unwrap()), [seq]);
            kept.advance();
        }
        assert_eq!(lines_of(&kept.first().unwrap()), [16, 17]);
        assert!(!kept.is_over());
        kept.advance();
        assert!(kept.first().is_some(), "the one that is written stays");
        writer.reopen().unwrap();
    }

    #[test]
    fn a_line_that_the_old_file_has_in_part_goes_to_the_new_file_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let options = Options {
            destination: Destination::File(path.clone()),
            durability: Durability::Batch,
            capacity: 1,
            clock: || UNIX_EPOCH,
        };
        let mut writer = Writer::new(options.destination.open().unwrap(), Arc::new(Shared::new(&options)));
        for _ in 0..2 {
            writer.append(&Entry::new(Kind::Lifecycle, UNIX_EPOCH));
        }
        // As after a disk that was full in the middle of the second line.
        let half = writer.pending.len() - 50;
        writer.file.write_all(&writer.pending[..half]).unwrap();
        writer.written = half;
        std::fs::rename(&path, folder.path().join("old")).unwrap();
        writer.reopen().unwrap();
        writer.flush();
        let found = verify(std::fs::read(&path).unwrap().as_slice(), None).unwrap();
        assert_eq!((found.lines, found.first_seq), (1, 2));
    }
}
