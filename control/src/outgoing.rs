//! Calls of the server's own to places that its operator named: an issuer of logins, a key service.
//!
//! One call, one connection, HTTP/1.1 over verified TLS. Refuses plain http, redirects, answers over a bound and whatever takes
//! longer than its deadline. Nothing of the environment (proxies, roots) plays a part. Bodies go into and come from buffers
//! that are wiped; what the connection's own buffers held is not.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

/// How long a call may take from the look-up to the end of its answer, where nothing else is said.
const DEADLINE: Duration = Duration::from_secs(15);
/// The largest answer, where nothing else is said: key sets and tokens are a few KiB.
const ANSWER: usize = 1024 * 1024;

/// Why a call gave no answer. Nothing of what was sent or came back is in it.
#[derive(Debug, thiserror::Error)]
pub enum OutgoingError {
    /// Not an `https://` URL with a host, or one with user, password or fragment.
    #[error("not an https:// URL: {0}")]
    Url(&'static str),
    /// A header cannot be written down.
    #[error("a header or path cannot be written down")]
    Header,
    /// No address, or nobody listens.
    #[error("the host cannot be reached")]
    Connect(#[source] std::io::Error),
    /// The certificate does not verify, or the other side speaks no TLS.
    #[error("no verified TLS with the host")]
    Tls(#[source] std::io::Error),
    /// The answer is no HTTP, or was cut.
    #[error("the exchange broke")]
    Http(#[source] hyper::Error),
    /// The deadline went by.
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
    /// The answer is over the bound.
    #[error("an answer over {0} bytes")]
    TooLarge(usize),
    /// The host wants another one asked, which nobody named.
    #[error("a redirect (status {0}), which is not followed")]
    Redirect(u16),
}

/// Where calls go: `https://HOST[:PORT]/PATH[?QUERY]`, parsed once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    host: String,
    port: u16,
    authority: String,
    path: String,
}

/// What is asked.
#[derive(Debug)]
pub struct Ask {
    method: Method,
    headers: HeaderMap,
    body: Zeroizing<Vec<u8>>,
}

/// What came back: any status but a redirect.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, whole; wiped.
    pub body: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Who calls: trust, deadline and bound.
#[derive(Clone, Debug)]
pub struct Outgoing {
    tls: Arc<rustls::ClientConfig>,
    deadline: Duration,
    answer: usize,
}

impl Place {
    /// Reads a URL.
    ///
    /// # Errors
    /// What [`OutgoingError::Url`] says.
    pub fn parse(url: &str) -> Result<Self, OutgoingError> {
        let uri: Uri = url.parse().map_err(|_| OutgoingError::Url("it cannot be read"))?;
        if uri.scheme_str() != Some("https") {
            return Err(OutgoingError::Url("another scheme"));
        }
        // The `http` crate drops a fragment in silence.
        if url.contains('#') {
            return Err(OutgoingError::Url("it has a fragment"));
        }
        let authority = uri.authority().ok_or(OutgoingError::Url("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(OutgoingError::Url("it has a user or password"));
        }
        let host = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
        if ServerName::try_from(host.as_str()).is_err() {
            return Err(OutgoingError::Url("its host is no name or address"));
        }
        let port = match (authority.port_u16(), authority.as_str().ends_with(authority.host())) {
            (Some(0), _) | (None, false) => return Err(OutgoingError::Url("its port is none")),
            (Some(port), _) => port,
            (None, true) => 443,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { host, port, authority: authority.as_str().to_ascii_lowercase(), path })
    }

    /// What `Host` says, for those who sign it.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The path with its query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Another path at the same host.
    ///
    /// # Errors
    /// A path that does not start with `/` or holds what none may.
    pub fn at(&self, path: &str) -> Result<Self, OutgoingError> {
        let uri: Uri = path.parse().map_err(|_| OutgoingError::Header)?;
        if uri.authority().is_some() || !path.starts_with('/') || path.contains('#') {
            return Err(OutgoingError::Header);
        }
        Ok(Self { path: path.to_owned(), ..self.clone() })
    }

    /// Whether two places are one origin.
    pub fn is_at(&self, other: &Self) -> bool {
        (self.host.as_str(), self.port) == (other.host.as_str(), other.port)
    }
}

impl Ask {
    /// Reads.
    pub fn get() -> Self {
        Self { method: Method::GET, headers: HeaderMap::new(), body: Zeroizing::default() }
    }

    /// Sends a body, which is wiped afterwards.
    pub fn post(kind: &'static str, body: Zeroizing<Vec<u8>>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(kind));
        Self { method: Method::POST, headers, body }
    }

    #[cfg(test)]
    pub(crate) fn into_body(self) -> Zeroizing<Vec<u8>> {
        self.body
    }

    /// With a header. Mark a secret one `set_sensitive`.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

impl Outgoing {
    /// With the trust of `tls` ([`crate::cli::Tls`] makes one: the system's roots, and those of a file).
    pub fn new(tls: &rustls::ClientConfig) -> Self {
        let mut tls = tls.clone();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { tls: Arc::new(tls), deadline: DEADLINE, answer: ANSWER }
    }

    /// With another deadline for a whole call.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// With another bound of answers.
    #[must_use]
    pub fn up_to(mut self, answer: usize) -> Self {
        self.answer = answer;
        self
    }

    /// One call.
    ///
    /// # Errors
    /// Each variant of [`OutgoingError`] but `Url`. Statuses other than redirects are answers.
    pub async fn call(&self, place: &Place, ask: Ask) -> Result<Answer, OutgoingError> {
        let calling = async {
            let stream = dial(&place.host, place.port).await.map_err(OutgoingError::Connect)?;
            let stream = secure(&self.tls, &place.host, stream).await.map_err(OutgoingError::Tls)?;
            exchange(stream, request(place, ask)?, self.answer).await
        };
        match tokio::time::timeout(self.deadline, calling).await {
            Ok(answer) => answer,
            Err(_) => Err(OutgoingError::Late(self.deadline)),
        }
    }
}

/// A connection to a host that the operator named.
pub(crate) async fn dial(host: &str, port: u16) -> std::io::Result<tokio::net::TcpStream> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a host that the operator named; no agent's request goes this way"
    )]
    tokio::net::TcpStream::connect((host, port)).await
}

/// Verified TLS on it, for that host.
pub(crate) async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
    tls: &Arc<rustls::ClientConfig>,
    host: &str,
    stream: S,
) -> std::io::Result<TlsStream<S>> {
    let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
    TlsConnector::from(Arc::clone(tls)).connect(name, stream).await
}

fn request(place: &Place, ask: Ask) -> Result<Request<Full<Bytes>>, OutgoingError> {
    let mut request = Request::new(Full::new(Bytes::from_owner(ask.body)));
    *request.method_mut() = ask.method;
    *request.uri_mut() = place.path.parse().map_err(|_| OutgoingError::Header)?;
    *request.headers_mut() = ask.headers;
    let host = HeaderValue::from_str(&place.authority).map_err(|_| OutgoingError::Header)?;
    request.headers_mut().insert(HOST, host);
    Ok(request)
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>, most: usize) -> Result<Answer, OutgoingError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(OutgoingError::Http)?;
    let calling = async {
        let (head, body) = sender.send_request(request).await.map_err(OutgoingError::Http)?.into_parts();
        if head.status.is_redirection() {
            return Err(OutgoingError::Redirect(head.status.as_u16()));
        }
        Ok(Answer { status: head.status, headers: head.headers, body: whole(body, most).await? })
    };
    // The connection is driven here and ends with the call: no task outlives a caller that gave up.
    tokio::pin!(connection);
    tokio::pin!(calling);
    let mut is_open = true;
    loop {
        tokio::select! {
            answer = &mut calling => return answer,
            // What went wrong is told by the call itself.
            _ = &mut connection, if is_open => is_open = false,
        }
    }
}

/// A body up to a bound, in a buffer that does not leave copies behind when it grows.
async fn whole(mut body: Incoming, most: usize) -> Result<Zeroizing<Vec<u8>>, OutgoingError> {
    let mut bytes: Zeroizing<Vec<u8>> = Zeroizing::default();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(OutgoingError::Http)?.into_data() else { continue };
        let length = bytes.len() + data.len();
        if length > most {
            return Err(OutgoingError::TooLarge(most));
        }
        if length > bytes.capacity() {
            let mut more = Zeroizing::new(Vec::with_capacity((2 * length).min(most)));
            more.extend_from_slice(&bytes);
            bytes = more;
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[test]
    fn refuses_what_is_no_https_url_of_a_host() {
        for url in [
            "http://issuer.example",
            "https://",
            "https:///path",
            "/path",
            "issuer.example",
            "https://user:pw@issuer.example/",
            "https://user@issuer.example/",
            "https://issuer.example/#x",
            "https://issuer.example:0/",
            "https://issuer.example:99999/",
            "https://issuer.example:/",
            "https://is suer.example/",
            "ftp://issuer.example/",
        ] {
            assert!(Place::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_place_is_host_port_and_path() {
        let place = Place::parse("https://Issuer.example/a?b=c").unwrap();
        assert_eq!((place.host.as_str(), place.port, place.path()), ("issuer.example", 443, "/a?b=c"));
        let six = Place::parse("https://[::1]:8443").unwrap();
        assert_eq!((six.host.as_str(), six.port, six.authority()), ("::1", 8443, "[::1]:8443"));
        assert!(six.at("/x?y").unwrap().is_at(&six));
        assert!(!place.is_at(&six));
        for path in ["x", "//other.example/x", "https://other.example/", "/a b", "/a#b"] {
            let at = place.at(path);
            assert!(at.as_ref().is_err() || at.unwrap().is_at(&place), "{path}");
        }
    }

    /// What a call gets when the other side answers with these bytes.
    async fn answered(with: &[u8], most: usize) -> Result<Answer, OutgoingError> {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let place = Place::parse("https://issuer.example/keys").unwrap();
        let body = Zeroizing::new(b"a=b".to_vec());
        let request = request(&place, Ask::post("application/x-www-form-urlencoded", body)).unwrap();
        let with = with.to_vec();
        let answering = async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\na=b") {
                head.push(far.read_u8().await.unwrap());
            }
            far.write_all(&with).await.unwrap();
            String::from_utf8(head).unwrap()
        };
        let (answer, sent) = tokio::join!(exchange(near, request, most), answering);
        assert!(sent.starts_with("POST /keys HTTP/1.1\r\n"), "{sent}");
        assert!(sent.contains("host: issuer.example\r\n"), "{sent}");
        answer
    }

    #[tokio::test]
    async fn follows_no_redirect() {
        let with = b"HTTP/1.1 302 Found\r\nlocation: https://elsewhere.example/\r\ncontent-length: 0\r\n\r\n";
        assert!(matches!(answered(with, 100).await, Err(OutgoingError::Redirect(302))));
    }

    #[tokio::test]
    async fn takes_no_answer_over_the_bound() {
        let with = b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n01234567890";
        assert!(matches!(answered(with, 10).await, Err(OutgoingError::TooLarge(10))));
        assert_eq!(answered(with, 11).await.unwrap().body.as_slice(), b"01234567890");
    }

    #[tokio::test]
    async fn takes_no_answer_that_was_cut() {
        let with = b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n0123";
        assert!(matches!(answered(with, 100).await, Err(OutgoingError::Http(_))));
    }

    #[tokio::test]
    async fn an_error_of_the_other_side_is_an_answer() {
        let with = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno";
        let answer = answered(with, 100).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.body.as_slice()), (403, &b"no"[..]));
        assert!(!format!("{answer:?}").contains("no\""));
    }
}
