//! `spec.mcp` and `policy.mcp`: where an MCP server is, and which of its tools may be used.
//!
//! Refuses both beside other types, and lists that would not do what they say.

use super::Mode;
use super::build::default_port;
use super::report::Report;
use super::tree::Node;
use super::verify::split_url;
use crate::mcp::{Server, Transport};
use crate::policy::{ToolGlob, Tools};
use crate::rule::HostPattern;
use crate::types::TypeSpec;

/// Whether the type is the one that has a server.
pub(super) fn is_mcp(kind: &TypeSpec) -> bool {
    kind.name == "mcp"
}

/// The server and its host; `None`: it is another type's, or a mistake was reported.
pub(super) fn server(
    spec: &Node,
    kind: &TypeSpec,
    mode: Mode,
    report: &mut Report<'_>,
) -> Option<(Server, HostPattern)> {
    let node = match (spec.field("mcp"), is_mcp(kind)) {
        (Some(node), true) => node,
        (Some(node), false) => {
            report.mistake(node.at, format!("type `{}` has no `mcp`: it is for `type: mcp`", kind.name));
            return None;
        }
        (None, true) => {
            report.mistake(spec.at, "`mcp.url`, the URL of the MCP server, is missing");
            return None;
        }
        (None, false) => return None,
    };
    for other in ["host", "hosts"].into_iter().filter_map(|name| spec.field(name)) {
        report.mistake(other.at, "the host of `type: mcp` is that of `mcp.url`: leave this out");
    }
    let url = node.field("url")?;
    let parts = url.text().and_then(|text| split_url(text, mode)).filter(|(_, path)| !path.contains('?'));
    let Some((target, path)) = parts else {
        report.mistake(
            url.at,
            "`mcp.url` is an absolute URL in canonical form without a query, as `https://mcp.example.com/mcp`",
        );
        return None;
    };
    let port = default_port(mode);
    let host = HostPattern::parse(&target.authority(port), port).ok()?;
    let transport = match node.text_of("transport") {
        Some("sse") => Transport::Sse,
        Some(_) | None => Transport::StreamableHttp,
    };
    Some((Server { path, transport }, host))
}

/// The lists of `policy.mcp`.
pub(super) fn tools(spec: &Node, kind: &TypeSpec, report: &mut Report<'_>) -> Option<Tools> {
    let node = spec.field("policy")?.field("mcp")?;
    if !is_mcp(kind) {
        report
            .mistake(node.at, format!("type `{}` has no tools: `policy.mcp` is for `type: mcp`", kind.name));
        return None;
    }
    let (allow, deny) = (node.field("allowedTools"), node.field("deniedTools"));
    if allow.is_none() && deny.is_none() {
        report.mistake(node.at, "`policy.mcp` limits nothing: it has `allowedTools` and `deniedTools`");
    }
    let allow = allow.map(|list| globs(list, "allowedTools", report));
    let deny = deny.map(|list| globs(list, "deniedTools", report)).unwrap_or_default();
    Some(Tools::new(allow, deny, &format!("policy.mcp ({})", report.place(node.at))))
}

fn globs(list: &Node, name: &str, report: &mut Report<'_>) -> Vec<ToolGlob> {
    let mut globs = Vec::new();
    for node in list.items() {
        let Some(text) = node.text() else { continue };
        if text.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            report.mistake(
                node.at,
                format!("an entry of `{name}` is the name of a tool, with `*` for any rest"),
            );
        }
        globs.push(ToolGlob::new(text, &format!("{name}, {}", report.place(node.at))));
    }
    globs
}
