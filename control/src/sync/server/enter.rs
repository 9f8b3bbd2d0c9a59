//! Who calls, before anything else of the request is looked at; then its body, bounded in size, time and number.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::body::Body;
use http::HeaderMap;
use http::request::Parts;
use tokio::sync::{Semaphore, SemaphorePermit};
use zeroize::Zeroizing;

use super::Server;
use super::answer::Refused;
use super::identify::{Credential, NoCredential, Proof, Shown, Unproven};
use crate::api::standing::Standing;
use crate::api::{Peer, body as bodies};
use crate::refusal::Code;
use crate::registry::Agent;
use crate::sync::seal::PublicKey;
use crate::sync::wire::Bytes;
use crate::sync::{SEAL_KEY_HEADER, SIDECAR_HEADER};

/// How long a call waits for a place to read its body.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// A sidecar that has shown whose it is.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) agent: Agent,
    /// By what it is known.
    pub(super) shown: Shown,
    /// When that ends by itself, unix seconds.
    pub(super) ends: Option<i64>,
    pub(super) key: PublicKey,
    process: Option<Bytes<16>>,
}

impl Caller {
    /// How a sidecar is told from the agent's others: by what its process calls itself. One that reconnects is not another
    /// one, whose acknowledgement would be waited for. Without that, by its key, which it makes anew for each connection.
    pub(super) fn id(&self) -> String {
        self.process.map_or_else(|| self.key.to_string(), |process| process.to_string())
    }

    fn agent(&self) -> (String, String) {
        (self.agent.project.clone(), self.agent.name.clone())
    }
}

/// Who calls, if it is somebody who does not call too often. Unknown, ended and revoked credentials are told apart nowhere.
pub(super) async fn caller(server: &Server, head: &Parts) -> Result<Caller, Refused> {
    let headers = &head.headers;
    let address = Peer::address(&head.extensions);
    let credential = match Credential::of(head) {
        Ok(credential) => credential,
        Err(none) => {
            server.gate.check(address).map_err(Refused::often)?;
            server.gate.refused(address, None);
            return Err(match none {
                NoCredential::Unknown => Refused::unknown(),
                NoCredential::Class => Refused::class(),
            });
        }
    };
    let Proof { agent, shown, ends } = proof(server, address, &credential).await?;
    Standing::confirm(&head.extensions);
    let key = bytes(headers, SEAL_KEY_HEADER)?.ok_or_else(Refused::key)?;
    let process = bytes(headers, SIDECAR_HEADER)?;
    let caller = Caller { agent, shown, ends, key, process };
    server.calls.take(caller.agent(), Instant::now()).map_err(Refused::often)?;
    Ok(caller)
}

async fn proof(server: &Server, address: Option<IpAddr>, credential: &Credential) -> Result<Proof, Refused> {
    let digest = credential.digest();
    let turn = server.gate.turn(address, &digest).await.map_err(Refused::often)?;
    let refused = match server.ways.identify(credential, server.now()).await {
        Ok(proof) => {
            server.gate.passed(&digest);
            return Ok(proof);
        }
        Err(Unproven::Database(error)) => return Err(Refused::database(&error)),
        Err(Unproven::Unanswered) => return Err(Refused::unanswered()),
        Err(Unproven::Often(wait)) => return Err(Refused::often(wait)),
        Err(Unproven::NoSuchWay) => Refused::no_such_way(),
        Err(Unproven::Unknown) => Refused::unknown(),
    };
    server.gate.refused(address, Some(&digest));
    tracing::warn!(?address, "a sidecar without a valid credential");
    Err(if turn.is_doubtful() { Refused::often(Duration::from_secs(1)) } else { refused })
}

/// The bytes of a header that comes once at most.
fn bytes<const N: usize>(headers: &HeaderMap, name: &str) -> Result<Option<Bytes<N>>, Refused> {
    let mut all = headers.get_all(name).iter();
    let Some(value) = all.next() else { return Ok(None) };
    let value = value.to_str().ok().and_then(Bytes::parse).filter(|_| all.next().is_none());
    value.map(Some).ok_or_else(Refused::key)
}

/// Waits for a place among those whose bodies are read.
pub(super) async fn place(places: &Semaphore) -> Result<SemaphorePermit<'_>, Refused> {
    match tokio::time::timeout(PATIENCE, places.acquire()).await {
        Ok(Ok(place)) => Ok(place),
        Ok(Err(_)) | Err(_) => Err(Refused::busy()),
    }
}

/// The body, once it is known whose it is.
pub(super) async fn body(body: Body, most: usize) -> Result<Zeroizing<Vec<u8>>, Refused> {
    let read = bodies::read(body, most).await;
    read.map_err(|problem| if problem.code == Code::Dw6012 { Refused::large() } else { Refused::body() })
}

/// Takes the bytes of audit lines from what the agent may have kept.
pub(super) fn pay(server: &Server, caller: &Caller, bytes: usize) -> Result<(), Refused> {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    server.bytes.spend(caller.agent(), bytes, Instant::now()).map_err(Refused::often)
}
