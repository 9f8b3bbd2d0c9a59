//! One chunk may stand for much: it is decoded in turns, within windows that are counted.

use super::*;

#[test]
fn one_chunk_is_decoded_in_turns_however_much_it_stands_for() {
    let zeros = vec![0; 8 << 20];
    for coding in ALL {
        let body = encode(coding, &[&zeros, b"end"]);
        let (out, turns) = in_turns(&mut coded(coding).0, &body, TURN).unwrap();
        assert_eq!(out, body, "{coding:?}");
        assert!(turns >= zeros.len() / (TURN + PIECE), "{coding:?}: {turns}");
    }
}

#[test]
fn turns_of_any_size_find_what_one_would() {
    for coding in ALL {
        for size in [1, 5_000, 17_000, 40_000] {
            let clean = encode(coding, &[&text(), b"", &text()]);
            assert_eq!(in_turns(&mut coded(coding).0, &clean, size).unwrap().0, clean, "{coding:?} {size}");
            let echo = encode(coding, &[&text(), SECRET, &text()]);
            let cut = in_turns(&mut coded(coding).0, &echo, size);
            assert!(matches!(cut, Err(ScrubError::Echoed)), "{coding:?} {size}: {cut:?}");
        }
    }
}

#[test]
fn refuses_windows_over_the_sum_of_all_and_gives_them_back() {
    let windows = Windows::new(16 << 20);
    let start = |coding: Coding| {
        let limits = Decoding { windows: Arc::clone(&windows), ..Decoding::default() };
        Coded::new(coding, scanner(SECRET), Arc::new(Counted::default()), limits).unwrap()
    };
    let wide = |bits| {
        let mut to = ::brotli::CompressorWriter::new(Vec::new(), 4096, 5, bits);
        to.write_all(&text()).unwrap();
        to.into_inner()
    };
    let push = |coded: &mut Coded, body: &[u8]| coded.push(Bytes::copy_from_slice(body), Instant::now());
    let (mut first, mut second) = (start(Coding::Brotli), start(Coding::Brotli));
    assert!(push(&mut first, &wide(23)).is_ok() && push(&mut second, &wide(23)).is_ok());
    for coding in ALL {
        let refused = push(&mut start(coding), &encode(coding, &[&text()]));
        assert!(matches!(refused, Err(ScrubError::Coded(CodedError::Limit))), "{coding:?}: {refused:?}");
    }
    drop(first);
    for coding in ALL {
        assert!(push(&mut start(coding), &encode(coding, &[&text()])).is_ok(), "{coding:?}");
    }
}

#[test]
fn a_frame_of_zstd_counts_with_the_window_that_it_states() {
    let windows = Windows::new(3 << 20);
    for (body, fits) in [
        // 2 MiB; 8 MiB; single segments of 4 MiB and 100 bytes; a skippable frame. No blocks follow.
        (&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58][..], true),
        (&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x68], false),
        (&[0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0x40, 0], false),
        (&[0x28, 0xb5, 0x2f, 0xfd, 0x20, 100], true),
        (&[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0], true),
    ] {
        let limits = Decoding { windows: Arc::clone(&windows), ..Decoding::default() };
        let mut coded =
            Coded::new(Coding::Zstd, scanner(SECRET), Arc::new(Counted::default()), limits).unwrap();
        let taken = coded.push(Bytes::copy_from_slice(body), Instant::now());
        assert_eq!(taken.is_ok(), fits, "{body:x?}: {taken:?}");
    }
}

#[test]
fn gzip_and_deflate_count_with_32_kib() {
    for coding in [Coding::Gzip, Coding::Deflate] {
        for (most, fits) in [(32 * 1024, true), (32 * 1024 - 1, false)] {
            let limits = Decoding { windows: Windows::new(most), ..Decoding::default() };
            let watch = Arc::new(Counted::default());
            let mut coded = Coded::new(coding, scanner(SECRET), watch, limits).unwrap();
            let taken = coded.push(Bytes::from(encode(coding, &[b"text"])), Instant::now());
            assert_eq!(taken.is_ok(), fits, "{coding:?} {most}");
        }
    }
}
