//! The vault through the real binary: what opens it, what does not, and that a locked one sends nothing.

use harness::{Home, Origin, Proxy, ProxyBuilder, canary};

use crate::world::{HOST, OTHER, World, bearer};

const PHRASE: &str = "correct horse battery staple";

/// A proxy with this vault, whose secret `canary` is `value`.
fn with_vault(home: &Home, value: &str) -> ProxyBuilder {
    Proxy::builder().vault(home).canary(value).bearer(HOST)
}

async fn world(home: &Home, value: &str) -> World {
    World::built(Origin::builder(&[HOST]), with_vault(home, value)).await
}

/// DW5001 on the wire, in readiness and in the log; nothing at the origin; the process goes on.
async fn assert_locked(home: &Home, value: &str) {
    let mut world = world(home, value).await;
    let reply = world.agent().get(HOST, "/").await;
    reply.assert_refused(503, "DW5001");
    assert_eq!(reply.json()["provider"], "demo");
    world.origin.assert_untouched();
    let (_, report) = world.proxy.admin_get("/readyz?verbose");
    assert!(report.contains("default/demo: DW5001"), "{report}");
    assert!(world.proxy.log().contains("the vault is locked"), "{}", world.proxy.log());
    assert_eq!(world.proxy.audit().code("DW5001").await["verdict"], "error");
    assert!(world.proxy.alive());
}

#[tokio::test]
async fn dw5001_locked_vault_of_another_passphrase_sends_nothing() {
    let (home, value) = (Home::locked_by(PHRASE), canary::fresh());
    home.add("canary", &value, &[]).assert_ok();
    home.write("key", "correct horse battery stable");
    assert_locked(&home, &value).await;
}

#[tokio::test]
async fn dw5001_locked_vault_without_its_key_file_sends_nothing_and_makes_no_key() {
    let (home, value) = (Home::keyed(), canary::fresh());
    home.add("canary", &value, &[]).assert_ok();
    std::fs::remove_file(home.path("key")).unwrap();
    assert_locked(&home, &value).await;
    assert!(!home.path("key").exists());
}

#[tokio::test]
async fn dw5001_locked_vault_whose_key_or_file_others_can_read_sends_nothing() {
    for exposed in ["key", "vault.db"] {
        let (home, value) = (Home::keyed(), canary::fresh());
        home.add("canary", &value, &[]).assert_ok();
        home.chmod(exposed, 0o644);
        home.add("second", &value, &[]).assert_fails(1, exposed);
        assert_locked(&home, &value).await;
    }
}

#[tokio::test]
async fn dw5001_locked_vault_is_not_stood_in_for_by_another_source() {
    let (home, value) = (Home::keyed(), canary::fresh());
    home.add("canary", &value, &[]).assert_ok();
    home.write("key", &"0f".repeat(32));
    let (dir, other) = (tempfile::tempdir().unwrap(), "a-provider-of-the-folder");
    std::fs::create_dir(dir.path().join("elsewhere")).unwrap();
    harness::proxy::build::put(&dir.path().join("elsewhere/token"), other);
    let builder = with_vault(&home, &value).arg("--secrets").arg(dir.path().to_str().unwrap());
    let spec = bearer().replace(HOST, OTHER).replace("secretRef: canary", "secretRef: elsewhere");
    let origin = Origin::start(OTHER).await;
    let proxy = builder.provider("other", &spec).origin(&origin).start().await;
    proxy.agent().get(HOST, "/").await.assert_refused(503, "DW5001");
    // What stands before it is not locked with it.
    proxy.agent().get(OTHER, "/").await.assert_ok();
    assert_eq!(origin.last().headers_named("authorization"), [format!("Bearer {other}")]);
}

#[test]
fn passphrase_vault_refuses_a_short_passphrase() {
    let home = Home::locked_by("hunter2hunt");
    home.add("canary", &canary::fresh(), &[]).assert_fails(1, "at least 12 characters");
    home.write("key", PHRASE);
    let listed = home.run(&["get", "secrets", "-o", "name"], "");
    assert_eq!(listed.assert_ok().stdout, "", "nothing was stored");
}

#[test]
fn passphrase_vault_refuses_a_wrong_passphrase_and_every_other_kind_of_key() {
    let home = Home::locked_by(PHRASE);
    let value = canary::fresh();
    home.add("canary", &value, &[]).assert_ok();
    home.write("key", "correct horse battery");
    home.add("second", &value, &[]).assert_fails(1, "not the master key of this vault");
    home.write("digits", &"0f".repeat(32));
    let vault = home.path("vault.db").to_str().unwrap().to_owned();
    let with = |flag: &str, key: &str| {
        let words = ["add", "secret", "second", "--from-stdin", "token", "--vault", &vault, flag, key];
        harness::home::finish(home.command(&words), &value)
    };
    let digits = home.path("digits").to_str().unwrap().to_owned();
    with("--master-key-file", &digits).assert_fails(1, "made with a passphrase");
    with("--master-key-command", &format!("/bin/cat {digits}")).assert_fails(1, "made with a passphrase");
    home.write("key", PHRASE);
    assert_eq!(home.run(&["get", "secrets", "-o", "name"], "").assert_ok().stdout.trim(), "secret/canary");
}

#[tokio::test]
async fn passphrase_vault_refuses_parameters_below_the_floors() {
    // 64 MiB and 3 passes, as they are stored; the attacker wants them cheap to guess against.
    let stored = |kib: u32, passes: u32| {
        hex::encode_upper([&b"argon2id"[..], &kib.to_be_bytes(), &passes.to_be_bytes()].concat())
    };
    let floor = stored(64 * 1024, 3);
    for (kib, passes) in [(64 * 1024, 2), (64 * 1024 - 1, 3), (8, 1)] {
        let home = Home::locked_by(PHRASE);
        home.add("canary", &canary::fresh(), &[]).assert_ok();
        home.edit_vault(&format!(
            "UPDATE meta SET value = unhex(replace(hex(value), '{floor}', '{}')) WHERE instr(hex(value), '{floor}')",
            stored(kib, passes)
        ))
        .await;
        home.add("second", &canary::fresh(), &[]).assert_fails(1, "weaker than is allowed");
    }
}

#[test]
fn passphrase_vault_refuses_a_passphrase_file_that_others_can_read() {
    let home = Home::locked_by(PHRASE);
    home.chmod("key", 0o604);
    home.add("canary", &canary::fresh(), &[]).assert_fails(1, "key");
    assert!(!home.path("vault.db").exists() || home.run(&["get", "secrets"], "").code == Some(0));
}

#[tokio::test]
async fn passphrase_vault_opens_for_the_proxy_and_no_file_shows_its_value() {
    let (home, value) = (Home::locked_by(PHRASE), canary::fresh());
    home.add("canary", &value, &[]).assert_ok();
    let world = world(&home, &value).await;
    world.agent().get(HOST, "/").await.assert_ok();
    world.assert_injected();
    for entry in std::fs::read_dir(home.folder()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        for hidden in [value.as_str(), PHRASE] {
            let is_the_passphrase_itself = path.ends_with("key") && hidden == PHRASE;
            assert!(is_the_passphrase_itself || canary::search(&bytes, hidden).is_none(), "{path:?}");
        }
    }
}

#[tokio::test]
async fn the_master_key_may_come_from_a_descriptor_or_from_a_command() {
    let (home, value) =
        (Home::with("--master-key-file", Some(&"0123456789abcdef".repeat(4))), canary::fresh());
    home.add("canary", &value, &[]).assert_ok();
    let (vault, key) = (home.path("vault.db"), home.path("key"));
    for how in ["descriptor", "command"] {
        let builder = Proxy::builder().without_secrets().canary(&value).bearer(HOST);
        let builder = builder.arg("--vault").arg(vault.to_str().unwrap());
        let builder = match how {
            "descriptor" => {
                builder.shell(&format!("exec \"$@\" 7<'{}'", key.display())).arg("--master-key-fd").arg("7")
            }
            _ => builder.arg("--master-key-command").arg(&format!("/bin/cat {}", key.display())),
        };
        let world = World::built(Origin::builder(&[HOST]), builder).await;
        world.agent().get(HOST, "/").await.assert_ok();
        world.assert_injected();
    }
}

#[tokio::test]
async fn a_secret_bound_to_one_host_keeps_a_proxy_that_would_send_it_elsewhere_from_starting() {
    let (home, value) = (Home::keyed(), canary::fresh());
    home.add("canary", &value, &["--hosts", HOST]).assert_ok();
    let origin = Origin::start(OTHER).await;
    let builder = with_vault(&home, &value).provider("other", &bearer().replace(HOST, OTHER)).origin(&origin);
    let Err(failure) = builder.try_start().await else { panic!("it started") };
    assert_eq!(failure.code, Some(1));
    let place = failure.stderr.lines().find(|line| line.contains("other.yaml:")).unwrap_or_default();
    assert!(place.contains("`canary` is not bound to `other.example.com`"), "{}", failure.stderr);
    origin.assert_untouched();
}

#[tokio::test]
async fn a_bound_secret_is_not_sent_to_a_host_that_is_added_later_and_the_load_error_is_reported() {
    let (home, value) = (Home::keyed(), canary::fresh());
    home.add("canary", &value, &["--hosts", HOST]).assert_ok();
    let elsewhere = Origin::start(OTHER).await;
    let world = World::built(Origin::builder(&[HOST]), with_vault(&home, &value).origin(&elsewhere)).await;
    let other = harness::proxy::build::provider_yaml("other", &bearer().replace(HOST, OTHER));
    world.proxy.write_provider("other", &other);
    let report = harness::within::eventually("the load error", harness::within::DEADLINE, || {
        Some(world.proxy.admin_get("/readyz?verbose").1).filter(|report| report.contains("not bound"))
    })
    .await;
    assert!(report.contains("DW6001") && report.contains("other.yaml:"), "{report}");
    assert!(world.proxy.log().contains("is not bound to `other.example.com`"), "{}", world.proxy.log());
    world.agent().get(OTHER, "/").await.assert_refused(403, "DW1001");
    elsewhere.assert_untouched();
    world.agent().get(HOST, "/").await.assert_ok();
    world.assert_injected();
}

#[tokio::test]
async fn bound_hosts_that_were_edited_in_the_vaults_file_make_the_secret_unusable() {
    const EVIL: &str = "evil.example.com";
    let (home, value) = (Home::keyed(), canary::fresh());
    home.add("canary", &value, &["--hosts", "good.example.com"]).assert_ok();
    home.edit_vault("UPDATE versions SET hosts = 'evil.example.com' WHERE hosts = 'good.example.com'").await;
    let origin = Origin::start(EVIL).await;
    let builder = Proxy::builder().vault(&home).canary(&value).bearer(EVIL).origin(&origin);
    let proxy = builder.start().await;
    proxy.agent().get(EVIL, "/").await.assert_refused(503, "DW1004");
    assert!(origin.requests().is_empty());
    assert!(proxy.log().contains("does not decrypt"), "{}", proxy.log());
}
