//! The counter of a model's answer: the same however the answer is cut, and nothing that a model wrote is a figure.
//!
//! The first byte says how long chunks are and whether it is a stream; all else is taken as it comes. Then the same bytes are
//! what a model wrote: escaped as text in the middle of an answer, they change nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxy::request::model::usage::Counter;

fn counter(is_stream: bool) -> Counter {
    if is_stream { Counter::of_events() } else { Counter::of_json() }
}

fuzz_target!(|input: &[u8]| {
    let Some((first, text)) = input.split_first() else { return };
    let (is_stream, size) = (first & 1 == 1, usize::from(first >> 1).max(1));
    let (mut whole, mut cut) = (counter(is_stream), counter(is_stream));
    whole.push(text);
    text.chunks(size).for_each(|chunk| cut.push(chunk));
    assert_eq!(whole.tokens(), cut.tokens());
    assert_eq!((whole.is_final(1), whole.estimate()), (cut.is_final(1), cut.estimate()));

    let written: String = text.iter().map(|byte| format!("\\u00{byte:02x}")).collect();
    let plain: String = String::from_utf8_lossy(text)
        .chars()
        .filter(|c| !c.is_control())
        .flat_map(|c| match c {
            '"' | '\\' => vec!['\\', c],
            c => vec![c],
        })
        .collect();
    for written in [written, plain] {
        let mut answer = counter(is_stream);
        let prefix = if is_stream { "data: " } else { "" };
        answer.push(format!("{prefix}{{\"choices\":[{{\"text\":\"{written}\"}}],").as_bytes());
        answer.push(b"\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\n");
        let tokens = answer.tokens().expect("the figures are there");
        assert_eq!((tokens.input, tokens.output), (3, 4));
    }
});
