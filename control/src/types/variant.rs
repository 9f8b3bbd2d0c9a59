//! A type at another place than its vendor's public one: another cloud of Azure (`config.cloud`), an installation of GitHub
//! Enterprise (`spec.host`). What differs is data: hosts, where credentials are put on, where tokens are given.
//!
//! `{host}` in these texts is the provider's own host, as the file names it.

use std::borrow::Cow;

use super::{InjectionSpec, TypeSpec, azure, github};

/// What differs, as data.
#[derive(Debug)]
pub struct VariantSpec {
    /// The hosts.
    pub hosts: &'static [&'static str],
    /// The injections of each auth type, by its name.
    pub injections: &'static [(&'static str, &'static [InjectionSpec])],
    /// The URL that tells whether a credential works, if it is another one.
    pub verify: &'static str,
    /// Variables that tell the agent's libraries where to ask; `{dummy}` is the provider's dummy.
    pub env: &'static [(&'static str, &'static str)],
}

/// A variant with the host that it is for.
#[derive(Clone, Debug)]
pub struct Variant {
    spec: &'static VariantSpec,
    host: String,
}

impl Variant {
    /// The variant that a provider's host and `config.cloud` choose; `None`: the type as it is.
    pub fn of(kind: &TypeSpec, host: Option<&str>, cloud: Option<&str>) -> Option<Self> {
        let spec = match kind.name {
            "azure" => azure::cloud(cloud?)?,
            "github" => github::enterprise(host?)?,
            _ => return None,
        };
        Some(Self { spec, host: host.unwrap_or_default().trim_end_matches('.').to_ascii_lowercase() })
    }

    /// Why a provider's host names no installation of the type, though it looks like one.
    pub fn misnamed(kind: &TypeSpec, host: &str) -> Option<&'static str> {
        if kind.name == "github" { github::misnamed(host) } else { None }
    }

    /// A text of the variant with its host.
    pub fn filled<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if text.contains("{host}") { text.replace("{host}", &self.host).into() } else { text.into() }
    }

    /// Its hosts.
    pub fn hosts(&self) -> Vec<String> {
        self.spec.hosts.iter().map(|host| self.filled(host).into_owned()).collect()
    }

    /// The injections of an auth type.
    pub fn injections(&self, auth_type: &str) -> Option<&'static [InjectionSpec]> {
        self.spec.injections.iter().find(|(name, _)| *name == auth_type).map(|(_, injections)| *injections)
    }

    /// The URL of its verify call.
    pub fn verify(&self) -> String {
        self.filled(self.spec.verify).into_owned()
    }

    /// Its variables for the agent.
    pub fn env(&self, dummy: &str) -> impl Iterator<Item = (String, String)> {
        self.spec
            .env
            .iter()
            .map(move |(name, text)| ((*name).to_owned(), self.filled(text).replace("{dummy}", dummy)))
    }
}
