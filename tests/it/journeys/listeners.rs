//! Where agents connect, and how tunnels end: unix sockets, IPv6, IP literals, passthrough, absolute form, the environment.

use harness::origin::raw::{RawOrigin, Step};
use harness::{Agent, Origin, Proxy, within};

use crate::world::{HOST, World, bearer, bearer_and};

/// The address of the listener that knows uids.
fn knowing(proxy: &Proxy) -> std::net::SocketAddr {
    let listeners = proxy.ready()["listeners"].as_array().unwrap();
    let found = listeners.iter().find_map(|listener| listener.as_str()?.strip_prefix("uid:"));
    found.expect("a listener that knows uids").parse().unwrap()
}

/// An agent that connects there.
fn known_agent(proxy: &Proxy) -> Agent {
    Agent::new(harness::agent::Via::Tcp(knowing(proxy)), proxy.ca_pem(), proxy.sweep().clone())
}

#[tokio::test]
async fn refuses_a_peer_whose_uid_no_line_names_even_with_a_token_on_a_listener_that_knows_uids() {
    let origin = Origin::start(HOST).await;
    let uid = rustix::process::getuid().as_raw() + 4242;
    let tokens = format!("other:uid={uid}\nworker:worker-token-0123456789abcdef\n");
    let builder = Proxy::builder().listen(&["uid:127.0.0.1:0"]);
    let builder = builder.tokens(&tokens, "worker-token-0123456789abcdef");
    let proxy = builder.bearer(HOST).origin(&origin).start().await;
    assert!(proxy.ready()["proxy"].is_null(), "{}", proxy.ready());
    let agent = known_agent(&proxy);
    for agent in [agent.clone(), agent.with_basic("agent", proxy.token())] {
        let reply = agent.connect("api.example.com:443").await;
        assert_eq!((reply.status, reply.any_code().as_deref()), (407, Some("DW3002")), "{reply:?}");
    }
    origin.assert_untouched();
    assert_eq!(proxy.audit().code("DW3002").await["verdict"], "deny");
}

#[tokio::test]
async fn refuses_another_user_on_a_listener_that_knows_uids() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can connect as another user");
        return;
    }
    let origin = Origin::start(HOST).await;
    for builder in [
        Proxy::builder().no_token(),
        Proxy::builder().tokens("agent:uid=0\nworker:worker-token-0123456789abcdef\n", ""),
    ] {
        let proxy =
            builder.listen(&["uid:127.0.0.1:0", "uid:[::1]:0"]).bearer(HOST).origin(&origin).start().await;
        known_agent(&proxy).get(HOST, "/").await.assert_ok();
        let seen = origin.requests().len();
        for listener in proxy.ready()["listeners"].as_array().unwrap() {
            let address = listener.as_str().unwrap().trim_start_matches("uid:");
            let mut curl = tokio::process::Command::new("curl");
            curl.args(["-sS", "-o", "-", "-x", &format!("http://{address}"), "https://api.example.com/"]);
            let output = within("curl", curl.uid(4242).output()).await.unwrap();
            assert!(String::from_utf8_lossy(&output.stderr).contains("407"), "{output:?}");
        }
        assert_eq!(origin.requests().len(), seen);
    }
}

#[tokio::test]
async fn a_listener_that_knows_uids_asks_its_agent_for_no_token() {
    let origin = Origin::start(HOST).await;
    let uid = rustix::process::getuid().as_raw();
    let tokens = format!("local:uid={uid}\nremote:remote-token-0123456789abcdef\n");
    let builder = Proxy::builder().listen(&["uid:127.0.0.1:0", "127.0.0.1:0"]);
    let builder = builder.tokens(&tokens, "remote-token-0123456789abcdef");
    let proxy = builder.bearer(HOST).origin(&origin).start().await;
    known_agent(&proxy).get(HOST, "/known").await.assert_ok();
    assert_eq!(proxy.audit().request("/known").await["agent"], "local");
    // What `agent.env` names is the other one, and it asks.
    assert_ne!(proxy.ready()["proxy"], format!("http://{}", knowing(&proxy)));
    assert_eq!(proxy.agent().without_authorization().connect("api.example.com:443").await.status, 407);
    // Java is told of the first, where its agent is known by a uid.
    let env = |name: &str| std::fs::read_to_string(proxy.path(&format!("publish/agent-{name}.env"))).unwrap();
    assert!(env("local").contains(&format!("-Dhttps.proxyPort={} ", knowing(&proxy).port())));
    assert!(!env("remote").contains("JAVA_TOOL_OPTIONS") && env("remote").contains("https_proxy="));
    assert!(proxy.path("publish/truststore.p12").exists());
    // Its line goes, and it with it.
    proxy.write_tokens("remote:remote-token-0123456789abcdef\n");
    let limit = harness::within::DEADLINE;
    let end = std::time::Instant::now() + limit;
    while known_agent(&proxy).connect("api.example.com:443").await.status != 407 {
        assert!(std::time::Instant::now() < end, "still known after {limit:?}");
    }
}

#[tokio::test]
async fn the_unix_listener_knows_its_peer_by_uid() {
    let origin = Origin::start(HOST).await;
    let uid = rustix::process::getuid().as_raw();
    let tokens = format!("local:uid={uid}\nremote:remote-token-0123456789abcdef\n");
    let builder = Proxy::builder()
        .listen(&["unix:{home}/agent.sock", "127.0.0.1:0"])
        .tokens(&tokens, "remote-token-0123456789abcdef");
    let proxy = builder.bearer(HOST).origin(&origin).start().await;
    let agent = proxy.unix_agent(&proxy.path("agent.sock")).without_authorization();
    agent.get(HOST, "/unix").await.assert_ok();
    assert_eq!(proxy.audit().request("/unix").await["agent"], "local");
    // On TCP there is no peer to see.
    assert_eq!(proxy.agent().without_authorization().connect("api.example.com:443").await.status, 407);
}

#[tokio::test]
async fn a_unix_peer_of_another_uid_is_refused() {
    let origin = Origin::start(HOST).await;
    let uid = rustix::process::getuid().as_raw() + 4242;
    let builder =
        Proxy::builder().listen(&["unix:{home}/agent.sock"]).tokens(&format!("other:uid={uid}\n"), "");
    let proxy = builder.bearer(HOST).origin(&origin).start().await;
    assert!(proxy.ready()["proxy"].is_null(), "{}", proxy.ready());
    let agent = proxy.unix_agent(&proxy.path("agent.sock")).without_authorization();
    let mut pipe = agent.dial().await;
    let reply = pipe.exchange(agent.connect_head("api.example.com:443").as_bytes()).await;
    assert!(matches!(reply.status, 0 | 403 | 407), "{reply:?}");
    origin.assert_untouched();
}

#[tokio::test]
async fn without_a_uid_line_only_our_own_uid_may_use_the_unix_listener() {
    let origin = Origin::start(HOST).await;
    let builder =
        Proxy::builder().no_token().listen(&["unix:{home}/agent.sock"]).bearer(HOST).origin(&origin);
    let proxy = builder.start().await;
    let agent = proxy.unix_agent(&proxy.path("agent.sock"));
    agent.get(HOST, "/").await.assert_ok();
}

#[tokio::test]
async fn java_is_told_of_a_listener_that_asks_for_nothing_and_of_no_other() {
    let open = Proxy::builder().no_token().bearer(HOST).start().await;
    let options = open.dummy("JAVA_TOOL_OPTIONS");
    let port = open.ready()["proxy"].as_str().unwrap().rsplit(':').next().unwrap();
    assert!(options.contains(&format!("-Dhttps.proxyPort={port} ")), "{options}");
    let store = options.split("trustStore=").nth(1).unwrap().split('"').next().unwrap();
    assert!(std::path::Path::new(store).is_file(), "{store}");
    let asking = Proxy::builder().bearer(HOST).start().await;
    assert!(!asking.agent_env().iter().any(|(name, _)| name == "JAVA_TOOL_OPTIONS"));
    assert!(!asking.path("publish/truststore.p12").exists());
}

#[tokio::test]
async fn ipv6_loopback_and_several_listeners_serve() {
    let origin = Origin::start(HOST).await;
    let proxy =
        Proxy::builder().listen(&["127.0.0.1:0", "[::1]:0"]).bearer(HOST).origin(&origin).start().await;
    let listeners = proxy.ready()["listeners"].to_string();
    assert!(listeners.contains("127.0.0.1") && listeners.contains("[::1]"), "{listeners}");
    let six = proxy.ready()["listeners"].as_array().unwrap().iter().find_map(|listener| {
        let text = listener.as_str()?.trim_start_matches("http://").to_owned();
        text.starts_with('[').then(|| text.parse().unwrap())
    });
    let agent = Agent::new(harness::agent::Via::Tcp(six.unwrap()), proxy.ca_pem(), proxy.sweep().clone());
    agent.with_basic("agent", proxy.token()).get(HOST, "/").await.assert_ok();
}

#[tokio::test]
async fn connect_to_an_ip_literal_without_sni_is_intercepted() {
    let origin = Origin::start("127.0.0.1").await;
    let spec = bearer()
        .replace("host: api.example.com", &format!("host: \"127.0.0.1:{}\"", origin.address().port()));
    let proxy = Proxy::builder().provider("demo", &spec).start().await;
    let authority = format!("127.0.0.1:{}", origin.address().port());
    let agent = proxy.agent();
    let mut tls = agent.tunnel(&authority).no_sni().open().await;
    let reply = tls.exchange(format!("GET /ip HTTP/1.1\r\nHost: {authority}\r\n\r\n").as_bytes()).await;
    reply.assert_ok();
    let seen = origin.only();
    assert_eq!((seen.authority.as_str(), seen.sni.as_deref()), (authority.as_str(), None));
    assert_eq!(seen.headers_named("authorization"), [format!("Bearer {}", proxy.canary())]);
}

#[tokio::test]
async fn absent_sni_is_accepted_for_names_too() {
    let world = World::bearer().await;
    let agent = world.agent();
    let mut tls = agent.tunnel("api.example.com:443").no_sni().open().await;
    tls.exchange(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await.assert_ok();
    assert_eq!(world.origin.only().sni.as_deref(), Some(HOST));
}

#[tokio::test]
async fn a_provider_on_another_port_is_served_there_and_only_there() {
    let origin = Origin::start(HOST).await;
    let spec = bearer().replace("host: api.example.com", "host: \"api.example.com:8443\"");
    let proxy = Proxy::builder()
        .provider("demo", &spec)
        .route(HOST, 8443, origin.address())
        .origin(&origin)
        .start()
        .await;
    let agent = proxy.agent();
    let mut tls = agent.tunnel("api.example.com:8443").open().await;
    tls.exchange(b"GET / HTTP/1.1\r\nHost: api.example.com:8443\r\n\r\n").await.assert_ok();
    assert_eq!(origin.only().authority, "api.example.com:8443");
    let refused = agent.refused("api.example.com:443").await;
    assert!(refused.is("DW1001"), "{refused:?}");
}

#[tokio::test]
async fn passthrough_shows_the_origins_own_certificate_and_injects_nothing() {
    let spec = format!("type: http-token\nhost: {HOST}\ntls: {{mode: passthrough}}");
    let world = World::of(&spec).await;
    let agent = world.agent().with_ca(harness::ca::TestCa::world().pem());
    let reply = agent.ask(HOST, "GET / HTTP/1.1\nAuthorization: Bearer own").await;
    reply.assert_ok();
    assert_eq!(world.origin.only().headers_named("authorization"), ["Bearer own"]);
}

#[tokio::test]
async fn passthrough_closes_on_another_sni_and_on_what_is_no_tls() {
    let spec = format!("type: http-token\nhost: {HOST}\ntls: {{mode: passthrough}}");
    let world = World::of(&spec).await;
    let agent = world.agent().with_ca(harness::ca::TestCa::world().pem());
    assert!(agent.tunnel("api.example.com:443").sni("other.example.com").try_open().await.is_err());
    let mut pipe = agent.dial().await;
    pipe.send(agent.connect_head("api.example.com:443").as_bytes()).await;
    assert_eq!(pipe.read_head().await.status, 200);
    pipe.send(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
    assert!(pipe.read_to_end().await.len() <= 16);
    assert_eq!(world.origin.handshakes(), 0);
}

#[tokio::test]
async fn passthrough_obeys_the_address_guard() {
    let origin = Origin::start(HOST).await;
    let spec = format!("type: http-token\nhost: {HOST}\ntls: {{mode: passthrough}}");
    let proxy = Proxy::builder().strict_addresses().provider("demo", &spec).origin(&origin).start().await;
    let agent = proxy.agent().with_ca(harness::ca::TestCa::world().pem());
    assert!(agent.tunnel("api.example.com:443").try_open().await.is_err());
    origin.assert_untouched();
    proxy.audit().code("DW2005").await;
}

#[tokio::test]
async fn https_in_absolute_form_is_served_as_node_clients_send_it() {
    let world = World::bearer().await;
    let agent = world.agent();
    let proof = agent.authorization().unwrap();
    let request =
        format!("GET https://{HOST}/x HTTP/1.1\r\nHost: {HOST}\r\nProxy-Authorization: {proof}\r\n\r\n");
    agent.raw(request.as_bytes()).await.assert_ok();
    world.assert_injected();
    assert_eq!(world.origin.only().sni.as_deref(), Some(HOST));
    let other = format!(
        "GET https://{HOST}/ HTTP/1.1\r\nHost: other.example.com\r\nProxy-Authorization: {proof}\r\n\r\n"
    );
    agent.raw(other.as_bytes()).await.assert_refused(421, "DW2007");
    let bare = format!("GET https://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    assert_eq!(agent.raw(bare.as_bytes()).await.status, 407);
}

#[tokio::test]
async fn origin_form_on_the_proxy_listener_is_no_open_door() {
    let world = World::bearer().await;
    for head in [
        "GET / HTTP/1.1\r\nHost: api.example.com\r\n",
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: api.example.com\r\n",
    ] {
        let agent = world.agent();
        let proof = agent.authorization().unwrap();
        let reply = agent.raw(format!("{head}Proxy-Authorization: {proof}\r\n\r\n").as_bytes()).await;
        assert!((400..500).contains(&reply.status), "{head}: {reply:?}");
    }
    world.origin.assert_untouched();
}

#[tokio::test]
async fn its_own_environment_configures_neither_proxying_nor_trust() {
    let trap = RawOrigin::tcp("trap", vec![Step::Hold]).await;
    let at = format!("http://{}", trap.address());
    let mut builder = Proxy::builder()
        .provider("demo", &bearer_and(""))
        .env("SSL_CERT_FILE", "/nonexistent")
        .env("SSLKEYLOGFILE", "{home}/keys");
    for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"] {
        builder = builder.env(name, &at);
    }
    let world = World::built(Origin::builder(&[HOST]), builder).await;
    world.agent().get(HOST, "/").await.assert_ok();
    assert!(trap.heard().is_empty());
    assert!(!world.proxy.path("keys").exists(), "TLS keys were logged");
}

#[tokio::test]
async fn leaves_are_short_lived_and_signed_by_the_published_ca() {
    let world = World::bearer().await;
    let tls = world.agent().tls(HOST).await;
    assert!(!tls.chain.is_empty());
    let bundle = std::fs::read_to_string(world.proxy.ready()["ca_bundle"].as_str().unwrap()).unwrap();
    assert!(bundle.contains(world.proxy.ca_pem().trim()), "the bundle holds our CA");
    assert!(!bundle.contains("PRIVATE KEY") && !world.proxy.ca_pem().contains("PRIVATE KEY"));
    for entry in std::fs::read_dir(world.proxy.path("publish")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains("PRIVATE KEY"));
    }
}

#[tokio::test]
async fn a_kept_ca_is_the_same_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca");
    let start = || Proxy::builder().arg("--ca-dir").arg(ca.to_str().unwrap()).start();
    let first = start().await;
    let pem = first.ca_pem();
    drop(first);
    assert_eq!(start().await.ca_pem(), pem);
}
