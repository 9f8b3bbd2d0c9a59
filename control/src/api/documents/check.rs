//! Whether a document may be stored: read as provider files are, its own tests run, its secrets there and bound to its hosts;
//! and whether a change of it sends a secret elsewhere, or changes what people are asked about.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;

use super::super::problem::{Answer, Problem};
use super::super::{Api, destination};
use super::{DOCUMENT, kind_name};
use crate::provider::{self, Expect, Failed, Given, Loaded, Provider};
use crate::refusal::Code;
use crate::registry::{Document, DocumentKind, NewDocument};
use crate::rule::HostPattern;
use crate::secret::SecretName;
use crate::vault::SecretFacts;
use crate::vault::store::SecretRow;

/// Most fallbacks of a model provider that are looked at.
const FALLBACKS: usize = 16;
/// Most mistakes that are told.
const MISTAKES: usize = 50;

/// A document without mistakes.
pub(super) struct Checked {
    pub(super) document: NewDocument,
    pub(super) provider: Arc<Provider>,
}

/// What has to be known of a document before it can be read as one of its kind and name.
#[derive(Debug, Default, Deserialize)]
struct Glance {
    #[serde(default)]
    metadata: GlanceMetadata,
    #[serde(default)]
    spec: GlanceSpec,
}

#[derive(Debug, Default, Deserialize)]
struct GlanceMetadata {
    #[serde(default)]
    name: String,
}

#[derive(Debug, Default, Deserialize)]
struct GlanceSpec {
    #[serde(default)]
    fallbacks: Vec<String>,
}

pub(super) async fn check(api: &Api, project: &str, kind: DocumentKind, text: String) -> Answer<Checked> {
    if text.len() > DOCUMENT {
        return Err(Problem::new(Code::Dw6016, format!("`document` has at most {DOCUMENT} bytes")));
    }
    // What cannot be read here is told by the real reading below.
    let glance: Glance = serde_saphyr::from_str(&text).unwrap_or_default();
    let (name, others) = beside(api, project, kind, glance).await?;
    let of = (api.clone(), project.to_owned(), name.clone(), text.clone());
    // Beside the serving threads: a long document takes its time.
    let provider = api.checks.run(project, move || tested(&of, kind, &others)).await??;
    let mut uses: Vec<SecretName> = Vec::new();
    for secret in provider.secrets() {
        let row = api.vault.store().secret(project, &secret.name).await?;
        let row = row.ok_or_else(|| {
            Problem::new(Code::Dw6016, "a secret that the document names is not in this project")
        })?;
        check_hosts(&provider, &row)?;
        uses.push(secret.name.clone());
    }
    let claims = claims(&provider);
    let type_name = provider.kind.name.to_owned();
    let document = NewDocument { kind, name, text, type_name, uses, claims, withheld: false };
    Ok(Checked { document, provider })
}

/// The document's name, and the texts of those that it falls back to.
async fn beside(
    api: &Api,
    project: &str,
    kind: DocumentKind,
    glance: Glance,
) -> Answer<(String, Vec<(String, String)>)> {
    let name = glance.metadata.name;
    let mut others = Vec::new();
    if kind == DocumentKind::ModelProvider {
        for fallback in glance.spec.fallbacks.iter().take(FALLBACKS).filter(|other| **other != name) {
            let found = api.registry.document(project, kind, fallback).await?;
            others.extend(found.map(|row| (row.document.name, row.document.text)));
        }
    }
    Ok((name, others))
}

fn ours(loaded: &Loaded, kind: DocumentKind, name: &str) -> Option<Arc<Provider>> {
    let is_ours = |one: &&Arc<Provider>| {
        *one.name == *name && one.model.is_some() == (kind == DocumentKind::ModelProvider)
    };
    loaded.providers.iter().find(is_ours).cloned()
}

/// The provider of a document that has no mistakes, and whose tests pass.
fn tested(
    (api, project, name, text): &(Api, String, String, String),
    kind: DocumentKind,
    others: &[(String, String)],
) -> Answer<Arc<Provider>> {
    let loaded = load(api, project, kind, name, text, others)?;
    let provider = ours(&loaded, kind, name)
        .ok_or_else(|| Problem::new(Code::Dw6016, "the document is none of this kind"))?;
    run_tests(&loaded, &provider)?;
    Ok(provider)
}

fn load(
    api: &Api,
    project: &str,
    kind: DocumentKind,
    name: &str,
    text: &str,
    others: &[(String, String)],
) -> Answer<Loaded> {
    let kind = kind_name(kind);
    let mut given = vec![Given { label: "document", project, kind, name, text }];
    given.extend(others.iter().map(|(name, text)| Given { label: name, project, kind, name, text }));
    provider::load_beside(&[], &given, api.schemes, &|_, _| Ok(())).map_err(|mistakes| {
        let errors = mistakes.iter().take(MISTAKES).map(ToString::to_string).collect();
        Problem::new(Code::Dw6016, "the document has mistakes").with_errors(errors)
    })
}

fn run_tests(loaded: &Loaded, provider: &Arc<Provider>) -> Answer<()> {
    let own = loaded.tests.iter().filter(|case| Arc::ptr_eq(&case.provider, provider));
    let failed: Vec<String> = own
        .filter_map(|case| {
            case.run().err().map(|failed| format!("document:{}: {}", case.line, outcome(&failed)))
        })
        .take(MISTAKES)
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Problem::new(Code::Dw6016, "tests of the document fail").with_errors(failed))
}

/// What came out, without the names that the document gave.
fn outcome(failed: &Failed) -> &'static str {
    match (&failed.wanted_rule, failed.expect) {
        (Some(_), _) => "another rule than the one expected settled it",
        (None, Expect::Allow) => "expected allow, it was not",
        (None, Expect::Deny) => "expected deny, it was not",
        (None, Expect::Ask) => "expected ask, it was not",
    }
}

fn check_hosts(provider: &Provider, row: &SecretRow) -> Answer<()> {
    let facts = SecretFacts {
        keys: row.keys.iter().map(|(key, _)| key.clone()).collect(),
        version: row.version.into(),
        bound_hosts: row.hosts.as_ref().map(|hosts| hosts.split(',').map(str::to_owned).collect()),
        expires: row.expires,
    };
    let beyond = facts.beyond(provider);
    if beyond.is_empty() {
        return Ok(());
    }
    // By its place: a host that the document gave may be anything.
    let place = |host: &HostPattern| match provider.hosts.iter().position(|own| own == host) {
        Some(at) => format!("host {} of the document is not among them", at + 1),
        None => "a token endpoint is not among them".to_owned(),
    };
    let detail = format!("secret {} is not bound to all hosts of the document", row.name);
    Err(Problem::new(Code::Dw6016, detail).with_errors(beyond.into_iter().map(place).collect()))
}

/// What no two documents of one agent may both have: a host, and for model providers the vendor.
fn claims(provider: &Provider) -> Vec<String> {
    let mut claims: BTreeSet<String> = provider.hosts.iter().map(|host| format!("host:{host}")).collect();
    // Several gateways of these kinds are told apart by their hosts.
    let is_vendor = provider.model.is_some() && !provider.kind.hosts.is_empty();
    if is_vendor {
        claims.insert(format!("model:{}", provider.kind.name));
    }
    claims.into_iter().collect()
}

/// What a change of a document does that somebody has to look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    /// It sends a secret elsewhere, another way, or another secret.
    pub(super) moves: bool,
    /// It gives another meaning to what asks people: a rule that allows may stand where one asked.
    pub(super) answers: bool,
}

/// Compares with what was stored. A document that can no longer be read counts as changed in every way.
pub(super) async fn change(api: &Api, project: &str, before: &Document, after: &Checked) -> Answer<Change> {
    let old = &before.document;
    let glance = serde_saphyr::from_str(&old.text).unwrap_or_default();
    let (_, others) = beside(api, project, old.kind, glance).await?;
    let loaded = load(api, project, old.kind, &old.name, &old.text, &others).ok();
    let Some(provider) = loaded.and_then(|loaded| ours(&loaded, old.kind, &old.name)) else {
        return Ok(Change { moves: true, answers: true });
    };
    Ok(Change {
        moves: destination::of(&provider) != destination::of(&after.provider),
        answers: provider.policy.asks() && provider.digest != after.provider.digest,
    })
}
