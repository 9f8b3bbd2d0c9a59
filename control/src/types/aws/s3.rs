//! S3's REST interface: bucket from host or path, key, one sub-resource of the query.
//!
//! Parameters that no table lists make a request unknown: they could name a sub-resource that is newer than this page.

use http::Method;

use super::{Ask, Endpoint, Resolved, Resource, decoded, partition};
use crate::types::UNKNOWN;

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
    "partnumber",
    "x-id",
    "id",
    "select-type",
];

/// Sub-resources of a bucket: parameter, what GET, PUT and DELETE do.
const OF_BUCKET: &[(&str, &str, &str, &str)] = &[
    ("location", "s3:GetBucketLocation", UNKNOWN, UNKNOWN),
    ("acl", "s3:GetBucketAcl", "s3:PutBucketAcl", UNKNOWN),
    ("policy", "s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"),
    ("policystatus", "s3:GetBucketPolicyStatus", UNKNOWN, UNKNOWN),
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
        "publicaccessblock",
        "s3:GetBucketPublicAccessBlock",
        "s3:PutBucketPublicAccessBlock",
        "s3:PutBucketPublicAccessBlock",
    ),
    (
        "ownershipcontrols",
        "s3:GetBucketOwnershipControls",
        "s3:PutBucketOwnershipControls",
        "s3:PutBucketOwnershipControls",
    ),
    ("requestpayment", "s3:GetBucketRequestPayment", "s3:PutBucketRequestPayment", UNKNOWN),
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
    ("uploadid", "s3:ListMultipartUploadParts", "s3:PutObject", "s3:AbortMultipartUpload", "s3:PutObject"),
    ("restore", UNKNOWN, UNKNOWN, UNKNOWN, "s3:RestoreObject"),
    ("select", UNKNOWN, UNKNOWN, UNKNOWN, "s3:GetObject"),
    ("versionid", "s3:GetObjectVersion", UNKNOWN, "s3:DeleteObjectVersion", UNKNOWN),
    ("", "s3:GetObject", "s3:PutObject", "s3:DeleteObject", UNKNOWN),
];

pub(super) fn resolve<'a>(ask: &Ask<'a>, place: Option<&Endpoint<'_>>) -> Resolved<'a> {
    let Some(part) = part(ask.query) else { return Resolved::unknown() };
    let Some((bucket, key)) = bucket_and_key(ask.path, place) else {
        // Access points and accounts' own paths: what they act on is not shown.
        return Resolved { resource: Resource::Hidden, ..action(ask, "bucket", "key", &part) };
    };
    if bucket.is_empty() {
        let lists = *ask.method == Method::GET && part.is_empty();
        return if lists { Resolved::hidden("s3:ListAllMyBuckets") } else { Resolved::unknown() };
    }
    let named = action(ask, &bucket, &key, &part);
    if part == "delete" {
        return named;
    }
    let arn = |bucket: &str, key: &str| {
        let slash = if key.is_empty() { "" } else { "/" };
        ["arn:", partition(place), ":s3:::", bucket, slash, key].concat()
    };
    let mut arns = vec![arn(&bucket, &key)];
    for value in ask.headers.get_all("x-amz-copy-source") {
        match value.to_str().ok().and_then(source) {
            Some((bucket, key)) => arns.push(arn(&bucket, &key)),
            None => return Resolved { resource: Resource::Hidden, ..named },
        }
    }
    Resolved { resource: Resource::Arns(arns), ..named }
}

fn action<'a>(ask: &Ask<'_>, _bucket: &str, key: &str, part: &str) -> Resolved<'a> {
    let (get, put, delete, post) = if key.is_empty() {
        let found = OF_BUCKET.iter().find(|(name, ..)| *name == part);
        found.map_or((UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN), |(_, get, put, delete)| {
            (*get, *put, *delete, UNKNOWN)
        })
    } else {
        let found = OF_OBJECT.iter().find(|(name, ..)| *name == part);
        found.map_or((UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN), |(_, get, put, delete, post)| {
            (*get, *put, *delete, *post)
        })
    };
    let action = match *ask.method {
        Method::GET | Method::HEAD => get,
        Method::PUT => put,
        Method::DELETE => delete,
        Method::POST if key.is_empty() && part == "delete" => "s3:DeleteObject",
        Method::POST => post,
        _ => UNKNOWN,
    };
    Resolved { also: also(ask, action), ..Resolved::hidden(action) }
}

/// What comes with an object or bucket by headers; in IAM each is an action of its own.
fn also(ask: &Ask<'_>, action: &'static str) -> Vec<&'static str> {
    let acl = match action {
        "s3:PutObject" => "s3:PutObjectAcl",
        "s3:CreateBucket" => "s3:PutBucketAcl",
        _ => return Vec::new(),
    };
    let sends = |starts: &[&str]| {
        ask.headers.keys().any(|name| starts.iter().any(|start| name.as_str().starts_with(start)))
    };
    let beside: [(&[&str], &'static str); 5] = [
        (&["x-amz-acl", "x-amz-grant-"], acl),
        (&["x-amz-tagging"], "s3:PutObjectTagging"),
        (&["x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date"], "s3:PutObjectRetention"),
        (&["x-amz-object-lock-legal-hold"], "s3:PutObjectLegalHold"),
        (&["x-amz-copy-source"], "s3:GetObject"),
    ];
    beside.into_iter().filter(|(starts, _)| sends(starts)).map(|(_, action)| action).collect()
}

/// The one sub-resource that the query names, in lower case; empty: none. `None`: more than one, or one that is not known.
fn part(query: Option<&str>) -> Option<String> {
    let mut found = String::new();
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let name = decoded(pair.split_once('=').map_or(pair, |(name, _)| name)).to_ascii_lowercase();
        if MODIFIERS.contains(&name.as_str()) || name.starts_with("x-amz-") || name.starts_with("response-") {
            continue;
        }
        let known = name == "delete"
            || OF_BUCKET.iter().any(|(known, ..)| *known == name)
            || OF_OBJECT.iter().any(|(known, ..)| *known == name);
        // A version of a sub-resource is that sub-resource's.
        match (known, found.as_str(), name.as_str()) {
            (true, "" | "versionid", _) => found = name,
            (true, _, "versionid") => {}
            _ => return None,
        }
    }
    Some(found)
}

/// Bucket and key; `None` where the host is neither a bucket's nor S3's own.
fn bucket_and_key(path: &str, place: Option<&Endpoint<'_>>) -> Option<(String, String)> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let own = place.filter(|place| !place.before.is_empty());
    match own {
        // `b--zone--x-s3.s3express-zone` is a bucket as well.
        Some(place)
            if place.label == "s3"
                || place.label.starts_with("s3-") && place.services.first() == Some("s3") =>
        {
            let is_bucket = !matches!(place.label, "s3-accesspoint" | "s3-control" | "s3-global");
            is_bucket.then(|| (place.before.to_owned(), decoded(path)))
        }
        Some(place) => {
            place.label.starts_with("s3express-").then(|| (place.before.to_owned(), decoded(path)))
        }
        None => {
            let is_elsewhere =
                place.is_some_and(|place| matches!(place.label, "s3-accesspoint" | "s3-control"));
            let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
            (!is_elsewhere).then(|| (decoded(bucket), decoded(key)))
        }
    }
}

/// Bucket and key of `x-amz-copy-source`: `/bucket/key?versionId=…`, encoded. An access point's ARN is none.
fn source(text: &str) -> Option<(String, String)> {
    let text = text.strip_prefix('/').unwrap_or(text);
    let (text, _) = text.split_once('?').unwrap_or((text, ""));
    let text = decoded(text);
    let text = text.strip_prefix('/').unwrap_or(&text);
    let (bucket, key) = text.split_once('/')?;
    let fits = !bucket.is_empty() && !bucket.contains(':') && !key.is_empty();
    fits.then(|| (bucket.to_owned(), key.to_owned()))
}
