//! Brotli, by the pure Rust decoder.
//!
//! Like deflate, brotli is read symbol by symbol, and the decoder puts out all that it has when its input ends. What is
//! open is less than one symbol with the block switch before it: a command with its extra bits (15 + 24 + 24) behind a
//! switch (15 + 15 + 24) has 117 bits, so the last 16 bytes wait; nothing waits between two metablocks, where a flush
//! ends. Waiting for whole metablocks instead would be no safer, and they may have 16 MiB.
//! Refuses: windows of over 24 bits, and anything that follows the end.

use std::mem::discriminant;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};

use super::{CodedError, Fed, PIECE, Sink, Turn};

const SYMBOL: usize = 16;

type State = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

/// One body.
pub(super) struct Brotli {
    state: State,
    /// A decoder that stands between two metablocks. The library does not name its states: they are compared with this.
    between: State,
    total: usize,
    since: usize,
    begun: bool,
    complete: bool,
    out: Box<[u8]>,
}

impl Brotli {
    pub(super) fn new() -> Self {
        // A stream header and an empty metadata block, which is what a flush appends (RFC 7932, 9.2).
        const FLUSHED: [u8; 1] = [0x0c];
        let mut between = fresh();
        let (mut left, mut read, mut room, mut wrote, mut total) = (FLUSHED.len(), 0, 0, 0, 0);
        BrotliDecompressStream(
            &mut left,
            &mut read,
            &FLUSHED,
            &mut room,
            &mut wrote,
            &mut [],
            &mut total,
            &mut between,
        );
        let out = vec![0; PIECE].into_boxed_slice();
        Self { state: fresh(), between, total: 0, since: 0, begun: false, complete: false, out }
    }

    pub(super) fn open(&self) -> usize {
        let between = discriminant(&self.state.state) == discriminant(&self.between.state)
            && discriminant(&self.state.substate_metablock_header)
                == discriminant(&self.between.substate_metablock_header);
        if self.complete || between { 0 } else { self.since }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    pub(super) fn feed(&mut self, input: &[u8], sink: &mut impl Sink) -> Result<Fed, CodedError> {
        if self.complete {
            return if input.is_empty() {
                Ok(Fed { used: 0, done: true })
            } else {
                Err(CodedError::Trailing)
            };
        }
        if let (false, Some(first)) = (self.begun, input.first()) {
            self.begun = true;
            sink.window(window(*first))?;
        }
        let fed = self.decode(input, sink)?;
        self.since = (self.since + fed.used).min(SYMBOL);
        Ok(fed)
    }

    fn decode(&mut self, input: &[u8], sink: &mut impl Sink) -> Result<Fed, CodedError> {
        let (mut left, mut read) = (input.len(), 0);
        loop {
            let (mut room, mut wrote) = (self.out.len(), 0);
            let result = BrotliDecompressStream(
                &mut left,
                &mut read,
                input,
                &mut room,
                &mut wrote,
                &mut self.out,
                &mut self.total,
                &mut self.state,
            );
            let turn = sink.take(self.out.get(..wrote).unwrap_or_default())?;
            match result {
                BrotliResult::NeedsMoreInput if wrote < self.out.len() => {
                    return Ok(Fed { used: read, done: true });
                }
                // With its output full it has more to put out, also when it asks for input.
                BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput if turn == Turn::Over => {
                    return Ok(Fed { used: read, done: false });
                }
                BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
                BrotliResult::ResultFailure => return Err(CodedError::Invalid),
                BrotliResult::ResultSuccess => {
                    self.complete = true;
                    let fed = Fed { used: read, done: true };
                    return if left == 0 { Ok(fed) } else { Err(CodedError::Trailing) };
                }
            }
        }
    }
}

/// How far back a stream that begins with this byte may refer (RFC 7932, 9.1).
fn window(first: u8) -> u64 {
    let bits = match (first & 1, first >> 1 & 7, first >> 4 & 7) {
        (0, ..) => 16,
        (_, 0, 0) => 17,
        // Reserved: the decoder refuses it.
        (_, 0, 1) => 24,
        (_, 0, more) => 8 + more,
        (_, bits, _) => 17 + bits,
    };
    1 << bits
}

/// `new_strict` keeps to RFC 7932: `new` would accept windows of up to 30 bits.
fn fresh() -> State {
    State::new_strict(StandardAlloc::default(), StandardAlloc::default(), StandardAlloc::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_window_of_each_first_byte() {
        // RFC 7932, 9.1, from the lowest bit on: 0, 1 and three bits, 1 and three zeros and three bits.
        for (first, bits) in [
            (0x00, 16),
            (0x01, 17),
            (0x03, 18),
            (0x05, 19),
            (0x07, 20),
            (0x09, 21),
            (0x0b, 22),
            (0x0d, 23),
            (0x0f, 24),
            (0x11, 24),
            (0x21, 10),
            (0x31, 11),
            (0x41, 12),
            (0x51, 13),
            (0x61, 14),
            (0x71, 15),
        ] {
            assert_eq!(window(first), 1 << bits, "{first:#x}");
            let (length, rest) = if first & 1 == 0 { (1, 0xfe) } else { (4, 0xf0) };
            if first < 1 << length && first != 0x01 {
                assert_eq!(window(first | rest), 1 << bits, "{first:#x} and more");
            } else if first > 0x0f || first == 0x01 {
                assert_eq!(window(first | 0x80), 1 << bits, "{first:#x} and more");
            }
        }
    }
}
