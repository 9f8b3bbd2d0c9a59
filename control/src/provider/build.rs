//! From a checked document to a provider as run. Every part that cannot be built has reported why.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

use super::auth;
use super::cases::{self, CaseText};
use super::client_cert;
use super::hosts;
use super::mcp;
use super::policy;
use super::report::{Report, shown_key, suggestion};
use super::tree::Node;
use super::{AgentRules, Enforcement, Mode, Provider, RequestLimits, ResponseRules, UpstreamRules};
use crate::agent::AgentName;
use crate::catalog::SchemeSpec;
use crate::types::variant::Variant;
use crate::types::{self, TypeSpec};

/// What the building of one file may use.
#[derive(Clone, Copy)]
pub(super) struct Ground<'a> {
    pub(super) schemes: &'a [&'a SchemeSpec],
    /// The document's `config`.
    pub(super) config: Option<&'a Node>,
    /// The document's `scope`.
    pub(super) scope: Option<&'a Node>,
    /// Its type at another place than the vendor's public one.
    pub(super) variant: Option<&'a Variant>,
    /// The path of its MCP server.
    pub(super) path: Option<&'a str>,
    /// The file's folder; `None` where the text comes from no file.
    pub(super) folder: Option<&'a FilePath>,
    /// The project that it belongs to, where that is not the document's to say.
    pub(super) project: Option<&'a str>,
}

/// Headers from the agent that are removed on hosts that get a credential, unless `request.keepHeaders` names one;
/// and everything that begins with [`REMOVED_PREFIX`].
pub const REMOVED_HEADERS: &[&str] = &[
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    "x-host",
    "forwarded",
    "x-real-ip",
];

/// See [`REMOVED_HEADERS`].
pub const REMOVED_PREFIX: &str = "x-forwarded-";

/// Addresses that serve credentials to whoever can reach them: never dialled, listed or not.
pub const METADATA_ADDRESSES: &[IpAddr] = &[
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

/// Whether every address of the range is one of [`METADATA_ADDRESSES`], so that listing it could never have an effect.
pub fn covers_only_metadata(cidr: &IpNet) -> bool {
    let size = u32::from(cidr.max_prefix_len() - cidr.prefix_len());
    let held = METADATA_ADDRESSES.iter().filter(|ip| cidr.contains(*ip)).count();
    size < 8 && 1_usize << size == held
}

/// Builds a Provider document.
pub(super) fn provider(
    node: &Node,
    ground: Ground<'_>,
    report: &mut Report<'_>,
) -> Option<(Provider, Vec<CaseText>)> {
    let ids = metadata(node, ground.project, report);
    let spec = node.field("spec")?;
    let kind = kind(spec, report);
    let mode = mode(spec);
    let kind = kind?;
    // Without a name the rest is still looked through, so that all mistakes are told.
    let named = ids.is_some();
    let ids = ids.unwrap_or_else(|| Ids { project: "default".into(), name: "unnamed".into() });
    let cloud = spec.field("config").and_then(|config| config.text_of("cloud"));
    let variant = Variant::of(kind, spec.text_of("host"), cloud);
    let (mcp, hosts) = match mcp::server(spec, kind, mode, report) {
        Some((server, host)) => (Some(server), vec![host]),
        None if mcp::is_mcp(kind) => (None, Vec::new()),
        None => (None, hosts::read(spec, kind, variant.as_ref(), mode, report)),
    };
    let path = mcp.as_ref().map(|server| server.path.as_str());
    let variant = variant.as_ref();
    let ground = Ground { config: spec.field("config"), scope: spec.field("scope"), variant, path, ..ground };
    refuse_config(spec, kind, ground, report);
    let auth = spec.field("auth").map(|node| auth::build(node, kind, &ids, &hosts, mode, ground, report));
    let policy = policy::build(spec, kind, report);
    hosts::refuse_unread_buckets(spec, kind, ground.variant, &hosts, report);
    let limits = limits(spec, report);
    let response = response(spec, report);
    let keep_headers = keep_headers(spec, report);
    let mut upstream = upstream(spec, ground, report);
    upstream.client_cert = client_cert::read(spec, &ids, mode, report);
    refuse_unread(spec, mode, auth.is_some(), report);
    let tests = cases::read(spec, &hosts, mode, report);
    let (mut auth, agent_env, verify) = match auth {
        Some(built) => {
            let built = built?;
            (Some(built.auth), built.agent_env, built.verify)
        }
        None => (None, Vec::new(), None),
    };
    match (&mut auth, &mut upstream.client_cert) {
        (auth @ None, Some(secret)) => *auth = client_cert::alone(secret, ground.schemes),
        (Some(auth), none @ None) if *auth.auth_type == *client_cert::MTLS => {
            *none = Some(auth.secret.clone())
        }
        (Some(_), Some(_) | None) | (None, None) => {}
    }
    let audit = spec.field("audit");
    let enforcement = match audit.and_then(|audit| audit.text_of("enforcement")) {
        Some("audit") => Enforcement::Audit,
        Some(_) | None => Enforcement::Enforce,
    };
    let digest = super::digest::of(node, &ids.project);
    let provider = Provider {
        digest,
        project: ids.project,
        name: ids.name,
        source: report.place(node.at).into(),
        kind,
        hosts,
        mcp,
        mode,
        auth,
        policy,
        enforcement,
        limits,
        response,
        keep_headers,
        upstream,
        log_requests: audit.and_then(|audit| audit.field("logRequests")).and_then(Node::bool).unwrap_or(true),
        agent_env,
        verify,
        model: None,
    };
    named.then_some((provider, tests))
}

/// Settings that nothing would read.
fn refuse_config(spec: &Node, kind: &TypeSpec, ground: Ground<'_>, report: &mut Report<'_>) {
    let Some(config) = ground.config else { return };
    let chosen = spec.field("auth").and_then(|auth| auth.text_of("type"));
    let own = kind.auth.iter().find(|own| chosen.is_none_or(|chosen| own.name == chosen));
    let injections = own.into_iter().flat_map(|auth| auth.injections);
    let keys: Vec<&str> = injections.map(|injection| injection.key).collect();
    let schemes =
        ground.schemes.iter().filter(|scheme| scheme.inject_key.is_some_and(|key| keys.contains(&key)));
    let fields = schemes.flat_map(|scheme| scheme.inject_fields);
    let read: Vec<&str> = fields.filter(|field| field.kind.is_setting()).map(|field| field.name).collect();
    let is_read =
        |key: &str| read.iter().any(|name| name.split_once('.').map_or(*name, |(map, _)| map) == key);
    for entry in config.entries().iter().filter(|entry| !is_read(&entry.key)) {
        report.mistake(entry.at, format!("type `{}` has no `config.{}`", kind.name, entry.key));
    }
    match spec.field("auth") {
        None => report.mistake(config.at, "`config` does nothing without `auth`"),
        Some(auth) if auth.field("inject").is_some() => {
            report.mistake(config.at, "`config` does nothing beside `auth.inject`: write the fields there");
        }
        Some(_) => {}
    }
}

/// Builds an Agent document.
pub(super) fn agent(node: &Node, report: &mut Report<'_>) -> Option<AgentRules> {
    let ids = metadata(node, None, report)?;
    let providers = agent_providers(node).filter_map(Node::text).map(Arc::from).collect();
    Some(AgentRules {
        project: ids.project,
        name: AgentName::new(&ids.name),
        providers,
        source: report.place(node.at).into(),
    })
}

/// The names that an Agent document lists: its providers, then its model providers, which share their names.
pub(super) fn agent_providers(node: &Node) -> impl Iterator<Item = &Node> {
    let list = |name| node.field("spec").and_then(|spec| spec.field(name)).map_or(&[][..], Node::items);
    list("providers").iter().chain(list("modelProviders"))
}

/// Who a document is.
pub(super) struct Ids {
    pub(super) project: Arc<str>,
    pub(super) name: Arc<str>,
}

fn metadata(node: &Node, given: Option<&str>, report: &mut Report<'_>) -> Option<Ids> {
    let metadata = node.field("metadata")?;
    let name = metadata.field("name").and_then(|name| checked_name(name, "name", report));
    let project = match metadata.field("namespace") {
        Some(project) => checked_name(project, "namespace", report),
        None => Some(given.unwrap_or("default").into()),
    };
    if let (Some(project), Some(given)) = (&project, given)
        && **project != *given
    {
        report.mistake(metadata.at, "`metadata.namespace` is another project than the one that it stands in");
        return None;
    }
    Some(Ids { project: project?, name: name? })
}

fn checked_name(node: &Node, field: &str, report: &mut Report<'_>) -> Option<Arc<str>> {
    let text = node.text()?;
    let inner =
        text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'));
    let edges = !text.starts_with(['-', '.']) && !text.ends_with(['-', '.']);
    if text.is_empty() || text.len() > 253 || !inner || !edges {
        report.mistake(
            node.at,
            format!("`metadata.{field}` is made of lower-case letters, digits, `-` and `.`"),
        );
        return None;
    }
    Some(text.into())
}

fn kind(spec: &Node, report: &mut Report<'_>) -> Option<&'static TypeSpec> {
    let node = spec.field("type")?;
    let name = node.text()?;
    if let Some(kind) = types::by_name(name) {
        return Some(kind);
    }
    let hint = suggestion(name, types::ALL.iter().map(|kind| kind.name));
    let message = format!("unknown type{hint}; for a service without a type of its own write `http-token`");
    report.mistake(node.at, message);
    None
}

fn mode(spec: &Node) -> Mode {
    match spec.field("tls").and_then(|tls| tls.text_of("mode")) {
        Some("passthrough") => Mode::Passthrough,
        Some("plain") => Mode::Plain,
        Some(_) | None => Mode::Intercept,
    }
}

/// The port of a host without one.
pub(super) fn default_port(mode: Mode) -> u16 {
    if mode == Mode::Plain { 80 } else { 443 }
}

fn limits(spec: &Node, report: &mut Report<'_>) -> RequestLimits {
    let Some(limits) = spec.field("limits") else { return RequestLimits::default() };
    let rate = limits.field("requestsPerMinute").filter(|node| node.int().is_some_and(|n| n >= 1));
    let requests_per_minute = rate.and_then(|node| {
        let number = node.int().and_then(|n| u32::try_from(n).ok()).and_then(NonZeroU32::new);
        if number.is_none() {
            report.mistake(node.at, "`requestsPerMinute` is too large");
        }
        number
    });
    let timeout = limits.field("timeout").filter(|node| node.text().is_some()).and_then(|node| {
        let duration = node.text().and_then(duration);
        if duration.is_none() {
            report.mistake(node.at, "`timeout` is a number with `ms`, `s`, `m` or `h`, more than nothing and at most a day: `30s`");
        }
        duration
    });
    RequestLimits { requests_per_minute, timeout }
}

pub(super) fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let total = number.checked_mul(milliseconds).filter(|total| (1..=86_400_000).contains(total))?;
    Some(Duration::from_millis(total))
}

fn response(spec: &Node, report: &mut Report<'_>) -> ResponseRules {
    let response = spec.field("response");
    let redact = response.and_then(|node| node.field("redact")).and_then(Node::bool).unwrap_or(true);
    if !redact && spec.field("auth").is_some() {
        report.warn(
            spec.at,
            "`response.redact` is false: an upstream that echoes the credential gives it to the agent",
        );
    }
    ResponseRules {
        redact,
        strip_headers: headers(response.and_then(|node| node.field("stripHeaders")), report),
        small_ranges_allowed: response.and_then(|node| node.text_of("smallRanges")) == Some("allow"),
    }
}

/// A list of header names.
pub(super) fn headers(list: Option<&Node>, report: &mut Report<'_>) -> Vec<HeaderName> {
    let mut names = Vec::new();
    for node in list.map_or(&[][..], Node::items) {
        let Some(text) = node.text() else { continue };
        match HeaderName::from_bytes(text.as_bytes()) {
            Ok(name) => names.push(name),
            Err(_) => report.mistake(node.at, "not the name of a header"),
        }
    }
    names
}

fn keep_headers(spec: &Node, report: &mut Report<'_>) -> Vec<HeaderName> {
    let list = spec.field("request").and_then(|request| request.field("keepHeaders"));
    let names = headers(list, report);
    for node in list.map_or(&[][..], Node::items) {
        let lower = node.text().unwrap_or_default().to_ascii_lowercase();
        if !REMOVED_HEADERS.contains(&lower.as_str()) && !lower.starts_with(REMOVED_PREFIX) {
            let hint = suggestion(&lower, REMOVED_HEADERS.iter().copied());
            report.mistake(
                node.at,
                format!(
                    "`keepHeaders` names a header that is not removed by default or may never be kept{hint}"
                ),
            );
        }
    }
    names
}

fn upstream(spec: &Node, ground: Ground<'_>, report: &mut Report<'_>) -> UpstreamRules {
    let ca = spec.field("tls").and_then(|tls| tls.field("upstreamCA"));
    let extra_roots = ca.and_then(|node| {
        let path = ground
            .folder
            .map_or_else(|| node.text().map(Into::into), |folder| Some(folder.join(node.text()?)))?;
        if ground.folder.is_some() && !path.is_file() {
            report.mistake(
                node.at,
                "`upstreamCA` names a file that does not exist (relative paths start at this file's folder)",
            );
        }
        Some(path)
    });
    let list = spec.field("network").and_then(|network| network.field("allowCIDRs"));
    let allow_cidrs =
        list.map_or(&[][..], Node::items).iter().filter_map(|node| cidr(node, report)).collect();
    UpstreamRules { extra_roots, allow_cidrs, client_cert: None }
}

fn cidr(node: &Node, report: &mut Report<'_>) -> Option<IpNet> {
    let text = node.text()?;
    let parsed = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    let Some(cidr) = parsed else {
        report.mistake(node.at, "not an address range such as `10.0.0.0/8`");
        return None;
    };
    if covers_only_metadata(&cidr) {
        report.mistake(node.at, "this range holds only cloud metadata addresses, which are never reached");
        return None;
    }
    Some(cidr)
}

/// What a mode cannot do is refused, since it would silently not happen.
fn refuse_unread(spec: &Node, mode: Mode, has_auth: bool, report: &mut Report<'_>) {
    if mode != Mode::Passthrough {
        return;
    }
    if has_auth {
        report
            .mistake(spec.at, "`tls.mode: passthrough` cannot inject anything: remove `auth`, or intercept");
    }
    for entry in spec.entries() {
        let needs_reading = ["policy", "scope", "mcp", "request", "response"].contains(&entry.key.as_str());
        if needs_reading {
            report.mistake(
                entry.at,
                format!(
                    "with `tls.mode: passthrough` requests are not read, so{} cannot be applied",
                    shown_key(&entry.key)
                ),
            );
        }
    }
}
