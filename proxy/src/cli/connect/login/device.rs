//! The login by a code that is typed on another device: RFC 8628, and OpenAI's own, which gives an authorization code in
//! the end.
//!
//! Refuses codes and addresses that a terminal should not show. Asks no more often than it was told, less often when the
//! issuer says so, and no longer than the code is good.

use std::time::Duration;

use control::cli::{Env, Failure};
use control::refusal::{Code, Refusal};
use control::secret::Secret;
use control::token_url::TokenUrl;
use control::types::DeviceSpec;
use http::StatusCode;
use tokio::time::{Instant, sleep};

use super::facts::{Device, Facts};
use super::told;
use crate::cli::connect::failed;
use crate::schemes::shared::issuer::{Ask, Form, Issuer, Reply, unusable};
use crate::schemes::shared::json_body::JsonBody;
use crate::schemes::shared::strict::Object;
use crate::schemes::shared::token::Because;
use crate::schemes::{ArmFault, Failed};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// What is waited between two questions where nothing is said, and what is added when the issuer wants more of it
/// (RFC 8628 sections 3.2 and 3.5).
const INTERVAL: u64 = 5;
/// No issuer may have us ask more often, or hardly ever.
const INTERVALS: std::ops::RangeInclusive<u64> = 1..=60;
/// However long a code is said to be good.
const LIFE_MOST: u64 = 1800;

/// Logs in; the answer with the tokens.
pub(super) async fn login(env: &Env, facts: &Facts<'_>, issuer: &dyn Issuer) -> Result<Reply, Failure> {
    let say = |line: String| env.output.say(line);
    let outcome = match &facts.device {
        Some(Device::Standard(url)) => standard(&say, facts, url, issuer).await,
        Some(Device::Vendor(spec)) => vendor(&say, facts, spec, issuer).await,
        None => return Err(failed("there is no login by a typed code")),
    };
    outcome.map_err(told)
}

/// How a code is asked about until it was typed.
struct Polling {
    interval: u64,
    until: Instant,
}

impl Polling {
    fn new(interval: Option<u64>, life: u64) -> Self {
        let interval = interval.unwrap_or(INTERVAL).clamp(*INTERVALS.start(), *INTERVALS.end());
        Self { interval, until: Instant::now() + Duration::from_secs(life.min(LIFE_MOST)) }
    }

    /// Waits for the next question, if there may be one.
    async fn pause(&self) -> Result<(), Failed> {
        let pause = Duration::from_secs(self.interval);
        if Instant::now() + pause >= self.until {
            return Err(no("nobody typed the code while it was good"));
        }
        sleep(pause).await;
        Ok(())
    }

    fn slower(&mut self) {
        self.interval = (self.interval + INTERVAL).min(*INTERVALS.end());
    }
}

/// RFC 8628.
async fn standard(
    say: &dyn Fn(String),
    facts: &Facts<'_>,
    url: &TokenUrl,
    issuer: &dyn Issuer,
) -> Result<Reply, Failed> {
    // exposed: a client's id is public
    let form = Form::first("client_id", facts.client_id.expose()).with_some("scope", facts.scopes.as_deref());
    let object = issuer.ask(Ask::form(url, form)).await?.object()?;
    let code = object.text("device_code").ok_or_else(|| no("the issuer gave no code"))?;
    let typed = shown(&object, &["user_code"], is_code)?;
    let page = shown(&object, &["verification_uri", "verification_url"], is_page)?;
    let seconds = |name| object.seconds(name).map_err(|_| no("the issuer's answer has a time that is none"));
    let mut polling = Polling::new(seconds("interval")?, seconds("expires_in")?.unwrap_or(LIFE_MOST));
    prompt(say, &page, &typed);
    loop {
        polling.pause().await?;
        // exposed: into the request to the token endpoint
        let ask = facts.grant(GRANT, &[("device_code", code.expose())]).map_err(|fault| unusable(&fault))?;
        let reply = match issuer.ask(ask).await {
            Ok(reply) => reply,
            // RFC 8628 section 3.5: a connection that fails is a reason to ask less often.
            Err(Failed { because: Because::Unavailable(_), .. }) => {
                polling.slower();
                continue;
            }
            Err(failed) => return Err(failed),
        };
        match reply.said() {
            _ if reply.status.is_success() => return Ok(reply),
            Some("authorization_pending") => {}
            Some("slow_down") => polling.slower(),
            Some("access_denied") => return Err(no("the person or the issuer said no")),
            Some("expired_token") => return Err(no("nobody typed the code while it was good")),
            _ if is_busy(&reply) => polling.slower(),
            _ => return Err(reply.refused()),
        }
    }
}

/// OpenAI's: a 403 or 404 says that the code was not typed yet.
async fn vendor(
    say: &dyn Fn(String),
    facts: &Facts<'_>,
    spec: &DeviceSpec,
    issuer: &dyn Issuer,
) -> Result<Reply, Failed> {
    // exposed: a client's id is public
    let body = JsonBody::default().with("client_id", facts.client_id.expose());
    let object = issuer.ask(json(spec.codes, body)?).await?.object()?;
    let id = object.text("device_auth_id").ok_or_else(|| no("the issuer gave no code"))?;
    let typed = shown(&object, &["user_code", "usercode"], is_code)?;
    let interval =
        object.seconds("interval").map_err(|_| no("the issuer's answer has a time that is none"))?;
    let mut polling = Polling::new(interval, spec.life);
    prompt(say, spec.page, &typed);
    let granted = loop {
        polling.pause().await?;
        let body = JsonBody::default()
            // exposed: into the request to the issuer that gave it
            .with("device_auth_id", id.expose())
            .and_then(|body| body.with("user_code", typed.as_bytes()));
        match issuer.ask(json(spec.polls, body)?).await {
            Ok(reply) if reply.status.is_success() => break reply.object()?,
            Ok(reply) if [StatusCode::FORBIDDEN, StatusCode::NOT_FOUND].contains(&reply.status) => {
                match reply.said() {
                    Some("access_denied") => return Err(no("the person or the issuer said no")),
                    Some("expired_token") => return Err(no("nobody typed the code while it was good")),
                    _ => {}
                }
            }
            Ok(reply) if is_busy(&reply) => polling.slower(),
            Ok(reply) => return Err(reply.refused()),
            Err(Failed { because: Because::Unavailable(_), .. }) => polling.slower(),
            Err(failed) => return Err(failed),
        }
    };
    let of = |name| granted.text(name).ok_or_else(|| no("the issuer gave no code"));
    let ask = facts.exchange(of("authorization_code")?, spec.redirect, of("code_verifier")?, None);
    issuer.ask(ask.map_err(|fault| unusable(&fault))?).await
}

fn json(url: &str, body: Result<JsonBody, ArmFault>) -> Result<Ask, Failed> {
    let url = TokenUrl::parse(url).map_err(|_| no("the vendor's address is none"))?;
    Ok(Ask::json(&url, body.map_err(|fault| unusable(&fault))?))
}

fn is_busy(reply: &Reply) -> bool {
    reply.status.is_server_error() || reply.status == StatusCode::TOO_MANY_REQUESTS
}

fn prompt(say: &dyn Fn(String), page: &str, code: &str) {
    say(format!(
        "open\n\n  {page}\n\non any device and type the code\n\n  {code}\n\nNobody who asks you for this code is to be trusted with it."
    ));
}

/// A text of the answer that the terminal may show.
fn shown(object: &Object, names: &[&str], fits: fn(&str) -> bool) -> Result<String, Failed> {
    let found = names.iter().find_map(|name| object.text(name));
    // exposed: shown to the person, who types it elsewhere; by itself it opens nothing here
    let text = found.and_then(|text: &Secret| std::str::from_utf8(text.expose()).ok());
    text.filter(|text| fits(text)).map(str::to_owned).ok_or_else(|| no("the issuer gave no code to type"))
}

fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
}

fn is_page(text: &str) -> bool {
    text.starts_with("https://") && text.len() <= 2048 && text.bytes().all(|b| b.is_ascii_graphic())
}

fn no(why: &'static str) -> Failed {
    Failed { refusal: Refusal::new(Code::Dw1005, why), because: Because::Refused }
}

#[cfg(test)]
mod tests;
