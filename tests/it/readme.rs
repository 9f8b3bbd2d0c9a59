//! The README's shell commands, run as they stand: what a stranger types, with a local origin in GitHub's place.
//!
//! They name the ports that the product names, so they are run in a network of their own, in which nothing else listens. What a
//! stranger has and the test has not is put in its place: `cargo` links the binary that was built, and environment variables
//! lead `api.github.com` to the origin.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use harness::binary::doorward;
use harness::ca::TestCa;
use harness::{Origin, canary, within};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, Command};

const README: &str = include_str!("../../README.md");
/// Set by the one who made the network.
const INSIDE: &str = "DOORWARD_TEST_NETWORK";

/// The `sh` blocks below a heading.
fn blocks(heading: &str) -> Vec<&'static str> {
    let (_, section) = README.split_once(&format!("\n## {heading}\n")).expect(heading);
    let section = section.split("\n## ").next().unwrap();
    let blocks = section.split("\n```sh\n").skip(1);
    blocks.map(|block| block.split("\n```").next().unwrap()).collect()
}

#[test]
fn the_walk_through_of_the_readme_works_as_it_stands() {
    if !Path::new("/usr/sbin/ip").exists() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "iproute2 is not there, and CI skips nothing");
        eprintln!("skipped: needs ip (iproute2)");
        return;
    }
    let inside = ["--exact", "readme::inside_a_network_of_its_own", "--ignored", "--nocapture"];
    let mut command = std::process::Command::new("unshare");
    // In a process namespace as well: nothing outlives the test.
    command.args([
        "-rnpf",
        "--mount-proc",
        "--kill-child",
        "sh",
        "-c",
        "/usr/sbin/ip link set lo up && exec \"$@\"",
        "sh",
    ]);
    command.arg(std::env::current_exe().unwrap()).args(inside);
    let output = command.env(INSIDE, "1").env("DOORWARD_BIN", doorward()).output().expect("unshare");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
#[ignore = "the test above runs it, in a network of its own"]
async fn inside_a_network_of_its_own() {
    assert!(std::env::var_os(INSIDE).is_some(), "only for the test above: it needs ports 3128 and 3129");
    let stranger = Stranger::new().await;
    laptop(&stranger).await;
    sidecar(&stranger).await;
}

/// A person with the README, below a folder under version control.
struct Stranger {
    folder: tempfile::TempDir,
    origin: Origin,
    token: String,
}

/// What a block printed, and the commands of it that failed, with their codes.
struct Typed {
    out: String,
    failed: Vec<String>,
}

impl Stranger {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["bin", "home", "agent", "project/.git"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("ca.pem"), TestCa::world().pem()).unwrap();
        let cargo = folder.path().join("bin/cargo");
        let install = format!(
            "#!/bin/sh\n[ \"$*\" = 'install --path proxy' ] || exit 9\nmkdir -p ~/.cargo/bin\nln -s {} ~/.cargo/bin/doorward\n",
            doorward().display()
        );
        fs::write(&cargo, install).unwrap();
        fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder, origin: Origin::start("api.github.com").await, token: canary::fresh() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A shell in the project's folder that types this block; the commands that fail are noted in `failed`.
    fn shell(&self, block: &str, home: &str, failed: &str) -> Command {
        fs::write(self.at(failed), "").unwrap();
        let mut command = Command::new("bash");
        command.args(["-c", &format!("trap 'echo \"$? $BASH_COMMAND\" >>\"$FAILED\"' ERR\n{block}\n")]);
        let path = std::env::var("PATH").unwrap();
        let (bin, home) = (self.at("bin"), self.at(home));
        let path = format!("{}:{}/.cargo/bin:{path}", bin.display(), self.at("home").display());
        command.env_clear().env("PATH", path).env("HOME", &home).env("FAILED", self.at(failed));
        command.current_dir(self.at("project"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// The same of the stranger's own shell, which holds the token.
    fn own_shell(&self, block: &str, failed: &str) -> Command {
        let mut command = self.shell(block, "home", failed);
        command.env("TOKEN", &self.token).env("DOORWARD_UPSTREAM_CA", self.at("ca.pem"));
        command.env("DOORWARD_ALLOW_CIDR", "127.0.0.0/8");
        command.env("DOORWARD_RESOLVE", format!("api.github.com:443:{}", self.origin.address()));
        command
    }

    async fn typed(&self, mut command: Command, failed: &str) -> Typed {
        let output = within("a block of the README", command.output()).await.unwrap();
        self.read(&output, failed)
    }

    fn read(&self, output: &Output, failed: &str) -> Typed {
        for bytes in [&output.stdout, &output.stderr] {
            assert_eq!(canary::search(bytes, &self.token), None);
        }
        let out = [&output.stdout[..], &output.stderr[..]].concat();
        let failed = fs::read_to_string(self.at(failed)).unwrap();
        let typed = Typed {
            out: String::from_utf8_lossy(&out).into_owned(),
            failed: failed.lines().map(str::to_owned).collect(),
        };
        eprintln!("{}\n-- failed: {:?}", typed.out, typed.failed);
        typed
    }

    /// The origin had one more request, with the credential, and whoever asked saw it masked.
    fn assert_served(&self, many: usize, out: &str) {
        let requests = self.origin.requests();
        assert_eq!(requests.len(), many, "{requests:#?}");
        let seen = &requests[many - 1];
        assert_eq!(seen.headers_named("authorization"), [format!("Bearer {}", self.token)], "{seen:#?}");
        let echo = format!("Bearer {}", "*".repeat(self.token.len()));
        assert!(out.contains("GET /user") && out.contains(&echo), "{out}");
    }
}

async fn laptop(stranger: &Stranger) {
    let blocks = blocks("On a laptop, in a minute");
    let [setup, look] = blocks[..] else { panic!("the laptop's blocks have changed: {blocks:?}") };
    let typed = stranger.typed(stranger.own_shell(setup, "failed"), "failed").await;
    assert_eq!(typed.failed, [""; 0], "{}", typed.out);
    stranger.assert_served(1, &typed.out);
    let typed = stranger.typed(stranger.own_shell(look, "failed"), "failed").await;
    // 3: policy says deny, which is what the reader is shown.
    let denied =
        "3 doorward check request DELETE https://api.github.com/repos/acme/api --providers github.yaml";
    assert_eq!(typed.failed, [denied], "{}", typed.out);
    assert!(typed.out.contains("deny") && typed.out.contains("denied by a rule"), "{}", typed.out);
    assert_eq!(stranger.origin.requests().len(), 1, "`check` sends nothing");
}

async fn sidecar(stranger: &Stranger) {
    let blocks = blocks("As a sidecar with files");
    let [serve, agent, operator] = blocks[..] else {
        panic!("the sidecar's blocks have changed: {blocks:?}")
    };
    let serving = stranger.own_shell(serve, "serving").spawn().unwrap();
    let ready = ready(stranger).await;
    let typed = stranger.typed(stranger.shell(agent, "agent", "failed"), "failed").await;
    assert_eq!(typed.failed, [""; 0], "{}", typed.out);
    stranger.assert_served(2, &typed.out);
    let typed = stranger.typed(stranger.shell(operator, "home", "failed"), "failed").await;
    assert_eq!(typed.failed, [""; 0], "{}", typed.out);
    assert!(typed.out.contains("[+] "), "not what `/readyz?verbose` says: {}", typed.out);
    let ended = end(serving, &ready).await;
    let typed = stranger.read(&ended, "serving");
    assert!(ended.status.success() && typed.failed.is_empty(), "{}", typed.out);
    for entry in fs::read_dir(stranger.at("project/public")).unwrap() {
        let public = fs::read(entry.unwrap().path()).unwrap();
        assert_eq!(canary::search(&public, &stranger.token), None);
    }
}

async fn ready(stranger: &Stranger) -> Value {
    let file = stranger.at("project/ready.json");
    within::eventually("the proxy to serve", within::DEADLINE, || {
        serde_json::from_str(&fs::read_to_string(&file).ok()?).ok()
    })
    .await
}

/// Ends the proxy as its operator does: SIGTERM drains.
async fn end(serving: Child, ready: &Value) -> Output {
    let pid = i32::try_from(ready["pid"].as_i64().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    within("its end", serving.wait_with_output()).await.unwrap()
}
