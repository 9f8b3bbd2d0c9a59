//! Cloud Storage: the JSON API with its upload and download paths, and reads of objects by the XML API.
//!
//! An object's name is percent-encoded in the path, so `%2F` is part of it. Uploads name their object in the query or in
//! the body; the query wins, and where it names none the resource is all objects of the bucket (`…/objects/*`), which only a
//! pattern that covers them all lets through.

use http::Method;

use super::{decoded, names_again, of, parameters};
use crate::types::{Ask, Clarity, Resolved, Resource, UNKNOWN};

const GET_POLICY: &str = "getIamPolicy";
const SET_POLICY: &str = "setIamPolicy";

const OBJECTS: &str = "storage.objects";

/// Parameters that set who may read what is written.
const ACL_PARAMETERS: &[&str] = &["predefinedAcl", "predefinedDefaultObjectAcl", "destinationPredefinedAcl"];

/// Parameters with which the XML API still only reads an object.
const XML_READS: &[&str] = &["generation", "userProject"];

/// Fields that the path has set (`project` too, where it names one); the query must not set them again.
const NAMED_BY_PATH: &[&str] = &[
    "bucket",
    "object",
    "sourcebucket",
    "sourceobject",
    "destinationbucket",
    "destinationobject",
    "projectid",
    "entity",
    "accessid",
];

pub(super) fn resolve<'a>(ask: &Ask<'a>, segments: &[&str]) -> Option<Resolved<'a>> {
    if names_again(ask.query, "storage", NAMED_BY_PATH) {
        return None;
    }
    match segments {
        ["storage", "v1", rest @ ..] => json(ask, rest),
        ["upload", "storage", "v1", "b", bucket, "o"] => upload(ask, bucket),
        ["download", "storage", "v1", "b", bucket, "o", name @ ..] if *ask.method == Method::GET => {
            named(bucket, name, "storage.objects.get")
        }
        // Other names of Google's own paths (`batch`, `resumable`).
        ["storage" | "upload" | "download" | "batch" | "resumable", ..] => None,
        _ if ask.host.name() != Some("storage.googleapis.com") => None,
        [bucket, name @ ..] if !name.is_empty() => xml(ask, bucket, &name.join("/")),
        _ => None,
    }
}

fn json<'a>(ask: &Ask<'a>, segments: &[&str]) -> Option<Resolved<'a>> {
    let read = *ask.method == Method::GET;
    match segments {
        ["b"] if read => Some(of("storage.buckets.list")),
        ["b"] if *ask.method == Method::POST => Some(altering(ask, of("storage.buckets.create"))),
        ["b", bucket] => {
            let resolved = on(one(ask.method, "storage.buckets")?, &[self::bucket(bucket)?])?;
            Some(if read {
                with_acl(ask, resolved, "storage.buckets.getIamPolicy")
            } else {
                altering(ask, resolved)
            })
        }
        ["b", bucket, "o"] if read => {
            let resolved = on("storage.objects.list", &[self::bucket(bucket)?])?;
            Some(with_acl(ask, resolved, "storage.objects.getIamPolicy"))
        }
        ["b", bucket, "o", rest @ ..] => objects(ask, bucket, rest),
        // The topic stands in the body.
        ["b", _, "notificationConfigs"] if *ask.method == Method::POST => {
            Some(Resolved { clarity: Clarity::Opaque, ..of("storage.buckets.update") })
        }
        ["b", bucket, part, ..] => {
            let verb = part_of_bucket(ask.method, part)?;
            on(&["storage.buckets.", verb].concat(), &[self::bucket(bucket)?])
        }
        ["projects", ..] if names_again(ask.query, "storage", &["project"]) => None,
        ["projects", project, "hmacKeys", ..] => {
            let verb = match (ask.method, segments.len()) {
                (&Method::GET, 3) => "list",
                (&Method::POST, 3) => "create",
                (&Method::GET, 4) => "get",
                (&Method::PUT, 4) => "update",
                (&Method::DELETE, 4) => "delete",
                _ => return None,
            };
            plain(project)?;
            on(&["storage.hmacKeys.", verb].concat(), &[["projects/", project, "/hmacKeys/*"].concat()])
        }
        ["projects", project, "serviceAccount"] if read => {
            plain(project)?;
            on("resourcemanager.projects.get", &[["projects/", project].concat()])
        }
        _ => None,
    }
}

/// What a call on a part of a bucket asks for.
fn part_of_bucket(method: &Method, part: &str) -> Option<&'static str> {
    let read = *method == Method::GET;
    let writes = matches!(*method, Method::POST | Method::PUT | Method::PATCH | Method::DELETE);
    match part {
        "iam" | "acl" | "defaultObjectAcl" if read => Some(GET_POLICY),
        "iam" | "acl" | "defaultObjectAcl" if writes => Some(SET_POLICY),
        "notificationConfigs" | "storageLayout" if read => Some("get"),
        "notificationConfigs" | "lockRetentionPolicy" if writes => Some("update"),
        _ => None,
    }
}

/// An object, a part of it, or a copy of it.
fn objects<'a>(ask: &Ask<'a>, bucket: &str, rest: &[&str]) -> Option<Resolved<'a>> {
    let (read, post) = (*ask.method == Method::GET, *ask.method == Method::POST);
    if post && let Some(transfer) = Transfer::of(bucket, rest) {
        return transfer.resolved(ask);
    }
    match rest {
        [name, "compose"] if post => {
            // What it is made of is in the body, and lies in the same bucket.
            let resolved = on("storage.objects.create", &[object(bucket, name)?, every(bucket)?])?;
            Some(also(altering(ask, resolved), &["storage.objects.get"]))
        }
        [name, "restore"] if post => on("storage.objects.restore", &[object(bucket, name)?]),
        [name, "iam" | "acl"] | [name, "acl", _] => {
            let verb = if read { "storage.objects.getIamPolicy" } else { "storage.objects.setIamPolicy" };
            on(verb, &[object(bucket, name)?])
        }
        ["watch" | "bulkRestore"] if post => None,
        [name] => {
            let resolved = on(one(ask.method, OBJECTS)?, &[object(bucket, name)?])?;
            Some(match *ask.method {
                Method::GET => with_acl(ask, resolved, "storage.objects.getIamPolicy"),
                Method::DELETE => resolved,
                _ => altering(ask, resolved),
            })
        }
        name => named(bucket, name, UNKNOWN),
    }
}

/// A copy or a move: `o/SOURCE/rewriteTo/b/BUCKET/o/NAME`, `o/SOURCE/moveTo/o/NAME`.
struct Transfer {
    from: String,
    to: String,
    is_move: bool,
    /// Neither name holds a plain slash.
    is_exact: bool,
}

impl Transfer {
    fn of(bucket: &str, rest: &[&str]) -> Option<Self> {
        let is_verb = |segment: &&str| matches!(*segment, "rewriteTo" | "copyTo" | "moveTo");
        let at = rest.iter().skip(1).position(is_verb)? + 1;
        let (from, rest) = rest.split_at_checked(at)?;
        let (to, name, is_move) = match rest {
            ["rewriteTo" | "copyTo", "b", to, "o", name @ ..] => (*to, name, false),
            ["moveTo", "o", name @ ..] => (bucket, name, true),
            _ => return None,
        };
        Some(Self {
            from: object(bucket, &from.join("/"))?,
            to: object(to, &name.join("/"))?,
            is_move,
            is_exact: from.len() == 1 && name.len() == 1,
        })
    }

    fn resolved<'a>(self, ask: &Ask<'_>) -> Option<Resolved<'a>> {
        let action = if self.is_exact { "storage.objects.create" } else { UNKNOWN };
        let resolved = altering(ask, on(action, &[self.to, self.from])?);
        let beside: &[&'static str] = if self.is_move {
            &["storage.objects.get", "storage.objects.delete"]
        } else {
            &["storage.objects.get"]
        };
        Some(also(resolved, beside))
    }
}

/// An action on an object. A name with plain slashes is how this page reads an encoded one widely; as it stands it is no
/// path of the API's, so its action is not known.
fn named<'a>(bucket: &str, name: &[&str], action: &str) -> Option<Resolved<'a>> {
    let action = if name.len() == 1 { action } else { UNKNOWN };
    on(action, &[object(bucket, &name.join("/"))?])
}

/// Media, multipart and resumable uploads, and the pieces of the latter.
fn upload<'a>(ask: &Ask<'a>, bucket: &str) -> Option<Resolved<'a>> {
    let single = |name: &str| -> Result<Option<String>, ()> {
        let mut values = parameters(ask.query).filter(|(own, _)| own == name).map(|(_, value)| value);
        let first = values.next();
        if values.next().is_some() { Err(()) } else { Ok(first.map(|value| value.into_owned())) }
    };
    let kind = single("uploadType").ok()?.or(single("upload_protocol").ok()?)?;
    let session = single("upload_id").ok()?;
    let fits = match (kind.as_str(), ask.method) {
        ("media" | "multipart", &Method::POST) => session.is_none(),
        ("resumable", &Method::POST) => true,
        ("resumable", &Method::PUT | &Method::DELETE) => session.is_some(),
        _ => false,
    };
    let resource = match single("name").ok()?.filter(|name| !name.is_empty()) {
        Some(name) => [&self::bucket(bucket)?, "/objects/", &*name].concat(),
        None => every(bucket)?,
    };
    // The metadata in the body may come with an ACL.
    fits.then(|| on("storage.objects.create", &[resource]).map(|resolved| altering(ask, resolved))).flatten()
}

fn xml<'a>(ask: &Ask<'a>, bucket: &str, name: &str) -> Option<Resolved<'a>> {
    let reads = matches!(*ask.method, Method::GET | Method::HEAD);
    let plain = parameters(ask.query).all(|(name, _)| XML_READS.contains(&&*name));
    (reads && plain).then(|| on("storage.objects.get", &[object(bucket, name)?])).flatten()
}

/// The permission for a call on one thing.
fn one(method: &Method, noun: &str) -> Option<&'static str> {
    let all: [&'static str; 3] = match noun {
        "storage.buckets" => ["storage.buckets.get", "storage.buckets.update", "storage.buckets.delete"],
        _ => ["storage.objects.get", "storage.objects.update", "storage.objects.delete"],
    };
    let [get, update, delete] = all;
    match *method {
        Method::GET => Some(get),
        Method::PUT | Method::PATCH => Some(update),
        Method::DELETE => Some(delete),
        _ => None,
    }
}

fn on<'a>(action: &str, resources: &[String]) -> Option<Resolved<'a>> {
    Some(Resolved { resource: Resource::Arns(resources.to_vec()), ..of(action) })
}

/// `projection=full` shows the ACL as well.
fn with_acl<'a>(ask: &Ask<'_>, resolved: Resolved<'a>, permission: &'static str) -> Resolved<'a> {
    let full = parameters(ask.query)
        .any(|(name, value)| name == "projection" && !value.eq_ignore_ascii_case("noAcl"));
    if full { also(resolved, &[permission]) } else { resolved }
}

fn also<'a>(mut resolved: Resolved<'a>, permissions: &[&'static str]) -> Resolved<'a> {
    resolved.also.extend(permissions);
    resolved
}

/// Its body may set who may read: where something is denied it has to be allowed by its own name. A parameter that does so
/// shows it.
fn altering<'a>(ask: &Ask<'_>, resolved: Resolved<'a>) -> Resolved<'a> {
    let sets_acl = parameters(ask.query).any(|(name, _)| ACL_PARAMETERS.contains(&&*name));
    let resolved = Resolved { clarity: Clarity::Opaque, ..resolved };
    if sets_acl { also(resolved, &["storage.objects.setIamPolicy"]) } else { resolved }
}

fn bucket(name: &str) -> Option<String> {
    plain(name)?;
    Some(["projects/_/buckets/", name].concat())
}

/// Of lower-case letters, digits, `-`, `_` and `.`; a percent-code could hide a slash.
fn plain(name: &str) -> Option<()> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    (!name.is_empty() && name.bytes().all(fits)).then_some(())
}

fn object(bucket: &str, name: &str) -> Option<String> {
    (!name.is_empty()).then_some(())?;
    Some([&*self::bucket(bucket)?, "/objects/", &*decoded(name)].concat())
}

fn every(bucket: &str) -> Option<String> {
    Some([&*self::bucket(bucket)?, "/objects/*"].concat())
}
