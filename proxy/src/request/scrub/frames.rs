//! WebSocket frames from the upstream (RFC 6455, 5): payloads are masked, heads pass as they are.
//!
//! A message is one stream for the search, over all its frames; control frames stand alone. Nothing more is held than
//! a masker holds, and what follows that on the wire. Extensions are never negotiated here.
//! Refuses (close code 1002): reserved bits, masked frames, unknown opcodes, control frames that are fragmented or over
//! 125 bytes, lengths that are not in their shortest form, frames that do not continue a message or interrupt it, and
//! anything after a close frame.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use tokio::time::Instant;

use super::body::Search;
use super::error::ScrubError;
use super::masker::{Extent, Masker};

/// Why a WebSocket ends.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Close with 1002.
    #[error("the upstream's websocket frame is broken: {0}")]
    Broken(&'static str),
    /// The payload could not be scrubbed.
    #[error("the upstream's websocket message cannot be scrubbed")]
    Scrub(#[source] ScrubError),
}

const MAX_HEAD: usize = 10;
const MAX_CONTROL: usize = 125;

#[derive(Clone, Copy)]
struct Head {
    is_final: bool,
    opcode: u8,
    length: u64,
}

impl Head {
    fn is_control(self) -> bool {
        self.opcode >= 8
    }
}

enum Stage {
    Head(Vec<u8>),
    Data { left: u64, is_final: bool },
    Control { left: usize, payload: Vec<u8>, is_close: bool },
    Closed,
}

/// What goes out next.
enum Next {
    Wire(Bytes),
    /// So many bytes of the message, once they are released.
    Payload(u64),
}

/// The scrubber of one connection's frames.
pub struct FrameScrubber {
    search: Search,
    stage: Stage,
    /// The message that has begun and not ended.
    message: Option<Masker>,
    queue: VecDeque<Next>,
    released: VecDeque<Bytes>,
}

impl std::fmt::Debug for FrameScrubber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FrameScrubber")
    }
}

impl FrameScrubber {
    /// For one connection, after its 101.
    #[must_use]
    pub fn new(search: Search) -> Self {
        Self {
            search,
            stage: Stage::Head(Vec::with_capacity(MAX_HEAD)),
            message: None,
            queue: VecDeque::new(),
            released: VecDeque::new(),
        }
    }

    /// Takes what came and returns what may go, maybe nothing.
    ///
    /// # Errors
    /// When the connection must end.
    pub fn push(&mut self, mut chunk: Bytes, now: Instant) -> Result<Bytes, FrameError> {
        let size = chunk.len();
        while !chunk.is_empty() {
            match &mut self.stage {
                Stage::Closed => return Err(FrameError::Broken("something follows a close frame")),
                Stage::Head(seen) => {
                    seen.push(chunk.get_u8());
                    if let Some(head) = parse(seen)? {
                        let bytes = Bytes::from(std::mem::take(seen));
                        self.begin(head, bytes)?;
                    }
                }
                Stage::Data { left, is_final } => {
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(chunk.len());
                    *left -= take as u64;
                    let end = (*left == 0).then_some(*is_final);
                    self.data(chunk.split_to(take), now)?;
                    if let Some(is_final) = end {
                        self.end_frame(is_final);
                    }
                }
                Stage::Control { left, payload, .. } => {
                    let part = chunk.split_to(chunk.len().min(*left));
                    *left -= part.len();
                    payload.extend_from_slice(&part);
                    if *left == 0 {
                        self.end_control()?;
                    }
                }
            }
        }
        Ok(self.output(size))
    }

    /// As [`Masker::deadline`].
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.message.as_ref().and_then(Masker::deadline)
    }

    /// As [`Masker::expire`].
    pub fn expire(&mut self) -> FrameError {
        FrameError::Scrub(self.message.as_mut().map_or(ScrubError::Held, Masker::expire))
    }

    fn begin(&mut self, head: Head, bytes: Bytes) -> Result<(), FrameError> {
        match (head.opcode, self.message.is_some()) {
            (0, false) => return Err(FrameError::Broken("there is no message to continue")),
            (1 | 2, true) => return Err(FrameError::Broken("a message interrupts another")),
            (1 | 2, false) => {
                let Search { scanner, watch, decoding: _ } = self.search.clone();
                self.message = Some(Masker::new(scanner, watch, Extent::Whole));
            }
            _ => {}
        }
        self.queue.push_back(Next::Wire(bytes));
        if head.is_control() {
            let left = usize::try_from(head.length).unwrap_or(MAX_CONTROL);
            self.stage = Stage::Control { left, payload: Vec::new(), is_close: head.opcode == 8 };
            return if left == 0 { self.end_control() } else { Ok(()) };
        }
        self.queue.push_back(Next::Payload(head.length));
        self.stage = Stage::Data { left: head.length, is_final: head.is_final };
        if head.length == 0 {
            self.end_frame(head.is_final);
        }
        Ok(())
    }

    fn data(&mut self, part: Bytes, now: Instant) -> Result<(), FrameError> {
        let Some(message) = &mut self.message else { return Err(FrameError::Broken("there is no message")) };
        self.released.push_back(message.push(part, now).map_err(FrameError::Scrub)?);
        Ok(())
    }

    fn end_frame(&mut self, is_final: bool) {
        self.stage = Stage::Head(Vec::with_capacity(MAX_HEAD));
        if let Some(mut message) = self.message.take_if(|_| is_final) {
            self.released.push_back(message.finish());
        }
    }

    fn end_control(&mut self) -> Result<(), FrameError> {
        let stage = std::mem::replace(&mut self.stage, Stage::Head(Vec::with_capacity(MAX_HEAD)));
        let Stage::Control { payload, is_close, .. } = stage else { return Ok(()) };
        if is_close {
            self.stage = Stage::Closed;
        }
        let found = |needle| self.search.watch.found(usize::from(needle));
        let masked = self.search.scanner.mask(&payload, found);
        let masked = masked.map_err(|_| FrameError::Scrub(ScrubError::Tangled))?;
        self.queue.push_back(Next::Wire(Bytes::from(masked.unwrap_or(payload))));
        Ok(())
    }

    /// Puts heads and released payload together again, up to what is held.
    fn output(&mut self, size: usize) -> Bytes {
        let mut out = BytesMut::with_capacity(size);
        while let Some(next) = self.queue.front_mut() {
            match next {
                Next::Wire(bytes) => out.extend_from_slice(bytes),
                Next::Payload(left) => {
                    while let Some(part) = self.released.front_mut().filter(|_| *left > 0) {
                        let take = usize::try_from(*left).unwrap_or(usize::MAX).min(part.len());
                        out.extend_from_slice(&part.split_to(take));
                        *left -= take as u64;
                        if part.is_empty() {
                            self.released.pop_front();
                        }
                    }
                    if *left > 0 {
                        break;
                    }
                }
            }
            self.queue.pop_front();
        }
        out.freeze()
    }
}

/// Reads a head, once all of it is there.
fn parse(seen: &[u8]) -> Result<Option<Head>, FrameError> {
    let Some(&first) = seen.first() else { return Ok(None) };
    let (is_final, opcode) = (first & 0x80 != 0, first & 15);
    if first & 0x70 != 0 {
        return Err(FrameError::Broken("a reserved bit is set"));
    }
    if !matches!(opcode, 0..=2 | 8..=10) {
        return Err(FrameError::Broken("the opcode is unknown"));
    }
    if opcode >= 8 && !is_final {
        return Err(FrameError::Broken("a control frame is fragmented"));
    }
    let Some(&second) = seen.get(1) else { return Ok(None) };
    if second & 0x80 != 0 {
        return Err(FrameError::Broken("a server's frame is masked"));
    }
    if opcode >= 8 && second > 125 {
        return Err(FrameError::Broken("a control frame is too long"));
    }
    let rest = seen.get(2..).unwrap_or_default();
    let (length, least) = match second {
        126 => match rest.first_chunk::<2>() {
            Some(bytes) => (u64::from(u16::from_be_bytes(*bytes)), 126),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(bytes) => (u64::from_be_bytes(*bytes), 0x1_0000),
            None => return Ok(None),
        },
        short => (u64::from(short), 0),
    };
    if length < least || length > i64::MAX as u64 {
        return Err(FrameError::Broken("the length is not in its shortest form"));
    }
    Ok(Some(Head { is_final, opcode, length }))
}

#[cfg(test)]
mod tests;
