//! What an agent can learn that makes the upstream echo.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::*;
use crate::request::scrub::incidents::{Incidents, Standing, Use};

const KEY: &[u8] = b"ghp_q7Lr2XvB9tKe5WnJ8sYc3MdH6pZa";

/// Counts for one agent and secret, as the proxy does.
#[derive(Default)]
struct Judge {
    incidents: Incidents,
    events: AtomicUsize,
}

impl Judge {
    fn of() -> Use {
        Use { agent: "a".into(), secret: "s".into(), version: 1.into() }
    }
}

impl Watch for Judge {
    fn found(&self, _needle: usize) {}

    fn event(&self, _needle: usize) {
        self.events.fetch_add(1, Ordering::Relaxed);
        self.incidents.record(&Self::of(), std::time::Instant::now());
    }
}

/// What the agent sees when the upstream sends `text` and then stalls: whether all of it arrived.
fn echo(judge: &Arc<Judge>, text: &[u8]) -> Option<bool> {
    if judge.incidents.standing(&Judge::of()) == Standing::Blocked {
        return None;
    }
    let mut masker = Masker::new(scanner(KEY), judge.clone(), Extent::Whole);
    let out = masker.push(Bytes::copy_from_slice(text), Instant::now()).unwrap();
    if masker.deadline().is_some() {
        masker.expire();
    }
    Some(out == text)
}

#[test]
fn learns_nothing_below_eight_bytes() {
    let judge = Arc::new(Judge::default());
    for length in 0..PREFIX + 8 {
        for last in b'0'..=b'z' {
            let guess = [&KEY[..length], &[last]].concat();
            if !KEY.starts_with(&guess) || guess.len() < PREFIX + 8 {
                assert_eq!(echo(&judge, &guess), Some(true));
            }
        }
    }
    assert_eq!(judge.events.load(Ordering::Relaxed), 0);
}

#[test]
fn guessing_character_by_character_ends_at_the_third_event() {
    let judge = Arc::new(Judge::default());
    // Seven bytes may be known from echoes that were split there.
    let mut known = KEY[..PREFIX + 7].to_vec();
    'guessing: loop {
        for next in b'0'..=b'z' {
            let guess = [&known[..], &[next]].concat();
            match echo(&judge, &guess) {
                None => break 'guessing,
                Some(true) => {}
                Some(false) => {
                    known = guess;
                    continue 'guessing;
                }
            }
        }
        panic!("the oracle has gone silent at {}", known.len());
    }
    assert_eq!(judge.events.load(Ordering::Relaxed), 3);
    assert_eq!(known.len(), PREFIX + 7 + 3);
}

#[test]
fn a_pause_that_proves_harmless_is_an_event() {
    let (mut masker, watch) = masker(KEY, Extent::Whole);
    let now = Instant::now();
    let guess = &KEY[..PREFIX + 8];
    assert_eq!(masker.push(Bytes::from([b"text ", guess].concat()), now).unwrap(), "text ");
    assert_eq!(masker.deadline(), Some(now + HOLD));
    assert_eq!(masker.push(Bytes::from_static(b"!"), now).unwrap(), Bytes::from([guess, b"!"].concat()));
    assert_eq!((watch.events(), masker.deadline()), (1, None));
    // Inside one chunk it shows nothing.
    masker.push(Bytes::from([b"text ", guess, b"! more"].concat()), now).unwrap();
    assert_eq!(watch.events(), 1);
}

#[test]
fn hanging_up_during_a_pause_is_an_event() {
    let (mut masker, watch) = masker(KEY, Extent::Whole);
    masker.push(Bytes::copy_from_slice(&KEY[..PREFIX + 8]), Instant::now()).unwrap();
    drop(masker);
    assert_eq!(watch.events(), 1);
}

#[test]
fn a_reflection_that_is_split_anywhere_is_no_event() {
    for cut in 1..KEY.len() {
        let (mut masker, watch) = masker(KEY, Extent::Whole);
        let now = Instant::now();
        let first = masker.push(Bytes::copy_from_slice(&KEY[..cut]), now).unwrap();
        assert_eq!(first.is_empty(), cut >= PREFIX + 8);
        let second = masker.push(Bytes::copy_from_slice(&KEY[cut..]), now).unwrap();
        assert_eq!(second, "*".repeat(KEY.len() - first.len()));
        drop(masker);
        assert_eq!((watch.events(), watch.found()), (0, 1));
    }
}

#[test]
fn trickling_does_not_prolong_the_hold() {
    let (mut masker, watch) = masker(KEY, Extent::Whole);
    let start = Instant::now();
    for (index, byte) in KEY.iter().enumerate().take(KEY.len() - 1) {
        masker.push(Bytes::copy_from_slice(&[*byte]), start + Duration::from_millis(index as u64)).unwrap();
    }
    assert_eq!(masker.deadline(), Some(start + Duration::from_millis(PREFIX as u64 + 7) + HOLD));
    assert!(matches!(masker.expire(), ScrubError::Held));
    drop(masker);
    assert_eq!(watch.events(), 1);
}

#[test]
fn a_beginning_at_the_end_of_the_body_is_masked_and_an_event() {
    for extent in [Extent::Whole, Extent::Slice] {
        let (mut masker, watch) = masker(KEY, extent);
        let out = through(&mut masker, &[&[b"x", &KEY[..PREFIX + 20]].concat()]);
        assert_eq!(out, [b"x", &[b'*'; PREFIX + 20][..]].concat());
        assert_eq!(watch.events(), 1);
    }
}

#[test]
fn the_end_of_a_value_at_the_beginning_of_a_slice_is_masked_and_an_event() {
    for form in oracle::forms(KEY) {
        for escaped in [false, true] {
            for chunk in [1, 5, 1000] {
                let spelled: Vec<Vec<u8>> = form
                    .iter()
                    .map(|b| if escaped { format!("%{b:02x}").into_bytes() } else { vec![*b] })
                    .collect();
                let start = form.len() - form.len() * 12 / KEY.len();
                let whole = spelled[start..].concat();
                // Also cut inside an escape.
                for cut in 0..spelled[start].len() {
                    let body = [&whole[cut..], b" and so on"].concat();
                    let (mut masker, watch) = masker(KEY, Extent::Slice);
                    let out = through(&mut masker, &body.chunks(chunk).collect::<Vec<_>>());
                    let shown =
                        format!("{} {}", String::from_utf8_lossy(&body), String::from_utf8_lossy(&out));
                    assert_eq!(watch.events(), 1, "{shown}");
                    assert!(out.ends_with(b"** and so on"), "{shown}");
                    if chunk == 1000 {
                        assert_eq!(out.iter().filter(|b| **b == b'*').count(), whole.len() - cut, "{shown}");
                    }
                }
            }
        }
    }
}

#[test]
fn less_than_eight_bytes_at_the_beginning_of_a_slice_pass() {
    let (mut masker, watch) = masker(KEY, Extent::Slice);
    let body = [&KEY[KEY.len() - 7..], b" and so on"].concat();
    assert_eq!(through(&mut masker, &[&body]), body);
    assert_eq!(watch.events(), 0);
}

#[test]
fn a_whole_value_at_the_beginning_of_a_slice_is_no_event() {
    for chunk in [1, 5, 1000] {
        let (mut masker, watch) = masker(KEY, Extent::Slice);
        let body = [KEY, b" and so on"].concat();
        let out = through(&mut masker, &body.chunks(chunk).collect::<Vec<_>>());
        assert!(out.ends_with(b"** and so on"));
        assert_eq!((watch.events(), watch.found()), (0, 1), "{chunk}");
    }
}

#[test]
fn the_last_eight_bytes_of_a_value_are_masked_at_the_beginning_of_a_slice_and_there_alone() {
    let end = &KEY[KEY.len() - 8..];
    for (extent, masked) in [(Extent::Slice, true), (Extent::Whole, false)] {
        let (mut masker, watch) = masker(KEY, extent);
        let out = through(&mut masker, &[&[end, b" and so on"].concat()]);
        assert_eq!(out, [if masked { b"********".as_slice() } else { end }, b" and so on"].concat());
        assert_eq!((watch.events(), watch.found()), (usize::from(masked), usize::from(masked)));
    }
}

#[test]
fn the_end_of_a_value_at_the_beginning_of_a_slice_is_masked_though_a_whole_one_follows() {
    let end = &KEY[KEY.len() - 12..];
    let (mut masker, watch) = masker(KEY, Extent::Slice);
    let out = through(&mut masker, &[&[end, b" and ", KEY, b"."].concat()]);
    assert_eq!(out, [&[b'*'; 12][..], b" and ", &[b'*'; KEY.len()], b"."].concat());
    assert_eq!((watch.events(), watch.found()), (1, 1));
}

#[test]
fn what_precedes_a_whole_value_near_the_beginning_of_a_slice_stays() {
    for chunk in [1, 5, 1000] {
        let (mut masker, watch) = masker(KEY, Extent::Slice);
        let body = [b"12345", KEY, b" and so on"].concat();
        let out = through(&mut masker, &body.chunks(chunk).collect::<Vec<_>>());
        assert!(out.starts_with(b"12345") && out.ends_with(b"** and so on"), "{chunk}");
        assert_eq!((watch.events(), watch.found()), (0, 1), "{chunk}");
    }
}

/// A masker of two values, the second of which stands in the first.
fn nested(outer: &[u8], inner: &[u8]) -> (Masker, Arc<Counted>) {
    let needles = [outer, inner].map(|value| Needle { value, public_prefix: 0, basic_users: &[] });
    let watch = Arc::new(Counted::default());
    (Masker::new(Arc::new(Scanner::compile(&needles).unwrap()), watch.clone(), Extent::Whole), watch)
}

#[test]
fn what_precedes_a_value_inside_the_beginning_of_another_is_held() {
    let (mut masker, watch) = nested(b"9tKe5WnJ8q7Lr2XvB-sYc3MdH6pZa", b"q7Lr2XvB");
    let now = Instant::now();
    assert_eq!(masker.push(Bytes::from_static(b"text 9tKe5WnJ8q7Lr2XvB-s"), now).unwrap(), "text ");
    assert_eq!(masker.push(Bytes::from_static(b"Yc3MdH6pZa!"), now).unwrap(), format!("{}!", "*".repeat(29)));
    assert_eq!((watch.events(), watch.found()), (0, 2));
}

#[test]
fn what_is_masked_already_is_not_held() {
    // A value twice, with which another one begins; and a value that overlaps itself.
    let now = Instant::now();
    let (mut masker, _) = nested(b"q7Lr2XvBq7Lr2XvB9tKe5WnJ8", b"q7Lr2XvB");
    assert_eq!(masker.push(Bytes::from_static(b"q7Lr2XvBq7Lr2XvB"), now).unwrap(), "*".repeat(16));
    assert_eq!((masker.deadline(), masker.held()), (None, 0));
    let (mut masker, _) = nested(&b"ab".repeat(10), b"something else");
    let text = [b"..".as_slice(), &b"ab".repeat(15)].concat();
    assert_eq!(masker.push(Bytes::from(text), now).unwrap(), format!("..{}", "*".repeat(30)));
    assert_eq!((masker.deadline(), masker.held()), (None, 0));
}

#[test]
fn a_value_behind_a_guess_does_not_hide_the_event() {
    let (mut masker, watch) = masker(KEY, Extent::Whole);
    let now = Instant::now();
    let guess = &KEY[..PREFIX + 8];
    assert_eq!(masker.push(Bytes::copy_from_slice(guess), now).unwrap(), "");
    assert_eq!(masker.held(), guess.len());
    masker.push(Bytes::from([b"! ", KEY, b"."].concat()), now).unwrap();
    assert_eq!((watch.events(), watch.found()), (1, 1));
}

#[test]
fn another_guess_behind_a_guess_is_held_by_itself() {
    let (mut masker, watch) = masker(KEY, Extent::Whole);
    let (first, second) = (Instant::now(), Instant::now() + Duration::from_millis(5));
    let guess = &KEY[..PREFIX + 8];
    masker.push(Bytes::copy_from_slice(guess), first).unwrap();
    masker.push(Bytes::from([b"!", guess].concat()), second).unwrap();
    assert_eq!((watch.events(), masker.deadline()), (1, Some(second + HOLD)));
}
