//! Renewals of a login: what is kept of them, and by whom.

use super::*;

#[tokio::test]
async fn a_renewal_keeps_both_tokens_and_a_second_start_uses_up_nothing() {
    let world = World::of(&ANTHROPIC).await;
    world.connect(&["anthropic", "--oauth"]).await.assert_ok();
    let grants = || world.vendor.get(|state| state.granted.clone());
    world.end_stored_token();
    let before = grants().len();
    let mut proxy = world.proxy("anthropic").await;
    let head = "x-api-key: own\nanthropic-beta: one-1,two-2";
    proxy.agent().post("api.anthropic.com", "/v1/messages", head, b"{}").await.assert_ok();
    let sent = world.vendor.origin.last();
    assert_eq!(sent.headers_named("anthropic-beta"), ["one-1,two-2, oauth-2025-04-20"]);
    assert_eq!(grants().len(), before + 1);
    world.watch(&mut proxy);
    drop(proxy);
    let proxy = world.proxy("anthropic").await;
    proxy.agent().post("api.anthropic.com", "/v1/messages", "", b"{}").await.assert_ok();
    assert_eq!(grants().len(), before + 1, "the kept token serves");
}

#[tokio::test]
async fn what_the_trial_renewed_is_what_is_kept() {
    let world = World::of(&ANTHROPIC).await;
    // So short that the trial has the token renewed: the first refresh token is void then.
    world.vendor.set(|state| state.life = Duration::from_secs(200));
    world.connect(&["anthropic", "--oauth"]).await.assert_ok();
    let grants = || world.vendor.get(|state| state.granted.clone());
    assert_eq!(grants(), ["authorization_code", "refresh_token"]);
    let proxy = world.proxy("anthropic").await;
    proxy.agent().post("api.anthropic.com", "/v1/messages", "", b"{}").await.assert_ok();
    assert_eq!((grants().len(), world.vendor.get(|state| state.refused)), (3, 0));
}

#[tokio::test]
async fn a_refresh_token_is_kept_though_no_token_came_with_it() {
    let world = World::of(&ANTHROPIC).await;
    world.connect(&["anthropic", "--oauth"]).await.assert_ok();
    world.end_stored_token();
    let proxy = world.proxy("anthropic").await;
    let next = canary::fresh();
    let answer = format!("{{\"refresh_token\":\"{next}\",\"access_token\":\"x\",\"token_type\":\"mac\"}}");
    world.vendor.set(|state| (state.fails, state.refresh_token) = (Some((200, answer)), next));
    let ask = async || proxy.agent().post("api.anthropic.com", "/v1/messages", "", b"{}").await;
    ask().await.assert_refused(502, "DW2010");
    world.vendor.set(|state| state.fails = None);
    until("the next token", SOON, async || ask().await.status == 200).await;
    assert_eq!(world.vendor.get(|state| state.refused), 0);
}

#[tokio::test]
async fn a_vendors_answer_may_leave_out_the_type_and_the_life_and_not_the_account() {
    for field in ["token_type", "expires_in"] {
        let world = World::of(&ANTHROPIC).await;
        world.vendor.set(|state| state.lacks = Some(field));
        world.connect(&["anthropic", "--oauth"]).await.assert_ok();
        world.end_stored_token();
        let proxy = world.proxy("anthropic").await;
        proxy.agent().post("api.anthropic.com", "/v1/messages", "", b"{}").await.assert_ok();
        assert_eq!(world.vendor.get(|state| (state.granted.len(), state.refused)), (2, 0), "{field}");
    }
    let world = World::of(&OPENAI).await;
    world.vendor.set(|state| state.lacks = Some("id_token"));
    let ran = world.connect(&["openai", "--oauth", "--device"]).await;
    ran.assert_fails(1, "the vendor's answer names no account");
    world.assert_nothing_kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_proxies_of_one_vault_show_no_used_refresh_token() {
    let world = World::of(&ANTHROPIC).await;
    world.connect(&["anthropic", "--oauth"]).await.assert_ok();
    world.end_stored_token();
    world.vendor.set(|state| state.slow = Duration::from_millis(700));
    let (one, two) = (world.proxy("anthropic").await, world.proxy("anthropic").await);
    let (one_agent, two_agent) = (one.agent(), two.agent());
    let (first, second) = tokio::join!(
        one_agent.post("api.anthropic.com", "/v1/messages", "", b"{}"),
        two_agent.post("api.anthropic.com", "/v1/messages", "", b"{}"),
    );
    first.assert_ok();
    second.assert_ok();
    assert_eq!(world.vendor.get(|state| (state.granted.len(), state.refused)), (2, 0));
}
