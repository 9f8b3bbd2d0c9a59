//! The paths of providers and model providers: the same for both kinds.

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::Api;

/// The paths of one kind: thin, so that each stands in the description of the API.
macro_rules! paths {
    ($module:ident, $kind:expr, $tag:literal, $all:literal, $one:literal, $approve:literal, $verified:literal) => {
        mod $module {
            use axum::extract::State;
            use axum::response::Response;

            use super::super::super::call::Call;
            use super::super::super::page::{Items, Part};
            use super::super::super::problem::{Answer, ProblemSchema};
            use super::super::super::{Api, Done, Path, Query, Sent};
            use super::super::super::body::Json;
            use super::super::{self as documents, DocumentBody, DocumentView, Dry};
            use crate::registry::DocumentKind;

            const KIND: DocumentKind = $kind;

            /// List documents.
            #[utoipa::path(get, path = $all, tag = $tag, params(("project" = String, Path), Part),
                responses((status = 200, body = Items<DocumentView>), (status = "4XX", body = ProblemSchema)))]
            pub(super) async fn list(
                State(api): State<Api>,
                call: Call,
                Path(project): Path<String>,
                Query(part): Query<Part>,
            ) -> Answer<Response> {
                documents::list(api, call, KIND, project, part).await
            }

            /// Store a new document. One with a secret is withheld if the caller may not manage secrets.
            #[utoipa::path(post, path = $all, tag = $tag, params(("project" = String, Path), Dry),
                request_body = DocumentBody,
                responses((status = 201, body = DocumentView), (status = "4XX", body = ProblemSchema)))]
            pub(super) async fn create(
                State(api): State<Api>,
                call: Call,
                Path(project): Path<String>,
                Query(dry): Query<Dry>,
                body: Json<DocumentBody>,
            ) -> Answer<Sent<DocumentView>> {
                documents::create(api, call, KIND, project, body, dry).await
            }

            /// Read a document.
            #[utoipa::path(get, path = $one, tag = $tag,
                params(("project" = String, Path), ("name" = String, Path)),
                responses((status = 200, body = DocumentView), (status = "4XX", body = ProblemSchema)))]
            pub(super) async fn read(
                State(api): State<Api>,
                call: Call,
                Path((project, name)): Path<(String, String)>,
            ) -> Answer<Sent<DocumentView>> {
                documents::read(api, call, KIND, project, name).await
            }

            /// Change a document. If it sends a secret elsewhere, or in another way, it is withheld.
            #[utoipa::path(put, path = $one, tag = $tag,
                params(("project" = String, Path), ("name" = String, Path), ("If-Match" = String, Header), Dry),
                request_body = DocumentBody,
                responses((status = 200, body = DocumentView), (status = "4XX", body = ProblemSchema)))]
            pub(super) async fn replace(
                State(api): State<Api>,
                call: Call,
                Path(names): Path<(String, String)>,
                Query(dry): Query<Dry>,
                body: Json<DocumentBody>,
            ) -> Answer<Sent<DocumentView>> {
                documents::replace(api, call, KIND, names, body, dry).await
            }

            /// Approve where a document that is withheld sends its secret.
            #[utoipa::path(post, path = $approve, tag = $tag,
                params(("project" = String, Path), ("name" = String, Path), ("If-Match" = String, Header)),
                responses((status = 200, body = DocumentView), (status = "4XX", body = ProblemSchema)))]
            pub(super) async fn approve(
                State(api): State<Api>,
                call: Call,
                Path((project, name)): Path<(String, String)>,
            ) -> Answer<Sent<DocumentView>> {
                documents::approve(api, call, KIND, project, name).await
            }

            /// Say that the credential of a document was tried, and works.
            #[utoipa::path(post, path = $verified, tag = $tag,
                params(("project" = String, Path), ("name" = String, Path), ("If-Match" = String, Header)),
                responses((status = 200, body = DocumentView), (status = "4XX", body = ProblemSchema)))]
            pub(super) async fn verified(
                State(api): State<Api>,
                call: Call,
                Path((project, name)): Path<(String, String)>,
            ) -> Answer<Sent<DocumentView>> {
                documents::verified(api, call, KIND, project, name).await
            }

            /// Remove a document that is attached to no agent.
            #[utoipa::path(delete, path = $one, tag = $tag,
                params(("project" = String, Path), ("name" = String, Path), ("If-Match" = String, Header)),
                responses((status = 204), (status = "4XX", body = ProblemSchema)))]
            pub(super) async fn delete(
                State(api): State<Api>,
                call: Call,
                Path((project, name)): Path<(String, String)>,
            ) -> Answer<Done> {
                documents::delete(api, call, KIND, project, name).await
            }
        }
    };
}

paths!(
    providers,
    DocumentKind::Provider,
    "providers",
    "/v1/projects/{project}/providers",
    "/v1/projects/{project}/providers/{name}",
    "/v1/projects/{project}/providers/{name}/approve",
    "/v1/projects/{project}/providers/{name}/verified"
);
paths!(
    model_providers,
    DocumentKind::ModelProvider,
    "model providers",
    "/v1/projects/{project}/model-providers",
    "/v1/projects/{project}/model-providers/{name}",
    "/v1/projects/{project}/model-providers/{name}/approve",
    "/v1/projects/{project}/model-providers/{name}/verified"
);

pub(in super::super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(providers::list, providers::create))
        .routes(routes!(providers::read, providers::replace, providers::delete))
        .routes(routes!(providers::approve))
        .routes(routes!(providers::verified))
        .routes(routes!(model_providers::list, model_providers::create))
        .routes(routes!(model_providers::read, model_providers::replace, model_providers::delete))
        .routes(routes!(model_providers::approve))
        .routes(routes!(model_providers::verified))
}
