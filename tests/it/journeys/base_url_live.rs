//! Base URLs while providers change: what was begun by one that is gone ends, and nothing is asked again for it.

use std::sync::Arc;

use harness::within::{DEADLINE, until};
use harness::{Origin, Proxy, answer};
use http::Response;
use tokio::sync::Semaphore;

use crate::refusals::model::{OPENAI, model_file};

const ASK: &str = r#"{"model":"gpt-4o","max_tokens":5}"#;
const OTHER: &str = "openrouter.ai";

fn post(model: &str) -> Vec<u8> {
    let head = format!(
        "POST /model/{model}/v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    );
    format!("{head}Content-Length: {}\r\nConnection: close\r\n\r\n{ASK}", ASK.len()).into_bytes()
}

fn second(spec: &str) -> String {
    model_file(spec).replace("name: m}", "name: second}")
}

async fn changed(proxy: &Proxy, change: impl FnOnce()) {
    let before = proxy.metric("doorward_plan_revision");
    change();
    until("the new plan", DEADLINE, async || proxy.metric("doorward_plan_revision") > before).await;
}

/// Answers 503, each time when it is let.
fn gated() -> (Arc<Semaphore>, answer::Answer) {
    let gate = Arc::new(Semaphore::new(0));
    let own = Arc::clone(&gate);
    let answer = answer::with(move |_| {
        let gate = Arc::clone(&own);
        async move {
            gate.acquire().await.unwrap().forget();
            Response::builder().status(503).body(answer::full("")).unwrap()
        }
    });
    (gate, answer)
}

#[tokio::test]
async fn a_stream_by_the_base_url_of_a_removed_model_provider_is_cut() {
    let (mut feeds, answer) = answer::stream(&[("content-type", "text/event-stream")]);
    let origin = Origin::builder(&[OPENAI]).answer(answer).start().await;
    let file = model_file("provider: openai");
    let proxy = Proxy::builder().file("m", &file).origin(&origin).no_token().start().await;
    let mut pipe = proxy.agent().dial().await;
    pipe.send(&post("m")).await;
    let feed = answer::next(&mut feeds).await;
    feed.send("data: begun\n\n").await;
    pipe.read_until(b"begun").await;
    // The same host goes on being served, but not as this model provider.
    proxy.write_provider("m", &file.replace("name: m}", "name: other}"));
    assert!(tokio::time::timeout(DEADLINE, pipe.read_to_end()).await.is_ok(), "the stream lives on");
    feed.reader_gone().await;
}

#[tokio::test]
async fn a_stream_of_a_fallback_ends_with_the_model_provider_that_was_asked() {
    let (mut feeds, answer) = answer::stream(&[("content-type", "text/event-stream")]);
    let (gate, refuses) = gated();
    gate.add_permits(1);
    let first = Origin::builder(&[OPENAI]).answer(refuses).start().await;
    let other = Origin::builder(&[OTHER]).answer(answer).start().await;
    let proxy = Proxy::builder()
        .file("m", &model_file("provider: openai, fallbacks: [second]"))
        .file("second", &second("provider: openrouter"))
        .origin(&first)
        .origin(&other)
        .no_token()
        .start()
        .await;
    let mut pipe = proxy.agent().dial().await;
    pipe.send(&post("m")).await;
    let feed = answer::next(&mut feeds).await;
    feed.send("data: begun\n\n").await;
    pipe.read_until(b"begun").await;
    proxy.remove_provider("m");
    assert!(tokio::time::timeout(DEADLINE, pipe.read_to_end()).await.is_ok(), "the stream lives on");
    feed.reader_gone().await;
}

#[tokio::test]
async fn nothing_is_asked_again_for_a_model_provider_that_was_changed_meanwhile() {
    let (gate, answer) = gated();
    let origin = Origin::builder(&[OPENAI]).answer(answer).start().await;
    let spec = "provider: openai, retry: {maxAttempts: 3, initialBackoffMs: 1, maxBackoffMs: 2}";
    let proxy = Proxy::builder().file("m", &model_file(spec)).origin(&origin).no_token().start().await;
    let agent = proxy.agent();
    let asking = tokio::spawn(async move { agent.raw(&post("m")).await });
    until("the first attempt", DEADLINE, async || origin.requests().len() == 1).await;
    let narrow = model_file(&format!("{spec}, deniedModels: [gpt-4o]"));
    changed(&proxy, || proxy.write_provider("m", &narrow)).await;
    gate.add_permits(3);
    asking.await.unwrap().assert_refused(503, "DW2013");
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn a_fallback_that_was_taken_away_meanwhile_is_not_asked() {
    let (gate, answer) = gated();
    let first = Origin::builder(&[OPENAI]).answer(answer).start().await;
    let other = Origin::start(OTHER).await;
    let proxy = Proxy::builder()
        .file("m", &model_file("provider: openai, fallbacks: [second]"))
        .file("second", &second("provider: openrouter"))
        .origin(&first)
        .origin(&other)
        .no_token()
        .start()
        .await;
    let agent = proxy.agent();
    let asking = tokio::spawn(async move { agent.raw(&post("m")).await });
    until("the first attempt", DEADLINE, async || first.requests().len() == 1).await;
    changed(&proxy, || proxy.write_provider("m", &model_file("provider: openai"))).await;
    gate.add_permits(1);
    assert_eq!(asking.await.unwrap().status, 503);
    other.assert_untouched();
}

#[tokio::test]
async fn each_attempt_counts_in_the_rate() {
    let (gate, answer) = gated();
    gate.add_permits(9);
    let origin = Origin::builder(&[OPENAI]).answer(answer).start().await;
    let spec = "provider: openai, limits: {requestsPerMinute: 2}, retry: {maxAttempts: 5, initialBackoffMs: 1, maxBackoffMs: 2}";
    let proxy = Proxy::builder().file("m", &model_file(spec)).origin(&origin).no_token().start().await;
    proxy.agent().raw(&post("m")).await.assert_refused(429, "DW1009");
    assert_eq!(origin.requests().len(), 2);
}

#[tokio::test]
async fn a_name_of_two_projects_is_told_apart_by_its_project() {
    let origin = Origin::start(OPENAI).await;
    let other = Origin::start(OTHER).await;
    let project = |spec: &str, project: &str| {
        model_file(spec).replace("name: m}", &format!("name: m, namespace: {project}}}"))
    };
    let proxy = Proxy::builder()
        .file("a", &project("provider: openai", "a").replace("apiKeySecretRef: {name: canary}, ", ""))
        .file("b", &project("provider: openrouter", "b").replace("apiKeySecretRef: {name: canary}, ", ""))
        .origin(&origin)
        .origin(&other)
        .no_token()
        .start()
        .await;
    let reply = proxy.agent().raw(&post("m")).await;
    reply.assert_refused(400, "DW2008");
    assert!(reply.text().contains("PROJECT:NAME"), "{}", reply.text());
    proxy.agent().raw(&post("a:m")).await.assert_ok();
    assert_eq!((origin.requests().len(), other.requests().len()), (1, 0));
    proxy.agent().raw(&post("c:m")).await.assert_refused(403, "DW1001");
    let url = proxy.agent_env().into_iter().find(|(name, _)| name == "OPENROUTER_BASE_URL").unwrap().1;
    assert!(url.ends_with("/model/b:m/api/v1"), "{url}");
}
