//! Header names: which may carry a credential, and which spellings a server could take for the same name.
//!
//! Refuses as surfaces: headers that servers reflect or log (User-Agent, Referer …), that belong to one connection, or
//! that frame the message. CGI-style servers read `X_Api_Key` and `X.Api.Key` as `X-Api-Key`.

use http::header::{HeaderMap, HeaderName};

/// The header name, if a credential may go there.
pub fn injectable(name: &str) -> Option<HeaderName> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    (!is_reflecting(name.as_str()) && !is_connection(name.as_str())).then_some(name)
}

/// Headers that servers echo, log or vary on: no credential is ever put there (SECURITY.md, "Placeholders").
pub(crate) fn is_reflecting(name: &str) -> bool {
    matches!(
        name,
        "user-agent"
            | "referer"
            | "origin"
            | "cookie"
            | "traceparent"
            | "tracestate"
            | "baggage"
            | "b3"
            | "x-request-id"
            | "x-correlation-id"
            | "x-cloud-trace-context"
            | "x-amzn-trace-id"
            | "uber-trace-id"
            | "range"
            | "from"
            | "via"
    ) || name.starts_with("accept")
        || name.starts_with("if-")
        || name.starts_with("x-b3-")
}

/// Headers that belong to one connection or to the framing; some are regenerated, none is a surface.
fn is_connection(name: &str) -> bool {
    matches!(
        name,
        "host"
            | "content-length"
            | "content-type"
            | "content-encoding"
            | "transfer-encoding"
            | "connection"
            | "keep-alive"
            | "te"
            | "trailer"
            | "upgrade"
            | "expect"
            | "date"
            | "forwarded"
            | "proxy"
    ) || name.starts_with("proxy-")
        || name.starts_with("x-forwarded-")
        || name.starts_with("sec-websocket-")
}

/// Whether the name has a character that CGI-style servers take for `-`.
#[inline]
pub(crate) fn is_spelled(name: &str) -> bool {
    memchr::memchr2(b'_', b'.', name.as_bytes()).is_some()
}

/// Whether two lower-case names are the same to a server that takes `_` and `.` for `-`.
pub(crate) fn same_spelling(a: &str, b: &str) -> bool {
    let fold = |byte: u8| if byte == b'_' || byte == b'.' { b'-' } else { byte };
    a.len() == b.len() && a.bytes().map(fold).eq(b.bytes().map(fold))
}

/// Removes every copy of a header and of its `_` and `.` spellings.
pub(crate) fn remove_all_spellings(headers: &mut HeaderMap, name: &HeaderName) {
    headers.remove(name);
    remove_other_spellings(headers, name);
}

/// Removes the copies of a header under its other spellings.
pub(crate) fn remove_other_spellings(headers: &mut HeaderMap, name: &HeaderName) {
    let own = name.as_str();
    let own_is_spelled = is_spelled(own);
    let mut others: Vec<HeaderName> = Vec::new();
    for other in headers.keys() {
        let text = other.as_str();
        if text.len() == own.len()
            && (own_is_spelled || is_spelled(text))
            && text != own
            && same_spelling(text, own)
        {
            others.push(other.clone());
        }
    }
    for other in others {
        headers.remove(other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    #[test]
    fn no_credential_goes_into_headers_that_servers_reflect_or_that_frame_the_message() {
        for name in [
            "User-Agent",
            "referer",
            "cookie",
            "via",
            "b3",
            "accept",
            "accept-language",
            "if-match",
            "x-b3-traceid",
            "host",
            "content-length",
            "te",
            "forwarded",
            "proxy",
            "proxy-authorization",
            "x-forwarded-for",
            "sec-websocket-protocol",
            "a b",
            "",
        ] {
            assert_eq!(injectable(name), None, "{name}");
        }
        for name in ["Authorization", "x-api-key", "private-token", "api.key"] {
            assert_eq!(injectable(name).unwrap().as_str(), name.to_lowercase());
        }
    }

    #[test]
    fn a_name_with_an_underscore_or_a_dot_has_another_spelling() {
        for (name, is) in [("x_api-key", true), ("x-api.key", true), ("x-api-key", false), ("", false)] {
            assert_eq!(is_spelled(name), is, "{name}");
        }
        assert!(same_spelling("x_api.key", "x-api-key") && !same_spelling("x-api-key2", "x-api-key"));
    }

    #[test]
    fn removes_the_other_spellings_and_keeps_its_own() {
        let own = HeaderName::from_static("x-api_key");
        let mut headers = HeaderMap::new();
        for name in ["x-api_key", "x-api-key", "x_api.key", "x-api-kez", "x-api-key2"] {
            headers.append(name, HeaderValue::from_static("v"));
        }
        remove_other_spellings(&mut headers, &own);
        let mut kept: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        kept.sort_unstable();
        assert_eq!(kept, ["x-api-key2", "x-api-kez", "x-api_key"]);
    }

    proptest! {
        #[test]
        fn no_spelling_of_a_removed_header_survives(names in proptest::collection::vec("[abAB]{1,2}([-_.][ab]){0,2}", 0..12), name in "[ab]([-_.][ab]){0,2}") {
            let mut headers = HeaderMap::new();
            for other in &names {
                headers.append(HeaderName::from_bytes(other.as_bytes()).unwrap(), HeaderValue::from_static("v"));
            }
            remove_all_spellings(&mut headers, &HeaderName::from_bytes(name.as_bytes()).unwrap());
            let fold = |text: &str| text.to_ascii_lowercase().replace(['_', '.'], "-");
            let kept = names.iter().filter(|other| fold(other) != fold(&name)).count();
            prop_assert_eq!(headers.len(), kept);
            prop_assert!(headers.keys().all(|other| fold(other.as_str()) != fold(&name)));
        }
    }
}
