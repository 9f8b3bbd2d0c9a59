//! A client certificate: TLS has verified it and read the SPIFFE id in it; here it is only asked whose that is.

use std::sync::Arc;

use super::{Credential, Identify, Proving, Unproven, bound};
use crate::registry::{Identity, Registry, SpiffeId};

/// What a verified client certificate says; requests of its connection carry it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified {
    /// Whose it is.
    pub id: SpiffeId,
    /// When it ends, unix seconds. A connection may live longer.
    pub ends: i64,
}

/// The SPIFFE ids that the registry knows.
#[derive(Debug)]
pub(super) struct Certificates(pub(super) Arc<dyn Registry>);

impl Identify for Certificates {
    fn identify<'a>(&'a self, credential: &'a Credential, now: i64) -> Proving<'a> {
        Box::pin(async move {
            let Credential::Certificate(Certified { id, ends }) = credential else {
                return Err(Unproven::Unknown);
            };
            if *ends <= now {
                return Err(Unproven::Unknown);
            }
            bound(&self.0, Identity::Spiffe(id.clone()), *ends).await
        })
    }
}
