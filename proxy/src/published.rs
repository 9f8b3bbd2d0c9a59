//! What a running proxy writes: for agents ([`publish`]'s files, with each plan anew) and for whoever started it (the ready file,
//! when everything serves).

use std::net::SocketAddr;
use std::path::PathBuf;

use certs::Authority;
use control::agent::Agents;
use serde::Serialize;

use crate::app::StartError;
use crate::conn::base_url;
use crate::listen::{Bound, Entrance};
use crate::loader::Loader;
use crate::plan::Plan;
use crate::publish::{self, Doorway, Own, Readers};

/// What is written for agents and for whoever started us.
#[derive(Debug)]
pub(crate) struct Published {
    /// The directory, and what agents are told in it.
    doorway: Option<(PathBuf, Doorway)>,
    /// Where agents send their token.
    entrance: Option<Entrance>,
    /// The first listener in clear: where there are no tokens it asks for none.
    plain: Option<SocketAddr>,
    /// Where none is asked for, since the listener knows its peer.
    knowing: Option<SocketAddr>,
    ready_file: Option<PathBuf>,
}

/// The ready file (CLI.md).
#[derive(Serialize)]
struct Ready {
    proxy: Option<String>,
    listeners: Vec<String>,
    admin: Option<String>,
    ca: Option<PathBuf>,
    ca_bundle: Option<PathBuf>,
    pid: u32,
}

impl Published {
    pub(crate) fn new(dir: Option<PathBuf>, ready_file: Option<PathBuf>, bound: &Bound) -> Self {
        let entrance = bound.entrance();
        let doorway = dir.map(|dir| {
            let doorway = Doorway {
                entrance: entrance.clone(),
                ca: dir.join("ca.crt"),
                bundle: dir.join("ca-bundle.crt"),
                truststore: dir.join("truststore.p12"),
            };
            (dir, doorway)
        });
        let (plain, knowing) = (bound.plain_address(), bound.knowing_address());
        Self { doorway, entrance, plain, knowing, ready_file }
    }

    pub(crate) fn write(
        &self,
        authority: &Authority,
        loader: &Loader,
        plan: &Plan,
    ) -> Result<(), StartError> {
        let Some((dir, doorway)) = &self.doorway else { return Ok(()) };
        std::fs::create_dir_all(dir).map_err(|cause| StartError::Write { path: dir.clone(), cause })?;
        let bundle = certs::trust::combined_bundle(authority, loader.system_roots());
        put(&doorway.ca, authority.certificate_pem().as_bytes(), Readers::All)?;
        put(&doorway.bundle, bundle.as_bytes(), Readers::All)?;
        // Java can do nothing with it where it would have to send a token.
        if plan.agents.as_ref().is_none_or(Agents::are_at_hand) || self.knowing.is_some() {
            let store = certs::trust::java_truststore_of(&doorway.bundle, bundle.as_bytes())?;
            put(&doorway.truststore, &store, Readers::All)?;
        }
        self.write_env(loader, plan)
    }

    /// One file for each agent, with its own token and the dummies of its providers.
    pub(crate) fn write_env(&self, loader: &Loader, plan: &Plan) -> Result<(), StartError> {
        let Some((dir, doorway)) = &self.doorway else { return Ok(()) };
        let tokens = loader.tokens().map_err(StartError::Files)?;
        let names = plan.agent_names();
        for name in &names {
            let asks_nothing = match &plan.agents {
                None => self.plain.or(self.knowing),
                Some(agents) if agents.are_at_hand() => self.plain,
                Some(agents) => self.knowing.filter(|_| agents.has_uid(name)),
            };
            let dummies =
                plan.routes.providers_of(name).flat_map(|provider| provider.agent_env.iter().cloned());
            let mut dummies: Vec<_> = dummies.collect();
            for file in plan.routes.providers_of(name).filter_map(|provider| provider.agent_file()) {
                let path = match &file.folder {
                    None => dir.join(&file.name),
                    Some(folder) => publish::folder(&dir.join(folder))
                        .map_err(|cause| StartError::Write { path: dir.join(folder), cause })?,
                };
                let at = if file.folder.is_some() { path.join(&file.name) } else { path.clone() };
                put(&at, file.text.as_bytes(), Readers::All)?;
                dummies.push((file.variable.to_owned(), path.display().to_string()));
            }
            // Where a token is asked for, the vendor's own host is the way: no client sends both token and key.
            if let Some(address) = asks_nothing {
                let own = plan.routes.providers_of(name);
                dummies.extend(base_url::variables(own, &dummies, &address.to_string()));
            }
            let own = Own {
                token: tokens.iter().find(|(agent, _)| agent == name).map(|(_, token)| token),
                asks_nothing,
                dummies,
                exposed: loader.exposed(),
            };
            let env = zeroize::Zeroizing::new(publish::dotenv(&publish::agent_env(doorway, &own)));
            put(&publish::env_file(dir, name, names.len() == 1), env.as_bytes(), Readers::Owner)?;
        }
        publish::remove_stale(dir, doorway, &names)
            .map_err(|cause| StartError::Write { path: dir.clone(), cause })
    }

    /// Says that everything serves, last of all.
    pub(crate) fn ready(&self, bound: &Bound, admin: Option<SocketAddr>) -> Result<(), StartError> {
        let Some(path) = &self.ready_file else { return Ok(()) };
        let doorway = self.doorway.as_ref().map(|(_, doorway)| doorway);
        let ready = Ready {
            proxy: self.entrance.as_ref().map(|entrance| entrance.url("")),
            listeners: bound.names(),
            admin: admin.map(|address| format!("http://{address}")),
            ca: doorway.map(|doorway| doorway.ca.clone()),
            ca_bundle: doorway.map(|doorway| doorway.bundle.clone()),
            pid: std::process::id(),
        };
        let text = serde_json::to_vec(&ready).map_err(std::io::Error::other)?;
        put(path, &text, Readers::All)
    }

    /// Nobody should find a proxy that is gone.
    pub(crate) fn remove(&self) {
        if let Some(path) = &self.ready_file
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::debug!(%error, "ready file not removed");
        }
    }
}

fn put(path: &std::path::Path, bytes: &[u8], readers: Readers) -> Result<(), StartError> {
    publish::write(path, bytes, readers).map_err(|cause| StartError::Write { path: path.to_owned(), cause })
}
