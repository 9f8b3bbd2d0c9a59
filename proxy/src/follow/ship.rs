//! The sidecar's audit lines go to the control server: in batches, each once, from the audit file itself, which is the spool.
//!
//! Nothing is kept of how far it came: the server says where its chain of this source stands. What does not get there stays in
//! the file; once that is more than `audit-spool` bytes, requests are refused (DW5003) until some of it was taken. Files that
//! were rotated away meanwhile are read first ([`Kept`]). Lines that continue nothing the server has begin a chain of their
//! own, and a line of the audit says so: they are not held back by what is lost.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use control::audit::verify::SOURCE_ID;
use control::audit::{Chain, Hash, Kept as Files, Sink, read_links};
use control::sync::wire::{Behind, Kept, Part};
use http::StatusCode;

use super::link::{Caller, Parted};

/// What is read and sent at once, at most.
const BATCH: usize = 256 << 10;
/// At least; the longest line fits.
const BATCH_LEAST: usize = 64 << 10;
/// The least time between two batches: a thousand sidecars share one server.
const PACE: Duration = Duration::from_millis(1000);
/// Between two batches where a whole one is waiting already: lines that come faster must not outgrow the spool.
const NEXT: Duration = Duration::from_millis(20);
/// How long it is waited after a failure.
const REST: Duration = Duration::from_secs(3);

/// Why lines are not taken.
#[derive(Debug, thiserror::Error)]
enum Unshipped {
    #[error("the audit file: {0}")]
    File(#[from] io::Error),
    #[error(transparent)]
    Link(#[from] Parted),
    #[error("the server answered {0}")]
    Status(StatusCode),
    #[error("the server's answer cannot be read")]
    Answer,
    #[error("the server's copy of the chain ends at line {0}, and takes none of ours")]
    Behind(u64),
}

/// Ships for as long as the process lives.
pub(super) async fn ship(caller: Caller, sink: Sink, files: Files, spool: u64) {
    let status = Arc::clone(&caller.shared.status);
    let mut shipper = Shipper { caller, sink: sink.clone(), files, spool: None, batch: BATCH };
    loop {
        let (files, done) = (shipper.files.clone(), shipper.done());
        let measure = |done: u64| {
            let waiting = files.len().saturating_sub(done);
            sink.hold(waiting > spool);
            status.unshipped.store(waiting, Ordering::Relaxed);
            waiting
        };
        let shipped = {
            let mut round = std::pin::pin!(shipper.round());
            loop {
                tokio::select! {
                    shipped = &mut round => break shipped,
                    // A server that does not answer takes nothing, and lines go on coming.
                    () = tokio::time::sleep(PACE) => {
                        measure(done);
                    }
                }
            }
        };
        let waiting = measure(shipper.done());
        let wait = match shipped {
            Ok(is_more) if is_more && waiting >= BATCH as u64 => NEXT,
            Ok(_) => PACE,
            Err(error) => {
                shipper.shrink(&error);
                tracing::warn!(%error, waiting, "audit lines are not shipped");
                REST
            }
        };
        tokio::time::sleep(wait).await;
    }
}

struct Shipper {
    caller: Caller,
    sink: Sink,
    /// What there is to read.
    files: Files,
    spool: Option<Spool>,
    /// How much is sent at once.
    batch: usize,
}

/// The file that is read, and how far it was shipped.
struct Spool {
    file: Arc<File>,
    source: String,
    /// The bytes that the server has.
    done: u64,
    /// The last line that it has.
    seq: u64,
}

impl Shipper {
    /// What the server has of the files that there are.
    fn done(&self) -> u64 {
        self.spool.as_ref().map_or(0, |spool| spool.done)
    }

    /// A server that is too slow for a batch may be fast enough for a smaller one: the same again would never get there.
    fn shrink(&mut self, error: &Unshipped) {
        if matches!(error, Unshipped::Link(Parted::Late(..))) {
            self.batch = (self.batch / 2).max(BATCH_LEAST);
        }
    }

    /// Ships one batch; says whether there was one.
    async fn round(&mut self) -> Result<bool, Unshipped> {
        // Before it is read: what is read to its end then is whole.
        let is_over = self.files.is_over();
        if self.spool.is_none() {
            self.spool = self.open().await?;
        }
        let Some(spool) = &mut self.spool else {
            if is_over {
                self.files.advance();
            }
            return Ok(is_over);
        };
        let (lines, bytes, last) = spool.read(self.batch)?;
        if bytes == 0 {
            if is_over {
                self.files.advance();
                spool.file = self.files.first().ok_or(Unshipped::Answer)?;
                spool.done = 0;
            }
            return Ok(is_over);
        }
        if lines.is_empty() {
            spool.done += bytes;
            return Ok(true);
        }
        let first = lines.first().and_then(|line| read_links(line.as_bytes()));
        let part = Part { source: Some(spool.source.clone()), behind: None, lines };
        match ask(&self.caller, &part).await? {
            Answer::Kept(_) => {
                spool.done += bytes;
                spool.seq = last;
                self.batch = (self.batch * 2).min(BATCH);
                Ok(true)
            }
            // Behind what it had: restored from a backup. What the file still has is sent again.
            Answer::Unchained(seq) if seq < spool.seq && spool.done > 0 => {
                spool.done = 0;
                spool.seq = 0;
                Ok(true)
            }
            Answer::Unchained(seq) => match first {
                Some((_, first)) if id(&first.hash) != spool.source => {
                    *spool = Spool { source: id(&first.hash), seq: first.seq - 1, ..spool.again() };
                    begun(&self.sink, first.seq, &spool.source);
                    Ok(true)
                }
                Some(_) | None => Err(Unshipped::Behind(seq)),
            },
            Answer::None => Err(Unshipped::Answer),
        }
    }

    /// Finds out which chain the file continues, and how much of it the server has.
    async fn open(&self) -> Result<Option<Spool>, Unshipped> {
        let Some(file) = self.files.first() else { return Ok(None) };
        let Some((prev, first)) = first_line(&file)? else { return Ok(None) };
        let (own, of) = (id(&first.hash), |kept: Kept| (kept.source, kept.seq));
        let begin = Part { source: Some(own.clone()), behind: None, lines: Vec::new() };
        let (source, seq) = if first.seq == 1 {
            of(kept(ask(&self.caller, &begin).await?)?)
        } else {
            let behind = Behind { seq: first.seq - 1, hash: prev.to_string() };
            let part = Part { source: None, behind: Some(behind), lines: Vec::new() };
            match ask(&self.caller, &part).await? {
                Answer::Kept(kept) => of(kept),
                // Nobody has what came before. It may have been begun without that already.
                Answer::None | Answer::Unchained(_) => match of(kept(ask(&self.caller, &begin).await?)?) {
                    (_, 0) => {
                        begun(&self.sink, first.seq, &own);
                        (own, first.seq - 1)
                    }
                    known => known,
                },
            }
        };
        let done = skip(&file, seq)?;
        Ok(Some(Spool { file, source, done, seq }))
    }
}

fn kept(answer: Answer) -> Result<Kept, Unshipped> {
    match answer {
        Answer::Kept(kept) => Ok(kept),
        Answer::Unchained(_) | Answer::None => Err(Unshipped::Answer),
    }
}

/// Says in the audit itself that the server's copy has a gap.
fn begun(sink: &Sink, seq: u64, source: &str) {
    tracing::warn!(
        seq,
        source,
        "the control server lacks the audit lines before; a chain of its own is begun there"
    );
    sink.lifecycle(
        format!("the control server does not have the lines before {seq}: shipped from there on as {source}"),
        0,
    );
}

impl Spool {
    /// The same.
    fn again(&self) -> Self {
        Self { file: Arc::clone(&self.file), source: self.source.clone(), ..*self }
    }

    /// Whole lines from where the server stands, how many bytes they take, and the number of the last. What is torn is left
    /// out: a `recovered` line tells of it.
    fn read(&self, most: usize) -> io::Result<(Vec<String>, u64, u64)> {
        let bytes = part(&self.file, self.done, most)?;
        let end = memchr::memrchr(b'\n', &bytes).map_or(0, |at| at + 1);
        // Longer than any line of ours: it is none.
        let end = if end == 0 && bytes.len() == most { most } else { end };
        let whole = bytes.get(..end).unwrap_or_default();
        let (mut lines, mut last) = (Vec::new(), self.seq);
        for line in whole.split(|byte| *byte == b'\n') {
            if let Some((_, chain)) = read_links(line)
                && chain.seq > self.seq
                && let Ok(text) = str::from_utf8(line)
            {
                lines.push(text.to_owned());
                last = chain.seq;
            }
        }
        Ok((lines, end as u64, last))
    }
}

/// Bytes of a file. The writer has it open as well, so that no position is moved.
fn part(file: &File, from: u64, most: usize) -> io::Result<Vec<u8>> {
    let (mut bytes, mut read) = (vec![0; most], 0);
    while let Some(room) = bytes.get_mut(read..).filter(|room| !room.is_empty()) {
        match file.read_at(room, from + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(read);
    Ok(bytes)
}

/// The first good line of a file: what it continues, and where the chain stands behind it.
fn first_line(file: &File) -> io::Result<Option<(Hash, Chain)>> {
    let head = part(file, 0, BATCH)?;
    let end = memchr::memrchr(b'\n', &head).unwrap_or_default();
    let mut lines = head.get(..end).unwrap_or_default().split(|byte| *byte == b'\n');
    Ok(lines.find_map(read_links))
}

/// Where the lines after a number begin.
fn skip(file: &File, seq: u64) -> io::Result<u64> {
    let mut at = 0_u64;
    loop {
        let buffer = part(file, at, BATCH)?;
        let end = memchr::memrchr(b'\n', &buffer).map_or(0, |end| end + 1);
        if end == 0 {
            return Ok(at);
        }
        let mut begin = 0;
        for line in buffer.get(..end).unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
            let links = read_links(line.strip_suffix(b"\n").unwrap_or(line));
            if links.is_some_and(|(_, chain)| chain.seq > seq) {
                return Ok(at + begin);
            }
            begin += line.len() as u64;
        }
        at += begin;
    }
}

/// What a chain is called that begins with this line.
fn id(first: &Hash) -> String {
    first.to_string().chars().take(SOURCE_ID).collect()
}

enum Answer {
    Kept(Kept),
    /// The lines do not continue the server's chain, which ends here.
    Unchained(u64),
    /// The server has no such chain.
    None,
}

async fn ask(caller: &Caller, part: &Part) -> Result<Answer, Unshipped> {
    let body = serde_json::to_vec(part).map_err(|_| Unshipped::Answer)?;
    let (status, answer) = caller.ask(control::sync::AUDIT_PATH, body.into()).await?;
    match status {
        StatusCode::OK => Ok(Answer::Kept(serde_json::from_slice(&answer).map_err(|_| Unshipped::Answer)?)),
        StatusCode::NOT_FOUND => Ok(Answer::None),
        StatusCode::CONFLICT => {
            let problem: serde_json::Value =
                serde_json::from_slice(&answer).map_err(|_| Unshipped::Answer)?;
            problem
                .get("seq")
                .and_then(serde_json::Value::as_u64)
                .map(Answer::Unchained)
                .ok_or(Unshipped::Answer)
        }
        other => Err(Unshipped::Status(other)),
    }
}

/// Whether this is a file that can be read again.
pub(super) fn is_spool(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use control::audit::{Destination, Durability, Options};

    use super::*;

    async fn written(path: &Path, lines: u64) {
        let options = Options {
            destination: Destination::File(path.to_owned()),
            durability: Durability::Batch,
            capacity: 16,
            clock: || std::time::UNIX_EPOCH,
        };
        let sink = Sink::start(&options).unwrap();
        (0..lines).for_each(|number| sink.lifecycle("test", number));
        sink.close().await.unwrap();
    }

    #[tokio::test]
    async fn reads_on_where_the_server_stands_and_leaves_out_what_is_torn() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        written(&path, 3).await;
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"ts\":\"torn").unwrap();
        written(&path, 1).await;
        let file = Arc::new(File::open(&path).unwrap());
        let (prev, first) = first_line(&file).unwrap().unwrap();
        assert_eq!((prev, first.seq), (Hash::default(), 1));
        for (seq, numbers) in [(0, vec![1, 2, 3, 4, 5]), (2, vec![3, 4, 5]), (5, vec![]), (9, vec![])] {
            let done = skip(&file, seq).unwrap();
            let spool = Spool { file: Arc::clone(&file), source: id(&first.hash), done, seq };
            let (lines, bytes, last) = spool.read(BATCH).unwrap();
            let read: Vec<u64> =
                lines.iter().map(|line| read_links(line.as_bytes()).unwrap().1.seq).collect();
            assert_eq!(read, numbers, "{seq}");
            assert_eq!(last, numbers.last().copied().unwrap_or(seq));
            assert_eq!(done + bytes, path.metadata().unwrap().len());
        }
    }

    #[test]
    fn a_line_that_is_still_written_waits_for_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        std::fs::write(&path, "{\"ts\":").unwrap();
        let file = Arc::new(File::open(&path).unwrap());
        let spool = Spool { file, source: String::new(), done: 0, seq: 0 };
        assert_eq!(spool.read(BATCH).unwrap(), (Vec::new(), 0, 0));
    }
}
