//! The vault under a running proxy: rotation and deletion by the command line, and writers that are killed.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use harness::within::until;
use harness::{Home, Origin, Proxy, canary};

use crate::world::{HOST, World};

const SOON: Duration = harness::within::DEADLINE;

async fn world(home: &Home, value: &str) -> World {
    let builder = Proxy::builder().vault(home).canary(value).bearer(HOST);
    World::built(Origin::builder(&[HOST]), builder).await
}

/// The value that the origin gets now.
async fn injected(world: &World) -> String {
    world.agent().get(HOST, "/").await.assert_ok();
    let last = world.origin.last();
    let [value] = last.headers_named("authorization")[..] else { panic!("{last:?}") };
    value.strip_prefix("Bearer ").unwrap().to_owned()
}

/// Asks until the origin gets `value`.
async fn until_injected(world: &World, value: &str) {
    until("the new value", SOON, async || injected(world).await == value).await;
}

#[tokio::test]
async fn a_rotation_in_the_vault_reaches_the_running_proxy_each_time() {
    let (home, first) = (Home::keyed(), canary::fresh());
    home.add("canary", &first, &[]).assert_ok();
    let mut world = world(&home, &first).await;
    assert_eq!(injected(&world).await, first);
    for _ in 0..3 {
        let value = canary::fresh();
        world.proxy.watch(&value);
        home.rotate("canary", &value, &[]).assert_ok();
        until_injected(&world, &value).await;
    }
    home.run(&["rollback", "secret", "canary"], "").assert_ok();
    home.run(&["delete", "secret", "canary", "--force"], "").assert_ok();
    let refused = async || world.agent().get(HOST, "/").await.code().as_deref() == Some("DW1004");
    until("the deleted secret to be gone", SOON, refused).await;
}

#[tokio::test]
async fn a_file_that_takes_the_place_of_a_sealed_secret_is_used_at_once_though_both_are_the_first() {
    let (home, sealed, file) = (Home::keyed(), canary::fresh(), canary::fresh());
    home.add("late", &sealed, &[]).assert_ok();
    let spec = format!("type: http-token\nhost: {HOST}\nauth: {{secretRef: late}}");
    let builder = Proxy::builder().vault(&home).arg("--secrets").arg("{home}/secrets");
    let mut world = World::built(Origin::builder(&[HOST]), builder.provider("demo", &spec)).await;
    world.proxy.watch(&sealed);
    assert_eq!(injected(&world).await, sealed);
    world.proxy.watch(&file);
    let path = world.proxy.path("secrets/late");
    std::fs::write(&path, &file).unwrap();
    until_injected(&world, &file).await;
    std::fs::remove_file(path).unwrap();
    until_injected(&world, &sealed).await;
}

/// A random part of `whole`.
fn part_of(whole: Duration) -> Duration {
    let mut seed = [0; 4];
    getrandom::fill(&mut seed).unwrap();
    whole.mul_f64(f64::from(u32::from_be_bytes(seed)) / f64::from(u32::MAX))
}

/// Starts a command on the vault and kills it after `when`; whether it had said that it was done.
fn killed(home: &Home, words: &[&str], input: &str, when: Duration) -> bool {
    let mut child = home.command(&[words, &home.vault_flags()].concat()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    // The moment of the kill is what is varied here; nothing waits for it.
    std::thread::sleep(when);
    child.kill().unwrap();
    child.wait().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    said.contains("rotated to revision") || said.contains("secret/canary")
}

#[tokio::test]
async fn kill_9_of_vault_writes_loses_nothing_that_was_said_to_be_stored() {
    let (home, first) = (Home::keyed(), canary::fresh());
    home.add("canary", &first, &[]).assert_ok();
    let mut world = world(&home, &first).await;
    let start = Instant::now();
    let mut current = canary::fresh();
    world.proxy.watch(&current);
    home.rotate("canary", &current, &[]).assert_ok();
    let whole = start.elapsed();
    let (mut cut, mut done) = (0, 0);
    for _ in 0..24 {
        let next = canary::fresh();
        world.proxy.watch(&next);
        let rotate = ["rotate", "secret", "canary", "--from-stdin", "token"];
        let said = killed(&home, &rotate, &next, part_of(whole + whole / 4));
        let listed = home.run(&["get", "secrets", "-o", "name"], "");
        assert_eq!(listed.assert_ok().stdout.trim(), "secret/canary");
        // What was said to be stored is; what was not said is there whole or not at all.
        if said {
            until_injected(&world, &next).await;
        }
        let now = injected(&world).await;
        assert!(now == next || !said && now == current, "neither the old nor the new value");
        (cut, done) = (cut + u32::from(!said), done + u32::from(said));
        current = now;
    }
    assert!(cut > 0, "{cut} cut, {done} done");
    let last = canary::fresh();
    world.proxy.watch(&last);
    home.rotate("canary", &last, &[]).assert_ok();
    until_injected(&world, &last).await;
    assert!(world.proxy.alive());
}

#[tokio::test]
async fn kill_9_while_the_vault_is_being_made_leaves_one_that_works() {
    // Built first, where it has to be: that is no part of how long a command takes.
    harness::binary::doorward();
    let whole = {
        let (home, start) = (Home::keyed(), Instant::now());
        home.add("canary", &canary::fresh(), &[]).assert_ok();
        start.elapsed()
    };
    for _ in 0..12 {
        let (home, value) = (Home::keyed(), canary::fresh());
        let add = ["add", "secret", "canary", "--from-stdin", "token"];
        let said = killed(&home, &add, &value, part_of(whole));
        let again = home.add("canary", &value, &[]);
        assert!(matches!(again.code, Some(0) | Some(6)), "{again:?}");
        assert!(!said || again.code == Some(6), "it was said to be stored and is not: {again:?}");
        let world = world(&home, &value).await;
        assert_eq!(injected(&world).await, value);
    }
}
