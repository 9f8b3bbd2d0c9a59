//! Who we are at AWS: the standard variables of our own environment, or a role by a web identity token (IRSA).
//!
//! `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`; else `AWS_WEB_IDENTITY_TOKEN_FILE` and `AWS_ROLE_ARN`.
//! Metadata services of instances and containers are not asked: they are what agents must not reach, either. Endpoints are
//! AWS' own, or those that flags name; the environment names none.

use std::path::PathBuf;
use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::{WrapError, word};
use crate::aws::sign::{Scope, authorization};
use crate::aws::sts_answer;
use crate::cli::Env;
use crate::outgoing::{Ask, Outgoing, Place};
use crate::secret::Secret;

/// The largest token file.
const TOKEN_MAX: u64 = 64 * 1024;

/// What the environment and flags say.
#[derive(Clone, Debug, Default)]
pub struct AwsSettings {
    /// The region, where the key does not say it.
    pub region: Option<String>,
    /// Another endpoint than AWS' for KMS.
    pub kms_endpoint: Option<String>,
    /// Another endpoint than AWS' for STS.
    pub sts_endpoint: Option<String>,
    access: Option<Arc<Keys>>,
    token_file: Option<PathBuf>,
    role: Option<String>,
    session: Option<String>,
}

impl AwsSettings {
    /// Reads the environment.
    pub fn of(env: &Env) -> Self {
        let text = |name| env.var(name).map(str::to_owned);
        let secret = |name| env.var(name).map(|value| Secret::new(value.as_bytes().to_vec()));
        let access = match (text("AWS_ACCESS_KEY_ID"), secret("AWS_SECRET_ACCESS_KEY")) {
            (Some(id), Some(key)) => Some(Arc::new(Keys { id, key, session: secret("AWS_SESSION_TOKEN") })),
            _ => None,
        };
        Self {
            region: text("AWS_REGION").or_else(|| text("AWS_DEFAULT_REGION")),
            kms_endpoint: None,
            sts_endpoint: None,
            access,
            token_file: text("AWS_WEB_IDENTITY_TOKEN_FILE").map(PathBuf::from),
            role: text("AWS_ROLE_ARN"),
            session: text("AWS_ROLE_SESSION_NAME"),
        }
    }

    /// Where a service is.
    pub(super) fn place(&self, service: &str, region: &str) -> Result<Place, WrapError> {
        let is_region = (1..=40).contains(&region.len())
            && region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !is_region {
            return Err(WrapError::Named("the region is none of AWS'"));
        }
        let named = if service == "kms" { &self.kms_endpoint } else { &self.sts_endpoint };
        let url = named.clone().unwrap_or_else(|| {
            let below = match region.split('-').next() {
                Some("cn") => "amazonaws.com.cn",
                Some("eusc") => "amazonaws.eu",
                Some(_) | None => "amazonaws.com",
            };
            format!("https://{service}.{region}.{below}/")
        });
        Ok(Place::parse(&url)?)
    }
}

/// Keys that sign.
#[derive(Debug)]
pub(super) struct Keys {
    id: String,
    key: Secret,
    session: Option<Secret>,
}

impl Keys {
    /// A signed POST to `/`; `headers` in lower case.
    pub(super) fn sign(
        &self,
        (service, region): (&str, &str),
        host: &str,
        headers: &[(&'static str, &str)],
        body: Zeroizing<Vec<u8>>,
    ) -> Result<Ask, WrapError> {
        let odd = WrapError::Nobody("the keys hold a character that none has");
        let scope = Scope { region, service, at: OffsetDateTime::now_utc() };
        let date = scope.date();
        // exposed: a header of the call, and signed with it
        let session = self.session.as_ref().map(|token| Zeroizing::new(token.expose().to_vec()));
        let session = session.as_ref().map(|token| std::str::from_utf8(token)).transpose();
        let Ok(session) = session else { return Err(odd) };
        let mut signed: Vec<(&str, &str)> = headers.to_vec();
        signed.extend([("host", host), ("x-amz-date", date.as_str())]);
        signed.extend(session.map(|token| ("x-amz-security-token", token)));
        signed.sort_unstable();
        let authorized = authorization((&self.id, &self.key), &scope, &signed, &body);
        let mut ask = Ask::post("application/octet-stream", body);
        for (name, value) in signed.iter().filter(|(name, _)| *name != "host") {
            let name = HeaderName::from_bytes(name.as_bytes());
            let value = HeaderValue::from_str(value);
            let (Ok(name), Ok(mut value)) = (name, value) else { return Err(odd) };
            value.set_sensitive(name.as_str() == "x-amz-security-token");
            ask = ask.with(name, value);
        }
        let Ok(mut value) = HeaderValue::from_str(&authorized) else { return Err(odd) };
        value.set_sensitive(true);
        Ok(ask.with(AUTHORIZATION, value))
    }
}

/// Where keys come from.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// The environment's.
    #[expect(private_interfaces, reason = "made and used here alone")]
    Fixed(Arc<Keys>),
    /// Those of a role, fetched for each call: a vault is unlocked rarely.
    #[expect(private_interfaces, reason = "made and used here alone")]
    Role(Arc<Role>),
}

#[derive(Debug)]
struct Role {
    arn: String,
    session: String,
    token_file: PathBuf,
    place: Place,
    outgoing: Outgoing,
}

impl Credentials {
    /// The first place that says who we are.
    pub(super) fn find(settings: AwsSettings, region: &str, outgoing: Outgoing) -> Result<Self, WrapError> {
        if let Some(keys) = settings.access {
            return Ok(Self::Fixed(keys));
        }
        let place = settings.place("sts", region)?;
        match (settings.token_file, settings.role) {
            (Some(token_file), Some(arn)) => {
                let session = settings.session.unwrap_or_else(|| "doorward".to_owned());
                Ok(Self::Role(Arc::new(Role { arn, session, token_file, place, outgoing })))
            }
            _ => Err(WrapError::Nobody(
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN",
            )),
        }
    }

    pub(super) async fn keys(&self) -> Result<Arc<Keys>, WrapError> {
        match self {
            Self::Fixed(keys) => Ok(Arc::clone(keys)),
            Self::Role(role) => role.assume().await.map(Arc::new),
        }
    }
}

impl Role {
    async fn assume(&self) -> Result<Keys, WrapError> {
        let token = read(&self.token_file)?;
        let quoted = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let mut body = Zeroizing::new(Vec::with_capacity(4 * 1024 + 3 * token.len()));
        body.extend_from_slice(b"Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=");
        body.extend_from_slice(quoted(&self.arn).as_bytes());
        body.extend_from_slice(b"&RoleSessionName=");
        body.extend_from_slice(quoted(&self.session).as_bytes());
        body.extend_from_slice(b"&WebIdentityToken=");
        body.extend_from_slice(Zeroizing::new(quoted(token.trim())).as_bytes());
        let ask = Ask::post("application/x-www-form-urlencoded", body);
        let answer = self.outgoing.call(&self.place, ask).await?;
        if !answer.status.is_success() {
            let code = word(&sts_answer::error_code(&answer.body).unwrap_or_default());
            let meaning = "the role cannot be assumed with the web identity token";
            return Err(WrapError::Refused { status: answer.status.as_u16(), code, meaning });
        }
        let keys = sts_answer::web_identity_keys(&answer.body).map_err(|_| WrapError::Answer)?;
        // exposed: the id, which is no secret and part of each call's header
        let id = String::from_utf8(keys.access_key_id.expose().to_vec()).map_err(|_| WrapError::Answer)?;
        Ok(Keys { id, key: keys.secret_access_key, session: Some(keys.session_token) })
    }
}

/// The token's file is written by the platform, which decides who can read it.
fn read(path: &std::path::Path) -> Result<Zeroizing<String>, WrapError> {
    use std::io::Read as _;
    let unread = |_| WrapError::Nobody("the file of AWS_WEB_IDENTITY_TOKEN_FILE cannot be read");
    let file = std::fs::File::open(path).map_err(unread)?;
    let mut text = Zeroizing::new(String::with_capacity(16 * 1024));
    file.take(TOKEN_MAX).read_to_string(&mut text).map_err(unread)?;
    Ok(text)
}
