//! Sidecars that show no token of their agent's: the ServiceAccounts of a cluster, and the certificates of an authority.
//!
//! The cluster reviews tokens over real TLS; certificates are made for each test. Nobody is let in whom the agent's identities do
//! not name, and who is let in gets the agent's secrets as far as the origin.

use std::path::PathBuf;

use harness::ca::{Svid, TestCa};
use harness::cluster::{AUDIENCE, Cluster};
use harness::within::until;
use harness::{Origin, Proxy, ProxyBuilder, Server, canary};
use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};
use serde_json::{Value, json};
use time::Duration;

use super::team::{AUTHORITY, Following, PROJECT, SOON, Team, of};
use crate::world::HOST;

const ACCOUNT: &str = "system:serviceaccount:team-a:coder";
const ID: &str = "spiffe://example.org/ns/team-a/coder";
/// A key of no low order.
const KEY: &str = "CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

pub(super) struct World {
    pub(super) team: Team,
    cluster: Cluster,
    own: PathBuf,
}

impl World {
    pub(super) async fn new() -> Self {
        let cluster = Cluster::start().await;
        let folder = tempfile::tempdir().unwrap().keep();
        let own = folder.join("token");
        harness::proxy::build::put(&own, &cluster.set(|state| state.own.clone()));
        let ca = folder.join("ca.pem");
        harness::proxy::build::put(&ca, TestCa::world().pem());
        let url = cluster.url();
        let flags =
            ["--kubernetes-api", &url, "--kubernetes-ca", ca.to_str().unwrap(), "--kubernetes-token-file"];
        let server = Server::setup().flags(&flags).flags(&[own.to_str().unwrap()]).start().await;
        let team = Team::on(server).await;
        team.server.watch(&cluster.set(|state| state.own.clone()));
        identify(&team, "coder", &[ACCOUNT]).await;
        Self { team, cluster, own }
    }

    /// A good token of the agent's ServiceAccount; it must be seen nowhere.
    pub(super) fn token(&self, seconds: i64) -> String {
        let token = self.cluster.token("team-a", "coder", AUDIENCE, seconds);
        self.team.server.watch(&token);
        token
    }

    /// Status and code of a call by this token, which acknowledges nothing.
    async fn call(&self, token: &str) -> (u16, String) {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("doorward-seal-key", KEY)];
        let answer = self.team.server.send("POST", "/v1/sync/ack", &headers, br#"{"revision":0}"#).await;
        (answer.status, answer.code())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        std::fs::remove_dir_all(self.own.parent().unwrap()).ok();
    }
}

async fn identify(team: &Team, agent: &str, identities: &[&str]) {
    let body = json!({"identities": identities});
    let path = of(&format!("agents/{agent}/identities"));
    team.server.change("PUT", &path, "*", Some(body)).await.is(200);
}

fn sidecar(team: &Team) -> ProxyBuilder {
    let sidecar = Proxy::builder().no_token().without_secrets().arg("--control").arg(team.server.url());
    sidecar.arg("--control-ca").arg(team.server.ca().to_str().unwrap())
}

/// The sidecar that shows what this file holds.
async fn by_token(team: &Team, file: &std::path::Path, origin: &Origin) -> Following {
    let sidecar = sidecar(team).arg("--control-token-file").arg(file.to_str().unwrap());
    Following::start(team, sidecar.origin(origin)).await
}

fn refused() -> (u16, String) {
    (401, "DW6004".to_owned())
}

#[tokio::test]
async fn refuses_every_service_account_that_is_not_the_agents_now() {
    let world = World::new().await;
    let good = world.token(600);
    assert_eq!(world.call(&good).await.0, 204);
    let cluster = &world.cluster;
    let elsewhere = cluster.token("team-a", "coder", "https://kubernetes.default.svc", 600);
    let taken = world.token(600);
    cluster.take_back(&taken);
    let (head, rest) = good.split_once('.').unwrap();
    for (token, why) in [
        (elsewhere.clone(), "it is meant for another audience"),
        (taken, "it was taken back"),
        (world.token(-1), "it is over"),
        (cluster.token("team-b", "coder", AUDIENCE, 600), "another namespace"),
        (cluster.token("team-a", "other", AUDIENCE, 600), "another account"),
        (cluster.token_of("system:node:coder", AUDIENCE, 600), "no ServiceAccount"),
        (cluster.token_of("system:serviceaccount:team-a:coder:x", AUDIENCE, 600), "no ServiceAccount's name"),
        (cluster.token_of(ID, AUDIENCE, 600), "an identity of another kind"),
        (format!("{good}A"), "another signature"),
        (format!("{head}.e30.{}", rest.split_once('.').unwrap().1), "no end"),
        (format!("{head}.{rest}.x"), "no token at all"),
    ] {
        assert_eq!(world.call(&token).await, refused(), "{why}");
    }
    // What is over is not even asked about.
    let asked = cluster.set(|state| state.asked);
    world.call(&world.token(-1)).await;
    assert_eq!(cluster.set(|state| state.asked), asked);
    // An API server that says yes for itself, or for somebody, and not for us.
    cluster.set(|state| state.is_old = true);
    assert_eq!(world.call(&elsewhere).await, refused());
    cluster.set(|state| state.is_old = false);
    let forges: [fn(&mut Value); 4] = [
        |answer| answer["status"]["audiences"] = json!(["other"]),
        |answer| answer["status"]["authenticated"] = json!(false),
        |answer| answer["status"]["error"] = json!("no"),
        |answer| answer["status"]["user"]["username"] = json!("system:serviceaccount:team-b:coder"),
    ];
    for forge in forges {
        cluster.set(|state| state.forge = Some(forge));
        assert_eq!(world.call(&world.token(600)).await, refused());
    }
}

#[tokio::test]
async fn a_token_of_a_service_account_opens_nothing_but_sync_and_only_where_it_is_reviewed() {
    let world = World::new().await;
    let token = world.token(600);
    let server = &world.team.server;
    for path in [of("secrets"), "/v1/projects".to_owned()] {
        server.call_as(&token, "GET", &path, None).await.refused(403, "DW6006");
    }
    let bearer = format!("Bearer {token}");
    let both = format!("Bearer {}", world.team.token);
    let headers =
        [("authorization", bearer.as_str()), ("authorization", both.as_str()), ("doorward-seal-key", KEY)];
    let answer = server.send("POST", "/v1/sync/ack", &headers, br#"{"revision":0}"#).await;
    assert_eq!((answer.status, answer.code().as_str()), (401, "DW6004"));
    let bare = Server::start().await;
    let headers = [("authorization", bearer.as_str()), ("doorward-seal-key", KEY)];
    let answer = bare.send("POST", "/v1/sync/ack", &headers, br#"{"revision":0}"#).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "DW6006"));
}

#[tokio::test]
async fn dw6032_nobody_is_let_in_while_the_cluster_gives_no_review() {
    let world = World::new().await;
    let kept = world.token(600);
    assert_eq!(world.call(&kept).await.0, 204);
    let unavailable = (503, "DW6032".to_owned());
    let forges: [fn(&mut Value); 3] = [
        |answer| answer["status"] = Value::Null,
        |answer| answer["kind"] = json!("SubjectAccessReview"),
        |answer| *answer = json!([]),
    ];
    for forge in forges {
        world.cluster.set(|state| state.forge = Some(forge));
        assert_eq!(world.call(&world.token(600)).await, unavailable);
    }
    world.cluster.set(|state| state.forge = None);
    harness::proxy::build::put(&world.own, "replaced");
    assert_eq!(world.call(&world.token(600)).await, unavailable);
    // The kubelet has replaced our own token: it is read anew.
    world.cluster.set(|state| state.own = "replaced".to_owned());
    assert_eq!(world.call(&world.token(600)).await.0, 204);
    world.cluster.set(|state| state.is_broken = true);
    assert_eq!(world.call(&world.token(600)).await, unavailable);
    let log = world.team.server.log();
    assert!(log.contains("the Kubernetes API refuses the server's question"), "{log}");
}

#[tokio::test]
async fn a_good_review_is_kept_and_never_longer_than_the_token_lives_or_the_identity_is_bound() {
    let world = World::new().await;
    let token = world.token(600);
    let asked = || world.cluster.set(|state| state.asked);
    for _ in 0..5 {
        assert_eq!(world.call(&token).await.0, 204);
    }
    assert_eq!(asked(), 1);
    identify(&world.team, "coder", &[]).await;
    assert_eq!(world.call(&token).await, refused());
    identify(&world.team, "coder", &[ACCOUNT]).await;
    let short = world.token(4);
    until("the token to end", SOON, async || world.call(&short).await == refused()).await;
}

#[tokio::test]
async fn an_identity_is_one_agents_and_given_by_those_who_may_manage_secrets() {
    let world = World::new().await;
    let server = &world.team.server;
    server.project("team-b").await;
    let made = json!({"name": "other", "identities": [ID]});
    server.post("/v1/projects/team-b/agents", made.clone()).await.is(201);
    for identity in [ACCOUNT, ID] {
        let body = json!({"name": "thief", "identities": [identity]});
        server.post("/v1/projects/team-b/agents", body).await.refused(409, "DW6009");
        let taken = server.get("/v1/projects/team-b/agents/thief").await;
        taken.refused(404, "DW6007");
    }
    let both = Some(json!({"identities": [ACCOUNT, ID]}));
    let path = of("agents/coder/identities");
    server.change("PUT", &path, "*", both).await.refused(409, "DW6009");
    let after = server.get(&of("agents/coder")).await;
    assert_eq!(after.json()["identities"], json!([ACCOUNT]));
    for (identities, told) in [
        (json!(["spiffe://example.org"]), "entry #1"),
        (json!([ACCOUNT, ACCOUNT]), "entry #2"),
        (json!((0..17).map(|n| format!("spiffe://a/{n}")).collect::<Vec<_>>()), "at most 16"),
    ] {
        let refused = server.change("PUT", &path, "*", Some(json!({"identities": identities}))).await;
        assert!(refused.refused(422, "DW6016").json()["detail"].as_str().unwrap().contains(told));
    }
    server.change("PUT", &path, "\"v1\"", Some(json!({"identities": []}))).await.refused(412, "DW6010");
    // Who may not be shown a sidecar's token says of nobody that he is one.
    let developer = server.token(Some(PROJECT), "developer").await;
    let any = [("if-match", "*")];
    let body = json!({"identities": ["spiffe://example.org/mine"]});
    server.call_with(&developer, "PUT", &path, &any, Some(&body)).await.refused(403, "DW6005");
    let body = json!({"name": "mine", "identities": ["spiffe://example.org/mine"]});
    server.call_as(&developer, "POST", &of("agents"), Some(&body)).await.refused(403, "DW6005");
    // Nor does it outlive who says so.
    let body = json!({"name": "brief", "role": "manager", "expires": "2099-01-01T00:00:00Z"});
    let made = server.post(&of("tokens"), body).await;
    let brief = made.is(201).json()["token"].as_str().unwrap().to_owned();
    let body = json!({"identities": [ACCOUNT, "spiffe://example.org/mine"]});
    server.call_with(&brief, "PUT", &path, &any, Some(&body)).await.refused(403, "DW6005");
    let fewer = json!({"identities": []});
    server.call_with(&brief, "PUT", &path, &any, Some(&fewer)).await.is(200);
    let body = json!({"name": "brief", "identities": ["spiffe://example.org/mine"]});
    server.call_as(&brief, "POST", &of("agents"), Some(&body)).await.is(201);
    // The record says whose.
    let records = server.get(&of("audit?limit=200")).await;
    assert!(String::from_utf8_lossy(&records.body).contains("identities: spiffe://example.org/mine"));
}

#[tokio::test]
async fn a_service_accounts_sidecar_gets_its_secret_through_renewals_of_its_token_until_its_identity_is_taken()
 {
    let world = World::new().await;
    let (team, cluster) = (&world.team, &world.cluster);
    let origin = Origin::start(HOST).await;
    let file = team.server.path("projected");
    let first = world.token(3600);
    harness::proxy::build::put(&file, &first);
    let mut sidecar = by_token(team, &file, &origin).await;
    sidecar.proxy.watch(&first);
    assert!(sidecar.token.starts_with("dwp_"), "{}", sidecar.token);
    sidecar.shows(&origin, HOST, &team.value).await;
    // The kubelet puts the next one in its place, and the first is good no more.
    let second = world.token(3600);
    sidecar.proxy.watch(&second);
    harness::proxy::build::put(&file, &second);
    until("the next token to be shown", SOON, async || connections(&sidecar) == 2).await;
    cluster.take_back(&first);
    // Nothing was lost: the agent's own token is the same, and what changes still arrives.
    let fresh = team.rotate("pat").await;
    sidecar.shows(&origin, HOST, &fresh).await;
    let (_, ready) = sidecar.proxy.admin_get("/readyz?verbose");
    assert!(ready.contains("[+] control: connected"), "{ready}");
    identify(team, "coder", &[]).await;
    until("the agent's token to end", SOON, async || sidecar.agent().connect(AUTHORITY).await.status == 407)
        .await;
    identify(team, "coder", &[ACCOUNT]).await;
    until("the identity to count again", SOON, async || {
        sidecar.agent().connect(AUTHORITY).await.status == 200
    })
    .await;
    sidecar.shows(&origin, HOST, &fresh).await;
    team.revoke("coder").await;
    until("the agent's token to end", SOON, async || sidecar.agent().connect(AUTHORITY).await.status == 407)
        .await;
}

/// Shows something short-lived, made by `put`, in the place of what lives long, and waits until nothing is let through any more.
/// On a machine that is too slow to show it in its life it is tried again with a longer one.
async fn ends_with_what_was_shown(sidecar: &Following, put: impl Fn(i64), is_over: impl AsyncFn() -> bool) {
    for life in [10, 40, 160] {
        let before = connections(sidecar);
        put(life);
        until("something else to be shown", SOON, async || connections(sidecar) > before || is_over().await)
            .await;
        if connections(sidecar) > before {
            until("the end of what was shown", SOON + SOON + SOON, is_over).await;
            return;
        }
        put(3600);
        until("what lives long to be shown", SOON, async || connections(sidecar) > before).await;
    }
    panic!("what lives for minutes is not shown in time");
}

#[tokio::test]
#[ignore = "wants the machine for itself: a step of .ci/run, or cargo test -p doorward-tests --test it -- --ignored follow::identity"]
async fn a_stream_ends_with_the_token_that_opened_it() {
    let world = World::new().await;
    let origin = Origin::start(HOST).await;
    let file = world.team.server.path("projected");
    let put = |life| harness::proxy::build::put(&file, &world.token(life));
    put(3600);
    let sidecar = by_token(&world.team, &file, &origin).await;
    sidecar.shows(&origin, HOST, &world.team.value).await;
    let is_over = async || sidecar.agent().connect(AUTHORITY).await.status == 407;
    ends_with_what_was_shown(&sidecar, put, is_over).await;
    assert_eq!(sidecar.proxy.admin_get("/readyz").0, 503);
}

/// A team whose server takes certificates of this authority.
struct Certified {
    team: Team,
    ca: TestCa,
    file: PathBuf,
}

impl Certified {
    async fn new() -> Self {
        let ca = TestCa::named("workloads");
        let file = tempfile::tempdir().unwrap().keep().join("bundle.pem");
        harness::proxy::build::put(&file, ca.pem());
        let server = Server::setup().flags(&["--client-ca", file.to_str().unwrap()]).start().await;
        let team = Team::on(server).await;
        identify(&team, "coder", &[ID]).await;
        Self { team, ca, file }
    }

    fn svid(&self) -> Svid {
        self.ca.svid(&[ID], Duration::hours(1))
    }

    async fn call(&self, svid: &Svid) -> Result<(u16, String), String> {
        let headers = [("doorward-seal-key", KEY)];
        let server = &self.team.server;
        let answer =
            server.send_certified(svid, "POST", "/v1/sync/ack", &headers, br#"{"revision":0}"#).await?;
        Ok((answer.status, answer.code()))
    }

    /// The certificate and its key as files, the key first as SPIRE's helper writes it or last.
    fn put(&self, svid: &Svid) -> [String; 2] {
        let files = ["svid.pem", "svid.key"].map(|name| self.team.server.path(name));
        harness::proxy::build::put(&files[1], &svid.key);
        harness::proxy::build::put(&files[0], &svid.certificate);
        files.map(|file| file.to_str().unwrap().to_owned())
    }
}

impl Drop for Certified {
    fn drop(&mut self) {
        std::fs::remove_dir_all(self.file.parent().unwrap()).ok();
    }
}

#[tokio::test]
async fn refuses_certificates_that_are_no_svid_of_the_authority_or_no_agents() {
    let world = Certified::new().await;
    let ca = &world.ca;
    assert_eq!(world.call(&world.svid()).await, Ok((204, String::new())));
    let hour = Duration::hours(1);
    for (svid, why) in [
        (TestCa::named("workloads").svid(&[ID], hour), "of another authority"),
        (ca.svid(&[ID, "spiffe://example.org/other"], hour), "two URIs"),
        (ca.svid(&[ID, "https://example.org/"], hour), "a URI beside it"),
        (ca.svid(&[], hour), "no URI"),
        (ca.svid(&["https://example.org/a"], hour), "no SPIFFE id"),
        (ca.svid(&["spiffe://example.org"], hour), "a trust domain's"),
        (ca.svid(&["spiffe://Example.org/ns/team-a/coder"], hour), "another spelling"),
        (ca.svid(&[ID], Duration::minutes(-1)), "over"),
        (
            ca.svid_with(&[ID], hour, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            "an authority's",
        ),
        (
            ca.svid_with(&[ID], hour, |params| params.key_usages.push(KeyUsagePurpose::KeyCertSign)),
            "may sign certificates",
        ),
        (
            ca.svid_with(&[ID], hour, |params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]
            }),
            "no client's",
        ),
    ] {
        let refused = world.call(&svid).await;
        assert!(refused.is_err(), "{why}: {refused:?}");
    }
    for (uri, why) in [
        ("spiffe://example.org/ns/team-a/other", "nobody's"),
        ("spiffe://example.com/ns/team-a/coder", "of another trust domain"),
    ] {
        assert_eq!(world.call(&ca.svid(&[uri], hour)).await, Ok(refused()), "{why}");
    }
}

#[tokio::test]
async fn a_certificate_opens_nothing_but_sync_and_nothing_beside_a_token() {
    let world = Certified::new().await;
    let (server, svid) = (&world.team.server, world.svid());
    for path in [of("secrets"), "/v1/projects".to_owned(), "/v1/can-i".to_owned()] {
        let answer = server.send_certified(&svid, "GET", &path, &[], b"").await.unwrap();
        answer.refused(401, "DW6004");
    }
    let bearer = format!("Bearer {}", world.team.token);
    let headers = [("authorization", bearer.as_str()), ("doorward-seal-key", KEY)];
    let answer = server.send_certified(&svid, "POST", "/v1/sync/ack", &headers, br#"{"revision":0}"#).await;
    assert_eq!(answer.unwrap().status, 401);
    // Beside it a token of the API is what it is everywhere.
    let root = format!("Bearer {}", server.root());
    let answer = server.send_certified(&svid, "GET", &of("secrets"), &[("authorization", &root)], b"").await;
    answer.unwrap().is(200);
    // The certificate of an agent of another project is that agent's.
    server.project("team-b").await;
    let theirs = "spiffe://example.org/ns/team-b/coder";
    server.post("/v1/projects/team-b/agents", json!({"name": "coder", "identities": [theirs]})).await.is(201);
    let headers = [("doorward-seal-key", KEY)];
    let body = json!({"source": "0123456789abcdef", "behind": null, "lines": []}).to_string();
    let theirs = world.ca.svid(&[theirs], Duration::hours(1));
    let answer = server.send_certified(&theirs, "POST", "/v1/sync/audit", &headers, body.as_bytes()).await;
    assert!(answer.unwrap().status != 401);
    assert!(server.get(&of("agents/coder")).await.json()["seen"].is_null());
}

#[tokio::test]
async fn a_sidecar_gets_its_secret_by_its_certificate_through_its_renewals_and_those_of_the_authority() {
    let world = Certified::new().await;
    let team = &world.team;
    let origin = Origin::start(HOST).await;
    let first = world.svid();
    let files = world.put(&first);
    let builder = sidecar(team).arg("--control-cert").arg(&files[0]).arg("--control-key").arg(&files[1]);
    let sidecar = Following::start(team, builder.origin(&origin)).await;
    sidecar.shows(&origin, HOST, &team.value).await;
    // Another authority takes over: both are good, then only the new one.
    let next = TestCa::named("workloads, renewed");
    harness::proxy::build::put(&world.file, &format!("{}{}", world.ca.pem(), next.pem()));
    let second = next.svid(&[ID], Duration::hours(1));
    until("the new authority to count", SOON, async || world.call(&second).await == Ok((204, String::new())))
        .await;
    world.put(&second);
    until("another stream", SOON, async || connections(&sidecar) == 2).await;
    harness::proxy::build::put(&world.file, next.pem());
    until("the old authority to count no more", SOON, async || world.call(&first).await.is_err()).await;
    let fresh = team.rotate("pat").await;
    sidecar.shows(&origin, HOST, &fresh).await;
    // The agent's identity is taken away while its certificate is good.
    identify(team, "coder", &[]).await;
    until("the agent's token to end", SOON, async || sidecar.agent().connect(AUTHORITY).await.status == 407)
        .await;
    assert_eq!(world.call(&second).await, Ok(refused()));
}

#[tokio::test]
#[ignore = "wants the machine for itself: a step of .ci/run, or cargo test -p doorward-tests --test it -- --ignored follow::identity"]
async fn a_stream_ends_with_the_certificate_that_opened_it() {
    let world = Certified::new().await;
    let origin = Origin::start(HOST).await;
    let put = |life| world.put(&world.ca.svid(&[ID], Duration::seconds(life)));
    let files = put(3600);
    let builder =
        sidecar(&world.team).arg("--control-cert").arg(&files[0]).arg("--control-key").arg(&files[1]);
    let sidecar = Following::start(&world.team, builder.origin(&origin).arg("--max-stale").arg("20s")).await;
    sidecar.shows(&origin, HOST, &world.team.value).await;
    // Over when the sidecar comes back, it does not get through the handshake, and to the sidecar the server is silent (DW5002). In
    // the very second of its end it does, and the sidecar hears that it is nobody (DW3002).
    let is_over = async || {
        let refused = sidecar.agent().refused(AUTHORITY).await;
        refused.is("DW5002") || refused.is("DW3002")
    };
    ends_with_what_was_shown(&sidecar, |life| drop(put(life)), is_over).await;
}

#[tokio::test]
async fn flags_that_cannot_be_meant_end_the_start() {
    let world = Certified::new().await;
    let server = world.team.server.url();
    let files = world.put(&world.svid());
    let socket = format!("unix:{}", world.team.server.path("api.sock").display());
    for (flags, told) in [
        (vec!["--control", server], "--control-token-file"),
        (vec!["--control", server, "--control-cert", &files[0]], "--control-key"),
        (
            vec!["--control", &socket, "--control-cert", &files[0], "--control-key", &files[1]],
            "no certificate",
        ),
        (
            vec!["--control", server, "--control-cert", &files[1], "--control-key", &files[1]],
            "--control-cert",
        ),
        (
            vec![
                "--control",
                server,
                "--control-cert",
                &files[0],
                "--control-key",
                &files[1],
                "--control-token-file",
                &files[0],
            ],
            "cannot be used with",
        ),
    ] {
        let mut builder = Proxy::builder().no_token().without_secrets();
        for flag in &flags {
            builder = builder.arg(flag);
        }
        let Err(failure) = builder.try_start().await else { panic!("{flags:?}") };
        assert!(failure.code == Some(2) && failure.stderr.contains(told), "{flags:?}: {}", failure.stderr);
    }
}

/// How often the sidecar has got a stream.
fn connections(sidecar: &Following) -> u64 {
    let (_, metrics) = sidecar.proxy.admin_get("/metrics");
    let line = metrics.lines().find(|line| line.starts_with("doorward_control_connections"));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
}

#[tokio::test]
async fn the_command_line_says_who_an_agents_sidecars_are() {
    let team = Team::new().await;
    let run = |words: &[&str]| team.server.doorward(team.server.root(), words, "");
    let added = run(&["-n", PROJECT, "add", "agent", "bot", "--identity", ACCOUNT]);
    assert!(added.code == Some(0) && !format!("{added:?}").contains("dwa_"), "{added:?}");
    let described = run(&["-n", PROJECT, "describe", "agent", "bot"]);
    assert!(described.stdout.contains(ACCOUNT), "{described:?}");
    let set = run(&["-n", PROJECT, "set", "agent", "bot", "--identity", ID, "--identity", "spiffe://a/b"]);
    assert!(set.code == Some(0), "{set:?}");
    let described = run(&["-n", PROJECT, "describe", "agent", "bot"]);
    assert!(described.stdout.contains(ID) && !described.stdout.contains(ACCOUNT), "{described:?}");
    let taken = run(&["-n", PROJECT, "set", "agent", "coder", "--identity", ID]);
    assert!(taken.code == Some(6) && taken.stderr.contains("another agent"), "{taken:?}");
    assert_eq!(run(&["-n", PROJECT, "set", "agent", "bot"]).code, Some(2));
    assert_eq!(run(&["-n", PROJECT, "set", "agent", "bot", "--no-identity"]).code, Some(0));
    let described = run(&["-n", PROJECT, "describe", "agent", "bot"]);
    assert!(!described.stdout.contains("spiffe:"), "{described:?}");
    assert!(canary::search(team.server.log().as_bytes(), &team.token).is_none());
}
