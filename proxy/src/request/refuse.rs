//! Stage 11: a refusal as HTTP, from one table (CLI.md, "Errors on the wire").
//!
//! One JSON object that problem-details readers, the AI SDKs and GitHub clients all print; plain text for git. Nothing
//! in it comes from a header value, a query, a body or a secret.

mod grpc;
mod rpc;

use std::fmt::Write as _;

use bytes::Bytes;
use control::refusal::{Blame, Code, Refusal};
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
};
use http::{HeaderMap, Response, StatusCode, Version};
use serde::Serialize;

pub(crate) use rpc::Rpc;

/// How a journey ends early. Made by `?` from a refusal, and cold: the compiler then lays out the road of the requests that
/// are let through in one piece, apart from the many ways out of it.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) Box<Refusal>);

impl From<Refusal> for Refused {
    #[cold]
    #[inline(never)]
    fn from(refusal: Refusal) -> Self {
        Self(Box::new(refusal))
    }
}

/// Which text the client prints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `application/problem+json`.
    #[default]
    Json,
    /// git prints the body of an error only if it is plain text.
    Text,
    /// AWS' SDKs read the errors of S3 as XML.
    Xml,
    /// And those of the query protocol as XML with a frame.
    FramedXml,
    /// And those of all other services as JSON with a type.
    TypedJson,
    /// Clients of gRPC read a status and a message in fields of the head.
    Grpc,
    /// Clients of MCP servers wait for an error to each message that they sent.
    JsonRpc(Rpc),
}

impl Dialect {
    /// What this client prints.
    pub(crate) fn of(headers: &HeaderMap, version: Version) -> Self {
        let is_git =
            headers.get(http::header::USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"git/"));
        if is_git {
            Self::Text
        } else if version == Version::HTTP_2 && grpc::is_spoken(headers) {
            Self::Grpc
        } else {
            Self::of_aws(headers).unwrap_or_default()
        }
    }

    /// By the agent's signature: S3 speaks XML, and so does who sends a form.
    fn of_aws(headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name).and_then(|value| HeaderValue::to_str(value).ok());
        let signed = text(AUTHORIZATION)?.strip_prefix("AWS4-")?;
        if text(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded")) {
            return Some(Self::FramedXml);
        }
        Some(if signed.contains("/s3/aws4_request") { Self::Xml } else { Self::TypedJson })
    }
}

#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: &'a str,
    hint: &'static str,
    request_id: &'a str,
    provider: Option<&'a str>,
    rule: Option<&'a str>,
    message: &'a str,
    /// What Telegram's clients print.
    description: &'a str,
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    r#type: &'static str,
    code: &'static str,
    message: &'a str,
}

/// The answer to a refused request.
pub(crate) fn response(refusal: &Refusal, request_id: &str, dialect: &Dialect) -> Response<Bytes> {
    let entry = refusal.code.entry();
    let message = format!("doorward {}: {}. {}", entry.name, refusal.detail, entry.hint);
    let (body, content_type) = match dialect {
        Dialect::Grpc => (String::new(), grpc::CONTENT_TYPE),
        Dialect::Text => (format!("{message}\n"), "text/plain; charset=utf-8"),
        Dialect::Xml => (xml(entry.name, &message), "application/xml"),
        Dialect::FramedXml => (
            format!(
                "<ErrorResponse>{}<RequestId>{request_id}</RequestId></ErrorResponse>",
                xml(entry.name, &message)
            ),
            "text/xml",
        ),
        Dialect::TypedJson => {
            let problem = problem(refusal, request_id, &message);
            let fields = problem.strip_prefix('{').unwrap_or_default();
            (format!("{{\"__type\":\"{}\",{fields}", entry.name), "application/problem+json")
        }
        Dialect::JsonRpc(rpc) => {
            (rpc.errors(refusal, &problem(refusal, request_id, &message), &message), "application/json")
        }
        Dialect::Json => (problem(refusal, request_id, &message), "application/problem+json"),
    };
    let mut response = Response::new(Bytes::from(body));
    let status = match dialect {
        Dialect::JsonRpc(rpc) => rpc.status(refusal),
        Dialect::Grpc => 200,
        Dialect::Json | Dialect::Text | Dialect::Xml | Dialect::FramedXml | Dialect::TypedJson => {
            refusal.status
        }
    };
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
    let length = response.body().len();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if *dialect == Dialect::Grpc {
        grpc::tell(headers, refusal, &message);
    } else {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-should-retry"), HeaderValue::from_static("false"));
    set(headers, HeaderName::from_static("doorward-request-id"), request_id);
    set(headers, HeaderName::from_static("proxy-status"), &proxy_status(refusal));
    if let Some(wait) = refusal.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
    }
    response
}

fn xml(code: &str, message: &str) -> String {
    let message = message.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>")
}

fn problem(refusal: &Refusal, request_id: &str, message: &str) -> String {
    let entry = refusal.code.entry();
    let kind = match entry.blame {
        Blame::Agent => "invalid_request_error",
        Blame::Operator => "permission_error",
        Blame::Upstream | Blame::Doorward => "api_error",
    };
    let problem = Problem {
        r#type: format!("urn:doorward:error:{}", entry.name),
        title: entry.title,
        status: refusal.status,
        code: entry.name,
        detail: &refusal.detail,
        hint: entry.hint,
        request_id,
        provider: refusal.provider.as_deref(),
        rule: refusal.rule.as_deref(),
        message,
        description: message,
        error: Inner { r#type: kind, code: entry.name, message },
    };
    // Strings and numbers always serialise.
    serde_json::to_string(&problem).unwrap_or_default()
}

/// RFC 9209: who refused and the registered error type.
fn proxy_status(refusal: &Refusal) -> String {
    let mut text = format!("doorward; error={}", error_type(refusal));
    // Writing to a String cannot fail.
    if write!(text, "; details=\"{}\"", refusal.code).is_err() {
        text.clear();
    }
    text
}

fn error_type(refusal: &Refusal) -> &'static str {
    let step = refusal.detail.split(':').next().unwrap_or_default();
    match (refusal.code, step) {
        (Code::Dw2006, "dns") if refusal.status == 504 => "dns_timeout",
        (Code::Dw2006, "dns") => "dns_error",
        (Code::Dw2006, "connect" | "upstream proxy" | "tls") if refusal.status == 504 => "connection_timeout",
        (Code::Dw2006, _) if refusal.status == 504 => "http_response_timeout",
        (Code::Dw2006, _) => "destination_unavailable",
        (Code::Dw2004, _) => "tls_certificate_error",
        (Code::Dw2005, _) => "destination_ip_prohibited",
        (Code::Dw2007 | Code::Dw2008 | Code::Dw2011 | Code::Dw2012, _) => "http_request_error",
        (Code::Dw2009 | Code::Dw2010, _) => "http_protocol_error",
        (Code::Dw2013, _) => "connection_limit_reached",
        (code, _) if code >= Code::Dw5001 => "proxy_internal_error",
        (_, _) => "http_request_denied",
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_by_problem_details_ai_sdks_and_github_clients() {
        let refusal = Refusal::new(Code::Dw1002, "rule `no-delete` denies").by_rule("no-delete");
        let answer = response(&refusal, "c1-1", &Dialect::Json);
        assert_eq!(answer.status(), 403);
        let body: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(body["code"], "DW1002");
        assert_eq!(body["error"]["code"], "DW1002");
        assert_eq!(body["message"], body["error"]["message"]);
        assert_eq!(body["rule"], "no-delete");
        assert_eq!(answer.headers()["x-should-retry"], "false");
        assert_eq!(
            answer.headers()["proxy-status"],
            "doorward; error=http_request_denied; details=\"DW1002\""
        );
    }

    #[test]
    fn speaks_as_the_services_of_aws_do_to_who_signed_for_them() {
        let refusal = Refusal::new(Code::Dw1002, "rule `a<b&c` denies");
        let answer = |authorization: &'static str, kind: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("authorization", HeaderValue::from_static(authorization));
            headers.insert("content-type", HeaderValue::from_static(kind));
            String::from_utf8(
                response(&refusal, "c1-1", &Dialect::of(&headers, Version::HTTP_11)).body().to_vec(),
            )
            .unwrap()
        };
        const S3: &str = "AWS4-HMAC-SHA256 Credential=A/20260101/eu-west-1/s3/aws4_request, SignedHeaders=host, Signature=0";
        let xml = answer(S3, "text/plain");
        assert!(
            xml.starts_with(
                "<Error><Code>DW1002</Code><Message>doorward DW1002: rule `a&lt;b&amp;c` denies."
            )
        );
        let framed =
            answer("AWS4-HMAC-SHA256 Credential=A", "application/x-www-form-urlencoded; charset=utf-8");
        assert!(
            framed.starts_with("<ErrorResponse><Error>")
                && framed.ends_with("<RequestId>c1-1</RequestId></ErrorResponse>")
        );
        let json = answer("AWS4-HMAC-SHA256 Credential=A", "application/x-amz-json-1.0");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&json["__type"], &json["code"]), (&"DW1002".into(), &"DW1002".into()));
        assert!(answer("Bearer /s3/aws4_request", "application/x-www-form-urlencoded").starts_with('{'));
    }

    #[test]
    fn speaks_plain_text_to_git() {
        let mut headers = HeaderMap::new();
        headers.insert("user-agent", HeaderValue::from_static("git/2.47.3"));
        let answer =
            response(&Refusal::new(Code::Dw1002, "no"), "c1-1", &Dialect::of(&headers, Version::HTTP_11));
        assert!(answer.body().starts_with(b"doorward DW1002: no."));
        assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
    }
}
