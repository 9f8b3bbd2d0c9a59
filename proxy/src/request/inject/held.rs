//! Surfaces inside a JSON body: whether the body has to be held, and what the agent put there.
//!
//! Refuses, where the credential has to go into the body, one that is not JSON or has a content coding; and bodies over
//! the limit. Works before the secret is opened.

use control::provider::OnAgentCredential;
use control::refusal::{Code, Refusal};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};

use super::agent::Sent;
use crate::schemes::shared::pointer::{Place, Pointer, string_at};
use crate::schemes::{Bounds, Head, Surface};

/// What is to happen with the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// It passes as it comes.
    Streamed,
    /// It is read into memory first.
    Held,
}

/// Whether the surface lies in this request's body.
pub(super) fn wanted(head: &Head, surface: &Surface, on_agent: OnAgentCredential) -> Result<Wanted, Refusal> {
    if surface.pointers().next().is_none() {
        return Ok(Wanted::Streamed);
    }
    if !is_json(&head.headers) {
        // A placeholder can only stand in JSON; a credential that has to go on cannot go elsewhere.
        let optional =
            matches!(surface, Surface::Placeholder(_)) || on_agent == OnAgentCredential::PlaceholderOnly;
        let refusal = Refusal::new(
            Code::Dw2008,
            "this provider's credential goes into a JSON body, and the request has none",
        );
        return if optional { Ok(Wanted::Streamed) } else { Err(refusal.with_status(400)) };
    }
    let is_coded =
        |value: &http::HeaderValue| !value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity");
    if head.headers.get_all(CONTENT_ENCODING).iter().any(is_coded) {
        let refusal = Refusal::new(Code::Dw2008, "a credential cannot be put into a compressed request body");
        return Err(refusal.with_status(400));
    }
    Ok(Wanted::Held)
}

/// What the agent put at the surface's places in the body.
pub(super) fn judge(
    body: &[u8],
    surface: &Surface,
    own: &[String],
    bounds: &Bounds,
) -> Result<Sent, Refusal> {
    if body.len() > bounds.body_bytes {
        return Err(Refusal::new(Code::Dw2012, "the body is larger than a credential can be put into")
            .with_status(413));
    }
    let has_to_be_there = matches!(surface, Surface::Body(_));
    surface
        .pointers()
        .try_fold(Sent::default(), |sent, pointer| Ok(sent.with(at(body, pointer, own, has_to_be_there)?)))
}

fn at(body: &[u8], pointer: &Pointer, own: &[String], has_to_be_there: bool) -> Result<Sent, Refusal> {
    let place = pointer
        .locate(body)
        .map_err(|error| Refusal::new(Code::Dw2008, error.to_string()).with_status(400))?;
    let range = match place {
        Place::Value(range) => range,
        Place::Nowhere if has_to_be_there => {
            return Err(
                Refusal::new(Code::Dw2008, "the body has no place for the credential").with_status(400)
            );
        }
        Place::Absent { .. } | Place::Nowhere => return Ok(Sent::default()),
    };
    let text = body.get(range).and_then(string_at);
    Ok(text.map_or(Sent::default(), |text| Sent::of(text.as_bytes(), own)))
}

/// `application/json` or `…+json`, in UTF-8, said once.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    sole_type(headers).is_some_and(|essence| essence == "application/json" || essence.ends_with("+json"))
}

/// The type of a body, in lower case and without parameters; `None`: it is said twice or not at all, or in another charset
/// than UTF-8, in which the same bytes would say something else.
pub(crate) fn sole_type(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let mut parts = value.to_str().ok()?.split(';').map(str::trim);
    let essence = parts.next()?.to_ascii_lowercase();
    let foreign_charset = parts.filter_map(|part| part.split_once('=')).any(|(name, value)| {
        name.trim().eq_ignore_ascii_case("charset")
            && !value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
    });
    (!foreign_charset).then_some(essence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schemes::shared::surface::PlaceholderSpot;

    #[test]
    fn refuses_a_body_without_a_place_before_the_secret_is_opened() {
        let pointer = Pointer::parse("/auth/key").unwrap();
        let judged = |surface: &Surface, body: &str| judge(body.as_bytes(), surface, &[], &Bounds::default());
        let whole = Surface::Body(pointer.clone());
        let refusal = judged(&whole, r#"{"auth":1}"#).unwrap_err();
        assert_eq!((refusal.code, refusal.status), (Code::Dw2008, 400));
        assert_eq!(judged(&whole, r#"{"auth":{}}"#), Ok(Sent::default()));
        // A placeholder need not be there.
        let placeholder = Surface::Placeholder(vec![PlaceholderSpot::Body(pointer)]);
        assert_eq!(judged(&placeholder, r#"{"auth":1}"#), Ok(Sent::default()));
    }
}
