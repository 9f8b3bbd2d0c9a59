//! Counts tokens in a model's answer as it passes: a stream of events or one JSON text, in the vendors' own usage fields.
//!
//! Reads only the places where vendors put them (`usage`, `message.usage`, `response.usage`, `usageMetadata`), so that
//! nothing that a model wrote can be taken for them. Constant memory, nothing is allocated, and nothing is held back. What
//! is no JSON is passed over: whoever asks gets no usage then, and charges by [`Counter::estimate`].

mod json;

use memchr::memchr2;

use json::Json;

/// Tokens as the vendor counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// What the model was given.
    pub input: u64,
    /// What it generated, what it thought included.
    pub output: u64,
    /// What it cost, in millionths of a dollar, where the vendor says so.
    pub cost_micros: Option<u64>,
}

impl Tokens {
    /// In and out together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

/// The state of one answer.
#[derive(Debug)]
pub struct Counter {
    /// `None`: one JSON text.
    lines: Option<Lines>,
    json: Json,
    bytes: u64,
}

impl Counter {
    /// For `text/event-stream`.
    #[must_use]
    pub fn of_events() -> Self {
        Self { lines: Some(Lines::default()), json: Json::default(), bytes: 0 }
    }

    /// For one JSON text, or several in one array (Gemini).
    #[must_use]
    pub fn of_json() -> Self {
        Self { lines: None, json: Json::default(), bytes: 0 }
    }

    /// Takes the next bytes of the body.
    pub fn push(&mut self, chunk: &[u8]) {
        self.bytes = self.bytes.saturating_add(chunk.len() as u64);
        match &mut self.lines {
            Some(lines) => lines.push(chunk, &mut self.json),
            None => self.json.push(chunk),
        }
    }

    /// What the vendor said so far; each figure is the largest that was said, since vendors count up.
    #[must_use]
    pub fn tokens(&self) -> Option<Tokens> {
        self.json.found.is_there.then(|| self.json.found.tokens())
    }

    /// Whether figures came that stand for the whole answer, so that it may be cut after them: those of a JSON text that has
    /// ended; of a stream, those that came when all of so many answers were said to be finished, or beside none, or before
    /// an event that ends the stream. Vendors show figures in earlier events as well, and count on.
    #[must_use]
    pub fn is_final(&self, answers: u64) -> bool {
        let found = &self.json.found;
        match &self.lines {
            Some(_) => found.whole.is_some_and(|finished| found.is_last || finished >= answers.max(1)),
            None => found.is_there && found.is_closed,
        }
    }

    /// About how many tokens the body holds, rather too many: for an answer without figures. Of events, what the smallest
    /// one has too is its envelope.
    #[must_use]
    pub fn estimate(&self) -> u64 {
        match &self.lines {
            Some(lines) if lines.events > 0 => {
                let envelopes = lines.events.saturating_mul(lines.smallest);
                lines.events + lines.event_bytes.saturating_sub(envelopes) / BYTES_PER_TOKEN
            }
            Some(_) | None => self.bytes / BYTES_PER_TOKEN,
        }
    }
}

/// English has some four bytes for each token, other languages and code fewer.
const BYTES_PER_TOKEN: u64 = 3;

/// The lines of an event stream (WHATWG): which of their bytes are JSON, and where an event ends.
#[derive(Debug, Default)]
struct Lines {
    line: Line,
    /// A CR was seen last: an LF behind it belongs to it.
    after_cr: bool,
    /// Data bytes of the event at hand.
    event: u64,
    events: u64,
    event_bytes: u64,
    smallest: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// So many bytes of `data:` were seen.
    Name(usize),
    Data,
    Other,
}

impl Default for Line {
    fn default() -> Self {
        Self::Name(0)
    }
}

const DATA: &[u8] = b"data:";

impl Lines {
    fn push(&mut self, mut chunk: &[u8], json: &mut Json) {
        if std::mem::take(&mut self.after_cr) && chunk.first() == Some(&b'\n') {
            chunk = chunk.get(1..).unwrap_or_default();
        }
        while !chunk.is_empty() {
            let end = memchr2(b'\n', b'\r', chunk);
            let (line, rest) = chunk.split_at(end.unwrap_or(chunk.len()));
            self.part(line, json);
            let Some((ending, rest)) = rest.split_first() else { return };
            self.end(json);
            chunk = match (ending, rest.split_first()) {
                (b'\r', Some((b'\n', rest))) => rest,
                (b'\r', None) => {
                    self.after_cr = true;
                    rest
                }
                _ => rest,
            };
        }
    }

    fn part(&mut self, mut part: &[u8], json: &mut Json) {
        while let (Line::Name(seen), Some((byte, rest))) = (self.line, part.split_first()) {
            self.line = match DATA.get(seen) {
                Some(wanted) if wanted == byte && seen + 1 == DATA.len() => Line::Data,
                Some(wanted) if wanted == byte => Line::Name(seen + 1),
                Some(_) | None => Line::Other,
            };
            part = rest;
        }
        if self.line == Line::Data {
            self.event = self.event.saturating_add(part.len() as u64);
            json.push(part);
        }
    }

    fn end(&mut self, json: &mut Json) {
        let is_empty = std::mem::take(&mut self.line) == Line::Name(0);
        if !is_empty {
            json.push(b"\n");
            return;
        }
        if self.event > 0 {
            self.smallest = if self.events == 0 { self.event } else { self.smallest.min(self.event) };
            self.events += 1;
            self.event_bytes = self.event_bytes.saturating_add(std::mem::take(&mut self.event));
        }
        json.restart();
    }
}

#[cfg(test)]
mod tests;
