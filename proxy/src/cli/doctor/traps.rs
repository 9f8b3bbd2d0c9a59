//! Traps in an agent's environment (DW4001 to DW4004): found by reading it, without running anything.

use std::collections::BTreeMap;

use control::refusal::Code;

use super::clients::{Client, Reads};
use super::finding::Finding;

/// An environment.
pub(super) type Vars = BTreeMap<String, String>;

/// A bundle with fewer certificates replaces a client's roots by next to none.
const FEW: usize = 10;
/// Variables that replace a client's roots.
const REPLACING: &[&str] = &[
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "AWS_CA_BUNDLE",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
];

fn value<'a>(vars: &'a Vars, name: &str) -> Option<&'a str> {
    vars.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

/// Whether the environment names a proxy at all.
pub(super) fn has_proxy(vars: &Vars) -> bool {
    ["https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"].iter().any(|name| value(vars, name).is_some())
}

/// DW4001: hosts that go around the proxy.
pub(super) fn bypass(vars: &Vars) -> Vec<Finding> {
    let mut found = Vec::new();
    for name in ["no_proxy", "NO_PROXY"] {
        let entries = value(vars, name)
            .unwrap_or_default()
            .split([',', ' '])
            .map(str::trim)
            .filter(|entry| !entry.is_empty());
        let around: Vec<_> = entries.filter(|entry| !is_loopback(entry)).collect();
        if !around.is_empty() {
            found.push(Finding::bad(
                name,
                Code::Dw4001,
                format!("goes around the proxy: {}", around.join(", ")),
            ));
        }
    }
    found
}

fn is_loopback(entry: &str) -> bool {
    let host = entry.trim_start_matches('.').trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost") || host.starts_with("127.") || host == "::1"
}

/// DW4003: clients that read lower case only see no proxy.
pub(super) fn upper_case_only(vars: &Vars, present: &[&Client]) -> Vec<Finding> {
    if value(vars, "https_proxy").is_some() || value(vars, "HTTPS_PROXY").is_none() {
        return Vec::new();
    }
    let blind = present.iter().filter(|client| client.proxy == Reads::LowerOnly);
    blind
        .map(|client| {
            Finding::bad(client.name, Code::Dw4003, "reads https_proxy in lower case only, which is not set")
        })
        .collect()
}

/// DW4002: clients that ignore the proxy as they are.
pub(super) fn ignoring(vars: &Vars, present: &[&Client]) -> Vec<Finding> {
    let ignores = |client: &&&Client| match client.proxy {
        Reads::Only(name, wanted) => value(vars, name) != Some(wanted),
        Reads::Options(name) => !value(vars, name).is_some_and(|options| options.contains("proxyHost")),
        Reads::Either | Reads::LowerOnly | Reads::IfProgrammed(_) => false,
    };
    let told = |client: &&Client| Finding::bad(client.name, Code::Dw4002, client.obeys());
    present.iter().filter(ignores).map(told).collect()
}

/// Clients that cannot speak TLS with a proxy, whatever they are told.
const PLAIN_ONLY: &[&str] =
    &["wget", "java", "node: grpc-js", "python: urllib", "python: grpcio", "python: slack_sdk"];

/// DW4002: where the proxy's own URL is `https://`, clients that cannot connect to it, and one that has to be told its roots.
pub(super) fn behind_tls(vars: &Vars, present: &[&Client]) -> Vec<Finding> {
    let proxy = value(vars, "https_proxy").or_else(|| value(vars, "HTTPS_PROXY"));
    if !proxy.is_some_and(|url| url.starts_with("https://")) {
        return Vec::new();
    }
    let told = |client: &&Client| match client.name {
        "curl" => Some(Finding::note("curl", "give --proxy-cacert \"$CURL_CA_BUNDLE\": no variable says it")),
        name if PLAIN_ONLY.contains(&name) => {
            Some(Finding::bad(name, Code::Dw4002, "cannot speak TLS with a proxy (https://)"))
        }
        _ => None,
    };
    present.iter().filter_map(told).collect()
}

/// Clients that are told of no roots: they will not trust our CA.
pub(super) fn without_roots(vars: &Vars, present: &[&Client]) -> Vec<Finding> {
    let untold = |client: &&&Client| {
        !client.roots.is_empty() && client.roots.iter().all(|name| value(vars, name).is_none())
    };
    let told = |client: &&Client| {
        Finding::bad(client.name, Code::Dw2001, format!("none of {} is set", client.roots.join(", ")))
    };
    present.iter().filter(untold).map(told).collect()
}

/// DW4004: bundles without the system's roots, and bundles that are not there. `count` tells a file's certificates.
pub(super) fn bundles(vars: &Vars, count: impl Fn(&str) -> Option<usize>) -> Vec<Finding> {
    let judge = |name: &'static str| {
        let path = value(vars, name)?;
        Some(match count(path) {
            None => {
                Finding::bad(name, Code::Dw2001, format!("{path} cannot be read or holds no certificate"))
            }
            Some(few) if few < FEW => Finding::bad(
                name,
                Code::Dw4004,
                format!("{path} holds {few} certificates and replaces the system's roots"),
            ),
            Some(count) => Finding::good(name, format!("{path}: {count} certificates")),
        })
    };
    REPLACING.iter().copied().filter_map(judge).collect()
}

#[cfg(test)]
mod tests {
    use super::super::clients::CLIENTS;
    use super::super::finding::State;
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> Vars {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn all() -> Vec<&'static Client> {
        CLIENTS.iter().collect()
    }

    fn codes(findings: &[Finding]) -> Vec<Option<Code>> {
        findings.iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn finds_hosts_that_go_around_the_proxy() {
        for entries in ["github.com", "localhost, .example.com", "*", "10.0.0.0/8"] {
            assert_eq!(codes(&bypass(&vars(&[("NO_PROXY", entries)]))), [Some(Code::Dw4001)], "{entries}");
        }
        assert!(bypass(&vars(&[("no_proxy", "localhost,127.0.0.1,::1")])).is_empty());
    }

    #[test]
    fn finds_clients_that_read_lower_case_only() {
        let found = upper_case_only(&vars(&[("HTTPS_PROXY", "x")]), &all());
        assert!(found.iter().any(|finding| finding.name == "wget" && finding.code == Some(Code::Dw4003)));
        assert!(upper_case_only(&vars(&[("HTTPS_PROXY", "x"), ("https_proxy", "x")]), &all()).is_empty());
    }

    #[test]
    fn finds_clients_that_ignore_the_proxy() {
        let found = ignoring(&vars(&[("JAVA_TOOL_OPTIONS", "-Xmx1g")]), &all());
        let names: Vec<_> = found.iter().map(|finding| finding.name.as_str()).collect();
        assert_eq!(names, ["node fetch", "java"]);
        let told = vars(&[("JAVA_TOOL_OPTIONS", "-Dhttps.proxyHost=127.0.0.1"), ("NODE_USE_ENV_PROXY", "1")]);
        assert!(ignoring(&told, &all()).is_empty());
    }

    #[test]
    fn finds_clients_that_cannot_speak_tls_with_a_proxy() {
        let found = behind_tls(&vars(&[("https_proxy", "https://agent:x@proxy.example:3128")]), &all());
        let bad: Vec<_> = found.iter().filter(|one| one.state == State::Bad).map(|one| &*one.name).collect();
        assert_eq!(bad, ["wget", "python: urllib", "node: grpc-js", "java"]);
        assert!(found.iter().any(|one| one.name == "curl" && one.state == State::Note));
        assert!(behind_tls(&vars(&[("https_proxy", "http://proxy.example:3128")]), &all()).is_empty());
    }

    #[test]
    fn finds_clients_without_roots() {
        let found = without_roots(&vars(&[("SSL_CERT_FILE", "x")]), &all());
        assert!(found.iter().any(|finding| finding.name == "git"));
        assert!(!found.iter().any(|finding| finding.name == "curl"));
    }

    #[test]
    fn finds_bundles_that_are_bare_or_not_there() {
        let vars = vars(&[("SSL_CERT_FILE", "bare"), ("PIP_CERT", "gone"), ("CURL_CA_BUNDLE", "whole")]);
        let found = bundles(&vars, |path| match path {
            "bare" => Some(1),
            "whole" => Some(140),
            _ => None,
        });
        let states: Vec<_> =
            found.iter().map(|finding| (finding.name.as_str(), finding.state, finding.code)).collect();
        assert_eq!(
            states,
            [
                ("SSL_CERT_FILE", State::Bad, Some(Code::Dw4004)),
                ("CURL_CA_BUNDLE", State::Good, None),
                ("PIP_CERT", State::Bad, Some(Code::Dw2001)),
            ]
        );
    }
}
