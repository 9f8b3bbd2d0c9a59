use proptest::prelude::*;

use super::json::FIGURE_MOST;
use super::*;

fn json(body: &str) -> Counter {
    let mut counter = Counter::of_json();
    counter.push(body.as_bytes());
    counter
}

fn events(body: &str) -> Counter {
    let mut counter = Counter::of_events();
    counter.push(body.as_bytes());
    counter
}

fn pair(counter: &Counter) -> Option<(u64, u64)> {
    counter.tokens().map(|tokens| (tokens.input, tokens.output))
}

const CHAT: &str = "data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\"hi\"}}],\"usage\":null}\n\n\
                    data: {\"choices\":[],\"usage\":{\"prompt_tokens\":19,\"completion_tokens\":10,\"total_tokens\":29,\"prompt_tokens_details\":{\"cached_tokens\":7}}}\n\n\
                    data: [DONE]\n\n";
const MESSAGES: &str = "event: message_start\r\n\
                        data: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"content\":[],\"usage\":{\"input_tokens\":25,\"cache_creation_input_tokens\":5,\"cache_read_input_tokens\":3,\"output_tokens\":1}}}\r\n\r\n\
                        event: ping\r\ndata: {\"type\":\"ping\"}\r\n\r\n\
                        data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"hello\"}}\r\n\r\n\
                        data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":15}}\r\n\r\n";

#[test]
fn what_a_model_wrote_is_never_a_figure() {
    for body in [
        r#"{"choices":[{"message":{"content":"{\"usage\":{\"prompt_tokens\":1}}"}}]}"#,
        r#"{"choices":[{"message":{"usage":{"prompt_tokens":1}}}]}"#,
        r#"{"content":[{"type":"tool_use","input":{"usage":{"input_tokens":1},"usageMetadata":{"promptTokenCount":1}}}]}"#,
        r#"{"message":{"input":{"usage":{"input_tokens":1}}}}"#,
        r#"{"output":[{"usage":{"input_tokens":1}}],"usage":null}"#,
        r#"{"x":"usage","y":{"prompt_tokens":1}}"#,
        r#"{"usage":[{"prompt_tokens":1}]}"#,
        r#"{"usage":{"details":{"prompt_tokens":1}}}"#,
        r#"[[{"usage":{"prompt_tokens":1}}]]"#,
        r#"{"text":"a\\","b":"\\\"","c":"\",\"usage\":{\"prompt_tokens\":1}"}"#,
        r#""usage":{"prompt_tokens":1}"#,
    ] {
        assert_eq!(pair(&json(body)), None, "{body}");
    }
    assert_eq!(
        pair(&events("data: {\"t\":\"\\n\\ndata: {\\\"usage\\\":{\\\"input_tokens\\\":1}}\"}\n\n")),
        None
    );
    assert_eq!(
        pair(&events(": {\"usage\":{\"prompt_tokens\":1}}\nevent: {\"usage\":{\"prompt_tokens\":1}}\n\n")),
        None
    );
}

#[test]
fn odd_numbers_are_no_figures_and_huge_ones_are_bounded() {
    for number in ["-1", "1.5", "1e9", "\"7\"", "null", "true", "+", "--", "{\"a\":1}"] {
        let body = format!("{{\"usage\":{{\"prompt_tokens\":{number}}}}}");
        assert_eq!(pair(&json(&body)), None, "{number}");
    }
    for number in ["99999999999999999999", "18446744073709551615"] {
        let body = format!(
            "{{\"usage\":{{\"prompt_tokens\":{number},\"completion_tokens\":{number},\"total_tokens\":{number}}}}}"
        );
        assert_eq!(pair(&json(&body)), Some((FIGURE_MOST, FIGURE_MOST)), "{number}");
    }
}

#[test]
fn reads_the_figures_of_each_vendor() {
    for (body, wanted) in [
        (r#"{"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}}"#, (9, 12)),
        (
            r#"{"usage":{"input_tokens":36,"input_tokens_details":{"cached_tokens":30},"output_tokens":87,"total_tokens":123}}"#,
            (36, 87),
        ),
        (
            r#"{"usage":{"input_tokens":10,"cache_creation_input_tokens":4,"cache_read_input_tokens":6,"output_tokens":2}}"#,
            (20, 2),
        ),
        (
            r#"{"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":5,"thoughtsTokenCount":6,"totalTokenCount":15}}"#,
            (4, 11),
        ),
        (
            r#"[{"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":5}},{"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":9,"totalTokenCount":13}}]"#,
            (4, 9),
        ),
        (r#"{"data":[{"embedding":[0.1,-2e3]}],"usage":{"prompt_tokens":8,"total_tokens":8}}"#, (8, 0)),
        (r#"{"usage":{"total_tokens":50}}"#, (50, 0)),
    ] {
        let counter = json(body);
        assert_eq!((pair(&counter), counter.is_final(1)), (Some(wanted), true), "{body}");
    }
    let cost = json(r#"{"usage":{"prompt_tokens":1,"cost":0.0000125}}"#).tokens().unwrap();
    assert_eq!(cost.cost_micros, Some(13));
}

#[test]
fn reads_streams_and_knows_when_the_figures_are_whole() {
    let chat = events(CHAT);
    assert_eq!((pair(&chat), chat.is_final(1)), (Some((19, 10)), true));
    let messages = events(MESSAGES);
    assert_eq!((pair(&messages), messages.is_final(1)), (Some((33, 15)), true));
    let (cut, _) = MESSAGES.split_at(MESSAGES.find("message_delta").unwrap());
    let cut = events(cut);
    assert_eq!((pair(&cut), cut.is_final(1)), (Some((33, 1)), false));
    let responses = events(
        "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"output\":[{\"usage\":{\"input_tokens\":999}}],\"usage\":{\"input_tokens\":3,\"output_tokens\":4}}}\n\n",
    );
    assert_eq!((pair(&responses), responses.is_final(1)), (Some((3, 4)), true));
    let split = events("data: {\"usage\":\ndata: {\"prompt_tokens\":\ndata: 5}}\n\n");
    assert_eq!(pair(&split), Some((5, 0)));
}

#[test]
fn figures_that_come_before_the_end_are_not_the_last() {
    let gemini = |reason: &str| {
        format!(
            "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"a\"}}]}}{reason}}}],\"usageMetadata\":{{\"promptTokenCount\":3,\"candidatesTokenCount\":4}}}}\n\n"
        )
    };
    let chunk = |reason: &str| {
        format!(
            "data: {{\"choices\":[{{\"delta\":{{\"content\":\"x\",\"finish_reason\":\"stop\"}},\"finish_reason\":{reason}}}],\"usage\":{{\"prompt_tokens\":3,\"completion_tokens\":4}}}}\n\n"
        )
    };
    let delta = |reason: &str| {
        format!(
            "data: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":{reason}}},\"usage\":{{\"output_tokens\":4}}}}\n\n"
        )
    };
    let response = |kind: &str| {
        format!(
            "data: {{\"type\":\"{kind}\",\"response\":{{\"usage\":{{\"input_tokens\":3,\"output_tokens\":4}}}}}}\n\n"
        )
    };
    for (body, answers, is_final) in [
        (gemini(""), 1, false),
        (gemini(",\"finishReason\":\"STOP\""), 1, true),
        (gemini(",\"finishReason\":\"STOP\""), 2, false),
        (gemini(",\"finishReason\":\"STOP\"").repeat(2), 2, true),
        (chunk("null"), 1, false),
        (chunk("\"\""), 1, false),
        (chunk("\"length\""), 1, true),
        (chunk("null") + "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n", 1, false),
        (chunk("null") + "data: [DONE]\n\n", 3, true),
        (chunk("null") + "data: {\"choices\":[]}\n\n", 1, false),
        ("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n".to_owned(), 4, true),
        (delta("null"), 1, false),
        (delta("\"end_turn\""), 1, true),
        (delta("null") + "data: {\"type\":\"message_stop\"}\n\n", 1, true),
        (response("response.in_progress"), 1, false),
        (response("response.incomplete"), 1, true),
        // What is cut within the event says nothing of the rest of it.
        (delta("\"end_turn\"").trim_end().to_owned(), 1, false),
    ] {
        assert_eq!(events(&body).is_final(answers), is_final, "{answers} {body}");
    }
    let text = r#"[{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":4}}"#;
    assert_eq!((json(text).is_final(1), json(&format!("{text}]")).is_final(1)), (false, true));
}

#[test]
fn an_answer_without_figures_is_estimated_by_what_is_more_than_its_envelopes() {
    let event = |text: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-1234567890\",\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n"
        )
    };
    let body = event("") + &event(&"x".repeat(300)) + &event("yes");
    assert_eq!(events(&body).estimate(), 3 + 303 / 3);
    assert_eq!(json(&"x".repeat(300)).estimate(), 100);
}

proptest! {
    #[test]
    fn chunks_make_no_difference(cut in 1_usize..40, which in 0_usize..2) {
        let body = [CHAT, MESSAGES][which];
        let mut counter = Counter::of_events();
        body.as_bytes().chunks(cut).for_each(|chunk| counter.push(chunk));
        let whole = events(body);
        prop_assert_eq!(counter.tokens(), whole.tokens());
        prop_assert_eq!((counter.is_final(1), counter.estimate()), (whole.is_final(1), whole.estimate()));
    }
}
