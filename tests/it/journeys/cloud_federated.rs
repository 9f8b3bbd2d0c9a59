//! Workload identity federation: a subject token from a file, Google's two services, and what an agent never sees.

use harness::{Home, Origin, Proxy, ProxyBuilder, answer};
use http::Response;

use crate::issuer::form;

const STS: &str = "sts.googleapis.com";
const IAM: &str = "iamcredentials.googleapis.com";
const STORAGE: &str = "storage.googleapis.com";
const FEDERATED: &str = "ya29.c4nary-federated";
const TOKEN: &str = "ya29.c4nary-of-the-account";
const EXCHANGE: &[u8] =
    b"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token=x";

fn key_file(source: serde_json::Value) -> String {
    serde_json::json!({
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool-1/providers/k8s",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "service_account_impersonation_url": "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/bot@p.iam.gserviceaccount.com:generateAccessToken",
        "credential_source": source,
    })
    .to_string()
}

/// Both services and an API that shows what it was sent.
async fn google() -> Origin {
    let make = |seen: &harness::Seen| {
        let json = |text: String| Response::new(answer::full(text));
        match seen.authority.as_str() {
            STS => json(format!(
                "{{\"access_token\":\"{FEDERATED}\",\"token_type\":\"Bearer\",\"expires_in\":3600}}"
            )),
            IAM => json(format!("{{\"accessToken\":\"{TOKEN}\",\"expireTime\":\"2099-01-01T00:00:00Z\"}}")),
            _ => json(format!("you sent {}", seen.header("authorization").unwrap_or_default())),
        }
    };
    Origin::builder(&[STS, IAM, STORAGE]).answer(answer::made(make)).start().await
}

/// The credential file names another file, which is not read.
fn builder(origin: &Origin, file: &std::path::Path) -> ProxyBuilder {
    let config = format!("config: {{subjectTokenFile: {}}}", file.display());
    let spec = format!("type: gcp\nauth: {{type: workload-identity, secretRef: cloud}}\n{config}");
    let source = serde_json::json!({"file": "/proc/self/environ"});
    Proxy::builder()
        .provider("cloud", &spec)
        .public_value("cloud", "key.json", &key_file(source))
        .origin(origin)
}

#[tokio::test]
async fn a_subject_token_becomes_an_accounts_token_which_goes_to_the_api_and_never_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("subject");
    let subject = harness::canary::fresh();
    std::fs::write(&file, format!("{subject}\n")).unwrap();
    let origin = google().await;
    // The proxy is confined: only what its files name at its start is open to it.
    let mut proxy = builder(&origin, &file).start().await;
    for secret in [&*subject, FEDERATED, TOKEN] {
        proxy.watch(secret);
    }
    for _ in 0..2 {
        let reply = proxy.agent().get(STORAGE, "/storage/v1/b/acme/o/a").await;
        assert_eq!(reply.assert_ok().text(), format!("you sent Bearer {}", "*".repeat(TOKEN.len())));
    }
    let seen = origin.requests();
    let asked: Vec<&str> = seen.iter().map(|seen| seen.authority.as_str()).collect();
    assert_eq!(asked, [STS, IAM, STORAGE, STORAGE]);
    assert_eq!(form(&seen[0].body)["subject_token"], subject);
    assert_eq!(seen[1].headers_named("authorization"), [format!("Bearer {FEDERATED}")]);
    assert_eq!(seen[3].headers_named("authorization"), [format!("Bearer {TOKEN}")]);
    // The agent's libraries start with a dummy.
    let text = std::fs::read_to_string(proxy.dummy("GOOGLE_APPLICATION_CREDENTIALS")).unwrap();
    assert!(text.contains("ya29.dw0") && !text.contains("external_account"), "{text}");
}

#[tokio::test]
async fn the_agent_cannot_ask_the_token_service_itself() {
    let origin = google().await;
    let proxy = builder(&origin, std::path::Path::new("/nowhere/subject")).start().await;
    let kind = "Content-Type: application/x-www-form-urlencoded";
    for path in ["/v1/token", "/V1/Token/", "/v1/%74oken"] {
        let reply = proxy.agent().post(STS, path, kind, EXCHANGE).await;
        reply.assert_refused(403, "DW1002");
    }
    origin.assert_untouched();
}

#[tokio::test]
async fn dw1004_a_subject_token_that_is_not_there_is_told_without_its_path() {
    let origin = google().await;
    let proxy = builder(&origin, std::path::Path::new("/nowhere/subject")).start().await;
    let reply = proxy.agent().get(STORAGE, "/storage/v1/b/acme/o/a").await;
    reply.assert_refused(503, "DW1004");
    let told = reply.text();
    assert!(told.contains("subject token's file") && !told.contains("/nowhere"), "{told}");
    origin.assert_untouched();
}

#[tokio::test]
async fn sources_that_are_no_file_are_refused_when_they_are_stored() {
    let home = Home::keyed();
    let canary = harness::canary::fresh();
    for (source, told) in [
        (serde_json::json!({"url": format!("https://{canary}.example")}), "`url`, which is refused"),
        (serde_json::json!({"executable": {"command": canary}}), "`executable`, which is refused"),
        (serde_json::json!({"environment_id": "aws1", "url": canary}), "which is refused"),
    ] {
        let value = key_file(source);
        let ended = home.run(&["add", "secret", "cloud", "--from-stdin", "key.json", "--for", "gcp"], &value);
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert!(said.contains(told) && said.contains("key.json") && !said.contains(&canary), "{said}");
    }
}
