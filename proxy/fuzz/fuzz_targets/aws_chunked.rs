//! An aws-chunked body is refused or read the same however it is cut; what is written anew holds the same data, as long as promised.
//!
//! The first byte names the form, the second how the input is cut, the third how much data was promised; in the rest, the
//! byte 0x01 plants a chunk signature, 0x02 the announced trailer and 0x03 CR LF.
#![no_main]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderName;
use http_body::{Body, Frame};
use libfuzzer_sys::fuzz_target;
use proxy::schemes::aws_sigv4::chunked::{ChunkFault, Decoder, Form, Piece, announced};
use proxy::schemes::aws_sigv4::rechunk::Rechunked;

const SIGNATURE: &[u8] = b";chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497";
const TRAILER: &[u8] = b"x-amz-checksum-crc32c:sOO8/Q==\r\n";

fuzz_target!(|input: &[u8]| {
    let [form, cut, promised, text @ ..] = input else { return };
    let form = [Form::Signed, Form::SignedTrailer, Form::UnsignedTrailer][usize::from(*form) % 3];
    let (cut, promised) = (usize::from(*cut).max(1), u64::from(*promised));
    let wire: Vec<u8> = text.iter().flat_map(|byte| spelled(*byte)).collect();
    let trailers = announced("x-amz-checksum-crc32c").expect("it is a checksum's name");
    let whole = read(form, promised, &trailers, &wire, wire.len());
    assert_eq!(read(form, promised, &trailers, &wire, cut), whole, "cut by {cut} it reads differently");
    assert!(whole.as_ref().map_or(true, |data| data.len() as u64 == promised));
    if form != Form::UnsignedTrailer {
        return;
    }
    let anew = rewritten(form, promised, &trailers, &wire, cut);
    assert_eq!(anew.is_some(), whole.is_ok(), "reader and writer disagree");
    if let (Some(anew), Ok(data)) = (anew, whole) {
        assert_eq!(read(form, promised, &trailers, &anew, cut), Ok(data), "written anew it differs");
    }
});

fn read(
    form: Form,
    promised: u64,
    trailers: &[HeaderName],
    wire: &[u8],
    cut: usize,
) -> Result<Vec<u8>, ChunkFault> {
    let mut decoder = Decoder::new(form, promised, trailers.to_vec());
    let mut data = Vec::new();
    for part in wire.chunks(cut.max(1)) {
        let mut part = Bytes::copy_from_slice(part);
        while let Some(piece) = decoder.next(&mut part)? {
            if let Piece::Data(bytes) = piece {
                data.extend_from_slice(&bytes);
            }
        }
    }
    decoder.finish().map(|()| data)
}

struct Frames(VecDeque<Bytes>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// The body as it would be sent, if it is well formed.
fn rewritten(form: Form, promised: u64, trailers: &[HeaderName], wire: &[u8], cut: usize) -> Option<Vec<u8>> {
    let frames = Frames(wire.chunks(cut).map(Bytes::copy_from_slice).collect());
    let mut body = Rechunked::new(frames, form, promised, trailers.to_vec(), None);
    let length = body.size_hint().exact().expect("the length of this trailer is known");
    let mut cx = Context::from_waker(Waker::noop());
    let mut out = Vec::new();
    while let Poll::Ready(Some(frame)) = Pin::new(&mut body).poll_frame(&mut cx) {
        out.extend_from_slice(&frame.ok()?.into_data().unwrap_or_default());
    }
    assert_eq!(out.len() as u64, length, "it is not as long as promised");
    Some(out)
}

fn spelled(byte: u8) -> Vec<u8> {
    match byte {
        0x01 => SIGNATURE.to_vec(),
        0x02 => TRAILER.to_vec(),
        0x03 => b"\r\n".to_vec(),
        other => vec![other],
    }
}
