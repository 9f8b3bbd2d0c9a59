//! Built-in provider types: one file each, as data plus a resolver from request to action.
//!
//! A type says which hosts it is for, how its credential is put on, which dummies its libraries accept, which call tells
//! whether a credential works, and what a request does ([`Resolved`]). A request that no resolver knows is the action
//! `unknown`, which only `allow: ["*"]` lets through.

mod http_token;
mod github;
mod gitlab;
mod telegram;
mod slack;
mod openai;
mod anthropic;
mod gemini;
mod openrouter;
mod venice;
mod mistral;
mod groq;
mod pinata;
mod custom;
mod vllm;
mod azure_openai;
mod npm;
mod pypi;
mod docker_registry;
mod stripe;
mod sendgrid;
mod notion;
mod linear;
mod serper;
mod telnyx;
mod twilio;
mod aws;
mod gcp;
mod azure;
mod mcp;
mod login;
mod compatible;
mod graphql;
mod shapes;
mod read;
pub mod variant;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use http::{HeaderMap, Method};

use crate::mcp::Calls;
use crate::target::Host;

pub(crate) use docker_registry::service_of as registry_service;
pub use docker_registry::token_scope as registry_scope;
pub(crate) use gcp::agent_key_file as gcp_key_file;
pub use login::{DeviceSpec, LoginSpec, OAUTH, RedirectSpec};
pub(crate) use openai::codex_file;

/// Every type, in the order of the docs.
pub static ALL: &[&TypeSpec] = &[
    &http_token::SPEC,
    &github::SPEC,
    &gitlab::SPEC,
    &telegram::SPEC,
    &slack::SPEC,
    &openai::SPEC,
    &anthropic::SPEC,
    &gemini::SPEC,
    &openrouter::SPEC,
    &venice::SPEC,
    &mistral::SPEC,
    &groq::SPEC,
    &pinata::SPEC,
    &custom::SPEC,
    &vllm::SPEC,
    &azure_openai::SPEC,
    &npm::SPEC,
    &pypi::SPEC,
    &docker_registry::SPEC,
    &stripe::SPEC,
    &sendgrid::SPEC,
    &notion::SPEC,
    &linear::SPEC,
    &serper::SPEC,
    &telnyx::SPEC,
    &twilio::SPEC,
    &aws::SPEC,
    &gcp::SPEC,
    &azure::SPEC,
    &mcp::SPEC,
];

/// The type of this name.
pub fn by_name(name: &str) -> Option<&'static TypeSpec> {
    ALL.iter().find(|kind| kind.name == name).copied()
}

/// A built-in provider type.
#[derive(Debug)]
pub struct TypeSpec {
    /// As written in `spec.type`.
    pub name: &'static str,
    /// One sentence for the docs.
    pub summary: &'static str,
    /// The hosts where the file names none; empty: the file has to name some.
    pub hosts: &'static [&'static str],
    /// Its auth types, the default first; empty: any that the scheme table offers (http-token).
    pub auth: &'static [AuthSpec],
    /// What its requests can do.
    pub actions: Actions,
    /// The `scope` field that it can check, if it has one.
    pub scope: Option<&'static str>,
    /// The call that tells whether a credential works.
    pub verify: Option<VerifySpec>,
    /// What a request does.
    pub resolve: for<'a> fn(&Ask<'a>) -> Resolved<'a>,
}

/// One auth type of a built-in type: how its credential is put on, as data.
#[derive(Debug)]
pub struct AuthSpec {
    /// As written in `auth.type`.
    pub name: &'static str,
    /// The secret's keys to look for where `secretKey` is not given, in this order.
    pub keys: &'static [&'static str],
    /// Where it is put; the first that covers the host. Hosts of the file's own get the first entry.
    pub injections: &'static [InjectionSpec],
    /// The public prefixes of its values.
    pub public_prefixes: &'static [&'static str],
    /// Agent headers that must not go upstream beside the injected one (lower case).
    pub remove_headers: &'static [&'static str],
    /// Query parameters that must not go upstream beside the injected header.
    pub remove_params: &'static [&'static str],
    /// The shape of its dummy: text with `{rand:N}`.
    pub dummy: &'static str,
    /// The variables in which its libraries look for the credential.
    pub env: &'static [&'static str],
}

impl AuthSpec {
    /// The keys that its secret needs beside the credential's own: those that its templates name, and Basic's `username`
    /// where they name none.
    pub fn other_keys(&self) -> impl Iterator<Item = &'static str> {
        let named = self.injections.iter().flat_map(|one| one.fields).filter_map(|(_, text)| {
            let (_, after) = text.split_once("{{")?;
            after.split_once("}}").map(|(key, _)| key).filter(|key| *key != "token")
        });
        let basic =
            self.injections.iter().filter(|one| one.key == "basic" && one.field("username").is_none());
        let signing: &[&'static str] = match self.name {
            "github-app" => &["app_id", "installation_id"],
            "azure-client-credentials" => &["client_id"],
            "token-service" => &["username"],
            _ if self.injections.iter().any(|one| one.field("accountHeader").is_some()) => &["account_id"],
            _ => &[],
        };
        named.chain(basic.map(|_| "username")).chain(signing.iter().copied())
    }

    /// What of the agent's does not go upstream beside the credential: headers, and parameters with a `?`.
    pub fn removed(&self) -> Vec<String> {
        let params = self.remove_params.iter().map(|name| format!("?{name}"));
        self.remove_headers.iter().map(|name| (*name).to_owned()).chain(params).collect()
    }
}

/// One use of a scheme, as it would stand in `auth.inject`.
#[derive(Debug)]
pub struct InjectionSpec {
    /// The hosts; empty: all of the type's.
    pub hosts: &'static [&'static str],
    /// The key that chooses the scheme (`header`, `basic`, `placeholder`).
    pub key: &'static str,
    /// Its fields by name.
    pub fields: &'static [(&'static str, &'static str)],
}

impl InjectionSpec {
    /// The text of a field.
    pub fn field(&self, name: &str) -> Option<&'static str> {
        self.fields.iter().find(|(own, _)| *own == name).map(|(_, text)| *text)
    }
}

/// As `header authorization: Bearer {{token}} (on api.github.com)`.
impl fmt::Display for InjectionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = |name| self.field(name).unwrap_or_default();
        match self.key {
            "header" => write!(f, "header {}: {}", field("header"), field("template"))?,
            "basic" => {
                let user = self.field("username").unwrap_or("{{username}}");
                write!(f, "Basic {user}:{}", field("password"))?;
            }
            "placeholder" => write!(f, "in place of the dummy in {}", field("in").replace(' ', ", "))?,
            other => {
                f.write_str(other)?;
                for (name, value) in self.fields {
                    match *name {
                        "template" => write!(f, " {value}")?,
                        name => write!(f, " {name} {value}")?,
                    }
                }
            }
        }
        if self.hosts.is_empty() { Ok(()) } else { write!(f, " (on {})", self.hosts.join(", ")) }
    }
}

/// What a type's requests can do.
#[derive(Clone, Copy, Debug)]
pub enum Actions {
    /// Its requests are not told apart: only httpRules and `["*"]` apply.
    None,
    /// Exactly these.
    Listed(&'static [&'static str]),
    /// The vendor's methods: these are known, others are taken by name.
    Open(&'static [&'static str]),
}

impl Actions {
    /// The known names.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::Listed(names) | Self::Open(names) => names,
        }
    }
}

/// The call that tells whether a credential works.
#[derive(Debug)]
pub struct VerifySpec {
    /// The method.
    pub method: &'static str,
    /// The absolute URL; `{dummy}` stands for the provider's dummy, `{host}` for its first host that is no wildcard.
    pub url: &'static str,
    /// Headers that the vendor asks for; `{dummy}` stands for the provider's dummy.
    pub headers: &'static [(&'static str, &'static str)],
    /// Its JSON body.
    pub body: Option<&'static str>,
    /// The status of a credential that works.
    pub expect: u16,
    /// What its answer holds beside, where the vendor answers every call with that status.
    pub says: Option<&'static str>,
}

/// What a resolver may look at.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Where the request goes.
    pub host: &'a Host,
    /// The method.
    pub method: &'a Method,
    /// The canonical path, or a wide form of it when deny rules and scope read widely.
    pub path: &'a str,
    /// The raw query.
    pub query: Option<&'a str>,
    /// The body, where it was read because it may say what the request does ([`TypeSpec::reads`]).
    pub body: Option<Told<'a>>,
    /// The headers.
    pub headers: &'a HeaderMap,
}

impl<'a> Ask<'a> {
    /// The body, where it is a form.
    pub(crate) fn form(&self) -> Option<&'a str> {
        match self.body {
            Some(Told::Form(form)) => Some(form),
            Some(Told::Json(_) | Told::Calls(_)) | None => None,
        }
    }
}

/// A body that was read whole because it may say what its request does.
#[derive(Clone, Copy, Debug)]
pub enum Told<'a> {
    /// A form.
    Form(&'a str),
    /// A JSON text, which nobody has parsed yet.
    Json(&'a str),
    /// The messages for an MCP server.
    Calls(&'a Calls),
}

/// How a body has to be read before the resolver can judge its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// As a form, if it says that it is one; other bodies pass unread.
    Form,
    /// As parameters: a form or a JSON text, where its length is known and it is not too long. Others pass unread, and the
    /// request is judged without them, as one that could do more.
    Parameters,
    /// As messages of JSON-RPC, whatever it says that it is.
    Calls,
}

/// What a request does, in the terms of its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved<'a> {
    /// The action.
    pub action: Cow<'static, str>,
    /// What it does beside, by its headers (an ACL that comes with an object): all of it has to be allowed, and none denied.
    pub also: Vec<&'static str>,
    /// What it does it to.
    pub resource: Resource<'a>,
    /// Whether the request tells what it does.
    pub clarity: Clarity,
}

/// What a request acts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    /// Nothing that a scope could name.
    None,
    /// These, separated by commas.
    Named(&'a str),
    /// These, each whole, as the vendor writes them (ARNs).
    Arns(Vec<String>),
    /// Something that the request line does not show (it is in the body, or it is many): refused where a scope is set.
    Hidden,
}

/// Whether a request line tells what the request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clarity {
    /// It does.
    Clear,
    /// The body could hold any action (GraphQL): where a `deny` list stands, `allow: ["*"]` is not enough, the action
    /// has to be allowed by its own name.
    Opaque,
}

/// The action of a request that the resolver does not know.
pub const UNKNOWN: &str = "unknown";

impl TypeSpec {
    /// The field that names the hosts of a type without its own.
    pub fn hosts_from(&self) -> &'static str {
        if std::ptr::eq(self, &raw const mcp::SPEC) { "spec.mcp.url" } else { "spec.host" }
    }

    /// Whether some of its requests say what they do in their bodies.
    pub fn reads_bodies(&self) -> bool {
        [&raw const aws::SPEC, &raw const mcp::SPEC, &raw const slack::SPEC]
            .contains(&std::ptr::from_ref(self))
            || self.speaks_graphql()
    }

    /// How the body has to be read, if what this request does may stand in it: the resolver then wants it.
    pub fn reads(&self, ask: &Ask<'_>) -> Option<Reading> {
        if std::ptr::eq(self, &raw const mcp::SPEC) {
            return Some(Reading::Calls);
        }
        if std::ptr::eq(self, &raw const aws::SPEC) {
            return aws::reads_form(ask).then_some(Reading::Form);
        }
        let is_graphql = || (self.resolve)(ask).action == graphql::MUTATION;
        let tells = match self.speaks_graphql() {
            true => *ask.method == Method::POST && is_graphql(),
            false => std::ptr::eq(self, &raw const slack::SPEC) && slack::tells_channel(ask),
        };
        tells.then_some(Reading::Parameters)
    }

    fn speaks_graphql(&self) -> bool {
        [&raw const github::SPEC, &raw const gitlab::SPEC].contains(&std::ptr::from_ref(self))
    }

    /// Whether the vendor compares actions without regard to case, so that what is denied is denied in any (IAM).
    pub(crate) fn denies_in_any_case(&self) -> bool {
        std::ptr::eq(self, &raw const aws::SPEC)
    }
}

impl TypeSpec {
    /// The hosts that its secret is bound to: its own, and where its tokens are given.
    pub fn bound_hosts(&self) -> Vec<&'static str> {
        let login = self.ignores_case().then_some(azure::LOGIN);
        self.hosts.iter().copied().chain(login).collect()
    }

    /// Whether the vendor compares the names of its actions without regard to case.
    pub fn ignores_case(&self) -> bool {
        std::ptr::eq(self, &raw const azure::SPEC)
    }

    /// A pattern of `scope.resources` in the form in which the resolver names resources; `Err` is what was expected.
    pub fn resource_pattern(&self, text: &str) -> Result<String, &'static str> {
        let (is_pattern, expected) = match self.name {
            "gcp" => (
                text.starts_with("projects/"),
                "not a resource name such as `projects/_/buckets/acme/objects/*` or `projects/acme/topics/*`",
            ),
            "azure" => (
                text.starts_with("/subscriptions/") || text.starts_with("https://"),
                "not a resource id such as `/subscriptions/ID/resourceGroups/NAME/*`, nor a URL such as `https://acme.blob.core.windows.net/logs/*`",
            ),
            // IAM's own patterns have more, which would be taken literally here.
            _ => (
                text.starts_with("arn:") && !text.contains('?') && !text.contains("${"),
                "not an ARN pattern such as `arn:aws:s3:::bucket/*`; `*` is the only wildcard",
            ),
        };
        let fits = (text == "*" || is_pattern) && text.bytes().all(|b| b.is_ascii_graphic() || !b.is_ascii());
        if !fits {
            return Err(expected);
        }
        // Azure minds case in the names of blobs alone.
        let is_blob = text.starts_with("https://") && text.contains(".blob.core.");
        let has_case = !self.ignores_case() || is_blob;
        Ok(if has_case { text.to_owned() } else { text.to_ascii_lowercase() })
    }
}

impl Resolved<'_> {
    /// A clear action on nothing that a scope could name.
    pub(crate) fn free(action: &'static str) -> Self {
        Self { resource: Resource::None, ..Self::hidden(action) }
    }

    /// A clear action on something that the request line does not show.
    pub(crate) const fn hidden(action: &'static str) -> Self {
        Self {
            action: Cow::Borrowed(action),
            also: Vec::new(),
            resource: Resource::Hidden,
            clarity: Clarity::Clear,
        }
    }

    /// A request that is not known; what it acts on is not known either.
    pub(crate) const fn unknown() -> Self {
        Self::hidden(UNKNOWN)
    }
}
