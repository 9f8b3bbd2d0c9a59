//! Lambda's REST interface, and function URLs.

use http::Method;

use super::{Ask, Endpoint, Region, Resolved, Resource, decoded, partition};
use crate::aws::scope::is_parameter;
use crate::types::UNKNOWN;
use crate::types::read::Segments;

pub(super) fn resolve<'a>(ask: &Ask<'a>, place: Option<&Endpoint<'_>>) -> Resolved<'a> {
    if place.is_some_and(|place| place.label == "lambda-url") {
        // IAM asks for both.
        return Resolved {
            also: vec!["lambda:InvokeFunction"],
            ..Resolved::hidden("lambda:InvokeFunctionUrl")
        };
    }
    let segments = Segments::of(ask.path);
    if !segments.is(1, "functions") || !is_version(segments.at(0)) || segments.is_cut() {
        return Resolved::unknown();
    }
    let action = action(ask.method, &segments);
    let name = decoded(segments.at(2));
    if name.is_empty() {
        return Resolved::hidden(action);
    }
    let arn = qualifier(ask.query).and_then(|qualifier| arn(&name, qualifier.as_deref(), place));
    arn.map_or(Resolved::unknown(), |arn| Resolved {
        resource: Resource::Arns(vec![arn]),
        ..Resolved::hidden(action)
    })
}

/// The version or alias that the query names, decoded; `None`: it is named twice, or so that not every server would see it.
fn qualifier(query: Option<&str>) -> Option<Option<String>> {
    let mut named = query.unwrap_or_default().split(['&', ';']).filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        is_parameter(name, "Qualifier").then(|| (decoded(name) == "Qualifier").then(|| decoded(value)))
    });
    match (named.next(), named.next()) {
        (None, _) => Some(None),
        (Some(Some(value)), None) => Some(Some(value.into_owned())),
        (Some(_), _) => None,
    }
}

fn action(method: &Method, segments: &Segments<'_>) -> &'static str {
    let (get, post) = (*method == Method::GET, *method == Method::POST);
    let (put, delete) = (*method == Method::PUT, *method == Method::DELETE);
    let part = segments.at(3);
    match (segments.len(), part) {
        (2, _) if get => "lambda:ListFunctions",
        (2, _) if post => "lambda:CreateFunction",
        (3, _) if get => "lambda:GetFunction",
        (3, _) if delete => "lambda:DeleteFunction",
        (4, "invocations" | "response-streaming-invocations") if post => "lambda:InvokeFunction",
        (4, "invoke-async") if post => "lambda:InvokeAsync",
        (4, "configuration") if get => "lambda:GetFunctionConfiguration",
        (4, "configuration") if put => "lambda:UpdateFunctionConfiguration",
        (4, "code") if put => "lambda:UpdateFunctionCode",
        (4, "policy") if get => "lambda:GetPolicy",
        (4, "policy") if post => "lambda:AddPermission",
        (4, "versions") if get => "lambda:ListVersionsByFunction",
        (4, "versions") if post => "lambda:PublishVersion",
        _ => UNKNOWN,
    }
}

/// `2015-03-31`.
fn is_version(segment: &str) -> bool {
    segment.len() == 10 && segment.bytes().all(|b| b.is_ascii_digit() || b == b'-')
}

/// The ARN of a function that is given by name, by account and name, or by ARN, with its version or alias; `None`: it is none
/// of these, or two versions are named.
fn arn(name: &str, qualifier: Option<&str>, place: Option<&Endpoint<'_>>) -> Option<String> {
    let (before, own) =
        name.rsplit_once(":function:").map_or((None, name), |(before, own)| (Some(before), own));
    let (function, within) =
        own.split_once(':').map_or((own, None), |(function, version)| (function, Some(version)));
    let version = match (within, qualifier) {
        (Some(within), Some(beside)) if within != beside => return None,
        (Some(version), _) | (None, Some(version)) => Some(version),
        (None, None) => None,
    };
    let is_word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let is_name = |text: &str| !text.is_empty() && text.bytes().all(is_word);
    let is_version = |text: &str| text == "$LATEST" || is_name(text);
    if !is_name(function) || !version.is_none_or(is_version) {
        return None;
    }
    let region = match place.map(|place| place.region) {
        Some(Region::Named(region)) => region,
        Some(Region::Fixed(_) | Region::Any(_) | Region::All) | None => "*",
    };
    let before = match before {
        None => ["arn:", partition(place), ":lambda:", region, ":*"].concat(),
        Some(account) if account.bytes().all(|b| b.is_ascii_digit()) => {
            ["arn:", partition(place), ":lambda:", region, ":", account].concat()
        }
        Some(arn) => {
            let parts: Vec<&str> = arn.split(':').collect();
            let &["arn", partition, "lambda", region, account] = parts.as_slice() else { return None };
            if ![partition, region, account].into_iter().all(is_name) {
                return None;
            }
            arn.to_owned()
        }
    };
    let version = version.map_or_else(String::new, |version| [":", version].concat());
    Some([&before, ":function:", function, &version].concat())
}
