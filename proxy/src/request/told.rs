//! Between the stages 6 and 7: a body that may say what its request does is read before policy is asked.
//!
//! Refuses what could be read in another way by the upstream (a type that is said twice, a charset) and what is too long.
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
/// DW2008 for a body that cannot be read in one way, DW2012 for one that is too long.
pub(crate) async fn read(
    served: &Served,
    caller: &Caller,
    target: &Target,
    parsed: &mut Parsed,
    limits: &Limits,
    record: &mut Record,
) -> Result<(), Refusal> {
    match wanted(served, caller, target, parsed) {
        Some(Reading::Form) if is_form(&parsed.head.headers)? => form(parsed, limits, record).await,
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
    let bytes = hold(parsed, limits.form_body, record).await?;
    text(&bytes)?;
    parsed.told = Some(Read { bytes, says: Says::Form });
    Ok(())
}

/// Takes the whole body, of at most so many bytes.
async fn hold(parsed: &mut Parsed, most: u64, record: &mut Record) -> Result<Bytes, Refusal> {
    let reading = inject::hold(&mut parsed.body, limits::count(most), record.holding());
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

fn is_coded(headers: &HeaderMap) -> bool {
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
