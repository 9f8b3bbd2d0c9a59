//! Zstandard, by the C library (the pure Rust decoder keeps a window's worth of output back, which would stall events).
//!
//! A block's literals stand before the sequences that order them, so a part of a block tells more than the decoder puts
//! out: coded bytes wait until their block is whole (128 KiB at most). The frame format is followed here for that.
//! Refuses: windows of over 8 MiB (RFC 9659), dictionaries, and what follows that is no frame.

use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::{CodedError, PIECE, Sink};

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
    /// Bytes since the last place where all was put out.
    open: usize,
    out: Box<[u8]>,
}

impl Zstd {
    pub(super) fn new() -> Result<Self, CodedError> {
        let mut decoder = Decoder::new().map_err(|_| CodedError::Limit)?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_BITS)).map_err(|_| CodedError::Limit)?;
        let out = vec![0; PIECE].into_boxed_slice();
        Ok(Self { decoder, next: Next::Header(Vec::new()), has_checksum: false, open: 0, out })
    }

    pub(super) fn open(&self) -> usize {
        self.open
    }

    pub(super) fn is_complete(&self) -> bool {
        matches!(&self.next, Next::Header(seen) if seen.is_empty())
    }

    pub(super) fn feed(&mut self, input: &[u8], sink: &mut impl Sink) -> Result<(), CodedError> {
        self.follow(input)?;
        let mut used = 0;
        loop {
            let mut from = InBuffer::around(input.get(used..).unwrap_or_default());
            let mut to = OutBuffer::around(&mut *self.out);
            self.decoder.run(&mut from, &mut to).map_err(|_| CodedError::Invalid)?;
            let (read, wrote) = (from.pos(), to.pos());
            used += read;
            sink.take(self.out.get(..wrote).unwrap_or_default())?;
            if wrote == self.out.len() {
                continue;
            }
            if used == input.len() {
                return Ok(());
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
                    if let Some(after) = frame_header(seen, &mut self.has_checksum)? {
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

/// RFC 8878, 3.1.1.1 and 3.1.2.
fn frame_header(seen: &[u8], has_checksum: &mut bool) -> Result<Option<Next>, CodedError> {
    let Some(magic) = seen.first_chunk::<4>() else { return Ok(None) };
    let magic = u32::from_le_bytes(*magic);
    if magic & 0xffff_fff0 == 0x184d_2a50 {
        let Some(size) = seen.get(4..).and_then(|rest| rest.first_chunk::<4>()) else { return Ok(None) };
        let size = usize::try_from(u32::from_le_bytes(*size)).map_err(|_| CodedError::Limit)?;
        return Ok(Some(Next::Skip(size)));
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
    Ok((seen.len() == length).then(|| Next::BlockHeader(Vec::new())))
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
