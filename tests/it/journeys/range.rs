//! Range: slices of an echo must not rebuild the secret.

use harness::{Origin, Proxy, answer, canary};
use http::Response;

use crate::world::{HOST, World, bearer, bearer_and};

/// Serves closed single ranges of an echo of the credential, as a static file server would.
fn slices() -> answer::Answer {
    answer::made(|seen| {
        let text =
            format!("{}{}{}", "-".repeat(5000), seen.header("authorization").unwrap(), "-".repeat(5000));
        let Some(range) = seen.header("range").and_then(|range| range.strip_prefix("bytes=")) else {
            return Response::new(answer::full(text));
        };
        let (from, to) = range.split_once('-').unwrap();
        let from: usize = from.parse().unwrap_or(0);
        let to = to.parse().unwrap_or(text.len() - 1).min(text.len() - 1);
        let part = text[from..=to].to_owned();
        let content_range = format!("bytes {from}-{to}/{}", text.len());
        Response::builder()
            .status(206)
            .header("content-range", content_range)
            .body(answer::full(part))
            .unwrap()
    })
}

async fn world(lines: &str) -> World {
    World::with(Origin::builder(&[HOST]).answer(slices()), &bearer_and(lines)).await
}

#[tokio::test]
async fn small_closed_ranges_and_multi_ranges_lose_the_header() {
    let world = world("").await;
    for range in [
        "bytes=0-99",
        "bytes=0-4094",
        "bytes=100-100",
        "bytes=0-0,5-9",
        "bytes=0-9999, 10000-19999",
        "bytes=-100",
    ] {
        let reply = world.agent().ask(HOST, &format!("GET / HTTP/1.1\nRange: {range}")).await;
        let sent = world.origin.last().header("range").map(str::to_owned);
        if range == "bytes=-100" {
            // A suffix of a few bytes is as small a slice as any.
            assert!(matches!(reply.status, 200 | 206));
            continue;
        }
        assert_eq!((reply.status, sent), (200, None), "{range}");
    }
}

#[tokio::test]
async fn open_and_large_ranges_are_forwarded() {
    let world = world("").await;
    for range in ["bytes=0-", "bytes=0-8191", "bytes=100-"] {
        let reply = world.agent().ask(HOST, &format!("GET / HTTP/1.1\nRange: {range}")).await;
        assert_eq!((reply.status, world.origin.last().header("range")), (206, Some(range)));
    }
}

#[tokio::test]
async fn a_provider_may_allow_small_ranges() {
    let world = world("response: {smallRanges: allow}").await;
    let reply = world.agent().ask(HOST, "GET / HTTP/1.1\nRange: bytes=0-99").await;
    assert_eq!((reply.status, world.origin.last().header("range")), (206, Some("bytes=0-99")));
}

#[tokio::test]
async fn a_secret_at_the_edges_of_a_206_is_masked() {
    let secret = canary::fresh();
    let builder = Proxy::builder().canary(&secret).provider("demo", &bearer());
    let world = World::built(Origin::builder(&[HOST]).answer(slices()), builder).await;
    // "Bearer " follows 5000 dashes: the secret starts at 5007. One part ends 25 bytes into it, the other begins there.
    let middle = 5007 + 25;
    let head = world.agent().ask(HOST, &format!("GET / HTTP/1.1\nRange: bytes=0-{}", middle - 1)).await;
    let tail = world.agent().ask(HOST, &format!("GET / HTTP/1.1\nRange: bytes={middle}-")).await;
    assert!(canary::longest_head(&head.body, &secret) < 16, "{:?}", head.text());
    assert!(!tail.text().contains(&secret[25 + 2..]), "{:?}", tail.text());
    let joined = [head.body, tail.body].concat();
    assert_eq!(canary::search(&joined, &secret), None);
}

#[tokio::test]
async fn a_short_secret_takes_any_range_away() {
    let builder = Proxy::builder().canary("short-secret-16b").provider("demo", &bearer());
    let world = World::built(Origin::builder(&[HOST]).answer(slices()), builder).await;
    for range in ["bytes=0-", "bytes=0-8191"] {
        let reply = world.agent().ask(HOST, &format!("GET / HTTP/1.1\nRange: {range}")).await;
        assert_eq!((reply.status, world.origin.last().header("range")), (200, None), "{range}");
    }
}

#[tokio::test]
async fn a_host_without_a_credential_keeps_every_range() {
    let spec = format!("type: http-token\nhost: {HOST}");
    let world = World::with(Origin::builder(&[HOST]).answer(answer::echo()), &spec).await;
    world.agent().ask(HOST, "GET / HTTP/1.1\nRange: bytes=0-9").await.assert_ok();
    assert_eq!(world.origin.only().header("range"), Some("bytes=0-9"));
}
