//! Writes `aws-chunked` bodies anew, each chunk and the trailers signed with the real key.
//!
//! For: requests whose agent streams. The chunks are ours, of [`CHUNK`] bytes whatever the agent's were, so the length
//! of what is sent follows from `x-amz-decoded-content-length` and is known before the first byte. Constant memory: one
//! chunk where chunks are signed, nothing where they are not.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};

use super::chunked::{ChunkFault, Decoder, Form, Piece};
use super::key::SigningKey;
use super::scope::Stamp;
use super::sign::hash;

/// How much data a chunk of ours holds (AWS asks for at least 8 KiB and advises 64 KiB or more).
pub const CHUNK: usize = 64 << 10;
/// `;chunk-signature=` and 64 digits.
const SIGNATURE_FIELD: usize = 17 + 64;
/// `x-amz-trailer-signature:`, 64 digits and CR LF.
const TRAILER_SIGNATURE: usize = 24 + 64 + 2;
const EMPTY_HASH: &[u8] = b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// The lengths of checksums as they stand in trailers (base64).
const CHECKSUMS: [(&str, usize); 11] = [
    ("x-amz-checksum-crc32", 8),
    ("x-amz-checksum-crc32c", 8),
    ("x-amz-checksum-crc64nvme", 12),
    ("x-amz-checksum-sha1", 28),
    ("x-amz-checksum-sha256", 44),
    ("x-amz-checksum-sha512", 88),
    ("x-amz-checksum-md5", 24),
    ("x-amz-checksum-xxhash3", 12),
    ("x-amz-checksum-xxhash64", 12),
    ("x-amz-checksum-xxhash128", 24),
    ("x-amz-checksum-crc64", 12),
];

/// The chain of signatures: each covers the one before, the first that of the head.
pub struct Chain {
    key: Arc<SigningKey>,
    stamp: Stamp,
    previous: [u8; 64],
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Chain {
    /// Begins at the signature of the head.
    pub fn new(key: Arc<SigningKey>, stamp: Stamp, seed: [u8; 64]) -> Self {
        Self { key, stamp, previous: seed }
    }

    fn chunk(&mut self, data: &[u8]) -> [u8; 64] {
        self.next("AWS4-HMAC-SHA256-PAYLOAD", &[EMPTY_HASH, b"\n", &hash(data)])
    }

    fn trailers(&mut self, canonical: &[u8]) -> [u8; 64] {
        self.next("AWS4-HMAC-SHA256-TRAILER", &[&hash(canonical)])
    }

    fn next(&mut self, kind: &str, end: &[&[u8]]) -> [u8; 64] {
        let mut text = Vec::with_capacity(320);
        for part in [kind, self.stamp.text(), self.key.scope()] {
            text.extend_from_slice(part.as_bytes());
            text.push(b'\n');
        }
        text.extend_from_slice(&self.previous);
        text.push(b'\n');
        end.iter().for_each(|part| text.extend_from_slice(part));
        self.previous = self.key.sign(&text);
        self.previous
    }
}

/// How long a body is when it is written anew; `None` where a trailer's length is not known beforehand.
pub fn encoded_length(form: Form, decoded: u64, trailers: &[HeaderName]) -> Option<u64> {
    let line = |data: u64| hex_digits(data) + 2 + if form.is_signed() { SIGNATURE_FIELD as u64 } else { 0 };
    let chunk = CHUNK as u64;
    let (whole, rest) = (decoded / chunk, decoded % chunk);
    let mut length = whole.checked_mul(line(chunk) + chunk + 2)?.checked_add(line(0) + 2)?;
    if rest > 0 {
        length = length.checked_add(line(rest) + rest + 2)?;
    }
    for name in trailers {
        length = length.checked_add((name.as_str().len() + 1 + checksum_length(name)? + 2) as u64)?;
    }
    if form == Form::SignedTrailer { length.checked_add(TRAILER_SIGNATURE as u64) } else { Some(length) }
}

/// How long the checksum in a trailer of this name is, if it is one that is known.
pub(super) fn checksum_length(name: &HeaderName) -> Option<usize> {
    CHECKSUMS.iter().find(|(known, _)| known == name).map(|(_, length)| *length)
}

fn hex_digits(number: u64) -> u64 {
    u64::from((64 - number.leading_zeros()).div_ceil(4).max(1))
}

/// The writer: data goes in, wire bytes come out.
#[derive(Debug)]
pub struct Encoder {
    chain: Option<Chain>,
    trailers: bool,
    /// Data that is still to come.
    remaining: u64,
    /// A signed chunk that is not full, with room for its line.
    chunk: BytesMut,
    /// Data that still belongs to the unsigned chunk whose line is written.
    open: usize,
}

impl Encoder {
    /// Writes so much data; with a chain each chunk is signed.
    pub fn new(form: Form, decoded: u64, chain: Option<Chain>) -> Self {
        Self { chain, trailers: form.has_trailers(), remaining: decoded, chunk: BytesMut::new(), open: 0 }
    }

    /// Takes data; what can be sent is appended to `out`.
    pub fn data(&mut self, mut data: Bytes, out: &mut VecDeque<Bytes>) {
        while !data.is_empty() {
            if self.chain.is_some() {
                self.signed(&mut data, out);
            } else {
                self.unsigned(&mut data, out);
            }
        }
    }

    fn signed(&mut self, data: &mut Bytes, out: &mut VecDeque<Bytes>) {
        let full = self.full();
        if self.chunk.is_empty() {
            self.chunk.reserve(full + 16 + SIGNATURE_FIELD + 4);
        }
        let part = data.split_to(data.len().min(full - self.chunk.len()));
        self.chunk.extend_from_slice(&part);
        if self.chunk.len() == full {
            self.remaining = self.remaining.saturating_sub(full as u64);
            let body = self.chunk.split().freeze();
            out.push_back(self.line(&body, full));
            out.push_back(body);
            out.push_back(Bytes::from_static(b"\r\n"));
        }
    }

    fn unsigned(&mut self, data: &mut Bytes, out: &mut VecDeque<Bytes>) {
        if self.open == 0 {
            self.open = self.full();
            self.remaining = self.remaining.saturating_sub(self.open as u64);
            out.push_back(self.line(&[], self.open));
        }
        let part = data.split_to(data.len().min(self.open));
        self.open -= part.len();
        out.push_back(part);
        if self.open == 0 {
            out.push_back(Bytes::from_static(b"\r\n"));
        }
    }

    /// How much the chunk at hand will hold; never nothing, so that data always finds a place.
    fn full(&self) -> usize {
        usize::try_from(self.remaining).unwrap_or(CHUNK).clamp(1, CHUNK)
    }

    /// A chunk's line.
    fn line(&mut self, data: &[u8], length: usize) -> Bytes {
        let mut line = BytesMut::with_capacity(16 + SIGNATURE_FIELD + 2);
        line.extend_from_slice(format!("{length:x}").as_bytes());
        if let Some(chain) = &mut self.chain {
            line.extend_from_slice(b";chunk-signature=");
            line.extend_from_slice(&chain.chunk(data));
        }
        line.extend_from_slice(b"\r\n");
        line.freeze()
    }

    /// Ends the body with its trailers.
    pub fn end(&mut self, mut trailers: Vec<(HeaderName, HeaderValue)>, out: &mut VecDeque<Bytes>) {
        let last = self.line(&[], 0);
        let mut end = BytesMut::from(&*last);
        trailers.sort_unstable_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
        let mut canonical = Vec::new();
        for (name, value) in trailers {
            for part in [name.as_str().as_bytes(), b":", value.as_bytes()] {
                end.extend_from_slice(part);
                canonical.extend_from_slice(part);
            }
            end.extend_from_slice(b"\r\n");
            canonical.push(b'\n');
        }
        if let (true, Some(chain)) = (self.trailers, &mut self.chain) {
            end.extend_from_slice(b"x-amz-trailer-signature:");
            end.extend_from_slice(&chain.trailers(&canonical));
            end.extend_from_slice(b"\r\n");
        }
        end.put_slice(b"\r\n");
        out.push_back(end.freeze());
    }
}

/// Why a body could not be written anew.
#[derive(Debug, thiserror::Error)]
pub enum RechunkError<E> {
    /// The agent's body failed.
    #[error("the body could not be read")]
    Inner(#[source] E),
    /// The agent's chunks are malformed.
    #[error(transparent)]
    Chunks(ChunkFault),
}

/// A body in the agent's chunks, as ours.
#[derive(Debug)]
pub struct Rechunked<B> {
    inner: B,
    decoder: Decoder,
    encoder: Encoder,
    input: Bytes,
    out: VecDeque<Bytes>,
    length: Option<u64>,
    end: End,
}

/// The last chunk is held until the agent's body is over: what turns out malformed never arrives whole.
#[derive(Debug)]
enum End {
    Awaited,
    Held(Vec<(HeaderName, HeaderValue)>),
    Written,
}

impl<B> Rechunked<B> {
    /// Wraps the agent's body. The trailers are those that `x-amz-trailer` announces.
    pub fn new(inner: B, form: Form, decoded: u64, trailers: Vec<HeaderName>, chain: Option<Chain>) -> Self {
        let length = encoded_length(form, decoded, &trailers);
        Self {
            inner,
            decoder: Decoder::new(form, decoded, trailers),
            encoder: Encoder::new(form, decoded, chain),
            input: Bytes::new(),
            out: VecDeque::new(),
            length,
            end: End::Awaited,
        }
    }

    /// Turns input into output as far as it goes.
    fn turn(&mut self) -> Result<(), ChunkFault> {
        while let Some(piece) = self.decoder.next(&mut self.input)? {
            match piece {
                Piece::Data(data) => self.encoder.data(data, &mut self.out),
                Piece::End(trailers) => self.end = End::Held(trailers),
            }
        }
        Ok(())
    }

    /// The agent's body is over.
    fn finish(&mut self) -> Result<(), ChunkFault> {
        self.decoder.finish()?;
        if let End::Held(trailers) = std::mem::replace(&mut self.end, End::Written) {
            self.encoder.end(trailers, &mut self.out);
        }
        Ok(())
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Rechunked<B> {
    type Data = Bytes;
    type Error = RechunkError<B::Error>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RechunkError<B::Error>>>> {
        let this = &mut *self;
        loop {
            if let Some(bytes) = this.out.pop_front() {
                this.length = this.length.map(|left| left.saturating_sub(bytes.len() as u64));
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if matches!(this.end, End::Written) {
                return Poll::Ready(None);
            }
            let turned = match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                None => this.finish(),
                Some(Err(error)) => return Poll::Ready(Some(Err(RechunkError::Inner(error)))),
                Some(Ok(frame)) => frame.into_data().map_or(Ok(()), |data| {
                    this.input = data;
                    this.turn()
                }),
            };
            if let Err(fault) = turned {
                return Poll::Ready(Some(Err(RechunkError::Chunks(fault))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.end, End::Written) && self.out.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
