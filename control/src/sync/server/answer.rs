//! What a sidecar gets instead of what it asked for: RFC 9457, with a stable code. Nothing in it comes from the request.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};

use crate::refusal::Code;
use crate::registry::RegistryError;

/// Why a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    status: StatusCode,
    code: Code,
    detail: &'static str,
    /// Seconds.
    retry_after: Option<u64>,
    /// Where the chain of audit lines stands.
    pub(super) seq: Option<u64>,
}

impl Refused {
    const fn new(status: StatusCode, code: Code, detail: &'static str) -> Self {
        Self { status, code, detail, retry_after: None, seq: None }
    }

    pub(super) fn unknown() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            Code::Dw6004,
            "no sidecar that is known: its token or identity is unknown, over or revoked",
        )
    }

    pub(super) fn class() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            Code::Dw6006,
            "only a sidecar opens this, by its token (dwa_) or its identity",
        )
    }

    pub(super) fn no_such_way() -> Self {
        let detail =
            "this server takes no tokens of ServiceAccounts: it was started without a Kubernetes API";
        Self::new(StatusCode::FORBIDDEN, Code::Dw6006, detail)
    }

    pub(super) fn unanswered() -> Self {
        let detail = "the token cannot be reviewed now";
        let failed = Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::Dw6032, detail);
        Self { retry_after: Some(2), ..failed }
    }

    pub(super) fn key() -> Self {
        let detail =
            "Doorward-Seal-Key has to be one X25519 key, 32 bytes in base64url, and Doorward-Sidecar 16";
        Self::new(StatusCode::BAD_REQUEST, Code::Dw6003, detail)
    }

    pub(super) fn body() -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::Dw6003, "the body is not what this path takes")
    }

    pub(super) fn crowded() -> Self {
        let full = Self::new(StatusCode::TOO_MANY_REQUESTS, Code::Dw6014, "the agent has too many streams");
        Self { retry_after: Some(10), ..full }
    }

    pub(super) fn full() -> Self {
        let full =
            Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::Dw6014, "the server has too many streams");
        Self { retry_after: Some(10), ..full }
    }

    pub(super) fn often(wait: Duration) -> Self {
        let often =
            Self::new(StatusCode::TOO_MANY_REQUESTS, Code::Dw6014, "too many calls in too short a time");
        Self { retry_after: Some(wait.as_secs() + 1), ..often }
    }

    pub(super) fn busy() -> Self {
        let busy =
            Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::Dw6014, "too many bodies are read just now");
        Self { retry_after: Some(5), ..busy }
    }

    pub(super) fn large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, Code::Dw6012, "the body is larger than this path takes")
    }

    pub(super) fn chains() -> Self {
        let detail = "the agent has too many chains of audit lines; ship from a file that is kept";
        Self::new(StatusCode::INSUFFICIENT_STORAGE, Code::Dw6014, detail)
    }

    pub(super) fn oversized() -> Self {
        let detail = "what is attached to the agent does not fit into a snapshot";
        Self::new(StatusCode::INSUFFICIENT_STORAGE, Code::Dw6016, detail)
    }

    /// The lines do not continue what is kept, which ends at `seq`.
    pub(super) fn unchained(seq: u64) -> Self {
        let detail = "the lines do not continue the chain of this source";
        Self { seq: Some(seq), ..Self::new(StatusCode::CONFLICT, Code::Dw6010, detail) }
    }

    pub(super) fn no_chain() -> Self {
        Self::new(StatusCode::NOT_FOUND, Code::Dw6007, "no chain of this agent has that line")
    }

    pub(super) fn database(error: &RegistryError) -> Self {
        tracing::error!(error = %error, "the database does not answer a sidecar");
        Self::unwritten()
    }

    /// What was logged already.
    pub(super) fn unwritten() -> Self {
        let detail = "the server cannot read or write its database now";
        let failed = Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::Dw6018, detail);
        Self { retry_after: Some(2), ..failed }
    }

    pub(super) fn fault() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Dw6020, "a fault of the server; its log says more")
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let shown = serde_json::json!({
            "type": format!("urn:doorward:error:{}", self.code),
            "title": self.code.entry().title,
            "status": self.status.as_u16(),
            "code": self.code.name(),
            "hint": self.code.entry().hint,
            "detail": self.detail,
            "seq": self.seq,
        });
        let mut response = Response::new(Body::from(shown.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"doorward\""));
        }
        response
    }
}
