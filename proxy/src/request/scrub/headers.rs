//! Heads and trailers of responses.
//!
//! A value is masked in place, so that its length holds. A name cannot be masked: the field goes.
//! Trailers: those that the head declared, and gRPC's; the others are dropped, as are fields that mean something in a
//! head only (RFC 9110, 6.5.1).

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::error::ScrubError;
use super::masker::Watch;
use super::scanner::Scanner;

/// Masks every value in a head, and removes the fields whose names hold one.
///
/// # Errors
/// When a text cannot be followed; the response must be refused.
pub fn scrub(scanner: &Scanner, watch: &dyn Watch, headers: &mut HeaderMap) -> Result<(), ScrubError> {
    if scanner.is_empty() {
        return Ok(());
    }
    let telling: Vec<HeaderName> =
        headers.keys().filter(|name| scanner.is_in_name(name.as_str())).cloned().collect();
    for name in telling {
        headers.remove(name);
    }
    for value in headers.values_mut() {
        let masked = scanner.mask(value.as_bytes(), |needle| watch.found(usize::from(needle)));
        if let Some(text) = masked.map_err(|_| ScrubError::Tangled)? {
            *value = HeaderValue::from_bytes(&text).map_err(|_| ScrubError::Tangled)?;
        }
    }
    Ok(())
}

/// Which trailers of a response may pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trailers {
    declared: Vec<HeaderName>,
    all: bool,
}

const GRPC: [&str; 3] = ["grpc-status", "grpc-message", "grpc-status-details-bin"];

const ONLY_IN_HEADS: [HeaderName; 13] = [
    header::TRANSFER_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::CONTENT_TYPE,
    header::CONTENT_RANGE,
    header::TRAILER,
    header::HOST,
    header::CONNECTION,
    header::UPGRADE,
    header::SET_COOKIE,
    header::LOCATION,
    header::WWW_AUTHENTICATE,
    // A password could be tried out with it; in heads it is dropped where one was used (`challenge`).
    HeaderName::from_static("authentication-info"),
];

impl Trailers {
    /// As the head declares them.
    #[must_use]
    pub fn of(head: &HeaderMap) -> Self {
        let lists = head.get_all(header::TRAILER).into_iter().filter_map(|value| value.to_str().ok());
        let names = lists.flat_map(|list| list.split(',')).filter_map(|name| name.trim().parse().ok());
        let content_type = head.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        let all = content_type.get(..16).is_some_and(|kind| kind.eq_ignore_ascii_case(b"application/grpc"));
        Self { declared: names.collect(), all }
    }

    /// Drops what may not pass and scrubs the rest.
    ///
    /// # Errors
    /// As [`scrub`].
    pub fn pass(
        &self,
        scanner: Option<(&Scanner, &dyn Watch)>,
        trailers: HeaderMap,
    ) -> Result<HeaderMap, ScrubError> {
        let mut kept = HeaderMap::with_capacity(trailers.keys_len());
        let mut last = None;
        for (name, value) in trailers {
            last = name.or(last);
            if let Some(name) = last.as_ref().filter(|name| self.allows(name)) {
                kept.append(name.clone(), value);
            }
        }
        if let Some((scanner, watch)) = scanner {
            scrub(scanner, watch, &mut kept)?;
        }
        Ok(kept)
    }

    fn allows(&self, name: &HeaderName) -> bool {
        let is_trailer = self.all || self.declared.contains(name) || GRPC.contains(&name.as_str());
        is_trailer && !ONLY_IN_HEADS.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Counted, SECRET, scanner};
    use super::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let fields = fields.iter();
        fields.map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn removes_a_field_whose_name_holds_a_lowercased_form() {
        let secret = b"ABCdefGHI.jkl-MNO";
        for name in ["x-abcdefghi.jkl-mno-y", "%41bcdef%47hi.jkl-mno", "x-414243646566474849-x"] {
            let scanner = scanner(if name.contains("41424") { b"ABCdefGHI" } else { secret });
            let mut headers = map(&[(name, "v"), ("x-other", "w")]);
            scrub(&scanner, &Counted::default(), &mut headers).unwrap();
            assert_eq!(headers, map(&[("x-other", "w")]), "{name}");
        }
    }

    #[test]
    fn masks_values_and_keeps_their_length() {
        let text = String::from_utf8(SECRET.to_vec()).unwrap();
        let mut headers = map(&[
            ("location", &format!("https://x/?k={}", text.replace('%', "%25"))),
            ("set-cookie", &format!("a={text}; Secure")),
            ("set-cookie", "b=c"),
            ("etag", "\"plain\""),
        ]);
        let before = headers.clone();
        let watch = Counted::default();
        scrub(&scanner(SECRET), &watch, &mut headers).unwrap();
        assert_eq!(watch.found(), 2);
        assert_eq!(headers["location"].len(), before["location"].len());
        let cookies: Vec<_> = headers.get_all("set-cookie").into_iter().collect();
        assert_eq!(cookies, [&format!("a={}; Secure", "*".repeat(text.len())), "b=c"]);
        assert_eq!(headers["etag"], before["etag"]);
    }

    #[test]
    fn drops_trailers_that_were_not_declared() {
        let rule = Trailers::of(&map(&[("trailer", "x-sum, X-Time"), ("trailer", "content-length")]));
        let sent = map(&[
            ("x-sum", "1"),
            ("x-time", "2"),
            ("x-other", "3"),
            ("content-length", "4"),
            ("grpc-status", "0"),
        ]);
        let kept = rule.pass(None, sent).unwrap();
        assert_eq!(kept, map(&[("x-sum", "1"), ("x-time", "2"), ("grpc-status", "0")]));
    }

    #[test]
    fn passes_all_trailers_of_grpc_and_scrubs_them() {
        let rule = Trailers::of(&map(&[("content-type", "application/grpc+proto")]));
        let text = String::from_utf8(SECRET.to_vec()).unwrap();
        let sent = map(&[("grpc-message", &text), ("x-any", "1"), ("x-any", "2")]);
        let kept = rule.pass(Some((&scanner(SECRET), &Counted::default())), sent).unwrap();
        assert_eq!(kept, map(&[("grpc-message", &"*".repeat(text.len())), ("x-any", "1"), ("x-any", "2")]));
    }
}
