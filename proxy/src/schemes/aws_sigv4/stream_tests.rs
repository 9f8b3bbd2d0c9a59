//! Streamed payloads: refusals first, AWS' documented examples, and that it does not matter how the input is cut.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use control::secret::Secret;
use http::HeaderName;
use http_body::{Body, Frame};
use proptest::prelude::*;

use super::chunked::{ChunkFault, Decoder, Form, Piece, announced};
use super::key::SigningKey;
use super::payload::{PayloadError, PayloadFault, Stream};
use super::rechunk::{CHUNK, Chain, RechunkError, Rechunked, encoded_length};
use super::scope::Stamp;
use super::sign::hash;

const SIG: &str = "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497";

fn crc() -> Vec<HeaderName> {
    announced("x-amz-checksum-crc32c").unwrap()
}

/// Reads a body in pieces of this size: its data and trailers.
fn read(
    form: Form,
    decoded: u64,
    trailers: &[HeaderName],
    body: &[u8],
    cut: usize,
) -> Result<(Vec<u8>, Vec<String>), ChunkFault> {
    let mut decoder = Decoder::new(form, decoded, trailers.to_vec());
    let (mut data, mut ended) = (Vec::new(), Vec::new());
    for part in body.chunks(cut.max(1)) {
        let mut part = Bytes::copy_from_slice(part);
        while let Some(piece) = decoder.next(&mut part)? {
            match piece {
                Piece::Data(bytes) => data.extend_from_slice(&bytes),
                Piece::End(all) => {
                    ended = all
                        .iter()
                        .map(|(name, value)| format!("{name}:{}", value.to_str().unwrap()))
                        .collect();
                }
            }
        }
    }
    decoder.finish()?;
    Ok((data, ended))
}

#[test]
fn refuses_every_malformed_framing_however_it_is_cut() {
    let signed = |text: &str| text.replace("SIG", &format!("chunk-signature={SIG}"));
    let long = format!("{};x\r\n", "a".repeat(600));
    for (form, length, body, fault) in [
        (Form::UnsignedTrailer, 3, "3\nabc\r\n0\r\n\r\n", ChunkFault::Line),
        (Form::UnsignedTrailer, 3, "3\r\nabc\n0\r\n\r\n", ChunkFault::Line),
        (Form::UnsignedTrailer, 3, "3\r\nabcd\r\n0\r\n\r\n", ChunkFault::Line),
        (Form::UnsignedTrailer, 3, "3\r\nab\r\n0\r\n\r\n", ChunkFault::Line),
        (Form::UnsignedTrailer, 3, "3\r\r\nabc\r\n0\r\n\r\n", ChunkFault::Line),
        (Form::UnsignedTrailer, 3, &long, ChunkFault::Line),
        (Form::UnsignedTrailer, 3, "3 \r\nabc\r\n0\r\n\r\n", ChunkFault::Length),
        (Form::UnsignedTrailer, 3, " 3\r\nabc\r\n0\r\n\r\n", ChunkFault::Length),
        (Form::UnsignedTrailer, 3, "+3\r\nabc\r\n0\r\n\r\n", ChunkFault::Length),
        (Form::UnsignedTrailer, 3, "0x3\r\nabc\r\n0\r\n\r\n", ChunkFault::Length),
        (Form::UnsignedTrailer, 3, "-3\r\nabc\r\n0\r\n\r\n", ChunkFault::Length),
        (Form::UnsignedTrailer, 3, "\r\nabc\r\n0\r\n\r\n", ChunkFault::Length),
        (Form::UnsignedTrailer, 3, "00000000000000003\r\nabc\r\n0\r\n\r\n", ChunkFault::Length),
        (Form::UnsignedTrailer, 3, "ffffffffffffffff\r\nabc\r\n", ChunkFault::Decoded),
        (Form::UnsignedTrailer, 3, "4\r\nabcd\r\n0\r\n\r\n", ChunkFault::Decoded),
        (Form::UnsignedTrailer, 3, "2\r\nab\r\n0\r\n\r\n", ChunkFault::Decoded),
        (Form::UnsignedTrailer, 3, "2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n", ChunkFault::Decoded),
        (Form::UnsignedTrailer, 3, "3;x=y\r\nabc\r\n0\r\n\r\n", ChunkFault::Signature),
        (Form::UnsignedTrailer, 3, &signed("3;SIG\r\nabc\r\n0;SIG\r\n\r\n"), ChunkFault::Signature),
        (Form::Signed, 3, "3\r\nabc\r\n0\r\n\r\n", ChunkFault::Signature),
        (Form::Signed, 3, "3;chunk-signature=00\r\nabc\r\n", ChunkFault::Signature),
        (Form::Signed, 3, &signed("3;SIG;SIG\r\nabc\r\n"), ChunkFault::Signature),
        (Form::Signed, 3, &signed("3; SIG\r\nabc\r\n"), ChunkFault::Signature),
        (Form::Signed, 3, &signed("3;SIGg\r\nabc\r\n"), ChunkFault::Signature),
        (Form::Signed, 3, &signed("3;SIG\r\nabc\r\n0;SIG\r\na:b\r\n\r\n"), ChunkFault::Trailer),
        (Form::Signed, 3, &signed("3;SIG\r\nabc\r\n0;SIG\r\n\r\nx"), ChunkFault::Surplus),
        (Form::Signed, 3, &signed("3;SIG\r\nabc\r\n0;SIG\r\n"), ChunkFault::Early),
        (Form::Signed, 3, &signed("3;SIG\r\nab"), ChunkFault::Early),
        (Form::Signed, 3, "", ChunkFault::Early),
    ] {
        for cut in [1, 2, 3, 7, body.len().max(1)] {
            assert_eq!(read(form, length, &[], body.as_bytes(), cut), Err(fault), "{body:?} in {cut}s");
        }
    }
}

#[test]
fn refuses_trailers_that_were_not_announced_or_have_two_readings() {
    let end = format!("x-amz-trailer-signature:{SIG}\r\n");
    for (form, trailers) in [
        (Form::UnsignedTrailer, ""),
        (Form::UnsignedTrailer, "x-amz-checksum-crc32:AAAAAA==\r\n"),
        (Form::UnsignedTrailer, "x-amz-checksum-crc32c:AAAAAA==\r\nx-amz-checksum-crc32c:AAAAAA==\r\n"),
        (Form::UnsignedTrailer, "x-amz-checksum-crc32c:AAAAAA==\r\nx-amz-meta-a:b\r\n"),
        (Form::UnsignedTrailer, "x-amz-checksum-crc32c\r\n"),
        (Form::UnsignedTrailer, "x-amz-checksum-crc32c:\r\n"),
        (Form::UnsignedTrailer, "x-amz-checksum-crc32c:AAAAA==\r\n"),
        (Form::UnsignedTrailer, "x-amz-checksum-crc32c:x-amz-checksum-crc32c:AAAAAA==\r\n"),
        (Form::UnsignedTrailer, "x-amz-checksum-crc32c :AAAAAA==\r\n"),
        (Form::UnsignedTrailer, "x-amz-checksum-crc32c:AAA AAA==\r\n"),
        (Form::UnsignedTrailer, " x-amz-checksum-crc32c:AAAAAA==\r\n"),
        (Form::UnsignedTrailer, &format!("x-amz-checksum-crc32c:AAAAAA==\r\n{end}")),
        (Form::SignedTrailer, "x-amz-checksum-crc32c:AAAAAA==\r\n"),
        (Form::SignedTrailer, &format!("{end}x-amz-checksum-crc32c:AAAAAA==\r\n")),
        (Form::SignedTrailer, &format!("x-amz-checksum-crc32c:AAAAAA==\r\n{end}{end}")),
        (Form::SignedTrailer, "x-amz-checksum-crc32c:AAAAAA==\r\nx-amz-trailer-signature:00\r\n"),
    ] {
        let chunk = if form.is_signed() { format!(";chunk-signature={SIG}") } else { String::new() };
        let body = format!("0{chunk}\r\n{trailers}\r\n");
        for cut in [1, 5, body.len()] {
            assert_eq!(read(form, 0, &crc(), body.as_bytes(), cut), Err(ChunkFault::Trailer), "{body:?}");
        }
    }
    for bad in [
        "",
        "a b",
        "content-length",
        "x-amz-checksum-crc32,",
        "x-amz-checksum-crc32,x-amz-checksum-crc32",
        "x-amz-meta-a",
    ] {
        assert!(announced(bad).is_err(), "{bad:?}");
    }
    assert_eq!(announced("X-Amz-Checksum-CRC32C , x-amz-checksum-sha1").unwrap().len(), 2);
}

/// Frames as an agent's connection gives them.
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

fn frames(body: &[u8], cut: usize) -> Frames {
    Frames(body.chunks(cut.max(1)).map(Bytes::copy_from_slice).collect())
}

fn drained<B: Body<Data = Bytes> + Unpin>(mut body: B) -> Result<Vec<u8>, B::Error> {
    let mut out = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    let hint = body.size_hint().exact();
    while let Poll::Ready(Some(frame)) = Pin::new(&mut body).poll_frame(&mut cx) {
        out.extend_from_slice(&frame?.into_data().unwrap());
    }
    assert!(body.is_end_stream());
    assert!(hint.is_none_or(|hint| hint == out.len() as u64), "{hint:?} was promised, {} came", out.len());
    Ok(out)
}

fn chain(seed: &str) -> Chain {
    let secret = Secret::new(b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_vec());
    let key = Arc::new(SigningKey::derive(&secret, "20130524", "us-east-1", "s3").unwrap());
    let stamp = Stamp::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_369_353_600)).unwrap();
    Chain::new(key, stamp, seed.as_bytes().try_into().unwrap())
}

/// 66,560 letters, as an agent with dummy keys sends them: chunks of this size.
fn agents(form: Form, size: usize, trailer: &str) -> Vec<u8> {
    let mark = if form.is_signed() { format!(";chunk-signature={SIG}") } else { String::new() };
    let mut body = Vec::new();
    for chunk in vec![b'a'; 66_560].chunks(size) {
        body.extend_from_slice(format!("{:x}{mark}\r\n", chunk.len()).as_bytes());
        body.extend_from_slice(chunk);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("0{mark}\r\n{trailer}\r\n").as_bytes());
    body
}

fn expected(signatures: [&str; 3], trailer: &str) -> Vec<u8> {
    let [first, second, third] = signatures;
    let mut out = format!("10000;chunk-signature={first}\r\n").into_bytes();
    out.extend_from_slice(&[b'a'; 65_536]);
    out.extend_from_slice(format!("\r\n400;chunk-signature={second}\r\n").as_bytes());
    out.extend_from_slice(&[b'a'; 1024]);
    out.extend_from_slice(format!("\r\n0;chunk-signature={third}\r\n{trailer}\r\n").as_bytes());
    out
}

/// docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
#[test]
fn the_chunked_example_of_the_s3_documentation() {
    let expected = expected(
        [
            "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
            "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
        ],
        "",
    );
    assert_eq!(expected.len(), 66_824);
    for (size, cut) in [(65_536, 100_000), (65_536, 1), (8192, 1000), (1, 16_384), (66_560, 65_537)] {
        let seed = chain("4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9");
        let agents = agents(Form::Signed, size, "");
        let body = Rechunked::new(frames(&agents, cut), Form::Signed, 66_560, vec![], Some(seed));
        assert!(drained(body).unwrap() == expected, "chunks of {size}, cut by {cut}");
    }
}

/// docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
#[test]
fn the_trailer_example_of_the_s3_documentation() {
    let expected = expected(
        [
            "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
            "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
            "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
        ],
        "x-amz-checksum-crc32c:sOO8/Q==\r\n\
         x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n",
    );
    let trailer = format!("x-amz-checksum-crc32c: sOO8/Q==\r\nx-amz-trailer-signature:{SIG}\r\n");
    for (size, cut) in [(65_536, 100_000), (1000, 77)] {
        let seed = chain("106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e");
        let agents = agents(Form::SignedTrailer, size, &trailer);
        let body = Rechunked::new(frames(&agents, cut), Form::SignedTrailer, 66_560, crc(), Some(seed));
        assert!(drained(body).unwrap() == expected, "chunks of {size}, cut by {cut}");
    }
}

#[test]
fn unsigned_chunks_become_ours_with_their_trailer() {
    let trailer = "x-amz-checksum-crc32c:sOO8/Q==\r\n";
    let expected = agents(Form::UnsignedTrailer, CHUNK, trailer);
    for (size, cut) in [(65_536, 100_000), (1000, 77), (1, 9)] {
        let agents = agents(Form::UnsignedTrailer, size, trailer);
        let body = Rechunked::new(frames(&agents, cut), Form::UnsignedTrailer, 66_560, crc(), None);
        assert!(drained(body).unwrap() == expected, "chunks of {size}, cut by {cut}");
    }
}

#[test]
fn an_object_of_no_bytes_is_one_last_chunk() {
    let agents = format!("0;chunk-signature={SIG}\r\n\r\n");
    let body = Rechunked::new(frames(agents.as_bytes(), 3), Form::Signed, 0, vec![], Some(chain(SIG)));
    let out = String::from_utf8(drained(body).unwrap()).unwrap();
    assert!(out.starts_with("0;chunk-signature=") && out.ends_with("\r\n\r\n") && out.len() == 86, "{out:?}");
}

#[test]
fn what_turns_out_malformed_never_arrives_whole() {
    for (end, fault) in
        [("", ChunkFault::Early), ("0\r\n\r\nx", ChunkFault::Surplus), ("0\r\n", ChunkFault::Early)]
    {
        for cut in [1, 100] {
            let agents = format!("3\r\nabc\r\n{end}");
            let mut body =
                Rechunked::new(frames(agents.as_bytes(), cut), Form::UnsignedTrailer, 3, vec![], None);
            let mut cx = Context::from_waker(Waker::noop());
            let mut out = Vec::new();
            let error = loop {
                match Pin::new(&mut body).poll_frame(&mut cx) {
                    Poll::Ready(Some(Ok(frame))) => out.extend_from_slice(&frame.into_data().unwrap()),
                    Poll::Ready(Some(Err(error))) => break error,
                    Poll::Ready(None) | Poll::Pending => panic!("it ended after {out:?}"),
                }
            };
            assert!(matches!(error, RechunkError::Chunks(found) if found == fault), "{error:?}");
            assert!(!String::from_utf8_lossy(&out).contains("\r\n0\r\n"), "{out:?}");
        }
    }
}

#[test]
fn a_body_with_another_hash_than_was_signed_never_arrives_whole() {
    for cut in [1, 2, 100] {
        let mut body = Stream::Checked(hash(b"the one")).of(frames(b"another", cut));
        let mut cx = Context::from_waker(Waker::noop());
        let mut out = Vec::new();
        let error = loop {
            match Pin::new(&mut body).poll_frame(&mut cx) {
                Poll::Ready(Some(Ok(frame))) => out.extend_from_slice(&frame.into_data().unwrap()),
                Poll::Ready(Some(Err(error))) => break error,
                Poll::Ready(None) | Poll::Pending => panic!("it ended after {out:?}"),
            }
        };
        assert!(matches!(error, PayloadError::Fault(PayloadFault::Hash)), "{error:?}");
        assert!(out.len() < 7, "{out:?}");
        let body = Stream::Checked(hash(b"the one")).of(frames(b"the one", cut));
        assert_eq!(drained(body).unwrap(), b"the one");
    }
    assert_eq!(Stream::Checked(hash(b"x")).allows_nothing(), Err(PayloadFault::Hash));
    assert_eq!(Stream::Checked(hash(b"")).allows_nothing(), Ok(()));
}

#[test]
fn the_length_is_known_beforehand_or_not_promised() {
    assert_eq!(encoded_length(Form::Signed, 66_560, &[]), Some(66_824));
    assert_eq!(encoded_length(Form::UnsignedTrailer, 0, &[]), Some(5));
    assert_eq!(encoded_length(Form::UnsignedTrailer, 0, &announced("x-amz-checksum-new").unwrap()), None);
    assert_eq!(encoded_length(Form::Signed, u64::MAX, &[]), None);
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic_and_never_more_data_than_promised(body: Vec<u8>, cut in 1..9_usize, promised in 0..64_u64) {
        for form in [Form::Signed, Form::SignedTrailer, Form::UnsignedTrailer] {
            if let Ok((data, _)) = read(form, promised, &crc(), &body, cut) {
                prop_assert_eq!(data.len() as u64, promised);
            }
        }
    }

    #[test]
    fn it_does_not_matter_where_the_input_is_cut(
        text in "(0|1|3|a|;chunk-signature=|\r\n|\n|x-amz-checksum-crc32c:AAAAAA==|[0-9a-f]{64}|.){0,24}",
        length in 0..6_u64,
        at in 0..200_usize,
    ) {
        for form in [Form::Signed, Form::SignedTrailer, Form::UnsignedTrailer] {
            let whole = read(form, length, &crc(), text.as_bytes(), text.len());
            prop_assert_eq!(&read(form, length, &crc(), text.as_bytes(), 1), &whole);
            prop_assert_eq!(&read(form, length, &crc(), text.as_bytes(), at), &whole);
        }
    }

    #[test]
    fn written_anew_it_holds_the_same_data(data in proptest::collection::vec(any::<u8>(), 0..70_000), size in 1..70_000_usize, cut in 1..20_000_usize) {
        let mut agents = Vec::new();
        for chunk in data.chunks(size) {
            agents.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
            agents.extend_from_slice(chunk);
            agents.extend_from_slice(b"\r\n");
        }
        agents.extend_from_slice(b"00\r\nx-amz-checksum-crc32c:AAAAAA==\r\n\r\n");
        let body = Rechunked::new(frames(&agents, cut), Form::UnsignedTrailer, data.len() as u64, crc(), None);
        let out = drained(body).unwrap();
        let again = read(Form::UnsignedTrailer, data.len() as u64, &crc(), &out, cut).unwrap();
        prop_assert_eq!(again.0, data);
        prop_assert_eq!(again.1, ["x-amz-checksum-crc32c:AAAAAA=="]);
    }
}
