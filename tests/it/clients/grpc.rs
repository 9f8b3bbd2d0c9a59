//! gRPC: grpcio's server and grpcio's client.

use harness::Proxy;

use super::{Server, python, run, script};

const HOST: &str = "language.googleapis.com";

async fn proxy(server: &Server, policy: &str) -> Proxy {
    let spec = format!("{}\n{policy}", harness::proxy::build::bearer_spec(HOST));
    Proxy::builder().provider("language", &spec).route(HOST, 443, server.address()).start().await
}

#[tokio::test]
async fn grpcio_is_refused_a_method_that_the_policy_denies() {
    let Some(python) = python() else { return };
    let server = Server::start(&python, "grpc_server.py", HOST).await;
    let policy = "policy: {httpRules: [{id: unary, methods: [POST], paths: [/test.Echo/Unary], effect: allow}], defaultAction: deny}";
    let proxy = proxy(&server, policy).await;
    let home = tempfile::tempdir().unwrap();
    let args = [script("grpc_client.py"), format!("{HOST}:443"), "stream".to_owned()];
    let printed = run(&proxy, home.path(), &python, &args.each_ref().map(String::as_str)).await;
    printed.assert_failed().assert_says("PERMISSION_DENIED").assert_says("doorward DW1002");
}

#[tokio::test]
async fn grpcio_calls_unary_streaming_and_both_ways() {
    let Some(python) = python() else { return };
    let mut server = Server::start(&python, "grpc_server.py", HOST).await;
    let proxy = proxy(&server, "").await;
    let home = tempfile::tempdir().unwrap();
    let args = [script("grpc_client.py"), format!("{HOST}:443"), "all".to_owned()];
    let printed = run(&proxy, home.path(), &python, &args.each_ref().map(String::as_str)).await.assert_ok();
    let masked = format!("Bearer {}", "*".repeat(proxy.canary().len()));
    let printed = printed.assert_says(&format!("unary: one <{masked}>")).assert_says("stream: 0 1 2");
    printed.assert_says("bidi: a b c").assert_says("status: NOT_FOUND no such thing");
    for _ in 0..4 {
        assert_eq!(server.line().await, format!("Bearer {}", proxy.canary()));
    }
}
