//! The `auth` block: which secret, where it is put, what the agent holds instead.
//!
//! Refuses values where the name of a secret belongs, fields that the auth type does not have, and hosts that the
//! provider does not cover.

use http::HeaderName;

use super::build::{Ground, Ids, headers};
use super::client_cert::{self, MTLS};
use super::dummy;
use super::fields::{self, Given};
use super::report::{Report, shown_key, suggestion};
use super::schema::{auth_names, no_duplicates};
use super::tree::{Entry, Node, Value};
use super::{
    Auth, Injection, Mode, OnAgentCredential, Verify, caution, registry, role, settings, tokens, verify,
};
use crate::catalog::{FieldKind, Fields, SchemeSpec};
use crate::rule::HostPattern;
use crate::secret::{SecretName, SecretRef};
use crate::types::{self, AuthSpec, InjectionSpec, TypeSpec};

/// What an `auth` block gives.
pub(super) struct Built {
    pub(super) auth: Auth,
    pub(super) agent_env: Vec<(String, String)>,
    pub(super) verify: Option<Verify>,
}

/// An auth type: of a built-in type, or of the scheme table.
#[derive(Clone, Copy)]
pub(super) enum Chosen<'a> {
    Own(&'static AuthSpec),
    Scheme(&'static str, &'a SchemeSpec),
}

const PLAIN_DUMMY: &str = "{rand:40}";

pub(super) fn build(
    node: &Node,
    kind: &'static TypeSpec,
    ids: &Ids,
    hosts: &[HostPattern],
    mode: Mode,
    ground: Ground<'_>,
    report: &mut Report<'_>,
) -> Option<Built> {
    let secret = secret(node, ids, report);
    let chosen = choose(node, kind, ground, report);
    let remove = headers(node.field("removeHeaders"), report);
    let (chosen, secret) = (chosen?, secret?);
    let injections = match node.field("inject") {
        Some(list) => {
            refuse_type_fields(node, ground, report);
            tokens::refuse_exchange(chosen, list, ground, report);
            list.items().iter().filter_map(|entry| entry_injection(entry, hosts, ground, report)).collect()
        }
        None => type_injections(node, chosen, hosts, kind, ground, report),
    };
    let (dummies, mut agent_env) = if chosen.name() == MTLS {
        client_cert::refuse_unread(node, report);
        Dummies::default()
    } else {
        dummies(node, chosen, ids, report)?
    };
    settings::add_settings(&injections, &mut agent_env);
    let dummy = dummies.first().map_or("", String::as_str);
    for (name, value) in ground.variant.iter().flat_map(|one| one.env(dummy)) {
        agent_env.retain(|(other, _)| *other != name);
        agent_env.push((name, value));
    }
    let own = kind.verify_of(chosen.name());
    let verify = verify::build(node, own, hosts, mode, dummy, ground, report);
    // An installation is no user.
    let verify = verify.map(|own| {
        let of_installation = chosen.name() == "github-app" && node.field("verify").is_none();
        let user = own.path_and_query;
        let base = user.strip_suffix("/user").unwrap_or_default();
        let path = if of_installation { [base, "/installation/repositories"].concat() } else { user.clone() };
        Verify { path_and_query: path, ..own }
    });
    let keys = match node.text_of("secretKey") {
        Some(key) => vec![key.to_owned()],
        None => chosen.keys().iter().map(|key| (*key).to_owned()).collect(),
    };
    tokens::refuse_issued_key(node, &injections, report);
    let mut remove_headers = remove;
    remove_headers.extend(
        chosen.own().into_iter().flat_map(|own| own.remove_headers).map(|name| HeaderName::from_static(name)),
    );
    role::check(&injections, hosts, ground.config, node, report);
    let token_urls = tokens::token_urls(&injections, ground);
    let auth = Auth {
        token_urls,
        auth_type: chosen.name().into(),
        secret,
        keys,
        injections,
        on_agent_credential: on_agent_credential(node),
        dummies,
        remove_headers,
        remove_params: chosen.own().map_or(&[], |own| own.remove_params),
        public_prefixes: chosen.own().map_or(&[], |own| own.public_prefixes),
    };
    Some(Built { auth, agent_env, verify })
}

impl<'a> Chosen<'a> {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Own(own) => own.name,
            Self::Scheme(auth_type, _) => auth_type,
        }
    }

    fn own(self) -> Option<&'static AuthSpec> {
        if let Self::Own(own) = self { Some(own) } else { None }
    }

    fn keys(self) -> &'a [&'static str] {
        match self {
            Self::Own(own) => own.keys,
            Self::Scheme(_, scheme) => scheme.default_keys,
        }
    }
}

pub(super) fn secret(node: &Node, ids: &Ids, report: &mut Report<'_>) -> Option<SecretRef> {
    let node = node.field("secretRef")?;
    let text = node.text()?;
    let name = text.parse::<SecretName>().ok().filter(|_| !looks_like_a_value(text));
    if name.is_none() {
        report.mistake(node.at, "`secretRef` is the name of a secret (`github-pat`), never its value; if this was a value, treat it as leaked: rotate it");
    }
    Some(SecretRef { project: ids.project.clone(), name: name? })
}

/// A token that happens to have a name's grammar.
fn looks_like_a_value(text: &str) -> bool {
    let prefixes = types::ALL.iter().flat_map(|kind| kind.auth).flat_map(|auth| auth.public_prefixes);
    let prefixed = prefixes.filter(|prefix| prefix.len() >= 3).any(|prefix| text.starts_with(prefix));
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    (prefixed && text.len() >= 20) || text.len() > 100 || (text.len() >= 32 && digits >= 8)
}

fn on_agent_credential(node: &Node) -> OnAgentCredential {
    match node.text_of("onAgentCredential") {
        Some("placeholder-only") => OnAgentCredential::PlaceholderOnly,
        Some("reject") => OnAgentCredential::Reject,
        Some(_) | None => OnAgentCredential::Replace,
    }
}

fn choose<'a>(
    node: &Node,
    kind: &'static TypeSpec,
    ground: Ground<'a>,
    report: &mut Report<'_>,
) -> Option<Chosen<'a>> {
    let written = node.field("type").filter(|node| node.text().is_some());
    let name = written.and_then(Node::text);
    let found = if kind.auth.is_empty() {
        let wanted = name.unwrap_or("api-key");
        ground.schemes.iter().find_map(|scheme| {
            let auth_type = scheme.auth_types.iter().find(|auth_type| **auth_type == wanted)?;
            Some(Chosen::Scheme(auth_type, scheme))
        })
    } else {
        let own = name.map_or(kind.auth.first(), |name| kind.auth.iter().find(|own| own.name == name));
        own.map(Chosen::Own)
    };
    if found.is_none() {
        let at = written.map_or(node.at, |node| node.at);
        report.mistake(at, unknown_auth_type(name, kind, ground));
    }
    found
}

fn unknown_auth_type(name: Option<&str>, kind: &TypeSpec, ground: Ground<'_>) -> String {
    let known: Vec<&str> = if kind.auth.is_empty() {
        ground.schemes.iter().flat_map(|scheme| scheme.auth_types.iter().copied()).collect()
    } else {
        kind.auth.iter().map(|own| own.name).collect()
    };
    let hint = suggestion(name.unwrap_or_default(), known.iter().copied());
    format!("type `{}` has no such auth type, it has {}{hint}", kind.name, known.join(", "))
}

/// With `inject` the auth type's own fields would do nothing.
fn refuse_type_fields(node: &Node, ground: Ground<'_>, report: &mut Report<'_>) {
    let names = auth_names(ground.schemes);
    for entry in node.entries().iter().filter(|entry| names.contains(&entry.key.as_str())) {
        report.mistake(
            entry.at,
            format!("`{}` does nothing beside `inject`, which replaces the auth type's way", entry.key),
        );
    }
}

fn type_injections(
    node: &Node,
    chosen: Chosen<'_>,
    hosts: &[HostPattern],
    kind: &TypeSpec,
    ground: Ground<'_>,
    report: &mut Report<'_>,
) -> Vec<Injection> {
    let own: &[&str] = &[];
    match chosen {
        Chosen::Own(auth) => {
            foreign_fields(node, own, auth.name, ground, report);
            own_injections(auth, hosts, kind, ground, node, report)
        }
        Chosen::Scheme(auth_type, scheme) => {
            let names: Vec<&str> = scheme.auth_fields.iter().map(|field| field.name).collect();
            foreign_fields(node, &names, auth_type, ground, report);
            exclude_param(node, report);
            let Some(fields) = fields::read(node, node.entries(), scheme.auth_fields, report) else {
                return Vec::new();
            };
            let injection = Injection { hosts: Vec::new(), scheme: scheme.name, fields };
            caution::warn(&injection, node, hosts, report);
            vec![injection]
        }
    }
}

/// A query parameter replaces the header.
fn exclude_param(node: &Node, report: &mut Report<'_>) {
    if node.field("param").is_none() {
        return;
    }
    for entry in node.entries().iter().filter(|entry| ["header", "prefix"].contains(&entry.key.as_str())) {
        report.mistake(entry.at, format!("`{}` cannot stand beside `param`", entry.key));
    }
}

fn foreign_fields(node: &Node, own: &[&str], auth_type: &str, ground: Ground<'_>, report: &mut Report<'_>) {
    let all = auth_names(ground.schemes);
    for entry in node.entries() {
        let key = entry.key.as_str();
        if all.contains(&key) && !own.contains(&key) {
            report.mistake(entry.at, format!("auth type `{auth_type}` has no field `{key}`"));
        }
    }
}

/// The type's own way; hosts of the file's own that the type does not know get its first entry.
fn own_injections(
    auth: &'static AuthSpec,
    hosts: &[HostPattern],
    kind: &TypeSpec,
    ground: Ground<'_>,
    node: &Node,
    report: &mut Report<'_>,
) -> Vec<Injection> {
    let filled = |text: &'static str| ground.variant.map_or(text.into(), |one| one.filled(text));
    let patterns = |hosts: &[&'static str]| -> Vec<HostPattern> {
        hosts.iter().filter_map(|host| HostPattern::parse_any_port(&filled(host)).ok()).collect()
    };
    let exchanges = auth.injections.iter().any(|one| tokens::exchanges(one.key, ground));
    let specs = ground.variant.and_then(|one| one.injections(auth.name)).unwrap_or(auth.injections);
    // A login's token is for the hosts of the login alone.
    let is_login = auth.name == types::OAUTH;
    let mut known = if ground.variant.is_some() || is_login { Vec::new() } else { patterns(kind.hosts) };
    if exchanges || ground.variant.is_some() {
        // A token is for the vendor's own hosts; another host that got one could use it there.
        known.extend(specs.iter().flat_map(|one| patterns(one.hosts)));
    }
    let foreign: Vec<HostPattern> =
        hosts.iter().filter(|host| !known.iter().any(|own| host.is_within(own))).cloned().collect();
    if exchanges && !foreign.is_empty() && !known.is_empty() {
        report.mistake(
            node.at,
            format!(
                "auth type `{}` gets tokens for the hosts of its vendor, and a host of this provider is none of them",
                auth.name
            ),
        );
    }
    let (mut injections, provider_hosts) = (Vec::new(), hosts);
    let mut add = |hosts: Vec<HostPattern>, spec: &'static InjectionSpec| match own_injection(spec, ground) {
        Some((scheme, mut fields)) => {
            settings::configure(&mut fields, scheme, ground, node, report);
            settings::narrow(&mut fields, scheme, ground);
            if scheme == "registry-token" {
                registry::fill(&mut fields, provider_hosts, node, report);
            }
            injections.push(Injection { hosts, scheme, fields });
        }
        None => report.mistake(node.at, format!("the data plane has no auth scheme `{}`", spec.key)),
    };
    for spec in specs {
        add(patterns(spec.hosts), spec);
    }
    if let Some(first) = specs.first().filter(|first| !first.hosts.is_empty() && !foreign.is_empty()) {
        add(foreign, first);
    }
    injections
}

fn own_injection(spec: &'static InjectionSpec, ground: Ground<'_>) -> Option<(&'static str, Fields)> {
    let scheme = ground.schemes.iter().find(|scheme| scheme.inject_key == Some(spec.key))?;
    let mut values = Fields::default();
    for field in scheme.inject_fields {
        let text =
            spec.fields.iter().find(|(name, _)| *name == field.name).map(|(_, text)| *text).or(field.default);
        let text = text.map(|text| ground.variant.map_or(text.into(), |one| one.filled(text)));
        if let Some(text) = text.as_deref() {
            let several = field.kind == FieldKind::Spots;
            let given = if several { Given::List(text.split(' ').collect()) } else { Given::Text(text) };
            values.0.insert(field.name, fields::value(field.kind, given).ok()?);
        }
    }
    Some((scheme.name, values))
}

/// One entry of `auth.inject`.
fn entry_injection(
    node: &Node,
    hosts: &[HostPattern],
    ground: Ground<'_>,
    report: &mut Report<'_>,
) -> Option<Injection> {
    let keyed =
        |entry: &&Entry| ground.schemes.iter().any(|scheme| scheme.inject_key == Some(entry.key.as_str()));
    let choosers: Vec<&Entry> = node.entries().iter().filter(keyed).collect();
    let known: Vec<&str> = ground.schemes.iter().filter_map(|scheme| scheme.inject_key).collect();
    let [chooser] = choosers.as_slice() else {
        report.mistake(node.at, format!("an entry of `inject` has exactly one of {}", known.join(", ")));
        return None;
    };
    let scheme = ground.schemes.iter().find(|scheme| scheme.inject_key == Some(chooser.key.as_str()))?;
    let own_hosts = entry_hosts(node, hosts, report);
    let siblings = node.entries().iter().filter(|entry| entry.key != "hosts" && entry.key != chooser.key);
    let (owner, entries): (&Node, Vec<Entry>) = if let Value::Map(inner) = &chooser.node.value {
        no_duplicates(&chooser.node, report);
        for entry in siblings {
            report.mistake(
                entry.at,
                format!("the field{} belongs inside `{}`", shown_key(&entry.key), chooser.key),
            );
        }
        (&chooser.node, inner.clone())
    } else {
        let first = scheme.inject_fields.first()?;
        let named = Entry { at: chooser.at, key: first.name.to_owned(), node: chooser.node.clone() };
        (node, std::iter::once(named).chain(siblings.cloned()).collect())
    };
    for entry in &entries {
        if !scheme.inject_fields.iter().any(|field| field.name == entry.key) {
            let hint = suggestion(&entry.key, scheme.inject_fields.iter().map(|field| field.name));
            report
                .mistake(entry.at, format!("`{}` has no field{}{hint}", chooser.key, shown_key(&entry.key)));
        }
    }
    let fields = fields::read(owner, &entries, scheme.inject_fields, report)?;
    let injection = Injection { hosts: own_hosts, scheme: scheme.name, fields };
    caution::warn(&injection, owner, hosts, report);
    Some(injection)
}

fn entry_hosts(node: &Node, hosts: &[HostPattern], report: &mut Report<'_>) -> Vec<HostPattern> {
    let mut patterns = Vec::new();
    let Some(list) = node.field("hosts") else { return patterns };
    if list.items().is_empty() {
        report.mistake(list.at, "`hosts` is empty, so nothing would be injected; leave it out for all hosts");
    }
    for node in list.items() {
        let Some(text) = node.text() else { continue };
        match HostPattern::parse_any_port(text) {
            Ok(pattern) if hosts.iter().any(|host| host.overlaps(&pattern)) => patterns.push(pattern),
            Ok(_) => report.mistake(node.at, "the provider does not cover this host"),
            Err(error) => report.mistake(node.at, format!("not a host: {error}")),
        }
    }
    patterns
}

type Dummies = (Vec<String>, Vec<(String, String)>);

fn dummies(node: &Node, chosen: Chosen<'_>, ids: &Ids, report: &mut Report<'_>) -> Option<Dummies> {
    let shape = chosen.own().map_or(PLAIN_DUMMY, |own| own.dummy);
    let make = |shape: &str, at, report: &mut Report<'_>| {
        dummy::make(shape, &ids.project, &ids.name)
            .map_err(|error| report.mistake(at, error.to_string()))
            .ok()
    };
    let placeholder = node.field("placeholder").filter(|node| node.text().is_some());
    let main = match placeholder {
        Some(own) => make(own.text().unwrap_or_default(), own.at, report),
        None => make(shape, node.at, report),
    };
    let main = main?;
    let mut dummies = vec![main.clone()];
    let mut env = Vec::new();
    match node.field("agentEnvVar") {
        Some(variable) => {
            add_variable(variable.text().unwrap_or_default(), &main, variable, &mut env, report)
        }
        None => env.extend(
            chosen.own().into_iter().flat_map(|own| own.env).map(|name| ((*name).to_owned(), main.clone())),
        ),
    }
    for entry in node.field("agentEnv").map_or(&[][..], Node::entries) {
        let shape = entry.node.field("placeholder").filter(|node| node.text().is_some());
        let value = match shape {
            Some(shape) => make(shape.text().unwrap_or_default(), shape.at, report),
            None => Some(main.clone()),
        };
        let Some(value) = value else { continue };
        add_variable(&entry.key, &value, &entry.node, &mut env, report);
        if !dummies.contains(&value) {
            dummies.push(value);
        }
    }
    Some((dummies, env))
}

fn add_variable(
    name: &str,
    value: &str,
    node: &Node,
    env: &mut Vec<(String, String)>,
    report: &mut Report<'_>,
) {
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !is_name {
        report.mistake(node.at, "not the name of an environment variable");
        return;
    }
    env.retain(|(other, _)| other != name);
    env.push((name.to_owned(), value.to_owned()));
}
