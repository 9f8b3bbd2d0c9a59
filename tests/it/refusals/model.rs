//! Model providers refuse what they cannot judge, and what they judge to be too much.

use harness::{Origin, Proxy, answer};

pub(crate) const OPENAI: &str = "api.openai.com";
const CHAT: &str = "/v1/chat/completions";
const JSON: &str = "Content-Type: application/json";

/// A ModelProvider `m` with the canary.
pub(crate) fn model_file(spec: &str) -> String {
    format!(
        "apiVersion: doorward.dev/v1alpha1\nkind: ModelProvider\nmetadata: {{name: m}}\nspec: {{apiKeySecretRef: {{name: canary}}, {spec}}}\n"
    )
}

pub(crate) async fn world(host: &str, spec: &str, answer: answer::Answer) -> (Proxy, Origin) {
    let origin = Origin::builder(&[host]).answer(answer).start().await;
    let proxy = Proxy::builder().file("m", &model_file(spec)).origin(&origin).start().await;
    (proxy, origin)
}

const LIMITED: &str = "provider: openai, allowedModels: [\"gpt-4o*\"], deniedModels: [\"*-audio\"]";

#[tokio::test]
async fn refuses_bodies_that_two_readers_could_read_differently() {
    let (proxy, origin) = world(OPENAI, LIMITED, answer::echo()).await;
    let agent = proxy.agent();
    let good = br#"{"model":"gpt-4o"}"#;
    for body in [
        &br#"{"model":"gpt-4o","model":"o1"}"#[..],
        br#"{"model":"gpt-4o","mod\u0065l":"o1"}"#,
        br#"{"model":"gpt-4o","Model":"o1"}"#,
        b"{\"model\":\"gpt-4o\"}{}",
        b"\xef\xbb\xbf{\"model\":\"gpt-4o\"}",
        b"model=gpt-4o",
        b"",
    ] {
        agent.post(OPENAI, CHAT, JSON, body).await.assert_refused(400, "DW2008");
    }
    for headers in [
        "Content-Type: text/plain",
        "X: y",
        "Content-Type: application/json; charset=utf-16",
        "Content-Type: application/json\r\nContent-Type: application/json",
        "Content-Type: application/json\r\nContent-Encoding: gzip",
    ] {
        agent.post(OPENAI, CHAT, headers, good).await.assert_refused(400, "DW2008");
    }
    origin.assert_untouched();
}

#[tokio::test]
async fn refuses_models_that_are_not_allowed_wherever_they_are_named() {
    let (proxy, origin) = world(OPENAI, LIMITED, answer::echo()).await;
    let agent = proxy.agent();
    for body in [
        r#"{"model":"o1"}"#,
        r#"{"model":"GPT-4O"}"#,
        r#"{"model":"gpt-4o-AUDIO"}"#,
        r#"{"model":null}"#,
        "{}",
        r#"{"model":"gpt-4o","tools":[{"type":"image_generation","model":"gpt-image-1"}]}"#,
        r#"{"model":"gpt-4o","models":["gpt-4o","o1"]}"#,
    ] {
        let reply = agent.post(OPENAI, CHAT, JSON, body.as_bytes()).await;
        reply.assert_refused(403, "DW1002");
        assert!(reply.text().contains("Models (m.yaml:4)"), "{}", reply.text());
    }
    for path in ["/v1/batches", "/v1/threads/t/runs", "/v1/new", "/v1/files%2f;/chat/completions"] {
        agent.post(OPENAI, path, JSON, br#"{"model":"gpt-4o"}"#).await.assert_refused(403, "DW1002");
    }
    let upgrade = "GET /v1/responses HTTP/1.1\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==";
    agent.ask(OPENAI, upgrade).await.assert_refused(403, "DW1002");
    origin.assert_untouched();
}

#[tokio::test]
async fn refuses_models_in_paths_where_the_vendor_has_them_there() {
    let host = "generativelanguage.googleapis.com";
    let (proxy, origin) = world(host, "provider: gemini, allowedModels: [gemini-2]", answer::echo()).await;
    let agent = proxy.agent();
    for (path, body) in [
        ("/v1beta/models/gemini-3:generateContent", "{}"),
        ("/v1beta/models/gemini-2%2f..:generateContent", "{}"),
        ("/v1beta/tunedModels/gemini-2:generateContent", "{}"),
        ("/v1beta/models/gemini-2:generateContent", r#"{"model":"models/gemini-3"}"#),
        ("/v1beta/models/gemini-2:batchEmbedContents", r#"{"requests":[{"model":"models/x"}]}"#),
        ("/v1beta/models/gemini-2:newVerb", "{}"),
    ] {
        let reply = agent.post(host, path, JSON, body.as_bytes()).await;
        assert!(matches!(reply.status, 400 | 403), "{path} {}", reply.text());
    }
    origin.assert_untouched();
    agent.post(host, "/v1beta/models/gemini-2:generateContent", JSON, b"{}").await.assert_ok();
}

#[tokio::test]
async fn refuses_requests_that_may_generate_more_than_is_allowed_or_say_no_bound() {
    let (proxy, origin) = world(OPENAI, "provider: openai, maxTokensPerRequest: 100", answer::echo()).await;
    let agent = proxy.agent();
    for body in [
        r#"{"model":"a"}"#,
        r#"{"model":"a","max_tokens":101}"#,
        r#"{"model":"a","max_tokens":10,"max_completion_tokens":1000}"#,
        r#"{"model":"a","max_tokens":60,"n":2}"#,
        r#"{"model":"a","max_output_tokens":6}"#,
        r#"{"model":"a","max_tokens":18446744073709551615}"#,
    ] {
        agent.post(OPENAI, CHAT, JSON, body.as_bytes()).await.assert_refused(403, "DW1002");
    }
    for body in [r#"{"max_tokens":-1}"#, r#"{"max_tokens":1e2}"#, r#"{"max_tokens":99999999999999999999}"#] {
        agent.post(OPENAI, CHAT, JSON, body.as_bytes()).await.assert_refused(400, "DW2008");
    }
    origin.assert_untouched();
    let body = br#"{ "max_tokens" : 50,"n":2, "model":"a" }"#;
    agent.post(OPENAI, CHAT, JSON, body).await.assert_ok();
    assert_eq!(origin.only().body, body, "what was judged is what is sent, byte for byte");
}

#[tokio::test]
async fn refuses_what_a_day_could_not_be_counted_by_and_says_what_to_set() {
    let (proxy, origin) = world(OPENAI, "provider: openai, maxTokensPerDay: 1000", answer::echo()).await;
    let agent = proxy.agent();
    for (path, body, says) in [
        (CHAT, r#"{"model":"a","stream":true}"#, "include_usage"),
        (CHAT, r#"{"model":"a","stream":true,"stream_options":{"include_usage":false}}"#, "include_usage"),
        ("/v1/completions", r#"{"model":"a","stream":true,"stream_options":{}}"#, "include_usage"),
        ("/v1/responses", r#"{"model":"a","background":true}"#, "background"),
    ] {
        let reply = agent.post(OPENAI, path, JSON, body.as_bytes()).await;
        reply.assert_refused(400, "DW1009");
        assert!(
            reply.text().contains(says) && reply.text().contains("maxTokensPerDay (m.yaml:4)"),
            "{}",
            reply.text()
        );
    }
    origin.assert_untouched();
    let body = br#"{"model":"a","stream":true,"stream_options":{"include_usage":true}}"#;
    agent.post(OPENAI, CHAT, JSON, body).await.assert_ok();
    // Without a limit of its own it may have been all of the day.
    let (mut feeds, answer) = answer::stream(&[("content-type", "text/event-stream")]);
    let (proxy, _origin) = world(OPENAI, "provider: openai, maxTokensPerDay: 200000", answer).await;
    let mut tls = proxy.agent().tls(OPENAI).await;
    let head =
        format!("POST {CHAT} HTTP/1.1\r\nHost: {OPENAI}\r\n{JSON}\r\nContent-Length: {}\r\n\r\n", body.len());
    tls.send(head.as_bytes()).await;
    tls.send(body).await;
    let feed = answer::next(&mut feeds).await;
    feed.send("data: {\"choices\":[{\"finish_reason\":null}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n").await;
    tls.read_until(b"usage").await;
    drop(tls);
    proxy.audit().wait_for("the charge", |line| line["tokens_out"] == 262_144).await;
    proxy.agent().post(OPENAI, CHAT, JSON, body).await.assert_refused(429, "DW1009");
}

#[tokio::test]
async fn no_header_makes_another_request_of_one_that_asks_no_model() {
    let origin = Origin::start(OPENAI).await;
    let file = model_file(LIMITED).replace("apiKeySecretRef: {name: canary}, ", "");
    let proxy = Proxy::builder().file("m", &file).origin(&origin).start().await;
    let head = "GET /v1/models HTTP/1.1\nX-HTTP-Method-Override: POST\nX-Method-Override: POST\nX-Kept: 1";
    proxy.agent().ask(OPENAI, head).await.assert_ok();
    let seen = origin.only();
    assert_eq!(seen.header("x-kept"), Some("1"));
    assert!(
        seen.header("x-http-method-override").is_none() && seen.header("x-method-override").is_none(),
        "{seen:#?}"
    );
}

#[tokio::test]
async fn refuses_a_body_over_the_bound_and_one_that_never_comes() {
    let origin = Origin::start(OPENAI).await;
    let builder = Proxy::builder().file("m", &model_file(LIMITED)).origin(&origin);
    let proxy = builder.limit("model-body", "4096").limit("stream-idle", "200ms").start().await;
    let long = format!(r#"{{"model":"gpt-4o","x":"{}"}}"#, "y".repeat(5_000));
    proxy.agent().post(OPENAI, CHAT, JSON, long.as_bytes()).await.assert_refused(413, "DW2012");
    let mut tls = proxy.agent().tls(OPENAI).await;
    tls.send(format!("POST {CHAT} HTTP/1.1\r\nHost: {OPENAI}\r\n{JSON}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{{\"mod\r\n").as_bytes()).await;
    tls.read_reply("POST").await.assert_refused(400, "DW2008");
    origin.assert_untouched();
}

#[tokio::test]
async fn two_credentials_for_one_vendor_of_one_agent_are_a_load_error() {
    let second = "apiVersion: pai.io/v1\nkind: Provider\nmetadata: {name: two}\nspec: {type: openai, auth: {secretRef: canary}}\n";
    let builder = Proxy::builder().file("m", &model_file("provider: openai")).file("z", second);
    let Err(failure) = builder.try_start().await else { panic!("it started") };
    let wanted = "z.yaml:1:1: `api.openai.com` is named by provider `m` (m.yaml:1) and by provider `two`";
    assert!(failure.code == Some(1) && failure.stderr.contains(wanted), "{}", failure.stderr);
}
