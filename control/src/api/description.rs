//! The description of the API (OpenAPI 3.1): every path that there is, and nothing that is not.

use utoipa::OpenApi as _;
use utoipa::openapi::{OpenApi, RefOr};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::ProblemSchema;
use super::{
    Api, agents, asks, attachments, audit, can_i, cards, documents, import, login, members, projects,
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

/// The description with what holds for every call: problems have a type of their own, and the server's own faults are some.
pub(super) fn finished(mut document: OpenApi) -> OpenApi {
    for item in document.paths.paths.values_mut() {
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
