//! What a call to the API gets when it does not work: RFC 9457, with a code of the one table.
//!
//! Nothing in it comes from a body, a query or a header: details are written here, names in them are names of the schema
//! or of objects that are there and that the caller may see. What is kept of it is less: see [`Problem::recorded`].

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

use crate::refusal::Code;

/// The header with the id of the call, for its record and log lines.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("doorward-request-id");

/// Why a call did not work.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The code; its row has the status and the sentences.
    pub code: Code,
    detail: Cow<'static, str>,
    users: Vec<String>,
    errors: Vec<String>,
    retry_after: Option<Duration>,
}

/// The result of a call.
pub(crate) type Answer<T> = Result<T, Problem>;

impl Problem {
    /// A problem with one sentence.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), users: Vec::new(), errors: Vec::new(), retry_after: None }
    }

    /// There is nothing of that name for this caller: one sentence for all cases, so that they cannot be told apart.
    pub(crate) fn missing() -> Self {
        Self::new(Code::Dw6007, "there is no such object in a project of this token")
    }

    /// Names who uses the object.
    pub(crate) fn used_by(mut self, users: Vec<String>) -> Self {
        self.users = users;
        self
    }

    /// Lists every mistake.
    pub(crate) fn with_errors(mut self, errors: Vec<String>) -> Self {
        self.errors = errors;
        self
    }

    /// Says when to try again.
    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The sentence.
    #[cfg(test)]
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// What the log and the audit keep, for ever: a sentence of the source, never one that was put together.
    pub(crate) fn recorded(&self) -> Cow<'static, str> {
        match &self.detail {
            Cow::Borrowed(written) => Cow::Borrowed(*written),
            Cow::Owned(_) => Cow::Borrowed(self.code.entry().title),
        }
    }

    /// The whole answer, with the id of the call in it.
    pub(crate) fn render(&self, request_id: &str) -> Response {
        let entry = self.code.entry();
        let shown = Shown {
            r#type: format!("urn:doorward:error:{}", entry.name),
            title: entry.title,
            status: entry.status,
            code: entry.name,
            detail: &self.detail,
            hint: entry.hint,
            request_id,
            used_by: &self.users,
            errors: &self.errors,
        };
        // Strings and numbers always serialise.
        let text = serde_json::to_string(&shown).unwrap_or_default();
        let mut response = Response::new(Body::from(text));
        *response.status_mut() =
            StatusCode::from_u16(entry.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        if entry.status == 401 {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"doorward\""));
        }
        response
    }
}

impl IntoResponse for Problem {
    /// The frame around all calls ([`super::call::frame`]) renders it: it knows the id.
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() =
            StatusCode::from_u16(self.code.entry().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.extensions_mut().insert(self);
        response
    }
}

/// The body of an answer that is no success (RFC 9457).
#[derive(Serialize)]
struct Shown<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: &'a str,
    hint: &'static str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    used_by: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [String],
}

/// The same as schema.
#[derive(Debug, utoipa::ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct ProblemSchema {
    /// `urn:doorward:error:CODE`.
    r#type: String,
    /// The code's title.
    title: String,
    /// The HTTP status.
    status: u16,
    /// The stable code: `doorward explain CODE`.
    code: String,
    /// One sentence.
    detail: String,
    /// What a person can do.
    hint: String,
    /// The id of the call, as in `Doorward-Request-Id`.
    request_id: String,
    /// Who uses the object (409).
    used_by: Option<Vec<String>>,
    /// Every mistake (422).
    errors: Option<Vec<String>>,
}
