//! The provider reference as Markdown, from the tables that validate: types, auth, fields.

use std::fmt::Write as _;

use super::schema::{Field, KINDS, Need, Shape};
use crate::catalog::{FieldSpec, SchemeSpec};
use crate::types::{self, Actions, AuthSpec, TypeSpec};

/// The whole page.
pub fn markdown(schemes: &[&SchemeSpec]) -> String {
    let mut page = String::from(INTRO);
    page.push_str("\n## Types\n");
    types::ALL.iter().for_each(|kind| own_type(&mut page, kind));
    page.push_str("\n## Auth types and injections\n\n");
    page.push_str("An `http-token` provider chooses by `auth.type` (default `api-key`); `auth.inject` replaces any type's own way.\n");
    schemes.iter().for_each(|scheme| own_scheme(&mut page, scheme));
    for kind in KINDS {
        line(
            &mut page,
            format_args!(
                "\n## {}\n\n{}\n\n`apiVersion`: {}.\n",
                kind.name,
                kind.doc,
                listed(kind.api_versions)
            ),
        );
        page.push_str("| field | value | meaning |\n|---|---|---|\n");
        fields(&mut page, "", kind.fields);
    }
    page
}

const INTRO: &str = "<!-- Generated from code; do not edit. -->\n# Provider files\n\nYAML or JSON, several documents in a file, folders read recursively. Unknown and duplicate keys are errors. `doorward schema KIND` prints the JSON Schema.\n";

/// A line; writing to a string cannot fail.
fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    if writeln!(page, "{text}").is_err() {
        page.clear();
    }
}

fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn own_type(page: &mut String, kind: &TypeSpec) {
    line(page, format_args!("\n### `{}`\n\n{}\n", kind.name, kind.summary));
    let hosts =
        if kind.hosts.is_empty() { format!("from `{}`", kind.hosts_from()) } else { listed(kind.hosts) };
    line(page, format_args!("- hosts: {hosts}"));
    kind.auth.iter().for_each(|auth| own_auth(page, auth));
    match kind.actions {
        Actions::None => line(page, format_args!("- actions: none, `httpRules` apply")),
        Actions::Listed(names) => line(page, format_args!("- actions: {}", listed(names))),
        Actions::Open(names) => line(
            page,
            format_args!("- actions: the vendor's methods, of which these are known: {}", listed(names)),
        ),
    }
    if let Some(scope) = kind.scope {
        line(page, format_args!("- scope: `scope.{scope}`"));
    }
    if let Some(verify) = &kind.verify {
        line(page, format_args!("- verified by `{} {}`", verify.method, verify.url));
    }
}

fn own_auth(page: &mut String, auth: &AuthSpec) {
    let mut keys = listed(auth.keys);
    auth.other_keys().for_each(|key| keys.push_str(&format!(" and `{key}`")));
    let variables = if auth.env.is_empty() { "none".to_owned() } else { listed(auth.env) };
    line(
        page,
        format_args!(
            "- auth type `{}`: secret key {keys}; variables {variables}; dummy `{}`",
            auth.name, auth.dummy
        ),
    );
    auth.injections.iter().for_each(|one| line(page, format_args!("  - put on: `{one}`")));
    let removed = auth.removed().iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if !removed.is_empty() {
        line(page, format_args!("  - removed from the agent's requests: {removed}"));
    }
}

fn own_scheme(page: &mut String, scheme: &SchemeSpec) {
    line(page, format_args!("\n### {}\n\n{}\n", scheme.name, scheme.summary));
    if !scheme.auth_types.is_empty() {
        line(
            page,
            format_args!(
                "- `auth.type`: {}; secret key {}",
                listed(scheme.auth_types),
                listed(scheme.default_keys)
            ),
        );
    }
    scheme.auth_fields.iter().for_each(|field| own_field(page, "auth", field));
    if let Some(key) = scheme.inject_key {
        line(page, format_args!("- `auth.inject`: `{key}`"));
        scheme.inject_fields.iter().for_each(|field| own_field(page, key, field));
    }
}

fn own_field(page: &mut String, owner: &str, field: &FieldSpec) {
    let need = match (field.required, field.default) {
        (true, _) => ", required".to_owned(),
        (false, Some(default)) if !default.is_empty() => format!(", default `{default}`"),
        (false, _) => String::new(),
    };
    line(page, format_args!("  - `{owner}.{}`{need}: {}", field.name, field.doc));
}

fn fields(page: &mut String, above: &str, of: &[Field]) {
    for field in of {
        let name = format!("{above}{}", field.name);
        let need = match field.need {
            Need::Required => " (required)",
            Need::Optional => "",
            Need::Later => " (later release)",
        };
        let doc = field.doc.replace('|', "\\|");
        line(page, format_args!("| `{name}`{need} | {} | {doc} |", shown(field.shape)));
        if field.need != Need::Later {
            inner(page, &name, field.shape);
        }
    }
}

fn inner(page: &mut String, name: &str, shape: Shape) {
    match shape {
        Shape::Map(of) | Shape::Auth(of) | Shape::Inject(of) => fields(page, &format!("{name}."), of),
        Shape::List(of) => inner(page, &format!("{name}[]"), *of),
        Shape::Named(of) => inner(page, &format!("{name}.NAME"), *of),
        Shape::Text | Shape::Bool | Shape::Count | Shape::Choice(_) => {}
    }
}

fn shown(shape: Shape) -> String {
    match shape {
        Shape::Text => "text".to_owned(),
        Shape::Bool => "true or false".to_owned(),
        Shape::Count => "number from 1".to_owned(),
        Shape::Choice(words) => listed(words),
        Shape::List(of) => format!("list of {}", shown(*of)),
        Shape::Map(_) => "map".to_owned(),
        Shape::Auth(_) => "map, with the auth type's fields".to_owned(),
        Shape::Inject(_) => "map, with one scheme's key".to_owned(),
        Shape::Named(of) => format!("names with {}", shown(*of)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::testing::SCHEMES;

    #[test]
    fn names_every_type_and_every_field() {
        let page = markdown(SCHEMES);
        for kind in types::ALL {
            assert!(page.contains(&format!("### `{}`", kind.name)));
        }
        for field in [
            "`spec.auth.secretRef` (required)",
            "`spec.policy.httpRules[].effect` (required)",
            "`spec.tls.clientCert.secretRef` (required)",
            "`spec.auth.agentEnv.NAME.placeholder`",
        ] {
            assert!(page.contains(field), "{field}");
        }
        assert!(
            page.lines().all(|line| !line.starts_with('|')
                || line.matches(" | ").count() == 2
                || line.contains("---"))
        );
    }
}
