//! An echoed credential is masked, in every form, wherever it comes back; the sweep proves it for every journey, these for each form.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use harness::agent::h2;
use harness::origin::answer::full;
use harness::{Origin, answer, canary};
use http::Response;

use crate::world::{HOST, OTHER, World, bearer, bearer_and, token};

/// A secret whose every form differs from its plain one.
const ODD: &str = "tok/en+with=odd\"chars'&<more>%and~plain0123";

fn forms(secret: &str) -> Vec<(&'static str, String)> {
    let each = |make: &dyn Fn(char) -> String| secret.chars().map(make).collect::<String>();
    let mut n = 0;
    let mixed = secret
        .chars()
        .map(|c| {
            n += 1;
            match n % 4 {
                0 => format!("%{:02x}", c as u32),
                1 => format!("\\u{:04x}", c as u32),
                2 => format!("&#{};", c as u32),
                _ => c.to_string(),
            }
        })
        .collect();
    vec![
        ("raw", secret.to_owned()),
        ("percent, lower", each(&|c| format!("%{:02x}", c as u32))),
        ("percent, upper", each(&|c| format!("%{:02X}", c as u32))),
        (
            "percent, as browsers do",
            each(&|c| if c.is_ascii_alphanumeric() { c.into() } else { format!("%{:02X}", c as u32) }),
        ),
        ("JSON \\u", each(&|c| format!("\\u{:04x}", c as u32))),
        ("JSON \\U case", each(&|c| format!("\\u{:04X}", c as u32))),
        ("JSON minimal", secret.replace('\\', "\\\\").replace('"', "\\\"").replace('/', "\\/")),
        ("HTML decimal", each(&|c| format!("&#{};", c as u32))),
        ("HTML padded", each(&|c| format!("&#{:08};", c as u32))),
        ("HTML hex", each(&|c| format!("&#x{:x};", c as u32))),
        (
            "HTML named",
            secret
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
                .replace('"', "&quot;")
                .replace('\'', "&#39;"),
        ),
        ("mixed", mixed),
        ("base64", STANDARD.encode(secret)),
        ("base64, no padding", STANDARD_NO_PAD.encode(secret)),
        ("base64url", URL_SAFE.encode(secret)),
        ("base64url, no padding", URL_SAFE_NO_PAD.encode(secret)),
        ("base64 at 1", STANDARD.encode(format!("u{secret} and more"))),
        ("base64 at 2", STANDARD.encode(format!("us{secret} and more"))),
        ("base64 of Basic", STANDARD.encode(format!("user:{secret}"))),
        ("hex, lower", hex::encode(secret)),
        ("hex, upper", hex::encode_upper(secret)),
    ]
}

#[tokio::test]
async fn every_form_of_an_echo_in_a_body_is_masked_with_the_same_length() {
    for (down, secret) in [("h1", ODD), ("h2", "plain-secret-0123456789abcdef")] {
        for chunked in [false, true] {
            let answer = answer::made(move |seen| {
                let form = &forms(secret)[seen.target[1..].parse::<usize>().unwrap()].1;
                let body = format!("before {form} after");
                match chunked {
                    true => Response::new(body_of_two(body)),
                    false => Response::new(full(body)),
                }
            });
            let proxy = harness::Proxy::builder().canary(secret).bearer(HOST);
            let world = World::built(Origin::builder(&[HOST]).answer(answer), proxy).await;
            let mut client = world.agent().client(down, HOST).await;
            for (n, (name, form)) in forms(secret).iter().enumerate() {
                let reply = client.get(&format!("/{n}")).await;
                let text = reply.assert_ok().text();
                assert_eq!(canary::search(text.as_bytes(), secret), None, "{name}: {text}");
                assert_eq!(text.len(), "before  after".len() + form.len(), "{name}: {text}");
                assert!(
                    text.starts_with("before ") && text.ends_with(" after") && text.contains('*'),
                    "{name}: {text}"
                );
            }
        }
    }
}

/// Two frames, cut in the middle of the form.
fn body_of_two(text: String) -> answer::Body {
    use http_body_util::BodyExt as _;
    let (head, tail) = text.split_at(text.len() / 2);
    let frames = [head.to_owned(), tail.to_owned()]
        .map(|part| Ok::<_, answer::Error>(hyper::body::Frame::data(part.into())));
    http_body_util::StreamBody::new(futures_util::stream::iter(frames)).boxed()
}

#[tokio::test]
async fn an_echo_in_headers_is_masked_and_one_in_a_headers_name_removes_it() {
    let answer = answer::made(|seen| {
        let value = seen.header("authorization").unwrap().to_owned();
        let secret = value.trim_start_matches("Bearer ").to_owned();
        Response::builder()
            .header("x-echo", &value)
            .header("location", format!("https://api.example.com/?key={secret}&x=1"))
            .header("set-cookie", format!("t={secret}; Path=/"))
            .header("x-base64", STANDARD.encode(&secret))
            .header(format!("x-{secret}"), "1")
            .header("x-kept", "1")
            .body(full("ok"))
            .unwrap()
    });
    for down in ["h1", "h2"] {
        let world = World::with(Origin::builder(&[HOST]).answer(answer.clone()), &bearer()).await;
        let mut client = world.agent().client(down, HOST).await;
        let reply = client.get("/").await;
        let stars = "*".repeat(world.proxy.canary().len());
        assert_eq!(reply.header("x-echo"), Some(format!("Bearer {stars}").as_str()));
        assert_eq!(
            reply.header("location"),
            Some(format!("https://api.example.com/?key={stars}&x=1").as_str())
        );
        assert_eq!(reply.header("set-cookie"), Some(format!("t={stars}; Path=/").as_str()));
        assert_eq!(reply.header("x-kept"), Some("1"));
        assert!(reply.headers.iter().all(|(name, _)| !name.contains("canary")), "{reply:?}");
    }
}

#[tokio::test]
async fn an_echo_in_trailers_is_masked() {
    for (down, up) in [("h1", "h1"), ("h2", "h2")] {
        let (mut feeds, answer) =
            answer::stream(&[("trailer", "x-echo"), ("content-type", "application/grpc")]);
        let world = World::with(Origin::builder(&[HOST]).only(up).answer(answer), &bearer()).await;
        let mut client = world.agent().client(down, HOST).await;
        let request = client.request("GET", "/").header("te", "trailers").body(h2::empty()).unwrap();
        let response = client.open(request).await.unwrap();
        let feed = answer::next(&mut feeds).await;
        feed.send("body").await;
        feed.trailers(&[
            ("x-echo", world.proxy.canary()),
            ("grpc-message", &format!("bad key {}", world.proxy.canary())),
        ])
        .await;
        feed.finish();
        let reply = h2::collect(response).await;
        let trailers = format!("{:?}", reply.trailers);
        assert_eq!(
            canary::search(trailers.as_bytes(), world.proxy.canary()),
            None,
            "{down}→{up}: {trailers}"
        );
    }
}

#[tokio::test]
async fn an_echo_in_a_reason_phrase_never_comes_back() {
    let origin = harness::origin::raw::RawOrigin::says(
        HOST,
        format!("HTTP/1.1 401 Bad token {ODD}\r\nContent-Length: 0\r\n\r\n").as_bytes(),
    )
    .await;
    let proxy =
        harness::Proxy::builder().canary(ODD).bearer(HOST).route(HOST, 443, origin.address()).start().await;
    let reply = proxy.agent().get(HOST, "/").await;
    assert_eq!(reply.status, 401);
    assert_eq!(canary::search(reply.reason.as_bytes(), ODD), None, "{}", reply.reason);
}

#[tokio::test]
async fn an_echo_of_what_was_put_into_path_query_cookie_or_basic_is_masked() {
    for auth in [
        "type: query, param: k",
        "type: cookie, name: sid",
        "type: basic, username: user",
        "type: header, header: X-K",
    ] {
        let world = World::of(&token(auth)).await;
        let text = world.agent().get(HOST, "/x").await.assert_ok().text();
        assert!(
            text.contains("****") && canary::search(text.as_bytes(), world.proxy.canary()).is_none(),
            "{auth}: {text}"
        );
    }
}

#[tokio::test]
async fn the_body_of_an_error_is_masked_as_well() {
    let answer = answer::made(|seen| {
        let value = seen.header("authorization").unwrap().to_owned();
        Response::builder().status(401).body(full(format!("{{\"error\":\"bad {value}\"}}"))).unwrap()
    });
    let world = World::with(Origin::builder(&[HOST]).answer(answer), &bearer()).await;
    let text = world.agent().get(HOST, "/").await.text();
    assert_eq!(text, format!("{{\"error\":\"bad Bearer {}\"}}", "*".repeat(world.proxy.canary().len())));
}

#[tokio::test]
async fn a_value_that_was_not_injected_here_is_not_looked_for() {
    // Otherwise an agent could try guesses at another provider's secret and watch them being masked.
    let origin = Origin::start(HOST).await;
    let other = bearer().replace(HOST, "other.example.com").replace("secretRef: canary", "secretRef: second");
    let second = "second-secret-value-0123456789abcdefgh";
    let builder = harness::Proxy::builder()
        .bearer(HOST)
        .provider("other", &other)
        .public_value("second", "token", second);
    let proxy = builder.origin(&origin).start().await;
    let reply = proxy.agent().post(HOST, "/", "X: y", format!("is it {second}?").as_bytes()).await;
    assert!(reply.assert_ok().text().ends_with(&format!("is it {second}?")), "{}", reply.text());
}

#[tokio::test]
async fn redaction_can_be_switched_off_for_a_provider_that_says_so() {
    let world = World::of(&bearer_and("response: {redact: true, stripHeaders: [Set-Cookie, X-Strip]}")).await;
    let reply = world.agent().get(HOST, "/").await;
    assert!(reply.text().contains("****"));
}

#[tokio::test]
async fn strip_headers_are_stripped() {
    let answer = answer::fixed(200, &[("set-cookie", "a=1"), ("x-strip", "1"), ("x-kept", "1")], b"ok");
    let world = World::with(
        Origin::builder(&[HOST]).answer(answer),
        &bearer_and("response: {stripHeaders: [Set-Cookie, X-Strip]}"),
    )
    .await;
    let reply = world.agent().get(HOST, "/").await;
    assert_eq!(
        (reply.header("set-cookie"), reply.header("x-strip"), reply.header("x-kept")),
        (None, None, Some("1"))
    );
}

#[tokio::test]
async fn a_secret_under_eight_bytes_is_not_injected() {
    let builder = harness::Proxy::builder().bearer(HOST).canary("sh0rt!!");
    let origin = Origin::start(HOST).await;
    match builder.origin(&origin).try_start().await {
        Err(failure) => assert!(!failure.stderr.contains("sh0rt!!"), "{}", failure.stderr),
        Ok(proxy) => {
            let reply = proxy.agent().get(HOST, "/").await;
            assert_eq!(reply.status, 503, "{reply:?}");
            assert!(origin.requests().is_empty());
        }
    }
}

#[tokio::test]
async fn a_secret_that_cannot_stand_in_a_header_is_not_injected() {
    for value in
        ["line one\r\nX-Evil: 1", "with\0nul-0123456789", "with\x7fdel-0123456789", "ünïcödé-0123456789"]
    {
        let origin = Origin::start(HOST).await;
        let builder = harness::Proxy::builder().canary(value).bearer(HOST).origin(&origin);
        let Ok(proxy) = builder.try_start().await else { continue };
        let reply = proxy.agent().get(HOST, "/").await;
        assert_eq!(reply.status, 503, "{value:?}: {reply:?}");
        assert!(origin.requests().is_empty());
    }
}

#[tokio::test]
async fn the_most_talkative_log_holds_no_secret() {
    let builder = harness::Proxy::builder().bearer(HOST).log("trace").arg("--log-format").arg("json");
    for down in ["h1", "h2"] {
        let world =
            World::built(Origin::builder(&[HOST]), harness::Proxy::builder().bearer(HOST).log("trace")).await;
        let mut client = world.agent().client(down, HOST).await;
        client.get("/?q=1").await.assert_ok();
    }
    let world = World::built(Origin::builder(&[HOST]), builder).await;
    world.agent().get(HOST, "/").await.assert_ok();
    world.agent().get("denied.example.net", "/").await.assert_refused(403, "DW1001");
}

#[tokio::test]
async fn an_answer_does_not_tell_whether_the_agent_guessed_the_value_of_another_host() {
    let (first, second) = ("value-of-the-first-host", "value-of-the-other-host");
    let spec = format!(
        "type: http-token\nhosts: [{HOST}, {OTHER}]\nauth:\n  secretRef: pair\n  secretKey: one\n  inject:\n  \
         - {{hosts: [{HOST}], header: X-A}}\n  - {{hosts: [{OTHER}], header: X-B, template: \"{{{{two}}}}\"}}"
    );
    let builder = harness::Proxy::builder().provider("demo", &spec);
    let builder = builder.public_value("pair", "one", first).public_value("pair", "two", second);
    let world = World::built(Origin::builder(&[HOST, OTHER]), builder).await;
    for (host, own, others) in [(HOST, first, second), (OTHER, second, first)] {
        let reply = world.agent().post(host, "/", "X-C: y", format!("{own} {others}").as_bytes()).await;
        let text = reply.assert_ok().text();
        assert!(text.contains(others), "the guess of another host's value is confirmed: {text}");
        assert!(!text.contains(own), "{text}");
        let sent = world.origin.last();
        assert!(
            sent.contains(own) && sent.headers.iter().all(|(_, value)| !value.contains(others)),
            "{sent:#?}"
        );
    }
}
