//! Between the stages 6 and 7: a body that may say what its request does is read before policy is asked.
//!
//! Refuses what could be read in another way by the upstream (a coding, a type that is said twice) and what is too long.
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
    Calls(Calls),
}

impl Read {
    /// What policy may look at.
    pub(crate) fn told(&self) -> Result<Told<'_>, Refusal> {
        match &self.says {
            Says::Form => text(&self.bytes).map(Told::Form),
            Says::Calls(calls) => Ok(Told::Calls(calls)),
        }
    }

    /// How many things it asks for.
    pub(crate) fn count(&self) -> usize {
        match &self.says {
            Says::Form => 1,
            Says::Calls(calls) => calls.count(),
        }
    }
}

/// Reads the body in which a type says what its requests do. Bodies of other requests pass unread, and so do those that a
/// rule refuses anyway. From then on refusals speak as the client of such a type expects (`dialect`).
///
/// # Errors
/// DW2008 for a body that is coded or cannot be read in one way, DW2012 for one that is too long.
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
        Some(Reading::Form) if is_form(&parsed.head.headers) => form(parsed, limits, record).await,
        Some(Reading::Calls) => calls(served, parsed, limits, record, dialect).await,
        Some(Reading::Form) | None => Ok(()),
    }
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
            if !parsed.body.is_end_stream() && !hold(parsed, 0, limits, record).await?.is_empty() {
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
    refuse_coded(headers)?;
    if !is_json(headers) {
        return Err(malformed("messages for an MCP server are `application/json` in UTF-8, said once"));
    }
    let bytes = hold(parsed, limits.mcp_message, limits, record).await?;
    let calls = Calls::read(text(&bytes)?, &parsed.head.headers)
        .map_err(|fault| malformed(format!("the message for the MCP server is not let through: {fault}")))?;
    *dialect = Dialect::JsonRpc(Rpc::to(&calls, transport));
    parsed.told = Some(Read { bytes, says: Says::Calls(calls) });
    Ok(())
}

async fn form(parsed: &mut Parsed, limits: &Limits, record: &mut Record) -> Result<(), Refusal> {
    refuse_coded(&parsed.head.headers)?;
    let bytes = hold(parsed, limits.form_body, limits, record).await?;
    text(&bytes)?;
    parsed.told = Some(Read { bytes, says: Says::Form });
    Ok(())
}

/// Takes the whole body, of at most so many bytes.
async fn hold(
    parsed: &mut Parsed,
    most: u64,
    limits: &Limits,
    record: &mut Record,
) -> Result<Bytes, Refusal> {
    let reading = inject::hold(&mut parsed.body, limits::count(most), limits::time(limits.stream_idle));
    let bytes = Box::pin(record.while_lasting(reading)).await?;
    parsed.head.headers.remove(EXPECT);
    Ok(bytes)
}

fn is_form(headers: &HeaderMap) -> bool {
    let is_form = |value: &HeaderValue| {
        let essence = value.as_bytes().split(|&b| b == b';').next().unwrap_or_default();
        essence.trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
    };
    headers.get_all(CONTENT_TYPE).iter().any(is_form)
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

fn refuse_coded(headers: &HeaderMap) -> Result<(), Refusal> {
    let codings = headers.get_all(CONTENT_ENCODING);
    if codings.iter().any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity")) {
        return Err(malformed("the body that says what the request does has a content coding"));
    }
    Ok(())
}

fn text(body: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(body).map_err(|_| malformed("the body that says what the request does is not UTF-8"))
}

fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(Code::Dw2008, detail)
}
