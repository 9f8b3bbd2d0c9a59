//! The MCP SDK for Python as it comes, before a server of the same SDK that takes no request without the credential.

use harness::Proxy;

use super::{Printed, Server, python, run, script};

const HOST: &str = "mcp.example.com";

/// What the client prints, and the server that it spoke with.
async fn session(python: &std::path::Path, mode: &str) -> (Printed, Server) {
    let (transport, path) = if mode == "sse" { ("sse", "/sse") } else { ("streamable-http", "/mcp") };
    let secret = harness::canary::fresh();
    let server = Server::start_for(python, "mcp_server.py", &[HOST], &[transport, &secret]).await;
    let url = format!("https://{HOST}{path}");
    let spec = format!(
        "type: mcp\nmcp: {{url: \"{url}\", transport: {transport}}}\nauth: {{secretRef: tools, agentEnvVar: MCP_TOKEN}}\n\
         policy: {{mcp: {{allowedTools: [\"get_*\"], deniedTools: [get_secret]}}}}"
    );
    let builder = Proxy::builder().provider("tools", &spec).secret("tools", "token", &secret);
    let proxy = builder.route(HOST, 443, server.address()).start().await;
    let home = tempfile::tempdir().unwrap();
    let printed = run(&proxy, home.path(), python, &[&script("mcp_client.py"), mode, &url]).await;
    (printed.assert_ok(), server)
}

#[tokio::test]
async fn the_mcp_sdk_lists_calls_and_is_refused_over_streamable_http() {
    let Some(python) = python() else { return };
    for mode in ["legacy", "auto"] {
        let (printed, mut server) = session(&python, mode).await;
        assert_eq!(
            printed.out.lines().collect::<Vec<_>>(),
            [
                "tools get_issue",
                "answer get_issue did one",
                "refused DW1002 -32050",
                "refused DW1002 -32050",
                "answer get_issue did two"
            ],
            "{mode}"
        );
        assert_eq!(server.line().await, "called get_issue one");
        assert_eq!(server.line().await, "called get_issue two");
    }
}

#[tokio::test]
async fn the_mcp_sdk_lists_and_calls_over_sse() {
    let Some(python) = python() else { return };
    let (printed, mut server) = session(&python, "sse").await;
    assert_eq!(printed.out.lines().collect::<Vec<_>>(), ["tools get_issue", "answer get_issue did one"]);
    assert_eq!(server.line().await, "called get_issue one");
}
