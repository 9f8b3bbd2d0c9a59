//! What does it cost to sign a request for AWS, and to sign a streamed body anew? Goals: 25 µs for a request; at least 70 % of
//! the plain SHA-256 rate for chunks (the group's first line; hashing is all that the signatures ask for).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use control::secret::Secret;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame};
use proxy::schemes::aws_sigv4::canonical::{PathRules, Unsigned, is_signed, signed_names};
use proxy::schemes::aws_sigv4::chunked::Form;
use proxy::schemes::aws_sigv4::key::{EcdsaKey, Keys, SigningKey};
use proxy::schemes::aws_sigv4::rechunk::{Chain, Rechunked};
use proxy::schemes::aws_sigv4::scope::Stamp;
use proxy::schemes::aws_sigv4::sign::{Signer, authorization, hash, signature};

const KEY_ID: &[u8] = b"AKIAIOSFODNN7EXAMPLE";
/// As boto3 sends them with a `GetObject`.
const HEADERS: [(&str, &str); 9] = [
    ("host", "bucket.s3.eu-west-1.amazonaws.com"),
    ("accept-encoding", "identity"),
    ("amz-sdk-invocation-id", "2f1f8e0c-7f5d-4b0e-9a53-0e3a6b6b8f0e"),
    ("amz-sdk-request", "attempt=1"),
    ("user-agent", "Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux#6.1 md/arch#x86_64 lang/python#3.11.7"),
    ("x-amz-checksum-mode", "ENABLED"),
    ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
    ("x-amz-date", "20130524T000000Z"),
    ("x-amz-expected-bucket-owner", "123456789012"),
];
const OBJECT: usize = 16 << 20;

fn main() {
    divan::main();
}

fn secret() -> Secret {
    Secret::new(b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_vec())
}

fn stamp() -> Stamp {
    Stamp::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_369_353_600)).expect("a moment")
}

fn headers() -> HeaderMap {
    HEADERS
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

fn sign(headers: &HeaderMap, signer: &Signer) -> usize {
    let names = signed_names(headers, is_signed);
    let unsigned = Unsigned {
        method: "GET",
        path: "/reports/2026/11/a%20report%20of%20some%20length.parquet",
        query: "partNumber=7&x-id=GetObject",
        host: "bucket.s3.eu-west-1.amazonaws.com",
        headers,
        payload: "UNSIGNED-PAYLOAD",
        path_rules: PathRules::S3,
    };
    let made = signature(signer, &stamp(), &unsigned, &names).expect("it signs");
    authorization(signer, KEY_ID, &names, &made).len()
}

#[divan::bench]
fn header_sigv4(bencher: Bencher) {
    let (headers, secret, keys) = (headers(), secret(), Keys::default());
    bencher.bench_local(|| {
        let key = keys.of(&secret, &stamp(), "eu-west-1", "s3").expect("it derives");
        sign(black_box(&headers), &Signer::Hmac(key))
    });
}

#[divan::bench]
fn header_sigv4a(bencher: Bencher) {
    let (headers, secret, keys) = (headers(), secret(), Keys::default());
    bencher.bench_local(|| {
        let key = keys.ecdsa(&secret, KEY_ID).expect("it derives");
        sign(black_box(&headers), &Signer::ecdsa(key, &stamp(), "s3", "*"))
    });
}

#[divan::bench]
fn derive_sigv4(bencher: Bencher) {
    let secret = secret();
    bencher.bench_local(|| SigningKey::derive(black_box(&secret), "20130524", "eu-west-1", "s3").is_ok());
}

#[divan::bench]
fn derive_sigv4a(bencher: Bencher) {
    let secret = secret();
    bencher.bench_local(|| EcdsaKey::derive(black_box(&secret), KEY_ID).is_ok());
}

/// Frames as hyper gives them.
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

/// An object in chunks of 1 MiB, as botocore sends it.
fn streamed(form: Form) -> VecDeque<Bytes> {
    let mark = if form.is_signed() { format!(";chunk-signature={:064}", 0) } else { String::new() };
    let data = vec![b'x'; 1 << 20];
    let mut body = Vec::with_capacity(OBJECT + 4096);
    for _ in 0..OBJECT >> 20 {
        body.extend_from_slice(format!("{:x}{mark}\r\n", data.len()).as_bytes());
        body.extend_from_slice(&data);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("0{mark}\r\n\r\n").as_bytes());
    let body = Bytes::from(body);
    (0..body.len()).step_by(16 << 10).map(|at| body.slice(at..body.len().min(at + (16 << 10)))).collect()
}

fn rechunk(bencher: Bencher, form: Form) {
    let frames = streamed(form);
    let key = Arc::new(SigningKey::derive(&secret(), "20130524", "eu-west-1", "s3").expect("it derives"));
    bencher.counter(BytesCount::new(OBJECT)).with_inputs(|| Frames(frames.clone())).bench_local_values(
        |frames| {
            let chain = form.is_signed().then(|| Chain::new(Arc::clone(&key), stamp(), [b'0'; 64]));
            let mut body = Rechunked::new(frames, form, OBJECT as u64, Vec::new(), chain);
            let mut cx = Context::from_waker(Waker::noop());
            let mut sent = 0;
            while let Poll::Ready(Some(frame)) = Pin::new(&mut body).poll_frame(&mut cx) {
                sent += frame.expect("it is well formed").into_data().map_or(0, |data| data.len());
            }
            assert!(sent > OBJECT);
        },
    );
}

#[divan::bench]
fn body_sha256_alone(bencher: Bencher) {
    let chunk = vec![b'x'; 64 << 10];
    bencher.counter(BytesCount::new(OBJECT)).bench_local(|| {
        (0..OBJECT / chunk.len()).map(|_| hash(black_box(&chunk))[0] as usize).sum::<usize>()
    });
}

#[divan::bench]
fn body_signed_chunks(bencher: Bencher) {
    rechunk(bencher, Form::Signed);
}

#[divan::bench]
fn body_unsigned_chunks(bencher: Bencher) {
    rechunk(bencher, Form::UnsignedTrailer);
}
