//! Who calls: agents and the digests of their tokens.
//!
//! Tokens come from the token file ([`Agents::parse`]) and are kept as SHA-256 digests only. A presented token is compared
//! with every digest, in constant time and without an early end, so that answers tell nothing by their timing; what is
//! answered does not tell either whether a token is unknown or expired.

mod credentials;
mod file;

pub use credentials::{Credentials, bare_token, credentials};
pub use file::{Mistake, Mistakes, read_token_file};

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::refusal::{Code, Refusal};
use crate::secret::Secret;

/// An agent's name, as audit records and rules show it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentName(Arc<str>);

impl AgentName {
    /// The name that stands for whoever reaches a loopback listener without a token file, and for a token without a name.
    pub fn local() -> Self {
        Self("agent".into())
    }

    /// A name read from a token file; the caller has checked its grammar.
    pub(crate) fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name's text, shared: what audit entries hold.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl fmt::Display for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// By what an agent was recognised. Not secret, but no use to anybody: shown nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Proof {
    /// The token's digest.
    Token([u8; 32]),
    /// The user id of a unix socket's peer.
    Uid(u32),
    /// That it reaches a listener which nobody else reaches.
    Place,
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(_) => f.write_str("Token"),
            Self::Uid(uid) => write!(f, "Uid({uid})"),
            Self::Place => f.write_str("Place"),
        }
    }
}

/// A recognised agent. Kept by its connection and checked again for each request ([`Agents::is_current`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    name: AgentName,
    proof: Proof,
    expires: Option<SystemTime>,
}

impl Identity {
    /// The agent.
    pub fn name(&self) -> &AgentName {
        &self.name
    }

    /// When its token expires.
    pub fn expires(&self) -> Option<SystemTime> {
        self.expires
    }

    fn is_alive(&self, now: SystemTime) -> bool {
        self.expires.is_none_or(|end| now < end)
    }
}

/// Why nobody was recognised. The refusals for `Unknown` and `Expired` are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unidentified {
    /// No credentials that can be read.
    #[error("no proxy credentials")]
    Missing,
    /// A token, or a peer, that nobody knows.
    #[error("unknown proxy credentials")]
    Unknown,
    /// A token that has expired.
    #[error("expired proxy credentials")]
    Expired,
}

impl Unidentified {
    /// What the agent gets: 407.
    pub fn refusal(self) -> Refusal {
        match self {
            Self::Missing => Refusal::new(Code::Dw3001, "this proxy needs credentials"),
            Self::Unknown | Self::Expired => {
                Refusal::new(Code::Dw3002, "the proxy credentials are not valid")
            }
        }
    }
}

/// The agents of one token file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agents {
    // In the order of their proofs.
    entries: Vec<Identity>,
}

impl Agents {
    /// Reads a token file's text; `label` is what mistakes are reported under. An empty file is valid: nobody is known.
    pub fn parse(label: &str, text: &str) -> Result<Self, Mistakes> {
        file::parse(label, text, file::Tokens::Forget).map(|(agents, _)| agents)
    }

    /// Like [`Agents::parse`], and hands out the tokens, for `--publish` only.
    pub fn parse_to_publish(label: &str, text: &str) -> Result<(Self, Vec<(AgentName, Secret)>), Mistakes> {
        file::parse(label, text, file::Tokens::HandOut)
    }

    /// One agent with one token.
    pub fn one(name: AgentName, token: &Secret, expires: Option<SystemTime>) -> Self {
        // exposed: only its digest is kept
        let proof = Proof::Token(digest(token.expose()));
        Self::new(vec![Identity { name, proof, expires }])
    }

    /// One agent, whom no token is asked for: whoever reaches a listener on loopback is it.
    pub fn at_hand(name: AgentName, expires: Option<SystemTime>) -> Self {
        Self::new(vec![Identity { name, proof: Proof::Place, expires }])
    }

    /// The same with another name for whoever has a line without one.
    #[must_use]
    pub fn with_local_as(mut self, name: &AgentName) -> Self {
        for entry in self.entries.iter_mut().filter(|entry| entry.name == AgentName::local()) {
            entry.name = name.clone();
        }
        self
    }

    /// The same, none of them for longer than until then.
    #[must_use]
    pub fn until(mut self, end: Option<SystemTime>) -> Self {
        for entry in &mut self.entries {
            entry.expires = entry.expires.into_iter().chain(end).min();
        }
        self
    }

    fn new(mut entries: Vec<Identity>) -> Self {
        entries.sort_by_key(|entry| entry.proof);
        Self { entries }
    }

    /// Whose token it is.
    pub fn identify(
        &self,
        presented: Option<&Credentials>,
        now: SystemTime,
    ) -> Result<Identity, Unidentified> {
        let presented = presented.ok_or(Unidentified::Missing)?;
        let mut found: Option<usize> = None;
        for token in presented.candidates() {
            // Every candidate is looked up whatever the others gave.
            match (self.position(&digest(token)), found) {
                (Some(at), None) => found = Some(at),
                (Some(at), Some(other)) if at != other => return Err(Unidentified::Unknown),
                (Some(_) | None, _) => {}
            }
        }
        let entry = found.and_then(|at| self.entries.get(at)).ok_or(Unidentified::Unknown)?;
        if entry.is_alive(now) { Ok(entry.clone()) } else { Err(Unidentified::Expired) }
    }

    /// Who reaches a listener on loopback, where that is proof enough; `None`: it is not.
    pub fn by_place(&self, now: SystemTime) -> Option<Result<Identity, Unidentified>> {
        let entry = self.entry(Proof::Place)?;
        Some(if entry.is_alive(now) { Ok(entry.clone()) } else { Err(Unidentified::Expired) })
    }

    /// Whether no token is asked for on loopback.
    pub fn are_at_hand(&self) -> bool {
        self.entry(Proof::Place).is_some()
    }

    /// Who a unix socket's peer is.
    pub fn by_uid(&self, uid: u32, now: SystemTime) -> Result<Identity, Unidentified> {
        let entry = self.entry(Proof::Uid(uid)).ok_or(Unidentified::Unknown)?;
        if entry.is_alive(now) { Ok(entry.clone()) } else { Err(Unidentified::Expired) }
    }

    /// Whether somebody recognised earlier, maybe by an earlier file, still is who he was.
    pub fn is_current(&self, identity: &Identity, now: SystemTime) -> bool {
        self.entry(identity.proof).is_some_and(|entry| entry.name == identity.name && entry.is_alive(now))
    }

    /// The next moment at which a token expires, for the timer that ends its tunnels.
    pub fn earliest_expiry(&self, after: SystemTime) -> Option<SystemTime> {
        self.entries.iter().filter_map(Identity::expires).filter(|end| *end > after).min()
    }

    /// The agents' names, each once, in order.
    pub fn names(&self) -> Vec<&AgentName> {
        let mut names: Vec<_> = self.entries.iter().map(Identity::name).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Whether the file names peers of the unix listener; without any only our own uid is let in.
    pub fn has_uids(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.proof, Proof::Uid(_)))
    }

    /// Whether the agent is known by a uid, too.
    pub fn has_uid(&self, agent: &AgentName) -> bool {
        self.entries.iter().any(|entry| entry.name == *agent && matches!(entry.proof, Proof::Uid(_)))
    }

    fn entry(&self, proof: Proof) -> Option<&Identity> {
        self.entries
            .binary_search_by_key(&proof, |entry| entry.proof)
            .ok()
            .and_then(|at| self.entries.get(at))
    }

    fn position(&self, wanted: &[u8; 32]) -> Option<usize> {
        let mut position = u64::MAX;
        for (at, entry) in (0_u64..).zip(&self.entries) {
            let hit = match &entry.proof {
                Proof::Token(known) => known.ct_eq(wanted),
                Proof::Uid(_) | Proof::Place => Choice::from(0),
            };
            position.conditional_assign(&at, hit);
        }
        usize::try_from(position).ok().filter(|at| *at < self.entries.len())
    }
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use http::HeaderValue;

    use super::*;

    const FILE: &str = "# agents\n\
        ci:0123456789abcdef0 expires=2030-01-01T00:00:00Z\n\
        \n  coder:fedcba98765432100   # the one on the laptop\n\
        coder:uid=1000\nothers:uid=1001 expires=2001-01-01T00:00:00+01:00\n";

    #[test]
    fn nobody_of_a_file_lives_longer_than_the_agent_that_it_is_for() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let ends = |agents: &Agents| {
            let mut ends: Vec<_> = agents.entries.iter().map(Identity::expires).collect();
            ends.sort();
            ends
        };
        let of_file = [None, None, Some(at(978_303_600)), Some(at(1_893_456_000))];
        assert_eq!(ends(&agents().until(None)), of_file);
        let sooner = [
            Some(at(978_303_600)),
            Some(at(1_000_000_000)),
            Some(at(1_000_000_000)),
            Some(at(1_000_000_000)),
        ];
        assert_eq!(ends(&agents().until(Some(at(1_000_000_000)))), sooner);
    }

    fn agents() -> Agents {
        Agents::parse("tokens", FILE).unwrap()
    }

    fn bearer(token: &str) -> Credentials {
        credentials(&HeaderValue::from_str(&format!("Bearer {token}")).unwrap()).unwrap()
    }

    fn day(year: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_hours((year - 1970) * 8766)
    }

    #[test]
    fn refuses_unknown_expired_and_missing_tokens_without_telling_the_first_two_apart() {
        let agents = agents();
        assert_eq!(agents.identify(None, day(2026)), Err(Unidentified::Missing));
        for token in ["0123456789abcdef1", "0123456789abcdef", "0123456789abcdef00", "uid=1000", "ci"] {
            assert_eq!(
                agents.identify(Some(&bearer(token)), day(2026)),
                Err(Unidentified::Unknown),
                "{token}"
            );
        }
        let late = agents.identify(Some(&bearer("0123456789abcdef0")), day(2031));
        assert_eq!(late, Err(Unidentified::Expired));
        assert_eq!(Unidentified::Unknown.refusal(), Unidentified::Expired.refusal());
        assert_eq!(Unidentified::Missing.refusal().status, 407);
    }

    #[test]
    fn refuses_two_tokens_of_different_agents_in_one_header() {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let both = STANDARD.encode("0123456789abcdef0:fedcba98765432100");
        let presented = credentials(&HeaderValue::from_str(&format!("Basic {both}")).unwrap()).unwrap();
        assert_eq!(agents().identify(Some(&presented), day(2026)), Err(Unidentified::Unknown));
    }

    #[test]
    fn refuses_peers_that_the_file_does_not_name() {
        assert_eq!(agents().by_uid(0, day(2026)), Err(Unidentified::Unknown));
        assert_eq!(agents().by_uid(1001, day(2026)), Err(Unidentified::Expired));
        assert_eq!(agents().by_uid(1000, day(2026)).unwrap().name().as_str(), "coder");
        assert!(agents().has_uids());
        let named = |name| agents().has_uid(&AgentName::new(name));
        assert!(named("coder") && !named("ci"));
    }

    #[test]
    fn an_identity_ends_when_its_line_goes_changes_its_name_or_expires() {
        let agents = agents();
        let coder = agents.identify(Some(&bearer("fedcba98765432100")), day(2026)).unwrap();
        let ci = agents.identify(Some(&bearer("0123456789abcdef0")), day(2026)).unwrap();
        assert!(agents.is_current(&coder, day(2040)) && agents.is_current(&ci, day(2026)));
        assert!(!agents.is_current(&ci, day(2031)));
        for text in [
            "",
            "coder:another-token-0000",
            "other:fedcba98765432100",
            "coder:fedcba98765432100 expires=2001-01-01T00:00:00Z",
        ] {
            assert!(!Agents::parse("t", text).unwrap().is_current(&coder, day(2026)), "{text:?}");
        }
    }

    #[test]
    fn reaching_the_place_is_proof_only_where_it_was_said_to_be_and_until_the_agent_ends() {
        assert!(agents().by_place(day(2026)).is_none() && !agents().are_at_hand());
        let end = UNIX_EPOCH + Duration::from_secs(1_893_456_000);
        let at_hand = Agents::at_hand(AgentName::new("coder"), Some(end));
        let coder = at_hand.by_place(day(2026)).unwrap().unwrap();
        assert!(coder.name().as_str() == "coder" && at_hand.is_current(&coder, day(2026)));
        assert_eq!(at_hand.by_place(day(2031)), Some(Err(Unidentified::Expired)));
        assert_eq!(at_hand.earliest_expiry(day(2026)), Some(end));
        // A token is none, and neither is a user; a revoked agent is nobody.
        assert!(at_hand.identify(Some(&bearer("fedcba98765432100")), day(2026)).is_err());
        assert!(at_hand.by_uid(0, day(2026)).is_err());
        assert!(!Agents::default().is_current(&coder, day(2026)));
    }

    #[test]
    fn knows_names_and_the_next_expiry() {
        let agents = agents();
        assert_eq!(
            agents.names().iter().map(|name| name.as_str()).collect::<Vec<_>>(),
            ["ci", "coder", "others"]
        );
        let next = agents.earliest_expiry(day(2026)).unwrap();
        assert_eq!(next, UNIX_EPOCH + Duration::from_secs(1_893_456_000));
        assert_eq!(agents.earliest_expiry(next), None);
    }

    #[test]
    fn debug_shows_no_digest() {
        let shown = format!("{:?}", agents());
        assert!(shown.contains("Token") && !shown.contains("Token("), "{shown}");
    }
}
