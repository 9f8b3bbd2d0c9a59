//! Tokens that a secret holds beside its refresh token: used while they live, replaced when the refresh token is.
//!
//! Refuses a token that was given out already: who asks again wants another one. Invariant: what says that a token lives
//! was said by its issuer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use control::secret::Secret;
use parking_lot::Mutex;

use crate::schemes::Values;
use crate::schemes::shared::issuer::{Issued, check};
use crate::schemes::shared::token::UNSAID;

/// The key of the token, and that of its end.
const TOKEN: &str = "access_token";
const END: &str = "expires_at";
/// A token with less left is not begun with.
const WORTH: Duration = Duration::from_secs(300);

/// Which token was given out last, by its hash.
#[derive(Debug, Default)]
pub(super) struct Given(Mutex<Option<[u8; 32]>>);

impl Given {
    /// The secret's own token, if it lives long enough and was not given out before.
    pub(super) fn stored(&self, now: SystemTime, values: &Values<'_>) -> Option<Issued> {
        let token = values.of(TOKEN).ok()?;
        let left = end(values)?.duration_since(now).ok().filter(|left| *left >= WORTH)?;
        if *self.0.lock() == Some(hash(token)) {
            return None;
        }
        // exposed: copied out of the opened secret, which is closed when the exchange ends
        let token = Secret::new(token.expose().to_vec());
        let issued = Issued::new(token, Some(left.as_secs())).ok()?;
        Some(Issued { was_asked: false, ..issued })
    }

    pub(super) fn remember(&self, token: &Secret) {
        *self.0.lock() = Some(hash(token));
    }
}

fn hash(token: &Secret) -> [u8; 32] {
    let mut hash = [0; 32];
    // exposed: hashed, to tell it from another one
    hash.copy_from_slice(digest(&SHA256, token.expose()).as_ref());
    hash
}

fn end(values: &Values<'_>) -> Option<SystemTime> {
    // exposed: digits of a time, no secret
    let text = std::str::from_utf8(values.of(END).ok()?.expose()).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(text.trim().parse().ok()?))
}

/// Reads the end of a token whose issuer did not say its life beside it, and keeps the token with a new refresh token, where
/// the secret has a place for it.
pub(super) fn settle(issued: &mut Issued, now: SystemTime, values: &Values<'_>) {
    if issued.life == UNSAID
        && let Some(left) = said_by(&issued.token).and_then(|end| end.duration_since(now).ok())
    {
        issued.life = left.max(Duration::from_secs(1));
    }
    // The last one stays where the refresh token does: then nothing has to be written.
    if issued.renewed.is_empty() || values.of(TOKEN).is_err() || check(&issued.token).is_err() {
        return;
    }
    let end = now.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_add(issued.life);
    // exposed: copied into the version of the secret that is kept
    let token = Secret::new(issued.token.expose().to_vec());
    issued.renewed.push((TOKEN.to_owned(), token));
    issued.renewed.push((END.to_owned(), Secret::new(end.as_secs().to_string().into_bytes())));
}

/// The end that a JWT names itself (RFC 7519 section 4.1.4); its signature is the upstream's to judge.
pub(crate) fn said_by(token: &Secret) -> Option<SystemTime> {
    let end = claims(token)?.get("exp")?.as_u64()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(end))
}

/// The claims of a JWT.
pub(crate) fn claims(token: &Secret) -> Option<serde_json::Value> {
    // exposed: its claims are read, which hold no secret; the signature is not looked at
    let part = token.expose().split(|&b| b == b'.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}
