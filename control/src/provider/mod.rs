//! Providers as run: what a Provider file means after it was parsed, validated and completed from its type.
//!
//! Config as typed (the file's schema) and config as run (this page) are two types: nothing here can be half valid.
//! [`load()`] makes the second from the first, or tells every mistake of every file at once.

mod amend;
mod digest;
mod load;
mod convert;
mod tree;
mod schema;
mod report;
mod build;
mod auth;
mod tokens;
mod role;
mod hosts;
mod config_schema;
mod registry;
mod settings;
mod caution;
mod client_cert;
mod model;
mod model_schema;
mod verify;
mod fields;
mod policy;
mod mcp;
mod cases;
mod budget;
pub mod dummy;
mod json_schema;
pub mod reference;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod load_tests;
#[cfg(test)]
mod variant_tests;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, Method};
use ipnet::IpNet;

use crate::agent::AgentName;
use crate::catalog::Fields;
use crate::mcp::Server;
use crate::model::ModelRules;
use crate::policy::Policy;
use crate::rule::HostPattern;
use crate::secret::SecretRef;
use crate::target::Target;
use crate::token_url::TokenUrl;
use crate::types::{self, TypeSpec};

pub(crate) use amend::{NewRule, allow_before};
pub use build::{METADATA_ADDRESSES, REMOVED_HEADERS, REMOVED_PREFIX, covers_only_metadata};
pub use cases::{Case, Expect, Failed};
pub use convert::convert;
pub use json_schema::{json_schema, kinds};
pub use load::{Gate, Given, Loaded, files, load, load_allowed, load_beside, parse_text};
pub use report::Mistake;

/// One provider as run.
#[derive(Debug)]
pub struct Provider {
    /// A digest of its document, the same wherever it is read.
    pub digest: [u8; 32],
    /// The project that it belongs to (`metadata.namespace`, default `default`).
    pub project: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Where it stands: `github.yaml:3`.
    pub source: Arc<str>,
    /// Its built-in type.
    pub kind: &'static TypeSpec,
    /// The hosts (with ports) that it covers.
    pub hosts: Vec<HostPattern>,
    /// The MCP server that it is, if it is one.
    pub mcp: Option<Server>,
    /// What happens inside its tunnels.
    pub mode: Mode,
    /// What is injected; `None`: the hosts are allowed and nothing is injected.
    pub auth: Option<Auth>,
    /// Rules, actions, scope.
    pub policy: Policy,
    /// Enforce, or log what would have been refused.
    pub enforcement: Enforcement,
    /// Rate and time limits.
    pub limits: RequestLimits,
    /// What is done to answers.
    pub response: ResponseRules,
    /// Agent headers that are kept although SECURITY.md removes them by default (`request.keepHeaders`).
    pub keep_headers: Vec<HeaderName>,
    /// How its upstream is reached and verified.
    pub upstream: UpstreamRules,
    /// `audit.logRequests`.
    pub log_requests: bool,
    /// The variables that the agent gets so that its libraries start, with their dummy values.
    pub agent_env: Vec<(String, String)>,
    /// The call that tells whether the credential works.
    pub verify: Option<Verify>,
    /// What a ModelProvider says beside; `None`: it is a Provider.
    pub model: Option<Arc<ModelRules>>,
}

/// The call that tells whether a credential works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verify {
    /// The method.
    pub method: Method,
    /// Its target, covered by the provider's hosts.
    pub target: Target,
    /// Path and query, from the slash on.
    pub path_and_query: String,
    /// What the vendor asks for beside the credential; of the type, since files cannot name any.
    pub headers: HeaderMap,
    /// A JSON body, of the type.
    pub body: Option<&'static str>,
    /// The status of a credential that works.
    pub expect: u16,
    /// What its answer holds beside; of the type.
    pub says: Option<&'static str>,
}

/// An Agent document: which providers an agent of the token file may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRules {
    /// The project that it belongs to.
    pub project: Arc<str>,
    /// The agent's name in the token file.
    pub name: AgentName,
    /// The names of its providers.
    pub providers: Vec<Arc<str>>,
    /// Where it stands.
    pub source: Arc<str>,
}

impl AgentRules {
    /// Whether the agent may use this provider.
    pub fn has(&self, provider: &Provider) -> bool {
        provider.project == self.project && self.providers.contains(&provider.name)
    }
}

impl Provider {
    /// The secrets that it uses, each once: what is put on requests, and the client certificate.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretRef> {
        let own = self.auth.as_ref().map(|auth| &auth.secret);
        own.into_iter().chain(self.upstream.client_cert.as_ref().filter(move |cert| own != Some(cert)))
    }

    /// The hosts of this provider that go beyond those that its secret is bound to; none if it may be used.
    pub fn hosts_beyond<'a>(&'a self, bound: &'a [HostPattern]) -> impl Iterator<Item = &'a HostPattern> {
        self.hosts.iter().filter(|host| !bound.iter().any(|other| host.is_within(other)))
    }

    /// The file that the agent's programs read in the place of a variable, with the dummy: Google's libraries read their key
    /// so, and Codex its login.
    pub fn agent_file(&self) -> Option<AgentFile> {
        let auth = self.auth.as_ref()?;
        if self.kind.name == "openai" && *auth.auth_type == *types::OAUTH {
            return Some(AgentFile {
                folder: Some(format!("codex-{}-{}", self.project, self.name)),
                name: "auth.json".to_owned(),
                variable: "CODEX_HOME",
                text: types::codex_file(auth.dummy()),
            });
        }
        let injection = auth
            .injections
            .iter()
            .find(|injection| matches!(injection.scheme, "gcp-service-account" | "gcp-workload-identity"))?;
        let project = injection.fields.text("project");
        Some(AgentFile {
            folder: None,
            name: format!("gcp-{}-{}.json", self.project, self.name),
            variable: "GOOGLE_APPLICATION_CREDENTIALS",
            text: types::gcp_key_file(auth.dummy(), project),
        })
    }
}

/// A file for the agent. Nothing of it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentFile {
    /// The folder of its own in which it lies, for programs that are told the folder.
    pub folder: Option<String>,
    /// Its name.
    pub name: String,
    /// The variable that gets its path, or that of its folder.
    pub variable: &'static str,
    /// What is in it.
    pub text: String,
}

/// What happens inside a provider's tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// TLS is terminated with a minted leaf; requests are decided one by one.
    Intercept,
    /// The TLS is passed on unread after its SNI was checked; nothing is injected.
    Passthrough,
    /// `http://` is spoken with this host.
    Plain,
}

/// How a provider's credential is put on.
#[derive(Debug)]
pub struct Auth {
    /// As written: `pat`, `api-key` …
    pub auth_type: Arc<str>,
    /// The secret.
    pub secret: SecretRef,
    /// The keys to look for, in this order; the first that exists is `{{token}}`.
    pub keys: Vec<String>,
    /// Where it is put, by host; the first entry that covers the target's host is used, and a host that none covers gets nothing.
    pub injections: Vec<Injection>,
    /// Where tokens are asked for; the secret has to be bound to these hosts too. Empty: the secret itself is put on.
    pub token_urls: Vec<TokenUrl>,
    /// What happens to a credential of the agent's own.
    pub on_agent_credential: OnAgentCredential,
    /// The dummies that the agent may hold, all of which are this provider's: the main one first, then those of `agentEnv`.
    pub dummies: Vec<String>,
    /// Agent headers that must not go upstream beside the injected one.
    pub remove_headers: Vec<HeaderName>,
    /// The agent's query parameters that must not go upstream beside the injected header.
    pub remove_params: &'static [&'static str],
    /// The public prefixes that values of this type begin with (`ghp_`, `sk-ant-`).
    pub public_prefixes: &'static [&'static str],
}

impl Auth {
    /// What is put on for this target: the first entry that covers its host.
    pub fn injection_for(&self, target: &Target) -> Option<&Injection> {
        self.injections
            .iter()
            .find(|one| one.hosts.is_empty() || one.hosts.iter().any(|host| host.covers(target)))
    }

    /// The dummy that the agent holds.
    pub fn dummy(&self) -> &str {
        self.dummies.first().map_or("", String::as_str)
    }
}

/// One use of a scheme for some hosts.
#[derive(Debug)]
pub struct Injection {
    /// The hosts that it is for (any port where the file names none); empty: all of the provider's.
    pub hosts: Vec<HostPattern>,
    /// The scheme's name in the scheme table.
    pub scheme: &'static str,
    /// Its validated fields.
    pub fields: Fields,
}

/// What happens when the agent sends a credential on the surface that is injected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnAgentCredential {
    /// It is removed and ours is set.
    #[default]
    Replace,
    /// Ours is injected only if the agent sent our dummy; without it the request goes out without any credential of ours.
    PlaceholderOnly,
    /// Refused with DW1008 unless it is our dummy.
    Reject,
}

/// Whether violations are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enforcement {
    /// They are.
    #[default]
    Enforce,
    /// They are logged as `would-deny` and pass (never for an address refusal).
    Audit,
}

/// Rate and time limits of a provider.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestLimits {
    /// Requests in one minute, for each agent.
    pub requests_per_minute: Option<NonZeroU32>,
    /// From the request's end to the response's head.
    pub timeout: Option<Duration>,
}

/// What is done to answers.
#[derive(Clone, Debug)]
pub struct ResponseRules {
    /// Echoes of the credential are masked.
    pub redact: bool,
    /// Headers that the agent does not get.
    pub strip_headers: Vec<HeaderName>,
    /// `smallRanges: allow`.
    pub small_ranges_allowed: bool,
}

/// How an upstream is reached and verified.
#[derive(Clone, Debug, Default)]
pub struct UpstreamRules {
    /// A file of extra roots (PEM), for this provider only. Relative paths are relative to the provider file.
    pub extra_roots: Option<PathBuf>,
    /// Ranges that SECURITY.md refuses by default and that this provider needs.
    pub allow_cidrs: Vec<IpNet>,
    /// The secret with the client certificate that it is shown; a provider with one has an `auth` as well.
    pub client_cert: Option<SecretRef>,
}

impl UpstreamRules {
    /// Whether the provider lists a range that holds this address.
    pub fn lists(&self, ip: &IpAddr) -> bool {
        self.allow_cidrs.iter().any(|cidr| cidr.contains(ip))
    }
}
