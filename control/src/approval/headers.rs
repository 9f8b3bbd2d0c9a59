//! Which headers an approval is bound to: all but those that clients change from one attempt to the next and that do not say
//! what is done.
//!
//! Headers can decide what a request does (`X-Amz-Target`, `Destination`, `x-amz-copy-source`, `Content-Type`), so that an
//! unknown one counts: a request that carries another value is another question, never an approved one.

use http::HeaderMap;
use sha2::{Digest as _, Sha256};

use crate::vault::length_prefixed;

/// Names that do not count: credentials, which the binding's `scheme` speaks of; what follows from the body, which is bound
/// by itself; times, ids of attempts and traces; and what says only how the answer may be written.
const VOLATILE: &[&str] = &[
    "accept-encoding",
    "authorization",
    "baggage",
    "b3",
    "content-digest",
    "content-length",
    "content-md5",
    "date",
    "digest",
    "expect",
    "grpc-timeout",
    "host",
    "idempotency-key",
    "if-none-match",
    "priority",
    "repr-digest",
    "sec-websocket-key",
    "sentry-trace",
    "te",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "user-agent",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-security-token",
    "x-amzn-trace-id",
    "x-client-request-id",
    "x-cloud-trace-context",
    "x-correlation-id",
    "x-goog-api-client",
    "x-goog-hash",
    "x-idempotency-key",
    "x-ms-client-request-id",
    "x-ms-date",
    "x-request-id",
];

/// Beginnings of names that do not count.
const VOLATILE_BEGINNINGS: &[&str] =
    &["amz-sdk-", "x-amz-checksum-", "x-b3-", "x-datadog-", "x-stainless-", "x-trace-"];

fn counts(name: &str) -> bool {
    !VOLATILE.contains(&name) && !VOLATILE_BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

/// A digest of the headers that count: names in order, the values of one name as they came.
pub(crate) fn digest(headers: &HeaderMap) -> [u8; 32] {
    let mut counting: Vec<_> = headers.iter().filter(|(name, _)| counts(name.as_str())).collect();
    counting.sort_by(|one, other| one.0.as_str().cmp(other.0.as_str()));
    let parts: Vec<&[u8]> =
        counting.iter().flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()]).collect();
    Sha256::digest(length_prefixed(&parts)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[(&'static str, &'static str)]) -> [u8; 32] {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        digest(&headers)
    }

    #[test]
    fn what_could_say_what_is_done_counts() {
        const SAME: (&str, &str) = ("x-amz-target", "DynamoDB_20120810.ListTables");
        let own = of(&[SAME, ("accept", "a"), ("accept", "b")]);
        assert_eq!(own, of(&[("accept", "a"), ("accept", "b"), SAME]), "their order does not");
        for other in [
            &[("x-amz-target", "DynamoDB_20120810.DeleteTable"), ("accept", "a"), ("accept", "b")][..],
            &[SAME, ("accept", "b"), ("accept", "a")],
            &[SAME, ("accept", "ab")],
            &[SAME, ("accept", "a"), ("accept", "b"), ("x-unheard-of", "1")],
            &[("accept", "a"), ("accept", "b")],
        ] {
            assert_ne!(own, of(other), "{other:?}");
        }
    }

    #[test]
    fn what_changes_with_each_attempt_does_not_count() {
        let own = of(&[("accept", "a")]);
        for (name, value) in [
            ("traceparent", "00-1-2-01"),
            ("x-amz-date", "20300101T000000Z"),
            ("x-stainless-retry-count", "1"),
            ("content-length", "5"),
            ("sec-websocket-key", "x"),
        ] {
            assert_eq!(own, of(&[("accept", "a"), (name, value)]), "{name}");
        }
    }
}
