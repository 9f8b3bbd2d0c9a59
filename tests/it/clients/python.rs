//! Python: requests and httpx.

use harness::{Origin, answer};

use super::{Client, python, script};

const HOST: &str = "api.openai.com";
const SPEC: &str = "type: openai\nauth: {type: api-key, secretRef: canary, agentEnvVar: OPENAI_API_KEY}";

async fn openai() -> Client {
    Client::of(Origin::builder(&[HOST]), SPEC).await
}

/// Each library's script, and the version of HTTP that it prints.
const LIBRARIES: [(&str, &str); 2] = [("requests_client.py", "HTTP/1.1"), ("httpx_client.py", "HTTP/2")];

#[tokio::test]
async fn python_libraries_show_the_code_of_a_denied_method() {
    let Some(python) = python() else { return };
    let spec = format!(
        "{SPEC}\npolicy: {{httpRules: [{{id: read, methods: [GET], paths: [\"/**\"], effect: allow}}], defaultAction: deny}}"
    );
    for (name, version) in LIBRARIES {
        let client = Client::of(Origin::builder(&[HOST]), &spec).await;
        let url = format!("https://{HOST}/v1/files/f1");
        let printed = client.run(&python, &[&script(name), "DELETE", &url]).await.assert_ok();
        printed.assert_says(&format!("403 {version}")).assert_says("DW1002");
        assert!(client.origin.requests().is_empty());
    }
}

#[tokio::test]
async fn python_libraries_show_the_code_when_the_host_is_not_allowed() {
    let Some(python) = python() else { return };
    for (name, _) in LIBRARIES {
        let client = openai().await;
        let printed = client.run(&python, &[&script(name), "GET", "https://example.net/"]).await;
        printed.assert_ok().assert_says("403 ").assert_says("DW1001");
        client.origin.assert_untouched();
    }
}

#[tokio::test]
async fn python_libraries_post_with_the_dummy_and_get_their_answer() {
    let Some(python) = python() else { return };
    for (name, version) in LIBRARIES {
        let client = openai().await;
        let url = format!("https://{HOST}/v1/chat/completions");
        let printed =
            client.run(&python, &[&script(name), "POST", &url, r#"{"model":"gpt"}"#]).await.assert_ok();
        printed
            .assert_says(&format!("200 {version}"))
            .assert_says(r#"{"model":"gpt"}"#)
            .assert_says(&client.masked());
        client.assert_injected();
        assert_eq!(client.origin.only().body, br#"{"model":"gpt"}"#);
    }
}

#[tokio::test]
async fn python_libraries_read_a_coded_answer_and_not_one_that_holds_the_credential() {
    let Some(python) = python() else { return };
    let url = format!("https://{HOST}/v1/models");
    for (name, _) in LIBRARIES {
        let leak = answer::coded("gzip", |seen| {
            format!("you sent {}", seen.header("authorization").unwrap_or_default()).into_bytes()
        });
        let client = Client::of(Origin::builder(&[HOST]).answer(leak), SPEC).await;
        let printed = client.run(&python, &[&script(name), "GET", &url]).await;
        // Refused by its code, or cut if the body came late.
        assert!(printed.code != Some(0) || printed.out.contains("DW2009"), "{}", printed.out);
        assert!(!printed.out.contains("you sent Bearer"), "{}", printed.out);
        client.assert_injected();

        let plain = answer::coded("gzip", |seen| format!("you asked for {}", seen.target).into_bytes());
        let client = Client::of(Origin::builder(&[HOST]).answer(plain), SPEC).await;
        let printed = client.run(&python, &[&script(name), "GET", &url]).await.assert_ok();
        printed.assert_says("you asked for /v1/models");
        client.assert_injected();
    }
}
