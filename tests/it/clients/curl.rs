//! curl, over both protocols.

use harness::{Origin, answer};

use super::Client;

const HOST: &str = "api.openai.com";
const SPEC: &str = "type: openai\nauth: {type: api-key, secretRef: canary, agentEnvVar: OPENAI_API_KEY}";
const BOTH: [(&str, &str); 2] = [("--http1.1", "1.1"), ("--http2", "2")];

async fn openai(origin: harness::origin::OriginBuilder) -> Client {
    Client::of(origin, SPEC).await
}

#[tokio::test]
async fn curl_shows_the_code_of_a_denied_method() {
    let spec = format!(
        "{SPEC}\npolicy: {{httpRules: [{{id: read, methods: [GET], paths: [\"/**\"], effect: allow}}], defaultAction: deny}}"
    );
    for (flag, version) in BOTH {
        let client = Client::of(Origin::builder(&[HOST]), &spec).await;
        let url = format!("https://{HOST}/v1/files/f1");
        let printed = client
            .run("curl", &["-sS", flag, "-w", "\n%{http_code} %{http_version}", "-X", "DELETE", &url])
            .await;
        printed.assert_ok().assert_says("DW1002").assert_says(&format!("403 {version}"));
        assert!(client.origin.requests().is_empty());
    }
}

#[tokio::test]
async fn curl_shows_the_code_when_the_host_is_not_allowed() {
    let client = openai(Origin::builder(&[HOST])).await;
    let printed = client.run("curl", &["-sS", "https://example.net/"]).await;
    printed.assert_ok().assert_says("DW1001");
    client.origin.assert_untouched();
}

#[tokio::test]
async fn curl_gets_its_answer_with_the_credential_masked() {
    for up in ["h1", "h2"] {
        for (flag, version) in BOTH {
            let client = openai(Origin::builder(&[HOST]).only(up)).await;
            let url = format!("https://{HOST}/v1/models?limit=2");
            let printed =
                client.run("curl", &["-sS", flag, "-w", "\n%{http_code} %{http_version}", &url]).await;
            let printed = printed.assert_ok().assert_says(&format!("200 {version}"));
            printed.assert_says("GET /v1/models?limit=2").assert_says(&client.masked());
            client.assert_injected();
        }
    }
}

#[tokio::test]
async fn curl_posts_a_body_and_its_dummy_is_replaced() {
    for (flag, _) in BOTH {
        let client = openai(Origin::builder(&[HOST])).await;
        let url = format!("https://{HOST}/v1/chat/completions");
        let dummy = format!("Authorization: Bearer {}", client.proxy.dummy("OPENAI_API_KEY"));
        let body = r#"{"model":"gpt","messages":[]}"#;
        let args =
            ["-sS", "--fail", flag, "-H", &dummy, "-H", "Content-Type: application/json", "-d", body, &url];
        client.run("curl", &args).await.assert_ok().assert_says(body).assert_says(&client.masked());
        client.assert_injected();
        assert_eq!(client.origin.only().body, body.as_bytes());
    }
}

#[tokio::test]
async fn curl_uploads_and_downloads_some_mebibytes() {
    const SIZE: usize = 5 << 20;
    for (flag, _) in BOTH {
        let client = openai(Origin::builder(&[HOST]).answer(answer::count())).await;
        client.put("upload", &vec![b'u'; SIZE]);
        let url = format!("https://{HOST}/v1/files");
        // Sized (with Expect: 100-continue over HTTP/1.1), then of unknown length.
        client
            .run("curl", &["-sS", "--fail", flag, "-T", "upload", &url])
            .await
            .assert_ok()
            .assert_says(&SIZE.to_string());
        client.assert_injected();
        let args = ["-sS", "--fail", flag, "-H", "Transfer-Encoding: chunked", "-T", "upload", &url];
        client.run("curl", &args).await.assert_ok().assert_says(&SIZE.to_string());

        let client = openai(Origin::builder(&[HOST]).answer(answer::volume(SIZE))).await;
        client.run("curl", &["-sS", "--fail", flag, "-o", "download", &url]).await.assert_ok();
        assert_eq!(std::fs::metadata(client.home().join("download")).unwrap().len(), SIZE as u64);
        client.assert_injected();
    }
}
