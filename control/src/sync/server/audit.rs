//! Audit lines of sidecars: each source is one chain, which the registry continues only with lines that verify.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::answer::Refused;
use super::{Caller, Server};
use crate::audit::verify::SOURCE_ID;
use crate::audit::{Chain, Hash};
use crate::registry::RegistryError;
use crate::secret::SecretName;
use crate::sync::wire::{Behind, Kept, Part};

/// Lines of one call.
const LINES_MAX: usize = 10_000;

pub(super) async fn keep(server: &Server, caller: &Caller, body: &[u8]) -> Result<Response, Refused> {
    let Part { source, behind, lines } = serde_json::from_slice(body).map_err(|_| Refused::body())?;
    let source = match (source, behind) {
        (Some(source), None) if is_id(&source) && lines.len() <= LINES_MAX => source,
        (None, Some(behind)) if lines.is_empty() => find(server, caller, &behind).await?,
        (Some(_) | None, _) => return Err(Refused::body()),
    };
    let used = used(&lines, server.now());
    let kept =
        server.registry.ship(&caller.agent.project, &format!("{}{source}", prefix(caller)), lines).await;
    match kept {
        Ok(seq) => {
            note_used(server, caller, used).await;
            Ok(axum::Json(Kept { source, seq }).into_response())
        }
        Err(RegistryError::Unchained { seq, .. }) => Err(Refused::unchained(seq)),
        Err(RegistryError::Crowded(_)) => Err(Refused::chains()),
        Err(error) => Err(Refused::database(&error)),
    }
}

/// What a line says of a secret's use.
#[derive(Deserialize)]
struct Use<'a> {
    #[serde(borrow)]
    ts: Cow<'a, str>,
    #[serde(borrow)]
    secret: Option<Cow<'a, str>>,
    #[serde(borrow)]
    verdict: Option<Cow<'a, str>>,
}

/// The last use of each secret by these lines, never in the future.
fn used(lines: &[String], now: i64) -> BTreeMap<SecretName, i64> {
    let mut all = BTreeMap::new();
    for line in lines {
        let Ok(Use { ts, secret: Some(secret), verdict: Some(verdict) }) = serde_json::from_str(line) else {
            continue;
        };
        let at = OffsetDateTime::parse(&ts, &Rfc3339).map(OffsetDateTime::unix_timestamp);
        if let (Ok(at), Ok(name), "allow") = (at, secret.parse(), &*verdict) {
            let last = all.entry(name).or_insert(0);
            *last = at.min(now).max(*last);
        }
    }
    all
}

/// Of what the agent has: a sidecar tells of no other secret. That it was not noted is no reason to send the lines again.
async fn note_used(server: &Server, caller: &Caller, mut used: BTreeMap<SecretName, i64>) {
    let hub = server.hubs.of(&caller.agent.project, &caller.agent.name);
    used.retain(|name, _| hub.has(name));
    if used.is_empty() {
        return;
    }
    let noted = server.registry.secrets_used(&caller.agent.project, used.into_iter().collect()).await;
    if let Err(error) = noted {
        tracing::warn!(%error, "it was not noted when secrets were used");
    }
}

/// Under the agent's name, whatever the sidecar calls itself.
fn prefix(caller: &Caller) -> String {
    format!("sidecar/{}/", caller.agent.name)
}

fn is_id(source: &str) -> bool {
    source.len() == SOURCE_ID && source.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
}

/// The chain of this agent that has a line: a file that was begun in the middle of it continues it.
async fn find(server: &Server, caller: &Caller, behind: &Behind) -> Result<String, Refused> {
    let hash = Hash::parse(&behind.hash).ok_or_else(Refused::body)?;
    let (line, prefix) = (Chain { seq: behind.seq, hash }, prefix(caller));
    let found = server.registry.chain_with(&caller.agent.project, &prefix, line).await;
    let source = found.map_err(|error| Refused::database(&error))?;
    let id = source.as_deref().and_then(|source| source.strip_prefix(&prefix)).filter(|id| is_id(id));
    id.map(str::to_owned).ok_or_else(Refused::no_chain)
}
