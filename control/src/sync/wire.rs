//! The messages of a stream, one JSON object a line.
//!
//! Refuses lines over [`LINE_MAX`], unknown and repeated fields, names that no part of the product takes, lists over their
//! bounds, two things of one name, bound hosts in any but their one spelling, and keys and values of impossible lengths: what
//! was parsed can be used as it is.

mod spelling;

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::agent::AgentName;
use crate::secret::SecretName;
use crate::vault::BoundHosts;
use crate::vault::value::{KEYS_MAX, VALUE_MAX};
pub(crate) use spelling::is_name;
pub use spelling::{Bytes, Text};
use spelling::{KEY_MAX, is_agent, is_key, is_variable};

/// The longest line, without its newline.
pub const LINE_MAX: usize = 8 << 20;
/// Documents, secrets and exposures of one agent, each.
pub const ITEMS_MAX: usize = 1024;
/// The longest document.
pub const DOCUMENT_MAX: usize = 1 << 20;
/// What AES-GCM adds.
const TAG: usize = 16;

/// Why a line is no message. Says nothing of what was in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// It does not end.
    #[error("a message is over {LINE_MAX} bytes")]
    TooLong,
    /// It is no message of this version.
    #[error("a message cannot be read (near its byte {0})")]
    Malformed(usize),
    /// A name, a list or a length is out of its bounds.
    #[error("a message breaks a rule: {0}")]
    Rule(&'static str),
}

/// What the server says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Message {
    /// The first message of a stream: all that the agent has.
    Snapshot(Snapshot),
    /// The same after a change, whole: it replaces the one before.
    Change(Snapshot),
    /// A person has decided what this sidecar asked; it gives nothing, who waits asks again.
    Answered(Answered),
    /// Nothing has changed.
    Ping(Ping),
    /// The last message of a stream.
    End(End),
}

/// A sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ping {
    /// The revision of the last snapshot of this stream.
    pub revision: u64,
}

/// A question was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answered {
    /// Its id; `None`: any of the agent's may be.
    pub ask: Option<String>,
}

/// Why a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// The agent, or its token, is not valid any more: nothing of it may be served.
    Revoked,
    /// The server stops; another one, or the same, answers soon.
    Draining,
    /// What the agent has does not fit into a message.
    Oversized,
}

/// Everything that one agent has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// The server's revision that this is true of.
    pub revision: u64,
    /// The agent's project.
    pub project: String,
    /// The agent.
    pub agent: String,
    /// When its token ends, unix seconds.
    pub expires: Option<i64>,
    /// The server's half of the key agreement for this snapshot.
    pub seal: Bytes<32>,
    /// The attached providers and model providers.
    pub documents: Vec<Document>,
    /// The secrets that they use, or that are attached by themselves.
    pub secrets: Vec<SealedSecret>,
    /// Variables of the agent itself.
    pub env: Vec<Exposure>,
    /// Authenticates all of it for the sidecar's key ([`super::seal::Sealer::finish`]).
    pub mac: Bytes<32>,
}

/// A provider document as it was entered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Provider or ModelProvider.
    pub kind: DocumentKind,
    /// Its name; the text has to say the same.
    pub name: String,
    /// Rises with each change.
    pub version: u64,
    /// YAML or JSON, one document.
    pub text: String,
}

/// The kinds of documents that agents are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DocumentKind {
    /// `kind: Provider`
    Provider,
    /// `kind: ModelProvider`
    ModelProvider,
}

/// A secret with its values sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedSecret {
    /// Its name in the agent's project.
    pub name: SecretName,
    /// The version of its values.
    pub version: u64,
    /// Where it may go; `None`: unbound.
    #[serde(with = "spelling::hosts")]
    pub hosts: Option<BoundHosts>,
    /// When it ends, unix seconds.
    pub expires: Option<i64>,
    /// Its values.
    pub values: Vec<SealedValue>,
}

/// One sealed value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedValue {
    /// Its key within the secret.
    pub key: String,
    /// Of AES-GCM.
    pub nonce: Bytes<12>,
    /// Ciphertext and tag.
    pub sealed: Text,
}

/// A variable that the agent gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exposure {
    /// The variable.
    pub variable: String,
    /// What it holds.
    pub holds: Holds,
}

/// What a variable of the agent holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Holds {
    /// A plain value.
    Value(String),
    /// The value of a secret: the one way in which one reaches the agent.
    Secret(KeyOf),
}

/// One key of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyOf {
    /// The secret.
    pub name: SecretName,
    /// Its key.
    pub key: String,
}

/// Audit lines that a sidecar leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Which chain of this agent's sidecars: 16 hexadecimal digits.
    pub source: Option<String>,
    /// In the place of `source`: the chain that has this line.
    pub behind: Option<Behind>,
    /// The chain's next lines, without newlines; none asks where it stands.
    pub lines: Vec<String>,
}

/// A line of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Behind {
    /// Its number.
    pub seq: u64,
    /// Its hash, 64 hexadecimal digits.
    pub hash: String,
}

/// Where the server's copy of a chain stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Which chain.
    pub source: String,
    /// The number of its last line; 0: none.
    pub seq: u64,
}

/// What a sidecar says once a snapshot is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ack {
    /// The snapshot's revision.
    pub revision: u64,
}

impl DocumentKind {
    /// As documents say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Provider => "Provider",
            Self::ModelProvider => "ModelProvider",
        }
    }
}

impl Message {
    /// Reads one line, with or without its newline.
    ///
    /// # Errors
    /// Everything that the module refuses.
    pub fn parse(line: &[u8]) -> Result<Self, WireError> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if line.len() > LINE_MAX {
            return Err(WireError::TooLong);
        }
        let message: Self =
            serde_json::from_slice(line).map_err(|error| WireError::Malformed(error.column()))?;
        match &message {
            Self::Snapshot(snapshot) | Self::Change(snapshot) => snapshot.check()?,
            Self::Answered(answered) => answered.check()?,
            Self::Ping(_) | Self::End(_) => {}
        }
        Ok(message)
    }

    /// The line, with its newline.
    ///
    /// # Errors
    /// `TooLong` and the rules that [`Message::parse`] would refuse it by.
    pub fn line(&self) -> Result<Vec<u8>, WireError> {
        if let Self::Snapshot(snapshot) | Self::Change(snapshot) = self {
            snapshot.check()?;
        }
        let mut line = serde_json::to_vec(self).map_err(|_| WireError::Malformed(0))?;
        if line.len() > LINE_MAX {
            return Err(WireError::TooLong);
        }
        line.push(b'\n');
        Ok(line)
    }
}

impl Answered {
    fn check(&self) -> Result<(), WireError> {
        let is_id = |id: &String| id.len() <= KEY_MAX && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        if self.ask.as_ref().is_none_or(is_id) { Ok(()) } else { Err(WireError::Rule("a question's id")) }
    }
}

impl Snapshot {
    /// The agent's name, as rules and the audit show it.
    pub fn agent_name(&self) -> AgentName {
        AgentName::new(&self.agent)
    }

    fn check(&self) -> Result<(), WireError> {
        let rule = |holds: bool, what: &'static str| if holds { Ok(()) } else { Err(WireError::Rule(what)) };
        rule(is_name(&self.project), "the project's name")?;
        rule(is_agent(&self.agent), "the agent's name")?;
        let counts = [self.documents.len(), self.secrets.len(), self.env.len()];
        rule(counts.iter().all(|count| *count <= ITEMS_MAX), "the length of a list")?;
        rule(self.documents.iter().all(|one| is_name(&one.name)), "a document's name")?;
        rule(self.documents.iter().all(|one| one.text.len() <= DOCUMENT_MAX), "a document's length")?;
        rule(are_unique(self.documents.iter().map(|one| &one.name)), "two documents of one name")?;
        rule(are_unique(self.secrets.iter().map(|one| &one.name)), "two secrets of one name")?;
        rule(are_unique(self.env.iter().map(|one| &one.variable)), "two variables of one name")?;
        rule(self.env.iter().all(Exposure::is_right), "a variable")?;
        self.secrets.iter().try_for_each(SealedSecret::check)
    }
}

impl Exposure {
    fn is_right(&self) -> bool {
        let holds = match &self.holds {
            Holds::Value(value) => value.len() <= VALUE_MAX && !value.contains(['\0', '\n', '\r']),
            Holds::Secret(of) => is_key(&of.key),
        };
        is_variable(&self.variable) && holds
    }
}

impl SealedSecret {
    fn check(&self) -> Result<(), WireError> {
        let lengths = TAG..=VALUE_MAX + TAG;
        if self.values.is_empty() || self.values.len() > KEYS_MAX {
            return Err(WireError::Rule("the number of a secret's values"));
        }
        if !self.values.iter().all(|value| is_key(&value.key) && lengths.contains(&value.sealed.0.len())) {
            return Err(WireError::Rule("a sealed value"));
        }
        if !are_unique(self.values.iter().map(|value| &value.key)) {
            return Err(WireError::Rule("two values of one key"));
        }
        Ok(())
    }
}

fn are_unique<'a, T: Eq + std::hash::Hash + 'a>(mut all: impl Iterator<Item = &'a T>) -> bool {
    let mut seen = HashSet::new();
    all.all(|one| seen.insert(one))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn snapshot() -> Snapshot {
        Snapshot {
            revision: 7,
            project: "team-a".into(),
            agent: "coder".into(),
            expires: None,
            seal: Bytes([9; 32]),
            documents: vec![Document {
                kind: DocumentKind::Provider,
                name: "github".into(),
                version: 2,
                text: "kind: Provider".into(),
            }],
            secrets: vec![SealedSecret {
                name: "github-pat".parse().unwrap(),
                version: 3,
                hosts: Some(BoundHosts::parse(&["api.github.com"]).unwrap()),
                expires: Some(5),
                values: vec![SealedValue {
                    key: "token".into(),
                    nonce: Bytes([1; 12]),
                    sealed: Text(vec![2; 40]),
                }],
            }],
            env: vec![Exposure {
                variable: "TOKEN".into(),
                holds: Holds::Secret(KeyOf { name: "github-pat".parse().unwrap(), key: "token".into() }),
            }],
            mac: Bytes([3; 32]),
        }
    }

    fn text() -> String {
        String::from_utf8(Message::Snapshot(snapshot()).line().unwrap()).unwrap()
    }

    #[test]
    fn refuses_unknown_repeated_and_missing_fields() {
        let good = text();
        assert_eq!(Message::parse(good.as_bytes()), Ok(Message::Snapshot(snapshot())));
        for (from, to) in [
            (r#""revision":7"#, r#""revision":7,"revision":8"#),
            (r#""revision":7"#, r#""revision":7,"more":8"#),
            (r#""revision":7,"#, ""),
            (r#""project":"team-a","#, ""),
            (r#""name":"github""#, r#""name":"github","name":"gitlab""#),
            (r#""name":"github-pat""#, r#""name":"github-pat","hint":"x""#),
            (r#""key":"token","nonce""#, r#""key":"token","key":"token","nonce""#),
            (r#"{"snapshot":"#, r#"{"snapshots":"#),
            (r#"{"snapshot":"#, r#"{"ping":{"revision":7},"snapshot":"#),
            (r#""kind":"Provider""#, r#""kind":"Agent""#),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            assert!(matches!(Message::parse(bad.as_bytes()), Err(WireError::Malformed(_))), "{bad}");
        }
        for bad in [
            "",
            "{}",
            "[]",
            "null",
            "\"ping\"",
            "{\"ping\":{}}",
            "{\"ping\":{\"revision\":-1}}",
            "{\"end\":\"other\"}",
        ] {
            assert!(Message::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(Message::parse(format!("{}x", good.trim_end()).as_bytes()).is_err());
    }

    #[test]
    fn refuses_hosts_that_are_not_in_their_one_spelling() {
        let good = text();
        for hosts in [
            r#"["API.github.com"]"#,
            r#"["api.github.com","api.github.com"]"#,
            r#"["api.github.com:443"]"#,
            r#"["b.example","a.example"]"#,
            "[]",
            r#"["*"]"#,
        ] {
            let bad = good.replacen(r#"["api.github.com"]"#, hosts, 1);
            assert!(Message::parse(bad.as_bytes()).is_err(), "{hosts}");
        }
        assert!(Message::parse(good.replacen(r#"["api.github.com"]"#, "null", 1).as_bytes()).is_ok());
    }

    #[test]
    fn refuses_names_lengths_and_lists_beyond_their_rules() {
        let changes: [fn(&mut Snapshot); 16] = [
            |s| s.project = "../etc".into(),
            |s| s.project = String::new(),
            |s| s.agent = "a/b".into(),
            |s| s.agent = "a".repeat(64),
            |s| s.documents[0].name = "Upper".into(),
            |s| s.documents[0].text = "x".repeat(DOCUMENT_MAX + 1),
            |s| s.documents.push(s.documents[0].clone()),
            |s| s.documents = vec![s.documents[0].clone(); ITEMS_MAX + 1],
            |s| s.secrets.push(s.secrets[0].clone()),
            |s| s.secrets[0].values.clear(),
            |s| s.secrets[0].values[0].sealed.0.truncate(TAG - 1),
            |s| s.secrets[0].values[0].sealed.0 = vec![0; VALUE_MAX + TAG + 1],
            |s| s.secrets[0].values[0].key = "a b".into(),
            |s| {
                let same = s.secrets[0].values[0].clone();
                s.secrets[0].values.push(same);
            },
            |s| s.env[0].variable = "A=B".into(),
            |s| s.env.push(s.env[0].clone()),
        ];
        for (at, change) in changes.iter().enumerate() {
            let mut bad = snapshot();
            change(&mut bad);
            let line = serde_json::to_vec(&Message::Change(bad.clone())).unwrap();
            assert!(matches!(Message::parse(&line), Err(WireError::Rule(_))), "{at}");
            assert!(Message::Change(bad).line().is_err(), "{at}");
        }
    }

    #[test]
    fn refuses_a_line_that_does_not_end() {
        let mut line = text().into_bytes();
        line.resize(LINE_MAX + 1, b' ');
        assert_eq!(Message::parse(&line), Err(WireError::TooLong));
    }

    #[test]
    fn errors_repeat_nothing_of_the_line() {
        let bad = text().replace("team-a", "canary canary").replace("\"revision\":7", "\"canary\":7");
        assert!(!Message::parse(bad.as_bytes()).unwrap_err().to_string().contains("canary"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_and_what_is_read_writes_back(at in 0_usize..700, byte in any::<u8>(), cut in 0_usize..700) {
            let mut line = text().into_bytes();
            let at = at % line.len();
            line[at] = byte;
            line.truncate(line.len() - cut % line.len());
            if let Ok(message) = Message::parse(&line) {
                prop_assert_eq!(Message::parse(&message.line().unwrap()), Ok(message));
            }
        }
    }
}
