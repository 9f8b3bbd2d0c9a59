//! What a sidecar asks for a request that needs a person's approval, and what it is told: `POST /v1/sync/asks`.
//!
//! The answer is what gives an approval out, so it is authenticated like a snapshot: for the sidecar's key, with the question's
//! own nonce and the digest of all that was bound. One that was edited, was for another request, or was said before, is
//! refused. The message of the stream that a question was decided ([`super::wire::Answered`]) gives nothing: who hears it
//! asks again.

use serde::{Deserialize, Serialize};

use super::seal::{PublicKey, SealError, SealKey, Sealer, Whose};
use super::wire::Bytes;
use crate::approval::{Answer, Binding, Grant, Preview};
use crate::vault::length_prefixed;

/// The longest id of a request.
const REQUEST_MAX: usize = 64;

/// What a sidecar asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asking {
    /// Drawn for this call.
    pub nonce: Bytes<16>,
    /// The `Doorward-Request-Id` of the request.
    pub request: String,
    /// What it would send.
    pub binding: Binding,
    /// What people may see of the body, where the rule says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<Preview>,
}

/// What it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    said: Said,
    /// The server's half of the key agreement for this answer.
    seal: PublicKey,
    mac: Bytes<32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Said {
    /// `body`: the approval is for this body alone.
    Granted {
        id: String,
        body: bool,
        until: i64,
    },
    Open {
        id: String,
        until: i64,
    },
    Denied {
        id: String,
        until: i64,
    },
    Full,
}

impl Asking {
    /// Asks for a request.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn new(binding: Binding, request: &str, preview: Option<Preview>) -> Result<Self, SealError> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|_| SealError::Random)?;
        Ok(Self { nonce: Bytes(nonce), request: request.to_owned(), binding, preview })
    }

    /// Whether it is this agent's own, and can go before people.
    pub(super) fn is_of(&self, project: &str, agent: &str) -> bool {
        let is_id = (1..=REQUEST_MAX).contains(&self.request.len())
            && self.request.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        let own = self.binding.project == project && self.binding.agent == agent;
        let is_shown = self.preview.as_ref().is_none_or(|preview| preview.check(&self.binding).is_ok());
        is_id && own && self.binding.check().is_ok() && is_shown
    }
}

/// What is authenticated with an answer.
fn text(asking: &Asking, said: &Said) -> Result<Vec<u8>, SealError> {
    let said = serde_json::to_vec(said).map_err(|_| SealError::Forged)?;
    Ok(length_prefixed(&[&asking.nonce.0, &asking.binding.digest(), &said]))
}

impl Told {
    /// The answer for the sidecar with this key.
    pub(super) fn new(sidecar: PublicKey, asking: &Asking, answer: &Answer) -> Result<Self, SealError> {
        let said = match answer {
            Answer::Granted(grant) => Said::Granted {
                id: grant.id().to_owned(),
                body: !grant.is_for_any_body(),
                until: grant.until(),
            },
            Answer::Open { id, expires } => Said::Open { id: id.clone(), until: *expires },
            Answer::Denied { id, until } => Said::Denied { id: id.clone(), until: *until },
            Answer::Full => Said::Full,
        };
        let whose = Whose { revision: 0, project: &asking.binding.project, agent: &asking.binding.agent };
        let sealer = Sealer::new(sidecar, whose)?;
        let mac = sealer.answer(&text(asking, &said)?)?;
        Ok(Self { said, seal: sealer.public(), mac })
    }

    /// What it says, to who asked with this key.
    ///
    /// # Errors
    /// `Forged` for an answer that was not made for this question.
    pub fn open(self, key: &SealKey, asking: &Asking) -> Result<Answer, SealError> {
        key.check_answer(&self.seal, &text(asking, &self.said)?, &self.mac)?;
        Ok(match self.said {
            Said::Granted { id, body, until } => {
                let binding = &asking.binding;
                let body = body.then_some((binding.body.0, binding.body_bytes));
                Answer::Granted(Grant::new(id, binding.scope(), body, until))
            }
            Said::Open { id, until } => Answer::Open { id, expires: until },
            Said::Denied { id, until } => Answer::Denied { id, until },
            Said::Full => Answer::Full,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approval::tests::binding;

    fn told(key: &SealKey, asking: &Asking) -> Told {
        let own = &asking.binding;
        let grant = Grant::new("a1".into(), own.scope(), Some((own.body.0, own.body_bytes)), 100);
        Told::new(key.public(), asking, &Answer::Granted(grant)).unwrap()
    }

    #[test]
    fn refuses_an_answer_that_was_not_made_for_this_question_and_key() {
        let key = SealKey::generate().unwrap();
        let asking = Asking::new(binding(), "1f-1", None).unwrap();
        let Ok(Answer::Granted(grant)) = told(&key, &asking).open(&key, &asking) else {
            panic!("not opened")
        };
        assert!(grant.covers(&binding(), 99) && !grant.covers(&binding(), 100));
        let refused = |told: Told, asking: &Asking| {
            assert_eq!(told.open(&key, asking).map(drop), Err(SealError::Forged));
        };
        // Said before, to the same question.
        refused(told(&key, &asking), &Asking::new(binding(), "1f-1", None).unwrap());
        let mut other = asking.clone();
        other.binding.path = "/other".into();
        refused(told(&key, &asking), &other);
        refused(told(&SealKey::generate().unwrap(), &asking), &asking);
        let open = Told::new(key.public(), &asking, &Answer::Open { id: "a1".into(), expires: 100 }).unwrap();
        let Told { seal, mac, .. } = open;
        refused(Told { said: told(&key, &asking).said, seal, mac }, &asking);
        let mut longer = told(&key, &asking);
        longer.said = Said::Granted { id: "a1".into(), body: true, until: 101 };
        refused(longer, &asking);
        let mut wider = told(&key, &asking);
        wider.said = Said::Granted { id: "a1".into(), body: false, until: 100 };
        refused(wider, &asking);
    }

    #[test]
    fn refuses_questions_of_another_agent_and_odd_ids() {
        let asking = |request: &str| Asking::new(binding(), request, None).unwrap();
        assert!(asking("00ff-12").is_of("one", "coder"));
        assert!(!asking("00ff-12").is_of("two", "coder") && !asking("00ff-12").is_of("one", "other"));
        for id in ["", "\u{1b}[2J", "x", &"1".repeat(65)] {
            assert!(!asking(id).is_of("one", "coder"), "{id}");
        }
        // The body has three bytes.
        let shown = |body: &[u8]| Asking::new(binding(), "1", Some(Preview::of(body))).unwrap();
        assert!(shown(b"one").is_of("one", "coder") && !shown(b"four").is_of("one", "coder"));
    }
}
