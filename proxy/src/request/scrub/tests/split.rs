//! Every form at every split, and random mixtures of everything.

use proptest::prelude::*;

use super::oracle::{forms, holds, spellings};
use super::*;

/// The ways in which an encoder would write a form, and a wild mixture.
fn written(form: &[u8]) -> Vec<Vec<u8>> {
    let by = |pick: &dyn Fn(usize, u8) -> Vec<u8>| {
        form.iter().enumerate().flat_map(|(i, b)| pick(i, *b)).collect()
    };
    vec![
        form.to_vec(),
        by(&|_, b| format!("%{b:02x}").into_bytes()),
        by(&|_, b| if b.is_ascii_alphanumeric() { vec![b] } else { format!("%{b:02X}").into_bytes() }),
        by(&|_, b| format!("\\u{b:04x}").into_bytes()),
        by(&|_, b| if b"\"\\/".contains(&b) { vec![b'\\', b] } else { vec![b] }),
        by(&|_, b| format!("&#{b};").into_bytes()),
        by(&|_, b| format!("&#x{b:08X};").into_bytes()),
        by(&|i, b| spellings(b)[i * 7 % spellings(b).len()].clone()),
    ]
}

/// Sends `before`, `text`, `after` cut at these places. The oracle is slow and asked now and then; otherwise it is
/// enough that of the text nothing is shown but a beginning, from before the last cut.
fn checked(before: &[u8], text: &[u8], after: &[u8], cuts: &[usize]) {
    let body = [before, text, after].concat();
    let (mut masker, watch) = masker(SECRET, Extent::Whole);
    let mut chunks = Vec::new();
    let mut from = 0;
    for &cut in cuts {
        chunks.push(&body[from..cut]);
        from = cut;
    }
    chunks.push(&body[from..]);
    let out = through(&mut masker, &chunks);
    let shown =
        || format!("{} cut at {cuts:?}\n{}", String::from_utf8_lossy(&body), String::from_utf8_lossy(&out));
    assert_eq!(out.len(), body.len(), "{}", shown());
    let inside = &out[before.len()..before.len() + text.len()];
    let told = inside.iter().position(|byte| *byte == b'*').unwrap_or(inside.len());
    assert!(inside[told..].iter().all(|byte| *byte == b'*'), "{}", shown());
    assert!(told == 0 || cuts.contains(&(before.len() + told)), "{}", shown());
    assert!(told <= (PREFIX + 8) * text.len() / SECRET.len() + 12, "{}", shown());
    if cuts.iter().sum::<usize>() % 64 == 0 {
        assert!(!holds(&out, SECRET), "{}", shown());
    }
    assert_eq!((watch.found() > 0, watch.events()), (true, 0), "{}", shown());
}

#[test]
fn masks_every_form_at_every_split() {
    for form in forms(SECRET) {
        for text in written(&form) {
            for cut in 0..=text.len() + 12 {
                checked(b"{\"echo\": \"", &text, b"\"}", &[cut]);
            }
        }
    }
}

#[test]
fn masks_every_form_at_every_two_splits() {
    for text in [written(SECRET)[0].clone(), written(SECRET)[7].clone()] {
        for one in 0..=text.len() + 2 {
            for two in one..=text.len() + 2 {
                checked(b"x", &text, b"y", &[one, two]);
            }
        }
    }
}

#[test]
fn masks_every_form_byte_by_byte() {
    for form in forms(SECRET) {
        for text in written(&form) {
            let cuts: Vec<usize> = (1..=text.len()).collect();
            checked(b"", &text, b"", &cuts);
        }
    }
}

#[test]
fn masks_the_whole_form_and_nothing_else() {
    for text in written(SECRET) {
        let body = [b"before ".as_slice(), &text, b" after"].concat();
        let expected = [b"before ".as_slice(), &vec![b'*'; text.len()], b" after"].concat();
        assert_eq!(through(&mut masker(SECRET, Extent::Whole).0, &[&body]), expected);
    }
}

#[test]
fn masks_values_that_consist_of_escapes_and_repetitions() {
    for secret in [
        b"%25%25%25%25".as_slice(),
        b"aaaaaaaa",
        b"abababababab",
        b"\\\\\\\\\\\\\\\\",
        b"&amp;amp;amp;",
        "p\u{e9}ss\u{1f600}word".as_bytes(),
    ] {
        let scanner = Arc::new(
            Scanner::compile(&[Needle { value: secret, public_prefix: 0, basic_users: &[] }]).unwrap(),
        );
        for text in written(secret) {
            let body = [b"aa%a&\\".as_slice(), &text, b"aa"].concat();
            for cut in 0..=body.len() {
                let mut masker = Masker::new(scanner.clone(), Arc::new(Counted::default()), Extent::Whole);
                let out = through(&mut masker, &[&body[..cut], &body[cut..]]);
                assert!(!holds(&out, secret), "{}", String::from_utf8_lossy(&out));
            }
        }
    }
}

#[test]
fn masks_unicode_escapes_of_characters_outside_ascii() {
    let secret = "p\u{e9}ss\u{1f600}word";
    let scanner = Arc::new(
        Scanner::compile(&[Needle { value: secret.as_bytes(), public_prefix: 0, basic_users: &[] }]).unwrap(),
    );
    for text in ["p\\u00e9ss\\ud83d\\ude00word", "p&#233;ss&#x1F600;word", "p%c3%a9ss%F0%9F%98%80word"] {
        for cut in 0..text.len() {
            let mut masker = Masker::new(scanner.clone(), Arc::new(Counted::default()), Extent::Whole);
            let out = through(&mut masker, &[&text.as_bytes()[..cut], &text.as_bytes()[cut..]]);
            assert!(out[cut..].iter().all(|byte| *byte == b'*'), "{text} {cut} {out:?}");
        }
    }
}

#[test]
fn masks_the_last_character_of_base64_too() {
    use base64::Engine as _;
    for length in 12..30 {
        let secret: Vec<u8> =
            b"ghp_".iter().copied().chain((0..length - 4).map(|n| b"q7Lr2XvB9"[n % 9])).collect();
        let text = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&secret);
        for cut in 0..text.len() {
            let mut masker = masker(&secret, Extent::Whole).0;
            let out = through(&mut masker, &[&text.as_bytes()[..cut], &text.as_bytes()[cut..]]);
            assert!(
                out[cut..].iter().all(|byte| *byte == b'*'),
                "{length} {cut} {}",
                String::from_utf8_lossy(&out)
            );
        }
    }
}

#[test]
fn several_values_are_masked_in_one_pass() {
    let needles = [SECRET, b"ghp_R4nd0m+/zY-q7Kw-another-one", b"sk-ant-0123456789abcdef"]
        .map(|value| Needle { value, public_prefix: 4, basic_users: &[] });
    let scanner = Arc::new(Scanner::compile(&needles).unwrap());
    let body: Vec<u8> = needles.iter().flat_map(|needle| [needle.value, b" "].concat()).collect();
    let out = through(&mut Masker::new(scanner, Arc::new(Counted::default()), Extent::Whole), &[&body]);
    assert!(out.iter().all(|byte| b"* ".contains(byte)), "{}", String::from_utf8_lossy(&out));
}

#[test]
fn clean_chunks_come_back_uncopied() {
    let (mut masker, _) = masker(SECRET, Extent::Whole);
    let chunk = bytes::Bytes::from(vec![b'x'; 20_000]);
    let out = masker.push(chunk.clone(), tokio::time::Instant::now()).unwrap();
    assert_eq!(out.as_ptr(), chunk.as_ptr());
    assert_eq!(out, chunk);
}

/// A body of pieces that look like the value, and maybe the value.
fn bodies() -> impl Strategy<Value = (Vec<u8>, bool)> {
    let all = forms(SECRET);
    let piece = prop_oneof![
        "[a-z %&\\\\;#0-9]{0,12}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..40),
        (0..all.len(), 0..12usize).prop_map({
            let all = all.clone();
            move |(form, length)| all[form][..length.min(all[form].len())].to_vec()
        }),
        Just(b"ghp_".to_vec()),
        Just(b"%6".to_vec()),
    ];
    let spelled = (0..all.len(), prop::collection::vec(any::<prop::sample::Index>(), 160)).prop_map(
        move |(form, picks)| {
            let form = &all[form];
            form.iter()
                .zip(picks.iter().cycle())
                .flat_map(|(byte, pick)| pick.get(&spellings(*byte)).clone())
                .collect::<Vec<u8>>()
        },
    );
    (prop::collection::vec(piece, 0..8), prop::option::of((any::<prop::sample::Index>(), spelled))).prop_map(
        |(mut pieces, planted)| {
            let has = planted.is_some();
            if let Some((place, text)) = planted {
                let place = place.index(pieces.len() + 1);
                pieces.insert(place, text);
            }
            (pieces.concat(), has)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_form_survives_any_mixture_in_any_chunks((body, planted) in bodies(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        cuts.sort_unstable();
        let mut chunks = Vec::new();
        let mut from = 0;
        for cut in cuts {
            chunks.push(&body[from..cut]);
            from = cut;
        }
        chunks.push(&body[from..]);
        let (mut masker, watch) = masker(SECRET, Extent::Whole);
        let out = through(&mut masker, &chunks);
        prop_assert_eq!(out.len(), body.len());
        prop_assert!(!holds(&out, SECRET), "{}", String::from_utf8_lossy(&out));
        prop_assert_eq!(holds(&body, SECRET), watch.found() > 0);
        prop_assert!(!planted || watch.found() > 0);
        // What was not hidden is as it was, and only what was found or reported is hidden.
        let changed = out.iter().zip(&body).any(|(out, body)| out != body);
        prop_assert_eq!(changed, watch.found() + watch.events() > 0 && changed);
        prop_assert!(out.iter().zip(&body).all(|(out, body)| out == body || *out == b'*'));
        if watch.found() + watch.events() == 0 {
            prop_assert_eq!(out, body);
        }
    }
}
