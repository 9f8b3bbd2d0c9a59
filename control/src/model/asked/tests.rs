use super::*;

fn read(api: Api, body: &str) -> Result<Asked, Fault> {
    Asked::read(Vendor::by_name("openai").unwrap(), api, body.as_bytes())
}

fn read_bytes(body: &[u8]) -> Result<Asked, Fault> {
    Asked::read(Vendor::by_name("openai").unwrap(), Api::Chat, body)
}

#[test]
fn refuses_what_two_readers_could_read_differently() {
    for body in [
        r#"{"model":"a","model":"b"}"#,
        r#"{"model":"a","mod\u0065l":"b"}"#,
        r#"{"model":"a","Model":"b"}"#,
        r#"{"MODEL":"b"}"#,
        r#"{"mode\u006c":"a","m_odel":"b"}"#,
        "{\"max_to\u{212a}ens\":1}",
        r#"{"max_tokens":1,"maxTokens":9}"#,
        r#"{"generationConfig":{"maxOutputTokens":1},"generation_config":{"maxOutputTokens":9}}"#,
        r#"{"generationConfig":{"maxOutputTokens":1,"max_output_tokens":9}}"#,
        r#"{"tools":[{"model":"a","model":"b"}]}"#,
    ] {
        assert_eq!(read(Api::Chat, body), Err(Fault::Ambiguous), "{body}");
    }
    for body in [
        "",
        "[]",
        "\"a\"",
        "{",
        "{}{}",
        "{\"model\":\"a\"} x",
        "{'model':'a'}",
        "{\"model\":\"\\ud800\"}x",
        "\u{feff}{}",
        "{\"model\":NaN}",
    ] {
        assert_eq!(read(Api::Chat, body), Err(Fault::Malformed), "{body}");
    }
    assert_eq!(read_bytes(b"{\"model\":\"\xff\"}"), Err(Fault::Malformed));
    let wide: Vec<u8> = "{\"model\":\"a\"}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(read_bytes(&wide), Err(Fault::Malformed));
}

#[test]
fn refuses_values_of_another_kind() {
    for body in [
        r#"{"model":["a"]}"#,
        r#"{"model":{"a":1}}"#,
        r#"{"model":7}"#,
        r#"{"models":"a"}"#,
        r#"{"max_tokens":-1}"#,
        r#"{"max_tokens":1.5}"#,
        r#"{"max_tokens":"1"}"#,
        r#"{"max_tokens":99999999999999999999999}"#,
        r#"{"n":true}"#,
        r#"{"background":1}"#,
        r#"{"generationConfig":[]}"#,
        "{\"model\":\"\\ud800\"}",
    ] {
        assert_eq!(read(Api::Chat, body), Err(Fault::Kind), "{body}");
    }
}

#[test]
fn reads_every_model_that_could_be_asked() {
    let models = |body: &str| read(Api::Responses, body).unwrap().models;
    assert_eq!(models(r#"{"mod\u0065l":"gpt\u002d4o"}"#), ["gpt-4o"]);
    assert_eq!(models(r#"{"model":null}"#), [""; 0]);
    assert_eq!(models(r#"{"model":"models/gemini-2"}"#), ["gemini-2"]);
    assert_eq!(models(r#"{"model":"a","models":["b","c"]}"#), ["a", "b", "c"]);
    assert_eq!(
        models(r#"{"model":"a","tools":[{"type":"image","model":"b"},{"x":{"model":"no"}}]}"#),
        ["a", "b"]
    );
    assert_eq!(models(r#"{"messages":[{"content":"{\"model\":\"x\"}"}],"model":"a"}"#), ["a"]);
    assert!(read(Api::Chat, r#"{"preset":"x"}"#).unwrap().names_preset);
    for (body, chooses) in [
        (r#"{"tools":[{"type":"openrouter:advisor","parameters":{"model":"x"}}]}"#, true),
        (r#"{"tools":[{"type":"image_generation"}]}"#, true),
        (r#"{"plugins":[{"id":"fusion"}]}"#, true),
        (r#"{"data_sources":[{"type":"azure_search"}]}"#, true),
        (r#"{"fallbacks":[{"a":["b"]}]}"#, true),
        (r#"{"context_window_fallbacks":[{"a":["b"]}]}"#, true),
        (
            r#"{"tools":[{"type":"function","function":{"name":"f"}},{"name":"g"},{"type":"web_search"}]}"#,
            false,
        ),
        (r#"{"plugins":[],"fallbacks":[{"model":"b"}]}"#, false),
    ] {
        assert_eq!(read(Api::Chat, body).unwrap().names_preset, chooses, "{body}");
    }
}

#[test]
fn counts_all_that_may_be_generated() {
    for (api, body, bound) in [
        (Api::Chat, r#"{"max_tokens":5}"#, Some(5)),
        (Api::Chat, r#"{"max_tokens":5,"max_completion_tokens":7,"n":3}"#, Some(21)),
        (Api::Chat, r#"{"max_output_tokens":5}"#, None),
        (Api::Chat, r#"{"max_tokens":null}"#, None),
        (Api::Chat, r#"{"max_tokens":18446744073709551615,"n":9}"#, Some(u64::MAX)),
        (Api::Completions, r#"{"max_tokens":5,"best_of":2,"n":1,"prompt":["a","b","c"]}"#, Some(30)),
        (Api::Completions, r#"{"max_tokens":5,"prompt":[1,2,3]}"#, Some(5)),
        (Api::Completions, r#"{"max_tokens":5,"prompt":[[1],[2]]}"#, Some(10)),
        (Api::Completions, r#"{"max_completion_tokens":5}"#, None),
        (Api::Responses, r#"{"max_output_tokens":5,"prompt":{"id":"p"}}"#, Some(5)),
        (Api::Messages, r#"{"max_tokens":5,"n":9}"#, Some(5)),
        (Api::OldCompletions, r#"{"max_tokens_to_sample":6}"#, Some(6)),
        (Api::Content, r#"{"generation_config":{"max_output_tokens":5,"candidateCount":2}}"#, Some(10)),
        (Api::Content, r#"{"maxOutputTokens":5}"#, None),
    ] {
        if body.contains("\"maxOutputTokens\":5}") && !body.contains("generation") {
            assert_eq!(read(api, body), Err(Fault::Ambiguous), "{body}");
            continue;
        }
        assert_eq!(read(api, body).unwrap().bound, bound, "{body}");
    }
}

#[test]
fn a_server_of_any_kind_may_know_only_the_bound_of_old() {
    for (vendor, body, bound) in [
        ("custom", r#"{"max_completion_tokens":5}"#, None),
        ("vllm", r#"{"max_completion_tokens":5}"#, None),
        ("custom", r#"{"max_tokens":5}"#, Some(5)),
        ("custom", r#"{"max_tokens":5,"max_completion_tokens":9}"#, Some(9)),
        ("custom", r#"{"max_tokens":9,"max_completion_tokens":5,"n_predict":11}"#, Some(11)),
        ("openai", r#"{"max_completion_tokens":5}"#, Some(5)),
    ] {
        let asked = Asked::read(Vendor::by_name(vendor).unwrap(), Api::Chat, body.as_bytes()).unwrap();
        assert_eq!(asked.bound, bound, "{vendor} {body}");
    }
}

#[test]
fn a_body_of_many_small_members_is_refused_and_not_worked_through() {
    let members: String = (0..pairs::MEMBERS_MOST).map(|n| format!("\"{n}\":0,")).collect();
    assert_eq!(read(Api::Chat, &format!("{{{members}\"model\":\"a\"}}")), Err(Fault::Large));
    let tool = r#"{"a":0,"b":0,"c":0,"d":0,"e":0,"f":0,"g":0,"h":0,"i":0},"#.repeat(2_000);
    assert_eq!(read(Api::Chat, &format!("{{\"tools\":[{tool}{{}}]}}")), Err(Fault::Large));
    let many = "{},".repeat(ENTRIES_MOST);
    assert_eq!(read(Api::Chat, &format!("{{\"tools\":[{many}{{}}]}}")), Err(Fault::Large));
}

#[test]
fn reads_what_a_budget_asks_for() {
    let asked = |body: &str| read(Api::Chat, body).unwrap();
    for (body, streams, wants_usage) in [
        ("{}", false, false),
        (r#"{"stream":true}"#, true, false),
        (r#"{"stream":true,"stream_options":null}"#, true, false),
        (r#"{"stream":true,"stream_options":{"include_usage":false}}"#, true, false),
        (r#"{"stream":true,"stream_options":{"include_usage":true,"x":1}}"#, true, true),
    ] {
        let asked = asked(body);
        assert_eq!((asked.streams, asked.wants_usage), (streams, wants_usage), "{body}");
    }
    for (body, fault) in [
        (r#"{"stream":1}"#, Fault::Kind),
        (r#"{"stream_options":[]}"#, Fault::Kind),
        (r#"{"stream_options":{"include_usage":1}}"#, Fault::Kind),
        (r#"{"stream_options":{"include_usage":true,"includeUsage":false}}"#, Fault::Ambiguous),
        (r#"{"Stream":true}"#, Fault::Ambiguous),
    ] {
        assert_eq!(read(Api::Chat, body), Err(fault), "{body}");
    }
    assert!(asked(r#"{"fallbacks":[{"model":"b","max_tokens":9}]}"#).overrides);
    assert!(!asked(r#"{"fallbacks":[{"model":"b"}]}"#).overrides);
    assert!(asked(r#"{"tools":[{"type":"web_search"}]}"#).by_reference);
    assert!(asked(r#"{"prompt":{"id":"p"}}"#).by_reference);
    assert!(!asked(r#"{"tools":[{"type":"function"},{"name":"x"}]}"#).by_reference);
}
