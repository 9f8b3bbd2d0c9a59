//! Python packages that bring roots or proxy habits of their own: which are there, and what they obey.
//!
//! Python is asked in isolated mode, so that nothing of the folder we are in is imported, and for a bounded time.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use control::cli::Env;
use control::refusal::Code;

use super::clients::{Client, Reads, client};
use super::finding::Finding;

/// A Python that does not answer in this time is not asked further.
const ANSWER: Duration = Duration::from_secs(5);

/// The program of every one is the distribution's name. From measurements of 2026-11 with each variable alone.
pub(super) const PACKAGES: &[Client] = &[
    client(
        "python: requests",
        "requests",
        Reads::Either,
        &["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"],
        "does not read SSL_CERT_FILE; nor do google-cloud-storage, Azure and PyGithub, which build on it",
    ),
    client(
        "python: httpx",
        "httpx",
        Reads::Either,
        &["SSL_CERT_FILE"],
        "so do openai, anthropic, google-genai and telegram, which build on it",
    ),
    client(
        "python: aiohttp",
        "aiohttp",
        Reads::IfProgrammed("ClientSession(trust_env=True)"),
        &["SSL_CERT_FILE"],
        "for wss:// it reads WSS_PROXY",
    ),
    client(
        "python: boto3",
        "botocore",
        Reads::Either,
        &["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"],
        "does not read SSL_CERT_FILE",
    ),
    client(
        "python: grpcio",
        "grpcio",
        Reads::LowerOnly,
        &["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"],
        "has roots of its own without it",
    ),
    client("python: websockets", "websockets", Reads::Either, &["SSL_CERT_FILE"], "also WSS_PROXY"),
    client(
        "python: websocket-client",
        "websocket-client",
        Reads::Either,
        &["WEBSOCKET_CLIENT_CA_BUNDLE", "SSL_CERT_FILE"],
        "",
    ),
    client("python: slack_sdk", "slack-sdk", Reads::Either, &["SSL_CERT_FILE"], ""),
];

/// Roots in a package: what names them itself reads no variable.
const CERTIFI: &str = "certifi";

/// Prints which of its arguments are installed, as JSON. Isolated mode leaves the user's packages out, which programs see.
const SCRIPT: &str = r#"
import importlib.metadata, json, re, site, sys
if sys.prefix == sys.base_prefix:
    sys.path.append(site.getusersitepackages())
found = {}
for package in importlib.metadata.distributions():
    name = re.sub(r"[-_.]+", "-", package.metadata["Name"] or "").lower()
    if name in sys.argv[1:]:
        found.setdefault(name, package.version)
print(json.dumps(found))
"#;

/// What was found, and the clients among it.
pub(super) async fn packages(env: &Env) -> (Vec<Finding>, Vec<&'static Client>) {
    let Some(versions) = ask(env).await else {
        let detail =
            format!("did not tell its packages within {} s; they were not looked at", ANSWER.as_secs());
        return (vec![Finding::note("python3", detail)], Vec::new());
    };
    let present: Vec<_> = PACKAGES.iter().filter(|package| versions.contains_key(package.program)).collect();
    let mut findings: Vec<_> = present
        .iter()
        .map(|package| {
            let version = versions.get(package.program).map(String::as_str).unwrap_or_default();
            let detail = format!("{version}; {}", package.obeys());
            match package.proxy {
                Reads::IfProgrammed(_) => Finding::note(package.name, detail).with_code(Code::Dw4002),
                Reads::Either | Reads::LowerOnly | Reads::Only(..) | Reads::Options(_) => {
                    Finding::good(package.name, detail)
                }
            }
        })
        .collect();
    if let Some(version) = versions.get(CERTIFI) {
        let detail = format!("{version}; a program that names certifi.where() itself reads no CA variable");
        findings.push(Finding::note("python: certifi", detail));
    }
    (findings, present)
}

async fn ask(env: &Env) -> Option<BTreeMap<String, String>> {
    let mut command = tokio::process::Command::new("python3");
    command.args(["-I", "-c", SCRIPT, CERTIFI]).args(PACKAGES.iter().map(|package| package.program));
    command.env_clear().env("PATH", env.var("PATH")?).envs(env.var("HOME").map(|home| ("HOME", home)));
    command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(ANSWER, command.output()).await.ok()?.ok()?;
    serde_json::from_slice(&output.stdout).ok()
}
