//! Zstandard, by the C library (the pure Rust decoder keeps a window's worth of output back, which would stall events).
//!
//! A block's literals stand before the sequences that order them, so a part of a block tells more than the decoder puts
//! out: coded bytes wait until their block is whole (128 KiB at most). The frame format is followed here for that.
//! Refuses: windows of over 8 MiB (RFC 9659), dictionaries, and what follows that is no frame.

use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::{CodedError, Fed, PIECE, Sink, Turn};

const WINDOW_BITS: u32 = 23;
const MAGIC: u32 = 0xfd2f_b528;
const BLOCK: usize = 128 * 1024;

/// What of the format comes next.
enum Next {
    /// A frame header, of which so much was seen.
    Header(Vec<u8>),
    BlockHeader(Vec<u8>),
    /// So many bytes to the end of a block.
    Block {
        left: usize,
        last: bool,
    },
    /// So many bytes of a checksum or of a skippable frame: they decode to nothing.
    Skip(usize),
}

/// One body.
pub(super) struct Zstd {
    decoder: Decoder<'static>,
    next: Next,
    has_checksum: bool,
    /// The largest window of its frames so far.
    window: u64,
    /// Bytes that the format was followed over and the decoder has not read yet.
    ahead: usize,
    /// Bytes since the last place where all was put out.
    open: usize,
    out: Box<[u8]>,
}

impl Zstd {
    pub(super) fn new() -> Result<Self, CodedError> {
        let mut decoder = Decoder::new().map_err(|_| CodedError::Limit)?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_BITS)).map_err(|_| CodedError::Limit)?;
        let out = vec![0; PIECE].into_boxed_slice();
        Ok(Self {
            decoder,
            next: Next::Header(Vec::new()),
            has_checksum: false,
            window: 0,
            ahead: 0,
            open: 0,
            out,
        })
    }

    pub(super) fn open(&self) -> usize {
        self.open
    }

    pub(super) fn is_complete(&self) -> bool {
        matches!(&self.next, Next::Header(seen) if seen.is_empty())
    }

    pub(super) fn feed(&mut self, input: &[u8], sink: &mut impl Sink) -> Result<Fed, CodedError> {
        self.follow(input.get(self.ahead..).unwrap_or_default())?;
        sink.window(self.window)?;
        let fed = self.decode(input, sink)?;
        self.ahead = input.len() - fed.used;
        Ok(fed)
    }

    fn decode(&mut self, input: &[u8], sink: &mut impl Sink) -> Result<Fed, CodedError> {
        let mut used = 0;
        loop {
            let mut from = InBuffer::around(input.get(used..).unwrap_or_default());
            let mut to = OutBuffer::around(&mut *self.out);
            self.decoder.run(&mut from, &mut to).map_err(|_| CodedError::Invalid)?;
            let (read, wrote) = (from.pos(), to.pos());
            used += read;
            let turn = sink.take(self.out.get(..wrote).unwrap_or_default())?;
            if wrote < self.out.len() && used == input.len() {
                return Ok(Fed { used, done: true });
            }
            if turn == Turn::Over {
                return Ok(Fed { used, done: false });
            }
            if wrote == self.out.len() {
                continue;
            }
            if read == 0 && wrote == 0 {
                return Err(CodedError::Invalid);
            }
        }
    }

    /// Follows the format, to know where its blocks end.
    fn follow(&mut self, mut input: &[u8]) -> Result<(), CodedError> {
        while let Some(&byte) = input.first() {
            let used = match &mut self.next {
                Next::Header(seen) => {
                    seen.push(byte);
                    if let Some((after, window)) = frame_header(seen, &mut self.has_checksum)? {
                        self.window = self.window.max(window.min(1 << WINDOW_BITS));
                        self.next = after;
                    }
                    1
                }
                Next::BlockHeader(seen) => {
                    seen.push(byte);
                    if let [a, b, c] = **seen {
                        self.next = block_header(u32::from_le_bytes([a, b, c, 0]))?;
                    }
                    1
                }
                Next::Block { left, .. } | Next::Skip(left) => {
                    let used = input.len().min(*left);
                    *left -= used;
                    used
                }
            };
            self.open += used;
            self.advance();
            input = input.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    /// Leaves what is finished.
    fn advance(&mut self) {
        let after = match &self.next {
            Next::Block { left: 0, last: false } => Next::BlockHeader(Vec::new()),
            Next::Block { left: 0, last: true } if self.has_checksum => Next::Skip(4),
            Next::Block { left: 0, last: true } | Next::Skip(0) => Next::Header(Vec::new()),
            Next::Header(_) | Next::BlockHeader(_) | Next::Block { .. } | Next::Skip(_) => return,
        };
        self.open = 0;
        self.next = after;
    }
}

/// RFC 8878, 3.1.1.1 and 3.1.2: what comes behind it, and the frame's window.
fn frame_header(seen: &[u8], has_checksum: &mut bool) -> Result<Option<(Next, u64)>, CodedError> {
    let Some(magic) = seen.first_chunk::<4>() else { return Ok(None) };
    let magic = u32::from_le_bytes(*magic);
    if magic & 0xffff_fff0 == 0x184d_2a50 {
        let Some(size) = seen.get(4..).and_then(|rest| rest.first_chunk::<4>()) else { return Ok(None) };
        let size = usize::try_from(u32::from_le_bytes(*size)).map_err(|_| CodedError::Limit)?;
        return Ok(Some((Next::Skip(size), 0)));
    }
    if magic != MAGIC {
        return Err(CodedError::Trailing);
    }
    let Some(&descriptor) = seen.get(4) else { return Ok(None) };
    if descriptor & 8 != 0 {
        return Err(CodedError::Invalid);
    }
    if descriptor & 3 != 0 {
        return Err(CodedError::Dictionary);
    }
    *has_checksum = descriptor & 4 != 0;
    let single = descriptor & 0x20 != 0;
    let content_size = match descriptor >> 6 {
        0 => usize::from(single),
        power => 1 << power,
    };
    let length = 5 + usize::from(!single) + content_size;
    let window = if single { content(seen.get(5..).unwrap_or_default()) } else { seen.get(5).map(window) };
    let next = (seen.len() == length).then(|| Next::BlockHeader(Vec::new()));
    Ok(next.map(|next| (next, window.unwrap_or(u64::MAX))))
}

/// RFC 8878, 3.1.1.1.2: the window of a frame that states it.
fn window(descriptor: &u8) -> u64 {
    let base = 1 << (10 + (descriptor >> 3));
    base + base / 8 * u64::from(descriptor & 7)
}

/// RFC 8878, 3.1.1.1.4: the content's size, which is the window of a frame of a single segment.
fn content(field: &[u8]) -> Option<u64> {
    match field.len() {
        1 => field.first().map(|size| u64::from(*size)),
        2 => field.first_chunk().map(|size| u64::from(u16::from_le_bytes(*size)) + 256),
        4 => field.first_chunk().map(|size| u64::from(u32::from_le_bytes(*size))),
        _ => field.first_chunk().map(|size| u64::from_le_bytes(*size)),
    }
}

/// RFC 8878, 3.1.1.2.
fn block_header(bits: u32) -> Result<Next, CodedError> {
    let size = usize::try_from(bits >> 3).map_err(|_| CodedError::Limit)?;
    let left = match bits >> 1 & 3 {
        1 => 1,
        0 | 2 if size <= BLOCK => size,
        _ => return Err(CodedError::Invalid),
    };
    Ok(Next::Block { left, last: bits & 1 == 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes behind a header, its window, and whether a checksum follows; `None` before all of it was seen.
    fn header(seen: &[u8]) -> Result<Option<(Option<usize>, u64, bool)>, CodedError> {
        let mut has_checksum = false;
        let found = frame_header(seen, &mut has_checksum)?;
        Ok(found.map(|(next, window)| match next {
            Next::Skip(size) => (Some(size), window, has_checksum),
            Next::BlockHeader(_) => (None, window, has_checksum),
            Next::Header(_) | Next::Block { .. } => panic!("no such thing stands behind a header"),
        }))
    }

    #[test]
    fn refuses_what_is_no_frame_or_has_reserved_bits_or_a_dictionary() {
        for (header_bytes, error) in [
            (&[0x29, 0xb5, 0x2f, 0xfd][..], CodedError::Trailing),
            (&[0x4f, 0x2a, 0x4d, 0x18], CodedError::Trailing),
            (&[0x60, 0x2a, 0x4d, 0x18], CodedError::Trailing),
            (&[0x28, 0xb5, 0x2f, 0xfd, 0x08], CodedError::Invalid),
            (&[0x28, 0xb5, 0x2f, 0xfd, 0x01], CodedError::Dictionary),
            (&[0x28, 0xb5, 0x2f, 0xfd, 0x02], CodedError::Dictionary),
            (&[0x28, 0xb5, 0x2f, 0xfd, 0x03], CodedError::Dictionary),
        ] {
            assert_eq!(header(header_bytes), Err(error), "{header_bytes:x?}");
        }
    }

    #[test]
    fn reads_each_frame_header_when_all_of_it_is_there() {
        const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
        for (rest, window) in [
            // A window of 2^(10 + exponent) and so many eighths.
            (&[0x00, 0x00][..], 1 << 10),
            (&[0x00, 0x07], (1 << 10) + 7 * 128),
            (&[0x00, 0x58], 1 << 21),
            (&[0x10, 0x59], (1 << 21) + (1 << 18)),
            (&[0x00, 0xf8], 1 << 41),
            // With the size of the content, which does not count.
            (&[0x40, 0x58, 1, 2], 1 << 21),
            (&[0x80, 0x58, 1, 2, 3, 4], 1 << 21),
            (&[0xc0, 0x58, 1, 2, 3, 4, 5, 6, 7, 8], 1 << 21),
            // Of a single segment, with its size in one, two, four or eight bytes.
            (&[0x20, 200], 200),
            (&[0x60, 1, 2], 256 + 0x0201),
            (&[0xa0, 1, 2, 3, 4], 0x0403_0201),
            (&[0xe0, 1, 2, 3, 4, 5, 6, 7, 8], 0x0807_0605_0403_0201),
        ] {
            for flag in [0, 4] {
                let mut whole = [&MAGIC, rest].concat();
                whole[4] |= flag;
                for end in 0..whole.len() {
                    assert_eq!(header(&whole[..end]), Ok(None), "{whole:x?} up to {end}");
                }
                assert_eq!(header(&whole), Ok(Some((None, window, flag == 4))), "{whole:x?}");
            }
        }
        for kind in 0x50..=0x5f {
            let whole = [kind, 0x2a, 0x4d, 0x18, 1, 2, 0, 0];
            assert!((0..8).all(|end| header(&whole[..end]) == Ok(None)));
            assert_eq!(header(&whole), Ok(Some((Some(0x0201), 0, false))));
        }
    }

    #[test]
    fn reads_the_length_of_a_block_from_its_header() {
        let read = |size: u32, kind: u32, last: u32| match block_header(size << 3 | kind << 1 | last) {
            Ok(Next::Block { left, last }) => Some((left, last)),
            Ok(_) => panic!("not a block"),
            Err(error) => {
                assert_eq!(error, CodedError::Invalid);
                None
            }
        };
        for last in [0, 1] {
            for kind in [0, 2] {
                assert_eq!(read(0, kind, last), Some((0, last == 1)));
                assert_eq!(read(5, kind, last), Some((5, last == 1)));
                assert_eq!(read(128 * 1024, kind, last), Some((128 * 1024, last == 1)));
                assert_eq!(read(128 * 1024 + 1, kind, last), None);
            }
            // One byte, which is repeated; and what is reserved.
            assert_eq!(read(5, 1, last), Some((1, last == 1)));
            assert_eq!(read(5, 3, last), None);
        }
    }
}
