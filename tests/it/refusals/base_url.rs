//! Base URLs: the proxy refuses who it does not know, what a web page sends, and what leads out of the endpoint.

use harness::{Origin, Proxy};

use super::model::{OPENAI, model_file};

const GATEWAY: &str = "gateway.example.com";

async fn gateway() -> (Proxy, Origin) {
    let origin = Origin::start(GATEWAY).await;
    let file = model_file("provider: custom, endpoint: \"https://gateway.example.com/tenant/v1\"");
    (Proxy::builder().file("m", &file).origin(&origin).start().await, origin)
}

fn head(path: &str, more: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}Connection: close\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn refuses_whoever_sends_no_token_of_the_agents() {
    let (proxy, origin) = gateway().await;
    let dummy = proxy.dummy("OPENAI_API_KEY");
    for more in [
        String::new(),
        format!("Authorization: Bearer {dummy}\r\n"),
        format!("x-api-key: {dummy}\r\n"),
        "Proxy-Authorization: Basic eDp5\r\n".to_owned(),
        // A known key does not mend unknown proxy credentials.
        format!("Proxy-Authorization: Bearer wrong\r\nx-api-key: {}\r\n", proxy.token()),
    ] {
        let reply = proxy.agent().without_authorization().raw(&head("/model/m/models", &more)).await;
        assert_eq!(reply.status, 401, "{more}: {}", reply.text());
        assert!(reply.text().contains("DW300"), "{}", reply.text());
    }
    origin.assert_untouched();
}

#[tokio::test]
async fn refuses_what_leads_out_of_the_endpoint_or_to_no_model_provider() {
    let (proxy, origin) = gateway().await;
    let key = format!("Authorization: Bearer {}\r\n", proxy.token());
    for path in [
        "/model/m/../admin",
        "/model/m/a/../../../admin",
        "/model/m/%2e%2e/admin",
        "/model/m/..%2fadmin",
        "/model/m//evil.example/",
        "/model/m/a%5c..%5cb",
        "/model/m",
        "/model/m?x=/",
    ] {
        proxy.agent().raw(&head(path, &key)).await.assert_refused(400, "DW2008");
    }
    for path in ["/model/other/models", "/model/M/models", "/model/m%2f/models", "/models", "/"] {
        let reply = proxy.agent().raw(&head(path, &key)).await;
        assert!(matches!(reply.status, 400 | 403 | 407), "{path}: {}", reply.text());
    }
    origin.assert_untouched();
}

#[tokio::test]
async fn beside_the_endpoints_path_nothing_gets_the_credential() {
    let (proxy, origin) = gateway().await;
    proxy.agent().get(GATEWAY, "/admin").await.assert_refused(403, "DW1002");
    proxy.agent().get(GATEWAY, "/tenant/v1x").await.assert_refused(403, "DW1002");
    origin.assert_untouched();
    proxy.agent().get(GATEWAY, "/tenant/v1/models").await.assert_ok();
}

#[tokio::test]
async fn refuses_web_pages() {
    let origin = Origin::start(OPENAI).await;
    let file = model_file("provider: openai");
    let proxy = Proxy::builder().file("m", &file).origin(&origin).no_token().start().await;
    let origin_field = head("/model/m/v1/models", "Origin: https://evil.example\r\n");
    proxy.agent().raw(&origin_field).await.assert_refused(403, "DW1002");
    // Browsers say this of every request, a link that is followed included.
    for site in ["none", "cross-site", "same-origin"] {
        let followed = head("/model/m/v1/models", &format!("Sec-Fetch-Site: {site}\r\n"));
        let reply = proxy.agent().raw(&followed).await;
        reply.assert_refused(403, "DW1002");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    }
    let rebound = "GET /model/m/v1/models HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    proxy.agent().raw(rebound.as_bytes()).await.assert_refused(421, "DW2007");
    origin.assert_untouched();
    let reply = proxy.agent().raw(&head("/model/m/v1/models", "Sec-Fetch-Mode: cors\r\n")).await;
    reply.assert_ok();
    assert_eq!(reply.headers_named("content-security-policy"), ["default-src 'none'; sandbox"]);
    assert_eq!(reply.headers_named("x-content-type-options"), ["nosniff"]);
}
