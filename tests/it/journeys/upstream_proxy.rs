//! A corporate proxy between us and the world: `--upstream-proxy`.

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
