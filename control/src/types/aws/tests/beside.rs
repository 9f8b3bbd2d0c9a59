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
