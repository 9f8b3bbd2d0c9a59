//! AWS' signature on the wire: what is refused before anything leaves, what is cut, what arrives. Signatures themselves are
//! verified in `clients/aws.rs`, by botocore.

use harness::origin::raw::{RawOrigin, Step};
use harness::{Agent, Origin, Proxy, ProxyBuilder};
use sha2::{Digest as _, Sha256};

use crate::world::World;

const HOST: &str = "acme.s3.eu-west-1.amazonaws.com";
const STS: &str = "sts.eu-west-1.amazonaws.com";
const ID: &str = "AKIAREALREALREALREAL";
const TOKEN: &str = "IQoJc4narySessionToken//0123456789==";

async fn world(up: &str, more: &str) -> World {
    world_with(up, more, &[]).await
}

async fn world_with(up: &str, more: &str, limits: &[(&str, &str)]) -> World {
    World::built(Origin::builder(&[HOST, STS]).only(up), sidecar(more, limits)).await
}

fn sidecar(more: &str, limits: &[(&str, &str)]) -> ProxyBuilder {
    let spec = format!(
        "type: aws\nauth: {{secretRef: aws}}\nconfig: {{region: eu-west-1, services: [s3, sts]}}\n{more}"
    );
    let proxy = Proxy::builder().provider("cloud", &spec).public_value("aws", "access_key_id", ID);
    let proxy = proxy.secret("aws", "secret_access_key", &harness::canary::fresh()).secret(
        "aws",
        "session_token",
        TOKEN,
    );
    limits.iter().fold(proxy, |proxy, (name, value)| proxy.limit(name, value))
}

/// As an agent signs, with dummies.
fn signed(service: &str) -> String {
    format!(
        "Authorization: AWS4-HMAC-SHA256 Credential=AKIAagent/20260101/eu-west-1/{service}/aws4_request, \
         SignedHeaders=host;x-amz-date, Signature={:064}\r\nX-Amz-Date: 20260101T000000Z\r\nX-Amz-Security-Token: agents",
        0
    )
}

async fn put(agent: &Agent, path: &str, headers: &str, body: &[u8]) -> harness::agent::reply::Reply {
    let head =
        format!("PUT {path} HTTP/1.1\r\n{}\r\n{headers}\r\nContent-Length: {}", signed("s3"), body.len());
    let wire = harness::agent::wire(HOST, &head, body);
    agent.tls(HOST).await.exchange(&wire).await
}

fn hash(body: &[u8]) -> String {
    hex::encode(Sha256::digest(body))
}

#[tokio::test]
async fn another_body_than_the_one_that_was_signed_never_arrives_whole() {
    for up in ["h1", "h2"] {
        let world = world(up, "").await;
        let agent = world.agent();
        let headers = format!("X-Amz-Content-Sha256: {}", hash(b"the one"));
        let reply = put(&agent, "/a", &headers, b"another").await;
        assert_eq!(reply.status, 400, "{up}: {}", reply.text());
        assert!(reply.text().contains("DW2008"), "{}", reply.text());
        assert!(world.origin.requests().iter().all(|seen| !seen.complete && seen.body.is_empty()), "{up}");
        let reply = put(&agent, "/a", &headers, b"").await;
        assert_eq!(reply.status, 400, "{up}: {}", reply.text());
        put(&agent, "/b", &headers, b"the one").await.assert_ok();
        assert_eq!(
            (world.origin.last().body.as_slice(), world.origin.last().complete),
            (&b"the one"[..], true)
        );
    }
}

#[tokio::test]
async fn chunks_that_turn_out_malformed_never_arrive_whole() {
    for up in ["h1", "h2"] {
        let world = world(up, "").await;
        let headers =
            "X-Amz-Content-Sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\nX-Amz-Decoded-Content-Length: 3";
        for body in [
            "3\r\nabc\r\n0\r\n\r\nmore",
            "3\r\nabc\r\n0\r\n",
            "3\r\nabcd\r\n0\r\n\r\n",
            "2\r\nab\r\n0\r\n\r\n",
        ] {
            let reply = put(&world.agent(), "/a", headers, body.as_bytes()).await;
            assert_eq!(reply.status, 400, "{up} {body:?}: {}", reply.text());
        }
        assert!(world.origin.requests().iter().all(|seen| !seen.complete), "{:#?}", world.origin.requests());
        put(&world.agent(), "/a", headers, b"03\r\nabc\r\n0\r\n\r\n").await.assert_ok();
        assert_eq!(world.origin.last().body, b"3\r\nabc\r\n0\r\n\r\n");
    }
}

#[tokio::test]
async fn what_cannot_be_signed_is_refused_before_anything_leaves() {
    let world = world("h1", "policy: {allow: [\"s3:*\", \"sts:GetCallerIdentity\"]}").await;
    let agent = world.agent();
    for (path, headers, status) in [
        ("/a/../b", "X: y", 400),
        ("/a/%2e/b", "X: y", 400),
        ("/a", "X-Amz-Content-Sha256: STREAMING-AWS4-HMAC-SHA256-EVENTS", 400),
        ("/a?X-Amz-Credential=x&X-Amz-Algorithm=y", "X: y", 403),
        ("/a?acl&tagging", "X: y", 403),
        ("/a?X-Amz-Date=1;acl", "X: y", 400),
        ("/?X-Amz-Date=1;policy", "X: y", 400),
        ("/a", "X_Amz_Acl: public-read", 400),
        ("/a?X-Amz-Acl=public-read", "X: y", 403),
        ("/a/b", "Authorization: Bearer x", 403),
    ] {
        let reply = put(&agent, path, headers, b"").await;
        assert_eq!(reply.status, status, "{path} {headers}: {}", reply.text());
        assert!(reply.text().starts_with("<Error><Code>DW"), "{}", reply.text());
    }
    let head = format!("GET /a HTTP/1.1\r\n{}", signed("s3").replace("eu-west-1", "us-east-1"));
    let reply = agent.tls(HOST).await.exchange(&harness::agent::wire(HOST, &head, b"")).await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    world.assert_nothing_left();
}

#[tokio::test]
async fn the_action_of_the_query_protocol_is_read_from_the_form() {
    let world = world("h1", "policy: {allow: [\"sts:GetCallerIdentity\"]}").await;
    let sent = |path: &'static str, kind: &'static str, body: &'static [u8]| {
        let agent = world.agent();
        async move {
            let head = format!(
                "POST {path} HTTP/1.1\r\n{}\r\nContent-Type: {kind}\r\nContent-Length: {}",
                signed("sts"),
                body.len()
            );
            agent.tls(STS).await.exchange(&harness::agent::wire(STS, &head, body)).await
        }
    };
    const FORM: &str = "application/x-www-form-urlencoded";
    let form = |body: &'static str| sent("/", FORM, body.as_bytes());
    let coded = "application/x-www-form-urlencoded\r\nContent-Encoding: gzip";
    let (foreign, twice) = (
        "application/x-www-form-urlencoded; charset=IBM037",
        "application/x-www-form-urlencoded\r\nContent-Type: text/plain",
    );
    for (kind, body) in [
        (foreign, &b"Action=GetCallerIdentity"[..]),
        (twice, &b"Action=GetCallerIdentity"[..]),
        (FORM, &b"Action=GetCallerIdentity&a=\xff"[..]),
    ] {
        let reply = sent("/", kind, body).await;
        assert_eq!(reply.status, 400, "{kind}: {}", reply.text());
        assert!(reply.text().contains("DW2008"), "{}", reply.text());
    }
    for kind in ["text/plain", "application/x-amz-json-1.0", coded] {
        let reply = sent("/?Action=GetCallerIdentity", kind, b"Action=AssumeRole").await;
        assert_eq!(reply.status, 403, "{kind}: {}", reply.text());
    }
    for denied in [
        "Action=AssumeRole",
        "Action=GetCallerIdentity&Action=AssumeRole",
        "Version=1",
        "Action=GetCallerIdentity%00",
    ] {
        let reply = form(denied).await;
        assert_eq!(reply.status, 403, "{denied}: {}", reply.text());
        assert!(reply.text().contains("<Code>DW1002</Code>"), "{}", reply.text());
    }
    world.assert_nothing_left();
    form("Action=GetCallerIdentity&Version=2011-06-15").await.assert_ok();
    assert_eq!(world.origin.only().body, b"Action=GetCallerIdentity&Version=2011-06-15");
}

#[tokio::test]
async fn a_coded_form_passes_unread_where_nothing_is_denied() {
    let world = world("h1", "policy: {allow: [\"*\"]}").await;
    let body = b"\x1f\x8b not looked at";
    let head = format!(
        "POST / HTTP/1.1\r\n{}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Encoding: gzip\r\n\
         Content-Length: {}",
        signed("sts"),
        body.len()
    );
    world.agent().tls(STS).await.exchange(&harness::agent::wire(STS, &head, body)).await.assert_ok();
    assert_eq!(world.origin.only().body, body);
}

#[tokio::test]
async fn bodies_that_are_held_have_no_more_room_than_their_agent() {
    let world = world_with("h1", "policy: {allow: [\"*\"]}", &[("agent-held-bodies", "1MiB")]).await;
    let posted = |bytes: usize| {
        let agent = world.agent();
        async move {
            let head = format!("POST / HTTP/1.1\r\n{}\r\nContent-Length: {bytes}", signed("sts"));
            agent.tls(STS).await.exchange(&harness::agent::wire(STS, &head, &vec![b'x'; bytes])).await
        }
    };
    let reply = posted(2 << 20).await;
    assert_eq!(reply.status, 429, "{}", reply.text());
    assert!(reply.text().contains("DW1009"), "{}", reply.text());
    world.assert_nothing_left();
    // What was refused has given its room back.
    for _ in 0..4 {
        posted(300 << 10).await.assert_ok();
    }
}

#[tokio::test]
async fn a_form_that_a_rule_refuses_is_not_read() {
    let world = world(
        "h1",
        "policy: {httpRules: [{id: no-posts, methods: [POST], paths: [\"/**\"], effect: deny}], allow: [\"*\"]}",
    )
    .await;
    let head = format!(
        "POST / HTTP/1.1\r\n{}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000",
        signed("sts")
    );
    // Nothing of the body is ever sent.
    let reply = world.agent().tls(STS).await.exchange(&harness::agent::wire(STS, &head, b"")).await;
    assert_eq!(reply.status, 403, "{}", reply.text());
    assert!(reply.text().contains("no-posts"), "{}", reply.text());
    world.assert_nothing_left();
}

#[tokio::test]
async fn a_form_beyond_its_limit_is_refused() {
    let world = world("h1", "policy: {allow: [\"sts:*\"]}").await;
    let body = format!("Action=GetCallerIdentity&a={}", "x".repeat(1 << 20));
    let head = format!(
        "POST / HTTP/1.1\r\n{}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}",
        signed("sts"),
        body.len()
    );
    let reply =
        world.agent().tls(STS).await.exchange(&harness::agent::wire(STS, &head, body.as_bytes())).await;
    assert!(reply.text().contains("DW2012"), "{}", reply.text());
    world.assert_nothing_left();
}

#[tokio::test]
async fn nothing_of_the_agents_signature_stays_and_the_session_token_is_masked_in_answers() {
    for up in ["h1", "h2"] {
        let world = world(up, "").await;
        let path = "/a//b%20c/%C3%A4+d?partNumber=1&uploadId=x";
        let reply = put(&world.agent(), path, "X: y", b"body").await;
        reply.assert_ok();
        let seen = world.origin.only();
        assert_eq!(seen.target, "/a//b%20c/%C3%A4+d?partNumber=1&uploadId=x");
        assert_eq!(seen.headers_named("x-amz-security-token"), [TOKEN]);
        assert_eq!(seen.headers_named("x-amz-date").len(), 1);
        let authorization = seen.headers_named("authorization");
        assert_eq!(authorization.len(), 1);
        assert!(authorization[0].contains(&format!("Credential={ID}/")), "{authorization:?}");
        assert!(!seen.contains("AKIAagent") && !seen.contains("20260101"), "{seen:#?}");
        assert!(!reply.text().contains(TOKEN), "{}", reply.text());
    }
}

#[tokio::test]
async fn a_server_of_ones_own_that_speaks_s3_is_signed_for_in_the_providers_region() {
    const OWN: &str = "s3.corp.example";
    let spec = format!("type: aws\nhost: {OWN}\nauth: {{secretRef: aws}}\nconfig: {{region: eu-west-1}}");
    let proxy = Proxy::builder().provider("own", &spec).public_value("aws", "access_key_id", ID);
    let proxy = proxy.secret("aws", "secret_access_key", &harness::canary::fresh());
    let world = World::built(Origin::builder(&[OWN]), proxy).await;
    let ask = async |headers: String| {
        let head = format!("PUT /acme/a%20b/%C3%A4+c HTTP/1.1\r\n{headers}\r\nContent-Length: 4");
        world.agent().tls(OWN).await.exchange(&harness::agent::wire(OWN, &head, b"body")).await
    };
    // Another region, another service, a region that would lead to another host.
    for (from, to) in
        [("eu-west-1", "us-east-1"), ("/s3/", "/sqs/"), ("/eu-west-1/", "/eu-west-1.evil.example%2F/")]
    {
        let reply = ask(signed("s3").replace(from, to)).await;
        assert!((400..500).contains(&reply.status) && reply.text().contains("DW"), "{to}: {}", reply.text());
    }
    world.assert_nothing_left();
    ask(signed("s3")).await.assert_ok();
    let seen = world.origin.only();
    assert_eq!((seen.target.as_str(), seen.body.as_slice()), ("/acme/a%20b/%C3%A4+c", &b"body"[..]));
    let authorization = seen.header("authorization").unwrap();
    assert!(authorization.starts_with(&format!("AWS4-HMAC-SHA256 Credential={ID}/")), "{authorization}");
    assert!(authorization.contains("/eu-west-1/s3/aws4_request,") && !seen.contains("agents"), "{seen:#?}");
}

#[tokio::test]
async fn a_small_range_of_an_object_is_asked_for_as_it_is() {
    let world = world("h1", "").await;
    let head = format!("GET /footer HTTP/1.1\r\n{}\r\nRange: bytes=10-17", signed("s3"));
    world.agent().tls(HOST).await.exchange(&harness::agent::wire(HOST, &head, b"")).await.assert_ok();
    assert_eq!(world.origin.only().header("range"), Some("bytes=10-17"));
}

#[tokio::test]
async fn a_body_that_the_agent_hashed_streams_beyond_what_is_ever_held() {
    let world = world("h1", "").await;
    let body = vec![b'x'; 12 << 20];
    let headers = format!("X-Amz-Content-Sha256: {}", hash(&body));
    put(&world.agent(), "/big", &headers, &body).await.assert_ok();
    let seen = world.origin.only();
    assert_eq!(
        (seen.body.len(), seen.complete, seen.header("content-length")),
        (12 << 20, true, Some("12582912"))
    );
}

/// The length of 5 GiB in chunks of so much data, whose lines have so many bytes, and the last one's.
fn in_chunks(data: u64, line: u64, last: u64) -> u64 {
    FIVE_GIB / data * (line + data + 2) + last + 2
}

const FIVE_GIB: u64 = 5 << 30;

#[tokio::test]
async fn an_object_of_five_gib_is_sent_under_its_length_from_its_first_bytes_on() {
    const MIB: u64 = 1 << 20;
    let signature = format!(";chunk-signature={:064}", 0);
    // What the agent says that it sends, how it begins, and what has to be said to S3: chunks of 64 KiB.
    let unsigned = (in_chunks(MIB, 8, 3), format!("{MIB:x}\r\n"), in_chunks(64 << 10, 7, 3));
    let signed_chunks =
        (in_chunks(MIB, 89, 84), format!("{MIB:x}{signature}\r\n"), in_chunks(64 << 10, 88, 84));
    for (form, (sent, begin, wanted)) in [
        ("UNSIGNED-PAYLOAD", (FIVE_GIB, String::new(), FIVE_GIB)),
        ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", unsigned),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", signed_chunks),
    ] {
        let origin = RawOrigin::tls(HOST, vec![Step::Hold]).await;
        let proxy = sidecar("", &[]).route(HOST, 443, origin.address()).start().await;
        let decoded = if begin.is_empty() {
            String::new()
        } else {
            format!("\r\nX-Amz-Decoded-Content-Length: {FIVE_GIB}")
        };
        let head = format!(
            "PUT /five HTTP/1.1\r\nHost: {HOST}\r\n{}\r\nX-Amz-Content-Sha256: {form}{decoded}\r\nContent-Length: {sent}\r\n\r\n",
            signed("s3")
        );
        let mut tls = proxy.agent().tls(HOST).await;
        // In the second chunk of ours: a signed one is sent when it is whole.
        let mut data = vec![b'x'; 256 << 10];
        data[100 << 10..][..9].copy_from_slice(b"a passage");
        tls.send(&[head.as_bytes(), begin.as_bytes(), &data].concat()).await;
        let seen = origin.wait_for("a passage").await;
        let seen = seen.split_once("\r\n\r\n").unwrap().0.to_lowercase();
        assert!(seen.contains(&format!("\r\ncontent-length: {wanted}")), "{form}: {seen}");
        assert!(!seen.contains("transfer-encoding"), "{form}: {seen}");
    }
}

#[tokio::test]
async fn an_object_of_five_gib_comes_back_under_its_length_from_its_first_bytes_on() {
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {FIVE_GIB}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + (256 << 10), b'x');
    let origin =
        RawOrigin::tls(HOST, vec![Step::Hear(b"\r\n\r\n".to_vec()), Step::Say(answer), Step::Hold]).await;
    let proxy = sidecar("", &[]).route(HOST, 443, origin.address()).start().await;
    let mut tls = proxy.agent().tls(HOST).await;
    tls.send(format!("GET /five HTTP/1.1\r\nHost: {HOST}\r\n{}\r\n\r\n", signed("s3")).as_bytes()).await;
    let head = String::from_utf8(tls.read_until(b"\r\n\r\n").await).unwrap().to_lowercase();
    assert!(head.contains(&format!("\r\ncontent-length: {FIVE_GIB}\r\n")), "{head}");
    assert_eq!(tls.read_some(128 << 10).await.len(), 128 << 10);
}
