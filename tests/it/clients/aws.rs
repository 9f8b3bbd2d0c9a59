//! boto3 as it comes, before a small AWS that verifies every signature with botocore's own signer.

use harness::Proxy;
use tempfile::TempDir;

use super::{Printed, Server, python, run, script};

const ID: &str = "AKIAREALREALREALREAL";
const REGION: &str = "eu-west-1";
const HOSTS: &[&str] = &[
    "acme.s3.eu-west-1.amazonaws.com",
    "evil.s3.eu-west-1.amazonaws.com",
    "acme.s3.us-east-1.amazonaws.com",
    "acme.s3.amazonaws.com",
    "s3.eu-west-1.amazonaws.com",
    "dynamodb.eu-west-1.amazonaws.com",
    "sqs.eu-west-1.amazonaws.com",
    "sts.eu-west-1.amazonaws.com",
    "lambda.eu-west-1.amazonaws.com",
];

struct Aws {
    server: Server,
    proxy: Proxy,
    home: TempDir,
}

impl Aws {
    async fn of(python: &std::path::Path, policy: &str, token: Option<&str>) -> Self {
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

    async fn run(&self, python: &std::path::Path, what: &str) -> Printed {
        run(&self.proxy, self.home.path(), python, &[&script("boto3_client.py"), what]).await
    }

    /// What the server says of the next requests.
    async fn says(&mut self, lines: &[&str]) {
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
