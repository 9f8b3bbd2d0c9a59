//! Frames are refused or passed with heads and lengths as they were, however they are cut; a payload never holds the secret.
//!
//! The first byte says how long chunks are; then 0x00 to 0x0f begins a text frame of that many bytes, and the byte 0x10 plants a
//! frame with the secret. All else is taken as it comes.
#![no_main]

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use proxy::request::scrub::coded::Decoding;
use proxy::request::scrub::frames::FrameScrubber;
use proxy::request::scrub::{Needle, Scanner, Search, Watch};
use tokio::time::Instant;

const SECRET: &[u8] = b"ghp_R4nd0mzYq7KwxT9v5L2b1N8s";

struct Deaf;

impl Watch for Deaf {
    fn found(&self, _needle: usize) {}
    fn event(&self, _needle: usize) {}
}

static SCANNER: LazyLock<Arc<Scanner>> = LazyLock::new(|| {
    let needle = Needle { value: SECRET, public_prefix: 4, basic_users: &[] };
    Arc::new(Scanner::compile(&[needle]).expect("the secret can be searched for"))
});

fuzz_target!(|input: &[u8]| {
    let Some((size, text)) = input.split_first() else { return };
    let wire: Vec<u8> = text.iter().flat_map(|byte| spelled(*byte)).collect();
    let mut scrubber = FrameScrubber::new(Search {
        scanner: SCANNER.clone(),
        watch: Arc::new(Deaf),
        decoding: Decoding::default(),
    });
    let mut out = Vec::new();
    for chunk in wire.chunks(usize::from(*size).max(1)) {
        let Ok(passed) = scrubber.push(Bytes::copy_from_slice(chunk), Instant::now()) else { break };
        out.extend_from_slice(&passed);
    }
    assert!(out.len() <= wire.len());
    assert!(
        out.iter().zip(&wire).all(|(now, then)| now == then || *now == b'*'),
        "more than masking was done"
    );
    for message in payloads(&out) {
        assert!(!message.windows(SECRET.len()).any(|part| part == SECRET), "the secret came through");
    }
});

/// What a client reads: the payload of each message, over its frames, and of each control frame. A head is no text: one whose
/// length spells the secret's beginning is not an echo.
fn payloads(mut wire: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut message = Vec::new();
    while let [first, second, rest @ ..] = wire {
        let width = match second {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some((extended, rest)) = rest.split_at_checked(width) else { break };
        let extended = extended.iter().fold(0_u64, |length, byte| (length << 8) | u64::from(*byte));
        let length = if width == 0 { u64::from(*second) } else { extended };
        let (payload, rest) = rest.split_at(rest.len().min(usize::try_from(length).unwrap_or(usize::MAX)));
        if first & 0x08 != 0 {
            all.push(payload.to_vec());
        } else {
            message.extend_from_slice(payload);
            if first & 0x80 != 0 {
                all.push(std::mem::take(&mut message));
            }
        }
        wire = rest;
    }
    all.push(message);
    all
}

fn spelled(byte: u8) -> Vec<u8> {
    match byte {
        0x00..=0x0f => vec![0x81, byte],
        0x10 => [&[0x81, SECRET.len() as u8], SECRET].concat(),
        other => vec![other],
    }
}
