//! MCP servers over HTTP: every message is judged by its method, and `tools/call` by its tool (`policy.mcp`).

use http::Method;

use super::shapes::API_KEY;
use super::{Actions, Ask, AuthSpec, Clarity, Resolved, Told, TypeSpec, UNKNOWN, VerifySpec};
use crate::mcp::calls::ACTIONS;
use crate::mcp::{Call, Calls};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "mcp",
    summary: "An MCP server at `spec.mcp.url` (streamable HTTP, or SSE): `Authorization: Bearer`. Actions are the protocol's methods, with `session/*` for what every client needs; `policy.mcp.allowedTools` and `deniedTools` say which tools may be called, and the server's lists show no others.",
    hosts: &[],
    auth: &[AuthSpec { ..API_KEY }],
    actions: Actions::Listed(ACTIONS),
    scope: None,
    verify: Some(VerifySpec {
        method: "POST",
        url: "https://{host}{path}",
        headers: &[("accept", "application/json, text/event-stream")],
        body: Some(
            r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"doorward","version":"1"}}}"#,
        ),
        expect: 200,
        says: None,
    }),
    resolve,
};

fn resolve<'a>(ask: &Ask<'a>) -> Resolved<'a> {
    match (ask.method, ask.body) {
        (&Method::POST, Some(Told::Calls(calls))) => of_calls(calls),
        (&Method::GET, _) => Resolved::free("session/stream"),
        (&Method::DELETE, _) => Resolved::free("session/close"),
        _ => Resolved { clarity: Clarity::Opaque, ..Resolved::unknown() },
    }
}

/// A batch does all that its messages do.
fn of_calls<'a>(calls: &Calls) -> Resolved<'a> {
    let mut actions: Vec<&'static str> = calls.iter().map(Call::action).collect();
    // What is not known decides for the whole: a list of what is denied could not hold it back.
    actions.sort_by_key(|action| *action != UNKNOWN);
    actions.dedup();
    let (first, also) = actions.split_first().map_or((UNKNOWN, &[][..]), |(first, also)| (*first, also));
    let clarity = if first == UNKNOWN { Clarity::Opaque } else { Clarity::Clear };
    Resolved { also: also.to_vec(), clarity, ..Resolved::free(first) }
}
