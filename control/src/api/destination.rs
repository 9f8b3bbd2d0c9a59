//! What of a provider says where its credential goes and how it is carried there.
//!
//! All of it but policy, tests, limits and audit: a change of anything else is one of the destination. Each field is named
//! here, so that one that is added has to be judged. Unknown effects count as a change: it only asks one person more.

use crate::provider::{Auth, Provider, ResponseRules, UpstreamRules};

/// The canonical text of it: two providers with the same one send the same keys of the same secrets to the same places, in
/// the same way.
pub(super) fn of(provider: &Provider) -> String {
    let Provider {
        // Of the whole document, policy included.
        digest: _,
        project,
        name: _,
        source: _,
        kind,
        hosts,
        mcp,
        mode,
        auth,
        policy: _,
        enforcement: _,
        limits: _,
        response,
        keep_headers,
        upstream,
        log_requests: _,
        agent_env,
        verify,
        model,
    } = provider;
    let mut hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    hosts.sort_unstable();
    let mut keep_headers: Vec<&str> = keep_headers.iter().map(|name| name.as_str()).collect();
    keep_headers.sort_unstable();
    // Rules of models are policy; where their calls go is not.
    let endpoint = model.as_ref().map(|model| {
        let vendor = model.vendor.name;
        format!("{vendor} {:?} {:?} {:?}", model.endpoint, model.api_version, model.fallbacks)
    });
    let auth = auth.as_ref().map(carried);
    let parts = [
        format!("{project} {}", kind.name),
        format!("{hosts:?} {mcp:?} {mode:?}"),
        format!("{auth:?}"),
        answers(response),
        format!("{keep_headers:?} {agent_env:?}"),
        reached(upstream),
        format!("{verify:?} {endpoint:?}"),
    ];
    parts.join("\n")
}

fn carried(auth: &Auth) -> String {
    let Auth {
        auth_type,
        secret,
        keys,
        injections,
        token_urls,
        on_agent_credential,
        dummies,
        remove_headers,
        remove_params,
        public_prefixes,
    } = auth;
    format!(
        "{auth_type} {secret:?} {keys:?} {injections:?} {token_urls:?} {on_agent_credential:?} {dummies:?} \
         {remove_headers:?} {remove_params:?} {public_prefixes:?}"
    )
}

fn answers(response: &ResponseRules) -> String {
    let ResponseRules { redact, strip_headers, small_ranges_allowed } = response;
    format!("{redact} {strip_headers:?} {small_ranges_allowed}")
}

fn reached(upstream: &UpstreamRules) -> String {
    let UpstreamRules { extra_roots, allow_cidrs, client_cert } = upstream;
    format!("{extra_roots:?} {allow_cidrs:?} {client_cert:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{self, Given, testing};

    const BASE: &str = "apiVersion: doorward.dev/v1alpha1
kind: Provider
metadata: {name: x}
spec:
  type: http-token
  host: a.example.com
  auth: {type: api-key, secretRef: one, secretKey: k, header: X-Key}
  response: {stripHeaders: [X-Secret]}
  tls: {clientCert: {secretRef: two}}
  policy: {httpRules: [{id: all, methods: [\"*\"], paths: [\"/**\"], effect: allow}]}
";

    fn destination(kind: &str, name: &str, text: &str, others: &[(&str, &str)]) -> String {
        let mut given = vec![Given { label: "document", project: "p", kind, name, text }];
        given.extend(others.iter().map(|(name, text)| Given { label: name, project: "p", kind, name, text }));
        let loaded = provider::load_beside(&[], &given, testing::SCHEMES, &|_, _| Ok(()));
        let loaded = loaded.unwrap_or_else(|mistakes| panic!("{mistakes:?}: {text}"));
        of(loaded.providers.iter().find(|one| *one.name == *name).unwrap())
    }

    fn provider(text: &str) -> String {
        destination("Provider", "x", text, &[])
    }

    #[test]
    fn tells_every_change_of_where_a_secret_goes_and_how() {
        let base = provider(BASE);
        for (from, to) in [
            ("a.example.com", "b.example.com"),
            ("a.example.com", "\"a.example.com:8443\""),
            ("secretRef: one", "secretRef: three"),
            (
                "secretRef: one, secretKey: k, header: X-Key}",
                "secretRef: one, secretKey: k, header: X-Other}",
            ),
            ("secretKey: k", "secretKey: other"),
            (
                "type: api-key, secretRef: one, secretKey: k, header: X-Key",
                "type: bearer, secretRef: one, secretKey: k",
            ),
            ("header: X-Key}", "header: X-Key, onAgentCredential: reject}"),
            ("header: X-Key}", "header: X-Key, agentEnvVar: OTHER}"),
            ("{stripHeaders: [X-Secret]}", "{redact: false, stripHeaders: [X-Secret]}"),
            ("{stripHeaders: [X-Secret]}", "{stripHeaders: [X-Secret], smallRanges: allow}"),
            ("{stripHeaders: [X-Secret]}", "{}"),
            ("{clientCert: {secretRef: two}}", "{clientCert: {secretRef: three}}"),
            ("  policy:", "  request: {keepHeaders: [X-Forwarded-For]}\n  policy:"),
        ] {
            let text = BASE.replace(from, to);
            assert_ne!(text, BASE, "{from}");
            assert_ne!(provider(&text), base, "{to}");
        }
        // Which secret is for what, and not only which ones there are.
        let swapped = BASE.replace("one", "x1").replace("two", "one").replace("x1", "two");
        assert_ne!(provider(&swapped), base);
    }

    #[test]
    fn policy_tests_limits_and_places_are_none() {
        let base = provider(BASE);
        for (from, to) in [
            ("[\"*\"]", "[GET]"),
            ("\"/**\"", "\"/a\""),
            ("  policy:", "  limits: {requestsPerMinute: 5, timeout: 5s}\n  policy:"),
            ("  policy:", "  audit: {logRequests: false, enforcement: audit}\n  policy:"),
            ("  policy:", "  tests: [{request: \"GET https://a.example.com/a\", expect: allow}]\n  policy:"),
            ("apiVersion", "# a line more\napiVersion"),
        ] {
            let text = BASE.replace(from, to);
            assert_ne!(text, BASE, "{from}");
            assert_eq!(provider(&text), base, "{to}");
        }
    }

    #[test]
    fn a_model_provider_is_compared_beside_its_fallbacks() {
        let text = |name: &str, rest: &str| {
            format!(
                "apiVersion: doorward.dev/v1alpha1\nkind: ModelProvider\nmetadata: {{name: {name}}}\nspec:\n  provider: {name}\n  apiKeySecretRef: {{name: claude, key: api-key}}\n{rest}"
            )
        };
        let (main, other) = (text("openai", "  fallbacks: [openrouter]\n"), text("openrouter", ""));
        let model = |text: &str| destination("ModelProvider", "openai", text, &[("openrouter", &other)]);
        let limited = main.clone() + "  allowedModels: [\"gpt-*\"]\n";
        assert_eq!(model(&limited), model(&main));
        assert_ne!(model(&text("openai", "")), model(&main), "where it falls back to");
    }
}
