//! The admin listener, the ready file, and what is published.

use harness::agent::h2;
use harness::{Origin, Proxy};

use crate::world::{HOST, World, bearer};

#[tokio::test]
async fn the_admin_listener_answers_three_paths_and_404_else() {
    let world = World::bearer().await;
    for path in
        ["/", "/metrics/", "/admin", "/debug", "/livez/x", "/api/v1/secrets", "/../metrics", "//metrics"]
    {
        let (status, _) = world.proxy.admin_get(path);
        assert!(matches!(status, 400 | 404), "{path}: {status}");
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(world.proxy.admin_get(path).0, 200, "{path}");
    }
}

#[tokio::test]
async fn the_admin_listener_is_no_proxy() {
    let world = World::bearer().await;
    let via = harness::agent::Via::Tcp(world.proxy.admin());
    let agent = harness::Agent::new(via, world.proxy.ca_pem(), world.proxy.sweep().clone())
        .with_basic("agent", world.proxy.token());
    let reply = agent.connect("api.example.com:443").await;
    assert_ne!(reply.status, 200);
    world.origin.assert_untouched();
}

#[tokio::test]
async fn an_agent_does_not_reach_the_admin_listener_through_the_proxy() {
    let world = World::bearer().await;
    let refused = world.agent().refused(&world.proxy.admin().to_string()).await;
    assert!(refused.status == 403, "{refused:?}");
}

#[tokio::test]
async fn metrics_count_what_happened_without_hosts_or_paths() {
    let world = World::bearer().await;
    world.agent().get(HOST, "/some/path").await.assert_ok();
    world.agent().get("denied.example.net", "/").await.assert_refused(403, "DW1001");
    let (_, text) = world.proxy.admin_get("/metrics");
    assert!(text.contains("# TYPE") && text.contains("# HELP"), "{text}");
    for absent in ["example.com", "example.net", "/some/path", world.proxy.token()] {
        assert!(!text.contains(absent), "{absent} is in\n{text}");
    }
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        assert!(line.starts_with("doorward_") || line.starts_with("process_"), "{line}");
    }
    assert!(text.contains("DW1001"), "{text}");
}

#[tokio::test]
async fn a_tunnel_that_rests_is_counted_as_open() {
    let world = World::bearer().await;
    let mut kept = Vec::new();
    for (open, protocol) in [(1, "h1"), (2, "h2")] {
        let mut client = world.agent().client(protocol, HOST).await;
        let request = client.request("GET", "/").body(h2::empty()).unwrap();
        client.send(request).await.assert_ok();
        kept.push(client);
        let (_, text) = world.proxy.admin_get("/metrics");
        assert!(text.lines().any(|line| line == format!("doorward_connections {open}")), "{text}");
    }
}

#[tokio::test]
async fn the_ready_file_says_where_everything_is() {
    let proxy = Proxy::builder().start().await;
    let ready = proxy.ready();
    assert_eq!(ready["pid"], proxy.pid());
    for key in ["ca", "ca_bundle"] {
        assert!(std::path::Path::new(ready[key].as_str().unwrap()).is_file(), "{key}: {ready}");
    }
    assert_eq!(ready["listeners"].as_array().map(Vec::len), Some(1), "{ready}");
    std::net::TcpStream::connect(proxy.address()).unwrap();
}

#[tokio::test]
async fn agent_env_tells_an_agent_all_it_needs_and_no_more() {
    let origin = Origin::start("api.github.com").await;
    let spec = "type: github\nauth:\n  type: pat\n  secretRef: canary\n  agentEnvVar: GITHUB_TOKEN\n  agentEnv: {GH_TOKEN: {placeholder: \"ghp_{rand:36}\"}}";
    let proxy = Proxy::builder().provider("github", spec).origin(&origin).start().await;
    let env = proxy.agent_env();
    let find = |name: &str| env.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let url = format!("http://agent:{}@{}", proxy.token(), proxy.address());
    for name in
        ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "WSS_PROXY", "grpc_proxy"]
    {
        assert_eq!(find(name).as_deref(), Some(url.as_str()), "{name}");
    }
    let bundle = proxy.ready()["ca_bundle"].as_str().unwrap();
    for name in [
        "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "GIT_SSL_CAINFO",
        "AWS_CA_BUNDLE",
        "CARGO_HTTP_CAINFO",
        "PIP_CERT",
        "NPM_CONFIG_CAFILE",
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
        "WEBSOCKET_CLIENT_CA_BUNDLE",
    ] {
        assert_eq!(find(name).as_deref(), Some(bundle), "{name}");
    }
    for name in ["NODE_EXTRA_CA_CERTS", "DENO_CERT"] {
        assert_eq!(find(name).as_deref(), proxy.ready()["ca"].as_str(), "{name}");
    }
    assert_eq!(find("NODE_USE_ENV_PROXY").as_deref(), Some("1"));
    for name in ["no_proxy", "NO_PROXY"] {
        let value = find(name).unwrap();
        assert!(
            value
                .split(',')
                .all(|host| ["localhost", "127.0.0.1", "::1", "[::1]", "127.0.0.0/8"].contains(&host.trim())),
            "{value}"
        );
    }
    for name in ["GITHUB_TOKEN", "GH_TOKEN"] {
        assert!(
            find(name).is_some_and(|value| value.starts_with("ghp_") && value.len() == 40),
            "{name}: {:?}",
            find(name)
        );
    }
}

#[tokio::test]
async fn several_agents_get_a_file_each() {
    let (one, two) = ("token-of-one-0123456789abcdef", "token-of-two-0123456789abcdef");
    let proxy = Proxy::builder().tokens(&format!("one:{one}\ntwo:{two}\n"), one).start().await;
    for (name, own, foreign) in [("one", one, two), ("two", two, one)] {
        let text = std::fs::read_to_string(proxy.path(&format!("publish/agent-{name}.env"))).unwrap();
        assert!(text.contains(own) && !text.contains(foreign), "{name}");
    }
    let shared = std::fs::read_to_string(proxy.path("publish/agent.env")).unwrap_or_default();
    assert!(!shared.contains(one) && !shared.contains(two));
}

#[tokio::test]
async fn a_degraded_provider_shows_in_verbose_readiness() {
    let world = World::of(&bearer().replace("secretRef: canary", "secretRef: absent")).await;
    let (_, body) = world.proxy.admin_get("/readyz?verbose");
    assert!(body.contains("demo") && body.contains("DW1004"), "{body}");
}

#[tokio::test]
async fn it_measures_itself_at_start() {
    let proxy = Proxy::builder().start().await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let field = |name: &str| {
        status
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap()
            .split_whitespace()
            .nth(1)
            .unwrap()
            .to_owned()
    };
    assert_eq!(field("NoNewPrivs:"), "1");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", proxy.pid()));
    if let Ok(limits) = limits {
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert!(core.split_whitespace().nth(4) == Some("0"), "{core}");
    }
}
