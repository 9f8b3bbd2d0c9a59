//! What the agent may ask for, so that the answer can be scrubbed: codings that we read, and no slices from which an
//! echo could be put together.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

const CODINGS: [&str; 4] = ["gzip", "deflate", "br", "zstd"];

/// Framed RPC bodies are compressed message by message, which we do not read.
const RPC: [HeaderName; 2] =
    [HeaderName::from_static("grpc-accept-encoding"), HeaderName::from_static("connect-accept-encoding")];

/// Cuts `Accept-Encoding` to what we read; without one, none is sent. `*` is spelled out.
pub fn codings(headers: &mut HeaderMap) {
    for name in RPC {
        if headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static("identity"));
        }
    }
    if let Some(offer) = offered_codings(headers.get_all(header::ACCEPT_ENCODING)) {
        headers.insert(header::ACCEPT_ENCODING, offer);
    }
}

/// The offer in place of the agent's; `None` if it had none.
pub fn offered_codings<'a>(values: impl IntoIterator<Item = &'a HeaderValue>) -> Option<HeaderValue> {
    let mut values = values.into_iter().peekable();
    let first = *values.peek()?;
    let mut names = Vec::new();
    let mut kept: Vec<String> = Vec::new();
    let mut any = None;
    let mut count = 0;
    for value in values {
        count += 1;
        for item in
            value.to_str().unwrap_or_default().split(',').map(str::trim).filter(|item| !item.is_empty())
        {
            let (name, weight) =
                item.split_once(';').map_or((item, ""), |(name, weight)| (name.trim(), weight.trim()));
            let name = name.to_ascii_lowercase();
            if name == "*" && !is_zero(weight) {
                any = Some(weight.to_owned());
            } else if name == "*"
                || name == "identity"
                || name == "x-gzip"
                || CODINGS.contains(&name.as_str())
            {
                kept.push(item.to_owned());
            } else {
                count += 1;
            }
            names.push(name);
        }
    }
    if count == 1 && any.is_none() && !kept.is_empty() {
        return Some(first.clone());
    }
    for coding in CODINGS.into_iter().filter(|coding| !names.iter().any(|name| name == coding)) {
        match any.as_deref() {
            None => {}
            Some("") => kept.push(coding.to_owned()),
            Some(weight) => kept.push(format!("{coding};{weight}")),
        }
    }
    let offer = if kept.is_empty() { "identity".to_owned() } else { kept.join(", ") };
    Some(HeaderValue::try_from(offer).unwrap_or(HeaderValue::from_static("identity")))
}

/// `q=0`, `q=0.000`.
fn is_zero(weight: &str) -> bool {
    let digits = weight.trim_start_matches(['q', 'Q', '=', ' ']);
    !digits.is_empty() && digits.chars().all(|c| c == '0' || c == '.')
}

/// Whether the provider lifts the rule on ranges (`response.smallRanges: allow`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmallRanges {
    /// Any range is forwarded.
    Allowed,
    /// Only ranges of which slices cannot be put together to a value.
    Refused,
}

/// The smallest closed range.
const RANGE: u64 = 4096;

/// Values with fewer bytes that are not public could be put together from what each end of a slice may show.
const NON_PUBLIC: usize = 24;

/// Whether `Range` goes upstream; if not, it is left out with `If-Range`, and a full answer is legal (RFC 9110, 14.2).
/// `non_public` is the count of the value's bytes beyond its public prefix.
#[must_use]
pub fn range_allowed(range: &HeaderValue, non_public: usize, rule: SmallRanges) -> bool {
    if rule == SmallRanges::Allowed {
        return true;
    }
    if non_public < NON_PUBLIC {
        return false;
    }
    let text = range.to_str().unwrap_or_default();
    let Some((unit, span)) = text.split_once('=') else { return false };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return false;
    }
    let Some((from, to)) = span.split_once('-') else { return false };
    match (number(from), number(to)) {
        (Some(from), Some(to)) => to.checked_sub(from).is_some_and(|more| more + 1 >= RANGE),
        (Some(_), None) => to.trim().is_empty(),
        (None, Some(last)) => from.trim().is_empty() && last >= RANGE,
        (None, None) => false,
    }
}

fn number(text: &str) -> Option<u64> {
    let digits = text.trim();
    let is_number =
        !digits.is_empty() && digits.len() < 19 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(value: &str) -> String {
        let value: HeaderValue = value.parse().unwrap();
        offered_codings([&value]).unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn refuses_small_and_multiple_ranges() {
        for range in [
            "bytes=0-0",
            "bytes=0-4094",
            "bytes=10-4000",
            "bytes=-1",
            "bytes=-4095",
            "bytes=0-9999,20000-",
            "bytes=5-3",
            "bytes=-",
            "items=0-9999",
            "bytes",
            "bytes=0-99999999999999999999",
            // Over what a signed number of 64 bits holds.
            "bytes=0-9999999999999999999",
            "bytes=+0-9999",
        ] {
            assert!(!range_allowed(&range.parse().unwrap(), 40, SmallRanges::Refused), "{range}");
            assert!(range_allowed(&range.parse().unwrap(), 4, SmallRanges::Allowed));
        }
    }

    #[test]
    fn refuses_any_range_for_short_values() {
        assert!(!range_allowed(&HeaderValue::from_static("bytes=0-"), 23, SmallRanges::Refused));
    }

    #[test]
    fn forwards_large_and_open_ranges() {
        for range in ["bytes=0-4095", "bytes=100-", "bytes=-4096", "Bytes=0-1000000"] {
            assert!(range_allowed(&range.parse().unwrap(), 24, SmallRanges::Refused), "{range}");
        }
    }

    #[test]
    fn leaves_out_codings_that_we_do_not_read() {
        assert_eq!(offer("compress, gzip;q=0.5, dcb, br"), "gzip;q=0.5, br");
        assert_eq!(offer("dcz"), "identity");
        assert_eq!(offer(""), "identity");
        assert_eq!(offer("snappy;q=1, *;q=0"), "*;q=0");
        assert_eq!(offer("br, *;q=0.000"), "br, *;q=0.000");
        let two = [HeaderValue::from_static("gzip, dcb"), HeaderValue::from_static("br")];
        assert_eq!(offered_codings(&two).unwrap(), "gzip, br");
    }

    #[test]
    fn spells_out_the_wildcard() {
        assert_eq!(offer("*"), "gzip, deflate, br, zstd");
        assert_eq!(offer("*;q=1"), "gzip;q=1, deflate;q=1, br;q=1, zstd;q=1");
        assert_eq!(offer("br;q=0, *;q=0.1"), "br;q=0, gzip;q=0.1, deflate;q=0.1, zstd;q=0.1");
    }

    #[test]
    fn keeps_an_offer_that_we_read_as_it_is() {
        for same in ["gzip, deflate, br, zstd", "gzip;q=1.0,identity;q=0", "GZip", "identity"] {
            assert_eq!(offer(same), same);
        }
        assert_eq!(offered_codings([]), None);
        let two = [HeaderValue::from_static("gzip"), HeaderValue::from_static("br")];
        assert_eq!(offered_codings(&two).unwrap(), "gzip, br");
    }

    #[test]
    fn rpc_codings_become_identity() {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-accept-encoding", "gzip".parse().unwrap());
        codings(&mut headers);
        assert_eq!(headers["grpc-accept-encoding"], "identity");
        assert_eq!(headers.len(), 1);
    }
}
