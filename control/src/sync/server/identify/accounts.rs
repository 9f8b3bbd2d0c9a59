//! Tokens of Kubernetes ServiceAccounts, which the API server of their cluster reviews (`authentication.k8s.io/v1 TokenReview`).
//!
//! Refuses tokens that are not meant for us (their audience), users that are no ServiceAccounts, and, before anybody is asked,
//! those that are over. Fails closed: without an answer nobody is let in. What was found good is kept for at most [`KEPT`], by
//! the token's digest, and never longer than the token lives; what was not is asked again, as often as the bounds let it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{AUTHORIZATION, HeaderValue};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::jwt::Jwt;
use super::{Credential, Identify, Proving, Unproven, bound};
use crate::agent::read_token_file;
use crate::api::rates::Rates;
use crate::outgoing::{Ask, Outgoing, OutgoingError, Place};
use crate::registry::{Identity, Registry, ServiceAccount};

/// Where the API server reviews.
const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const VERSION: &str = "authentication.k8s.io/v1";
const KIND: &str = "TokenReview";
/// How long a good review is believed.
const KEPT: Duration = Duration::from_secs(60);
/// Good reviews that are kept at once.
const KEPT_MOST: usize = 8192;
/// How long a review may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// The largest answer: it repeats the token.
const ANSWER: usize = 256 * 1024;
/// Reviews at once.
const AT_ONCE: usize = 16;
/// Reviews in a second, and in a burst: a thousand sidecars that come back together.
const RATE: (u64, u64) = (100, 2000);
/// How long a call waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the API server gave no review. Nothing of a token is in it.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// It is not where it was said to be, or does not verify.
    #[error("the Kubernetes API does not answer")]
    Call(#[from] OutgoingError),
    /// Our own token cannot be read.
    #[error("the server's own token for the Kubernetes API cannot be read")]
    Token(#[source] std::io::Error),
    /// It refuses us: our token, or our right to ask (`create` of `tokenreviews`).
    #[error("the Kubernetes API refuses the server's question (status {0})")]
    Status(u16),
    /// It answered something else.
    #[error("the Kubernetes API answers what is no review")]
    Answer,
}

/// The reviews of one cluster.
#[derive(Debug)]
pub struct Reviews {
    place: Place,
    audience: String,
    token: PathBuf,
    outgoing: Outgoing,
    kept: Mutex<HashMap<[u8; 32], Kept>>,
    rate: Rates<()>,
    turns: Semaphore,
}

#[derive(Clone, Debug)]
struct Kept {
    account: ServiceAccount,
    until: Instant,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Question<'a> {
    api_version: &'static str,
    kind: &'static str,
    spec: Spec<'a>,
}

#[derive(Serialize)]
struct Spec<'a> {
    token: &'a str,
    audiences: [&'a str; 1],
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: String,
    kind: String,
    status: Option<Status>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    authenticated: bool,
    user: User,
    audiences: Vec<String>,
    error: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct User {
    username: String,
}

impl Reviews {
    /// By the API server at this URL, whom we show the token of this file, for tokens that are meant for this audience.
    ///
    /// # Errors
    /// No `https://` URL.
    pub fn new(
        url: &str,
        audience: String,
        token: PathBuf,
        outgoing: Outgoing,
    ) -> Result<Self, OutgoingError> {
        Ok(Self {
            place: Place::parse(url)?.at(PATH)?,
            audience,
            token,
            outgoing: outgoing.within(DEADLINE).up_to(ANSWER),
            kept: Mutex::default(),
            rate: Rates::new(RATE.0, RATE.1),
            turns: Semaphore::new(AT_ONCE),
        })
    }

    /// Whose token it is.
    async fn account(&self, jwt: &Jwt, now: i64) -> Result<ServiceAccount, Unproven> {
        let left =
            jwt.ends().checked_sub(now).and_then(|left| u64::try_from(left).ok()).filter(|left| *left > 0);
        let left = Duration::from_secs(left.ok_or(Unproven::Unknown)?);
        if let Some(account) = self.kept(jwt) {
            return Ok(account);
        }
        self.rate.take((), Instant::now()).map_err(Unproven::Often)?;
        let turn = tokio::time::timeout(PATIENCE, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(Unproven::Often(Duration::from_secs(1))) };
        // Another call of the same sidecar may have asked meanwhile.
        if let Some(account) = self.kept(jwt) {
            return Ok(account);
        }
        let asked = Instant::now();
        let reviewed = self.review(jwt).await.map_err(|error| {
            tracing::error!(%error, cause = ?std::error::Error::source(&error), "a ServiceAccount's token was not reviewed");
            Unproven::Unanswered
        })?;
        let account = reviewed.ok_or(Unproven::Unknown)?;
        self.keep(jwt, Kept { account: account.clone(), until: asked + left.min(KEPT) });
        Ok(account)
    }

    fn kept(&self, jwt: &Jwt) -> Option<ServiceAccount> {
        let mut kept = self.kept.lock();
        let found = kept.get(jwt.digest())?;
        if Instant::now() < found.until {
            return Some(found.account.clone());
        }
        kept.remove(jwt.digest());
        None
    }

    fn keep(&self, jwt: &Jwt, fresh: Kept) {
        let mut kept = self.kept.lock();
        if kept.len() >= KEPT_MOST {
            let now = Instant::now();
            kept.retain(|_, one| now < one.until);
        }
        // Full of what is good: those beyond are asked each time.
        if kept.len() < KEPT_MOST {
            kept.insert(*jwt.digest(), fresh);
        }
    }

    /// What the API server says of it; `None`: it is nobody's who could be let in.
    async fn review(&self, jwt: &Jwt) -> Result<Option<ServiceAccount>, ReviewError> {
        // exposed: asked of the API server that the operator named, over verified TLS
        let token = std::str::from_utf8(jwt.text().expose()).map_err(|_| ReviewError::Answer)?;
        let spec = Spec { token, audiences: [&self.audience] };
        let question = Question { api_version: VERSION, kind: KIND, spec };
        let mut body = Zeroizing::new(Vec::with_capacity(2 * token.len() + 1024));
        serde_json::to_writer(&mut *body, &question).map_err(|_| ReviewError::Answer)?;
        let ask = Ask::post("application/json", body).with(AUTHORIZATION, self.bearer()?);
        let answer = self.outgoing.call(&self.place, ask).await?;
        match answer.status.as_u16() {
            200 | 201 => {}
            status => return Err(ReviewError::Status(status)),
        }
        let review: Review = serde_json::from_slice(&answer.body).map_err(|_| ReviewError::Answer)?;
        if review.api_version != VERSION || review.kind != KIND {
            return Err(ReviewError::Answer);
        }
        Ok(self.judge(review.status.ok_or(ReviewError::Answer)?))
    }

    fn judge(&self, status: Status) -> Option<ServiceAccount> {
        if !status.authenticated || !status.error.is_empty() {
            return None;
        }
        // An API server that knows of no audiences answers none: then the token is meant for it, and not for us.
        if !status.audiences.contains(&self.audience) {
            tracing::warn!("a token that the Kubernetes API knows, and that is not meant for us");
            return None;
        }
        let account = status.user.username.parse();
        if account.is_err() {
            tracing::warn!("a token that the Kubernetes API knows, and that is no ServiceAccount's");
        }
        account.ok()
    }

    /// Read anew each time: the kubelet replaces it.
    fn bearer(&self) -> Result<HeaderValue, ReviewError> {
        let token = read_token_file(&self.token).map_err(ReviewError::Token)?;
        let bearer = Zeroizing::new(["Bearer ", token.trim_ascii()].concat());
        let mut bearer = HeaderValue::from_str(&bearer)
            .map_err(|_| ReviewError::Token(std::io::ErrorKind::InvalidData.into()))?;
        bearer.set_sensitive(true);
        Ok(bearer)
    }
}

/// The ServiceAccounts that the registry knows.
#[derive(Debug)]
pub(super) struct Accounts {
    pub(super) registry: Arc<dyn Registry>,
    pub(super) reviews: Arc<Reviews>,
}

impl Identify for Accounts {
    fn identify<'a>(&'a self, credential: &'a Credential, now: i64) -> Proving<'a> {
        Box::pin(async move {
            let Credential::Account(jwt) = credential else { return Err(Unproven::Unknown) };
            let account = self.reviews.account(jwt, now).await?;
            bound(&self.registry, Identity::Account(account), jwt.ends()).await
        })
    }
}
