//! Warnings about schemes whose fields are right and yet leave something to whoever sees one request, or answers it.

use super::Injection;
use super::report::Report;
use super::tree::Node;
use crate::catalog::Piece;
use crate::rule::HostPattern;

/// Looks at an injection; its fields stand in `owner`, and it is for these hosts of the provider unless it has its own.
pub(super) fn warn(injection: &Injection, owner: &Node, hosts: &[HostPattern], report: &mut Report<'_>) {
    if let Some(sign) = injection.fields.template("sign") {
        let binds = |piece: &Piece| match piece {
            Piece::Key(name) => ["timestamp", "nonce", "path", "pathAndQuery"].contains(&name.as_str()),
            Piece::Literal(_) => false,
        };
        if !sign.0.iter().any(binds) {
            let at = owner.field("sign").map_or(owner.at, |node| node.at);
            report.warn(at, "`sign` holds neither `{{timestamp}}` nor `{{nonce}}` nor the path: one signature is good for other paths, and for ever");
        }
    }
    if injection.scheme == "digest" {
        let hosts = if injection.hosts.is_empty() { hosts } else { &injection.hosts };
        for host in hosts.iter().filter(|host| host.suffix().is_some()) {
            report.warn(
                owner.at,
                format!("`{host}`: a host under it can pass on the Digest challenge of another one, and use the answer there; name the hosts"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::provider::testing::SCHEMES;
    use crate::provider::{Loaded, parse_text};

    fn spec(text: &str) -> String {
        format!("apiVersion: doorward.dev/v1alpha1\nkind: Provider\nmetadata: {{name: p}}\nspec:\n{text}")
    }

    fn loaded(text: &str) -> Loaded {
        parse_text("f.yaml", text, SCHEMES).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
    }

    #[test]
    fn a_signature_that_would_do_for_many_requests_is_refused_or_warned_of_where_it_stands() {
        let signing = |sign: &str| {
            spec(&format!(
                "  type: http-token\n  host: a.example\n  auth:\n    type: hmac\n    secretRef: s\n    sign: \"{sign}\"\n    headers: {{X-S: \"{{{{signature}}}}\"}}\n"
            ))
        };
        for sign in [
            "{{host}}",
            "{{method}} {{host}}",
            "{{timestamp}}{{nonce}}{{method}}",
            "{{key_id}}",
            "{{path}}{{signature}}",
        ] {
            let mistakes = parse_text("f", &signing(sign), SCHEMES).unwrap_err();
            assert!(
                mistakes.iter().any(|one| one.line == 10 && one.message.starts_with("`sign` ")),
                "{sign}: {mistakes:?}"
            );
        }
        for (sign, warned) in [
            ("{{query}}{{body}}", true),
            ("{{method}}{{host}}{{bodyHash}}", true),
            ("{{timestamp}}{{body}}", false),
            ("{{nonce}}{{query}}", false),
            ("{{path}}", false),
            ("{{pathAndQuery}}", false),
        ] {
            let warnings = loaded(&signing(sign)).warnings;
            let found = warnings.iter().any(|one| one.line == 10 && one.message.contains("for other paths"));
            assert_eq!(found, warned, "{sign}: {warnings:?}");
        }
    }

    #[test]
    fn warns_of_digest_under_a_wildcard() {
        for (hosts, auth, warned) in [
            ("'*.a.example'", "type: digest", true),
            ("b.a.example", "type: digest", false),
            ("'*.a.example'", "inject: [{digest: {realm: r}}]", true),
            ("'*.a.example'", "inject: [{hosts: [b.a.example], digest: {realm: r}}]", false),
            ("'*.a.example'", "type: bearer", false),
        ] {
            let text = format!("  type: http-token\n  hosts: [{hosts}]\n  auth: {{secretRef: s, {auth}}}\n");
            let warnings = loaded(&spec(&text)).warnings;
            let found = warnings.iter().any(|one| one.message.contains("Digest challenge"));
            assert_eq!(found, warned, "{hosts} {auth}: {warnings:?}");
        }
    }
}
