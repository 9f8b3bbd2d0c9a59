//! Finds every form of the injected values in a stream of chunks.
//!
//! For: the masker and the coded bodies. Compiled once per secret version and shared.
//! Four searches together miss nothing: threads that earlier chunks left alive; the prefilter, for plain spellings;
//! a look at each escape, as the first one of an occurrence, with what precedes it; and each place near the chunk's
//! end, for occurrences that go on in the next chunk.
//! Refuses: values that are too short to be looked for.

use super::beginnings::Beginnings;
use super::escapes::{self, Decoded, Escape};
use super::filter::Filter;
use super::forms::{self, Form, Needle};
use super::thread::{Letters, Resume, Step, Thread};

/// Threads at once, over all forms. Only a secret that repeats itself, or a slice of a very long one, comes near.
const THREADS: usize = 16 * 1024;

/// Why a scanner could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// It would be found in innocent text.
    #[error("a value of under {} bytes cannot be scrubbed", forms::SHORTEST)]
    TooShort,
    /// It would not fit into a request head.
    #[error("a value of over {} bytes cannot be scrubbed", forms::LONGEST)]
    TooLong,
    /// The index has sixteen bits.
    #[error("too many values for one scanner")]
    TooMany,
}

/// A text has more ambiguous beginnings of a value than can be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tangled;

/// An occurrence: `start..end` of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) needle: u16,
    pub(super) start: u64,
    pub(super) end: u64,
    /// Only the end of the value, at the beginning of a slice.
    pub(super) partial: bool,
}

/// The compiled search for all values of an exchange.
pub struct Scanner {
    forms: Vec<Form>,
    filter: Filter,
    beginnings: Beginnings,
    /// How far before a chunk's end a beginning may stand that the other searches leave out.
    tail: usize,
}

impl std::fmt::Debug for Scanner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scanner")
    }
}

/// A stretch of a stream and where it stands there.
#[derive(Clone, Copy)]
pub(super) struct Chunk<'a> {
    pub(super) text: &'a [u8],
    pub(super) base: u64,
    /// The stream is a slice of something (206): it may begin inside a value.
    pub(super) slice: bool,
    pub(super) letters: Letters,
}

/// Where a form is taken up: it begins at `place` with its character `from`, and all before `at` was compared.
#[derive(Clone, Copy)]
struct Start {
    place: usize,
    from: usize,
    at: usize,
}

/// What a scan has found, and what it leaves for the next chunk.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) hits: Vec<Hit>,
    pub(super) threads: Vec<Thread>,
    tangled: bool,
}

impl Scanner {
    /// Prepares the search for these values.
    ///
    /// # Errors
    /// When a value is too short or too long, or when there are too many.
    pub fn compile(needles: &[Needle<'_>]) -> Result<Self, CompileError> {
        let mut all = Vec::new();
        for (index, needle) in needles.iter().enumerate() {
            if needle.value.len() < forms::SHORTEST {
                return Err(CompileError::TooShort);
            }
            if needle.value.len() > forms::LONGEST {
                return Err(CompileError::TooLong);
            }
            all.extend(forms::of(u16::try_from(index).map_err(|_| CompileError::TooMany)?, needle));
        }
        if all.len() > usize::from(u16::MAX) {
            return Err(CompileError::TooMany);
        }
        let filter = Filter::compile(&all);
        let beginnings = Beginnings::compile(&all, filter.reach());
        Ok(Self { tail: filter.reach() + escapes::LONGEST, forms: all, filter, beginnings })
    }

    /// Whether there is nothing to look for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    pub(super) fn form(&self, thread: &Thread) -> Option<&Form> {
        self.forms.get(usize::from(thread.form))
    }

    /// Scans the next chunk of a stream. `findings.threads` is what the chunk before has left.
    pub(super) fn scan(&self, chunk: Chunk<'_>, findings: &mut Findings) -> Result<(), Tangled> {
        for thread in std::mem::take(&mut findings.threads) {
            let Some(form) = self.form(&thread) else { continue };
            match thread.resume(form, chunk.text) {
                Resume::From(thread, place) => self.follow(thread, chunk, place, findings),
                Resume::Waiting(thread) => findings.threads.push(thread),
                Resume::Dead => {}
            }
        }
        self.whole(chunk, findings);
        self.endings(chunk, findings);
        if chunk.slice {
            self.cut_beginnings(chunk, findings);
        }
        findings.threads.sort_unstable();
        findings.threads.dedup();
        if findings.tangled || findings.threads.len() > THREADS { Err(Tangled) } else { Ok(()) }
    }

    /// Masks a text that stands alone; `None` if there is nothing to mask. `found` hears of each value.
    pub(super) fn mask(&self, text: &[u8], mut found: impl FnMut(u16)) -> Result<Option<Vec<u8>>, Tangled> {
        if text.len() < self.filter.shortest() || self.is_empty() {
            return Ok(None);
        }
        let mut findings = Findings::default();
        self.whole(Chunk { text, base: 0, slice: false, letters: Letters::AsTheyAre }, &mut findings);
        if findings.tangled {
            return Err(Tangled);
        }
        if findings.hits.is_empty() {
            return Ok(None);
        }
        let mut masked = text.to_vec();
        for hit in &findings.hits {
            found(hit.needle);
            cover(&mut masked, 0, hit.start, hit.end);
        }
        Ok(Some(masked))
    }

    /// Whether a lower-cased name holds a lower-cased form. Names are short and so is the simple search.
    pub(super) fn is_in_name(&self, name: &str) -> bool {
        if name.len() < self.filter.shortest() {
            return false;
        }
        let chunk = Chunk { text: name.as_bytes(), base: 0, slice: false, letters: Letters::Folded };
        let mut findings = Findings::default();
        for place in 0..name.len() {
            for form in 0..self.forms.len() {
                self.follow_one(form, Start { place, from: 0, at: 0 }, chunk, &mut findings);
            }
        }
        findings.tangled || !findings.hits.is_empty()
    }

    /// The occurrences of which enough stands in this chunk.
    fn whole(&self, chunk: Chunk<'_>, findings: &mut Findings) {
        self.filter.each(chunk.text, |form, place| {
            self.follow_all(usize::from(form), Start { place, from: 0, at: 0 }, chunk, findings);
        });
        for place in memchr::memchr3_iter(b'%', b'\\', b'&', chunk.text) {
            self.around_escape(place, chunk, findings);
        }
    }

    /// Takes the escape at `place` for the first one of an occurrence: what precedes it must be plain.
    fn around_escape(&self, place: usize, chunk: Chunk<'_>, findings: &mut Findings) {
        let Some((before, rest)) = chunk.text.split_at_checked(place) else { return };
        if !self.beginnings.may_matter(rest) {
            return;
        }
        let Escape::Char(escape) = escapes::parse(rest) else { return };
        let Some(&byte) = escape.bytes().first() else { return };
        if self.may_begin(&escape, rest) {
            self.begin(byte, place, chunk, findings);
        }
        if !self.beginnings.may_go_on(before, byte) {
            return;
        }
        for (form, index) in
            self.beginnings.of(byte).filter(|(_, index)| *index > 0 && *index <= before.len())
        {
            let Some(what) = self.forms.get(form) else { continue };
            if before.iter().rev().zip(what.bytes.iter().take(index).rev()).all(|(b, w)| what.same(*w, *b)) {
                self.follow_all(form, Start { place: place - index, from: 0, at: index }, chunk, findings);
            }
        }
    }

    fn may_begin(&self, escape: &Decoded, rest: &[u8]) -> bool {
        let after = rest.get(escape.length..).unwrap_or_default();
        match escape.bytes() {
            [byte] => self.beginnings.may_begin(*byte, after),
            _ => true,
        }
    }

    /// What begins near the end and is not finished there.
    fn endings(&self, chunk: Chunk<'_>, findings: &mut Findings) {
        let hits = findings.hits.len();
        let from = chunk.text.len().saturating_sub(self.tail);
        for (place, &byte) in chunk.text.iter().enumerate().skip(from) {
            let rest = chunk.text.get(place..).unwrap_or_default();
            if self.beginnings.may_begin(byte, rest.get(1..).unwrap_or_default()) {
                self.begin(byte, place, chunk, findings);
            }
            // One that is whole was looked at as the first one of an occurrence already.
            if escapes::begins(byte) && matches!(escapes::parse(rest), Escape::CutOff) {
                for form in 0..self.forms.len() {
                    self.follow_one(form, Start { place, from: 0, at: 0 }, chunk, findings);
                }
            }
        }
        // Whole ones among them have been found before.
        findings.hits.truncate(hits);
    }

    /// Follows the forms that begin with `byte`, which stands at `place`, plain or escaped.
    fn begin(&self, byte: u8, place: usize, chunk: Chunk<'_>, findings: &mut Findings) {
        for (form, _) in self.beginnings.of(byte).take_while(|(_, index)| *index == 0) {
            self.follow_all(form, Start { place, from: 0, at: 0 }, chunk, findings);
        }
    }

    /// At the beginning of a slice a value may begin in its middle, even inside an escape.
    fn cut_beginnings(&self, chunk: Chunk<'_>, findings: &mut Findings) {
        let left = (escapes::LONGEST as u64).saturating_sub(chunk.base);
        for (place, &byte) in chunk.text.iter().enumerate().take(usize::try_from(left).unwrap_or(0)) {
            for (index, form) in self.forms.iter().enumerate() {
                let last = form.last_telling(super::masker::TELLING);
                for (from, &wanted) in form.bytes.iter().enumerate().take(last + 1).skip(1) {
                    if form.same(wanted, byte) || escapes::begins(byte) {
                        self.follow_one(index, Start { place, from, at: from }, chunk, findings);
                    }
                }
            }
        }
    }

    /// Follows a form and those that extend it.
    fn follow_all(&self, form: usize, start: Start, chunk: Chunk<'_>, findings: &mut Findings) {
        self.follow_one(form, start, chunk, findings);
        if self.forms.get(form + 1).is_some_and(|next| next.extends) {
            self.follow_one(form + 1, start, chunk, findings);
        }
    }

    fn follow_one(&self, form: usize, start: Start, chunk: Chunk<'_>, findings: &mut Findings) {
        let Ok(index) = u16::try_from(form) else { return };
        let thread = Thread::new(index, chunk.base + start.place as u64, start.from).at(start.at);
        self.follow(thread, chunk, start.place + (start.at - start.from), findings);
    }

    /// Follows a thread and all its other readings to their ends.
    fn follow(&self, thread: Thread, chunk: Chunk<'_>, place: usize, findings: &mut Findings) {
        const READINGS: usize = 256;
        let Some(form) = self.form(&thread) else { return };
        let mut next = Some((thread, place));
        let mut others = Vec::new();
        let mut read = 0;
        while let Some((thread, place)) = next.take().or_else(|| others.pop()) {
            match thread.run(form, chunk.letters, chunk.text, place, |other, at| others.push((other, at))) {
                Step::Hit(end) => findings.hits.push(Hit {
                    needle: form.needle,
                    start: thread.start,
                    end: chunk.base + end as u64,
                    partial: thread.from > 0,
                }),
                Step::Alive(thread) => findings.threads.push(thread),
                Step::Dead => {}
            }
            read += 1;
            if read + others.len() > READINGS {
                findings.tangled = true;
                return;
            }
        }
    }
}

/// Writes asterisks over `start..end` of a stream, as far as `text`, which stands at `base`, holds it.
pub(super) fn cover(text: &mut [u8], base: u64, start: u64, end: u64) {
    let from = usize::try_from(start.saturating_sub(base)).unwrap_or(usize::MAX);
    let to = usize::try_from(end.saturating_sub(base)).unwrap_or(usize::MAX).min(text.len());
    if let Some(hidden) = text.get_mut(from..to) {
        hidden.fill(b'*');
    }
}

#[cfg(test)]
mod tests;
