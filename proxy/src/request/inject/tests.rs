//! The injector from the agent's request to what goes upstream, with the refusals first.

use control::catalog::{FieldValue, Fields, Spot, Template};
use control::refusal::Refusal;

use super::*;
use crate::schemes::conformance::{DUMMY, fields, opened, request, shown};

mod carried;

const THEIRS: &str = "sk-dw0aaaabbbbccccddddffff0123456789";
const VALUE: &str = "ghp_c4nary-7f-Value";

fn text(value: &str) -> FieldValue {
    FieldValue::Text(value.to_owned())
}

fn bearer() -> Injection {
    injection("header", fields([("header", text("authorization")), ("prefix", text("Bearer "))]), &[])
}

fn placeholder<const N: usize>(spots: [Spot; N]) -> Injection {
    injection("placeholder", fields([("in", FieldValue::Spots(spots.to_vec()))]), &[])
}

fn telegram() -> Injection {
    let template = Template::parse("/bot{{token}}/").unwrap();
    injection("path", fields([("template", FieldValue::Template(template))]), &[])
}

fn json() -> Injection {
    injection("body", fields([("jsonPointer", text("/auth/key"))]), &[])
}

fn injection(scheme: &'static str, fields: Fields, hosts: &[&str]) -> Injection {
    Injection {
        hosts: hosts.iter().map(|host| HostPattern::parse(host, 443).unwrap()).collect(),
        scheme,
        fields,
    }
}

fn injector(on_agent_credential: OnAgentCredential, injections: Vec<Injection>) -> Injector {
    let auth = control::provider::Auth {
        auth_type: "t".into(),
        secret: SecretRef { project: "p".into(), name: "gh-pat".parse().unwrap() },
        keys: vec!["token".to_owned()],
        injections,
        token_urls: Vec::new(),
        on_agent_credential,
        dummies: vec![DUMMY.to_owned()],
        remove_headers: vec![HeaderName::from_static("x-api-key")],
        remove_params: &["access_token"],
        public_prefixes: &["gh", "ghp_"],
    };
    Injector {
        provider: "gh".into(),
        keep_headers: Vec::new(),
        dummies: Arc::new(Dummies::compile([DUMMY.to_owned(), THEIRS.to_owned()])),
        certified: false,
        bounds: Bounds::default(),
        auth: Some(Auth::new(&auth).unwrap()),
    }
}

fn replacing(injection: Injection) -> Injector {
    injector(OnAgentCredential::Replace, vec![injection])
}

fn target() -> Target {
    Target::parse_authority("api.test:443").unwrap()
}

/// The whole way; the result as text, with the body below.
fn inject(injector: &Injector, sent: &str, body: &str) -> Result<String, Refusal> {
    let mut head = request(sent);
    injector.clean(&target(), &mut head.headers);
    let mut prepared = injector.prepare(&target(), &mut head)?;
    if prepared.needs_body().is_some() {
        injector.read_body(&mut prepared, Bytes::copy_from_slice(body.as_bytes()))?;
    }
    let body = if prepared.injects() {
        let (armed, _) = injector.arm(&opened(&[("token", VALUE)])).unwrap();
        assert!(!format!("{armed:?} {injector:?} {prepared:?}").contains("c4nary"));
        injector.place(&armed, prepared, &mut head)?
    } else {
        prepared.into_body()
    };
    let body =
        body.map(|body| format!("\n\n{}", String::from_utf8(body.to_vec()).unwrap())).unwrap_or_default();
    Ok(shown(&head) + &body)
}

fn code(result: Result<String, Refusal>) -> Code {
    let refusal = result.unwrap_err();
    assert_eq!(refusal.provider.as_deref(), Some("gh"));
    for hidden in ["dw0", "c4nary"] {
        assert!(!refusal.to_string().contains(hidden), "{refusal}");
    }
    refusal.code
}

#[test]
fn refuses_dummies_where_they_are_not_replaced() {
    let header = replacing(bearer());
    for sent in [
        format!("GET /{DUMMY}"),
        format!("GET /?a={DUMMY}"),
        format!("GET /?{DUMMY}=a"),
        format!("GET /?a={}", DUMMY.replace("dw0", "%64w0")),
        format!("GET /{}", DUMMY.replace('_', "%5f")),
        format!("GET /\nuser-agent: {DUMMY}"),
        format!("GET /\nreferer: https://x/{DUMMY}"),
        format!("GET /\ncookie: a={DUMMY}"),
        format!("GET /\naccept: {DUMMY}"),
        format!("GET /\ntraceparent: {DUMMY}"),
        format!("GET /\nif-match: {DUMMY}"),
        format!("GET /\nx-other: {DUMMY}"),
        format!("GET /\nauthorization: Bearer {THEIRS}"),
        format!("GET /\nauthorization: Bearer {DUMMY}\nx-other: {THEIRS}"),
        "GET /\nauthorization: Bearer ghp_dw0zzzzyyyyxxxxwwwwvvvv0123456789".to_owned(),
        // x:sk-dw0aaaabbbbccccddddffff0123456789
        "GET /\nauthorization: Basic eDpzay1kdzBhYWFhYmJiYmNjY2NkZGRkZmZmZjAxMjM0NTY3ODk=".to_owned(),
    ] {
        assert_eq!(code(inject(&header, &sent, "")), Code::Dw1007, "{sent}");
    }
}

#[test]
fn refuses_dummies_beside_the_named_spot() {
    // tst_dw0aaaabbbbccccddddeeee:
    let basic = "GET /\nauthorization: Basic dHN0X2R3MGFhYWFiYmJiY2NjY2RkZGRlZWVlOg==".to_owned();
    let query = || injection("query", fields([("name", text("key"))]), &[]);
    let cookie = || injection("cookie", fields([("name", text("sid"))]), &[]);
    for (injection, sent) in [
        (placeholder([Spot::Header("x-a".into())]), format!("GET /\nx-b: {DUMMY}")),
        (placeholder([Spot::Header("x-a-b".into())]), format!("GET /\nx-a-b: {DUMMY}\nx-a_b: {DUMMY}")),
        (placeholder([Spot::Header("authorization".into())]), basic.clone()),
        (
            placeholder([Spot::Header("authorization".into()), Spot::Query("a".into())]),
            basic.replace("GET /", &format!("GET /?a={DUMMY}")),
        ),
        (placeholder([Spot::Basic]), format!("GET /\nauthorization: Bearer {DUMMY}")),
        (placeholder([Spot::Query("a".into())]), format!("GET /?b={DUMMY}")),
        (placeholder([Spot::Query("a".into())]), format!("GET /{DUMMY}?a={DUMMY}")),
        (placeholder([Spot::Path]), format!("GET /{DUMMY}?a={DUMMY}")),
        (placeholder([Spot::Path]), format!("GET /{THEIRS}")),
        (telegram(), format!("GET /bot{DUMMY}/{DUMMY}")),
        (telegram(), format!("GET /a/b/bot{DUMMY}/x")),
        (telegram(), format!("GET /bot{THEIRS}/x")),
        (query(), format!("GET /?key={DUMMY}&other={DUMMY}")),
        (query(), format!("GET /?key={THEIRS}")),
        (cookie(), format!("GET /\ncookie: sid={DUMMY}; other={DUMMY}")),
        (cookie(), format!("GET /\nx-cookie: sid={DUMMY}")),
    ] {
        assert_eq!(code(inject(&replacing(injection), &sent, "")), Code::Dw1007, "{sent}");
    }
}

#[test]
fn refuses_too_many_placeholders() {
    let many = [DUMMY; 9].join(".");
    for (spot, sent) in [
        (Spot::Header("x-a".into()), format!("GET /\nx-a: {many}")),
        (Spot::Query("a".into()), format!("GET /?a={many}")),
        (Spot::Query("a".into()), format!("GET /?{}", vec![format!("a={DUMMY}"); 9].join("&"))),
        (Spot::Path, format!("GET /{many}")),
    ] {
        assert_eq!(code(inject(&replacing(placeholder([spot])), &sent, "")), Code::Dw1007, "{sent}");
    }
}

#[test]
fn refuses_dummies_on_hosts_that_get_no_credential() {
    let other = injection("api_key", fields([]), &["other.test"]);
    let injector = injector(OnAgentCredential::Replace, vec![other]);
    assert_eq!(code(inject(&injector, &format!("GET /\nauthorization: Bearer {DUMMY}"), "")), Code::Dw1007);
    let nothing = Injector { auth: None, ..replacing(bearer()) };
    assert_eq!(code(inject(&nothing, &format!("GET /\nauthorization: Bearer {DUMMY}"), "")), Code::Dw1007);
    assert_eq!(
        inject(&nothing, "GET /\nauthorization: own\nx-forwarded-for: a\ncookie: a=b", "").unwrap(),
        "GET /\nauthorization: own\ncookie: a=b\nx-forwarded-for: a"
    );
}

#[test]
fn reject_refuses_a_credential_of_the_agents_own_on_every_surface() {
    let own = "abcdefghijklmnopqrst";
    let query = || injection("query", fields([("name", text("key"))]), &[]);
    let cookie = || injection("cookie", fields([("name", text("sid"))]), &[]);
    for (injection, sent) in [
        (bearer(), format!("GET /\nauthorization: Bearer {own}")),
        (bearer(), format!("GET /\nauthorization: Bearer {own}\nauthorization: Bearer {DUMMY}")),
        (query(), format!("GET /?key={own}")),
        (query(), format!("GET /?a=b;%4bEY={own}")),
        (cookie(), format!("GET /\ncookie: sid={own}")),
        (telegram(), format!("GET /bot{own}/x")),
        (placeholder([Spot::Header("x-a".into())]), format!("GET /\nx-a: {own}")),
        (placeholder([Spot::Basic]), "GET /\nauthorization: Basic YTpi".to_owned()),
    ] {
        let injector = injector(OnAgentCredential::Reject, vec![injection]);
        assert_eq!(code(inject(&injector, &sent, "")), Code::Dw1008, "{sent}");
    }
    let injector = injector(OnAgentCredential::Reject, vec![json()]);
    let sent = "POST /\ncontent-type: application/json";
    assert_eq!(code(inject(&injector, sent, r#"{"auth":{"key":"own"}}"#)), Code::Dw1008);
    assert!(inject(&injector, sent, r#"{"auth":{"key":""}}"#).unwrap().contains(VALUE));
}

#[test]
fn refuses_bodies_that_cannot_take_the_credential() {
    let injector = replacing(json());
    for sent in [
        "GET /",
        "POST /\ncontent-type: text/plain",
        "POST /\ncontent-type: application/jsonp",
        "POST /\ncontent-type: application/json; charset=utf-16",
        "POST /\ncontent-type: application/json\ncontent-type: text/plain",
        "POST /\ncontent-type: application/json\ncontent-encoding: gzip",
    ] {
        assert_eq!(code(inject(&injector, sent, r#"{"auth":{}}"#)), Code::Dw2008, "{sent}");
    }
    let sent =
        "POST /\ncontent-type: application/problem+json; charset=\"UTF-8\"\ncontent-encoding: identity";
    for body in ["", "x", "{}", r#"{"auth":1}"#, r#"{"auth":{"key":1}}"#, r#"{"auth":{"key":"a","key":"b"}}"#]
    {
        assert_eq!(code(inject(&injector, sent, body)), Code::Dw2008, "{body}");
    }
    let small = Injector { bounds: Bounds { body_bytes: 10, ..Bounds::default() }, ..replacing(json()) };
    let refusal = inject(&small, sent, r#"{"auth":{}}"#).unwrap_err();
    assert_eq!((refusal.code, refusal.status), (Code::Dw2012, 413));
}

#[test]
fn a_secret_that_cannot_be_used_is_named_without_its_value() {
    let injector = replacing(bearer());
    for (values, named) in
        [(vec![("other", "c4nary-c4nary")], "no key `token`"), (vec![("token", "c4nary\nc4nary")], "`token`")]
    {
        let error = injector.arm(&opened(&values)).unwrap_err();
        let refusal = error.refusal();
        assert_eq!(refusal.code, Code::Dw1004);
        assert!(refusal.to_string().contains("p/gh-pat") && refusal.to_string().contains(named), "{refusal}");
        assert!(!format!("{error:?} {refusal:?}").contains("c4nary"));
    }
}

#[test]
fn refuses_to_make_a_parameter_of_what_policy_took_for_a_value() {
    // Policy sees one parameter, `access_token`; without it the upstream would see `channel`.
    for query in ["access_token=1;channel=C2&channel=C1", "channel=C1&a=;access_token=1"] {
        let refusal = inject(&replacing(bearer()), &format!("GET /?{query}"), "").unwrap_err();
        assert_eq!(refusal.code, Code::Dw2008, "{query}");
    }
}

#[test]
fn replaces_whatever_the_agent_sent() {
    let expected = format!("GET /\nauthorization: Bearer {VALUE}");
    for sent in [
        "GET /".to_owned(),
        "GET /\nauthorization: own\nAuthorization: own2".to_owned(),
        format!("GET /?access_token={DUMMY}&Access.Token={THEIRS}"),
        format!("GET /\nauthorization: Bearer {DUMMY}\nx-api-key: {DUMMY}\nx_api_key: {THEIRS}"),
        "GET /\nauthorization: Basic dHN0X2R3MGFhYWFiYmJiY2NjY2RkZGRlZWVlOg==\nproxy-authorization: a"
            .to_owned(),
        "GET /\nconnection: authorization, x-a\nx-a: b\nx-forwarded-for: 1\nx-real-ip: 1\nte: a".to_owned(),
    ] {
        assert_eq!(inject(&replacing(bearer()), &sent, "").unwrap(), expected, "{sent}");
    }
}

#[test]
fn placeholder_only_leaves_a_request_without_our_dummy_alone() {
    let injector = injector(OnAgentCredential::PlaceholderOnly, vec![bearer()]);
    for sent in ["GET /", "GET /\nauthorization: Bearer own\nx-api-key: own"] {
        assert_eq!(inject(&injector, sent, "").unwrap(), sent);
    }
    for sent in [
        format!("GET /\nauthorization: Bearer {DUMMY}"),
        format!("GET /\nx-api-key: {DUMMY}"),
        format!("GET /?access_token={DUMMY}"),
    ] {
        assert_eq!(inject(&injector, &sent, "").unwrap(), format!("GET /\nauthorization: Bearer {VALUE}"));
    }
}

#[test]
fn placeholder_only_decides_with_the_body_where_the_surface_lies_in_it() {
    let injector = injector(OnAgentCredential::PlaceholderOnly, vec![json()]);
    let sent = "POST /\ncontent-length: 3\ncontent-type: application/json";
    let body = r#"{"auth":{"key":"own"}}"#;
    assert_eq!(inject(&injector, sent, body).unwrap(), format!("{sent}\n\n{body}"));
    let changed = inject(&injector, sent, &body.replace("own", DUMMY)).unwrap();
    assert!(
        changed.ends_with(&body.replace("own", VALUE)) && changed.contains("content-length: 38"),
        "{changed}"
    );
    assert_eq!(inject(&injector, "GET /", "").unwrap(), "GET /");
}

#[test]
fn a_placeholder_that_is_not_there_sends_the_request_without_a_credential() {
    let injector = replacing(placeholder([
        Spot::Header("x-a".into()),
        Spot::Basic,
        Spot::Path,
        Spot::Body("/k".into()),
    ]));
    let sent = "POST /abc\nauthorization: Bearer own\ncontent-type: application/json\nx-a: own";
    assert_eq!(inject(&injector, sent, r#"{"k":"own"}"#).unwrap(), format!("{sent}\n\n{{\"k\":\"own\"}}"));
    let in_body = inject(&injector, sent, &format!(r#"{{"k":"{DUMMY}"}}"#)).unwrap();
    assert!(in_body.ends_with(&format!(r#"{{"k":"{VALUE}"}}"#)), "{in_body}");
    // A body that cannot hold the placeholder passes as well.
    assert_eq!(inject(&injector, sent, "[]").unwrap(), format!("{sent}\n\n[]"));
}

#[test]
fn a_placeholder_in_the_path_or_in_basic_credentials_is_replaced_however_it_is_coded() {
    let injector = replacing(placeholder([Spot::Path, Spot::Basic]));
    let coded = DUMMY.replace('_', "%5F");
    assert_eq!(inject(&injector, &format!("GET /a/{coded}"), "").unwrap(), format!("GET /a/{VALUE}"));
    // tst_dw0aaaabbbbccccddddeeee: and ghp_c4nary-7f-Value:
    let sent = "GET /\nauthorization: Basic dHN0X2R3MGFhYWFiYmJiY2NjY2RkZGRlZWVlOg==";
    let went = "GET /\nauthorization: Basic Z2hwX2M0bmFyeS03Zi1WYWx1ZTo=";
    assert_eq!(inject(&injector, sent, "").unwrap(), went);
}

#[test]
fn room_is_made_for_the_credential_beside_whatever_the_agent_sent() {
    // A buffer that is too small would grow and leave a copy unwiped; debug builds assert that none is.
    let query = replacing(injection("query", fields([("name", text("key"))]), &[]));
    for (sent, went) in [("", ""), ("?", ""), ("?a", "a&"), ("?a=b;c=d", "a=b;c=d&"), ("?key=a", "")] {
        assert_eq!(inject(&query, &format!("GET /{sent}"), "").unwrap(), format!("GET /?{went}key={VALUE}"));
    }
    let cookie = replacing(injection("cookie", fields([("name", text("s"))]), &[]));
    for (sent, went) in [
        ("", ""),
        ("\ncookie: a", "a; "),
        ("\ncookie: a;b;c;d;e;f;g;h", "a; b; c; d; e; f; g; h; "),
        ("\ncookie: a\ncookie: b", "a; b; "),
        ("\ncookie: s=a", ""),
    ] {
        let out = inject(&cookie, &format!("GET /{sent}"), "").unwrap();
        assert_eq!(out, format!("GET /\ncookie: {went}s={VALUE}"));
    }
}

#[test]
fn telegrams_token_goes_where_the_dummy_stands_and_nowhere_else() {
    let injector = replacing(telegram());
    for (sent, went) in [
        (format!("/bot{DUMMY}/sendMessage"), format!("/bot{VALUE}/sendMessage")),
        (format!("/file/bot{}/a.jpg", DUMMY.replace('_', "%5F")), format!("/file/bot{VALUE}/a.jpg")),
        ("/bot123456:abcdefghijklmnopqrst/getMe".to_owned(), format!("/bot{VALUE}/getMe")),
        ("/bots/list".to_owned(), "/bots/list".to_owned()),
    ] {
        assert_eq!(inject(&injector, &format!("GET {sent}"), "").unwrap(), format!("GET {went}"));
    }
}

#[test]
fn the_first_injection_that_covers_the_host_is_used() {
    let header = |name, hosts: &[&str]| injection("header", fields([("header", text(name))]), hosts);
    let list = vec![
        header("x-other", &["other.test", "api.test:8443"]),
        header("x-first", &["*.test"]),
        header("x-second", &[]),
    ];
    let injector = injector(OnAgentCredential::Replace, list);
    assert_eq!(inject(&injector, "GET /", "").unwrap(), format!("GET /\nx-first: {VALUE}"));
}

#[test]
fn a_secret_that_holds_the_dummy_is_placed_once() {
    let injector = replacing(placeholder([Spot::Header("x-a".into()), Spot::Query("q".into())]));
    let value = format!("<{DUMMY}{DUMMY}>");
    let (armed, _) = injector.arm(&opened(&[("token", &value)])).unwrap();
    let mut head = request(&format!("GET /?q={DUMMY}\nx-a: {DUMMY}"));
    injector.clean(&target(), &mut head.headers);
    let prepared = injector.prepare(&target(), &mut head).unwrap();
    injector.place(&armed, prepared, &mut head).unwrap();
    assert_eq!(shown(&head), format!("GET /?q=%3C{DUMMY}{DUMMY}%3E\nx-a: {value}"));
}

#[test]
fn the_bounds_themselves_pass_and_one_more_does_not() {
    let fits = Bounds {
        header_bytes: "authorization".len() + "Bearer ".len() + VALUE.len(),
        header_fields: 1,
        url_bytes: 1,
        ..Bounds::default()
    };
    let with = |bounds| inject(&Injector { bounds, ..replacing(bearer()) }, "GET /", "");
    assert_eq!(with(fits).unwrap(), format!("GET /\nauthorization: Bearer {VALUE}"));
    for bounds in [
        Bounds { header_bytes: fits.header_bytes - 1, ..fits },
        Bounds { header_fields: 0, ..fits },
        Bounds { url_bytes: 0, ..fits },
    ] {
        let refusal = with(bounds).unwrap_err();
        assert_eq!((refusal.code, refusal.status), (Code::Dw2008, 431), "{bounds:?}");
    }
    let query = replacing(placeholder([Spot::Query("a".into())]));
    let sent = |text: &str| format!("GET /?{}", vec![format!("a={text}"); 8].join("&"));
    assert_eq!(inject(&query, &sent(DUMMY), "").unwrap(), sent(VALUE));
    let body = r#"{"auth":{"key":"own"}}"#;
    let json =
        |body_bytes| Injector { bounds: Bounds { body_bytes, ..Bounds::default() }, ..replacing(json()) };
    let sent = "POST /\ncontent-type: application/json";
    assert!(inject(&json(body.len()), sent, body).unwrap().ends_with(&body.replace("own", VALUE)));
    assert_eq!(code(inject(&json(body.len() - 1), sent, body)), Code::Dw2012);
}

#[test]
fn says_whether_by_which_scheme_and_where_a_credential_goes_on() {
    let prepared = |injector: &Injector, sent: &str| {
        let prepared = injector.prepare(&target(), &mut request(sent)).unwrap();
        (prepared.injects(), injector.scheme(&prepared))
    };
    let only = injector(OnAgentCredential::PlaceholderOnly, vec![bearer()]);
    assert_eq!(prepared(&only, "GET /\nauthorization: own"), (false, Some("header")));
    assert_eq!(prepared(&only, &format!("GET /\nauthorization: {DUMMY}")), (true, Some("header")));
    assert_eq!(prepared(&Injector { auth: None, ..only }, "GET /"), (false, None));
    let own = "/bot123456:abcdefghijklmnopqrst/getMe";
    let only = injector(OnAgentCredential::PlaceholderOnly, vec![telegram()]);
    assert_eq!(prepared(&only, &format!("GET {own}")), (false, Some("path")));
    let telegram = replacing(telegram());
    assert_eq!(prepared(&telegram, "GET /bots/list"), (false, Some("path")));
    assert_eq!(prepared(&telegram, &format!("GET {own}")), (true, Some("path")));
    for (path, shown) in [
        (own, Some("/*/getMe")),
        (&format!("/file/bot{DUMMY}/a.jpg"), Some("/file/*/a.jpg")),
        ("/bots/list", None),
    ] {
        assert_eq!(telegram.shown_path(&target(), path).as_deref(), shown);
    }
    assert_eq!(replacing(bearer()).shown_path(&target(), own), None);
}

#[test]
fn a_dummy_of_this_provider_is_called_its_own_where_no_credential_goes_on_either() {
    let injector = injector(OnAgentCredential::PlaceholderOnly, vec![bearer()]);
    let refusal = inject(&injector, &format!("GET /\nx-other: {DUMMY}"), "").unwrap_err();
    assert!(refusal.detail.starts_with("this provider's dummy"), "{}", refusal.detail);
}

#[test]
fn a_cookies_dummy_is_replaced_and_the_other_cookies_stay() {
    let injector = replacing(injection("cookie", fields([("name", text("sid"))]), &[]));
    let sent = format!("GET /\ncookie: a=b; sid={DUMMY}");
    assert_eq!(inject(&injector, &sent, "").unwrap(), format!("GET /\ncookie: a=b; sid={VALUE}"));
}
