use std::io::Write;

use proptest::prelude::*;

use super::super::tests::{Counted, PREFIX, SECRET, scanner};
use super::*;

mod turns;

const ALL: [Coding; 4] = [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd];

/// Encodes the parts, with a flush after each.
fn encode(coding: Coding, parts: &[&[u8]]) -> Vec<u8> {
    fn flushed<W: Write>(mut to: W, parts: &[&[u8]]) -> W {
        for part in parts {
            to.write_all(part).unwrap();
            to.flush().unwrap();
        }
        to
    }
    let level = flate2::Compression::default();
    match coding {
        Coding::Gzip => flushed(flate2::write::GzEncoder::new(Vec::new(), level), parts).finish().unwrap(),
        Coding::Deflate => {
            flushed(flate2::write::ZlibEncoder::new(Vec::new(), level), parts).finish().unwrap()
        }
        Coding::Brotli => {
            flushed(::brotli::CompressorWriter::new(Vec::new(), 4096, 5, 20), parts).into_inner()
        }
        Coding::Zstd => {
            flushed(::zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap(), parts).finish().unwrap()
        }
    }
}

fn coded(coding: Coding) -> (Coded, Arc<Counted>) {
    let watch = Arc::new(Counted::default());
    (Coded::new(coding, scanner(SECRET), watch.clone(), Decoding::default()).unwrap(), watch)
}

fn through(coding: Coding, chunks: &[&[u8]]) -> Result<Vec<u8>, ScrubError> {
    through_this(coded(coding).0, chunks)
}

fn through_this(mut coded: Coded, chunks: &[&[u8]]) -> Result<Vec<u8>, ScrubError> {
    let mut out = Vec::new();
    for chunk in chunks {
        out.extend_from_slice(&coded.push(Bytes::copy_from_slice(chunk), Instant::now())?);
    }
    out.extend_from_slice(&coded.finish()?);
    Ok(out)
}

fn text() -> Vec<u8> {
    (0..700u32)
        .flat_map(|n| format!("{{\"n\":{n},\"h\":{}}}\n", n.wrapping_mul(2_654_435_761)).into_bytes())
        .collect()
}

/// Decodes with turns of this size; the number of turns that were needed.
fn in_turns(coded: &mut Coded, body: &[u8], size: usize) -> Result<(Vec<u8>, usize), ScrubError> {
    let (mut out, mut turns) = (Vec::new(), 0);
    coded.begin(Bytes::copy_from_slice(body), Instant::now())?;
    while coded.is_busy() {
        turns += 1;
        let before = coded.decoded;
        let mut left = size;
        if let Some(released) = coded.turn(&mut left, Instant::now())? {
            out.extend_from_slice(&released);
        }
        assert!(coded.decoded - before <= (size + PIECE) as u64, "a turn of {}", coded.decoded - before);
    }
    out.extend_from_slice(&coded.finish()?);
    Ok((out, turns))
}

#[test]
fn refuses_several_and_unknown_codings() {
    for values in [&["br, gzip"][..], &["gzip", "gzip"], &["compress"], &["aes128gcm"], &["dcb"]] {
        let headers = values.iter().map(|v| (CONTENT_ENCODING, v.parse().unwrap())).collect();
        assert!(matches!(Coding::of(&headers), Err(ScrubError::UnknownCoding)), "{values:?}");
    }
    for (values, coding) in [
        (&["X-GZip"][..], Some(Coding::Gzip)),
        (&["deflate"], Some(Coding::Deflate)),
        (&["br"], Some(Coding::Brotli)),
        (&["identity", "zstd"], Some(Coding::Zstd)),
        (&[""], None),
    ] {
        let headers = values.iter().map(|v| (CONTENT_ENCODING, v.parse().unwrap())).collect();
        assert_eq!(Coding::of(&headers).unwrap(), coding);
    }
}

#[test]
fn cuts_at_a_value_before_any_byte_that_tells_it() {
    for coding in ALL {
        let before = text();
        for planted in
            [SECRET.to_vec(), SECRET.iter().map(|b| format!("%{b:02x}")).collect::<String>().into_bytes()]
        {
            let body = encode(coding, &[&before, &planted, &before]);
            for size in [1, 7, 1000, body.len()] {
                let (mut coded, watch) = coded(coding);
                let mut out = Vec::new();
                let mut result = Ok(());
                for chunk in body.chunks(size) {
                    match coded.push(Bytes::copy_from_slice(chunk), Instant::now()) {
                        Ok(released) => out.extend_from_slice(&released),
                        Err(error) => {
                            result = Err(error);
                            break;
                        }
                    }
                }
                assert!(matches!(result, Err(ScrubError::Echoed)), "{coding:?} {size} {result:?}");
                assert_eq!(watch.found(), 1);
                let seen = decodable(coding, &out);
                let told = seen.strip_prefix(&before[..]).unwrap_or_default();
                assert!(told.len() < PREFIX * 3 + 8 * 3, "{coding:?} {size}: {}", told.len());
            }
        }
    }
}

/// All that an agent can read from the beginning of a coded body.
fn decodable(coding: Coding, coded: &[u8]) -> Vec<u8> {
    struct Seen(Vec<u8>);
    impl Sink for Seen {
        fn take(&mut self, text: &[u8]) -> Result<Turn, CodedError> {
            self.0.extend_from_slice(text);
            Ok(Turn::On)
        }

        fn window(&mut self, _bytes: u64) -> Result<(), CodedError> {
            Ok(())
        }
    }
    let mut seen = Seen(Vec::new());
    Decoder::new(coding).unwrap().feed(coded, &mut seen).ok();
    seen.0
}

#[test]
fn passes_clean_bodies_in_any_chunks() {
    for coding in ALL {
        let body = encode(coding, &[&text(), b"", &text()]);
        for size in [1, 2, 13, 4096, body.len()] {
            let chunks: Vec<&[u8]> = body.chunks(size).collect();
            assert_eq!(through(coding, &chunks).unwrap(), body, "{coding:?} {size}");
        }
    }
}

#[test]
fn passes_each_flushed_event_at_once() {
    for coding in ALL {
        let events: Vec<String> =
            (0..50).map(|n| format!("data: {{\"n\":{n},\"{}\":1}}\n\n", "x".repeat(n % 7))).collect();
        let mut ends = Vec::new();
        let parts: Vec<&[u8]> = events.iter().map(String::as_bytes).collect();
        for count in 1..=parts.len() {
            let all = encode(coding, &parts[..count]);
            let more = encode(coding, &parts[..(count + 1).min(parts.len())]);
            ends.push(all.iter().zip(&more).take_while(|(a, b)| a == b).count());
        }
        let body = encode(coding, &parts);
        let (mut coded, _) = coded(coding);
        let mut out = Vec::new();
        let mut from = 0;
        for (count, end) in ends.into_iter().enumerate().take(parts.len() - 1) {
            let released = coded.push(Bytes::copy_from_slice(&body[from..end]), Instant::now()).unwrap();
            from = end;
            out.extend_from_slice(&released);
            let expected: String = events[..=count].concat();
            let seen = decodable(coding, &out);
            assert_eq!(String::from_utf8(seen).unwrap(), expected, "{coding:?}");
        }
    }
}

#[test]
fn searches_all_that_was_decoded_before_anything_is_released() {
    for coding in ALL {
        for size in [100, 40_000, 3_000_000] {
            let body = encode(coding, &[&vec![0; size]]);
            // Without the checksum: the end of the input is then the end of the data.
            let checksum = [8, 4, 0, 0][coding as usize];
            let (mut coded, _) = coded(coding);
            coded.push(Bytes::copy_from_slice(&body[..body.len() - checksum]), Instant::now()).unwrap();
            assert_eq!(coded.decoded, size as u64, "{coding:?}");
        }
    }
}

#[test]
fn searches_all_of_what_was_flushed_before_it_is_released() {
    for coding in ALL {
        // Far more than a piece, in one block that ends with the chunk.
        let large = text().repeat(5);
        let (one, two) = (encode(coding, &[&large]), encode(coding, &[&large, b"more"]));
        let common = one.iter().zip(&two).take_while(|(a, b)| a == b).count();
        let (mut clean, _) = coded(coding);
        let out = clean.push(Bytes::copy_from_slice(&two[..common]), Instant::now()).unwrap();
        assert_eq!(clean.decoded, large.len() as u64, "{coding:?}");
        assert_eq!(decodable(coding, &out), large, "{coding:?}");
        let echo = encode(coding, &[&[&large, SECRET, b"."].concat(), b"more"]);
        let (mut hit, _) = coded(coding);
        let end = echo.len() - (two.len() - common);
        let cut = hit.push(Bytes::copy_from_slice(&echo[..end]), Instant::now());
        assert!(matches!(cut, Err(ScrubError::Echoed)), "{coding:?} {:?}", cut.map(|out| out.len()));
    }
}

#[test]
fn bytes_that_may_tell_more_than_was_searched_wait() {
    for coding in ALL {
        let body = encode(coding, &[&text()]);
        let boundaries = if coding == Coding::Zstd { zstd_boundaries(&body) } else { Vec::new() };
        for end in (30..body.len() - 30).step_by(17) {
            let (mut coded, _) = coded(coding);
            let out = coded.push(Bytes::copy_from_slice(&body[..end]), Instant::now()).unwrap();
            match coding {
                Coding::Gzip | Coding::Deflate => assert_eq!(end - out.len(), 6, "{coding:?}"),
                Coding::Brotli => assert_eq!(end - out.len(), 16),
                Coding::Zstd => assert!(boundaries.contains(&out.len()), "{} of {end}", out.len()),
            }
        }
    }
}

/// Where a frame's blocks end: of a stream that has no content size, as `write::Encoder` makes it.
fn zstd_boundaries(frame: &[u8]) -> Vec<usize> {
    let mut at = 6;
    let mut ends = vec![0];
    loop {
        let header = u32::from_le_bytes([frame[at], frame[at + 1], frame[at + 2], 0]);
        at += 3 + usize::try_from(header >> 3).unwrap();
        ends.push(at);
        if header & 1 == 1 {
            return ends;
        }
    }
}

#[test]
fn refuses_truncated_bodies() {
    for coding in ALL {
        let body = encode(coding, &[&text()]);
        for end in [1, 5, body.len() / 2, body.len() - 1] {
            let result = through(coding, &[&body[..end]]);
            assert!(
                matches!(result, Err(ScrubError::Coded(CodedError::Truncated))),
                "{coding:?} {end} {result:?}"
            );
        }
        assert_eq!(through(coding, &[]).unwrap(), b"");
    }
}

#[test]
fn refuses_what_follows_the_end() {
    for coding in ALL {
        let body = encode(coding, &[b"text"]);
        for rest in [b"garbage".as_slice(), b"\0\0\0\0\0\0\0\0"] {
            assert!(matches!(through(coding, &[&body, rest]), Err(ScrubError::Coded(_))), "{coding:?}");
            assert!(
                matches!(through(coding, &[&[&body, rest].concat()]), Err(ScrubError::Coded(_))),
                "{coding:?}"
            );
        }
    }
}

#[test]
fn refuses_a_second_body_behind_the_first_where_the_coding_has_no_members() {
    for coding in [Coding::Deflate, Coding::Brotli] {
        let body = encode(coding, &[b"text"]);
        for chunks in [&[&body[..], &body][..], &[&[&body[..], &body].concat()]] {
            let result = through(coding, chunks);
            assert!(matches!(result, Err(ScrubError::Coded(CodedError::Trailing))), "{coding:?} {result:?}");
        }
    }
}

#[test]
fn reads_a_header_that_comes_in_two_chunks() {
    for coding in ALL {
        let body = encode(coding, &[&text()]);
        for cut in 1..12 {
            assert_eq!(through(coding, &[&body[..cut], &body[cut..]]).unwrap(), body, "{coding:?} {cut}");
        }
    }
}

#[test]
fn refuses_what_is_not_in_the_coding() {
    for coding in ALL {
        assert!(
            matches!(
                through(coding, &[b"<html>plain text, as it happens</html>"]),
                Err(ScrubError::Coded(_))
            ),
            "{coding:?}"
        );
        let mut body = encode(coding, &[&text()]);
        for byte in &mut body[20..80] {
            *byte ^= 0x5a;
        }
        assert!(through(coding, &[&body]).is_err(), "{coding:?}");
    }
    // Raw deflate, which some servers send as "deflate": decoders disagree, so it is refused.
    let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    raw.write_all(&text()).unwrap();
    assert!(through(Coding::Deflate, &[&raw.finish().unwrap()]).is_err());
}

#[test]
fn refuses_bombs() {
    for coding in ALL {
        let body = encode(coding, &[&vec![0; 3_000_000]]);
        let chunks: Vec<&[u8]> = body.chunks(512).collect();
        assert_eq!(through(coding, &chunks).unwrap(), body, "what is small enough may have any ratio");
        let (mut coded, _) = coded(coding);
        coded.limits.free = 1_000_000;
        let result = through_this(coded, &chunks).map(|out| out.len());
        assert!(matches!(result, Err(ScrubError::Coded(CodedError::Limit))), "{coding:?} {result:?}");
    }
}

#[test]
fn passes_large_bodies_of_a_usual_ratio() {
    for coding in ALL {
        let body = encode(coding, &[&text()]);
        let (mut coded, _) = coded(coding);
        coded.limits.free = 1000;
        assert_eq!(through_this(coded, &[&body]).unwrap(), body);
    }
}

#[test]
fn refuses_one_byte_more_than_is_free_or_justified() {
    let body = encode(Coding::Zstd, &[&text()]);
    let free = text().len() as u64;
    for (free, ratio, fits) in
        [(free, 0, true), (free - 1, 0, false), (0, free, true), (0, (free - 1) / body.len() as u64, false)]
    {
        let (mut coded, _) = coded(Coding::Zstd);
        (coded.limits.free, coded.limits.ratio) = (free, ratio);
        assert_eq!(through_this(coded, &[&body]).is_ok(), fits, "{free} {ratio}");
    }
}

#[test]
fn coded_bytes_wait_for_the_rest_of_a_value_up_to_four_mib() {
    // A zlib stream of stored blocks: the beginning of a value, and then blocks without text.
    let mut body = [b"\x78\x01\x00\x0d\x00\xf2\xff", &SECRET[..PREFIX + 9]].concat();
    while body.len() <= 4 << 20 {
        body.extend_from_slice(b"\x00\x00\x00\xff\xff");
    }
    let (mut coded, _) = coded(Coding::Deflate);
    let push = |coded: &mut Coded, bytes: &[u8]| coded.push(Bytes::copy_from_slice(bytes), Instant::now());
    assert_eq!(push(&mut coded, &body[..20]).unwrap(), "");
    assert_eq!(push(&mut coded, &body[20..4 << 20]).unwrap(), "");
    assert_eq!(coded.held(), 4 << 20);
    let more = push(&mut coded, &body[4 << 20..][..1]);
    assert!(matches!(more, Err(ScrubError::Coded(CodedError::Limit))), "{more:?}");
}

#[test]
fn may_end_only_where_nothing_is_missing_and_nothing_waits() {
    for coding in ALL {
        let (mut coded, _) = coded(coding);
        assert!(coded.may_end() && coded.held() == 0);
        let body = encode(coding, &[b"text"]);
        coded.push(Bytes::copy_from_slice(&body[..5]), Instant::now()).unwrap();
        assert!(!coded.may_end(), "{coding:?}");
        let waiting = coded.held();
        coded.begin(Bytes::copy_from_slice(&body[5..]), Instant::now()).unwrap();
        assert!(!coded.may_end());
        assert_eq!(coded.held(), waiting + body.len() - 5);
        coded.turn(&mut { usize::MAX }, Instant::now()).unwrap();
        assert!(coded.may_end() && coded.held() == 0, "{coding:?}");
    }
}

#[test]
fn may_not_end_in_a_frame_or_in_what_may_be_a_value() {
    let (mut ends_in_a_value, _) = coded(Coding::Zstd);
    let body = encode(Coding::Zstd, &[&SECRET[..PREFIX + 9]]);
    ends_in_a_value.push(Bytes::copy_from_slice(&body), Instant::now()).unwrap();
    assert!(ends_in_a_value.decoder.is_complete() && !ends_in_a_value.may_end());
    assert_eq!(ends_in_a_value.held(), body.len());
    let (mut ends_in_a_frame, _) = coded(Coding::Zstd);
    let body = encode(Coding::Zstd, &[b"text", b"more"]);
    let first = zstd_boundaries(&body)[1];
    ends_in_a_frame.push(Bytes::copy_from_slice(&body[..first]), Instant::now()).unwrap();
    assert_eq!((ends_in_a_frame.held(), ends_in_a_frame.may_end()), (0, false));
}

#[test]
fn a_large_chunk_is_decoded_in_several_turns() {
    let body = encode(Coding::Zstd, &[&text(), b"", &text()]);
    let (out, turns) = in_turns(&mut coded(Coding::Zstd).0, &body, 9_000).unwrap();
    assert_eq!(out, body);
    assert!(turns > 1);
    let (_, turns) = in_turns(&mut coded(Coding::Zstd).0, &body, 1 << 20).unwrap();
    assert_eq!(turns, 1);
}

#[test]
fn reads_further_gzip_members_and_zstd_frames() {
    for coding in [Coding::Gzip, Coding::Zstd] {
        let two = [encode(coding, &[b"one "]), encode(coding, &[b"two"])].concat();
        let chunks: Vec<&[u8]> = two.chunks(1).collect();
        assert_eq!(through(coding, &chunks).unwrap(), two);
        let hidden = [encode(coding, &[b"one "]), encode(coding, &[SECRET])].concat();
        assert!(matches!(through(coding, &[&hidden]), Err(ScrubError::Echoed)));
    }
    let skippable = [b"\x50\x2a\x4d\x18\x04\0\0\0abcd".as_slice(), &encode(Coding::Zstd, &[b"x"])].concat();
    assert_eq!(through(Coding::Zstd, &[&skippable]).unwrap(), skippable);
}

#[test]
fn reads_zstd_frames_with_a_checksum_and_what_follows_it() {
    let checked = |text: &[u8]| {
        let mut to = ::zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        to.include_checksum(true).unwrap();
        to.write_all(text).unwrap();
        to.finish().unwrap()
    };
    let body = [checked(&text()), checked(b"more")].concat();
    for size in [1, 7, body.len()] {
        assert_eq!(through(Coding::Zstd, &body.chunks(size).collect::<Vec<_>>()).unwrap(), body, "{size}");
    }
    let hidden = [checked(&text()), checked(SECRET)].concat();
    assert!(matches!(through(Coding::Zstd, &[&hidden]), Err(ScrubError::Echoed)));
    let mut wrong = checked(b"text");
    *wrong.last_mut().unwrap() ^= 1;
    assert!(matches!(through(Coding::Zstd, &[&wrong]), Err(ScrubError::Coded(CodedError::Invalid))));
}

#[test]
fn finds_values_that_decoders_pass_over() {
    let mut comment = flate2::GzBuilder::new().comment(SECRET).write(Vec::new(), flate2::Compression::fast());
    comment.write_all(b"clean").unwrap();
    let (mut gzip, watch) = coded(Coding::Gzip);
    let found = gzip.push(Bytes::from(comment.finish().unwrap()), Instant::now());
    assert!(matches!(found, Err(ScrubError::Echoed)));
    assert_eq!(watch.found(), 1);
    let length = u32::try_from(SECRET.len()).unwrap().to_le_bytes();
    let skippable = [b"\x50\x2a\x4d\x18".as_slice(), &length, SECRET].concat();
    assert!(matches!(through(Coding::Zstd, &[&skippable]), Err(ScrubError::Echoed)));
}

#[test]
fn reads_every_gzip_header_field() {
    let mut all = flate2::GzBuilder::new()
        .filename("name")
        .comment("comment")
        .extra(vec![7; 300])
        .write(Vec::new(), flate2::Compression::fast());
    all.write_all(&text()).unwrap();
    let body = all.finish().unwrap();
    let chunks: Vec<&[u8]> = body.chunks(1).collect();
    assert_eq!(through(Coding::Gzip, &chunks).unwrap(), body);
    let large = [&[0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 0][..], &[b'x'; 5000]].concat();
    assert!(matches!(through(Coding::Gzip, &[&large]), Err(ScrubError::Coded(CodedError::Limit))));
    let chunks: Vec<&[u8]> = large.chunks(1).collect();
    assert!(matches!(through(Coding::Gzip, &chunks), Err(ScrubError::Coded(CodedError::Limit))));
}

#[test]
fn holds_a_beginning_of_a_value_and_cuts() {
    for coding in ALL {
        let (mut coded, watch) = coded(coding);
        let guess = &SECRET[..PREFIX + 9];
        let whole = encode(coding, &[b"text ", guess, b"."]);
        let until = encode(coding, &[b"text ", guess, b"!"]);
        let common = whole.iter().zip(&until).take_while(|(a, b)| a == b).count();
        coded.push(Bytes::copy_from_slice(&whole[..common]), Instant::now()).unwrap();
        if coding != Coding::Gzip && coding != Coding::Deflate {
            continue;
        }
        assert!(coded.deadline().is_some(), "{coding:?}");
        assert!(matches!(coded.finish(), Err(ScrubError::Held)));
        assert_eq!(watch.events(), 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes after the bytes that were released, all that it has in common was searched before.
    #[test]
    fn released_bytes_determine_nothing_that_was_not_searched(
        which in 0..4usize,
        words in prop::collection::vec("[a-f]{1,9}", 1..400),
        cut in any::<prop::sample::Index>(),
        tails in prop::collection::vec(prop::collection::vec(any::<u8>(), 40), 12),
    ) {
        let coding = ALL[which];
        let body = encode(coding, &[words.concat().as_bytes()]);
        let (mut coded, _) = coded(coding);
        let end = cut.index(body.len());
        let out = coded.push(Bytes::copy_from_slice(&body[..end]), Instant::now()).unwrap();
        let searched = coded.decoded;
        let mut tails = tails;
        tails.extend([vec![0; 40], vec![0xff; 40], body[out.len()..].to_vec()]);
        let read: Vec<Vec<u8>> = tails.iter().map(|tail| decodable(coding, &[&out[..], tail].concat())).collect();
        let mut common = read[0].len();
        for other in &read[1..] {
            common = common.min(other.iter().zip(&read[0]).take_while(|(a, b)| a == b).count());
        }
        prop_assert!(common as u64 <= searched, "{:?}: {} of {}", coding, searched, common);
    }
}
