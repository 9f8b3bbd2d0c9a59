//! Signatures over requests: what the origin received is what was signed, whatever the agent sent.

use harness::origin::Seen;
use harness::{Origin, Proxy};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::world::{HOST, World};

const SECRET: &str = "signing-key-0123456789abcdef";
const SIGN: &str = "{{timestamp}}|{{nonce}}|{{method}}|{{host}}|{{path}}|{{query}}|{{body}}";

fn spec(auth: &str) -> String {
    format!("type: http-token\nhost: {HOST}\nauth:\n  type: hmac\n  secretRef: signer\n{auth}")
}

fn plain() -> String {
    let headers = "  headers: {X-Sig: \"t={{timestamp}},n={{nonce}},v1={{signature}}\", X-Id: \"{{key_id}}\", X-Pass: \"{{passphrase}}\"}";
    spec(&format!("  sign: \"{SIGN}\"\n{headers}"))
}

async fn world(spec: &str, up: &str) -> World {
    let builder = Proxy::builder().provider("demo", spec).secret("signer", "secret", SECRET);
    let builder =
        builder.secret("signer", "passphrase", "open-sesame-open").public_value("signer", "key_id", "k1");
    World::built(Origin::builder(&[HOST]).only(up), builder).await
}

/// Checks the signature against the bytes that arrived.
#[track_caller]
fn assert_signed(seen: &Seen) {
    let sent = seen.headers_named("x-sig");
    let [sent] = sent.as_slice() else { panic!("{sent:?}") };
    let part = |name: &str| sent.split(',').find_map(|part| part.strip_prefix(name)).unwrap();
    let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
    let head = format!("{}|{}|{}|{}|{path}|{query}|", part("t="), part("n="), seen.method, seen.authority);
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(head.as_bytes());
    mac.update(&seen.body);
    assert_eq!(hex::encode(mac.finalize().into_bytes()), part("v1="), "{seen:#?}");
}

#[tokio::test]
async fn a_body_over_the_buffered_limit_is_refused_with_413() {
    for up in ["h1", "h2"] {
        let world = world(&plain(), up).await;
        let body = vec![b'x'; (10 << 20) + 1];
        world.agent().post(HOST, "/", "X: y", &body).await.assert_refused(413, "DW2012");
        world.assert_nothing_left();
    }
}

#[tokio::test]
async fn fields_that_would_sign_nothing_are_refused_with_their_line() {
    for (auth, words) in [
        ("  sign: \"{{timestamp}}\"\n  headers: {X-Sig: \"{{signature}}\"}", "names nothing of the request"),
        ("  sign: \"{{body}}\"", "holds `{{signature}}` nowhere"),
        ("  headers: {X-Sig: \"{{signature}}\"}", "`sign` is missing"),
        (
            "  sign: \"{{body}}\"\n  headers: {X-Sig: \"{{signature}}\"}\n  algorithm: sha1",
            "has to be one of `sha256`",
        ),
        ("  sign: \"{{body}}\"\n  headers: {X-Sig: \"{{signature}}\", x-sig: \"a\"}", "names `x-sig` twice"),
        ("  sign: \"{{body}}\"\n  headers: {Host: \"{{signature}}\"}", "cannot carry a credential"),
        ("  sign: \"{{body}}\"\n  headers: [X-Sig]", "`headers` has to be"),
        (
            "  sign: \"{{body}}\"\n  headers: {X-Sig: \"{{signature}}\"}\n  header: X-Sig",
            "has no field `header`",
        ),
    ] {
        let Err(failure) = Proxy::builder().provider("demo", &spec(auth)).try_start().await else {
            panic!("it started: {auth}")
        };
        // A warning about the same file may stand before the mistake.
        let told = |line: &str| line.contains("demo.yaml:") && line.contains(words);
        assert!(failure.stderr.lines().any(told), "{auth}\n{words}: {}", failure.stderr);
    }
}

#[tokio::test]
async fn the_key_that_signs_is_never_put_on_a_request() {
    for key in ["token", "secret"] {
        let auth = format!(
            "  sign: \"{{{{body}}}}\"\n  headers: {{X-Sig: \"{{{{signature}}}}\", X-Key: \"{{{{{key}}}}}\"}}"
        );
        let world = world(&spec(&auth), "h1").await;
        let reply = world.agent().get(HOST, "/").await;
        reply.assert_refused(503, "DW1004");
        assert!(reply.text().contains("is what signs"), "{}", reply.text());
        world.assert_nothing_left();
    }
}

#[tokio::test]
async fn the_origin_gets_exactly_what_was_signed() {
    for up in ["h1", "h2"] {
        let world = world(&plain(), up).await;
        for path in ["/", "/a?b=c&d", "/%7Ea/./x/../b%2Fc?q=%7E&;=1", "/?", "/a//b;p?a=1?b=2"] {
            let agent = world.agent();
            agent
                .post(HOST, path, "X-Sig: forged\nX_Sig: forged\nx.id: forged", b"\x00\xffbody")
                .await
                .assert_ok();
            let seen = world.origin.last();
            assert_signed(&seen);
            assert!(!seen.contains("forged"), "{seen:#?}");
            assert_eq!(seen.body, b"\x00\xffbody");
            assert_eq!(seen.headers_named("x-id"), ["k1"]);
            agent.get(HOST, path).await.assert_ok();
            assert_signed(&world.origin.last());
        }
    }
}

#[tokio::test]
async fn chunked_bodies_and_those_of_h2_are_signed_whole() {
    for up in ["h1", "h2"] {
        let world = world(&plain(), up).await;
        let head = "PUT /chunked HTTP/1.1\nTransfer-Encoding: chunked\nExpect: 100-continue";
        let wire = harness::agent::wire(HOST, head, b"3\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n");
        world.agent().tls(HOST).await.exchange(&wire).await.assert_ok();
        let seen = world.origin.last();
        assert_eq!((seen.body.as_slice(), seen.trailers.len()), (&b"abcde"[..], 0));
        assert_signed(&seen);
        let mut client = world.agent().client("h2", HOST).await;
        let request = client.request("POST", "/h2").body(harness::agent::h2::full("fghi")).unwrap();
        client.send(request).await.assert_ok();
        assert_eq!(world.origin.last().body, b"fghi");
        assert_signed(&world.origin.last());
    }
}

#[tokio::test]
async fn what_is_sent_of_the_secret_is_masked_in_answers_and_the_key_is_nowhere() {
    let world = world(&plain(), "h1").await;
    // The origin echoes.
    let reply = world.agent().get(HOST, "/").await;
    reply.assert_ok();
    assert_eq!(world.origin.only().headers_named("x-pass"), ["open-sesame-open"]);
    assert!(!reply.text().contains("open-sesame"), "{}", reply.text());
}

#[tokio::test]
async fn it_is_one_of_several_injections() {
    let auth = format!(
        "type: http-token\nhost: {HOST}\nauth:\n  secretRef: signer\n  secretKey: secret\n  inject:\n  - hmac: {{sign: \"{{{{method}}}} {{{{pathAndQuery}}}}\\n{{{{body}}}}\", param: sig, encoding: base64}}"
    );
    let world = world(&auth, "h1").await;
    world.agent().get(HOST, "/a?sig=forged&b=1").await.assert_ok();
    let target = world.origin.only().target;
    let (signed, signature) = target.split_once("&sig=").unwrap();
    assert_eq!(signed, "/a?b=1");
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(b"GET /a?b=1\n");
    use base64::Engine as _;
    let wanted = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
    assert_eq!(signature.replace("%2B", "+").replace("%2F", "/").replace("%3D", "="), wanted);
}

#[tokio::test]
async fn a_websocket_handshake_is_signed_as_the_get_that_it_becomes() {
    for down in ["h1", "h2"] {
        let world = world(&plain(), "h1").await;
        match down {
            "h1" => {
                let head = "GET /ws HTTP/1.1\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
                world.agent().ask(HOST, head).await;
            }
            _ => {
                let mut client = world.agent().client("h2", HOST).await;
                drop(client.websocket("/ws").await);
            }
        }
        let seen = world.origin.wait_requests(1).await.remove(0);
        assert_eq!((seen.method.as_str(), seen.body.len()), ("GET", 0));
        assert_signed(&seen);
    }
}

#[tokio::test]
async fn the_signature_that_was_sent_does_not_come_back() {
    let (key, signing) = ("X-Sig", "  sign: \"{{pathAndQuery}}\"");
    for (auth, part) in [
        (format!("{signing}\n  headers: {{{key}: \"v1={{{{signature}}}}\"}}"), "v1="),
        (format!("{signing}\n  param: sig"), "sig="),
    ] {
        let world = world(&spec(&auth), "h1").await;
        let text = world.agent().get(HOST, "/a").await.assert_ok().text();
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(b"/a");
        let signature = hex::encode(mac.finalize().into_bytes());
        assert!(world.origin.last().contains(&signature), "{:#?}", world.origin.last());
        assert!(text.contains(&format!("{part}{}", "*".repeat(64))) && !text.contains(&signature), "{text}");
    }
}
