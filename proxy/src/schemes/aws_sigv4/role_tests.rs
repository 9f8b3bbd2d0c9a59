//! The call to STS as it is sent, and what is believed of the answer.

use control::catalog::FieldValue;
use futures_util::FutureExt as _;

use super::*;
use crate::schemes::conformance::{fields, opened};
use crate::schemes::exchanges::Scripted;
use crate::schemes::{Scheme, build};

/// What STS answers.
const GOOD: &str = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  \
    <AssumeRoleResult>\n    <AssumedRoleUser><AssumedRoleId>AROA:bot</AssumedRoleId><Arn>arn:aws:sts::1:a&amp;b</Arn>\
    </AssumedRoleUser>\n    <Credentials>\n      <AccessKeyId>ASIAc4naryTemporary</AccessKeyId>\n      \
    <SecretAccessKey>c4nary/temporary+secret</SecretAccessKey>\n      \
    <SessionToken>IQoc4naryTemporary//token==</SessionToken>\n      <Expiration>2027-01-15T09:00:00Z</Expiration>\n    \
    </Credentials>\n  </AssumeRoleResult>\n  <ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata>\n\
    </AssumeRoleResponse>\n";

const KEYS: &[(&str, &str)] = &[
    ("access_key_id", "AKIAIOSFODNN7EXAMPLE"),
    ("secret_access_key", "c4naryXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLE"),
];

fn scheme(more: &[(&'static str, &str)]) -> Box<dyn Scheme> {
    let text = |text: &str| FieldValue::Text(text.to_owned());
    let mut all = fields([
        ("region", text("eu-west-1")),
        ("assumeRole.arn", text("arn:aws:iam::123456789012:role/team/bot")),
        ("assumeRole.externalId", text("x:1")),
    ]);
    all.0.extend(more.iter().map(|(name, value)| (*name, text(value))));
    build("aws-sigv4", &all).unwrap()
}

fn obtained(values: &[(&str, &str)], issuer: &Scripted) -> Result<Issued, Failed> {
    let (scheme, opened) = (scheme(&[]), opened(values));
    let outcome =
        scheme.exchange().unwrap().obtain(issuer, Values::new(&opened, &[])).now_or_never().unwrap();
    assert!(!format!("{outcome:?} {scheme:?}").contains("c4nary"));
    outcome
}

#[test]
fn asks_the_regions_sts_with_a_signature_of_the_long_lived_keys() {
    let issuer = Scripted::new(200, GOOD);
    let issued = obtained(KEYS, &issuer).unwrap();
    let asked = issuer.asked.lock().pop().unwrap();
    // The date of 1 800 000 000; the signature was computed with botocore's SigV4Auth.
    let golden = format!(
        "POST sts.eu-west-1.amazonaws.com:443/\naccept: text/xml\n\
         content-type: application/x-www-form-urlencoded\nx-amz-date: 20270115T080000Z\n\
         authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20270115/eu-west-1/sts/aws4_request, \
         SignedHeaders=content-type;host;x-amz-date, Signature={SIGNED}\n\
         Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fteam%2Fbot\
         &RoleSessionName=bot&DurationSeconds=3600&ExternalId=x%3A1"
    );
    assert_eq!(asked, golden);
    assert!(issued.token.matches(b"IQoc4naryTemporary//token==") && issued.life == Duration::from_secs(3600));
    let names: Vec<&str> = issued.beside.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["access_key_id", "secret_access_key", "session_token"]);
}

const SIGNED: &str = "c6715c65a92f75394c1f51b1617f87ef187458914118bedbf12c9b577cf224a0";

#[test]
fn keys_that_are_temporary_themselves_send_their_token_signed() {
    let issuer = Scripted::new(200, GOOD);
    let values: Vec<_> = KEYS.iter().copied().chain([("session_token", "c4nary//session==")]).collect();
    obtained(&values, &issuer).unwrap();
    let asked = issuer.asked.lock().pop().unwrap();
    assert!(asked.contains("x-amz-security-token: c4nary//session=="), "{asked}");
    assert!(asked.contains("SignedHeaders=content-type;host;x-amz-date;x-amz-security-token,"), "{asked}");
}

#[test]
fn names_the_key_that_is_missing_and_asks_nobody() {
    for (missing, _) in KEYS {
        let values: Vec<_> = KEYS.iter().copied().filter(|(key, _)| key != missing).collect();
        let issuer = Scripted::new(200, GOOD);
        let failed = obtained(&values, &issuer).unwrap_err();
        assert!(failed.refusal.detail.contains(missing), "{}", failed.refusal.detail);
        assert!(issuer.asked.lock().is_empty());
    }
}

#[test]
fn no_answer_is_believed_that_gives_no_keys_with_an_end_of_their_own() {
    let with = |from: &str, to: &str| GOOD.replacen(from, to, 1);
    for (answer, code) in [
        (String::new(), Code::Dw2010),
        (with("2027-01-15T09:00:00Z", "soon"), Code::Dw2010),
        (with("2027-01-15T09:00:00Z", "2027-01-15T08:00:00Z"), Code::Dw2010),
        (with("2027-01-15T09:00:00Z", "2020-01-15T08:00:00Z"), Code::Dw2010),
        (with("IQoc4naryTemporary//token==", "short"), Code::Dw2010),
    ] {
        assert_eq!(obtained(KEYS, &Scripted::new(200, &answer)).unwrap_err().refusal.code, code, "{answer}");
    }
    // The machine's clock is far behind: no longer than was asked for.
    let late = with("2027-01-15T09:00:00Z", "2027-01-17T09:00:00Z");
    assert_eq!(obtained(KEYS, &Scripted::new(200, &late)).unwrap().life, Duration::from_secs(3600));
}

#[test]
fn a_no_of_sts_is_told_in_our_own_words_with_a_hint_to_the_clock() {
    let error = |code: &str| {
        format!("<ErrorResponse><Error><Code>{code}</Code><Message>c4nary</Message></Error></ErrorResponse>")
    };
    for (status, code, because, told) in [
        (403, "AccessDenied", Because::PartRefused, "external id"),
        (403, "SignatureDoesNotMatch", Because::Refused, "clock"),
        (400, "RequestExpired", Because::Refused, "clock"),
        (403, "c4nary", Because::Refused, "(status 403)"),
        (400, "Throttling", Because::Unavailable(None), "throttles"),
        (503, "ServiceUnavailable", Because::Unavailable(None), "cannot answer now"),
        (302, "x", Because::Refused, "redirect"),
    ] {
        let failed = obtained(KEYS, &Scripted::new(status, &error(code))).unwrap_err();
        assert_eq!((failed.refusal.code, failed.because), (Code::Dw1005, because), "{code}");
        assert!(failed.refusal.detail.contains(told), "{code}: {}", failed.refusal.detail);
    }
}

#[test]
fn each_agent_has_a_session_of_its_own_with_a_name_that_aws_takes() {
    for name in ["bot", "team.a@bot", "ab", &"x".repeat(64)] {
        assert_eq!(session_name(name), name);
    }
    let odd =
        ["a b", "a/b", "a:b", "x", "", "\u{e4}\u{e4}", &"x".repeat(65), &format!("{}y", "x".repeat(65))];
    let names: std::collections::BTreeSet<String> = odd.iter().map(|name| session_name(name)).collect();
    assert_eq!(names.len(), odd.len());
    for name in names {
        assert_ne!(session_name(&name), name, "an agent that is called so");
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b);
        assert!((2..=64).contains(&name.len()) && name.bytes().all(fits), "{name}");
    }
}

#[test]
fn refuses_a_role_without_its_arn_and_one_of_another_partition() {
    let text = |text: &str| FieldValue::Text(text.to_owned());
    for wrong in [
        fields([("assumeRole.externalId", text("xx"))]),
        fields([
            ("assumeRole.arn", text("arn:aws:iam::123456789012:role/x")),
            ("region", text("cn-north-1")),
        ]),
    ] {
        assert!(build("aws-sigv4", &wrong).is_err());
    }
    assert!(scheme(&[]).exchange().is_some());
    assert!(build("aws-sigv4", &fields([])).unwrap().exchange().is_none());
}
