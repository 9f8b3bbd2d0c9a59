//! Between the stages 6 and 7: a body that may say what its request does is read before policy is asked. A body of parameters
//! that cannot be read (too long, of another type) passes, since its request is judged as one that could do more.
//!
//! Refuses what could be read in another way by the upstream (a type that is said twice, a charset) and what is too long.
//! Invariant: the bytes that were judged are the bytes that are sent.

use bytes::Bytes;
use control::mcp::{Calls, Transport};
use control::policy;
use control::refusal::{Code, Refusal};
use control::target::Target;
use control::types::{Reading, Told};
use http::Method;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HeaderMap, HeaderValue};
use http_body::Body as _;

use super::decide::facts;
use super::parse::Parsed;
use super::record::Record;
use super::refuse::{Dialect, Rpc};
use super::{inject, listing};
use crate::conn::identify::Caller;
use crate::limits::{self, Limits};
use crate::plan::Served;

/// A body that was read, and what it is.
#[derive(Debug)]
pub(crate) struct Read {
    /// As it will be sent.
    pub(crate) bytes: Bytes,
    says: Says,
}

#[derive(Debug)]
enum Says {
    Form,
    Json,
    Calls(Calls),
    /// Nothing that policy asks for.
    Unjudged,
}

impl Read {
    /// A body that was read for another reason than policy.
    pub(crate) fn unjudged(bytes: Bytes) -> Self {
        Self { bytes, says: Says::Unjudged }
    }

    /// What policy may look at.
    pub(crate) fn told(&self) -> Result<Option<Told<'_>>, Refusal> {
        match &self.says {
            Says::Form => text(&self.bytes).map(|form| Some(Told::Form(form))),
            Says::Json => text(&self.bytes).map(|json| Some(Told::Json(json))),
            Says::Calls(calls) => Ok(Some(Told::Calls(calls))),
            Says::Unjudged => Ok(None),
        }
    }

    /// How many things it asks for.
    pub(crate) fn count(&self) -> usize {
        match &self.says {
            Says::Form | Says::Json | Says::Unjudged => 1,
            Says::Calls(calls) => calls.count(),
        }
    }
}

/// Reads the body in which a type says what its requests do. Bodies of other requests pass unread, and so do those that a
/// rule refuses anyway. From then on refusals speak as the client of such a type expects (`dialect`).
///
/// # Errors
/// DW2008 for a body that cannot be read in one way, DW2012 for one that is too long.
pub(crate) async fn read(
    served: &Served,
    caller: &Caller,
    target: &Target,
    parsed: &mut Parsed,
    limits: &Limits,
    record: &mut Record,
    dialect: &mut Dialect,
) -> Result<(), Refusal> {
    if !served.provider.kind.reads_bodies() {
        return Ok(());
    }
    match wanted(served, caller, target, parsed) {
        Some(Reading::Form) if is_form(&parsed.head.headers)? => form(parsed, limits, record).await,
        Some(Reading::Calls) => calls(served, parsed, limits, record, dialect).await,
        Some(Reading::Parameters) => parameters(served, caller, target, parsed, limits, record).await,
        Some(Reading::Form) | None => Ok(()),
    }
}

/// Parameters are read where they decide something and can be read in one way; where not, the request is judged without
/// them.
async fn parameters(
    served: &Served,
    caller: &Caller,
    target: &Target,
    parsed: &mut Parsed,
    limits: &Limits,
    record: &mut Record,
) -> Result<(), Refusal> {
    let headers = &parsed.head.headers;
    let says = match is_json(headers) && !is_coded(headers) {
        true => Says::Json,
        false if is_form(headers).unwrap_or_default() => Says::Form,
        false => return Ok(()),
    };
    let length = parsed.body.as_ref().and_then(|body| body.size_hint().exact());
    let is_small = length.is_some_and(|length| length <= limits.form_body);
    let facts = facts(served, &caller.name, target, &parsed.head, &parsed.path, None);
    if !is_small || !policy::minds_body(&facts) {
        return Ok(());
    }
    let bytes = hold(parsed, limits.form_body, record).await?;
    let says = if text(&bytes).is_ok() { says } else { Says::Unjudged };
    parsed.told = Some(Read { bytes, says });
    Ok(())
}

fn wanted(served: &Served, caller: &Caller, target: &Target, parsed: &mut Parsed) -> Option<Reading> {
    // As policy will see them.
    served.injector.clean(target, &mut parsed.head.headers);
    let facts = facts(served, &caller.name, target, &parsed.head, &parsed.path, None);
    let reading = served.provider.kind.reads(&policy::ask(&facts))?;
    // Without a credential it is the agent's own doing what it asks of AWS.
    let is_judged = reading == Reading::Calls || served.provider.auth.is_some();
    (is_judged && !policy::rules_refuse(&facts)).then_some(reading)
}

/// The messages for an MCP server: what a POST to it says, whatever it says that it is. Requests of other methods have no
/// body, so that nothing can be called by them.
async fn calls(
    served: &Served,
    parsed: &mut Parsed,
    limits: &Limits,
    record: &mut Record,
    dialect: &mut Dialect,
) -> Result<(), Refusal> {
    if parsed.upgrade.is_some() {
        return Err(malformed("no transport of MCP is a WebSocket"));
    }
    if listing::filters(&served.provider) {
        listing::ask_plainly(&mut parsed.head.headers);
    }
    match parsed.head.method {
        Method::GET | Method::HEAD | Method::DELETE | Method::OPTIONS => {
            let is_empty = parsed.body.as_ref().is_none_or(|body| body.is_end_stream());
            if !is_empty && !hold(parsed, 0, record).await?.is_empty() {
                return Err(malformed("a request of this method has no body"));
            }
            Ok(())
        }
        Method::POST => match &served.provider.mcp {
            Some(server) if server.covers(&parsed.head.method, parsed.path.as_str()) => {
                *dialect = Dialect::JsonRpc(Rpc::unread());
                messages(server.transport, parsed, limits, record, dialect).await
            }
            Some(_) | None => Ok(()),
        },
        _ => Ok(()),
    }
}

async fn messages(
    transport: Transport,
    parsed: &mut Parsed,
    limits: &Limits,
    record: &mut Record,
    dialect: &mut Dialect,
) -> Result<(), Refusal> {
    let headers = &parsed.head.headers;
    if is_coded(headers) {
        return Err(malformed("the message for an MCP server has a content coding"));
    }
    if !is_json(headers) {
        return Err(malformed("messages for an MCP server are `application/json` in UTF-8, said once"));
    }
    let bytes = hold(parsed, limits.mcp_message, record).await?;
    let calls = Calls::read(text(&bytes)?, &parsed.head.headers)
        .map_err(|fault| malformed(format!("the message for the MCP server is not let through: {fault}")))?;
    *dialect = Dialect::JsonRpc(Rpc::to(&calls, transport));
    record.asks(&calls);
    parsed.told = Some(Read { bytes, says: Says::Calls(calls) });
    Ok(())
}

async fn form(parsed: &mut Parsed, limits: &Limits, record: &mut Record) -> Result<(), Refusal> {
    let bytes = hold(parsed, limits.form_body, record).await?;
    text(&bytes)?;
    parsed.told = Some(Read { bytes, says: Says::Form });
    Ok(())
}

/// Takes the whole body, of at most so many bytes.
async fn hold(parsed: &mut Parsed, most: u64, record: &mut Record) -> Result<Bytes, Refusal> {
    let Some(body) = parsed.body.take() else { return Ok(Bytes::new()) };
    let reading = inject::hold(body, limits::count(most), record.holding());
    let bytes = Box::pin(record.while_lasting(reading)).await?;
    parsed.head.headers.remove(EXPECT);
    Ok(bytes)
}

/// The type of a form.
const FORM: &str = "application/x-www-form-urlencoded";

/// Whether the body is a form that can be read. A coded one is left unread, so that nothing is known of its request.
fn is_form(headers: &HeaderMap) -> Result<bool, Refusal> {
    let begins = |value: &HeaderValue| {
        let essence = value.as_bytes().split(|&b| matches!(b, b';' | b',')).next().unwrap_or_default();
        essence.trim_ascii().eq_ignore_ascii_case(FORM.as_bytes())
    };
    if is_coded(headers) || !headers.get_all(CONTENT_TYPE).iter().any(begins) {
        return Ok(false);
    }
    match inject::sole_type(headers) {
        Some(essence) if essence == FORM => Ok(true),
        Some(_) | None => {
            Err(malformed("the form that says what the request does has two types or is not in UTF-8"))
        }
    }
}

/// `application/json`, in UTF-8, said once.
fn is_json(headers: &HeaderMap) -> bool {
    let mut kinds = headers.get_all(CONTENT_TYPE).iter();
    let (Some(kind), None) = (kinds.next(), kinds.next()) else { return false };
    let mut parts = kind.as_bytes().split(|&b| b == b';').map(<[u8]>::trim_ascii);
    let is_json = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case(b"application/json"));
    is_json && parts.all(|part| UTF_8.iter().any(|own| part.eq_ignore_ascii_case(own)))
}

/// The one parameter that JSON may have.
const UTF_8: [&[u8]; 2] = [b"charset=utf-8", b"charset=\"utf-8\""];

pub(super) fn is_coded(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(CONTENT_ENCODING);
    codings.iter().any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
}

fn text(body: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(body).map_err(|_| malformed("the body that says what the request does is not UTF-8"))
}

fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(Code::Dw2008, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&'static str, &'static str)]) -> Option<bool> {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let mut map = HeaderMap::new();
        headers.for_each(|(name, value): (http::HeaderName, HeaderValue)| {
            map.append(name, value);
        });
        is_form(&map).ok()
    }

    #[test]
    fn a_form_whose_bytes_could_be_read_in_two_ways_is_refused() {
        for kind in [
            "application/x-www-form-urlencoded; charset=IBM037",
            "application/x-www-form-urlencoded;charset=\"utf-16\"",
            "application/x-www-form-urlencoded; x=y; CHARSET = utf-7",
            "application/x-www-form-urlencoded, application/x-amz-json-1.0",
        ] {
            assert_eq!(read(&[("content-type", kind)]), None, "{kind}");
        }
        const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
        assert_eq!(read(&[FORM, ("content-type", "text/plain")]), None);
        assert_eq!(read(&[("content-type", "text/plain"), FORM]), None);
        assert_eq!(read(&[FORM, FORM]), None);
        assert_eq!(read(&[FORM]), Some(true));
        assert_eq!(read(&[("content-type", "Application/X-WWW-Form-Urlencoded; charset=UTF-8")]), Some(true));
    }

    #[test]
    fn a_coded_form_and_another_type_are_left_unread() {
        const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
        assert_eq!(read(&[FORM, ("content-encoding", "gzip")]), Some(false));
        assert_eq!(read(&[FORM, ("content-encoding", "identity")]), Some(true));
        assert_eq!(read(&[("content-type", "text/plain")]), Some(false));
        assert_eq!(read(&[]), Some(false));
    }
}
