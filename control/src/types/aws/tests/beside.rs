//! What a request does beside: IAM asks for it under other names than the operation's.

use super::*;
use crate::agent::AgentName;
use crate::policy::{Facts, decide};
use crate::provider::parse_text;
use crate::provider::testing::SCHEMES;
use crate::rule::Path;

const ACME: &str = "acme.s3.eu-west-1.amazonaws.com";

fn beside(method: &Method, url: &str, form: Option<&str>, headers: Headers<'_>) -> Vec<&'static str> {
    asked(method, url, form, headers, |ask| resolve(ask).also)
}

/// What a JSON service is asked for beside an operation.
fn of_target(host: &str, target: &'static str) -> Vec<&'static str> {
    beside(
        &Method::POST,
        &format!("{host}.eu-west-1.amazonaws.com/"),
        None,
        &[("x-amz-target", target), JSON],
    )
}

/// Whether policy lets a request through.
fn passes(policy: &str, method: &Method, url: &str, headers: Headers<'_>) -> bool {
    let text = format!(
        "apiVersion: pai.io/v1\nkind: Provider\nmetadata: {{name: p}}\nspec: {{type: aws, auth: {{secretRef: s}}, {policy}}}\n"
    );
    let provider = parse_text("f.yaml", &text, SCHEMES).unwrap().providers.remove(0);
    let (agent, uri) = (AgentName::local(), format!("https://{url}").parse::<http::Uri>().unwrap());
    let path = Path::of_uri(&uri).unwrap();
    asked(method, url, None, headers, |ask| {
        let target = Target::parse_host(uri.host().unwrap(), 443).unwrap();
        let facts = Facts {
            agent: &agent,
            target: &target,
            provider: &provider,
            method,
            path: &path,
            query: ask.query,
            body: None,
            headers: ask.headers,
        };
        decide(&facts).is_ok()
    })
}

#[test]
fn a_batch_does_not_pass_where_what_it_does_is_denied() {
    for (denied, host, target) in [
        ("secretsmanager:GetSecretValue", "secretsmanager", "secretsmanager.BatchGetSecretValue"),
        ("dynamodb:PutItem", "dynamodb", "DynamoDB_20120810.TransactWriteItems"),
        ("dynamodb:GetItem", "dynamodb", "DynamoDB_20120810.TransactGetItems"),
        ("dynamodb:PartiQLDelete", "dynamodb", "DynamoDB_20120810.BatchExecuteStatement"),
        ("sqs:SendMessage", "sqs", "AmazonSQS.SendMessageBatch"),
        ("kms:ReEncryptTo", "kms", "TrentService.ReEncrypt"),
        ("timestream:Select", "query.timestream", "Timestream_20181101.Query"),
        ("budgets:ModifyBudget", "budgets", "AWSBudgetServiceGateway.DeleteBudget"),
        ("cloudformation:CreateResource", "cloudcontrolapi", "CloudApiService.CreateResource"),
    ] {
        let policy = format!("policy: {{allow: [\"*\"], deny: [\"{denied}\"]}}");
        let url = format!("{host}.eu-west-1.amazonaws.com/");
        assert!(!passes(&policy, &Method::POST, &url, &[("x-amz-target", target), JSON]), "{target}");
        let other = "policy: {allow: [\"*\"], deny: [\"iam:CreateUser\"]}";
        assert!(passes(other, &Method::POST, &url, &[("x-amz-target", target), JSON]), "{target}");
    }
}

#[test]
fn what_an_operation_does_beside_is_named_as_iam_names_it() {
    assert_eq!(
        of_target("dynamodb", "DynamoDB_20120810.TransactWriteItems"),
        ["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:ConditionCheckItem"]
    );
    for name in ["ExecuteStatement", "BatchExecuteStatement", "ExecuteTransaction"] {
        let target: &'static str = Box::leak(format!("DynamoDB_20120810.{name}").into_boxed_str());
        let partiql = of_target("dynamodb", target);
        for kind in ["Select", "Insert", "Update", "Delete"] {
            assert!(partiql.contains(&&*format!("dynamodb:PartiQL{kind}")), "{name} {kind}");
        }
    }
    assert_eq!(of_target("kms", "TrentService.ReEncrypt"), ["kms:ReEncryptFrom", "kms:ReEncryptTo"]);
    for (target, single) in [
        ("AmazonSQS.SendMessageBatch", "sqs:SendMessage"),
        ("AmazonSQS.DeleteMessageBatch", "sqs:DeleteMessage"),
        ("AmazonSQS.ChangeMessageVisibilityBatch", "sqs:ChangeMessageVisibility"),
    ] {
        assert_eq!(of_target("sqs", target), [single]);
    }
    let publish = beside(&Method::POST, "sns.eu-west-1.amazonaws.com/", Some("Action=PublishBatch"), &[]);
    assert_eq!(publish, ["sns:Publish"]);
    // An action of its own, in IAM as well.
    assert!(of_target("dynamodb", "DynamoDB_20120810.BatchGetItem").is_empty());
    assert_eq!(beside(&Method::POST, "x.lambda-url.eu-west-1.on.aws/", None, &[]), ["lambda:InvokeFunction"]);
}

#[test]
fn actions_stand_under_iams_prefix_and_not_under_the_signing_name() {
    let json = |host: &str, target: &'static str| {
        post(&format!("{host}.eu-west-1.amazonaws.com/"), "", &[("x-amz-target", target), JSON])
    };
    assert_eq!(json("tagging", "ResourceGroupsTaggingAPI_20170126.GetResources"), "tag:GetResources ?");
    assert_eq!(json("cloudcontrolapi", "CloudApiService.GetResource"), "cloudformation:GetResource ?");
    assert_eq!(
        json("mturk-requester", "MTurkRequesterServiceV20170117.CreateHIT"),
        "mechanicalturk:CreateHIT ?"
    );
    assert_eq!(
        json("partnercentral-selling", "AWSPartnerCentralSelling.CreateOpportunity"),
        "partnercentral:CreateOpportunity ?"
    );
}

#[test]
fn deleting_many_objects_may_delete_versions() {
    let delete = beside(&Method::POST, &format!("{ACME}/?delete"), None, &[]);
    assert_eq!(delete, ["s3:DeleteObjectVersion"]);
    let policy = "policy: {allow: [\"*\"], deny: [\"s3:DeleteObjectVersion\"]}";
    assert!(!passes(policy, &Method::POST, &format!("{ACME}/?delete"), &[]));
    assert!(passes(policy, &Method::DELETE, &format!("{ACME}/a"), &[]));
}

#[test]
fn a_restore_may_write_into_a_bucket_that_its_body_names() {
    assert_eq!(resolved(&Method::POST, &format!("{ACME}/a?restore"), "", &[]), "s3:RestoreObject ?");
    let also = beside(&Method::POST, &format!("{ACME}/a?restore"), None, &[]);
    assert_eq!(also, ["s3:GetObject", "s3:PutObject", "s3:PutObjectAcl"]);
}

#[test]
fn a_lambda_version_or_alias_is_part_of_the_resource_wherever_it_stands() {
    const FUNCTIONS: &str = "lambda.eu-west-1.amazonaws.com/2015-03-31/functions/";
    let invoke = |rest: &str| post(&format!("{FUNCTIONS}{rest}"), "", &[]);
    let arn = "lambda:InvokeFunction arn:aws:lambda:eu-west-1:*:function:ok";
    assert_eq!(invoke("ok/invocations"), arn);
    assert_eq!(invoke("ok/invocations?Qualifier=prod"), format!("{arn}:prod"));
    assert_eq!(invoke("ok/invocations?Qualifier=%24LATEST"), format!("{arn}:$LATEST"));
    assert_eq!(invoke("ok:prod/invocations"), format!("{arn}:prod"));
    assert_eq!(invoke("ok:prod/invocations?Qualifier=prod"), format!("{arn}:prod"));
    assert_eq!(
        invoke("123456789012:function:ok/invocations"),
        "lambda:InvokeFunction arn:aws:lambda:eu-west-1:123456789012:function:ok"
    );
    for odd in [
        "ok/invocations?Qualifier=a&Qualifier=b",
        "ok/invocations?qualifier=prod",
        "ok/invocations?+Qualifier=prod",
        "ok/invocations?Qualifier=",
        "ok/invocations?Qualifier=a:b",
        "ok/invocations?Qualifier=*",
        "ok:test/invocations?Qualifier=prod",
        "*/invocations",
        "a:function:ok:function:evil/invocations",
        "arn:aws:lambda:eu-west-1:1:function:a:b:c/invocations",
        "arn:aws:s3:::ok/invocations",
    ] {
        assert_eq!(invoke(odd), "unknown ?", "{odd}");
    }
}

#[test]
fn what_comes_with_a_new_bucket_by_headers_has_to_be_allowed_as_well() {
    let create =
        |headers: Headers<'_>| beside(&Method::PUT, "s3.eu-west-1.amazonaws.com/acme", None, headers);
    assert_eq!(create(&[("x-amz-object-ownership", "ObjectWriter")]), ["s3:PutBucketOwnershipControls"]);
    assert_eq!(
        create(&[("x-amz-bucket-object-lock-enabled", "true")]),
        ["s3:PutBucketObjectLockConfiguration", "s3:PutBucketVersioning"]
    );
    assert_eq!(create(&[("x-amz-acl", "private")]), ["s3:PutBucketAcl"]);
    assert!(create(&[]).is_empty());
}

#[test]
fn a_version_stands_alone_or_beside_what_belongs_to_a_version() {
    for odd in [
        "versionId=",
        "versionId",
        "acl&versionId=",
        "uploads&versionId=1",
        "uploadId=1&versionId=1",
        "versionId=1&policy",
        "select&versionId=1",
        "versionId=1&versionId=2",
        "delete&versionId=1",
    ] {
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::POST] {
            assert_eq!(resolved(&method, &format!("{ACME}/a?{odd}"), "", &[]), "unknown ?", "{method} {odd}");
        }
    }
    for part in ["acl", "tagging", "attributes", "retention", "legal-hold"] {
        assert_ne!(get(&format!("{ACME}/a?{part}&versionId=1")), "unknown ?", "{part}");
    }
    assert_ne!(resolved(&Method::POST, &format!("{ACME}/a?restore&versionId=1"), "", &[]), "unknown ?");
}

#[test]
fn a_presigned_request_may_say_in_its_query_how_an_object_is_kept() {
    let put = |name: &str| resolved(&Method::PUT, &format!("{ACME}/a?{name}=x"), "", &[]);
    for kept in [
        "x-amz-meta-a",
        "x-amz-server-side-encryption",
        "x-amz-server-side-encryption-aws-kms-key-id",
        "x-amz-storage-class",
    ] {
        assert_eq!(put(kept), "s3:PutObject arn:aws:s3:::acme/a", "{kept}");
    }
    for odd in [
        "x-amz-acl",
        "x-amz-tagging",
        "x-amz-grant-read",
        "x-amz-copy-source",
        "x-amz-meta-snowball-auto-extract",
        "x-amz-meta-minio-snowball-prefix",
        "x-amz-object-lock-mode",
    ] {
        assert_eq!(put(odd), "unknown ?", "{odd}");
    }
}

#[test]
fn head_asks_for_no_sub_resource_but_a_version() {
    let head = |rest: &str| resolved(&Method::HEAD, &format!("{ACME}/{rest}"), "", &[]);
    for odd in ["a?acl", "a?tagging", "?policy", "?versions", "a?acl&versionId=1", "a?uploadId=1"] {
        assert!(head(odd).starts_with("unknown"), "{odd}");
    }
    assert_eq!(head("a"), "s3:GetObject arn:aws:s3:::acme/a");
    assert_eq!(head("a?versionId=1&partNumber=2"), "s3:GetObjectVersion arn:aws:s3:::acme/a");
    assert_eq!(head(""), "s3:ListBucket arn:aws:s3:::acme");
}

#[test]
fn a_denied_action_is_denied_in_any_case_as_in_iam() {
    for denied in ["S3:deletebucket", "s3:DELETE*", "s3:DeleteBucket"] {
        let policy = format!("policy: {{allow: [\"*\"], deny: [\"{denied}\"]}}");
        assert!(!passes(&policy, &Method::DELETE, &format!("{ACME}/"), &[]), "{denied}");
        assert!(passes(&policy, &Method::GET, &format!("{ACME}/"), &[]), "{denied}");
    }
    // What is allowed is read narrowly.
    assert!(!passes("policy: {allow: [\"s3:listbucket\"]}", &Method::GET, &format!("{ACME}/"), &[]));
}
