//! What each type says of itself, as a provider file gets it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::catalog::{FieldValue, Spot};
use crate::provider::dummy;
use crate::token_url::TokenUrl;
use crate::vault::BoundHosts;

fn target(text: &str) -> Target {
    Target::parse_authority(text).unwrap()
}

#[test]
fn every_type_is_whole() {
    let mut variables = BTreeMap::new();
    for kind in ALL {
        let host = match kind.name {
            "mcp" => "mcp: {url: \"https://a.example/mcp\"}, ",
            "docker-registry" => "host: ghcr.io, ",
            _ if kind.hosts.is_empty() => "host: a.example, ",
            _ => "",
        };
        let load =
            |auth: &str| provider(&format!("{{type: {}, {host}auth: {{secretRef: s{auth}}}}}", kind.name));
        assert_eq!(load("").verify.is_some(), kind.verify.is_some(), "{}", kind.name);
        assert!(kind.hosts.is_empty() || BoundHosts::of_type(kind.hosts).is_ok(), "{}", kind.name);
        assert!(!kind.name.is_empty() && !kind.summary.is_empty());
        for own in kind.auth {
            let beside = match own.name {
                "workload-identity" => "}, config: {subjectTokenFile: /run/tokens/one",
                _ => "",
            };
            let provider = load(&format!(", type: {}{beside}", own.name));
            let auth = provider.auth.as_ref().unwrap();
            assert!(!auth.injections.is_empty(), "{}", kind.name);
            let bound = kind.bound_hosts();
            let bound = BoundHosts::of_type(&bound);
            let is_bound = |url: &TokenUrl| bound.as_ref().is_ok_and(|hosts| hosts.covers(url.target()));
            // A login's secret is bound where it is made (`connect`): a key has no business at its issuer.
            let at_home = kind.hosts.is_empty() || auth.token_urls.iter().all(is_bound);
            assert_eq!(at_home, own.name != OAUTH, "{}", kind.name);
            assert!(auth.dummy().contains(dummy::MARKER), "{}", kind.name);
            assert!(own.remove_headers.iter().all(|name| *name == name.to_ascii_lowercase()));
            // `import` takes the type of a variable's name.
            for name in own.env.iter().filter(|_| !kind.hosts.is_empty()) {
                assert_eq!(*variables.entry(name).or_insert(kind.name), kind.name, "{name}");
            }
        }
    }
}

#[test]
fn a_login_has_hosts_a_client_and_a_call_of_its_own() {
    for (kind, host, token_url) in [
        ("openai", "chatgpt.com", "https://auth.openai.com/oauth/token"),
        ("anthropic", "api.anthropic.com", "https://platform.claude.com/v1/oauth/token"),
    ] {
        let provider = provider(&format!("{{type: {kind}, auth: {{type: oauth, secretRef: s}}}}"));
        let login = provider.kind.login().unwrap();
        let auth = provider.auth.as_ref().unwrap();
        assert_eq!(provider.hosts.iter().map(ToString::to_string).collect::<Vec<_>>(), [host]);
        assert_eq!(auth.token_urls[0].to_string(), token_url);
        assert!(auth.injections[0].fields.text("clientId").is_some());
        assert_eq!(provider.verify.as_ref().unwrap().target.host.to_string(), host);
        let known = provider.kind.actions.names();
        assert!(login.allow.iter().all(|action| known.contains(action)), "{kind}");
        assert!(login.authorize.starts_with("https://") && TokenUrl::parse(login.authorize).is_ok());
    }
    for host in ["api.openai.com", "evil.example"] {
        let text = format!(
            "apiVersion: doorward.dev/v1alpha1\nkind: Provider\nmetadata: {{name: p}}\n\
             spec: {{type: openai, host: {host}, auth: {{type: oauth, secretRef: s}}}}\n"
        );
        let mistakes = parse_text("f.yaml", &text, SCHEMES).unwrap_err();
        assert!(
            mistakes[0].message.contains("a host of this provider is none of them"),
            "{host}: {mistakes:?}"
        );
    }
}

#[test]
fn codex_gets_a_login_that_holds_dummies_alone() {
    let provider = provider("{type: openai, auth: {type: oauth, secretRef: s}}");
    let file = provider.agent_file().unwrap();
    assert_eq!((file.variable, &*file.name), ("CODEX_HOME", "auth.json"));
    assert_eq!(file.folder.as_deref(), Some("codex-default-p"));
    let login: serde_json::Value = serde_json::from_str(&file.text).unwrap();
    let dummy = provider.auth.as_ref().unwrap().dummy();
    let tokens = &login["tokens"];
    assert!(tokens["access_token"] == dummy && tokens["refresh_token"] == dummy);
    let id_token = tokens["id_token"].as_str().unwrap();
    assert_eq!(id_token.split('.').filter(|part| !part.is_empty()).count(), 3, "Codex reads its middle");
}

#[test]
fn no_public_prefix_begins_names_that_secrets_have() {
    let prefixes = ALL.iter().flat_map(|kind| kind.auth).flat_map(|auth| auth.public_prefixes);
    for prefix in prefixes.filter(|prefix| prefix.len() >= 3) {
        for kind in ALL {
            let (name, variable) = (kind.name, kind.name.to_ascii_uppercase().replace('-', "_"));
            for secret in
                [format!("{name}-api-key-of-the-team"), format!("{variable}_API_KEY"), "KEY_OF".into()]
            {
                assert!(!secret.starts_with(prefix), "{secret} {prefix}");
            }
        }
    }
}

#[test]
fn verify_calls_go_to_the_providers_own_host() {
    let verify = |spec: &str| provider(spec).verify.clone();
    assert_eq!(verify(r#"{type: vllm, host: "*.corp.example", auth: {secretRef: s}}"#), None);
    assert_eq!(verify("{type: github, hosts: [ghe.corp.example], auth: {secretRef: s}}"), None);
    assert_eq!(verify("{type: custom, host: llm.corp.example, auth: {secretRef: s}}"), None);
    let mcp = verify("{type: mcp, mcp: {url: \"https://m.corp.example:8443/v1/mcp\"}, auth: {secretRef: s}}")
        .unwrap();
    assert_eq!((mcp.target.port, &*mcp.path_and_query), (8443, "/v1/mcp"));
    for (spec, host, path) in [
        ("type: azure-openai, host: a.openai.azure.com", "a.openai.azure.com:443", "/openai/v1/models"),
        (r#"type: docker-registry, host: "r.example:5000""#, "r.example:5000", "/v2/"),
        ("type: github, host: ghe.corp.example", "ghe.corp.example:443", "/api/v3/user"),
        ("type: vllm, host: llm.example", "llm.example:443", "/v1/models"),
        ("type: gitlab, hosts: [git.example, other.example]", "git.example:443", "/api/v4/user"),
        ("type: npm", "registry.npmjs.org:443", "/-/whoami"),
    ] {
        let own = verify(&format!("{{{spec}, auth: {{secretRef: s}}}}")).unwrap();
        assert_eq!((&*own.target.to_string(), &*own.path_and_query), (host, path));
    }
}

#[test]
fn verify_calls_carry_what_the_vendor_asks_for() {
    let gitlab = provider("{type: gitlab, auth: {secretRef: s, placeholder: glpat-dummy123}}");
    assert_eq!(gitlab.verify.as_ref().unwrap().headers["private-token"], "glpat-dummy123");
    let notion = provider("{type: notion, auth: {secretRef: s}}");
    assert!(notion.verify.as_ref().unwrap().headers.contains_key("notion-version"));
    let linear = provider("{type: linear, auth: {secretRef: s}}");
    let verify = linear.verify.as_ref().unwrap();
    assert_eq!((verify.method.as_str(), verify.body), ("POST", Some(r#"{"query":"{ viewer { id } }"}"#)));
}

#[test]
fn each_type_puts_its_credential_where_its_vendor_takes_it() {
    for (kind, auth, host, scheme, field, value) in [
        ("azure-openai, host: a.example", "api-key", "a.example:443", "header", "header", "api-key"),
        ("linear", "api-key", "uploads.linear.app:443", "header", "template", "{{token}}"),
        ("serper", "api-key", "scrape.serper.dev:443", "header", "header", "x-api-key"),
        ("stripe", "api-key", "files.stripe.com:443", "header", "template", "Bearer {{token}}"),
        ("twilio", "basic", "verify.twilio.com:443", "basic", "username", "{{account_sid}}"),
        ("twilio", "api-key", "api.twilio.com:443", "basic", "username", "{{api_key_sid}}"),
        ("pypi", "pat", "upload.pypi.org:443", "basic", "username", "__token__"),
        ("npm", "basic", "registry.npmjs.org:443", "basic", "password", "{{token}}"),
        ("gitlab", "basic", "gitlab.com:443", "basic", "username", "oauth2"),
    ] {
        let provider = provider(&format!("{{type: {kind}, auth: {{type: {auth}, secretRef: s}}}}"));
        let injection = provider.auth.as_ref().unwrap().injection_for(&target(host)).unwrap();
        assert_eq!(injection.scheme, scheme, "{kind}");
        let shown = match injection.fields.0.get(field) {
            Some(FieldValue::Text(text)) => text.clone(),
            Some(FieldValue::Template(template)) => template.to_string(),
            Some(FieldValue::Spots(_) | FieldValue::Headers(_)) | None => String::new(),
        };
        assert_eq!(shown, value, "{kind}");
    }
}

#[test]
fn gitlabs_dummy_is_replaced_where_its_clients_send_it() {
    let gitlab = provider("{type: gitlab, auth: {secretRef: s}}");
    let injection = &gitlab.auth.as_ref().unwrap().injections[0];
    let header = |name: &str| Spot::Header(name.to_owned());
    assert_eq!(injection.fields.spots("in"), [header("private-token"), header("authorization"), Spot::Basic]);
}

#[test]
fn an_index_that_takes_no_credential_gets_none() {
    let pypi = provider("{type: pypi, auth: {secretRef: s}}");
    let auth = pypi.auth.as_ref().unwrap();
    assert!(auth.injection_for(&target("pypi.org:443")).is_none());
    assert!(auth.injection_for(&target("files.pythonhosted.org:443")).is_none());
    assert!(auth.injection_for(&target("upload.pypi.org:443")).is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn resolvers_answer_anything_with_an_action_of_their_type(
        method in "(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|get|X)",
        words in proptest::collection::vec("(v1|v2|api|v4|v3|openai|deployments|projects|groups|repos|-|@a|@a%2fb|blobs|uploads|manifests|[a-z.:%;]{0,6})", 0..16),
        query in proptest::option::of("[a-z&=%+-]{0,20}"),
    ) {
        let path = format!("/{}", words.join("/"));
        let (method, headers) = (Method::from_bytes(method.as_bytes()).unwrap(), HeaderMap::new());
        for kind in ALL {
            let hosts = kind.hosts.iter().map(|host| host.replace('*', "x")).chain(["a.example".to_owned()]);
            for host in hosts {
                let target = target(&format!("{host}:443"));
                let ask =
                    Ask { host: &target.host, method: &method, path: &path, query: query.as_deref(), body: None, headers: &headers };
                let action = (kind.resolve)(&ask).action;
                let is_open = matches!(kind.actions, Actions::Open(_));
                prop_assert!(is_open || action == UNKNOWN || kind.actions.names().contains(&&*action), "{} {action}", kind.name);
            }
        }
    }
}
