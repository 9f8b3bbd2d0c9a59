//! Incomplete matches: an echo cut short must not give the secret away piece by piece.

use harness::{Origin, Proxy, answer, canary};
use http::Response;

use crate::world::{HOST, World, bearer};

const SECRET: &str = "ghp_Zq7Rk2Wn9Xb4Tm6Vc1Lp8Ys3Hd5Jf0Ga7Qe";

/// Answers with the first N bytes of the secret and ends there; N is the path.
fn heads() -> answer::Answer {
    answer::made(|seen| {
        let secret = seen.header("authorization").unwrap().trim_start_matches("Bearer ").to_owned();
        let n: usize = seen.target[1..].parse().unwrap();
        Response::new(answer::full(format!("begin {}", &secret[..n])))
    })
}

async fn world() -> World {
    let builder = Proxy::builder().canary(SECRET).bearer(HOST);
    World::built(Origin::builder(&[HOST]).h1().answer(heads()), builder).await
}

#[tokio::test]
async fn a_short_head_of_the_secret_is_forwarded() {
    let world = world().await;
    for n in [1, 4, 7] {
        let reply = world.agent().get(HOST, &format!("/{n}")).await;
        assert_eq!(reply.assert_ok().text(), format!("begin {}", &SECRET[..n]));
    }
}

#[tokio::test]
async fn a_long_head_of_the_secret_at_the_end_of_a_body_is_not_given_out() {
    let world = world().await;
    let reply = world.agent().get(HOST, "/30").await;
    let head = canary::longest_head(&reply.body, SECRET);
    assert!(head < 4 + 8, "{head} bytes: {}", reply.text());
}

#[tokio::test]
async fn dw2009_an_agent_that_asks_for_the_secret_piece_by_piece_is_stopped_at_the_third() {
    let world = world().await;
    let mut longest = 0;
    let mut codes = Vec::new();
    for n in [14, 18, 22, 26, 30] {
        let reply = world.agent().get(HOST, &format!("/{n}")).await;
        longest = longest.max(canary::longest_head(&reply.body, SECRET));
        codes.push(reply.code());
    }
    assert!(longest < 4 + 8, "{longest} bytes were given out");
    let last = world.agent().get(HOST, "/0").await;
    last.assert_refused(502, "DW2009");
    assert!(world.origin.requests().len() <= 3, "{codes:?}");
}

#[tokio::test]
async fn another_secret_of_the_agent_is_not_stopped_with_it() {
    let hosts = [HOST, "other.example.com"];
    let origin = Origin::builder(&hosts).h1().answer(heads()).start().await;
    let other = bearer().replace(HOST, hosts[1]).replace("secretRef: canary", "secretRef: second");
    let builder = Proxy::builder().canary(SECRET).bearer(HOST).provider("other", &other);
    let builder = builder.secret("second", "token", "second-secret-value-0123456789abcdefgh");
    let proxy = builder.origin(&origin).start().await;
    for n in [20, 24, 28, 30] {
        proxy.agent().get(HOST, &format!("/{n}")).await;
    }
    proxy.agent().get(HOST, "/0").await.assert_refused(502, "DW2009");
    proxy.agent().get(hosts[1], "/0").await.assert_ok();
}

#[tokio::test]
async fn rotation_clears_a_stopped_secret() {
    let mut world = world().await;
    for n in [20, 24, 28] {
        world.agent().get(HOST, &format!("/{n}")).await;
    }
    world.agent().get(HOST, "/0").await.assert_refused(502, "DW2009");
    world.proxy.rotate("canary", "token", "ghp_Bx8Ls3Xo0Yc5Un7Wd2Mq9Zt4Ie6Kg1Hb8Rf");
    let end = std::time::Instant::now() + harness::within::DEADLINE;
    while world.agent().get(HOST, "/0").await.status != 200 {
        assert!(std::time::Instant::now() < end, "still refused");
    }
}

#[tokio::test]
async fn a_secret_that_arrives_byte_by_byte_is_masked() {
    let (mut feeds, answer) = answer::stream(&[("content-type", "text/event-stream")]);
    let builder = Proxy::builder().canary(SECRET).bearer(HOST);
    let world = World::built(Origin::builder(&[HOST]).h1().answer(answer), builder).await;
    let mut tls = world.agent().tls(HOST).await;
    tls.send(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
    let feed = answer::next(&mut feeds).await;
    let text = format!("data: {SECRET}\n\n");
    for byte in text.bytes() {
        if !feed.send(vec![byte]).await {
            break;
        }
    }
    feed.finish();
    let reply = tls.read_reply("GET").await;
    let head = canary::longest_head(&reply.body, SECRET);
    assert!(head < 4 + 8, "{head} bytes: {}", reply.text());
}
