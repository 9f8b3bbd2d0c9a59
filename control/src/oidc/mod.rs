//! Logins of people by an issuer (OpenID Connect): its endpoints, its keys, and the id tokens that it signs.
//!
//! Refuses plain http, an issuer that calls itself otherwise, and every id token that is not, by its signature and its claims,
//! for this server and this login ([`token`]). Endpoints and keys are read when they are needed and kept for an hour; a key
//! that is not known is looked for once, and not again before a while has passed. No token and no code is logged.

mod facts;
mod keys;
mod token;

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::Semaphore;
use zeroize::{Zeroize as _, Zeroizing};

use self::facts::Facts;
pub use self::keys::{Key, Keys};
pub use self::token::{Expected, Identity, TokenError, verify};
use crate::outgoing::{Ask, Outgoing, OutgoingError, Place};
use crate::secret::Secret;

/// How long endpoints and keys are kept: a key that the issuer withdrew counts for nothing from then on.
const KEPT: Duration = Duration::from_secs(3600);
/// How long after a look for keys the next one may be: whoever sends tokens with keys of his own makes us ask no more often.
const FLOOR: Duration = Duration::from_secs(30);
/// How far the issuer's clock and ours may be apart.
const SKEW: i64 = 60;

/// Why nobody was logged in. Nothing of a token or code is in it.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// A call to the issuer.
    #[error("the issuer cannot be reached")]
    Unreachable(#[source] OutgoingError),
    /// What it answered is not what issuers answer.
    #[error("the issuer's {0} cannot be used")]
    Unusable(&'static str),
    /// The issuer does not take the code.
    #[error("the issuer refuses the login's code")]
    Refused,
    /// The id token.
    #[error("the issuer's id token is not taken")]
    Token(#[from] TokenError),
}

/// An issuer that people log in with.
pub struct Issuer {
    issuer: String,
    client: String,
    secret: Option<Secret>,
    outgoing: Outgoing,
    facts: Mutex<Option<(Facts, Instant)>>,
    keys: Mutex<Option<(Keys, Instant)>>,
    /// One look at a time.
    look: Semaphore,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer")
            .field("issuer", &self.issuer)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

/// What the issuer gave for a code.
#[derive(Deserialize)]
struct Given {
    id_token: Option<String>,
}

impl Drop for Given {
    fn drop(&mut self) {
        self.id_token.zeroize();
    }
}

impl Issuer {
    /// An issuer of this URL, at which the server is this client.
    ///
    /// # Errors
    /// An issuer that is no `https://` URL, or has a query (OpenID Connect Discovery 1.0, section 3).
    pub fn new(
        issuer: String,
        client: String,
        secret: Option<Secret>,
        outgoing: Outgoing,
    ) -> Result<Self, OutgoingError> {
        let place = Place::parse(&issuer)?;
        if place.path().contains('?') {
            return Err(OutgoingError::Url("it has a query"));
        }
        let (facts, keys, look) = (Mutex::default(), Mutex::default(), Semaphore::new(1));
        Ok(Self { issuer, client, secret, outgoing, facts, keys, look })
    }

    /// Its URL, as its tokens name it.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// What the server is called there.
    pub fn client(&self) -> &str {
        &self.client
    }

    /// Where a person agrees.
    ///
    /// # Errors
    /// The issuer cannot be reached, or says what cannot be used.
    pub async fn authorization_url(&self) -> Result<String, OidcError> {
        Ok(self.facts().await?.authorization)
    }

    /// Who logged in: shows the code, with what proves that the login is the caller's, and verifies what comes back.
    ///
    /// # Errors
    /// See [`OidcError`].
    pub async fn identity(
        &self,
        code: &Secret,
        verifier: &Secret,
        redirect: &str,
        nonce: &str,
        now: i64,
    ) -> Result<Identity, OidcError> {
        let facts = self.facts().await?;
        let ask = facts.exchange(&self.client, self.secret.as_ref(), code, verifier, redirect)?;
        let answer = self.outgoing.call(&facts.token, ask).await.map_err(OidcError::Unreachable)?;
        match answer.status.as_u16() {
            200 => {}
            400..=403 => return Err(OidcError::Refused),
            _ => return Err(OidcError::Unusable("token endpoint")),
        }
        let given: Given =
            serde_json::from_slice(&answer.body).map_err(|_| OidcError::Unusable("token endpoint"))?;
        let token = given.id_token.as_deref().ok_or(OidcError::Unusable("answer without an id token"))?;
        let (alg, kid) = token::header(token)?;
        let key = self.key(&facts, alg, kid.as_deref()).await?;
        let expected = Expected { issuer: &self.issuer, client: &self.client, nonce, now, skew: SKEW };
        Ok(verify(token, &key, &expected)?)
    }

    async fn facts(&self) -> Result<Facts, OidcError> {
        let kept = |facts: &Mutex<Option<(Facts, Instant)>>| {
            facts.lock().as_ref().filter(|(_, at)| at.elapsed() < KEPT).map(|(facts, _)| facts.clone())
        };
        if let Some(facts) = kept(&self.facts) {
            return Ok(facts);
        }
        // The semaphore is never closed.
        let _turn = self.look.acquire().await.map_err(|_| OidcError::Unusable("turn"))?;
        if let Some(facts) = kept(&self.facts) {
            return Ok(facts);
        }
        let facts = Facts::read(&self.issuer, &self.outgoing).await?;
        *self.facts.lock() = Some((facts.clone(), Instant::now()));
        Ok(facts)
    }

    /// The key that signs, looked for at the issuer's once if it is not known.
    async fn key(&self, facts: &Facts, alg: keys::Alg, kid: Option<&str>) -> Result<Key, OidcError> {
        let unknown = || OidcError::Token(TokenError::Key);
        let kept = |bound: Duration| {
            let keys = self.keys.lock();
            let (keys, at) = keys.as_ref()?;
            (at.elapsed() < bound).then(|| keys.find(alg, kid))
        };
        if let Some(Some(key)) = kept(KEPT) {
            return Ok(key);
        }
        let _turn = self.look.acquire().await.map_err(|_| OidcError::Unusable("turn"))?;
        // Somebody has looked meanwhile, or just before.
        if let Some(found) = kept(FLOOR) {
            return found.ok_or_else(unknown);
        }
        let answer = self.outgoing.call(&facts.keys, Ask::get()).await.map_err(OidcError::Unreachable)?;
        let body = Some(&answer.body).filter(|_| answer.status.is_success());
        let keys = body.and_then(|body| Keys::parse(body)).ok_or(OidcError::Unusable("key set"))?;
        let found = keys.find(alg, kid);
        *self.keys.lock() = Some((keys, Instant::now()));
        found.ok_or_else(unknown)
    }
}

/// A form field, percent-coded.
fn field(form: &mut Zeroizing<Vec<u8>>, name: &str, value: &[u8]) {
    if !form.is_empty() {
        form.push(b'&');
    }
    form.extend_from_slice(name.as_bytes());
    form.push(b'=');
    coded(form, value);
}

fn coded(to: &mut Zeroizing<Vec<u8>>, value: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            to.push(*byte);
        } else {
            let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
            to.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}
