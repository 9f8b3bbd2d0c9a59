//! What is on disk of the audit after `kill -9`, for each `--audit-durability`.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use harness::agent::h2;
use harness::within::{self, until};
use harness::{Origin, Proxy};
use rustix::process::Signal;

use crate::world::{HOST, World};

/// 50 ms is the promise; the rest is for a machine that does other things.
const BATCH_MAY_LOSE: Duration = Duration::from_millis(1500);

fn builder(durability: &str, audit: &std::path::Path) -> harness::ProxyBuilder {
    let builder = Proxy::builder().bearer(HOST).audit_to(audit.to_str().unwrap());
    builder.arg("--audit-durability").arg(durability)
}

/// Requests from four connections until the proxy is killed in the middle of them: the paths that were answered, and when.
async fn under_load(world: &mut World) -> (Vec<(String, Instant)>, Instant) {
    let began = Instant::now();
    let load: Vec<_> = (0..4)
        .map(|n| {
            let agent = world.agent();
            tokio::spawn(async move {
                let (mut client, mut answered) = (agent.h2(HOST).await, Vec::new());
                for m in 0.. {
                    let path = format!("/{n}/{m}");
                    let request = client.request("GET", &path).body(h2::empty()).unwrap();
                    let Ok(response) = client.open(request).await else { break };
                    if !h2::collect(response).await.complete {
                        break;
                    }
                    answered.push((path, Instant::now()));
                }
                answered
            })
        })
        .collect();
    world.origin.wait_requests(100).await;
    // Long enough that there are some which may not be lost.
    let long = async || began.elapsed() > BATCH_MAY_LOSE * 2;
    until("the load to last", within::DEADLINE, long).await;
    world.proxy.signal(Signal::KILL);
    let killed = Instant::now();
    world.proxy.ended(within::DEADLINE).await;
    let mut answered = Vec::new();
    for task in load {
        answered.extend(task.await.unwrap());
    }
    (answered, killed)
}

/// The paths that the audit says were let through.
fn allowed(world: &World) -> HashSet<String> {
    let lines = world.proxy.audit().lines();
    let allowed = lines.iter().filter(|line| line["verdict"] == "allow");
    allowed.filter_map(|line| line["path"].as_str()).map(str::to_owned).collect()
}

/// A restart goes on with the file: torn bytes are closed by a `recovered` line, and `audit verify` agrees.
async fn goes_on(durability: &str, file: &std::path::Path) {
    let world = World::built(Origin::builder(&[HOST]), builder(durability, file)).await;
    world.agent().get(HOST, "/after").await.assert_ok();
    world.proxy.audit().request("/after").await;
    let mut verify = std::process::Command::new(harness::binary::doorward());
    let output = verify.args(["audit", "verify"]).arg(file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    world.proxy.skip_chain();
}

/// `write` and `sync`: whatever reached the origin had its line in the file before.
async fn every_request_at_the_origin_is_on_disk(durability: &str) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("audit.jsonl");
    let mut world = World::built(Origin::builder(&[HOST]), builder(durability, &file)).await;
    under_load(&mut world).await;
    let recorded = allowed(&world);
    for seen in world.origin.requests() {
        assert!(
            recorded.contains(&seen.target),
            "{durability}: {} went out and is not in the audit",
            seen.target
        );
    }
    world.proxy.skip_chain();
    drop(world);
    goes_on(durability, &file).await;
}

#[tokio::test]
async fn audit_durability_write_has_every_request_on_disk_after_kill_9() {
    every_request_at_the_origin_is_on_disk("write").await;
}

#[tokio::test]
async fn audit_durability_sync_has_every_request_on_disk_after_kill_9() {
    every_request_at_the_origin_is_on_disk("sync").await;
}

#[tokio::test]
async fn audit_durability_batch_loses_at_most_the_last_moment_after_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("audit.jsonl");
    let mut world = World::built(Origin::builder(&[HOST]), builder("batch", &file)).await;
    let (answered, killed) = under_load(&mut world).await;
    let recorded = allowed(&world);
    let safe: Vec<_> = answered.iter().filter(|(_, at)| *at + BATCH_MAY_LOSE < killed).collect();
    assert!(!safe.is_empty(), "{} answered", answered.len());
    for (path, at) in safe {
        assert!(recorded.contains(path), "{path}, answered {:?} before the kill, is lost", killed - *at);
    }
    world.proxy.skip_chain();
    drop(world);
    goes_on("batch", &file).await;
}
