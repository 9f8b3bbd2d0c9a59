//! What a scheme sees of an issuer: it writes a request, it reads an answer, and it never dials.
//!
//! For: [`super::super::Exchange`]. The data plane implements [`Issuer`] with its address guard and verified TLS. Refuses
//! answers that are no token: another type than Bearer, no life, characters that no header carries, duplicate keys. The
//! issuer's own text is never shown: an agent may have had a hand in it.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use control::refusal::{Code, Refusal};
use control::secret::Secret;
use control::target::Target;
use control::token_url::TokenUrl;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use zeroize::Zeroizing;

use super::json_body::JsonBody;
use super::strict::{Object, StrictError};
use super::template::sensitive;
use super::token::{Because, Failed, UNSAID};
use crate::schemes::ArmFault;

/// The way to a provider's token endpoints.
pub trait Issuer: Send + Sync {
    /// Sends one request and reads its answer whole. Refuses targets that are no token endpoint of the provider.
    fn ask<'a>(&'a self, ask: Ask) -> Asking<'a>;

    /// The time, for what is signed.
    fn now(&self) -> SystemTime;

    /// What a file holds that something else keeps fresh (a subject token), read now.
    fn file<'a>(&'a self, _path: &'a Path) -> Reading<'a> {
        Box::pin(async { Err(unreadable("there are no files here")) })
    }

    /// The part that the token is for, as [`super::super::Exchange::part`] named it.
    fn part(&self) -> &str {
        ""
    }
}

/// An answer, later.
pub type Asking<'a> = Pin<Box<dyn Future<Output = Result<Reply, Failed>> + Send + 'a>>;

/// What a file holds, later.
pub type Reading<'a> = Pin<Box<dyn Future<Output = Result<Secret, Failed>> + Send + 'a>>;

/// A file with a subject token that cannot be read. It may come: something else writes it.
pub fn unreadable(why: &str) -> Failed {
    let detail = format!("the subject token's file cannot be read: {why}");
    Failed { refusal: Refusal::new(Code::Dw1004, detail), because: Because::Unavailable(None) }
}

/// A request to a token endpoint. `Host` and `Content-Length` are added; nothing else is.
pub struct Ask {
    /// Where; a token endpoint of the provider.
    pub target: Target,
    /// The method.
    pub method: Method,
    /// The path, with a query where there is one.
    pub path: String,
    /// The headers; those that hold a secret are sensitive.
    pub headers: HeaderMap,
    /// The body, wiped when freed.
    pub body: Bytes,
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask")
            .field("target", &self.target)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

impl Ask {
    /// A form, as RFC 6749 has it.
    pub fn form(url: &TokenUrl, form: Form) -> Self {
        let mut ask = Self::post(url, "application/x-www-form-urlencoded", form.body);
        ask.headers.extend(form.authorization.map(|value| (AUTHORIZATION, value)));
        ask
    }

    /// A JSON object, as some issuers want it.
    pub fn json(url: &TokenUrl, body: JsonBody) -> Self {
        Self::post(url, "application/json", body.finish())
    }

    fn post(url: &TokenUrl, kind: &'static str, body: Zeroizing<Vec<u8>>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        Self {
            target: url.target().clone(),
            method: Method::POST,
            path: url.path().to_owned(),
            headers,
            body: Bytes::from_owner(body),
        }
    }
}

/// The body of a token request. Its buffer does not grow, or it would leave unwiped copies.
pub struct Form {
    body: Zeroizing<Vec<u8>>,
    authorization: Option<HeaderValue>,
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Form")
    }
}

/// How a client says who it is (RFC 6749 section 2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// In the `Authorization` header.
    Basic,
    /// In the form.
    Post,
}

impl ClientAuth {
    /// The words of the `clientAuth` field.
    pub const WORDS: &'static [&'static str] = &["basic", "post"];

    /// Reads one of [`Self::WORDS`]; basic where nothing is said.
    pub fn of(word: Option<&str>) -> Self {
        if word == Some("post") { Self::Post } else { Self::Basic }
    }
}

/// The longest form: a client assertion of a few kilobytes and its neighbours, each byte percent-coded.
const FORM_MOST: usize = 256 << 10;

impl Form {
    /// A form that begins with its grant type.
    pub fn grant(grant_type: &str) -> Self {
        Self::first("grant_type", grant_type.as_bytes())
    }

    /// A form that begins with another parameter, for endpoints that give no token themselves.
    pub fn first(name: &str, value: &[u8]) -> Self {
        let mut form = Self { body: Zeroizing::new(Vec::with_capacity(1024)), authorization: None };
        form.put(name, value);
        form
    }

    /// Adds a parameter.
    #[must_use]
    pub fn with(mut self, name: &str, value: &[u8]) -> Self {
        self.put(name, value);
        self
    }

    /// Adds a parameter, if there is one.
    #[must_use]
    pub fn with_some(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value.as_bytes()),
            None => self,
        }
    }

    /// Says who the client is.
    pub fn client(mut self, how: ClientAuth, id: &Secret, secret: &Secret) -> Result<Self, ArmFault> {
        // exposed: into the request to the token endpoint, which its secret is bound to
        let (id, secret) = (id.expose(), secret.expose());
        match how {
            ClientAuth::Post => {
                self.put("client_id", id);
                self.put("client_secret", secret);
            }
            ClientAuth::Basic => {
                // Both are form-encoded first (RFC 6749 section 2.3.1), so no colon can move the border.
                let mut pair = Zeroizing::new(Vec::with_capacity((id.len() + secret.len()) * 3 + 1));
                encode_into(id, &mut pair);
                pair.push(b':');
                encode_into(secret, &mut pair);
                self.authorization = Some(sensitive(super::basic_auth::encoded(&pair))?);
            }
        }
        Ok(self)
    }

    fn put(&mut self, name: &str, value: &[u8]) {
        let room = self.body.len() + 1 + name.len() * 3 + 1 + value.len() * 3;
        if room > self.body.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity((room * 2).min(FORM_MOST.max(room))));
            larger.extend_from_slice(&self.body);
            self.body = larger;
        }
        if !self.body.is_empty() {
            self.body.push(b'&');
        }
        encode_into(name.as_bytes(), &mut self.body);
        self.body.push(b'=');
        encode_into(value, &mut self.body);
    }
}

/// Percent-codes all but unreserved characters, which every form decoder reads back.
fn encode_into(value: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in value {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(byte);
        } else {
            let hex = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
            out.extend([b'%', hex(byte >> 4), hex(byte & 15)]);
        }
    }
}

/// An issuer's answer, read whole.
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// When it says to come again.
    pub retry_after: Option<Duration>,
    /// The body, wiped when freed.
    pub body: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("status", &self.status).finish_non_exhaustive()
    }
}

/// What an exchange gives.
#[derive(Debug)]
pub struct Issued {
    /// The token: visible ASCII.
    pub token: Secret,
    /// How long it lives.
    pub life: Duration,
    /// The values that the issuer put in the place of those that it was shown, by the secret's keys: they are kept before
    /// the token is used.
    pub renewed: Vec<(String, Secret)>,
    /// What goes onto requests beside the token, by the names by which the scheme asks for it.
    pub beside: Vec<(String, Secret)>,
    /// Whether an issuer was asked: a secret may hold a token that still lives.
    pub was_asked: bool,
    /// Why the token is none: then what is renewed is kept, and nothing else is used.
    pub fault: Option<Failed>,
}

/// Error codes of issuers that say something to a person (RFC 6749 section 5.2, RFC 7523, RFC 8628 section 3.5); others are not repeated.
const KNOWN: [&str; 11] = [
    "access_denied",
    "authorization_pending",
    "expired_token",
    "slow_down",
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_target",
];

impl Reply {
    /// The fields of a success, or why there is none. The issuer's words are not repeated.
    pub fn object(&self) -> Result<Object, Failed> {
        if self.status.is_success() {
            return Object::parse(&self.body).map_err(|error| malformed(&error));
        }
        Err(self.refused())
    }

    /// An answer of RFC 6749, section 5.1.
    pub fn token(&self) -> Result<Issued, Failed> {
        token_of(&mut self.object()?, false)
    }

    /// The same of a vendor with a protocol of its own, which may leave out the type.
    pub fn vendor_token(&self) -> Result<Issued, Failed> {
        token_of(&mut self.object()?, true)
    }

    /// The same with another refresh token, if the issuer gave one; it is kept under this key. It has taken the place of the
    /// one that was shown, so it is kept also where the rest of the answer will not do.
    pub fn refreshed(&self, key: &str, is_vendors: bool) -> Result<Issued, Failed> {
        let mut object = self.object()?;
        let next = object.take("refresh_token");
        let issued = token_of(&mut object, is_vendors);
        let Some(next) = next else { return issued };
        if let Err(failed) = check(&next) {
            return Err(issued.err().unwrap_or(failed));
        }
        let mut issued = issued.unwrap_or_else(Issued::unfit);
        issued.renewed.push((key.to_owned(), next));
        Ok(issued)
    }

    /// The error code of the answer, if it is one that we repeat.
    pub fn said(&self) -> Option<&'static str> {
        let object = Object::parse(&self.body).ok()?;
        known_error(object.text("error")?)
    }

    /// Why the answer is no token.
    pub fn refused(&self) -> Failed {
        self.refused_with(self.said())
    }

    /// Why there is no token, where the answer says it in a word of ours.
    pub fn refused_with(&self, said: Option<&str>) -> Failed {
        let status = self.status.as_u16();
        if self.status.is_redirection() {
            return refused(format!(
                "the token endpoint answered with a redirect ({status}), which is not followed"
            ));
        }
        if self.status.is_server_error() || self.status == StatusCode::TOO_MANY_REQUESTS {
            let refusal =
                Refusal::new(Code::Dw1005, format!("the token endpoint cannot answer now (status {status})"));
            return Failed { refusal, because: Because::Unavailable(self.retry_after) };
        }
        match said {
            Some(said) => refused(format!("the token endpoint refused the credential: {said}")),
            None => refused(format!("the token endpoint refused the credential (status {status})")),
        }
    }
}

fn token_of(object: &mut Object, may_lack_type: bool) -> Result<Issued, Failed> {
    let kind = object.text("token_type");
    // exposed: compared, it is no secret
    let is_bearer = kind.map(|kind| kind.expose().eq_ignore_ascii_case(b"bearer"));
    if !is_bearer.unwrap_or(may_lack_type && !object.has("token_type")) {
        return Err(unfit("the token is of another type than Bearer"));
    }
    let token = object.take("access_token").ok_or_else(|| unfit("it has no access_token"))?;
    let life = object.seconds("expires_in").map_err(|_| unfit("its expires_in is no number of seconds"))?;
    Issued::new(token, life)
}

/// An issuer's error code, if it is one that we repeat.
pub fn known_error(said: &Secret) -> Option<&'static str> {
    KNOWN.into_iter().find(|known| said.matches(known.as_bytes()))
}

impl Issued {
    /// Checks what an issuer gave. `life` in seconds, if it said one.
    pub fn new(token: Secret, life: Option<u64>) -> Result<Self, Failed> {
        check(&token)?;
        let life = match life {
            Some(0) => return Err(unfit("the token has expired already")),
            Some(seconds) => Duration::from_secs(seconds),
            None => UNSAID,
        };
        Ok(Self { token, life, renewed: Vec::new(), beside: Vec::new(), was_asked: true, fault: None })
    }

    /// No token, but perhaps something to be kept.
    fn unfit(fault: Failed) -> Self {
        let token = Secret::new(Vec::new());
        Self {
            token,
            life: UNSAID,
            renewed: Vec::new(),
            beside: Vec::new(),
            was_asked: true,
            fault: Some(fault),
        }
    }
}

/// What is put on requests, or kept, has to be a token.
pub fn check(value: &Secret) -> Result<(), Failed> {
    // exposed: its bytes are looked at, none is kept
    if !value.expose().iter().all(u8::is_ascii_graphic) {
        return Err(unfit("a token holds a character that is not visible ASCII"));
    }
    if !(crate::schemes::SHORTEST_VALUE..=control::vault::value::VALUE_MAX).contains(&value.len()) {
        return Err(unfit("a token is too short or too long"));
    }
    Ok(())
}

fn refused(detail: String) -> Failed {
    Failed { refusal: Refusal::new(Code::Dw1005, detail), because: Because::Refused }
}

/// A secret that cannot be used for the exchange.
pub fn unusable(fault: &ArmFault) -> Failed {
    let detail = format!("the secret cannot be exchanged for a token: {fault}");
    Failed { refusal: Refusal::new(Code::Dw1004, detail), because: Because::Refused }
}

fn malformed(error: &StrictError) -> Failed {
    unfit_because(format!("the token endpoint's answer cannot be used: {error}"))
}

/// An answer that is no token that we can use.
pub fn unfit(why: &'static str) -> Failed {
    unfit_because(format!("the token endpoint's answer cannot be used: {why}"))
}

fn unfit_because(detail: String) -> Failed {
    Failed { refusal: Refusal::new(Code::Dw2010, detail), because: Because::Unavailable(None) }
}
