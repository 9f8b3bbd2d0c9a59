//! Providers and model providers: checked as files are, and their secrets held back when they go elsewhere.

use harness::Server;
use serde_json::{Value, json};

use super::github;

const PROVIDERS: &str = "/v1/projects/default/providers";
const MODELS: &str = "/v1/projects/default/model-providers";

fn document(text: &str) -> Value {
    json!({"document": text})
}

/// A provider of another host.
fn custom(name: &str, secret: &str, host: &str) -> String {
    format!(
        "apiVersion: doorward.dev/v1alpha1\nkind: Provider\nmetadata: {{name: {name}}}\nspec:\n  type: http-token\n  host: {host}\n  auth: {{type: api-key, secretRef: {secret}}}\n  policy: {{httpRules: [{{id: all, methods: [\"*\"], paths: [\"/**\"], effect: allow}}]}}\n"
    )
}

#[tokio::test]
async fn refuses_documents_with_mistakes_and_tells_all_of_them() {
    let server = Server::start().await;
    server.secret("default", "pat").await;
    let canary = server.canary();
    for text in [
        String::new(),
        "not: [yaml".to_owned(),
        canary.clone(),
        github("gh", "pat").replace("issues:read", "issues:raed"),
        github("gh", "pat").replace("secretRef: pat", "secretRef: nothing"),
        github("gh", "pat").replace("secretRef: pat", &format!("tokn: {canary}")),
        github("gh", "pat").replace("{name: gh}", "{name: gh, namespace: other}"),
        github("gh", "pat") + "---\n" + &github("other", "pat"),
        github("gh", "pat").replace("kind: Provider", "kind: Agent"),
        github("gh", "pat") + "  tests: [{request: \"DELETE /repos/a/b\", expect: allow}]\n",
        github("gh", "pat") + "  tls: {mode: intercept, upstreamCA: /etc/passwd}\n",
        custom("x", "pat", "evil.example.com"),
        "a: &a [*a,*a]\n".to_owned(),
    ] {
        let refused = server.post(PROVIDERS, document(&text)).await;
        assert_eq!((refused.status, refused.code().as_str()), (422, "DW6016"), "{text}: {}", refused.json());
    }
    let two =
        github("gh", "pat").replace("issues:read", "issues:raed").replace("  type: github", "  typ: github");
    let refused = server.post(PROVIDERS, document(&two)).await;
    assert!(!refused.refused(422, "DW6016").json()["errors"].as_array().unwrap().is_empty());
    server.post(MODELS, document(&github("gh", "pat"))).await.refused(422, "DW6016");
}

#[tokio::test]
async fn a_document_is_stored_as_entered_checked_dry_replaced_and_deleted() {
    let server = Server::start().await;
    server.secret("default", "pat").await;
    let text = github("gh", "pat");
    let dry = server.post(&format!("{PROVIDERS}?dryRun=true"), document(&text)).await;
    assert_eq!(dry.is(200).json()["name"], "gh");
    server.get(&format!("{PROVIDERS}/gh")).await.refused(404, "DW6007");
    let made = server.post(PROVIDERS, document(&text)).await;
    assert_eq!(made.is(201).json()["document"], text);
    assert_eq!(made.json()["withheld"], false);
    server.post(PROVIDERS, document(&text)).await.refused(409, "DW6009");
    let path = format!("{PROVIDERS}/gh");
    let next = text.replace("issues:read", "issues:*");
    let changed = server.change("PUT", &path, &made.etag(), Some(document(&next))).await;
    assert_eq!(changed.is(200).json()["withheld"], false, "the destination is the same");
    server.change("PUT", &path, &made.etag(), Some(document(&text))).await.refused(412, "DW6010");
    let renamed = next.replace("{name: gh}", "{name: hub}");
    server.change("PUT", &path, "*", Some(document(&renamed))).await.refused(422, "DW6016");
    // What a document names cannot be deleted.
    let secret = "/v1/projects/default/secrets/pat";
    let used = server.change("DELETE", secret, "*", None).await;
    assert_eq!(used.refused(409, "DW6002").json()["used_by"], json!(["provider gh"]));
    server.change("DELETE", &path, &changed.etag(), None).await.is(204);
    server.change("DELETE", secret, "*", None).await.is(204);
}

#[tokio::test]
async fn a_new_destination_takes_the_secret_away_until_somebody_who_may_approves() {
    let server = Server::start().await;
    let value = server.canary();
    let secret =
        json!({"name": "key", "values": {"api-key": value}, "hosts": ["a.example.com", "b.example.com"]});
    server.post("/v1/projects/default/secrets", secret).await.is(201);
    let text =
        custom("x", "key", "a.example.com").replace("secretRef: key", "secretRef: key, secretKey: api-key");
    let made = server.post(PROVIDERS, document(&text)).await;
    let path = format!("{PROVIDERS}/x");
    let moved = document(&text.replace("a.example.com", "b.example.com"));
    let developer = server.token(Some("default"), "developer").await;
    let etag = made.is(201).etag();
    let changed = server.call_with(&developer, "PUT", &path, &[("if-match", &etag)], Some(&moved)).await;
    assert_eq!(changed.is(200).json()["withheld"], true);
    let etag = changed.etag();
    let approve = format!("{path}/approve");
    server.call_with(&developer, "POST", &approve, &[("if-match", &etag)], None).await.refused(403, "DW6005");
    let approved = server.change("POST", &approve, &etag, None).await;
    assert_eq!(approved.is(200).json()["withheld"], false);
    // Whoever may manage secrets is asked, too. A new value answers nothing: who enters it has not looked at what waits.
    let back = server.change("PUT", &path, &approved.etag(), Some(document(&text))).await;
    assert_eq!(back.is(200).json()["withheld"], true);
    let rotate = json!({"values": {"api-key": server.canary()}});
    server.change("POST", "/v1/projects/default/secrets/key/rotate", "\"v1\"", Some(rotate)).await.is(200);
    assert_eq!(server.get(&path).await.is(200).json()["withheld"], true);
}

#[tokio::test]
async fn a_developer_stores_nothing_that_is_served_with_a_secret_before_it_was_approved() {
    let server = Server::start().await;
    let value = server.canary();
    let secret = json!({"name": "key", "values": {"k": value, "l": value}, "hosts": ["a.example.com"]});
    server.post("/v1/projects/default/secrets", secret).await.is(201);
    let developer = server.token(Some("default"), "developer").await;
    let text = custom("x", "key", "a.example.com").replace("secretRef: key", "secretRef: key, secretKey: k");
    let path = format!("{PROVIDERS}/x");
    let any = [("if-match", "*")];
    let put = async |text: &str| {
        let answer = server.call_with(&developer, "PUT", &path, &any, Some(&document(text))).await;
        answer.is(200).json()["withheld"].clone()
    };
    // New, bound to its host or not.
    let made = server.call_as(&developer, "POST", PROVIDERS, Some(&document(&text))).await;
    assert_eq!(made.is(201).json()["withheld"], true);
    server.change("POST", &format!("{path}/approve"), "*", None).await.is(200);
    // What is not about the secret is his.
    let narrowed = text.replace("methods: [\"*\"]", "methods: [GET]");
    assert_eq!(put(&narrowed).await, false);
    // Deleted and made again.
    server.call_with(&developer, "DELETE", &path, &any, None).await.is(204);
    let again = server.call_as(&developer, "POST", PROVIDERS, Some(&document(&text))).await;
    assert_eq!(again.is(201).json()["withheld"], true);
    // Changed, in whatever says how the secret is carried; and changed back.
    for changed in [
        text.replace("secretKey: k", "secretKey: l"),
        text.clone() + "  response: {smallRanges: allow}\n",
        text.clone() + "  response: {redact: false}\n",
        text.clone() + "  tls: {clientCert: {secretRef: key}}\n",
    ] {
        server.change("PUT", &path, "*", Some(document(&text))).await.is(200);
        server.change("POST", &format!("{path}/approve"), "*", None).await.is(200);
        assert_eq!(put(&text).await, false);
        assert_eq!(put(&changed).await, true, "{changed}");
        assert_eq!(put(&text).await, true, "what was withheld stays so");
    }
}

#[tokio::test]
async fn a_developer_cannot_send_an_unbound_secret_to_a_place_of_his_choice() {
    let server = Server::start().await;
    let value = server.canary();
    let secret = json!({"name": "free", "values": {"token": value}});
    server.post("/v1/projects/default/secrets", secret).await.is(201);
    let developer = server.token(Some("default"), "developer").await;
    let text = document(&custom("x", "free", "evil.example.com"));
    let made = server.call_as(&developer, "POST", PROVIDERS, Some(&text)).await;
    assert_eq!(made.is(201).json()["withheld"], true);
    let own = server.post(PROVIDERS, document(&custom("y", "free", "good.example.com"))).await;
    assert_eq!(own.is(201).json()["withheld"], false);
}

#[tokio::test]
async fn model_providers_are_documents_of_their_own_kind() {
    let server = Server::start().await;
    let value = server.canary();
    let secret = json!({"name": "claude", "values": {"api-key": value}, "for": "anthropic"});
    server.post("/v1/projects/default/secrets", secret).await.is(201);
    let text = "apiVersion: doorward.dev/v1alpha1\nkind: ModelProvider\nmetadata: {name: claude}\nspec:\n  provider: anthropic\n  apiKeySecretRef: {name: claude, key: api-key}\n";
    let made = server.post(MODELS, document(text)).await;
    assert_eq!(made.is(201).json()["kind"], "ModelProvider");
    assert_eq!(server.get(MODELS).await.is(200).json()["items"].as_array().unwrap().len(), 1);
    assert!(server.get(PROVIDERS).await.is(200).json()["items"].as_array().unwrap().is_empty());
    server.post(PROVIDERS, document(text)).await.refused(422, "DW6016");
}

#[tokio::test]
async fn refuses_tests_of_too_many_steps_and_documents_that_are_too_long() {
    let server = Server::start().await;
    server.secret("default", "pat").await;
    let rule = |number: usize| {
        format!("{{id: r{number}, methods: [\"*\"], paths: [\"/**/a/**/b/**/c{number}\"], effect: allow}}")
    };
    let rules: Vec<String> = (0..1000).map(rule).collect();
    let test = format!("{{request: \"GET {}\", expect: deny}}", "/a".repeat(120));
    let whole = custom("x", "pat", "a.example.com");
    let (spec, _) = whole.split_once("  policy:").unwrap();
    let (rules, tests) = (rules.join(", "), vec![test; 100].join(", "));
    let text = format!("{spec}  policy: {{httpRules: [{rules}]}}\n  tests: [{tests}]\n");
    let refused = server.post(&format!("{PROVIDERS}?dryRun=true"), document(&text)).await;
    assert_eq!((refused.status, refused.code().as_str()), (422, "DW6016"), "{}", refused.json());
    assert!(refused.json()["errors"].to_string().contains("steps"), "{}", refused.json());
    let long = github("gh", "pat") + "# " + &"x".repeat(256 * 1024);
    server.post(PROVIDERS, document(&long)).await.refused(422, "DW6016");
}

#[tokio::test]
async fn a_page_of_long_documents_ends_before_its_limit_and_the_next_one_goes_on() {
    let server = Server::start().await;
    server.secret("default", "pat").await;
    for number in 0..6 {
        let text = github(&format!("gh-{number}"), "pat") + "# " + &"x".repeat(250 * 1000);
        server.post(PROVIDERS, document(&text)).await.is(201);
    }
    let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = server.get(&format!("{PROVIDERS}?limit=1000{cursor}")).await;
        let page = page.is(200).json();
        let items = page["items"].as_array().unwrap();
        seen.extend(items.iter().map(|item| item["name"].as_str().unwrap().to_owned()));
        pages += 1;
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert!(pages > 1);
    assert_eq!(seen, (0..6).map(|number| format!("gh-{number}")).collect::<Vec<_>>());
}
