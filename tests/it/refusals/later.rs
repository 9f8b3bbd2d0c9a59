//! Codes whose situations come with a later release: until then what would lead to them is refused by its name.

use harness::Proxy;

use crate::world::{HOST, bearer_and};

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
async fn dw5002_a_proxy_that_would_follow_a_control_server_does_not_start() {
    let builder = Proxy::builder().bearer(HOST).arg("--control").arg("https://control.example.com");
    let Err(failure) = builder.try_start().await else { panic!("it started") };
    assert_eq!(failure.code, Some(2), "{failure:?}");
    assert!(failure.stderr.contains("--control"), "{}", failure.stderr);
}
