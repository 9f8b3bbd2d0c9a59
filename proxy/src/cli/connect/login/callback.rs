//! The listener that the browser comes back to: on this machine's own addresses, for one login and one answer.
//!
//! Refuses every request but a GET of the one path under the one name (a page of another site can make a browser send
//! requests here, under its own name by DNS rebinding), and what is not of this login. Those get a short no, and the login
//! goes on: else any page could end it. Bounded: connections at once, their pace, bytes and seconds of each.
//!
//! On a machine of several people, refuses processes of another user: they could bring a login of their own. So the browser
//! is not started with the vendor's address, in which the `state` stands and which everybody sees in the list of processes,
//! but with a page here that leads there, once.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use control::secret::Secret;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until, timeout};
use zeroize::Zeroizing;

use super::answer::{self, NoCode};
use super::facts::Redirect;
use crate::peer;

/// The longest head of a request.
const HEAD_MOST: usize = 16 << 10;
/// Browsers open connections ahead that they may never use.
const AT_ONCE: usize = 16;
/// After so many connections there is this long between two: who opens more is no browser, and shall not end the login.
const UNPACED: usize = 256;
const PACE: Duration = Duration::from_millis(50);
/// The path of the page that leads to the vendor, before its name.
const ENTRY: &str = "/login/";
/// Any port; several times, since it has to be free on both addresses.
const ANY: [u16; 4] = [0; 4];
/// How long another user's may take.
const PATIENCE: Duration = Duration::from_secs(1);
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
    entry: Option<Entry>,
    /// Our user.
    own: u32,
}

/// The page that leads the browser to the vendor.
#[derive(Debug)]
struct Entry {
    name: Secret,
    to: String,
    was_used: AtomicBool,
}

/// What a request is answered.
enum Said {
    /// What came back from the vendor.
    Answer(Zeroizing<Vec<u8>>),
    /// The way to the vendor.
    Lead(String),
}

impl Callback {
    /// Binds the first port that is free, on both addresses where the name means both.
    pub(super) async fn bind(redirect: &Redirect) -> io::Result<Self> {
        let mut failure = None;
        for port in if redirect.ports.is_empty() { &ANY[..] } else { &redirect.ports } {
            match Self::bind_one(*port, redirect).await {
                Ok(callback) => return Ok(callback),
                Err(error) => failure = Some(io::Error::new(error.kind(), format!("port {port}: {error}"))),
            }
        }
        Err(failure.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
    }

    async fn bind_one(port: u16, redirect: &Redirect) -> io::Result<Self> {
        let first = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
        let port = first.local_addr()?.port();
        let second = match redirect.host.as_str() {
            "localhost" => match TcpListener::bind(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).await {
                Ok(second) => Some(second),
                Err(error) if has_no_ipv6(&error) => None,
                // Somebody else listens there, where the browser may go first.
                Err(error) => return Err(error),
            },
            _ => None,
        };
        Ok(Self {
            first,
            second,
            authority: format!("{}:{port}", redirect.host),
            path: redirect.path.clone(),
            entry: None,
            own: rustix::process::geteuid().as_raw(),
        })
    }

    /// Leads the browser to the vendor from a page of this name; the page's address.
    pub(super) fn lead(&mut self, name: &Secret, to: &str) -> String {
        // exposed: in the address that the browser is started with; it is of use once, and to our user alone
        let shown = String::from_utf8_lossy(name.expose()).into_owned();
        let name = Secret::new(shown.clone().into_bytes());
        self.entry = Some(Entry { name, to: to.to_owned(), was_used: AtomicBool::new(false) });
        format!("http://{}{ENTRY}{shown}", self.authority)
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
        let (mut seen, mut next) = (0_usize, Instant::now());
        loop {
            tokio::select! {
                stream = self.accept(next), if open.len() < AT_ONCE => {
                    let stream = stream.map_err(CallbackError::Accept)?;
                    seen = seen.saturating_add(1);
                    if seen >= UNPACED {
                        next = Instant::now() + PACE;
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

    async fn accept(&self, from: Instant) -> io::Result<TcpStream> {
        if from > Instant::now() {
            sleep_until(from).await;
        }
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
        if !is_own(peer::uid(&stream).await, self.own) {
            tracing::warn!("another user's process came in the place of the browser");
            let text = "This is another user's login. If it is yours, use doorward's --no-browser.";
            // Read first: who closes with bytes unread takes the answer back.
            timeout(PATIENCE, head(&mut stream)).await.ok()?;
            said(respond(&mut stream, "403 Forbidden", None, text).await);
            return None;
        }
        let head = head(&mut stream).await?;
        let outcome = match self.judge(&head) {
            Ok(Said::Lead(to)) => {
                let text = "The login is at the vendor's page.";
                said(respond(&mut stream, "302 Found", Some(&to), text).await);
                return None;
            }
            Ok(Said::Answer(query)) => Ok(answer::redirected(&query, state)),
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
        said(respond(&mut stream, status, None, text).await);
        outcome.ok()
    }

    /// What a request for us is, or the status of a no.
    fn judge(&self, head: &[u8]) -> Result<Said, &'static str> {
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
        let target = request.path.ok_or("404 Not Found")?;
        if let Some(to) = self.entry.as_ref().and_then(|entry| entry.taken(target)) {
            return Ok(Said::Lead(to));
        }
        let (path, query) = target.split_once('?').ok_or("404 Not Found")?;
        if path != self.path {
            return Err("404 Not Found");
        }
        Ok(Said::Answer(Zeroizing::new(query.as_bytes().to_vec())))
    }
}

impl Entry {
    /// Where to, for the first who knows the page's name.
    fn taken(&self, target: &str) -> Option<String> {
        let is_it = target.strip_prefix(ENTRY).is_some_and(|name| self.name.matches(name.as_bytes()));
        (is_it && !self.was_used.swap(true, Ordering::Relaxed)).then(|| self.to.clone())
    }
}

/// Whether the other end is a process of ours: of our user, or of root, who could do what we do. Where no kernel tells it, it is
/// not known.
fn is_own(peer: Option<u32>, own: u32) -> bool {
    peer.map_or(!cfg!(target_os = "linux"), |uid| uid == own || uid == 0)
}

/// Whether nobody can listen there, rather than somebody does.
fn has_no_ipv6(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let none = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL].map(|errno| Some(errno.raw_os_error()));
    none.contains(&error.raw_os_error())
}

fn said(outcome: io::Result<()>) {
    if let Err(error) = outcome {
        tracing::debug!(%error, "browser not answered");
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

async fn respond(stream: &mut TcpStream, status: &str, to: Option<&str>, text: &str) -> io::Result<()> {
    let to = to.map(|to| format!("Location: {to}\r\n")).unwrap_or_default();
    let response = format!(
        "HTTP/1.1 {status}\r\n{to}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
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

    #[tokio::test]
    async fn another_port_is_taken_where_somebody_listens_on_the_other_address() {
        let taken = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let redirect =
            |ports| Redirect { host: "localhost".to_owned(), ports, path: "/auth/callback".to_owned() };
        let failed = Callback::bind(&redirect(vec![port])).await.unwrap_err();
        assert!(failed.to_string().contains(&format!("port {port}")), "{failed}");
        let callback = Callback::bind(&redirect(vec![port, 0])).await.unwrap();
        assert!(!callback.authority.ends_with(&format!(":{port}")) && callback.second.is_some());
    }

    #[test]
    fn refuses_processes_of_other_users() {
        for (peer, is_ours) in [(Some(1000), true), (Some(0), true), (Some(1001), false), (None, false)] {
            assert_eq!(is_own(peer, 1000), is_ours, "{peer:?}");
        }
        assert!(!is_own(Some(1000), 0));
    }

    #[tokio::test]
    async fn another_users_process_gets_nothing_and_ends_nothing() {
        use std::os::unix::process::CommandExt as _;
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let callback = bound("127.0.0.1").await;
        let (address, own) = (callback.first.local_addr().unwrap(), callback.authority.clone());
        let waiting = tokio::spawn(async move {
            let state = Secret::new(STATE.to_vec());
            callback.code(&state, SOON).await
        });
        let good = "/auth/callback?code=c0de&state=the-state-of-this-login";
        let mut curl = std::process::Command::new("curl");
        curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", &format!("http://{own}{good}")]);
        curl.uid(4711).env_clear().current_dir("/");
        let seen = tokio::task::spawn_blocking(move || curl.output().unwrap()).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&seen.stdout), "403");
        assert!(!waiting.is_finished());
        let request = format!("GET {good} HTTP/1.1\r\nHost: {own}\r\n\r\n");
        assert_eq!(sent(address, &request).await, "200");
        assert!(waiting.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn the_page_that_leads_to_the_vendor_leads_there_once() {
        let mut callback = bound("127.0.0.1").await;
        let page = callback.lead(&Secret::new(b"c4nary-page".to_vec()), "https://vendor.example/?state=s");
        let (address, own) = (callback.first.local_addr().unwrap(), callback.authority.clone());
        assert_eq!(page, format!("http://{own}/login/c4nary-page"));
        assert!(!format!("{callback:?}").contains("c4nary"));
        let waiting = tokio::spawn(async move {
            let state = Secret::new(STATE.to_vec());
            callback.code(&state, SOON).await
        });
        for (path, status) in [
            ("/login/", "404"),
            ("/login/c4nary-pagf", "404"),
            ("/login/c4nary-page", "302"),
            ("/login/c4nary-page", "404"),
        ] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {own}\r\n\r\n");
            assert_eq!(sent(address, &request).await, status, "{path}");
        }
        waiting.abort();
    }

    #[tokio::test]
    async fn requests_that_are_no_answer_do_not_end_the_login_however_many_they_are() {
        let callback = bound("127.0.0.1").await;
        let (address, own) = (callback.first.local_addr().unwrap(), callback.authority.clone());
        let waiting = tokio::spawn(async move {
            let state = Secret::new(STATE.to_vec());
            callback.code(&state, SOON).await
        });
        for _ in 0..=UNPACED {
            let request = format!("GET /favicon.ico HTTP/1.1\r\nHost: {own}\r\n\r\n");
            assert_eq!(sent(address, &request).await, "404");
        }
        let good = "/auth/callback?code=c0de&state=the-state-of-this-login";
        assert_eq!(sent(address, &format!("GET {good} HTTP/1.1\r\nHost: {own}\r\n\r\n")).await, "200");
        assert!(waiting.await.unwrap().is_ok());
    }
}
