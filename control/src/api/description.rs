//! The description of the API (OpenAPI 3.1): every path that there is, and nothing that is not.

use utoipa::OpenApi as _;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{OpenApi, RefOr, Required};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::call::KEY_MOST;
use super::problem::ProblemSchema;
use super::{
    Api, agents, asks, attachments, audit, bounds, can_i, cards, documents, import, login, members, projects,
    secrets, tokens, variables, watch,
};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "doorward", description = "The control API of doorward: see docs/server.md."),
    components(schemas(ProblemSchema)),
    security(("token" = [])),
    modifiers(&Bearer),
)]
struct Document;

struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, document: &mut OpenApi) {
        use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        if let Some(components) = document.components.as_mut() {
            components.add_security_scheme("token", SecurityScheme::Http(scheme));
        }
    }
}

pub(super) fn described() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(projects::list, projects::create))
        .routes(routes!(projects::read, projects::replace, projects::delete))
        .merge(secrets::routes())
        .merge(variables::routes())
        .merge(import::routes())
        .merge(documents::routes())
        .merge(agents::routes())
        .merge(asks::routes())
        .merge(attachments::routes())
        .merge(tokens::routes())
        .merge(members::routes())
        .merge(login::routes())
        .merge(can_i::routes())
        .merge(cards::routes())
        .merge(audit::routes())
        .merge(watch::routes())
}

/// Calls with a body that make nothing: done twice, they come to the same or are refused.
const NOT_ONCE: [&str; 4] = [
    "/v1/login",
    "/v1/audit/prune",
    "/v1/projects/{project}/asks/{ask}/approve",
    "/v1/projects/{project}/asks/{ask}/deny",
];

/// The header by which a call that makes something counts once ([`super::call::Call::act_once`]).
fn once() -> Parameter {
    let key = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(KEY_MOST))
        .pattern(Some("^[!-~]+$"));
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "The same call with the same key counts once: what it made is shown again, without its token.",
        ))
        .schema(Some(key))
        .build()
}

fn counts_once(path: &str, post: &Operation) -> bool {
    post.request_body.is_some() && !NOT_ONCE.contains(&path)
}

/// The description with the bounds of bodies, the keys by which calls count once, and what holds for every call: problems have
/// a type of their own, and the server's own faults are some.
pub(super) fn finished(mut document: OpenApi) -> OpenApi {
    bounds::describe(&mut document);
    for (path, item) in &mut document.paths.paths {
        if let Some(post) = item.post.as_mut().filter(|post| counts_once(path, post)) {
            post.parameters.get_or_insert_default().push(RefOr::T(once()));
            // What the same call made before is shown again, and not made.
            let responses = &mut post.responses.responses;
            if let Some(made) = responses.get("201").cloned() {
                responses.entry("200".to_owned()).or_insert(made);
            }
        }
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            let responses = &mut operation.responses.responses;
            let Some(RefOr::T(problem)) = responses.get_mut("4XX") else { continue };
            if let Some(content) = problem.content.shift_remove("application/json") {
                problem.content.insert("application/problem+json".to_owned(), content);
            }
            let fault = RefOr::T(problem.clone());
            responses.insert("5XX".to_owned(), fault);
            // A response without a description is none by the specification.
            for response in responses.values_mut() {
                if let RefOr::T(response) = response
                    && response.description.is_empty()
                {
                    response.description = "The answer.".to_owned();
                }
            }
        }
    }
    document
}

/// The description of the API (`docs/openapi.json`; CI compares it with what is committed).
///
/// # Errors
/// None that can happen: strings and numbers always serialise.
pub fn openapi() -> Result<String, serde_json::Error> {
    finished(described().into_openapi()).to_pretty_json().map(|text| text + "\n")
}
