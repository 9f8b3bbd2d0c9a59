//! Stage 3: what becomes of a CONNECT, before any DNS, dial or TLS.
//!
//! Clients throw away the body of a refused CONNECT, so a denied host on 443 (or a port that some rule names) is answered
//! inside a tunnel of its own; elsewhere the code goes into the reason phrase (invariant 2: nothing is looked up).

use std::sync::Arc;

use control::agent::AgentName;
use control::provider::Mode;
use control::refusal::{Code, Refusal};
use control::target::{Target, TargetError};
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};

use super::accept::Head;
use super::identify::Caller;
use crate::plan::{Plan, Served};
use crate::worker::Shared;

/// What becomes of a tunnel.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Terminate the TLS and decide its requests one by one.
    Intercept,
    /// Speak plain HTTP inside (`tls.mode: plain`).
    Plain,
    /// Pass the TLS on unread.
    Passthrough(Arc<Served>),
    /// Terminate the TLS and answer each request with this.
    Denied(Refusal),
}

/// What becomes of a CONNECT, and its target. Its own Host, where there is one, has to agree with it.
pub(super) fn judge(
    shared: &Shared,
    plan: &Plan,
    head: &Head,
    caller: &Caller,
) -> Result<(Target, Verdict), Refusal> {
    let malformed = |error: TargetError| Refusal::new(Code::Dw2008, error.to_string());
    let target = Target::parse_authority(&head.target).map_err(malformed)?;
    if let Some(host) = head.headers.get(HOST) {
        let host = host.to_str().map_err(|_| Refusal::new(Code::Dw2008, "the Host field is malformed"))?;
        // Clients differ on whether CONNECT's Host carries the port.
        let named = Target::parse_host(host, target.port).map_err(malformed)?;
        if named != target {
            return Err(Refusal::new(Code::Dw2007, "the Host field names another host than CONNECT"));
        }
    }
    if [CONTENT_LENGTH, TRANSFER_ENCODING].iter().any(|name| head.headers.contains_key(name)) {
        return Err(Refusal::new(Code::Dw2008, "CONNECT has no body"));
    }
    let verdict = decide(plan, &target, &caller.name)?;
    shared.may_mint(&target, &caller.name, &verdict)?;
    Ok((target, verdict))
}

/// Decides by target and agent alone; nothing of the request is known yet.
fn decide(plan: &Plan, target: &Target, agent: &AgentName) -> Result<Verdict, Refusal> {
    match plan.route(target, agent) {
        // What an issuer is asked there has to be read: else the agent could ask it for tokens of its own.
        Some(served) if served.provider.mode == Mode::Passthrough && plan.answers_at(target, agent) => {
            Ok(Verdict::Intercept)
        }
        Some(served) => Ok(match served.provider.mode {
            Mode::Intercept => Verdict::Intercept,
            Mode::Plain => Verdict::Plain,
            // Inside the others each request is asked.
            Mode::Passthrough => {
                served.current()?;
                Verdict::Passthrough(Arc::clone(served))
            }
        }),
        None if plan.answers_at(target, agent) => Ok(Verdict::Intercept),
        None if target.port == 443 || plan.routes.names_port(target.port) => {
            Ok(Verdict::Denied(no_route(plan, target)))
        }
        None => Err(no_route(plan, target)),
    }
}

/// DW1001, or DW3003 where other agents have a provider for this host.
pub(crate) fn no_route(plan: &Plan, target: &Target) -> Refusal {
    if plan.is_granted_to_others(target) {
        Refusal::new(Code::Dw3003, "this agent has no provider for this host")
    } else {
        Refusal::new(Code::Dw1001, "no provider allows this host")
    }
}
