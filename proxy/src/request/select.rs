//! Stage 6: the provider for the target, or nothing at all (invariant 2).

use std::sync::Arc;

use control::refusal::Refusal;
use control::target::Target;

use crate::conn::connect;
use crate::conn::identify::Caller;
use crate::plan::{Plan, Served};

/// The route of a request: found by target and agent, never by anything that the request itself says.
pub(crate) fn route(plan: &Plan, target: &Target, caller: &Caller) -> Result<Arc<Served>, Refusal> {
    let served = plan.route(target, &caller.name).cloned().ok_or_else(|| connect::no_route(plan, target))?;
    served.current()?;
    Ok(served)
}
