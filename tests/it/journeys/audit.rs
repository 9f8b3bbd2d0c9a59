//! The audit: one record for each request, whole, in a chain, and without what must not be in it.

use harness::{Origin, Proxy, answer};

use crate::world::{HOST, World, bearer};

#[tokio::test]
async fn a_request_leaves_one_record_with_every_field() {
    let world = World::bearer().await;
    world.agent().post(HOST, "/a/b?query=hidden", "X-Note: private", b"body text").await.assert_ok();
    let line = world.proxy.audit().request("/a/b").await;
    for key in [
        "ts",
        "seq",
        "prev",
        "hash",
        "kind",
        "conn",
        "req",
        "agent",
        "provider",
        "rule",
        "scheme",
        "secret",
        "method",
        "host",
        "port",
        "path",
        "verdict",
        "status",
        "bytes_in",
        "bytes_out",
        "elapsed_us",
        "revision",
    ] {
        assert!(line.get(key).is_some(), "{key} is missing: {line}");
    }
    assert_eq!(
        (&line["agent"], &line["provider"], &line["secret"]),
        (&"worker".into(), &"demo".into(), &"canary".into())
    );
    assert_eq!((&line["method"], &line["host"], &line["port"]), (&"POST".into(), &HOST.into(), &443.into()));
    assert_eq!((&line["verdict"], &line["status"]), (&"allow".into(), &200.into()));
    let text = world.proxy.audit().text();
    for absent in ["query=hidden", "hidden", "private", "body text"] {
        assert!(!text.contains(absent), "{absent} is in\n{text}");
    }
}

#[tokio::test]
async fn a_path_that_carries_a_secret_is_recorded_without_it() {
    let world = World::of(&crate::world::token(
        "type: path, template: \"/bot{{token}}/\", placeholder: dw0pathdummy0123456789",
    ))
    .await;
    world.agent().get(HOST, "/botdw0pathdummy0123456789/getMe").await;
    world.proxy.audit().wait_for("a request", |line| line["kind"] == "request").await;
    assert!(!world.proxy.audit().text().contains(world.proxy.canary()));
}

#[tokio::test]
async fn refusals_before_a_request_was_read_are_recorded() {
    let world = World::bearer().await;
    world.agent().without_authorization().connect("api.example.com:443").await;
    world.agent().connect("127.1:443").await;
    world.agent().connect("api.example.com:22").await;
    for code in ["DW3001", "DW2008", "DW1001"] {
        let line = world.proxy.audit().code(code).await;
        assert_eq!(line["verdict"], "deny", "{line}");
    }
}

#[tokio::test]
async fn the_chain_holds_over_many_concurrent_requests() {
    let world = World::bearer().await;
    let tasks: Vec<_> = (0..4)
        .map(|n| {
            let agent = world.agent();
            tokio::spawn(async move {
                let mut client = agent.h2(HOST).await;
                for m in 0..25 {
                    client.get(&format!("/{n}/{m}")).await.assert_ok();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for n in 0..4 {
        for m in 0..25 {
            world.proxy.audit().request(&format!("/{n}/{m}")).await;
        }
    }
    let lines = world.proxy.audit().lines();
    assert_eq!(lines.iter().filter(|line| line["kind"] == "request").count(), 100);
    assert_eq!(world.proxy.audit().broken(), None);
}

#[tokio::test]
async fn a_restart_continues_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("audit.jsonl");
    for path in ["/first", "/second"] {
        let builder = Proxy::builder().bearer(HOST).audit_to(file.to_str().unwrap());
        let world = World::built(Origin::builder(&[HOST]), builder).await;
        world.agent().get(HOST, path).await.assert_ok();
        world.proxy.audit().request(path).await;
    }
    let audit = harness::audit::Audit::at(file);
    assert_eq!(audit.broken(), None, "{}", audit.text());
    assert!(audit.text().contains("/first") && audit.text().contains("/second"));
}

#[tokio::test]
async fn a_torn_last_line_is_closed_by_a_recovered_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("audit.jsonl");
    let start = || Proxy::builder().bearer(HOST).audit_to(file.to_str().unwrap());
    let world = World::built(Origin::builder(&[HOST]), start()).await;
    world.agent().get(HOST, "/first").await.assert_ok();
    drop(world);
    let mut text = std::fs::read(&file).unwrap();
    text.extend_from_slice(b"{\"ts\":\"torn");
    std::fs::write(&file, &text).unwrap();
    let origin = Origin::start(HOST).await;
    let proxy =
        Proxy::builder().bearer(HOST).origin(&origin).audit_to(file.to_str().unwrap()).try_start().await;
    let Ok(proxy) = proxy else { panic!("a torn line keeps the proxy from starting") };
    proxy.agent().get(HOST, "/second").await.assert_ok();
    proxy.audit().request("/second").await;
    assert!(proxy.audit().lines().iter().any(|line| line["kind"] == "recovered"));
    // The torn line itself is no record, and rightly breaks our plain reading of the chain.
    proxy.skip_chain();
}

#[tokio::test]
async fn one_file_belongs_to_one_process() {
    let world = World::bearer().await;
    let file = world.proxy.audit().path().to_str().unwrap().to_owned();
    let second = Proxy::builder().bearer(HOST).audit_to(&file).try_start().await;
    assert!(second.is_err(), "two writers on one chain");
}

#[tokio::test]
async fn an_exchange_that_lasts_is_opened_in_the_audit_before_it_ends() {
    let (mut feeds, answer) = answer::stream(&[]);
    let world = World::with(Origin::builder(&[HOST]).h1().answer(answer), &bearer()).await;
    let mut tls = world.agent().tls(HOST).await;
    tls.send(b"GET /long HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
    let feed = answer::next(&mut feeds).await;
    feed.send("x").await;
    let open =
        world.proxy.audit().wait_for("open", |line| line["kind"] == "open" && line["path"] == "/long").await;
    assert!(world.proxy.audit().lines().iter().all(|line| line["kind"] != "request"), "{open}");
    feed.finish();
    let close = world.proxy.audit().request("/long").await;
    assert_eq!(open["req"], close["req"]);
}

#[tokio::test]
async fn write_and_sync_durability_open_a_record_before_the_secret_is_used() {
    for durability in ["write", "sync"] {
        let (mut feeds, answer) = answer::stream(&[]);
        let builder = Proxy::builder().bearer(HOST).arg("--audit-durability").arg(durability);
        let world = World::built(Origin::builder(&[HOST]).h1().answer(answer), builder).await;
        let mut tls = world.agent().tls(HOST).await;
        tls.send(b"GET /now HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
        let feed = answer::next(&mut feeds).await;
        // The origin has the request, so the line is already in the file: no waiting here.
        let opened =
            world.proxy.audit().lines().iter().any(|line| line["kind"] == "open" && line["path"] == "/now");
        assert!(opened, "{durability}: {}", world.proxy.audit().text());
        feed.finish();
        world.proxy.audit().request("/now").await;
    }
}

#[tokio::test]
async fn batch_durability_writes_within_a_moment() {
    let world = World::built(
        Origin::builder(&[HOST]),
        Proxy::builder().bearer(HOST).arg("--audit-durability").arg("batch"),
    )
    .await;
    world.agent().get(HOST, "/soon").await.assert_ok();
    harness::within::eventually("the record", harness::within::DEADLINE, || {
        world.proxy.audit().lines().into_iter().find(|line| line["path"] == "/soon")
    })
    .await;
}

#[tokio::test]
async fn audit_verify_agrees_with_our_own_reading() {
    let world = World::bearer().await;
    world.agent().get(HOST, "/verified").await.assert_ok();
    world.proxy.audit().request("/verified").await;
    let copy = world.proxy.path("copy.jsonl");
    let verify = |text: &str| {
        std::fs::write(&copy, text).unwrap();
        let output = std::process::Command::new(harness::binary::doorward())
            .args(["audit", "verify"])
            .arg(&copy)
            .output()
            .unwrap();
        output.status.success()
    };
    let text = world.proxy.audit().text();
    assert!(verify(&text));
    assert!(!verify(&text.replace("/verified", "/falsified")));
}

#[tokio::test]
async fn the_audit_on_stdout_is_the_same_chain() {
    let world = World::built(Origin::builder(&[HOST]), Proxy::builder().bearer(HOST).audit_to("-")).await;
    world.agent().get(HOST, "/stdout").await.assert_ok();
    let stdout = harness::audit::Audit::at(world.proxy.path("stdout"));
    stdout.request("/stdout").await;
    assert_eq!(stdout.broken(), None, "{}", stdout.text());
}
