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
