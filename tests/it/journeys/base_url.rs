//! Base URLs: a client that knows only its vendor makes the same journey; `retry` and `fallbacks`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::{Origin, Proxy, answer};
use http::Response;

use crate::refusals::model::{OPENAI, model_file};

const ASK: &str = r#"{"model":"gpt-4o","max_tokens":5}"#;

fn post(path: &str, more: &str) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}Content-Type: application/json\r\n");
    format!("{head}Content-Length: {}\r\nConnection: close\r\n\r\n{ASK}", ASK.len()).into_bytes()
}

/// Answers with these statuses, then with 200.
fn statuses(list: &'static [u16], headers: &'static [(&'static str, &'static str)]) -> answer::Answer {
    let count = Arc::new(AtomicUsize::new(0));
    answer::made(move |_| {
        let status = list.get(count.fetch_add(1, Ordering::SeqCst)).copied().unwrap_or(200);
        let mut response = Response::builder().status(status).header("content-type", "application/json");
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let body = r#"{"usage":{"prompt_tokens":2,"completion_tokens":3}}"#;
        response.body(answer::full(if status == 200 { body } else { "{}" })).unwrap()
    })
}

#[tokio::test]
async fn the_key_may_be_the_agents_token_and_goes_no_further() {
    let origin = Origin::start(OPENAI).await;
    let proxy = Proxy::builder().file("m", &model_file("provider: openai")).origin(&origin).start().await;
    for more in [
        format!("Authorization: Bearer {}\r\n", proxy.token()),
        format!("x-api-key: {}\r\n", proxy.token()),
        format!(
            "x-api-key: {}\r\nAuthorization: Bearer {}\r\n",
            proxy.token(),
            proxy.dummy("OPENAI_API_KEY")
        ),
        format!(
            "Proxy-Authorization: Bearer {}\r\nAuthorization: Bearer {}\r\n",
            proxy.token(),
            proxy.dummy("OPENAI_API_KEY")
        ),
    ] {
        let path = "/model/m/v1/chat/completions?x=1";
        let reply = proxy.agent().without_authorization().raw(&post(path, &more)).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let seen = origin.last();
        assert_eq!((seen.target.as_str(), seen.authority.as_str()), ("/v1/chat/completions?x=1", OPENAI));
        assert_eq!(seen.headers_named("authorization"), [format!("Bearer {}", proxy.canary())]);
        assert!(!seen.contains(proxy.token()), "{seen:#?}");
        assert!(reply.text().contains("***"), "the echo is masked");
    }
    let line = proxy.audit().request("/v1/chat/completions").await;
    assert_eq!(
        (&line["provider"], &line["host"], &line["scheme"]),
        (&"m".into(), &OPENAI.into(), &"header".into())
    );
    // Where a token is asked for, clients are not led here.
    assert!(!proxy.agent_env().iter().any(|(name, _)| name == "OPENAI_BASE_URL"));
}

#[tokio::test]
async fn a_listener_that_asks_for_nothing_is_published_as_base_url() {
    let origin = Origin::start(OPENAI).await;
    let proxy =
        Proxy::builder().file("m", &model_file("provider: openai")).origin(&origin).no_token().start().await;
    let env = proxy.agent_env();
    let url = &env.iter().find(|(name, _)| name == "OPENAI_BASE_URL").expect("it is exported").1;
    assert_eq!(*url, format!("http://{}/model/m/v1", proxy.address()));
    proxy.agent().raw(&post("/model/m/v1/responses", "")).await.assert_ok();
    assert_eq!(origin.only().target, "/v1/responses");
}

#[tokio::test]
async fn a_retry_asks_again_until_it_is_answered() {
    let origin = Origin::builder(&[OPENAI]).answer(statuses(&[429, 503], &[])).start().await;
    let file = model_file("provider: openai, retry: {maxAttempts: 3, initialBackoffMs: 1, maxBackoffMs: 5}");
    let proxy = Proxy::builder().file("m", &file).origin(&origin).start().await;
    let reply =
        proxy.agent().post(OPENAI, "/v1/responses", "Content-Type: application/json", ASK.as_bytes()).await;
    assert_eq!(reply.status, 200);
    assert!(origin.requests().iter().all(|seen| seen.body == ASK.as_bytes()) && origin.requests().len() == 3);
    let line = proxy.audit().request("/v1/responses").await;
    assert_eq!(
        (&line["tokens_in"], &line["tokens_out"], &line["bytes_in"]),
        (&2.into(), &3.into(), &ASK.len().into())
    );
}

#[tokio::test]
async fn a_retry_ends_with_its_attempts_and_where_the_vendor_asks_for_more_patience() {
    for (headers, attempts) in [(&[][..], 2), (&[("retry-after", "60")][..], 1)] {
        let origin = Origin::builder(&[OPENAI]).answer(statuses(&[500, 500, 500], headers)).start().await;
        let file =
            model_file("provider: openai, retry: {maxAttempts: 2, initialBackoffMs: 1, maxBackoffMs: 5}");
        let proxy = Proxy::builder().file("m", &file).origin(&origin).start().await;
        let reply = proxy
            .agent()
            .post(OPENAI, "/v1/responses", "Content-Type: application/json", ASK.as_bytes())
            .await;
        assert_eq!((reply.status, origin.requests().len()), (500, attempts));
        // What answers 400 is an answer.
        let origin = Origin::builder(&[OPENAI]).answer(statuses(&[400], &[])).start().await;
        let proxy = Proxy::builder().file("m", &file).origin(&origin).start().await;
        let reply = proxy
            .agent()
            .post(OPENAI, "/v1/responses", "Content-Type: application/json", ASK.as_bytes())
            .await;
        assert_eq!((reply.status, origin.requests().len()), (400, 1));
    }
}

fn second(spec: &str) -> String {
    model_file(spec).replace("name: m}", "name: second}").replace("name: canary", "name: other")
}

#[tokio::test]
async fn a_fallback_answers_where_the_first_one_cannot_with_its_own_credential_and_rules() {
    let first = Origin::builder(&[OPENAI]).answer(statuses(&[503, 200, 200], &[])).start().await;
    let other = Origin::start("openrouter.ai").await;
    let proxy = Proxy::builder()
        .file("m", &model_file("provider: openai, maxTokensPerDay: 5, fallbacks: [second]"))
        .file("second", &second("provider: openrouter"))
        .secret("other", "api-key", "sk-or-v1-the-second-credential")
        .origin(&first)
        .origin(&other)
        .no_token()
        .start()
        .await;
    let ask = || async {
        proxy.agent().raw(&post("/model/m/v1/chat/completions", "Authorization: Bearer x\r\n")).await
    };
    ask().await.assert_ok();
    let seen = other.only();
    assert_eq!((seen.target.as_str(), seen.body.as_slice()), ("/api/v1/chat/completions", ASK.as_bytes()));
    assert_eq!(seen.headers_named("authorization"), ["Bearer sk-or-v1-the-second-credential"]);
    assert_eq!(proxy.audit().wait_for("its own record", |line| line["status"] == 503).await["provider"], "m");
    // The first one answers again, and uses up its day; from then on the second one does.
    ask().await.assert_ok();
    assert_eq!((first.requests().len(), other.requests().len()), (2, 1));
    proxy.audit().wait_for("the count", |line| line["tokens_in"] == 2).await;
    ask().await.assert_ok();
    assert_eq!((first.requests().len(), other.requests().len()), (2, 2));
    // Intercepted, a vendor is never replaced by another.
    let reply = proxy
        .agent()
        .post(OPENAI, "/v1/chat/completions", "Content-Type: application/json", ASK.as_bytes())
        .await;
    reply.assert_refused(429, "DW1009");
}
