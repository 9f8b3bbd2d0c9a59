//! git over https, to `git http-backend` under github.com.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use harness::origin::{Exchange, OriginBuilder};
use harness::{Origin, Proxy, answer, canary, within};
use http::Response;
use tokio::io::AsyncWriteExt as _;

use super::{Client, Printed};

pub(super) const URL: &str = "https://github.com/acme/api.git";
pub(super) const SPEC: &str =
    "type: github\nhosts: [github.com]\nauth: {type: pat, secretRef: canary, agentEnvVar: GITHUB_TOKEN}";

/// github.com: a bare repository with one commit, for who shows this token.
pub(super) struct Vendor {
    projects: tempfile::TempDir,
    pair: String,
}

impl Vendor {
    pub(super) fn of(token: &str) -> Self {
        let projects = tempfile::tempdir().unwrap();
        seed(&projects.path().join("acme/api.git"));
        Self { projects, pair: format!("Basic {}", STANDARD.encode(format!("x-access-token:{token}"))) }
    }

    pub(super) fn origin(&self) -> OriginBuilder {
        let (root, pair) = (self.projects.path().to_owned(), self.pair.clone());
        let answer = answer::with(move |exchange| backend(root.clone(), pair.clone(), exchange));
        Origin::builder(&["github.com"]).answer(answer)
    }

    /// A line of git's output about the bare repository itself.
    pub(super) fn upstream(&self, args: &[&str]) -> String {
        plain_git(&self.projects.path().join("acme/api.git"), args)
    }
}

/// Clients of a proxy before it.
struct GitHub {
    client: Client,
    vendor: Vendor,
}

impl GitHub {
    async fn start(policy: &str) -> Self {
        let token = canary::fresh();
        let vendor = Vendor::of(&token);
        let proxy = Proxy::builder().canary(&token).provider("github", &format!("{SPEC}\n{policy}"));
        Self { client: Client::built(vendor.origin(), proxy).await, vendor }
    }

    /// git in the clients' home, as an agent runs it.
    async fn git(&self, args: &[&str]) -> Printed {
        let who = ["-c", "user.name=agent", "-c", "user.email=agent@example.com"];
        self.client.run("git", &[&who, args].concat()).await
    }

    fn upstream(&self, args: &[&str]) -> String {
        self.vendor.upstream(args)
    }
}

/// git without any proxy, on the vendor's side.
pub(super) fn plain_git(at: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=vendor", "-c", "user.email=vendor@example.com", "-C"]).arg(at).args(args);
    let output = command.stdin(Stdio::null()).output().expect("git starts");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn seed(bare: &Path) {
    std::fs::create_dir_all(bare).unwrap();
    plain_git(bare, &["init", "--quiet", "--bare", "--initial-branch=main"]);
    let tree = plain_git(bare, &["hash-object", "-t", "tree", "-w", "/dev/null"]);
    let commit = plain_git(bare, &["commit-tree", &tree, "-m", "seed"]);
    plain_git(bare, &["update-ref", "refs/heads/main", &commit]);
}

/// GitHub: asks for Basic credentials, then lets `git http-backend` answer as a CGI program (RFC 3875).
async fn backend(root: PathBuf, pair: String, mut exchange: Exchange) -> Response<answer::Body> {
    let body = exchange.body().await;
    if exchange.seen.header("authorization") != Some(&pair) {
        let challenge = Response::builder().status(401).header("www-authenticate", "Basic realm=\"GitHub\"");
        return challenge.body(answer::full("")).unwrap();
    }
    let (path, query) = exchange.seen.target.split_once('?').unwrap_or((&exchange.seen.target, ""));
    let mut cgi = tokio::process::Command::new("git");
    cgi.arg("http-backend").env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1");
    cgi.env("REQUEST_METHOD", &exchange.seen.method).env("PATH_INFO", path).env("QUERY_STRING", query);
    cgi.env("REMOTE_USER", "x-access-token").env("REMOTE_ADDR", "127.0.0.1");
    cgi.env("CONTENT_LENGTH", body.len().to_string());
    for (variable, header) in [
        ("CONTENT_TYPE", "content-type"),
        ("HTTP_CONTENT_ENCODING", "content-encoding"),
        ("GIT_PROTOCOL", "git-protocol"),
    ] {
        if let Some(value) = exchange.seen.header(header) {
            cgi.env(variable, value);
        }
    }
    let mut child = cgi.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feed = tokio::spawn(async move {
        let _ = stdin.write_all(&body).await;
    });
    let output = within("git http-backend", child.wait_with_output()).await.unwrap();
    feed.await.unwrap();
    response(&output.stdout)
}

/// A CGI program's output as a response.
fn response(output: &[u8]) -> Response<answer::Body> {
    let end = memchr::memmem::find(output, b"\r\n\r\n").expect("a CGI head");
    let head = std::str::from_utf8(&output[..end]).unwrap();
    let mut response = Response::builder();
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        response = match name {
            "Status" => response.status(value.split(' ').next().unwrap()),
            _ => response.header(name, value),
        };
    }
    response.body(answer::full(Bytes::copy_from_slice(&output[end + 4..]))).unwrap()
}

#[tokio::test]
async fn git_prints_the_code_when_the_policy_denies_a_clone() {
    let github = GitHub::start("policy: {allow: [\"issues:*\"]}").await;
    github.git(&["clone", URL, "api"]).await.assert_failed().assert_says("DW1002");
    assert!(github.client.origin.requests().is_empty());
}

#[tokio::test]
async fn git_prints_the_code_when_the_policy_denies_a_push() {
    let github = GitHub::start("policy: {allow: [\"contents:read\"]}").await;
    github.git(&["clone", "--quiet", URL, "api"]).await.assert_ok();
    github.git(&["-C", "api", "commit", "--quiet", "--allow-empty", "-m", "mine"]).await.assert_ok();
    let before = github.upstream(&["rev-parse", "main"]);
    github.git(&["-C", "api", "push", "origin", "main"]).await.assert_failed().assert_says("DW1002");
    assert_eq!(github.upstream(&["rev-parse", "main"]), before);
}

#[tokio::test]
async fn git_prints_the_code_when_the_host_is_not_allowed() {
    let github = GitHub::start("").await;
    let printed = github.git(&["clone", "https://git.example.net/acme/api.git", "api"]).await;
    printed.assert_failed().assert_says("DW1001");
    github.client.origin.assert_untouched();
}

#[tokio::test]
async fn git_clones_and_pushes_without_knowing_the_token() {
    let github = GitHub::start("").await;
    github.git(&["clone", "--quiet", URL, "api"]).await.assert_ok();
    github.client.put("api/small", b"a small file\n");
    github.git(&["-C", "api", "add", "small"]).await.assert_ok();
    github.git(&["-C", "api", "commit", "--quiet", "-m", "small"]).await.assert_ok();
    github.git(&["-C", "api", "push", "origin", "main"]).await.assert_ok();
    assert_eq!(github.upstream(&["show", "main:small"]), "a small file");
    let pair =
        format!("Basic {}", STANDARD.encode(format!("x-access-token:{}", github.client.proxy.canary())));
    let requests = github.client.origin.requests();
    assert!(requests.iter().all(|seen| seen.headers_named("authorization") == [&pair]), "{requests:#?}");
    let config = std::fs::read_to_string(github.client.home().join("api/.git/config")).unwrap();
    assert_eq!(canary::search(config.as_bytes(), github.client.proxy.canary()), None);
}

#[tokio::test]
async fn git_pushes_more_than_its_post_buffer() {
    let github = GitHub::start("").await;
    github.git(&["clone", "--quiet", URL, "api"]).await.assert_ok();
    let mut large = vec![0; 3 << 20];
    getrandom::fill(&mut large).unwrap();
    github.client.put("api/large", &large);
    github.git(&["-C", "api", "add", "large"]).await.assert_ok();
    github.git(&["-C", "api", "commit", "--quiet", "-m", "large"]).await.assert_ok();
    github.git(&["-C", "api", "push", "origin", "main"]).await.assert_ok();
    assert_eq!(github.upstream(&["cat-file", "-s", "main:large"]), large.len().to_string());
    let posts: Vec<_> = github
        .client
        .origin
        .requests()
        .into_iter()
        .filter(|seen| seen.target.ends_with("/git-receive-pack"))
        .collect();
    let sizes: Vec<_> = posts.iter().map(|seen| seen.body.len()).collect();
    // A probe of four bytes, then the pack, whose length git does not know beforehand.
    assert!(sizes.len() == 2 && sizes[0] == 4 && sizes[1] > large.len(), "{sizes:?}");
    assert_eq!(posts[1].header("content-length"), None);

    github.git(&["clone", "--quiet", URL, "again"]).await.assert_ok();
    assert_eq!(std::fs::read(github.client.home().join("again/large")).unwrap(), large);
}
