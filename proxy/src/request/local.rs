//! Stage 6, beside the route: calls that the proxy answers itself, in the place of an issuer.
//!
//! For: client libraries that want a token before their first request. Only agents that have the provider are answered; its
//! dummy is what they get. Refuses all else at such a place. Invariant: nothing of it is looked up, dialled or forwarded,
//! and no secret is opened.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use control::agent::AgentName;
use control::refusal::Refusal;
use control::rule::Path;
use control::target::{Host, Target};
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, PRAGMA};
use http::{Method, Response};

use super::answer::{self, Body};
use super::inject;
use super::parse::Parsed;
use super::record::Record;
use super::refuse::Refused;
use crate::conn::Conn;
use crate::conn::plain::Named;
use crate::plan::{Plan, Served};
use crate::schemes::shared::stand_in::{Call, LocalAnswer, Place};

/// The longest token call: an assertion of a few kilobytes.
const CALL_MOST: usize = 64 << 10;

/// Which providers answer in whose place, by their index in the plan. By host alone: an issuer may listen at other ports,
/// and to plain http, and is the same one there.
#[derive(Debug, Default)]
pub(crate) struct Locals(HashMap<Host, Vec<usize>>);

impl Locals {
    pub(crate) fn of(served: &[Option<Arc<Served>>]) -> Self {
        let mut places: HashMap<Host, Vec<usize>> = HashMap::new();
        for (index, served) in served.iter().enumerate() {
            let Some(served) = served else { continue };
            for place in served.injector.stand_ins().flat_map(|stand_in| stand_in.places()) {
                let known = places.entry(place.target.host).or_default();
                if !known.contains(&index) {
                    known.push(index);
                }
            }
        }
        Self(places)
    }

    /// The providers that answer at this place.
    pub(crate) fn at(&self, target: &Target) -> &[usize] {
        if self.0.is_empty() {
            return &[];
        }
        self.0.get(&target.host).map_or(&[], Vec::as_slice)
    }
}

impl Plan {
    /// Whether the agent is answered by the proxy itself at some path of this target.
    pub(crate) fn answers_at(&self, target: &Target, agent: &AgentName) -> bool {
        self.locals.at(target).iter().any(|index| self.routes.has(*index, agent))
    }
}

/// The providers of the agent in whose issuer's place the request is answered; none: it goes its way.
pub(crate) fn providers(plan: &Plan, named: &Named, agent: &AgentName, path: &Path) -> Vec<Arc<Served>> {
    let place = place(named);
    let at = plan.locals.at(&named.target);
    let granted = at.iter().filter(|index| plan.routes.has(**index, agent));
    let served = granted.filter_map(|index| plan.served.get(*index)?.as_ref());
    served.filter(|served| served.injector.stand_ins().any(|one| one.covers(&place, path))).cloned().collect()
}

fn place(named: &Named) -> Place {
    Place { target: named.target.clone(), plain: named.default_port == 80 }
}

/// Answers the call.
pub(crate) async fn answer(
    conn: &Conn,
    named: &Named,
    served: &[Arc<Served>],
    parsed: Parsed,
    record: &mut Record,
) -> Result<Response<Body>, Refused> {
    let Parsed { head, body, path, .. } = parsed;
    if let Some(first) = served.first() {
        record.provider(first);
    }
    let _seat = conn.request_seat()?;
    let whole = if head.method == Method::POST {
        match body {
            Some(body) => {
                Box::pin(record.while_lasting(inject::hold(body, CALL_MOST, record.holding()))).await?
            }
            None => Bytes::new(),
        }
    } else {
        Bytes::new()
    };
    // Several providers may share an issuer: the agent's dummies say which one is meant.
    let meant = served.iter().find(|served| names(served, &head.headers, &whole));
    let Some(meant) = meant.or(served.first()) else {
        return Err(crate::schemes::shared::stand_in::not_open().into());
    };
    record.provider(meant);
    let call = Call {
        method: &head.method,
        path: &path,
        query: head.target.query(),
        headers: &head.headers,
        body: &whole,
        dummy: meant.provider.auth.as_ref().map_or("", |auth| auth.dummy()),
    };
    let place = place(named);
    let stand_in = meant.injector.stand_ins().find(|one| one.covers(&place, &path));
    let answered = match stand_in {
        Some(stand_in) => stand_in.answer(&call),
        None => Err(crate::schemes::shared::stand_in::not_open()),
    };
    let local = answered.map_err(|refusal: Refusal| refusal.of_provider(&meant.provider.name))?;
    record.answered_here()?;
    Ok(answer::held(response(local)))
}

/// Whether the call carries a dummy of this provider.
fn names(served: &Served, headers: &http::HeaderMap, body: &[u8]) -> bool {
    let basic = headers
        .get(http::header::AUTHORIZATION)
        .and_then(|value| crate::schemes::shared::basic_auth::decoded(value.as_bytes()));
    let holds = |text: &[u8], dummy: &str| memchr::memmem::find(text, dummy.as_bytes()).is_some();
    let dummies = served.provider.auth.iter().flat_map(|auth| &auth.dummies);
    dummies
        .into_iter()
        .any(|dummy| holds(body, dummy) || basic.as_ref().is_some_and(|pair| holds(pair, dummy)))
}

fn response(local: LocalAnswer) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(local.body));
    let length = response.body().len();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(local.content_type));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    for (name, value) in local.headers {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}
