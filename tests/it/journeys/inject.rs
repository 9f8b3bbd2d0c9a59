//! Every surface on which a credential is put, for http-token providers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::{Origin, Proxy};

use crate::world::{HOST, World, token};

#[tokio::test]
async fn the_default_is_a_bearer_token_in_authorization() {
    for kind in ["type: api-key", "type: bearer"] {
        let world = World::of(&token(kind)).await;
        world.agent().get(HOST, "/").await.assert_ok();
        world.assert_injected();
    }
}

#[tokio::test]
async fn the_default_key_of_a_secret_is_token() {
    let spec = format!("type: http-token\nhost: {HOST}\nauth: {{type: bearer, secretRef: canary}}");
    let world = World::of(&spec).await;
    world.agent().get(HOST, "/").await.assert_ok();
    world.assert_injected();
}

#[tokio::test]
async fn a_secret_in_one_file_is_its_key_token() {
    let origin = Origin::start(HOST).await;
    let spec = format!("type: http-token\nhost: {HOST}\nauth: {{type: bearer, secretRef: flat}}");
    let dir = tempfile::tempdir().unwrap();
    let secret = harness::canary::fresh();
    harness::proxy::build::put(&dir.path().join("flat"), &secret);
    let builder = Proxy::builder().provider("demo", &spec).origin(&origin).without_secrets();
    let mut proxy = builder.arg("--secrets").arg(dir.path().to_str().unwrap()).start().await;
    proxy.watch(&secret);
    proxy.agent().get(HOST, "/").await.assert_ok();
    assert_eq!(origin.only().headers_named("authorization"), [format!("Bearer {secret}")]);
}

#[tokio::test]
async fn one_final_newline_of_a_secret_file_is_not_part_of_the_value() {
    let origin = Origin::start(HOST).await;
    let value = harness::canary::fresh();
    let spec = format!("type: http-token\nhost: {HOST}\nauth: {{type: bearer, secretRef: lined}}");
    let builder = Proxy::builder().provider("demo", &spec).origin(&origin);
    let mut proxy = builder.public_value("lined", "token", &format!("{value}\n")).start().await;
    proxy.watch(&value);
    proxy.agent().get(HOST, "/").await.assert_ok();
    assert_eq!(origin.only().headers_named("authorization"), [format!("Bearer {value}")]);
}

#[tokio::test]
async fn a_prefix_stands_before_the_value() {
    let world = World::of(&token("type: api-key, header: X-Auth, prefix: \"Key \"")).await;
    world.agent().get(HOST, "/").await.assert_ok();
    assert_eq!(world.origin.only().headers_named("x-auth"), [format!("Key {}", world.proxy.canary())]);
}

#[tokio::test]
async fn an_empty_prefix_sends_the_bare_value() {
    let world = World::of(&token("type: api-key, prefix: \"\"")).await;
    world.agent().get(HOST, "/").await.assert_ok();
    assert_eq!(world.origin.only().headers_named("authorization"), [world.proxy.canary()]);
}

#[tokio::test]
async fn a_header_of_its_own_has_no_prefix() {
    let world = World::of(&token("type: header, header: X-Api-Key")).await;
    world.agent().get(HOST, "/").await.assert_ok();
    assert_eq!(world.origin.only().headers_named("x-api-key"), [world.proxy.canary()]);
}

#[tokio::test]
async fn a_query_parameter_replaces_the_agents_own() {
    for auth in ["type: query, param: api_key", "type: api-key, param: api_key"] {
        let world = World::of(&token(auth)).await;
        for asked in [
            "/x?a=1&b=2",
            "/x?api_key=evil&a=1&b=2",
            "/x?a=1&api%5Fkey=evil&b=2&api_key=evil",
            "/x?a=1&%61pi_key=evil&b=2",
        ] {
            world.agent().get(HOST, asked).await.assert_ok();
            let seen = world.origin.last();
            assert!(!seen.target.contains("evil"), "{asked}: {}", seen.target);
            let (path, query) = seen.target.split_once('?').unwrap();
            let mut pairs: Vec<_> = query.split('&').collect();
            pairs.sort_unstable();
            let injected = format!("api_key={}", world.proxy.canary());
            assert_eq!((path, pairs), ("/x", vec!["a=1", injected.as_str(), "b=2"]), "{asked}");
        }
        world.agent().get(HOST, "/bare").await.assert_ok();
        assert_eq!(world.origin.last().target, format!("/bare?api_key={}", world.proxy.canary()));
        let line = world.proxy.audit().request("/bare").await;
        assert_eq!(line["path"], "/bare");
    }
}

#[tokio::test]
async fn basic_joins_a_literal_user_and_the_secret() {
    let world = World::of(&token("type: basic, username: service")).await;
    world.agent().ask(HOST, "GET / HTTP/1.1\nAuthorization: Basic ZXZpbDpldmls").await.assert_ok();
    let wanted = format!("Basic {}", STANDARD.encode(format!("service:{}", world.proxy.canary())));
    assert_eq!(world.origin.only().headers_named("authorization"), [wanted]);
}

#[tokio::test]
async fn basic_takes_user_and_password_of_the_secret() {
    let origin = Origin::start(HOST).await;
    let spec = format!("type: http-token\nhost: {HOST}\nauth: {{type: basic, secretRef: pair}}");
    let password = harness::canary::fresh();
    let builder = Proxy::builder().provider("demo", &spec).origin(&origin);
    let builder =
        builder.public_value("pair", "username", "service-account").secret("pair", "password", &password);
    let proxy = builder.start().await;
    proxy.agent().get(HOST, "/").await.assert_ok();
    let wanted = format!("Basic {}", STANDARD.encode(format!("service-account:{password}")));
    assert_eq!(origin.only().headers_named("authorization"), [wanted]);
}

#[tokio::test]
async fn a_cookie_replaces_the_agents_own_and_keeps_the_others() {
    let world = World::of(&token("type: cookie, name: sid")).await;
    world.agent().ask(HOST, "GET / HTTP/1.1\nCookie: a=1; sid=evil; b=2").await.assert_ok();
    let cookies = world.origin.last().headers_named("cookie").join("; ");
    let mut pairs: Vec<_> = cookies.split("; ").collect();
    pairs.sort_unstable();
    let injected = format!("sid={}", world.proxy.canary());
    assert_eq!(pairs, ["a=1", "b=2", injected.as_str()]);
    world.agent().get(HOST, "/").await.assert_ok();
    assert_eq!(world.origin.last().headers_named("cookie"), [injected]);
}

#[tokio::test]
async fn a_path_template_puts_the_secret_in_place_of_the_dummy() {
    let dummy = "dw0pathdummy0123456789";
    let world =
        World::of(&token(&format!("type: path, template: \"/bot{{{{token}}}}/\", placeholder: {dummy}")))
            .await;
    world.agent().get(HOST, &format!("/bot{dummy}/getMe?x=1")).await.assert_ok();
    assert_eq!(world.origin.last().target, format!("/bot{}/getMe?x=1", world.proxy.canary()));
    world.agent().get(HOST, &format!("/other/{dummy}/getMe")).await.assert_refused(403, "DW1007");
    assert_eq!(world.origin.requests().len(), 1);
}

#[tokio::test]
async fn a_body_pointer_sets_a_value_in_json() {
    let auth = format!("inject: [{{hosts: [{HOST}], body: {{jsonPointer: /auth/key}}}}]");
    let world = World::of(&token(&auth)).await;
    let body = br#"{"auth":{"key":"agents own"},"text":"hello"}"#;
    world.agent().post(HOST, "/", "Content-Type: application/json", body).await.assert_ok();
    let seen = world.origin.only();
    let sent: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
    assert_eq!((&sent["auth"]["key"], &sent["text"]), (&world.proxy.canary().into(), &"hello".into()));
    assert_eq!(seen.header("content-length").and_then(|n| n.parse().ok()), Some(seen.body.len()));
}

#[tokio::test]
async fn a_template_shapes_the_value() {
    let auth =
        format!("inject: [{{hosts: [{HOST}], header: X-Auth, template: \"token={{{{token}}}};v=2\"}}]");
    let world = World::of(&token(&auth)).await;
    world.agent().get(HOST, "/").await.assert_ok();
    assert_eq!(world.origin.only().headers_named("x-auth"), [format!("token={};v=2", world.proxy.canary())]);
}

#[tokio::test]
async fn each_inject_entry_serves_its_own_hosts() {
    let hosts = [HOST, "git.example.com"];
    let origin = Origin::builder(&hosts).start().await;
    let spec = "type: http-token\nhosts: [api.example.com, git.example.com]\nauth:\n  secretRef: canary\n  secretKey: token\n  inject:\n  \
                - {hosts: [api.example.com], header: Authorization, template: \"token {{token}}\"}\n  \
                - {hosts: [git.example.com], basic: {username: x-access-token, password: \"{{token}}\"}}\n";
    let proxy = Proxy::builder().provider("demo", spec).origin(&origin).start().await;
    proxy.agent().get(hosts[0], "/").await.assert_ok();
    assert_eq!(origin.last().headers_named("authorization"), [format!("token {}", proxy.canary())]);
    proxy.agent().get(hosts[1], "/").await.assert_ok();
    let pair = STANDARD.encode(format!("x-access-token:{}", proxy.canary()));
    assert_eq!(origin.last().headers_named("authorization"), [format!("Basic {pair}")]);
}

#[tokio::test]
async fn every_surface_works_over_h2_on_both_sides() {
    for (auth, header) in [("type: bearer", true), ("type: query, param: k", false)] {
        let world = World::with(Origin::builder(&[HOST]).h2(), &token(auth)).await;
        world.agent().h2(HOST).await.get("/x").await.assert_ok();
        let seen = world.origin.only();
        assert_eq!(seen.version, "HTTP/2.0");
        if header {
            world.assert_injected();
        } else {
            assert_eq!(seen.target, format!("/x?k={}", world.proxy.canary()));
        }
    }
}

#[tokio::test]
async fn a_plain_http_provider_is_served_only_because_it_says_so() {
    let origin = Origin::builder(&[HOST]).plain().start().await;
    let spec = format!("{}\ntls: {{mode: plain}}", token("type: bearer"));
    let proxy = Proxy::builder().provider("demo", &spec).route(HOST, 80, origin.address()).start().await;
    let agent = proxy.agent();
    let proof = agent.authorization().unwrap();
    let request =
        format!("GET http://{HOST}/x?y=1 HTTP/1.1\r\nHost: {HOST}\r\nProxy-Authorization: {proof}\r\n\r\n");
    agent.raw(request.as_bytes()).await.assert_ok();
    let seen = origin.only();
    assert_eq!((seen.target.as_str(), seen.authority.as_str()), ("/x?y=1", HOST));
    assert_eq!(seen.headers_named("authorization"), [format!("Bearer {}", proxy.canary())]);
    assert!(!seen.contains(proxy.token()));
    let mismatch = format!(
        "GET http://{HOST}/ HTTP/1.1\r\nHost: other.example.com\r\nProxy-Authorization: {proof}\r\n\r\n"
    );
    agent.raw(mismatch.as_bytes()).await.assert_refused(421, "DW2007");
}
