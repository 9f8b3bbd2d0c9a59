//! Where the request at hand of a connection without a tunnel leads: it has to end when its provider is gone, as a tunnel
//! does.
//!
//! A connection has one request at a time here (HTTP/1.1), and a base URL's may lead to a model provider and its fallback.

use std::sync::Arc;

use control::agent::AgentName;
use control::refusal::{Code, Refusal};
use control::target::Target;
use parking_lot::Mutex;

use crate::plan::{Plan, Served};

/// The ways of the last request.
#[derive(Debug, Default)]
pub(crate) struct Leads(Mutex<Vec<Lead>>);

/// One way: it is lost when the plan serves it no more.
#[derive(Clone, Debug)]
pub(crate) struct Lead {
    target: Target,
    /// Project and name of the model provider whose base URL it is; `None`: whatever serves the target.
    model: Option<(Arc<str>, Arc<str>)>,
}

impl Lead {
    /// A request that names its target.
    pub(crate) fn to(target: &Target) -> Self {
        Self { target: target.clone(), model: None }
    }

    /// A request by a model provider's base URL; `None`: it is none.
    pub(crate) fn to_model(served: &Served) -> Option<Self> {
        let provider = &served.provider;
        let rules = provider.model.as_ref()?;
        let model = Some((Arc::clone(&provider.project), Arc::clone(&provider.name)));
        Some(Self { target: rules.endpoint.target.clone(), model })
    }

    fn is_lost(&self, plan: &Plan, agent: &AgentName) -> bool {
        let Some(served) = plan.route(&self.target, agent) else { return true };
        if served.current().is_err() {
            return true;
        }
        let provider = &served.provider;
        self.model.as_ref().is_some_and(|(project, name)| {
            provider.model.is_none() || provider.project != *project || provider.name != *name
        })
    }
}

/// What is asked was served when the request began, and is not any more.
pub(crate) fn gone() -> Refusal {
    Refusal::new(Code::Dw1001, "the provider of this request was removed meanwhile")
}

impl Leads {
    /// The request at hand goes these ways. Whoever calls this asks the newest plan afterwards: one that was swapped in
    /// before is not looked at for these ways again.
    pub(crate) fn follow(&self, leads: Vec<Lead>) {
        *self.0.lock() = leads;
    }

    /// Whether the plan does not serve one of the ways any more.
    pub(crate) fn are_lost(&self, plan: &Plan, agent: &AgentName) -> bool {
        self.0.lock().iter().any(|lead| lead.is_lost(plan, agent))
    }
}
