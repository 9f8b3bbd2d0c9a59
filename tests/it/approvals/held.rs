//! What is held for a person: the messages of gRPC, and bodies that AWS' signature covers.

use bytes::Bytes;
use harness::agent::h2;
use harness::{Origin, Proxy, Reply, answer};
use hyper::body::Frame;
use sha2::{Digest as _, Sha256};

use super::{asked, asking, asks, person};
use crate::world::{HOST, World};

/// A message as gRPC frames it.
fn message(text: &[u8]) -> Bytes {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&[0][..], &length, text].concat().into()
}

/// A server that sends each message back, and its proxy.
async fn mirror(limits: &[(&str, &str)]) -> World {
    let answer = answer::mirror("application/grpc", &[("grpc-status", "0")]);
    let proxy = Proxy::builder().provider("demo", &asking(""));
    let proxy = limits.iter().fold(proxy, |proxy, (name, value)| proxy.limit(name, value));
    World::built(Origin::builder(&[HOST]).answer(answer).only("h2"), proxy).await
}

async fn call(world: &World, body: h2::Body) -> Reply {
    let mut client = world.agent().h2(HOST).await;
    let request = client.request("POST", "/pkg.Service/Delete").header("te", "trailers");
    let request = request.header("content-type", "application/grpc").header("grpc-timeout", "30S");
    client.send(request.body(body).unwrap()).await
}

#[tokio::test]
async fn a_grpc_call_goes_out_once_it_is_approved_and_with_no_other_message() {
    let world = mirror(&[]).await;
    let one = || h2::full(message(b"one"));
    let refused = call(&world, one()).await;
    assert_eq!(refused.any_code().as_deref(), Some("DW1003"), "{refused:?}");
    let ask = &asks(&world.proxy)[0];
    assert_eq!((&ask["path"], &ask["bodyBytes"]), (&"/pkg.Service/Delete".into(), &8.into()));
    person(&world.proxy, &["approve", "ask", ask["name"].as_str().unwrap()]).assert_ok();
    for other in [message(b"two"), [message(b"one"), message(b"one")].concat().into()] {
        let refused = call(&world, h2::full(other)).await;
        assert_eq!(refused.any_code().as_deref(), Some("DW1003"), "{refused:?}");
    }
    world.assert_nothing_left();
    let reply = call(&world, one()).await;
    assert_eq!((reply.status, &reply.body[..]), (200, &message(b"one")[..]), "{reply:?}");
    assert_eq!(reply.trailer("grpc-status"), Some("0"), "{reply:?}");
    world.assert_injected();
    let again = call(&world, one()).await;
    assert_eq!(again.any_code().as_deref(), Some("DW1003"), "{again:?}");
}

#[tokio::test]
async fn refuses_a_grpc_stream_that_waits_for_answers_before_it_ends() {
    let world = mirror(&[("stream-idle", "300ms")]).await;
    let (sender, body) = h2::channel();
    sender.send(Ok(Frame::data(message(b"first")))).await.unwrap();
    // Nobody can be asked about what is not there yet.
    let refused = call(&world, body).await;
    assert_eq!(refused.any_code().as_deref(), Some("DW2008"), "{refused:?}");
    assert!(asks(&world.proxy).is_empty());
    world.assert_nothing_left();
    drop(sender);
}

const BUCKET: &str = "acme.s3.eu-west-1.amazonaws.com";

async fn bucket(up: &str) -> World {
    let spec = "type: aws\nauth: {secretRef: aws}\nconfig: {region: eu-west-1, services: [s3]}\n\
         policy: {httpRules: [{id: ask-first, methods: [PUT], paths: [\"/**\"], effect: ask}], allow: [\"s3:*\"]}";
    let proxy = Proxy::builder().provider("cloud", spec);
    let proxy = proxy.public_value("aws", "access_key_id", "AKIAREALREALREALREAL");
    let proxy = proxy.secret("aws", "secret_access_key", &harness::canary::fresh());
    World::built(Origin::builder(&[BUCKET]).only(up), proxy).await
}

/// As an agent signs, with dummies; its date and signature change from one attempt to the next.
async fn put(world: &World, attempt: u8, payload: &str, body: &[u8]) -> Reply {
    let head = format!(
        "PUT /a HTTP/1.1\r\nAuthorization: AWS4-HMAC-SHA256 Credential=AKIAagent/20260101/eu-west-1/s3/aws4_request, \
         SignedHeaders=host;x-amz-date, Signature={attempt:064}\r\nX-Amz-Date: 20260101T00000{attempt}Z\r\n\
         X-Amz-Content-Sha256: {payload}\r\nContent-Length: {}",
        body.len()
    );
    world.agent().tls(BUCKET).await.exchange(&harness::agent::wire(BUCKET, &head, body)).await
}

fn hash(body: &[u8]) -> String {
    hex::encode(Sha256::digest(body))
}

/// Asks, and has it approved.
async fn approved(world: &World, payload: &str, body: &[u8]) {
    let refused = put(world, 1, payload, body).await;
    assert_eq!((refused.status, refused.any_code().as_deref()), (403, Some("DW1003")), "{refused:?}");
    person(&world.proxy, &["approve", "ask", &asked(&refused.text())]).assert_ok();
}

#[tokio::test]
async fn a_body_that_awss_signature_covers_goes_out_signed_anew_once_it_is_approved() {
    const CHUNKS: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\nX-Amz-Decoded-Content-Length: 3";
    for up in ["h1", "h2"] {
        let world = bucket(up).await;
        for (payload, body) in [
            (hash(b"the one"), &b"the one"[..]),
            (hash(b""), &b""[..]),
            (CHUNKS.to_owned(), &b"3\r\nabc\r\n0\r\n\r\n"[..]),
        ] {
            approved(&world, &payload, body).await;
            let seen = world.origin.requests().len();
            put(&world, 2, &payload, b"another").await;
            assert_eq!(world.origin.requests().len(), seen, "{up} {payload}: another body");
            put(&world, 3, &payload, body).await.assert_ok();
            let sent = world.origin.last();
            assert_eq!((&sent.body[..], sent.complete), (body, true), "{up} {payload}");
            // A chunked body stays one: hashed as it is coded, S3 would store its frames.
            let named = sent.header("x-amz-content-sha256").unwrap();
            assert_eq!(named, payload.lines().next().unwrap(), "{up}");
            let signature = sent.header("authorization").unwrap();
            assert!(signature.contains("Credential=AKIAREALREALREALREAL/"), "{signature}");
            assert_eq!(put(&world, 4, &payload, body).await.status, 403, "{up} {payload}: used");
        }
    }
}

#[tokio::test]
async fn an_approved_body_that_is_not_what_was_signed_never_arrives_whole() {
    for up in ["h1", "h2"] {
        let world = bucket(up).await;
        for (payload, body) in [
            (hash(b"the one"), &b"another"[..]),
            (hash(b"the one"), &b""[..]),
            (
                "STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\nX-Amz-Decoded-Content-Length: 3".to_owned(),
                &b"3\r\nabcd\r\n0\r\n\r\n"[..],
            ),
        ] {
            approved(&world, &payload, body).await;
            let reply = put(&world, 2, &payload, body).await;
            assert_eq!(reply.status, 400, "{up} {payload}: {}", reply.text());
            assert!(reply.text().contains("DW2008"), "{}", reply.text());
        }
        assert!(world.origin.requests().iter().all(|seen| !seen.complete), "{up}");
    }
}
