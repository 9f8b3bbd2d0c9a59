//! A stream of server-sent events (WHATWG HTML, section 9.2), event by event: each is held until it is whole, looked
//! through, and goes on at once.
//!
//! Refuses an event that is longer than its bound, is not UTF-8, or is a message that cannot be read.

use std::ops::Range;

use super::Fault;
use super::listing::{self, Listing};

/// Takes a stream apart into whole events.
#[derive(Debug)]
pub struct Events {
    /// What has come of the event that is not whole yet.
    held: Vec<u8>,
    /// Where in it the current line begins.
    line: usize,
    /// Up to where it was looked at.
    seen: usize,
    /// The last event ended with a CR, the last byte that came: whether an LF that follows goes on.
    late: Option<bool>,
    /// The first event may begin with a byte order mark.
    is_first: bool,
    most: usize,
}

/// The memory that is kept from one event to the next.
const KEPT: usize = 16 << 10;

/// Why a stream of events is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventFault {
    /// An event is longer than the bound.
    #[error("an event of the stream is too long")]
    Long,
    /// An event is not UTF-8.
    #[error("an event of the stream is not UTF-8")]
    NotUtf8,
    /// A message in it cannot be read.
    #[error("a message of the stream cannot be read: {0}")]
    Message(Fault),
}

impl Events {
    /// For one stream, whose events have at most so many bytes.
    pub fn new(most: usize) -> Self {
        Self { held: Vec::new(), line: 0, seen: 0, late: None, is_first: true, most }
    }

    /// Takes a chunk, and gives all events that are whole now as they may be shown.
    ///
    /// # Errors
    /// When an event cannot be judged: the stream has to end.
    pub fn push(&mut self, chunk: &[u8], lets: &dyn Fn(&str) -> bool) -> Result<Vec<u8>, EventFault> {
        let mut shown = Vec::new();
        let mut chunk = chunk;
        // The second half of the CRLF that ended the last event: its reader may wait for it.
        if !chunk.is_empty()
            && let Some(goes_on) = self.late.take()
            && let Some(rest) = chunk.strip_prefix(b"\n")
        {
            shown.extend(goes_on.then_some(b'\n'));
            chunk = rest;
        }
        self.held.extend_from_slice(chunk);
        let mut done = 0;
        while let Some(end) = self.line_end() {
            let is_blank = end.start == self.line;
            (self.line, self.seen) = (end.end, end.end);
            if is_blank {
                let is_same = self.show(done..end.end, lets, &mut shown)?;
                done = end.end;
                let ends_with_cr =
                    end.len() == 1 && end.end == self.held.len() && self.held.last() == Some(&b'\r');
                self.late = ends_with_cr.then_some(is_same);
            }
        }
        self.held.drain(..done);
        // One long event does not keep its room.
        if self.held.capacity() > KEPT && self.held.len() <= KEPT {
            self.held.shrink_to(KEPT);
        }
        (self.line, self.seen) = (self.line - done, self.seen - done);
        if self.held.len() > self.most { Err(EventFault::Long) } else { Ok(shown) }
    }

    /// The stream has ended; some clients read what stands behind the last blank line too.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn finish(&mut self, lets: &dyn Fn(&str) -> bool) -> Result<Vec<u8>, EventFault> {
        let mut shown = Vec::new();
        self.show(0..self.held.len(), lets, &mut shown)?;
        self.held.clear();
        Ok(shown)
    }

    /// How many bytes are held.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// How much memory they take.
    pub fn room(&self) -> usize {
        self.held.capacity()
    }

    /// The next end of a line: LF, CRLF or CR. A CR at the end of what has come ends a line only if that line is blank:
    /// the others wait for what follows.
    fn line_end(&mut self) -> Option<Range<usize>> {
        let rest = self.held.get(self.seen..)?;
        let Some(found) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            self.seen = self.held.len();
            return None;
        };
        let at = self.seen + found;
        match (self.held.get(at), self.held.get(at + 1)) {
            (Some(b'\r'), Some(b'\n')) => Some(at..at + 2),
            (Some(b'\r'), None) if at != self.line => {
                self.seen = at;
                None
            }
            _ => Some(at..at + 1),
        }
    }

    /// Whether the event goes on as it came.
    fn show(
        &mut self,
        range: Range<usize>,
        lets: &dyn Fn(&str) -> bool,
        shown: &mut Vec<u8>,
    ) -> Result<bool, EventFault> {
        let event = self.held.get(range).unwrap_or_default();
        if event.len() > self.most {
            return Err(EventFault::Long);
        }
        let text = std::str::from_utf8(event).map_err(|_| EventFault::NotUtf8)?;
        let is_first = std::mem::take(&mut self.is_first);
        let changed = changed(text, is_first, lets).map_err(EventFault::Message)?;
        shown.extend_from_slice(changed.as_deref().unwrap_or(text).as_bytes());
        Ok(changed.is_none())
    }
}

/// The event as it may be shown, if that differs.
fn changed(event: &str, is_first: bool, lets: &dyn Fn(&str) -> bool) -> Result<Option<String>, Fault> {
    let bare = if is_first { event.strip_prefix('\u{feff}').unwrap_or(event) } else { event };
    let mut data: Option<String> = None;
    let mut kind = "";
    for line in lines(bare) {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => match &mut data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => data = Some(value.to_owned()),
            },
            "event" => kind = value,
            _ => {}
        }
    }
    let Some(data) = data.filter(|data| !data.is_empty()) else { return Ok(None) };
    match listing::filter(&data, lets) {
        Ok(Listing::Same) => Ok(None),
        Ok(Listing::Cut(list)) => Ok(Some(rewritten(bare, &list))),
        // Where messages go (SSE), and what other kinds of events say, is no JSON.
        Err(Fault::NotJson | Fault::NotRpc)
            if !matches!(kind, "" | "message") && !data.trim_start().starts_with(['{', '[']) =>
        {
            Ok(None)
        }
        Err(fault) => Err(fault),
    }
}

/// The event with other data; its other lines stay.
fn rewritten(event: &str, data: &str) -> String {
    let mut text = String::with_capacity(data.len() + 64);
    let others =
        lines(event).filter(|line| !line.is_empty() && *line != "data" && !line.starts_with("data:"));
    for line in others {
        text.push_str(line);
        text.push('\n');
    }
    for line in data.split('\n') {
        text.push_str("data: ");
        text.push_str(line);
        text.push('\n');
    }
    text.push('\n');
    text
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split("\r\n").flat_map(|part| part.split(['\n', '\r']))
}
