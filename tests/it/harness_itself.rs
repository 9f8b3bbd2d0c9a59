//! The harness proved on itself, agent straight to origin: a journey may only fail for the product's sake.

use std::io::ErrorKind;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures_util::{SinkExt as _, StreamExt as _};
use harness::agent::{h2, rawh2, ws};
use harness::ca::Flaw;
use harness::origin::forward::ForwardProxy;
use harness::origin::raw::{RawOrigin, Step};
use harness::{Agent, Origin, Proxy, answer, within};
use http_body_util::BodyExt as _;
use tokio_tungstenite::tungstenite::Message;

const HOST: &str = "api.example.com";

#[tokio::test]
async fn a_bad_certificate_is_refused_by_the_harness_client() {
    for flaw in [Flaw::Expired, Flaw::NotYetValid, Flaw::OtherHost, Flaw::SelfSigned, Flaw::UnknownCa] {
        let origin = Origin::builder(&[HOST]).flaw(flaw).start().await;
        let refused = Agent::direct(&origin).tunnel("api.example.com:443").try_open().await;
        assert_eq!(refused.map(|_| ()).unwrap_err().kind(), ErrorKind::InvalidData, "{flaw:?}");
        assert_eq!(origin.requests().len(), 0);
    }
}

#[tokio::test]
async fn an_origin_records_and_echoes_over_h1() {
    let origin = Origin::start(HOST).await;
    let reply = Agent::direct(&origin).post(HOST, "/a?b=c", "X-One: 1\nX-Two: 2", b"hello").await;
    assert_eq!(reply.assert_ok().text().lines().next(), Some("POST /a?b=c"));
    assert!(reply.text().ends_with("\n\nhello"));
    let seen = origin.only();
    assert_eq!(
        (seen.version.as_str(), seen.authority.as_str(), seen.sni.as_deref()),
        ("HTTP/1.1", HOST, Some(HOST))
    );
    assert_eq!((seen.header("x-one"), seen.body.as_slice(), seen.complete), (Some("1"), &b"hello"[..], true));
}

#[tokio::test]
async fn an_origin_records_and_echoes_over_h2() {
    let origin = Origin::start(HOST).await;
    let mut client = Agent::direct(&origin).h2(HOST).await;
    let request = client.request("POST", "/x").body(h2::full("hello")).unwrap();
    assert!(client.send(request).await.assert_ok().text().ends_with("hello"));
    assert_eq!((origin.only().version.as_str(), origin.only().authority.as_str()), ("HTTP/2.0", HOST));
}

#[tokio::test]
async fn hand_written_h2_is_answered() {
    let origin = Origin::start(HOST).await;
    let end = Agent::direct(&origin).h2_fields(HOST, &rawh2::get(HOST, "/raw")).await;
    assert!(matches!(end, rawh2::End::Answer { status: Some(200), .. }), "{end:?}");
    assert_eq!(origin.only().target, "/raw");
    let end = Agent::direct(&origin).h2_fields(HOST, &[(":method", "GET"), ("UPPER", "case")]).await;
    assert!(matches!(end, rawh2::End::Reset(_) | rawh2::End::Closed), "{end:?}");
}

#[tokio::test]
async fn a_stream_is_received_piece_by_piece_and_a_cut_is_seen() {
    for protocol in ["h1", "h2"] {
        let (mut feeds, answer) = answer::stream(&[("content-type", "text/event-stream")]);
        let origin = Origin::builder(&[HOST]).only(protocol).answer(answer).start().await;
        let mut client = Agent::direct(&origin).client(protocol, HOST).await;
        let request = client.request("GET", "/").body(h2::empty()).unwrap();
        let mut response = client.open(request).await.unwrap();
        let feed = answer::next(&mut feeds).await;
        for n in 0..3 {
            assert!(feed.send(format!("data: {n}\n\n")).await);
            let frame = within("an event", response.body_mut().frame()).await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), format!("data: {n}\n\n"));
        }
        feed.cut().await;
        assert!(!h2::collect(response).await.complete);
    }
}

#[tokio::test]
async fn trailers_and_interim_answers_are_seen() {
    let wire = b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-T: 1\r\n\r\n";
    let origin = RawOrigin::says(HOST, wire).await;
    let agent = Agent::new(
        harness::agent::Via::Direct(origin.address()),
        harness::ca::TestCa::world().pem().to_owned(),
        Default::default(),
    );
    let reply = agent.get(HOST, "/t").await;
    assert_eq!(
        (reply.interim.as_slice(), reply.text().as_str(), reply.trailer("x-t")),
        (&[103][..], "hi", Some("1"))
    );
    assert!(
        origin.text().starts_with("GET /t HTTP/1.1\r\nHost: api.example.com\r\n\r\n"),
        "{}",
        origin.text()
    );
}

#[tokio::test]
async fn codings_decode_to_what_was_encoded_even_when_cut() {
    for coding in ["gzip", "deflate", "br", "zstd"] {
        let coded = answer::encode(coding, b"the body").await;
        assert_eq!(answer::decode(coding, &coded).await, b"the body", "{coding}");
        assert!(answer::decode(coding, &coded[..coded.len() / 2]).await.len() <= 8);
    }
}

#[tokio::test]
async fn websockets_echo() {
    let origin = Origin::builder(&[HOST]).answer(answer::websocket(|_, message| Some(message))).start().await;
    let mut socket = Agent::direct(&origin).websocket(HOST, "/ws", &[]).await.unwrap();
    socket.send(Message::text("ping")).await.unwrap();
    assert_eq!(within("an echo", socket.next()).await.unwrap().unwrap(), Message::text("ping"));
    let reply = Agent::direct(&origin).ask(HOST, &ws::upgrade_head("/ws")).await;
    assert_eq!((reply.status, reply.header("sec-websocket-accept")), (101, Some(ws::ACCEPT)));
}

#[tokio::test]
async fn a_forward_proxy_demands_its_password() {
    let origin = Origin::start(HOST).await;
    let names = [("api.example.com:443", origin.address())];
    let forward = ForwardProxy::start(&names, Some("Basic dTpw")).await;
    let ca = harness::ca::TestCa::world().pem().to_owned();
    let agent = Agent::new(harness::agent::Via::Tcp(forward.address()), ca, Default::default());
    assert_eq!(agent.connect("api.example.com:443").await.status, 407);
    let agent = agent.with_basic("u", "p");
    assert!(agent.get(HOST, "/").await.assert_ok().text().starts_with("GET /"));
    assert_eq!(agent.connect("other.example.com:443").await.status, 502);
    assert_eq!(forward.heads().len(), 3);
}

#[tokio::test]
async fn a_silent_origin_keeps_what_it_heard() {
    let origin = RawOrigin::tcp(HOST, vec![Step::Hold]).await;
    let via = harness::agent::Via::Tcp(origin.address());
    let mut pipe = Agent::new(via, String::new(), Default::default()).dial().await;
    pipe.send(b"anything").await;
    assert_eq!(origin.wait_for("anything").await, "anything");
}

fn leaky(leak: &str) -> harness::ProxyBuilder {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/leaky-proxy.sh");
    Proxy::builder().binary(script).env("LEAK", leak).env("PATH", "/usr/bin:/bin")
}

async fn end_of_a_proxy_that(leak: &str) -> Result<(), String> {
    end_of(leaky(leak)).await
}

async fn end_of(builder: harness::ProxyBuilder) -> Result<(), String> {
    let proxy = builder.start().await;
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || drop(proxy)));
    ended.map_err(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_default())
}

#[tokio::test]
async fn the_end_of_a_journey_finds_a_leak_and_a_panic() {
    assert!(end_of_a_proxy_that("published").await.unwrap_err().contains("secret 0 is in agent.env, raw"));
    assert!(end_of_a_proxy_that("panic").await.unwrap_err().contains("panicked"));
    assert_eq!(end_of_a_proxy_that("nothing").await, Ok(()));
}

/// The secret in every form that is scrubbed, and the name under which the search reports it.
fn forms(secret: &str) -> Vec<(String, &'static str)> {
    let each = |form: &dyn Fn(char) -> String| secret.chars().map(form).collect::<String>();
    let mut forms = vec![(secret.to_owned(), "raw")];
    let escaped = [
        each(&|c| format!("%{:02x}", c as u32)),
        each(&|c| format!("%{:02X}", c as u32)),
        each(&|c| format!("\\u{:04x}", c as u32)),
        each(&|c| format!("&#{};", c as u32)),
        each(&|c| format!("&#x{:X};", c as u32)),
        secret.replacen('n', "%6e", 1).replacen('a', "\\u0061", 1).replacen('r', "&#114;", 1),
    ];
    forms.extend(escaped.map(|form| (form, "escaped (percent, JSON or HTML)")));
    forms.extend([hex::encode(secret), hex::encode_upper(secret)].map(|form| (form, "hex")));
    for before in ["", "u", "us", "user:"] {
        let text = format!("{before}{secret} and more");
        forms.extend([STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text)].map(|form| (form, "base64")));
    }
    forms
}

#[tokio::test]
async fn the_end_of_a_journey_finds_the_secret_in_every_form_wherever_it_was_written() {
    let places = ["stderr", "stdout", "audit.jsonl", "publish/agent.env", "kept/state", "{outside}"];
    let secret = harness::canary::fresh();
    for (n, (form, reported)) in forms(&secret).into_iter().enumerate() {
        // Each form in some place and each place with some form; how a form is found does not depend on the place.
        let place = places[n % places.len()];
        let outside = tempfile::tempdir().unwrap();
        let audit = outside.path().join("audit.jsonl");
        let mut builder = leaky("text").canary(&secret).env("TEXT", &form);
        builder = match place {
            "{outside}" => builder.audit_to(audit.to_str().unwrap()).env("PLACE", audit.to_str().unwrap()),
            place => builder.env("PLACE", &format!("{{home}}/{place}")),
        };
        let told = end_of(builder).await.unwrap_err();
        assert!(told.contains("secret 0 is in") && told.contains(reported), "{place}, {form}: {told}");
    }
}

#[tokio::test]
async fn what_agents_receive_is_searched_in_every_form_over_h1_and_h2() {
    let secret = harness::canary::fresh();
    for (form, reported) in forms(&secret) {
        for protocol in ["h1", "h2"] {
            let echo = answer::fixed(502, &[("x-echo", form.as_str())], form.as_bytes());
            let origin = Origin::builder(&[HOST]).answer(echo).start().await;
            let sweep = harness::sweep::Sweep::default();
            let via = harness::agent::Via::Direct(origin.address());
            let ca = harness::ca::TestCa::world().pem().to_owned();
            let agent = Agent::new(via, ca, sweep.clone());
            // Streamed by a client of a library, whose stream is swept below it.
            let mut client = agent.client(protocol, HOST).await;
            let request = client.request("GET", "/").body(h2::empty()).unwrap();
            h2::collect(client.open(request).await.unwrap()).await;
            let leaks = sweep.leaks(std::slice::from_ref(&secret));
            assert!(leaks.iter().any(|leak| leak.contains(reported)), "{protocol}, {form}: {leaks:?}");
        }
    }
}
