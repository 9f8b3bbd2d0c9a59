//! Node: fetch through undici's proxy agents, and `https` through a CONNECT agent.

use harness::Origin;

use super::{Client, Printed, node_modules, script};

const HOST: &str = "api.openai.com";
const SPEC: &str = "type: openai\nauth: {type: api-key, secretRef: canary, agentEnvVar: OPENAI_API_KEY}";
const READ_ONLY: &str =
    "policy: {httpRules: [{id: read, methods: [GET], paths: [\"/**\"], effect: allow}], defaultAction: deny}";
const WAYS: [&str; 3] = ["EnvHttpProxyAgent", "ProxyAgent", "https"];

/// One request in one of the [`WAYS`].
async fn fetch(client: &Client, modules: &str, way: &str, request: &[&str]) -> Printed {
    let (https, undici) = (script("https_client.cjs"), script("undici_client.cjs"));
    let program: &[&str] = if way == "https" { &[&https] } else { &[&undici, modules, way] };
    client.run("node", &[program, request].concat()).await
}

#[tokio::test]
async fn node_shows_the_code_of_a_denied_method() {
    let Some(modules) = node_modules() else { return };
    for way in WAYS {
        let client = Client::of(Origin::builder(&[HOST]), &format!("{SPEC}\n{READ_ONLY}")).await;
        let url = format!("https://{HOST}/v1/files/f1");
        let printed = fetch(&client, &modules, way, &["DELETE", &url]).await.assert_ok();
        printed.assert_says("403\n").assert_says("DW1002");
        assert!(client.origin.requests().is_empty());
    }
}

#[tokio::test]
async fn node_shows_the_code_when_the_host_is_not_allowed() {
    let Some(modules) = node_modules() else { return };
    for way in WAYS {
        let client = Client::of(Origin::builder(&[HOST]), SPEC).await;
        let printed = fetch(&client, &modules, way, &["GET", "https://example.net/"]).await;
        printed.assert_ok().assert_says("403\n").assert_says("DW1001");
        client.origin.assert_untouched();
    }
}

#[tokio::test]
async fn node_posts_with_the_dummy_and_gets_its_answer() {
    let Some(modules) = node_modules() else { return };
    for way in WAYS {
        let client = Client::of(Origin::builder(&[HOST]), SPEC).await;
        let url = format!("https://{HOST}/v1/chat/completions");
        let printed = fetch(&client, &modules, way, &["POST", &url, r#"{"model":"gpt"}"#]).await.assert_ok();
        printed.assert_says("200\n").assert_says(r#"{"model":"gpt"}"#).assert_says(&client.masked());
        client.assert_injected();
        assert_eq!(client.origin.only().body, br#"{"model":"gpt"}"#);
    }
}
