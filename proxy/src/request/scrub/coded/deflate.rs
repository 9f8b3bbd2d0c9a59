//! gzip and zlib: their envelopes are read here, their contents by flate2's pure Rust inflate.
//!
//! Deflate is a sequence of symbols, each of which is put out as soon as its last bit is there. What the input
//! determines beyond the output is therefore less than one symbol, which has 48 bits at most (a length of 15 + 5 and a
//! distance of 15 + 13): the last six bytes wait. After a flush (it ends in an empty stored block, `00 00 ff ff`) or at
//! the end nothing is open, so that event streams are not delayed.
//! Refuses: dictionaries, header fields of over 4 KiB, and anything that follows, except gzip's further members.

use flate2::{Decompress, FlushDecompress, Status};

use super::{CodedError, Fed, PIECE, Sink, Turn};

const SYMBOL: usize = 6;
/// RFC 1951, 2: distances reach so far.
const WINDOW: u64 = 32 * 1024;
const FLUSHED: [u8; 4] = [0, 0, 0xff, 0xff];
const HEADER: usize = 4096;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Envelope {
    Gzip,
    Zlib,
}

enum Stage {
    Header(Vec<u8>),
    Body,
    /// The checksum, so many bytes of it to come.
    Trailer(usize),
    Between,
}

/// One body.
pub(super) struct Enveloped {
    envelope: Envelope,
    stage: Stage,
    inflate: Decompress,
    /// How many bytes of the body came, up to [`SYMBOL`], and the last ones.
    since: usize,
    last: [u8; 4],
    /// The body has more to put out of what it read.
    paused: bool,
    out: Box<[u8]>,
}

impl Enveloped {
    pub(super) fn gzip() -> Self {
        Self::new(Envelope::Gzip)
    }

    pub(super) fn zlib() -> Self {
        Self::new(Envelope::Zlib)
    }

    fn new(envelope: Envelope) -> Self {
        Self {
            envelope,
            stage: Stage::Header(Vec::new()),
            inflate: Decompress::new(false),
            since: 0,
            last: [1; 4],
            paused: false,
            out: vec![0; PIECE].into_boxed_slice(),
        }
    }

    pub(super) fn open(&self) -> usize {
        match self.stage {
            Stage::Body if self.last == FLUSHED => 0,
            Stage::Body => self.since,
            Stage::Header(_) | Stage::Trailer(_) | Stage::Between => 0,
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        matches!(self.stage, Stage::Between)
    }

    pub(super) fn feed(&mut self, whole: &[u8], sink: &mut impl Sink) -> Result<Fed, CodedError> {
        sink.window(WINDOW)?;
        let mut input = whole;
        while self.paused || !input.is_empty() {
            let used = match &mut self.stage {
                Stage::Header(seen) => {
                    let had = seen.len();
                    seen.extend_from_slice(input.get(..input.len().min(HEADER)).unwrap_or_default());
                    match header(self.envelope, seen)? {
                        Some(length) => {
                            self.begin_body();
                            length - had
                        }
                        None if input.len() > HEADER => return Err(CodedError::Limit),
                        None => input.len(),
                    }
                }
                Stage::Body => {
                    let fed = self.body(input, sink)?;
                    self.paused = !fed.done;
                    if self.paused {
                        return Ok(Fed { used: whole.len() - input.len() + fed.used, done: false });
                    }
                    fed.used
                }
                Stage::Trailer(left) => {
                    let used = input.len().min(*left);
                    *left -= used;
                    if *left == 0 {
                        self.stage = Stage::Between;
                    }
                    used
                }
                Stage::Between if self.envelope == Envelope::Zlib => return Err(CodedError::Trailing),
                Stage::Between => {
                    self.stage = Stage::Header(Vec::new());
                    0
                }
            };
            input = input.get(used..).unwrap_or_default();
        }
        Ok(Fed { used: whole.len(), done: true })
    }

    fn begin_body(&mut self) {
        self.stage = Stage::Body;
        self.inflate.reset(false);
        self.since = 0;
        self.last = [1; 4];
    }

    fn body(&mut self, input: &[u8], sink: &mut impl Sink) -> Result<Fed, CodedError> {
        let mut used = 0;
        let mut done = true;
        loop {
            let (before, made) = (self.inflate.total_in(), self.inflate.total_out());
            let rest = input.get(used..).unwrap_or_default();
            let status = self.inflate.decompress(rest, &mut self.out, FlushDecompress::None);
            let status = status.map_err(|_| CodedError::Invalid)?;
            let read = usize::try_from(self.inflate.total_in() - before).map_err(|_| CodedError::Limit)?;
            let wrote = usize::try_from(self.inflate.total_out() - made).map_err(|_| CodedError::Limit)?;
            used += read;
            let turn = sink.take(self.out.get(..wrote).unwrap_or_default())?;
            if status == Status::StreamEnd {
                self.stage = Stage::Trailer(if self.envelope == Envelope::Gzip { 8 } else { 4 });
                return Ok(Fed { used, done: true });
            }
            // It may leave room in the output and yet have more; only a call without any progress tells that it has not.
            if read == 0 && wrote == 0 {
                break;
            }
            if turn == Turn::Over {
                done = false;
                break;
            }
        }
        if done && used != input.len() {
            return Err(CodedError::Invalid);
        }
        self.since = (self.since + used).min(SYMBOL);
        for &byte in input.get(used.saturating_sub(4)..used).unwrap_or_default() {
            self.last.rotate_left(1);
            self.last[3] = byte;
        }
        Ok(Fed { used, done })
    }
}

/// The length of the envelope's header, once all of it is there.
fn header(envelope: Envelope, seen: &[u8]) -> Result<Option<usize>, CodedError> {
    match envelope {
        Envelope::Zlib => zlib_header(seen),
        Envelope::Gzip => gzip_header(seen),
    }
}

/// RFC 1950, 2.2.
fn zlib_header(seen: &[u8]) -> Result<Option<usize>, CodedError> {
    let [method, flags, ..] = *seen else { return Ok(None) };
    let is_valid =
        method & 15 == 8 && method >> 4 <= 7 && (u16::from(method) * 256 + u16::from(flags)) % 31 == 0;
    if !is_valid {
        return Err(CodedError::Invalid);
    }
    if flags & 0x20 != 0 { Err(CodedError::Dictionary) } else { Ok(Some(2)) }
}

/// RFC 1952, 2.3: ten bytes, then as the flags say an extra field, a name, a comment and a checksum.
fn gzip_header(seen: &[u8]) -> Result<Option<usize>, CodedError> {
    const FIXED: usize = 10;
    let magic = [0x1f, 0x8b, 8];
    if !magic.starts_with(seen.get(..seen.len().min(3)).unwrap_or_default()) {
        return Err(CodedError::Invalid);
    }
    let Some(&flags) = seen.get(3) else { return Ok(None) };
    if flags & 0xe0 != 0 {
        return Err(CodedError::Invalid);
    }
    let mut length = FIXED;
    if flags & 4 != 0 {
        let Some(&[low, high]) = seen.get(length..length + 2) else { return Ok(None) };
        length += 2 + usize::from(u16::from_le_bytes([low, high]));
    }
    for flag in [8, 16] {
        if flags & flag != 0 {
            let Some(rest) = seen.get(length..) else { return within(length) };
            let Some(end) = rest.iter().position(|byte| *byte == 0) else { return within(seen.len()) };
            length += end + 1;
        }
    }
    if flags & 2 != 0 {
        length += 2;
    }
    within(length)?;
    Ok((seen.len() >= length).then_some(length))
}

fn within(length: usize) -> Result<Option<usize>, CodedError> {
    if length > HEADER { Err(CodedError::Limit) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_zlib_headers_of_other_methods_windows_and_dictionaries() {
        for (bytes, error) in [
            ([0x78, 0x00], CodedError::Invalid),
            ([0x78, 0x9d], CodedError::Invalid),
            ([0x77, 0x0d], CodedError::Invalid),
            ([0x88, 0x1c], CodedError::Invalid),
            ([0x78, 0x20], CodedError::Dictionary),
            ([0x78, 0xbb], CodedError::Dictionary),
        ] {
            assert_eq!(zlib_header(&bytes), Err(error), "{bytes:x?}");
        }
        for bytes in [[0x08, 0x1d], [0x78, 0x01], [0x78, 0x5e], [0x78, 0x9c], [0x78, 0xda]] {
            assert_eq!(zlib_header(&bytes), Ok(Some(2)), "{bytes:x?}");
            assert_eq!(zlib_header(&bytes[..1]), Ok(None));
        }
    }

    #[test]
    fn refuses_gzip_headers_with_another_magic_or_reserved_flags() {
        for bytes in [&[0x1e][..], &[0x1f, 0x8c], &[0x1f, 0x8b, 7], &[0x1f, 0x8b, 8, 0x20]] {
            assert_eq!(gzip_header(bytes), Err(CodedError::Invalid), "{bytes:x?}");
        }
        for flag in [0x20, 0x40, 0x80] {
            assert_eq!(gzip_header(&[0x1f, 0x8b, 8, flag]), Err(CodedError::Invalid), "{flag:x}");
        }
    }

    #[test]
    fn reads_each_gzip_header_when_all_of_it_is_there() {
        const EXTRA: &[u8] = &[2, 1];
        for flags in 0..32_u8 {
            let mut whole = vec![0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 5, 6];
            if flags & 4 != 0 {
                whole.extend_from_slice(EXTRA);
                whole.resize(whole.len() + 258, 7);
            }
            for (flag, text) in [(8, "name\0"), (16, "a comment\0")] {
                if flags & flag != 0 {
                    whole.extend_from_slice(text.as_bytes());
                }
            }
            if flags & 2 != 0 {
                whole.extend_from_slice(&[9, 9]);
            }
            for end in 0..whole.len() {
                assert_eq!(gzip_header(&whole[..end]), Ok(None), "{flags:x} up to {end}");
            }
            assert_eq!(gzip_header(&whole), Ok(Some(whole.len())), "{flags:x}");
            let more = [&whole[..], b"body\0"].concat();
            assert_eq!(gzip_header(&more), Ok(Some(whole.len())), "{flags:x} and more");
        }
    }

    #[test]
    fn a_gzip_header_has_4096_bytes_at_most() {
        let begun = |flags: u8| vec![0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 0];
        for (length, fits) in [(4096, true), (4097, false)] {
            let mut name = begun(8);
            name.resize(length - 1, b'x');
            name.push(0);
            assert_eq!(gzip_header(&name).is_ok_and(|found| found == Some(length)), fits, "a name, {length}");
            let mut extra = begun(4);
            extra.extend_from_slice(&u16::try_from(length - 12).unwrap().to_le_bytes());
            assert_eq!(gzip_header(&extra).is_ok(), fits, "an announced field, {length}");
            extra.resize(length, 7);
            assert_eq!(
                gzip_header(&extra).is_ok_and(|found| found == Some(length)),
                fits,
                "a field, {length}"
            );
        }
        let mut unfinished = begun(8);
        unfinished.resize(4097, b'x');
        assert_eq!(gzip_header(&unfinished), Err(CodedError::Limit));
        assert_eq!(gzip_header(&unfinished[..4096]), Ok(None));
    }
}
