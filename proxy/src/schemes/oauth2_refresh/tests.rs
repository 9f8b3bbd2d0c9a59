//! Tokens that the secret holds, what goes on beside them, and what the agent's own calls are answered.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use control::catalog::FieldValue;
use control::refusal::Code;
use control::rule::Path;
use control::target::Host;
use futures_util::FutureExt as _;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

use super::*;
use crate::schemes::conformance::{fields, opened, request, shown};
use crate::schemes::exchanges::{GOOD, Scripted};
use crate::schemes::shared::stand_in::Call;
use crate::schemes::{Bounds, Failed, Outgoing};

/// What the scripted issuer's clock says.
const NOW: u64 = 1_800_000_000;

fn text(value: &str) -> FieldValue {
    FieldValue::Text(value.to_owned())
}

fn vendor() -> Box<dyn Scheme> {
    build(&fields([
        ("tokenUrl", text("https://login.test/oauth/token")),
        ("clientId", text("app_public")),
        ("tokenBody", text("json")),
        ("accountHeader", text("x-account")),
        ("listed", text("x-beta: login-1")),
        ("scopes", text("a b")),
        ("alsoAnswered", text("https://old.test/v1/oauth/token")),
    ]))
    .unwrap()
}

fn obtained(scheme: &dyn Scheme, issuer: &Scripted, values: &[(&str, &str)]) -> Result<Issued, Failed> {
    let keys = ["refresh_token".to_owned()];
    let opened = opened(values);
    scheme.exchange().unwrap().obtain(issuer, Values::new(&opened, &keys)).now_or_never().unwrap()
}

fn secret(end: &str) -> Vec<(&'static str, String)> {
    vec![
        ("access_token", "c4nary-of-the-login".to_owned()),
        ("refresh_token", "c4nary-refresh".to_owned()),
        ("expires_at", end.to_owned()),
        ("account_id", "c4nary-account".to_owned()),
    ]
}

fn with_secret(scheme: &dyn Scheme, issuer: &Scripted, end: &str) -> Result<Issued, Failed> {
    let values = secret(end);
    let values: Vec<_> = values.iter().map(|(key, value)| (*key, &**value)).collect();
    obtained(scheme, issuer, &values)
}

#[test]
fn refuses_fields_that_say_nothing_clear() {
    for (name, value) in [
        ("tokenBody", "xml"),
        ("accountHeader", "user-agent"),
        ("listed", "no-colon"),
        ("listed", "x-beta: a, b"),
        ("listed", "cookie: a"),
        ("listed", "x-beta: "),
        ("alsoAnswered", "http://plain.test/token"),
    ] {
        let built = build(&fields([("tokenUrl", text("https://login.test/t")), (name, text(value))]));
        assert!(matches!(built, Err(BuildError::Invalid { field, .. }) if field == name), "{name}: {value}");
    }
}

#[test]
fn a_stored_token_is_not_used_without_its_end_nor_near_it() {
    for end in ["", "soon", "-1", "1799999999", "1800000299", "99999999999999999999"] {
        let issuer = Scripted::new(200, GOOD);
        let issued = with_secret(&*vendor(), &issuer, end).unwrap();
        assert!(issued.was_asked && issued.token.matches(b"c4nary-issued-token"), "{end}");
        assert_eq!(issuer.asked.lock().len(), 1, "{end}");
    }
}

#[test]
fn a_stored_token_is_used_once_and_then_another_one_is_asked_for() {
    let (scheme, issuer) = (vendor(), Scripted::new(200, GOOD));
    let end = (NOW + 3000).to_string();
    let issued = with_secret(&*scheme, &issuer, &end).unwrap();
    assert!(!issued.was_asked && issued.token.matches(b"c4nary-of-the-login"));
    assert_eq!((issued.life.as_secs(), issuer.asked.lock().len()), (3000, 0));
    // Doubted or due: the same one would be of no use.
    let issued = with_secret(&*scheme, &issuer, &end).unwrap();
    assert!(issued.was_asked && issued.token.matches(b"c4nary-issued-token"));
    // Another process may have renewed it meanwhile.
    let values = [
        ("access_token", "c4nary-of-another-process"),
        ("refresh_token", "c4nary-refresh-2"),
        ("expires_at", &end),
        ("account_id", "c4nary-account"),
    ];
    assert!(!obtained(&*scheme, &issuer, &values).unwrap().was_asked);
    assert_eq!(issuer.asked.lock().len(), 1);
}

#[test]
fn the_next_token_is_kept_with_the_next_refresh_token_and_not_without() {
    let next = GOOD.replace("\"scope\"", "\"refresh_token\":\"c4nary-the-next-one\",\"scope\"");
    let issued = with_secret(&*vendor(), &Scripted::new(200, &next), "0").unwrap();
    let kept: Vec<_> = issued.renewed.iter().map(|(key, value)| (&**key, value.expose().to_vec())).collect();
    assert_eq!(
        kept,
        [
            ("refresh_token", b"c4nary-the-next-one".to_vec()),
            ("access_token", b"c4nary-issued-token".to_vec()),
            ("expires_at", (NOW + 3600).to_string().into_bytes()),
        ]
    );
    assert!(with_secret(&*vendor(), &Scripted::new(200, GOOD), "0").unwrap().renewed.is_empty());
    // A secret without a place for it gets none.
    let values = [("refresh_token", "c4nary-refresh"), ("account_id", "c4nary-account")];
    assert_eq!(obtained(&*vendor(), &Scripted::new(200, &next), &values).unwrap().renewed.len(), 1);
}

#[test]
fn a_token_says_its_own_end_where_its_issuer_does_not() {
    let jwt = |claims: &str| format!("e30.{}.c4nary", URL_SAFE_NO_PAD.encode(claims));
    let life = |claims: &str| {
        let answer = format!("{{\"access_token\":\"{}\",\"token_type\":\"Bearer\"}}", jwt(claims));
        with_secret(&*vendor(), &Scripted::new(200, &answer), "0").unwrap().life.as_secs()
    };
    assert_eq!(life(&format!("{{\"exp\":{}}}", NOW + 7200)), 7200);
    for unsaid in ["{}", "{\"exp\":\"soon\"}", "no json", &format!("{{\"exp\":{}}}", NOW - 1)] {
        assert_eq!(life(unsaid), crate::schemes::shared::token::UNSAID.as_secs(), "{unsaid}");
    }
}

#[test]
fn the_vendors_way_is_sent() {
    let issuer = Scripted::new(200, GOOD);
    with_secret(&*vendor(), &issuer, "0").unwrap();
    assert_eq!(
        issuer.asked.lock()[0],
        "POST login.test:443/oauth/token\naccept: application/json\ncontent-type: application/json\n\
         {\"grant_type\":\"refresh_token\",\"refresh_token\":\"c4nary-refresh\",\"client_id\":\"app_public\",\"scope\":\"a b\"}"
    );
    let missing = obtained(&*vendor(), &issuer, &[("refresh_token", "c4nary-refresh")]).unwrap_err();
    assert_eq!(missing.refusal.code, Code::Dw1004);
    assert!(missing.refusal.detail.contains("`account_id`"), "{}", missing.refusal.detail);
    assert_eq!(issuer.asked.lock().len(), 1, "nobody was asked for nothing");
}

#[test]
fn account_and_list_go_on_beside_the_token() {
    let scheme = vendor();
    let token = opened(&[("token", "c4nary-token"), ("account_id", "c4nary-account")]);
    let Rendered { armed, echoes } = scheme.arm(&Values::new(&token, &[])).unwrap();
    let values: Vec<_> = echoes.iter().map(|echo| echo.value.to_vec()).collect();
    assert_eq!(values, [b"c4nary-token".to_vec(), b"c4nary-account".to_vec()]);
    assert!(!format!("{scheme:?} {armed:?} {echoes:?}").contains("c4nary"));
    for (sent, list) in [
        ("", "login-1"),
        ("\nx-beta: one,two", "one,two, login-1"),
        ("\nx-beta: one\nx-beta: two", "one, two, login-1"),
        ("\nx-beta: one, login-1", "one, login-1"),
        ("\nx-beta: not-login-1", "not-login-1, login-1"),
        ("\nx_beta: login-1", "login-1"),
        ("\nx-beta:  ", "login-1"),
    ] {
        let mut head = request(&format!("GET /\nauthorization: Bearer own\nx-account: own{sent}"));
        let (dummies, bounds) = (Vec::new(), Bounds::default());
        let mut out = Outgoing::new(&mut head, &dummies, &bounds, None);
        armed.place(&mut out).unwrap();
        out.finish().unwrap();
        let line = shown(&head);
        assert!(line.contains("authorization: Bearer c4nary-token"), "{line}");
        assert!(line.contains("x-account: c4nary-account") && !line.contains("own"), "{line}");
        assert!(line.contains(&format!("x-beta: {list}")) && line.matches("beta").count() == 1, "{line}");
    }
}

#[test]
fn every_endpoint_of_the_client_is_answered_with_the_dummy() {
    let scheme = vendor();
    let stand_in = scheme.stand_in().unwrap();
    let path = |text: &str| Path::parse(text).unwrap();
    let host = |text: &str| Host::parse(text).unwrap();
    for (name, at) in [("login.test", "/oauth/token"), ("old.test", "/v1/oauth/token/")] {
        assert!(stand_in.covers(&host(name), &path(at)), "{name}{at}");
    }
    assert!(!stand_in.covers(&host("old.test"), &path("/oauth/token")));
    assert_eq!(stand_in.places().len(), 2);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let answer = |body: &str| {
        let (method, path) = (http::Method::POST, path("/oauth/token"));
        let call = Call {
            method: &method,
            path: &path,
            query: None,
            headers: &headers,
            body: body.as_bytes(),
            dummy: "dw0",
        };
        stand_in.answer(&call).map(|answer| answer.body)
    };
    assert_eq!(
        answer(r#"{"grant_type":"refresh_token","refresh_token":"x"}"#).unwrap(),
        r#"{"access_token":"dw0","expires_in":3600,"refresh_token":"dw0","scope":"a b","token_type":"Bearer"}"#
    );
    assert_eq!(answer(r#"{"grant_type":"authorization_code","code":"x"}"#).unwrap_err().code, Code::Dw1002);
}

#[test]
fn a_refresh_token_is_kept_though_the_rest_of_the_answer_will_not_do() {
    let next = "\"refresh_token\":\"c4nary-the-next-one\"";
    for rest in [
        "\"token_type\":\"Bearer\"",
        "\"token_type\":\"mac\",\"access_token\":\"c4nary-token\"",
        "\"token_type\":1,\"access_token\":\"c4nary-token\"",
        "\"token_type\":\"Bearer\",\"access_token\":\"c4nary-token\",\"expires_in\":\"soon\"",
        "\"token_type\":\"Bearer\",\"access_token\":\"c4nary-token\",\"expires_in\":0",
        "\"token_type\":\"Bearer\",\"access_token\":\"c4n\"",
    ] {
        let issued =
            with_secret(&*vendor(), &Scripted::new(200, &format!("{{{next},{rest}}}")), "0").unwrap();
        assert_eq!(issued.fault.unwrap().refusal.code, Code::Dw2010, "{rest}");
        let kept: Vec<_> = issued.renewed.iter().map(|(key, value)| (&**key, value.expose())).collect();
        assert_eq!(kept, [("refresh_token", &b"c4nary-the-next-one"[..])], "{rest}");
        assert!(with_secret(&*vendor(), &Scripted::new(200, &format!("{{{rest}}}")), "0").is_err(), "{rest}");
    }
    // The type may be left out where the vendor has a protocol of its own, and there alone.
    let answer = "{\"access_token\":\"c4nary-token\"}";
    assert!(with_secret(&*vendor(), &Scripted::new(200, answer), "0").unwrap().fault.is_none());
    let plain = build(&fields([("tokenUrl", text("https://login.test/oauth/token"))])).unwrap();
    let values = [("refresh_token", "c4nary-refresh"), ("client_id", "c4nary-client")];
    assert!(obtained(&*plain, &Scripted::new(200, answer), &values).is_err());
}
