//! Microsoft Graph: `Microsoft.Graph/users/messages/read`, from the names of the path's collections.
//!
//! Not known are batches, `$expand` (which reads other collections along), functions and keys in parentheses, and what
//! is not below a collection that this page names.

use http::Method;

use super::{of, parameters, plain_segments};
use crate::types::{Ask, Resolved, Resource};

const COLLECTIONS: &[&str] = &[
    "me",
    "users",
    "groups",
    "applications",
    "serviceprincipals",
    "devices",
    "directoryobjects",
    "directoryroles",
    "domains",
    "organization",
    "sites",
    "drives",
    "teams",
];

/// Parameters that read more than the path says; Graph takes them without `$` as well.
const READS_MORE: &[&str] = &["expand", "$expand", "apply", "$apply", "compute", "$compute"];

pub(super) fn resolve<'a>(ask: &Ask<'a>) -> Option<Resolved<'a>> {
    if parameters(ask.query).any(|(name, _)| READS_MORE.contains(&&*name)) {
        return None;
    }
    let path = ask.path.to_ascii_lowercase();
    let segments = plain_segments(&path)?;
    let (version, rest) = segments.split_first()?;
    let known = matches!(*version, "v1.0" | "beta")
        && rest.first().is_some_and(|first| COLLECTIONS.contains(first))
        && !rest.iter().any(|segment| segment.contains(['(', ':', '\'']));
    if !known {
        return None;
    }
    // These show a part of the same thing.
    let end = rest.iter().position(|segment| matches!(*segment, "$value" | "$count")).unwrap_or(rest.len());
    let rest = rest.get(..end).filter(|rest| !rest.is_empty())?;
    let (own, names) = names(rest)?;
    let verb = match *ask.method {
        Method::GET | Method::HEAD => "read",
        // What is posted below an item is a new one of a collection, or something to be done.
        Method::POST if names.len() > 1 => "action",
        Method::POST | Method::PUT | Method::PATCH => "write",
        Method::DELETE => "delete",
        _ => return None,
    };
    let action = ["microsoft.graph/", &*names.join("/"), "/", verb].concat();
    let resource = Resource::Arns(vec![["https://graph.microsoft.com/", &*own].concat()]);
    Some(Resolved { resource, ..of(&action) })
}

/// The thing that the path begins with, and the names of its collections: every second segment, from the first (`me` is
/// an item by itself).
fn names<'p>(rest: &[&'p str]) -> Option<(String, Vec<&'p str>)> {
    let (first, below) = rest.split_first()?;
    if *first == "me" {
        let names = std::iter::once("users").chain(below.iter().step_by(2).copied()).collect();
        return Some(("me".to_owned(), names));
    }
    let item = below.first().copied().unwrap_or("*");
    let names = rest.iter().step_by(2).copied().collect();
    Some(([first, "/", item].concat(), names))
}
