//! Stage 5: the request as it will be matched and sent, or a refusal.
//!
//! Host, `:authority` and an absolute-form target must all name the CONNECT target (invariant 1, DW2007). Framing that
//! hyper still shows as ambiguous is refused (invariant 8, DW2008). What leaves here is canonical.

use control::refusal::{Code, Refusal};
use control::rule::Path;
use control::target::Target;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Version};
use hyper::body::Incoming;

use super::told::Read;
use crate::limits::{self, Limits};
use crate::schemes::Head;

/// A request that names its target once and has one reading.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// Method, canonical path with query, fields.
    pub(crate) head: Head,
    /// The canonical path as rules see it.
    pub(crate) path: Path,
    /// `None`: it was read, and is the next field.
    pub(crate) body: Option<Incoming>,
    /// The body, where it was read because what the request does may stand in it: a form, messages, or what a model is asked.
    pub(crate) told: Option<Read>,
    /// A WebSocket handshake: h1 upgrade, or extended CONNECT (RFC 8441).
    pub(crate) upgrade: Option<Upgrade>,
    /// hyper's handle on the agent's side of an upgrade.
    pub(crate) on_upgrade: Option<hyper::upgrade::OnUpgrade>,
}

impl Parsed {
    /// The same request again, for another attempt; `None` where its body was not read whole.
    pub(crate) fn again(&self) -> Option<Self> {
        let told = Some(Read::unjudged(self.told.as_ref()?.bytes.clone()));
        let Head { method, target, headers } = &self.head;
        let head = Head { method: method.clone(), target: target.clone(), headers: headers.clone() };
        Some(Self { head, path: self.path.clone(), body: None, told, upgrade: None, on_upgrade: None })
    }
}

/// How the agent asked for a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upgrade {
    /// `Upgrade: websocket` over HTTP/1.1.
    Http1,
    /// `:protocol websocket` over h2.
    Http2,
}

/// Parses a request to `target`; names without a port mean `default_port`.
pub(crate) fn request(
    mut request: Request<Incoming>,
    target: &Target,
    default_port: u16,
    limits: &Limits,
) -> Result<Parsed, Refusal> {
    agree(&request, target, default_port)?;
    refuse_ambiguous(request.headers(), limits)?;
    let upgrade = upgrade(&request)?;
    refuse_method(request.method(), upgrade)?;
    let method = judged_method(&request).clone();
    let sent = match request.uri().path_and_query() {
        // `OPTIONS *` asks about the server, which no path rule covers.
        Some(sent) if sent.as_str() != "*" => sent.clone(),
        _ => return Err(malformed("the request target has to be a path")),
    };
    if sent.as_str().len() > limits::count(limits.url_bytes) {
        return Err(malformed("the request target is too long").with_status(431));
    }
    let path = Path::of_uri(request.uri()).map_err(|error| Refusal::new(Code::Dw2008, error.to_string()))?;
    let canonical = if path.is_rewritten() { rewritten(&path, sent.query())? } else { sent };
    let on_upgrade = upgrade.map(|_| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let head = Head { method, target: canonical, headers: parts.headers };
    Ok(Parsed { head, path, body: Some(body), told: None, upgrade, on_upgrade })
}

/// The method that rules see and records show, which is the one that the upstream will get: a WebSocket handshake is a GET
/// there, whatever the agent's protocol calls it.
pub(crate) fn judged_method<B>(request: &Request<B>) -> &Method {
    if request.method() == Method::CONNECT && is_websocket_over_http2(request) {
        return &Method::GET;
    }
    request.method()
}

fn is_websocket_over_http2<B>(request: &Request<B>) -> bool {
    let protocol = request.extensions().get::<hyper::ext::Protocol>();
    protocol.is_some_and(|protocol| protocol.as_str().eq_ignore_ascii_case("websocket"))
}

/// The canonical path with the query as it came.
fn rewritten(path: &Path, query: Option<&str>) -> Result<PathAndQuery, Refusal> {
    let text = match query {
        Some(query) => format!("{}?{query}", path.as_str()),
        None => path.as_str().to_owned(),
    };
    PathAndQuery::try_from(text).map_err(|_| malformed("the request target is malformed"))
}

/// Everything that names a host has to name the target.
fn agree(request: &Request<Incoming>, target: &Target, default_port: u16) -> Result<(), Refusal> {
    match (request.uri().scheme_str(), request.uri().authority()) {
        (None, None) | (Some("http" | "https"), Some(_)) => {}
        (Some(_), _) => return Err(malformed("the scheme is neither http nor https")),
        (None, Some(_)) if request.method() == Method::CONNECT => {}
        (None, Some(_)) => return Err(malformed("the request target has to be a path")),
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(malformed("there are several Host fields"));
    }
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    if host.is_none() && authority.is_none() {
        return Err(malformed("there is no Host field"));
    }
    let host = match host.map(|value| value.to_str()) {
        Some(Err(_)) => return Err(malformed("the Host field is malformed")),
        Some(Ok(host)) => Some(host),
        None => None,
    };
    for name in [host, authority].into_iter().flatten() {
        // The common case without parsing: the canonical name, byte for byte.
        if target.port == default_port && target.host.name() == Some(name) {
            continue;
        }
        match Target::parse_host(name, default_port) {
            Ok(named) if named == *target => {}
            Ok(_) => {
                return Err(Refusal::new(Code::Dw2007, "the request names another host than the tunnel"));
            }
            Err(error) => return Err(Refusal::new(Code::Dw2008, error.to_string())),
        }
    }
    Ok(())
}

fn refuse_ambiguous(headers: &HeaderMap, limits: &Limits) -> Result<(), Refusal> {
    // One look at each field that is there.
    let (mut length, mut coding, mut framings, mut size) = (None, None, 0, 0);
    for (name, value) in headers {
        size += name.as_str().len() + value.len() + 4;
        if name == CONTENT_LENGTH {
            (length, framings) = (Some(value), framings + 1);
        } else if name == TRANSFER_ENCODING {
            (coding, framings) = (Some(value), framings + 1);
        }
    }
    if framings > 1 {
        return Err(malformed("the body's length is ambiguous"));
    }
    if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        return Err(malformed("the only transfer coding that is taken is chunked"));
    }
    if length.is_some_and(|length| !is_length(length.as_bytes())) {
        return Err(malformed("the Content-Length is not a number in its one form"));
    }
    if headers.len() > limits::count(limits.header_fields) {
        return Err(malformed("there are too many fields").with_status(431));
    }
    if size > limits::count(limits.header_bytes) {
        return Err(malformed("the head is too long").with_status(431));
    }
    Ok(())
}

/// Digits as everybody reads them: with a zero in front some take a number for an octal one, and an empty value is over h2 what
/// h1 has no form for.
fn is_length(digits: &[u8]) -> bool {
    match digits {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// What kind of upgrade is asked for; anything but WebSocket is no upgrade (its header is removed as hop-by-hop).
fn upgrade(request: &Request<Incoming>) -> Result<Option<Upgrade>, Refusal> {
    if request.extensions().get::<hyper::ext::Protocol>().is_some() {
        let is_websocket = is_websocket_over_http2(request);
        return if is_websocket { Ok(Some(Upgrade::Http2)) } else { Err(refuse_connect()) };
    }
    let asks = request.version() == Version::HTTP_11
        && request
            .headers()
            .get(http::header::UPGRADE)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    match (asks, request.method() == Method::GET) {
        (true, true) => Ok(Some(Upgrade::Http1)),
        (true, false) => Err(malformed("a WebSocket handshake has to be a GET")),
        (false, _) => Ok(None),
    }
}

fn refuse_method(method: &Method, upgrade: Option<Upgrade>) -> Result<(), Refusal> {
    match method.as_str() {
        "CONNECT" if upgrade == Some(Upgrade::Http2) => Ok(()),
        "CONNECT" => Err(refuse_connect()),
        "TRACE" | "TRACK" => Err(Refusal::new(Code::Dw2011, "the method would echo the request")),
        _ => Ok(()),
    }
}

fn refuse_connect() -> Refusal {
    Refusal::new(Code::Dw2011, "there is no CONNECT inside a tunnel, except for WebSocket over h2")
}

fn malformed(detail: &'static str) -> Refusal {
    Refusal::new(Code::Dw2008, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_lengths_that_have_another_form_than_their_number() {
        for text in ["", "00", "05", "+5", "-5", " 5", "5 ", "0x5", "5,5", "5.0", "five"] {
            assert!(!is_length(text.as_bytes()), "{text:?}");
        }
        for text in ["0", "5", "10", "18446744073709551616"] {
            assert!(is_length(text.as_bytes()), "{text:?}");
        }
    }
}
