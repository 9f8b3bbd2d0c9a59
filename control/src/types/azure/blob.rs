//! Blob Storage: container and blob from the path, `restype` and `comp` say what is done.
//!
//! A parameter that no table lists makes a request unknown: it could name a part that is newer than this page, or be a
//! shared access signature, which would act beside the credential.

use http::Method;

use super::{decoded, of, parameter, parameters};
use crate::types::{Ask, Clarity, Resolved, Resource};

const SERVICE: &str = "Microsoft.Storage/storageAccounts/blobServices/";
const CONTAINERS: &str = "Microsoft.Storage/storageAccounts/blobServices/containers/";
const BLOBS: &str = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/";

/// Parameters that say which and how, not what.
const MODIFIERS: &[&str] = &[
    "restype",
    "comp",
    "prefix",
    "delimiter",
    "marker",
    "maxresults",
    "include",
    "showonly",
    "startfrom",
    "where",
    "timeout",
    "snapshot",
    "prevsnapshot",
    "versionid",
    "deletetype",
    "blockid",
    "blocklisttype",
    "leaseid",
    "copyid",
];

pub(super) fn resolve<'a>(ask: &Ask<'a>, host: &str) -> Option<Resolved<'a>> {
    if !parameters(ask.query).all(|(name, _)| MODIFIERS.contains(&&*name)) {
        return None;
    }
    let restype = parameter(ask.query, "restype").ok()?;
    let comp = parameter(ask.query, "comp").ok()?.unwrap_or_default();
    let version = parameter(ask.query, "versionid").ok()?.is_some();
    let kind = parameter(ask.query, "deletetype").ok()?;
    let (container, name) = match ask.path.strip_prefix('/')?.split_once('/') {
        Some((container, name)) => (container, name),
        None => (ask.path.strip_prefix('/')?, ""),
    };
    let url = |name: &str| ["https://", host, "/", container, "/", name].concat();
    match (restype.as_deref(), container, name) {
        (Some("service") | None, "", "") => of_service(ask.method, restype.is_some(), &comp),
        (Some("container"), container, "") if is_container(container) => {
            let (action, every) = of_container(ask.method, &comp)?;
            let resource = if every { url("*") } else { ["https://", host, "/", container].concat() };
            Some(Resolved { resource: Resource::Arns(vec![resource]), ..of(&action) })
        }
        (None, container, name) if is_container(container) && !name.is_empty() => {
            let action = match (of_blob(ask.method, &comp)?, kind.as_deref()) {
                ("delete", Some(_)) => "permanentDelete/action",
                ("delete", None) if version => "deleteBlobVersion/action",
                (action, _) => action,
            };
            let action = [BLOBS, action].concat();
            Some(with_beside(
                ask,
                Resolved { resource: Resource::Arns(vec![url(&decoded(name))]), ..of(&action) },
            ))
        }
        _ => None,
    }
}

/// What its headers do beside: tags are set, and what is copied from a URL is read with the same credential, or with one in
/// that URL.
fn with_beside<'a>(ask: &Ask<'_>, mut resolved: Resolved<'a>) -> Resolved<'a> {
    let sends = |start: &str| ask.headers.keys().any(|name| name.as_str().starts_with(start));
    if sends("x-ms-tags") {
        resolved.also.push("Microsoft.Storage/storageAccounts/blobServices/containers/blobs/tags/write");
    }
    if sends("x-ms-copy-source") {
        resolved.also.push("Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read");
        resolved.resource = Resource::Hidden;
    }
    resolved
}

fn of_service<'a>(method: &Method, named: bool, comp: &str) -> Option<Resolved<'a>> {
    Some(match (method, named, comp) {
        (&Method::GET, false, "list") => of(&[CONTAINERS, "read"].concat()),
        (&Method::GET, false, "blobs") => of(&[BLOBS, "filter/action"].concat()),
        (&Method::GET, true, "properties" | "stats") => of(&[SERVICE, "read"].concat()),
        (&Method::PUT, true, "properties") => of(&[SERVICE, "write"].concat()),
        (&Method::POST, true, "userdelegationkey") => Resolved {
            clarity: Clarity::Opaque,
            ..of(&[SERVICE, "generateUserDelegationKey/action"].concat())
        },
        _ => return None,
    })
}

/// The action, and whether it is on every blob.
fn of_container(method: &Method, comp: &str) -> Option<(String, bool)> {
    let read = matches!(*method, Method::GET | Method::HEAD);
    let put = *method == Method::PUT;
    let action = match comp {
        "list" if read => return Some(([BLOBS, "read"].concat(), true)),
        "" | "metadata" if read => "read",
        "" | "metadata" if put => "write",
        "" if *method == Method::DELETE => "delete",
        "acl" if read => "getAcl/action",
        "acl" if put => "setAcl/action",
        "lease" if put => "lease/action",
        _ => return None,
    };
    Some(([CONTAINERS, action].concat(), false))
}

fn of_blob(method: &Method, comp: &str) -> Option<&'static str> {
    let read = matches!(*method, Method::GET | Method::HEAD);
    let put = *method == Method::PUT;
    Some(match comp {
        "" | "metadata" | "blocklist" | "pagelist" if read => "read",
        "tags" if read => "tags/read",
        "tags" if put => "tags/write",
        "query" if *method == Method::POST => "read",
        "" | "metadata" | "properties" | "block" | "blocklist" | "page" | "appendblock" | "snapshot"
        | "tier" | "lease" | "undelete" | "copy" | "incrementalcopy" | "seal" | "expiry"
            if put =>
        {
            "write"
        }
        "" if *method == Method::DELETE => "delete",
        _ => return None,
    })
}

/// `logs`, `$root`, `$web`: lower-case letters, digits and hyphens.
fn is_container(name: &str) -> bool {
    let name = name.strip_prefix('$').unwrap_or(name);
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}
