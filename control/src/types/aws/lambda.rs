//! Lambda's REST interface, and function URLs.

use http::Method;

use super::{Ask, Endpoint, Region, Resolved, Resource, decoded, partition};
use crate::types::UNKNOWN;
use crate::types::read::Segments;

pub(super) fn resolve<'a>(ask: &Ask<'a>, place: Option<&Endpoint<'_>>) -> Resolved<'a> {
    if place.is_some_and(|place| place.label == "lambda-url") {
        return Resolved::hidden("lambda:InvokeFunctionUrl");
    }
    let segments = Segments::of(ask.path);
    if !segments.is(1, "functions") || !is_version(segments.at(0)) || segments.is_cut() {
        return Resolved::unknown();
    }
    let action = action(ask.method, &segments);
    let name = decoded(segments.at(2));
    if name.contains('/') {
        return Resolved::unknown();
    }
    let resource = if name.is_empty() { Resource::Hidden } else { Resource::Arns(vec![arn(&name, place)]) };
    Resolved { resource, ..Resolved::hidden(action) }
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

/// A function by name, by account and name, or by ARN.
fn arn(name: &str, place: Option<&Endpoint<'_>>) -> String {
    let region = match place.map(|place| place.region) {
        Some(Region::Named(region)) => region,
        Some(Region::Fixed(_) | Region::Any(_) | Region::All) | None => "*",
    };
    if name.starts_with("arn:") {
        return name.to_owned();
    }
    let (account, name) = name.split_once(":function:").unwrap_or(("*", name));
    ["arn:", partition(place), ":lambda:", region, ":", account, ":function:", name].concat()
}
