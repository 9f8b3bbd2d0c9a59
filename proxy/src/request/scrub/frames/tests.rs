use std::sync::Arc;

use super::super::coded::Decoding;
use super::super::masker::HOLD;
use super::super::tests::{Counted, PREFIX, SECRET, scanner};
use super::*;

fn scrubber() -> (FrameScrubber, Arc<Counted>) {
    let watch = Arc::new(Counted::default());
    (
        FrameScrubber::new(Search {
            scanner: scanner(SECRET),
            watch: watch.clone(),
            decoding: Decoding::default(),
        }),
        watch,
    )
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        short @ 0..126 => out.push(u8::try_from(short).unwrap()),
        middle @ 126..0x1_0000 => {
            out.push(126);
            out.extend_from_slice(&u16::try_from(middle).unwrap().to_be_bytes());
        }
        long => {
            out.push(127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out
}

fn through(chunks: &[&[u8]]) -> Result<Vec<u8>, FrameError> {
    let (mut scrubber, _) = scrubber();
    let mut out = Vec::new();
    for chunk in chunks {
        out.extend_from_slice(&scrubber.push(Bytes::copy_from_slice(chunk), Instant::now())?);
    }
    Ok(out)
}

#[test]
fn refuses_broken_frames() {
    let long = [&[0x82, 126, 0, 125][..], &[0; 125]].concat();
    let broken: [&[u8]; 15] = [
        b"\xc1\x01x",
        b"\xa1\x01x",
        b"\x91\x01x",
        b"\x83\x01x",
        b"\x8b\x00",
        b"\x81\x81\0\0\0\0x",
        b"\x09\x00",
        b"\x89\x7e\x00\x7e",
        b"\x80\x01x",
        b"\x80\x00",
        b"\x01\x01x\x81\x01y",
        &long,
        b"\x82\x7f\0\0\0\0\0\0\xff\xff",
        b"\x82\x7f\x80\0\0\0\0\0\0\0",
        b"\x88\x00\x81\x01x",
    ];
    for bytes in broken {
        assert!(matches!(through(&[bytes]), Err(FrameError::Broken(_))), "{bytes:x?}");
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert!(matches!(through(&single), Err(FrameError::Broken(_))), "{bytes:x?}");
    }
}

#[test]
fn the_longest_control_frame_and_the_largest_length_pass() {
    let ping = frame(0x89, &[b'x'; 125]);
    assert_eq!(through(&[&ping]).unwrap(), ping);
    let head = b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff";
    assert_eq!(through(&[head]).unwrap(), head);
}

fn session() -> (Vec<u8>, Vec<u8>) {
    let stars = "*".repeat(SECRET.len());
    let long = |text: &[u8]| [&[b'x'; 300][..], text, &[b'y'; 70_000]].concat();
    let (one, two) = SECRET.split_at(11);
    // Seven bytes beyond the prefix are forwarded with their frame; the rest is masked with the next one.
    let hidden_two = &stars.as_bytes()[11..];
    let build = |secret: &[u8], one: &[u8], two: &[u8]| {
        [
            frame(0x81, b"hello"),
            frame(0x82, &long(secret)),
            frame(0x89, secret),
            frame(0x01, &[b"a", one].concat()),
            frame(0x8a, b"pong"),
            frame(0x00, b""),
            frame(0x80, &[two, b"b"].concat()),
            frame(0x81, b""),
            frame(0x88, &[b"\x03\xe8", secret].concat()),
        ]
        .concat()
    };
    (build(SECRET, one, two), build(stars.as_bytes(), one, hidden_two))
}

#[test]
fn masks_payloads_and_leaves_heads_alone() {
    let (sent, expected) = session();
    for size in [sent.len(), 1000, 997] {
        let chunks: Vec<&[u8]> = sent.chunks(size).collect();
        let out = through(&chunks).unwrap();
        assert_eq!(out.len(), expected.len());
        assert!(out == expected, "{size}");
    }
}

#[test]
fn no_split_lets_a_value_through() {
    let (one, two) = SECRET.split_at(13);
    let sent = [frame(0x01, one), frame(0x89, b"ping"), frame(0x80, two), frame(0x81, b"after")].concat();
    for cut in 0..sent.len() {
        let out = through(&[&sent[..cut], &sent[cut..]]).unwrap();
        assert_eq!(out.len(), sent.len());
        // From eight bytes beyond the prefix on nothing is forwarded, and what follows a released beginning is masked.
        let shown = out.windows(SECRET[13..].len()).any(|window| window == &SECRET[13..]);
        assert!(!shown, "{cut}");
        assert!(out.ends_with(&frame(0x81, b"after")));
    }
}

#[test]
fn a_beginning_of_a_value_is_held_with_what_follows_it() {
    let (mut scrubber, watch) = scrubber();
    let now = Instant::now();
    let begun = frame(0x01, &SECRET[..PREFIX + 9]);
    assert_eq!(scrubber.push(Bytes::from(begun), now).unwrap(), [0x01, 13][..]);
    assert_eq!(scrubber.deadline(), Some(now + HOLD));
    assert_eq!(scrubber.push(Bytes::from(frame(0x89, b"p")), now).unwrap(), "");
    assert!(matches!(scrubber.expire(), FrameError::Scrub(ScrubError::Held)));
    drop(scrubber);
    assert_eq!(watch.events(), 1);
}

#[test]
fn the_end_of_a_message_is_the_end_of_a_beginning() {
    let (mut scrubber, watch) = scrubber();
    let sent = [frame(0x81, &SECRET[..PREFIX + 9]), frame(0x81, &SECRET[PREFIX + 9..])].concat();
    let out = scrubber.push(Bytes::from(sent), Instant::now()).unwrap();
    assert_eq!(out, [frame(0x81, &[b'*'; PREFIX + 9]), frame(0x81, &SECRET[PREFIX + 9..])].concat());
    assert_eq!(watch.events(), 1);
}
