//! The only door by which a secret gets onto a request.
//!
//! For: the schemes, each of which names a surface and hands over the rendered value. Refuses requests that outgrow the
//! limits by it. Invariants: the agent's own copies of what is set, in every spelling that servers mix up, are removed
//! and exactly one value is set; placeholders are replaced on the named spot only, in one pass; all that holds a value is
//! wiped when freed (what hyper and TLS copy from it is not).

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use control::refusal::{Code, Refusal};
use control::target::Target;
use http::Method;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use zeroize::Zeroizing;

use super::aws_sigv4::payload::Stream;
use super::shared::encode::{GROWTH, query_into, segment_into};
use super::shared::pathshape::PathShape;
use super::shared::pointer::{self, Pointer};
use super::shared::substitute::{self, Spelling, occurrences, replaced};
use super::shared::surface::PlaceholderSpot;
use super::shared::template::{sensitive, wiped};
use super::shared::{basic_auth, cookies, names, parameters};
use super::{Echo, Responder};
use crate::limits::held::Holding;

/// A request's head on its way upstream: what was matched is what is sent.
pub struct Head {
    /// The method, as the agent sent it.
    pub method: Method,
    /// The canonical path with the query.
    pub target: PathAndQuery,
    /// The headers.
    pub headers: HeaderMap,
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head")
            .field("method", &self.method)
            .field("headers", &self.headers.len())
            .finish_non_exhaustive()
    }
}

/// Sizes that a request may not exceed, before and after a credential was put on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Header names and values together, in bytes.
    pub header_bytes: usize,
    /// Header fields.
    pub header_fields: usize,
    /// Path and query, in bytes.
    pub url_bytes: usize,
    /// A body that is held in memory to put a credential into it, in bytes.
    pub body_bytes: usize,
    /// How often a placeholder may stand on one spot.
    pub placeholders: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            header_bytes: 64 << 10,
            header_fields: 100,
            url_bytes: 16 << 10,
            body_bytes: 10 << 20,
            placeholders: 8,
        }
    }
}

/// Where a request goes and when: a signature covers both.
#[derive(Clone, Copy, Debug)]
pub struct Errand<'a> {
    /// Whose request it is.
    pub agent: &'a str,
    /// The one target.
    pub target: &'a Target,
    /// The port that `Host` does not name.
    pub default_port: u16,
    /// Asked only where something is signed.
    pub now: fn() -> SystemTime,
}

/// What the body of a request with its credential is.
#[derive(Debug)]
pub struct Placed {
    /// A body that was read whole.
    pub body: Option<Bytes>,
    /// What happens to one that streams.
    pub stream: Option<Stream>,
    /// What answers a challenge of the upstream.
    pub responder: Option<Arc<dyn Responder>>,
    /// What the answer to this request is searched for, beside what all are.
    pub echoes: Vec<Arc<Echo>>,
}

impl Placed {
    /// Of a request that no credential is put on.
    pub(crate) fn unchanged(body: Option<Bytes>) -> Self {
        Self { body, stream: None, responder: None, echoes: Vec::new() }
    }
}

/// The door. Holds a request's head while a scheme puts its credential on.
pub struct Outgoing<'a> {
    head: &'a mut Head,
    /// The provider's own dummies.
    dummies: &'a [String],
    bounds: &'a Bounds,
    body: Option<Bytes>,
    /// Where a body that is made in the place of another has its room.
    holding: Option<Holding>,
    errand: Option<Errand<'a>>,
    stream: Option<Stream>,
    responder: Option<Arc<dyn Responder>>,
    echoes: Vec<Arc<Echo>>,
}

impl fmt::Debug for Outgoing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("head", &self.head).finish_non_exhaustive()
    }
}

impl<'a> Outgoing<'a> {
    /// Opens the door for one request. `body` is there only for surfaces that lie in it.
    pub fn new(head: &'a mut Head, dummies: &'a [String], bounds: &'a Bounds, body: Option<Bytes>) -> Self {
        let (responder, echoes) = (None, Vec::new());
        let (holding, errand, stream) = (None, None, None);
        Self { head, dummies, bounds, body, holding, errand, stream, responder, echoes }
    }

    /// Says where a body that takes the place of the one that was read has its room.
    #[must_use]
    pub(crate) fn within(self, holding: Option<Holding>) -> Self {
        Self { holding, ..self }
    }

    /// Says where the request goes and when.
    #[must_use]
    pub fn towards(self, errand: Option<Errand<'a>>) -> Self {
        Self { errand, ..self }
    }

    /// Where the request goes and when, if it is known.
    pub(super) fn errand(&self) -> Option<Errand<'a>> {
        self.errand
    }

    /// The request as it stands.
    pub(super) fn head(&self) -> &Head {
        self.head
    }

    /// The body, where it was read whole.
    pub(super) fn body(&self) -> Option<&Bytes> {
        self.body.as_ref()
    }

    /// Removes a header in all spellings.
    pub(super) fn remove_header(&mut self, name: &HeaderName) {
        names::remove_all_spellings(&mut self.head.headers, name);
    }

    /// Removes the agent's parameters of this name, in all spellings.
    pub(super) fn remove_param(&mut self, name: &str) -> Result<(), Refusal> {
        let query = self.head.target.query().map(|query| parameters::without(query, &[name])).transpose();
        let query = query.map_err(|error| Refusal::new(Code::Dw2008, error.to_string()))?.flatten();
        query.map_or(Ok(()), |query| self.replace_query(query.as_bytes()))
    }

    /// Puts another query in the place of all of the agent's.
    pub(super) fn replace_query(&mut self, query: &[u8]) -> Result<(), Refusal> {
        if query.is_empty() {
            let path = self.head.target.path().to_owned();
            self.head.target = PathAndQuery::from_maybe_shared(Bytes::from(path)).map_err(|_| unfit())?;
            return Ok(());
        }
        self.set_target(None, Some(query))
    }

    /// Says what happens to a body that streams.
    pub(super) fn change_stream(&mut self, stream: Stream) {
        self.stream = Some(stream);
    }

    /// Says what answers a challenge of the upstream.
    pub(super) fn answer_challenges(&mut self, responder: Arc<dyn Responder>) {
        self.responder = Some(responder);
    }

    /// Says what this request's answer is searched for, beside what all are.
    pub(super) fn search_for(&mut self, echoes: Vec<Arc<Echo>>) {
        self.echoes = echoes;
    }

    /// Removes the agent's copies of the header, in all spellings, and sets exactly one.
    pub fn set_header(&mut self, name: &HeaderName, value: HeaderValue) -> Result<(), Refusal> {
        names::remove_other_spellings(&mut self.head.headers, name);
        insert(&mut self.head.headers, name, value)
    }

    /// Removes the agent's parameters of this name, in all spellings, and appends exactly one. The value is encoded already.
    pub fn set_query(&mut self, name: &str, encoded: &[u8]) -> Result<(), Refusal> {
        let query = self.head.target.query().unwrap_or_default();
        let mut encoded_name = Vec::with_capacity(name.len() * GROWTH);
        query_into(name.as_bytes(), &mut encoded_name);
        let room = query.len() + encoded_name.len() + encoded.len() + 2;
        let mut out = Zeroizing::new(Vec::with_capacity(room));
        parameters::set_into(query, name, &encoded_name, encoded, &mut out);
        debug_assert!(out.len() <= room, "a buffer that grows leaves an unwiped copy");
        self.set_target(None, Some(&out))
    }

    /// Puts the rendered segments where the shape stands in the path; a path without it stays as it is.
    pub fn set_path_part(&mut self, shape: &PathShape, rendered: &[u8]) -> Result<(), Refusal> {
        let path = self.head.target.path();
        let Some(found) = shape.find(path, self.dummies) else { return Ok(()) };
        let out = replaced(path.as_bytes(), &[found.range], rendered);
        self.set_target(Some(&out), None)
    }

    /// Removes the agent's cookies of this name and adds `name=value`; its other cookies stay, in one header.
    pub fn set_cookie(&mut self, name: &str, pair: &[u8]) -> Result<(), Refusal> {
        let headers = &mut self.head.headers;
        let agents: Vec<HeaderValue> = headers.get_all(COOKIE).iter().cloned().collect();
        let room = agents.iter().map(|value| value.len() * 2 + 2).sum::<usize>() + pair.len();
        let mut out = Zeroizing::new(Vec::with_capacity(room));
        cookies::set_into(agents.iter().map(HeaderValue::as_bytes), name, pair, &mut out);
        debug_assert!(out.len() <= room, "a buffer that grows leaves an unwiped copy");
        names::remove_other_spellings(headers, &COOKIE);
        insert(headers, &COOKIE, sensitive(out).map_err(|_| unfit())?)
    }

    /// Sets the string at the pointer of the JSON body; all else of the body stays byte for byte.
    pub fn set_body(&mut self, pointer: &Pointer, value: &str) -> Result<(), Refusal> {
        let body = self.body.take().unwrap_or_default();
        let place = pointer.locate(&body).map_err(|error| Refusal::new(Code::Dw2008, error.to_string()))?;
        self.keep_body(pointer, &body, &place, value)
    }

    /// Puts the value where the provider's dummy stands on the spot. No dummy there: nothing changes.
    pub fn replace_placeholder(&mut self, spot: &PlaceholderSpot, value: &[u8]) -> Result<(), Refusal> {
        match spot {
            PlaceholderSpot::Header(name) => self.replace_in_header(name, value),
            PlaceholderSpot::Query(name) => self.replace_in_query(name, value),
            PlaceholderSpot::Path => self.replace_in_path(value),
            PlaceholderSpot::Basic => self.replace_in_basic(value),
            PlaceholderSpot::Body(pointer) => self.replace_in_body(pointer, value),
        }
    }

    /// Closes the door: checks the sizes and gives the changed body back.
    pub fn finish(self) -> Result<Option<Bytes>, Refusal> {
        self.placed().map(|placed| placed.body)
    }

    /// As [`Self::finish`], with what happens to a body that streams.
    pub fn placed(self) -> Result<Placed, Refusal> {
        let Head { target, headers, .. } = &*self.head;
        if target.as_str().len() > self.bounds.url_bytes {
            return Err(
                Refusal::new(Code::Dw2008, "with its credential the URL is too long").with_status(431)
            );
        }
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if headers.len() > self.bounds.header_fields || bytes > self.bounds.header_bytes {
            return Err(too_large());
        }
        let Self { body, stream, responder, echoes, .. } = self;
        Ok(Placed { body, stream, responder, echoes })
    }

    fn replace_in_header(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), Refusal> {
        let http::header::Entry::Occupied(mut entry) = self.head.headers.entry(name) else { return Ok(()) };
        for slot in entry.iter_mut() {
            let places = found_in(slot.as_bytes(), self.dummies, Spelling::Plain, self.bounds)?;
            if !places.is_empty() {
                *slot = sensitive(replaced(slot.as_bytes(), &places, value)).map_err(|_| unfit())?;
            }
        }
        Ok(())
    }

    fn replace_in_basic(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let http::header::Entry::Occupied(mut entry) = self.head.headers.entry(AUTHORIZATION) else {
            return Ok(());
        };
        for slot in entry.iter_mut() {
            let Some(pair) = basic_auth::decoded(slot.as_bytes()) else { continue };
            let places = found_in(&pair, self.dummies, Spelling::Plain, self.bounds)?;
            let Some(first) = places.first() else { continue };
            let colon = pair.iter().position(|&b| b == b':').unwrap_or(pair.len());
            if first.start < colon && value.contains(&b':') {
                // It would move the border between user and password.
                return Err(unfit());
            }
            *slot = sensitive(basic_auth::encoded(&replaced(&pair, &places, value))).map_err(|_| unfit())?;
        }
        Ok(())
    }

    fn replace_in_query(&mut self, name: &str, value: &[u8]) -> Result<(), Refusal> {
        let Some(query) = self.head.target.query() else { return Ok(()) };
        let mut encoded = Zeroizing::new(Vec::with_capacity(value.len() * GROWTH));
        query_into(value, &mut encoded);
        let mut places = Vec::new();
        let mut start = 0;
        for parameter in parameters::parameters(query) {
            start += usize::from(parameter.separator.is_some());
            let in_value = start + parameter.text.len() - parameter.value().len();
            if parameter.is_named(name) {
                let found =
                    found_in(parameter.value().as_bytes(), self.dummies, Spelling::Form, self.bounds)?;
                places.extend(found.into_iter().map(|place| place.start + in_value..place.end + in_value));
            }
            start += parameter.text.len();
        }
        if places.len() > self.bounds.placeholders {
            return Err(too_often());
        }
        let out = replaced(query.as_bytes(), &places, &encoded);
        self.set_target(None, Some(&out))
    }

    fn replace_in_path(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let path = self.head.target.path();
        let places = found_in(path.as_bytes(), self.dummies, Spelling::Percent, self.bounds)?;
        let mut encoded = Zeroizing::new(Vec::with_capacity(value.len() * GROWTH));
        segment_into(value, &mut encoded);
        let out = replaced(path.as_bytes(), &places, &encoded);
        self.set_target(Some(&out), None)
    }

    fn replace_in_body(&mut self, pointer: &Pointer, value: &[u8]) -> Result<(), Refusal> {
        let Some(body) = self.body.clone() else { return Ok(()) };
        let place = pointer.locate(&body).map_err(|error| Refusal::new(Code::Dw2008, error.to_string()))?;
        let pointer::Place::Value(range) = &place else { return Ok(()) };
        let Some(text) = body.get(range.clone()).and_then(pointer::string_at) else { return Ok(()) };
        let places = found_in(text.as_bytes(), self.dummies, Spelling::Plain, self.bounds)?;
        if places.is_empty() {
            return Ok(());
        }
        let changed = replaced(text.as_bytes(), &places, value);
        let changed = std::str::from_utf8(&changed).map_err(|_| unfit())?;
        self.keep_body(pointer, &body, &place, changed)
    }

    /// Puts a text into the body. What it becomes has room among the bodies that are held, until it is sent, as what it was.
    fn keep_body(
        &mut self,
        pointer: &Pointer,
        body: &[u8],
        place: &pointer::Place,
        text: &str,
    ) -> Result<(), Refusal> {
        let length = pointer.length(body, place, text).ok_or_else(no_place)?;
        let lease = self.holding.as_ref().map(|holding| holding.lease(length)).transpose()?;
        let body = pointer.set(body, place, text).ok_or_else(no_place)?;
        let headers = &mut self.head.headers;
        // Sums over the body as the agent sent it are wrong now.
        for sum in ["content-md5", "digest", "content-digest", "repr-digest"] {
            names::remove_all_spellings(headers, &HeaderName::from_static(sum));
        }
        names::remove_other_spellings(headers, &CONTENT_LENGTH);
        insert(headers, &CONTENT_LENGTH, HeaderValue::from(body.len()))?;
        self.body = Some(match lease {
            Some(lease) => lease.of(body),
            None => wiped(body),
        });
        Ok(())
    }

    /// Another path, another query, or both.
    fn set_target(&mut self, path: Option<&[u8]>, query: Option<&[u8]>) -> Result<(), Refusal> {
        let old = &self.head.target;
        let path = path.unwrap_or(old.path().as_bytes());
        let query = query.or(old.query().map(str::as_bytes));
        let mut out = Zeroizing::new(Vec::with_capacity(path.len() + query.map_or(0, <[u8]>::len) + 1));
        out.extend_from_slice(path);
        if let Some(query) = query {
            out.push(b'?');
            out.extend_from_slice(query);
        }
        self.head.target = PathAndQuery::from_maybe_shared(wiped(out)).map_err(|_| unfit())?;
        Ok(())
    }
}

fn found_in(
    text: &[u8],
    dummies: &[String],
    spelling: Spelling,
    bounds: &Bounds,
) -> Result<Vec<std::ops::Range<usize>>, Refusal> {
    occurrences(text, dummies, spelling, bounds.placeholders).map_err(|substitute::TooOften| too_often())
}

/// Replaces all copies that have the very name.
fn insert(headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue) -> Result<(), Refusal> {
    headers.try_insert(name, value).map(drop).map_err(|_| too_large())
}

fn too_large() -> Refusal {
    Refusal::new(Code::Dw2008, "with its credential the request has too many or too large headers")
        .with_status(431)
}

fn too_often() -> Refusal {
    Refusal::new(Code::Dw1007, "the dummy stands too often on the spot where it is replaced")
}

fn no_place() -> Refusal {
    Refusal::new(Code::Dw2008, "the body has no place for the credential").with_status(400)
}

fn unfit() -> Refusal {
    Refusal::new(Code::Dw1004, "the secret holds characters that cannot be sent on this surface")
}
