//! `onAgentCredential`: what happens to a credential, or a dummy, that the agent brings.

use crate::world::{HOST, World, token};

const DUMMY: &str = "ghp_dw0dummyDUMMY0123456789abcdefghijkl";

async fn mode(mode: &str) -> World {
    World::of(&token(&format!("type: bearer, placeholder: {DUMMY}, onAgentCredential: {mode}"))).await
}

#[tokio::test]
async fn placeholder_only_injects_nothing_for_an_agent_with_its_own_credential() {
    let world = mode("placeholder-only").await;
    world.agent().ask(HOST, "GET / HTTP/1.1\nAuthorization: Bearer own").await.assert_ok();
    assert_eq!(world.origin.last().headers_named("authorization"), ["Bearer own"]);
    world.agent().get(HOST, "/none").await.assert_ok();
    assert!(world.origin.last().headers_named("authorization").is_empty());
    assert!(!world.origin.requests().iter().any(|seen| seen.contains(world.proxy.canary())));
}

#[tokio::test]
async fn placeholder_only_injects_for_our_dummy() {
    let world = mode("placeholder-only").await;
    world.agent().ask(HOST, &format!("GET / HTTP/1.1\nAuthorization: Bearer {DUMMY}")).await.assert_ok();
    world.assert_injected();
}

#[tokio::test]
async fn reject_refuses_its_own_credential_and_takes_the_dummy_or_nothing() {
    let world = mode("reject").await;
    let reply = world.agent().ask(HOST, "GET / HTTP/1.1\nAuthorization: Bearer own").await;
    assert_eq!(reply.code().as_deref(), Some("DW1008"), "{}", reply.text());
    world.assert_nothing_left();
    world.agent().ask(HOST, &format!("GET / HTTP/1.1\nAuthorization: Bearer {DUMMY}")).await.assert_ok();
    world.assert_injected();
    world.agent().get(HOST, "/").await.assert_ok();
    world.assert_injected();
}

#[tokio::test]
async fn replace_is_the_default_and_replaces_anything() {
    for world in
        [mode("replace").await, World::of(&token(&format!("type: bearer, placeholder: {DUMMY}"))).await]
    {
        for own in ["Bearer own", "Basic b3duOm93bg==", &format!("Bearer {DUMMY}"), DUMMY] {
            world.agent().ask(HOST, &format!("GET / HTTP/1.1\nAuthorization: {own}")).await.assert_ok();
            world.assert_injected();
        }
    }
}
