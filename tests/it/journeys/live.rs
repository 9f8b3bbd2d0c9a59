//! Live change: secrets, providers, tokens and signals reach a running proxy; a bad file changes nothing.

use std::time::Duration;

use harness::proxy::build::{bearer_spec, provider_yaml};
use harness::within::until;
use harness::{Origin, Proxy, answer};
use rustix::process::Signal;

use crate::world::{HOST, OTHER, World, bearer, bearer_and, token};

const SOON: Duration = harness::within::DEADLINE;

#[tokio::test]
async fn a_bad_file_keeps_the_old_plan_and_says_so() {
    let world = World::bearer().await;
    let bad = provider_yaml("demo", &bearer_and("polcy: {}"));
    world.proxy.write_provider("demo", &bad);
    until("the error in readyz", SOON, async || world.proxy.admin_get("/readyz?verbose").1.contains("polcy"))
        .await;
    assert!(world.proxy.log().contains("polcy"), "{}", world.proxy.log());
    world.agent().get(HOST, "/").await.assert_ok();
    world.assert_injected();
    // Repaired, it is taken.
    world.proxy.write_provider("demo", &provider_yaml("demo", &bearer_spec(OTHER)));
    until("the new plan", SOON, async || world.agent().refused("api.example.com:443").await.is("DW1001"))
        .await;
}

#[tokio::test]
async fn every_mistake_of_every_file_is_reported_with_line_and_column_and_nothing_of_them_is_taken() {
    let world = World::bearer().await;
    let revision = world.proxy.metric("doorward_plan_revision");
    let failed = world.proxy.metric("doorward_reload_failed");
    let wrong = bearer_and("polcy: {}\nlimits: {requestsPerMinute: many}\nhots: [x]");
    // The good file beside it waits for the bad one as well: a plan is taken whole or not at all.
    world.proxy.write_provider("demo", &provider_yaml("demo", &wrong));
    world.proxy.write_provider("good", &provider_yaml("good", &bearer_spec(OTHER)));
    let places = ["demo.yaml:8:3: ", "demo.yaml:9:31: ", "demo.yaml:10:3: "];
    let all = async || {
        let report = world.proxy.admin_get("/readyz?verbose").1;
        places.iter().all(|place| report.contains(place))
    };
    until("all mistakes in readyz", SOON, all).await;
    let log = world.proxy.log();
    assert!(places.iter().all(|place| log.contains(place)), "{log}");
    assert_eq!(world.proxy.metric("doorward_reload_failed"), Some(1.0));
    assert_eq!(world.proxy.metric("doorward_plan_revision"), revision);
    assert!(world.agent().refused("other.example.com:443").await.is("DW1001"));
    world.agent().get(HOST, "/").await.assert_ok();
    world.assert_injected();
    world.proxy.write_provider("demo", &provider_yaml("demo", &bearer()));
    until("both files", SOON, async || !world.agent().refused("other.example.com:443").await.is("DW1001"))
        .await;
    assert_eq!(world.proxy.metric("doorward_reload_failed"), failed);
}

#[tokio::test]
async fn a_provider_file_that_changes_is_followed() {
    let world = World::bearer().await;
    world.agent().get(HOST, "/").await.assert_ok();
    world.proxy.write_provider("demo", &provider_yaml("demo", &token("type: header, header: X-New")));
    until("the new header", SOON, async || {
        world.agent().get(HOST, "/").await.assert_ok();
        world.origin.last().headers_named("x-new") == [world.proxy.canary()]
    })
    .await;
    assert!(world.origin.last().headers_named("authorization").is_empty());
}

#[tokio::test]
async fn a_provider_that_is_removed_is_refused_in_open_tunnels_too() {
    let world = World::bearer().await;
    let mut tls = world.agent().tls(HOST).await;
    tls.exchange(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await.assert_ok();
    world.proxy.remove_provider("demo");
    let gone = async || world.agent().refused("api.example.com:443").await.is("DW1001");
    until("the provider to go", SOON, gone).await;
    let reply = tls.exchange(b"GET /late HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
    assert!(reply.status == 0 || reply.code().as_deref() == Some("DW1001"), "{reply:?}");
    assert!(world.origin.requests().iter().all(|seen| seen.target != "/late"));
}

#[tokio::test]
async fn a_stream_of_a_removed_provider_is_cut() {
    let (mut feeds, answer) = answer::stream(&[]);
    let world = World::with(Origin::builder(&[HOST]).h1().answer(answer), &bearer()).await;
    let mut tls = world.agent().tls(HOST).await;
    tls.send(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
    let feed = answer::next(&mut feeds).await;
    feed.send("begun").await;
    tls.read_until(b"begun").await;
    world.proxy.remove_provider("demo");
    let cut = tokio::time::timeout(SOON, tls.read_to_end()).await;
    assert!(cut.is_ok(), "the stream lives on");
    feed.reader_gone().await;
}

#[tokio::test]
async fn a_rotated_secret_is_used_without_a_restart_in_open_tunnels_too() {
    let mut world = World::bearer().await;
    let mut tls = world.agent().tls(HOST).await;
    let fresh = harness::canary::fresh();
    world.proxy.rotate("canary", "token", &fresh);
    let wanted = format!("Bearer {fresh}");
    until("the new value", SOON, async || {
        tls.exchange(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await.assert_ok();
        world.origin.last().headers_named("authorization") == [wanted.as_str()]
    })
    .await;
}

#[tokio::test]
async fn a_secret_mounted_as_kubernetes_does_is_followed_through_its_symlinks() {
    let origin = Origin::start(HOST).await;
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("canary");
    let put = |version: &str, value: &str| {
        let data = secret.join(version);
        std::fs::create_dir_all(&data).unwrap();
        harness::proxy::build::put(&data.join("token"), value);
        std::os::unix::fs::symlink(version, secret.join("..data_tmp")).unwrap();
        std::fs::rename(secret.join("..data_tmp"), secret.join("..data")).unwrap();
    };
    let (first, second) = (harness::canary::fresh(), harness::canary::fresh());
    put("..2026_01", &first);
    std::os::unix::fs::symlink("..data/token", secret.join("token")).unwrap();
    let builder = Proxy::builder().without_secrets().bearer(HOST).origin(&origin);
    let mut proxy = builder.arg("--secrets").arg(dir.path().to_str().unwrap()).start().await;
    proxy.watch(&first);
    proxy.watch(&second);
    proxy.agent().get(HOST, "/").await.assert_ok();
    assert_eq!(origin.last().headers_named("authorization"), [format!("Bearer {first}")]);
    put("..2026_02", &second);
    until("the new value", SOON, async || {
        proxy.agent().get(HOST, "/").await.assert_ok();
        origin.last().headers_named("authorization") == [format!("Bearer {second}")]
    })
    .await;
}

#[tokio::test]
async fn a_missing_secret_that_arrives_heals_its_provider() {
    let world = World::of(&bearer().replace("secretRef: canary", "secretRef: later")).await;
    world.agent().get(HOST, "/").await.assert_refused(503, "DW1004");
    std::fs::create_dir(world.proxy.path("secrets/later")).unwrap();
    let mut world = world;
    let value = harness::canary::fresh();
    world.proxy.rotate("later", "token", &value);
    until("the provider to heal", SOON, async || world.agent().get(HOST, "/").await.status == 200).await;
    assert_eq!(world.origin.last().headers_named("authorization"), [format!("Bearer {value}")]);
}

#[tokio::test]
async fn a_deleted_secret_stops_its_provider() {
    let world = World::bearer().await;
    world.agent().get(HOST, "/").await.assert_ok();
    std::fs::remove_dir_all(world.proxy.path("secrets/canary")).unwrap();
    until("the refusal", SOON, async || world.agent().get(HOST, "/").await.status == 503).await;
}

#[tokio::test]
async fn sighup_reloads() {
    let world = World::bearer().await;
    world.proxy.write_provider("second", &provider_yaml("second", &bearer_spec(OTHER)));
    world.proxy.signal(Signal::HUP);
    until("the second provider", SOON, async || {
        !world.agent().refused("other.example.com:443").await.is("DW1001")
    })
    .await;
    world.agent().get(HOST, "/").await.assert_ok();
}

#[tokio::test]
async fn reload_under_load_drops_nothing_and_never_mixes_credentials() {
    let mut world = World::bearer().await;
    let values: Vec<String> = (0..5).map(|_| harness::canary::fresh()).collect();
    let agent = world.agent();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let load: Vec<_> = (0..4)
        .map(|n| {
            let (agent, stop) = (agent.clone(), stop.clone());
            tokio::spawn(async move {
                let mut count = 0;
                let mut client = agent.client(if n % 2 == 0 { "h1" } else { "h2" }, HOST).await;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    client.get("/load").await.assert_ok();
                    count += 1;
                }
                count
            })
        })
        .collect();
    for (n, value) in values.iter().enumerate() {
        world.proxy.rotate("canary", "token", value);
        let spec = bearer_and(&format!("limits: {{requestsPerMinute: {}}}", 1_000_000 + n));
        world.proxy.write_provider("demo", &provider_yaml("demo", &spec));
        let wanted = format!("Bearer {value}");
        until("the rotated value", SOON, async || {
            let last = world.origin.requests().pop();
            last.is_some_and(|seen| seen.headers_named("authorization") == [wanted.as_str()])
        })
        .await;
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut total = 0;
    for task in load {
        total += task.await.unwrap();
    }
    assert!(total > 20, "{total}");
    let known: Vec<String> = std::iter::once(world.proxy.canary().to_owned())
        .chain(values)
        .map(|value| format!("Bearer {value}"))
        .collect();
    for seen in world.origin.requests() {
        let sent = seen.headers_named("authorization");
        assert!(sent.len() == 1 && known.iter().any(|value| value == sent[0]), "{seen:?}");
    }
}

#[tokio::test]
async fn sigterm_drains_what_is_in_flight_and_exits_with_0() {
    let (mut feeds, answer) = answer::stream(&[]);
    let builder = Proxy::builder().bearer(HOST).drain("10s");
    let mut world = World::built(Origin::builder(&[HOST]).h1().answer(answer), builder).await;
    let mut tls = world.agent().tls(HOST).await;
    tls.send(b"GET /drained HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
    let feed = answer::next(&mut feeds).await;
    feed.send("first ").await;
    tls.read_until(b"first ").await;
    world.proxy.signal(Signal::TERM);
    until("no new connections", SOON, async || {
        tokio::net::TcpStream::connect(world.proxy.address()).await.is_err()
    })
    .await;
    assert!(world.proxy.alive());
    feed.send("last").await;
    feed.finish();
    tls.read_until(b"last").await;
    assert!(world.proxy.ended(SOON).await.success());
    assert_eq!(world.proxy.audit().request("/drained").await["verdict"], "allow");
}

#[tokio::test]
async fn what_does_not_end_within_the_drain_is_closed() {
    let builder = Proxy::builder().bearer(HOST).drain("1s");
    let mut world = World::built(Origin::builder(&[HOST]).answer(answer::never()), builder).await;
    let mut tls = world.agent().tls(HOST).await;
    tls.send(b"GET /stuck HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
    world.origin.wait_requests(1).await;
    world.proxy.signal(Signal::TERM);
    assert!(world.proxy.ended(SOON).await.success());
    tls.read_to_end().await;
    world.proxy.audit().request("/stuck").await;
}

#[tokio::test]
async fn an_agent_revoked_during_the_drain_loses_its_stream() {
    let (mut feeds, answer) = answer::stream(&[]);
    let builder = Proxy::builder().bearer(HOST).drain("60s");
    let mut world = World::built(Origin::builder(&[HOST]).h1().answer(answer), builder).await;
    let mut tls = world.agent().tls(HOST).await;
    tls.send(b"GET /revoked HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
    let feed = answer::next(&mut feeds).await;
    feed.send("begun").await;
    tls.read_until(b"begun").await;
    world.proxy.signal(Signal::TERM);
    until("the drain", SOON, async || tokio::net::TcpStream::connect(world.proxy.address()).await.is_err())
        .await;
    assert!(world.proxy.alive());
    world.proxy.write_tokens("other:agent-token-of-somebody-else\n");
    let cut = tokio::time::timeout(SOON, tls.read_to_end()).await;
    assert!(cut.is_ok(), "the stream of a revoked agent lives on while draining");
    feed.reader_gone().await;
    // Nothing else is in flight, so the drain is over.
    assert!(world.proxy.ended(SOON).await.success());
}

#[tokio::test]
async fn what_is_idle_for_too_long_is_closed_during_the_drain_too() {
    let spec = format!("type: http-token\nhost: {HOST}\ntls: {{mode: passthrough}}");
    let builder = Proxy::builder().provider("demo", &spec).drain("60s").limit("tunnel-idle", "1s");
    let mut world = World::built(Origin::builder(&[HOST]), builder).await;
    let mut pipe = world.agent().dial().await;
    pipe.send(world.agent().connect_head("api.example.com:443").as_bytes()).await;
    assert_eq!(pipe.read_head().await.status, 200);
    world.proxy.signal(Signal::TERM);
    assert!(world.proxy.ended(SOON).await.success());
}

#[tokio::test]
async fn the_environment_of_an_agent_that_is_gone_is_removed() {
    let (one, two) = ("agent-token-of-the-first-one", "agent-token-of-the-second-one");
    let origin = Origin::start(HOST).await;
    let tokens = format!("first:{one}\nsecond:{two}\n");
    let proxy = Proxy::builder().bearer(HOST).origin(&origin).tokens(&tokens, one).start().await;
    let has = |name: &str| proxy.path(&format!("publish/{name}")).exists();
    assert!(has("agent-first.env") && has("agent-second.env") && !has("agent.env"));
    proxy.write_tokens(&format!("first:{one}\n"));
    // The new file is written first, then the old ones go one by one.
    let tidy = async || has("agent.env") && !has("agent-first.env") && !has("agent-second.env");
    until("the only agent's own file", SOON, tidy).await;
    assert!(has("ca.crt") && has("ca-bundle.crt"));
}

#[tokio::test]
async fn roots_that_a_provider_file_names_are_followed_where_they_lie() {
    let elsewhere = tempfile::tempdir().unwrap();
    let roots = elsewhere.path().join("roots.pem");
    harness::proxy::build::put(&roots, harness::ca::TestCa::world().pem());
    let spec = bearer_and(&format!("tls: {{upstreamCA: {}}}", roots.display()));
    // Nothing else is written where the proxy watches.
    let audit = tempfile::tempdir().unwrap();
    let builder = Proxy::builder().provider("demo", &spec).log("error");
    let builder = builder.audit_to(audit.path().join("audit.jsonl").to_str().unwrap());
    let world = World::built(Origin::builder(&[HOST]), builder).await;
    world.agent().get(HOST, "/").await.assert_ok();
    let reloads = || {
        let lines = world.proxy.audit().lines();
        lines.iter().filter(|line| line["kind"] == "lifecycle" && line["reason"] == "reloaded").count()
    };
    // A reload for another reason first: what the start wrote where the proxy watches is past then.
    let other = provider_yaml("demo", &format!("{spec}\nlimits: {{requestsPerMinute: 1000}}"));
    world.proxy.write_provider("demo", &other);
    until("the other reload", SOON, async || reloads() == 1).await;
    harness::proxy::build::put(&roots, &world.proxy.ca_pem());
    until("the reload", SOON, async || reloads() == 2).await;
    world.agent().get(HOST, "/").await.assert_ok();
}
