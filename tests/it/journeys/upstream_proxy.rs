//! A corporate proxy between us and the world: `--upstream-proxy`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::origin::forward::ForwardProxy;
use harness::{Origin, Proxy};

use crate::world::{HOST, OTHER};

#[tokio::test]
async fn a_wrong_password_for_the_upstream_proxy_is_an_upstream_error() {
    let origin = Origin::start(HOST).await;
    let forward =
        ForwardProxy::start(&[("api.example.com:443", origin.address())], Some("Basic dXNlcjpwYXNz")).await;
    let builder = Proxy::builder()
        .bearer(HOST)
        .arg("--upstream-proxy")
        .arg(&format!("http://user:wrong@{}", forward.address()));
    let proxy = builder.start().await;
    let reply = proxy.agent().get(HOST, "/").await;
    assert!(reply.status == 502 && reply.code().as_deref() == Some("DW2006"), "{reply:?}");
    origin.assert_untouched();
}

#[tokio::test]
async fn upstream_proxy_is_used_with_its_password_and_sees_only_tls() {
    let origin = Origin::start(HOST).await;
    let forward =
        ForwardProxy::start(&[("api.example.com:443", origin.address())], Some("Basic dXNlcjpwYXNz")).await;
    let builder = Proxy::builder()
        .bearer(HOST)
        .arg("--upstream-proxy")
        .arg(&format!("http://user:pass@{}", forward.address()));
    let mut proxy = builder.start().await;
    proxy.watch("dXNlcjpwYXNz");
    proxy.agent().get(HOST, "/").await.assert_ok();
    assert_eq!(origin.only().headers_named("authorization"), [format!("Bearer {}", proxy.canary())]);
    let heads = forward.heads();
    assert!(heads[0].starts_with("CONNECT api.example.com:443 HTTP/1.1\r\n"), "{heads:?}");
    assert!(
        heads.iter().all(|head| !head.contains(proxy.canary()) && !head.contains(proxy.token())),
        "{heads:?}"
    );
}

#[tokio::test]
async fn default_deny_comes_before_the_upstream_proxy() {
    let forward = ForwardProxy::start(&[], None).await;
    let builder =
        Proxy::builder().bearer(HOST).arg("--upstream-proxy").arg(&format!("http://{}", forward.address()));
    let proxy = builder.start().await;
    for authority in [format!("{OTHER}:443"), "169.254.169.254:443".to_owned(), "127.0.0.1:443".to_owned()] {
        let refused = proxy.agent().refused(&authority).await;
        assert!(refused.is("DW1001"), "{refused:?}");
    }
    assert!(forward.heads().is_empty(), "{:?}", forward.heads());
}

#[tokio::test]
async fn an_ip_literal_is_judged_before_the_upstream_proxy_gets_it() {
    let forward = ForwardProxy::start(&[], None).await;
    let spec = crate::world::bearer().replace("host: api.example.com", "host: 169.254.169.254");
    let builder = Proxy::builder().strict_addresses().provider("demo", &spec);
    let builder = builder.arg("--upstream-proxy").arg(&format!("http://{}", forward.address()));
    // A provider for a metadata address may be refused at once.
    let Ok(proxy) = builder.try_start().await else { return };
    let refused = proxy.agent().refused("169.254.169.254:443").await;
    assert!(refused.is("DW2005"), "{refused:?}");
    assert!(forward.heads().is_empty());
}

#[tokio::test]
async fn upstream_proxy_that_is_dead_is_dw2006_and_nothing_goes_around_it() {
    let origin = Origin::start(HOST).await;
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let builder = Proxy::builder().bearer(HOST).origin(&origin);
    let proxy = builder.arg("--upstream-proxy").arg(&format!("http://user:pass@{dead}")).start().await;
    let reply = proxy.agent().get(HOST, "/").await;
    reply.assert_refused(502, "DW2006");
    assert!(reply.text().contains("upstream proxy"), "{}", reply.text());
    origin.assert_untouched();
}

#[tokio::test]
async fn upstream_proxy_that_refuses_with_407_is_named_with_its_status_and_not_passed_on() {
    let forward = ForwardProxy::start(&[], Some("Basic dXNlcjpwYXNz")).await;
    let url = format!("http://{}", forward.address());
    let proxy = Proxy::builder().bearer(HOST).arg("--upstream-proxy").arg(&url).start().await;
    let reply = proxy.agent().get(HOST, "/").await;
    reply.assert_refused(502, "DW2006");
    assert!(
        reply.text().contains("upstream proxy: it refused the tunnel with status 407"),
        "{}",
        reply.text()
    );
    // The agent must not take it for a challenge of ours.
    assert_eq!(reply.header("proxy-authenticate"), None);
    assert_eq!(proxy.audit().code("DW2006").await["host"], HOST);
    assert!(forward.heads().iter().all(|head| !head.to_ascii_lowercase().contains("proxy-authorization")));
}

#[tokio::test]
async fn upstream_proxy_may_come_from_a_file_and_its_password_is_nowhere_to_be_read() {
    let origin = Origin::start(HOST).await;
    let password = harness::canary::fresh();
    let proof = format!("Basic {}", STANDARD.encode(format!("user:{password}")));
    let forward = ForwardProxy::start(&[("api.example.com:443", origin.address())], Some(&proof)).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("upstream-proxy");
    harness::proxy::build::put(&file, &format!("http://user:{password}@{}\n", forward.address()));
    let builder = Proxy::builder().bearer(HOST).arg("--upstream-proxy-file").arg(file.to_str().unwrap());
    let mut proxy = builder.start().await;
    proxy.watch(&password);
    proxy.agent().get(HOST, "/").await.assert_ok();
    assert_eq!(origin.only().headers_named("authorization"), [format!("Bearer {}", proxy.canary())]);
}
