//! S3's REST interface: bucket from host or path, key, one sub-resource of the query.
//!
//! Parameters that no table lists make a request unknown: they could name a sub-resource that is newer than this page, or
//! be a header as a parameter. Names are compared as S3 does, by case.

use http::Method;

use super::{Ask, Endpoint, Region, Resolved, Resource, decoded, foreign, partition};
use crate::aws::scope::is_parameter;
use crate::types::UNKNOWN;

/// Parameters of signatures, and those that say which checksum the body has: the signer takes the former off, in any
/// spelling.
const SIGNING: &[&str] = &[
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
    "X-Amz-Security-Token",
    "X-Amz-S3session-Token",
    "X-Amz-Region-Set",
    "AWSAccessKeyId",
    "Signature",
    "Expires",
    "X-Amz-Content-Sha256",
    "X-Amz-Sdk-Checksum-Algorithm",
];

/// Names an object that is read for the one that is written.
const SOURCE: &str = "x-amz-copy-source";

/// Parameters that say how, not what.
const MODIFIERS: &[&str] = &[
    "list-type",
    "prefix",
    "delimiter",
    "marker",
    "max-keys",
    "continuation-token",
    "start-after",
    "encoding-type",
    "fetch-owner",
    "key-marker",
    "version-id-marker",
    "upload-id-marker",
    "max-uploads",
    "max-parts",
    "max-buckets",
    "bucket-region",
    "part-number-marker",
    "partNumber",
    "x-id",
    "id",
    "select-type",
];

/// Sub-resources of a bucket: parameter, what GET, PUT and DELETE do.
const OF_BUCKET: &[(&str, &str, &str, &str)] = &[
    ("location", "s3:GetBucketLocation", UNKNOWN, UNKNOWN),
    ("acl", "s3:GetBucketAcl", "s3:PutBucketAcl", UNKNOWN),
    ("policy", "s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"),
    ("policyStatus", "s3:GetBucketPolicyStatus", UNKNOWN, UNKNOWN),
    ("versioning", "s3:GetBucketVersioning", "s3:PutBucketVersioning", UNKNOWN),
    ("versions", "s3:ListBucketVersions", UNKNOWN, UNKNOWN),
    ("uploads", "s3:ListBucketMultipartUploads", UNKNOWN, UNKNOWN),
    ("tagging", "s3:GetBucketTagging", "s3:PutBucketTagging", "s3:PutBucketTagging"),
    (
        "lifecycle",
        "s3:GetLifecycleConfiguration",
        "s3:PutLifecycleConfiguration",
        "s3:PutLifecycleConfiguration",
    ),
    ("cors", "s3:GetBucketCORS", "s3:PutBucketCORS", "s3:PutBucketCORS"),
    ("website", "s3:GetBucketWebsite", "s3:PutBucketWebsite", "s3:DeleteBucketWebsite"),
    ("logging", "s3:GetBucketLogging", "s3:PutBucketLogging", UNKNOWN),
    ("notification", "s3:GetBucketNotification", "s3:PutBucketNotification", UNKNOWN),
    (
        "replication",
        "s3:GetReplicationConfiguration",
        "s3:PutReplicationConfiguration",
        "s3:PutReplicationConfiguration",
    ),
    (
        "encryption",
        "s3:GetEncryptionConfiguration",
        "s3:PutEncryptionConfiguration",
        "s3:PutEncryptionConfiguration",
    ),
    ("object-lock", "s3:GetBucketObjectLockConfiguration", "s3:PutBucketObjectLockConfiguration", UNKNOWN),
    (
        "publicAccessBlock",
        "s3:GetBucketPublicAccessBlock",
        "s3:PutBucketPublicAccessBlock",
        "s3:PutBucketPublicAccessBlock",
    ),
    (
        "ownershipControls",
        "s3:GetBucketOwnershipControls",
        "s3:PutBucketOwnershipControls",
        "s3:PutBucketOwnershipControls",
    ),
    ("requestPayment", "s3:GetBucketRequestPayment", "s3:PutBucketRequestPayment", UNKNOWN),
    ("accelerate", "s3:GetAccelerateConfiguration", "s3:PutAccelerateConfiguration", UNKNOWN),
    ("session", "s3express:CreateSession", UNKNOWN, UNKNOWN),
    ("", "s3:ListBucket", "s3:CreateBucket", "s3:DeleteBucket"),
];

/// Sub-resources of an object: parameter, what GET, PUT, DELETE and POST do.
const OF_OBJECT: &[(&str, &str, &str, &str, &str)] = &[
    ("acl", "s3:GetObjectAcl", "s3:PutObjectAcl", UNKNOWN, UNKNOWN),
    ("attributes", "s3:GetObjectAttributes", UNKNOWN, UNKNOWN, UNKNOWN),
    ("tagging", "s3:GetObjectTagging", "s3:PutObjectTagging", "s3:DeleteObjectTagging", UNKNOWN),
    ("retention", "s3:GetObjectRetention", "s3:PutObjectRetention", UNKNOWN, UNKNOWN),
    ("legal-hold", "s3:GetObjectLegalHold", "s3:PutObjectLegalHold", UNKNOWN, UNKNOWN),
    ("uploads", UNKNOWN, UNKNOWN, UNKNOWN, "s3:PutObject"),
    ("uploadId", "s3:ListMultipartUploadParts", "s3:PutObject", "s3:AbortMultipartUpload", "s3:PutObject"),
    ("restore", UNKNOWN, UNKNOWN, UNKNOWN, "s3:RestoreObject"),
    ("select", UNKNOWN, UNKNOWN, UNKNOWN, "s3:GetObject"),
    ("versionId", "s3:GetObjectVersion", UNKNOWN, "s3:DeleteObjectVersion", UNKNOWN),
    ("", "s3:GetObject", "s3:PutObject", "s3:DeleteObject", UNKNOWN),
];

pub(super) fn resolve<'a>(ask: &Ask<'a>, place: Option<&Endpoint<'_>>) -> Resolved<'a> {
    let Some(part) = Part::of(ask.query) else { return Resolved::unknown() };
    let (bucket, key) = match thing(ask.path, place) {
        Thing::Unknown => return Resolved::unknown(),
        // What an access point leads to is not shown.
        Thing::Elsewhere { key } => return action(ask, &key, &part),
        Thing::Bucket { bucket, key } => (bucket, key),
    };
    if place.is_none() && foreign::has_own_header(ask.headers) {
        return Resolved::unknown();
    }
    if bucket.is_empty() {
        let lists = *ask.method == Method::GET && part.name.is_empty() && key.is_empty();
        return if lists { Resolved::hidden("s3:ListAllMyBuckets") } else { Resolved::unknown() };
    }
    if place.is_none() && !foreign::is_bucket(&bucket) {
        return Resolved::unknown();
    }
    let named = action(ask, &key, &part);
    // What is deleted, and where a restored selection is written, stands in the body.
    if matches!(part.name.as_str(), "delete" | "restore") {
        return named;
    }
    let arn = |bucket: &str, key: &str| {
        let slash = if key.is_empty() { "" } else { "/" };
        ["arn:", partition(place), ":s3:::", bucket, slash, key].concat()
    };
    let mut arns = vec![arn(&bucket, &key)];
    for value in ask.headers.get_all(SOURCE) {
        match value.to_str().ok().and_then(source) {
            Some((bucket, key)) => arns.push(arn(&bucket, &key)),
            None => return named,
        }
    }
    Resolved { resource: Resource::Arns(arns), ..named }
}

/// The action, on something that is not shown.
fn action<'a>(ask: &Ask<'_>, key: &str, part: &Part) -> Resolved<'a> {
    let (get, put, delete, post) = if key.is_empty() {
        let found = OF_BUCKET.iter().find(|(name, ..)| *name == part.name);
        found.map_or((UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN), |(_, get, put, delete)| {
            (*get, *put, *delete, UNKNOWN)
        })
    } else {
        let found = OF_OBJECT.iter().find(|(name, ..)| *name == part.name);
        found.map_or((UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN), |(_, get, put, delete, post)| {
            (*get, *put, *delete, *post)
        })
    };
    let action = match *ask.method {
        Method::GET => get,
        // Of an object, of one of its versions, or of a bucket: S3 has no others.
        Method::HEAD if matches!(part.name.as_str(), "" | "versionId") => get,
        Method::PUT => put,
        Method::DELETE => delete,
        Method::POST if key.is_empty() && part.name == "delete" => "s3:DeleteObject",
        Method::POST => post,
        _ => UNKNOWN,
    };
    Resolved { also: also(ask, action, part), ..Resolved::hidden(action) }
}

/// What a request does beside, by its headers or to a version; in IAM each is an action of its own.
fn also(ask: &Ask<'_>, action: &'static str, part: &Part) -> Vec<&'static str> {
    let sends = |starts: &[&str]| {
        ask.headers.keys().any(|name| starts.iter().any(|start| name.as_str().starts_with(start)))
    };
    let mut also: Vec<&'static str> = of_version(action).filter(|_| part.is_version).into_iter().collect();
    if sends(&["x-amz-bypass-governance-retention"]) {
        also.push("s3:BypassGovernanceRetention");
    }
    let acl = match action {
        "s3:PutObject" => "s3:PutObjectAcl",
        "s3:CreateBucket" => "s3:PutBucketAcl",
        _ => {
            also.extend(by_body(action, part));
            return also;
        }
    };
    if action == "s3:CreateBucket" {
        also.extend(with_bucket(&sends));
    }
    let beside: [(&[&str], &'static str); 5] = [
        (&["x-amz-acl", "x-amz-grant-"], acl),
        (&["x-amz-tagging"], "s3:PutObjectTagging"),
        (&["x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date"], "s3:PutObjectRetention"),
        (&["x-amz-object-lock-legal-hold"], "s3:PutObjectLegalHold"),
        (&[SOURCE], "s3:GetObject"),
    ];
    also.extend(beside.into_iter().filter(|(starts, _)| sends(starts)).map(|(_, action)| action));
    // `?versionId=…`; a question mark of the key itself is encoded.
    if ask.headers.get_all(SOURCE).iter().any(|value| value.as_bytes().contains(&b'?')) {
        also.push("s3:GetObjectVersion");
    }
    also
}

/// What comes with a new bucket, beside its ACL.
fn with_bucket(sends: &dyn Fn(&[&str]) -> bool) -> Vec<&'static str> {
    let ownership = ["s3:PutBucketOwnershipControls"].into_iter();
    let lock = ["s3:PutBucketObjectLockConfiguration", "s3:PutBucketVersioning"].into_iter();
    ownership
        .filter(|_| sends(&["x-amz-object-ownership"]))
        .chain(lock.filter(|_| sends(&["x-amz-bucket-object-lock-enabled"])))
        .collect()
}

/// What a request's body may ask for beside: versions among what is deleted, a selection that is written elsewhere.
fn by_body(action: &str, part: &Part) -> &'static [&'static str] {
    match (action, part.name.as_str()) {
        ("s3:DeleteObject", "delete") => &["s3:DeleteObjectVersion"],
        ("s3:RestoreObject", _) => &["s3:GetObject", "s3:PutObject", "s3:PutObjectAcl"],
        _ => &[],
    }
}

/// The action that is asked for beside where a sub-resource is a version's.
fn of_version(action: &str) -> Option<&'static str> {
    Some(match action {
        "s3:GetObjectAcl" => "s3:GetObjectVersionAcl",
        "s3:PutObjectAcl" => "s3:PutObjectVersionAcl",
        "s3:GetObjectTagging" => "s3:GetObjectVersionTagging",
        "s3:PutObjectTagging" => "s3:PutObjectVersionTagging",
        "s3:DeleteObjectTagging" => "s3:DeleteObjectVersionTagging",
        "s3:GetObjectAttributes" => "s3:GetObjectVersionAttributes",
        _ => return None,
    })
}

/// The one sub-resource that a query names.
#[derive(Debug, Default)]
struct Part {
    /// Empty: none.
    name: String,
    /// It names a version.
    is_version: bool,
}

impl Part {
    /// `None`: more than one, or one that is not known.
    fn of(query: Option<&str>) -> Option<Self> {
        let mut part = Self::default();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let raw = pair.split_once('=').map_or(pair, |(name, _)| name);
            let name = decoded(raw);
            if MODIFIERS.contains(&&*name)
                || name.starts_with("response-")
                || is_of_signature(raw, &name)
                || is_of_object(&name)
            {
                continue;
            }
            let is_known = name == "delete"
                || OF_BUCKET.iter().any(|(known, ..)| *known == name)
                || OF_OBJECT.iter().any(|(known, ..)| *known == name);
            if name == "versionId" {
                // An empty one is none to some, and a version to others.
                let is_named = pair.split_once('=').is_some_and(|(_, value)| !value.is_empty());
                if !is_named || part.is_version {
                    return None;
                }
                part.is_version = true;
            }
            // A version of a sub-resource is that sub-resource's.
            match (is_known, part.name.as_str(), &*name) {
                (true, "" | "versionId", _) => part.name = name.into_owned(),
                (true, _, "versionId") => {}
                _ => return None,
            }
        }
        (!part.is_version || OF_VERSION.contains(&part.name.as_str())).then_some(part)
    }
}

/// What a version can stand beside, or for.
const OF_VERSION: &[&str] =
    &["versionId", "acl", "tagging", "attributes", "retention", "legal-hold", "restore"];

/// Whether a header as a parameter says how an object is kept, as presigned requests of JavaScript's SDK have it; none that
/// IAM asks for, and none that has a server unpack the object.
fn is_of_object(name: &str) -> bool {
    let is_meta = name.strip_prefix("x-amz-meta-");
    is_meta.is_some_and(|own| !own.starts_with("snowball") && !own.starts_with("minio"))
        || name.starts_with("x-amz-server-side-encryption")
        || name == "x-amz-storage-class"
}

fn is_of_signature(raw: &str, name: &str) -> bool {
    SIGNING.iter().any(|own| is_parameter(raw, own))
        || name.to_ascii_lowercase().starts_with("x-amz-checksum-")
}

/// What host and path name.
enum Thing {
    Bucket {
        bucket: String,
        key: String,
    },
    /// A key behind an access point.
    Elsewhere {
        key: String,
    },
    /// Nothing that this page tells of (S3 Control).
    Unknown,
}

fn thing(path: &str, place: Option<&Endpoint<'_>>) -> Thing {
    let path = path.strip_prefix('/').unwrap_or(path);
    let of = |bucket: &str| Thing::Bucket { bucket: bucket.to_owned(), key: decoded(path).into_owned() };
    let Some(place) = place else { return of_path(path) };
    let elsewhere = || Thing::Elsewhere { key: decoded(path).into_owned() };
    let is_s3 = place.label == "s3" || place.label == "s3-external-1" || is_legacy(place);
    match (place.label, place.before) {
        _ if is_s3 && place.is_private => match place.before.rsplit_once('.').unwrap_or(("", place.before)) {
            ("", "bucket") => of_path(path),
            (bucket, "bucket") => of(bucket),
            (point, "accesspoint") if !point.is_empty() => elsewhere(),
            _ => Thing::Unknown,
        },
        (_, "") if is_s3 => of_path(path),
        (_, bucket) if is_s3 => of(bucket),
        ("s3-accelerate", bucket) if !bucket.is_empty() => of(bucket),
        ("s3-accesspoint" | "s3-object-lambda" | "s3-global", point) if !point.is_empty() => elsewhere(),
        // `b--zone--x-s3.s3express-zone` is a bucket as well.
        (label, bucket)
            if label.starts_with("s3express-") && label != "s3express-control" && !bucket.is_empty() =>
        {
            of(bucket)
        }
        _ => Thing::Unknown,
    }
}

/// `s3-eu-west-1.amazonaws.com`
fn is_legacy(place: &Endpoint<'_>) -> bool {
    matches!(place.region, Region::Named(region) if place.label.strip_prefix("s3-") == Some(region))
}

/// Bucket and key of a path. An encoded slash in a bucket's name would be another bucket's path to who decodes first.
fn of_path(path: &str) -> Thing {
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let bucket = decoded(bucket).into_owned();
    if bucket.contains('/') {
        return Thing::Unknown;
    }
    Thing::Bucket { bucket, key: decoded(key).into_owned() }
}

/// Bucket and key of `x-amz-copy-source`: `/bucket/key?versionId=…`, encoded. `None` for an access point's ARN, and for what
/// some server reads otherwise: MinIO takes it for a URL, with host (`//`) and fragment (`#`), and S3 takes `+` for a space.
fn source(text: &str) -> Option<(String, String)> {
    let (path, version) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
    let is_plain = |b: u8| matches!(b, b' '..=b'~') && !matches!(b, b'#' | b'+' | b'\\');
    if !path.bytes().all(is_plain) || !is_encoded(path) || !version.is_none_or(is_version) {
        return None;
    }
    let path = percent_encoding::percent_decode_str(path).decode_utf8().ok()?;
    let path = path.strip_prefix('/').unwrap_or(&path);
    let (bucket, key) = path.split_once('/')?;
    let fits = !bucket.is_empty()
        && !bucket.contains(':')
        && !key.is_empty()
        && !path.bytes().any(|b| b.is_ascii_control())
        && !path.split('/').any(|segment| matches!(segment, "." | ".."));
    fits.then(|| (bucket.to_owned(), key.to_owned()))
}

/// Whether every `%` begins a code: what is malformed is left as it is by some servers, and in part by others.
fn is_encoded(text: &str) -> bool {
    text.split('%')
        .skip(1)
        .all(|after| after.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
}

/// `versionId=…`, and nothing else.
fn is_version(query: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    query.strip_prefix("versionId=").is_some_and(|id| !id.is_empty() && id.bytes().all(is_inner))
}
