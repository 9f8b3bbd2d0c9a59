//! `doorward get types` and `doorward describe type`: the catalogue of built-in provider types, from the tables that validate.

use clap::Args;
use serde_json::{Value, json};

use super::listing::{Item, Listing, describe};
use super::vault::not_found;
use super::{Env, Exit, Failure};
use crate::types::{ALL, Actions, AuthSpec, InjectionSpec, TypeSpec, by_name};

/// Which types.
#[derive(Args, Clone, Debug)]
pub struct Types {
    /// Only these; all if none is given.
    pub names: Vec<String>,
}

/// Which type.
#[derive(Args, Clone, Debug)]
pub struct Type {
    /// Its name, as in `spec.type`.
    pub name: String,
}

impl Types {
    pub(super) fn listing(&self) -> Result<Listing, Failure> {
        let kinds: Vec<&TypeSpec> = if self.names.is_empty() {
            ALL.to_vec()
        } else {
            self.names.iter().map(|name| wanted(name)).collect::<Result<_, _>>()?
        };
        Ok(Listing {
            kind: "type",
            columns: &["NAME", "AUTH", "HOSTS", "ACTIONS", "SCOPE", "VARIABLES"],
            wide_from: 3,
            items: kinds.into_iter().map(item).collect(),
        })
    }
}

impl Type {
    pub(super) fn run(&self, env: &Env) -> Result<Exit, Failure> {
        let kind = wanted(&self.name)?;
        let mut lines = vec![
            ("Name", kind.name.to_owned()),
            ("Summary", kind.summary.to_owned()),
            ("Hosts", hosts(kind)),
        ];
        if kind.auth.is_empty() {
            lines.push(("Auth type", "any of the auth schemes".to_owned()));
        }
        for auth in kind.auth {
            lines.push(("Auth type", auth.name.to_owned()));
            lines.push(("  Secret keys", keys(auth).join(", ")));
            lines.push(("  Dummy", auth.dummy.to_owned()));
            lines.push(("  Variables", listed(auth.env)));
            lines.extend(auth.injections.iter().map(|one| ("  Put on", one.to_string())));
            let removed = auth.removed();
            lines.push(("  Removed", if removed.is_empty() { "-".to_owned() } else { removed.join(", ") }));
        }
        lines.push(("Actions", actions(kind)));
        lines.push(("Scope", scope(kind)));
        lines.push(("Verified by", verify(kind)));
        describe(env, &format!("type/{}", kind.name), &lines, &object(kind))
    }
}

fn wanted(name: &str) -> Result<&'static TypeSpec, Failure> {
    by_name(name).ok_or_else(|| not_found("type", name, ALL.iter().map(|kind| kind.name)))
}

fn item(kind: &TypeSpec) -> Item {
    let auths: Vec<&str> = kind.auth.iter().map(|auth| auth.name).collect();
    let variables: Vec<&str> = kind.auth.iter().flat_map(|auth| auth.env).copied().collect();
    let counted = match kind.actions {
        Actions::None => "httpRules".to_owned(),
        Actions::Listed(names) | Actions::Open(names) => names.len().to_string(),
    };
    let shown_hosts = match kind.hosts {
        [first, _, ..] => format!("{first} and {} more", kind.hosts.len() - 1),
        [] | [_] => hosts(kind),
    };
    Item {
        name: kind.name.to_owned(),
        cells: vec![
            kind.name.to_owned(),
            if auths.is_empty() { "any".to_owned() } else { auths.join(",") },
            shown_hosts,
            counted,
            scope(kind),
            if variables.is_empty() { "-".to_owned() } else { variables.join(",") },
        ],
        object: object(kind),
    }
}

fn listed(words: &[&str]) -> String {
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

fn hosts(kind: &TypeSpec) -> String {
    if kind.hosts.is_empty() { format!("from {}", kind.hosts_from()) } else { listed(kind.hosts) }
}

fn actions(kind: &TypeSpec) -> String {
    match kind.actions {
        Actions::None => "none, httpRules apply".to_owned(),
        Actions::Listed(names) => listed(names),
        Actions::Open(names) => format!("the vendor's methods, of which these are known: {}", listed(names)),
    }
}

fn scope(kind: &TypeSpec) -> String {
    kind.scope.map_or_else(|| "-".to_owned(), |scope| format!("scope.{scope}"))
}

fn verify(kind: &TypeSpec) -> String {
    kind.verify.as_ref().map_or_else(|| "-".to_owned(), |call| format!("{} {}", call.method, call.url))
}

/// The keys that its secret has: the credential's own, and those that a template names beside it.
fn keys(auth: &AuthSpec) -> Vec<String> {
    let mut keys: Vec<String> = vec![auth.keys.join(" or ")];
    keys.extend(auth.other_keys().map(str::to_owned));
    keys
}

fn object(kind: &TypeSpec) -> Value {
    let auth = |auth: &AuthSpec| {
        json!({
            "name": auth.name,
            "keys": auth.keys,
            "otherKeys": auth.other_keys().collect::<Vec<_>>(),
            "dummy": auth.dummy,
            "variables": auth.env,
            "inject": auth.injections.iter().map(injection).collect::<Vec<_>>(),
            "removed": auth.removed(),
        })
    };
    json!({
        "kind": "Type",
        "name": kind.name,
        "summary": kind.summary,
        "hosts": kind.hosts,
        "auth": kind.auth.iter().map(auth).collect::<Vec<_>>(),
        "actions": kind.actions.names(),
        "otherActions": matches!(kind.actions, Actions::Open(_)),
        "scope": kind.scope,
        "verify": kind.verify.as_ref().map(|call| {
            json!({"method": call.method, "url": call.url, "expect": call.expect})
        }),
    })
}

fn injection(one: &InjectionSpec) -> Value {
    let fields: serde_json::Map<_, _> =
        one.fields.iter().map(|(name, text)| ((*name).to_owned(), json!(text))).collect();
    json!({"hosts": one.hosts, "scheme": one.key, "fields": fields})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(names: &[&str]) -> Result<Listing, Failure> {
        Types { names: names.iter().map(|name| (*name).to_owned()).collect() }.listing()
    }

    #[test]
    fn a_type_that_does_not_exist_is_not_found_and_a_near_one_named() {
        let failure = listing(&["github", "gitlub"]).unwrap_err();
        assert_eq!(failure.exit, Exit::NotFound);
        assert_eq!(failure.message, "type `gitlub` does not exist; did you mean `github`?");
        assert_eq!(listing(&["cloud"]).unwrap_err().exit, Exit::NotFound);
    }

    #[test]
    fn lists_every_type_with_a_cell_for_each_column() {
        let all = listing(&[]).unwrap();
        assert_eq!(all.items.len(), ALL.len());
        assert!(all.items.iter().all(|item| item.cells.len() == all.columns.len()));
        let one = listing(&["pypi"]).unwrap();
        let cells = &one.items.first().unwrap().cells;
        assert_eq!(cells[..5], ["pypi", "pat,basic", "upload.pypi.org and 2 more", "2", "-"]);
        assert!(cells[5].starts_with("TWINE_PASSWORD,UV_PUBLISH_TOKEN"), "{cells:?}");
    }

    #[test]
    fn the_object_says_all_that_a_provider_file_can_use() {
        let object = object(by_name("twilio").unwrap());
        assert_eq!(object["auth"][0]["keys"], json!(["auth_token", "token"]));
        assert_eq!(object["auth"][0]["otherKeys"], json!(["account_sid"]));
        assert_eq!(object["auth"][1]["inject"][0]["fields"]["username"], "{{api_key_sid}}");
        let registry = by_name("docker-registry").unwrap();
        assert_eq!(registry.auth.first().unwrap().other_keys().collect::<Vec<_>>(), ["username"]);
        assert_eq!(self::object(by_name("slack").unwrap())["otherActions"], true);
    }

    #[test]
    fn injections_read_as_what_is_sent() {
        let shown = |name: &str| by_name(name).unwrap().auth.first().unwrap().injections[0].to_string();
        assert_eq!(shown("openai"), "header authorization: Bearer {{token}}");
        assert_eq!(shown("telegram"), "path /bot{{token}}/");
        assert_eq!(shown("docker-registry"), "Basic {{username}}:{{token}}");
        assert_eq!(shown("pypi"), "Basic __token__:{{token}} (on upload.pypi.org)");
        assert_eq!(
            shown("gitlab"),
            "in place of the dummy in header:PRIVATE-TOKEN, header:Authorization, basic"
        );
    }
}
