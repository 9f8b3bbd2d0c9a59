//! What does it cost to read an agent's message for an MCP server, and to look through what the server shows?

use control::mcp::events::Events;
use control::mcp::{Calls, listing};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use http::HeaderMap;

/// How many tools a server has, and how many bytes of arguments a call.
const TOOLS: [usize; 2] = [20, 200];
const ARGUMENTS: [usize; 3] = [64, 16 * 1024, 1024 * 1024];

fn main() {
    divan::main();
}

fn lets(tool: &str) -> bool {
    tool.starts_with("get_")
}

/// A list of which every other tool may be seen.
fn list(tools: usize) -> String {
    let schema = r#"{"type":"object","properties":{"owner":{"type":"string","description":"Whose it is."},"repo":{"type":"string"},"number":{"type":"integer"}},"required":["owner","repo"]}"#;
    let one = |n: usize| {
        let verb = if n.is_multiple_of(2) { "get" } else { "put" };
        format!(
            r#"{{"name":"{verb}_thing_{n}","description":"Says what the thing {n} is like.","inputSchema":{schema}}}"#
        )
    };
    let tools: Vec<String> = (0..tools).map(one).collect();
    format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{}]}}}}"#, tools.join(","))
}

/// A call as the proxy reads it before policy is asked.
#[divan::bench(args = ARGUMENTS)]
fn call(bencher: Bencher, size: usize) {
    let text = "it is what it is ".repeat(size / 17 + 1);
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"get_thing","arguments":{{"text":"{text}"}}}}}}"#
    );
    let headers = HeaderMap::new();
    bencher
        .counter(BytesCount::new(body.len()))
        .bench_local(|| Calls::read(black_box(&body), &headers).map(|calls| calls.count()));
}

/// A list in one JSON text.
#[divan::bench(args = TOOLS)]
fn tools(bencher: Bencher, tools: usize) {
    let text = list(tools);
    bencher.counter(BytesCount::new(text.len())).bench_local(|| listing::filter(black_box(&text), &lets));
}

/// The same as an event.
#[divan::bench(args = TOOLS)]
fn tools_event(bencher: Bencher, tools: usize) {
    let text = format!("event: message\ndata: {}\n\n", list(tools));
    let mut events = Events::new(4 << 20);
    bencher
        .counter(BytesCount::new(text.len()))
        .bench_local(|| events.push(black_box(text.as_bytes()), &lets).map(|shown| shown.len()));
}
