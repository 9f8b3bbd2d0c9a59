//! `token-service` of a container registry: where its tokens are given.
//!
//! Refuses registries that are not known and name no token service, and several registries at once: the credential of one
//! is nothing for the token service of another.

use super::report::Report;
use super::tree::Node;
use crate::catalog::{FieldValue, Fields};
use crate::rule::HostPattern;
use crate::types::registry_service;

/// Fills in what is known of the registry, and reports what is missing.
pub(super) fn fill(fields: &mut Fields, hosts: &[HostPattern], at: &Node, report: &mut Report<'_>) {
    let names: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let [host] = names.as_slice() else {
        report.mistake(
            at.at,
            "auth type `token-service` is for one registry: the hosts of its layers belong to a provider without `auth`, another registry to one of its own",
        );
        return;
    };
    if host.contains('*') {
        report.mistake(at.at, "auth type `token-service` is for one registry, not for a wildcard");
        return;
    }
    let known = registry_service(host);
    let url = known.map(|known| known.url);
    // Who names another token service names the registry as that one does.
    let own = fields.0.contains_key("tokenService");
    match (own, url) {
        (true, _) => {}
        (false, Some(url)) => {
            fields.0.insert("tokenService", FieldValue::Text(url.to_owned()));
        }
        (false, None) => report.mistake(
            at.at,
            "`config.tokenService` is missing: the URL that the registry names as `realm` in its `WWW-Authenticate: Bearer`",
        ),
    }
    if !fields.0.contains_key("service") {
        let name = known.filter(|_| !own).map_or(host.as_str(), |known| known.name);
        fields.0.insert("service", FieldValue::Text(name.to_owned()));
    }
}
