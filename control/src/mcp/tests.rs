//! Both directions, refusals first.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;

use super::events::{EventFault, Events};
use super::*;

fn read(body: &str) -> Result<Calls, Fault> {
    Calls::read(body, &HeaderMap::new())
}

fn call(params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#)
}

#[test]
fn refuses_messages_that_two_parsers_could_read_in_two_ways() {
    for (body, fault) in [
        // Keys that stand twice, at each level, also where they are escaped.
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}"#.to_owned(), Fault::Duplicate),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","\u006dethod":"tools/call"}"#.to_owned(),
            Fault::Duplicate,
        ),
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#.to_owned(), Fault::Duplicate),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{},"params":{}}"#.to_owned(), Fault::Duplicate),
        (call(r#"{"name":"a","name":"b"}"#), Fault::Duplicate),
        (call(r#"{"name":"a","n\u0061me":"b"}"#), Fault::Duplicate),
        (call(r#"{"name":"a","arguments":{"x":[{"y":1,"y":2}]}}"#), Fault::Duplicate),
        // Keys that some parsers take for another.
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#.to_owned(), Fault::NotRpc),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","paramſ":{}}"#.to_owned(), Fault::NotRpc),
        (call(r#"{"name":"a","Name":"b"}"#), Fault::NoTool),
        (call(r#"{"NAME":"b"}"#), Fault::NoTool),
        // Not one value in UTF-8.
        (String::new(), Fault::NotJson),
        (format!("{} x", call(r#"{"name":"a"}"#)), Fault::NotJson),
        (format!("{0}{0}", call(r#"{"name":"a"}"#)), Fault::NotJson),
        (format!("\u{feff}{}", call(r#"{"name":"a"}"#)), Fault::NotJson),
        (format!("/**/{}", call(r#"{"name":"a"}"#)), Fault::NotJson),
        (call(r#"{"name":"\ud800"}"#), Fault::NotJson),
        (format!("{}1{}", "[".repeat(200), "]".repeat(200)), Fault::NotJson),
        // Not JSON-RPC.
        ("[]".to_owned(), Fault::NotRpc),
        (format!("[[{}]]", call(r#"{"name":"a"}"#)), Fault::NotRpc),
        ("1".to_owned(), Fault::NotRpc),
        (r#"{"id":1,"method":"ping"}"#.to_owned(), Fault::NotRpc),
        (r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#.to_owned(), Fault::NotRpc),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#.to_owned(), Fault::NotRpc),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#.to_owned(), Fault::NotRpc),
        (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#.to_owned(), Fault::NotRpc),
        (r#"{"jsonrpc":"2.0","id":1,"method":["ping"]}"#.to_owned(), Fault::NotRpc),
        (r#"{"jsonrpc":"2.0","id":1,"method":null}"#.to_owned(), Fault::NotRpc),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":["a"]}"#.to_owned(), Fault::NotRpc),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#.to_owned(), Fault::NotRpc),
        (r#"{"jsonrpc":"2.0","id":1}"#.to_owned(), Fault::NotRpc),
        (r#"{"jsonrpc":"2.0","result":{}}"#.to_owned(), Fault::NotRpc),
        // Tools without a plain name.
        (call("{}"), Fault::NoTool),
        (call(r#"{"name":["a"]}"#), Fault::NoTool),
        (call(r#"{"name":""}"#), Fault::NoTool),
        (call(r#"{"name":" a"}"#), Fault::NoTool),
        (call(r#"{"name":"a\u0000"}"#), Fault::NoTool),
        (call(r#"{"name":"a\u200b"}"#), Fault::NoTool),
        (call(&format!(r#"{{"name":"{}"}}"#, "a".repeat(257))), Fault::NoTool),
    ] {
        assert_eq!(read(&body), Err(fault), "{body}");
    }
    let many = format!("[{}]", vec![r#"{"jsonrpc":"2.0","method":"ping"}"#; 101].join(","));
    assert_eq!(read(&many), Err(Fault::Many));
}

#[test]
fn one_bad_message_refuses_its_batch() {
    let good = call(r#"{"name":"a"}"#);
    for bad in ["1", "{}", "[]", "null", &call(r#"{"name":7}"#)] {
        assert!(read(&format!("[{good},{bad}]")).is_err(), "{bad}");
    }
    let batch = read(&format!("[{good}, {}]", good.replace("\"a\"", "\"b\""))).unwrap();
    assert!(batch.is_batch());
    assert_eq!(batch.tools().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn a_call_is_a_call_with_escapes_and_without_an_id() {
    let calls =
        read(r#"{"jsonrpc":"2.0","method":"tools\/call","params":{"n\u0061me":"d\u0065lete"}}"#).unwrap();
    assert_eq!(calls.tools().collect::<Vec<_>>(), ["delete"]);
    assert!(calls.iter().all(|call| call.waits().is_none()));
}

#[test]
fn methods_become_actions_and_all_others_are_unknown() {
    for (method, action) in [
        ("initialize", "session/initialize"),
        ("notifications/initialized", "session/notify"),
        ("tools/list", "tools/list"),
        ("resources/templates/list", "resources/templates/list"),
        ("tools/Call", "unknown"),
        ("session/close", "unknown"),
        ("sampling/createMessage", "unknown"),
        ("notifications/tools/list_changed", "unknown"),
        ("", "unknown"),
    ] {
        let calls = read(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#)).unwrap();
        assert_eq!(calls.iter().next().unwrap().action(), action, "{method}");
    }
    let answer = read(r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"no"}}"#).unwrap();
    assert_eq!(answer.iter().next().unwrap().action(), "session/answer");
}

#[test]
fn refuses_headers_that_tell_a_router_something_else() {
    let agree = |body: &str, headers: &[(&'static str, &'static str)]| {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        Calls::read(body, &map).map(|_| ())
    };
    let body = call(r#"{"name":"list"}"#);
    for headers in [
        &[("mcp-method", "tools/list")][..],
        &[("mcp_method", "tools/list")],
        &[("mcp-method", "tools/call"), ("mcp-method", "ping")],
        &[("mcp-name", "delete")],
        &[("mcp.name", "delete")],
        &[("mcp-name", "=?base64?ZGVsZXRl?=")],
        &[("mcp-name", "list"), ("mcp-name", "delete")],
    ] {
        assert_eq!(agree(&body, headers), Err(Fault::Headers), "{headers:?}");
    }
    let coded = call(r#"{"name":"=?base64?ZGVsZXRl?="}"#);
    assert_eq!(agree(&coded, &[("mcp-name", "=?base64?ZGVsZXRl?=")]), Err(Fault::Headers));
    assert_eq!(agree(&call(r#"{"name":"="}"#), &[("mcp-name", "=?base64?PQ=?=")]), Err(Fault::Headers));
    assert_eq!(agree(&format!("[{body}]"), &[("mcp-method", "tools/call")]), Err(Fault::Headers));
    for headers in [
        &[("mcp-method", "tools/call"), ("mcp-name", "list"), ("mcp-param-region", "x")][..],
        &[("mcp-name", "=?base64?bGlzdA==?=")],
    ] {
        assert_eq!(agree(&body, headers), Ok(()), "{headers:?}");
    }
}

#[test]
fn an_endpoint_covers_its_own_path() {
    let server = |path: &str, transport| Server { path: path.to_owned(), transport };
    let streamable = server("/v1/mcp", Transport::StreamableHttp);
    for (path, covers) in [
        ("/v1/mcp", true),
        ("/v1/mcp/", true),
        ("/v1/mcp2", false),
        ("/v1", false),
        ("/v1/mcp/x", false),
        ("/", false),
    ] {
        assert_eq!(streamable.covers(&Method::POST, path), covers, "{path}");
    }
    let root = server("/", Transport::StreamableHttp);
    assert!(root.covers(&Method::POST, "/") && !root.covers(&Method::POST, "/x"));
    let sse = server("/v1/sse", Transport::Sse);
    assert!(sse.covers(&Method::POST, "/v1/messages/") && sse.covers(&Method::GET, "/v1/sse"));
    for (method, path) in
        [(Method::GET, "/v1/messages"), (Method::POST, "/v2/messages"), (Method::POST, "/v1x/m")]
    {
        assert!(!sse.covers(&method, path), "{path}");
    }
}

fn shown(text: &str) -> Result<Listing, Fault> {
    listing::filter(text, &|tool| tool.starts_with("ok"))
}

fn list(tools: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"nextCursor":"c","tools":{tools},"_meta":{{}}}}}}"#)
}

#[test]
fn an_answer_that_cannot_be_read_shows_nothing() {
    for text in [
        "",
        "no",
        "1",
        "[1]",
        "[[{}]]",
        &list("null"),
        &list("{}"),
        &format!("{} ", list("[]").trim_end_matches('}')),
        r#"{"result":{"tools":[],"tools":[{"name":"bad"}]}}"#,
        r#"{"result":{"tools":[],"Tools":[{"name":"bad"}]}}"#,
        r#"{"result":{"toolſ":[{"name":"bad"}]}}"#,
        r#"{"result":{},"\u0072esult":{"tools":[{"name":"bad"}]}}"#,
        r#"{"Result":{"tools":[{"name":"bad"}]}}"#,
        r#"{"result":{"tools":[{"name":"ok","name":"bad"}]}}"#,
    ] {
        assert!(shown(text).is_err(), "{text}");
    }
}

#[test]
fn tools_that_may_not_be_seen_are_cut_out_and_all_else_stays() {
    let mixed = list(
        r#"[ {"name":"ok_1","description":"a, b"}, {"name":"bad"} ,{"name":"ok\u005f2"},{"title":"ok"},7]"#,
    );
    let cut = list(r#"[{"name":"ok_1","description":"a, b"},{"name":"ok\u005f2"}]"#);
    assert_eq!(shown(&mixed), Ok(Listing::Cut(cut.clone())));
    assert_eq!(shown(&cut), Ok(Listing::Same));
    assert_eq!(shown(&list(r#"[{"name":"bad"}]"#)), Ok(Listing::Cut(list("[]"))));
    let batch = format!("[{mixed}, {{}},{mixed}]");
    assert_eq!(shown(&batch), Ok(Listing::Cut(format!("[{cut}, {{}},{cut}]"))));
    for same in
        [r#"{"result":{"content":[{"tools":[{"name":"bad"}]}]}}"#, r#"{"error":{}}"#, r#"{"result":7}"#]
    {
        assert_eq!(shown(same), Ok(Listing::Same), "{same}");
    }
}

fn stream(chunks: &[&[u8]], most: usize) -> Result<String, EventFault> {
    let lets = |tool: &str| tool.starts_with("ok");
    let mut events = Events::new(most);
    let mut out = Vec::new();
    for chunk in chunks {
        out.extend(events.push(chunk, &lets)?);
        assert!(events.held() <= most);
    }
    out.extend(events.finish(&lets)?);
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn a_stream_is_cut_at_an_event_that_cannot_be_judged() {
    let whole = |text: &str| stream(&[text.as_bytes()], 1000);
    assert_eq!(whole("data: {\n\n"), Err(EventFault::Message(Fault::NotJson)));
    assert_eq!(whole("event: message\ndata: hello\n\n"), Err(EventFault::Message(Fault::NotJson)));
    let mixed = "event: other\ndata:   [{\"result\":{\"tools\":[{\"name\":\"bad\"}]}},7]\n\n";
    assert_eq!(whole(mixed), Err(EventFault::Message(Fault::NotRpc)));
    assert!(whole("event: ping\ndata: 2026-11-22\n\nevent: ping\ndata: 7\n\n").is_ok());
    assert_eq!(whole("data: {\"result\":{\"tools\":0}}"), Err(EventFault::Message(Fault::NotRpc)));
    assert_eq!(stream(&[b"data: \xff\n\n"], 1000), Err(EventFault::NotUtf8));
    assert_eq!(stream(&[&[b'x'; 1001]], 1000), Err(EventFault::Long));
}

#[test]
fn lists_in_events_show_what_they_may_whatever_ends_their_lines() {
    let bad = list(r#"[{"name":"bad"}]"#);
    let none = list("[]");
    for end in ["\n", "\r\n", "\r"] {
        let event = |data: &str| format!("event: message{end}id: 7{end}data: {data}{end}{end}");
        let ping = format!(": ping{end}{end}");
        let endpoint = format!("event: endpoint{end}data: /messages?s=1{end}{end}");
        let text = [endpoint.as_str(), &ping, &event("{\"method\":\"x\"}"), &event(&bad), &ping].concat();
        let out = stream(&[text.as_bytes()], 1000).unwrap();
        let changed = format!("event: message\nid: 7\ndata: {none}\n\n");
        assert_eq!(out, [endpoint.as_str(), &ping, &event("{\"method\":\"x\"}"), &changed, &ping].concat());
        for at in 1..text.len() {
            let (a, b) = text.as_bytes().split_at(at);
            assert_eq!(stream(&[a, b], 1000).unwrap(), out, "{end:?} {at}");
        }
    }
    // Data on several lines, behind a byte order mark, without a last blank line.
    let halves = bad.split_at(bad.find("\"tools\"").unwrap());
    let text = format!("\u{feff}data:{}\ndata:{}", halves.0, halves.1);
    assert!(!stream(&[text.as_bytes()], 1000).unwrap().contains("bad"));
}

#[test]
fn an_event_goes_on_as_soon_as_it_is_whole() {
    let lets = |_: &str| true;
    for end in ["\n", "\r\n", "\r"] {
        let mut events = Events::new(100);
        let event = format!("data: {{}}{end}{end}");
        for _ in 0..3 {
            let (first, last) = event.as_bytes().split_at(event.len() - 1);
            let early = events.push(first, &lets).unwrap();
            let out = [early, events.push(last, &lets).unwrap()].concat();
            assert_eq!(out, event.as_bytes(), "{end:?}");
            assert_eq!(events.held(), 0);
        }
    }
}

proptest! {
    #[test]
    fn what_is_shown_names_no_tool_that_may_not_be_seen(
        tools in proptest::collection::vec(("(ok|bad)[a-z]{0,3}", "[ -~]{0,12}"), 0..6),
        chunk in 1_usize..40,
        end in "(\n|\r\n|\r)",
    ) {
        let entries: Vec<_> = tools.iter().map(|(name, text)| serde_json::json!({"name": name, "description": text})).collect();
        let message = serde_json::json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": entries}}).to_string();
        let text = format!("data: {message}{end}{end}");
        let chunks: Vec<&[u8]> = text.as_bytes().chunks(chunk).collect();
        let out = stream(&chunks, 4096).unwrap();
        let data: serde_json::Value = serde_json::from_str(out.trim().strip_prefix("data: ").unwrap()).unwrap();
        let names: Vec<_> = data["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        let wanted: Vec<_> = tools.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with("ok")).collect();
        prop_assert_eq!(names, wanted);
    }

    #[test]
    fn no_bytes_make_either_reader_panic(text in "[\\[\\]{}\":,a-z0-9\\\\\r\n ]{0,80}", cut in 0_usize..80) {
        drop(read(&text));
        drop(shown(&text));
        let (a, b) = text.as_bytes().split_at(cut.min(text.len()));
        drop(stream(&[a, b], 60));
    }
}

#[test]
fn a_message_of_many_small_values_is_refused_and_not_worked_through() {
    let members: String = (0..140_000).map(|n| format!("\"{n}\":0,")).collect();
    let body = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{{\"name\":\"a\",\"arguments\":{{{members}\"x\":0}}}}}}"
    );
    assert_eq!(Calls::read(&body, &HeaderMap::new()), Err(Fault::Large));
    let members: String = (0..17_000).map(|n| format!("\"{n}\":0,")).collect();
    let shown = format!("{{\"result\":{{{members}\"tools\":[]}}}}");
    assert!(listing::filter(&shown, &|_| true).is_err());
}
