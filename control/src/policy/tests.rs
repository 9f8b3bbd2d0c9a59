use std::sync::Arc;

use http::{HeaderMap, Method};

use super::*;
use crate::provider::parse_text;
use crate::provider::testing::SCHEMES;
use crate::rule::Path;

struct World {
    provider: Arc<Provider>,
    agent: AgentName,
    target: Target,
    headers: HeaderMap,
}

fn world(spec: &str) -> World {
    let text = format!("apiVersion: pai.io/v1\nkind: Provider\nmetadata: {{name: p}}\nspec:\n{spec}\n");
    let loaded = parse_text("f.yaml", &text, SCHEMES).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let provider = Arc::clone(&loaded.providers[0]);
    let target = Target { host: provider.hosts[0].exact().unwrap().clone(), port: 443 };
    World { provider, agent: AgentName::local(), target, headers: HeaderMap::new() }
}

impl World {
    fn with<T>(&self, request: &str, ask: impl FnOnce(&Facts<'_>) -> T) -> T {
        let (method, path) = request.split_once(' ').unwrap();
        let (method, path) = (Method::from_bytes(method.as_bytes()).unwrap(), Path::parse(path).unwrap());
        let (agent, target, provider, headers) = (&self.agent, &self.target, &self.provider, &self.headers);
        ask(&Facts {
            agent,
            target,
            provider,
            method: &method,
            path: &path,
            query: None,
            body: None,
            headers,
        })
    }

    fn decide(&self, request: &str) -> Result<Permit, Refusal> {
        self.with(request, |facts| decide(facts).map(|verdict| verdict.permit().expect("nobody is asked")))
    }
}

#[test]
fn refuses_with_the_rule_its_place_and_its_reason() {
    let world = world(
        "  type: github\n  policy:\n    httpRules:\n    - {id: no-delete, methods: [DELETE], effect: deny, reason: agents never delete}\n    - {paths: [/x], effect: deny}\n    allow: [\"*\"]\n    deny:\n    - \"admin:*\"\n  scope: {repositories: [acme/*]}",
    );
    let refusal = world.decide("DELETE /repos/acme/api").unwrap_err();
    assert_eq!(refusal.code, crate::refusal::Code::Dw1002);
    assert_eq!(refusal.rule.as_deref(), Some("no-delete (f.yaml:8)"));
    assert_eq!(refusal.detail, "rule `no-delete` denies: agents never delete");
    assert_eq!(refusal.provider.as_deref(), Some("p"));
    let refusal = world.decide("GET /x").unwrap_err();
    assert_eq!(refusal.rule.as_deref(), Some("httpRules[1] (f.yaml:9)"));
    let refusal = world.decide("POST /repos/acme/api/keys").unwrap_err();
    assert_eq!(
        (refusal.rule.as_deref(), &*refusal.detail),
        (Some("admin:* (deny, f.yaml:12)"), "action `admin:keys` is denied")
    );
    let refusal = world.decide("GET /repos/evil/api").unwrap_err();
    assert_eq!(
        (refusal.rule.as_deref(), &*refusal.detail),
        (Some("scope.repositories (f.yaml:13)"), "the request is out of scope")
    );
    let refusal = world.decide("GET /user/repos").unwrap_err();
    assert!(refusal.detail.contains("does not show what it acts on"));
}

#[test]
fn a_refusal_holds_nothing_that_the_agent_sent() {
    let world = world("  type: telegram\n  policy: {allow: [getMe]}");
    let refusal = world.decide("POST /bot1:CANARY/canaryMethod").unwrap_err();
    assert!(!format!("{refusal:?}").to_lowercase().contains("canary"));
}

#[test]
fn the_first_matching_rule_settles_and_actions_are_skipped() {
    let world = world(
        "  type: github\n  policy:\n    httpRules:\n    - {id: a, methods: [GET], paths: [\"/repos/**\"], effect: allow}\n    - {id: b, paths: [\"/repos/**\"], effect: deny}\n    - {id: c, methods: [POST], paths: [\"/user/*\"], effect: allow}\n    deny: [\"repo:*\"]\n  scope: {repositories: [acme/*]}",
    );
    let permit = world.decide("GET /repos/acme/api").unwrap();
    assert_eq!(
        (permit.trace().rule.as_deref(), permit.trace().action.as_deref()),
        (Some("a (f.yaml:8)"), None)
    );
    assert_eq!(permit.trace().resource.as_deref(), Some("acme/api"));
    assert!(world.decide("POST /repos/acme/api/issues").unwrap_err().rule.unwrap().starts_with("b "));
    // Scope still applies to what a rule allows.
    assert!(world.decide("GET /repos/evil/api").unwrap_err().rule.unwrap().starts_with("scope."));
    assert!(world.decide("POST /user/x").unwrap_err().rule.unwrap().starts_with("scope."));
    // With httpRules and without `allow` nothing else is allowed.
    assert_eq!(
        world.decide("GET /rate_limit").unwrap_err().rule.as_deref(),
        Some("defaultAction (f.yaml:7)")
    );
}

#[test]
fn a_rule_that_refuses_is_known_before_anything_of_a_body_unless_it_is_only_recorded() {
    const RULES: &str = "  type: github\n  policy:\n    httpRules:\n    - {methods: [PUT], paths: [/x], effect: allow}\n    - {paths: [/x], effect: deny}\n    allow: [\"*\"]\n";
    let refused = |world: &World, request: &str| world.with(request, rules_refuse);
    let enforced = world(RULES);
    assert!(refused(&enforced, "POST /x"));
    assert!(!refused(&enforced, "PUT /x"));
    assert!(!refused(&enforced, "POST /y"));
    assert!(!refused(&world(&format!("{RULES}  audit: {{enforcement: audit}}")), "POST /x"));
}

#[test]
fn the_default_is_deny_unless_nothing_at_all_is_written() {
    for (policy, allowed) in [
        ("", true),
        ("\n  policy: {}", true),
        ("\n  policy: {deny: [\"admin:*\"]}", true),
        ("\n  policy: {allow: []}", false),
        ("\n  policy: {httpRules: []}", false),
        ("\n  policy: {defaultAction: deny}", false),
        ("\n  policy: {defaultAction: allow}", true),
        ("\n  policy: {allow: [\"issues:*\"]}", false),
        ("\n  policy: {allow: [\"issues:*\"], defaultAction: allow}", true),
        ("\n  policy: {deny: [\"repo:*\"], defaultAction: allow}", false),
        ("\n  policy: {allow: [\"repo:read\"], deny: [\"repo:*\"]}", false),
        ("\n  policy: {allow: [\"*\"], deny: [\"*\"]}", false),
    ] {
        let world = world(&format!("  type: github{policy}"));
        assert_eq!(world.decide("GET /repos/a/b").is_ok(), allowed, "{policy}");
    }
}

#[test]
fn only_a_star_lets_an_unknown_request_through() {
    for (policy, allowed) in [
        ("{allow: [\"*\"]}", true),
        ("{allow: [\"*:*\", \"repo:*\"]}", false),
        ("{allow: [\"u*\"]}", false),
        ("{allow: [\"*\"], deny: [\"admin:*\"]}", true),
        ("{defaultAction: deny, deny: [\"admin:*\"]}", false),
    ] {
        let world = world(&format!("  type: github\n  policy: {policy}"));
        assert_eq!(world.decide("POST /frobnicate").is_ok(), allowed, "{policy}");
    }
}

#[test]
fn deny_and_scope_read_the_path_widely() {
    let world = world(
        "  type: github\n  policy: {allow: [\"*\"], deny: [\"repo:delete\", \"admin:*\"]}\n  scope: {repositories: [acme/*]}",
    );
    for request in [
        "DELETE /repos/acme%2Fapi",
        "DELETE /repos/acme/api;x=1",
        "DELETE //repos/acme/api",
        "DELETE /%2572epos/acme/api",
        "PUT /repos/acme/api%2Fcollaborators/eve",
        "GET /repos/acme%2F..%252fevil/x",
        "GET /repos/evil%2Fapi/contents/x",
    ] {
        let (_, path) = request.split_once(' ').unwrap();
        assert!(Path::parse(path).is_err() || world.decide(request).is_err(), "{request}");
    }
    assert!(world.decide("GET /repos/acme/api/contents/a%2Fb").is_ok());
}

#[test]
fn a_deny_without_a_scope_reads_the_path_widely_as_well() {
    let deny = world("  type: github\n  policy: {allow: [\"*\"], deny: [\"repo:delete\"]}");
    assert_eq!(
        deny.decide("DELETE /repos/acme%2Fapi").unwrap_err().rule.as_deref(),
        Some("repo:delete (deny, f.yaml:6)")
    );
    assert!(deny.decide("GET /repos/acme%2Fapi").is_ok());
}

#[test]
fn deny_reads_the_method_without_regard_to_case_and_allow_does_not() {
    let rules = world(
        "  type: http-token\n  host: a.example\n  policy: {httpRules: [{methods: [DELETE], effect: deny}, {paths: [\"/x\"], effect: allow}, {methods: [GET], effect: allow}]}",
    );
    for (request, allowed) in [
        ("DELETE /x", false),
        ("delete /x", false),
        ("Delete /x", false),
        ("get /y", false),
        ("GET /y", true),
        ("post /x", true),
    ] {
        assert_eq!(rules.decide(request).is_ok(), allowed, "{request}");
    }
    let actions = world("  type: github\n  policy: {allow: [\"*\"], deny: [\"repo:delete\"]}");
    assert!(actions.decide("delete /repos/a/b").is_err());
    assert!(actions.decide("delete //repos/a/b").is_err());
    assert!(actions.decide("get /repos/a/b").is_ok());
}

#[test]
fn audit_mode_lets_pass_and_tells_what_it_would_have_refused() {
    let world = world("  type: github\n  policy: {allow: [\"issues:read\"]}\n  audit: {enforcement: audit}");
    let permit = world.decide("DELETE /repos/acme/api").unwrap();
    assert_eq!(permit.trace().would_deny.as_ref().unwrap().code, crate::refusal::Code::Dw1002);
    assert!(world.decide("GET /repos/acme/api/issues").unwrap().trace().would_deny.is_none());
}

#[test]
fn explains_every_step_up_to_the_one_that_settles() {
    let world = world(
        "  type: github\n  policy: {allow: [\"issues:*\"], deny: [\"repo:delete\"]}\n  scope: {repositories: [acme/*]}",
    );
    let stages = |request: &str| {
        world.with(request, explain).iter().map(|step| (step.stage, step.outcome)).collect::<Vec<_>>()
    };
    assert_eq!(
        stages("POST /repos/acme/api/issues"),
        [
            (Stage::HttpRules, Outcome::Passed),
            (Stage::Action, Outcome::Passed),
            (Stage::Deny, Outcome::Passed),
            (Stage::Allow, Outcome::Allowed),
            (Stage::Scope, Outcome::Allowed),
        ]
    );
    assert_eq!(stages("DELETE /repos/acme/api").last(), Some(&(Stage::Deny, Outcome::Denied)));
    assert_eq!(stages("GET /repos/acme/api").last(), Some(&(Stage::Default, Outcome::Denied)));
    assert_eq!(stages("POST /repos/evil/api/issues").last(), Some(&(Stage::Scope, Outcome::Denied)));
}

#[test]
fn steps_are_shown_by_the_names_of_the_file() {
    let world =
        world("  type: github\n  policy: {deny: [\"repo:delete\"]}\n  scope: {repositories: [acme/*]}");
    let shown = |request: &str| {
        let steps = world.with(request, explain);
        steps.iter().map(|step| format!("{} {}", step.stage, step.outcome)).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(shown("GET /repos/acme/api"), "httpRules -, action -, deny -, allow allow, scope allow");
    assert_eq!(shown("DELETE /repos/acme/api"), "httpRules -, action -, deny deny");
}

#[test]
fn what_is_done_beside_has_to_be_allowed_and_may_not_be_denied() {
    let decide = |policy: &str| {
        let mut world =
            world(&format!("  type: aws\n  host: acme.s3.eu-west-1.amazonaws.com\n  policy: {policy}"));
        world.headers.insert("x-amz-acl", http::HeaderValue::from_static("public-read"));
        world.decide("PUT /a").map(drop)
    };
    for denied in [
        "{allow: [\"s3:PutObject\"]}",
        "{allow: [\"s3:PutObjectAcl\"]}",
        "{allow: [\"*\"], deny: [\"s3:PutObjectAcl\"]}",
        "{allow: [\"*\"], deny: [\"s3:PutObject\"]}",
        "{defaultAction: allow, deny: [\"s3:*Acl\"]}",
    ] {
        assert!(decide(denied).is_err(), "{denied}");
    }
    for allowed in
        ["{allow: [\"s3:PutObject\", \"s3:PutObjectAcl\"]}", "{allow: [\"*\"]}", "{defaultAction: allow}"]
    {
        decide(allowed).unwrap();
    }
}

/// What policy says of a POST with these messages.
fn judge_calls(policy: &str, body: &str) -> Result<Permit, Refusal> {
    let world =
        world(&format!("  type: mcp\n  mcp: {{url: \"https://m.example.com/mcp\"}}\n  policy: {policy}"));
    let calls = crate::mcp::Calls::read(body, &world.headers).unwrap();
    world.with("POST /mcp", |facts| {
        let Facts { agent, target, provider, method, path, headers, .. } = *facts;
        decide(&Facts {
            agent,
            target,
            provider,
            method,
            path,
            query: None,
            body: Some(Told::Calls(&calls)),
            headers,
        })
        .map(|verdict| verdict.permit().expect("nobody is asked"))
    })
}

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
const ODD: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/run"}"#;

fn call(tool: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}"}}}}"#)
}

#[test]
fn refuses_tools_that_the_lists_do_not_let_through() {
    let only = "{mcp: {allowedTools: [\"get_*\"], deniedTools: [get_secret]}}";
    let refusal = judge_calls(only, &call("get_secret")).unwrap_err();
    assert_eq!(refusal.rule.as_deref(), Some("get_secret (deniedTools, f.yaml:7)"));
    assert_eq!(refusal.detail, "the tool is not allowed");
    let refusal = judge_calls(only, &call("put")).unwrap_err();
    assert_eq!(refusal.rule.as_deref(), Some("policy.mcp (f.yaml:7)"));
    for (policy, body) in [
        (only, format!("[{PING},{},{}]", call("get_a"), call("put"))),
        (only, ODD.to_owned()),
        (only, format!("[{PING},{ODD}]")),
        ("{mcp: {allowedTools: []}}", call("get_a")),
        // No rule lets a tool through that the lists do not.
        ("{httpRules: [{effect: allow}], mcp: {allowedTools: []}}", call("get_a")),
        // Actions are judged beside the tools.
        ("{allow: [\"session/*\"], mcp: {allowedTools: [\"*\"]}}", call("get_a")),
        ("{allow: [\"session/*\", \"tools/*\"]}", format!("[{PING},{ODD}]")),
        ("{deny: [\"tools/call\"]}", format!("[{PING},{}]", call("get_a"))),
        ("{deny: [\"tools/call\"]}", ODD.to_owned()),
        ("{defaultAction: allow, deny: [\"tools/call\"]}", format!("[{PING},{ODD}]")),
    ] {
        let refusal = judge_calls(policy, &body).unwrap_err();
        assert_eq!(refusal.code, crate::refusal::Code::Dw1002, "{policy} {body}");
    }
}

#[test]
fn lets_through_what_the_lists_name_and_records_the_tools() {
    let permit =
        judge_calls("{mcp: {allowedTools: [\"get_*\"]}}", &format!("[{},{}]", call("get_a"), call("get_b")))
            .unwrap();
    assert_eq!(permit.trace().resource.as_deref(), Some("get_a get_b"));
    assert_eq!(permit.trace().action.as_deref(), Some("tools/call"));
    for (policy, body) in [
        ("{mcp: {allowedTools: []}}", PING.to_owned()),
        ("{mcp: {deniedTools: [put]}}", call("get_a")),
        ("{allow: [\"session/*\", \"tools/*\"]}", format!("[{PING},{}]", call("a"))),
        ("{allow: [\"*\"]}", ODD.to_owned()),
        ("{defaultAction: allow}", ODD.to_owned()),
    ] {
        assert!(judge_calls(policy, &body).is_ok(), "{policy} {body}");
    }
    let audited = world(
        "  type: mcp\n  mcp: {url: \"https://m.example.com/mcp\"}\n  audit: {enforcement: audit}\n  policy: {mcp: {allowedTools: []}}",
    );
    assert!(audited.decide("POST /mcp").unwrap().trace().would_deny.is_some());
}

const ASKS: &str = "  type: github\n  policy:\n    httpRules:\n    - {id: first, methods: [DELETE], paths: [\"/repos/**\"], effect: ask, ask: {hold: 30s}}\n    - {id: rest, effect: allow}\n  scope: {repositories: [acme/*]}";

/// The question that a request leads to, bound to it with this body.
fn bound(world: &World, request: &str, body: &[u8]) -> Bound {
    let target: http::uri::PathAndQuery = request.split_once(' ').unwrap().1.parse().unwrap();
    let Ok(Verdict::Ask(question)) = world.with(request, decide) else {
        panic!("{request}: nobody is asked")
    };
    let outgoing = Outgoing {
        target: &target,
        shown: None,
        headers: &world.headers,
        body,
        scheme: Some("header"),
        websocket: false,
    };
    question.bind("one", outgoing)
}

fn grant(bound: &Bound) -> crate::approval::Grant {
    let binding = bound.binding();
    let body = Some((binding.body.0, binding.body_bytes));
    crate::approval::Grant::new("id".into(), binding.scope(), body, 100)
}

#[test]
fn what_a_rule_asks_for_is_no_permit_without_an_approval_of_exactly_it() {
    let world = world(ASKS);
    let own = || bound(&world, "DELETE /repos/acme/api", b"x");
    for other in [
        bound(&world, "DELETE /repos/acme/api2", b"x"),
        bound(&world, "DELETE /repos/acme/api", b"y"),
        bound(&world, "DELETE /repos/acme/api", b""),
        bound(&world, "delete /repos/acme/api", b"x"),
    ] {
        let refusal = own().permit(grant(&other), 0).unwrap_err();
        assert_eq!((refusal.code, refusal.status), (crate::refusal::Code::Dw1003, 403));
        assert_eq!(refusal.rule.as_deref(), Some("first (f.yaml:8)"));
    }
    // Of a document that says one word more.
    let changed = self::world(&ASKS.replace("effect: allow", "effect: allow, reason: r"));
    own().permit(grant(&bound(&changed, "DELETE /repos/acme/api", b"x")), 0).unwrap_err();
    own().permit(grant(&own()), 100).unwrap_err();
    let permit = own().permit(grant(&own()), 99).unwrap();
    assert_eq!((permit.trace().approval.as_deref(), permit.agent().as_str()), (Some("id"), "agent"));
}

#[test]
fn a_rule_that_asks_reads_widely_and_what_comes_after_it_holds_still() {
    let open = world(&ASKS.replace("\n  scope: {repositories: [acme/*]}", ""));
    let asks = [
        "DELETE /repos/a/b",
        "delete /repos/a/b",
        "DELETE /REPOS/a/b",
        "DELETE /repos%2fa/b",
        "DELETE /repos;x/a",
    ];
    for request in asks {
        let verdict = open.with(request, decide);
        assert!(matches!(verdict, Ok(Verdict::Ask(_))), "{request}: {verdict:?}");
    }
    let world = world(ASKS);
    let refusal = world.with("DELETE /repos/evil/api", decide).unwrap_err();
    assert_eq!(refusal.code, crate::refusal::Code::Dw1002, "nobody is asked what scope refuses");
    assert!(world.with("GET /repos/acme/api", decide).unwrap().permit().is_some());
    let steps = world.with("DELETE /repos/acme/api", explain);
    assert!(steps.iter().any(|step| step.outcome == Outcome::Asked), "{steps:?}");
}

#[test]
fn with_enforcement_audit_what_would_ask_would_deny() {
    let world = world(&format!("{ASKS}\n  audit: {{enforcement: audit}}"));
    let permit = world.decide("DELETE /repos/acme/api").unwrap();
    let would = permit.trace().would_deny.clone().unwrap();
    assert_eq!((would.code, would.rule.as_deref()), (crate::refusal::Code::Dw1003, Some("first (f.yaml:8)")));
}
