//! `config.assumeRole`: what may stand beside a role, told at its place.
//!
//! Refuses hosts that are none of AWS': the role's keys are AWS' own, and another host would see what they sign.

use super::Injection;
use super::report::Report;
use super::tree::Node;
use crate::aws::role::Role;
use crate::rule::HostPattern;
use crate::types;

/// Reports what is wrong with the role of an injection.
pub(super) fn check(
    injections: &[Injection],
    hosts: &[HostPattern],
    config: Option<&Node>,
    auth: &Node,
    report: &mut Report<'_>,
) {
    let at = config.and_then(|config| config.field("assumeRole")).map_or(auth.at, |node| node.at);
    for injection in injections {
        match Role::of(&injection.fields) {
            Ok(None) => {}
            Err(fault) => report.mistake(at, format!("`config.assumeRole` {fault}")),
            Ok(Some(_)) if !hosts.iter().all(is_aws) => report.mistake(
                at,
                "`config.assumeRole` asks AWS' STS for keys, and a host of this provider is none of AWS': another store's role is not assumed there",
            ),
            Ok(Some(_)) => {}
        }
    }
}

/// Whether all that a pattern covers lies below one of the type's own hosts.
fn is_aws(host: &HostPattern) -> bool {
    let own = types::by_name("aws").map_or(&[][..], |kind| kind.hosts);
    own.iter().filter_map(|own| HostPattern::parse_any_port(own).ok()).any(|own| host.is_within(&own))
}
