//! Model providers: tokens are counted from the vendors' own figures, for a day, across restarts.

use harness::agent::h2;
use harness::{Origin, Proxy, answer, within};
use http_body_util::BodyExt as _;

use crate::refusals::model::{OPENAI, model_file, world};

const CHAT: &str = "/v1/chat/completions";
const JSON: &str = "Content-Type: application/json";
const ASK: &[u8] = br#"{"model":"gpt-4o","max_tokens":50}"#;

fn used(input: u64, output: u64) -> answer::Answer {
    let body = format!(
        r#"{{"choices":[{{"message":{{"content":"{{\"usage\":{{\"prompt_tokens\":9000}}}}"}}}}],"usage":{{"prompt_tokens":{input},"completion_tokens":{output}}}}}"#
    );
    answer::fixed(200, &[("content-type", "application/json")], body.as_bytes())
}

#[tokio::test]
async fn a_day_over_its_budget_is_refused_until_midnight_and_after_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let at = state.path().to_str().unwrap();
    let origin = Origin::builder(&[OPENAI]).answer(used(60, 20)).start().await;
    let builder = || {
        let file = model_file("provider: openai, maxTokensPerDay: 100");
        Proxy::builder().file("m", &file).origin(&origin).env("XDG_STATE_HOME", at)
    };
    let mut proxy = builder().start().await;
    proxy.agent().post(OPENAI, CHAT, JSON, ASK).await.assert_ok();
    let line = proxy.audit().request(CHAT).await;
    assert_eq!(
        (&line["model"], &line["tokens_in"], &line["tokens_out"]),
        (&"gpt-4o".into(), &60.into(), &20.into())
    );
    assert_eq!(proxy.metric("doorward_model_input_tokens_total"), Some(60.0));
    assert_eq!(proxy.metric("doorward_model_output_tokens_total"), Some(20.0));
    proxy.signal(rustix::process::Signal::TERM);
    proxy.ended(std::time::Duration::from_secs(10)).await;

    let proxy = builder().start().await;
    proxy.agent().post(OPENAI, CHAT, JSON, ASK).await.assert_ok();
    let over = proxy.agent().post(OPENAI, CHAT, JSON, ASK).await;
    over.assert_refused(429, "DW1009");
    let wait: u64 = over.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=86_400).contains(&wait) && over.text().contains("00:00 UTC"), "{}", over.text());
    // What asks no model is not limited.
    proxy.agent().get(OPENAI, "/v1/models").await.assert_ok();
    assert_eq!(origin.requests().len(), 3);
}

#[tokio::test]
async fn a_damaged_count_lets_nothing_through_that_it_limits() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join("doorward/budgets");
    for folder in [state.path().join("doorward"), folder.clone()] {
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    }
    std::fs::write(folder.join("tokens.json"), "{").unwrap();
    let origin = Origin::builder(&[OPENAI]).answer(used(1, 1)).start().await;
    let file = model_file("provider: openai, maxTokensPerDay: 100");
    let builder = Proxy::builder().file("m", &file).origin(&origin);
    let proxy = builder.env("XDG_STATE_HOME", state.path().to_str().unwrap()).start().await;
    proxy.agent().post(OPENAI, CHAT, JSON, ASK).await.assert_refused(503, "DW1009");
    origin.assert_untouched();
}

#[tokio::test]
async fn of_two_requests_for_the_last_tokens_one_is_told_to_wait() {
    let (mut feeds, answer) = answer::stream(&[("content-type", "application/json")]);
    let (proxy, _origin) = world(OPENAI, "provider: openai, maxTokensPerDay: 50", answer).await;
    let mut client = proxy.agent().h1(OPENAI).await;
    let request = client.request("POST", CHAT).header("content-type", "application/json");
    let mut response = client.open(request.body(h2::full(ASK)).unwrap()).await.unwrap();
    let second = proxy.agent().post(OPENAI, CHAT, JSON, ASK).await;
    second.assert_refused(429, "DW1009");
    assert_eq!(second.header("retry-after"), Some("1"));
    let feed = answer::next(&mut feeds).await;
    feed.send(r#"{"usage":{"prompt_tokens":1,"completion_tokens":1}}"#).await;
    feed.finish();
    while within("the end", response.body_mut().frame()).await.is_some() {}
    proxy.audit().request(CHAT).await;
    // What was reserved is given back.
    let mut client = proxy.agent().h1(OPENAI).await;
    let request = client.request("POST", CHAT).header("content-type", "application/json");
    assert_eq!(client.open(request.body(h2::full(ASK)).unwrap()).await.unwrap().status(), 200);
}

#[tokio::test]
async fn events_pass_undelayed_and_an_agent_that_leaves_early_is_charged() {
    let (mut feeds, answer) = answer::stream(&[("content-type", "text/event-stream")]);
    let (proxy, _origin) =
        world("api.anthropic.com", "provider: anthropic, maxTokensPerDay: 600", answer).await;
    let mut client = proxy.agent().h1("api.anthropic.com").await;
    let request = client.request("POST", "/v1/messages").header("content-type", "application/json");
    let body = r#"{"model":"claude","max_tokens":100,"stream":true}"#;
    let mut response = client.open(request.body(h2::full(body)).unwrap()).await.unwrap();
    let feed = answer::next(&mut feeds).await;
    let event = "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":500,\"output_tokens\":1}}}\n\n";
    feed.send(event).await;
    let mut seen = Vec::new();
    while seen.len() < event.len() {
        let frame = within("an event", response.body_mut().frame()).await.unwrap().unwrap();
        seen.extend_from_slice(&frame.into_data().unwrap());
    }
    assert_eq!(seen, event.as_bytes());
    drop((response, client));
    let line = proxy.audit().request("/v1/messages").await;
    assert_eq!((&line["tokens_in"], &line["tokens_out"]), (&500.into(), &100.into()));
    proxy
        .agent()
        .post("api.anthropic.com", "/v1/messages", JSON, body.as_bytes())
        .await
        .assert_refused(429, "DW1009");
}

#[tokio::test]
async fn counts_a_stream_as_each_vendor_says_it() {
    let stream = [("content-type", "text/event-stream")];
    let responses = "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":7,\"output_tokens\":8,\"total_tokens\":15}}}\n\n";
    let (proxy, origin) =
        world(OPENAI, "provider: openai", answer::fixed(200, &stream, responses.as_bytes())).await;
    let reply = proxy.agent().post(OPENAI, "/v1/responses", "Accept-Encoding: gzip", b"{}").await;
    assert_eq!(reply.text(), responses);
    assert_eq!(origin.only().header("accept-encoding"), Some("identity"));
    let line = proxy.audit().request("/v1/responses").await;
    assert_eq!((&line["tokens_in"], &line["tokens_out"]), (&7.into(), &8.into()));

    let host = "openrouter.ai";
    let chat = "data: {\"choices\":[]}\n\ndata: {\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"cost\":0.00012}}\n\ndata: [DONE]\n\n";
    let (proxy, _origin) =
        world(host, "provider: openrouter", answer::fixed(200, &stream, chat.as_bytes())).await;
    proxy.agent().post(host, "/api/v1/chat/completions", JSON, b"{}").await.assert_ok();
    let line = proxy.audit().request("/api/v1/chat/completions").await;
    assert_eq!(
        (&line["tokens_in"], &line["tokens_out"], &line["cost_micros"]),
        (&3.into(), &4.into(), &120.into())
    );
    assert_eq!(proxy.metric("doorward_model_cost_microdollars_total"), Some(120.0));
}

#[tokio::test]
async fn azure_gets_its_version_and_its_deployment_is_judged() {
    let host = "x.openai.azure.com";
    let spec = "provider: azure-openai, endpoint: \"https://x.openai.azure.com\", apiVersion: 2024-10-21, allowedModels: [small]";
    let (proxy, origin) = world(host, spec, used(1, 1)).await;
    let ask = |path: &'static str| {
        let agent = proxy.agent();
        async move { agent.post(host, path, JSON, b"{}").await }
    };
    ask("/openai/deployments/large/chat/completions").await.assert_refused(403, "DW1002");
    ask("/openai/deployments/small/chat/completions").await.assert_ok();
    let seen = origin.only();
    assert_eq!(seen.target, "/openai/deployments/small/chat/completions?api-version=2024-10-21");
    assert_eq!(seen.header("api-key"), Some(proxy.canary()));
}
