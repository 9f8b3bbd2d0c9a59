//! How fast is an answer searched for the credential in all its spellings?

use std::sync::Arc;

use bytes::Bytes;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use proxy::request::scrub::{Extent, Masker, Needle, Scanner, Watch};
use tokio::time::Instant;

const VALUE: &[u8] = b"ghp_R4nd0mzYq7KwxT9v5L2b1N8sQq3Zz0";
const CHUNKS: [usize; 3] = [190, 16 * 1024, 256 * 1024];

fn main() {
    divan::main();
}

struct Nobody;

impl Watch for Nobody {
    fn found(&self, _needle: usize) {}
    fn event(&self, _needle: usize) {}
}

fn scanner() -> Arc<Scanner> {
    let needle = Needle { value: VALUE, public_prefix: 4, basic_users: &[b"x-access-token"] };
    Arc::new(Scanner::compile(&[needle]).expect("the value can be searched for"))
}

/// A stream of such chunks: the search's state is made once for each stream, as it is for each answer.
fn stream(bencher: Bencher, text: Vec<u8>) {
    let (scanner, watch, text) = (scanner(), Arc::new(Nobody), Bytes::from(text));
    bencher.counter(BytesCount::new(text.len())).bench_local(|| {
        let mut masker = Masker::new(scanner.clone(), watch.clone(), Extent::Whole);
        masker.push(black_box(text.clone()), Instant::now())
    });
}

fn repeated(part: &[u8], size: usize) -> Vec<u8> {
    part.iter().copied().cycle().take(size).collect()
}

#[divan::bench]
fn compile(bencher: Bencher) {
    bencher.bench_local(scanner);
}

#[divan::bench(args = CHUNKS)]
fn json(bencher: Bencher, size: usize) {
    stream(
        bencher,
        repeated(br#"{"id":42,"name":"doorward","tags":["egress","proxy"],"stars":1024,"open":true},"#, size),
    );
}

/// Each escape has to be read.
#[divan::bench(args = CHUNKS)]
fn escapes(bencher: Bencher, size: usize) {
    stream(
        bencher,
        repeated(br#"{"path":"C:\\users\\a","html":"\u003cb\u003e","url":"a%20b%2Fc","q":"\"x\""},"#, size),
    );
}

#[divan::bench(args = CHUNKS)]
fn base64(bencher: Bencher, size: usize) {
    stream(
        bencher,
        repeated(b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAA", size),
    );
}

/// Bytes without any order, as of an image or an archive (xorshift64).
#[divan::bench(args = CHUNKS)]
fn binary(bencher: Bencher, size: usize) {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let bytes = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    });
    stream(bencher, bytes.take(size).collect());
}
