//! Refresh tokens that the issuer changes with each use: kept in the vault before the token is used, or refused.

use std::time::{Duration, Instant};

use harness::within::until;
use harness::{Home, Proxy, ProxyBuilder, canary};
use rustix::process::Signal;

use crate::issuer::{Issuer, LOGIN};
use crate::world::{HOST, OTHER};

const SOON: Duration = Duration::from_secs(5);

fn refresh(host: &str) -> String {
    format!(
        "type: http-token\nhost: {host}\nauth:\n  type: oauth2-refresh\n  secretRef: oauth\n  \
         tokenUrl: https://{LOGIN}/oauth/token"
    )
}

/// A vault with the issuer's current refresh token, bound to all hosts that it goes to.
fn vault(issuer: &Issuer) -> Home {
    let home = Home::keyed();
    store(&home, issuer, "add");
    home
}

fn store(home: &Home, issuer: &Issuer, verb: &str) {
    let (id, secret, token) = issuer
        .get(|state| (state.client_id.clone(), state.client_secret.clone(), state.refresh_token.clone()));
    let values = format!("client_id={id}\nclient_secret={secret}\nrefresh_token={token}\n");
    home.write("values.env", &values);
    let file = home.path("values.env");
    let hosts = format!("{HOST},{OTHER},{LOGIN}");
    let words =
        [verb, "secret", "oauth", "--from-env-file", file.to_str().unwrap(), "--hosts", hosts.as_str()];
    home.run(&words, "").assert_ok();
}

fn builder(issuer: &Issuer) -> ProxyBuilder {
    Proxy::builder().provider("demo", &refresh(HOST)).origin(&issuer.login).origin(&issuer.api)
}

fn watch_all(proxy: &mut Proxy, issuer: &Issuer) {
    issuer.secrets().iter().for_each(|secret| proxy.watch(secret));
}

#[tokio::test]
async fn a_read_only_source_is_refused_where_the_issuer_changes_the_refresh_token() {
    let issuer = Issuer::start().await;
    let given = |issuer: &Issuer| {
        let (id, secret, token) = issuer
            .get(|state| (state.client_id.clone(), state.client_secret.clone(), state.refresh_token.clone()));
        builder(issuer)
            .public_value("oauth", "client_id", &id)
            .secret("oauth", "client_secret", &secret)
            .secret("oauth", "refresh_token", &token)
    };
    let mut proxy = given(&issuer).start().await;
    proxy.agent().get(HOST, "/").await.assert_ok();
    watch_all(&mut proxy, &issuer);
    drop(proxy);
    issuer.set(|state| state.rotates = true);
    let mut proxy = given(&issuer).start().await;
    let seen = issuer.api.requests().len();
    for _ in 0..2 {
        let reply = proxy.agent().get(HOST, "/").await;
        assert_eq!((reply.status, reply.code().as_deref()), (503, Some("DW1004")), "{}", reply.text());
        assert!(reply.text().contains("cannot be written to: keep it in the vault"), "{}", reply.text());
    }
    // Asking again could only be told that the token is void.
    assert_eq!((issuer.asked(), issuer.api.requests().len()), (2, seen));
    watch_all(&mut proxy, &issuer);
}

#[tokio::test]
async fn kill_9_after_the_first_use_of_a_token_never_loses_the_refresh_token() {
    let issuer = Issuer::start().await;
    issuer.set(|state| state.rotates = true);
    let home = vault(&issuer);
    for round in 1..=4 {
        // The API holds its answer back: the proxy dies with the token in use.
        issuer.set(|state| state.api_takes = Duration::from_secs(30));
        let mut proxy = builder(&issuer).vault(&home).start().await;
        proxy.skip_chain();
        let (agent, before) = (proxy.agent(), issuer.api.requests().len());
        // Again where a busy machine let an exchange run into its limit: an answer that is refused comes at once.
        let asking = tokio::spawn(async move {
            loop {
                let mut tls = agent.tls(HOST).await;
                tls.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await;
                tls.read_reply("GET").await;
            }
        });
        issuer.api.wait_requests(before + 1).await;
        proxy.signal(Signal::KILL);
        proxy.ended(SOON).await;
        asking.abort();
        assert_eq!((issuer.asked(), issuer.get(|state| state.refused)), (round, 0));
        watch_all(&mut proxy, &issuer);
    }
    issuer.set(|state| state.api_takes = Duration::ZERO);
    let proxy = builder(&issuer).vault(&home).start().await;
    proxy.agent().get(HOST, "/").await.assert_ok();
    assert_eq!(issuer.get(|state| state.refused), 0);
}

#[tokio::test]
async fn a_proxy_that_stops_ends_an_exchange_first() {
    let issuer = Issuer::start().await;
    issuer.set(|state| (state.rotates, state.life) = (true, Duration::from_secs(3)));
    let home = vault(&issuer);
    let mut proxy = builder(&issuer).vault(&home).drain("10s").start().await;
    let start = Instant::now();
    proxy.agent().get(HOST, "/").await.assert_ok();
    issuer.set(|state| state.takes = Duration::from_millis(1500));
    // Past 80 % of its life the next request begins a renewal that nobody waits for.
    while start.elapsed() < Duration::from_millis(2450) {
        harness::within::pause().await;
    }
    proxy.agent().get(HOST, "/").await.assert_ok();
    issuer.login.wait_requests(2).await;
    proxy.signal(Signal::TERM);
    assert!(proxy.ended(Duration::from_secs(10)).await.success());
    watch_all(&mut proxy, &issuer);
    drop(proxy);
    let mut proxy = builder(&issuer).vault(&home).start().await;
    proxy.agent().get(HOST, "/").await.assert_ok();
    assert_eq!(issuer.get(|state| (state.refused, state.asked)), (0, 3));
    watch_all(&mut proxy, &issuer);
}

#[tokio::test]
async fn what_the_proxy_kept_itself_is_no_rotation_and_two_providers_do_not_spoil_it_for_each_other() {
    let issuer = Issuer::start().await;
    issuer.set(|state| state.rotates = true);
    let home = vault(&issuer);
    let mut proxy = builder(&issuer)
        .vault(&home)
        .provider("second", &refresh(OTHER))
        .route(OTHER, 443, issuer.second.address())
        .start()
        .await;
    let start = Instant::now();
    let (one, two) = (proxy.agent(), proxy.agent());
    let (first, second) = tokio::join!(one.get(HOST, "/"), two.get(OTHER, "/"));
    first.assert_ok();
    second.assert_ok();
    // The vault changed twice, and the proxy has seen it.
    let reloads = || proxy.audit().lines().iter().filter(|line| line["reason"] == "reloaded").count();
    while start.elapsed() < Duration::from_secs(2) {
        proxy.agent().get(HOST, "/").await.assert_ok();
        proxy.agent().get(OTHER, "/").await.assert_ok();
    }
    assert_eq!((issuer.asked(), issuer.get(|state| state.refused), reloads()), (2, 0, 0));
    // A person's change is one.
    issuer.set(|state| state.refresh_token = canary::fresh());
    store(&home, &issuer, "rotate");
    until("an exchange of the new value", SOON, async || {
        proxy.agent().get(HOST, "/").await;
        issuer.asked() > 2
    })
    .await;
    until("the new token", SOON, async || proxy.agent().get(HOST, "/").await.status == 200).await;
    assert_eq!(issuer.get(|state| state.refused), 0);
    watch_all(&mut proxy, &issuer);
}
