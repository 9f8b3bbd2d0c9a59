//! `doorward run -- CLIENT`: real clients below the launcher, with nothing but what the launcher gives them.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::origin::OriginBuilder;
use harness::proxy::build::provider_yaml;
use harness::{Origin, canary};
use tokio::process::Command;

use super::git::{SPEC as GITHUB, URL, Vendor, plain_git};
use super::{PATIENCE, Printed, node_modules, python, script};
use crate::home::Home;

const HOST: &str = "api.openai.com";
/// Only the dummy is replaced: a client that was not given it gets nothing.
const OPENAI: &str = "type: openai\nauth: {type: api-key, secretRef: canary, agentEnvVar: OPENAI_API_KEY, onAgentCredential: placeholder-only}";
const READ_ONLY: &str =
    "policy: {httpRules: [{id: read, methods: [GET], paths: [\"/**\"], effect: allow}], defaultAction: deny}";

/// A developer's home with one provider, and the vendor's origin.
struct Launched {
    home: Home,
    origin: Origin,
    /// Under which the developer's shell holds the real credential.
    variable: &'static str,
}

impl Launched {
    async fn of(home: Home, origin: OriginBuilder, spec: &str, variable: &'static str) -> Self {
        std::fs::write(home.path().join("demo.yaml"), provider_yaml("vendor", spec)).unwrap();
        std::fs::create_dir(home.path().join("work")).unwrap();
        Self { home, origin: origin.start().await, variable }
    }

    async fn openai(policy: &str) -> Self {
        let spec = format!("{OPENAI}\n{policy}");
        Self::of(Home::new(), Origin::builder(&[HOST]), &spec, "OPENAI_API_KEY").await
    }

    fn work(&self) -> std::path::PathBuf {
        self.home.path().join("work")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.home.run(&[&["--"], words].concat());
        self.home.towards(&mut command, &self.origin);
        let routes = self.origin.hosts().iter().map(|host| format!("{host}:443:{}", self.origin.address()));
        command.env("DOORWARD_RESOLVE", routes.collect::<Vec<_>>().join(","));
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", self.work());
        command.env(self.variable, &self.home.secret).current_dir(self.work());
        command
    }

    /// `doorward run -- CLIENT …` to its end.
    async fn run(&self, words: &[&str]) -> Printed {
        let output = tokio::time::timeout(PATIENCE, self.command(words).output()).await;
        let output = output.unwrap_or_else(|_| panic!("{words:?} still runs after {PATIENCE:?}")).unwrap();
        for bytes in [&output.stdout, &output.stderr] {
            assert_eq!(canary::search(bytes, &self.home.secret), None, "{words:?}");
        }
        let left = std::fs::read_dir(self.home.path().join("tmp")).unwrap().count();
        assert_eq!(left, 0, "something stayed behind");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Printed { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// The client was told its answer with the credential masked, and the origin had the credential.
    fn assert_served(&self, printed: Printed) {
        let masked = format!("Bearer {}", "*".repeat(self.home.secret.len()));
        printed.assert_ok().assert_says(&masked);
        let seen = self.origin.last();
        assert_eq!(seen.headers_named("authorization"), [format!("Bearer {}", self.home.secret)]);
    }
}

/// curl as its users write it, with the dummy from the environment.
const CURL: &str =
    r#"exec curl -sS -w '\n%{http_code} %{http_version}' "$@" -H "Authorization: Bearer $OPENAI_API_KEY""#;

#[tokio::test]
async fn run_curl_is_refused_with_the_code_and_served_with_the_credential() {
    let url = format!("https://{HOST}/v1/models");
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let world = Launched::openai(READ_ONLY).await;
        let denied = world.run(&["curl", "-sS", flag, "-X", "DELETE", &url]).await;
        denied.assert_ok().assert_says("DW1002");
        // The launcher ends with curl's own code.
        let denied = world.run(&["curl", "-sS", flag, "--fail", "https://example.net/"]).await;
        assert_eq!(denied.code, Some(22), "{denied:?}");
        assert!(world.origin.requests().is_empty());
        let printed = world.run(&["sh", "-c", CURL, "sh", flag, &url]).await;
        world.assert_served(printed.assert_says(&format!("200 {version}")));
    }
}

#[tokio::test]
async fn run_python_is_refused_with_the_code_and_served_with_the_credential() {
    let Some(python) = python() else { return };
    let python = python.to_str().unwrap();
    let url = format!("https://{HOST}/v1/models");
    for (name, version) in [("requests_client.py", "HTTP/1.1"), ("httpx_client.py", "HTTP/2")] {
        let world = Launched::openai(READ_ONLY).await;
        let denied = world.run(&[python, &script(name), "DELETE", &url]).await.assert_ok();
        denied.assert_says(&format!("403 {version}")).assert_says("DW1002");
        assert!(world.origin.requests().is_empty());
        let printed = world.run(&[python, &script(name), "GET", &url]).await;
        world.assert_served(printed.assert_says(&format!("200 {version}")));
    }
}

#[tokio::test]
async fn run_node_is_refused_with_the_code_and_served_with_the_credential() {
    let Some(modules) = node_modules() else { return };
    let url = format!("https://{HOST}/v1/models");
    let (https, undici) = (script("https_client.cjs"), script("undici_client.cjs"));
    for program in [
        vec!["node", &https],
        vec!["node", &undici, &modules, "EnvHttpProxyAgent"],
        vec!["node", &undici, &modules, "ProxyAgent"],
    ] {
        let world = Launched::openai(READ_ONLY).await;
        let denied = world.run(&[&program[..], &["DELETE", &url]].concat()).await.assert_ok();
        denied.assert_says("403\n").assert_says("DW1002");
        assert!(world.origin.requests().is_empty());
        let printed = world.run(&[&program[..], &["GET", &url]].concat()).await;
        world.assert_served(printed.assert_says("200\n"));
    }
}

const WHO: [&str; 4] = ["-c", "user.name=agent", "-c", "user.email=agent@example.com"];

#[tokio::test]
async fn run_git_is_refused_with_the_code_and_clones_and_pushes_with_the_credential() {
    let home = Home::new();
    let vendor = Vendor::of(&home.secret);
    let pair = format!("Basic {}", STANDARD.encode(format!("x-access-token:{}", home.secret)));
    let world = Launched::of(home, vendor.origin(), GITHUB, "GITHUB_TOKEN").await;
    let denied = world.run(&["git", "clone", "https://git.example.net/acme/api.git", "no"]).await;
    assert_eq!(denied.code, Some(128), "{denied:?}");
    denied.assert_says("DW1001");
    world.origin.assert_untouched();
    world.run(&["git", "clone", "--quiet", URL, "api"]).await.assert_ok();
    let api = world.work().join("api");
    std::fs::write(api.join("small"), "a small file\n").unwrap();
    plain_git(&api, &["add", "small"]);
    plain_git(&api, &["commit", "--quiet", "-m", "small"]);
    let push = [&["git"], &WHO[..], &["-C", "api", "push", "origin", "main"]].concat();
    world.run(&push).await.assert_ok();
    assert_eq!(vendor.upstream(&["show", "main:small"]), "a small file");
    let requests = world.origin.requests();
    assert!(requests.iter().all(|seen| seen.headers_named("authorization") == [&pair]), "{requests:#?}");
    assert_not_in(&api.join(".git/config"), &world.home.secret);
    let policy = format!("{GITHUB}\npolicy: {{allow: [\"contents:read\"]}}");
    std::fs::write(world.home.path().join("demo.yaml"), provider_yaml("vendor", &policy)).unwrap();
    plain_git(&api, &["commit", "--quiet", "--allow-empty", "-m", "more"]);
    world.run(&push).await.assert_failed().assert_says("DW1002");
    assert_eq!(vendor.upstream(&["log", "-1", "--format=%s", "main"]), "small");
}

fn assert_not_in(file: &Path, secret: &str) {
    assert_eq!(canary::search(&std::fs::read(file).unwrap(), secret), None, "{}", file.display());
}
