//! Approvals: what a person is asked about a request, and what the answer lets through.
//!
//! A [`Binding`] says everything that an approval is bound to. It is made by [`crate::policy::Question::bind`] from what will be
//! sent, and is what the person sees. A [`Grant`] is what came of an approval: it is made only where the registry gave an
//! approval out ([`crate::registry::Registry::ask`], one transaction, an approval for once to one request alone), or from a
//! server's authenticated answer, and opens nothing but a permit whose binding it matches.
//!
//! Refuses bindings over their bounds, in other spellings than ours, or with control characters: they go before people.

mod headers;
mod preview;

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::sync::wire::Bytes;
use crate::vault::length_prefixed;

pub(crate) use headers::digest as headers_digest;
pub use preview::Preview;
pub(crate) use preview::again as shown_again;

/// How long a question stays open, how long an approval for once waits to be used, and how long a denial is remembered, in
/// seconds.
pub const LIFE: i64 = 60 * 60;
/// The longest time that an approval may hold, in seconds.
pub const LONGEST: i64 = 7 * 24 * 60 * 60;
/// Open questions of one agent: more tell nobody anything.
pub const OPEN_MAX: u64 = 32;
/// How long what is over can still be read, in seconds.
pub const KEPT: i64 = 24 * 60 * 60;

/// The longest name of an agent, provider or rule.
const NAME_MAX: usize = 253;
/// The longest path with its query, escaped.
const PATH_MAX: usize = 3 * 65_536;
/// The longest of the other texts.
const TEXT_MAX: usize = 512;

/// What is wrong with a binding. Says nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a field of the binding is over its bound, or no text that goes before people")]
pub struct Unfit;

/// Everything that an approval is bound to. Nothing of it is secret; header values and the body are digests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// The project.
    pub project: String,
    /// Who asks.
    pub agent: String,
    /// The provider.
    pub provider: String,
    /// A digest of the provider's whole document: a change of it voids the approval.
    pub definition: Bytes<32>,
    /// The id of the rule that asks.
    pub rule: String,
    /// The method.
    pub method: String,
    /// Host and port.
    pub authority: String,
    /// The canonical path and the query, as people may see them: where a credential lies in the path, that part is masked.
    pub path: String,
    /// A digest of path and query as they will be sent, before a credential is put on them.
    pub sent: Bytes<32>,
    /// A digest of the headers that will be sent, without those that change from one attempt to the next.
    pub headers: Bytes<32>,
    /// What the request does, as the provider's type knows it.
    pub action: Option<String>,
    /// The way in which the credential is put on; `None`: none is.
    pub scheme: Option<String>,
    /// It opens a WebSocket: what is said on it later is not known.
    pub websocket: bool,
    /// The length of the body.
    pub body_bytes: u64,
    /// The SHA-256 of the body.
    pub body: Bytes<32>,
}

impl Binding {
    /// A digest of everything but the body.
    pub fn scope(&self) -> [u8; 32] {
        let Self { project, agent, provider, rule, method, authority, path, action, scheme, .. } = self;
        let maybe = |text: &Option<String>| match text {
            Some(text) => format!("={text}"),
            None => String::new(),
        };
        let parts = length_prefixed(&[
            b"doorward approval 1",
            project.as_bytes(),
            agent.as_bytes(),
            provider.as_bytes(),
            &self.definition.0,
            rule.as_bytes(),
            method.as_bytes(),
            authority.as_bytes(),
            path.as_bytes(),
            &self.sent.0,
            &self.headers.0,
            maybe(action).as_bytes(),
            maybe(scheme).as_bytes(),
            &[u8::from(self.websocket)],
        ]);
        Sha256::digest(parts).into()
    }

    /// A digest of all of it, as people compare it and the audit shows it.
    pub fn digest(&self) -> [u8; 32] {
        let parts = length_prefixed(&[&self.scope(), &self.body_bytes.to_be_bytes(), &self.body.0]);
        Sha256::digest(parts).into()
    }

    /// Refuses what this module refuses.
    pub fn check(&self) -> Result<(), Unfit> {
        let fits = |text: &str, most: usize| {
            !text.is_empty() && text.len() <= most && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let names = [&self.project, &self.agent, &self.provider, &self.rule];
        let short = [Some(&self.method), Some(&self.authority), self.action.as_ref(), self.scheme.as_ref()];
        let all = names.iter().all(|text| fits(text, NAME_MAX))
            && short.into_iter().flatten().all(|text| fits(text, TEXT_MAX))
            && fits(&self.path, PATH_MAX);
        if all { Ok(()) } else { Err(Unfit) }
    }
}

/// A text of an agent's or upstream's making as people may see it: whatever is no visible ASCII is percent-coded, so that it
/// moves no cursor and looks like nothing else.
pub fn escaped(text: &str) -> String {
    use fmt::Write as _;
    let mut shown = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() {
            shown.push(char::from(byte));
        } else if write!(shown, "%{byte:02X}").is_err() {
            break;
        }
    }
    shown
}

/// The proof that a person approved a request, and that this approval was given out to it.
///
/// ```compile_fail,E0451
/// fn forge() -> control::approval::Grant {
///     control::approval::Grant { id: "a".into(), scope: [0; 32], body: None, until: None }
/// }
/// ```
///
/// ```compile_fail,E0599
/// let grant = control::approval::Grant::default();
/// ```
#[derive(Debug)]
pub struct Grant {
    id: String,
    scope: [u8; 32],
    /// `None`: whatever the body is.
    body: Option<([u8; 32], u64)>,
    /// Up to when it holds, unix seconds.
    until: i64,
}

impl Grant {
    /// From what the registry keeps of the approval.
    pub(crate) fn new(id: String, scope: [u8; 32], body: Option<([u8; 32], u64)>, until: i64) -> Self {
        Self { id, scope, body, until }
    }

    /// The approval's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether it is for whatever the body is.
    pub(crate) fn is_for_any_body(&self) -> bool {
        self.body.is_none()
    }

    /// Up to when it holds, unix seconds.
    pub(crate) fn until(&self) -> i64 {
        self.until
    }

    /// Whether it is for exactly this, now.
    pub(crate) fn covers(&self, binding: &Binding, now: i64) -> bool {
        self.scope == binding.scope()
            && self.body.is_none_or(|body| body == (binding.body.0, binding.body_bytes))
            && now < self.until
    }
}

/// Which request asks.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its id.
    pub request: &'a str,
    /// What a person may see of its body, as it is to be kept with the question while that is open.
    pub preview: Option<&'a Kept>,
}

impl<'a> From<&'a str> for Asked<'a> {
    fn from(request: &'a str) -> Self {
        Self { request, preview: None }
    }
}

/// A [`Preview`] as it is kept: sealed at a server, as it is in a file of one user alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Kept(pub Vec<u8>);

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept")
    }
}

/// What came of asking.
#[derive(Debug)]
pub enum Answer {
    /// A person has approved it, and the approval is this request's.
    Granted(Grant),
    /// Nobody has decided yet.
    Open {
        /// The question's id.
        id: String,
        /// When it ends, unix seconds.
        expires: i64,
    },
    /// A person has denied it.
    Denied {
        /// The question's id.
        id: String,
        /// Until when that is remembered, unix seconds.
        until: i64,
    },
    /// The agent has too many open questions for another one.
    Full,
}

/// What a person decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// One request may go out.
    Once {
        /// Whatever its body is.
        any_body: bool,
    },
    /// Such requests may go out until then, unix seconds.
    Until {
        /// The end.
        until: i64,
        /// Whatever their body is.
        any_body: bool,
    },
    /// The document was changed in its place: it is settled.
    Settled,
    /// None may.
    Deny,
}

/// Where a question stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody has decided.
    Open,
    /// Approved; one request may use it.
    Once,
    /// Approved until it ends.
    Time,
    /// Denied.
    Denied,
    /// The one request has used it.
    Used,
    /// Settled by a change of the rules.
    Settled,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Open, Self::Once, Self::Time, Self::Denied, Self::Used, Self::Settled];

    /// As stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Once => "approved-once",
            Self::Time => "approved",
            Self::Denied => "denied",
            Self::Used => "used",
            Self::Settled => "settled",
        }
    }

    /// Reads it as it is stored.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == text)
    }
}

/// A question as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskRow {
    /// Its id.
    pub id: String,
    /// What is asked.
    pub binding: Binding,
    /// The version of the provider's document when it was asked; 0: the server has none of that name.
    pub document: u64,
    /// The `Doorward-Request-Id` of the first request.
    pub request: String,
    /// What a person may see of the body; kept while nobody has decided.
    pub preview: Option<Kept>,
    /// Where it stands.
    pub state: State,
    /// Whatever the body is.
    pub any_body: bool,
    /// When it was asked, unix seconds.
    pub created: i64,
    /// When it ends: the question, the approval, or the memory of the denial; unix seconds.
    pub expires: i64,
    /// When and by whom it was decided.
    pub decided: Option<(i64, String)>,
    /// The revision of its last write.
    pub version: u64,
}

impl AskRow {
    /// What a person may see of the body, for as long as there is something to decide.
    pub(crate) fn open_preview(&self, now: i64) -> Option<&Kept> {
        self.preview.as_ref().filter(|_| self.state == State::Open && now < self.expires)
    }

    /// What a record says of a decision: what was done to which request, by the digest of all that it is bound to.
    pub fn told(&self, decision: Decision) -> String {
        let (verb, any_body) = match decision {
            Decision::Once { any_body } => ("approved once", any_body),
            Decision::Until { any_body, .. } => ("approved for a time", any_body),
            Decision::Settled => ("approved as a rule", false),
            Decision::Deny => ("denied", false),
        };
        let body = if any_body { ", any body" } else { "" };
        format!("{verb}{body}, agent {}, binding {}", self.binding.agent, hex::encode(self.binding.digest()))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What one request is bound to.
    pub(crate) fn binding() -> Binding {
        Binding {
            project: "one".into(),
            agent: "coder".into(),
            provider: "gh".into(),
            definition: Bytes([1; 32]),
            rule: "ask-first".into(),
            method: "DELETE".into(),
            authority: "api.github.com:443".into(),
            path: "/repos/a/b?x=1".into(),
            sent: Bytes([2; 32]),
            headers: Bytes([3; 32]),
            action: Some("repo:delete".into()),
            scheme: Some("header".into()),
            websocket: false,
            body_bytes: 3,
            body: Bytes([4; 32]),
        }
    }

    /// Each field of a binding with another value.
    pub(crate) const CHANGES: [fn(&mut Binding); 15] = [
        |b| b.project = "two".into(),
        |b| b.agent = "other".into(),
        |b| b.provider = "gh2".into(),
        |b| b.definition.0[0] ^= 1,
        |b| b.rule = "other".into(),
        |b| b.method = "POST".into(),
        |b| b.authority = "api.github.com:8443".into(),
        |b| b.path = "/repos/a/c?x=1".into(),
        |b| b.sent.0[31] ^= 1,
        |b| b.headers.0[0] ^= 1,
        |b| b.action = None,
        |b| b.scheme = None,
        |b| b.websocket = true,
        |b| b.body_bytes = 4,
        |b| b.body.0[9] ^= 1,
    ];

    fn grant(of: &Binding, any_body: bool) -> Grant {
        let body = (!any_body).then_some((of.body.0, of.body_bytes));
        Grant::new("a".into(), of.scope(), body, 100)
    }

    #[test]
    fn a_grant_covers_nothing_in_which_one_field_differs() {
        let own = binding();
        assert!(grant(&own, false).covers(&own, 99));
        for (at, change) in CHANGES.iter().enumerate() {
            let mut other = own.clone();
            change(&mut other);
            assert_ne!(own.digest(), other.digest(), "{at}");
            assert!(!grant(&own, false).covers(&other, 0), "{at}");
            // The body is the last two.
            assert_eq!(grant(&own, true).covers(&other, 0), at >= 13, "{at}");
        }
    }

    #[test]
    fn a_grant_covers_nothing_once_it_is_over() {
        let own = binding();
        assert!(!grant(&own, false).covers(&own, 100));
        assert!(!grant(&own, true).covers(&own, 101));
    }

    #[test]
    fn neighbouring_fields_cannot_be_shifted_into_each_other() {
        let (mut one, mut other) = (binding(), binding());
        (one.provider, one.rule) = ("gh".into(), "a".into());
        (other.provider, other.rule) = ("gha".into(), String::new());
        assert_ne!(one.scope(), other.scope());
        (one.action, one.scheme) = (Some(String::new()), None);
        (other.action, other.scheme) = (None, Some(String::new()));
        (other.provider, other.rule) = (one.provider.clone(), one.rule.clone());
        assert_ne!(one.scope(), other.scope());
    }

    #[test]
    fn refuses_texts_that_could_move_a_cursor_or_are_over_their_bound() {
        binding().check().unwrap();
        let bad: [fn(&mut Binding); 8] = [
            |b| b.path = "/a\u{1b}[2J".into(),
            |b| b.path = "/a\nb".into(),
            |b| b.path = "/\u{202e}a".into(),
            |b| b.path = "/".repeat(PATH_MAX + 1),
            |b| b.rule = String::new(),
            |b| b.method = "A B".into(),
            |b| b.agent = "a".repeat(NAME_MAX + 1),
            |b| b.action = Some("\u{7}".into()),
        ];
        for (at, change) in bad.iter().enumerate() {
            let mut binding = binding();
            change(&mut binding);
            assert_eq!(binding.check(), Err(Unfit), "{at}");
        }
        assert_eq!(escaped("/a b\u{1b}[2J\u{202e}%41"), "/a%20b%1B[2J%E2%80%AE%41");
    }

    #[test]
    fn states_read_back() {
        for state in State::ALL {
            assert_eq!(State::parse(state.name()), Some(state));
        }
        assert_eq!(State::parse("granted"), None);
    }
}
