//! One call at a time: a connection for each, JSON both ways, bounded.
//!
//! Refuses plain http off loopback, redirects, and answers over 64 MiB. The token and the values that are sent go into
//! buffers that are wiped; what the connection's own buffers held is not.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, HOST, HeaderValue, IF_MATCH};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

use super::login::Chosen;
use super::whose;
use crate::cli::{Env, Exit, Failure};
use crate::outgoing;
use crate::secret::Secret;

/// How long a call may take from the dial to the end of its answer.
const TIME: Duration = Duration::from_secs(60);
/// The largest answer.
const ANSWER: usize = 64 * 1024 * 1024;
/// What of a name stands in a path as it is.
const NAME: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// Where the server is.
#[derive(Clone, Debug)]
enum Place {
    Tcp { host: String, port: u16, tls: Option<Arc<rustls::ClientConfig>> },
    Unix(PathBuf),
}

/// A server, and who we are there.
#[derive(Debug)]
pub(crate) struct Client {
    place: Place,
    authority: String,
    token: Secret,
    /// The server's URL, for messages.
    pub(crate) url: String,
}

/// What is sent: JSON in a buffer that is wiped.
#[derive(Debug, Default)]
pub(crate) struct Body(Zeroizing<Vec<u8>>);

impl Body {
    /// A body without secrets.
    pub(crate) fn of(value: &Value) -> Self {
        Self(Zeroizing::new(value.to_string().into_bytes()))
    }

    /// `facts`, which is an object, with the values of a secret as `values`.
    ///
    /// # Errors
    /// A value that is not UTF-8, which JSON cannot carry.
    pub(crate) fn with_values(facts: &Value, values: &[(String, Secret)]) -> Result<Self, Failure> {
        let mut bytes = Self::open(facts, values.iter().map(|(_, value)| value.len()).sum());
        bytes.extend_from_slice(b"\"values\":{");
        for (index, (key, value)) in values.iter().enumerate() {
            if index > 0 {
                bytes.push(b',');
            }
            quoted(&mut bytes, key)?;
            bytes.push(b':');
            // exposed: sent to the server that keeps it
            let text = std::str::from_utf8(value.expose()).map_err(|_| {
                Failure::new(Exit::Error, format!("the value of key `{key}` is not UTF-8 text"))
            })?;
            quoted(&mut bytes, text)?;
        }
        bytes.extend_from_slice(b"}}");
        Ok(Self(bytes))
    }

    /// `facts` with texts that are secret, or hold values.
    ///
    /// # Errors
    /// A text that is not UTF-8.
    pub(crate) fn with_texts(facts: &Value, texts: &[(&str, &Secret)]) -> Result<Self, Failure> {
        let room = texts.iter().map(|(_, text)| text.len() + 16).sum();
        let mut bytes = Self::open(facts, room);
        for (index, (field, text)) in texts.iter().enumerate() {
            if index > 0 {
                bytes.push(b',');
            }
            quoted(&mut bytes, field)?;
            bytes.push(b':');
            // exposed: sent to the server that it is for
            let text = std::str::from_utf8(text.expose())
                .map_err(|_| Failure::new(Exit::Error, "the file is not UTF-8 text"))?;
            quoted(&mut bytes, text)?;
        }
        bytes.push(b'}');
        Ok(Self(bytes))
    }

    /// The object up to its next field, with room for it: growing would leave copies behind.
    fn open(facts: &Value, room: usize) -> Zeroizing<Vec<u8>> {
        let text = facts.to_string();
        let head = text.strip_suffix('}').unwrap_or_default();
        let mut bytes = Zeroizing::new(Vec::with_capacity(head.len() + 6 * room + 16 * 1024));
        bytes.extend_from_slice(head.as_bytes());
        if head.len() > 1 {
            bytes.push(b',');
        }
        bytes
    }
}

fn quoted(bytes: &mut Vec<u8>, text: &str) -> Result<(), Failure> {
    serde_json::to_writer(bytes, text).map_err(|error| Failure::new(Exit::Error, error.to_string()))
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) etag: Option<HeaderValue>,
    pub(crate) body: Bytes,
}

impl Sent {
    /// The body as `T`.
    ///
    /// # Errors
    /// It is not what this program expects of a server.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Failure::new(Exit::Error, format!("the server's answer cannot be read: {error}"))
        })
    }
}

/// A name as a part of a path.
pub(crate) fn segment(name: &str) -> String {
    utf8_percent_encode(name, &NAME).to_string()
}

impl Client {
    pub(super) fn new(env: &Env, chosen: Chosen) -> Result<Self, Failure> {
        let usage = |why: &str| Failure::new(Exit::Usage, format!("the server's URL: {why}"));
        let url = chosen.server.trim_end_matches('/').to_owned();
        if let Some(path) = url.strip_prefix("unix:") {
            let place = Place::Unix(path.into());
            return Ok(Self { place, authority: "localhost".to_owned(), token: chosen.token, url });
        }
        let uri: http::Uri = url.parse().map_err(|_| usage("https://HOST[:PORT] or unix:PATH"))?;
        let host = uri.host().ok_or_else(|| usage("it has no host"))?;
        let host = host.trim_matches(['[', ']']).to_owned();
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(usage("it has a path"));
        }
        let is_local = host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        let (tls, port) = match uri.scheme_str() {
            Some("https") => {
                let made = (env.tls)(chosen.ca.as_deref());
                (Some(made.map_err(|why| Failure::new(Exit::Error, why))?), 443)
            }
            Some("http") if is_local => (None, 80),
            Some("http") => return Err(usage("http is for loopback alone; use https")),
            Some(_) | None => return Err(usage("https://HOST[:PORT] or unix:PATH")),
        };
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let place = Place::Tcp { host, port: uri.port_u16().unwrap_or(port), tls };
        Ok(Self { place, authority, token: chosen.token, url })
    }

    /// Reads an object; `None` where there is none.
    pub(crate) async fn find(&self, path: &str) -> Result<Option<Sent>, Failure> {
        match self.call(Method::GET, path, None, None).await {
            Ok(sent) => Ok(Some(sent)),
            Err(failure) if failure.exit == Exit::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Reads.
    pub(crate) async fn get(&self, path: &str) -> Result<Sent, Failure> {
        self.call(Method::GET, path, None, None).await
    }

    /// Makes something.
    pub(crate) async fn post(&self, path: &str, body: Body) -> Result<Sent, Failure> {
        self.call(Method::POST, path, Some(body), None).await
    }

    /// Removes what has no version.
    pub(crate) async fn delete(&self, path: &str) -> Result<Sent, Failure> {
        self.call(Method::DELETE, path, None, None).await
    }

    /// Changes an object in the version that was read.
    pub(crate) async fn change(
        &self,
        method: Method,
        path: &str,
        body: Option<Body>,
        seen: &Sent,
    ) -> Result<Sent, Failure> {
        let untold = || Failure::new(Exit::Error, "the server told no version of the object (ETag)");
        let etag = seen.etag.clone().ok_or_else(untold)?;
        self.call(method, path, body, Some(etag)).await
    }

    /// A change of what was seen in this version in a list.
    pub(crate) async fn change_of(
        &self,
        method: Method,
        path: &str,
        body: Option<Body>,
        version: u64,
    ) -> Result<Sent, Failure> {
        let etag = HeaderValue::try_from(format!("\"v{version}\""));
        let etag = etag.map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
        self.call(method, path, body, Some(etag)).await
    }

    /// All objects of a list.
    pub(crate) async fn all<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, Failure> {
        #[derive(serde::Deserialize)]
        struct Page<T> {
            items: Vec<T>,
            next: Option<String>,
        }
        let mark = if path.contains('?') { '&' } else { '?' };
        let mut all = Vec::new();
        let mut cursor = None;
        loop {
            let more = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            let page: Page<T> = self.get(&format!("{path}{mark}limit=1000{more}")).await?.read()?;
            all.extend(page.items);
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(all),
            }
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Body>,
        etag: Option<HeaderValue>,
    ) -> Result<Sent, Failure> {
        let calling = self.exchange(method, path, body, etag);
        let late = |_| Failure::new(Exit::Error, format!("{} did not answer in time", self.url));
        let (status, headers, body) = tokio::time::timeout(TIME, calling).await.map_err(late)??;
        if status.is_success() {
            return Ok(Sent { etag: headers.get(ETAG).cloned(), body });
        }
        Err(self.failure(status, &body))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Body>,
        etag: Option<HeaderValue>,
    ) -> Result<(StatusCode, HeaderMap, Bytes), Failure> {
        let failed =
            |error: &dyn std::fmt::Display| Failure::new(Exit::Error, format!("{}: {error}", self.url));
        let request = self.request(method, path, body, etag)?;
        let (mut sender, driving) = self.connect().await?;
        tokio::spawn(driving);
        let answer = sender.send_request(request).await.map_err(|error| failed(&error))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER).collect().await.map_err(|error| failed(&error))?;
        Ok((head.status, head.headers, body.to_bytes()))
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<Body>,
        etag: Option<HeaderValue>,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let odd = |_| Failure::new(Exit::Error, "the call cannot be written down");
        // exposed: shown to the server that it is for
        let token = Zeroizing::new([b"Bearer ", self.token.expose()].concat());
        let mut token = HeaderValue::from_bytes(&token).map_err(|_| {
            Failure::new(Exit::Login, "the token holds what no token does; log in again: doorward login")
        })?;
        token.set_sensitive(true);
        let has_body = body.is_some();
        // Wiped when the last of it was sent.
        let bytes = body.map(|body| Bytes::from_owner(body.0)).unwrap_or_default();
        let mut request = Request::new(Full::new(bytes));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(|_| odd(()))?;
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_str(&self.authority).map_err(|_| odd(()))?);
        if !self.token.is_empty() {
            headers.insert(AUTHORIZATION, token);
        }
        if has_body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(etag) = etag {
            headers.insert(IF_MATCH, etag);
        }
        Ok(request)
    }

    async fn connect(&self) -> Result<(http1::SendRequest<Full<Bytes>>, Driving), Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(Exit::Error, format!("{} cannot be reached: {error}", self.url))
        };
        match &self.place {
            Place::Unix(path) => {
                let stream = tokio::net::UnixStream::connect(path).await.map_err(failed)?;
                let peer = stream.peer_cred().map_err(failed)?.uid();
                whose::check_user(peer).map_err(|why| self.foreign(&why))?;
                self.talk(stream).await
            }
            Place::Tcp { host, port, tls } => {
                let stream = outgoing::dial(host, *port).await.map_err(failed)?;
                let Some(tls) = tls else {
                    let address = stream.peer_addr().map_err(failed)?;
                    whose::check_listener(address).map_err(|why| self.foreign(&why))?;
                    return self.talk(stream).await;
                };
                let stream = outgoing::secure(tls, host, stream).await;
                self.talk(stream.map_err(failed)?).await
            }
        }
    }

    fn foreign(&self, why: &whose::NotOurs) -> Failure {
        Failure::new(Exit::Error, format!("the token was not sent to {}: {why}", self.url))
    }

    async fn talk<S>(&self, stream: S) -> Result<(http1::SendRequest<Full<Bytes>>, Driving), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) =
            shaken.map_err(|error| Failure::new(Exit::Error, format!("{}: {error}", self.url)))?;
        let driving: Driving = Box::pin(async move {
            // What went wrong is told by the call itself.
            drop(connection.await);
        });
        Ok((sender, driving))
    }

    /// What the server said, as the local vault would say it.
    fn failure(&self, status: StatusCode, body: &[u8]) -> Failure {
        #[derive(Default, serde::Deserialize)]
        struct Problem {
            #[serde(default)]
            code: String,
            #[serde(default)]
            detail: String,
            #[serde(default)]
            used_by: Vec<String>,
            #[serde(default)]
            errors: Vec<String>,
        }
        let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
        let exit = match status.as_u16() {
            401 => Exit::Login,
            404 => Exit::NotFound,
            409 | 412 => Exit::Conflict,
            _ => Exit::Error,
        };
        let mut message = match (problem.code.as_str(), problem.detail.as_str()) {
            ("", _) => format!("{} answered {status}", self.url),
            (code, detail) => format!("{code} {detail}"),
        };
        if exit == Exit::Login {
            message.push_str("; log in again: doorward login");
        }
        if !problem.used_by.is_empty() {
            message.push_str(&format!(": {}", problem.used_by.join(", ")));
        }
        for error in problem.errors {
            message.push_str(&format!("\n{error}"));
        }
        Failure::new(exit, message)
    }
}

type Driving = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cli::{Globals, Output, no_browser, no_tls};

    fn client(server: &str) -> Result<Client, Failure> {
        let env = Env {
            vars: BTreeMap::new(),
            globals: Globals::default(),
            schemes: &[],
            output: Output,
            tls: no_tls,
            browse: no_browser,
        };
        let token = Secret::new(b"dwt_x".to_vec());
        Client::new(&env, Chosen { server: server.to_owned(), token, ca: None })
    }

    #[test]
    fn refuses_plain_http_off_loopback_and_urls_with_a_path() {
        for server in [
            "http://vault.example.com",
            "http://192.0.2.1:3130",
            "https://h/path",
            "ftp://h",
            "h:1",
            "http://127.0.0.1/?a",
        ] {
            assert!(client(server).is_err(), "{server}");
        }
        for server in ["http://127.0.0.1:3130", "http://localhost", "http://[::1]:1", "unix:/run/x"] {
            client(server).unwrap();
        }
    }

    #[test]
    fn a_body_is_one_object_whatever_the_values_hold() {
        let values = vec![
            ("token".to_owned(), Secret::new(b"a\"b\\c\nd".to_vec())),
            ("key".to_owned(), Secret::new(b"\xc3\xa4".to_vec())),
        ];
        let body = Body::with_values(&serde_json::json!({"name": "x"}), &values).unwrap();
        let read: Value = serde_json::from_slice(&body.0).unwrap();
        assert_eq!(read, serde_json::json!({"name": "x", "values": {"token": "a\"b\\c\nd", "key": "ä"}}));
        let empty = Body::with_values(&serde_json::json!({}), &[]).unwrap();
        assert_eq!(empty.0.as_slice(), b"{\"values\":{}}");
        let odd = vec![("token".to_owned(), Secret::new(b"canary\xff".to_vec()))];
        let refused = Body::with_values(&serde_json::json!({}), &odd).unwrap_err();
        assert!(!refused.message.contains("canary"), "{refused}");
    }

    #[test]
    fn names_stay_in_their_place_of_a_path() {
        assert_eq!(segment("a/../b?c"), "a%2F..%2Fb%3Fc");
        assert_eq!(segment("github-pat_1.x"), "github-pat_1.x");
    }
}
