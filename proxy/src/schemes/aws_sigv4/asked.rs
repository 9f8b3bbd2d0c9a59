//! What the agent asks to be signed: for which place, in which way, over which payload.
//!
//! Refuses two signatures at once, scopes that differ from the host, payload forms that cannot be signed again, calls that
//! would hand session credentials to the agent, and what the service could read otherwise than policy did: `;` in the query,
//! signed headers in another spelling. Reads headers and query alone.

use std::time::SystemTime;

use control::aws::scope::Signed;
use control::aws::speaks_query;
use control::refusal::{Code, Refusal};
use control::target::Target;
use http::{HeaderMap, HeaderName, Method};

use super::chunked::{Form, announced};
use super::host::{Allowed, HostFault, Place, place};
use super::payload::Stream;
use super::rechunk::Chain;
use super::scope::{Algorithm, Stamp, is_hash};
use super::sign::{self, Signer};
use crate::schemes::shared::encode::form_decoded;
use crate::schemes::shared::names::is_spelled;
use crate::schemes::shared::parameters;
use crate::schemes::{Head, Outgoing};

/// Where the payload's hash stands, or what stands for it.
pub(super) const HASH: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// The longest that a request lives which we presign, in seconds. It is sent at once: a longer one serves only who finds it
/// in a log.
const LONGEST_LIFE: u32 = 300;

/// What the agent asks to be signed.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) place: Place,
    /// How long a presigned request lives; `None`: signed by header.
    pub(super) life: Option<Life>,
    pub(super) payload: Payload,
    /// `x-amz-content-sha256` is among its headers.
    pub(super) named_hash: bool,
}

/// How long a presigned request lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// So many seconds.
    For(u32),
    /// Until this second since 1970: presigned by version 2, as boto3 does for S3 where it is not told otherwise.
    Until(u64),
}

impl Life {
    fn until(text: &str) -> Result<Self, Refusal> {
        let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let end = if is_number { text.parse().ok() } else { None };
        end.map(Self::Until).ok_or_else(|| malformed("Expires of the presigned request is no time"))
    }

    pub(super) fn seconds(self, now: SystemTime) -> Result<u32, Refusal> {
        let end = match self {
            Self::For(life) => return Ok(life.min(LONGEST_LIFE)),
            Self::Until(end) => end,
        };
        let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let left = end.checked_sub(now).filter(|left| *left > 0);
        let left = left.ok_or_else(|| malformed("the presigned request has expired"))?;
        Ok(u32::try_from(left).unwrap_or(LONGEST_LIFE).min(LONGEST_LIFE))
    }
}

/// The payload as the agent describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    Hash(String),
    Unsigned,
    Chunked {
        form: Form,
        decoded: u64,
        trailers: Vec<HeaderName>,
    },
    /// It has to be read.
    Unknown,
}

impl Asked {
    /// Reads it off the request; refuses what has two readings or cannot be signed.
    pub(super) fn of(head: &Head, target: &Target, allowed: &Allowed) -> Result<Self, Refusal> {
        let query = head.target.query().unwrap_or_default();
        if query.contains(';') {
            // Policy splits at `&` alone; what is taken off, and the service, may split here as well.
            return Err(malformed("the query holds a semicolon, which has to be percent-encoded"));
        }
        refuse_spellings(&head.headers)?;
        let signed =
            Signed::of(&head.headers, head.target.query()).map_err(|fault| malformed(fault.to_string()))?;
        let scope = signed.as_ref().map(Signed::scope).transpose();
        let scope = scope.map_err(|fault| malformed(fault.to_string()))?;
        let is_presigned = matches!(signed, Some(Signed::ByQuery { .. }));
        let expires = |name| one_parameter(query, name).map(Option::unwrap_or_default);
        let life = match (is_presigned, one_parameter(query, "AWSAccessKeyId")?) {
            (true, None) => Some(Life::For(
                sign::life(&expires("X-Amz-Expires")?).map_err(|fault| malformed(fault.to_string()))?,
            )),
            (false, Some(_)) if signed.is_none() => Some(Life::until(&expires("Expires")?)?),
            (false, None) => None,
            (_, Some(_)) => return Err(malformed("the request is signed twice, by two versions")),
        };
        let host = target.host.name().unwrap_or_default();
        let place = place(host, scope.as_ref(), allowed).map_err(refuse_host)?;
        if place.service.as_ref() == "s3express" && one_parameter(query, "session")?.is_some() {
            let detail = "CreateSession would hand session credentials to the agent: turn S3 Express session authentication off in its client";
            return Err(Refusal::new(Code::Dw1002, detail));
        }
        if matches!(life, Some(Life::Until(_))) && !place.is_s3() {
            return Err(malformed("the request is signed by another way than AWS signature version 4"));
        }
        let named = one_header(head, &HASH)?;
        let in_query = if life.is_some() { one_parameter(query, "X-Amz-Content-Sha256")? } else { None };
        let payload = payload(head, &place, named.or(in_query.as_deref()), life.is_some())?;
        Ok(Self { place, life, payload, named_hash: named.is_some() })
    }

    /// What stands for the payload in what is signed.
    pub(super) fn payload(&self, out: &Outgoing<'_>) -> Result<String, Refusal> {
        if self.is_odd_get(out) {
            return Err(malformed(
                "a GET to this service has no body: it could name another action than the query",
            ));
        }
        let held = out.body().map(|body| String::from_utf8_lossy(&sign::hash(body)).into_owned());
        match (&self.payload, held) {
            (Payload::Hash(named), Some(held)) if *named != held => {
                Err(malformed("the body is not the one that the agent's x-amz-content-sha256 names"))
            }
            (Payload::Unsigned, _) => Ok(UNSIGNED.to_owned()),
            // Held or not: hashed as it is coded, its frames would be taken for its content.
            (Payload::Chunked { form, .. }, _) => Ok(form.name().to_owned()),
            (Payload::Hash(named), None) => Ok(named.clone()),
            (_, Some(held)) => Ok(held),
            (Payload::Unknown, None) => Err(Refusal::new(Code::Dw1004, "the body was not read")),
        }
    }

    /// Whether a service that reads actions off queries and forms gets both: over HTTP/2 only the body itself shows that.
    fn is_odd_get(&self, out: &Outgoing<'_>) -> bool {
        let is_empty = match (&self.payload, out.body()) {
            (_, Some(held)) => held.is_empty(),
            (Payload::Hash(named), None) => *named.as_bytes() == sign::hash(b""),
            (Payload::Unsigned | Payload::Chunked { .. } | Payload::Unknown, None) => false,
        };
        matches!(out.head().method, Method::GET | Method::HEAD)
            && speaks_query(&self.place.service)
            && !is_empty
    }

    /// Says what happens to the body while it streams.
    pub(super) fn stream(self, out: &mut Outgoing<'_>, signer: Signer, stamp: Stamp, seed: &str) {
        match self.payload {
            Payload::Hash(named) => {
                if let Ok(wanted) = named.as_bytes().try_into() {
                    out.change_stream(Stream::Checked(wanted));
                }
            }
            Payload::Chunked { form, decoded, trailers } => {
                let chain = match (signer, seed.as_bytes().try_into()) {
                    (Signer::Hmac(key), Ok(seed)) if form.is_signed() => Some(Chain::new(key, stamp, seed)),
                    _ => None,
                };
                out.change_stream(Stream::Rechunked { form, decoded, trailers, chain });
            }
            Payload::Unsigned | Payload::Unknown => {}
        }
    }
}

fn payload(head: &Head, place: &Place, named: Option<&str>, is_presigned: bool) -> Result<Payload, Refusal> {
    match named {
        Some(text) if is_hash(text) => Ok(Payload::Hash(text.to_owned())),
        Some(UNSIGNED) | None if place.is_s3() => Ok(Payload::Unsigned),
        // Other services take the hash alone.
        Some(UNSIGNED) | None => Ok(Payload::Unknown),
        Some(text) => {
            let form = Form::of(text).filter(|_| place.is_s3() && !is_presigned);
            let form = form.filter(|form| !form.is_signed() || place.algorithm == Algorithm::Hmac);
            let form = form.ok_or_else(|| malformed("this x-amz-content-sha256 cannot be signed again"))?;
            let decoded = one_header(head, &HeaderName::from_static("x-amz-decoded-content-length"))?;
            let digits = decoded.filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
            let decoded = digits.and_then(|text| text.parse().ok());
            let decoded =
                decoded.ok_or_else(|| malformed("x-amz-decoded-content-length is missing or malformed"))?;
            let trailers = match one_header(head, &HeaderName::from_static("x-amz-trailer"))? {
                Some(names) if form.has_trailers() => {
                    announced(names).map_err(|fault| malformed(fault.to_string()))?
                }
                Some(_) => return Err(malformed("x-amz-trailer stands beside a payload without trailers")),
                None => Vec::new(),
            };
            Ok(Payload::Chunked { form, decoded, trailers })
        }
    }
}

/// Servers that fold names would read `x_amz_acl` as `x-amz-acl`, which policy did not. The names of an object's own metadata
/// may hold anything.
fn refuse_spellings(headers: &HeaderMap) -> Result<(), Refusal> {
    let is_odd = |name: &HeaderName| {
        let name = name.as_str();
        let folded = || name.bytes().map(|b| if b == b'_' || b == b'.' { b'-' } else { b });
        is_spelled(name) && folded().take(6).eq(*b"x-amz-") && !name.starts_with("x-amz-meta-")
    };
    if headers.keys().any(is_odd) {
        return Err(malformed("a header of AWS is spelled with `_` or `.`"));
    }
    Ok(())
}

/// The text of a header that may stand once.
fn one_header<'h>(head: &'h Head, name: &HeaderName) -> Result<Option<&'h str>, Refusal> {
    let mut values = head.headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value
            .to_str()
            .map(|text| Some(text.trim()))
            .map_err(|_| malformed("a signing header is malformed")),
        (Some(_), Some(_)) => Err(malformed("a signing header stands twice")),
    }
}

/// The decoded value of a parameter that may stand once.
fn one_parameter(query: &str, name: &str) -> Result<Option<String>, Refusal> {
    let mut values = parameters::parameters(query).filter(|parameter| parameter.is_named(name));
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let bytes = form_decoded(value.value().as_bytes()).into_owned();
            String::from_utf8(bytes).map(Some).map_err(|_| malformed("a signing parameter is malformed"))
        }
        (Some(_), Some(_)) => Err(malformed("a signing parameter stands twice")),
    }
}

fn refuse_host(fault: HostFault) -> Refusal {
    match fault {
        HostFault::ServiceNotListed | HostFault::RegionNotListed => {
            Refusal::new(Code::Dw1002, fault.to_string())
        }
        HostFault::Service
        | HostFault::Region
        | HostFault::Algorithm
        | HostFault::NoService
        | HostFault::NoRegion => malformed(fault.to_string()),
    }
}

fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(Code::Dw2008, detail)
}
