//! The canonical request: what a signature covers, byte for byte as the service will rebuild it.
//!
//! For: the signer. Two sets of rules: S3 decodes the path and encodes it once, dots and slashes as they are; every other
//! service resolves dots and doubled slashes and encodes what was sent once more. Pure.

use std::ops::Range;

use http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode;
use zeroize::Zeroizing;

/// How a path becomes canonical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathRules {
    /// Decode what was sent first, so that it is encoded once in all.
    pub once: bool,
    /// Resolve dot segments and doubled slashes.
    pub resolve_dots: bool,
}

impl PathRules {
    /// S3's, and those of what speaks like it.
    pub const S3: Self = Self { once: true, resolve_dots: false };
    /// All other services'.
    pub const OTHERS: Self = Self { once: false, resolve_dots: true };
}

/// A request as it will be sent, but for its signature.
#[derive(Clone, Copy)]
pub struct Unsigned<'a> {
    /// The method.
    pub method: &'a str,
    /// The path, encoded as it is sent.
    pub path: &'a str,
    /// The query, encoded as it is sent, without `X-Amz-Signature`.
    pub query: &'a str,
    /// The `Host` that is sent; one among the headers is not looked at.
    pub host: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The hash of the payload or what stands for it.
    pub payload: &'a str,
    /// How the path becomes canonical.
    pub path_rules: PathRules,
}

impl std::fmt::Debug for Unsigned<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unsigned").field("method", &self.method).finish_non_exhaustive()
    }
}

/// The headers that we sign: those that a service demands, and none that changes on its way (hyper writes framing, the
/// proxy settles codings and ranges).
pub fn is_signed(name: &str) -> bool {
    name.starts_with("x-amz-") || matches!(name, "content-type" | "content-md5")
}

/// The signed headers' names, sorted, with `host`.
pub fn signed_names<'h>(headers: &'h HeaderMap, is_signed: impl Fn(&str) -> bool) -> Vec<&'h str> {
    let named =
        headers.keys().map(http::HeaderName::as_str).filter(|name| *name != "host" && is_signed(name));
    let mut names: Vec<&'h str> = std::iter::once("host").chain(named).collect();
    names.sort_unstable();
    names
}

/// Writes the canonical request. It may hold a session token, so it is wiped.
pub fn canonical(request: &Unsigned<'_>, names: &[&str]) -> Zeroizing<Vec<u8>> {
    let room: usize = names.iter().map(|name| name.len() * 2 + 64).sum();
    let lengths = request.path.len() * 3 + request.query.len() * 3 + request.host.len() + 128;
    let mut out = Zeroizing::new(Vec::with_capacity(room + lengths + header_bytes(request.headers)));
    out.extend_from_slice(request.method.as_bytes());
    out.push(b'\n');
    path_into(request.path, request.path_rules, &mut out);
    out.push(b'\n');
    query_into(request.query, &mut out);
    out.push(b'\n');
    for name in names {
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        if *name == "host" {
            out.extend_from_slice(request.host.as_bytes());
        } else {
            values_into(request.headers.get_all(*name).iter(), &mut out);
        }
        out.push(b'\n');
    }
    out.push(b'\n');
    names_into(names, &mut out);
    out.push(b'\n');
    out.extend_from_slice(request.payload.as_bytes());
    out
}

/// `host;x-amz-date`.
pub fn names_into(names: &[&str], out: &mut Vec<u8>) {
    for (index, name) in names.iter().enumerate() {
        if index > 0 {
            out.push(b';');
        }
        out.extend_from_slice(name.as_bytes());
    }
}

/// So that the buffer never grows, which would leave copies behind that are not wiped.
fn header_bytes(headers: &HeaderMap) -> usize {
    headers.values().map(|value| value.len() + 1).sum()
}

/// Several values are one list; spaces around are dropped, rows of them are one.
fn values_into<'v>(values: impl Iterator<Item = &'v HeaderValue>, out: &mut Vec<u8>) {
    for (index, value) in values.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let is_blank = |byte: u8| byte == b' ' || byte == b'\t';
        let mut words = value.as_bytes().split(|byte| is_blank(*byte)).filter(|word| !word.is_empty());
        if let Some(first) = words.next() {
            out.extend_from_slice(first);
        }
        for word in words {
            out.push(b' ');
            out.extend_from_slice(word);
        }
    }
}

/// The canonical path.
pub fn path_into(path: &str, rules: PathRules, out: &mut Vec<u8>) {
    let path = if path.is_empty() { "/" } else { path };
    match (rules.resolve_dots, rules.once) {
        (false, false) => encode_into(path.as_bytes(), Slash::Stays, out),
        (false, true) => {
            let decoded: Vec<u8> = percent_decode(path.as_bytes()).collect();
            encode_into(&decoded, Slash::Stays, out);
        }
        (true, once) => {
            let resolved = resolved(path);
            path_into(&resolved, PathRules { once, resolve_dots: false }, out);
        }
    }
}

/// Without dot segments and empty ones; a slash at the end stays (RFC 3986 section 5.2.4, and AWS' rules).
fn resolved(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let ends_open = path.ends_with(['/']) || path.ends_with("/.") || path.ends_with("/..");
    let mut out = String::with_capacity(path.len() + 1);
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if out.is_empty() || ends_open {
        out.push('/');
    }
    out
}

/// The canonical query: every name and value encoded anew, sorted by name, then by value. A `+` is read as a space, as
/// services do.
pub fn query_into(query: &str, out: &mut Vec<u8>) {
    if query.is_empty() {
        return;
    }
    let mut text: Zeroizing<Vec<u8>> = Zeroizing::new(Vec::with_capacity(query.len() * 3));
    let mut pairs: Vec<(Range<usize>, Range<usize>)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let mut encoded = |part: &str| {
            let start = text.len();
            for (index, piece) in part.split('+').enumerate() {
                if index > 0 {
                    text.extend_from_slice(b"%20");
                }
                percent_decode(piece.as_bytes()).for_each(|byte| byte_into(byte, Slash::Encoded, &mut text));
            }
            start..text.len()
        };
        pairs.push((encoded(name), encoded(value)));
    }
    let of = |range: &Range<usize>| text.get(range.clone()).unwrap_or_default();
    pairs.sort_unstable_by(|a, b| (of(&a.0), of(&a.1)).cmp(&(of(&b.0), of(&b.1))));
    for (index, (name, value)) in pairs.iter().enumerate() {
        if index > 0 {
            out.push(b'&');
        }
        out.extend_from_slice(of(name));
        out.push(b'=');
        out.extend_from_slice(of(value));
    }
}

/// Whether a slash is written as it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slash {
    Stays,
    Encoded,
}

/// A value as it stands in a query: everything but unreserved characters is encoded.
pub fn value_into(value: &[u8], out: &mut Vec<u8>) {
    encode_into(value, Slash::Encoded, out);
}

fn encode_into(text: &[u8], slash: Slash, out: &mut Vec<u8>) {
    text.iter().for_each(|byte| byte_into(*byte, slash, out));
}

/// Unreserved characters (RFC 3986 section 2.3) stand as they are, all else is `%XX` in capitals.
#[inline]
fn byte_into(byte: u8, slash: Slash, out: &mut Vec<u8>) {
    let stays = byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~')
        || (byte == b'/' && slash == Slash::Stays);
    if stays {
        out.push(byte);
    } else {
        let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'A' + nibble - 10 };
        out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(path: &str, rules: PathRules) -> String {
        let mut out = Vec::new();
        path_into(path, rules, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn query(query: &str) -> String {
        let mut out = Vec::new();
        query_into(query, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn s3_paths_are_encoded_once_and_keep_dots_and_slashes() {
        for (sent, canonical) in [
            ("", "/"),
            ("/", "/"),
            ("/b/a%20b", "/b/a%20b"),
            ("/b/a b", "/b/a%20b"),
            ("/b/a+b", "/b/a%2Bb"),
            ("/b/a%2bb", "/b/a%2Bb"),
            ("/b//c/./d/../e", "/b//c/./d/../e"),
            ("/b/%E1%88%B4", "/b/%E1%88%B4"),
            ("/b/%7Ea%2Fb", "/b/~a/b"),
            ("/b/100%", "/b/100%25"),
        ] {
            assert_eq!(path(sent, PathRules::S3), canonical, "{sent}");
        }
    }

    #[test]
    fn other_paths_are_encoded_twice_and_resolved() {
        for (sent, canonical) in [
            ("", "/"),
            ("/a%20b", "/a%2520b"),
            ("//a//b/./c/../d/", "/a/b/d/"),
            ("/../..", "/"),
            ("/a/.", "/a/"),
            ("/a/b/..", "/a/"),
            (
                "/2015-03-31/functions/arn%3Aaws%3Alambda/invocations",
                "/2015-03-31/functions/arn%253Aaws%253Alambda/invocations",
            ),
        ] {
            assert_eq!(path(sent, PathRules::OTHERS), canonical, "{sent}");
        }
    }

    #[test]
    fn queries_are_sorted_as_encoded_with_every_value_encoded_once() {
        for (sent, canonical) in [
            ("", ""),
            ("acl", "acl="),
            ("b=2&a=1&a=0&", "a=0&a=1&b=2"),
            ("a=x%2fy&a-b=1&a%21=2", "a=x%2Fy&a%21=2&a-b=1"),
            ("prefix=a b&q=a+b&r=a%2Bb", "prefix=a%20b&q=a%20b&r=a%2Bb"),
            ("k=a=b", "k=a%3Db"),
            ("=v", "=v"),
        ] {
            assert_eq!(query(sent), canonical, "{sent}");
        }
    }

    #[test]
    fn only_what_no_one_changes_on_the_way_is_signed() {
        let mut headers = HeaderMap::new();
        for name in [
            "host",
            "range",
            "x-amz-date",
            "content-type",
            "accept-encoding",
            "te",
            "content-length",
            "expect",
        ] {
            headers.insert(http::HeaderName::from_static(name), HeaderValue::from_static("x"));
        }
        assert_eq!(signed_names(&headers, is_signed), ["content-type", "host", "x-amz-date"]);
    }

    proptest! {
        #[test]
        fn what_is_canonical_for_s3_stays_so(sent in "/[ -~]{0,40}") {
            let once = path(&sent, PathRules::S3);
            prop_assert_eq!(path(&once, PathRules::S3), once);
        }

        #[test]
        fn a_canonical_query_stays_so(sent in "[ -~]{0,60}") {
            let once = query(&sent);
            prop_assert_eq!(query(&once), once);
        }

        #[test]
        fn any_text_becomes_canonical_without_panic(sent in "\\PC{0,60}") {
            path(&sent, PathRules::S3);
            path(&sent, PathRules::OTHERS);
            query(&sent);
        }
    }
}
