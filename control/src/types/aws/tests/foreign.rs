//! Hosts that are not AWS' own: what their servers read in another way than S3 does.

use super::*;

fn put(host: &str, source: &'static str) -> String {
    resolved(&Method::PUT, &format!("{host}/acme/to"), "", &[("x-amz-copy-source", source)])
}

#[test]
fn a_copy_source_with_two_readings_is_not_shown() {
    for host in ["minio.test", "s3.eu-west-1.amazonaws.com"] {
        for odd in [
            "//acme/evil/secret",
            "%2F/acme/evil/secret",
            "/%2Facme/evil/secret",
            "%2f%2facme/evil/secret",
            "acme/secret#.txt",
            "acme/a/../secret",
            "acme/./secret",
            "acme/%2e%2e/evil/secret",
            "../evil/secret",
            "acme/a+b",
            "acme/a?x=1",
            "acme/a?",
            "acme/a?versionId=",
            "acme/a?versionId=1&versionId=2",
            "acme/a?versionId=1#x",
            "acme/a?versionid=1",
            "acme/%zz",
            "acme/a%2",
            "acme/%ff",
            "acme/a%00b",
            "acme/a%0Ab",
            "acme\\evil/a",
        ] {
            assert_eq!(put(host, odd), "s3:PutObject ?", "{host} {odd}");
        }
        for plain in ["evil/a%20b", "/evil/a%20b", "evil/a%20b?versionId=1", "%2Fevil%2Fa%20b"] {
            assert_eq!(
                put(host, plain),
                "s3:PutObject arn:aws:s3:::acme/to arn:aws:s3:::evil/a b",
                "{host} {plain}"
            );
        }
        for plain in ["evil/a%2Bb%23c%3Fd", "evil/a.b/..c/...", "evil/\u{20}x"] {
            assert!(put(host, plain).contains("arn:aws:s3:::evil/"), "{host} {plain}");
        }
    }
}

#[test]
fn an_admin_interface_is_no_bucket() {
    for url in [
        "minio.test/minio/admin/v3/export-iam",
        "minio.test/minio/kms/status",
        "minio.test/%6dinio/admin/v3/add-user",
        "minio.test/MINIO/admin/v3/add-user",
        "minio.test/minio",
        "ceph.test/admin/user?uid=x",
        "ceph.test/admin",
        "local.test/_localstack/state/save",
        "local.test/.minio.sys/config",
        "local.test/~/x",
        "local.test/a/x",
    ] {
        assert_eq!(get(url), "unknown ?", "{url}");
        assert_eq!(resolved(&Method::PUT, url, "", &[]), "unknown ?", "{url}");
    }
    assert_eq!(get("minio.test/acme/minio/admin"), "s3:GetObject arn:aws:s3:::acme/minio/admin");
    assert_eq!(get("admin.s3.eu-west-1.amazonaws.com/a"), "s3:GetObject arn:aws:s3:::admin/a");
}

#[test]
fn a_foreign_servers_own_header_makes_a_request_unknown() {
    for name in [
        "x-minio-force-delete",
        "x-minio-extract",
        "x_minio_force_delete",
        "x-goog-copy-source",
        "x-oss-copy-source",
        "x-oss-acl",
        "x-cos-copy-source",
        "x-obs-acl",
        "x-rgw-quota",
        "x-vendor-copy-source",
        "x-amz-meta-snowball-auto-extract",
        "x-amz-meta-minio-snowball-prefix",
        "cf-create-bucket-if-missing",
    ] {
        let headers = [(name, "true")];
        for method in [Method::DELETE, Method::PUT] {
            assert_eq!(resolved(&method, "minio.test/acme/x", "", &headers), "unknown ?", "{name}");
        }
        assert_ne!(resolved(&Method::PUT, "acme.s3.eu-west-1.amazonaws.com/x", "", &headers), "unknown ?");
    }
    for name in ["x-amz-acl", "x-amz-meta-a", "x-amz-copy-source-range", "x-request-id", "cf-ray"] {
        let seen = resolved(&Method::PUT, "minio.test/acme/x", "", &[(name, "true")]);
        assert_eq!(seen, "s3:PutObject arn:aws:s3:::acme/x", "{name}");
    }
}
