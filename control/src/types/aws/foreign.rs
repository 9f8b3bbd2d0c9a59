//! Servers of S3's interface that are not AWS' own (MinIO, Ceph): what they read otherwise than S3 does.
//!
//! Refuses to name what a request does where such a server has an interface of its own on the path, or a header of its own
//! changes it. What is listed is what these servers document; a server's extension that is not known here is not seen.

use http::HeaderMap;

/// First segments of paths that belong to a server's own interface (MinIO, Ceph).
const RESERVED: &[&str] = &["minio", "admin"];

/// Headers of vendors' own: they delete recursively, copy, set rights, unpack what is put.
const VENDORS: &[&str] = &[
    "x-minio-",
    "x-amz-meta-minio-",
    "x-amz-meta-snowball-",
    "x-rgw-",
    "x-goog-",
    "x-oss-",
    "x-obs-",
    "x-cos-",
    "x-tos-",
    "x-bce-",
    "x-emc-",
    "x-wasabi-",
    "x-bz-",
    "x-seaweedfs-",
    "cf-create-",
];

/// Whether a first segment can be a bucket: `_localstack`, `.minio.sys` and `~` are none.
pub(super) fn is_bucket(name: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    (3..=255).contains(&name.len())
        && name.bytes().all(is_inner)
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && !RESERVED.iter().any(|own| name.eq_ignore_ascii_case(own))
}

/// Whether a header could make such a server do something else than S3 would.
pub(super) fn has_own_header(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| {
        // As servers see it that fold names.
        let name = name.as_str().replace(['_', '.'], "-");
        VENDORS.iter().any(|vendor| name.starts_with(vendor))
            || (name.starts_with("x-") && !name.starts_with("x-amz-") && name.contains("copy-source"))
    })
}
