//! The same code and the same sentence on the wire, in the log and in the audit, whatever was refused.

use harness::ca::Flaw;
use harness::origin::raw::RawOrigin;
use harness::{Agent, Home, Origin, Proxy, ProxyBuilder, Reply, answer, canary, within};
use serde_json::Value;

use crate::world::{HOST, bearer, bearer_spec_on, token};

/// Issues no tokens.
const LOGIN: &str = "login.example.net";

/// The JSON log, so that a sentence with quotes in it is compared as it was meant.
fn proxy() -> ProxyBuilder {
    Proxy::builder().arg("--log-format").arg("json")
}

/// The audit's first line with this code; that of an exchange for a token is beside that of the request.
async fn line(proxy: &Proxy, code: &str) -> Value {
    proxy.audit().wait_for(code, |line| line["code"] == code && line["kind"] != "exchange").await
}

/// The sentence of the audit's first line with this code, which the log has to hold as well.
pub(crate) async fn told(proxy: &Proxy, code: &str) -> String {
    let line = line(proxy, code).await;
    let reason = line["reason"].as_str().unwrap_or_default().to_owned();
    assert!(!reason.is_empty(), "no sentence: {line}");
    let is_it = |line: &Value| line["code"] == code && line["reason"] == reason.as_str();
    within::eventually(&format!("{code} {reason:?} in the log"), within::DEADLINE / 4, || {
        proxy.log().lines().filter_map(|line| serde_json::from_str(line).ok()).find(is_it)
    })
    .await;
    reason
}

/// The answer has the code, its status and blame from the table, the audit's sentence and the table's advice.
pub(crate) async fn assert_told(proxy: &Proxy, code: &str, reply: &Reply) {
    assert_eq!(reply.any_code().as_deref(), Some(code), "{reply:?}");
    let reason = told(proxy, code).await;
    let entry = control::refusal::Code::parse(code).unwrap().entry();
    let sentence = format!("doorward {code}: {reason}. {}", entry.hint);
    match reply.header("content-type") {
        Some("application/problem+json") => {
            let body = reply.json();
            assert_eq!(
                (&body["detail"], &body["message"]),
                (&reason.as_str().into(), &sentence.as_str().into())
            );
            assert_eq!((&body["title"], &body["hint"]), (&entry.title.into(), &entry.hint.into()));
            assert_eq!(body["status"], reply.status);
        }
        _ => assert_eq!(reply.text(), format!("{sentence}\n")),
    }
    let line = line(proxy, code).await;
    assert_eq!(line["status"], reply.status, "{line}");
}

/// Hosts that are each wrong in a way of their own, behind one proxy.
struct Wrong {
    proxy: Proxy,
    _origins: Vec<Origin>,
    _raw: RawOrigin,
}

const DUMMY: &str = "ghp_dw0dummyDUMMY0123456789abcdefghijkl";

impl Wrong {
    async fn start() -> Self {
        let named = |name: &str| format!("{name}.example.com");
        let good = ["api", "own", "limited", "dummy", "absent", "asked", "held"].map(named);
        let good: Vec<&str> = good.iter().map(String::as_str).collect();
        let origins = vec![
            Origin::builder(&good).start().await,
            Origin::builder(&["expired.example.com"]).flaw(Flaw::Expired).start().await,
            Origin::builder(&["coded.example.com"])
                .answer(answer::fixed(200, &[("content-encoding", "exotic")], b"what is this"))
                .start()
                .await,
            Origin::builder(&["rejecting.example.com"]).answer(answer::fixed(401, &[], b"no")).start().await,
            Origin::builder(&[LOGIN])
                .answer(answer::fixed(401, &[], b"{\"error\": \"invalid_client\"}"))
                .start()
                .await,
        ];
        let raw = RawOrigin::says("garbled.example.com", b"hello\r\n\r\n").await;
        let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let on = |name: &str, auth: &str| token(auth).replace(HOST, &named(name));
        let rules = "policy: {httpRules: [{id: no-delete, methods: [DELETE], paths: [\"/**\"], effect: deny, \
                     reason: \"it is \\\"quoted\\\"\"}], allow: [\"*\"]}";
        let mut builder = proxy()
            .provider("api", &format!("{}\n{rules}", bearer()))
            .provider("absent", &bearer_spec_on("absent").replace("secretRef: canary", "secretRef: absent"))
            .provider("own", &on("own", "type: bearer, onAgentCredential: reject"))
            .provider("limited", &format!("{}\nlimits: {{requestsPerMinute: 1}}", bearer_spec_on("limited")))
            .provider(
                "dummy",
                &on("dummy", &format!("placeholder: {DUMMY}, inject: [{{hosts: [dummy.example.com], placeholder: {{in: [\"header:X-Key\"]}}}}]")),
            )
            .provider("asked", &crate::approvals::asking("").replace(HOST, &named("asked")))
            .provider("held", &on("held", "inject: [{hosts: [held.example.com], body: {jsonPointer: /key}}]"))
            .provider("issued", &format!("type: http-token\nhost: issued.example.com\nauth: {{type: oauth2-client-credentials, secretRef: oauth, tokenUrl: \"https://{LOGIN}/token\"}}"))
            .public_value("oauth", "client_id", "client-of-the-test")
            .secret("oauth", "client_secret", &canary::fresh())
            .limit("buffered-body", "1024")
            .route("dead.example.com", 443, dead)
            .route("private.example.com", 443, "10.0.0.1:443".parse().unwrap())
            .route("garbled.example.com", 443, raw.address());
        for name in ["expired", "coded", "garbled", "dead", "private", "rejecting"] {
            builder = builder.provider(name, &bearer_spec_on(name));
        }
        for origin in &origins {
            builder = builder.origin(origin);
        }
        Self { proxy: builder.start().await, _origins: origins, _raw: raw }
    }
}

#[tokio::test]
async fn every_refusal_says_the_same_on_the_wire_in_the_log_and_in_the_audit() {
    let wrong = Wrong::start().await;
    let agent: Agent = wrong.proxy.agent();
    let proof = agent.authorization().unwrap().to_owned();
    let plain =
        format!("GET http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\nProxy-Authorization: {proof}\r\n\r\n");
    let replies = [
        ("DW1001", agent.get("denied.example.net", "/").await),
        ("DW1002", agent.ask(HOST, "DELETE / HTTP/1.1").await),
        ("DW1003", agent.ask("asked.example.com", "DELETE / HTTP/1.1").await),
        ("DW1004", agent.get("absent.example.com", "/").await),
        ("DW1005", agent.get("issued.example.com", "/").await),
        ("DW1007", agent.ask("dummy.example.com", &format!("GET / HTTP/1.1\nUser-Agent: {DUMMY}")).await),
        ("DW1008", agent.ask("own.example.com", "GET / HTTP/1.1\nAuthorization: Bearer own").await),
        ("DW1009", {
            agent.get("limited.example.com", "/").await.assert_ok();
            agent.get("limited.example.com", "/").await
        }),
        ("DW1010", agent.raw(plain.as_bytes()).await),
        ("DW2004", agent.get("expired.example.com", "/").await),
        ("DW2005", agent.get("private.example.com", "/").await),
        ("DW2006", agent.get("dead.example.com", "/").await),
        ("DW2007", agent.ask(HOST, "GET / HTTP/1.1\nHost: other.example.com").await),
        ("DW2008", agent.ask(HOST, "GET / HTTP/1.1\nHost: api.example.com\nHost: api.example.com").await),
        ("DW2009", agent.get("coded.example.com", "/").await),
        ("DW2010", agent.get("garbled.example.com", "/").await),
        ("DW2011", agent.ask(HOST, "TRACE / HTTP/1.1").await),
        (
            "DW2012",
            agent.post("held.example.com", "/", "Content-Type: application/json", &[b'x'; 2048]).await,
        ),
        ("DW3001", agent.clone().without_authorization().connect("api.example.com:443").await),
        ("DW3002", agent.clone().with_basic("agent", "not-the-token").connect("api.example.com:443").await),
    ];
    for (code, reply) in &replies {
        assert_told(&wrong.proxy, code, reply).await;
    }
    // The upstream's own answer is passed through, with a note in the place of our sentence.
    let passed = agent.get("rejecting.example.com", "/").await;
    assert_eq!((passed.status, passed.text().as_str()), (401, "no"));
    let note = passed.header("doorward-note").unwrap_or_default();
    assert!(note.starts_with("upstream-rejected-credential; revision="), "{passed:?}");
    assert_eq!(told(&wrong.proxy, "DW1006").await, "the upstream answered 401 to the credential");
    // No answer of ours goes out where TLS did not come about; the operator is told all the same.
    let mut pipe = agent.dial().await;
    pipe.send(agent.connect_head("api.example.com:443").as_bytes()).await;
    pipe.read_head().await;
    pipe.send(b"SSH-2.0-OpenSSH_9.9\r\n").await;
    pipe.finish().await;
    pipe.read_to_end().await;
    told(&wrong.proxy, "DW2003").await;
    let stranger = agent.with_ca(harness::ca::TestCa::world().pem());
    assert!(stranger.tunnel("own.example.com:443").try_open().await.is_err());
    told(&wrong.proxy, "DW2002").await;
}

#[tokio::test]
async fn a_refused_connect_says_the_same_in_its_reason_and_body_in_the_log_and_in_the_audit() {
    let proxy = proxy().bearer(HOST).start().await;
    let reply = proxy.agent().connect("api.example.com:22").await;
    assert_eq!((reply.status, reply.reason.as_str()), (403, "DW1001 host not allowed"), "{reply:?}");
    assert_told(&proxy, "DW1001", &reply).await;
}

#[tokio::test]
async fn a_locked_vault_says_the_same_on_the_wire_in_the_log_and_in_the_audit() {
    let (home, value) = (Home::keyed(), canary::fresh());
    home.add("canary", &value, &[]).assert_ok();
    home.write("key", &"0f".repeat(32));
    let origin = Origin::start(HOST).await;
    let proxy = proxy().vault(&home).canary(&value).bearer(HOST).origin(&origin).start().await;
    let reply = proxy.agent().get(HOST, "/").await;
    assert_told(&proxy, "DW5001", &reply).await;
    origin.assert_untouched();
}

#[tokio::test]
async fn a_client_that_trusts_another_authority_is_told_of_in_the_log_and_in_the_audit() {
    let proxy = proxy().bearer(HOST).start().await;
    let stranger = proxy.agent().with_ca(harness::ca::TestCa::world().pem());
    assert!(stranger.tunnel("api.example.com:443").try_open().await.is_err());
    told(&proxy, "DW2001").await;
}

#[tokio::test]
async fn no_room_at_the_upstream_says_the_same_on_the_wire_in_the_log_and_in_the_audit() {
    let (mut feeds, answer) = answer::stream(&[]);
    let origin = Origin::builder(&[HOST]).answer(answer).start().await;
    let builder = proxy().bearer(HOST).limit("upstream-in-flight", "1").limit("upstream-wait", "100ms");
    let proxy = builder.arg("--workers").arg("1").origin(&origin).start().await;
    let mut tls = proxy.agent().tls(HOST).await;
    tls.send(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
    let feed = answer::next(&mut feeds).await;
    let reply = proxy.agent().get(HOST, "/over").await;
    assert_told(&proxy, "DW2013", &reply).await;
    feed.finish();
}

#[tokio::test]
async fn an_agent_without_a_grant_is_told_the_same_on_the_wire_in_the_log_and_in_the_audit() {
    const TOKEN: &str = "token-of-one-0123456789abcdef";
    let document = "apiVersion: doorward.dev/v1alpha1\nkind: Agent\nmetadata: {name: other}\nspec: {providers: [demo]}\n";
    let builder = proxy().tokens(&format!("one:{TOKEN}\nother:{TOKEN}-of-the-other\n"), TOKEN).bearer(HOST);
    let proxy = builder.file("other", document).start().await;
    let reply = proxy.agent().get(HOST, "/").await;
    assert_told(&proxy, "DW3003", &reply).await;
}

/// The audit cannot be told of it: that is what it says.
#[tokio::test]
async fn a_failed_audit_says_the_same_on_the_wire_and_in_the_log() {
    let builder = proxy().bearer(HOST).audit_to("/dev/full").arg("--audit-durability").arg("sync");
    let proxy = builder.start().await;
    let reply = proxy.agent().get(HOST, "/").await;
    reply.assert_refused(503, "DW5003");
    let body = reply.json();
    let hint = control::refusal::Code::Dw5003.entry().hint;
    let detail = body["detail"].as_str().unwrap();
    assert_eq!(body["message"], format!("doorward DW5003: {detail}. {hint}"));
    let is_it = |line: &Value| line["code"] == "DW5003" && line["reason"] == detail;
    within::eventually("DW5003 in the log", within::DEADLINE, || {
        proxy.log().lines().filter_map(|line| serde_json::from_str(line).ok()).find(is_it)
    })
    .await;
}

#[tokio::test]
async fn dw6001_a_bad_file_says_the_same_in_the_log_and_in_readiness() {
    let proxy = proxy().bearer(HOST).start().await;
    proxy.write_provider("demo", "apiVersion: doorward.dev/v1alpha1\nkind: Provider\nmetadata: {name: demo}\nspec:\n  type: http-tokn\n  hots: x\n");
    let report = within::eventually("the report", within::DEADLINE, || {
        Some(proxy.admin_get("/readyz?verbose").1).filter(|report| report.contains("DW6001"))
    })
    .await;
    let log: Vec<Value> = proxy.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let mistakes: Vec<_> = report
        .lines()
        .filter_map(|line| line.split_once("reload DW6001: "))
        .map(|(_, mistake)| mistake)
        .collect();
    assert!(mistakes.len() >= 2, "{report}");
    for mistake in mistakes {
        let is_it = |line: &Value| line["mistake"] == mistake && line["code"] == "DW6001";
        assert!(log.iter().any(is_it), "{mistake} is not in the log: {}", proxy.log());
    }
}
