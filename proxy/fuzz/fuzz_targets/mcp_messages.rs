//! MCP: a call that is let through names one tool for every parser, and no list shows a tool that may not be seen.
//!
//! The input's first byte says how large the pieces of the stream of events are.
#![no_main]

use control::mcp::events::Events;
use control::mcp::{Calls, Listing, listing};
use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const MOST: usize = 4096;

fuzz_target!(|input: &[u8]| {
    let Some((size, rest)) = input.split_first() else { return };
    stream(rest, usize::from(*size).max(1));
    let Ok(text) = std::str::from_utf8(rest) else { return };
    calls(text);
    if let Ok(shown) = listing::filter(text, &lets) {
        let shown = if let Listing::Cut(cut) = &shown { cut } else { text };
        hides(shown);
        assert_eq!(listing::filter(shown, &lets), Ok(Listing::Same));
    }
});

fn lets(tool: &str) -> bool {
    tool.starts_with('g')
}

/// What a lenient parser, which takes the last of two keys, finds called is what was read.
fn calls(text: &str) {
    let Ok(calls) = Calls::read(text, &HeaderMap::new()) else { return };
    let message: Value = serde_json::from_str(text).expect("what was read is JSON");
    let messages =
        if let Value::Array(batch) = &message { batch.as_slice() } else { std::slice::from_ref(&message) };
    let called = messages.iter().filter(|one| one["method"] == "tools/call");
    let called: Vec<_> = called.map(|one| one["params"]["name"].as_str().expect("a name")).collect();
    assert_eq!(called, calls.tools().collect::<Vec<_>>());
    assert_eq!(messages.len(), calls.count());
}

fn hides(text: &str) {
    let message: Value = serde_json::from_str(text).unwrap_or_default();
    let messages =
        if let Value::Array(batch) = &message { batch.as_slice() } else { std::slice::from_ref(&message) };
    let tools = messages.iter().filter_map(|one| one["result"]["tools"].as_array()).flatten();
    for tool in tools {
        assert!(tool["name"].as_str().is_some_and(lets), "{text}");
    }
}

fn stream(bytes: &[u8], size: usize) {
    let mut events = Events::new(MOST);
    let mut shown = Vec::new();
    for chunk in bytes.chunks(size) {
        let Ok(out) = events.push(chunk, &lets) else { return };
        assert!(events.held() <= MOST);
        shown.extend(out);
    }
    let Ok(rest) = events.finish(&lets) else { return };
    shown.extend(rest);
    let text = String::from_utf8(shown).expect("UTF-8 goes out");
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    for event in text.replace("\r\n", "\n").replace('\r', "\n").split("\n\n") {
        let data = event.lines().filter_map(|line| line.strip_prefix("data:"));
        let data: Vec<_> = data.map(|value| value.strip_prefix(' ').unwrap_or(value)).collect();
        hides(&data.join("\n"));
    }
}
