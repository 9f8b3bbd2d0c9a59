//! The last snapshot as a source of secrets.
//!
//! Values stay sealed until a permit opens them, one secret at a time (invariant 3). Refuses everything while the server has
//! been silent for longer than is allowed (DW5002), and after it took the agent's rights back. A name that the server ever
//! gave, or that a document of its named, is the server's for good: no source of the sidecar's own stands in for it, or
//! whoever writes the server's documents would have the sidecar's own secrets sent where he likes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;

use super::lease::Lease;
use super::seal::{self, SealError, SealKey};
use super::wire::{Exposure, Holds, KeyOf, SealedSecret, Snapshot};
use crate::policy::Permit;
use crate::secret::{Secret, SecretName, SecretRef};
use crate::vault::{OpenError, Opened, Opening, SecretFacts, Source, Terms};

/// One snapshot, with the key that its values are sealed to.
#[derive(Debug)]
pub struct Held {
    snapshot: Snapshot,
    key: Arc<SealKey>,
    secrets: HashMap<SecretName, usize>,
}

impl Held {
    /// A snapshot as it came.
    ///
    /// # Errors
    /// If it is not what the server made for this key.
    pub fn new(snapshot: Snapshot, key: Arc<SealKey>) -> Result<Self, SealError> {
        key.authenticate(&snapshot)?;
        let secrets = (0..).zip(&snapshot.secrets).map(|(at, secret)| (secret.name.clone(), at)).collect();
        Ok(Self { snapshot, key, secrets })
    }

    /// What the server said.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    fn exposed(&self, of: &KeyOf) -> Option<Secret> {
        let sealed = self.snapshot.secrets.get(*self.secrets.get(&of.name)?)?;
        let values = seal::open(&self.key, &self.snapshot, sealed).ok()?;
        values.into_iter().find(|(key, _)| *key == of.key).map(|(_, value)| value)
    }

    fn secret(&self, secret: &SecretRef) -> Option<&SealedSecret> {
        let at = self.secrets.get(&secret.name).filter(|_| *self.snapshot.project == *secret.project)?;
        self.snapshot.secrets.get(*at)
    }
}

/// A variable that the agent itself is given.
#[derive(Debug)]
pub struct Exposed {
    /// Its name.
    pub variable: String,
    /// What it holds.
    pub value: Secret,
    /// The secret whose value it is; `None`: it is plain.
    pub secret: Option<SecretName>,
}

/// What the server gave, as it stands now.
#[derive(Debug)]
pub struct Followed {
    held: RwLock<Option<Arc<Held>>>,
    lease: Lease,
    /// The names that are the server's.
    claimed: RwLock<HashSet<SecretRef>>,
}

impl Followed {
    /// Nothing yet.
    pub fn new(lease: Lease) -> Self {
        Self { held: RwLock::default(), lease, claimed: RwLock::default() }
    }

    /// How long it holds.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// The last snapshot.
    pub fn held(&self) -> Option<Arc<Held>> {
        self.held.read().clone()
    }

    /// Makes these names the server's, whether it gives them or not.
    pub fn claim(&self, secrets: impl IntoIterator<Item = SecretRef>) {
        self.claimed.write().extend(secrets);
    }

    /// Whether the name is the server's.
    pub fn is_claimed(&self, secret: &SecretRef) -> bool {
        self.claimed.read().contains(secret)
    }

    /// Takes a snapshot in the place of the one before.
    pub fn take(&self, held: Held) {
        let project: Arc<str> = held.snapshot.project.as_str().into();
        let given = held.secrets.keys();
        self.claim(given.map(|name| SecretRef { project: Arc::clone(&project), name: name.clone() }));
        *self.held.write() = Some(Arc::new(held));
    }

    /// The agent has nothing any more.
    pub fn revoke(&self) {
        *self.held.write() = None;
        self.lease.end();
    }

    /// The variables that the server has the agent itself given: plain ones, and values of secrets that somebody who manages
    /// secrets attached as such. The one way in which a value reaches an agent; nothing of it once the lease is over.
    pub fn environment(&self) -> Vec<Exposed> {
        let Some(held) = self.held().filter(|_| !self.lease.is_over()) else { return Vec::new() };
        let exposed = |one: &Exposure| {
            let (value, secret) = match &one.holds {
                Holds::Value(value) => (Secret::new(value.clone().into_bytes()), None),
                Holds::Secret(of) => (held.exposed(of)?, Some(of.name.clone())),
            };
            Some(Exposed { variable: one.variable.clone(), value, secret })
        };
        held.snapshot.env.iter().filter_map(exposed).collect()
    }

    fn find(&self, secret: &SecretRef) -> Result<Arc<Held>, OpenError> {
        let held = self.held().filter(|held| held.secret(secret).is_some());
        held.ok_or_else(|| match self.claimed.read().contains(secret) {
            true => OpenError::NotGiven(secret.clone()),
            false => OpenError::Missing(secret.clone()),
        })
    }
}

impl Source for Followed {
    fn open<'a>(&'a self, _permit: &'a Permit, secret: &'a SecretRef) -> Opening<'a, Opened> {
        Box::pin(async move {
            let held = self.find(secret)?;
            if self.lease.is_over() {
                return Err(OpenError::Silent(secret.clone()));
            }
            let sealed = held.secret(secret).ok_or_else(|| OpenError::Missing(secret.clone()))?;
            let values = seal::open(&held.key, &held.snapshot, sealed);
            let values = values.map_err(|_| OpenError::Sealed(secret.clone()))?;
            let terms = Terms {
                secret: secret.clone(),
                expires: sealed.expires,
                hosts: sealed.hosts.clone(),
                stale_at: None,
                lease: Some(self.lease.clone()),
            };
            Ok(Opened { version: sealed.version.into(), values, terms })
        })
    }

    fn facts<'a>(&'a self, secret: &'a SecretRef) -> Opening<'a, SecretFacts> {
        Box::pin(async move {
            let held = self.find(secret)?;
            let sealed = held.secret(secret).ok_or_else(|| OpenError::Missing(secret.clone()))?;
            Ok(SecretFacts {
                keys: sealed.values.iter().map(|value| value.key.clone()).collect(),
                version: sealed.version.into(),
                bound_hosts: sealed.hosts.as_ref().map(crate::vault::BoundHosts::patterns),
                expires: sealed.expires,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sync::seal::{Facts, Sealer, Whose};
    use crate::sync::wire::Bytes;
    use crate::vault::tests::{permit, secret_ref};
    use crate::vault::{BoundHosts, Vault};

    fn sealed(project: &str) -> (Snapshot, Arc<SealKey>) {
        let key = Arc::new(SealKey::generate().unwrap());
        let sealer = Sealer::new(key.public(), Whose { revision: 3, project, agent: "coder" }).unwrap();
        let (name, hosts) = ("pat".parse().unwrap(), BoundHosts::parse(&["a.example"]).unwrap());
        let facts = Facts { name: &name, version: 2, hosts: Some(&hosts), expires: None };
        let values = [("token".to_owned(), Secret::new(b"value-of-the-pat".to_vec()))];
        let secrets = vec![sealer.seal(facts, &values).unwrap()];
        let (seal, agent) = (sealer.public(), "coder".to_owned());
        let owner = project.to_owned();
        let snapshot = Snapshot {
            revision: 3,
            project: owner,
            agent,
            expires: None,
            seal,
            documents: vec![],
            secrets,
            env: vec![],
            mac: Bytes([0; 32]),
        };
        (sealer.finish(snapshot).unwrap(), key)
    }

    fn followed(project: &str) -> Arc<Followed> {
        let followed = Followed::new(Lease::new(Duration::from_mins(15)));
        let (snapshot, key) = sealed(project);
        followed.take(Held::new(snapshot, key).unwrap());
        followed.lease().renew();
        Arc::new(followed)
    }

    #[tokio::test]
    async fn refuses_everything_once_the_server_has_been_silent_for_too_long() {
        let followed = followed("default");
        let vault = Vault::new(vec![Arc::clone(&followed) as Arc<dyn Source>], time::OffsetDateTime::now_utc);
        let permit = permit("pat", "a.example:443");
        let opened = vault.open(&permit).await.unwrap();
        assert!(opened.value("token").unwrap().matches(b"value-of-the-pat"));
        followed.lease().end();
        assert!(matches!(vault.open(&permit).await, Err(OpenError::Silent(_))));
        // What was opened before asks for each use.
        let admitted = opened.terms.admit(&permit, time::OffsetDateTime::now_utc);
        assert_eq!(admitted.unwrap_err().code(), crate::refusal::Code::Dw5002);
        followed.lease().renew();
        assert!(opened.terms.admit(&permit, time::OffsetDateTime::now_utc).is_ok());
    }

    #[tokio::test]
    async fn refuses_other_hosts_other_projects_and_what_was_revoked() {
        let one = followed("default");
        let vault = Vault::new(vec![Arc::clone(&one) as Arc<dyn Source>], time::OffsetDateTime::now_utc);
        let refused = vault.open(&permit("pat", "b.example:443")).await;
        assert!(matches!(refused, Err(OpenError::NotBound(_))));
        one.revoke();
        let refused = vault.open(&permit("pat", "a.example:443")).await;
        assert!(matches!(refused, Err(OpenError::NotGiven(_))));
        let other = followed("team-b");
        assert!(matches!(other.facts(&secret_ref("pat")).await, Err(OpenError::Missing(_))));
    }

    #[tokio::test]
    async fn a_name_that_a_document_of_the_server_claims_is_found_in_no_other_source() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("own"), "the-sidecars-own").unwrap();
        let followed = followed("default");
        let own: Arc<dyn Source> = Arc::new(crate::vault::directory::Directory::new(dir.path()));
        let sources = vec![Arc::clone(&followed) as Arc<dyn Source>, own];
        let vault = Vault::new(sources, time::OffsetDateTime::now_utc);
        assert!(vault.open(&permit("own", "a.example:443")).await.is_ok());
        followed.claim([secret_ref("own")]);
        let refused = vault.open(&permit("own", "a.example:443")).await;
        assert!(matches!(refused, Err(OpenError::NotGiven(_))));
        let refused = vault.facts(&crate::policy::load_check(), &secret_ref("own")).await;
        assert!(matches!(refused, Err(OpenError::NotGiven(_))));
    }

    #[test]
    fn the_agent_is_given_what_the_server_exposes_and_nothing_once_it_is_silent() {
        let (snapshot, key) = sealed("default");
        let followed = Followed::new(Lease::new(Duration::from_mins(15)));
        followed.lease().renew();
        followed.take(Held::new(snapshot, Arc::clone(&key)).unwrap());
        assert!(followed.environment().is_empty());
        let whose = Whose { revision: 4, project: "default", agent: "coder" };
        let sealer = Sealer::new(key.public(), whose).unwrap();
        let name: SecretName = "pat".parse().unwrap();
        let facts = Facts { name: &name, version: 1, hosts: None, expires: None };
        let values = [("token".to_owned(), Secret::new(b"shown-to-the-agent".to_vec()))];
        let of = |key: &str| Holds::Secret(KeyOf { name: name.clone(), key: key.into() });
        let env = [("PAT", of("token")), ("OTHER", of("other")), ("REGION", Holds::Value("eu".into()))];
        let snapshot = Snapshot {
            revision: 4,
            project: "default".into(),
            agent: "coder".into(),
            expires: None,
            seal: sealer.public(),
            documents: vec![],
            secrets: vec![sealer.seal(facts, &values).unwrap()],
            env: env.map(|(variable, holds)| Exposure { variable: variable.into(), holds }).to_vec(),
            mac: Bytes([0; 32]),
        };
        followed.take(Held::new(sealer.finish(snapshot).unwrap(), key).unwrap());
        let given = followed.environment();
        assert_eq!(given.iter().map(|one| one.variable.as_str()).collect::<Vec<_>>(), ["PAT", "REGION"]);
        assert!(given[0].value.matches(b"shown-to-the-agent") && given[0].secret.is_some());
        assert!(given[1].value.matches(b"eu") && given[1].secret.is_none());
        followed.lease().end();
        assert!(followed.environment().is_empty());
    }

    #[test]
    fn a_snapshot_that_was_edited_is_never_held() {
        let (mut snapshot, key) = sealed("default");
        snapshot.secrets[0].values[0].sealed.0[2] ^= 4;
        assert_eq!(Held::new(snapshot, key).map(drop), Err(SealError::Forged));
    }
}
