//! What is signed and asked, what is believed, and what the agent is told.

use control::catalog::FieldValue;
use control::refusal::Code;
use futures_util::FutureExt as _;

use super::*;
use crate::schemes::conformance::{fields, opened, request, shown};
use crate::schemes::exchanges::Scripted;
use crate::schemes::shared::jwt::testing::{EC_SEC1, RSA_PKCS1, claims, is_signed_by_rfc_7515};
use crate::schemes::{Bounds, Outgoing};

/// The clock of the scripted issuer stands at 2027-01-15T08:00:00Z.
const GOOD: &str = r#"{"token":"ghs_c4nary_installation","expires_at":"2027-01-15T09:00:00Z","permissions":{"contents":"read"},"repository_selection":"selected"}"#;
const VALUES: &[(&str, &str)] = &[("app_id", "123"), ("installation_id", "456"), ("private_key", RSA_PKCS1)];

fn text(value: &str) -> FieldValue {
    FieldValue::Text(value.to_owned())
}

fn scheme(more: &[(&'static str, &str)]) -> Result<Box<dyn Scheme>, BuildError> {
    let mut all = fields([("tokenUrl", text("https://api.github.com/"))]);
    all.0.extend(more.iter().map(|(name, value)| (*name, text(value))));
    build(&all)
}

fn obtained(
    more: &[(&'static str, &str)],
    values: &[(&str, &str)],
    issuer: &Scripted,
) -> Result<Issued, Failed> {
    let (scheme, opened) = (scheme(more).unwrap(), opened(values));
    let keys = ["private_key".to_owned()];
    scheme.exchange().unwrap().obtain(issuer, Values::new(&opened, &keys)).now_or_never().unwrap()
}

#[test]
fn refuses_values_that_are_none_and_asks_nobody() {
    let with = |key: &str, value: &'static str| -> Vec<(&str, &str)> {
        VALUES.iter().map(|(own, old)| (*own, if *own == key { value } else { *old })).collect()
    };
    for values in [
        with("installation_id", "456/../7"),
        with("installation_id", "four"),
        with("app_id", "c4nary/1"),
        with("private_key", "c4nary-no-key"),
        with("private_key", EC_SEC1),
        VALUES[1..].to_vec(),
        VALUES[..2].to_vec(),
    ] {
        let issuer = Scripted::new(201, GOOD);
        let failed = obtained(&[], &values, &issuer).unwrap_err();
        assert_eq!(failed.refusal.code, Code::Dw1004);
        assert!(!failed.refusal.detail.contains("c4nary") && issuer.asked.lock().is_empty());
    }
}

#[test]
fn refuses_permissions_that_are_none() {
    for list in
        ["contents", "contents:own", "Contents:read", ":read", "contents:read contents:write", "a b:read"]
    {
        assert!(scheme(&[("permissions", list)]).is_err(), "{list}");
    }
}

#[test]
fn believes_no_answer_without_a_token_and_its_end() {
    for answer in [
        "{}",
        r#"{"token":"ghs_c4nary_installation"}"#,
        r#"{"token":"ghs_c4nary_installation","expires_at":"soon"}"#,
        r#"{"token":"ghs_c4nary_installation","expires_at":"2027-01-15T07:00:00Z"}"#,
        r#"{"expires_at":"2027-01-15T09:00:00Z"}"#,
        r#"{"token":"ghs_c4nary_1","token":"ghs_c4nary_2","expires_at":"2027-01-15T09:00:00Z"}"#,
    ] {
        let failed = obtained(&[], VALUES, &Scripted::new(201, answer)).unwrap_err();
        assert_eq!(failed.refusal.code, Code::Dw2010, "{answer}");
        assert!(!failed.refusal.detail.contains("c4nary"));
    }
    let failed = obtained(&[], VALUES, &Scripted::new(401, r#"{"message":"c4nary"}"#)).unwrap_err();
    assert_eq!(failed.refusal.code, Code::Dw1005);
}

#[test]
fn an_app_asks_for_a_narrowed_token_of_its_installation() {
    let issuer = Scripted::new(201, GOOD);
    let narrow = [("permissions", "contents:read issues:write"), ("repositories", "api web")];
    let issued = obtained(&narrow, VALUES, &issuer).unwrap();
    assert!(issued.token.matches(b"ghs_c4nary_installation"));
    assert_eq!(issued.life, Duration::from_secs(3600));
    let asked = issuer.asked.lock();
    let mut lines = asked[0].lines();
    assert_eq!(lines.next(), Some("POST api.github.com:443/app/installations/456/access_tokens"));
    assert_eq!(
        lines.next_back(),
        Some(r#"{"permissions":{"contents":"read","issues":"write"},"repositories":["api","web"]}"#)
    );
    let signed = lines.find_map(|line| line.strip_prefix("authorization: Bearer ")).unwrap();
    assert!(is_signed_by_rfc_7515(signed));
    let (_, claims) = claims(signed);
    assert_eq!(claims, serde_json::json!({"iss": "123", "iat": 1_799_999_940, "exp": 1_800_000_480}));
}

#[test]
fn git_gets_the_token_as_basic_credentials() {
    let token = opened(&[("token", "ghs_c4nary")]);
    for (way, after) in [
        ("bearer", "GET /\nauthorization: Bearer ghs_c4nary"),
        ("basic", "GET /\nauthorization: Basic eC1hY2Nlc3MtdG9rZW46Z2hzX2M0bmFyeQ=="),
    ] {
        let rendered = scheme(&[("as", way)]).unwrap().arm(&Values::new(&token, &[])).unwrap();
        assert_eq!(rendered.echoes.len(), 1);
        let (mut head, bounds) = (request("GET /\nauthorization: own"), Bounds::default());
        rendered.armed.place(&mut Outgoing::new(&mut head, &[], &bounds, None)).unwrap();
        assert_eq!(shown(&head), after);
    }
}

#[test]
fn an_agent_cannot_revoke_the_token_that_it_uses() {
    let scheme = scheme(&[]).unwrap();
    let api = scheme.stand_in().unwrap();
    let host = api.places().remove(0).target.host;
    let headers = HeaderMap::new();
    for path in ["/installation/token", "/Installation/token/", "/installation%2Ftoken"] {
        let path = Path::parse(path).unwrap();
        assert!(api.covers(&host, &path));
        for method in [Method::DELETE, Method::POST] {
            let call =
                Call { method: &method, path: &path, query: None, headers: &headers, body: b"", dummy: "d" };
            assert_eq!(api.answer(&call).unwrap_err().code, Code::Dw1002);
        }
    }
    assert!(!api.covers(&host, &Path::parse("/installation/repositories").unwrap()));
}

#[test]
fn the_agents_own_call_for_a_token_gets_the_dummy() {
    let scheme = scheme(&[]).unwrap();
    let api = scheme.stand_in().unwrap();
    let host = api.places().remove(0).target.host;
    for path in [
        "/app",
        "/app/installations",
        "/app/installations/1",
        "/app/installations/1/access_tokens/x",
        "/repos/a/b",
    ] {
        assert!(!api.covers(&host, &Path::parse(path).unwrap()), "{path}");
    }
    for path in ["/app/installations/1/access_tokens", "/App/installations//1/access_tokens/"] {
        let path = Path::parse(path).unwrap();
        assert!(api.covers(&host, &path));
        let headers = HeaderMap::new();
        let call = |method| {
            let call =
                Call { method, path: &path, query: None, headers: &headers, body: b"", dummy: "ghs_dummy" };
            api.answer(&call)
        };
        assert_eq!(call(&Method::GET).unwrap_err().code, Code::Dw1002);
        assert!(call(&Method::POST).unwrap().body.contains(r#""token":"ghs_dummy""#));
    }
}
