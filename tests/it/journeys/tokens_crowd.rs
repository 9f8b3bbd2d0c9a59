//! A thousand requests that wait for one token: whatever its issuer does, it is asked as often as it has to be and no more.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use harness::within::{DEADLINE, until};
use harness::{Home, Proxy, ProxyBuilder, Reply};

use crate::issuer::{Issuer, LOGIN};
use crate::world::HOST;

/// So many connections, each with as many streams as the proxy lets one have.
const CONNECTIONS: usize = 10;
const STREAMS: usize = 100;

fn spec(kind: &str) -> String {
    format!(
        "type: http-token\nhost: {HOST}\nauth:\n  type: {kind}\n  secretRef: oauth\n  tokenUrl: https://{LOGIN}/oauth/token"
    )
}

/// A proxy that lets one agent have a thousand requests in flight, and them wait as long as it takes.
fn roomy(issuer: &Issuer, kind: &str) -> ProxyBuilder {
    let builder = Proxy::builder().provider("demo", &spec(kind)).origin(&issuer.login).origin(&issuer.api);
    let builder = builder.limit("agent-requests", "1000").limit("upstream-in-flight", "1000");
    builder.limit("upstream-wait", "10m").limit("token-exchange", "10m").arg("--workers").arg("4")
}

async fn client_credentials(issuer: &Issuer) -> Proxy {
    let (id, secret) = issuer.get(|state| (state.client_id.clone(), state.client_secret.clone()));
    let builder = roomy(issuer, "oauth2-client-credentials").public_value("oauth", "client_id", &id);
    builder.secret("oauth", "client_secret", &secret).start().await
}

async fn thousand(proxy: &Proxy) -> Vec<Reply> {
    let clients = join_all((0..CONNECTIONS).map(|_| async { proxy.agent().h2(HOST).await })).await;
    let replies = join_all(clients.iter().map(|client| client.crowd("/", STREAMS))).await;
    let replies: Vec<Reply> = replies.into_iter().flatten().collect();
    assert_eq!(replies.len(), 1000);
    replies
}

#[track_caller]
fn assert_all_ok(replies: &[Reply]) {
    for reply in replies {
        reply.assert_ok();
    }
}

/// Has everything that the issuer gave out searched for when the proxy ends.
fn watch_all(proxy: &mut Proxy, issuer: &Issuer) {
    issuer.secrets().iter().for_each(|secret| proxy.watch(secret));
}

#[tokio::test]
async fn an_issuer_that_fails_is_asked_once_and_each_of_a_thousand_is_told() {
    let issuer = Issuer::start().await;
    // It says when to come again, so that how long the thousand take does not count.
    issuer.set(|state| state.fails = Some((503, vec![("retry-after".to_owned(), "290".to_owned())])));
    let mut proxy = client_credentials(&issuer).await;
    for reply in thousand(&proxy).await {
        reply.assert_refused(503, "DW1005");
    }
    assert_eq!(issuer.asked(), 1);
    assert!(issuer.api.requests().is_empty(), "requests without a token went on");
    watch_all(&mut proxy, &issuer);
}

#[tokio::test]
async fn a_slow_issuer_is_asked_once_for_a_thousand() {
    let issuer = Issuer::start().await;
    issuer.set(|state| state.takes = Duration::from_secs(2));
    let mut proxy = client_credentials(&issuer).await;
    assert_all_ok(&thousand(&proxy).await);
    assert_eq!((issuer.asked(), issuer.get(|state| state.issued.len())), (1, 1));
    assert_eq!(issuer.api.requests().len(), 1000);
    let exchanges = proxy.audit().lines().iter().filter(|line| line["kind"] == "exchange").count();
    assert_eq!(exchanges, 1);
    watch_all(&mut proxy, &issuer);
}

#[tokio::test]
async fn an_issuer_that_changes_its_refresh_token_gets_the_newest_once_for_each_thousand() {
    let issuer = Issuer::start().await;
    issuer.set(|state| state.rotates = true);
    let home = Home::keyed();
    let (id, secret, token) = issuer
        .get(|state| (state.client_id.clone(), state.client_secret.clone(), state.refresh_token.clone()));
    home.write("values.env", &format!("client_id={id}\nclient_secret={secret}\nrefresh_token={token}\n"));
    let file = home.path("values.env");
    let words = ["add", "secret", "oauth", "--from-env-file", file.to_str().unwrap()];
    home.run(&[&words[..], &["--hosts", &format!("{HOST},{LOGIN}")]].concat(), "").assert_ok();
    for round in 1..=3 {
        // Each proxy begins without a token, and with what the one before it kept.
        let mut proxy = roomy(&issuer, "oauth2-refresh").vault(&home).start().await;
        assert_all_ok(&thousand(&proxy).await);
        assert_eq!((issuer.asked(), issuer.get(|state| state.refused)), (round, 0));
        watch_all(&mut proxy, &issuer);
    }
}

#[tokio::test]
async fn a_token_that_the_issuer_revoked_is_renewed_once_for_a_thousand_that_were_not_taken() {
    let issuer = Issuer::start().await;
    // A token is not doubted in the first tenth of its life.
    issuer.set(|state| state.life = Duration::from_secs(200));
    let mut proxy = client_credentials(&issuer).await;
    assert_all_ok(&thousand(&proxy).await);
    assert_eq!(issuer.asked(), 1);
    issuer.set(|state| state.issued[0].1 = Instant::now());
    let replies = thousand(&proxy).await;
    assert!(replies.iter().all(|reply| [200, 401].contains(&reply.status)), "{:?}", replies[0]);
    until("another token", DEADLINE, async || proxy.agent().get(HOST, "/").await.status == 200).await;
    assert_eq!(issuer.asked(), 2);
    assert_all_ok(&thousand(&proxy).await);
    assert_eq!((issuer.asked(), issuer.get(|state| state.issued.len())), (2, 2));
    watch_all(&mut proxy, &issuer);
}
