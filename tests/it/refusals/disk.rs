//! A full disk. The file size limit of the process stands for it: the kernel refuses to let a file grow, as a full disk does.

use harness::{Home, Origin, Proxy, canary, within};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::world::{HOST, World};

/// Without the trap a process is killed by a signal, which a full disk does not send.
const AS_A_FULL_DISK: &str = "trap '' XFSZ; exec \"$@\"";

async fn world(durability: &str) -> World {
    let builder = Proxy::builder().bearer(HOST).shell(AS_A_FULL_DISK).log("warn");
    World::built(Origin::builder(&[HOST]), builder.arg("--audit-durability").arg(durability)).await
}

/// No file of the proxy grows beyond this from now on.
fn limit_files(proxy: &Proxy, bytes: Option<u64>) {
    let pid = Pid::from_raw(proxy.pid().try_into().unwrap());
    let maximum = rustix::process::getrlimit(Resource::Fsize).maximum;
    prlimit(pid, Resource::Fsize, Rlimit { current: bytes, maximum }).unwrap();
}

/// Asks until the disk is full: how many requests went through, and the refusal.
async fn fill(world: &World) -> (usize, harness::Reply) {
    let mut tls = world.agent().tls(HOST).await;
    for done in 0..500 {
        let request = format!("GET /fill/{done} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
        let reply = tls.exchange(request.as_bytes()).await;
        if reply.status != 200 {
            return (done, reply);
        }
    }
    panic!("500 records fit into 32 KiB");
}

/// Refused with DW5003 while the disk is full, nothing lost, and served again when there is room.
async fn fails_closed_and_recovers(durability: &str) {
    let mut world = world(durability).await;
    limit_files(&world.proxy, Some(32 << 10));
    let (done, refused) = fill(&world).await;
    refused.assert_refused(503, "DW5003");
    let sent = world.origin.requests().len();
    // `batch` finds out with the next write: what went out before is still held in memory, and written later.
    assert!(
        sent == done || durability == "batch" && sent <= done + 1,
        "{durability}: {sent} sent, {done} answered"
    );
    for _ in 0..3 {
        world.agent().get(HOST, "/still").await.assert_refused(503, "DW5003");
    }
    assert_eq!(world.origin.requests().len(), sent, "a request went out unrecorded");
    let (status, report) = world.proxy.admin_get("/readyz?verbose");
    assert!(status == 503 && report.contains("[-] audit:"), "{status} {report}");
    assert!(world.proxy.alive());
    limit_files(&world.proxy, None);
    within::eventually("readiness", within::DEADLINE, || {
        Some(()).filter(|()| world.proxy.admin_get("/readyz").0 == 200)
    })
    .await;
    world.agent().get(HOST, "/again").await.assert_ok();
    world.proxy.audit().request("/again").await;
    for n in 0..done {
        world.proxy.audit().request(&format!("/fill/{n}")).await;
    }
    assert_eq!(world.proxy.audit().broken(), None);
}

#[tokio::test]
async fn dw5003_a_full_disk_refuses_with_durability_batch_and_loses_nothing() {
    fails_closed_and_recovers("batch").await;
}

#[tokio::test]
async fn dw5003_a_full_disk_refuses_with_durability_write_and_loses_nothing() {
    fails_closed_and_recovers("write").await;
}

#[tokio::test]
async fn dw5003_a_full_disk_refuses_with_durability_sync_and_loses_nothing() {
    fails_closed_and_recovers("sync").await;
}

#[tokio::test]
async fn a_full_disk_under_the_vault_is_an_error_that_leaves_the_old_values() {
    let (home, value) = (Home::keyed(), canary::fresh());
    home.add("canary", &value, &[]).assert_ok();
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$@\"";
    let words = [&["rotate", "secret", "canary", "--from-stdin", "token"][..], &home.vault_flags()].concat();
    let long = canary::fresh().repeat(500);
    let ran = harness::home::finish(home.command_in_shell(script, &words), &long);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("vault") || ran.stderr.contains("database"), "{ran:?}");
    assert!(!ran.stderr.contains(&long[..16]), "the value is in the error");
    let builder = Proxy::builder().vault(&home).canary(&value).bearer(HOST);
    let world = World::built(Origin::builder(&[HOST]), builder).await;
    world.agent().get(HOST, "/").await.assert_ok();
    world.assert_injected();
    home.add("second", &canary::fresh(), &[]).assert_ok();
}
