//! The fields of an auth scheme, validated by their kinds as the scheme table states them.

use http::HeaderName;

use super::report::{Report, suggestion};
use super::tree::{Entry, Node, Value};
use crate::catalog::{FieldKind, FieldSpec, FieldValue, Fields, Piece, Spot, Template};
use crate::keyfile::external::is_folder_of_tokens;
use crate::token_url::TokenUrl;
use crate::vault::value::is_key;

/// A field as given.
#[derive(Clone, Debug)]
pub(super) enum Given<'a> {
    Text(&'a str),
    List(Vec<&'a str>),
    Map(Vec<(&'a str, &'a str)>),
}

/// Reads the fields of a scheme out of a map's entries; other entries are not looked at.
pub(super) fn read(
    owner: &Node,
    entries: &[Entry],
    specs: &[FieldSpec],
    report: &mut Report<'_>,
) -> Option<Fields> {
    let mut values = Fields::default();
    let mut whole = true;
    for spec in specs {
        let entry =
            entries.iter().find(|entry| entry.key == spec.name && !matches!(entry.node.value, Value::Null));
        let result = match (entry, spec.default) {
            (Some(entry), _) => given(&entry.node)
                .ok_or_else(|| "has to be text".to_owned())
                .and_then(|given| value(spec.kind, given)),
            (None, Some(default)) => value(spec.kind, Given::Text(default)),
            (None, None) if spec.required => Err("is missing".to_owned()),
            (None, None) => continue,
        };
        match result {
            Ok(value) => {
                values.0.insert(spec.name, value);
            }
            Err(message) => {
                whole = false;
                report.mistake(
                    entry.map_or(owner.at, |entry| entry.node.at),
                    format!("`{}` {message}", spec.name),
                );
            }
        }
    }
    whole.then_some(values)
}

pub(super) fn given(node: &Node) -> Option<Given<'_>> {
    match &node.value {
        Value::Text(text) => Some(Given::Text(text)),
        Value::List(items) => items.iter().map(Node::text).collect::<Option<_>>().map(Given::List),
        Value::Map(entries) => {
            let pairs = entries.iter().map(|entry| Some((entry.key.as_str(), entry.node.text()?)));
            pairs.collect::<Option<_>>().map(Given::Map)
        }
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float => None,
    }
}

/// Validates one field. The message continues "`field` …" and never holds the value.
pub(super) fn value(kind: FieldKind, given: Given<'_>) -> Result<FieldValue, String> {
    let text = match given {
        Given::List(items) if kind == FieldKind::Spots => return spots(&items),
        Given::List(items) if kind == FieldKind::Labels => return labels(&items),
        Given::List(items) if kind == FieldKind::Keys => return keys(&items),
        Given::List(items) if kind == FieldKind::Scopes => return scopes(&items),
        Given::List(_) => return Err("has to be text, here is a list".to_owned()),
        Given::Map(entries) if kind == FieldKind::Headers => return template_headers(&entries),
        Given::Map(_) => return Err("has to be text".to_owned()),
        Given::Text(_) if kind == FieldKind::Headers => {
            return Err("has to be a map from header names to what stands in them".to_owned());
        }
        Given::Text(text) if kind == FieldKind::Keys => return keys(&[text]),
        Given::Text(text) if kind == FieldKind::Spots => return spots(&[text]),
        Given::Text(text) if kind == FieldKind::Labels => return labels(&[text]),
        Given::Text(text) => text,
    };
    let breaks = |c: char| kind == FieldKind::Message && c == '\n';
    if !text.chars().all(|c| c == ' ' || breaks(c) || (!c.is_control() && !c.is_whitespace())) {
        return Err("holds a character that cannot be sent".to_owned());
    }
    let owned = || Ok(FieldValue::Text(text.to_owned()));
    match kind {
        FieldKind::Text => owned(),
        FieldKind::HeaderName => header_name(text).map(FieldValue::Text),
        FieldKind::PathTemplate if !text.starts_with('/') => Err("has to begin with `/`".to_owned()),
        FieldKind::Choice(words) if !words.contains(&text) => Err(format!(
            "has to be one of `{}`{}",
            words.join("`, `"),
            suggestion(text, words.iter().copied())
        )),
        FieldKind::Choice(_) => owned(),
        FieldKind::Message => message(text),
        FieldKind::Template | FieldKind::PathTemplate => Template::parse(text)
            .map(FieldValue::Template)
            .map_err(|error| format!("is not a template: {error}")),
        FieldKind::ParamName if text.is_empty() => Err("is empty".to_owned()),
        FieldKind::ParamName => owned(),
        FieldKind::CookieName if HeaderName::from_bytes(text.as_bytes()).is_err() => {
            Err("is not the name of a cookie".to_owned())
        }
        FieldKind::CookieName => owned(),
        FieldKind::JsonPointer if !is_pointer(text) => {
            Err("is not a JSON pointer such as `/auth/key` (RFC 6901)".to_owned())
        }
        FieldKind::JsonPointer => owned(),
        FieldKind::Spots => spots(&[text]),
        FieldKind::Labels => labels(&[text]),
        FieldKind::ServiceName
            if text.len() > 255
                || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b".:_-/".contains(&b)) =>
        {
            Err("is a name such as `registry.example.com`".to_owned())
        }
        FieldKind::ServiceName => owned(),
        FieldKind::TokenUrl | FieldKind::TokenService => TokenUrl::parse(text)
            .map(|url| FieldValue::Text(url.to_string()))
            .map_err(|error| error.to_string()),
        FieldKind::RoleArn if !crate::aws::role::is_role(text) => {
            Err("is not the ARN of a role (`arn:aws:iam::123456789012:role/NAME`)".to_owned())
        }
        FieldKind::ExternalId if !crate::aws::role::is_external_id(text) => {
            Err("is made of 2 to 1224 letters, digits and `_+=,.@:/-`".to_owned())
        }
        FieldKind::Seconds(least, most) if !text.parse().is_ok_and(|n: u32| (least..=most).contains(&n)) => {
            Err(format!("is a number of seconds from {least} to {most}"))
        }
        FieldKind::File if !crate::keyfile::external::is_path(text) => {
            Err("is an absolute path without `..`".to_owned())
        }
        FieldKind::File if !std::path::Path::new(text).parent().is_some_and(is_folder_of_tokens) => {
            Err("lies in a folder of its own: the proxy may read all of that folder, so that it is none of the system's"
                .to_owned())
        }
        FieldKind::File | FieldKind::RoleArn | FieldKind::ExternalId | FieldKind::Seconds(..) => owned(),
        FieldKind::Scopes => scopes(&text.split(' ').filter(|scope| !scope.is_empty()).collect::<Vec<_>>()),
        FieldKind::Keys => keys(&[text]),
        FieldKind::Headers => template_headers(&[]),
    }
}

/// What tells one request from another: with its method and host alone one signature would be good for many.
const TELLS_APART: &[&str] = &["path", "query", "pathAndQuery", "body", "bodyHash"];

fn message(text: &str) -> Result<FieldValue, String> {
    let template = Template::parse(text).map_err(|error| format!("is not a template: {error}"))?;
    let holds = |names: &[&str]| {
        let mut pieces = template.0.iter();
        pieces.any(|piece| matches!(piece, Piece::Key(name) if names.contains(&name.as_str())))
    };
    if holds(&["signature"]) {
        return Err("holds the signature itself".to_owned());
    }
    if !holds(TELLS_APART) {
        return Err(format!(
            "names nothing of the request but its method and host at the most, so that one signature would do for many: it needs one of `{{{{{}}}}}`",
            TELLS_APART.join("}}`, `{{")
        ));
    }
    Ok(FieldValue::Template(template))
}

/// RFC 6749 section 3.3: visible ASCII without `"` and `\`.
fn scopes(items: &[&str]) -> Result<FieldValue, String> {
    let is_scope = |item: &&str| {
        !item.is_empty() && item.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\'))
    };
    if items.is_empty() {
        return Err("is empty; leave it out for the issuer's default".to_owned());
    }
    if !items.iter().all(is_scope) {
        return Err("is a list of scopes: visible ASCII without blanks, `\"` and `\\`".to_owned());
    }
    Ok(FieldValue::Text(items.join(" ")))
}

fn keys(items: &[&str]) -> Result<FieldValue, String> {
    match items.iter().all(|item| is_key(item)) {
        true => Ok(FieldValue::Text(items.join(","))),
        false => Err("names keys of the secret, made of letters, digits, `.`, `_` and `-`".to_owned()),
    }
}

/// What stands in a header may be no template at all.
fn template_headers(entries: &[(&str, &str)]) -> Result<FieldValue, String> {
    let mut headers: Vec<(String, Template)> = Vec::with_capacity(entries.len());
    for (name, text) in entries {
        let name = header_name(name).map_err(|message| format!("has a key that {message}"))?;
        let shown = text.chars().all(|c| c == ' ' || (!c.is_control() && !c.is_whitespace()));
        if !shown || text.is_empty() || text.trim() != *text {
            return Err(format!("holds in `{name}` what cannot be sent"));
        }
        if headers.iter().any(|(known, _)| *known == name) {
            return Err(format!("names `{name}` twice"));
        }
        let template = match text.contains("{{") {
            true => Template::parse(text).map_err(|error| format!("is no template in `{name}`: {error}"))?,
            false => Template(vec![Piece::Literal((*text).to_owned())]),
        };
        headers.push((name, template));
    }
    if headers.is_empty() { Err("names no header".to_owned()) } else { Ok(FieldValue::Headers(headers)) }
}

fn labels(items: &[&str]) -> Result<FieldValue, String> {
    if items.is_empty() {
        return Err("is empty; leave it out for no limit".to_owned());
    }
    if !items.iter().all(|item| crate::aws::is_region_or_service(item)) {
        return Err("is made of lower-case letters, digits and hyphens, as `eu-west-1` or `s3`".to_owned());
    }
    Ok(FieldValue::Text(items.join(",")))
}

/// Headers that frame or route a request: a credential in them would change what is sent where.
const FRAMING: &[&str] = &[
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "keep-alive",
    "content-encoding",
    "proxy-authorization",
    "proxy-connection",
    "content-type",
];

fn header_name(text: &str) -> Result<String, String> {
    let name =
        HeaderName::from_bytes(text.as_bytes()).map_err(|_| "is not the name of a header".to_owned())?;
    if FRAMING.contains(&name.as_str()) {
        return Err("names a header that cannot carry a credential".to_owned());
    }
    Ok(name.as_str().to_owned())
}

/// Headers that servers reflect or that caches key on: a placeholder in them is never replaced.
const REFLECTED: &[&str] = &[
    "user-agent",
    "referer",
    "origin",
    "cookie",
    "range",
    "traceparent",
    "tracestate",
    "baggage",
    "x-request-id",
    "x-correlation-id",
];

fn spots(items: &[&str]) -> Result<FieldValue, String> {
    if items.is_empty() {
        return Err("names no spot".to_owned());
    }
    items.iter().map(|item| spot(item)).collect::<Result<_, _>>().map(FieldValue::Spots)
}

fn spot(text: &str) -> Result<Spot, String> {
    let (kind, rest) = text.split_once(':').map_or((text, None), |(kind, rest)| (kind, Some(rest)));
    match (kind, rest) {
        ("path", None) => Ok(Spot::Path),
        ("basic", None) => Ok(Spot::Basic),
        ("header", Some(name)) => {
            let name = header_name(name)?;
            let reflected = REFLECTED.contains(&name.as_str())
                || name.starts_with("accept")
                || name.starts_with("if-")
                || name.starts_with("x-b3-");
            if reflected {
                Err("names a header in which no placeholder is replaced, since servers reflect it".to_owned())
            } else {
                Ok(Spot::Header(name))
            }
        }
        ("query", Some(name)) if !name.is_empty() => Ok(Spot::Query(name.to_owned())),
        ("body", Some(pointer)) if is_pointer(pointer) => Ok(Spot::Body(pointer.to_owned())),
        _ => Err("is made of `header:NAME`, `query:NAME`, `path`, `basic` and `body:/pointer`".to_owned()),
    }
}

fn is_pointer(text: &str) -> bool {
    let escapes_fit = text.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
    text.len() > 1 && text.starts_with('/') && escapes_fit
}
