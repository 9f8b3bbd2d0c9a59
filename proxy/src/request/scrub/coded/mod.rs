//! Content-coded bodies: decoded on the side, never rewritten.
//!
//! Coded bytes go on only when the decoder has put out all that they determine, and that was clean; a hit ends the
//! response. The coded bytes themselves are searched too, for what a decoder passes over (gzip's comment, zstd's
//! skippable frames, brotli's metadata).
//! Refuses: several codings, unknown ones, what does not decode, what follows the end, and bombs. A body of any size
//! passes, since nothing of it is kept; but beyond [`Decoding::free`] decoded bytes each coded byte may only stand for
//! [`Decoding::ratio`] of them, and what all decoders look back at together is bounded ([`Windows`]).
//! A few coded bytes may stand for megabytes: they are decoded in turns, between which the worker's other connections
//! have theirs.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::error::ScrubError;
use super::masker::{Extent, Masker, Watch};
use super::scanner::Scanner;

mod brotli;
mod deflate;
mod windows;
mod zstd;

use windows::Window;
pub use windows::Windows;

/// How far a coded body is decoded.
#[derive(Clone, Debug)]
pub struct Decoding {
    /// Decoded bytes that need no justification.
    pub free: u64,
    /// Decoded bytes for each coded byte beyond that. Deflate reaches 1032, text seldom 20.
    pub ratio: u64,
    /// The memory of all decoders together.
    pub windows: Arc<Windows>,
}

impl Default for Decoding {
    fn default() -> Self {
        Self { free: 64 * 1024 * 1024, ratio: 100, windows: Windows::new(u64::MAX) }
    }
}

/// What is decoded in one turn: about a millisecond's work.
pub(super) const TURN: usize = 256 * 1024;

/// Coded bytes that may wait for their block to be whole (zstd: 128 KiB) or for the rest of a value.
const WAITING: usize = 4 * 1024 * 1024;

/// A piece of decoded text.
const PIECE: usize = 16 * 1024;

/// Why a coded body was not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodedError {
    /// The bytes are not in the announced coding.
    #[error("the data is not valid in its content coding")]
    Invalid,
    /// The body ended too early.
    #[error("the compressed data is truncated")]
    Truncated,
    /// Bytes after the end; decoders disagree on what they mean.
    #[error("something follows the compressed data")]
    Trailing,
    /// A preset dictionary, which we do not have.
    #[error("the compressed data needs a dictionary")]
    Dictionary,
    /// Too large a window, header or block, or too high a ratio.
    #[error("the compressed data exceeds the limits of decompression")]
    Limit,
}

/// A coding that we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952, also `x-gzip`.
    Gzip,
    /// RFC 1950: deflate in its zlib envelope.
    Deflate,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
}

impl Coding {
    /// The coding of a response; none for an identity body.
    ///
    /// # Errors
    /// When there are several, or one that we do not read.
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>, ScrubError> {
        let mut found = None;
        for value in headers.get_all(CONTENT_ENCODING) {
            let text = value.to_str().map_err(|_| ScrubError::UnknownCoding)?;
            for name in text.split(',').map(str::trim) {
                let coding = match name.to_ascii_lowercase().as_str() {
                    "" | "identity" => continue,
                    "gzip" | "x-gzip" => Self::Gzip,
                    "deflate" => Self::Deflate,
                    "br" => Self::Brotli,
                    "zstd" => Self::Zstd,
                    _ => return Err(ScrubError::UnknownCoding),
                };
                if found.replace(coding).is_some() {
                    return Err(ScrubError::UnknownCoding);
                }
            }
        }
        Ok(found)
    }
}

/// Where decoded text goes.
trait Sink {
    /// Takes the next text.
    fn take(&mut self, text: &[u8]) -> Result<Turn, CodedError>;
    /// Hears how far the decoder is going to look back, before it does.
    fn window(&mut self, bytes: u64) -> Result<(), CodedError>;
}

/// Whether a decoder goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    On,
    Over,
}

/// What came of feeding a decoder. If it was not done, the rest is fed the next time, even if that is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fed {
    /// How many of the bytes were read.
    used: usize,
    /// Whether all was read, and all that it determines put out.
    done: bool,
}

/// One decoder. `open` is how many of the bytes that were fed last determine something that is not put out yet.
enum Decoder {
    Deflate(deflate::Enveloped),
    Brotli(Box<brotli::Brotli>),
    Zstd(zstd::Zstd),
}

impl Decoder {
    fn new(coding: Coding) -> Result<Self, CodedError> {
        Ok(match coding {
            Coding::Gzip => Self::Deflate(deflate::Enveloped::gzip()),
            Coding::Deflate => Self::Deflate(deflate::Enveloped::zlib()),
            Coding::Brotli => Self::Brotli(Box::new(brotli::Brotli::new())),
            Coding::Zstd => Self::Zstd(zstd::Zstd::new()?),
        })
    }

    fn feed(&mut self, input: &[u8], sink: &mut impl Sink) -> Result<Fed, CodedError> {
        match self {
            Self::Deflate(decoder) => decoder.feed(input, sink),
            Self::Brotli(decoder) => decoder.feed(input, sink),
            Self::Zstd(decoder) => decoder.feed(input, sink),
        }
    }

    fn open(&self) -> usize {
        match self {
            Self::Deflate(decoder) => decoder.open(),
            Self::Brotli(decoder) => decoder.open(),
            Self::Zstd(decoder) => decoder.open(),
        }
    }

    fn is_complete(&self) -> bool {
        match self {
            Self::Deflate(decoder) => decoder.is_complete(),
            Self::Brotli(decoder) => decoder.is_complete(),
            Self::Zstd(decoder) => decoder.is_complete(),
        }
    }
}

/// Searches decoded text, and bounds it.
struct Search<'a> {
    masker: &'a mut Masker,
    decoded: &'a mut u64,
    coded: u64,
    limits: &'a Decoding,
    window: &'a mut Window,
    /// What this turn may still put out.
    left: &'a mut usize,
    now: Instant,
    echoed: bool,
    tangled: bool,
}

impl Sink for Search<'_> {
    fn take(&mut self, text: &[u8]) -> Result<Turn, CodedError> {
        *self.left = self.left.saturating_sub(text.len());
        *self.decoded += text.len() as u64;
        if *self.decoded > self.limits.free.max(self.coded.saturating_mul(self.limits.ratio)) {
            return Err(CodedError::Limit);
        }
        match self.masker.look(text, self.now) {
            Ok(_) => self.echoed |= self.masker.has_hit(),
            Err(_) => self.tangled = true,
        }
        Ok(if *self.left == 0 { Turn::Over } else { Turn::On })
    }

    fn window(&mut self, bytes: u64) -> Result<(), CodedError> {
        if self.window.grow_to(bytes) { Ok(()) } else { Err(CodedError::Limit) }
    }
}

/// For the coded bytes: what is incomplete there is no echo of a guess, or is in the decoded text as well.
struct OnlyHits(Arc<dyn Watch>);

impl Watch for OnlyHits {
    fn found(&self, needle: usize) {
        self.0.found(needle);
    }

    fn event(&self, _needle: usize) {}
}

/// The state of one coded body.
pub struct Coded {
    decoder: Decoder,
    /// Searches what the decoder puts out.
    text: Masker,
    /// Searches the coded bytes themselves.
    raw: Masker,
    waiting: Zeroizing<Vec<u8>>,
    /// A chunk that is being decoded, and how much of it was.
    chunk: Option<(Bytes, usize)>,
    coded: u64,
    decoded: u64,
    limits: Decoding,
    window: Window,
}

impl std::fmt::Debug for Coded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Coded")
            .field("coded", &self.coded)
            .field("decoded", &self.decoded)
            .finish_non_exhaustive()
    }
}

impl Coded {
    /// For one body, at its beginning.
    ///
    /// # Errors
    /// When the decoder cannot be set up.
    pub fn new(
        coding: Coding,
        scanner: Arc<Scanner>,
        watch: Arc<dyn Watch>,
        limits: Decoding,
    ) -> Result<Self, ScrubError> {
        Ok(Self {
            decoder: Decoder::new(coding).map_err(ScrubError::Coded)?,
            text: Masker::new(scanner.clone(), watch.clone(), Extent::Whole),
            raw: Masker::new(scanner, Arc::new(OnlyHits(watch)), Extent::Whole),
            waiting: Zeroizing::default(),
            chunk: None,
            coded: 0,
            decoded: 0,
            window: Window::new(Arc::clone(&limits.windows)),
            limits,
        })
    }

    /// Takes the next coded bytes and returns those that may go, in as many turns as it needs. May be empty.
    ///
    /// # Errors
    /// When a value is in it or when it cannot be read; the response must be cut.
    pub fn push(&mut self, chunk: Bytes, now: Instant) -> Result<Bytes, ScrubError> {
        self.begin(chunk, now)?;
        let mut left = usize::MAX;
        while self.is_busy() {
            if let Some(released) = self.turn(&mut left, now)? {
                return Ok(released);
            }
        }
        Ok(Bytes::new())
    }

    /// Takes the next coded bytes, to be decoded by [`Coded::turn`].
    ///
    /// # Errors
    /// As [`Coded::push`].
    pub(super) fn begin(&mut self, chunk: Bytes, now: Instant) -> Result<(), ScrubError> {
        if chunk.is_empty() {
            return Ok(());
        }
        self.coded += chunk.len() as u64;
        self.raw.look(&chunk, now)?;
        if self.raw.has_hit() {
            return Err(ScrubError::Echoed);
        }
        self.chunk = Some((chunk, 0));
        Ok(())
    }

    /// Whether a chunk is being decoded.
    pub(super) fn is_busy(&self) -> bool {
        self.chunk.is_some()
    }

    /// Decodes on, about `left` bytes of text at most. Once the chunk is done, gives what may go.
    ///
    /// # Errors
    /// As [`Coded::push`].
    pub(super) fn turn(&mut self, left: &mut usize, now: Instant) -> Result<Option<Bytes>, ScrubError> {
        let Some((chunk, from)) = self.chunk.take() else { return Ok(None) };
        let mut search = Search {
            masker: &mut self.text,
            decoded: &mut self.decoded,
            coded: self.coded,
            limits: &self.limits,
            window: &mut self.window,
            left,
            now,
            echoed: false,
            tangled: false,
        };
        let fed = self.decoder.feed(chunk.get(from..).unwrap_or_default(), &mut search);
        if search.echoed {
            return Err(ScrubError::Echoed);
        }
        if search.tangled {
            return Err(ScrubError::Tangled);
        }
        let fed = fed.map_err(ScrubError::Coded)?;
        if fed.done {
            return self.release(chunk).map(Some);
        }
        self.chunk = Some((chunk, from + fed.used));
        Ok(None)
    }

    /// Ends the body.
    ///
    /// # Errors
    /// When it is not complete, or ends inside what may be a value: it cannot be masked here.
    pub fn finish(&mut self) -> Result<Bytes, ScrubError> {
        if self.deadline().is_some() {
            return Err(self.expire());
        }
        if self.coded > 0 && !self.decoder.is_complete() {
            return Err(ScrubError::Coded(CodedError::Truncated));
        }
        Ok(Bytes::from(std::mem::take(&mut *self.waiting)))
    }

    /// As [`Masker::deadline`].
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.text.deadline()
    }

    /// As [`Masker::expire`].
    pub fn expire(&mut self) -> ScrubError {
        self.text.expire()
    }

    /// How many bytes wait.
    #[must_use]
    pub fn held(&self) -> usize {
        self.waiting.len() + self.chunk.as_ref().map_or(0, |(chunk, _)| chunk.len())
    }

    /// Whether nothing is missing and nothing waits.
    pub(super) fn may_end(&self) -> bool {
        self.waiting.is_empty()
            && self.chunk.is_none()
            && self.deadline().is_none()
            && (self.coded == 0 || self.decoder.is_complete())
    }

    fn release(&mut self, mut chunk: Bytes) -> Result<Bytes, ScrubError> {
        if !self.waiting.is_empty() {
            let mut joined = BytesMut::with_capacity(self.waiting.len() + chunk.len());
            joined.extend_from_slice(&self.waiting);
            joined.extend_from_slice(&chunk);
            chunk = joined.freeze();
        }
        let keep = if self.deadline().is_some() { chunk.len() } else { self.decoder.open().min(chunk.len()) };
        self.waiting = Zeroizing::new(chunk.split_off(chunk.len() - keep).to_vec());
        if self.waiting.len() > WAITING { Err(ScrubError::Coded(CodedError::Limit)) } else { Ok(chunk) }
    }
}

#[cfg(test)]
mod tests;
