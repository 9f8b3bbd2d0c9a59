//! From a provider file as people write it to the request that goes out: the two crates read the same table.

use control::provider;

use super::*;
use crate::schemes::conformance::{opened, request, shown};
use crate::schemes::specs;

const VALUE: &str = "c4nary:Value/1";

fn injector(spec: &str) -> (Injector, String, Target) {
    let text =
        format!("apiVersion: doorward.dev/v1alpha1\nkind: Provider\nmetadata: {{name: p}}\nspec: {spec}\n");
    let loaded = provider::parse_text("p.yaml", &text, specs()).unwrap_or_else(|mistakes| {
        panic!("{spec}\n{}", mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    });
    let provider = &loaded.providers[0];
    let dummies = Arc::new(Dummies::of(loaded.providers.iter().map(|provider| &**provider)));
    let host = provider.hosts.iter().find_map(|host| host.exact()).unwrap();
    let target = Target { host: host.clone(), port: 443 };
    let dummy = provider.auth.as_ref().unwrap().dummy().to_owned();
    (Injector::compile(provider, &dummies, Bounds::default()).unwrap(), dummy, target)
}

fn sent(spec: &str, line: &str, body: &str) -> String {
    let (injector, dummy, target) = injector(spec);
    let mut head = request(&line.replace("DUMMY", &dummy));
    injector.clean(&target, &mut head.headers);
    let mut prepared = injector.prepare(&target, &mut head).unwrap();
    if prepared.needs_body().is_some() {
        injector.read_body(&mut prepared, Bytes::from(body.replace("DUMMY", &dummy))).unwrap();
    }
    assert!(prepared.injects(), "{spec}");
    let values = [("token", VALUE), ("api-key", VALUE), ("password", VALUE), ("username", "bob")];
    let (armed, echoes) = injector.arm(&opened(&values)).unwrap();
    assert!(echoes.iter().all(|own| own.len() == 1), "{spec}");
    let body = injector.place(&armed, prepared, &mut head).unwrap();
    let body = body.map(|body| String::from_utf8(body.to_vec()).unwrap()).unwrap_or_default();
    format!("{} {body}", shown(&head)).trim_end().to_owned()
}

#[test]
fn every_way_to_write_an_http_token_sends_what_the_reference_says() {
    const BOB: &str = "Ym9iOmM0bmFyeTpWYWx1ZS8x";
    const GIT: &str = "eC1hY2Nlc3MtdG9rZW46YzRuYXJ5OlZhbHVlLzE=";
    for (auth, before, after) in [
        ("{secretRef: s}", "GET /", "GET /\nauthorization: Bearer c4nary:Value/1"),
        (
            "{type: api-key, secretRef: s, prefix: 'Key '}",
            "GET /",
            "GET /\nauthorization: Key c4nary:Value/1",
        ),
        ("{type: bearer, secretRef: s, header: X-A, prefix: ''}", "GET /", "GET /\nx-a: c4nary:Value/1"),
        ("{type: api-key, secretRef: s, param: k}", "GET /?a", "GET /?a&k=c4nary%3AValue%2F1"),
        ("{type: header, secretRef: s, header: X-A}", "GET /", "GET /\nx-a: c4nary:Value/1"),
        ("{type: query, secretRef: s, param: k}", "GET /?k=DUMMY", "GET /?k=c4nary%3AValue%2F1"),
        (
            "{type: path, secretRef: s, template: '/t-{{token}}/'}",
            "GET /t-DUMMY/x",
            "GET /t-c4nary:Value%2F1/x",
        ),
        (
            "{type: cookie, secretRef: s, name: sid}",
            "GET /\ncookie: a=b",
            "GET /\ncookie: a=b; sid=c4nary:Value/1",
        ),
        ("{type: basic, secretRef: s}", "GET /", &format!("GET /\nauthorization: Basic {BOB}")),
        (
            "{type: basic, secretRef: s, username: bob}",
            "GET /",
            &format!("GET /\nauthorization: Basic {BOB}"),
        ),
        (
            "{secretRef: s, inject: [{header: X-A, template: 'a {{token}}'}]}",
            "GET /\nx_a: own",
            "GET /\nx-a: a c4nary:Value/1",
        ),
        (
            "{secretRef: s, inject: [{hosts: [b.test], header: X-B, template: '{{token}}'}, {basic: {username: x-access-token, password: '{{token}}'}}]}",
            "GET /\nauthorization: Basic own",
            &format!("GET /\nauthorization: Basic {GIT}"),
        ),
        ("{secretRef: s, inject: [{query: {name: k}}]}", "GET /", "GET /?k=c4nary%3AValue%2F1"),
        (
            "{secretRef: s, inject: [{path: {template: '/bot{{token}}/'}}]}",
            "GET /botDUMMY/x",
            "GET /botc4nary:Value%2F1/x",
        ),
        ("{secretRef: s, inject: [{cookie: {name: sid}}]}", "GET /", "GET /\ncookie: sid=c4nary:Value/1"),
        (
            "{secretRef: s, inject: [{placeholder: {in: ['header:X-A', 'query:k', path, basic]}}]}",
            "GET /DUMMY?k=DUMMY\nx-a: <DUMMY>",
            "GET /c4nary:Value%2F1?k=c4nary%3AValue%2F1\nx-a: <c4nary:Value/1>",
        ),
    ] {
        let spec = format!("{{type: http-token, hosts: [api.test, b.test], auth: {auth}}}");
        assert_eq!(sent(&spec, before, ""), after, "{auth}");
    }
    let head = "POST /\ncontent-type: application/json";
    let after =
        "POST /\ncontent-length: 33\ncontent-type: application/json {\"auth\":{\"key\":\"c4nary:Value/1\"}}";
    for inject in ["body: {jsonPointer: /auth/key}", "placeholder: {in: ['body:/auth/key']}"] {
        let spec =
            format!("{{type: http-token, host: api.test, auth: {{secretRef: s, inject: [{{{inject}}}]}}}}");
        assert_eq!(sent(&spec, head, r#"{"auth":{"key":"DUMMY"}}"#), after, "{inject}");
    }
}

#[test]
fn every_built_in_type_replaces_the_dummy_that_its_libraries_send() {
    for (kind, auth, before, after) in [
        (
            "github",
            "pat",
            "GET /user\nauthorization: token DUMMY",
            "GET /user\nauthorization: Bearer c4nary:Value/1",
        ),
        ("telegram", "bot-token", "GET /botDUMMY/getMe", "GET /botc4nary:Value%2F1/getMe"),
        (
            "slack",
            "bot-token",
            "GET /api/x\nauthorization: Bearer DUMMY",
            "GET /api/x\nauthorization: Bearer c4nary:Value/1",
        ),
        (
            "openai",
            "api-key",
            "GET /v1\nauthorization: Bearer DUMMY",
            "GET /v1\nauthorization: Bearer c4nary:Value/1",
        ),
        (
            "openrouter",
            "api-key",
            "GET /v1\nauthorization: Bearer DUMMY",
            "GET /v1\nauthorization: Bearer c4nary:Value/1",
        ),
        (
            "venice",
            "api-key",
            "GET /v1\nauthorization: Bearer DUMMY",
            "GET /v1\nauthorization: Bearer c4nary:Value/1",
        ),
        (
            "anthropic",
            "api-key",
            "GET /v1\nauthorization: Bearer DUMMY\nx-api-key: DUMMY",
            "GET /v1\nx-api-key: c4nary:Value/1",
        ),
        ("gemini", "api-key", "GET /v1?key=DUMMY&a=b", "GET /v1?a=b\nx-goog-api-key: c4nary:Value/1"),
    ] {
        for mode in ["replace", "placeholder-only", "reject"] {
            let spec =
                format!("{{type: {kind}, auth: {{type: {auth}, secretRef: s, onAgentCredential: {mode}}}}}");
            assert_eq!(sent(&spec, before, ""), after, "{kind} {mode}");
        }
    }
}
