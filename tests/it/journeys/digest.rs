//! Digest (RFC 7616) before an origin that asks for it and verifies the answer.

use std::sync::{Arc, Mutex};

use futures_util::{SinkExt as _, StreamExt as _};
use harness::origin::{Answer, Seen};
use harness::{Origin, Proxy, answer};
use http::Response;
use sha2::{Digest as _, Sha256};
use tokio_tungstenite::tungstenite::Message;

use crate::world::{HOST, World};

const USER: &str = "Mufasa";
const PASSWORD: &str = "Circle of Life";

fn spec(more: &str) -> String {
    format!("type: http-token\nhost: {HOST}\nauth: {{type: digest, secretRef: lion{more}}}")
}

async fn world(up: &str, more: &str, answer: Answer, password: &str) -> World {
    let builder = Proxy::builder().provider("demo", &spec(more)).public_value("lion", "username", USER);
    let builder = builder.arg("--workers").arg("1").secret("lion", "password", password);
    World::built(Origin::builder(&[HOST]).only(up).answer(answer), builder).await
}

fn sha(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

/// The parameters of a Digest field.
fn parameter(field: &str, name: &str) -> String {
    let at = field.find(&format!(" {name}=")).unwrap_or_else(|| panic!("no {name} in {field}"));
    let value = field[at + name.len() + 2..].split(", ").next().unwrap();
    value.trim_matches('"').to_owned()
}

/// Whether the request answers the challenge with this nonce.
fn verifies(seen: &Seen, nonce: &str) -> bool {
    let [field] = seen.headers_named("authorization")[..] else { return false };
    let get = |name: &str| parameter(field, name);
    let first = sha(&format!("{}:lions:{PASSWORD}", get("username")));
    let second = sha(&format!("{}:{}", seen.method, seen.target));
    let wanted = format!("{first}:{nonce}:{}:{}:auth:{second}", get("nc"), get("cnonce"));
    get("response") == sha(&wanted) && get("uri") == seen.target && get("nonce") == nonce
}

/// Asks with the current nonce; answers with what was sent, and with what a password could be tried out.
fn strict(nonce: Arc<Mutex<String>>, algorithm: &'static str) -> Answer {
    let counts = Mutex::new(Vec::new());
    answer::made(move |seen| {
        let nonce = nonce.lock().unwrap().clone();
        let is_known = seen.header("authorization").is_some() && algorithm == "SHA-256";
        if is_known && verifies(seen, &nonce) {
            let field = seen.header("authorization").unwrap();
            let count = (nonce, parameter(field, "nc"));
            assert!(!counts.lock().unwrap().contains(&count), "a count twice");
            counts.lock().unwrap().push(count);
            let echo = format!("{field} {}", String::from_utf8_lossy(&seen.body));
            let response = Response::builder().header("authentication-info", "rspauth=\"00\"");
            return response.body(answer::full(echo)).unwrap();
        }
        let challenge =
            format!("Digest realm=\"lions\", nonce=\"{nonce}\", qop=\"auth\", algorithm={algorithm}");
        let response = Response::builder().status(401).header("www-authenticate", "Basic realm=\"cubs\"");
        response.header("www-authenticate", challenge).body(answer::full("who?")).unwrap()
    })
}

fn nonce(text: &str) -> Arc<Mutex<String>> {
    Arc::new(Mutex::new(text.to_owned()))
}

#[tokio::test]
async fn a_challenge_that_the_provider_does_not_allow_is_not_answered() {
    let world = world("h1", "", strict(nonce("n"), "MD5"), PASSWORD).await;
    let reply = world.agent().get(HOST, "/").await;
    reply.assert_refused(502, "DW1006");
    assert!(reply.text().contains("nothing but MD5"), "{}", reply.text());
    assert!(world.origin.only().headers_named("authorization").is_empty());
}

#[tokio::test]
async fn md5_is_answered_with_where_the_provider_allows_it() {
    let world = world("h1", ", md5: allow", strict(nonce("n"), "MD5"), PASSWORD).await;
    // This origin takes no MD5; what counts is what it was sent.
    assert_eq!(world.agent().get(HOST, "/").await.status, 401);
    let seen = world.origin.last();
    let field = seen.header("authorization").unwrap();
    assert_eq!((parameter(field, "algorithm").as_str(), parameter(field, "response").len()), ("MD5", 32));
}

#[tokio::test]
async fn a_target_that_would_end_its_quotes_is_refused_before_anything_leaves() {
    let world = world("h1", "", strict(nonce("n"), "SHA-256"), PASSWORD).await;
    for path in ["/a\",response=\"c", "/a?b=\",response=\"c", "/a?b=\\"] {
        let reply = world.agent().get(HOST, path).await;
        assert_eq!(reply.status, 400, "{path}: {}", reply.text());
    }
    world.assert_nothing_left();
}

#[tokio::test]
async fn a_body_that_cannot_be_sent_again_is_refused_with_413() {
    let world = world("h1", "", strict(nonce("n"), "SHA-256"), PASSWORD).await;
    world.agent().post(HOST, "/", "X: y", &vec![b'x'; (10 << 20) + 1]).await.assert_refused(413, "DW2012");
    world.assert_nothing_left();
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_and_the_upstreams_answer_is_passed_on() {
    for up in ["h1", "h2"] {
        let world = world(up, "", strict(nonce("n"), "SHA-256"), "Circle of Death").await;
        let reply = world.agent().get(HOST, "/").await;
        assert_eq!((reply.status, reply.text().as_str()), (401, "who?"), "{up}");
        assert!(reply.header("doorward-note").is_some(), "{reply:?}");
        assert_eq!(world.origin.requests().len(), 2, "{up}");
    }
}

#[tokio::test]
async fn the_first_request_is_sent_again_and_the_next_ones_carry_the_answer_at_once() {
    for up in ["h1", "h2"] {
        let world = world(up, "", strict(nonce("n"), "SHA-256"), PASSWORD).await;
        let agent = world.agent();
        let reply = agent.post(HOST, "/a?b=c", "Authorization: Digest own", b"the body").await;
        reply.assert_ok();
        let seen = world.origin.requests();
        assert_eq!(seen.len(), 2, "{up}: {seen:#?}");
        assert!(seen[0].headers_named("authorization").is_empty());
        assert!(seen.iter().all(|seen| seen.body == b"the body" && seen.complete && seen.target == "/a?b=c"));
        let line = world.proxy.audit().request("/a").await;
        assert_eq!((&line["bytes_in"], &line["status"]), (&16.into(), &200.into()), "{line}");
        for count in ["00000002", "00000003"] {
            agent.get(HOST, "/next").await.assert_ok();
            let seen = world.origin.last();
            assert_eq!(parameter(seen.header("authorization").unwrap(), "nc"), count);
        }
        assert_eq!(world.origin.requests().len(), 4, "{up}");
    }
}

#[tokio::test]
async fn a_nonce_that_went_stale_is_answered_anew() {
    let current = nonce("first");
    let world = world("h1", "", strict(Arc::clone(&current), "SHA-256"), PASSWORD).await;
    world.agent().get(HOST, "/").await.assert_ok();
    "second".clone_into(&mut current.lock().unwrap());
    world.agent().get(HOST, "/").await.assert_ok();
    assert_eq!(world.origin.requests().len(), 4);
    assert!(verifies(&world.origin.last(), "second"));
}

#[tokio::test]
async fn the_agent_sees_nothing_that_a_password_could_be_tried_out_with() {
    for up in ["h1", "h2"] {
        let world = world(up, "", strict(nonce("n"), "SHA-256"), PASSWORD).await;
        // The first is answered after the challenge, the second at once.
        for _ in 0..2 {
            let reply = world.agent().get(HOST, "/").await;
            reply.assert_ok();
            let seen = world.origin.last();
            let response = parameter(seen.header("authorization").unwrap(), "response");
            assert!(
                reply.text().contains("cnonce=") && !reply.text().contains(&response[..16]),
                "{}",
                reply.text()
            );
            assert_eq!(reply.header("authentication-info"), None);
        }
    }
}

#[tokio::test]
async fn an_upstream_that_asks_for_nothing_gets_nothing() {
    let world = world("h1", "", answer::echo(), PASSWORD).await;
    world.agent().get(HOST, "/").await.assert_ok();
    assert!(world.origin.only().headers_named("authorization").is_empty());
}

#[tokio::test]
async fn a_websocket_is_opened_with_the_answer_and_its_messages_are_searched_for_it() {
    // Every message is answered with the credential of the handshake.
    let socket = answer::websocket(|seen, _| Some(Message::text(seen.header("authorization").unwrap())));
    let answer = answer::with(move |exchange| {
        let socket = socket.clone();
        async move {
            if exchange.seen.header("authorization").is_some() {
                return socket(exchange).await;
            }
            let challenge = "Digest realm=\"lions\", nonce=\"n\", qop=\"auth\", algorithm=SHA-256";
            let response = Response::builder().status(401).header("www-authenticate", challenge);
            response.body(answer::full("who?")).unwrap()
        }
    });
    let world = world("h1", "", answer, PASSWORD).await;
    let Ok(mut client) = world.agent().websocket(HOST, "/ws", &[]).await else { panic!("no WebSocket") };
    client.send(Message::text("tell me")).await.unwrap();
    let told = harness::within("a message", client.next()).await.unwrap().unwrap().into_text().unwrap();
    let seen = world.origin.last();
    assert!(verifies(&seen, "n"), "{seen:#?}");
    let response = parameter(seen.header("authorization").unwrap(), "response");
    assert!(told.contains("cnonce=") && !told.contains(&response[..16]), "{told}");
}

#[tokio::test]
async fn no_hash_that_was_sent_comes_back_in_any_later_answer() {
    let (sent, current) = (Arc::new(Mutex::new(Vec::<String>::new())), nonce("first"));
    let strict = strict(Arc::clone(&current), "SHA-256");
    let telling = {
        let sent = Arc::clone(&sent);
        harness::origin::answer::with(move |exchange| {
            if let Some(field) = exchange.seen.header("authorization") {
                sent.lock().unwrap().push(parameter(field, "response"));
            }
            let (all, status) = (sent.lock().unwrap().join(" "), strict(exchange));
            async move {
                let (head, _) = status.await.into_parts();
                Response::from_parts(head, answer::full(format!("so far: {all}")))
            }
        })
    };
    let world = world("h1", "", telling, PASSWORD).await;
    for (number, name) in ["first", "first", "second", "second"].into_iter().enumerate() {
        name.clone_into(&mut current.lock().unwrap());
        let text = world.agent().get(HOST, "/").await.assert_ok().text();
        let sent = sent.lock().unwrap();
        // With the second nonce the hash over the first one was sent in vain.
        assert_eq!(sent.len(), [1, 2, 4, 5][number]);
        assert!(sent.iter().all(|hash| !text.contains(hash)), "{text}");
        assert_eq!(text.matches(&"*".repeat(64)).count(), sent.len(), "{text}");
    }
}

#[tokio::test]
async fn a_challenge_of_another_realm_or_of_another_host_is_not_answered() {
    let world = world("h1", ", realm: cubs", strict(nonce("n"), "SHA-256"), PASSWORD).await;
    world.agent().get(HOST, "/").await.assert_refused(502, "DW1006");
    assert!(world.origin.only().headers_named("authorization").is_empty());
    let hosts = [HOST, "evil.example.com"];
    let spec = spec("").replace(&format!("host: {HOST}"), "host: '*.example.com'");
    let builder = Proxy::builder().provider("demo", &spec).public_value("lion", "username", USER);
    let builder = builder.arg("--workers").arg("1").secret("lion", "password", PASSWORD);
    let origin = Origin::builder(&hosts).only("h1").answer(strict(nonce("n"), "SHA-256"));
    let world = World::built(origin, builder).await;
    world.agent().get(HOST, "/").await.assert_ok();
    let log = world.proxy.log();
    assert!(log.contains("can pass on the Digest challenge"), "{log}");
    world.agent().get(hosts[1], "/").await.assert_refused(502, "DW1006");
    assert!(world.origin.last().headers_named("authorization").is_empty());
}
