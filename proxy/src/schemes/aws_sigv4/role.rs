//! A role that is assumed: the long-lived keys sign one call to STS, its temporary keys sign the agent's requests.
//!
//! Refuses answers that are not exactly one set of keys with an end. Each agent has a session of its own, named after it, so
//! that AWS' own records tell agents apart. Invariant: the long-lived keys sign nothing but that call.

use std::time::{Duration, SystemTime};

use control::aws::role::Role;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{HeaderName, Method};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use super::canonical::{PathRules, Unsigned, is_signed, signed_names};
use super::key::{SigningKey, hex};
use super::scheme::LongLived;
use super::scope::Stamp;
use super::sign::{self, Signer};
use super::sts_answer;
use crate::schemes::shared::issuer::{Ask, Form, Issued, Issuer, Reply, unfit, unusable};
use crate::schemes::shared::template::sensitive;
use crate::schemes::shared::token::Because;
use crate::schemes::{ArmFault, Exchange, Failed, Judged, Obtained, Values};
use control::refusal::{Code, Refusal};

/// AWS' bound of a session's name.
const NAME_MOST: usize = 64;

/// The role as exchanged for.
#[derive(Debug)]
pub(super) struct AssumedRole(pub(super) Role);

impl Exchange for AssumedRole {
    /// The session's name.
    fn part(&self, judged: &Judged<'_>) -> Result<String, Refusal> {
        Ok(session_name(judged.agent.as_str()))
    }

    fn obtain<'a>(&'a self, issuer: &'a dyn Issuer, values: Values<'a>) -> Obtained<'a> {
        Box::pin(async move {
            let ask = self.ask(issuer, &values).map_err(|fault| unusable(&fault))?;
            let reply = issuer.ask(ask).await?;
            issued(&reply, issuer.now(), Duration::from_secs(self.0.seconds.into()))
        })
    }
}

impl AssumedRole {
    fn ask(&self, issuer: &dyn Issuer, values: &Values<'_>) -> Result<Ask, ArmFault> {
        let unfit = |why: &str| ArmFault::Unfit { key: "secret_access_key".to_owned(), why: why.to_owned() };
        let role = &self.0;
        let own = LongLived::of(values)?;
        let stamp =
            Stamp::at(issuer.now()).ok_or_else(|| unfit("cannot sign now (what does the clock say?)"))?;
        let form = Form::first("Action", b"AssumeRole")
            .with("Version", b"2011-06-15")
            .with("RoleArn", role.arn.as_bytes())
            .with("RoleSessionName", issuer.part().as_bytes())
            .with("DurationSeconds", role.seconds.to_string().as_bytes())
            .with_some("ExternalId", role.external_id.as_deref());
        let mut ask = Ask::form(&role.sts, form);
        // STS can answer in JSON as well, which it does not document.
        ask.headers.insert(ACCEPT, HeaderValue::from_static("text/xml"));
        let payload = sign::hash(&ask.body);
        let (head, value) = self
            .authorization(&own, &stamp, &ask.headers, &String::from_utf8_lossy(&payload))
            .ok_or_else(|| unfit("derives no signing key"))?;
        ask.headers = head;
        ask.headers.insert(AUTHORIZATION, sensitive(value)?);
        ask.method = Method::POST;
        Ok(ask)
    }

    /// The headers of the call, and its signature.
    fn authorization(
        &self,
        own: &LongLived,
        stamp: &Stamp,
        headers: &HeaderMap,
        payload: &str,
    ) -> Option<(HeaderMap, Zeroizing<Vec<u8>>)> {
        let mut headers = headers.clone();
        debug_assert!(headers.contains_key(CONTENT_TYPE));
        headers.insert(HeaderName::from_static("x-amz-date"), HeaderValue::from_str(stamp.text()).ok()?);
        if let Some(token) = &own.token {
            // exposed: the session token of keys that are temporary themselves, in a wiped buffer
            let value = sensitive(Zeroizing::new(token.expose().to_vec())).ok()?;
            headers.insert(HeaderName::from_static("x-amz-security-token"), value);
        }
        let key = SigningKey::derive(&own.secret, stamp.day(), &self.0.region, "sts").ok()?;
        let signer = Signer::Hmac(std::sync::Arc::new(key));
        let host = self.0.sts.target().authority(443);
        let unsigned = Unsigned {
            method: "POST",
            path: self.0.sts.path(),
            query: "",
            host: &host,
            headers: &headers,
            payload,
            path_rules: PathRules::OTHERS,
        };
        let names = signed_names(&headers, is_signed);
        let made = sign::signature(&signer, stamp, &unsigned, &names).ok()?;
        // exposed: the id stands in the credential scope that is sent
        let value = sign::authorization(&signer, own.key_id.expose(), &names, &made);
        drop(names);
        Some((headers, value))
    }
}

/// `[\w+=,.@-]{2,64}`. What does not fit is told apart by a hash: two agents never share a session.
fn session_name(agent: &str) -> String {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b);
    // The mark of those with a hash: nobody else's name has it.
    let is_plain = !agent.contains('=') && agent.bytes().all(fits);
    if (2..=NAME_MOST).contains(&agent.len()) && is_plain {
        return agent.to_owned();
    }
    let digits = hex(&Sha256::digest(agent.as_bytes()));
    let digits = String::from_utf8_lossy(&digits);
    let shown: String = agent
        .chars()
        .map(|c| if u8::try_from(c).is_ok_and(fits) { c } else { '-' })
        .take(NAME_MOST - 17)
        .collect();
    [&shown, "=", digits.get(..16).unwrap_or_default()].concat()
}

/// Words of STS that say something to a person; others are not repeated.
const KNOWN: &[(&str, &str)] = &[
    (
        "AccessDenied",
        "AccessDenied (may these keys assume this role, and does it ask for another external id?)",
    ),
    ("InvalidClientTokenId", "InvalidClientTokenId"),
    (
        "SignatureDoesNotMatch",
        "SignatureDoesNotMatch (is the secret access key right, and this machine's clock?)",
    ),
    ("RequestExpired", "RequestExpired (is this machine's clock right?)"),
    ("RequestTimeTooSkewed", "RequestTimeTooSkewed (is this machine's clock right?)"),
    ("ExpiredToken", "ExpiredToken (the session token of the keys has ended)"),
    ("ExpiredTokenException", "ExpiredToken (the session token of the keys has ended)"),
    (
        "ValidationError",
        "ValidationError (may the role's sessions be as long as `duration`? Keys of a role: one hour)",
    ),
    ("RegionDisabledException", "RegionDisabledException (STS is not enabled in this region)"),
    ("OptInRequired", "OptInRequired"),
];
/// Words that say that it works again soon.
const SOON: &[&str] =
    &["Throttling", "ThrottlingException", "RequestLimitExceeded", "InternalFailure", "ServiceUnavailable"];

/// STS' answer as keys.
fn issued(reply: &Reply, now: SystemTime, asked: Duration) -> Result<Issued, Failed> {
    if !reply.status.is_success() {
        let code = sts_answer::error_code(&reply.body);
        if code.as_ref().is_some_and(|code| SOON.iter().any(|soon| code == soon)) {
            let refusal = Refusal::new(Code::Dw1005, "the token endpoint cannot answer now (it throttles)");
            return Err(Failed { refusal, because: Because::Unavailable(reply.retry_after) });
        }
        let said = KNOWN.iter().find(|(known, _)| code.as_deref() == Some(known)).map(|(_, said)| *said);
        // A trust policy may let in sessions of some names only, which are the agents'.
        return Err(reply.refused_with(said).of_part_if(code.as_deref() == Some("AccessDenied")));
    }
    let keys = sts_answer::keys(&reply.body).map_err(|fault| unfit(fault.0))?;
    // exposed: a moment, no secret
    let end = std::str::from_utf8(keys.expiration.expose()).ok();
    let end = end.and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    let end = end.ok_or_else(|| unfit("it does not say when the keys end"))?;
    let left = u64::try_from((end - OffsetDateTime::from(now)).whole_seconds()).unwrap_or_default();
    // A clock that is behind would take them for longer than was asked for.
    let mut issued = Issued::new(keys.session_token, Some(left.min(asked.as_secs())))?;
    let copy = |of: &control::secret::Secret| {
        // exposed: the token is both what is looked for in answers and what signs
        control::secret::Secret::new(of.expose().to_vec())
    };
    issued.beside = vec![
        ("access_key_id".to_owned(), keys.access_key_id),
        ("secret_access_key".to_owned(), keys.secret_access_key),
        ("session_token".to_owned(), copy(&issued.token)),
    ];
    Ok(issued)
}

#[cfg(test)]
#[path = "role_tests.rs"]
mod tests;
