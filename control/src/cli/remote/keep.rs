//! A credential and the provider that uses it, kept at a server in the place of the local vault and the home's files.
//!
//! Invariant: when it ends with a failure, the server has neither of them.

use http::Method;
use serde_json::json;

use super::{Body, Client, segment, server};
use crate::api::DocumentView;
use crate::cli::vault::project;
use crate::cli::{Env, Exit, Failure, when};
use crate::secret::{Secret, SecretName};
use crate::types::TypeSpec;
use crate::vault::BoundHosts;
use crate::vault::store::StoreError;

/// The server that this command works with, and the project there.
#[derive(Debug)]
pub struct Keeper {
    client: Client,
    base: String,
}

/// What is to be kept.
#[derive(Debug)]
pub struct Kept<'a> {
    /// The secret's name.
    pub secret: &'a SecretName,
    /// What the secret is for.
    pub description: Option<&'a str>,
    /// When it ends, unix seconds.
    pub expires: Option<i64>,
    /// Where it may be sent.
    pub hosts: &'a BoundHosts,
    /// The provider's type.
    pub kind: &'static TypeSpec,
    /// Its values.
    pub values: &'a [(String, Secret)],
    /// The provider's name.
    pub provider: &'a str,
    /// Its document.
    pub document: &'a str,
    /// Whether the credential was tried, and works.
    pub tried: Tried,
}

/// Whether a credential was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    /// It works.
    Works,
    /// It was not tried.
    Not,
}

impl Keeper {
    /// The server that was chosen; `None`: the local vault.
    ///
    /// # Errors
    /// A context that is not there, or whose files cannot be read.
    pub fn of(env: &Env) -> Result<Option<Self>, Failure> {
        let Some(client) = server(env)? else { return Ok(None) };
        let base = format!("/v1/projects/{}", segment(project(env)?));
        Ok(Some(Self { client, base }))
    }

    /// Where it keeps them.
    pub fn place(&self) -> &str {
        &self.client.url
    }

    /// Refuses names that are taken there.
    ///
    /// # Errors
    /// A conflict, or the server is not to be had.
    pub async fn refuse_taken(&self, secret: &SecretName, provider: &str) -> Result<(), Failure> {
        if self.client.find(&self.secret(secret)).await?.is_some() {
            return Err(StoreError::SecretExists(secret.clone()).into());
        }
        let found = self.client.find(&format!("{}/providers/{}", self.base, segment(provider))).await?;
        match found {
            Some(_) => {
                let message = format!("provider `{provider}` exists; --name gives another name");
                Err(Failure::new(Exit::Conflict, message))
            }
            None => Ok(()),
        }
    }

    /// Keeps both, and notes that the credential works.
    ///
    /// # Errors
    /// What the server says; then it has neither.
    pub async fn keep(&self, env: &Env, kept: &Kept<'_>) -> Result<(), Failure> {
        let (hosts, kind) = bound(kept.hosts, kept.kind);
        let facts = json!({
            "name": kept.secret.as_str(),
            "description": kept.description,
            "expires": kept.expires.map(when::show),
            "hosts": hosts,
            "for": kind,
        });
        let body = Body::with_values(&facts, kept.values)?;
        self.client.post(&format!("{}/secrets", self.base), body).await?;
        if let Err(failure) = self.put(kept).await {
            let path = self.secret(kept.secret);
            let gone = async {
                let seen = self.client.get(&path).await?;
                self.client.change(Method::DELETE, &path, None, &seen).await
            };
            if gone.await.is_err() {
                env.output.say(format!("secret/{} could not be removed again", kept.secret));
            }
            return Err(failure);
        }
        Ok(())
    }

    async fn put(&self, kept: &Kept<'_>) -> Result<(), Failure> {
        let body = Body::of(&json!({"document": kept.document}));
        let sent = self.client.post(&format!("{}/providers", self.base), body).await?;
        let view: DocumentView = sent.read()?;
        if kept.tried == Tried::Works && !view.withheld {
            let path = format!("{}/providers/{}/verified", self.base, segment(&view.name));
            self.client.change(Method::POST, &path, None, &sent).await?;
        }
        Ok(())
    }

    fn secret(&self, name: &SecretName) -> String {
        format!("{}/secrets/{}", self.base, segment(name.as_str()))
    }
}

/// What to bind a secret to, as the API takes it: the type by its name, and the hosts that are not the type's.
fn bound(hosts: &BoundHosts, kind: &'static TypeSpec) -> (Vec<String>, Option<&'static str>) {
    let written = hosts.to_string();
    let all: Vec<&str> = written.split(',').collect();
    let own = BoundHosts::of_type(&kind.bound_hosts()).map(|hosts| hosts.to_string()).unwrap_or_default();
    let own: Vec<&str> = own.split(',').filter(|host| !host.is_empty()).collect();
    if own.is_empty() || !own.iter().all(|host| all.contains(host)) {
        return (all.into_iter().map(str::to_owned).collect(), None);
    }
    let rest = all.into_iter().filter(|host| !own.contains(host));
    (rest.map(str::to_owned).collect(), Some(kind.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::by_name;

    #[test]
    fn a_type_is_named_and_its_hosts_are_not_repeated() {
        let aws = by_name("aws").unwrap();
        let hosts = BoundHosts::of_type(&aws.bound_hosts()).unwrap();
        assert_eq!(bound(&hosts, aws), (vec![], Some("aws")));
        let github = by_name("github").unwrap();
        let one = BoundHosts::of_type(&["api.github.com"]).unwrap();
        assert_eq!(bound(&one, github), (vec!["api.github.com".to_owned()], None));
    }
}
