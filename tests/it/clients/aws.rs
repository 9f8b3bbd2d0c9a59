//! boto3, the AWS CLI and the SDK for JavaScript as they come, before a small AWS that verifies every signature with botocore's own
//! signer, and before moto, a real S3-compatible server, with its verification switched on.

use harness::Proxy;
use tempfile::TempDir;

use super::{Printed, Server, node_modules, python, run, script};

const ID: &str = "AKIAREALREALREALREAL";
const REGION: &str = "eu-west-1";
pub(super) const HOSTS: &[&str] = &[
    "acme.s3.eu-west-1.amazonaws.com",
    "evil.s3.eu-west-1.amazonaws.com",
    "acme.s3.us-east-1.amazonaws.com",
    "acme.s3.amazonaws.com",
    "s3.eu-west-1.amazonaws.com",
    "dynamodb.eu-west-1.amazonaws.com",
    "sqs.eu-west-1.amazonaws.com",
    "eu-west-1.queue.amazonaws.com",
    "sts.eu-west-1.amazonaws.com",
    "lambda.eu-west-1.amazonaws.com",
];

pub(super) struct Aws {
    server: Server,
    proxy: Proxy,
    home: TempDir,
}

impl Aws {
    pub(super) async fn of(python: &std::path::Path, policy: &str, token: Option<&str>) -> Self {
        let secret = harness::canary::fresh();
        let mut keys = vec![ID, &secret];
        keys.extend(token);
        let server = Server::start_for(python, "aws_server.py", HOSTS, &keys).await;
        let spec = format!("type: aws\nauth: {{secretRef: aws}}\nconfig: {{region: {REGION}}}\n{policy}");
        let mut builder = Proxy::builder().provider("cloud", &spec);
        builder =
            builder.public_value("aws", "access_key_id", ID).secret("aws", "secret_access_key", &secret);
        if let Some(token) = token {
            builder = builder.secret("aws", "session_token", token);
        }
        for host in HOSTS {
            builder = builder.route(host, 443, server.address());
        }
        Self { server, proxy: builder.start().await, home: tempfile::tempdir().unwrap() }
    }

    async fn sdk(&self, modules: &str, what: &str) -> Printed {
        run(&self.proxy, self.home.path(), "node".as_ref(), &[&script("aws_sdk_client.cjs"), modules, what])
            .await
    }

    /// The CLI of the same environment as this Python.
    async fn cli(&self, python: &std::path::Path, words: &str) -> Printed {
        let words: Vec<&str> = ["--region", REGION].into_iter().chain(words.split('|')).collect();
        run(&self.proxy, self.home.path(), &python.with_file_name("aws"), &words).await
    }

    async fn run(&self, python: &std::path::Path, what: &str) -> Printed {
        run(&self.proxy, self.home.path(), python, &[&script("boto3_client.py"), what]).await
    }

    /// A program of its own.
    pub(super) async fn program(&self, program: &std::path::Path, what: &str) -> Printed {
        run(&self.proxy, self.home.path(), program, &[what]).await
    }

    /// What the server says of the next requests.
    pub(super) async fn says(&mut self, lines: &[&str]) {
        for line in lines {
            assert_eq!(self.server.line().await, *line);
        }
    }
}

#[tokio::test]
async fn boto3_is_refused_what_the_policy_the_scope_and_the_region_do_not_allow() {
    let Some(python) = python() else { return };
    let policy = "policy: {allow: [\"s3:*\", \"sts:GetCallerIdentity\"], deny: [\"s3:DeleteBucket\"]}\nscope: {resources: [\"arn:aws:s3:::acme\", \"arn:aws:s3:::acme/*\"]}";
    let aws = Aws::of(&python, policy, None).await;
    let printed = aws.run(&python, "refusals").await.assert_ok();
    assert_eq!(printed.out.lines().collect::<Vec<_>>(), ["refused DW1002 403"; 6]);
}

#[tokio::test]
async fn boto3_puts_gets_lists_copies_and_uploads_in_parts() {
    let Some(python) = python() else { return };
    let mut aws = Aws::of(&python, "", None).await;
    let printed = aws.run(&python, "objects").await.assert_ok();
    printed
        .assert_says("put get head")
        .assert_says("range")
        .assert_says("list copy delete")
        .assert_says("multipart");
    aws.says(&["signed s3 PUT STREAMING-UNSIGNED-PAYLOAD-TRAILER"]).await;
}

#[tokio::test]
async fn boto3_signs_payloads_and_paths_in_the_other_styles_as_well() {
    let Some(python) = python() else { return };
    let aws = Aws::of(&python, "", None).await;
    aws.run(&python, "path_style").await.assert_ok().assert_says("path style");
}

#[tokio::test]
async fn presigned_requests_of_boto3_are_signed_again_in_kind() {
    let Some(python) = python() else { return };
    let mut aws = Aws::of(&python, "", None).await;
    aws.run(&python, "presigned").await.assert_ok().assert_says("presigned");
    let both = ["signed s3 PUT UNSIGNED-PAYLOAD", "signed s3 GET UNSIGNED-PAYLOAD"];
    aws.says(&[both, both].concat()).await;
}

#[tokio::test]
async fn an_event_stream_reaches_boto3_byte_for_byte() {
    let Some(python) = python() else { return };
    let aws = Aws::of(&python, "", Some("IQoJc4naryToken//withSlashes+and==")).await;
    aws.run(&python, "events").await.assert_ok().assert_says("events");
}

#[tokio::test]
async fn boto3_calls_json_and_query_services_with_a_session_token() {
    let Some(python) = python() else { return };
    let mut aws = Aws::of(&python, "", Some("IQoJc4naryToken//withSlashes+and==")).await;
    aws.run(&python, "services").await.assert_ok().assert_says("services");
    aws.says(&[
        "signed dynamodb POST hash",
        "signed sqs POST hash",
        "signed sts POST hash",
        "signed lambda POST hash",
    ])
    .await;
}

#[tokio::test]
async fn the_cli_is_refused_what_the_policy_does_not_allow() {
    let Some(python) = python() else { return };
    let policy = "policy: {allow: [\"s3:*\"], deny: [\"s3:DeleteBucket\"]}";
    let aws = Aws::of(&python, policy, None).await;
    for words in ["s3api|delete-bucket|--bucket|acme", "sqs|list-queues"] {
        aws.cli(&python, words).await.assert_failed().assert_says("DW1002");
    }
}

#[tokio::test]
async fn the_cli_copies_lists_and_removes() {
    let Some(python) = python() else { return };
    let mut aws = Aws::of(&python, "", None).await;
    let big: Vec<u8> = (0..20_u32 << 20).map(|n| (n % 251) as u8).collect();
    for (name, bytes) in [("empty", &b""[..]), ("small", b"hello"), ("big", &big)] {
        std::fs::write(aws.home.path().join(name), bytes).unwrap();
    }
    for (file, key) in [("empty", "a b/+/..x/\u{e4}\u{1234}"), ("small", "small.txt"), ("big", "big")] {
        aws.cli(&python, &format!("s3|cp|{file}|s3://acme/{key}")).await.assert_ok();
    }
    aws.says(&["signed s3 PUT STREAMING-UNSIGNED-PAYLOAD-TRAILER"]).await;
    let listed = aws.cli(&python, "s3|ls|--recursive|s3://acme/").await.assert_ok();
    assert!(listed.out.contains("20971520 big") && listed.out.contains("0 a b/+/..x/"), "{}", listed.out);
    aws.cli(&python, "s3|cp|s3://acme/big|back").await.assert_ok();
    assert!(std::fs::read(aws.home.path().join("back")).unwrap() == big, "another file came back");
    aws.cli(&python, "s3|rm|s3://acme/big").await.assert_ok();
    aws.cli(&python, "s3|cp|s3://acme/big|back").await.assert_failed();
}

#[tokio::test]
async fn the_cli_calls_other_services() {
    let Some(python) = python() else { return };
    let aws = Aws::of(&python, "", Some("IQoJc4naryToken//withSlashes+and==")).await;
    for (words, answer) in [
        ("sts|get-caller-identity", "123456789012"),
        ("dynamodb|get-item|--table-name|t|--key|{\"id\": {\"S\": \"x\"}}", "\"S\": \"x\""),
        (
            "sqs|send-message|--queue-url|https://sqs.eu-west-1.amazonaws.com/1/q|--message-body|m + \u{e4}",
            "m1",
        ),
        ("lambda|invoke|--function-name|ok|--payload|{\"a\": 1}|out", "200"),
    ] {
        aws.cli(&python, words).await.assert_ok().assert_says(answer);
    }
    assert_eq!(std::fs::read(aws.home.path().join("out")).unwrap(), b"ran {\"a\": 1}");
}

#[tokio::test]
async fn the_sdk_for_javascript_is_refused_what_the_policy_does_not_allow() {
    let (Some(python), Some(modules)) = (python(), node_modules()) else { return };
    let aws = Aws::of(&python, "policy: {allow: [\"s3:*\"], deny: [\"s3:DeleteBucket\"]}", None).await;
    aws.sdk(&modules, "refusals").await.assert_ok().assert_says("refused");
}

#[tokio::test]
async fn the_sdk_for_javascript_puts_gets_lists_streams_and_reads_events() {
    let (Some(python), Some(modules)) = (python(), node_modules()) else { return };
    let aws = Aws::of(&python, "", None).await;
    aws.sdk(&modules, "objects").await.assert_ok().assert_says("put get head").assert_says("list delete");
    aws.sdk(&modules, "streams").await.assert_ok().assert_says("parts").assert_says("streamed");
    aws.sdk(&modules, "events").await.assert_ok().assert_says("events");
}

#[tokio::test]
async fn a_large_upload_of_the_sdk_passes_at_constant_memory() {
    let (Some(python), Some(modules)) = (python(), node_modules()) else { return };
    let aws = Aws::of(&python, "", None).await;
    let (before, _) = aws.proxy.rss();
    aws.sdk(&modules, "large").await.assert_ok().assert_says("large");
    let (_, peak) = aws.proxy.rss();
    assert!(peak < before + (24 << 10), "{before} KiB before, at most {peak} KiB: 96 MiB were sent");
}

/// moto with this secret, which may be another one than moto's, and more of the provider's `config`.
pub(super) async fn before_moto(server: &Server, keys: (&str, &str), config: &str) -> (Proxy, TempDir) {
    let spec = format!("type: aws\nauth: {{secretRef: aws}}\nconfig: {{region: {REGION}{config}}}");
    let mut builder = Proxy::builder().provider("cloud", &spec).public_value("aws", "access_key_id", keys.0);
    builder = builder.secret("aws", "secret_access_key", keys.1);
    for host in HOSTS {
        builder = builder.route(host, 443, server.address());
    }
    (builder.start().await, tempfile::tempdir().unwrap())
}

#[tokio::test]
async fn moto_gives_the_keys_of_a_role_and_verifies_what_boto3_sends_with_them() {
    let Some(python) = python() else { return };
    let mut server = Server::start_for(&python, "moto_server.py", HOSTS, &[]).await;
    let (id, secret) = (server.line().await, server.line().await);
    let role = ", assumeRole: {arn: \"arn:aws:iam::123456789012:role/team/bot\", duration: 900}";
    let (proxy, home) = before_moto(&server, (&id, &secret), role).await;
    let printed = run(&proxy, home.path(), &python, &[&script("boto3_client.py"), "moto"]).await;
    printed.assert_ok().assert_says("objects").assert_says("services");
    let printed = run(&proxy, home.path(), &python, &[&script("boto3_client.py"), "identity"]).await;
    printed.assert_ok().assert_says("arn:aws:sts::123456789012:assumed-role/bot/worker");
    let exchanges = proxy.audit().lines().into_iter().filter(|line| line["kind"] == "exchange").count();
    assert_eq!(exchanges, 1);
    let (proxy, home) = before_moto(&server, (&id, &harness::canary::fresh()), role).await;
    let printed = run(&proxy, home.path(), &python, &[&script("boto3_client.py"), "identity"]).await;
    printed.assert_failed().assert_says("DW1005").assert_says("SignatureDoesNotMatch (is the secret");
}

#[tokio::test]
async fn moto_verifies_what_boto3_sends() {
    let Some(python) = python() else { return };
    let mut server = Server::start_for(&python, "moto_server.py", HOSTS, &[]).await;
    let (id, secret) = (server.line().await, server.line().await);
    for (secret, works) in [(secret, true), (harness::canary::fresh(), false)] {
        let (proxy, home) = before_moto(&server, (&id, &secret), "").await;
        let printed = run(&proxy, home.path(), &python, &[&script("boto3_client.py"), "moto"]).await;
        if works {
            printed.assert_ok().assert_says("objects").assert_says("services");
        } else {
            printed.assert_failed().assert_says("SignatureDoesNotMatch");
        }
    }
}
