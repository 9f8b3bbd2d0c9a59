//! What is signed, what is asked, what the agent is told.

use control::catalog::FieldValue;
use control::refusal::Code;
use futures_util::FutureExt as _;
use http::HeaderMap;
use http::header::HeaderValue;

use super::*;
use crate::schemes::conformance::{fields, opened};
use crate::schemes::exchanges::{GOOD, Scripted};
use crate::schemes::shared::jwt::testing::{claims, is_signed_by_rfc_7515};

const KEY: &str = "key.json";

fn text(value: &str) -> FieldValue {
    FieldValue::Text(value.to_owned())
}

fn scheme(token: &str) -> Box<dyn Scheme> {
    let url = "https://oauth2.googleapis.com/token";
    build(&fields([("tokenUrl", text(url)), ("token", text(token)), ("scopes", text("a b"))])).unwrap()
}

fn file() -> String {
    let file = serde_json::json!({
        "type": "service_account",
        "private_key_id": "k1",
        "private_key": crate::schemes::shared::jwt::testing::RSA_PKCS8,
        "client_email": "c4nary@p.iam.gserviceaccount.com",
        // Google's, but not the one that is asked.
        "token_uri": "https://accounts.google.com/o/oauth2/token",
    });
    file.to_string()
}

fn obtained(
    token: &str,
    values: &[(&str, &str)],
    issuer: &Scripted,
) -> Result<Issued, crate::schemes::Failed> {
    let (scheme, opened) = (scheme(token), opened(values));
    let exchange = scheme.exchange().unwrap();
    exchange.obtain(issuer, Values::new(&opened, &[KEY.to_owned()])).now_or_never().unwrap()
}

#[test]
fn refuses_what_is_no_key_file_and_asks_nobody() {
    for values in [
        &[][..],
        &[("token", "c4nary-c4nary")],
        &[(KEY, "c4nary-c4nary")],
        &[(KEY, "{\"type\":\"service_account\",\"client_email\":\"c4nary@x\"}")],
        &[(KEY, "{\"type\":\"external_account\",\"c4nary\":1}")],
    ] {
        let issuer = Scripted::new(200, GOOD);
        let failed = obtained("exchanged", values, &issuer).unwrap_err();
        assert_eq!(failed.refusal.code, Code::Dw1004);
        assert!(!failed.refusal.detail.contains("c4nary"), "{}", failed.refusal.detail);
        assert!(issuer.asked.lock().is_empty());
    }
}

#[test]
fn an_assertion_goes_to_the_providers_endpoint_alone() {
    let issuer = Scripted::new(200, GOOD);
    let issued = obtained("exchanged", &[(KEY, &file())], &issuer).unwrap();
    assert!(issued.token.matches(b"c4nary-issued-token"));
    let asked = issuer.asked.lock();
    let [asked] = asked.as_slice() else { panic!("{asked:?}") };
    let (head, form) = asked.rsplit_once('\n').unwrap();
    assert!(head.starts_with("POST oauth2.googleapis.com:443/token\n") && !head.contains("authorization"));
    let assertion = form
        .strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=")
        .unwrap();
    assert!(is_signed_by_rfc_7515(assertion));
    let (header, claims) = claims(assertion);
    assert_eq!(header, serde_json::json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}));
    assert_eq!(
        claims,
        serde_json::json!({
            "iss": "c4nary@p.iam.gserviceaccount.com",
            "scope": "a b",
            "aud": "https://oauth2.googleapis.com/token",
            "iat": 1_799_999_990,
            "exp": 1_800_003_590,
        })
    );
}

#[test]
fn a_self_signed_token_is_asked_of_nobody() {
    let issuer = Scripted::new(500, "");
    let issued = obtained("self-signed", &[(KEY, &file())], &issuer).unwrap();
    assert!(issuer.asked.lock().is_empty());
    // The audit shows no call that is not made.
    assert!(!scheme("self-signed").exchange().unwrap().asks());
    assert!(scheme("exchanged").exchange().unwrap().asks());
    assert_eq!(issued.life, LIFE - BACK);
    let token = String::from_utf8(issued.token.expose().to_vec()).unwrap();
    assert!(is_signed_by_rfc_7515(&token));
    let (_, claims) = claims(&token);
    assert_eq!((&claims["sub"], &claims["scope"]), (&claims["iss"], &"a b".into()));
    assert!(claims.get("aud").is_none());
}

fn answered(
    method: Method,
    path: &str,
    headers: &[(&'static str, &'static str)],
    body: &str,
) -> Result<LocalAnswer, Refusal> {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
    let path = Path::parse(path).unwrap();
    let call = Call {
        method: &method,
        path: &path,
        query: None,
        headers: &headers,
        body: body.as_bytes(),
        dummy: "ya29.dummy",
    };
    let scheme = scheme("exchanged");
    let google = scheme.stand_in().unwrap();
    assert!(google.places().iter().any(|place| google.covers(&place.target.host, &path)), "{path:?}");
    google.answer(&call)
}

#[test]
fn the_metadata_server_gives_no_more_than_a_dummy() {
    let flavor = &[("metadata-flavor", "Google")];
    let token = "/computeMetadata/v1/instance/service-accounts/default/token";
    for (method, path, headers) in [
        (Method::GET, token, &[][..]),
        (Method::POST, token, flavor),
        (Method::GET, "/computeMetadata/v1/instance/service-accounts/default/identity", flavor),
        (Method::GET, "/computeMetadata/v1/instance/attributes/kube-env", flavor),
        (Method::GET, "/computeMetadata/v1/instance/service-accounts/other/token", flavor),
        (Method::GET, "/COMPUTEMETADATA/v1/instance/attributes/", flavor),
        (Method::PUT, "/", flavor),
    ] {
        let refusal = answered(method, path, headers, "").unwrap_err();
        assert_eq!(refusal.code, Code::Dw1002, "{path}");
    }
    let answer = answered(Method::GET, token, flavor, "").unwrap();
    assert_eq!(answer.body, r#"{"access_token":"ya29.dummy","expires_in":3600,"token_type":"Bearer"}"#);
    assert_eq!(answer.headers, [("metadata-flavor", "Google")]);
    for path in [
        "/",
        "/computeMetadata/v1/instance/service-accounts/default/",
        "/computeMetadata/v1/instance/service-accounts/default/email",
        "/computeMetadata/v1/project/project-id",
        "/computeMetadata/v1/universe/universe-domain",
    ] {
        answered(Method::GET, path, flavor, "").unwrap();
    }
}

#[test]
fn every_token_endpoint_of_googles_answers_with_the_dummy() {
    let form = &[("content-type", "application/x-www-form-urlencoded")];
    for path in ["/token", "/oauth2/v4/token", "/o/oauth2/token", "/Token/"] {
        let grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=x";
        assert!(answered(Method::POST, path, form, grant).unwrap().body.contains("ya29.dummy"));
        assert!(answered(Method::POST, path, form, "grant_type=authorization_code").is_err());
    }
    let scheme = scheme("exchanged");
    let google = scheme.stand_in().unwrap();
    for path in ["/storage/v1/b/x/o/token", "/v1/token", "/tokeninfo", "/revoke"] {
        let path = Path::parse(path).unwrap();
        assert!(!google.places().iter().any(|place| google.covers(&place.target.host, &path)), "{path:?}");
    }
    // At other places these are paths of APIs.
    for (host, path) in [
        ("www.googleapis.com", "/"),
        ("www.googleapis.com", "/v1beta1/projects"),
        ("www.googleapis.com", "/computeMetadata/v1/project/project-id"),
        ("storage.googleapis.com", "/token"),
        ("metadata.google.internal", "/token"),
    ] {
        let host = Target::parse_host(host, 443).unwrap().host;
        assert!(!google.covers(&host, &Path::parse(path).unwrap()), "{host}{path}");
    }
    let places: Vec<String> = google
        .places()
        .iter()
        .map(|place| format!("{}{}", place.target, if place.plain { " plain" } else { "" }))
        .collect();
    assert_eq!(
        places,
        [
            "oauth2.googleapis.com:443",
            "www.googleapis.com:443",
            "accounts.google.com:443",
            "metadata.google.internal:80 plain",
            "169.254.169.254:80 plain",
        ]
    );
}
