//! `effect: ask`: what a person has to approve waits, is refused, and goes out once it is approved, and nothing else does.

mod held;
mod local;
mod server;

use std::process::Stdio;
use std::time::Duration;

use harness::Proxy;
use harness::home::{Ran, finish};
use harness::within::until;
use serde_json::Value;

const SOON: Duration = harness::within::DEADLINE;

/// A rule that asks about deletions and posts, in front of one that allows the rest; `more` is of the first rule.
pub(crate) fn asking(more: &str) -> String {
    crate::world::bearer_and(&format!(
        "policy: {{httpRules: [{{id: ask-first, methods: [DELETE, POST], paths: [\"/**\"], effect: ask{more}}}, {{id: rest, effect: allow}}]}}"
    ))
}

/// The id of the question that a refusal names.
#[track_caller]
fn asked(detail: &str) -> String {
    let id = detail.split_once("(ask ").and_then(|(_, rest)| rest.split_once(')'));
    id.unwrap_or_else(|| panic!("no question in {detail}")).0.to_owned()
}

/// What a person types beside a proxy without a server.
fn person(proxy: &Proxy, words: &[&str]) -> Ran {
    let mut command = std::process::Command::new(harness::binary::doorward());
    command.args(words).env_clear().env("HOME", proxy.home()).env("PATH", "/usr/bin:/bin");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(command, "")
}

/// The questions that a person sees.
fn asks(proxy: &Proxy) -> Vec<Value> {
    let listed = person(proxy, &["get", "asks", "-o", "json"]);
    serde_json::from_str(&listed.assert_ok().stdout).unwrap()
}

/// Waits for the one question that is open.
async fn open_ask(proxy: &Proxy) -> Value {
    until("a question", SOON, async || asks(proxy).iter().any(|ask| ask["state"] == "open")).await;
    asks(proxy).into_iter().find(|ask| ask["state"] == "open").unwrap()
}
