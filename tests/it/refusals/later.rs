//! Codes whose situations come with a later release: until then what would lead to them is refused by its name.

use harness::Proxy;

use crate::world::{HOST, bearer_and, token};

async fn refused_at(spec: &str, place: &str, words: &str) {
    let Err(failure) = Proxy::builder().provider("later", spec).try_start().await else {
        panic!("it started")
    };
    assert_eq!(failure.code, Some(1), "{failure:?}");
    let line = failure.stderr.lines().find(|line| line.contains(place)).unwrap_or_default();
    assert!(line.contains(words), "{place}, {words}: {}", failure.stderr);
}

#[tokio::test]
async fn dw1003_a_rule_that_would_ask_for_approval_is_refused_by_name_and_place() {
    let spec = bearer_and("policy: {httpRules: [{id: ask, methods: [GET], paths: [\"/**\"], effect: ask}]}");
    refused_at(&spec, "later.yaml:8:", "`effect: ask` comes with a later release").await;
}

#[tokio::test]
async fn an_auth_type_of_a_later_release_is_refused_by_name_and_place() {
    for kind in ["workload-identity", "token-service"] {
        let spec = token(&format!("type: {kind}"));
        refused_at(&spec, "later.yaml:7:", &format!("auth type `{kind}` comes with a later release")).await;
    }
}

#[tokio::test]
async fn dw5002_a_proxy_that_would_follow_a_control_server_does_not_start() {
    let builder = Proxy::builder().bearer(HOST).arg("--control").arg("https://control.example.com");
    let Err(failure) = builder.try_start().await else { panic!("it started") };
    assert_eq!(failure.code, Some(2), "{failure:?}");
    assert!(failure.stderr.contains("--control"), "{}", failure.stderr);
}

#[tokio::test]
async fn a_role_that_would_be_assumed_is_refused_by_name_with_what_to_do_until_then() {
    let spec = "type: aws\nauth: {secretRef: canary}\nconfig: {region: eu-west-1, assumeRole: {arn: \"arn:aws:iam::1:role/x\"}}";
    let words = "`assumeRole` comes with a later release: until then put the role's temporary credentials";
    refused_at(spec, "later.yaml:7:", words).await;
}
