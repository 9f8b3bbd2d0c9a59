//! Id tokens (OpenID Connect Core 1.0, sections 2 and 3.1.3.7; RFC 8725): who logged in, if the issuer signed it for us, for this
//! login, and now.
//!
//! Refuses `alg` none and shared keys, critical extensions, other issuers, audiences and parties, times that are not now,
//! another login's `nonce`, and claims that stand there twice. Parsed once: what was verified is what is read.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::keys::{Alg, Key};

/// The longest token.
const MOST: usize = 16 * 1024;
/// The longest subject (section 2).
const SUBJECT: usize = 255;
/// How long ago a token may have been signed: it comes straight from the issuer.
const FRESH: i64 = 600;

/// Why a token is not taken. Nothing of it is in this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three parts of base64url with JSON in two of them, or claims that are doubled or of another type.
    #[error("it is malformed")]
    Form,
    /// `alg` is neither RS256 nor ES256.
    #[error("its algorithm is none that is taken")]
    Algorithm,
    /// No key of the issuer's has that name and algorithm.
    #[error("its key is none of the issuer's")]
    Key,
    /// The key did not sign it.
    #[error("its signature does not hold")]
    Signature,
    /// `iss`.
    #[error("it is another issuer's")]
    Issuer,
    /// `aud`, `azp`.
    #[error("it is for somebody else")]
    Audience,
    /// `exp`, `nbf`, `iat`.
    #[error("it does not hold now")]
    Time,
    /// `nonce`.
    #[error("it is of another login")]
    Nonce,
    /// `sub`.
    #[error("it names nobody")]
    Subject,
}

/// What a token has to be.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The issuer.
    pub issuer: &'a str,
    /// Us.
    pub client: &'a str,
    /// This login's.
    pub nonce: &'a str,
    /// Now, unix seconds.
    pub now: i64,
    /// How far clocks may be apart, seconds.
    pub skew: i64,
}

/// Who logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The issuer's own name for him.
    pub subject: String,
    /// His e-mail address in lower case, if the issuer has verified it.
    pub email: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    azp: Option<String>,
    exp: i64,
    nbf: Option<i64>,
    iat: i64,
    nonce: Option<String>,
    email: Option<String>,
    email_verified: Option<bool>,
}

fn part<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Form)?;
    serde_json::from_slice(&bytes).map_err(|_| TokenError::Form)
}

fn parts(token: &str) -> Result<(&str, &str, &str), TokenError> {
    let mut parts = token.split('.');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(head), Some(body), Some(signature), None) if token.len() <= MOST => Ok((head, body, signature)),
        _ => Err(TokenError::Form),
    }
}

/// How and by which key a token says that it is signed.
///
/// # Errors
/// A malformed token, and an algorithm that is not taken.
pub(super) fn header(token: &str) -> Result<(Alg, Option<String>), TokenError> {
    let header: Header = part(parts(token)?.0)?;
    // None is understood (RFC 7515, section 4.1.11).
    if header.crit.is_some() {
        return Err(TokenError::Form);
    }
    Ok((Alg::parse(&header.alg).ok_or(TokenError::Algorithm)?, header.kid))
}

/// Verifies a token with the key that it names.
///
/// # Errors
/// See [`TokenError`].
pub fn verify(token: &str, key: &Key, expected: &Expected<'_>) -> Result<Identity, TokenError> {
    let (head, body, signature) = parts(token)?;
    if header(token)?.0 != key.alg() {
        return Err(TokenError::Algorithm);
    }
    let signed = token.get(..head.len() + 1 + body.len()).ok_or(TokenError::Form)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Form)?;
    if !key.has_signed(signed.as_bytes(), &signature) {
        return Err(TokenError::Signature);
    }
    claims(part(body)?, expected)
}

fn claims(claims: Claims, expected: &Expected<'_>) -> Result<Identity, TokenError> {
    if claims.iss != expected.issuer {
        return Err(TokenError::Issuer);
    }
    let (is_for_us, is_several) = match &claims.aud {
        Audience::One(one) => (one == expected.client, false),
        Audience::Several(all) => (all.iter().any(|one| one == expected.client), all.len() > 1),
    };
    // Of several, the one that it was given to has to be named (section 3.1.3.7, steps 4 and 5).
    let is_given_to_us = match &claims.azp {
        Some(party) => party == expected.client,
        None => !is_several,
    };
    if !is_for_us || !is_given_to_us {
        return Err(TokenError::Audience);
    }
    let (early, late) =
        (expected.now.saturating_sub(expected.skew), expected.now.saturating_add(expected.skew));
    let is_now = claims.exp > early
        && claims.nbf.is_none_or(|from| from <= late)
        && claims.iat <= late
        && claims.iat >= early.saturating_sub(FRESH);
    if !is_now {
        return Err(TokenError::Time);
    }
    if claims.nonce.as_deref() != Some(expected.nonce) {
        return Err(TokenError::Nonce);
    }
    let is_name =
        (1..=SUBJECT).contains(&claims.sub.len()) && claims.sub.bytes().all(|b| b.is_ascii_graphic());
    if !is_name {
        return Err(TokenError::Subject);
    }
    let is_address = |email: &String| {
        email.len() <= SUBJECT && email.contains('@') && email.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let email = claims.email.filter(|email| claims.email_verified == Some(true) && is_address(email));
    Ok(Identity { subject: claims.sub, email: email.map(|email| email.to_ascii_lowercase()) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const NOW: i64 = 1_800_000_000;
    const EXPECTED: Expected<'_> =
        Expected { issuer: "https://issuer.example", client: "us", nonce: "n", now: NOW, skew: 60 };

    fn judged(change: impl FnOnce(&mut Value)) -> Result<Identity, TokenError> {
        let mut all = json!({
            "iss": "https://issuer.example", "sub": "s", "aud": "us", "exp": NOW + 300, "iat": NOW, "nonce": "n",
            "email": "A@example.com", "email_verified": true,
        });
        change(&mut all);
        let read = serde_json::from_value(all).map_err(|_| TokenError::Form)?;
        claims(read, &EXPECTED)
    }

    #[test]
    fn times_hold_within_the_skew_and_not_beyond() {
        for (field, at, is_taken) in [
            ("exp", NOW - 59, true),
            ("exp", NOW - 60, false),
            ("nbf", NOW + 60, true),
            ("nbf", NOW + 61, false),
            ("iat", NOW + 60, true),
            ("iat", NOW + 61, false),
            ("iat", NOW - 660, true),
            ("iat", NOW - 661, false),
            ("exp", i64::MIN, false),
            ("iat", i64::MIN, false),
            ("nbf", i64::MAX, false),
        ] {
            let outcome = judged(|all| all[field] = json!(at));
            assert_eq!(outcome.is_ok(), is_taken, "{field} {at}: {outcome:?}");
        }
    }

    #[test]
    fn of_several_audiences_the_party_has_to_be_named() {
        for (aud, azp, is_taken) in [
            (json!(["us"]), Value::Null, true),
            (json!(["us", "them"]), Value::Null, false),
            (json!(["us", "them"]), json!("us"), true),
            (json!(["us", "them"]), json!("them"), false),
            (json!("us"), json!("them"), false),
            (json!("them"), json!("us"), false),
            (json!([]), json!("us"), false),
        ] {
            let outcome = judged(|all| {
                all["aud"] = aud.clone();
                all["azp"] = azp.clone();
            });
            assert_eq!(outcome.is_ok(), is_taken, "{aud} {azp}: {outcome:?}");
        }
    }

    #[test]
    fn an_address_counts_only_as_a_verified_one() {
        assert_eq!(judged(|_| {}).unwrap().email.as_deref(), Some("a@example.com"));
        for (field, value) in [
            ("email_verified", json!(false)),
            ("email_verified", Value::Null),
            ("email", json!("no address")),
            ("email", json!("\u{e4}@example.com")),
        ] {
            assert_eq!(judged(|all| all[field] = value.clone()).unwrap().email, None, "{field} {value}");
        }
        // A text is no truth.
        assert!(judged(|all| all["email_verified"] = json!("true")).is_err());
    }

    proptest! {
        #[test]
        fn no_text_is_a_token_by_chance(text in "[A-Za-z0-9_.{}\":, -]{0,200}") {
            prop_assert!(header(&text).is_err() || parts(&text).is_ok());
        }

        #[test]
        fn no_header_but_those_of_the_two_algorithms_is_taken(alg in ".{0,8}") {
            let head = URL_SAFE_NO_PAD.encode(json!({"alg": alg}).to_string());
            let taken = header(&format!("{head}.e30.AA")).is_ok();
            prop_assert_eq!(taken, alg == "RS256" || alg == "ES256");
        }
    }
}
