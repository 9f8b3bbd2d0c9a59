//! What a control server gives beside the files: provider documents, and who the agent is.
//!
//! Refuses, each alone and by name, documents that cannot be read, that are not what they were given as, whose own tests fail,
//! or that clash with another: the rest counts all the same, so that no mistake in one place keeps alive what was taken back in
//! another. Agents of its own a file cannot name beside a server.

use std::collections::HashMap;
use std::sync::Arc;

use control::agent::{AgentName, Agents, read_token_file};
use control::provider::{self, Gate, Given, Loaded, Provider};
use control::secret::{Secret, SecretRef};
use control::sync::lease::Lease;
use control::sync::source::{Followed, Held};
use control::target::Target;
use sha2::{Digest as _, Sha256};

use super::Sources;
use crate::follow::Shown;
use crate::schemes;

/// How the agent of a sidecar that follows a server proves who it is, where no file says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum AgentProof {
    /// By a token that it is published.
    #[default]
    Token,
    /// By reaching a listener on loopback: it is the only one that does (a pod).
    Place,
}

/// What a control server gives.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    pub(crate) followed: Arc<Followed>,
    pub(crate) shown: Arc<Shown>,
    /// The server itself: no agent reaches it through us.
    pub(crate) server: Option<Target>,
    pub(crate) proof: AgentProof,
}

impl Control {
    /// The agent with its token: what follows from the sidecar's or is made for it, or a line of the token file; or without one.
    pub(super) fn agents(&self, sources: &Sources) -> Result<Agents, Vec<String>> {
        let Some(held) = self.followed.held() else { return Ok(Agents::default()) };
        let (snapshot, name) = (held.snapshot(), held.snapshot().agent_name());
        let end = snapshot.expires.and_then(|end| u64::try_from(end).ok());
        let expires = end.map(|end| std::time::UNIX_EPOCH + std::time::Duration::from_secs(end));
        let Some(path) = &sources.token_file else {
            return Ok(match self.proof {
                AgentProof::Token => Agents::one(name, &self.shown.agents_own(), expires),
                AgentProof::Place => Agents::at_hand(name, expires),
            });
        };
        let label = path.display().to_string();
        let text = read_token_file(path).map_err(|error| vec![format!("{label}: {error}")])?;
        let agents = Agents::parse(&label, &text);
        let agents = agents.map_err(|wrong| wrong.0.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let agents = agents.with_local_as(&name).until(expires);
        let stranger = agents.names().into_iter().find(|other| **other != name).cloned();
        match stranger {
            Some(other) => Err(vec![format!(
                "{label}: names the agent `{other}`, but the control server's token is of `{name}`; one sidecar serves one agent"
            )]),
            None => Ok(agents),
        }
    }

    /// How long the provider holds, if it is the server's or lives by a secret of the server's.
    pub(super) fn lease(&self, provider: &Provider, is_given: bool) -> Option<Lease> {
        let mut secrets = provider.auth.iter().map(|auth| &auth.secret).chain(&provider.upstream.client_cert);
        let is_held = is_given || secrets.any(|secret| self.followed.is_claimed(secret));
        is_held.then(|| self.followed.lease().clone())
    }

    /// What the agent is published.
    pub(super) fn token(&self) -> Vec<(AgentName, Secret)> {
        let held = self.followed.held().filter(|_| self.proof == AgentProof::Token);
        held.map(|held| (held.snapshot().agent_name(), self.shown.agents_own())).into_iter().collect()
    }
}

/// Whether the provider is one of the server's documents.
pub(super) fn gave(held: &Held, provider: &Provider) -> bool {
    let snapshot = held.snapshot();
    *snapshot.project == *provider.project
        && snapshot.documents.iter().any(|document| *document.name == *provider.name)
}

/// The texts of a snapshot's documents, by their names.
#[derive(Debug, Default)]
pub(super) struct Texts(HashMap<String, [u8; 32]>);

impl Texts {
    pub(super) fn of(held: &Held) -> Self {
        let digest = |text: &str| Sha256::digest(text.as_bytes()).into();
        let documents = held.snapshot().documents.iter();
        Self(documents.map(|one| (one.name.clone(), digest(&one.text))).collect())
    }

    /// Whether the provider was one of these documents.
    pub(super) fn names(&self, provider: &Provider) -> bool {
        self.0.contains_key(&*provider.name)
    }

    /// Whether the provider is a document of this snapshot, and the text is the one that is here.
    pub(super) fn has(&self, held: &Held, provider: &Provider) -> bool {
        let own = self.0.get(&*provider.name);
        gave(held, provider) && own.is_some() && own == Self::of(held).0.get(&*provider.name)
    }
}

/// The files, and the documents that can be served beside them. What cannot is told in `degraded`.
pub(super) fn load(
    sources: &Sources,
    held: Option<&Held>,
    gate: &Gate<'_>,
    degraded: &mut Vec<String>,
) -> Result<Loaded, Vec<String>> {
    let with = |given: &[Given<'_>]| {
        let loaded = provider::load_beside(&sources.providers, given, schemes::specs(), gate);
        loaded.map_err(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let Some(held) = held else { return with(&[]) };
    let labels: Vec<String> =
        held.snapshot().documents.iter().map(|one| format!("server:{}", one.name)).collect();
    let documents = held.snapshot().documents.iter().zip(&labels).map(|(one, label)| Given {
        label,
        project: &held.snapshot().project,
        kind: one.kind.name(),
        name: &one.name,
        text: &one.text,
    });
    let mut good: Vec<Given<'_>> = documents.filter(|one| is_good(*one, degraded)).collect();
    let files = with(&[])?;
    if !files.agents.is_empty() {
        let places = files.agents.iter().map(|agent| &agent.source);
        let why = "with --control agents are the server's: remove this document";
        return Err(places.map(|place| format!("{place}: {why}")).collect());
    }
    // Each round leaves out the documents that a mistake names.
    loop {
        let mistakes = match with(&good) {
            Ok(loaded) => {
                if let Some(control) = &sources.control {
                    control.followed.claim(claimed(held, &loaded));
                }
                return Ok(loaded);
            }
            Err(mistakes) => mistakes,
        };
        let named =
            |one: &Given<'_>| mistakes.iter().any(|mistake| mistake.contains(&format!("{}:", one.label)));
        let before = good.len();
        good.retain(|one| !named(one));
        if good.len() == before {
            good.clear();
        }
        degraded.extend(mistakes.iter().map(|mistake| format!("{}: {mistake}", held.snapshot().project)));
        if before == 0 {
            return Err(mistakes);
        }
    }
}

/// The secrets that the server's documents name.
fn claimed<'a>(held: &'a Held, loaded: &'a Loaded) -> impl Iterator<Item = SecretRef> + 'a {
    let given = loaded.providers.iter().filter(|provider| gave(held, provider));
    given.flat_map(|provider| {
        let own = provider.auth.as_ref().map(|auth| &auth.secret);
        own.into_iter().chain(&provider.upstream.client_cert).cloned()
    })
}

/// Whether a document is right by itself.
fn is_good(given: Given<'_>, degraded: &mut Vec<String>) -> bool {
    let wrong: Vec<String> = match provider::load_beside(&[], &[given], schemes::specs(), &|_, _| Ok(())) {
        Err(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
        Ok(loaded) => {
            loaded.tests.iter().filter_map(|case| case.run().err()).map(|why| why.to_string()).collect()
        }
    };
    degraded.extend(wrong.iter().map(|why| format!("{}/{}: {why}", given.project, given.name)));
    wrong.is_empty()
}

#[cfg(test)]
mod tests {
    use control::config::Home;
    use control::project::ProjectFolders;
    use control::sync::lease::Lease;
    use control::sync::seal::{SealKey, Sealer, Whose};
    use control::sync::wire::{Bytes, Document, DocumentKind, Snapshot};
    use control::vault::{OpenError, Source as _, Vault};

    use super::*;

    fn held(documents: &[(&str, String)]) -> Held {
        let key = Arc::new(SealKey::generate().unwrap());
        let whose = Whose { revision: 1, project: "team-a", agent: "coder" };
        let sealer = Sealer::new(key.public(), whose).unwrap();
        let document = |(name, text): &(&str, String)| Document {
            kind: DocumentKind::Provider,
            name: (*name).to_owned(),
            version: 1,
            text: text.clone(),
        };
        let snapshot = Snapshot {
            revision: 1,
            project: "team-a".into(),
            agent: "coder".into(),
            expires: None,
            seal: sealer.public(),
            documents: documents.iter().map(document).collect(),
            secrets: Vec::new(),
            env: Vec::new(),
            mac: Bytes([0; 32]),
        };
        Held::new(sealer.finish(snapshot).unwrap(), key).unwrap()
    }

    fn provider(name: &str, more: &str) -> String {
        format!(
            "apiVersion: doorward.dev/v1alpha1\nkind: Provider\nmetadata: {{name: {name}}}\n\
             spec: {{type: http-token, {more}, auth: {{type: bearer, secretRef: s}}}}\n"
        )
    }

    fn sources(dir: &std::path::Path, control: Option<Control>) -> Sources {
        Sources {
            providers: vec![dir.join("providers")],
            projects: ProjectFolders::new(Vec::new(), Home::under(dir)),
            token_file: None,
            upstream_ca: Vec::new(),
            vault: Arc::new(Vault::new(Vec::new(), time::OffsetDateTime::now_utc)),
            vault_paths: Vec::new(),
            control,
        }
    }

    fn loaded(held: &Held, files: &[(&str, String)]) -> (Result<Vec<String>, Vec<String>>, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("providers")).unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(format!("providers/{name}.yaml")), text).unwrap();
        }
        let sources = sources(dir.path(), None);
        let mut degraded = Vec::new();
        let loaded = load(&sources, Some(held), &|_, _| Ok(()), &mut degraded);
        let names = |loaded: Loaded| {
            loaded.providers.iter().map(|one| format!("{}/{}", one.project, one.name)).collect()
        };
        (loaded.map(names), degraded)
    }

    #[test]
    fn refuses_each_document_that_is_not_what_it_was_given_as_alone() {
        let agent =
            "apiVersion: doorward.dev/v1alpha1\nkind: Agent\nmetadata: {name: x}\nspec: {providers: []}\n";
        let good = provider("good", "host: a.example");
        let subject = "apiVersion: doorward.dev/v1alpha1\nkind: Provider\nmetadata: {name: bad}\n\
             spec: {type: gcp, config: {subjectTokenFile: /etc/hostname}, auth: {type: workload-identity, secretRef: s}}\n";
        for (name, text) in [
            ("bad", "nonsense".to_owned()),
            ("bad", provider("other", "host: b.example")),
            ("bad", provider("bad, namespace: team-b", "host: b.example")),
            ("bad", agent.to_owned()),
            (
                "bad",
                format!("{}---\n{}", provider("bad", "host: b.example"), provider("more", "host: c.example")),
            ),
            ("bad", format!("{}---\n{agent}", provider("bad", "host: b.example"))),
            ("bad", provider("bad", "host: b.example, tls: {upstreamCA: /etc/hostname}")),
            ("bad", provider("bad", "host: b.example, network: {allowCIDRs: [127.0.0.0/8]}")),
            ("bad", subject.to_owned()),
            // Its own test fails.
            ("later", provider("later", "host: b.example, tests: [{request: \"GET /\", expect: deny}]")),
        ] {
            let (found, degraded) = loaded(&held(&[("good", good.clone()), (name, text.clone())]), &[]);
            assert_eq!(found, Ok(vec!["team-a/good".to_owned()]), "{text}");
            assert!(!degraded.is_empty(), "{text}");
        }
    }

    #[tokio::test]
    async fn the_secrets_that_its_documents_name_are_the_servers_whether_it_gives_them_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, format!("dwa_{}", "A".repeat(43))).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let followed = Arc::new(Followed::new(Lease::new(std::time::Duration::from_mins(15))));
        let shown = Arc::new(Shown::Token(crate::follow::TokenFile::open(file).unwrap()));
        let control =
            Control { followed: Arc::clone(&followed), shown, server: None, proof: AgentProof::Token };
        std::fs::create_dir(dir.path().join("providers")).unwrap();
        let sources = sources(dir.path(), Some(control));
        let given = held(&[("good", provider("good", "host: a.example"))]);
        load(&sources, Some(&given), &|_, _| Ok(()), &mut Vec::new()).unwrap();
        let named = SecretRef { project: "team-a".into(), name: "s".parse().unwrap() };
        let refused = followed.facts(&named).await;
        assert!(matches!(refused, Err(OpenError::NotGiven(_))));
    }

    #[test]
    fn two_that_clash_are_both_refused_and_a_file_stays() {
        let both = [("a", provider("a", "host: x.example")), ("b", provider("b", "host: x.example"))];
        let (found, degraded) = loaded(&held(&both), &[]);
        assert_eq!((found, degraded.is_empty()), (Ok(Vec::new()), false));
        let file = [("f", provider("f", "host: x.example"))];
        let (found, _) = loaded(&held(&both[..1]), &file);
        assert_eq!(found, Ok(vec!["default/f".to_owned()]));
    }

    #[test]
    fn refuses_files_that_name_agents_beside_a_server() {
        let agent =
            "apiVersion: doorward.dev/v1alpha1\nkind: Agent\nmetadata: {name: x}\nspec: {providers: []}\n";
        let (found, _) = loaded(&held(&[]), &[("agents", agent.to_owned())]);
        assert!(found.unwrap_err()[0].contains("agents are the server's"));
    }
}
