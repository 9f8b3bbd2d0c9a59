//! The listener that the browser comes back to: on this machine's own addresses, for one login and one answer.
//!
//! Refuses every request but a GET of the one path under the one name (a page of another site can make a browser send
//! requests here, under its own name by DNS rebinding), and what is not of this login. Those get a short no, and the login
//! goes on: else any page could end it. Bounded: connections at once, connections in all, bytes and seconds of each.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use control::secret::Secret;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::answer::{self, NoCode};
use super::facts::Redirect;

/// The longest head of a request.
const HEAD_MOST: usize = 16 << 10;
/// Browsers open connections ahead that they may never use.
const AT_ONCE: usize = 16;
/// Who sends so many requests that are none is no browser.
const IN_ALL: usize = 256;
/// How long a connection may take for its request.
const LATE: Duration = Duration::from_secs(30);

/// Why no code came.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallbackError {
    /// The vendor said so, by the browser.
    #[error(transparent)]
    Answer(#[from] NoCode),
    /// Nobody came.
    #[error("no answer came within {} minutes", .0.as_secs() / 60)]
    Late(Duration),
    /// Somebody else did.
    #[error("too many requests came that are no answer")]
    Many,
    /// The listener broke.
    #[error("cannot accept connections")]
    Accept(#[source] io::Error),
}

/// The bound listener.
#[derive(Debug)]
pub(super) struct Callback {
    first: TcpListener,
    /// `localhost` may mean the other address as well.
    second: Option<TcpListener>,
    /// The `Host` of a request for us.
    authority: String,
    path: String,
}

impl Callback {
    /// Binds the first port that is free.
    pub(super) async fn bind(redirect: &Redirect) -> io::Result<Self> {
        let mut failure = None;
        for port in if redirect.ports.is_empty() { &[0][..] } else { &redirect.ports } {
            match TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, *port))).await {
                Ok(first) => return Self::of(first, redirect).await,
                Err(error) => failure = Some(io::Error::new(error.kind(), format!("port {port}: {error}"))),
            }
        }
        Err(failure.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
    }

    async fn of(first: TcpListener, redirect: &Redirect) -> io::Result<Self> {
        let port = first.local_addr()?.port();
        let second = match redirect.host.as_str() {
            "localhost" => TcpListener::bind(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).await.ok(),
            _ => None,
        };
        Ok(Self {
            first,
            second,
            authority: format!("{}:{port}", redirect.host),
            path: redirect.path.clone(),
        })
    }

    /// The redirect address.
    pub(super) fn uri(&self) -> String {
        format!("http://{}{}", self.authority, self.path)
    }

    /// Waits for the one answer. The listener is closed with it.
    pub(super) async fn code(self, state: &Secret, patience: Duration) -> Result<Secret, CallbackError> {
        timeout(patience, self.serve(state)).await.unwrap_or(Err(CallbackError::Late(patience)))
    }

    async fn serve(&self, state: &Secret) -> Result<Secret, CallbackError> {
        let mut open = FuturesUnordered::new();
        let mut seen = 0;
        loop {
            tokio::select! {
                stream = self.accept(), if open.len() < AT_ONCE => {
                    let stream = stream.map_err(CallbackError::Accept)?;
                    seen += 1;
                    if seen > IN_ALL {
                        return Err(CallbackError::Many);
                    }
                    open.push(timeout(LATE, self.answer(stream, state)));
                }
                Some(outcome) = open.next() => match outcome {
                    Ok(Some(Err(NoCode::State | NoCode::Twice | NoCode::Form))) | Ok(None) | Err(_) => {}
                    Ok(Some(outcome)) => return outcome.map_err(CallbackError::Answer),
                }
            }
        }
    }

    async fn accept(&self) -> io::Result<TcpStream> {
        let second = async {
            match &self.second {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = self.first.accept() => accepted,
            accepted = second => accepted,
        }
        .map(|(stream, _)| stream)
    }

    /// Reads one request and answers it; what it brought, if it was for us.
    async fn answer(&self, mut stream: TcpStream, state: &Secret) -> Option<Result<Secret, NoCode>> {
        let head = head(&mut stream).await?;
        let outcome = match self.judge(&head) {
            Ok(query) => Ok(answer::redirected(&query, state)),
            Err(status) => Err(status),
        };
        let (status, text) = match &outcome {
            Ok(Ok(_)) => {
                ("200 OK", "The login came back to doorward: close this window and go on in the terminal.")
            }
            Ok(Err(NoCode::Denied(_) | NoCode::None)) => {
                ("200 OK", "The login was not given: close this window, the terminal says more.")
            }
            Ok(Err(_)) => ("400 Bad Request", "This is not the login that doorward waits for."),
            Err(status) => (*status, "Nothing is here."),
        };
        let said = respond(&mut stream, status, text).await;
        if let Err(error) = said {
            tracing::debug!(%error, "browser not answered");
        }
        outcome.ok()
    }

    /// The query of a request for us, or the status of a no.
    fn judge(&self, head: &[u8]) -> Result<Zeroizing<Vec<u8>>, &'static str> {
        const BAD: &str = "400 Bad Request";
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut fields);
        let is_whole = request.parse(head).is_ok_and(|status| status.is_complete());
        if !is_whole {
            return Err(BAD);
        }
        let mut hosts = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("host"));
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(BAD) };
        if !host.value.eq_ignore_ascii_case(self.authority.as_bytes()) {
            return Err("421 Misdirected Request");
        }
        if request.method != Some("GET") {
            return Err("405 Method Not Allowed");
        }
        let (path, query) = request.path.and_then(|target| target.split_once('?')).ok_or("404 Not Found")?;
        if path != self.path {
            return Err("404 Not Found");
        }
        Ok(Zeroizing::new(query.as_bytes().to_vec()))
    }
}

/// A request's head, if it is one of a bearable length.
async fn head(stream: &mut TcpStream) -> Option<Zeroizing<Vec<u8>>> {
    let mut head = Zeroizing::new(Vec::with_capacity(HEAD_MOST));
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let read = (&mut *stream).take((HEAD_MOST - head.len()) as u64).read_buf(&mut *head).await.ok()?;
        if read == 0 {
            return None;
        }
    }
    Some(head)
}

async fn respond(stream: &mut TcpStream, status: &str, text: &str) -> io::Result<()> {
    let response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\n\
         Connection: close\r\n\r\n{text}\n",
        text.len() + 1
    );
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: &[u8] = b"the-state-of-this-login";
    const SOON: Duration = Duration::from_secs(20);

    async fn bound(host: &str) -> Callback {
        let redirect =
            Redirect { host: host.to_owned(), ports: Vec::new(), path: "/auth/callback".to_owned() };
        Callback::bind(&redirect).await.unwrap()
    }

    /// Sends a request as it is written, and reads the status.
    async fn sent(address: SocketAddr, request: &str) -> String {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("Content-Type: text/plain") && !answer.contains('<'), "{answer}");
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn refuses_all_but_the_one_request_under_the_one_name_and_goes_on_waiting() {
        let callback = bound("localhost").await;
        let (address, own) = (callback.first.local_addr().unwrap(), callback.authority.clone());
        let waiting = tokio::spawn(async move {
            let state = Secret::new(STATE.to_vec());
            callback.code(&state, SOON).await
        });
        let good = "/auth/callback?code=c0de&state=the-state-of-this-login";
        let port = address.port();
        for (request, status) in [
            (format!("GET {good} HTTP/1.1\r\nHost: evil.example:{port}\r\n\r\n"), "421"),
            (format!("GET {good} HTTP/1.1\r\nHost: localhost\r\n\r\n"), "421"),
            (format!("GET {good} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"), "421"),
            (format!("GET {good} HTTP/1.1\r\n\r\n"), "400"),
            (format!("GET {good} HTTP/1.1\r\nHost: {own}\r\nHost: {own}\r\n\r\n"), "400"),
            (format!("GET http://{own}{good} HTTP/1.1\r\nHost: {own}\r\n\r\n"), "404"),
            (format!("POST {good} HTTP/1.1\r\nHost: {own}\r\nContent-Length: 0\r\n\r\n"), "405"),
            (format!("GET /favicon.ico HTTP/1.1\r\nHost: {own}\r\n\r\n"), "404"),
            (format!("GET /auth/callback HTTP/1.1\r\nHost: {own}\r\n\r\n"), "404"),
            (format!("GET /auth/callback?code=evil&state=guess HTTP/1.1\r\nHost: {own}\r\n\r\n"), "400"),
            (format!("GET /auth/callback?error=access_denied HTTP/1.1\r\nHost: {own}\r\n\r\n"), "400"),
            (format!("GET {good}&state=x HTTP/1.1\r\nHost: {own}\r\n\r\n"), "400"),
            ("no request\r\n\r\n".to_owned(), "400"),
        ] {
            assert_eq!(sent(address, &request).await, status, "{request}");
            assert!(!waiting.is_finished(), "{request}");
        }
        let request = format!("GET {good} HTTP/1.1\r\nHost: {}\r\n\r\n", own.to_uppercase());
        assert_eq!(sent(address, &request).await, "200");
        assert!(waiting.await.unwrap().unwrap().matches(b"c0de"));
        // The one answer has come: nobody listens any more.
        assert!(tokio::net::TcpSocket::new_v4().unwrap().connect(address).await.is_err());
    }

    #[tokio::test]
    async fn a_connection_that_says_nothing_does_not_hold_up_the_one_that_does() {
        let callback = bound("127.0.0.1").await;
        let (address, own) = (callback.first.local_addr().unwrap(), callback.authority.clone());
        let waiting = tokio::spawn(async move {
            let state = Secret::new(STATE.to_vec());
            callback.code(&state, SOON).await
        });
        let _silent = tokio::net::TcpSocket::new_v4().unwrap().connect(address).await.unwrap();
        let denied = "/auth/callback?error=access_denied&state=the-state-of-this-login";
        let request = format!("GET {denied} HTTP/1.1\r\nHost: {own}\r\n\r\n");
        assert_eq!(sent(address, &request).await, "200");
        let outcome = waiting.await.unwrap();
        assert!(matches!(outcome, Err(CallbackError::Answer(NoCode::Denied("access_denied")))));
    }

    #[tokio::test]
    async fn a_login_that_nobody_ends_is_given_up() {
        let callback = bound("localhost").await;
        tokio::time::pause();
        let outcome = callback.code(&Secret::new(STATE.to_vec()), Duration::from_secs(600)).await;
        assert_eq!(outcome.unwrap_err().to_string(), "no answer came within 10 minutes");
    }

    #[tokio::test]
    async fn another_port_is_taken_where_the_first_is_in_use() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let redirect =
            |ports| Redirect { host: "localhost".to_owned(), ports, path: "/auth/callback".to_owned() };
        let failed = Callback::bind(&redirect(vec![port])).await.unwrap_err();
        assert!(failed.to_string().contains(&format!("port {port}")), "{failed}");
        let callback = Callback::bind(&redirect(vec![port, 0])).await.unwrap();
        assert!(
            callback.uri().starts_with("http://localhost:") && callback.uri().ends_with("/auth/callback")
        );
        assert!(callback.first.local_addr().unwrap().ip().is_loopback());
    }
}
