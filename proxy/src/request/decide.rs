//! Stage 7: policy's permit, then the agent's and the provider's limits.

use control::policy::{Facts, Permit, decide};
use control::refusal::Refusal;
use control::target::Target;

use super::parse::Parsed;
use crate::conn::identify::Caller;
use crate::limits::rate::Rates;
use crate::plan::Served;

/// Asks policy; an allowed request then takes its place in the provider's rate.
pub(crate) fn permit(
    served: &Served,
    caller: &Caller,
    target: &Target,
    parsed: &Parsed,
    rates: &Rates,
) -> Result<Permit, Refusal> {
    let facts = Facts {
        agent: &caller.name,
        target,
        provider: &served.provider,
        method: &parsed.head.method,
        path: &parsed.path,
        query: parsed.head.target.query(),
        headers: &parsed.head.headers,
    };
    let permit = decide(&facts)?;
    if let Some(per_minute) = served.provider.limits.requests_per_minute {
        rates.take(&served.provider, &caller.name, per_minute)?;
    }
    Ok(permit)
}
