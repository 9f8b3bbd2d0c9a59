//! Between the stages 6 and 7: a body that may say what its request does is read before policy is asked.
//!
//! Refuses what could be read in another way by the upstream (a coding, a type that is said twice) and what is too long.
//! Invariant: the bytes that were judged are the bytes that are sent.

use bytes::Bytes;
use control::policy;
use control::refusal::{Code, Refusal};
use control::target::Target;
use control::types::{Reading, Told};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HeaderMap, HeaderValue};

use super::decide::facts;
use super::inject;
use super::parse::Parsed;
use super::record::Record;
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
}

impl Read {
    /// What policy may look at.
    pub(crate) fn told(&self) -> Result<Told<'_>, Refusal> {
        match &self.says {
            Says::Form => text(&self.bytes).map(Told::Form),
        }
    }
}

/// Reads the body in which a type says what its requests do. Bodies of other requests pass unread, and so do those that a
/// rule refuses anyway.
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
) -> Result<(), Refusal> {
    match wanted(served, caller, target, parsed) {
        Some(Reading::Form) if is_form(&parsed.head.headers) => form(parsed, limits, record).await,
        Some(Reading::Form) | None => Ok(()),
    }
}

fn wanted(served: &Served, caller: &Caller, target: &Target, parsed: &mut Parsed) -> Option<Reading> {
    served.provider.auth.as_ref()?;
    // As policy will see them.
    served.injector.clean(target, &mut parsed.head.headers);
    let facts = facts(served, &caller.name, target, &parsed.head, &parsed.path, None);
    served.provider.kind.reads(&policy::ask(&facts)).filter(|_| !policy::rules_refuse(&facts))
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
