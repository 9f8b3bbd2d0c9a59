//! Stage 9 for schemes that answer a challenge of the upstream (Digest): at most one more request, the same with the answer.
//!
//! The agent sees neither the challenge that was answered nor what was sent for it: the answer to its request is searched for
//! that too, and fields that would let a password be tried out are dropped.

use std::sync::Arc;

use control::refusal::{Code, Refusal};
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use super::body::RequestBody;
use super::record::Record;
use super::refuse::Refused;
use super::scrub::Search;
use super::send::{self, Answer, Signed, Way};
use crate::schemes::{Challenged, Head, Responder};
use crate::sought::Sought;
use crate::upstream::Peer;

/// A hash over the password, the nonces and the answer (RFC 7616 section 3.5).
pub(super) const INFO: HeaderName = HeaderName::from_static("authentication-info");

/// What answers a challenge, and what the answer to the request is searched for as it is.
#[derive(Debug)]
pub(crate) struct Answering {
    pub(crate) responder: Arc<dyn Responder>,
    pub(crate) sought: Arc<Sought>,
}

/// Sends the request; if the upstream asks for something that the scheme can answer, once more.
pub(crate) async fn upstream(
    way: &Way<'_>,
    signed: &mut Signed,
    search: &mut Option<Option<Search>>,
    record: &mut Record,
) -> Result<Answer, Refused> {
    match signed.answering.take() {
        None => send::upstream(way, signed, record).await,
        // Boxed: the other requests do not carry the room for it.
        Some(answering) => Box::pin(answered(way, signed, &answering, search, record)).await,
    }
}

async fn answered(
    way: &Way<'_>,
    signed: &mut Signed,
    answering: &Answering,
    search: &mut Option<Option<Search>>,
    record: &mut Record,
) -> Result<Answer, Refused> {
    let mut again = again(signed)?;
    let mut answer = send::upstream(way, signed, record).await?;
    if let Some(value) = respond(way, answering, &mut answer, &again.head, search)? {
        drop(answer);
        again.head.headers.try_insert(AUTHORIZATION, value).map_err(|_| too_large())?;
        record.replayed(&again.progress);
        answer = send::upstream(way, &mut again, record).await?;
        answer.headers_mut().remove(INFO);
    }
    Ok(answer)
}

/// What is to be sent with the same head once more, if the answer asks for it; the next answer is searched for it as well
/// as for all that was sent before.
pub(super) fn respond<B>(
    way: &Way<'_>,
    answering: &Answering,
    answer: &mut Response<B>,
    head: &Head,
    search: &mut Option<Option<Search>>,
) -> Result<Option<HeaderValue>, Refusal> {
    answer.headers_mut().remove(INFO);
    if answer.status() != StatusCode::UNAUTHORIZED {
        return Ok(None);
    }
    let challenged = {
        let Peer { agent, target, .. } = way.peer;
        answering.responder.respond(answer.headers(), agent.as_str(), target, head)
    };
    let challenged = challenged.map_err(|refusal| refusal.of_provider(&way.peer.provider.name))?;
    let Some(Challenged { value, echoes }) = challenged else { return Ok(None) };
    if let Some(Some(search)) = search {
        let sought = answering
            .sought
            .with(&echoes)
            .map_err(|_| Refusal::new(Code::Dw1004, "answers could not be searched for the credential"))?;
        search.scanner = Arc::clone(&sought.scanner);
    }
    Ok(Some(value))
}

/// The same request once more; its body is held whole.
fn again(signed: &Signed) -> Result<Signed, Refusal> {
    let Head { method, target, headers } = &signed.head;
    let head = Head { method: method.clone(), target: target.clone(), headers: headers.clone() };
    let gone = || Refusal::new(Code::Dw2012, "the body cannot be sent again with the answer to a challenge");
    let (body, progress) = signed.body.as_ref().and_then(RequestBody::afresh).ok_or_else(gone)?;
    let body = Some(body);
    Ok(Signed { head, body, progress, used: None, identity: None, answering: None, upgrade: None })
}

pub(super) fn too_large() -> Refusal {
    Refusal::new(Code::Dw2008, "with its credential the request has too many headers").with_status(431)
}
