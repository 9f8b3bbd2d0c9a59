//! A container registry with a token service: which token is asked for which request, what an agent never gets, and what a
//! registry cannot choose.

use harness::{Origin, Proxy, ProxyBuilder, answer};
use http::Response;

const REGISTRY: &str = "registry-1.docker.io";
const SERVICE: &str = "auth.docker.io";
const EVIL: &str = "evil.example.com";
const USER: &str = "acme";

/// A token service that signs nothing but says in the token what it is for, and a registry that takes it for that alone.
async fn hub() -> Origin {
    let make = |seen: &harness::Seen| {
        let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
        let refused = || {
            let realm = format!("Bearer realm=\"https://{EVIL}/token\",service=\"x\",scope=\"y\"");
            let response = Response::builder().status(401).header("www-authenticate", realm);
            response.body(answer::full("no")).unwrap()
        };
        if seen.authority == SERVICE {
            let good = path == "/token" && query.starts_with("service=registry.docker.io");
            let basic = seen.header("authorization").is_some_and(|value| value.starts_with("Basic "));
            if !(good && basic && seen.method == "GET") {
                return refused();
            }
            let scope = query.split_once("&scope=").map_or("none", |(_, scope)| scope);
            let token = token(scope);
            return Response::new(answer::full(format!("{{\"token\":\"{token}\",\"expires_in\":300}}")));
        }
        let wanted = match (seen.method.as_str(), path.split('/').collect::<Vec<_>>().as_slice()) {
            ("GET", ["", "v2", ""]) => token("none"),
            ("GET", ["", "v2", owner, name, "manifests", _]) => {
                token(&format!("repository%3A{owner}%2F{name}%3Apull"))
            }
            ("PUT", ["", "v2", owner, name, "manifests", _]) => {
                token(&format!("repository%3A{owner}%2F{name}%3Apull%2Cpush"))
            }
            _ => "nothing".to_owned(),
        };
        // A part of what it was sent.
        if let ["", "v2", owner, name, "blobs", length] = path.split('/').collect::<Vec<_>>().as_slice() {
            let token = token(&format!("repository%3A{owner}%2F{name}%3Apull"));
            return Response::new(answer::full(format!(
                "begin {}",
                &token[..length.parse::<usize>().unwrap()]
            )));
        }
        if seen.headers_named("authorization") != [format!("Bearer {wanted}")] {
            return refused();
        }
        Response::new(answer::full(format!("you sent {wanted}")))
    };
    Origin::builder(&[REGISTRY, SERVICE, EVIL]).answer(answer::made(make)).start().await
}

/// What the service gives for a scope.
fn token(scope: &str) -> String {
    format!("c4nary-token.{}", scope.replace('%', "_"))
}

fn builder(origin: &Origin, more: &str) -> ProxyBuilder {
    let spec = format!(
        "type: docker-registry\nhost: {REGISTRY}\nauth: {{type: token-service, secretRef: hub}}\n{more}"
    );
    let proxy = Proxy::builder().provider("hub", &spec).public_value("hub", "username", USER);
    proxy.secret("hub", "password", &harness::canary::fresh()).origin(origin)
}

const PUSH: &str = "repository:acme/app:pull,push";
const SCOPE: &str = "policy: {allow: [read, write]}\nscope: {repositories: [\"acme/*\"]}";

#[tokio::test]
async fn a_repository_that_is_out_of_scope_costs_no_token() {
    let origin = hub().await;
    let proxy = builder(&origin, SCOPE).start().await;
    let agent = proxy.agent();
    for line in [
        "GET /v2/evil/app/manifests/1",
        "GET /v2//acme/app/manifests/1",
        "GET /v2/acme%2Fapp/manifests/1",
        "GET /v2/acme/app,evil/manifests/1",
        "DELETE /v2/acme/app/manifests/1",
        "POST /v2/acme/app/blobs/uploads/?mount=sha256:ab&from=evil/app",
        "GET /v2/_catalog",
    ] {
        let reply = agent.ask(REGISTRY, &format!("{line} HTTP/1.1")).await;
        reply.assert_refused(403, "DW1002");
    }
    origin.assert_untouched();
}

#[tokio::test]
async fn each_repository_and_each_right_has_a_token_of_its_own_which_is_kept() {
    let origin = hub().await;
    let mut proxy = builder(&origin, SCOPE).start().await;
    for scope in ["none", "repository_3Aacme_2Fapp_3Apull"] {
        proxy.watch(&token(scope));
    }
    let agent = proxy.agent();
    for _ in 0..2 {
        for line in ["GET /v2/", "GET /v2/acme/app/manifests/1", "GET /v2/acme/base/manifests/1"] {
            let reply = agent.ask(REGISTRY, &format!("{line} HTTP/1.1\nAuthorization: Bearer own")).await;
            let text = reply.assert_ok().text();
            assert!(text.starts_with("you sent ****") && !text.contains("c4nary"), "{line}: {text}");
        }
        agent.ask(REGISTRY, "PUT /v2/acme/app/manifests/1 HTTP/1.1\nContent-Length: 0").await.assert_ok();
    }
    let seen = origin.requests();
    let asked: Vec<&str> =
        seen.iter().filter(|seen| seen.authority == SERVICE).map(|seen| seen.target.as_str()).collect();
    assert_eq!(
        asked,
        [
            "/token?service=registry.docker.io",
            "/token?service=registry.docker.io&scope=repository%3Aacme%2Fapp%3Apull",
            "/token?service=registry.docker.io&scope=repository%3Aacme%2Fbase%3Apull",
            "/token?service=registry.docker.io&scope=repository%3Aacme%2Fapp%3Apull%2Cpush",
        ]
    );
    // By their names in the audit: the secret, and what its token opens.
    let wanted = |line: &serde_json::Value| line["kind"] == "exchange" && line["part"] == PUSH;
    proxy.audit().wait_for("the last exchange", wanted).await;
    let lines = proxy.audit().lines();
    let exchanges = lines.iter().filter(|line| line["kind"] == "exchange");
    let named: Vec<_> = exchanges.map(|line| (line["secret"].as_str(), line["part"].as_str())).collect();
    let parts = [None, Some("repository:acme/app:pull"), Some("repository:acme/base:pull"), Some(PUSH)];
    assert_eq!(named, parts.map(|part| (Some("hub"), part)));
    // The credential itself goes nowhere else.
    for seen in seen.iter().filter(|seen| seen.authority == REGISTRY) {
        assert!(seen.header("authorization").unwrap().starts_with("Bearer c4nary-token."), "{seen:#?}");
    }
}

#[tokio::test]
async fn a_realm_that_the_registry_names_is_not_asked() {
    let origin = hub().await;
    let proxy = builder(&origin, "policy: {allow: [\"*\"]}").start().await;
    let reply = proxy.agent().get(REGISTRY, "/v2/acme/app/tags/list").await;
    assert_eq!(reply.status, 401, "{}", reply.text());
    let seen = origin.requests();
    assert!(seen.iter().all(|seen| seen.authority != EVIL), "{seen:#?}");
}

#[tokio::test]
async fn the_agents_own_token_calls_are_answered_with_a_dummy_and_nothing_else_is_open_there() {
    let origin = hub().await;
    let proxy = builder(&origin, SCOPE).start().await;
    let agent = proxy.agent();
    let call = "GET /token?service=registry.docker.io&scope=repository:evil/app:pull HTTP/1.1\nAuthorization: Basic b3duOm93bg==";
    let reply = agent.ask(SERVICE, call).await;
    let told = reply.assert_ok().text();
    assert!(told.contains("\"token\":\"") && told.contains("dw0") && !told.contains("c4nary"), "{told}");
    for line in ["DELETE /token", "PUT /Token/"] {
        agent
            .ask(SERVICE, &format!("{line} HTTP/1.1\nContent-Length: 0"))
            .await
            .assert_refused(403, "DW1002");
    }
    assert!(agent.get(SERVICE, "/other").await.code().is_some());
    origin.assert_untouched();
}

#[tokio::test]
async fn dw1009_many_new_repositories_have_to_wait_and_known_ones_do_not() {
    let origin = hub().await;
    let proxy = builder(&origin, SCOPE).limit("agent-token-parts", "3").start().await;
    let agent = proxy.agent();
    for (name, is_new) in [("a", true), ("b", true), ("c", true), ("d", false), ("a", true)] {
        let reply = agent.get(REGISTRY, &format!("/v2/acme/{name}/manifests/1")).await;
        if is_new {
            reply.assert_ok();
        } else {
            reply.assert_refused(429, "DW1009");
            assert!(reply.header("retry-after").is_some());
        }
    }
    assert_eq!(asked(&origin), 3);
}

#[tokio::test]
async fn who_may_not_use_the_credential_any_more_has_no_token_made() {
    let origin = hub().await;
    let proxy = builder(&origin, SCOPE).start().await;
    let agent = proxy.agent();
    for length in [20, 24, 28] {
        agent.get(REGISTRY, &format!("/v2/acme/app/blobs/{length}")).await;
    }
    agent.get(REGISTRY, "/v2/acme/other/manifests/1").await.assert_refused(502, "DW2009");
    assert_eq!(asked(&origin), 1);
}

/// How often the token service was asked.
fn asked(origin: &Origin) -> usize {
    origin.requests().iter().filter(|seen| seen.authority == SERVICE).count()
}
