//! Agent documents: which agent may use which provider.

use harness::{Origin, Proxy, ProxyBuilder};

use crate::world::{HOST, OTHER, bearer, token};

const ONE: &str = "token-of-one-0123456789abcdef";
const TWO: &str = "token-of-two-0123456789abcdef";

fn agent(name: &str, providers: &str) -> String {
    format!(
        "apiVersion: doorward.dev/v1alpha1\nkind: Agent\nmetadata: {{name: {name}}}\nspec: {{providers: [{providers}]}}\n"
    )
}

fn two_agents() -> ProxyBuilder {
    Proxy::builder().tokens(&format!("one:{ONE}\ntwo:{TWO}\n"), ONE)
}

#[tokio::test]
async fn dw3003_refuses_a_known_agent_that_was_not_granted_the_provider() {
    let origin = Origin::builder(&[HOST, OTHER]).start().await;
    let builder = two_agents().provider("demo", &bearer()).provider("other", &bearer().replace(HOST, OTHER));
    let builder = builder.file("one", &agent("one", "demo")).file("two", &agent("two", "other"));
    let proxy = builder.origin(&origin).start().await;
    let (one, two) = (proxy.agent(), proxy.agent().with_basic("a", TWO));
    for (agent, authority) in [(&one, "other.example.com:443"), (&two, "api.example.com:443")] {
        let refused = agent.refused(authority).await;
        assert!(refused.status == 403 && refused.is("DW3003"), "{refused:?}");
    }
    assert!(origin.requests().is_empty());
    one.get(HOST, "/").await.assert_ok();
    two.get(OTHER, "/").await.assert_ok();
}

#[tokio::test]
async fn an_agent_without_a_document_has_nothing_once_documents_exist() {
    let origin = Origin::start(HOST).await;
    let builder = two_agents().provider("demo", &bearer()).file("one", &agent("one", "demo"));
    let proxy = builder.origin(&origin).start().await;
    let refused = proxy.agent().with_basic("a", TWO).refused("api.example.com:443").await;
    assert!(refused.status == 403 && (refused.is("DW3003") || refused.is("DW1001")), "{refused:?}");
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn one_host_may_belong_to_different_providers_for_different_agents() {
    let origin = Origin::start(HOST).await;
    let builder = two_agents()
        .provider("first", &token("type: header, header: X-First"))
        .provider("second", &token("type: header, header: X-Second"))
        .file("one", &agent("one", "first"))
        .file("two", &agent("two", "second"));
    let proxy = builder.origin(&origin).start().await;
    for (agent, header) in [(proxy.agent(), "x-first"), (proxy.agent().with_basic("a", TWO), "x-second")] {
        agent.get(HOST, "/").await.assert_ok();
        let seen = origin.last();
        assert_eq!(seen.headers_named(header), [proxy.canary()]);
        assert_eq!(seen.headers.iter().filter(|(_, value)| value == proxy.canary()).count(), 1);
    }
}

#[tokio::test]
async fn a_grant_that_is_taken_away_is_gone_in_open_tunnels() {
    let origin = Origin::builder(&[HOST, OTHER]).start().await;
    let builder = two_agents().provider("demo", &bearer()).provider("other", &bearer().replace(HOST, OTHER));
    let proxy = builder.file("one", &agent("one", "demo")).origin(&origin).start().await;
    let mut tls = proxy.agent().tls(HOST).await;
    tls.exchange(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await.assert_ok();
    proxy.write_provider("one", &agent("one", "other"));
    let end = std::time::Instant::now() + harness::within::DEADLINE;
    loop {
        let reply = tls.exchange(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
        if reply.status != 200 {
            assert!(reply.status == 0 || reply.code().as_deref() == Some("DW3003"), "{reply:?}");
            break;
        }
        assert!(std::time::Instant::now() < end, "the grant lives on");
    }
}
