//! Where a request names its operation, and what its body has to be for that to be read.

use super::*;

const CBOR: (&str, &str) = ("smithy-protocol", "rpc-v2-cbor");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

#[test]
fn a_path_names_the_operation_of_no_service_that_reads_forms() {
    let path = "/service/x/operation/GetCallerIdentity";
    for host in ["sts", "iam", "sns", "ec2", "email"] {
        let url = format!("{host}.eu-west-1.amazonaws.com{path}");
        for headers in [&[][..], &[CBOR][..], &[FORM][..], &[CBOR, FORM][..]] {
            assert_eq!(post(&url, "Action=AssumeRole", headers), "unknown ?", "{host} {headers:?}");
        }
    }
}

#[test]
fn a_path_names_an_operation_where_the_protocol_is_said_once() {
    const METRICS: &str =
        "monitoring.eu-west-1.amazonaws.com/service/GraniteServiceVersion20100801/operation/PutMetricData";
    for headers in [
        &[][..],
        &[CBOR, CBOR][..],
        &[("smithy-protocol", "rpc-v2-json")][..],
        &[CBOR, FORM][..],
        &[CBOR, JSON][..],
        &[CBOR, ("content-type", "application/cbor"), ("content-type", "application/cbor")][..],
    ] {
        assert_eq!(post(METRICS, "", headers), "unknown ?", "{headers:?}");
    }
    assert_eq!(post(METRICS, "", &[CBOR]), "cloudwatch:PutMetricData ?");
    assert_eq!(
        post(METRICS, "", &[CBOR, ("content-type", "application/cbor")]),
        "cloudwatch:PutMetricData ?"
    );
    let mail = "mail-manager.eu-west-1.amazonaws.com/service/MailManagerSvc/operation/CreateArchive";
    assert_eq!(post(mail, "", &[CBOR]), "ses:CreateArchive ?");
    assert_eq!(
        post(
            "codebuild.eu-west-1.amazonaws.com/service/CodeBuild_20161006/operation/StartBuild",
            "",
            &[CBOR]
        ),
        "codebuild:StartBuild ?"
    );
}

#[test]
fn a_get_that_may_have_a_body_is_not_judged_by_its_query() {
    const STS: &str = "sts.eu-west-1.amazonaws.com/?Action=GetCallerIdentity";
    let get = |headers: Headers<'_>| resolved(&Method::GET, STS, "", headers);
    for headers in [
        &[FORM][..],
        &[("content-length", "20")][..],
        &[("content-length", "0"), ("content-length", "20")][..],
        &[("transfer-encoding", "chunked")][..],
        &[("content-type", "text/plain")][..],
    ] {
        assert_eq!(get(headers), "unknown ?", "{headers:?}");
    }
    assert_eq!(get(&[]), "sts:GetCallerIdentity -");
    assert_eq!(get(&[("content-length", "0")]), "sts:GetCallerIdentity -");
}

#[test]
fn a_target_is_read_from_json_alone_and_by_one_grammar() {
    const DB: &str = "dynamodb.eu-west-1.amazonaws.com/";
    let target = ("x-amz-target", "DynamoDB_20120810.GetItem");
    for headers in [
        &[target][..],
        &[target, FORM][..],
        &[target, ("content-type", "application/json")][..],
        &[target, ("content-type", "application/x-amz-json-1.0; charset=utf-16")][..],
        &[target, JSON, JSON][..],
        &[("x-amz-target", "A.DeleteTable,A.GetItem"), JSON][..],
        &[("x-amz-target", "A.DeleteTable A.GetItem"), JSON][..],
        &[("x-amz-target", "GetItem"), JSON][..],
        &[("x-amz-target", ".GetItem"), JSON][..],
        &[("x-amz-target", "A/B.GetItem"), JSON][..],
    ] {
        assert_eq!(post(DB, "", headers), "unknown ?", "{headers:?}");
    }
    for kind in ["application/x-amz-json-1.0", "application/x-amz-json-1.1; charset=UTF-8"] {
        assert_eq!(post(DB, "", &[target, ("content-type", kind)]), "dynamodb:GetItem ?", "{kind}");
    }
}

#[test]
fn a_form_of_very_many_pairs_is_not_read() {
    const STS: &str = "sts.eu-west-1.amazonaws.com/";
    let pairs = |count: usize| format!("Action=GetCallerIdentity{}", "&a".repeat(count));
    assert_eq!(post(STS, &pairs(9_999), &[]), "sts:GetCallerIdentity -");
    assert_eq!(post(STS, &pairs(10_000), &[]), "unknown ?");
    assert_eq!(post(STS, &pairs(10_000).replace('&', ";"), &[]), "unknown ?");
}
