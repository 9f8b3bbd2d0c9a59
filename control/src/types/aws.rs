//! AWS: every service by SigV4. Actions are IAM's, resources are ARNs where the request line shows them.
//!
//! What a request does is read from where its protocol says it: `X-Amz-Target` (JSON), `Action` (query protocol, also in a
//! form), the operation of an RPC path, method and path with sub-resource (S3, Lambda). Said twice, or not known: unknown.
//! S3 names its objects; other services mostly in the body, which is not read, so a scope refuses them.

mod s3;
mod lambda;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use http::{HeaderMap, Method};

use super::read::params;
use super::shapes::ok;
use super::{Actions, Ask, AuthSpec, Clarity, InjectionSpec, Resolved, Resource, TypeSpec};
use crate::aws::{Endpoint, Region, endpoint, is_label};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "aws",
    summary: "AWS: requests are signed again with SigV4 (or SigV4A), limited by `config.services` and `config.region`. `scope.resources` names ARNs. Services that hand out credentials (`sts:AssumeRole`, `iam:CreateAccessKey`) hand them to the agent: deny those.",
    hosts: &["*.amazonaws.com", "*.amazonaws.com.cn", "*.api.aws", "*.on.aws"],
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

/// Actions that refusals show by name; others are taken as they come.
const KNOWN: &[&str] = &[
    "s3:ListAllMyBuckets",
    "s3:ListBucket",
    "s3:ListBucketVersions",
    "s3:ListBucketMultipartUploads",
    "s3:ListMultipartUploadParts",
    "s3:AbortMultipartUpload",
    "s3:CreateBucket",
    "s3:DeleteBucket",
    "s3:GetObject",
    "s3:GetObjectVersion",
    "s3:GetObjectAcl",
    "s3:GetObjectAttributes",
    "s3:GetObjectTagging",
    "s3:GetObjectRetention",
    "s3:GetObjectLegalHold",
    "s3:PutObject",
    "s3:PutObjectAcl",
    "s3:PutObjectTagging",
    "s3:PutObjectRetention",
    "s3:PutObjectLegalHold",
    "s3:RestoreObject",
    "s3:DeleteObject",
    "s3:DeleteObjectVersion",
    "s3:DeleteObjectTagging",
    "s3:GetBucketLocation",
    "s3:GetBucketAcl",
    "s3:GetBucketPolicy",
    "s3:GetBucketPolicyStatus",
    "s3:GetBucketVersioning",
    "s3:GetBucketTagging",
    "s3:GetBucketCORS",
    "s3:GetBucketWebsite",
    "s3:GetBucketLogging",
    "s3:GetBucketNotification",
    "s3:GetBucketRequestPayment",
    "s3:GetBucketPublicAccessBlock",
    "s3:GetBucketOwnershipControls",
    "s3:GetBucketObjectLockConfiguration",
    "s3:GetLifecycleConfiguration",
    "s3:GetReplicationConfiguration",
    "s3:GetEncryptionConfiguration",
    "s3:GetAccelerateConfiguration",
    "s3:PutBucketAcl",
    "s3:PutBucketPolicy",
    "s3:DeleteBucketPolicy",
    "s3:PutBucketVersioning",
    "s3:PutBucketTagging",
    "s3:PutBucketCORS",
    "s3:PutBucketWebsite",
    "s3:DeleteBucketWebsite",
    "s3:PutBucketLogging",
    "s3:PutBucketNotification",
    "s3:PutBucketRequestPayment",
    "s3:PutBucketPublicAccessBlock",
    "s3:PutBucketOwnershipControls",
    "s3:PutBucketObjectLockConfiguration",
    "s3:PutLifecycleConfiguration",
    "s3:PutReplicationConfiguration",
    "s3:PutEncryptionConfiguration",
    "s3:PutAccelerateConfiguration",
    "s3express:CreateSession",
    "lambda:InvokeFunction",
    "lambda:InvokeAsync",
    "lambda:InvokeFunctionUrl",
    "lambda:ListFunctions",
    "lambda:CreateFunction",
    "lambda:GetFunction",
    "lambda:DeleteFunction",
    "lambda:GetFunctionConfiguration",
    "lambda:UpdateFunctionConfiguration",
    "lambda:UpdateFunctionCode",
    "lambda:GetPolicy",
    "lambda:AddPermission",
    "lambda:ListVersionsByFunction",
    "lambda:PublishVersion",
    "execute-api:Invoke",
    "sts:GetCallerIdentity",
    "sts:AssumeRole",
    "sts:GetSessionToken",
    "sts:GetFederationToken",
    "iam:CreateAccessKey",
    "iam:ListUsers",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:UpdateItem",
    "dynamodb:DeleteItem",
    "dynamodb:Query",
    "dynamodb:Scan",
    "dynamodb:BatchGetItem",
    "dynamodb:BatchWriteItem",
    "dynamodb:DescribeTable",
    "dynamodb:ListTables",
    "sqs:SendMessage",
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:GetQueueUrl",
    "sqs:ListQueues",
    "sns:Publish",
    "kms:Encrypt",
    "kms:Decrypt",
    "secretsmanager:GetSecretValue",
    "ssm:GetParameter",
    "logs:PutLogEvents",
    "cloudwatch:PutMetricData",
    "events:PutEvents",
    "states:StartExecution",
];

/// Services whose IAM prefix is not their signing name.
const PREFIXES: &[(&str, &str)] =
    &[("monitoring", "cloudwatch"), ("iotdata", "iot"), ("s3-outposts", "s3-outposts")];

/// The longest name of an operation.
const LONGEST_NAME: usize = 96;

fn resolve<'a>(ask: &Ask<'a>) -> Resolved<'a> {
    let place = ask.host.name().and_then(endpoint);
    let service = match (&place, scope_service(ask.headers)) {
        (Some(place), _) => place.services.first().unwrap_or_default(),
        // The signer signs a foreign host's requests for the service that the agent signed for.
        (None, Some(service)) => service,
        (None, None) => "s3",
    };
    match service {
        "s3" | "s3express" | "s3-object-lambda" => s3::resolve(ask, place.as_ref()),
        "lambda" => lambda::resolve(ask, place.as_ref()),
        "execute-api" => Resolved::hidden("execute-api:Invoke"),
        "es" => match *ask.method {
            Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::PATCH | Method::DELETE => {
                named("es", &["ESHttp", &title(ask.method)].concat())
            }
            _ => Resolved::unknown(),
        },
        "" => Resolved::unknown(),
        service => operation(ask).map_or(Resolved::unknown(), |name| named(service, &name)),
    }
}

/// The service of the agent's own credential scope. The signer reads it by the whole grammar and refuses what is none.
fn scope_service(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (_, scope) = text.split_once("Credential=")?;
    let (scope, _) = scope.split_once(',')?;
    let parts: Vec<&str> = scope.split('/').collect();
    let ([_, _, _, service, "aws4_request"] | [_, _, service, "aws4_request"]) = parts.as_slice() else {
        return None;
    };
    is_label(service).then_some(service)
}

/// The operation that the request names. Two ways at once could be read differently by the service: not known.
fn operation(ask: &Ask<'_>) -> Option<String> {
    let targets = ask.headers.get_all("x-amz-target").iter().map(|value| value.to_str().ok());
    let actions = params(ask.query, "Action").map(Some);
    let mut named = targets
        .map(|value| value.map(|text| text.rsplit_once('.').map_or(text, |(_, name)| name)))
        .chain(actions)
        .chain(rpc(ask.path).map(Some));
    let (Some(Some(name)), None) = (named.next(), named.next()) else { return None };
    let fits =
        !name.is_empty() && name.len() <= LONGEST_NAME && name.bytes().all(|b| b.is_ascii_alphanumeric());
    let method = *ask.method == Method::POST
        || (*ask.method == Method::GET && !ask.headers.contains_key("x-amz-target"));
    (fits && method).then(|| name.to_owned())
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
    let prefix = PREFIXES.iter().find(|(own, _)| *own == service).map_or(service, |(_, prefix)| prefix);
    let action = [prefix, ":", operation].concat();
    let known = KNOWN.iter().find(|known| **known == action);
    let resource = if action == "sts:GetCallerIdentity" { Resource::None } else { Resource::Hidden };
    Resolved {
        action: known.map_or(Cow::Owned(action), |known| Cow::Borrowed(*known)),
        resource,
        also: Vec::new(),
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

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}
