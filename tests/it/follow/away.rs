//! The server goes away and comes back; the sidecar's disk cannot be written.

use harness::balancer::Balancer;
use harness::within::until;
use harness::{Origin, Server};

use super::team::{Following, SOON, Team};
use crate::world::HOST;

/// A sidecar of `coder` that reaches the server by the balancer.
async fn via(team: &Team, balancer: &Balancer, origin: &Origin) -> Following {
    let ca = team.server.ca().to_str().unwrap();
    Following::start(team, team.sidecar(&balancer.url(), ca, &team.token).origin(origin)).await
}

#[tokio::test]
async fn a_killed_server_is_found_again_and_nothing_waits_for_the_connection_that_was() {
    let mut team = Team::new().await;
    let balancer = Balancer::before(&[&team.server]).await;
    let origin = Origin::start(HOST).await;
    let sidecar = via(&team, &balancer, &origin).await;
    sidecar.shows(&origin, HOST, &team.value).await;
    team.server.kill();
    until("the loss to be seen", SOON, async || {
        sidecar.proxy.admin_get("/readyz?verbose").1.contains("[-] control: not connected")
    })
    .await;
    sidecar.agent().get(HOST, "/").await.assert_ok();
    assert_eq!(sidecar.proxy.admin_get("/readyz").0, 200, "the last snapshot serves");
    team.server.again(Server::setup()).await;
    balancer.to(&[&team.server]);
    let fresh = team.rotate("pat").await;
    sidecar.shows(&origin, HOST, &fresh).await;
    let synced = async || team.attachments("coder").await.iter().all(|one| one["synced"] == true);
    until("the acknowledgement", SOON, synced).await;
}

#[tokio::test]
async fn a_rotated_token_takes_over_when_its_file_is_replaced() {
    let mut team = Team::new().await;
    let origin = Origin::start(HOST).await;
    let file = team.server.path("token-of-coder");
    harness::proxy::build::put(&file, &team.token);
    let sidecar = harness::Proxy::builder().no_token().without_secrets().arg("--control");
    let sidecar = sidecar.arg(team.server.url()).arg("--control-ca").arg(team.server.ca().to_str().unwrap());
    let sidecar = sidecar.arg("--control-token-file").arg(file.to_str().unwrap()).origin(&origin);
    let mut sidecar = Following::start(&team, sidecar).await;
    sidecar.shows(&origin, HOST, &team.value).await;
    let path = super::team::of("agents/coder/rotate");
    let rotated = team.server.change("POST", &path, "*", Some(serde_json::json!({}))).await;
    team.token = rotated.is(200).json()["token"].as_str().unwrap().to_owned();
    team.server.watch(&team.token);
    sidecar.proxy.watch(&team.token);
    harness::proxy::build::put(&file, &team.token);
    let before = sidecar.token.clone();
    until("the agent's own token to follow", SOON, async || {
        // Between the end of the old token and the new one's beginning there is no agent.
        let env = sidecar.proxy.agent_env_now().unwrap_or_default();
        let url = env.iter().find(|(name, _)| name == "https_proxy");
        url.is_some_and(|(_, url)| url.contains("dwp_") && !url.contains(&before))
    })
    .await;
    let sidecar = sidecar.renamed();
    let fresh = team.rotate("pat").await;
    sidecar.shows(&origin, HOST, &fresh).await;
}

#[tokio::test]
async fn a_sidecar_whose_whole_file_system_can_only_be_read_serves_and_follows() {
    let team = Team::new().await;
    let origin = Origin::start(HOST).await;
    // A mount namespace of its own: all of it read-only but the folder that the harness looks into.
    let script = r#"exec unshare -rm sh -c 'mount --bind "$HOME" "$HOME" && mount -o remount,bind,ro / &&
        if touch /doorward-probe 2>/dev/null; then exit 9; fi; exec "$@"' sh "$@""#;
    let ca = team.server.ca().to_str().unwrap();
    let sidecar = team.sidecar(team.server.url(), ca, &team.token).shell(script).audit_to("-");
    let sidecar = Following::start(&team, sidecar.env("PATH", "/usr/bin:/bin").origin(&origin)).await;
    sidecar.shows(&origin, HOST, &team.value).await;
    let fresh = team.rotate("pat").await;
    sidecar.shows(&origin, HOST, &fresh).await;
}

#[tokio::test]
async fn a_server_serves_more_connections_than_a_shell_allows_files() {
    let server = Server::setup().shell("ulimit -S -n 64; exec \"$@\"").start().await;
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(tokio::net::TcpStream::connect(server.address()).await.unwrap());
    }
    server.get("/v1/projects").await.is(200);
}
