//! Microsoft Graph: `Microsoft.Graph/users/messages/read`, from the names on the path, in which the agent's identifiers never stand.
//!
//! Not known are batches, `$expand` (which reads other collections along), functions and keys in parentheses, names with
//! their namespace (`microsoft.graph.sendMail`, `graph.user`: OData takes them for the short ones, or for a cast), what is not
//! below a collection that this page names, and what lies behind another thing that is only referred to
//! (`groups/G/members/U/…` is the user's). Whatever [`KNOWN`] does not list is opaque, and so is every write: a body may set
//! credentials (`keyCredentials`) or refer to others (`members@odata.bind`).

use http::Method;

use super::{KNOWN, of, parameters, plain_segments};
use crate::types::{Ask, Clarity, Resolved, Resource};

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

/// Collections whose items belong to the thing before them: an identifier follows.
const CONTAINED: &[&str] = &[
    "messages",
    "mailfolders",
    "childfolders",
    "attachments",
    "calendars",
    "events",
    "instances",
    "contacts",
    "contactfolders",
    "items",
    "lists",
    "columns",
    "versions",
    "permissions",
    "channels",
    "replies",
    "conversations",
    "threads",
    "posts",
    "approleassignments",
    "approleassignedto",
    "extensions",
];

/// Single things that belong to the thing before them: a name follows.
const SINGLE: &[&str] =
    &["calendar", "drive", "root", "photo", "mailboxsettings", "onenote", "todo", "planner", "settings"];

/// Parameters that change nothing of what the path says; Graph takes most without `$` as well.
const SYSTEM: &[&str] = &[
    "$select",
    "$filter",
    "$top",
    "$skip",
    "$orderby",
    "$count",
    "$search",
    "$format",
    "$skiptoken",
    "$deltatoken",
];

/// Parameters that read more than the path says, without their `$`.
const READS_MORE: &[&str] = &["expand", "apply", "compute"];

pub(super) fn resolve<'a>(ask: &Ask<'a>) -> Option<Resolved<'a>> {
    let is_word = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    let plain = |name: &str| SYSTEM.contains(&name) || (is_word(name) && !READS_MORE.contains(&name));
    if !parameters(ask.query).all(|(name, _)| plain(&name)) {
        return None;
    }
    let path = ask.path.to_ascii_lowercase();
    let segments = plain_segments(&path)?;
    let (version, rest) = segments.split_first()?;
    let is_qualified = |segment: &str| segment.starts_with("microsoft.") || segment.starts_with("graph.");
    let known = matches!(*version, "v1.0" | "beta")
        && rest.first().is_some_and(|first| COLLECTIONS.contains(first))
        && !rest.iter().any(|segment| segment.contains(['(', ':', '\'']) || is_qualified(segment));
    if !known {
        return None;
    }
    let (rest, refers) = match rest.split_last()? {
        // These show a part of the same thing.
        (&("$value" | "$count"), rest) => (rest, false),
        (&"$ref", rest) => (rest, true),
        _ => (rest, false),
    };
    let named = Named::of(rest, refers)?;
    let verb = named.verb(ask.method, refers)?;
    let action = ["microsoft.graph/", &*named.names.join("/"), "/", verb].concat();
    let is_listed = KNOWN.iter().any(|known| known.eq_ignore_ascii_case(&action));
    let clarity = if is_listed && verb != "write" { Clarity::Clear } else { Clarity::Opaque };
    // What is referred to stands in the body.
    let resource = if refers && verb != "read" {
        Resource::Hidden
    } else {
        Resource::Arns(vec![["https://", ask.host.name().unwrap_or_default(), "/", &*named.own].concat()])
    };
    Some(Resolved { resource, clarity, ..of(&action) })
}

/// What a path names.
struct Named<'p> {
    /// The thing that it begins with.
    own: String,
    /// The collections, and single things, on the way.
    names: Vec<&'p str>,
    /// It ends with an identifier (`me` is an item by itself).
    is_item: bool,
}

impl<'p> Named<'p> {
    fn of(rest: &[&'p str], refers: bool) -> Option<Self> {
        let (first, below) = rest.split_first()?;
        if rest.iter().any(|segment| segment.starts_with('$')) {
            return None;
        }
        let (own, root, mut left) = match below.split_first() {
            _ if *first == "me" => ("me".to_owned(), "users", below),
            Some((item, left)) => ([first, "/", item].concat(), *first, left),
            None => {
                return Some(Self { own: [first, "/*"].concat(), names: vec![first], is_item: false });
            }
        };
        let mut named = Self { own, names: vec![root], is_item: true };
        while let Some((name, after)) = left.split_first() {
            named.names.push(name);
            (named.is_item, left) = match after.split_first() {
                None => (false, after),
                Some((_, after)) if CONTAINED.contains(name) => (true, after),
                Some(_) if SINGLE.contains(name) => (false, after),
                // A member, an owner: only the reference to it is here.
                Some((_, after)) if refers && after.is_empty() => (true, after),
                Some(_) => return None,
            };
        }
        Some(named)
    }

    fn verb(&self, method: &Method, refers: bool) -> Option<&'static str> {
        Some(match *method {
            Method::GET | Method::HEAD => "read",
            Method::POST | Method::PUT if refers => "write",
            // An item takes no POST: the identifier would be the name of something to be done.
            Method::POST if self.is_item => return None,
            // What is posted below an item is a new one of a collection, or something to be done.
            Method::POST if self.names.len() > 1 => "action",
            Method::POST | Method::PUT | Method::PATCH => "write",
            Method::DELETE => "delete",
            _ => return None,
        })
    }
}
