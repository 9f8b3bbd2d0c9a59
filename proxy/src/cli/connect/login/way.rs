//! The way to the token endpoint from the command line: the guard, the TLS and the bounds of every exchange, without a
//! proxy that runs.
//!
//! Refuses what the exchange refuses. What finds the way out is what the trial's proxy is told: roots, ranges, overrides,
//! the corporate proxy.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use certs::trust::Roots;
use control::agent::AgentName;
use control::cli::{Env, Failure};
use control::provider::Provider;
use control::refusal::Refusal;
use ipnet::IpNet;
use tokio::time::timeout;

use super::super::draft::Draft;
use super::super::{Connect, failed, usage};
use crate::cli::proxy::corporate;
use crate::limits::{self, Limits};
use crate::schemes::Failed;
use crate::schemes::shared::issuer::{Ask, Asking, Issuer};
use crate::schemes::shared::token::Because;
use crate::upstream::Upstream;
use crate::upstream::exchange::{self, Client};
use crate::upstream::guard::{Addresses, late};
use crate::upstream::tls::UpstreamTls;

/// The way out.
#[derive(Debug)]
pub(super) struct Way {
    upstream: Upstream,
    tls: UpstreamTls,
    provider: Arc<Provider>,
    agent: AgentName,
    limits: Arc<Limits>,
}

impl Way {
    pub(super) fn new(connect: &Connect, draft: &Draft, env: &Env) -> Result<Self, Failure> {
        let mut addresses = Addresses { allowed: ranges(env)?, ..Addresses::default() };
        for text in &connect.resolve {
            addresses.overrides.add(text).map_err(|error| usage(error.to_string()))?;
        }
        let limits = Arc::new(Limits::default());
        let files = env.var("DOORWARD_UPSTREAM_CA").unwrap_or_default();
        let files = files.split(',').filter(|path| !path.is_empty()).map(PathBuf::from);
        let files: Vec<PathBuf> = files.chain(draft.provider.upstream.extra_roots.clone()).collect();
        let roots = Roots::system().with_extra(&files).map_err(|error| failed(error.to_string()))?;
        let file = env.var("DOORWARD_UPSTREAM_PROXY_FILE").map(Path::new);
        let corporate = corporate(env.var("DOORWARD_UPSTREAM_PROXY"), file)?.map(Arc::new);
        Ok(Self {
            upstream: Upstream::new(Arc::new(addresses), corporate, Arc::clone(&limits)),
            tls: UpstreamTls::new(roots.store()).map_err(|error| failed(error.to_string()))?,
            provider: Arc::clone(&draft.provider),
            agent: AgentName::local(),
            limits,
        })
    }
}

fn ranges(env: &Env) -> Result<Vec<IpNet>, Failure> {
    let text = env.var("DOORWARD_ALLOW_CIDR").unwrap_or_default();
    let ranges = text.split(',').filter(|range| !range.is_empty()).map(str::parse);
    ranges.collect::<Result<_, _>>().map_err(|_| usage("DOORWARD_ALLOW_CIDR: not a list of address ranges"))
}

impl Issuer for Way {
    fn ask<'a>(&'a self, ask: Ask) -> Asking<'a> {
        Box::pin(async move {
            let limit = limits::time(self.limits.token_exchange);
            let client = Client { agent: &self.agent, provider: &self.provider, tls: &self.tls };
            let unavailable = |refusal: Refusal| Failed { refusal, because: Because::Unavailable(None) };
            match timeout(limit, exchange::exchange(&self.upstream, client, ask)).await {
                Ok(outcome) => outcome.map_err(unavailable),
                Err(_) => Err(unavailable(late("token endpoint", limit))),
            }
        })
    }

    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}
