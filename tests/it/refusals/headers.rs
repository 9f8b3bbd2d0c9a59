//! Injection comes last: no header of the agent survives beside, instead of, or against the injected one.

use harness::agent::h2;
use harness::{Origin, Proxy};

use crate::world::{HOST, World, token};

async fn api_key() -> World {
    World::of(&token("type: header, header: X-Api-Key")).await
}

#[tokio::test]
async fn the_agents_own_copies_and_aliases_of_the_injected_header_are_removed() {
    let world = api_key().await;
    for headers in [
        "X-Api-Key: evil",
        "x-api-key: evil",
        "X-API-KEY: evil\nX-Api-Key: evil2",
        "X_Api_Key: evil",
        "X.Api.Key: evil",
        "x_api-key: evil\nX-api.Key: evil",
    ] {
        world.agent().ask(HOST, &format!("GET / HTTP/1.1\n{headers}")).await.assert_ok();
        let seen = world.origin.last();
        assert_eq!(seen.headers_named("x-api-key"), [world.proxy.canary()], "{headers}: {seen:#?}");
        assert!(!seen.contains("evil"), "{headers}: {seen:#?}");
    }
}

#[tokio::test]
async fn naming_the_injected_header_in_connection_does_not_remove_it() {
    let world = api_key().await;
    for headers in [
        "Connection: x-api-key",
        "Connection: keep-alive, X-Api-Key\nX-Api-Key: evil",
        "Connection: x_api_key\nX_Api_Key: evil",
        "Connection: x-custom, host\nX-Custom: evil",
    ] {
        world.agent().ask(HOST, &format!("GET / HTTP/1.1\n{headers}")).await.assert_ok();
        let seen = world.origin.last();
        assert_eq!(seen.headers_named("x-api-key"), [world.proxy.canary()], "{headers}: {seen:#?}");
        assert_eq!(seen.authority, HOST);
        assert!(!seen.contains("evil"), "{headers}: {seen:#?}");
    }
}

#[tokio::test]
async fn hop_by_hop_and_proxy_headers_never_go_upstream() {
    let world = World::bearer().await;
    let headers = "Proxy-Authorization: Basic evil\nProxy-Connection: keep-alive\nProxy-Evil: evil\nKeep-Alive: evil\n\
                   TE: trailers\nConnection: X-Named, TE\nX-Named: evil\nX-Kept: good";
    world.agent().ask(HOST, &format!("GET / HTTP/1.1\n{headers}")).await.assert_ok();
    let seen = world.origin.only();
    assert!(!seen.contains("evil"), "{seen:#?}");
    assert!(
        seen.headers.iter().all(|(name, _)| !name.starts_with("proxy-") && name != "keep-alive"),
        "{seen:#?}"
    );
    assert_eq!(seen.header("x-kept"), Some("good"));
    assert!(!seen.contains(world.proxy.token()));
}

#[tokio::test]
async fn override_and_forwarding_headers_are_removed_where_a_credential_goes() {
    let world = World::bearer().await;
    let names = [
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-Host",
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Real-IP",
    ];
    let headers: String = names.iter().map(|name| format!("{name}: evil\n")).collect();
    world.agent().ask(HOST, &format!("GET / HTTP/1.1\n{headers}")).await.assert_ok();
    let seen = world.origin.only();
    assert!(!seen.contains("evil"), "{seen:#?}");
}

#[tokio::test]
async fn duplicates_of_the_injected_header_are_removed_over_h2() {
    let world = World::bearer().await;
    let mut client = world.agent().h2(HOST).await;
    let request =
        client.request("GET", "/").header("authorization", "Bearer evil").header("authorization", "evil");
    client.send(request.body(h2::empty()).unwrap()).await.assert_ok();
    world.assert_injected();
    assert!(!world.origin.only().contains("evil"));
}

#[tokio::test]
async fn remove_headers_of_the_provider_are_removed() {
    let world = World::of(&token("type: bearer, removeHeaders: [X-Api-Key, X-Other]")).await;
    let headers = "X-Api-Key: evil\nx_api_key: evil\nX-Other: evil\nX-Third: good";
    world.agent().ask(HOST, &format!("GET / HTTP/1.1\n{headers}")).await.assert_ok();
    let seen = world.origin.only();
    assert!(!seen.contains("evil") && seen.header("x-third") == Some("good"), "{seen:#?}");
    world.assert_injected();
}

#[tokio::test]
async fn a_host_without_auth_gets_the_agents_own_headers_and_no_secret() {
    let origin = Origin::start(HOST).await;
    let spec = format!("type: http-token\nhost: {HOST}");
    let proxy = Proxy::builder().provider("open", &spec).origin(&origin).start().await;
    proxy.agent().ask(HOST, "GET / HTTP/1.1\nAuthorization: Bearer agents-own").await.assert_ok();
    let seen = origin.only();
    assert_eq!(seen.headers_named("authorization"), ["Bearer agents-own"]);
    assert!(!seen.contains(proxy.canary()));
}

#[tokio::test]
async fn nothing_that_tells_of_the_proxy_is_added_upstream() {
    let world = World::bearer().await;
    world.agent().ask(HOST, "GET / HTTP/1.1\nUser-Agent: probe\nAccept: */*").await.assert_ok();
    let seen = world.origin.only();
    let names: Vec<_> =
        seen.headers.iter().map(|(name, _)| name.as_str()).filter(|name| *name != "host").collect();
    for name in &names {
        assert!(
            ["user-agent", "accept", "authorization", "accept-encoding"].contains(name),
            "{name} was added: {seen:#?}"
        );
    }
}
