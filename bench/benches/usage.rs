//! What does it cost to count the tokens of a model's answer while it passes?

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use proxy::request::model::usage::Counter;

/// What one read brings: an event, a TLS record, a burst.
const CHUNKS: [usize; 3] = [190, 16 * 1024, 256 * 1024];

fn main() {
    divan::main();
}

fn repeated(part: &[u8], size: usize) -> Vec<u8> {
    part.iter().copied().cycle().take(size).collect()
}

/// OpenAI's chat completions: an event for each token.
#[divan::bench(args = CHUNKS)]
fn chat_events(bencher: Bencher, size: usize) {
    let event = b"data: {\"id\":\"chatcmpl-9x\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" the\"},\"finish_reason\":null}],\"usage\":null}\n\n";
    let text = repeated(event, size);
    let mut counter = Counter::of_events();
    bencher.counter(BytesCount::new(text.len())).bench_local(|| counter.push(black_box(&text)));
}

/// Anthropic's messages.
#[divan::bench(args = CHUNKS)]
fn message_events(bencher: Bencher, size: usize) {
    let event = b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" the quick\"}}\n\n";
    let text = repeated(event, size);
    let mut counter = Counter::of_events();
    bencher.counter(BytesCount::new(text.len())).bench_local(|| counter.push(black_box(&text)));
}

/// One long answer.
#[divan::bench(args = CHUNKS)]
fn json(bencher: Bencher, size: usize) {
    let text =
        repeated(b"It was a bright cold day in April, and the clocks were striking \\\"thirteen\\\". ", size);
    bencher.counter(BytesCount::new(text.len())).bench_local(|| {
        let mut counter = Counter::of_json();
        counter.push(b"{\"choices\":[{\"message\":{\"content\":\"");
        counter.push(black_box(&text));
        counter.estimate()
    });
}
