//! WebSocket: the `websockets` library's server, with Python's client and Node's.

use std::path::Path;

use harness::Proxy;

use super::{Printed, Server, node_modules, python, run, script};

const HOST: &str = "stream.example.com";
const CLOSED: &str =
    "policy: {httpRules: [{id: open, methods: [GET], paths: [/open], effect: allow}], defaultAction: deny}";

/// Both clients, one after the other, with these messages to `path`.
async fn clients(proxy: &Proxy, python: &Path, path: &str, messages: &[&str]) -> Option<[Printed; 2]> {
    let modules = node_modules()?;
    let home = tempfile::tempdir().unwrap();
    let url = format!("wss://{HOST}{path}");
    let scripts = [script("websockets_client.py"), script("ws_client.cjs")];
    let in_python = [&[scripts[0].as_str(), &url], messages].concat();
    let in_node = [&[scripts[1].as_str(), &modules, &url], messages].concat();
    let first = run(proxy, home.path(), python, &in_python).await;
    Some([first, run(proxy, home.path(), Path::new("node"), &in_node).await])
}

async fn proxy(server: &Server, policy: &str) -> Proxy {
    let spec = format!("{}\n{policy}", harness::proxy::build::bearer_spec(HOST));
    Proxy::builder().provider("stream", &spec).route(HOST, 443, server.address()).start().await
}

#[tokio::test]
async fn websocket_libraries_show_the_code_of_a_denied_path() {
    let Some(python) = python() else { return };
    let server = Server::start(&python, "websockets_server.py", HOST).await;
    let proxy = proxy(&server, CLOSED).await;
    let Some(all) = clients(&proxy, &python, "/closed", &["never"]).await else { return };
    for printed in all {
        printed.assert_failed().assert_says("refused 403").assert_says("DW1002");
    }
}

#[tokio::test]
async fn websocket_libraries_talk_to_a_websocket_librarys_server() {
    let Some(python) = python() else { return };
    let mut server = Server::start(&python, "websockets_server.py", HOST).await;
    let proxy = proxy(&server, "").await;
    let Some(all) = clients(&proxy, &python, "/ws", &["one", "two"]).await else { return };
    let masked = format!("<Bearer {}>", "*".repeat(proxy.canary().len()));
    for printed in all {
        printed.assert_ok().assert_says(&format!("one {masked}")).assert_says(&format!("two {masked}"));
        assert_eq!(server.line().await, format!("Bearer {}", proxy.canary()));
    }
}
