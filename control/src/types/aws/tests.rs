//! What headers, forms and foreign hosts say of a request; the rest is in the fixture table.

mod beside;
mod foreign;
mod ways;

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::*;
use crate::target::Target;
use crate::types::Told;

type Headers<'h> = &'h [(&'static str, &'static str)];

const JSON: (&str, &str) = ("content-type", "application/x-amz-json-1.0");

/// What `with` says of a request; `form` is the body, where it was read.
fn asked<T>(
    method: &Method,
    url: &str,
    form: Option<&str>,
    headers: Headers<'_>,
    with: impl FnOnce(&Ask<'_>) -> T,
) -> T {
    let (host, path) = url.split_at(url.find('/').unwrap());
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let target = Target::parse_host(host, 443).unwrap();
    with(&Ask { host: &target.host, method, path, query, body: form.map(Told::Form), headers: &map })
}

fn resolved(method: &Method, url: &str, form: &str, headers: Headers<'_>) -> String {
    // As the proxy does: bodies of other services and methods are not read.
    let is_read = asked(method, url, None, headers, reads_form);
    asked(method, url, Some(form).filter(|_| is_read), headers, |ask| shown(&resolve(ask)))
}

fn get(url: &str) -> String {
    resolved(&Method::GET, url, "", &[])
}

fn shown(resolved: &Resolved<'_>) -> String {
    assert_eq!(resolved.clarity == Clarity::Opaque, resolved.action == UNKNOWN, "{resolved:?}");
    let resource = match &resolved.resource {
        Resource::None => "-".to_owned(),
        Resource::Hidden => "?".to_owned(),
        Resource::Named(name) => (*name).to_owned(),
        Resource::Arns(arns) => arns.join(" "),
    };
    format!("{} {resource}", resolved.action)
}

fn post(url: &str, form: &str, headers: Headers<'_>) -> String {
    resolved(&Method::POST, url, form, headers)
}

#[test]
fn an_operation_that_is_named_twice_or_badly_is_unknown() {
    let target = ("x-amz-target", "DynamoDB_20120810.GetItem");
    let url = "dynamodb.eu-west-1.amazonaws.com/";
    for (form, headers) in [
        ("", &[target, ("x-amz-target", "DynamoDB_20120810.DeleteTable")][..]),
        ("Action=A&Action=B", &[][..]),
        ("Action=GetItem", &[][..]),
        ("Action=", &[][..]),
        ("Action=Get%20Item", &[][..]),
        ("", &[("x-amz-target", "DynamoDB_20120810.")][..]),
        ("", &[("x-amz-target", "a:b")][..]),
        ("", &[][..]),
    ] {
        assert_eq!(post(url, form, headers), "unknown ?", "{form} {headers:?}");
    }
    assert_eq!(post(&format!("{url}?Action=DeleteTable"), "", &[target, JSON]), "unknown ?");
    assert_eq!(resolved(&Method::GET, url, "", &[target]), "unknown ?");
    assert_eq!(resolved(&Method::PUT, url, "", &[target]), "unknown ?");
}

#[test]
fn operations_are_read_where_each_protocol_names_them() {
    let json = |url: &str, target: &'static str| post(url, "", &[("x-amz-target", target), JSON]);
    assert_eq!(json("dynamodb.eu-west-1.amazonaws.com/", "DynamoDB_20120810.GetItem"), "dynamodb:GetItem ?");
    assert_eq!(json("sqs.eu-west-1.amazonaws.com/", "AmazonSQS.SendMessage"), "sqs:SendMessage ?");
    assert_eq!(json("kms.eu-west-1.amazonaws.com/", "TrentService.Decrypt"), "kms:Decrypt ?");
    assert_eq!(
        post("sts.amazonaws.com/", "Action=GetCallerIdentity&Version=2011-06-15", &[]),
        "sts:GetCallerIdentity -"
    );
    assert_eq!(
        post("iam.amazonaws.com/", "Version=2010-05-08&Action=CreateAccessKey", &[]),
        "iam:CreateAccessKey ?"
    );
    assert_eq!(post("ec2.eu-west-1.amazonaws.com/", "Action=RunInstances", &[]), "ec2:RunInstances ?");
    assert_eq!(
        post(
            "monitoring.eu-west-1.amazonaws.com/service/GraniteServiceVersion20100801/operation/PutMetricData",
            "",
            &[("smithy-protocol", "rpc-v2-cbor")]
        ),
        "cloudwatch:PutMetricData ?"
    );
    assert_eq!(post("x.eu-west-1.es.amazonaws.com/i/_search", "", &[]), "es:ESHttpPost ?");
}

#[test]
fn a_copys_source_is_a_resource_of_the_request() {
    let put = |source: &'static str| {
        resolved(&Method::PUT, "acme.s3.eu-west-1.amazonaws.com/to", "", &[("x-amz-copy-source", source)])
    };
    let both = "s3:PutObject arn:aws:s3:::acme/to arn:aws:s3:::evil/a b";
    for source in ["evil/a%20b", "/evil/a%20b", "evil/a%20b?versionId=1", "%2Fevil%2Fa%20b"] {
        assert_eq!(put(source), both, "{source}");
    }
    for source in [
        "",
        "evil",
        "/",
        "arn:aws:s3:eu-west-1:1:accesspoint/x/object/a",
        "arn:aws:s3-outposts:eu-west-1:1:outpost/o",
    ] {
        assert_eq!(put(source), "s3:PutObject ?", "{source}");
    }
}

#[test]
fn what_comes_with_an_object_by_headers_has_to_be_allowed_as_well() {
    let also = |headers: &[&'static str]| {
        let map = headers
            .iter()
            .map(|name| (HeaderName::from_static(name), HeaderValue::from_static("x")))
            .collect();
        let target = Target::parse_host("acme.s3.eu-west-1.amazonaws.com", 443).unwrap();
        let ask = Ask {
            host: &target.host,
            method: &Method::PUT,
            path: "/a",
            query: None,
            body: None,
            headers: &map,
        };
        resolve(&ask).also
    };
    assert_eq!(also(&["x-amz-acl"]), ["s3:PutObjectAcl"]);
    assert_eq!(also(&["x-amz-grant-read", "x-amz-tagging"]), ["s3:PutObjectAcl", "s3:PutObjectTagging"]);
    assert_eq!(also(&["x-amz-object-lock-legal-hold"]), ["s3:PutObjectLegalHold"]);
    assert_eq!(also(&["x-amz-copy-source"]), ["s3:GetObject"]);
    assert!(also(&["x-amz-meta-a", "x-amz-content-sha256"]).is_empty());
}

#[test]
fn what_is_done_to_a_version_has_to_be_allowed_as_well() {
    let also = |method: Method, url: &str, headers: Headers<'_>| {
        asked(&method, url, None, headers, |ask| resolve(ask).also)
    };
    const ACME: &str = "acme.s3.eu-west-1.amazonaws.com/a";
    let copy = ("x-amz-copy-source", "evil/a?versionId=1");
    assert_eq!(also(Method::PUT, ACME, &[copy]), ["s3:GetObject", "s3:GetObjectVersion"]);
    let bypass = ("x-amz-bypass-governance-retention", "true");
    assert_eq!(also(Method::DELETE, ACME, &[bypass]), ["s3:BypassGovernanceRetention"]);
    assert_eq!(
        also(Method::POST, "acme.s3.eu-west-1.amazonaws.com/?delete", &[bypass]),
        ["s3:BypassGovernanceRetention", "s3:DeleteObjectVersion"]
    );
    for (method, part, expected) in [
        (Method::GET, "acl", "s3:GetObjectVersionAcl"),
        (Method::PUT, "acl", "s3:PutObjectVersionAcl"),
        (Method::GET, "tagging", "s3:GetObjectVersionTagging"),
        (Method::PUT, "tagging", "s3:PutObjectVersionTagging"),
        (Method::DELETE, "tagging", "s3:DeleteObjectVersionTagging"),
        (Method::GET, "attributes", "s3:GetObjectVersionAttributes"),
    ] {
        assert_eq!(also(method.clone(), &format!("{ACME}?{part}&versionId=1"), &[]), [expected]);
        assert_eq!(also(method.clone(), &format!("{ACME}?versionId=1&{part}"), &[]), [expected]);
        assert!(also(method, &format!("{ACME}?{part}"), &[]).is_empty());
    }
}

#[test]
fn services_of_rest_pass_headers_and_parameters_over_that_name_an_operation() {
    let target = ("x-amz-target", "AWSFoo.ListClusters");
    for (url, headers) in [
        ("eks.eu-west-1.amazonaws.com/clusters", &[target, JSON][..]),
        ("eks.eu-west-1.amazonaws.com/clusters?Action=ListClusters", &[][..]),
        ("eks.eu-west-1.amazonaws.com/?Action=ListClusters", &[][..]),
        ("sqs.eu-west-1.amazonaws.com/1/q/x?Action=SendMessage", &[][..]),
        ("sqs.eu-west-1.amazonaws.com/1/q", &[("x-amz-target", "AmazonSQS.SendMessage"), JSON][..]),
        ("1.op.s3-outposts.eu-west-1.amazonaws.com/", &[target, JSON][..]),
    ] {
        assert_eq!(post(url, "", headers), "unknown ?", "{url} {headers:?}");
    }
    assert_eq!(get("eks.eu-west-1.amazonaws.com/?Action=ListClusters"), "unknown ?");
    assert_eq!(get("1.op.s3-outposts.eu-west-1.amazonaws.com/?Action=A"), "unknown ?");
    assert_eq!(get("1.s3-control.eu-west-1.amazonaws.com/v20180820/jobs"), "unknown ?");
    assert_eq!(get("sqs.eu-west-1.amazonaws.com/1/q.fifo?Action=SendMessage"), "sqs:SendMessage ?");
    assert_eq!(post("sqs.eu-west-1.amazonaws.com/1/q", "Action=SendMessage", &[]), "sqs:SendMessage ?");
}

#[test]
fn an_alias_of_action_is_a_second_naming_and_none_by_itself() {
    const STS: &str = "sts.eu-west-1.amazonaws.com/";
    for alias in ["Operation=AssumeRole", "action=AssumeRole", "+Action=AssumeRole", "OPERATION=AssumeRole"] {
        assert_eq!(post(STS, alias, &[]), "unknown ?", "{alias}");
        for both in [format!("Action=GetCallerIdentity&{alias}"), format!("{alias};Action=GetCallerIdentity")]
        {
            assert_eq!(post(STS, &both, &[]), "unknown ?", "{both}");
            assert_eq!(get(&format!("{STS}?{both}")), "unknown ?", "{both}");
        }
    }
}

#[test]
fn an_action_in_the_query_of_a_post_whose_body_was_not_read_is_unknown() {
    const URL: &str = "sts.eu-west-1.amazonaws.com/?Action=GetCallerIdentity";
    let by = |form| asked(&Method::POST, URL, form, &[], |ask| shown(&resolve(ask)));
    assert_eq!(by(None), "unknown ?");
    assert_eq!(by(Some("Action=AssumeRole")), "unknown ?");
    assert_eq!(by(Some("Version=2011-06-15")), "sts:GetCallerIdentity -");
    // A service of two protocols takes what is no JSON for a form.
    assert_eq!(
        post("sqs.eu-west-1.amazonaws.com/", "", &[("x-amz-target", "AmazonSQS.SendMessage")]),
        "unknown ?"
    );
}

#[test]
fn forms_are_read_where_an_action_may_stand_in_them_and_nowhere_else() {
    let reads = |method: Method, url: &str| asked(&method, url, None, &[], reads_form);
    for url in [
        "acme.s3.eu-west-1.amazonaws.com/",
        "lambda.eu-west-1.amazonaws.com/",
        "x.eu-west-1.es.amazonaws.com/",
        "abc.execute-api.eu-west-1.amazonaws.com/",
        "dynamodb.eu-west-1.amazonaws.com/",
        "sts.eu-west-1.amazonaws.com/x",
        "minio.test/",
    ] {
        assert!(!reads(Method::POST, url), "{url}");
    }
    assert!(!reads(Method::PUT, "sts.eu-west-1.amazonaws.com/"));
    assert!(reads(Method::POST, "sts.eu-west-1.amazonaws.com/"));
    assert!(reads(Method::POST, "sqs.eu-west-1.amazonaws.com/1/q"));
}

#[test]
fn the_service_of_a_domain_is_not_the_domain() {
    assert_eq!(
        resolved(&Method::DELETE, "es.eu-west-1.amazonaws.com/2021-01-01/opensearch/domain/x", "", &[]),
        "unknown ?"
    );
    assert_eq!(get("eu-west-1.es.amazonaws.com/x"), "unknown ?");
    assert_eq!(get("search-x.eu-west-1.es.amazonaws.com/x"), "es:ESHttpGet ?");
    const API: &str = "abc.execute-api.eu-west-1.amazonaws.com";
    assert_eq!(post(&format!("{API}/prod/@connections/x"), "", &[]), "execute-api:ManageConnections ?");
    assert_eq!(post(&format!("{API}/prod/%40connections/x"), "", &[]), "execute-api:ManageConnections ?");
    assert_eq!(post(&format!("{API}/a/b/@connections"), "", &[]), "unknown ?");
    assert_eq!(post(&format!("{API}/prod/x"), "", &[]), "execute-api:Invoke ?");
    assert_eq!(post("participant.connect.eu-west-1.amazonaws.com/x", "", &[]), "unknown ?");
}

#[test]
fn what_lies_behind_an_access_point_is_read_by_its_own_key() {
    for host in [
        "ap-1.s3-accesspoint.eu-west-1.amazonaws.com",
        "ap-1.s3-object-lambda.eu-west-1.amazonaws.com",
        "mfzwi23gnjvgw.accesspoint.s3-global.amazonaws.com",
        "ap-1.accesspoint.vpce-1a.s3.eu-west-1.vpce.amazonaws.com",
    ] {
        assert_eq!(get(&format!("{host}/a")), "s3:GetObject ?", "{host}");
        assert_eq!(get(&format!("{host}/")), "s3:ListBucket ?", "{host}");
        assert_eq!(resolved(&Method::PUT, &format!("{host}/a?acl"), "", &[]), "s3:PutObjectAcl ?", "{host}");
        assert_eq!(
            resolved(&Method::PUT, &format!("{host}/?policy"), "", &[]),
            "s3:PutBucketPolicy ?",
            "{host}"
        );
    }
}

#[test]
fn endpoints_of_a_vpc_say_what_they_are_for() {
    let arn = "s3:GetObject arn:aws:s3:::acme/a";
    assert_eq!(get("bucket.vpce-1a.s3.eu-west-1.vpce.amazonaws.com/acme/a"), arn);
    assert_eq!(get("acme.bucket.vpce-1a.s3.eu-west-1.vpce.amazonaws.com/a"), arn);
    for host in
        ["1.control.vpce-1a", "control.vpce-1a", "accesspoint.vpce-1a", "acme.vpce-1a", "vpce-1a", "acme"]
    {
        assert_eq!(get(&format!("{host}.s3.eu-west-1.vpce.amazonaws.com/a")), "unknown ?", "{host}");
    }
    assert_eq!(get("vpce-1a.sqs.eu-west-1.vpce.amazonaws.com/?Action=ListQueues"), "sqs:ListQueues ?");
}

#[test]
fn a_signature_that_cannot_be_read_makes_its_request_unknown() {
    const GOOD: &str = "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/s3/aws4_request, SignedHeaders=host, Signature=00";
    let get =
        |value: &'static str| resolved(&Method::GET, "minio.test/acme/a", "", &[("authorization", value)]);
    assert_eq!(get(GOOD), "s3:GetObject arn:aws:s3:::acme/a");
    for bad in [
        "Bearer x",
        "AWS AKID:c2ln",
        "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/sqs/aws4_request",
        "AWS4-HMAC-SHA256 Credential=A/s3/aws4_request,Credential=AKID/20260101/eu-west-1/sqs/aws4_request,SignedHeaders=host,Signature=00",
    ] {
        assert_eq!(get(bad), "unknown ?", "{bad}");
    }
}

#[test]
fn a_foreign_host_is_read_as_a_presigned_request_or_a_signature_in_any_order_says() {
    const PRESIGNED: &str =
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID%2F20260101%2Feu-west-1%2Fsqs%2Faws4_request";
    const REORDERED: &str = "AWS4-HMAC-SHA256 SignedHeaders=host,  Signature=00,Credential=AKID/20260101/eu-west-1/sqs/aws4_request";
    assert_eq!(get(&format!("local.test/?Action=ListQueues&{PRESIGNED}")), "sqs:ListQueues ?");
    assert_eq!(
        resolved(&Method::GET, "local.test/?Action=ListQueues", "", &[("authorization", REORDERED)]),
        "sqs:ListQueues ?"
    );
}

#[test]
fn a_sub_resource_is_read_by_case_as_s3_does() {
    const ACME: &str = "acme.s3.eu-west-1.amazonaws.com/";
    for odd in [
        "ACL",
        "Policy",
        "versionid=1",
        "policy&zzz",
        "policy&policy",
        "x-amz-acl=private",
        "X-Amz-Copy-Source=evil%2Fa",
    ] {
        assert_eq!(get(&format!("{ACME}?{odd}")), "unknown ?", "{odd}");
    }
    for plain in [
        "X-Amz-Date=1",
        "x-amz-date=1",
        "X-Amz-Content-Sha256=x",
        "x-amz-checksum-crc32=x",
        "x-amz-sdk-checksum-algorithm=x",
    ] {
        assert_eq!(get(&format!("{ACME}?{plain}")), "s3:ListBucket arn:aws:s3:::acme", "{plain}");
    }
}

#[test]
fn a_foreign_host_is_read_as_the_service_that_the_agent_signs_for() {
    const SQS: &str = "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/sqs/aws4_request, SignedHeaders=host, Signature=00";
    let target = ("x-amz-target", "AmazonSQS.SendMessage");
    assert_eq!(post("local.test/", "", &[target, JSON, ("authorization", SQS)]), "sqs:SendMessage ?");
    assert_eq!(resolved(&Method::GET, "minio.test/acme/a", "", &[]), "s3:GetObject arn:aws:s3:::acme/a");
}
