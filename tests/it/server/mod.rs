//! The vault server: the real binary, real TLS, its real database.

mod endpoints;
mod frame;
mod closes;
mod locked;
mod resources;
mod retention;
mod documents;
mod grants;
mod key_services;
mod entitled;
mod ends;
mod quoted;
mod audit;
mod audit_signed;
mod verbs;
mod more_verbs;
mod people;
mod table;
mod wrong_key;

/// A token of the right form that nobody has.
fn foreign(class: &str) -> String {
    format!("{class}_{}", "A".repeat(43))
}

/// A provider document of this name for GitHub.
fn github(name: &str, secret: &str) -> String {
    format!(
        "apiVersion: doorward.dev/v1alpha1\nkind: Provider\nmetadata: {{name: {name}}}\nspec:\n  type: github\n  auth: {{type: pat, secretRef: {secret}}}\n  policy: {{allow: [\"issues:read\"]}}\n"
    )
}
