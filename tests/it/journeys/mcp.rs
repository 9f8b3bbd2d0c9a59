//! MCP: what an agent's messages call is judged, what the server lists is cut down, and all else passes as it came.

use std::time::Duration;

use bytes::Bytes;
use harness::agent::h2;
use harness::origin::Seen;
use harness::{Origin, Proxy, Reply, answer, within};
use http::Response;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

const HOST: &str = "mcp.example.com";
const PATH: &str = "/v1/mcp";
const JSON: &str = "Content-Type: application/json\nAccept: application/json, text/event-stream";
const ONLY: &str = "policy: {mcp: {allowedTools: [\"get_*\"], deniedTools: [get_secret]}}";

/// An MCP server that answers each message with what it says.
fn server() -> answer::Answer {
    answer::made(|seen: &Seen| {
        let message: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
        let reply =
            |message: &Value| json!({"jsonrpc": "2.0", "id": message["id"], "result": result(message)});
        let body = match &message {
            Value::Array(batch) => batch.iter().map(reply).collect(),
            one => reply(one),
        };
        let sse = seen.header("x-as") == Some("sse");
        let (kind, body) = if sse {
            ("text/event-stream", format!(": hello\r\n\r\nevent: message\r\nid: 7\r\ndata: {body}\r\n\r\n"))
        } else {
            ("application/json", body.to_string())
        };
        let response = Response::builder().header("content-type", kind).header("mcp-session-id", "s-1");
        response.body(answer::full(body)).unwrap()
    })
}

fn result(message: &Value) -> Value {
    if message["method"] == "tools/list" {
        let tools = ["get_issue", "get_secret", "delete_repo", "get_time"];
        return json!({"tools": tools.map(|name| json!({"name": name, "inputSchema": {}})), "nextCursor": "c"});
    }
    json!({"content": [{"type": "text", "text": format!("did {}", message["params"]["name"])}]})
}

async fn start(more: &str, answer: answer::Answer) -> (Proxy, Origin) {
    let origin = Origin::builder(&[HOST]).answer(answer).start().await;
    let spec = format!(
        "type: mcp\nmcp: {{url: \"https://{HOST}{PATH}\"}}\nauth: {{type: api-key, secretRef: canary}}\n{more}"
    );
    let proxy = Proxy::builder().provider("tools", &spec).origin(&origin).start().await;
    (proxy, origin)
}

async fn post(proxy: &Proxy, body: &str) -> Reply {
    proxy.agent().post(HOST, PATH, JSON, body.as_bytes()).await
}

fn call(tool: &str) -> String {
    json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": tool, "arguments": {"a": 1}}}).to_string()
}

const LIST: &str = r#"{"jsonrpc":"2.0","id":"l","method":"tools/list"}"#;

/// The code of ours in a JSON-RPC error.
fn told(error: &Value) -> Option<&str> {
    error["error"]["data"]["code"].as_str()
}

fn names(message: &Value) -> Vec<&str> {
    message["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_tool_that_is_not_allowed_is_refused_as_a_json_rpc_error() {
    let (proxy, origin) = start(ONLY, server()).await;
    for tool in ["delete_repo", "get_secret", "GET_SECRET", "Get_issue"] {
        let reply = post(&proxy, &call(tool)).await;
        let error = reply.json();
        assert_eq!(
            (reply.status, told(&error), &error["id"]),
            (200, Some("DW1002"), &json!(5)),
            "{tool} {error}"
        );
        assert_eq!(reply.header("content-type"), Some("application/json"));
        assert!(error["error"]["message"].as_str().unwrap().contains("DW1002"), "{error}");
    }
    let batch = format!("[{},{},{LIST}]", call("get_issue"), call("delete_repo"));
    let errors = post(&proxy, &batch).await.json();
    let ids: Vec<_> = errors.as_array().unwrap().iter().map(|error| (&error["id"], told(error))).collect();
    assert_eq!(
        ids,
        [(&json!(5), Some("DW1002")), (&json!(5), Some("DW1002")), (&json!("l"), Some("DW1002"))]
    );
    // Nobody waits for an answer to a notification.
    let silent = call("delete_repo").replace("\"id\":5,", "");
    let reply = post(&proxy, &silent).await;
    assert_eq!((reply.status, told(&reply.json())), (403, Some("DW1002")));
    assert!(origin.requests().is_empty(), "{:#?}", origin.requests());
    let line = proxy.audit().code("DW1002").await;
    let shown = (&line["verdict"], &line["mcp_method"], &line["mcp_tool"]);
    assert_eq!(shown, (&"deny".into(), &"tools/call".into(), &"delete_repo".into()), "{line}");
}

#[tokio::test]
async fn the_audit_names_what_was_asked_of_the_server() {
    let (proxy, _origin) = start(ONLY, server()).await;
    post(&proxy, LIST).await.assert_ok();
    let line = proxy.audit().wait_for("the list", |line| line["mcp_method"] == "tools/list").await;
    assert_eq!((&line["verdict"], &line["mcp_tool"]), (&"allow".into(), &Value::Null), "{line}");
    let batch = format!("[{},{LIST},{}]", call("get_issue"), call("get_\u{e4}"));
    post(&proxy, &batch).await;
    let both = |line: &Value| line["mcp_method"] == "tools/call tools/list";
    let line = proxy.audit().wait_for("the batch", both).await;
    assert_eq!(line["mcp_tool"], "get_issue ?", "{line}");
}

#[tokio::test]
async fn what_is_held_of_answers_counts_and_does_not_stay_for_ever() {
    let builder = |answer| async {
        let origin = Origin::builder(&[HOST]).answer(answer).start().await;
        let spec =
            format!("type: mcp\nmcp: {{url: \"https://{HOST}{PATH}\"}}\nauth: {{secretRef: canary}}\n{ONLY}");
        (Proxy::builder().provider("tools", &spec).origin(&origin), origin)
    };
    let long = json!({"id": 1, "result": {"text": "x".repeat(2 << 20)}}).to_string();
    let (proxy, _origin) =
        builder(answer::fixed(200, &[("content-type", "application/json")], long.as_bytes())).await;
    let proxy = proxy.limit("agent-held-bodies", "1MiB").start().await;
    let reply = post(&proxy, LIST).await;
    assert_eq!(told(&reply.json()), Some("DW1009"), "{}", reply.text());

    let events = format!("data: {long}\n\n");
    let (proxy, _origin) =
        builder(answer::fixed(200, &[("content-type", "text/event-stream")], events.as_bytes())).await;
    let proxy = proxy.limit("agent-held-bodies", "1MiB").start().await;
    let mut client = proxy.agent().h1(HOST).await;
    let request = client.request("GET", PATH).header("accept", "text/event-stream");
    let mut response = client.open(request.body(h2::empty()).unwrap()).await.unwrap();
    assert!(within("the cut", response.body_mut().frame()).await.is_none_or(|frame| frame.is_err()));
    proxy.audit().code("DW2010").await;

    let (mut feeds, answer) = answer::stream(&[("content-type", "application/json")]);
    let (proxy, _origin) = builder(answer).await;
    let proxy = proxy.limit("held-body-time", "200ms").start().await;
    let agent = proxy.agent();
    let asking = tokio::spawn(async move { agent.post(HOST, PATH, JSON, LIST.as_bytes()).await });
    let feed = answer::next(&mut feeds).await;
    feed.send("{").await;
    let reply = asking.await.unwrap();
    assert_eq!(told(&reply.json()), Some("DW2006"), "{}", reply.text());
}

#[tokio::test]
async fn a_body_with_two_readings_never_leaves() {
    let (proxy, origin) = start(ONLY, server()).await;
    let good = call("get_issue");
    let twice = good.replace("\"get_issue\"", "\"get_issue\",\"name\":\"delete_repo\"");
    let escaped = good.replace("\"get_issue\"", "\"get_issue\",\"n\\u0061me\":\"delete_repo\"");
    let folded = good.replace("\"get_issue\"", "\"get_issue\",\"Name\":\"delete_repo\"");
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let cases: Vec<(String, Vec<u8>)> = vec![
        (JSON.into(), twice.into_bytes()),
        (JSON.into(), escaped.into_bytes()),
        (JSON.into(), folded.into_bytes()),
        (JSON.into(), format!("[[{good}]]").into_bytes()),
        (JSON.into(), format!("{good}{}", call("delete_repo")).into_bytes()),
        (JSON.into(), good.replace("\"method\"", "\"method\":\"ping\",\"method\"").into_bytes()),
        (JSON.into(), utf16.clone()),
        ("Content-Type: application/json; charset=utf-16".into(), utf16),
        ("Content-Type: application/json; charset=utf-7".into(), good.clone().into_bytes()),
        ("Content-Type: text/plain".into(), good.clone().into_bytes()),
        ("Content-Type: application/json\nContent-Type: text/plain".into(), good.clone().into_bytes()),
        ("X: y".into(), good.clone().into_bytes()),
        (format!("{JSON}\nContent-Encoding: gzip"), good.clone().into_bytes()),
        (format!("{JSON}\nContent-Encoding: identity, br"), good.clone().into_bytes()),
        (format!("{JSON}\nMcp-Name: delete_repo"), good.clone().into_bytes()),
        (format!("{JSON}\nMcp_Method: ping"), good.clone().into_bytes()),
        (JSON.into(), Vec::new()),
    ];
    for (headers, body) in cases {
        let reply = proxy.agent().post(HOST, PATH, &headers, &body).await;
        assert_eq!(
            (reply.status, told(&reply.json())),
            (400, Some("DW2008")),
            "{headers} {}",
            String::from_utf8_lossy(&body)
        );
    }
    for head in [
        format!(
            "GET {PATH} HTTP/1.1\nContent-Type: application/json\nContent-Length: {}\n\n{good}",
            good.len()
        ),
        format!(
            "DELETE {PATH} HTTP/1.1\nContent-Type: application/json\nContent-Length: {}\n\n{good}",
            good.len()
        ),
    ] {
        let (head, body) = head.split_once("\n\n").unwrap();
        let mut tunnel = proxy.agent().tls(HOST).await;
        let reply = tunnel.exchange(&harness::agent::wire(HOST, head, body.as_bytes())).await;
        assert_eq!(reply.status, 413, "{head}");
    }
    for (head, code) in [
        (format!("PUT {PATH} HTTP/1.1\nContent-Length: 0"), "DW1002"),
        ("POST /v1/other HTTP/1.1\nContent-Length: 0".to_owned(), "DW1002"),
        ("GET /v1/other HTTP/1.1".to_owned(), "DW1002"),
        (
            format!(
                "GET {PATH} HTTP/1.1\nConnection: upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
            ),
            "DW2008",
        ),
    ] {
        let reply = proxy.agent().ask(HOST, &head).await;
        assert_eq!(reply.any_code().as_deref(), Some(code), "{head}");
    }
    assert!(origin.requests().is_empty(), "{:#?}", origin.requests());
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused() {
    let origin = Origin::builder(&[HOST]).answer(server()).start().await;
    let spec = format!("type: mcp\nmcp: {{url: \"https://{HOST}{PATH}\"}}\nauth: {{secretRef: canary}}");
    let proxy =
        Proxy::builder().provider("tools", &spec).limit("mcp-message", "1024").origin(&origin).start().await;
    let long = call(&"x".repeat(1024));
    let reply = post(&proxy, &long).await;
    assert_eq!((reply.status, told(&reply.json())), (413, Some("DW2012")));
    assert!(origin.requests().is_empty());
    post(&proxy, &call("get")).await.assert_ok();
}

#[tokio::test]
async fn an_allowed_call_goes_out_as_it_was_judged_with_the_credential() {
    let (proxy, origin) = start(ONLY, server()).await;
    let body = format!(" {}\n", call("get_issue"));
    let headers = format!(
        "{JSON}\nMcp-Session-Id: s-1\nMCP-Protocol-Version: 2025-06-18\nAccept-Encoding: gzip, br\nMcp-Name: get_issue"
    );
    let reply = proxy.agent().post(HOST, PATH, &headers, body.as_bytes()).await;
    assert_eq!(reply.assert_ok().json()["result"]["content"][0]["text"], "did \"get_issue\"");
    assert_eq!(reply.header("mcp-session-id"), Some("s-1"));
    let seen = origin.only();
    assert_eq!(seen.body, body.as_bytes());
    assert_eq!(seen.headers_named("authorization"), [format!("Bearer {}", proxy.canary())]);
    assert_eq!(seen.header("mcp-session-id"), Some("s-1"));
    assert_eq!(seen.header("mcp-protocol-version"), Some("2025-06-18"));
    assert_eq!(seen.headers_named("accept-encoding"), ["identity"]);
    let line = proxy.audit().request(PATH).await;
    assert_eq!(line["rule"], Value::Null, "{line}");
    proxy.agent().ask(HOST, &format!("DELETE {PATH} HTTP/1.1\nMcp-Session-Id: s-1")).await.assert_ok();
}

#[tokio::test]
async fn lists_show_the_tools_that_may_be_called_and_no_others() {
    let (proxy, _origin) = start(ONLY, server()).await;
    let reply = post(&proxy, LIST).await;
    assert_eq!(names(&reply.assert_ok().json()), ["get_issue", "get_time"]);
    assert_eq!(reply.json()["result"]["nextCursor"], "c");
    let batch = post(&proxy, &format!("[{LIST},{}]", call("get_time"))).await.json();
    assert_eq!(names(&batch[0]), ["get_issue", "get_time"]);
    assert_eq!(batch[1]["result"]["content"][0]["text"], "did \"get_time\"");
    let sse = proxy.agent().post(HOST, PATH, &format!("{JSON}\nX-As: sse"), LIST.as_bytes()).await.text();
    assert!(sse.contains(": hello") && sse.contains("id: 7"), "{sse}");
    assert!(sse.contains("get_time") && !sse.contains("get_secret") && !sse.contains("delete_repo"), "{sse}");
    // What only logs violations hides nothing, and without lists nothing is looked through.
    for policy in [&format!("{ONLY}\naudit: {{enforcement: audit}}"), ""] {
        let (proxy, _origin) = start(policy, server()).await;
        assert_eq!(names(&post(&proxy, LIST).await.json()).len(), 4, "{policy}");
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_for_its_tools_is_not_shown() {
    let list =
        json!({"jsonrpc": "2.0", "id": "l", "result": {"tools": [{"name": "delete_repo"}]}}).to_string();
    let twice = list.replace("\"tools\":", "\"tools\":[],\"tools\":");
    let long = format!("{}{list}", " ".repeat(5 << 20));
    for (status, headers, body) in [
        (200, &[("content-type", "text/plain")][..], &list),
        (200, &[], &list),
        (200, &[("content-type", "application/json"), ("content-type", "text/plain")], &list),
        (200, &[("content-type", "application/json"), ("content-encoding", "gzip")], &list),
        (206, &[("content-type", "application/json"), ("content-range", "bytes 0-9/99")], &list),
        (200, &[("content-type", "application/json")], &twice),
        (200, &[("content-type", "application/json")], &long),
        (200, &[("content-type", "application/json")], &format!("{list}{list}")),
    ] {
        let (proxy, _origin) = start(ONLY, answer::fixed(status, headers, body.as_bytes())).await;
        let reply = post(&proxy, LIST).await;
        let error = reply.json();
        assert_eq!((reply.status, told(&error)), (200, Some("DW2010")), "{headers:?}");
        assert!(!reply.text().contains("delete_repo"));
    }
    // An error keeps its status, and a stream is cut.
    let (proxy, _origin) =
        start(ONLY, answer::fixed(404, &[("content-type", "application/json")], b"\"gone\"")).await;
    let reply = post(&proxy, LIST).await;
    assert_eq!((reply.status, reply.text().as_str()), (404, ""));
    let (mut feeds, answer) = answer::stream(&[("content-type", "text/event-stream")]);
    let (proxy, _origin) = start(ONLY, answer).await;
    let mut client = proxy.agent().h1(HOST).await;
    let request =
        client.request("GET", PATH).header("accept", "text/event-stream").body(h2::empty()).unwrap();
    let mut response = client.open(request).await.unwrap();
    let feed = answer::next(&mut feeds).await;
    feed.send(": first\n\n").await;
    assert_eq!(read(&mut response, 9).await, ": first\n\n");
    feed.send(format!("data: {twice}\n\ndata: {{}}\n\n")).await;
    assert!(within("the cut", response.body_mut().frame()).await.is_none_or(|frame| frame.is_err()));
    proxy.audit().code("DW2010").await;
}

#[tokio::test]
async fn echoes_are_masked_in_what_is_left_of_a_list() {
    // What is cut out and what stays: the credential is in both.
    let leak = answer::made(|seen: &Seen| {
        let value = seen.header("authorization").unwrap().strip_prefix("Bearer ").unwrap();
        let list = json!({"jsonrpc": "2.0", "id": "l", "result": {"tools": [
            {"name": "get_a", "description": value},
            {"name": "delete_b", "description": value},
            {"name": "get_c", "description": format!("{}\u{41}", value)},
        ]}});
        Response::builder()
            .header("content-type", "application/json")
            .body(answer::full(list.to_string()))
            .unwrap()
    });
    let (proxy, _origin) = start(ONLY, leak).await;
    let reply = post(&proxy, LIST).await;
    assert_eq!(names(&reply.assert_ok().json()), ["get_a", "get_c"]);
    let stars = "*".repeat(proxy.canary().len());
    assert_eq!(reply.text().matches(&stars).count(), 2, "{}", reply.text());
}

#[tokio::test]
async fn events_of_a_stream_are_not_delayed_and_lists_in_them_are_cut() {
    for (down, up) in [("h1", "h1"), ("h2", "h2")] {
        let (mut feeds, answer) = answer::stream(&[("content-type", "text/event-stream; charset=utf-8")]);
        let origin = Origin::builder(&[HOST]).only(up).answer(answer).start().await;
        let spec =
            format!("type: mcp\nmcp: {{url: \"https://{HOST}{PATH}\"}}\nauth: {{secretRef: canary}}\n{ONLY}");
        let proxy = Proxy::builder().provider("tools", &spec).origin(&origin).start().await;
        let mut client = proxy.agent().client(down, HOST).await;
        let request = client.request("GET", PATH).header("accept", "text/event-stream");
        let mut response = client.open(request.body(h2::empty()).unwrap()).await.unwrap();
        let feed = answer::next(&mut feeds).await;
        for n in 0..5 {
            let event = format!("data: {{\"n\":{n}}}\r\n\r\n");
            // In pieces, also in the middle of a line's end.
            let (first, last) = event.split_at(event.len() - 1);
            assert!(feed.send(first.to_owned()).await && feed.send(last.to_owned()).await);
            assert_eq!(read(&mut response, event.len()).await, event);
        }
        let list = json!({"id": 1, "result": {"tools": [{"name": "delete_repo"}]}});
        let cut = format!("data: {}\n\n", json!({"id": 1, "result": {"tools": []}}));
        feed.send(format!("data: {list}\n\n")).await;
        assert_eq!(read(&mut response, cut.len()).await, cut);
        feed.finish();
        assert!(
            within("the end", response.body_mut().frame()).await.is_none_or(|frame| frame
                .unwrap()
                .into_data()
                .unwrap()
                .is_empty())
        );
    }
}

async fn read(response: &mut Response<hyper::body::Incoming>, wanted: usize) -> String {
    let mut seen = Vec::new();
    while seen.len() < wanted {
        let frame = within("an event", response.body_mut().frame()).await.expect("an event").unwrap();
        seen.extend_from_slice(&frame.into_data().unwrap_or_else(|_| Bytes::new()));
    }
    String::from_utf8(seen).unwrap()
}

#[tokio::test]
async fn the_messages_of_a_batch_count_as_so_many_requests() {
    let (proxy, origin) = start("limits: {requestsPerMinute: 3}", server()).await;
    let reply = post(&proxy, &format!("[{0},{0},{0},{0}]", call("a"))).await;
    assert_eq!(told(&reply.json()[0]), Some("DW1009"), "{}", reply.text());
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn over_sse_messages_go_where_the_server_says_and_refusals_have_their_status() {
    let origin = Origin::builder(&[HOST]).answer(server()).start().await;
    let spec = format!(
        "type: mcp\nmcp: {{url: \"https://{HOST}/v1/sse\", transport: sse}}\nauth: {{secretRef: canary}}\n{ONLY}"
    );
    let proxy = Proxy::builder().provider("tools", &spec).origin(&origin).start().await;
    let send = async |path: &str, body: String| proxy.agent().post(HOST, path, JSON, body.as_bytes()).await;
    let reply = send("/v1/messages?session_id=1", call("delete_repo")).await;
    assert_eq!((reply.status, told(&reply.json())), (403, Some("DW1002")));
    assert_eq!(send("/v2/messages", call("get_issue")).await.any_code().as_deref(), Some("DW1002"));
    assert!(origin.requests().is_empty());
    send("/v1/messages?session_id=1", call("get_issue")).await.assert_ok();
}

#[tokio::test]
async fn who_gives_no_answer_in_time_is_told_of_as_a_json_rpc_error() {
    let (proxy, _origin) = start("limits: {timeout: 200ms}", answer::never()).await;
    let began = std::time::Instant::now();
    let reply = post(&proxy, LIST).await;
    assert_eq!((reply.status, told(&reply.json())), (200, Some("DW2006")), "{}", reply.text());
    assert!(began.elapsed() < Duration::from_secs(20));
}
