//! The libraries of model vendors, as they come: intercepted, and by the base URL that they find in their environment.

use std::path::PathBuf;

use harness::{Origin, Proxy, answer};
use http::Response;

use super::{Client, node_modules, python, script};
use crate::refusals::model::{OPENAI, model_file};

const ANTHROPIC: &str = "api.anthropic.com";

/// A vendor in small: whole answers and streams, each with its figures.
fn vendor() -> answer::Answer {
    answer::with(|mut exchange| async move {
        let body = String::from_utf8(exchange.body().await.to_vec()).unwrap();
        let (kind, text) = match (
            exchange.seen.target.contains("messages"),
            body.contains("\"stream\":true") || body.contains("\"stream\": true"),
        ) {
            (false, false) => ("application/json", CHAT),
            (false, true) => ("text/event-stream", CHAT_STREAM),
            (true, false) => ("application/json", MESSAGE),
            (true, true) => ("text/event-stream", MESSAGE_STREAM),
        };
        Response::builder().header("content-type", kind).body(answer::full(text)).unwrap()
    })
}

const CHAT: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"gpt-4o","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"hello"}}],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}"#;
const CHAT_STREAM: &str = concat!(
    "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hello\"}}],\"usage\":null}\n\n",
    "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-4o\",\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":6,\"total_tokens\":11}}\n\n",
    "data: [DONE]\n\n",
);
const MESSAGE: &str = r#"{"id":"m","type":"message","role":"assistant","model":"claude-1","content":[{"type":"text","text":"hello"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":4}}"#;
const MESSAGE_STREAM: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-1\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hello\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":6}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);

/// In which language the library is, and by which way it comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Library {
    Python,
    Node,
}

/// How the library is run; `None`: it is not installed.
fn program(library: Library, vendor: &str, is_base_url: bool) -> Option<(PathBuf, Vec<String>)> {
    let way = if is_base_url { "base-url" } else { "intercepted" };
    Some(match library {
        Library::Python => (python()?, vec![script("models_client.py"), vendor.to_owned()]),
        Library::Node => {
            let args = [script("models_client.cjs"), node_modules()?, vendor.to_owned(), way.to_owned()];
            (PathBuf::from("node"), args.to_vec())
        }
    })
}

async fn asks(library: Library, vendor_name: &str, is_base_url: bool) {
    let Some((program, args)) = program(library, vendor_name, is_base_url) else { return };
    let (host, spec) = match vendor_name {
        "openai" => (OPENAI, OPENAI_SPEC),
        _ => (ANTHROPIC, ANTHROPIC_SPEC),
    };
    let builder = Proxy::builder().file("m", &model_file(spec));
    // Without tokens the listener is published as base URL; with them the vendor's own host is the way.
    let builder = if is_base_url { builder.no_token() } else { builder };
    let client = Client::built(Origin::builder(&[host]).answer(vendor()), builder).await;
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let printed = client.run(&program, &args).await.assert_ok();
    let printed =
        printed.assert_says("whole ").assert_says("stream ").assert_says("refused 403").assert_says("DW1002");
    assert!(printed.out.contains("hello 6") || printed.out.contains("stream [11]"), "{}", printed.out);
    assert_eq!(client.origin.requests().len(), 2);
    let credential = if vendor_name == "openai" { "authorization" } else { "x-api-key" };
    for seen in client.origin.requests() {
        assert!(
            seen.header(credential).is_some_and(|value| value.ends_with(client.proxy.canary())),
            "{seen:#?}"
        );
        assert!(credential == "authorization" || seen.header("authorization").is_none(), "{seen:#?}");
    }
    assert_eq!(client.proxy.metric("doorward_model_input_tokens_total"), Some(8.0));
    assert_eq!(client.proxy.metric("doorward_model_output_tokens_total"), Some(10.0));
}

const OPENAI_SPEC: &str =
    "provider: openai, allowedModels: [\"gpt-*\"], maxTokensPerRequest: 10, maxTokensPerDay: 1000";
const ANTHROPIC_SPEC: &str =
    "provider: anthropic, deniedModels: [claude-2], maxTokensPerRequest: 10, maxTokensPerDay: 1000";

#[tokio::test]
async fn openai_is_judged_and_counted_intercepted() {
    asks(Library::Python, "openai", false).await;
}

#[tokio::test]
async fn openai_is_judged_and_counted_by_its_base_url() {
    asks(Library::Python, "openai", true).await;
}

#[tokio::test]
async fn anthropic_is_judged_and_counted_intercepted() {
    asks(Library::Python, "anthropic", false).await;
}

#[tokio::test]
async fn anthropic_is_judged_and_counted_by_its_base_url() {
    asks(Library::Python, "anthropic", true).await;
}

#[tokio::test]
async fn openai_for_node_is_judged_and_counted_intercepted() {
    asks(Library::Node, "openai", false).await;
}

#[tokio::test]
async fn openai_for_node_is_judged_and_counted_by_its_base_url() {
    asks(Library::Node, "openai", true).await;
}

#[tokio::test]
async fn anthropic_for_node_is_judged_and_counted_intercepted() {
    asks(Library::Node, "anthropic", false).await;
}

#[tokio::test]
async fn anthropic_for_node_is_judged_and_counted_by_its_base_url() {
    asks(Library::Node, "anthropic", true).await;
}
