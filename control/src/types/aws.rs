//! AWS: every service by SigV4. Actions are IAM's, resources are ARNs where the request line shows them.
//!
//! What a request does is read from where its protocol says it: `X-Amz-Target` (JSON), `Action` (query protocol, also in a
//! form), the operation of an RPC path, method and path with sub-resource (S3, Lambda). Said twice, or not known: unknown,
//! and opaque, since an agent can make any request so on purpose.
//! S3 names its objects; other services mostly in the body, which is not read, so a scope refuses them.

mod actions;
mod foreign;
mod s3;
mod lambda;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method};

use super::shapes::ok;
use super::{Actions, Ask, AuthSpec, Clarity, InjectionSpec, Resolved, Resource, TypeSpec, UNKNOWN};
use crate::aws::scope::{ScopeFault, Signed, is_parameter};
use crate::aws::{Endpoint, Region, endpoint, speaks_query};
use actions::KNOWN;

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "aws",
    summary: "AWS: requests are signed again with SigV4 (or SigV4A), limited by `config.services` and `config.region`. `scope.resources` names ARNs. Services that hand out credentials (`sts:AssumeRole`, `iam:CreateAccessKey`) hand them to the agent: deny those.",
    hosts: &[
        "*.amazonaws.com",
        "*.api.aws",
        "*.on.aws",
        "*.amazonaws.com.cn",
        "*.api.amazonwebservices.com.cn",
        "*.amazonaws.eu",
        "*.api.amazonwebservices.eu",
    ],
    auth: &[AuthSpec {
        name: "aws-sigv4",
        keys: &["secret_access_key"],
        injections: &[InjectionSpec { hosts: &[], key: "aws-sigv4", fields: &[] }],
        public_prefixes: &["AKIA", "ASIA"],
        remove_headers: &[],
        remove_params: &[],
        dummy: "AKIA{rand:28}",
        env: &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"],
    }],
    actions: Actions::Open(KNOWN),
    scope: Some("resources"),
    verify: Some(ok("https://sts.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15")),
    resolve,
};

/// The longest name of an operation.
const LONGEST_NAME: usize = 96;
/// The most pairs of a query or a form that are looked at: EC2's and SES' largest calls have some thousands.
const MOST_PAIRS: usize = 10_000;

fn resolve<'a>(ask: &Ask<'a>) -> Resolved<'a> {
    let place = ask.host.name().and_then(endpoint);
    let mut resolved = match service(ask, place.as_ref()) {
        Ok(service) => by_service(ask, &service, place.as_ref()),
        Err(_) => Resolved::unknown(),
    };
    if resolved.action == UNKNOWN {
        // Any request can be made so that it is not known (an operation that is named twice, an odd parameter); a list of
        // what is denied would then hold nothing back.
        resolved.clarity = Clarity::Opaque;
    }
    resolved
}

/// Whether what this request does may stand in a form in its body.
pub(super) fn reads_form(ask: &Ask<'_>) -> bool {
    let place = ask.host.name().and_then(endpoint);
    *ask.method == Method::POST
        && service(ask, place.as_ref())
            .is_ok_and(|service| speaks_query(&service) && is_endpoint(&service, ask.path))
}

/// The service that the signer will sign for: the host's, or on a foreign host the one that the agent signed for.
fn service<'h>(ask: &Ask<'_>, place: Option<&Endpoint<'h>>) -> Result<Cow<'h, str>, ScopeFault> {
    let signed = Signed::of(ask.headers, ask.query)?;
    let scope = signed.as_ref().map(Signed::scope).transpose()?;
    Ok(match (place, scope) {
        (Some(place), _) => Cow::Borrowed(place.services.first().unwrap_or_default()),
        (None, Some(scope)) => Cow::Owned(scope.service.to_owned()),
        (None, None) => Cow::Borrowed("s3"),
    })
}

fn by_service<'a>(ask: &Ask<'a>, service: &str, place: Option<&Endpoint<'_>>) -> Resolved<'a> {
    match service {
        "s3" | "s3express" | "s3-object-lambda" => s3::resolve(ask, place),
        "lambda" => lambda::resolve(ask, place),
        "execute-api" => Resolved::hidden(api(ask.path, place)),
        "es" => search(ask.method, place),
        "" => Resolved::unknown(),
        // Outposts, tables, vectors: REST with other actions.
        service if service.starts_with("s3") => Resolved::unknown(),
        service => operation(ask, service, place).map_or(Resolved::unknown(), |name| named(service, &name)),
    }
}

/// API Gateway's calls: `/STAGE/@connections/ID` manages WebSocket connections, all else is the API's own.
fn api(path: &str, place: Option<&Endpoint<'_>>) -> &'static str {
    if place.is_some_and(|place| place.label != "execute-api") {
        return UNKNOWN;
    }
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    match segments.position(|segment| decoded(segment).eq_ignore_ascii_case("@connections")) {
        None => "execute-api:Invoke",
        // A domain of one's own may leave the stage out.
        Some(0 | 1) => "execute-api:ManageConnections",
        Some(_) => UNKNOWN,
    }
}

/// OpenSearch: a domain's own endpoint takes data; the service's takes calls that change domains.
fn search<'a>(method: &Method, place: Option<&Endpoint<'_>>) -> Resolved<'a> {
    let is_domain = place.is_some_and(|place| !place.before.is_empty());
    match *method {
        Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::PATCH | Method::DELETE
            if is_domain =>
        {
            named("es", &["ESHttp", &title(method)].concat())
        }
        _ => Resolved::unknown(),
    }
}

/// Whether a service that reads headers and parameters does so on this path; SQS does on its queues' as well.
fn is_endpoint(service: &str, path: &str) -> bool {
    path == "/" || service == "sqs" && is_queue(path)
}

/// `/123456789012/name.fifo`
fn is_queue(path: &str) -> bool {
    let mut segments = path.strip_prefix('/').unwrap_or_default().split('/');
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let mut is_next =
        || segments.next().is_some_and(|segment| !segment.is_empty() && segment.bytes().all(is_name));
    is_next() && is_next() && segments.next().is_none()
}

/// Where a request names its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Target,
    Query,
    Form,
    Path,
    /// As `Operation`, or `Action` in another spelling: some server could read it so.
    Alias,
}

/// The operation that the request names. Two ways at once could be read differently by the service: not known. Services of
/// REST pass header and parameter over, and take the path for what it says.
fn operation(ask: &Ask<'_>, service: &str, place: Option<&Endpoint<'_>>) -> Option<String> {
    let rpc = rpc(ask.path);
    if rpc.is_none() && !is_endpoint(service, ask.path) {
        return None;
    }
    if [ask.query, ask.form()].into_iter().flatten().any(|text| pairs(text) > MOST_PAIRS) {
        return None;
    }
    let targets = ask.headers.get_all("x-amz-target").iter().map(target);
    let parameters = actions(ask.query, Way::Query).chain(actions(ask.form(), Way::Form)).map(Some);
    let mut named = targets.chain(parameters).chain(rpc.map(|name| Some((Way::Path, name))));
    let (Some(Some((way, name))), None) = (named.next(), named.next()) else { return None };
    let (is_get, is_post) = (*ask.method == Method::GET, *ask.method == Method::POST);
    let is_read = match way {
        // A service of two protocols tells them apart by the body's type.
        Way::Target => is_post && ask.path == "/" && is_json(ask.headers),
        // A body that was not read could name another one.
        Way::Query => {
            speaks_query(service)
                && (is_get && !may_have_body(ask.headers) || is_post && ask.form().is_some())
        }
        Way::Form => speaks_query(service) && is_post,
        Way::Path => is_post && speaks_rpc(service, place) && is_rpc(ask.headers),
        Way::Alias => false,
    };
    let fits =
        !name.is_empty() && name.len() <= LONGEST_NAME && name.bytes().all(|b| b.is_ascii_alphanumeric());
    (is_read && fits).then(|| name.to_owned())
}

/// Whether a service may read its operation off the path. One that reads forms passes such a path over and takes the form,
/// but for CloudWatch and SES' mail manager, which share a signing name with what reads forms.
fn speaks_rpc(service: &str, place: Option<&Endpoint<'_>>) -> bool {
    !speaks_query(service)
        || service == "monitoring"
        || place.is_some_and(|place| place.label == "mail-manager")
}

/// Whether a message that should have no body could have one all the same.
fn may_have_body(headers: &HeaderMap) -> bool {
    headers.contains_key(CONTENT_TYPE)
        || headers.contains_key(TRANSFER_ENCODING)
        || headers.get_all(CONTENT_LENGTH).iter().any(|length| length.as_bytes() != b"0")
}

/// The operation of an `X-Amz-Target`; `None`: it cannot be read.
fn target(value: &HeaderValue) -> Option<(Way, &str)> {
    let text = value.to_str().ok()?;
    let (api, name) = text.rsplit_once('.')?;
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.');
    (!api.is_empty() && api.bytes().all(is_name)).then_some((Way::Target, name))
}

fn pairs(text: &str) -> usize {
    1 + text.bytes().filter(|b| matches!(b, b'&' | b';')).count()
}

/// What a query or a form names as its operation, raw.
fn actions(text: Option<&str>, way: Way) -> impl Iterator<Item = (Way, &str)> {
    text.unwrap_or_default().split(['&', ';']).filter_map(move |pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if *decoded(name) == *"Action" {
            return Some((way, value));
        }
        (is_parameter(name, "Action") || is_parameter(name, "Operation")).then_some((Way::Alias, value))
    })
}

/// The one value of a header; `Err`: there are several, or it is no text.
fn only<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(|text| Some(text.trim())).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

/// Whether the body's type is AWS' JSON, said once and in no foreign charset.
fn is_json(headers: &HeaderMap) -> bool {
    let Ok(Some(kind)) = only(headers, CONTENT_TYPE.as_str()) else { return false };
    let (essence, rest) = kind.split_once(';').unwrap_or((kind, ""));
    matches!(essence.trim(), "application/x-amz-json-1.0" | "application/x-amz-json-1.1")
        && (rest.is_empty() || rest.trim().eq_ignore_ascii_case("charset=utf-8"))
}

/// Whether the request says, once, that it is Smithy's RPC v2, and nothing else of its body.
fn is_rpc(headers: &HeaderMap) -> bool {
    only(headers, "smithy-protocol") == Ok(Some("rpc-v2-cbor"))
        && matches!(only(headers, CONTENT_TYPE.as_str()), Ok(None | Some("application/cbor")))
}

/// The operation of `/service/NAME/operation/NAME` (Smithy's RPC v2).
fn rpc(path: &str) -> Option<&str> {
    let (service, operation) = path.strip_prefix("/service/")?.split_once("/operation/")?;
    (!service.contains('/')).then_some(operation)
}

fn title(method: &Method) -> String {
    let text = method.as_str();
    let (first, rest) = text.split_at_checked(1).unwrap_or((text, ""));
    [first, &rest.to_ascii_lowercase()].concat()
}

/// `service:Operation`, on something that the request line does not show.
fn named<'a>(service: &str, operation: &str) -> Resolved<'a> {
    let action = actions::action(service, operation);
    let known = KNOWN.iter().find(|known| **known == action);
    let resource = if action == "sts:GetCallerIdentity" { Resource::None } else { Resource::Hidden };
    Resolved {
        also: actions::beside(&action),
        action: known.map_or(Cow::Owned(action), |known| Cow::Borrowed(*known)),
        resource,
        clarity: Clarity::Clear,
    }
}

/// The partition of an endpoint, as ARNs name it.
fn partition(place: Option<&Endpoint<'_>>) -> &'static str {
    match place.map(|place| place.region) {
        Some(Region::Named(region)) if region.starts_with("cn-") => "aws-cn",
        Some(Region::Named(region)) if region.starts_with("us-gov-") => "aws-us-gov",
        Some(Region::Named(region)) if region.starts_with("eusc-") => "aws-eusc",
        Some(Region::Any("cn-northwest-1") | Region::Fixed("cn-northwest-1")) => "aws-cn",
        Some(Region::Named(_) | Region::Fixed(_) | Region::Any(_) | Region::All) | None => "aws",
    }
}

fn decoded(text: &str) -> Cow<'_, str> {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy()
}
