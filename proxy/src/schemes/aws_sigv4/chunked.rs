//! Reads `aws-chunked` bodies as a stream: chunk lengths, the agent's chunk signatures, data, trailers.
//!
//! Constant memory: data passes as slices of what came, only a line that is cut in two is kept, within a bound. Refuses
//! every framing that has a second reading: lengths that are no plain hex number, a missing or unexpected chunk
//! signature, bare CR or LF, data beyond or short of `x-amz-decoded-content-length`, trailers that were not announced or
//! come twice, and bytes behind the end.

use bytes::{Buf as _, Bytes};
use http::{HeaderName, HeaderValue};

use super::rechunk::checksum_length;

/// The longest chunk line or trailer line, without CR LF.
const LONGEST_LINE: usize = 512;
/// Hex digits of a chunk's length: enough for 64 bits.
const LENGTH_DIGITS: usize = 16;
/// The most trailers that may be announced.
const MOST_TRAILERS: usize = 8;
const SIGNATURE_FIELD: &[u8] = b"chunk-signature=";
const TRAILER_SIGNATURE: &str = "x-amz-trailer-signature";

/// Which of the chunked forms a body has, by its `x-amz-content-sha256`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`: every chunk is signed.
    Signed,
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER`: every chunk and the trailers are signed.
    SignedTrailer,
    /// `STREAMING-UNSIGNED-PAYLOAD-TRAILER`: nothing in the body is signed, trailers follow.
    UnsignedTrailer,
}

impl Form {
    /// The form of this name.
    pub fn of(name: &str) -> Option<Self> {
        [Self::Signed, Self::SignedTrailer, Self::UnsignedTrailer]
            .into_iter()
            .find(|form| form.name() == name)
    }

    /// As it stands in `x-amz-content-sha256`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signed => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            Self::SignedTrailer => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
            Self::UnsignedTrailer => "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        }
    }

    /// Whether chunks carry signatures.
    pub const fn is_signed(self) -> bool {
        matches!(self, Self::Signed | Self::SignedTrailer)
    }

    /// Whether trailers follow the last chunk.
    pub const fn has_trailers(self) -> bool {
        matches!(self, Self::SignedTrailer | Self::UnsignedTrailer)
    }
}

/// What is wrong with a chunked body. Shows nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkFault {
    /// A chunk's length is no hex number of at most 16 digits.
    #[error("a chunk's length cannot be read")]
    Length,
    /// A chunk signature is missing, malformed, or stands where none belongs.
    #[error("a chunk's signature is missing, malformed or misplaced")]
    Signature,
    /// A line is over its bound or does not end in CR LF.
    #[error("a line of the chunked body is malformed")]
    Line,
    /// There is more or less data than `x-amz-decoded-content-length` says.
    #[error("the chunked body is not as long as x-amz-decoded-content-length says")]
    Decoded,
    /// A trailer is malformed, was not announced, or comes twice.
    #[error("a trailer of the chunked body is malformed or was not announced")]
    Trailer,
    /// Bytes stand behind the end.
    #[error("there are bytes behind the end of the chunked body")]
    Surplus,
    /// It ended in the middle.
    #[error("the chunked body ended early")]
    Early,
}

/// A piece of what a body holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Data, as it came.
    Data(Bytes),
    /// The end, with the trailers (without the agent's signature over them).
    End(Vec<(HeaderName, HeaderValue)>),
}

/// The names in `x-amz-trailer`, lower case; refused where one is no checksum's (`x-amz-checksum-…`) or comes twice.
pub fn announced(value: &str) -> Result<Vec<HeaderName>, ChunkFault> {
    let mut names = Vec::new();
    for name in value.split(',').map(|name| name.trim_matches([' ', '\t'])) {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| ChunkFault::Trailer)?;
        if !name.as_str().starts_with("x-amz-checksum-")
            || names.contains(&name)
            || names.len() >= MOST_TRAILERS
        {
            return Err(ChunkFault::Trailer);
        }
        names.push(name);
    }
    Ok(names)
}

/// The reader: bytes are pushed as they come, pieces are pulled until there are none.
#[derive(Debug)]
pub struct Decoder {
    form: Form,
    announced: Vec<HeaderName>,
    trailers: Vec<(HeaderName, HeaderValue)>,
    /// Data that is still to come, by `x-amz-decoded-content-length`.
    remaining: u64,
    state: State,
    /// The part of a line that came so far.
    line: Vec<u8>,
    trailer_signature: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    ChunkLine,
    Data(u64),
    /// The CR LF behind data; so many of its bytes came.
    DataEnd(u8),
    TrailerLine,
    Done,
}

impl Decoder {
    /// Reads a body of this form, with so much data and these trailers.
    pub fn new(form: Form, decoded_length: u64, announced: Vec<HeaderName>) -> Self {
        Self {
            form,
            announced,
            trailers: Vec::new(),
            remaining: decoded_length,
            state: State::ChunkLine,
            line: Vec::new(),
            trailer_signature: false,
        }
    }

    /// The next piece, with what it takes off `input`; `None`: more input is needed.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Piece>, ChunkFault> {
        loop {
            match self.state {
                State::ChunkLine => {
                    let Some(line) = self.line(input)? else { return Ok(None) };
                    self.state = self.chunk(&line)?;
                }
                State::Data(left) => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let now = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    let data = input.split_to(now);
                    let left = left - now as u64;
                    self.state = if left == 0 { State::DataEnd(0) } else { State::Data(left) };
                    return Ok(Some(Piece::Data(data)));
                }
                State::DataEnd(seen) => {
                    let Some(byte) = input.first().copied() else { return Ok(None) };
                    input.advance(1);
                    self.state = match (seen, byte) {
                        (0, b'\r') => State::DataEnd(1),
                        (1, b'\n') => State::ChunkLine,
                        _ => return Err(ChunkFault::Line),
                    };
                }
                State::TrailerLine => {
                    let Some(line) = self.line(input)? else { return Ok(None) };
                    if line.is_empty() {
                        self.state = State::Done;
                        return self.end(input).map(Some);
                    }
                    self.trailer(&line)?;
                }
                State::Done if input.is_empty() => return Ok(None),
                State::Done => return Err(ChunkFault::Surplus),
            }
        }
    }

    /// The input is over; refused unless the body is.
    pub fn finish(&self) -> Result<(), ChunkFault> {
        if self.state == State::Done { Ok(()) } else { Err(ChunkFault::Early) }
    }

    /// A whole line without its CR LF, or `None` with the beginning kept.
    fn line(&mut self, input: &mut Bytes) -> Result<Option<Vec<u8>>, ChunkFault> {
        let end = memchr::memchr(b'\n', input);
        let part = input.split_to(end.map_or(input.len(), |at| at + 1));
        if self.line.len() + part.len() > LONGEST_LINE + 2 {
            return Err(ChunkFault::Line);
        }
        self.line.extend_from_slice(&part);
        if end.is_none() {
            return Ok(None);
        }
        let line = self.line.strip_suffix(b"\r\n").ok_or(ChunkFault::Line)?.to_vec();
        self.line.clear();
        if line.contains(&b'\r') { Err(ChunkFault::Line) } else { Ok(Some(line)) }
    }

    /// What follows a chunk's line.
    fn chunk(&mut self, line: &[u8]) -> Result<State, ChunkFault> {
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (length, rest) = line.split_at_checked(digits).ok_or(ChunkFault::Length)?;
        if !(1..=LENGTH_DIGITS).contains(&digits) {
            return Err(ChunkFault::Length);
        }
        let length = std::str::from_utf8(length).map_err(|_| ChunkFault::Length)?;
        let length = u64::from_str_radix(length, 16).map_err(|_| ChunkFault::Length)?;
        match (self.form.is_signed(), rest) {
            (false, []) => {}
            (true, [b';', field @ ..]) => {
                field
                    .strip_prefix(SIGNATURE_FIELD)
                    .filter(|text| is_signature(text))
                    .ok_or(ChunkFault::Signature)?;
            }
            (true, []) | (false, [b';', ..]) => return Err(ChunkFault::Signature),
            (_, _) => return Err(ChunkFault::Length),
        }
        self.remaining = self.remaining.checked_sub(length).ok_or(ChunkFault::Decoded)?;
        match length {
            0 if self.remaining > 0 => Err(ChunkFault::Decoded),
            0 => Ok(State::TrailerLine),
            length => Ok(State::Data(length)),
        }
    }

    fn trailer(&mut self, line: &[u8]) -> Result<(), ChunkFault> {
        let colon = memchr::memchr(b':', line).ok_or(ChunkFault::Trailer)?;
        let (name, value) = line.split_at_checked(colon).ok_or(ChunkFault::Trailer)?;
        let name = HeaderName::from_bytes(name).map_err(|_| ChunkFault::Trailer)?;
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        // The signature over the trailers comes last.
        if !self.form.has_trailers() || self.trailer_signature {
            return Err(ChunkFault::Trailer);
        }
        if name.as_str() == TRAILER_SIGNATURE {
            self.trailer_signature = self.form.is_signed() && is_signature(value);
            return if self.trailer_signature { Ok(()) } else { Err(ChunkFault::Trailer) };
        }
        let is_twice = self.trailers.iter().any(|(known, _)| *known == name);
        // The body's length was promised with it.
        let is_as_long = checksum_length(&name).is_none_or(|length| length == value.len());
        if is_twice
            || !self.announced.contains(&name)
            || !is_as_long
            || value.is_empty()
            || !value.iter().all(u8::is_ascii_graphic)
        {
            return Err(ChunkFault::Trailer);
        }
        let value = HeaderValue::from_bytes(value).map_err(|_| ChunkFault::Trailer)?;
        self.trailers.push((name, value));
        Ok(())
    }

    fn end(&mut self, input: &Bytes) -> Result<Piece, ChunkFault> {
        let all_came = self.trailers.len() == self.announced.len();
        let is_signed = self.trailer_signature == (self.form == Form::SignedTrailer);
        if !all_came || !is_signed {
            return Err(ChunkFault::Trailer);
        }
        if !input.is_empty() {
            return Err(ChunkFault::Surplus);
        }
        Ok(Piece::End(std::mem::take(&mut self.trailers)))
    }
}

fn is_signature(text: &[u8]) -> bool {
    text.len() == 64 && text.iter().all(u8::is_ascii_hexdigit)
}
