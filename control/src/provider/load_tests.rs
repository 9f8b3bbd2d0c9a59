use std::fs;

use proptest::prelude::*;

use super::testing::SCHEMES;
use super::*;
use crate::agent::AgentName;
use crate::target::Target;

mod wrong;

use wrong::WRONG;

fn spec(text: &str) -> String {
    format!("apiVersion: doorward.dev/v1alpha1\nkind: Provider\nmetadata: {{name: p}}\nspec:\n{text}")
}

fn mistakes(text: &str) -> Vec<String> {
    match parse_text("f.yaml", text, SCHEMES) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
    }
}

fn loaded(text: &str) -> Loaded {
    parse_text("f.yaml", text, SCHEMES).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
}

fn one(text: &str) -> Arc<Provider> {
    Arc::clone(&loaded(text).providers[0])
}

#[test]
fn refuses_documents_that_are_no_provider() {
    let head = "apiVersion: doorward.dev/v1alpha1\n";
    for (text, wanted) in [
        ("", "holds no document"),
        ("---\n", "holds no document"),
        ("- a\n", "a document is a map"),
        ("kind: Provider\n", "`apiVersion` is missing"),
        ("a: 1\n", "`kind` is missing"),
        ("kind: Secret\n", "use `doorward add`"),
        ("kind: Provder\n", "did you mean \"Provider\"?"),
        (
            "apiVersion: v1\nkind: Provider\nmetadata: {name: a}\nspec: {type: github}\n",
            "`apiVersion` of a Provider is",
        ),
        (
            "apiVersion: pai.io/v1\nkind: ModelProvider\nmetadata: {name: a}\nspec: {provider: opnai}\n",
            "did you mean \"openai\"?",
        ),
        (
            "apiVersion: pai.io/v1\nkind: Agent\nmetadata: {name: a}\nspec: {providers: []}\n",
            "`apiVersion` of a Agent is",
        ),
        ("kind: Provider\nmetadata: {name: ../x}\nspec: {type: github}\n", "`metadata.name` is made of"),
    ] {
        let found = mistakes(text);
        assert!(found.iter().any(|mistake| mistake.contains(wanted)), "{text:?} {found:#?}");
    }
    let two = format!("{head}kind: Provider\nmetadata: {{name: a}}\nspec: {{type: github}}\n");
    let same_name = "a provider of the same name stands in f.yaml:1";
    assert!(mistakes(&format!("{two}---\n{two}")).iter().any(|mistake| mistake.contains(same_name)));
}

#[test]
fn refuses_two_providers_for_one_host_unless_their_agents_differ() {
    let provider = |name: &str, host: &str| {
        format!(
            "---\napiVersion: pai.io/v1\nkind: Provider\nmetadata: {{name: {name}}}\nspec: {{type: http-token, host: \"{host}\"}}\n"
        )
    };
    let agent = |name: &str, provider: &str| {
        format!(
            "---\napiVersion: doorward.dev/v1alpha1\nkind: Agent\nmetadata: {{name: {name}}}\nspec: {{providers: [{provider}]}}\n"
        )
    };
    let both = provider("a", "x.com") + &provider("b", "x.com");
    let found = mistakes(&both);
    assert!(
        found[0].contains("`x.com` is named by provider `a` (f.yaml:2) and by provider `b` (f.yaml:7)"),
        "{found:?}"
    );
    assert!(mistakes(&(provider("a", "*.x.com") + &provider("b", "*.x.com"))).len() == 1);
    assert!(mistakes(&(both.clone() + &agent("one", "a, b"))).len() == 1);
    assert!(mistakes(&(both.clone() + &agent("one", "c")))[0].contains("no provider of this name"));
    let twice = mistakes(&(both.clone() + &agent("one", "a") + &agent("one", "b")));
    assert!(twice.iter().any(|mistake| mistake.contains("the same agent")));
    for fine in [
        provider("a", "x.com") + &provider("b", "x.com:8443"),
        provider("a", "x.com") + &provider("b", "*.com"),
    ] {
        assert!(mistakes(&fine).is_empty());
    }
    let disjoint = loaded(&(both + &agent("one", "a") + &agent("two", "b")));
    let target = Target::parse_authority("x.com:443").unwrap();
    let route = |agent: &str| {
        disjoint.routes.route(&target, &AgentName::new(agent)).map(|provider| provider.name.to_string())
    };
    assert_eq!(
        (route("one").as_deref(), route("two").as_deref(), route("three")),
        (Some("a"), Some("b"), None)
    );
}

#[test]
fn routes_to_the_most_specific_host_and_nowhere_else() {
    let text = ["x.com", "*.x.com", "*.a.x.com", "b.a.x.com", "p.com:8443"].iter().enumerate().fold(String::new(), |text, (n, host)| {
        format!("{text}---\napiVersion: pai.io/v1\nkind: Provider\nmetadata: {{name: p{n}}}\nspec: {{type: http-token, host: \"{host}\"}}\n")
    });
    let loaded = loaded(&text);
    for (target, provider) in [
        ("x.com:443", Some("p0")),
        ("z.x.com:443", Some("p1")),
        ("q.z.x.com:443", Some("p1")),
        ("a.x.com:443", Some("p1")),
        ("z.a.x.com:443", Some("p2")),
        ("b.a.x.com:443", Some("p3")),
        ("c.b.a.x.com:443", Some("p2")),
        ("p.com:8443", Some("p4")),
        ("p.com:443", None),
        ("x.com:80", None),
        ("xx.com:443", None),
        ("com:443", None),
        ("127.0.0.1:443", None),
        ("[::1]:443", None),
    ] {
        let found = loaded.routes.route(&Target::parse_authority(target).unwrap(), &AgentName::local());
        assert_eq!(found.map(|provider| &*provider.name), provider, "{target}");
    }
    assert!(loaded.routes.names_port(443) && loaded.routes.names_port(8443) && !loaded.routes.names_port(80));
    let empty = load(&[], SCHEMES).unwrap();
    assert!(
        empty.routes.route(&Target::parse_authority("x.com:443").unwrap(), &AgentName::local()).is_none()
    );
}

#[test]
fn reads_the_whole_example_of_the_reference() {
    let text = r#"
apiVersion: doorward.dev/v1alpha1
kind: Provider
metadata: {name: github-triage, namespace: team-a}
spec:
  type: github
  hosts: [api.github.com, github.com, "*.githubusercontent.com", "ghe.corp.example:8443"]
  auth:
    type: pat
    secretRef: github-pat
    secretKey: token
    placeholder: ghp_dummy1234
    removeHeaders: [X-Api-Key]
    agentEnvVar: GITHUB_TOKEN
    agentEnv: {GH_TOKEN: {placeholder: "ghp_{rand:36}"}, GH_HOST_TOKEN: }
    inject:
    - {hosts: [api.github.com], header: Authorization, template: "Bearer {{token}}"}
    - {hosts: [github.com], basic: {username: x-access-token, password: "{{token}}"}}
    - placeholder: {in: ["header:Authorization", "query:key", path, basic, "body:/auth/key"]}
    onAgentCredential: placeholder-only
    verify: {method: GET, url: "https://api.github.com/user", expect: 200}
  policy:
    httpRules:
    - {id: no-delete, methods: [DELETE], paths: ["/**"], effect: deny, reason: "agents never delete"}
    allow: ["issues:*", "pulls:read"]
    deny: ["admin:*", "repo:delete"]
    defaultAction: deny
  scope: {repositories: ["acme/*"], channels: [], resources: []}
  limits: {requestsPerMinute: 120, timeout: 30s}
  request: {keepHeaders: [X-Forwarded-For, X-HTTP-Method-Override]}
  response: {redact: true, stripHeaders: [Set-Cookie], smallRanges: allow}
  tls: {mode: intercept, upstreamCA: corp.pem}
  network: {allowCIDRs: [10.0.0.0/8, 192.168.1.1]}
  audit: {logRequests: false, enforcement: audit}
  tests:
  - {request: "DELETE /repos/acme/api", expect: deny, rule: no-delete}
  - {request: "GET https://api.github.com/repos/acme/api/issues?page=2", expect: allow}
"#;
    let loaded = loaded(text);
    let provider = &loaded.providers[0];
    assert_eq!(
        (&*provider.project, &*provider.name, &*provider.source),
        ("team-a", "github-triage", "f.yaml:2")
    );
    let auth = provider.auth.as_ref().unwrap();
    assert_eq!(auth.secret.to_string(), "team-a/github-pat");
    assert_eq!(auth.keys, ["token"]);
    assert_eq!(auth.on_agent_credential, OnAgentCredential::PlaceholderOnly);
    assert_eq!(auth.dummies.len(), 2);
    assert_eq!(auth.dummy(), "ghp_dummy1234");
    assert_eq!(provider.agent_env.len(), 3);
    assert!(
        auth.dummies.contains(&provider.agent_env[1].1) && provider.agent_env[1].1.starts_with("ghp_dw0")
    );
    let scheme =
        |host: &str| auth.injection_for(&Target::parse_authority(host).unwrap()).map(|one| one.scheme);
    assert_eq!(scheme("api.github.com:443"), Some("header"));
    assert_eq!(scheme("github.com:443"), Some("basic"));
    assert_eq!(scheme("ghe.corp.example:8443"), Some("placeholder"));
    assert_eq!(auth.injections[2].fields.spots("in").len(), 5);
    assert_eq!(provider.limits.timeout, Some(Duration::from_secs(30)));
    assert_eq!(provider.upstream.allow_cidrs.len(), 2);
    assert_eq!(provider.enforcement, Enforcement::Audit);
    assert!(!provider.log_requests && provider.response.small_ranges_allowed);
    for case in &loaded.tests {
        case.run().unwrap_or_else(|failed| panic!("{case}: {failed}"));
    }
}

#[test]
fn reads_json_several_documents_and_pai_files() {
    let loaded = loaded(
        "{\"apiVersion\": \"pai.io/v1\", \"kind\": \"Provider\",\n\t\"metadata\": {\"name\": \"a\"}, \"spec\": {\"type\": \"openai\", \"auth\": {\"secretRef\": \"k\"}}}\n---\napiVersion: pai.io/v1\nkind: Provider\nmetadata: {name: b}\nspec: {type: telegram, auth: {secretRef: k}}\n---\n",
    );
    assert_eq!(loaded.providers.len(), 2);
    assert_eq!(loaded.providers[0].auth.as_ref().unwrap().keys, ["api-key", "token"]);
    assert_eq!(loaded.providers[1].auth.as_ref().unwrap().injections[0].scheme, "path");
}

#[test]
fn injects_by_auth_type_with_the_documented_defaults() {
    for (auth, scheme, field, value, key) in [
        ("{secretRef: s}", "api_key", "prefix", None, "token"),
        (
            "{secretRef: s, type: bearer, header: X-Token, prefix: \"\"}",
            "api_key",
            "header",
            Some("x-token"),
            "token",
        ),
        ("{secretRef: s, param: api_key}", "api_key", "param", Some("api_key"), "token"),
        ("{secretRef: s, type: header, header: X-Key}", "header", "prefix", Some(""), "token"),
        ("{secretRef: s, type: query, param: k}", "query", "param", Some("k"), "token"),
        ("{secretRef: s, type: basic, username: me}", "basic", "username", Some("me"), "password"),
        ("{secretRef: s, type: cookie, name: sid}", "cookie", "name", Some("sid"), "token"),
        ("{secretRef: s, type: api-key, secretKey: other}", "api_key", "header", None, "other"),
    ] {
        let provider = one(&spec(&format!("  type: http-token\n  host: a.com\n  auth: {auth}\n")));
        let built = provider.auth.as_ref().unwrap();
        assert_eq!(built.injections[0].scheme, scheme, "{auth}");
        assert_eq!(built.injections[0].fields.text(field), value, "{auth}");
        assert_eq!(built.keys[0], key, "{auth}");
        assert!(built.dummy().starts_with("dw0"));
    }
}

#[test]
fn types_put_their_credential_where_their_hosts_take_it() {
    let github = one(&spec(
        "  type: github\n  hosts: [api.github.com, github.com, \"*.githubusercontent.com\", ghe.corp.example]\n  auth: {secretRef: s}\n",
    ));
    let auth = github.auth.as_ref().unwrap();
    let scheme =
        |host: &str| auth.injection_for(&Target::parse_authority(host).unwrap()).map(|one| one.scheme);
    assert_eq!(scheme("api.github.com:443"), Some("header"));
    assert_eq!(scheme("github.com:443"), Some("basic"));
    assert_eq!(scheme("raw.githubusercontent.com:443"), Some("header"));
    assert_eq!(scheme("objects.githubusercontent.com:443"), None);
    assert_eq!(scheme("ghe.corp.example:443"), Some("header"));
    let anthropic = one(&spec("  type: anthropic\n  auth: {secretRef: s}\n"));
    let auth = anthropic.auth.as_ref().unwrap();
    assert_eq!(auth.injections[0].fields.text("header"), Some("x-api-key"));
    assert_eq!(auth.remove_headers, ["authorization"]);
    let gemini = one(&spec("  type: gemini\n  auth: {secretRef: s}\n"));
    assert!(gemini.auth.as_ref().unwrap().remove_params.contains(&"key"));
    let telegram = one(&spec("  type: telegram\n  auth: {secretRef: s}\n"));
    let verify = telegram.verify.as_ref().unwrap();
    assert_eq!(verify.path_and_query, format!("/bot{}/getMe", telegram.auth.as_ref().unwrap().dummy()));
}

#[test]
fn plain_providers_stand_on_port_80() {
    let provider = one(&spec(
        "  type: http-token\n  host: a.example\n  tls: {mode: plain}\n  auth: {secretRef: s, verify: {url: \"http://a.example/x\"}}\n",
    ));
    assert_eq!(provider.mode, Mode::Plain);
    assert!(provider.hosts[0].covers(&Target::parse_authority("a.example:80").unwrap()));
    assert!(!provider.hosts[0].covers(&Target::parse_authority("a.example:443").unwrap()));
    assert_eq!(provider.verify.as_ref().unwrap().target.port, 80);
}

#[test]
fn knows_the_hosts_that_go_beyond_a_secrets_binding() {
    let provider = one(&spec("  type: github\n  auth: {secretRef: s}\n"));
    let bound =
        |texts: &[&str]| texts.iter().map(|text| HostPattern::parse(text, 443).unwrap()).collect::<Vec<_>>();
    assert_eq!(provider.hosts_beyond(&bound(&["api.github.com", "*.github.com", "github.com"])).count(), 1);
    assert_eq!(
        provider.hosts_beyond(&bound(&["github.com", "*.github.com", "*.githubusercontent.com"])).count(),
        0
    );
}

#[test]
fn reads_folders_in_order_and_leaves_hidden_and_other_files_out() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let provider = |name: &str| {
        format!("apiVersion: pai.io/v1\nkind: Provider\nmetadata: {{name: {name}}}\nspec: {{type: http-token, host: {name}.example}}\n").into_bytes()
    };
    write("b.yaml", &provider("b"));
    write("a/deep/c.yml", &provider("c"));
    write("..data/hidden.yaml", &provider("hidden"));
    write(".hidden.yaml", &provider("hidden2"));
    write("notes.txt", b"no yaml: [");
    let loaded = load(&[folder.path().to_owned()], SCHEMES).unwrap();
    let names: Vec<&str> = loaded.providers.iter().map(|provider| &*provider.source).collect();
    assert_eq!(names, ["a/deep/c.yml:1", "b.yaml:1"]);
    assert_eq!(loaded.files.len(), 2);

    write("x.yaml", b"kind: \xff\n");
    write("y.yaml", b"");
    write("z.json", &vec![b' '; (1 << 20) + 1]);
    let shown: Vec<String> = load(&[folder.path().to_owned()], SCHEMES)
        .unwrap_err()
        .iter()
        .map(|mistake| mistake.message.clone())
        .collect();
    assert_eq!(shown, ["the file is not UTF-8", "the file holds no document", "the file is over 1 MiB"]);
    let missing = load(&[folder.path().join("nowhere")], SCHEMES).unwrap_err();
    assert_eq!(missing[0].message, "no such file or folder");
}

#[test]
fn extra_roots_are_found_beside_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    fs::write(&file, spec("  type: github\n  tls: {upstreamCA: corp.pem}\n")).unwrap();
    assert!(load(std::slice::from_ref(&file), SCHEMES).unwrap_err()[0].message.contains("does not exist"));
    fs::write(folder.path().join("corp.pem"), "x").unwrap();
    let loaded = load(&[file], SCHEMES).unwrap();
    assert_eq!(
        loaded.providers[0].upstream.extra_roots.as_deref(),
        Some(folder.path().join("corp.pem").as_path())
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn never_panics_on_any_text(text in "\\PC{0,120}") {
        drop(parse_text("f", &text, SCHEMES));
    }

    #[test]
    fn never_panics_on_a_damaged_file(at in 0_usize..WRONG.len(), cut in 0_usize..400, junk in "[ -~\\n]{0,6}") {
        let mut text = spec(WRONG[at].0);
        let cut = (0..=cut.min(text.len())).rev().find(|cut| text.is_char_boundary(*cut)).unwrap();
        text.insert_str(cut, &junk);
        drop(parse_text("f", &text, SCHEMES));
    }

    #[test]
    fn wrong_kinds_of_values_anywhere_give_mistakes_not_panics(key in "(type|host|hosts|auth|policy|scope|limits|tls|tests|response|audit|network|request)", value in "(null|true|5|1.5|x|\\[\\]|\\[\\[\\]\\]|\\{\\}|\\{a: b\\}|\\[\\{\\}\\]|\\[null\\])") {
        drop(parse_text("f", &spec(&format!("  type: github\n  {key}: {value}\n")), SCHEMES));
    }
}

#[test]
fn warns_of_a_denied_action_that_no_request_shows() {
    let warned = |deny: &str| {
        let loaded = loaded(&spec(&format!("  type: aws\n  policy: {{deny: [\"{deny}\"]}}\n")));
        loaded.warnings.iter().any(|warning| warning.message.contains("a role is passed by what a body says"))
    };
    assert!(warned("iam:PassRole") && warned("IAM:passrole"));
    assert!(!warned("iam:*") && !warned("iam:CreateUser"));
}

#[test]
fn a_githubs_apps_token_is_asked_for_the_repositories_that_the_scope_names() {
    let repositories = |scope: &str| {
        let text = spec(&format!(
            "  type: github\n  auth: {{type: github-app, secretRef: s}}\n  scope: {{repositories: {scope}}}\n"
        ));
        let loaded = parse_text("f.yaml", &text, SCHEMES).unwrap();
        let auth = loaded.providers[0].auth.as_ref().unwrap();
        let fields: Vec<Option<&str>> =
            auth.injections.iter().map(|injection| injection.fields.text("repositories")).collect();
        assert!(fields.iter().all(|field| *field == fields[0]), "{fields:?}");
        fields[0].map(str::to_owned)
    };
    assert_eq!(repositories("[acme/api, Acme/web]").as_deref(), Some("api web"));
    // These cannot be asked for; each request is held to the scope all the same.
    for wide in ["[\"acme/*\"]", "[acme/api, \"acme/w*\"]", "[acme/api, other/web]", "[]"] {
        assert_eq!(repositories(wide), None, "{wide}");
    }
}

#[test]
fn googles_libraries_get_a_key_file_whose_key_is_nobodys() {
    let text = spec("  type: gcp\n  auth: {secretRef: s}\n  config: {project: acme-1}\n");
    let loaded = parse_text("f.yaml", &text, SCHEMES).unwrap();
    let file = loaded.providers[0].agent_file().unwrap();
    assert_eq!(file.variable, "GOOGLE_APPLICATION_CREDENTIALS");
    let env = &loaded.providers[0].agent_env;
    assert_eq!(*env, [("GOOGLE_CLOUD_PROJECT".to_owned(), "acme-1".to_owned())]);
    let account = crate::keyfile::ServiceAccount::read(file.text.as_bytes()).unwrap();
    assert!(account.private_key_id.unwrap().starts_with("ya29.dw0"));
    let github = spec("  type: github\n  auth: {secretRef: s}\n");
    assert_eq!(parse_text("f.yaml", &github, SCHEMES).unwrap().providers[0].agent_file(), None);
}

#[test]
fn warns_of_a_login_that_may_do_everything() {
    let warned = |auth: &str, policy: &str| {
        let text = format!("  type: openai\n  auth: {{type: {auth}, secretRef: s}}\n  policy: {policy}\n");
        let loaded = loaded(&spec(&text));
        loaded.warnings.iter().any(|warning| warning.message.contains("opens the whole account"))
    };
    assert!(warned("oauth", "{allow: [\"*\"]}") && warned("oauth", "{defaultAction: allow}"));
    assert!(!warned("oauth", "{allow: [\"responses:*\"]}") && !warned("oauth", "{defaultAction: deny}"));
    assert!(!warned("api-key", "{allow: [\"*\"]}"));
}
