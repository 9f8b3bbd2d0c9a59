//! What is asked for which request, what is believed, and what the agent is told.

use std::time::Duration;

use control::agent::AgentName;
use control::catalog::FieldValue;
use control::refusal::Code;
use control::target::Target;
use futures_util::FutureExt as _;

use super::super::shared::token::Because;
use super::*;
use crate::schemes::conformance::{fields, opened, request};
use crate::schemes::exchanges::Scripted;

const VALUES: &[(&str, &str)] = &[("username", "acme"), ("password", "c4nary:/+ password")];
const GOOD: &str = r#"{"token":"c4nary-registry-token","access_token":"c4nary-registry-token","expires_in":300,"issued_at":"2027-01-15T08:00:00Z"}"#;

fn scheme() -> Box<dyn Scheme> {
    let text = |text: &str| FieldValue::Text(text.to_owned());
    build(&fields([
        ("tokenService", text("https://auth.docker.io/token")),
        ("service", text("registry.docker.io")),
    ]))
    .unwrap()
}

fn part(line: &str) -> String {
    part_of(line, true)
}

fn part_of(line: &str, by_action: bool) -> String {
    let judged = Judged { agent: &AgentName::local(), head: &request(line), by_action };
    scheme().exchange().unwrap().part(&judged).unwrap()
}

#[test]
fn a_mount_that_nobody_judged_gets_a_token_of_its_own_repository_alone() {
    let line = "POST /v2/acme/app/blobs/uploads/?from=secret/base&mount=sha256:ab";
    assert_eq!(part_of(line, true), "repository:acme/app:pull,push repository:secret/base:pull");
    assert_eq!(part_of(line, false), "repository:acme/app:pull,push");
}

/// An issuer for one part.
struct For<'a>(&'a Scripted, &'a str);

impl Issuer for For<'_> {
    fn ask<'a>(&'a self, ask: Ask) -> super::super::shared::issuer::Asking<'a> {
        self.0.ask(ask)
    }

    fn now(&self) -> SystemTime {
        self.0.now()
    }

    fn part(&self) -> &str {
        self.1
    }
}

fn obtained(part: &str, values: &[(&str, &str)], issuer: &Scripted) -> Result<Issued, Failed> {
    let (scheme, opened, keys) = (scheme(), opened(values), ["password".to_owned()]);
    let outcome =
        scheme.exchange().unwrap().obtain(&For(issuer, part), Values::new(&opened, &keys)).now_or_never();
    let outcome = outcome.unwrap();
    assert!(!format!("{outcome:?} {scheme:?}").contains("c4nary"));
    outcome
}

#[test]
fn each_request_asks_for_a_token_of_its_own_repository_and_no_more() {
    for (line, scope) in [
        ("GET /v2/", ""),
        ("GET /v2/library/alpine/manifests/3", "&scope=repository%3Alibrary%2Falpine%3Apull"),
        ("PUT /v2/acme/app/manifests/1", "&scope=repository%3Aacme%2Fapp%3Apull%2Cpush"),
        (
            "POST /v2/acme/app/blobs/uploads/?from=acme/base&mount=sha256:ab",
            "&scope=repository%3Aacme%2Fapp%3Apull%2Cpush&scope=repository%3Aacme%2Fbase%3Apull",
        ),
        ("GET /v2/acme%2fapp/manifests/1", ""),
    ] {
        let issuer = Scripted::new(200, GOOD);
        let issued = obtained(&part(line), VALUES, &issuer).unwrap();
        assert!(issued.token.matches(b"c4nary-registry-token") && issued.life == Duration::from_secs(300));
        // acme:c4nary:/+ password
        let golden = format!(
            "GET auth.docker.io:443/token?service=registry.docker.io{scope}\naccept: application/json\n\
             authorization: Basic YWNtZTpjNG5hcnk6LysgcGFzc3dvcmQ=\n"
        );
        assert_eq!(issuer.asked.lock().as_slice(), [golden], "{line}");
    }
}

#[test]
fn names_the_key_that_is_missing_or_unfit_and_asks_nobody() {
    for (values, told) in [
        (&VALUES[..1], "`password`"),
        (&VALUES[1..], "`username`"),
        (&[("username", "a:b"), ("password", "c4nary-password")][..], "`username`"),
    ] {
        let issuer = Scripted::new(200, GOOD);
        let failed = obtained("", values, &issuer).unwrap_err();
        assert_eq!(failed.refusal.code, Code::Dw1004);
        assert!(failed.refusal.detail.contains(told), "{}", failed.refusal.detail);
        assert!(issuer.asked.lock().is_empty());
    }
}

#[test]
fn no_answer_is_believed_that_is_no_token() {
    for answer in [
        "",
        "{}",
        r#"{"token":"c4nary-one-token","access_token":"c4nary-two-token"}"#,
        r#"{"token":"c4nary-one-token","token":"c4nary-two-token"}"#,
        r#"{"token":"short"}"#,
        r#"{"token":"c4nary with blanks"}"#,
        r#"{"token":"c4nary-token","expires_in":"soon"}"#,
        r#"{"token":"c4nary-token","expires_in":0}"#,
    ] {
        let failed = obtained("", VALUES, &Scripted::new(200, answer)).unwrap_err();
        assert_eq!(failed.refusal.code, Code::Dw2010, "{answer}");
    }
    for answer in [r#"{"token":"c4nary-token"}"#, r#"{"access_token":"c4nary-token"}"#] {
        assert_eq!(obtained("", VALUES, &Scripted::new(200, answer)).unwrap().life, Duration::from_secs(60));
    }
    for (at, life) in [
        ("2027-01-15T07:58:20Z", 200),
        ("2027-01-15T08:10:00Z", 300),
        // A clock that is ahead.
        ("2020-01-01T00:00:00Z", 60),
        ("soon", 300),
    ] {
        let answer = GOOD.replace("2027-01-15T08:00:00Z", at);
        let issued = obtained("", VALUES, &Scripted::new(200, &answer)).unwrap();
        assert_eq!(issued.life, Duration::from_secs(life), "{at}");
    }
    for (status, because) in
        [(401, Because::Refused), (403, Because::PartRefused), (404, Because::PartRefused)]
    {
        assert_eq!(obtained("", VALUES, &Scripted::new(status, "c4nary")).unwrap_err().because, because);
    }
    let no = Scripted::new(401, r#"{"details":"incorrect username or password: c4nary"}"#);
    let failed = obtained("", VALUES, &no).unwrap_err();
    assert!(failed.refusal.code == Code::Dw1005 && !failed.refusal.detail.contains("c4nary"));
}

#[test]
fn the_agents_own_calls_get_a_dummy_and_nothing_else_is_open() {
    let scheme = scheme();
    let stand_in = scheme.stand_in().unwrap();
    let host = Target::parse_host("auth.docker.io", 443).unwrap().host;
    let path = Path::parse("/token").unwrap();
    assert!(stand_in.covers(&host, &path) && stand_in.covers(&host, &Path::parse("/Token/").unwrap()));
    assert!(!stand_in.covers(&host, &Path::parse("/v2/token").unwrap()));
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    let answer = |method: Method, body: &str| {
        let headers = [(http::header::CONTENT_TYPE, form.clone())].into_iter().collect();
        stand_in.answer(&Call {
            method: &method,
            path: &path,
            query: Some("service=x&scope=repository:evil:pull"),
            headers: &headers,
            body: body.as_bytes(),
            dummy: "dummy-1",
        })
    };
    for (method, body) in [(Method::GET, ""), (Method::POST, "grant_type=password&username=x")] {
        let told = answer(method, body).unwrap().body;
        assert_eq!(told, r#"{"access_token":"dummy-1","expires_in":3600,"token":"dummy-1"}"#);
    }
    for (method, body) in
        [(Method::POST, "grant_type=authorization_code"), (Method::DELETE, ""), (Method::PUT, "")]
    {
        assert_eq!(answer(method, body).unwrap_err().code, Code::Dw1002);
    }
}
