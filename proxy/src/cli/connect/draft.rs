//! What is to be made: the provider file, as it would be written by hand, and the secret that it needs.
//!
//! The file goes through the same checks as any other; what they say is told with the flag that mends it.

use std::sync::Arc;

use control::catalog::{FieldSpec, SchemeSpec};
use control::cli::vault::{ask, not_found, project};
use control::cli::{Env, Exit, Failure};
use control::provider::{self, Provider};
use control::secret::SecretName;
use control::token_url::TokenUrl;
use control::types::{self, AuthSpec, TypeSpec};
use control::vault::BoundHosts;
use serde_json::Value;

use super::{Connect, failed, usage};

/// A provider and its secret, not yet made.
#[derive(Debug)]
pub(super) struct Draft {
    /// The provider's name.
    pub(super) name: String,
    /// The secret's.
    pub(super) secret: SecretName,
    /// The keys that the secret needs, each with its other names.
    pub(super) keys: Vec<Vec<String>>,
    /// The provider file.
    pub(super) text: String,
    /// That of the trial, which may make the call that tells whether the credential works.
    pub(super) trial: String,
    /// The provider as run.
    pub(super) provider: Arc<Provider>,
    /// What the secret is bound to.
    pub(super) hosts: BoundHosts,
}

impl Draft {
    /// Drafts what the flags say; asks for what is missing.
    pub(super) fn of(connect: &Connect, env: &Env) -> Result<Self, Failure> {
        let kind = types::by_name(&connect.kind).ok_or_else(|| unknown(&connect.kind))?;
        let mut spec = Tree::default();
        spec.put("type", kind.name.into());
        let place = place(connect, kind, env, &mut spec)?;
        let name = match (&connect.name, kind.hosts.is_empty()) {
            (Some(name), _) => name.clone(),
            (None, false) => kind.name.to_owned(),
            (None, true) => place,
        };
        let auth = auth(connect, kind, env)?;
        if let Some(written) = &connect.auth {
            spec.put("auth.type", written.as_str().into());
        }
        let mut keys = auth.keys(connect);
        let is_login = connect.login.oauth;
        if is_login {
            keys.retain(|group| !group.iter().any(|key| super::login::KEYS.contains(&key.as_str())));
        }
        let secret = match &connect.secret {
            Some(secret) => secret.clone(),
            None => secret_name(&name, if is_login { "login" } else { auth.own_key() })?,
        };
        spec.put("auth.secretRef", secret.as_str().into());
        auth.ask(connect, env, &mut spec)?;
        if let Some(login) = kind.login().filter(|_| is_login) {
            // What the subscription is for; the account behind it is larger.
            spec.put("policy.allow", login.allow.to_vec().into());
        }
        fill(connect, &mut spec)?;
        let text = file(&name, project(env)?, &spec);
        // No agent reaches the trial's proxy: what agents may do shall not keep our own call from being made.
        spec.forget(&["policy", "scope"]);
        if let Some(login) = kind.login().filter(|_| is_login) {
            let more = (!login.allow.contains(&login.verify_action)).then_some(login.verify_action);
            let allow: Vec<&str> = login.allow.iter().copied().chain(more).collect();
            spec.put("policy.allow", allow.into());
        }
        let trial = file(&name, project(env)?, &spec);
        let provider = load(&name, &text, env)?;
        let is_own = provider.auth.as_ref().is_some_and(|auth| auth.secret.name == secret);
        if !is_own || provider.kind.name != kind.name {
            return Err(usage("--set: the type and the secret's name have flags of their own"));
        }
        // Where a token is given for it, the secret goes as well.
        let issuers = provider.auth.iter().flat_map(|auth| &auth.token_urls).map(TokenUrl::host);
        let hosts: Vec<String> = provider.hosts.iter().chain(issuers).map(ToString::to_string).collect();
        let hosts = BoundHosts::of_type(&hosts).map_err(|error| failed(error.to_string()))?;
        Ok(Self { name, secret, keys, text, trial, provider, hosts })
    }
}

fn unknown(name: &str) -> Failure {
    not_found("type", name, types::ALL.iter().map(|kind| kind.name))
}

/// Where it goes to; returns the host for the provider's name.
fn place(connect: &Connect, kind: &TypeSpec, env: &Env, spec: &mut Tree) -> Result<String, Failure> {
    if kind.name == "mcp" {
        let url = match &connect.url {
            Some(url) => url.clone(),
            None => ask(env, "URL of the MCP server", "--url URL")?,
        };
        spec.put("mcp.url", url.as_str().into());
        let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        let host = rest.split(['/', ':', '?']).next().unwrap_or_default();
        return Ok(host.to_owned());
    }
    if connect.url.is_some() {
        return Err(usage(format!("--url: type `{}` has none; its hosts are given by --host", kind.name)));
    }
    let mut hosts = connect.host.clone();
    if hosts.is_empty() && kind.hosts.is_empty() {
        hosts.push(ask(env, "Host of the service", "--host HOST")?);
    }
    match hosts.as_slice() {
        [] => {}
        [one] => spec.put("host", one.as_str().into()),
        several => spec.put("hosts", several.to_vec().into()),
    }
    let first = hosts.first().map_or("", String::as_str);
    Ok(first.split(':').next().unwrap_or_default().trim_start_matches("*.").to_owned())
}

/// The chosen auth type.
enum Chosen {
    Own(&'static AuthSpec),
    Scheme(&'static SchemeSpec),
}

fn auth(connect: &Connect, kind: &'static TypeSpec, env: &Env) -> Result<Chosen, Failure> {
    let wanted = connect.auth.as_deref();
    if kind.auth.is_empty() {
        let name = wanted.unwrap_or("api-key");
        let scheme = env.schemes.iter().find(|scheme| scheme.auth_types.contains(&name)).copied();
        let known = env.schemes.iter().flat_map(|scheme| scheme.auth_types.iter().copied());
        return scheme.map(Chosen::Scheme).ok_or_else(|| not_found("auth type", name, known));
    }
    let own = match wanted {
        Some(name) => kind.auth.iter().find(|own| own.name == name),
        None => kind.auth.first(),
    };
    let known = kind.auth.iter().map(|own| own.name);
    own.map(Chosen::Own).ok_or_else(|| not_found("auth type", wanted.unwrap_or_default(), known))
}

impl Chosen {
    /// The keys that the secret has to have.
    fn keys(&self, connect: &Connect) -> Vec<Vec<String>> {
        let group = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
        let named = connect.set.iter().find_map(|pair| pair.strip_prefix("auth.secretKey="));
        let own_key = |keys: &[&str]| named.map_or_else(|| group(keys), |key| group(&[key]));
        match self {
            Self::Own(own) => {
                let mut keys = vec![own_key(own.keys)];
                keys.extend(own.other_keys().map(|key| vec![key.to_owned()]));
                if own.injections.iter().any(|one| one.key == "aws-sigv4") {
                    keys.insert(0, group(&["access_key_id"]));
                }
                keys
            }
            Self::Scheme(scheme) => {
                let mut keys: Vec<_> = beside(scheme.name).iter().map(|key| group(&[key])).collect();
                // A user may stand in the file as well.
                keys.retain(|key| !key.iter().any(|key| connect.sets(&format!("auth.{key}"))));
                if connect.sets("auth.clientId") {
                    keys.retain(|key| *key != ["client_id"]);
                }
                keys.push(own_key(scheme.default_keys));
                keys
            }
        }
    }

    /// The key of the credential itself.
    fn own_key(&self) -> &'static str {
        let keys = match self {
            Self::Own(own) => own.keys,
            Self::Scheme(scheme) => scheme.default_keys,
        };
        keys.first().copied().unwrap_or("token")
    }

    /// What it may be told beside the credential, with the block in which that stands.
    fn settings(&self, env: &Env) -> Vec<(&'static str, &'static FieldSpec)> {
        match self {
            Self::Scheme(scheme) => scheme.auth_fields.iter().map(|field| ("auth", field)).collect(),
            Self::Own(own) => {
                let is_own = |scheme: &&&'static SchemeSpec| {
                    scheme.inject_key.is_some_and(|key| own.injections.iter().any(|one| one.key == key))
                };
                let fields = env.schemes.iter().filter(is_own).flat_map(|scheme| scheme.inject_fields);
                fields.filter(|field| field.kind.is_setting()).map(|field| ("config", field)).collect()
            }
        }
    }

    /// Asks for what has to be told.
    fn ask(&self, connect: &Connect, env: &Env, spec: &mut Tree) -> Result<(), Failure> {
        for (block, field) in
            self.settings(env).into_iter().filter(|(_, field)| field.required && field.default.is_none())
        {
            let path = format!("{block}.{}", field.name);
            if !connect.sets(&path) {
                let value = ask(env, field.doc.trim_end_matches('.'), &format!("--set {path}=VALUE"))?;
                spec.put(&path, value.into());
            }
        }
        Ok(())
    }
}

/// The keys that a scheme needs before its credential's own.
fn beside(scheme: &str) -> &'static [&'static str] {
    match scheme {
        "basic" | "digest" => &["username"],
        "oauth2-client-credentials" | "oauth2-refresh" => &["client_id"],
        "mtls" => &["tls.key"],
        _ => &[],
    }
}

/// `openai-api-key`
fn secret_name(provider: &str, key: &str) -> Result<SecretName, Failure> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['.', '_'], "-");
    let name = format!("{}-{}", plain(provider), plain(key));
    name.parse().map_err(|_| usage(format!("`{name}` is no name of a secret; give --secret NAME")))
}

/// What the other flags say.
fn fill(connect: &Connect, spec: &mut Tree) -> Result<(), Failure> {
    if let Some(url) = &connect.verify {
        spec.put("auth.verify.url", url.as_str().into());
    }
    if let Some(path) = &connect.upstream_ca {
        let path = std::path::absolute(path).map_err(|error| failed(error.to_string()))?;
        spec.put("tls.upstreamCA", path.to_string_lossy().into());
    }
    if !connect.allow_cidr.is_empty() {
        let ranges: Vec<String> = connect.allow_cidr.iter().map(ToString::to_string).collect();
        spec.put("network.allowCIDRs", ranges.into());
    }
    for pair in &connect.set {
        let is_path = |path: &str| {
            !path.is_empty()
                && path
                    .split('.')
                    .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric()))
        };
        let Some((path, text)) = pair.split_once('=').filter(|(path, _)| is_path(path)) else {
            return Err(usage("--set FIELD=VALUE: the field is written `config.region`"));
        };
        // Lists, maps, numbers and truths as JSON has them; all else is text.
        let value = serde_json::from_str(text).ok().filter(|value: &Value| !value.is_null());
        spec.put(path, value.unwrap_or_else(|| text.into()));
    }
    Ok(())
}

fn file(name: &str, project: &str, spec: &Tree) -> String {
    let mut whole = Tree::default();
    whole.put("apiVersion", "doorward.dev/v1alpha1".into());
    whole.put("kind", "Provider".into());
    whole.put("metadata.name", name.into());
    if project != "default" {
        whole.put("metadata.namespace", project.into());
    }
    let mut text = String::new();
    whole.write(0, &mut text);
    text.push_str("spec:\n");
    spec.write(1, &mut text);
    text
}

fn load(name: &str, text: &str, env: &Env) -> Result<Arc<Provider>, Failure> {
    let shown = format!("{name}.yaml");
    let loaded = provider::parse_text(&shown, text, env.schemes).map_err(|mistakes| {
        let lines: Vec<String> = mistakes.iter().map(|mistake| mistake.message.clone()).collect();
        Failure::new(
            Exit::Usage,
            format!("the provider would not do: {} (--set FIELD=VALUE fills its fields)", lines.join("; ")),
        )
    })?;
    loaded.providers.into_iter().next().ok_or_else(|| failed("no provider was made"))
}

/// A YAML map in the order in which it was filled.
#[derive(Debug, Default)]
struct Tree(Vec<(String, Node)>);

#[derive(Debug)]
enum Node {
    Leaf(Value),
    Map(Tree),
}

impl Tree {
    /// Sets the value at a path such as `auth.type`.
    fn put(&mut self, path: &str, value: Value) {
        let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
        let at = self.0.iter().position(|(own, _)| own == key).unwrap_or_else(|| {
            self.0.push((key.to_owned(), Node::Leaf(Value::Null)));
            self.0.len() - 1
        });
        let Some((_, node)) = self.0.get_mut(at) else { return };
        match rest {
            None => *node = Node::Leaf(value),
            Some(rest) => {
                if let Node::Leaf(_) = node {
                    *node = Node::Map(Self::default());
                }
                if let Node::Map(inner) = node {
                    inner.put(rest, value);
                }
            }
        }
    }

    /// Leaves out these fields.
    fn forget(&mut self, names: &[&str]) {
        self.0.retain(|(own, _)| !names.contains(&own.as_str()));
    }

    fn write(&self, depth: usize, text: &mut String) {
        for (key, node) in &self.0 {
            text.push_str(&"  ".repeat(depth));
            text.push_str(key);
            match node {
                Node::Leaf(value) => {
                    text.push_str(": ");
                    text.push_str(&scalar(value));
                    text.push('\n');
                }
                Node::Map(inner) => {
                    text.push_str(":\n");
                    inner.write(depth + 1, text);
                }
            }
        }
    }
}

/// JSON is YAML; plain words go without quotes, as people write them.
fn scalar(value: &Value) -> String {
    const WORDS: [&str; 8] = ["true", "false", "null", "yes", "no", "on", "off", "y"];
    let Value::String(text) = value else { return value.to_string() };
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'/'))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    if is_plain { text.clone() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use control::cli::{Globals, Output};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        connect: Connect,
    }

    fn drafted(words: &[&str]) -> Result<Draft, Failure> {
        let globals = Globals { no_input: true, ..Globals::default() };
        let env = Env {
            vars: Default::default(),
            globals,
            schemes: crate::schemes::specs(),
            output: Output,
            tls: control::cli::no_tls,
            browse: control::cli::no_browser,
        };
        let line = Line::try_parse_from([&["connect"], words].concat()).unwrap();
        Draft::of(&line.connect, &env)
    }

    #[test]
    fn refuses_to_draft_another_type_or_another_secret_than_is_made() {
        for set in ["type=github", "auth.secretRef=other", "auth={\"secretRef\": \"other\"}"] {
            let failure = drafted(&["openai", "--set", set]).unwrap_err();
            assert!(failure.exit == Exit::Usage && failure.message.contains("--set"), "{set}: {failure}");
        }
        assert!(drafted(&["openai", "--name", "../openai"]).is_err());
    }

    #[test]
    fn every_type_is_drafted_from_its_name_and_its_place() {
        for kind in types::ALL {
            let more: &[&str] = match kind.name {
                "mcp" => &["--url", "https://a.example.com/mcp"],
                "azure" => &["--set", "config.tenantId=contoso"],
                _ if kind.hosts.is_empty() => &["--host", "a.example.com"],
                _ => &[],
            };
            let words = [&[kind.name], more].concat();
            let draft = drafted(&words).unwrap_or_else(|failure| panic!("{}: {failure}", kind.name));
            assert!(
                !draft.keys.is_empty() && draft.keys.iter().all(|group| !group.is_empty()),
                "{}",
                kind.name
            );
            assert_eq!(draft.provider.verify.is_some(), kind.verify.is_some(), "{}", kind.name);
            assert_eq!(draft.provider.hosts_beyond(&[]).count(), draft.provider.hosts.len());
            for auth in kind.auth {
                let beside: &[&str] = match auth.name {
                    "token-service" => &["--set", "config.tokenService=https://a.example.com/token"],
                    "workload-identity" => &["--set", "config.subjectTokenFile=/run/tokens/one"],
                    _ => &[],
                };
                let named = drafted(&[&words[..], &["--auth", auth.name], beside].concat()).unwrap();
                assert_eq!(&*named.provider.auth.as_ref().unwrap().auth_type, auth.name);
            }
        }
    }

    #[test]
    fn a_file_reads_as_people_write_it() {
        let mut spec = Tree::default();
        spec.put("type", "http-token".into());
        spec.put("host", "api.example.com".into());
        spec.put("auth.secretRef", "api".into());
        spec.put("auth.prefix", "Bearer ".into());
        spec.put("auth.secretRef", "other".into());
        spec.put("limits.requestsPerMinute", 60.into());
        spec.put("policy.allow", vec!["*"].into());
        spec.put("auth.header", "no".into());
        assert_eq!(
            file("api", "team", &spec),
            "apiVersion: doorward.dev/v1alpha1\nkind: Provider\nmetadata:\n  name: api\n  namespace: team\nspec:\n  type: http-token\n  host: api.example.com\n  auth:\n    secretRef: other\n    prefix: \"Bearer \"\n    header: \"no\"\n  limits:\n    requestsPerMinute: 60\n  policy:\n    allow: [\"*\"]\n"
        );
    }

    #[test]
    fn a_secret_is_named_after_its_provider_and_key() {
        assert_eq!(secret_name("llm.example.com", "api-key").unwrap().as_str(), "llm-example-com-api-key");
        assert_eq!(secret_name("aws", "access_key_id").unwrap().as_str(), "aws-access-key-id");
        assert!(secret_name("*", "x").is_err());
    }
}
