//! skopeo as it comes, before a registry whose token service signs a token for each repository, and takes no other.

use std::path::Path;

use harness::Proxy;

use super::{Printed, Server, python, run};

const HOSTS: &[&str] = &["registry-1.docker.io", "auth.docker.io"];

struct Hub {
    server: Server,
    proxy: Proxy,
    home: tempfile::TempDir,
}

impl Hub {
    async fn of(python: &Path, policy: &str) -> Self {
        let password = harness::canary::fresh();
        let server = Server::start_for(python, "registry_server.py", HOSTS, &["acme", &password]).await;
        let spec = format!(
            "type: docker-registry\nhost: registry-1.docker.io\nauth: {{type: token-service, secretRef: hub}}\n{policy}"
        );
        let mut builder = Proxy::builder().provider("hub", &spec).public_value("hub", "username", "acme");
        builder = builder.secret("hub", "password", &password);
        for host in HOSTS {
            builder = builder.route(host, 443, server.address());
        }
        let home = tempfile::tempdir().unwrap();
        image(&home.path().join("image"));
        Self { server, proxy: builder.start().await, home }
    }

    async fn skopeo(&self, words: &str) -> Printed {
        let words: Vec<&str> = ["--insecure-policy"].into_iter().chain(words.split(' ')).collect();
        run(&self.proxy, self.home.path(), Path::new("skopeo"), &words).await
    }
}

/// A folder as skopeo's `dir:` has it: one layer of nothing much, its configuration, its manifest.
fn image(folder: &Path) {
    use sha2::{Digest as _, Sha256};
    std::fs::create_dir(folder).unwrap();
    let put = |bytes: &[u8]| {
        let digest = hex::encode(Sha256::digest(bytes));
        std::fs::write(folder.join(&digest), bytes).unwrap();
        serde_json::json!({"digest": format!("sha256:{digest}"), "size": bytes.len()})
    };
    let layer: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    let id = format!("sha256:{}", hex::encode(Sha256::digest(&layer)));
    let config = serde_json::json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [id]}});
    let mut config = put(config.to_string().as_bytes());
    config["mediaType"] = "application/vnd.oci.image.config.v1+json".into();
    let mut layer = put(&layer);
    layer["mediaType"] = "application/vnd.oci.image.layer.v1.tar".into();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [layer],
    });
    std::fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
    std::fs::write(folder.join("version"), "Directory Transport Version: 1.1\n").unwrap();
}

/// skopeo, if the machine has it; `.ci/run` installs it.
fn has_skopeo() -> bool {
    let has = std::process::Command::new("skopeo").arg("--version").output().is_ok();
    assert!(has || std::env::var("CI").as_deref() != Ok("true"), "skopeo is not there, and CI skips nothing");
    if !has {
        eprintln!("skipped: needs skopeo, which .ci/run installs");
    }
    has
}

#[tokio::test]
async fn skopeo_pushes_and_pulls_with_a_token_for_each_right() {
    let (Some(python), true) = (python(), has_skopeo()) else { return };
    let mut hub = Hub::of(&python, "scope: {repositories: [\"acme/*\"]}").await;
    hub.skopeo("copy dir:image docker://docker.io/acme/app:1").await.assert_ok();
    let inspected = hub.skopeo("inspect --raw docker://docker.io/acme/app:1").await.assert_ok();
    assert!(inspected.out.contains("image.manifest.v1+json"), "{}", inspected.out);
    hub.skopeo("copy docker://docker.io/acme/app:1 dir:back").await.assert_ok();
    // skopeo packs layers when it pushes: what was pulled is what the registry holds.
    let pulled = std::fs::read_to_string(hub.home.path().join("back/manifest.json")).unwrap();
    assert_eq!(pulled, inspected.out);
    // Each token once, and nothing that was wrong.
    let expected = ["token -", "token repository:acme/app:pull", "token repository:acme/app:pull,push"];
    let mut lines = [hub.server.line().await, hub.server.line().await, hub.server.line().await];
    lines.sort();
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn skopeo_is_refused_what_policy_and_scope_do_not_allow() {
    let (Some(python), true) = (python(), has_skopeo()) else { return };
    let hub = Hub::of(&python, "policy: {allow: [read]}\nscope: {repositories: [\"acme/*\"]}").await;
    for words in [
        "inspect --raw docker://docker.io/evil/app:1",
        "copy dir:image docker://docker.io/acme/app:1",
        "delete docker://docker.io/acme/app:1",
    ] {
        hub.skopeo(words).await.assert_failed();
    }
    let refused = hub.proxy.audit().lines().into_iter().filter(|line| line["code"] == "DW1002").count();
    assert!(refused >= 2, "{refused}");
}
