//! What every scheme of the table has to keep: one suite, golden requests, and no value where it can be read.

use std::collections::BTreeSet;

use control::catalog::{FieldKind, FieldValue, Fields, Spot, Template};
use control::secret::{Secret, SecretRef};
use control::vault::{Opened, Terms};
use http::{HeaderName, HeaderValue, Method};

use super::*;

mod cloud;
mod keys;

/// The dummy that the agents of these tests hold, and the value that must not show.
pub(crate) const DUMMY: &str = "tst_dw0aaaabbbbccccddddeeee";
const VALUE: &str = "c4nary:7f/Vál=ue+&;%20";
const PLAIN: &str = "c4nary-7f.Value_of~the+test=";

/// A request written as text: the request line, then one header a line.
pub(crate) fn request(text: &str) -> Head {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let (method, target) = lines.next().unwrap().split_once(' ').unwrap();
    let mut head = Head {
        method: Method::from_bytes(method.as_bytes()).unwrap(),
        target: target.parse().unwrap(),
        headers: http::HeaderMap::new(),
    };
    for line in lines {
        let (name, value) = line.split_once(':').unwrap();
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        head.headers.append(name, HeaderValue::from_str(value.trim()).unwrap());
    }
    head
}

/// The same form back, headers sorted.
pub(crate) fn shown(head: &Head) -> String {
    let mut lines: Vec<String> = head
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    lines.sort();
    format!("{} {}\n{}", head.method, head.target, lines.join("\n")).trim_end().to_owned()
}

pub(crate) fn opened(values: &[(&str, &str)]) -> Opened {
    let secret = |(key, value): &(&str, &str)| ((*key).to_owned(), Secret::new(value.as_bytes().to_vec()));
    let name = SecretRef { project: "p".into(), name: "gh-pat".parse().unwrap() };
    let terms = Terms { secret: name, expires: None, hosts: None, stale_at: None, lease: None };
    Opened { version: 3.into(), values: values.iter().map(secret).collect(), terms }
}

fn text(value: &str) -> FieldValue {
    FieldValue::Text(value.to_owned())
}

fn template(value: &str) -> FieldValue {
    FieldValue::Template(Template::parse(value).unwrap())
}

pub(crate) fn fields<const N: usize>(list: [(&'static str, FieldValue); N]) -> Fields {
    Fields(list.into_iter().collect())
}

struct Case {
    scheme: &'static str,
    fields: Fields,
    values: &'static [(&'static str, &'static str)],
    before: &'static str,
    body: Option<&'static str>,
    after: &'static str,
    body_after: Option<&'static str>,
}

impl Case {
    fn head(scheme: &'static str, fields: Fields, before: &'static str, after: &'static str) -> Self {
        Self { scheme, fields, values: &[("token", VALUE)], before, body: None, after, body_after: None }
    }

    fn with(self, values: &'static [(&'static str, &'static str)]) -> Self {
        Self { values, ..self }
    }
}

/// One request or more for each scheme, before and after.
fn cases() -> Vec<Case> {
    const ASCII: &[(&str, &str)] = &[("token", PLAIN)];
    let mut cases = header_cases(ASCII);
    cases.extend(url_cases());
    cases.extend(cloud::cases(ASCII));
    cases.extend(body_cases());
    cases
}

fn header_cases(ascii: &'static [(&'static str, &'static str)]) -> Vec<Case> {
    vec![
        Case::head(
            "header",
            fields([("header", text("X-Api-Key")), ("prefix", text("k "))]),
            "GET /a?b=c\nX-Api-Key: own\nx-api-key: own2\nX_Api_Key: own3\nx.api.key: own4\nx-api_key: own5\nother_one: kept",
            "GET /a?b=c\nother_one: kept\nx-api-key: k c4nary-7f.Value_of~the+test=",
        )
        .with(ascii),
        Case::head(
            "header",
            fields([("header", text("Authorization")), ("template", template("token={{id}}/{{token}}"))]),
            "GET /\nAuthorization: own",
            "GET /\nauthorization: token=key-id-1/c4nary-7f.Value_of~the+test=",
        )
        .with(&[("token", PLAIN), ("id", "key-id-1")]),
        Case::head("api_key", fields([]), "GET /\nauthorization: Basic b3duOm93bg==", "GET /\nauthorization: Bearer c4nary-7f.Value_of~the+test=")
            .with(ascii),
        Case::head(
            "oauth2-client-credentials",
            fields([("tokenUrl", text("https://a.example/token"))]),
            "GET /\nauthorization: own\nauthorization: own2",
            "GET /\nauthorization: Bearer c4nary-7f.Value_of~the+test=",
        )
        .with(ascii),
        Case::head(
            "oauth2-refresh",
            fields([("tokenUrl", text("https://a.example/token"))]),
            "GET /",
            "GET /\nauthorization: Bearer c4nary-7f.Value_of~the+test=",
        )
        .with(ascii),
        Case::head(
            "jwt-bearer",
            fields([("tokenUrl", text("https://a.example/token")), ("issuer", text("me"))]),
            "GET /",
            "GET /\nauthorization: Bearer c4nary-7f.Value_of~the+test=",
        )
        .with(ascii),
        Case::head(
            "basic",
            fields([("username", text("x-access-token"))]),
            "GET /\nauthorization: own\nauthorization: own2",
            "GET /\nauthorization: Basic eC1hY2Nlc3MtdG9rZW46YzRuYXJ5OjdmL1bDoWw9dWUrJjslMjA=",
        ),
        Case::head(
            "basic",
            fields([("username", text("{{token}}")), ("password", text(""))]),
            "GET /",
            "GET /\nauthorization: Basic YzRuYXJ5LTdmLlZhbHVlX29mfnRoZSt0ZXN0PTo=",
        )
        .with(ascii),
        Case::head("basic", fields([]), "GET /", "GET /\nauthorization: Basic Ym9iOmM0bmFyeTo3Zi9Ww6FsPXVlKyY7JTIw")
            .with(&[("username", "bob"), ("token", VALUE)]),
        Case::head(
            "cookie",
            fields([("name", text("s_id"))]),
            "GET /\ncookie: a=b; s_id=own;c=\"d\"\ncookie: s.id=own; e",
            "GET /\ncookie: a=b; c=\"d\"; e; s_id=c4nary-7f.Value_of~the+test=",
        )
        .with(ascii),
        Case::head(
            "placeholder",
            fields([("in", FieldValue::Spots(vec![Spot::Header("x-a".into()), Spot::Header("x-b".into())]))]),
            "GET /\nx-a: k=tst_dw0aaaabbbbccccddddeeee,tst_dw0aaaabbbbccccddddeeee;\nx-b: else",
            "GET /\nx-a: k=c4nary-7f.Value_of~the+test=,c4nary-7f.Value_of~the+test=;\nx-b: else",
        )
        .with(ascii),
        Case::head(
            "placeholder",
            fields([("in", FieldValue::Spots(vec![Spot::Basic]))]),
            // bob:tst_dw0aaaabbbbccccddddeeee
            "GET /\nauthorization: basic  Ym9iOnRzdF9kdzBhYWFhYmJiYmNjY2NkZGRkZWVlZQ",
            "GET /\nauthorization: Basic Ym9iOmM0bmFyeTo3Zi9Ww6FsPXVlKyY7JTIw",
        ),
    ]
}

fn url_cases() -> Vec<Case> {
    const SENT: &str = "GET /bot12:tst_dw0aaaabbbbccccddddeeee/x";
    let shape = || fields([("template", template("/bot12:{{token}}/"))]);
    vec![
        Case::head(
            "query",
            fields([("param", text("api_key"))]),
            "GET /a?b=%20c&api_key=own&&API%5Fkey=own;api.key=own;d=e&f",
            "GET /a?b=%20c&;d=e&f&api_key=c4nary%3A7f%2FV%C3%A1l%3Due%2B%26%3B%2520",
        ),
        Case::head(
            "query",
            fields([("name", text("k y"))]),
            "GET /a",
            "GET /a?k%20y=c4nary%3A7f%2FV%C3%A1l%3Due%2B%26%3B%2520",
        ),
        Case::head(
            "api_key",
            fields([("param", text("key"))]),
            "GET /a?key",
            "GET /a?key=c4nary%3A7f%2FV%C3%A1l%3Due%2B%26%3B%2520",
        ),
        Case::head("path", shape(), SENT, "GET /bot12:c4nary:7f%2FV%C3%A1l=ue+&;%2520/x"),
        Case::head(
            "path",
            shape(),
            "GET /file/bot12:tst_dw0aaaabbbbccccddddeeee/x?y=z",
            "GET /file/bot12:c4nary:7f%2FV%C3%A1l=ue+&;%2520/x?y=z",
        ),
        Case::head(
            "placeholder",
            fields([("in", FieldValue::Spots(vec![Spot::Path, Spot::Query("q".into())]))]),
            "GET /a/tst%5fdw0aaaabbbbccccddddeeee.x?a=b&q=[%74st_dw0aaaabbbbccccddddeeee]&c",
            "GET /a/c4nary:7f%2FV%C3%A1l=ue+&;%2520.x?a=b&q=[c4nary%3A7f%2FV%C3%A1l%3Due%2B%26%3B%2520]&c",
        ),
    ]
}

fn body_cases() -> Vec<Case> {
    vec![
        Case {
            body: Some("{ \"a\":[1.0, 2e0],\"auth\" : {\"ke\\u0079\": \"own\", \"x\":null} }"),
            body_after: Some(
                "{ \"a\":[1.0, 2e0],\"auth\" : {\"ke\\u0079\": \"c4nary:7f/Vál=ue+&;%20\", \"x\":null} }",
            ),
            ..Case::head(
                "body",
                fields([("jsonPointer", text("/auth/key"))]),
                "POST /\ncontent-type: application/json\ncontent-length: 9\ncontent_length: 8\nDigest: sha-256=x",
                "POST /\ncontent-length: 77\ncontent-type: application/json",
            )
        },
        Case {
            body: Some("{\"k\":\"<tst_dw0aaaabbbbccccddddeeee>\"}"),
            body_after: Some("{\"k\":\"<c4nary:7f/Vál=ue+&;%20>\"}"),
            ..Case::head(
                "placeholder",
                fields([("in", FieldValue::Spots(vec![Spot::Body("/k".into())]))]),
                "POST /",
                "POST /\ncontent-length: 33",
            )
        },
    ]
}

fn run(case: &Case) -> (Head, Option<bytes::Bytes>, Vec<Echo>) {
    let scheme = build(case.scheme, &case.fields).unwrap();
    let opened = opened(case.values);
    let rendered = scheme.arm(&Values::new(&opened, &["token".to_owned()])).unwrap();
    for debug in [format!("{scheme:?}"), format!("{rendered:?}")] {
        assert_hidden(&debug, case);
    }
    let mut head = request(case.before);
    let dummies = [DUMMY.to_owned()];
    let bounds = Bounds::default();
    let mut out = Outgoing::new(&mut head, &dummies, &bounds, case.body.map(bytes::Bytes::from));
    rendered.armed.place(&mut out).unwrap();
    assert_hidden(&format!("{out:?}"), case);
    let body = out.finish().unwrap();
    assert_hidden(&format!("{head:?} {:?}", head.headers), case);
    (head, body, rendered.echoes)
}

fn assert_hidden(text: &str, case: &Case) {
    assert!(!text.contains("c4nary"), "{}: {text}", case.scheme);
    assert!(!text.contains("99, 52, 110, 97"), "{}: {text}", case.scheme);
}

#[test]
fn every_scheme_sets_exactly_what_its_golden_request_shows() {
    for case in cases() {
        let (head, body, echoes) = run(&case);
        assert_eq!(shown(&head), case.after, "{}", case.scheme);
        let length =
            head.headers.get("content-length").map(|value| value.to_str().unwrap().parse::<usize>().unwrap());
        assert!(length.is_none_or(|length| length == body.as_ref().unwrap().len()), "{}", case.scheme);
        let body = body.map(|body| String::from_utf8(body.to_vec()).unwrap());
        assert_eq!(body.as_deref(), case.body_after.or(case.body), "{}", case.scheme);
        let value = case.values.iter().find(|(key, _)| *key == "token").unwrap().1;
        assert!(echoes.iter().any(|echo| *echo.value == value.as_bytes()), "{} has no echo", case.scheme);
    }
}

/// Schemes that place no single value: their golden requests and refusals stand in suites of their own.
const OWN_SUITES: &[&str] = &["aws-sigv4", "mtls", "hmac", "digest"];

#[test]
fn every_scheme_of_the_table_has_a_golden_request() {
    let tested: BTreeSet<&str> =
        cases().iter().map(|case| case.scheme).chain(OWN_SUITES.iter().copied()).collect();
    let table: BTreeSet<&str> = specs().iter().map(|spec| spec.name).collect();
    assert_eq!(tested, table);
}

#[test]
fn every_scheme_names_the_field_that_is_missing_or_unknown() {
    for entry in SCHEMES {
        let required =
            entry.spec.auth_fields.iter().chain(entry.spec.inject_fields).find(|field| field.required);
        if let Some(field) = required {
            let error = build(entry.spec.name, &Fields::default()).unwrap_err();
            assert!(
                error.to_string().contains(field.name) || matches!(error, BuildError::Missing("param")),
                "{error}"
            );
        }
        let unknown = fields([("colour", text("red"))]);
        assert_eq!(build(entry.spec.name, &unknown).unwrap_err(), BuildError::Unknown("colour"));
    }
    assert_eq!(build("none", &Fields::default()).unwrap_err(), BuildError::UnknownScheme);
}

#[test]
fn every_scheme_names_the_key_that_is_missing_and_refuses_what_cannot_be_sent() {
    for case in cases() {
        let scheme = build(case.scheme, &case.fields).unwrap();
        let keys = ["token".to_owned()];
        let arm = |values: &[(&str, &str)]| scheme.arm(&Values::new(&opened(values), &keys)).unwrap_err();
        let other = [("id", "key-id-1"), ("username", "bob"), ("other", "c4nary-c4nary")];
        assert!(arm(&other).to_string().contains("token"), "{}", case.scheme);
        for bad in [
            "c4nary\r\nx: y",
            "c4nary\nc4nary",
            "c4nary\0c4nary",
            "c4nary\u{7f}c4nary",
            "c4nary\u{85}c4nary",
            " c4nary-c4nary",
        ] {
            let values = [("token", bad), ("id", "key-id-1"), ("username", "bob")];
            let fault = arm(&values);
            assert_eq!(fault, ArmFault::Character { key: "token".into() }, "{} {bad:?}", case.scheme);
            assert_hidden(&format!("{fault} {fault:?}"), &case);
        }
        let short = [("token", "c4nary7"), ("id", "key-id-1"), ("username", "bob")];
        assert_eq!(arm(&short), ArmFault::Short { key: "token".into() }, "{}", case.scheme);
    }
}

#[test]
fn every_scheme_takes_the_first_of_the_providers_keys() {
    for case in cases() {
        let scheme = build(case.scheme, &case.fields).unwrap();
        let keys = ["absent".to_owned(), "main".to_owned(), "token".to_owned()];
        let values = [("token", "the-other-one"), ("main", PLAIN), ("id", "key-id-1"), ("username", "bob")];
        let rendered = scheme.arm(&Values::new(&opened(&values), &keys)).unwrap();
        assert!(rendered.echoes.iter().any(|echo| *echo.value == PLAIN.as_bytes()), "{}", case.scheme);
        assert!(rendered.echoes.iter().all(|echo| *echo.value != b"the-other-one"), "{}", case.scheme);
    }
}

#[test]
fn injected_header_values_are_sensitive() {
    for case in cases().iter().filter(|case| ["header", "api_key", "basic", "cookie"].contains(&case.scheme))
    {
        let (head, _, _) = run(case);
        let value = |name| head.headers.get(name);
        let set = ["authorization", "x-api-key", "cookie"].into_iter().find_map(value);
        assert!(case.fields.text("param").is_some() || set.unwrap().is_sensitive(), "{}", case.scheme);
    }
}

#[test]
fn names_of_schemes_and_fields_are_unique_and_their_defaults_parse() {
    let mut auth_types = BTreeSet::new();
    let mut inject_keys = BTreeSet::new();
    for spec in specs() {
        assert!(spec.auth_types.iter().all(|name| auth_types.insert(*name)), "{}", spec.name);
        assert!(spec.inject_key.is_none_or(|key| inject_keys.insert(key)), "{}", spec.name);
        for list in [spec.auth_fields, spec.inject_fields] {
            let names: BTreeSet<&str> = list.iter().map(|field| field.name).collect();
            assert_eq!(names.len(), list.len(), "{}", spec.name);
            for field in list.iter().filter(|field| field.kind == FieldKind::Template) {
                assert!(field.default.is_none_or(|text| Template::parse(text).is_ok()), "{}", field.name);
            }
        }
    }
}

#[test]
fn refuses_headers_that_cannot_carry_a_credential() {
    for name in [
        "User-Agent",
        "Referer",
        "Origin",
        "Cookie",
        "Accept",
        "Accept-Language",
        "traceparent",
        "If-Match",
        "Host",
        "TE",
        "Content-Length",
        "Connection",
        "Proxy-Authorization",
        "X-Forwarded-For",
        "a b",
        "",
    ] {
        let error = build("header", &fields([("header", text(name))])).unwrap_err();
        assert!(matches!(error, BuildError::Invalid { field: "header", .. }), "{name}");
        let spots = FieldValue::Spots(vec![Spot::Header(name.to_ascii_lowercase())]);
        let error = build("placeholder", &fields([("in", spots)])).unwrap_err();
        assert!(matches!(error, BuildError::Invalid { field: "in", .. }), "{name}");
    }
}

#[test]
fn refuses_templates_and_combinations_that_send_nothing_or_something_else() {
    for (scheme, bad) in [
        ("header", fields([("header", text("x-a")), ("template", text("literal"))])),
        ("header", fields([("header", text("x-a")), ("template", text("{{token"))])),
        (
            "header",
            fields([("header", text("x-a")), ("template", template("{{token}}")), ("prefix", text("x"))]),
        ),
        ("api_key", fields([("header", text("x-a")), ("param", text("b"))])),
        ("api_key", fields([("prefix", text("x")), ("param", text("b"))])),
        ("query", fields([("name", text(""))])),
        ("basic", fields([("username", text("a:b"))])),
        ("basic", fields([("username", text("a")), ("password", text("b"))])),
        ("path", fields([("template", text("/literal/"))])),
        ("path", fields([("template", template("bot{{token}}/"))])),
        ("path", fields([("template", template("/a?b={{token}}"))])),
        ("path", fields([("template", template("/a//{{token}}"))])),
        ("path", fields([("template", template("/a b/{{token}}"))])),
        ("cookie", fields([("name", text("a=b"))])),
        ("cookie", fields([("name", text("a")), ("template", template("x; {{token}}"))])),
        ("body", fields([("jsonPointer", text(""))])),
        ("body", fields([("jsonPointer", text("a/b"))])),
        ("body", fields([("jsonPointer", text("/a~2"))])),
        ("body", fields([("jsonPointer", text("/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a"))])),
        ("placeholder", fields([("in", FieldValue::Spots(vec![]))])),
        ("placeholder", fields([("in", FieldValue::Spots(vec![Spot::Body("a".into())]))])),
    ] {
        assert!(build(scheme, &bad).is_err(), "{scheme} {bad:?}");
    }
}

#[test]
fn refuses_a_request_that_outgrows_the_limits_by_its_credential() {
    let dummies = [DUMMY.to_owned()];
    let opened = opened(&[("token", PLAIN)]);
    let place = |scheme: &str, fields: Fields, bounds: Bounds| {
        let rendered = build(scheme, &fields).unwrap().arm(&Values::new(&opened, &[])).unwrap();
        let mut head = request("GET /aaaa\nx-a: tst_dw0aaaabbbbccccddddeeee");
        let mut out = Outgoing::new(&mut head, &dummies, &bounds, None);
        rendered.armed.place(&mut out).and_then(|()| out.finish()).unwrap_err()
    };
    let small = Bounds { header_bytes: 20, ..Bounds::default() };
    assert_eq!(place("api_key", fields([]), small).status, 431);
    let few = Bounds { header_fields: 1, ..Bounds::default() };
    assert_eq!(place("api_key", fields([]), few).status, 431);
    let short = Bounds { url_bytes: 20, ..Bounds::default() };
    let refusal = place("query", fields([("param", text("a"))]), short);
    assert_eq!(refusal.status, 431);
    assert!(!refusal.to_string().contains("c4nary"));
}

#[test]
fn refuses_a_user_from_the_secret_that_holds_a_colon() {
    let scheme = build("basic", &fields([])).unwrap();
    let opened = opened(&[("username", "a:b"), ("token", PLAIN)]);
    let fault = scheme.arm(&Values::new(&opened, &[])).unwrap_err();
    assert_eq!(fault, ArmFault::Character { key: "username".into() });
}

#[test]
fn refuses_a_colon_that_would_move_the_border_between_user_and_password() {
    let spots = FieldValue::Spots(vec![Spot::Basic]);
    let scheme = build("placeholder", &fields([("in", spots)])).unwrap();
    let opened = opened(&[("token", VALUE)]);
    let rendered = scheme.arm(&Values::new(&opened, &[])).unwrap();
    // tst_dw0aaaabbbbccccddddeeee:pw
    let mut head = request("GET /\nauthorization: Basic dHN0X2R3MGFhYWFiYmJiY2NjY2RkZGRlZWVlOnB3");
    let (dummies, bounds) = ([DUMMY.to_owned()], Bounds::default());
    let refusal = rendered.armed.place(&mut Outgoing::new(&mut head, &dummies, &bounds, None)).unwrap_err();
    assert_eq!(refusal.code, control::refusal::Code::Dw1004);
}
