//! Masks the injected values in a stream, as it passes.
//!
//! For: bodies that may be rewritten. A hit becomes as many asterisks as it had bytes, so that lengths hold.
//!
//! What an agent that makes the upstream echo text can learn, and why it stays little:
//! - A match that tells under [`TELLING`] bytes beyond the public prefix is forwarded at once. If the rest follows,
//!   the rest is masked, though the beginning is gone: the agent may know seven bytes beyond the prefix, no more.
//! - A longer incomplete match at the end of what has arrived is held, for [`HOLD`] at most. If it completes, it is a
//!   hit: nothing was learned, and a reflecting API whose answer happens to be split there is not punished.
//! - If it proves harmless, times out, or the exchange is dropped meanwhile, then the agent may have seen the pause
//!   and so have had a guess confirmed: that is an *event*, reported through [`Watch`]. Innocent text has no eight
//!   bytes of a secret in it, so honest traffic makes no events. The same text inside one chunk is never held, shows
//!   nothing, and is no event.
//! - At the end of a body what is held cannot complete: it is masked, and an event. At the beginning of a slice (206)
//!   the same holds for the end of a value.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::error::ScrubError;
use super::scanner::{Chunk, Findings, Scanner, cover};
use super::thread::Letters;

/// An incomplete match that tells so many bytes beyond the public prefix is not forwarded.
pub(super) const TELLING: usize = 8;

/// How long it may be held before the response is cut. Longer, and a bidirectional stream could stall.
pub const HOLD: Duration = Duration::from_millis(20);

/// Hears what scrubbing finds. `needle` is the index of the value in the list that was compiled.
pub trait Watch: Send + Sync {
    /// A value was found and masked, or was found in a coded body.
    fn found(&self, needle: usize);
    /// An incomplete match that may have confirmed a guess.
    fn event(&self, needle: usize);
}

/// Whether a stream is whole or was cut out of something by a range request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// From its beginning to its end.
    Whole,
    /// The body of a 206: a value may be cut at either end.
    Slice,
}

struct Hold {
    needle: u16,
    start: u64,
    since: Instant,
}

/// The state of one stream.
pub struct Masker {
    scanner: Arc<Scanner>,
    watch: Arc<dyn Watch>,
    extent: Extent,
    findings: Findings,
    /// How much of the stream was scanned.
    end: u64,
    /// What was scanned and may not go yet; the last bytes before `end`.
    held: Zeroizing<Vec<u8>>,
    holds: Vec<Hold>,
    /// The last stretch that was masked.
    masked: (u64, u64),
}

impl std::fmt::Debug for Masker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Masker")
            .field("end", &self.end)
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}

impl Masker {
    /// For one stream, at its beginning.
    #[must_use]
    pub fn new(scanner: Arc<Scanner>, watch: Arc<dyn Watch>, extent: Extent) -> Self {
        Self {
            scanner,
            watch,
            extent,
            findings: Findings::default(),
            end: 0,
            held: Zeroizing::default(),
            holds: Vec::new(),
            masked: (0, 0),
        }
    }

    /// Takes the next chunk and returns what may go: the same bytes, uncopied, where there is nothing to hide. May be empty.
    ///
    /// # Errors
    /// When the text cannot be followed; the response must be cut.
    pub fn push(&mut self, chunk: Bytes, now: Instant) -> Result<Bytes, ScrubError> {
        if self.scanner.is_empty() || chunk.is_empty() {
            return Ok(chunk);
        }
        let held_from = self.look(&chunk, now)?;
        if self.held.is_empty() && self.findings.hits.is_empty() {
            return Ok(self.hold_back(chunk, held_from));
        }
        let mut text = BytesMut::with_capacity(self.held.len() + chunk.len());
        text.extend_from_slice(&self.held);
        text.extend_from_slice(&chunk);
        self.held = Zeroizing::default();
        let base = self.end - text.len() as u64;
        for hit in &self.findings.hits {
            cover(&mut text, base, hit.start, hit.end);
        }
        Ok(self.hold_back(text.freeze(), held_from))
    }

    /// Ends the stream: what is still held comes masked.
    pub fn finish(&mut self) -> Bytes {
        let mut rest = std::mem::take(&mut self.held);
        rest.fill(b'*');
        self.report_holds();
        self.findings.threads.clear();
        Bytes::copy_from_slice(&rest)
    }

    /// Until when the rest of what is held must have come.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.holds.iter().map(|hold| hold.since + HOLD).min()
    }

    /// How many bytes are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// The deadline has passed: reports it, and says why the response must be cut.
    pub fn expire(&mut self) -> ScrubError {
        self.report_holds();
        self.held = Zeroizing::default();
        ScrubError::Held
    }

    /// Scans a chunk that is not forwarded from here; returns from where on the stream must be held.
    pub(super) fn look(&mut self, text: &[u8], now: Instant) -> Result<Option<u64>, ScrubError> {
        self.findings.hits.clear();
        let slice = self.extent == Extent::Slice;
        let chunk = Chunk { text, base: self.end, slice, letters: Letters::AsTheyAre };
        self.scanner.scan(chunk, &mut self.findings).map_err(|_| ScrubError::Tangled)?;
        self.end += text.len() as u64;
        if !self.findings.hits.is_empty() {
            self.note_hits();
        }
        if self.findings.threads.is_empty() && self.holds.is_empty() {
            return Ok(None);
        }
        Ok(self.settle(now))
    }

    /// Whether the last chunk completed a hit.
    pub(super) fn has_hit(&self) -> bool {
        !self.findings.hits.is_empty()
    }

    fn note_hits(&mut self) {
        let whole: Vec<_> = self.findings.hits.iter().copied().filter(|hit| !hit.partial).collect();
        // The end of a value at the beginning of a slice, unless it is the end of a whole one there.
        self.findings.hits.retain(|hit| {
            !hit.partial
                || !whole.iter().any(|w| w.needle == hit.needle && w.start <= hit.start && w.end >= hit.end)
        });
        let (mut seen, mut cut): (Vec<u16>, Vec<u16>) = (Vec::new(), Vec::new());
        for hit in &mut self.findings.hits {
            if !seen.contains(&hit.needle) {
                seen.push(hit.needle);
                self.watch.found(usize::from(hit.needle));
            }
            if hit.partial {
                // With what may be left of an escape before it.
                hit.start = 0;
                // A whole value beside it makes it no less of a guess.
                if !cut.contains(&hit.needle) {
                    cut.push(hit.needle);
                    self.watch.event(usize::from(hit.needle));
                }
            }
            let touches = hit.start <= self.masked.1 && self.masked.0 <= hit.end;
            self.masked = if touches {
                (self.masked.0.min(hit.start), self.masked.1.max(hit.end))
            } else if hit.end > self.masked.1 {
                (hit.start, hit.end)
            } else {
                self.masked
            };
        }
    }

    /// Compares what must be held now with what was held before.
    fn settle(&mut self, now: Instant) -> Option<u64> {
        let mut first = None;
        let mut holds: Vec<Hold> = Vec::new();
        for thread in &self.findings.threads {
            let Some(form) = self.scanner.form(thread) else { continue };
            let open =
                if self.masked.0 <= thread.start { thread.start.max(self.masked.1) } else { thread.start };
            if thread.weight(form) < TELLING || open >= self.end {
                continue;
            }
            first = Some(first.map_or(open, |first: u64| first.min(open)));
            match holds.iter_mut().find(|hold| hold.needle == form.needle) {
                Some(hold) => hold.start = hold.start.min(thread.start),
                None => holds.push(Hold { needle: form.needle, start: thread.start, since: now }),
            }
        }
        for old in std::mem::take(&mut self.holds) {
            let hit = self.findings.hits.iter().any(|hit| hit.needle == old.needle && hit.start <= old.start);
            match holds.iter_mut().find(|hold| hold.needle == old.needle && hold.start <= old.start) {
                _ if hit => {}
                Some(hold) => hold.since = old.since,
                None => self.watch.event(usize::from(old.needle)),
            }
        }
        self.holds = holds;
        first
    }

    fn hold_back(&mut self, mut text: Bytes, held_from: Option<u64>) -> Bytes {
        if let Some(from) = held_from {
            let keep = usize::try_from(self.end - from).unwrap_or(usize::MAX).min(text.len());
            self.held = Zeroizing::new(text.split_off(text.len() - keep).to_vec());
        }
        text
    }

    fn report_holds(&mut self) {
        for hold in self.holds.drain(..) {
            self.watch.event(usize::from(hold.needle));
        }
    }
}

impl Drop for Masker {
    /// Who hangs up during a hold has seen it.
    fn drop(&mut self) {
        self.report_holds();
    }
}
