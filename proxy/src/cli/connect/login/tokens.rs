//! What a token endpoint gave, as the values of the secret.
//!
//! Refuses answers without a refresh token (the login would end with the first token), and a vendor's answer that does not
//! name the account which its API wants.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use control::secret::Secret;

use super::facts::Facts;
use crate::schemes::oauth2_refresh::held::{claims, said_by};
use crate::schemes::shared::issuer::{Reply, check};
use crate::schemes::shared::token::UNSAID;

pub(super) const ACCESS: &str = "access_token";
pub(super) const REFRESH: &str = "refresh_token";
pub(super) const END: &str = "expires_at";
pub(super) const ACCOUNT: &str = "account_id";

/// Reads them. The error holds nothing of the answer.
pub(super) fn values(
    reply: &Reply,
    facts: &Facts<'_>,
    now: SystemTime,
) -> Result<Vec<(String, Secret)>, String> {
    let told = |failed: crate::schemes::Failed| failed.refusal.detail.to_string();
    let issued = if facts.is_vendors() { reply.vendor_token() } else { reply.token() }.map_err(told)?;
    let mut object = reply.object().map_err(told)?;
    let refresh = object.take("refresh_token").ok_or(
        "the token endpoint gave no refresh token; does the issuer want a scope for it, as `offline_access`?",
    )?;
    check(&refresh).map_err(told)?;
    let life = match said_by(&issued.token).and_then(|end| end.duration_since(now).ok()) {
        Some(left) if issued.life == UNSAID => left,
        _ => issued.life,
    };
    let end =
        now.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_add(life.max(Duration::from_secs(1)));
    let account = match facts.account() {
        None => None,
        Some(place) => {
            let id_token = object.text("id_token");
            let found =
                id_token.and_then(|token| named(token, place)).or_else(|| named(&issued.token, place));
            Some(found.ok_or("the vendor's answer names no account")?)
        }
    };
    let mut values = vec![
        (ACCESS.to_owned(), issued.token),
        (REFRESH.to_owned(), refresh),
        (END.to_owned(), Secret::new(end.as_secs().to_string().into_bytes())),
    ];
    values.extend(account.map(|account| (ACCOUNT.to_owned(), account)));
    Ok(values)
}

/// The account that a JWT names.
fn named(token: &Secret, (object, key): (&str, &str)) -> Option<Secret> {
    let claims = claims(token)?;
    let account = claims.get(object)?.get(key)?.as_str()?;
    let is_one = (8..=128).contains(&account.len()) && account.bytes().all(|b| b.is_ascii_graphic());
    is_one.then(|| Secret::new(account.as_bytes().to_vec()))
}

/// Whose login it is, as the vendor says it: an address that a terminal may show.
pub(super) fn who(reply: &Reply) -> Option<String> {
    let object = reply.object().ok()?;
    let claimed = object.text("id_token").and_then(claims);
    let claimed = claimed.and_then(|claims| Some(claims.get("email")?.as_str()?.to_owned()));
    let beside = || serde_json::from_slice::<Beside>(&reply.body).ok()?.account?.email_address;
    claimed.or_else(beside).filter(|text| is_address(text))
}

/// As Anthropic says it, beside the tokens.
#[derive(serde::Deserialize)]
struct Beside {
    account: Option<Account>,
}

#[derive(serde::Deserialize)]
struct Account {
    email_address: Option<String>,
}

fn is_address(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"@.+-_".contains(&b);
    (3..=254).contains(&text.len()) && text.bytes().all(fits) && text.matches('@').count() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_is_shown() {
        for hostile in
            ["", "@", "no address", "a@b@c", "a@b\u{1b}[2J", "a@b\n", "\u{202e}a@b", "a@b verified: yes"]
        {
            assert!(!is_address(hostile), "{hostile:?}");
        }
        assert!(!is_address(&format!("a@{}", "b".repeat(253))) && is_address("a.b+c_d-e@example.com"));
    }
}
