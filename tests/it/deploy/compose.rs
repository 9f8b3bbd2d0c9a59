//! The compose example, run by Docker's own engine in namespaces of the test's.

use std::process::Stdio;
use std::time::Duration;

use harness::binary::doorward;
use harness::canary;
use tokio::process::Command;

use super::{ROOT, installed};

/// What the script ends with where the kernel or the container around us allows no namespaces, bridges or engine.
const NO_ENGINE: i32 = 3;
/// Two images are built and five containers started, on a file system that copies.
const PATIENCE: Duration = Duration::from_secs(240);

#[tokio::test]
async fn the_agent_of_the_compose_example_has_no_way_out_but_doorward_and_never_holds_the_secret() {
    for tool in ["/usr/sbin/dockerd", "/usr/bin/docker-compose", "/usr/bin/openssl"] {
        if installed(tool.into()).is_none() {
            return;
        }
    }
    assert!(rustix::process::geteuid().is_root(), "an engine of our own needs root");
    let scratch = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/it/deploy/compose.sh");
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--propagation", "private", script, ROOT]).arg(doorward());
    command.arg(scratch.path()).env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
    command.env("HOME", scratch.path()).stdin(Stdio::null()).kill_on_drop(true);
    // Also without a right to namespaces at all.
    if !Command::new("unshare").args(["--net", "--mount", "true"]).status().await.unwrap().success() {
        eprintln!("skipped: no namespaces here");
        return;
    }
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("the script ends").unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(NO_ENGINE) {
        eprintln!("skipped: this machine lets nobody start an engine: {told}");
        return;
    }
    assert!(output.status.success(), "{told}");
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let token = line("token: ");
    assert!(token.len() > 32, "{told}");
    // Its request arrived with the credential, the echo of it was masked, and nothing that it can read has it.
    assert_eq!(line("origin: "), format!("/through Bearer {token}"), "{told}");
    assert!(line("agent: ").starts_with("echo Bearer ***"), "{told}");
    assert!(canary::search(line("agent: ").as_bytes(), token).is_none() && !text.contains("leak:"), "{told}");
    // Another host is refused by doorward; around it there is no way (curl's 7: no route, 28: nothing answers).
    assert!(line("elsewhere: ").contains("DW1001"), "{told}");
    assert_eq!(text.matches("origin: ").count(), 1, "{told}");
    assert!(["7", "28"].contains(&line("around: ")), "{told}");
    assert_eq!(line("health: "), "healthy true 65532:65532", "{told}");
}
