//! Removes from the agent's request what must not reach the upstream.
//!
//! Hop-by-hop headers with those that `Connection` names, `Proxy-*`, `TE` other than `trailers`, and, towards hosts that
//! get a credential, headers by which a server could be told another method, path, host or client address; each also where
//! it is spelled with `_` or `.`. Invariants: `Connection` cannot remove `Host` or `Content-Length`, nor anything that is
//! injected, since injection comes later. One pass; a request with nothing to remove costs no allocation.
//!
//! A WebSocket handshake's `Connection` and `Upgrade` are removed as well: who upgrades sets its own.

use control::refusal::{Code, Refusal};
use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, TE};

use crate::schemes::Head;
use crate::schemes::shared::names::{is_spelled, remove_all_spellings};
use crate::schemes::shared::parameters;

/// What happens to override and forwarding headers.
#[derive(Clone, Copy, Debug)]
pub enum Overrides<'a> {
    /// They stay: the host gets no credential.
    Keep,
    /// They go, except those that the provider keeps (`request.keepHeaders`).
    Remove {
        /// The provider's `keepHeaders`.
        except: &'a [HeaderName],
    },
}

/// The longest name that is folded for comparison; every name that is removed is shorter.
const FOLDED: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Keep,
    Hop,
    Te,
    Override,
}

/// Cleans a request's headers.
pub fn clean(headers: &mut HeaderMap, overrides: Overrides<'_>) {
    let mut removed: Vec<HeaderName> = Vec::new();
    let mut te = false;
    for name in headers.keys() {
        match class(name.as_str()) {
            Class::Keep => {}
            Class::Hop => removed.push(name.clone()),
            Class::Te => te = true,
            Class::Override => match overrides {
                Overrides::Remove { except } if !except.contains(name) => removed.push(name.clone()),
                Overrides::Remove { .. } | Overrides::Keep => {}
            },
        }
    }
    if removed.contains(&CONNECTION) {
        removed.extend(named_by_connection(headers));
    }
    let trailers = te && takes_trailers(headers);
    if te {
        headers.remove(TE);
    }
    for name in removed {
        headers.remove(name);
    }
    if trailers {
        // What was removed above made room for it.
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Removes what must not go upstream beside the injected credential: these headers and query parameters, in every spelling.
pub fn remove_beside(head: &mut Head, headers: &[HeaderName], params: &[&str]) -> Result<(), Refusal> {
    for name in headers {
        remove_all_spellings(&mut head.headers, name);
    }
    let without = head.target.query().map(|query| parameters::without(query, params)).transpose();
    let Some(query) = without.map_err(|error| Refusal::new(Code::Dw2008, error.to_string()))?.flatten()
    else {
        return Ok(());
    };
    let path = head.target.path();
    let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    head.target = target.parse().map_err(|_| Refusal::new(Code::Dw2008, "the query cannot be read"))?;
    Ok(())
}

fn takes_trailers(headers: &HeaderMap) -> bool {
    let mut tokens = headers.get_all(TE).iter().flat_map(|value| value.as_bytes().split(|&b| b == b','));
    tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// The headers that `Connection` names (RFC 9110 section 7.6.1), without those that no agent may take away.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|&b| b == b','));
    let tokens = values.map(<[u8]>::trim_ascii);
    // What nearly every client sends; neither leaves a header behind.
    let telling = tokens
        .filter(|token| !token.eq_ignore_ascii_case(b"keep-alive") && !token.eq_ignore_ascii_case(b"close"));
    let names = telling.filter_map(|token| HeaderName::from_bytes(token).ok());
    names.filter(|name| !matches!(name.as_str(), "host" | "content-length" | "te")).collect()
}

#[inline]
fn class(name: &str) -> Class {
    if !is_spelled(name) {
        return plain_class(name);
    }
    let mut folded = [0_u8; FOLDED];
    let Some(text) = folded.get_mut(..name.len()) else { return Class::Keep };
    for (to, from) in text.iter_mut().zip(name.bytes()) {
        *to = if from == b'_' || from == b'.' { b'-' } else { from };
    }
    let folded = std::str::from_utf8(text).unwrap_or_default();
    match plain_class(folded) {
        // Another spelling of a framing header has no use but to be read by a server that folds it.
        Class::Keep if folded == "content-length" => Class::Hop,
        other @ (Class::Keep | Class::Hop | Class::Te | Class::Override) => other,
    }
}

/// The first letter sorts out nearly all names.
#[inline]
fn plain_class(name: &str) -> Class {
    let is_removed = match name.as_bytes().first() {
        Some(b'c') => name == "connection",
        Some(b'k') => name == "keep-alive",
        Some(b'h') => name == "http2-settings",
        Some(b'u') => name == "upgrade",
        Some(b'p') => name == "proxy" || name.starts_with("proxy-"),
        Some(b't') if name == "te" => return Class::Te,
        Some(b't') => matches!(name, "transfer-encoding" | "trailer"),
        Some(b'x') if is_override(name) => return Class::Override,
        Some(b'f') if name == "forwarded" => return Class::Override,
        Some(_) | None => false,
    };
    if is_removed { Class::Hop } else { Class::Keep }
}

fn is_override(name: &str) -> bool {
    matches!(
        name,
        "x-http-method-override"
            | "x-http-method"
            | "x-method-override"
            | "x-original-url"
            | "x-rewrite-url"
            | "x-host"
            | "x-real-ip"
    ) || name.starts_with("x-forwarded-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schemes::conformance::{request, shown};
    use proptest::prelude::*;

    fn cleaned(headers: &str, overrides: Overrides<'_>) -> String {
        let mut head = request(&format!("GET /\n{headers}"));
        clean(&mut head.headers, overrides);
        shown(&head).trim_start_matches("GET /").trim().to_owned()
    }

    #[test]
    fn removes_hop_by_hop_headers_in_every_spelling() {
        for header in [
            "Connection: close",
            "Keep-Alive: 1",
            "keep_alive: 1",
            "Proxy-Authorization: x",
            "proxy_authorization: x",
            "Proxy-Connection: x",
            "Proxy: x",
            "proxy-foo: x",
            "Transfer-Encoding: chunked",
            "transfer.encoding: chunked",
            "Trailer: a",
            "Upgrade: h2c",
            "HTTP2-Settings: x",
            "TE: gzip",
            "te: ",
            "content_length: 5",
            "t-e: x\nconnection: t-e",
        ] {
            assert_eq!(cleaned(header, Overrides::Keep), "", "{header}");
            assert_eq!(cleaned(&format!("{header}\na: b"), Overrides::Keep), "a: b", "{header}");
        }
    }

    #[test]
    fn removes_what_connection_names_but_never_host_or_length() {
        let sent = "host: a\ncontent-length: 5\nx-a: 1\nX-B: 2\nx-c: 3\nconnection: X-A, host,content-length\nconnection: x-b, ,";
        assert_eq!(cleaned(sent, Overrides::Keep), "content-length: 5\nhost: a\nx-c: 3");
        // `close` is an option, not the name of a header.
        assert_eq!(cleaned("close: 1\nconnection: close", Overrides::Keep), "close: 1");
    }

    #[test]
    fn keeps_te_only_as_trailers() {
        assert_eq!(cleaned("te: gzip;q=0.5, Trailers", Overrides::Keep), "te: trailers");
        assert_eq!(cleaned("te: trailers\nconnection: te", Overrides::Keep), "te: trailers");
        assert_eq!(cleaned("te: trailersx", Overrides::Keep), "");
    }

    #[test]
    fn removes_override_and_forwarding_headers_where_a_credential_goes() {
        let sent = [
            "X-HTTP-Method-Override",
            "X-HTTP-Method",
            "X-Method-Override",
            "X-Original-URL",
            "X-Rewrite-URL",
            "X-Host",
            "Forwarded",
            "X-Forwarded-For",
            "X-Forwarded-Host",
            "x_forwarded_proto",
            "X.Real.IP",
            "x-real_ip",
        ];
        for header in sent {
            let line = format!("{header}: x");
            assert_eq!(cleaned(&line, Overrides::Remove { except: &[] }), "", "{header}");
            assert_eq!(cleaned(&line, Overrides::Keep), line.to_lowercase(), "{header}");
            let kept = [HeaderName::from_bytes(header.as_bytes()).unwrap()];
            assert_eq!(cleaned(&line, Overrides::Remove { except: &kept }), line.to_lowercase(), "{header}");
        }
        let hop = [HeaderName::from_static("proxy-authorization")];
        assert_eq!(cleaned("proxy-authorization: x", Overrides::Remove { except: &hop }), "");
    }

    #[test]
    fn leaves_all_other_headers_alone() {
        let sent = "accept: a\naccept: b\nauthorization: c\ncontent-type: d\nfrom: z\nhost: e\nkey: k\ntraceparent: t\nuser-agent: f\nx-api_key: g\nx.y: h";
        assert_eq!(cleaned(sent, Overrides::Remove { except: &[] }), sent);
    }

    proptest! {
        #[test]
        fn what_is_clean_stays_as_it_is(names in proptest::collection::vec("[a-z][a-z_.-]{0,70}", 0..8)) {
            let lines: Vec<String> = names.iter().map(|name| format!("{name}: v")).collect();
            let once = cleaned(&lines.join("\n"), Overrides::Remove { except: &[] });
            prop_assert_eq!(cleaned(&once, Overrides::Remove { except: &[] }), once);
        }
    }
}
