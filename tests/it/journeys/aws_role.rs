//! A role that is assumed: who is asked, whose keys sign, what the agent sees, and what a rotation ends. Signatures are
//! verified in `clients/aws.rs`, by moto.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::within::{DEADLINE, until};
use harness::{Agent, Origin, Proxy, ProxyBuilder, Reply, Seen, answer};
use http::Response;
use tokio::sync::Semaphore;

use crate::issuer::form;

const BUCKET: &str = "acme.s3.eu-west-1.amazonaws.com";
const STS: &str = "sts.eu-west-1.amazonaws.com";
const ROLE: &str = "arn:aws:iam::123456789012:role/bot";

/// STS, which counts the sessions that it gives, and S3, which shows what it was sent.
async fn aws(status: u16) -> (Origin, Arc<AtomicUsize>) {
    let sessions = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sessions);
    let make = move |seen: &harness::Seen| {
        if seen.authority != STS {
            let text = format!("you sent {}", seen.header("x-amz-security-token").unwrap_or_default());
            return Response::new(answer::full(text));
        }
        if status != 200 {
            let says = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>c4nary</Message></Error></ErrorResponse>";
            return Response::builder().status(status).body(answer::full(says)).unwrap();
        }
        let number = counted.fetch_add(1, Ordering::Relaxed) + 1;
        Response::new(answer::full(keys(number)))
    };
    (Origin::builder(&[BUCKET, STS]).answer(answer::made(make)).start().await, sessions)
}

fn session(number: usize) -> String {
    format!("IQoc4narySession{number}//of+the+role==")
}

fn keys(number: usize) -> String {
    format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
         <AccessKeyId>ASIATEMPORARY{number}</AccessKeyId><SecretAccessKey>{TEMPORARY}</SecretAccessKey>\
         <SessionToken>{}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult>\
         </AssumeRoleResponse>",
        session(number)
    )
}

const TEMPORARY: &str = "c4naryTemporarySecretAccessKey/0123456789";

fn builder(origin: &Origin) -> ProxyBuilder {
    let spec = format!(
        "type: aws\nauth: {{secretRef: aws}}\nconfig: {{region: eu-west-1, assumeRole: {{arn: \"{ROLE}\", externalId: \"team:7\", duration: 900}}}}"
    );
    Proxy::builder()
        .provider("cloud", &spec)
        .public_value("aws", "access_key_id", "AKIALONGLIVED")
        .secret("aws", "secret_access_key", &harness::canary::fresh())
        .secret("unused", "token", TEMPORARY)
        .origin(origin)
}

async fn get(agent: &Agent) -> Reply {
    let scope = "AKIAagent/20260101/eu-west-1/s3/aws4_request";
    let head = format!(
        "GET /a HTTP/1.1\r\nAuthorization: AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature={:064}\r\nX-Amz-Date: 20260101T000000Z",
        0
    );
    agent.tls(BUCKET).await.exchange(&harness::agent::wire(BUCKET, &head, b"")).await
}

#[tokio::test]
async fn dw1005_a_role_that_sts_refuses_is_told_in_our_own_words_and_nothing_is_signed() {
    let (origin, _) = aws(403).await;
    let proxy = builder(&origin).start().await;
    let reply = get(&proxy.agent()).await;
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert!(reply.text().contains("DW1005") && reply.text().contains("external id"), "{}", reply.text());
    assert!(!reply.text().contains("c4nary"));
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn the_roles_keys_sign_and_the_long_lived_ones_only_ask_for_them() {
    let (origin, sessions) = aws(200).await;
    let mut proxy = builder(&origin).start().await;
    proxy.watch(&session(1));
    for _ in 0..3 {
        let reply = get(&proxy.agent()).await;
        assert_eq!(reply.assert_ok().text(), format!("you sent {}", "*".repeat(session(1).len())));
    }
    assert_eq!(sessions.load(Ordering::Relaxed), 1);
    let seen = origin.requests();
    let asked = form(&seen[0].body);
    for (name, value) in [
        ("Action", "AssumeRole"),
        ("RoleArn", ROLE),
        ("RoleSessionName", "worker"),
        ("DurationSeconds", "900"),
        ("ExternalId", "team:7"),
    ] {
        assert_eq!(asked.get(name).map(String::as_str), Some(value), "{asked:?}");
    }
    let signed = |seen: &Seen, key: &str| {
        let authorization = seen.header("authorization").unwrap();
        assert!(authorization.contains(&format!("Credential={key}/")), "{authorization}");
    };
    signed(&seen[0], "AKIALONGLIVED");
    assert_eq!(seen[0].header("x-amz-security-token"), None);
    for seen in &seen[1..4] {
        signed(seen, "ASIATEMPORARY1");
        assert_eq!(seen.headers_named("x-amz-security-token"), [session(1)]);
    }
    let line = proxy.audit().wait_for("the exchange", |line| line["kind"] == "exchange").await;
    assert_eq!((line["host"].as_str(), line["verdict"].as_str()), (Some(STS), Some("allow")), "{line}");
    assert_eq!((line["secret"].as_str(), line["part"].as_str()), (Some("aws"), Some("worker")), "{line}");
}

#[tokio::test]
async fn each_agent_has_a_session_of_its_own() {
    let (origin, sessions) = aws(200).await;
    let tokens = "alpha:token-of-alpha-0123456789\nbeta:token-of-beta-01234567890\n";
    let proxy = builder(&origin).tokens(tokens, "token-of-alpha-0123456789").start().await;
    let beta = || proxy.agent().with_basic("agent", "token-of-beta-01234567890");
    for _ in 0..2 {
        get(&proxy.agent()).await.assert_ok();
        get(&beta()).await.assert_ok();
    }
    assert_eq!(sessions.load(Ordering::Relaxed), 2);
    let seen = origin.requests();
    let names: Vec<String> = seen
        .iter()
        .filter(|seen| seen.authority == STS)
        .map(|seen| form(&seen.body)["RoleSessionName"].clone())
        .collect();
    assert_eq!(names, ["alpha", "beta"]);
    let used: Vec<&str> = seen.iter().filter_map(|seen| seen.header("x-amz-security-token")).collect();
    assert_eq!(used, [session(1), session(2), session(1), session(2)]);
}

#[tokio::test]
async fn a_request_that_waits_for_a_session_while_the_keys_are_rotated_gets_one_of_the_new_keys() {
    let gate = Arc::new(Semaphore::new(0));
    let sessions = Arc::new(AtomicUsize::new(0));
    let (own, counted) = (Arc::clone(&gate), Arc::clone(&sessions));
    let answer = answer::with(move |exchange| {
        let (gate, sessions) = (Arc::clone(&own), Arc::clone(&counted));
        async move {
            if exchange.seen.authority != STS {
                return Response::new(answer::full("served"));
            }
            let number = sessions.fetch_add(1, Ordering::Relaxed) + 1;
            if number == 1 {
                gate.acquire().await.unwrap().forget();
            }
            Response::new(answer::full(keys(number)))
        }
    });
    let origin = Origin::builder(&[BUCKET, STS]).answer(answer).start().await;
    let mut proxy = builder(&origin).start().await;
    let agent = proxy.agent();
    let waiting = tokio::spawn(async move { get(&agent).await });
    until("the first exchange", DEADLINE, async || sessions.load(Ordering::Relaxed) == 1).await;
    let before = proxy.metric("doorward_plan_revision");
    proxy.rotate("aws", "secret_access_key", &harness::canary::fresh());
    until("the new plan", DEADLINE, async || proxy.metric("doorward_plan_revision") > before).await;
    gate.add_permits(1);
    assert_eq!(waiting.await.unwrap().assert_ok().text(), "served");
    assert_eq!(origin.last().header("x-amz-security-token"), Some(&*session(2)));
}

#[tokio::test]
async fn a_rotation_of_the_long_lived_keys_ends_the_roles_session() {
    let (origin, sessions) = aws(200).await;
    let mut proxy = builder(&origin).start().await;
    get(&proxy.agent()).await.assert_ok();
    proxy.rotate("aws", "secret_access_key", &harness::canary::fresh());
    until("another session", DEADLINE, async || {
        get(&proxy.agent()).await.assert_ok();
        sessions.load(Ordering::Relaxed) == 2
    })
    .await;
    assert_eq!(origin.last().header("x-amz-security-token"), Some(&*session(2)));
}
