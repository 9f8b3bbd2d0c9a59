//! The token of an agent's sidecar: looked up by its digest.

use std::sync::Arc;

use super::{Credential, Identify, Proof, Proving, Shown, Unproven};
use crate::registry::Registry;

/// The tokens that the registry knows.
#[derive(Debug)]
pub(super) struct Tokens(pub(super) Arc<dyn Registry>);

impl Identify for Tokens {
    fn identify<'a>(&'a self, credential: &'a Credential, _: i64) -> Proving<'a> {
        Box::pin(async move {
            let Credential::Token(digest) = credential else { return Err(Unproven::Unknown) };
            let agent = self.0.agent_by_token(digest).await?.ok_or(Unproven::Unknown)?;
            Ok(Proof { agent, shown: Shown::Token(*digest), ends: None })
        })
    }
}
