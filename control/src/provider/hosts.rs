//! The hosts of a provider: its own, or those of its type, of another cloud or installation where it names one.
//!
//! Refuses wildcards under which anybody can register a host, where a secret would go there.

use super::Mode;
use super::build::default_port;
use super::report::Report;
use super::tree::Node;
use crate::rule::HostPattern;
use crate::types::TypeSpec;
use crate::types::variant::Variant;

/// The hosts that a provider covers, as its file or its type says.
pub(super) fn read(
    spec: &Node,
    kind: &'static TypeSpec,
    variant: Option<&Variant>,
    mode: Mode,
    report: &mut Report<'_>,
) -> Vec<HostPattern> {
    let port = default_port(mode);
    let own = variant.map(Variant::hosts);
    let nodes: Vec<&Node> = match (spec.field("host"), spec.field("hosts")) {
        (Some(one), None) => {
            if let Some(why) = one.text().and_then(|host| Variant::misnamed(kind, host)) {
                report.mistake(one.at, why);
                return Vec::new();
            }
            vec![one]
        }
        (None, Some(several)) => several.items().iter().collect(),
        (Some(one), Some(_)) => {
            report.mistake(one.at, "`host` cannot stand beside `hosts`");
            return Vec::new();
        }
        (None, None) => {
            if kind.hosts.is_empty() {
                report.mistake(
                    spec.at,
                    format!("type `{}` has no hosts of its own: `host` or `hosts` is missing", kind.name),
                );
            }
            let of_type = kind.own_hosts(spec.field("auth").and_then(|auth| auth.text_of("type")));
            let own = own.as_deref().into_iter().flatten().map(String::as_str);
            let all = own.chain(of_type.into_iter().filter(|_| variant.is_none()));
            return all.filter_map(|host| HostPattern::parse(host, port).ok()).collect();
        }
    };
    if nodes.is_empty() {
        report.mistake(spec.at, "`hosts` is empty, so the provider would cover nothing");
    }
    let has_secret = spec.field("auth").is_some()
        || spec.field("tls").is_some_and(|tls| tls.field("clientCert").is_some());
    let parsed = nodes.iter().filter_map(|node| host(node, kind, port, has_secret, report));
    let parsed: Vec<HostPattern> = parsed.collect();
    match (own, spec.field("host")) {
        // One host of GitHub Enterprise stands for all that belong to it.
        (Some(own), Some(_)) if !parsed.is_empty() && kind.name == "github" => {
            own.iter().filter_map(|host| HostPattern::parse(host, port).ok()).collect()
        }
        (Some(_) | None, Some(_) | None) => parsed,
    }
}

fn host(
    node: &Node,
    kind: &TypeSpec,
    port: u16,
    has_secret: bool,
    report: &mut Report<'_>,
) -> Option<HostPattern> {
    let text = node.text()?;
    match HostPattern::parse(text, port) {
        Ok(pattern) if has_secret && pattern.is_on_public_suffix() && !kind.hosts.contains(&text) => {
            report.mistake(node.at, "anybody can register a host under this public suffix, so no secret may go there; name the hosts, or a wildcard one label deeper");
            None
        }
        Ok(pattern) => Some(pattern),
        Err(error) => {
            let hint =
                if text.contains("://") { "; write the host alone, without `https://` and path" } else { "" };
            report.mistake(node.at, format!("not a host: {error}{hint}"));
            None
        }
    }
}

/// On hosts that are not the vendor's own the bucket is read from the path; a wildcard would let the host name another one.
pub(super) fn refuse_unread_buckets(
    spec: &Node,
    kind: &TypeSpec,
    variant: Option<&Variant>,
    hosts: &[HostPattern],
    report: &mut Report<'_>,
) {
    let Some(list) = spec.field("scope").and_then(|scope| scope.field("resources")) else { return };
    let more = variant.map(Variant::hosts).unwrap_or_default();
    let own = kind.hosts.iter().copied().chain(more.iter().map(String::as_str));
    let own: Vec<HostPattern> = own.filter_map(|host| HostPattern::parse_any_port(host).ok()).collect();
    let is_own = |host: &HostPattern| own.iter().any(|own| host.is_within(own));
    if kind.scope == Some("resources") && hosts.iter().any(|host| host.exact().is_none() && !is_own(host)) {
        report.mistake(
            list.at,
            "`scope.resources` cannot be checked on a wildcard that is not the type's own: its hosts may name buckets; list the endpoint alone",
        );
    }
}
