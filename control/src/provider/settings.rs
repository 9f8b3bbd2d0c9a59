//! What a built-in type's `config` and `scope` say of its auth scheme, and what the agent's libraries are told of it.
//!
//! Refuses settings that are missing or malformed, with their place.

use super::Injection;
use super::build::Ground;
use super::fields::{self, Given};
use super::report::Report;
use super::tree::Node;
use crate::catalog::{FieldValue, Fields, SchemeSpec};

/// What `config` says of the scheme's fields.
pub(super) fn configure(
    fields: &mut Fields,
    scheme: &str,
    ground: Ground<'_>,
    at: &Node,
    report: &mut Report<'_>,
) {
    let specs = ground.schemes.iter().filter(|spec| spec.name == scheme);
    let specs = specs.flat_map(|spec| spec.inject_fields).filter(|field| field.kind.is_setting());
    for spec in specs {
        let mut path = spec.name.split('.');
        let node = ground.config.and_then(|config| path.try_fold(config, Node::field));
        let Some(node) = node else {
            if spec.required && !fields.0.contains_key(spec.name) {
                report.mistake(at.at, format!("`config.{}` is missing: {}", spec.name, spec.doc));
            }
            continue;
        };
        let number = node.int().map(|number| number.to_string());
        // What is neither was reported with the file's shape.
        let given = number.as_deref().map(Given::Text).or_else(|| fields::given(node));
        let Some(given) = given else { continue };
        match fields::value(spec.kind, given) {
            Ok(value) => drop(fields.0.insert(spec.name, value)),
            Err(message) => report.mistake(node.at, format!("`config.{}` {message}", spec.name)),
        }
    }
}

/// Repositories that a scope names one by one: a token that is asked for is asked for these alone.
pub(super) fn narrow(fields: &mut Fields, scheme: &str, ground: Ground<'_>) {
    let Some(list) = ground.scope.and_then(|scope| scope.field("repositories")) else { return };
    let takes = |spec: &&SchemeSpec| {
        spec.name == scheme && spec.inject_fields.iter().any(|field| field.name == "repositories")
    };
    let pairs: Option<Vec<(&str, &str)>> = list
        .items()
        .iter()
        .map(|node| {
            node.text()?.split_once('/').filter(|(owner, name)| !owner.contains('*') && !name.contains('*'))
        })
        .collect();
    let Some(pairs) = pairs.filter(|pairs| !pairs.is_empty()) else { return };
    // An installation is one owner's.
    let one_owner =
        pairs.iter().all(|(owner, _)| pairs.iter().all(|(other, _)| owner.eq_ignore_ascii_case(other)));
    if one_owner && ground.schemes.iter().copied().any(|spec| takes(&spec)) {
        let names: Vec<&str> = pairs.iter().map(|(_, name)| *name).collect();
        fields.0.insert("repositories", FieldValue::Text(names.join(" ")));
    }
}

/// Settings that libraries look for beside the credential; they are no secrets, and a vendor may compare them.
const SETTINGS: &[(&str, &str)] = &[("tenantId", "AZURE_TENANT_ID"), ("project", "GOOGLE_CLOUD_PROJECT")];

pub(super) fn add_settings(injections: &[Injection], env: &mut Vec<(String, String)>) {
    for (field, variable) in SETTINGS {
        let value = injections.iter().find_map(|injection| injection.fields.text(field));
        let Some(value) = value.filter(|_| !env.iter().any(|(name, _)| name == variable)) else { continue };
        env.push(((*variable).to_owned(), value.to_owned()));
    }
}
