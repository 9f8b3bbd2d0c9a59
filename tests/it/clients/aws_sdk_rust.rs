//! The AWS SDK for Rust as it comes, before the same servers as boto3: it finds the proxy, the roots and its dummy keys in what the
//! proxy publishes. Its program is `tests/clients/aws-sdk-rust`, with a lock file of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::aws::{Aws, HOSTS, before_moto};
use super::{ROOT, Server, python, run};

/// The SDK alone is compiled for minutes, where `.ci/run` has not done it.
const BUILD: Duration = Duration::from_secs(1200);

/// The client's program, as its source is now.
async fn client() -> PathBuf {
    let root = Path::new(ROOT).canonicalize().unwrap();
    let built = root.join(".ci/clients");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--locked", "--quiet", "--manifest-path"]);
    cargo.arg(root.join("tests/clients/aws-sdk-rust/Cargo.toml")).arg("--target-dir").arg(&built);
    let output = cargo.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(BUILD, output).await.expect("it is built in time").unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    built.join("debug/doorward-aws-sdk-client")
}

#[tokio::test]
async fn the_sdk_for_rust_is_refused_what_the_policy_and_the_scope_do_not_allow() {
    let Some(python) = python() else { return };
    let client = client().await;
    let policy = "policy: {allow: [\"s3:*\"], deny: [\"s3:DeleteBucket\"]}\nscope: {resources: [\"arn:aws:s3:::acme\", \"arn:aws:s3:::acme/*\"]}";
    let aws = Aws::of(&python, policy, None).await;
    let printed = aws.program(&client, "refusals").await.assert_ok();
    assert_eq!(printed.out.lines().collect::<Vec<_>>(), ["refused DW1002 403"; 2]);
}

#[tokio::test]
async fn the_sdk_for_rust_streams_in_chunks_with_a_checksum_behind_them() {
    let Some(python) = python() else { return };
    let client = client().await;
    let mut aws = Aws::of(&python, "", Some("IQoJc4naryToken//withSlashes+and==")).await;
    aws.program(&client, "streams").await.assert_ok().assert_says("streamed");
    let put = "signed s3 PUT STREAMING-UNSIGNED-PAYLOAD-TRAILER";
    let get = "signed s3 GET e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    aws.says(&[put, get, put, get, put, get]).await;
}

#[tokio::test]
async fn moto_verifies_what_the_sdk_for_rust_sends() {
    let Some(python) = python() else { return };
    let client = client().await;
    let mut server = Server::start_for(&python, "moto_server.py", HOSTS, &[]).await;
    let (id, secret) = (server.line().await, server.line().await);
    let (proxy, home) = before_moto(&server, (&id, &secret), "").await;
    for (what, says) in [
        ("objects", "list copy delete"),
        ("parts", "parts"),
        ("streams", "streamed"),
        ("services", "services arn:aws:iam::123456789012:user/agent"),
    ] {
        run(&proxy, home.path(), &client, &[what]).await.assert_ok().assert_says(says);
    }
    let (proxy, home) = before_moto(&server, (&id, &harness::canary::fresh()), "").await;
    let printed = run(&proxy, home.path(), &client, &["objects"]).await;
    printed.assert_failed().assert_says("SignatureDoesNotMatch");
}
