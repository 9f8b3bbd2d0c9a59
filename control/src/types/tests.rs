//! Fixture tables, one file a type in `tests/`: request, action, resource, and the verdict of the policy above it.

mod descriptions;

use std::collections::BTreeSet;
use std::sync::Arc;

use http::{HeaderMap, Method};

use super::*;
use crate::agent::AgentName;
use crate::policy::{Facts, decide};
use crate::provider::testing::SCHEMES;
use crate::provider::{Provider, parse_text};
use crate::rule::Path;
use crate::target::Target;

fn provider(spec: &str) -> Arc<Provider> {
    let text = format!("apiVersion: pai.io/v1\nkind: Provider\nmetadata: {{name: p}}\nspec: {spec}\n");
    Arc::clone(
        &parse_text("f.yaml", &text, SCHEMES).unwrap_or_else(|mistakes| panic!("{mistakes:?}")).providers[0],
    )
}

/// A test for each type, of its file.
macro_rules! tables {
    ($($name:ident $file:literal)*) => {
        $(#[test] fn $name() { check($file, include_str!(concat!("tests/", $file, ".txt"))); })*
        const TABLES: &[&str] = &[$($file),*];
    };
}

tables! {
    http_token_requests "http-token"
    github_requests "github"
    gitlab_requests "gitlab"
    telegram_requests "telegram"
    slack_requests "slack"
    openai_requests "openai"
    anthropic_requests "anthropic"
    gemini_requests "gemini"
    openrouter_requests "openrouter"
    venice_requests "venice"
    mistral_requests "mistral"
    groq_requests "groq"
    pinata_requests "pinata"
    custom_requests "custom"
    vllm_requests "vllm"
    azure_openai_requests "azure-openai"
    npm_requests "npm"
    pypi_requests "pypi"
    docker_registry_requests "docker-registry"
    stripe_requests "stripe"
    sendgrid_requests "sendgrid"
    notion_requests "notion"
    linear_requests "linear"
    serper_requests "serper"
    telnyx_requests "telnyx"
    twilio_requests "twilio"
    aws_requests "aws"
    gcp_requests "gcp"
    azure_requests "azure"
    mcp_requests "mcp"
}

#[test]
fn every_type_has_its_table() {
    let names: Vec<&str> = ALL.iter().map(|kind| kind.name).collect();
    assert_eq!(names, TABLES);
}

/// A table: `spec: …` is the provider of the lines below it; a line is `allow|deny`, the action, the resource (`-` none, `?`
/// hidden), the method and the URL without its scheme; behind ` < ` a body that is read, as JSON or as a form.
fn check(name: &str, table: &str) {
    let (mut current, mut rows, mut seen) = (None, 0, BTreeSet::new());
    for line in table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(spec) = line.strip_prefix("spec: ") {
            current = Some(provider(spec));
            seen.clear();
            continue;
        }
        let provider = current.as_ref().expect("a table begins with its provider");
        assert_eq!(provider.kind.name, name);
        check_row(provider, line);
        assert!(seen.insert(line), "{name}: twice: {line}");
        rows += 1;
    }
    assert!(rows >= 20, "{name}: {rows} rows");
}

fn check_row(provider: &Arc<Provider>, line: &str) {
    let (line, body) = line.split_once(" < ").map_or((line, None), |(line, body)| (line, Some(body)));
    let body =
        body.map(|text| if text.starts_with(['{', '[']) { Told::Json(text) } else { Told::Form(text) });
    let mut words = line.split_ascii_whitespace();
    let [verdict, action, resource, method, url] = std::array::from_fn(|_| words.next().expect(line));
    assert!(words.next().is_none() && ["allow", "deny"].contains(&verdict), "{line}");
    let uri: http::Uri = format!("https://{url}").parse().unwrap();
    let target = Target::parse_host(uri.authority().unwrap().as_str(), 443).unwrap();
    assert!(provider.hosts.iter().any(|host| host.covers(&target)), "{line}");
    let (method, path) = (Method::from_bytes(method.as_bytes()).unwrap(), Path::of_uri(&uri).unwrap());
    let (agent, headers) = (AgentName::local(), HeaderMap::new());
    let facts = Facts {
        agent: &agent,
        target: &target,
        provider,
        method: &method,
        path: &path,
        query: uri.query(),
        body,
        headers: &headers,
    };
    let ask = Ask {
        host: &target.host,
        method: &method,
        path: path.as_str(),
        query: uri.query(),
        body,
        headers: &headers,
    };
    assert!(body.is_none() || provider.kind.reads(&Ask { body: None, ..ask }).is_some(), "not read: {line}");
    let resolved = (provider.kind.resolve)(&ask);
    let shown = match resolved.resource {
        Resource::None => "-",
        Resource::Named(name) => name,
        Resource::Arns(ref arns) => &arns.join(","),
        Resource::Hidden => "?",
    };
    assert_eq!((&*resolved.action, shown), (action, resource), "{line}");
    let known = provider.kind.actions.names().contains(&action);
    let open = matches!(provider.kind.actions, Actions::Open(_));
    assert!(known || open || action == UNKNOWN, "{line}");
    assert_eq!(decide(&facts).is_ok(), verdict == "allow", "{line}");
}

#[test]
fn an_opaque_request_needs_its_own_name_where_something_is_denied() {
    let decide_graphql = |policy: &str| {
        let provider = provider(&format!("{{type: github, policy: {policy}}}"));
        let (target, agent) = (Target::parse_authority("api.github.com:443").unwrap(), AgentName::local());
        let (path, headers) = (Path::parse("/graphql").unwrap(), HeaderMap::new());
        let facts = Facts {
            agent: &agent,
            target: &target,
            provider: &provider,
            method: &Method::POST,
            path: &path,
            query: None,
            body: None,
            headers: &headers,
        };
        decide(&facts).is_ok()
    };
    for denied in [
        r#"{allow: ["*"], deny: ["repo:delete"]}"#,
        r#"{deny: ["repo:delete"]}"#,
        r#"{defaultAction: allow, deny: ["repo:delete"]}"#,
        r#"{allow: ["graphql:query"]}"#,
        r#"{allow: ["graphql:*"], deny: ["graphql:mutation"]}"#,
        "{allow: []}",
        "{defaultAction: deny}",
    ] {
        assert!(!decide_graphql(denied), "{denied}");
    }
    for allowed in [
        r#"{allow: ["*"]}"#,
        "{}",
        r#"{allow: ["graphql:*"], deny: ["repo:delete"]}"#,
        "{defaultAction: allow}",
    ] {
        assert!(decide_graphql(allowed), "{allowed}");
    }
}

/// Whether a POST with these headers is let through.
fn lets_through(spec: &str, url: &str, names: &[(&'static str, &'static str)]) -> bool {
    let provider = provider(spec);
    let uri: http::Uri = format!("https://{url}").parse().unwrap();
    let target = Target::parse_host(uri.authority().unwrap().as_str(), 443).unwrap();
    let headers: HeaderMap = names
        .iter()
        .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)))
        .collect();
    let facts = Facts {
        agent: &AgentName::local(),
        target: &target,
        provider: &provider,
        method: &Method::POST,
        path: &Path::of_uri(&uri).unwrap(),
        query: uri.query(),
        body: None,
        headers: &headers,
    };
    decide(&facts).is_ok()
}

#[test]
fn a_form_may_name_what_an_upload_is_mounted_from() {
    let url = "r.example/v2/acme/app/blobs/uploads/";
    for auth in ["basic", "bearer"] {
        let of = |policy: &str| {
            let spec = format!(
                "{{type: docker-registry, host: r.example, auth: {{type: {auth}, secretRef: s}}, {policy}}}"
            );
            move |kind: &'static str| lets_through(&spec, url, &[("content-type", kind)])
        };
        for policy in [
            "policy: {allow: [write]}",
            r#"policy: {allow: ["*"], deny: [delete]}"#,
            "policy: {allow: [read, write]}, scope: {repositories: [\"acme/*\"]}",
        ] {
            let passes = of(policy);
            for kind in [
                "application/x-www-form-urlencoded",
                "Application/X-WWW-Form-URLencoded; charset=utf-8",
                "multipart/form-data; boundary=x",
                "Multipart/mixed; boundary=x",
            ] {
                assert!(!passes(kind), "{auth} {policy} {kind}");
            }
            assert!(passes("application/octet-stream"), "{auth} {policy}");
        }
        assert!(of("policy: {allow: [read, write]}")("application/x-www-form-urlencoded"));
    }
}

#[test]
fn a_kept_override_makes_a_request_unknown() {
    let url = "pubsub.googleapis.com/v1/projects/p/topics/t:publish";
    let sent = &[("x-http-method-override", "DELETE")];
    let of = |kept: &str, policy: &str| {
        let spec = format!(
            "{{type: gcp, auth: {{secretRef: s}}, request: {{keepHeaders: [{kept}]}}, policy: {policy}}}"
        );
        move |headers: &[(&'static str, &'static str)]| lets_through(&spec, url, headers)
    };
    for policy in ["{allow: [pubsub.*]}", r#"{allow: ["*"], deny: [pubsub.topics.delete]}"#] {
        let kept = of("X-HTTP-Method-Override", policy);
        assert!(!kept(sent), "{policy}");
        assert!(kept(&[]), "{policy}");
        // Where it is not kept, it does not go upstream.
        assert!(of("", policy)(sent), "{policy}");
    }
    assert!(of("X-HTTP-Method-Override", r#"{allow: ["*"]}"#)(sent));
}

#[test]
fn a_grpc_method_that_writes_needs_its_own_name_where_something_is_denied() {
    let grpc = &[("content-type", "application/grpc")];
    let storage = |policy: &str, method: &str| {
        let spec = format!("{{type: gcp, auth: {{secretRef: s}}, policy: {policy}}}");
        lets_through(&spec, &format!("storage.googleapis.com/google.storage.v2.Storage/{method}"), grpc)
    };
    let denies = r#"{allow: ["*"], deny: ["*.setIamPolicy"]}"#;
    for method in ["WriteObject", "BidiWriteObject", "DeleteObject"] {
        assert!(!storage(denies, method), "{method}");
    }
    for method in ["ReadObject", "BidiReadObject", "GetObject", "ListObjects"] {
        assert!(storage(denies, method), "{method}");
    }
    assert!(storage(r#"{allow: ["storage.objects.create"], deny: ["*.setIamPolicy"]}"#, "WriteObject"));
    assert!(storage(r#"{allow: ["*"]}"#, "WriteObject"));
}

#[test]
fn azure_minds_case_in_the_urls_of_blobs_alone() {
    let azure = by_name("azure").unwrap();
    for (text, read) in [
        ("https://Acme.blob.core.windows.net/Logs/*", "https://Acme.blob.core.windows.net/Logs/*"),
        ("https://V1.vault.azure.net/secrets/*", "https://v1.vault.azure.net/secrets/*"),
        (
            "/subscriptions/S/resourceGroups/RG.blob.core.x/*",
            "/subscriptions/s/resourcegroups/rg.blob.core.x/*",
        ),
    ] {
        assert_eq!(azure.resource_pattern(text).as_deref(), Ok(read));
    }
}
