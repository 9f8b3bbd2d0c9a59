//! What a sidecar is entitled to: the proof that a secret may be sealed for the agent that it serves.
//!
//! Judged from what is attached, and not taken from the list of secrets that a query gave: a secret is delivered because
//! somebody attached it, or attached a document that names it and is not withheld, and the agent is not revoked.

use crate::registry::{AgentState, Attached, DocumentKind, EnvSource};
use crate::secret::SecretName;

/// Proof that one secret may be sealed for the sidecar of one agent.
///
/// ```compile_fail,E0451
/// fn forge<'a>(state: &'a control::registry::AgentState, secret: &'a control::secret::SecretName) -> control::policy::Delivery<'a> {
///     control::policy::Delivery { state, secret }
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    state: &'a AgentState,
    secret: &'a SecretName,
}

impl Delivery<'_> {
    /// The project of agent and secret.
    pub fn project(&self) -> &str {
        &self.state.agent.project
    }

    /// The agent.
    pub fn agent(&self) -> &str {
        &self.state.agent.name
    }

    /// The secret.
    pub fn secret(&self) -> &SecretName {
        self.secret
    }
}

/// Decides whether the agent's sidecar gets this secret.
pub fn deliver<'a>(state: &'a AgentState, secret: &'a SecretName, now: i64) -> Option<Delivery<'a>> {
    let agent = &state.agent;
    let is_alive = agent.revoked.is_none() && agent.expires.is_none_or(|end| now < end);
    let names_it = |kind: DocumentKind, name: &str| {
        state.documents.iter().map(|document| &document.document).any(|document| {
            document.kind == kind
                && document.name == *name
                && !document.withheld
                && document.uses.contains(secret)
        })
    };
    let is_attached = state.attachments.iter().any(|attachment| match &attachment.what {
        Attached::Secret(name) | Attached::Env { source: EnvSource::Secret(name), .. } => name == secret,
        Attached::Document(kind, name) => names_it(*kind, name),
        Attached::Env { source: EnvSource::Variable(_), .. } => false,
    });
    (is_alive && is_attached).then_some(Delivery { state, secret })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Agent, Attachment, Document, NewDocument, TokenDigest};

    fn state(attached: &[Attached], withheld: bool) -> AgentState {
        let document = NewDocument {
            kind: DocumentKind::Provider,
            name: "github".into(),
            text: String::new(),
            type_name: "github".into(),
            uses: vec!["pat".parse().unwrap()],
            claims: Vec::new(),
            withheld,
        };
        let agent = Agent {
            project: "team-a".into(),
            name: "coder".into(),
            description: None,
            digest: TokenDigest([1; 32]),
            created: 0,
            expires: Some(100),
            revoked: None,
            identities: Vec::new(),
            version: 1,
            sidecars: Vec::new(),
        };
        let attachment = |what: &Attached| Attachment {
            what: what.clone(),
            created: 0,
            revision: 1,
            synced: false,
            acknowledged: None,
            seen: None,
        };
        AgentState {
            revision: 3,
            agent,
            attachments: attached.iter().map(attachment).collect(),
            documents: vec![Document { document, created: 0, changed: 0, version: 1 }],
            secrets: Vec::new(),
            variables: Vec::new(),
        }
    }

    #[test]
    fn refuses_what_is_not_attached_is_withheld_or_is_of_an_agent_that_ended() {
        let pat: SecretName = "pat".parse().unwrap();
        let github = Attached::Document(DocumentKind::Provider, "github".into());
        let delivered = |state: &AgentState, now| deliver(state, &pat, now).is_some();
        assert!(!delivered(&state(&[], false), 0));
        assert!(!delivered(&state(&[Attached::Secret("pat2".parse().unwrap())], false), 0));
        assert!(!delivered(
            &state(&[Attached::Document(DocumentKind::ModelProvider, "github".into())], false),
            0
        ));
        assert!(!delivered(&state(std::slice::from_ref(&github), true), 0));
        let variable = Attached::Env { name: "X".into(), source: EnvSource::Variable("pat".into()) };
        assert!(!delivered(&state(&[variable], false), 0));
        for what in [
            github,
            Attached::Secret(pat.clone()),
            Attached::Env { name: "X".into(), source: EnvSource::Secret(pat.clone()) },
        ] {
            let mut state = state(&[what], false);
            assert!(delivered(&state, 99));
            assert!(!delivered(&state, 100));
            state.agent.revoked = Some(1);
            assert!(!delivered(&state, 0));
        }
    }
}
