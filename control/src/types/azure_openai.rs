//! Azure OpenAI: the header `api-key`; OpenAI's API behind `/openai/v1`, and the older form with the deployment in the path.
//!
//! The agent's `Authorization` goes: the SDKs of OpenAI send the key there, and beside `api-key` it would be a token of
//! the agent's own.

use super::compatible::{KEY, TABLE, VENDOR, resolve as compatible};
use super::read::{Line, POST, READ, Segments, WRITE, by_table};
use super::shapes::ok;
use super::{Ask, AuthSpec, InjectionSpec, Resolved, TypeSpec};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "azure-openai",
    summary: "Azure OpenAI on your resource's host (`NAME.openai.azure.com`): the header `api-key`; the agent's `Authorization` is removed.",
    auth: &[AuthSpec {
        injections: &[InjectionSpec {
            hosts: &[],
            key: "header",
            fields: &[("header", "api-key"), ("template", "{{token}}")],
        }],
        remove_headers: &["authorization", "ocp-apim-subscription-key"],
        remove_params: &["api-key", "subscription-key"],
        dummy: "{rand:84}",
        env: &["AZURE_OPENAI_API_KEY"],
        ..KEY
    }],
    verify: Some(ok("https://{host}/openai/v1/models")),
    resolve,
    ..VENDOR
};

/// Behind `/openai/deployments/NAME`: what a model is asked.
const DEPLOYMENT: &[Line] = &[
    Line(POST, "chat/completions", "chat:create"),
    Line(POST, "extensions/chat/completions", "chat:create"),
    Line(POST, "completions", "completions:create"),
    Line(POST, "embeddings", "embeddings:create"),
    Line(POST, "images/*", "images:create"),
    Line(POST, "audio/*", "audio:create"),
];

/// Behind `/openai`, beside what OpenAI has.
const OWN: &[Line] = &[
    Line(READ, "deployments", "models:read"),
    Line(READ, "deployments/*", "models:read"),
    Line(WRITE, "deployments", "admin:write"),
    Line(WRITE, "deployments/*", "admin:write"),
];

fn resolve<'a>(ask: &Ask<'a>) -> Resolved<'a> {
    let segments = Segments::of(ask.path);
    let Some(rest) = segments.behind("openai") else { return Resolved::unknown() };
    match () {
        () if rest.is(0, "v1") => compatible(ask, &SPEC, "openai/v1", &[]),
        () if rest.is(0, "deployments") && rest.len() > 2 => by_table(ask.method, &rest.skip(2), DEPLOYMENT),
        () if rest.is(0, "deployments") => by_table(ask.method, &rest, OWN),
        () => by_table(ask.method, &rest, TABLE),
    }
}
