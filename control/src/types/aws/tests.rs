//! What headers, forms and foreign hosts say of a request; the rest is in the fixture table.

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::*;
use crate::target::Target;

fn resolved(method: &Method, url: &str, form: &str, headers: &[(&'static str, &'static str)]) -> String {
    let (host, path) = url.split_at(url.find('/').unwrap());
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let query = [query, form].join("&");
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let target = Target::parse_host(host, 443).unwrap();
    let ask = Ask { host: &target.host, method, path, query: Some(&query), headers: &map };
    let resolved = resolve(&ask);
    let resource = match resolved.resource {
        Resource::None => "-".to_owned(),
        Resource::Hidden => "?".to_owned(),
        Resource::Named(name) => name.to_owned(),
        Resource::Arns(arns) => arns.join(" "),
    };
    format!("{} {resource}", resolved.action)
}

fn post(url: &str, form: &str, headers: &[(&'static str, &'static str)]) -> String {
    resolved(&Method::POST, url, form, headers)
}

#[test]
fn an_operation_that_is_named_twice_or_badly_is_unknown() {
    let target = ("x-amz-target", "DynamoDB_20120810.GetItem");
    let url = "dynamodb.eu-west-1.amazonaws.com/";
    for (form, headers) in [
        ("", &[target, ("x-amz-target", "DynamoDB_20120810.DeleteTable")][..]),
        ("Action=DeleteTable", &[target][..]),
        ("Action=A&Action=B", &[][..]),
        ("Action=", &[][..]),
        ("Action=Get%20Item", &[][..]),
        ("", &[("x-amz-target", "DynamoDB_20120810.")][..]),
        ("", &[("x-amz-target", "a:b")][..]),
        ("", &[][..]),
    ] {
        assert_eq!(post(url, form, headers), "unknown ?", "{form} {headers:?}");
    }
    assert_eq!(resolved(&Method::GET, url, "", &[target]), "unknown ?");
    assert_eq!(resolved(&Method::PUT, url, "", &[target]), "unknown ?");
}

#[test]
fn operations_are_read_where_each_protocol_names_them() {
    let json = |url: &str, target: &'static str| post(url, "", &[("x-amz-target", target)]);
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
            &[]
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
        let ask = Ask { host: &target.host, method: &Method::PUT, path: "/a", query: None, headers: &map };
        resolve(&ask).also
    };
    assert_eq!(also(&["x-amz-acl"]), ["s3:PutObjectAcl"]);
    assert_eq!(also(&["x-amz-grant-read", "x-amz-tagging"]), ["s3:PutObjectAcl", "s3:PutObjectTagging"]);
    assert_eq!(also(&["x-amz-object-lock-legal-hold"]), ["s3:PutObjectLegalHold"]);
    assert_eq!(also(&["x-amz-copy-source"]), ["s3:GetObject"]);
    assert!(also(&["x-amz-meta-a", "x-amz-content-sha256"]).is_empty());
}

#[test]
fn a_foreign_host_is_read_as_the_service_that_the_agent_signs_for() {
    const SQS: &str = "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/sqs/aws4_request, SignedHeaders=host, Signature=00";
    let target = ("x-amz-target", "AmazonSQS.SendMessage");
    assert_eq!(post("local.test/", "", &[target, ("authorization", SQS)]), "sqs:SendMessage ?");
    assert_eq!(resolved(&Method::GET, "minio.test/acme/a", "", &[]), "s3:GetObject arn:aws:s3:::acme/a");
}
