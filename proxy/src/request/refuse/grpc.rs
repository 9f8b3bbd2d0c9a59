//! A refusal as gRPC clients read it: a "Trailers-Only" answer (gRPC over HTTP/2, PROTOCOL-HTTP2.md), whose status is what these
//! clients make of our HTTP status (http-grpc-status-mapping.md), so that retries are as with any other proxy.

use control::refusal::Refusal;
use http::HeaderMap;
use http::header::{CONTENT_TYPE as FIELD, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

pub(super) const CONTENT_TYPE: &str = "application/grpc";

/// What is escaped in `grpc-message`: all that is not printable ASCII, and the sign itself.
const MESSAGE: &AsciiSet = &CONTROLS.add(b'%');

/// Whether this is a call: `application/grpc`, with or without an encoding's name.
pub(super) fn is_spoken(headers: &HeaderMap) -> bool {
    let kind = headers.get(FIELD).and_then(|value| value.as_bytes().strip_prefix(CONTENT_TYPE.as_bytes()));
    kind.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The status and the sentence.
pub(super) fn tell(headers: &mut HeaderMap, refusal: &Refusal, message: &str) {
    headers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from(status(refusal.status)));
    let message = utf8_percent_encode(message, MESSAGE).to_string();
    super::set(headers, HeaderName::from_static("grpc-message"), &message);
}

/// INTERNAL, UNAUTHENTICATED, PERMISSION_DENIED, UNIMPLEMENTED, UNAVAILABLE; UNKNOWN.
fn status(http: u16) -> u16 {
    match http {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use control::refusal::Code;
    use http::Version;

    use super::*;
    use crate::request::refuse::{Dialect, response};

    #[test]
    fn speaks_as_grpc_servers_do_to_who_calls_as_their_clients() {
        let mut headers = HeaderMap::new();
        for (kind, is_call) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x=y", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            headers.insert("content-type", HeaderValue::from_static(kind));
            assert_eq!(Dialect::of(&headers, Version::HTTP_2) == Dialect::Grpc, is_call, "{kind}");
            assert_eq!(Dialect::of(&headers, Version::HTTP_11), Dialect::Json, "gRPC is HTTP/2");
        }
        let answer = response(&Refusal::new(Code::Dw1002, "100 % no"), "c1-1", &Dialect::Grpc);
        assert_eq!((answer.status().as_u16(), answer.body().len()), (200, 0));
        let field = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!((&*field("content-type"), &*field("grpc-status")), ("application/grpc", "7"));
        assert!(
            field("grpc-message").starts_with("doorward DW1002: 100 %25 no."),
            "{}",
            field("grpc-message")
        );
        assert!(!answer.headers().contains_key("content-length"));
    }
}
