//! What is asked for which audience, with a secret and with a certificate, and what the agent is told.

use control::catalog::FieldValue;
use control::refusal::Code;
use futures_util::FutureExt as _;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue};

use super::*;
use crate::schemes::conformance::{fields, opened, request, shown};
use crate::schemes::exchanges::{GOOD, Scripted};
use crate::schemes::shared::jwt::testing::{RSA_PKCS8, claims, is_signed_by_rfc_7515};
use crate::schemes::{Bounds, Issued};

const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

fn text(value: &str) -> FieldValue {
    FieldValue::Text(value.to_owned())
}

fn of(audience: &str, tenant: &str) -> Result<Box<dyn Scheme>, BuildError> {
    build(&fields([
        ("audience", text(audience)),
        ("tenantId", text(tenant)),
        ("tokenUrl", text("https://login.microsoftonline.com/")),
    ]))
}

fn obtained(values: &[(&str, &str)], issuer: &Scripted) -> Result<Issued, crate::schemes::Failed> {
    let (scheme, opened) = (of("https://storage.azure.com/", TENANT).unwrap(), opened(values));
    let keys = ["client_secret".to_owned(), "certificate".to_owned()];
    scheme.exchange().unwrap().obtain(issuer, Values::new(&opened, &keys)).now_or_never().unwrap()
}

#[test]
fn refuses_tenants_that_are_no_uuid() {
    for tenant in [
        "common",
        "a/b",
        "..",
        "72f988bf-86f1-41af-91ab",
        &format!("{TENANT},{TENANT}"),
        "x2f988bf-86f1-41af-91ab-2d7cd011db47",
    ] {
        assert!(
            matches!(of("https://a.example", tenant), Err(BuildError::Invalid { field: "tenantId", .. })),
            "{tenant}"
        );
    }
}

#[test]
fn refuses_a_certificate_without_its_key_and_asks_nobody() {
    let certificate = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    for values in [
        &[("client_secret", "c4nary-c4nary")][..],
        &[("client_id", "c4nary-id")],
        &[("client_id", "c4nary-id"), ("certificate", certificate)],
        &[("client_id", "c4nary-id"), ("certificate", RSA_PKCS8)],
    ] {
        let issuer = Scripted::new(200, GOOD);
        let failed = obtained(values, &issuer).unwrap_err();
        assert_eq!(failed.refusal.code, Code::Dw1004);
        assert!(!failed.refusal.detail.contains("c4nary") && issuer.asked.lock().is_empty());
    }
}

#[test]
fn a_secret_asks_for_one_audience() {
    let issuer = Scripted::new(200, GOOD);
    obtained(&[("client_id", "c4nary-id"), ("client_secret", "c4nary~&secret")], &issuer).unwrap();
    assert_eq!(
        *issuer.asked.lock(),
        [format!(
            "POST login.microsoftonline.com:443/{TENANT}/oauth2/v2.0/token\naccept: application/json\n\
             content-type: application/x-www-form-urlencoded\n\
             grant_type=client_credentials&scope=https%3A%2F%2Fstorage.azure.com%2F.default\
             &client_id=c4nary-id&client_secret=c4nary~%26secret"
        )]
    );
}

#[test]
fn a_certificate_signs_who_the_application_is() {
    let issuer = Scripted::new(200, GOOD);
    let both =
        format!("Bag Attributes\n-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n{RSA_PKCS8}");
    obtained(&[("client_id", "c4nary-id"), ("certificate", &both)], &issuer).unwrap();
    let asked = issuer.asked.lock();
    let form = asked[0].rsplit_once('\n').unwrap().1;
    let assertion = form
        .strip_prefix("grant_type=client_credentials&scope=https%3A%2F%2Fstorage.azure.com%2F.default&client_id=c4nary-id&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=")
        .unwrap();
    assert!(is_signed_by_rfc_7515(assertion));
    let (header, claims) = claims(assertion);
    let thumbprint =
        URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &[0x30, 0]));
    assert_eq!(header["x5t#S256"], thumbprint);
    assert_eq!(claims["aud"], format!("https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token"));
    assert_eq!((&claims["iss"], &claims["sub"]), (&"c4nary-id".into(), &"c4nary-id".into()));
    assert_eq!(claims["exp"], 1_800_000_300);
}

#[test]
fn a_vaults_first_call_goes_without_a_credential_and_others_never() {
    let token = opened(&[("token", "c4nary-token")]);
    let placed = |audience: &str, before: &str| {
        let rendered = of(audience, TENANT).unwrap().arm(&Values::new(&token, &[])).unwrap();
        assert_eq!(rendered.echoes.len(), 1);
        let (mut head, bounds) = (request(before), Bounds::default());
        let mut out = Outgoing::new(&mut head, &[], &bounds, None);
        rendered.armed.place(&mut out).unwrap();
        shown(&head)
    };
    let vault = "https://vault.azure.net";
    assert_eq!(placed(vault, "GET /secrets/a"), "GET /secrets/a");
    let with = "GET /secrets/a\nauthorization: Bearer c4nary-token";
    assert_eq!(placed(vault, "GET /secrets/a\nAuthorization: Bearer dummy"), with);
    assert_eq!(placed("https://storage.azure.com", "GET /secrets/a"), with);
}

fn answered(method: Method, path: &str, body: &str) -> Result<LocalAnswer, Refusal> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    let path = Path::parse(path).unwrap();
    let call = Call {
        method: &method,
        path: &path,
        query: None,
        headers: &headers,
        body: body.as_bytes(),
        dummy: "dummy-1",
    };
    let scheme = of("https://storage.azure.com", TENANT).unwrap();
    let entra = scheme.stand_in().unwrap();
    assert!(entra.covers(&entra.places()[0].target.host, &path));
    entra.answer(&call)
}

#[test]
fn the_login_host_is_answered_for_whole() {
    for (method, path, body) in [
        (Method::GET, "/", ""),
        (Method::GET, "/t/oauth2/v2.0/authorize", ""),
        (Method::POST, "/t/oauth2/v2.0/devicecode", "grant_type=client_credentials"),
        (Method::POST, "/t/oauth2/v2.0/token", "grant_type=password"),
        (Method::POST, "/t%2Fx/oauth2/v2.0/token", "grant_type=client_credentials"),
        (Method::POST, "/common/discovery/instance", ""),
        (Method::GET, "/t%22/v2.0/.well-known/openid-configuration", ""),
    ] {
        assert_eq!(answered(method, path, body).unwrap_err().code, Code::Dw1002, "{path}");
    }
    let token =
        answered(Method::POST, "/any-tenant/oauth2/v2.0/token", "grant_type=client_credentials&client_id=x");
    assert!(token.unwrap().body.contains("dummy-1"));
    let found = answered(Method::GET, "/any-tenant/v2.0/.well-known/openid-configuration", "").unwrap();
    assert!(found.body.contains("https://login.microsoftonline.com/any-tenant/oauth2/v2.0/token"));
    let found = answered(Method::GET, "/common/discovery/instance", "").unwrap();
    assert!(found.body.contains("tenant_discovery_endpoint"));
}
