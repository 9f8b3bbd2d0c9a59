//! The scheme on whole requests: refusals before the secret, AWS' documented requests, what stays and what goes.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use control::catalog::{FieldValue, Fields};
use control::refusal::{Code, Refusal};
use control::target::Target;
use control::types::Ask;
use proptest::prelude::*;

use super::payload::Stream;
use crate::schemes::conformance::{fields, opened, request, shown};
use crate::schemes::{ArmFault, BodyNeed, Bounds, Errand, Head, Outgoing, Placed, Values, build};

const KEYS: &[(&str, &str)] = &[
    ("access_key_id", "AKIAIOSFODNN7EXAMPLE"),
    ("secret_access_key", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
];
const TOKEN: &str = "IQoJb3JpZ2luX2VjEXAMPLE//c4nary==";
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const BUCKET: &str = "examplebucket.s3.amazonaws.com";
const AGENTS: &str = "authorization: AWS4-HMAC-SHA256 Credential=AKIAdw0aaaabbbbcccc/20260101/us-east-1/s3/aws4_request, \
                      SignedHeaders=host;x-amz-date, Signature=68714168e6557f8f2de0ef956fc24dc2593a4bd2961f8df51898d8a134695145";

/// 2013-05-24T00:00:00Z
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_369_353_600)
}

fn limited(services: &str, region: &str) -> Fields {
    let text = |text: &str| FieldValue::Text(text.to_owned());
    fields([("services", text(services)), ("region", text(region))])
}

struct Sent {
    head: Head,
    placed: Placed,
    echoes: usize,
}

fn whole(
    host: &str,
    config: &Fields,
    sent: &str,
    body: Option<&str>,
    values: &[(&str, &str)],
) -> Result<Sent, Refusal> {
    let scheme = build("aws-sigv4", config).unwrap();
    let mut head = request(sent);
    let target = Target::parse_host(host, 443).unwrap();
    let need = scheme.judge(&target, &head)?;
    assert_eq!(need == BodyNeed::Whole, body.is_some(), "{sent}");
    let rendered = scheme.arm(&Values::new(&opened(values), &[])).unwrap();
    assert!(!format!("{rendered:?} {scheme:?}").contains("EXAMPLE"));
    let bounds = Bounds::default();
    let body = body.map(|body| Bytes::copy_from_slice(body.as_bytes()));
    let errand = Errand { agent: "a", target: &target, default_port: 443, now };
    let mut out = Outgoing::new(&mut head, &[], &bounds, body).towards(Some(errand));
    rendered.armed.place(&mut out)?;
    let placed = out.placed()?;
    Ok(Sent { head, placed, echoes: rendered.echoes.len() })
}

fn sign(host: &str, sent: &str) -> Result<Sent, Refusal> {
    whole(host, &Fields::default(), sent, None, KEYS)
}

fn code(host: &str, config: &Fields, sent: &str) -> Code {
    let refusal = whole(host, config, sent, None, KEYS).err().unwrap_or_else(|| panic!("{sent}"));
    assert!(!refusal.to_string().contains("dw0"), "{refusal}");
    refusal.code
}

#[test]
fn refuses_what_has_two_readings() {
    let presigned = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAdw0%2F20260101%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Expires=60&X-Amz-Signature=00";
    let chunked = "x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER";
    for sent in [
        format!("GET /?{presigned}\n{AGENTS}"),
        format!("GET /\n{AGENTS}\n{AGENTS}"),
        format!("GET /?{presigned}&x-amz-credential=b"),
        format!("GET /?{}", presigned.replace("Expires=60", "Expires=604801")),
        format!("GET /?{}", presigned.replace("&X-Amz-Expires=60", "")),
        format!("GET /?{}", presigned.replace("X-Amz-Algorithm=AWS4-HMAC-SHA256&", "")),
        format!("PUT /?{presigned}\n{chunked}\nx-amz-decoded-content-length: 1"),
        "GET /?AWSAccessKeyId=AKIAdw0&Expires=1369353600&Signature=x".to_owned(),
        "GET /?AWSAccessKeyId=AKIAdw0&Signature=x".to_owned(),
        "GET /?AWSAccessKeyId=AKIAdw0&Expires=-1&Signature=x".to_owned(),
        format!("GET /?AWSAccessKeyId=AKIAdw0&Expires=1369353700&Signature=x&{presigned}"),
        format!("GET /?AWSAccessKeyId=AKIAdw0&Expires=1369353700&Signature=x\n{AGENTS}"),
        "GET /\nauthorization: AWS AKIAdw0:c2ln".to_owned(),
        format!("PUT /a?X-Amz-Date=1;acl\n{AGENTS}"),
        format!("PUT /?X-Amz-Date=1;policy\n{AGENTS}"),
        format!("DELETE /a?X-Amz-Date=1;versionId=v\n{AGENTS}"),
        format!("GET /?prefix=a;b\n{AGENTS}"),
        "GET /a?X-Amz-Date=1;acl".to_owned(),
        format!("GET /\n{AGENTS}\nX_Amz_Security_Token: old"),
        format!("PUT /a\n{AGENTS}\nx_amz_acl: public-read"),
        format!("PUT /a\n{AGENTS}\nx.amz-copy-source: evil/a"),
        format!("PUT /a\n{AGENTS}\nx-amz-copy_source: evil/a"),
        format!("PUT /a\n{AGENTS}\nx-amz_meta-a: b"),
        "GET /\nauthorization: Bearer dw0".to_owned(),
        format!("GET /\n{}", AGENTS.replace("us-east-1", "us-east-1/x")),
        format!("GET /\n{AGENTS}\nx-amz-content-sha256: {EMPTY}\nx-amz-content-sha256: {EMPTY}"),
        format!("GET /\n{AGENTS}\nx-amz-content-sha256: {}", EMPTY.to_uppercase()),
        format!("PUT /a\n{AGENTS}\nx-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-EVENTS"),
        format!("PUT /a\n{AGENTS}\n{chunked}"),
        format!("PUT /a\n{AGENTS}\n{chunked}\nx-amz-decoded-content-length: +1"),
        format!(
            "PUT /a\n{AGENTS}\n{chunked}\nx-amz-decoded-content-length: 1\nx-amz-trailer: content-length"
        ),
        format!(
            "PUT /a\n{AGENTS}\nx-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD\nx-amz-decoded-content-length: 1\nx-amz-trailer: x-amz-checksum-crc32"
        ),
    ] {
        assert_eq!(code(BUCKET, &Fields::default(), &sent), Code::Dw2008, "{sent}");
    }
}

#[test]
fn refuses_another_place_than_host_and_lists_allow() {
    let all = Fields::default();
    let sent = format!("GET /a\n{AGENTS}");
    assert_eq!(code("b.s3.eu-west-1.amazonaws.com", &all, &sent), Code::Dw2008);
    assert_eq!(code("sqs.us-east-1.amazonaws.com", &all, &sent), Code::Dw2008);
    assert_eq!(code(BUCKET, &limited("sqs,sts", "us-east-1"), &sent), Code::Dw1002);
    assert_eq!(code(BUCKET, &limited("s3", "eu-west-1"), &sent), Code::Dw1002);
    assert_eq!(code("x.accesspoint.s3-global.amazonaws.com", &all, &sent), Code::Dw2008);
}

#[test]
fn refuses_a_call_that_would_hand_out_session_credentials() {
    let host = "b--usw2-az1--x-s3.s3express-usw2-az1.us-west-2.amazonaws.com";
    assert_eq!(code(host, &Fields::default(), "GET /?session"), Code::Dw1002);
}

#[test]
fn refuses_a_body_beside_an_action_in_the_query() {
    let sts = AGENTS.replace("/s3/", "/sts/");
    let get = |headers: &str, body: Option<&str>| {
        let sent = format!("GET /?Action=GetCallerIdentity\n{sts}{headers}");
        whole("sts.us-east-1.amazonaws.com", &Fields::default(), &sent, body, KEYS)
            .map_err(|refusal| refusal.code)
    };
    assert_eq!(get("", Some("Action=AssumeRole")).err(), Some(Code::Dw2008));
    let hash = format!("\nx-amz-content-sha256: {}", "0".repeat(64));
    assert_eq!(get(&hash, None).err(), Some(Code::Dw2008));
    assert!(get("", Some("")).is_ok());
    assert!(get(&format!("\nx-amz-content-sha256: {EMPTY}"), None).is_ok());
    // Searches are sent so.
    let es = AGENTS.replace("/s3/", "/es/");
    let sent = format!("GET /i/_search\n{es}");
    assert!(whole("x.us-east-1.es.amazonaws.com", &Fields::default(), &sent, Some("{}"), KEYS).is_ok());
}

#[test]
fn refuses_to_send_a_session_token_to_code_of_anybodys() {
    let to = |host: &str, service: &str, listed: &str, values: &[(&str, &str)]| {
        let config = if listed.is_empty() { Fields::default() } else { limited(listed, "us-east-1") };
        let sent = format!("POST /\n{}\nx-amz-content-sha256: {EMPTY}", AGENTS.replace("/s3/", service));
        let sent = whole(host, &config, &sent, None, values).map(|sent| shown(&sent.head));
        sent.map_err(|refusal| refusal.code)
    };
    let with_token = [KEYS, &[("session_token", TOKEN)]].concat();
    for (host, service) in [
        ("x.lambda-url.us-east-1.on.aws", "/lambda/"),
        ("x.execute-api.us-east-1.amazonaws.com", "/execute-api/"),
        ("x.execute-api-fips.us-east-1.amazonaws.com", "/execute-api/"),
        ("vpce-1a.execute-api.us-east-1.vpce.amazonaws.com", "/execute-api/"),
        ("x.appsync-api.us-east-1.amazonaws.com", "/appsync/"),
        ("x.7d67968.vpc-lattice-svcs.us-east-1.on.aws", "/vpc-lattice-svcs/"),
        ("x.novelty.us-east-1.on.aws", "/novelty/"),
    ] {
        assert_eq!(to(host, service, "", &with_token), Err(Code::Dw1002), "{host}");
        assert_eq!(to(host, service, "lambda,s3,appsync", &with_token), Err(Code::Dw1002), "{host}");
        assert!(to(host, service, "", KEYS).unwrap().contains("authorization: AWS4"), "{host}");
    }
    let url = "x.lambda-url.us-east-1.on.aws";
    assert!(to(url, "/lambda/", "lambda-url", &with_token).unwrap().contains(TOKEN));
    assert!(to("lambda.us-east-1.amazonaws.com", "/lambda/", "", &with_token).unwrap().contains(TOKEN));
    assert_eq!(to("lambda.us-east-1.amazonaws.com", "/lambda/", "lambda-url", KEYS), Err(Code::Dw1002));
}

#[test]
fn refuses_secrets_that_are_no_aws_credentials_by_their_key() {
    let scheme = build("aws-sigv4", &Fields::default()).unwrap();
    let arm = |values: &[(&str, &str)]| scheme.arm(&Values::new(&opened(values), &[])).unwrap_err();
    let missing = |key: &str| ArmFault::Missing { key: key.to_owned() };
    let character = |key: &str| ArmFault::Character { key: key.to_owned() };
    let [id, secret] = KEYS else { panic!() };
    assert_eq!(arm(&[*secret]), missing("access_key_id"));
    assert_eq!(arm(&[*id]), missing("secret_access_key"));
    assert_eq!(arm(&[("access_key_id", "AKIA/../EXAMPLE"), *secret]), character("access_key_id"));
    assert_eq!(arm(&[*id, ("secret_access_key", "c4nary c4nary")]), character("secret_access_key"));
    assert_eq!(
        arm(&[*id, ("secret_access_key", "short")]),
        ArmFault::Short { key: "secret_access_key".into() }
    );
    assert_eq!(arm(&[*id, *secret, ("session_token", "a\r\nb: c4nary")]), character("session_token"));
}

#[test]
fn refuses_lists_that_name_no_region_or_service() {
    for bad in [limited("s3/x", "us-east-1"), limited("s3", "us-east-1.evil.test"), limited("s3", "")] {
        assert!(build("aws-sigv4", &bad).is_err(), "{bad:?}");
    }
}

#[test]
fn the_documented_header_request_comes_out_of_an_agents_one() {
    let sent = format!(
        "GET /?lifecycle\n{AGENTS}\nx-amz-date: 20260101T000000Z\nx-amz-security-token: old\n\
         x-amz-content-sha256: {EMPTY}\naccept-encoding: identity"
    );
    let sent = sign(BUCKET, &sent).unwrap();
    assert_eq!(
        shown(&sent.head),
        format!(
            "GET /?lifecycle\naccept-encoding: identity\n\
             authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
             SignedHeaders=host;x-amz-content-sha256;x-amz-date, \
             Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543\n\
             x-amz-content-sha256: {EMPTY}\nx-amz-date: 20130524T000000Z"
        )
    );
    assert!(sent.head.headers["authorization"].is_sensitive());
    assert!(matches!(sent.placed.stream, Some(Stream::Checked(_))));
    assert_eq!(sent.echoes, 0);
}

#[test]
fn a_presigned_request_is_presigned_again_for_five_minutes_at_most() {
    let old =
        "X-Amz-Signature=00&X-Amz-Date=20260101T000000Z&X-Amz-SignedHeaders=host&X-Amz-Security-Token=old";
    let sent = sign(
        BUCKET,
        &format!(
            "GET /test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAdw0%2F20260101%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Expires=86400&{old}"
        ),
    );
    assert_eq!(
        shown(&sent.unwrap().head),
        "GET /test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
         &X-Amz-Date=20130524T000000Z&X-Amz-Expires=300&X-Amz-SignedHeaders=host\
         &X-Amz-Signature=740e3aa1082c13c8e98692e947b7a2d0a320789d55eb29bf12f9fbff9dd393a2"
    );
}

#[test]
fn a_request_presigned_by_version_2_is_presigned_by_version_4_for_five_minutes_at_most() {
    let sent = sign(
        BUCKET,
        "GET /test.txt?AWSAccessKeyId=AKIAdw0&Signature=c2ln%2B&Expires=1369440000&x-amz-security-token=old",
    );
    assert_eq!(
        shown(&sent.unwrap().head),
        "GET /test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
         &X-Amz-Date=20130524T000000Z&X-Amz-Expires=300&X-Amz-SignedHeaders=host\
         &X-Amz-Signature=740e3aa1082c13c8e98692e947b7a2d0a320789d55eb29bf12f9fbff9dd393a2"
    );
    assert_eq!(
        code(
            "sqs.us-east-1.amazonaws.com",
            &Fields::default(),
            "GET /?AWSAccessKeyId=AKIAdw0&Expires=1369440000"
        ),
        Code::Dw2008
    );
}

#[test]
fn a_session_token_goes_on_and_is_looked_for_in_answers() {
    let values = [KEYS, &[("session_token", TOKEN)]].concat();
    let sent = whole(BUCKET, &Fields::default(), &format!("GET /a\n{AGENTS}"), None, &values).unwrap();
    assert_eq!(sent.head.headers["x-amz-security-token"], TOKEN);
    assert!(sent.head.headers["x-amz-security-token"].is_sensitive());
    assert_eq!(sent.head.headers["x-amz-content-sha256"], "UNSIGNED-PAYLOAD");
    assert!(sent.head.headers["authorization"].to_str().unwrap().contains(";x-amz-security-token,"));
    assert_eq!(sent.echoes, 1);
    let presigned = "GET /a?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAdw0%2F20260101%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Expires=60";
    let sent = whole(BUCKET, &Fields::default(), presigned, None, &values).unwrap();
    assert!(
        sent.head
            .target
            .as_str()
            .contains("&X-Amz-Security-Token=IQoJb3JpZ2luX2VjEXAMPLE%2F%2Fc4nary%3D%3D&")
    );
}

#[test]
fn other_services_bodies_are_hashed_unless_the_agent_did() {
    let (host, all) = ("dynamodb.us-east-1.amazonaws.com", Fields::default());
    let agents = AGENTS.replace("/s3/", "/dynamodb/");
    let sent = whole(host, &all, &format!("POST /\n{agents}"), Some("{}"), KEYS).unwrap();
    assert_eq!(sent.placed.body.as_deref(), Some(&b"{}"[..]));
    assert!(!sent.head.headers.contains_key("x-amz-content-sha256") && sent.placed.stream.is_none());
    let named = format!("POST /\n{agents}\nx-amz-content-sha256: {EMPTY}");
    let sent = whole(host, &all, &named, None, KEYS).unwrap();
    assert!(matches!(sent.placed.stream, Some(Stream::Checked(hash)) if hash == *EMPTY.as_bytes()));
    let unsigned = format!("POST /\n{agents}\nx-amz-content-sha256: UNSIGNED-PAYLOAD");
    let sent = whole(host, &all, &unsigned, Some(""), KEYS).unwrap();
    assert_eq!(sent.head.headers["x-amz-content-sha256"], EMPTY);
}

#[test]
fn chunked_payloads_are_announced_with_the_length_that_they_will_have() {
    let length = "content-length: 9\nx-amz-decoded-content-length: 66560";
    let sent = sign(
        BUCKET,
        &format!("PUT /a\n{AGENTS}\n{length}\nx-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
    )
    .unwrap();
    assert_eq!(sent.head.headers["content-length"], "66824");
    assert!(matches!(sent.placed.stream, Some(Stream::Rechunked { chain: Some(_), decoded: 66_560, .. })));
    let unsigned = "x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER";
    let sent =
        sign(BUCKET, &format!("PUT /a\n{AGENTS}\n{length}\n{unsigned}\nx-amz-trailer: x-amz-checksum-new"))
            .unwrap();
    assert!(!sent.head.headers.contains_key("content-length"));
    assert!(matches!(sent.placed.stream, Some(Stream::Rechunked { chain: None, .. })));
}

#[test]
fn a_multi_region_access_point_gets_sigv4a_for_the_providers_regions() {
    let host = "mfzwi23gnjvgw.accesspoint.s3-global.amazonaws.com";
    let sent = sign(host, "GET /a").unwrap();
    assert_eq!(sent.head.headers["x-amz-region-set"], "*");
    let header = sent.head.headers["authorization"].to_str().unwrap();
    assert!(
        header
            .starts_with("AWS4-ECDSA-P256-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/s3/aws4_request, ")
    );
    let sent = whole(host, &limited("s3", "eu-west-1,eu-central-1"), "GET /a", None, KEYS).unwrap();
    assert_eq!(sent.head.headers["x-amz-region-set"], "eu-west-1,eu-central-1");
    let streamed =
        "PUT /a\nx-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD\nx-amz-decoded-content-length: 1";
    assert_eq!(code(host, &Fields::default(), streamed), Code::Dw2008);
}

#[test]
fn the_port_is_signed_where_it_is_sent() {
    let config = limited("s3", "us-east-1");
    let plain = whole("minio.test", &config, "GET /a", None, KEYS).unwrap();
    let ported = whole("minio.test:9000", &config, "GET /a", None, KEYS).unwrap();
    assert_ne!(plain.head.headers["authorization"], ported.head.headers["authorization"]);
}

#[test]
fn an_objects_own_metadata_may_have_any_name() {
    let sent = sign(BUCKET, &format!("PUT /a\n{AGENTS}\nx-amz-meta-a_b.c: d")).unwrap();
    assert_eq!(sent.head.headers["x-amz-meta-a_b.c"], "d");
}

#[test]
fn a_short_life_of_a_presigned_request_stays() {
    let presigned = "GET /a?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAdw0%2F20260101%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Expires=60";
    assert!(sign(BUCKET, presigned).unwrap().head.target.as_str().contains("&X-Amz-Expires=60&"));
}

/// What policy takes a request for.
fn judged(host: &str, head: &Head) -> String {
    let target = Target::parse_host(host, 443).unwrap();
    let ask = Ask {
        host: &target.host,
        method: &head.method,
        path: head.target.path(),
        query: head.target.query(),
        body: None,
        headers: &head.headers,
    };
    let kind = control::types::by_name("aws").unwrap();
    format!("{:?}", (kind.resolve)(&ask))
}

proptest! {
    #[test]
    fn what_is_sent_is_what_was_judged(
        host in "(examplebucket\\.s3|s3|sts|sqs\\.us-east-1)",
        method in "(GET|PUT|DELETE)",
        path in "(/|/a|/a/b)",
        query in "((acl|policy|versionId=v|uploadId=u|zzz|Action=A|Action=B|Operation=C|prefix=a%3Bb|X-Amz-Date=1|x-amz-date=1|\\+X-Amz-Signature=0|X-Amz-Expires=9|Expires=9|Signature=s|X-Amz-Acl=p|)[&;]){0,5}(acl|Action=B|X-Amz-Security-Token=t|versionId=v|)",
        is_signed in proptest::bool::ANY,
    ) {
        let host = format!("{host}.amazonaws.com");
        let service = if host.contains("s3") { "s3" } else if host.contains("sts") { "sts" } else { "sqs" };
        let agents = if is_signed { AGENTS.replace("/s3/", &format!("/{service}/")) } else { "x: y".to_owned() };
        let text = format!("{method} {path}?{query}\n{agents}\nx-amz-content-sha256: {EMPTY}");
        match sign(&host, &text) {
            Ok(sent) => prop_assert_eq!(judged(&host, &request(&text)), judged(&host, &sent.head)),
            Err(refusal) => prop_assert_eq!(refusal.code, Code::Dw2008),
        }
    }
}
