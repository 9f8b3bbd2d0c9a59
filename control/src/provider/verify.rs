//! `auth.verify`: the call that tells whether a credential works.
//!
//! Refuses URLs that are not absolute and canonical, or on a host that the provider does not cover.

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::build::{Ground, default_port};
use super::report::Report;
use super::tree::Node;
use super::{Mode, Verify};
use crate::rule::{HostPattern, Path};
use crate::target::Target;
use crate::types::VerifySpec;

/// Reads `auth.verify`, or takes the type's own (`own`) where the provider covers its host.
pub(super) fn build(
    node: &Node,
    own: Option<&VerifySpec>,
    hosts: &[HostPattern],
    mode: Mode,
    dummy: &str,
    ground: Ground<'_>,
    report: &mut Report<'_>,
) -> Option<Verify> {
    let covered = |target: &Target| hosts.iter().any(|host| host.covers(target));
    let Some(node) = node.field("verify") else {
        return own_verify(own?, hosts, mode, dummy, ground).filter(|own| covered(&own.target));
    };
    let method = Method::from_bytes(node.text_of("method").unwrap_or("GET").as_bytes());
    let url = node.field("url")?;
    let parts = url.text().and_then(|text| split_url(text, mode));
    match &parts {
        None => report.mistake(
            url.at,
            "`verify.url` is an absolute URL in canonical form, as `https://api.example.com/me`",
        ),
        Some((target, _)) if !covered(target) => {
            report.mistake(url.at, "`verify.url` is on a host that the provider does not cover")
        }
        Some(_) => {}
    }
    let expect =
        node.field("expect").map_or(Some(200), |node| node.int().and_then(|n| u16::try_from(n).ok()));
    let Some(expect) = expect.filter(|status| (200..600).contains(status)) else {
        report.mistake(node.at, "`verify.expect` is a status from 200 to 599");
        return None;
    };
    if method.is_err() {
        report.mistake(node.at, "`verify.method` is not a method");
    }
    let (target, path_and_query) = parts?;
    Some(Verify {
        method: method.ok()?,
        target,
        path_and_query,
        headers: HeaderMap::new(),
        body: None,
        expect,
        says: None,
    })
}

/// The type's own call.
fn own_verify(
    own: &VerifySpec,
    hosts: &[HostPattern],
    mode: Mode,
    dummy: &str,
    ground: Ground<'_>,
) -> Option<Verify> {
    let host = hosts.iter().map(ToString::to_string).find(|host| !host.starts_with('*')).unwrap_or_default();
    let filled = |text: &str| {
        text.replace("{dummy}", dummy).replace("{host}", &host).replace("{path}", ground.path.unwrap_or("/"))
    };
    let (target, path_and_query) = match ground.variant {
        Some(variant) => split_url(&variant.verify(), mode)?,
        None => split_url(&filled(own.url), mode)?,
    };
    let header = |(name, value): &(&'static str, &str)| {
        Some((HeaderName::from_static(name), HeaderValue::try_from(filled(value)).ok()?))
    };
    Some(Verify {
        method: Method::from_bytes(own.method.as_bytes()).ok()?,
        target,
        path_and_query,
        headers: own.headers.iter().map(header).collect::<Option<_>>()?,
        body: own.body,
        expect: own.expect,
        says: own.says,
    })
}

/// Target and canonical path with query of an absolute URL.
pub(super) fn split_url(url: &str, mode: Mode) -> Option<(Target, String)> {
    let scheme = if mode == Mode::Plain { "http://" } else { "https://" };
    let rest = url.strip_prefix(scheme)?;
    let cut = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at_checked(cut)?;
    let target = Target::parse_host(authority, default_port(mode)).ok()?;
    let (path, query) = tail.split_once('?').map_or((tail, None), |(path, query)| (path, Some(query)));
    let path = Path::parse(if path.is_empty() { "/" } else { path }).ok()?;
    if !query.unwrap_or_default().bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        return None;
    }
    let path_and_query =
        query.map_or_else(|| path.as_str().to_owned(), |query| format!("{}?{query}", path.as_str()));
    Some((target, path_and_query))
}
