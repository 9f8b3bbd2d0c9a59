use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::super::coded::Decoding;
use super::super::masker::HOLD;
use super::super::tests::{Counted, PREFIX, SECRET, scanner};
use super::*;

/// A body that the test feeds frame by frame.
struct Fed(mpsc::UnboundedReceiver<Frame<Bytes>>);

impl Body for Fed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

type Feed = mpsc::UnboundedSender<Frame<Bytes>>;

fn answer(head: &[(&str, &str)]) -> (Feed, Response<Scrubbed<Fed>>, Arc<Counted>) {
    let (feed, frames) = mpsc::unbounded_channel();
    let mut plain = Response::builder();
    for (name, value) in head {
        plain = plain.header(*name, *value);
    }
    let watch = Arc::new(Counted::default());
    let search = Search { scanner: scanner(SECRET), watch: watch.clone(), decoding: Decoding::default() };
    let scrubbed = response(Some(search), plain.body(Fed(frames)).unwrap()).unwrap();
    (feed, scrubbed, watch)
}

fn data(bytes: &[u8]) -> Frame<Bytes> {
    Frame::data(Bytes::copy_from_slice(bytes))
}

async fn next(body: &mut Scrubbed<Fed>) -> Option<Result<Frame<Bytes>, ScrubError>> {
    // A bound, so that a hold without an end fails instead of hanging.
    timeout(Duration::from_secs(10), body.frame()).await.expect("the body goes on or ends")
}

/// What is there without waiting.
fn now(body: &mut Scrubbed<Fed>) -> Poll<Option<Bytes>> {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    Pin::new(body).poll_frame(&mut cx).map(|frame| frame.map(|frame| frame.unwrap().into_data().unwrap()))
}

#[tokio::test(start_paused = true)]
async fn cuts_the_body_twenty_milliseconds_after_a_beginning_of_a_value() {
    let (feed, answer, watch) = answer(&[]);
    let mut body = answer.into_body();
    feed.send(data(&[b"text ", &SECRET[..PREFIX + 9]].concat())).unwrap();
    assert_eq!(next(&mut body).await.unwrap().unwrap().into_data().unwrap(), "text ");
    let start = Instant::now();
    assert!(matches!(next(&mut body).await, Some(Err(ScrubError::Held))));
    assert!(start.elapsed() >= HOLD && start.elapsed() < HOLD + Duration::from_millis(3));
    assert!(next(&mut body).await.is_none());
    assert!(body.is_end_stream());
    drop(body);
    assert_eq!(watch.events(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_completes_is_masked_and_the_body_goes_on() {
    let (feed, answer, watch) = answer(&[]);
    let mut body = answer.into_body();
    feed.send(data(&SECRET[..PREFIX + 9])).unwrap();
    assert!(now(&mut body).is_pending());
    assert_eq!(body.size_hint().lower(), PREFIX as u64 + 9);
    tokio::time::advance(HOLD / 2).await;
    feed.send(data(&[&SECRET[PREFIX + 9..], b" more"].concat())).unwrap();
    let masked = next(&mut body).await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(masked, format!("{} more", "*".repeat(SECRET.len())));
    tokio::time::advance(HOLD * 2).await;
    feed.send(data(b"still")).unwrap();
    assert_eq!(now(&mut body), Poll::Ready(Some(Bytes::from_static(b"still"))));
    assert_eq!((watch.events(), watch.found()), (0, 1));
}

#[tokio::test]
async fn every_event_passes_in_the_poll_in_which_it_came() {
    let (feed, answer, _) = answer(&[("content-type", "text/event-stream")]);
    let mut body = answer.into_body();
    for (n, tail) in
        ["a", "ghp_", "gh", "%", "\\", "&#1", "ghp_R4nd0m+", "\\u0067", "%67%68%70"].iter().enumerate()
    {
        let event = format!("data: {n} {tail}");
        feed.send(data(event.as_bytes())).unwrap();
        assert_eq!(now(&mut body), Poll::Ready(Some(Bytes::from(event))));
        assert!(now(&mut body).is_pending());
    }
}

#[tokio::test]
async fn refuses_unknown_codings_unless_there_is_no_body() {
    let search = Search {
        scanner: scanner(SECRET),
        watch: Arc::new(Counted::default()),
        decoding: Decoding::default(),
    };
    let with = |body: http_body_util::Full<Bytes>| {
        Response::builder().header("content-encoding", "br, gzip").body(body).unwrap()
    };
    let refused = response(Some(search.clone()), with("x".into()));
    assert!(matches!(refused, Err(ScrubError::UnknownCoding)));
    assert!(response(Some(search), with("".into())).is_ok());
    assert!(response(None, with("x".into())).is_ok());
}

#[tokio::test]
async fn cuts_a_coded_body_that_holds_a_value() {
    let coded = ::zstd::encode_all(SECRET, 1).unwrap();
    let (feed, answer, _) = answer(&[("content-encoding", "zstd")]);
    feed.send(data(&coded)).unwrap();
    let mut body = answer.into_body();
    assert!(matches!(next(&mut body).await, Some(Err(ScrubError::Echoed))));
    assert!(next(&mut body).await.is_none());
}

#[tokio::test]
async fn a_truncated_coded_body_is_not_taken_for_whole() {
    let coded = ::zstd::encode_all(&b"text"[..], 1).unwrap();
    let (feed, answer, _) = answer(&[("content-encoding", "zstd")]);
    feed.send(data(&coded[..coded.len() - 1])).unwrap();
    drop(feed);
    let error = answer.into_body().collect().await.unwrap_err();
    assert!(matches!(error, ScrubError::Coded(_)));
}

#[tokio::test]
async fn the_head_and_declared_trailers_are_scrubbed() {
    let text = std::str::from_utf8(SECRET).unwrap();
    let (feed, answer, _) = answer(&[("trailer", "x-echo"), ("x-head", text)]);
    assert_eq!(answer.headers()["x-head"], "*".repeat(SECRET.len()));
    let mut trailers = HeaderMap::new();
    trailers.insert("x-echo", text.parse().unwrap());
    trailers.insert("x-other", "dropped".parse().unwrap());
    feed.send(data(&[b"end ", &SECRET[..PREFIX + 9]].concat())).unwrap();
    feed.send(Frame::trailers(trailers)).unwrap();
    let mut body = answer.into_body();
    assert_eq!(next(&mut body).await.unwrap().unwrap().into_data().unwrap(), "end ");
    assert_eq!(next(&mut body).await.unwrap().unwrap().into_data().unwrap(), "*".repeat(PREFIX + 9));
    let kept = next(&mut body).await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(kept["x-echo"], "*".repeat(SECRET.len()));
    assert_eq!(kept.len(), 1);
    assert!(next(&mut body).await.is_none());
}

#[tokio::test]
async fn lengths_hold() {
    let body: Vec<u8> = [b"a".as_slice(), SECRET, b"b"].concat();
    let search = Search {
        scanner: scanner(SECRET),
        watch: Arc::new(Counted::default()),
        decoding: Decoding::default(),
    };
    let plain = Response::new(http_body_util::Full::new(Bytes::from(body.clone())));
    let scrubbed = response(Some(search), plain).unwrap().into_body();
    assert_eq!(scrubbed.size_hint().exact(), Some(body.len() as u64));
    let out = scrubbed.collect().await.unwrap().to_bytes();
    assert_eq!(out, format!("a{}b", "*".repeat(SECRET.len())));
}

/// A body that says that it has ended once this was taken, and never comes to its end.
struct Last(Option<Bytes>);

impl Body for Last {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.take().map_or(Poll::Pending, |bytes| Poll::Ready(Some(Ok(Frame::data(bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, Bytes::len) as u64)
    }
}

/// A response with this body, and what it says when that body has ended below.
fn last(coding: Option<&str>, status: StatusCode, bytes: &[u8]) -> Scrubbed<Last> {
    let head = coding.map(|coding| (http::header::CONTENT_ENCODING, coding.parse().unwrap()));
    let search = Search {
        scanner: scanner(SECRET),
        watch: Arc::new(Counted::default()),
        decoding: Decoding::default(),
    };
    let inner = Last(Some(Bytes::copy_from_slice(bytes)));
    Scrubbed::new(Some(search), status, &head.into_iter().collect(), inner).unwrap()
}

fn poll(body: &mut Scrubbed<Last>) -> Poll<Option<Result<Bytes, ScrubError>>> {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    Pin::new(body).poll_frame(&mut cx).map(|frame| frame.map(|frame| frame.map(|f| f.into_data().unwrap())))
}

#[tokio::test]
async fn a_body_has_not_ended_while_something_of_it_is_held() {
    let coded = ::zstd::encode_all(&b"text"[..], 1).unwrap();
    for (coding, bytes, ends) in [
        (None, &SECRET[..PREFIX + 9], false),
        (Some("zstd"), &coded[..coded.len() - 1], false),
        (None, b"text", true),
        (Some("zstd"), &coded, true),
    ] {
        let mut body = last(coding, StatusCode::OK, bytes);
        assert_eq!(body.is_read_only(), coding.is_some());
        assert!(!body.is_end_stream());
        let first = poll(&mut body);
        assert_eq!(body.is_end_stream(), ends, "{coding:?}");
        if ends {
            assert!(matches!(first, Poll::Ready(Some(Ok(out))) if out == bytes), "{coding:?}");
        }
        assert!(poll(&mut body).is_pending());
    }
}

#[tokio::test]
async fn a_coded_chunk_of_which_nothing_may_go_is_no_frame() {
    let coded = ::zstd::encode_all(&b"text"[..], 1).unwrap();
    let (feed, answer, _) = answer(&[("content-encoding", "zstd")]);
    let mut body = answer.into_body();
    feed.send(data(&coded[..2])).unwrap();
    assert!(now(&mut body).is_pending());
    assert_eq!(body.size_hint().lower(), 2);
    feed.send(data(&coded[2..])).unwrap();
    assert_eq!(now(&mut body), Poll::Ready(Some(Bytes::from(coded))));
}

#[tokio::test]
async fn what_ends_a_body_at_its_beginning_is_told_before_the_head_goes() {
    let coded = ::zstd::encode_all(SECRET, 1).unwrap();
    let begun = last(Some("zstd"), StatusCode::OK, &coded).begin().await;
    assert!(matches!(begun, Err(ScrubError::Echoed)), "{begun:?}");
    let mut body = last(None, StatusCode::OK, b"text");
    body.begin().await.unwrap();
    assert!(!body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(4));
    assert!(matches!(poll(&mut body), Poll::Ready(Some(Ok(out))) if out == "text"));
    assert!(body.is_end_stream());
}

#[tokio::test]
async fn only_a_slice_is_searched_for_the_end_of_a_value_at_its_beginning() {
    let end = &SECRET[PREFIX + 5..];
    let stars = "*".repeat(end.len());
    for (status, out) in [(StatusCode::PARTIAL_CONTENT, stars.as_bytes()), (StatusCode::OK, end)] {
        let frame = poll(&mut last(None, status, end));
        assert!(matches!(&frame, Poll::Ready(Some(Ok(bytes))) if bytes == out), "{status}: {frame:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_hold_has_its_own_twenty_milliseconds() {
    let (feed, answer, _) = answer(&[]);
    let mut body = answer.into_body();
    feed.send(data(&SECRET[..PREFIX + 9])).unwrap();
    assert!(now(&mut body).is_pending());
    tokio::time::advance(HOLD / 2).await;
    feed.send(data(&[&SECRET[PREFIX + 9..], b" ", &SECRET[..PREFIX + 9]].concat())).unwrap();
    assert!(matches!(now(&mut body), Poll::Ready(Some(_))));
    assert!(now(&mut body).is_pending());
    tokio::time::advance(HOLD * 3 / 4).await;
    assert!(now(&mut body).is_pending());
    feed.send(data(&SECRET[PREFIX + 9..])).unwrap();
    assert_eq!(now(&mut body), Poll::Ready(Some(Bytes::from("*".repeat(SECRET.len())))));
}

#[tokio::test]
async fn an_upstream_failure_ends_the_body_with_its_cause() {
    struct Failing(VecDeque<Result<Frame<Bytes>, std::io::Error>>);
    impl Body for Failing {
        type Data = Bytes;
        type Error = std::io::Error;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
            Poll::Ready(self.0.pop_front())
        }
    }
    let search = Search {
        scanner: scanner(SECRET),
        watch: Arc::new(Counted::default()),
        decoding: Decoding::default(),
    };
    let failing = Failing([Ok(data(b"x")), Err(std::io::Error::other("gone")), Ok(data(b"y"))].into());
    let mut body = Scrubbed::new(Some(search), StatusCode::OK, &HeaderMap::new(), failing).unwrap();
    assert!(body.frame().await.unwrap().is_ok());
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "gone");
    assert!(body.frame().await.is_none());
}
