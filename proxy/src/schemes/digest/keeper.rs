//! What one version of a Digest credential keeps: user and password, the last challenge of each agent and target with how
//! often it was answered, and the hashes that were sent last.
//!
//! All of it in memory, bounded, and gone with the version. Refuses a realm that is not the configured one, and a nonce that
//! another target was seen to ask with: who relays a challenge would get the answer to it. Invariant: the count of a nonce
//! that is kept only rises.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use control::refusal::{Code, Refusal};
use control::target::Target;
use http::header::{HeaderMap, HeaderValue};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::challenge::{Algorithm, Asked, Challenge, asked};
use super::md5;
use crate::schemes::shared::encode::hex;
use crate::schemes::shared::template::sensitive;
use crate::schemes::{Challenged, Echo, Head, Responder};

/// For how many pairs of agent and target a challenge is kept.
const CHALLENGES: usize = 256;
/// How many of the hashes that were sent are looked for in answers: each one costs some in every search.
const HASHES: usize = 32;

/// The credential and what came of it.
pub(super) struct Keeper {
    user: Zeroizing<Vec<u8>>,
    password: Zeroizing<Vec<u8>>,
    /// The weakest hash that is answered with.
    least: Algorithm,
    /// The only realm that is answered to.
    realm: Option<String>,
    kept: Mutex<Kept>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("least", &self.least).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Kept {
    /// The one that was used last stands last.
    challenges: VecDeque<Known>,
    hashes: VecDeque<Arc<Echo>>,
}

struct Known {
    agent: String,
    target: Target,
    challenge: Arc<Challenge>,
    count: u32,
}

impl Kept {
    fn of(&mut self, agent: &str, target: &Target) -> Option<&mut Known> {
        let at = self.challenges.iter().position(|known| known.agent == agent && known.target == *target)?;
        let known = self.challenges.remove(at)?;
        self.challenges.push_back(known);
        self.challenges.back_mut()
    }

    fn add(&mut self, known: Known) {
        if self.challenges.len() >= CHALLENGES {
            self.challenges.pop_front();
        }
        self.challenges.push_back(known);
    }
}

impl Responder for Keeper {
    fn respond(
        &self,
        headers: &HeaderMap,
        agent: &str,
        target: &Target,
        head: &Head,
    ) -> Result<Option<Challenged>, Refusal> {
        let challenge = match asked(headers) {
            Asked::Nothing => return Ok(None),
            Asked::Digest(challenge) if challenge.algorithm >= self.least => Arc::new(challenge),
            Asked::Digest(_) => {
                return Err(rejected(
                    "the upstream's Digest challenge offers nothing but MD5, which the provider does not allow (`md5: allow`)",
                ));
            }
            Asked::Unknown => {
                return Err(rejected(
                    "the upstream's Digest challenge offers neither SHA-256 nor MD5 with `qop=auth`, or cannot be read",
                ));
            }
        };
        if self.realm.as_ref().is_some_and(|realm| *realm != challenge.realm) {
            return Err(rejected("the upstream's Digest challenge is of another realm than the provider's"));
        }
        let count = self.count(&challenge, agent, target)?;
        let value = self.answer(&challenge, count, head)?;
        Ok(Some(Challenged { value, echoes: self.sent() }))
    }
}

impl Keeper {
    pub(super) fn new(
        user: Zeroizing<Vec<u8>>,
        password: Zeroizing<Vec<u8>>,
        least: Algorithm,
        realm: Option<String>,
    ) -> Self {
        Self { user, password, least, realm, kept: Mutex::default() }
    }

    /// The challenge that is answered without being asked, and how often it was.
    pub(super) fn next(&self, agent: &str, target: &Target) -> Option<(Arc<Challenge>, u32)> {
        let mut kept = self.kept.lock();
        let known = kept.of(agent, target)?;
        known.count = known.count.checked_add(1)?;
        Some((Arc::clone(&known.challenge), known.count))
    }

    /// How often a challenge is answered with this answer; it is the kept one from here on.
    fn count(&self, challenge: &Arc<Challenge>, agent: &str, target: &Target) -> Result<u32, Refusal> {
        let mut kept = self.kept.lock();
        let is_relayed = |known: &Known| known.target != *target && known.challenge.nonce == challenge.nonce;
        if kept.challenges.iter().any(is_relayed) {
            return Err(rejected("the upstream's Digest challenge is one that another host has made"));
        }
        let challenge = Arc::clone(challenge);
        let Some(known) = kept.of(agent, target) else {
            kept.add(Known { agent: agent.to_owned(), target: target.clone(), challenge, count: 1 });
            return Ok(1);
        };
        let before = if known.challenge.nonce == challenge.nonce { known.count } else { 0 };
        let count = before.checked_add(1);
        known.count = count.ok_or_else(|| rejected("the upstream's Digest nonce was used too often"))?;
        known.challenge = challenge;
        Ok(known.count)
    }

    /// The hashes that were sent last, whoever they were sent for.
    pub(super) fn sent(&self) -> Vec<Arc<Echo>> {
        self.kept.lock().hashes.iter().cloned().collect()
    }

    /// The value of `Authorization`; its hash is looked for in answers from here on.
    pub(super) fn answer(
        &self,
        challenge: &Challenge,
        count: u32,
        head: &Head,
    ) -> Result<HeaderValue, Refusal> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|_| super::refuse("there are no random numbers for Digest"))?;
        self.answer_with(challenge, count, head, &hex(&random))
    }

    /// RFC 7616 section 3.4.1.
    fn answer_with(
        &self,
        challenge: &Challenge,
        count: u32,
        head: &Head,
        cnonce: &str,
    ) -> Result<HeaderValue, Refusal> {
        let Challenge { realm, nonce, opaque, algorithm, userhash } = challenge;
        let (uri, method, count) = (head.target.as_str(), head.method.as_str(), format!("{count:08x}"));
        let of = |parts: &[&[u8]]| Zeroizing::new(algorithm.hex(&joined(parts)));
        let first = of(&[&self.user, realm.as_bytes(), &self.password]);
        let second = of(&[method.as_bytes(), uri.as_bytes()]);
        let texts = [first.as_str(), nonce, &count, cnonce, "auth", &second];
        let response = of(&texts.map(str::as_bytes));
        let user = match userhash {
            true => Zeroizing::new(algorithm.hex(&joined(&[&self.user, realm.as_bytes()])).into_bytes()),
            false => self.user.clone(),
        };
        let user = std::str::from_utf8(&user).map_err(|_| super::refuse("the user name is not UTF-8"))?;
        let name = algorithm.name();
        let mut value = format!(
            "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", algorithm={name}, response=\"{}\", qop=auth, nc={count}, cnonce=\"{cnonce}\"",
            *response
        );
        if let Some(opaque) = opaque {
            value.push_str(&format!(", opaque=\"{opaque}\""));
        }
        if *userhash {
            value.push_str(", userhash=true");
        }
        let value = sensitive(Zeroizing::new(value.into_bytes()));
        let value = value.map_err(|_| super::refuse("the answer to the challenge cannot be sent"))?;
        let hashes = &mut self.kept.lock().hashes;
        if hashes.len() >= HASHES {
            hashes.pop_front();
        }
        hashes.push_back(Arc::new(super::echo(response.as_bytes())));
        Ok(value)
    }
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    fn hex(self, bytes: &[u8]) -> String {
        match self {
            Self::Md5 => hex(&md5::md5(bytes)),
            Self::Sha256 => hex(digest(&SHA256, bytes).as_ref()),
        }
    }
}

/// With colons between.
fn joined(parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let room = parts.iter().map(|part| part.len() + 1).sum();
    let mut out = Zeroizing::new(Vec::with_capacity(room));
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            out.push(b':');
        }
        out.extend_from_slice(part);
    }
    out
}

/// An answer of ours in place of the upstream's 401, which would not say why.
fn rejected(detail: &'static str) -> Refusal {
    Refusal::new(Code::Dw1006, detail).with_status(502)
}

#[cfg(test)]
mod tests {
    use http::header::WWW_AUTHENTICATE;

    use super::*;
    use crate::schemes::conformance::request;

    fn challenge(algorithm: Algorithm) -> Challenge {
        Challenge {
            realm: "http-auth@example.org".into(),
            nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v".into(),
            opaque: Some("FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS".into()),
            algorithm,
            userhash: false,
        }
    }

    fn of_realm(least: Algorithm, realm: Option<&str>) -> Keeper {
        let value = |text: &str| Zeroizing::new(text.as_bytes().to_vec());
        Keeper::new(value("Mufasa"), value("Circle of Life"), least, realm.map(str::to_owned))
    }

    fn keeper(least: Algorithm) -> Keeper {
        of_realm(least, None)
    }

    fn target(authority: &str) -> Target {
        Target::parse_authority(authority).unwrap()
    }

    fn asking(text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, text.parse().unwrap());
        headers
    }

    fn of(nonce: &str) -> HeaderMap {
        asking(&format!("Digest realm=\"r\", nonce=\"{nonce}\", qop=auth, algorithm=SHA-256"))
    }

    /// The count of an answer.
    fn count(answer: Result<Option<Challenged>, Refusal>) -> String {
        let value = answer.unwrap().unwrap().value;
        let value = value.to_str().unwrap();
        value.split(", nc=").nth(1).unwrap().get(..8).unwrap().to_owned()
    }

    #[test]
    fn the_examples_of_rfc_7616_section_3_9_1() {
        for (algorithm, response) in [
            (Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
            (Algorithm::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
            let (head, keeper) = (request("GET /dir/index.html"), keeper(algorithm));
            let value = keeper.answer_with(&challenge(algorithm), 1, &head, cnonce).unwrap();
            let wanted = format!(
                "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", uri=\"/dir/index.html\", algorithm={}, response=\"{response}\", qop=auth, nc=00000001, cnonce=\"{cnonce}\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"",
                algorithm.name()
            );
            assert_eq!(value.to_str().unwrap(), wanted);
            assert!(value.is_sensitive());
            let sent = keeper.sent();
            assert_eq!(
                sent.iter().map(|echo| echo.value.as_slice()).collect::<Vec<_>>(),
                [response.as_bytes()]
            );
        }
    }

    #[test]
    fn refuses_another_realm_than_the_configured_one() {
        let (head, at) = (request("GET /"), target("a.example:443"));
        let other = of_realm(Algorithm::Sha256, Some("lions")).respond(&of("n"), "a", &at, &head);
        assert_eq!(other.unwrap_err().code, Code::Dw1006);
        assert_eq!(
            count(of_realm(Algorithm::Sha256, Some("r")).respond(&of("n"), "a", &at, &head)),
            "00000001"
        );
    }

    #[test]
    fn refuses_a_challenge_that_another_host_has_made() {
        let (head, keeper) = (request("GET /"), keeper(Algorithm::Sha256));
        let respond = |nonce, agent, at: &str| keeper.respond(&of(nonce), agent, &target(at), &head);
        count(respond("n", "a", "a.example:443"));
        for (agent, at) in [("a", "evil.example:443"), ("b", "evil.example:443"), ("a", "a.example:8443")] {
            let refusal = respond("n", agent, at).unwrap_err();
            assert_eq!((refusal.code, refusal.status), (Code::Dw1006, 502), "{agent} {at}");
        }
        assert_eq!(count(respond("m", "a", "evil.example:443")), "00000001");
        assert_eq!(count(respond("n", "b", "a.example:443")), "00000001");
    }

    #[test]
    fn the_count_of_a_nonce_that_is_kept_only_rises_for_each_agent() {
        let (head, keeper, at) = (request("GET /"), keeper(Algorithm::Sha256), target("a.example:443"));
        let respond = |nonce: &str, agent: &str| count(keeper.respond(&of(nonce), agent, &at, &head));
        assert_eq!(respond("n", "a"), "00000001");
        assert_eq!(keeper.next("a", &at).unwrap().1, 2);
        assert_eq!(respond("n", "a"), "00000003", "asked for with the same nonce once more");
        assert!(keeper.next("b", &at).is_none(), "what one agent was asked is not answered for another");
        assert_eq!(respond("n", "b"), "00000001");
        assert_eq!(keeper.next("a", &at).unwrap().1, 4);
        assert_eq!(respond("m", "a"), "00000001");
        keeper.kept.lock().challenges.back_mut().unwrap().count = u32::MAX;
        assert!(keeper.next("a", &at).is_none());
        assert_eq!(keeper.respond(&of("m"), "a", &at, &head).unwrap_err().code, Code::Dw1006);
        for number in 0..CHALLENGES * 2 {
            respond(&format!("n{number}"), &format!("agent-{number}"));
        }
        assert_eq!(keeper.kept.lock().challenges.len(), CHALLENGES);
    }

    #[test]
    fn every_hash_that_was_sent_is_looked_for_and_the_oldest_are_forgotten() {
        let (head, keeper, at) = (request("GET /"), keeper(Algorithm::Sha256), target("a.example:443"));
        let response = |value: HeaderValue| {
            let text = value.to_str().unwrap().split("response=\"").nth(1).unwrap();
            text.as_bytes()[..64].to_vec()
        };
        let first = keeper.respond(&of("n"), "a", &at, &head).unwrap().unwrap();
        let first = response(first.value);
        let second = keeper.respond(&of("m"), "b", &at, &head).unwrap().unwrap();
        let searched: Vec<_> = second.echoes.iter().map(|echo| echo.value.to_vec()).collect();
        assert_eq!(searched, [first.clone(), response(second.value)]);
        for _ in 0..HASHES {
            keeper.answer(&challenge(Algorithm::Sha256), 1, &head).unwrap();
        }
        let sent = keeper.sent();
        assert!(sent.len() == HASHES && sent.iter().all(|echo| *echo.value != first));
    }

    #[test]
    fn a_user_that_is_asked_for_as_a_hash_is_not_named() {
        let challenge = Challenge { userhash: true, ..challenge(Algorithm::Sha256) };
        let value = keeper(Algorithm::Sha256).answer(&challenge, 1, &request("GET /")).unwrap();
        let value = value.to_str().unwrap();
        assert!(!value.contains("Mufasa") && value.ends_with("userhash=true"), "{value}");
    }

    #[test]
    fn refuses_md5_where_it_is_not_allowed_and_what_is_not_known() {
        let (head, at) = (request("GET /"), target("a.example:443"));
        let md5 = asking("Digest realm=\"r\", nonce=\"n\", qop=auth");
        let other = asking("Digest realm=\"r\", nonce=\"n\", qop=auth-int");
        let respond = |least, headers: &HeaderMap| keeper(least).respond(headers, "a", &at, &head);
        let refusal = respond(Algorithm::Sha256, &md5).unwrap_err();
        assert_eq!((refusal.code, refusal.status), (Code::Dw1006, 502));
        assert!(respond(Algorithm::Md5, &md5).unwrap().is_some());
        assert_eq!(respond(Algorithm::Md5, &other).unwrap_err().code, Code::Dw1006);
        assert!(respond(Algorithm::Md5, &asking("Basic realm=\"r\"")).unwrap().is_none());
    }
}
