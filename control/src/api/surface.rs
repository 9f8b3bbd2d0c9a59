//! What a server answers: the API and the stream of sidecars once there is a key, and until then that the vault is locked.

use std::sync::Arc;

use axum::Router;
use tokio::sync::watch;

use super::locked::Locked;
use super::{Api, Limits, Names, Setting};
use crate::audit::upkeep::Upkeep;
use crate::catalog::SchemeSpec;
use crate::oidc::Issuer;
use crate::registry::Registry;
use crate::sync::server as sync;
use crate::sync::server::identify::Reviews;
use crate::vault::Clock;
use crate::vault::local::LocalVault;
use crate::vault::store::Store;

/// What everything that is answered is made from.
#[derive(Debug)]
pub struct Ground {
    /// The server's state.
    pub registry: Arc<dyn Registry>,
    /// The vault's side of the same database.
    pub store: Arc<dyn Store>,
    /// The auth schemes of the data plane, as data.
    pub schemes: &'static [&'static SchemeSpec],
    /// The names that the server answers to.
    pub names: Names,
    /// The bounds.
    pub limits: Limits,
    /// The clock.
    pub clock: Clock,
    /// Whom people log in with; without one, nobody does.
    pub oidc: Option<Arc<Issuer>>,
    /// Who reviews the tokens of Kubernetes ServiceAccounts; without it, they open nothing.
    pub reviews: Option<Arc<Reviews>>,
    /// Turns true when the server ends.
    pub ends: watch::Receiver<bool>,
}

/// What is answered, and what is done beside.
#[derive(Debug)]
pub struct Surface {
    ground: Ground,
    router: Router,
    probes: Router,
    state: State,
}

#[derive(Debug)]
enum State {
    Open(Upkeep),
    Locked(Locked),
}

impl Ground {
    /// Every path, the admin port's, and the chains of the audit.
    fn answered(&self, vault: &LocalVault) -> (Router, Router, Upkeep) {
        let clock = self.clock;
        let api = Api::new(Setting {
            registry: Arc::clone(&self.registry),
            vault: vault.over(Arc::clone(&self.store)),
            schemes: self.schemes,
            names: self.names.clone(),
            limits: self.limits.clone(),
            clock,
            oidc: self.oidc.clone(),
            ends: self.ends.clone(),
        });
        let sidecars = sync::router(sync::Setting {
            registry: Arc::clone(&self.registry),
            vault: vault.over(Arc::clone(&self.store)),
            gate: api.gate(),
            reviews: self.reviews.clone(),
            clock,
            ends: self.ends.clone(),
        });
        (api.router().merge(api.beside(sidecars)), api.admin(), api.upkeep())
    }

    /// `None`: the vault is locked.
    pub fn surface(self, vault: Option<&LocalVault>) -> Surface {
        if let Some(vault) = vault {
            let (router, probes, chains) = self.answered(vault);
            return Surface { ground: self, router, probes, state: State::Open(chains) };
        }
        let (registry, store) = (Arc::clone(&self.registry), Arc::clone(&self.store));
        let locked = Locked::new(registry, store, self.names.clone(), self.clock);
        let (router, probes) = (locked.router(), locked.admin());
        Surface { ground: self, router, probes, state: State::Locked(locked) }
    }
}

impl Surface {
    /// What listeners serve.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// What the admin port serves.
    pub fn probes(&self) -> Router {
        self.probes.clone()
    }

    /// The chains of the audit; what is locked waits here until it is unlocked, and opens.
    pub async fn chains(self) -> Upkeep {
        match self.state {
            State::Open(chains) => chains,
            State::Locked(locked) => {
                tracing::warn!("the vault is locked: doorward unlock");
                let (router, probes, chains) = self.ground.answered(&locked.vault().await);
                locked.open(router, probes);
                tracing::info!("the vault was unlocked");
                chains
            }
        }
    }
}
