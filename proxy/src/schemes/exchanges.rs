//! What every scheme with an exchange has to keep: golden token requests, the key that is missing named, nothing of a
//! secret where it can be read, and no answer believed that is no token.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use control::catalog::{FieldValue, Fields};
use control::refusal::Code;
use futures_util::FutureExt as _;
use http::StatusCode;
use parking_lot::Mutex;

use super::conformance::{fields, opened};
use super::shared::issuer::{Ask, Asking, Reply};
use super::shared::token::Because;
use super::*;

/// An issuer that answers what it is told to and keeps what it was asked.
#[derive(Debug)]
pub(crate) struct Scripted {
    status: u16,
    answer: String,
    pub(crate) asked: Mutex<Vec<String>>,
}

impl Scripted {
    pub(crate) fn new(status: u16, answer: &str) -> Self {
        Self { status, answer: answer.to_owned(), asked: Mutex::default() }
    }
}

impl Issuer for Scripted {
    fn ask<'a>(&'a self, ask: Ask) -> Asking<'a> {
        assert!(!format!("{ask:?}").contains("c4nary"));
        let mut text = format!("{} {}{}\n", ask.method, ask.target, ask.path);
        for (name, value) in &ask.headers {
            text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
            assert!(name != http::header::AUTHORIZATION || value.is_sensitive());
        }
        text.push_str(&String::from_utf8_lossy(&ask.body));
        self.asked.lock().push(text);
        let reply = Reply {
            status: StatusCode::from_u16(self.status).unwrap(),
            retry_after: None,
            body: Zeroizing::new(self.answer.clone().into_bytes()),
        };
        Box::pin(async move { Ok(reply) })
    }

    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn part(&self) -> &str {
        "bot"
    }
}

pub(crate) const GOOD: &str =
    r#"{"access_token":"c4nary-issued-token","token_type":"bearer","expires_in":3600,"scope":"a b"}"#;
const URL: &str = "https://login.test/oauth/token";

/// One exchange.
struct Case {
    scheme: &'static str,
    fields: Fields,
    /// All that it needs.
    values: &'static [(&'static str, &'static str)],
    /// What the issuer is sent.
    asks: &'static str,
}

fn text(value: &str) -> FieldValue {
    FieldValue::Text(value.to_owned())
}

fn cases() -> Vec<Case> {
    const CLIENT: &[(&str, &str)] = &[("client_id", "c4nary id"), ("client_secret", "c4nary:/+&= secret")];
    vec![
        Case {
            scheme: "oauth2-client-credentials",
            fields: fields([
                ("tokenUrl", text(URL)),
                ("scopes", text("read:x write")),
                ("clientAuth", text("basic")),
            ]),
            values: CLIENT,
            // c4nary%20id:c4nary%3A%2F%2B%26%3D%20secret
            asks: "POST login.test:443/oauth/token\naccept: application/json\n\
                   content-type: application/x-www-form-urlencoded\n\
                   authorization: Basic YzRuYXJ5JTIwaWQ6YzRuYXJ5JTNBJTJGJTJCJTI2JTNEJTIwc2VjcmV0\n\
                   grant_type=client_credentials&scope=read%3Ax%20write",
        },
        Case {
            scheme: "oauth2-client-credentials",
            fields: fields([
                ("tokenUrl", text(URL)),
                ("clientAuth", text("post")),
                ("audience", text("https://api.test/")),
                ("resource", text("urn:x")),
            ]),
            values: CLIENT,
            asks: "POST login.test:443/oauth/token\naccept: application/json\n\
                   content-type: application/x-www-form-urlencoded\n\
                   grant_type=client_credentials&client_id=c4nary%20id&client_secret=c4nary%3A%2F%2B%26%3D%20secret\
                   &audience=https%3A%2F%2Fapi.test%2F&resource=urn%3Ax",
        },
        Case {
            scheme: "oauth2-refresh",
            fields: fields([("tokenUrl", text(URL)), ("scopes", text("a"))]),
            values: &[("refresh_token", "c4nary/refresh"), ("client_id", "c4nary id")],
            asks: "POST login.test:443/oauth/token\naccept: application/json\n\
                   content-type: application/x-www-form-urlencoded\n\
                   grant_type=refresh_token&refresh_token=c4nary%2Frefresh&client_id=c4nary%20id&scope=a",
        },
        Case {
            scheme: "jwt-bearer",
            fields: fields([("tokenUrl", text(URL)), ("issuer", text("me@test")), ("scopes", text("a"))]),
            values: PRIVATE_KEY.as_slice(),
            asks: "POST login.test:443/oauth/token\naccept: application/json\n\
                   content-type: application/x-www-form-urlencoded\n\
                   grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=*&scope=a",
        },
    ]
}

/// A key of its own for each run.
static PRIVATE_KEY: LazyLock<[(&str, &str); 1]> = LazyLock::new(|| {
    let document =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    let coded = STANDARD.encode(document.as_ref());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{coded}\n-----END PRIVATE KEY-----\n");
    [("private_key", Box::leak(pem.into_boxed_str()))]
});

/// What stands where the golden request has its `*`, if the rest is the same.
fn starred<'a>(asked: &'a str, golden: &str) -> Option<&'a str> {
    match golden.split_once('*') {
        None => (asked == golden).then_some(""),
        Some((before, after)) => asked.strip_prefix(before)?.strip_suffix(after),
    }
}

#[test]
fn an_assertion_says_who_for_whom_and_until_when_and_is_never_the_same_twice() {
    let case = Case {
        fields: fields([
            ("tokenUrl", text(URL)),
            ("issuer", text("me@test")),
            ("subject", text("you@test")),
            ("keyId", text("k1")),
            ("scopes", text("a")),
        ]),
        ..cases().pop().unwrap()
    };
    let issuer = Scripted::new(200, GOOD);
    let mut ids = BTreeSet::new();
    for _ in 0..2 {
        obtained(&case, case.values, &issuer).unwrap();
        let asked = issuer.asked.lock().pop().unwrap();
        let assertion = starred(&asked, case.asks).unwrap();
        let part = |at: usize| -> serde_json::Value {
            let coded = assertion.split('.').nth(at).unwrap();
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(coded).unwrap()).unwrap()
        };
        assert_eq!(part(0), serde_json::json!({"alg": "ES256", "typ": "JWT", "kid": "k1"}));
        let mut claims = part(1);
        ids.insert(claims["jti"].take().as_str().unwrap().to_owned());
        let expected = serde_json::json!({
            "iss": "me@test", "sub": "you@test", "aud": URL, "jti": null,
            "iat": 1_799_999_990, "exp": 1_800_000_300,
        });
        assert_eq!(claims, expected);
    }
    assert_eq!(ids.len(), 2);
    let failed = obtained(&case, &[("private_key", "c4nary, no key")], &issuer).unwrap_err();
    assert!(failed.refusal.detail.contains("`private_key`"), "{}", failed.refusal.detail);
}

#[test]
fn a_confidential_client_shows_its_secret_and_takes_another_refresh_token() {
    let refresh = |values, answer: &str| {
        let case = Case { values, ..cases().remove(2) };
        assert_eq!(case.scheme, "oauth2-refresh");
        let issuer = Scripted::new(200, answer);
        let outcome = obtained(&case, case.values, &issuer);
        (outcome, issuer.asked.lock().pop().unwrap())
    };
    let values =
        &[("refresh_token", "c4nary-refresh"), ("client_id", "c4nary"), ("client_secret", "c4nary-secret")];
    let (issued, asked) = refresh(values, GOOD);
    assert!(issued.unwrap().renewed.is_empty());
    assert!(
        asked.contains("authorization: Basic YzRuYXJ5OmM0bmFyeS1zZWNyZXQ=") && !asked.contains("client_id")
    );
    let with = |token: &str| GOOD.replace("\"scope\"", &format!("\"refresh_token\":{token},\"scope\""));
    let (issued, _) = refresh(values, &with("\"c4nary-the-next-one\""));
    let (key, value) = issued.unwrap().renewed.pop().unwrap();
    assert!(key == "refresh_token" && value.matches(b"c4nary-the-next-one"));
    for bad in ["\"short\"", "\"c4nary with blanks\"", "\"c4nary\\u0000nul\""] {
        let (refused, _) = refresh(values, &with(bad));
        assert_eq!(refused.unwrap_err().refusal.code, Code::Dw2010, "{bad}");
    }
    // Who asked with its own credentials keeps nothing.
    let case = &cases()[0];
    let issued = obtained(case, case.values, &Scripted::new(200, &with("\"c4nary-the-next-one\"")));
    assert!(issued.unwrap().renewed.is_empty());
}

fn obtained(case: &Case, values: &[(&str, &str)], issuer: &Scripted) -> Result<Issued, Failed> {
    let scheme = build(case.scheme, &case.fields).unwrap();
    let spec = SCHEMES.iter().find(|entry| entry.spec.name == case.scheme).unwrap().spec;
    let keys: Vec<String> = spec.default_keys.iter().map(|key| (*key).to_owned()).collect();
    let opened = opened(values);
    let exchange = scheme.exchange().unwrap();
    let outcome = exchange.obtain(issuer, Values::new(&opened, &keys)).now_or_never().unwrap();
    for text in [format!("{scheme:?}"), format!("{outcome:?}")] {
        assert!(!text.contains("c4nary"), "{}: {text}", case.scheme);
    }
    outcome
}

#[test]
fn every_exchange_names_the_key_that_is_missing_and_asks_nobody() {
    for case in cases() {
        for (missing, _) in case.values {
            let values: Vec<_> = case.values.iter().filter(|(key, _)| key != missing).copied().collect();
            let issuer = Scripted::new(200, GOOD);
            let failed = obtained(&case, &values, &issuer).unwrap_err();
            assert_eq!((failed.refusal.code, failed.because), (Code::Dw1004, Because::Refused));
            assert!(failed.refusal.detail.contains(missing), "{}: {}", case.scheme, failed.refusal.detail);
            assert!(issuer.asked.lock().is_empty());
        }
    }
}

#[test]
fn every_exchange_sends_exactly_what_its_golden_request_shows() {
    for case in cases() {
        let issuer = Scripted::new(200, GOOD);
        let issued = obtained(&case, case.values, &issuer).unwrap();
        let asked = issuer.asked.lock().clone();
        assert_eq!(asked.len(), 1);
        assert!(starred(&asked[0], case.asks).is_some(), "{}: {}", case.scheme, asked[0]);
        assert!(issued.token.matches(b"c4nary-issued-token"));
        assert_eq!(issued.life, Duration::from_secs(3600));
    }
}

#[test]
fn every_scheme_with_an_exchange_has_a_golden_request_and_a_token_url() {
    let tested: BTreeSet<&str> = cases().iter().map(|case| case.scheme).collect();
    for case in cases() {
        let exchanging = build(case.scheme, &case.fields).unwrap().exchange().is_some();
        assert!(exchanging, "{}", case.scheme);
    }
    let named: BTreeSet<&str> = specs()
        .iter()
        .filter(|spec| spec.auth_fields.iter().any(|field| field.name == "tokenUrl"))
        .map(|spec| spec.name)
        .collect();
    assert_eq!(tested, named);
}

#[test]
fn refuses_files_that_would_put_the_secret_itself_on() {
    let mistakes = |auth: &str| {
        let text = format!(
            "apiVersion: doorward.dev/v1alpha1\nkind: Provider\nmetadata: {{name: p}}\n\
             spec:\n  type: http-token\n  host: a.example\n  auth:\n    secretRef: s\n{auth}"
        );
        let found = control::provider::parse_text("p.yaml", &text, specs()).unwrap_err();
        found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    for (auth, words) in [
        (
            "    type: oauth2-refresh\n    inject: [{header: Authorization}]\n",
            "p.yaml:10:13: auth type `oauth2-refresh`",
        ),
        ("    type: jwt-bearer\n    inject: [{query: k}]\n", "would put on the secret itself"),
        ("    type: oauth2-client-credentials\n", "`tokenUrl` is missing"),
        ("    type: bearer\n    tokenUrl: https://a.example/t\n", "has no field `tokenUrl`"),
        ("    type: oauth2-refresh\n    tokenUrl: http://a.example/t\n", "p.yaml:10:15"),
        (
            "    type: oauth2-refresh\n    tokenUrl: https://a.example/t\n    scopes: ['a b']\n",
            "`scopes` is a list",
        ),
        (
            "    type: oauth2-refresh\n    tokenUrl: https://a.example/t\n    clientAuth: jwt\n",
            "`clientAuth` has to be one of `basic`, `post`",
        ),
        ("    type: jwt-bearer\n    tokenUrl: https://a.example/t\n", "`issuer` is missing"),
    ] {
        let found = mistakes(auth);
        assert!(found.contains(words), "{auth} {found}");
    }
}

#[test]
fn no_answer_is_believed_that_is_no_token() {
    let case = &cases()[0];
    for (answer, why) in [
        ("", "not one JSON object"),
        ("[]", "not one JSON object"),
        (r#"{"token_type":"Bearer","expires_in":1}"#, "no access_token"),
        (r#"{"access_token":"one-one-one","access_token":"two-two-two","token_type":"Bearer"}"#, "twice"),
        (r#"{"access_token":"c4nary-token","expires_in":1}"#, "Bearer"),
        (r#"{"access_token":"c4nary-token","token_type":"mac"}"#, "Bearer"),
        (r#"{"access_token":"c4nary-token","token_type":["Bearer"]}"#, "Bearer"),
        (r#"{"access_token":"c4nary-token","token_type":"Bearer","expires_in":0}"#, "expired"),
        (r#"{"access_token":"c4nary-token","token_type":"Bearer","expires_in":-1}"#, "expires_in"),
        (r#"{"access_token":"c4nary-token","token_type":"Bearer","expires_in":"soon"}"#, "expires_in"),
        (r#"{"access_token":"c4nary-token","token_type":"Bearer","expires_in":1.5}"#, "expires_in"),
        (r#"{"access_token":"c4nary token","token_type":"Bearer"}"#, "visible ASCII"),
        (r#"{"access_token":"c4nary\r\nx: y","token_type":"Bearer"}"#, "visible ASCII"),
        ("{\"access_token\":\"c4nary\u{e9}\u{e9}\",\"token_type\":\"Bearer\"}", "visible ASCII"),
        (r#"{"access_token":"c4nary7","token_type":"Bearer"}"#, "too short"),
        (r#"{"access_token":12345678901,"token_type":"Bearer"}"#, "no access_token"),
    ] {
        let failed = obtained(case, case.values, &Scripted::new(200, answer)).unwrap_err();
        assert_eq!(failed.refusal.code, Code::Dw2010, "{answer}");
        assert!(failed.refusal.detail.contains(why), "{answer}: {}", failed.refusal.detail);
    }
    let unsaid = r#"{"access_token":"c4nary-token","token_type":"BEARER"}"#;
    assert_eq!(obtained(case, case.values, &Scripted::new(200, unsaid)).unwrap().life, shared::token::UNSAID);
}

#[test]
fn a_no_is_told_in_our_own_words() {
    let case = &cases()[0];
    for (status, answer, because, detail) in [
        (
            400,
            r#"{"error":"invalid_grant","error_description":"c4nary"}"#,
            Because::Refused,
            "refused the credential: invalid_grant",
        ),
        (401, r#"{"error":"c4nary-of-the-agent"}"#, Because::Refused, "refused the credential (status 401)"),
        (403, "c4nary", Because::Refused, "refused the credential (status 403)"),
        (302, "", Because::Refused, "answered with a redirect (302), which is not followed"),
        (503, "c4nary", Because::Unavailable(None), "cannot answer now (status 503)"),
        (429, "c4nary", Because::Unavailable(None), "cannot answer now (status 429)"),
    ] {
        let failed = obtained(case, case.values, &Scripted::new(status, answer)).unwrap_err();
        assert_eq!((failed.refusal.code, failed.because), (Code::Dw1005, because), "{status}");
        assert_eq!(failed.refusal.detail, format!("the token endpoint {detail}"));
    }
}
