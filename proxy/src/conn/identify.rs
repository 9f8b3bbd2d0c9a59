//! Stage 2: who calls.
//!
//! A token (Basic with the token as user or password, or Bearer), compared by digest in constant time; or the peer's
//! uid on a unix listener or a `uid:` one; or, where it was said so, that it reaches a listener on loopback. The answer to a failure never says which part was wrong.

use std::time::SystemTime;

use control::agent::{AgentName, Credentials, Identity, Unidentified, credentials};
use control::refusal::{Code, Refusal};
use http::header::PROXY_AUTHORIZATION;

use super::accept::Head;
use super::base_url;
use crate::plan::Plan;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A TCP listener.
    Tcp,
    /// A unix listener, with the peer's uid as the kernel tells it.
    Unix(u32),
    /// A `uid:` listener, with the peer's uid where the kernel tells it.
    Loopback(Option<u32>),
}

/// Who calls, and by what proof; the proof is checked again for each request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) name: AgentName,
    /// `None`: a loopback or unix listener without a token file, where reaching it is the proof.
    identity: Option<Identity>,
}

impl Caller {
    /// Whether the proof still holds in this plan: not revoked, not expired.
    pub(crate) fn is_current(&self, plan: &Plan, now: SystemTime) -> bool {
        match (&self.identity, &plan.agents) {
            (Some(identity), Some(agents)) => agents.is_current(identity, now),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

/// The refusal of a caller whose proof ended after the connection began.
pub(crate) fn ended() -> Refusal {
    Refusal::new(Code::Dw3002, "the proxy credentials are not valid")
}

/// Identifies the sender of a head.
///
/// Clients of a base URL know nothing of proxies: they are told with 401, and may send their token as the vendor's key.
pub(crate) fn caller(plan: &Plan, peer: Peer, head: &Head, own_uid: u32) -> Result<Caller, Refusal> {
    let is_base_url = base_url::is_one(&head.target);
    let presented = head.headers.get(PROXY_AUTHORIZATION);
    let mut found = identified(plan, peer, presented.and_then(credentials), own_uid);
    if is_base_url && presented.is_none() {
        for one in base_url::presented(&head.headers) {
            found = found.or_else(|_| identified(plan, peer, Some(one), own_uid));
        }
    }
    found.map_err(
        |refusal| if is_base_url && refusal.status == 407 { refusal.with_status(401) } else { refusal },
    )
}

fn identified(
    plan: &Plan,
    peer: Peer,
    presented: Option<Credentials>,
    own_uid: u32,
) -> Result<Caller, Refusal> {
    let now = SystemTime::now();
    let Some(agents) = &plan.agents else {
        let is_ours = match peer {
            Peer::Tcp => true,
            Peer::Unix(uid) => uid == own_uid,
            Peer::Loopback(uid) => uid == Some(own_uid),
        };
        let local = is_ours.then(|| Caller { name: AgentName::local(), identity: None });
        return local.ok_or_else(|| Unidentified::Unknown.refusal());
    };
    let found = match peer {
        // Whatever is sent: there the uid alone decides.
        Peer::Loopback(uid) => uid.map_or(Err(Unidentified::Unknown), |uid| agents.by_uid(uid, now)),
        Peer::Unix(uid) if presented.is_none() => agents.by_uid(uid, now),
        Peer::Unix(_) => agents.identify(presented.as_ref(), now),
        // Without tokens it is on loopback: no other listener is bound then.
        Peer::Tcp => agents.by_place(now).unwrap_or_else(|| agents.identify(presented.as_ref(), now)),
    };
    match found {
        Ok(identity) => Ok(Caller { name: identity.name().clone(), identity: Some(identity) }),
        Err(why) => Err(why.refusal()),
    }
}
