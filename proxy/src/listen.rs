//! Listeners: bound once, all of them or none, then shared by the workers.
//!
//! Off loopback and behind TLS (`tls:`, [`certified`]) a token file is required. A `uid:` listener asks for no token and is on
//! loopback only: the kernel says whose process connects. No `SO_REUSEPORT`: with it any process of the same user could bind the port
//! too and take agents' connections.

pub(crate) mod certified;

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustls_pki_types::ServerName;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;

use crate::app::StartError;
use crate::conn::identify::Peer;
use crate::conn::wire::Stream;
use crate::peer;
use certified::Certified;

/// Connections that the kernel holds until a worker accepts them.
const BACKLOG: i32 = 1024;
/// How long accepting rests when the process is out of file descriptors.
const REST: Duration = Duration::from_millis(50);

/// One `--listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// `127.0.0.1:3128`.
    Tcp(SocketAddr),
    /// `uid:127.0.0.1:3128`: on loopback, where the peer's uid decides and no token is asked for.
    Uid(SocketAddr),
    /// `tls:0.0.0.0:3128`: for agents on other hosts.
    Tls(SocketAddr),
    /// `unix:PATH`.
    Unix(PathBuf),
}

/// Why a `--listen` was not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a listener is an address with its port (127.0.0.1:3128, [::1]:0), tls: and such an address, uid: and one on loopback, or unix:PATH"
)]
pub(crate) struct ListenError;

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(ListenError) } else { Ok(Self::Unix(path.into())) };
        }
        let address = |text: &str| text.parse::<SocketAddr>().map_err(|_| ListenError);
        if let Some(text) = text.strip_prefix("tls:") {
            return address(text).map(Self::Tls);
        }
        match text.strip_prefix("uid:").map(address) {
            Some(Ok(address)) if address.ip().is_loopback() => Ok(Self::Uid(address)),
            Some(_) => Err(ListenError),
            None => address(text).map(Self::Tcp),
        }
    }
}

/// How the peers of a TCP listener are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// By what they send.
    Token,
    /// By whose process they are.
    Uid,
}

#[derive(Debug)]
enum Socketed {
    Tcp(StdTcpListener, SocketAddr, Proof),
    Tls(StdTcpListener, SocketAddr, Arc<Certified>),
    Unix(StdUnixListener, PathBuf),
}

/// How agents with a token reach the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entrance {
    /// It speaks TLS.
    pub(crate) is_tls: bool,
    /// Host and port.
    pub(crate) authority: String,
}

impl Entrance {
    /// The URL, with these credentials and their `@`.
    pub(crate) fn url(&self, credentials: &str) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{credentials}{}", self.authority)
    }
}

/// All listeners, bound.
#[derive(Debug, Default)]
pub(crate) struct Bound(Vec<Socketed>);

impl Bound {
    /// Binds all, or says which could not be bound.
    pub(crate) fn bind(
        listen: &[Listen],
        has_tokens: bool,
        certified: Option<&Arc<Certified>>,
    ) -> Result<Self, StartError> {
        let bound: Result<Vec<_>, _> =
            listen.iter().map(|one| bind_one(one, has_tokens, certified)).collect();
        bound.map(Self)
    }

    /// The TCP addresses, with the ports that the kernel chose.
    pub(crate) fn tcp_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().filter_map(|socket| match socket {
            Socketed::Tcp(_, address, _) | Socketed::Tls(_, address, _) => Some(*address),
            Socketed::Unix(..) => None,
        })
    }

    /// What agents with a token are told: the first that takes one.
    pub(crate) fn entrance(&self) -> Option<Entrance> {
        self.0.iter().find_map(|socket| match socket {
            Socketed::Tcp(_, address, Proof::Token) => {
                Some(Entrance { is_tls: false, authority: address.to_string() })
            }
            Socketed::Tls(_, address, certified) => {
                Some(Entrance { is_tls: true, authority: called(*address, certified) })
            }
            Socketed::Tcp(_, _, Proof::Uid) | Socketed::Unix(..) => None,
        })
    }

    /// The first address that takes a token in clear, which is on loopback unless the agents have tokens.
    pub(crate) fn plain_address(&self) -> Option<SocketAddr> {
        self.first(Proof::Token)
    }

    /// What agents are told that are known by their uid.
    pub(crate) fn knowing_address(&self) -> Option<SocketAddr> {
        self.first(Proof::Uid)
    }

    fn first(&self, wanted: Proof) -> Option<SocketAddr> {
        self.0.iter().find_map(|socket| match socket {
            Socketed::Tcp(_, address, proof) => (*proof == wanted).then_some(*address),
            Socketed::Tls(..) | Socketed::Unix(..) => None,
        })
    }

    /// Each as `--listen` takes it.
    pub(crate) fn names(&self) -> Vec<String> {
        let name = |socket: &Socketed| match socket {
            Socketed::Tcp(_, address, Proof::Token) => address.to_string(),
            Socketed::Tcp(_, address, Proof::Uid) => format!("uid:{address}"),
            Socketed::Tls(_, address, _) => format!("tls:{address}"),
            Socketed::Unix(_, path) => format!("unix:{}", path.display()),
        };
        self.0.iter().map(name).collect()
    }

    /// Starts a worker thread that serves from every listener, and waits until it does. `ended` hears of its end,
    /// whatever it was: a proxy without all of its workers has to go.
    pub(crate) async fn start_worker<F, S>(&self, serve: F, ended: Sender<()>) -> io::Result<JoinHandle<()>>
    where
        F: FnOnce(Vec<Listener>) -> S + Send + 'static,
        S: Future<Output = ()>,
    {
        let sockets: io::Result<Vec<_>> = self.0.iter().map(Socketed::again).collect();
        let sockets = sockets?;
        let (started, starts) = oneshot::channel();
        let thread = std::thread::Builder::new().name("worker".to_owned()).spawn(move || {
            let _ended = Ended(ended);
            let begun =
                tokio::runtime::Builder::new_current_thread().enable_all().build().and_then(|runtime| {
                    let inside = runtime.enter();
                    let listeners =
                        sockets.into_iter().map(Socketed::listener).collect::<io::Result<Vec<_>>>()?;
                    drop(inside);
                    Ok((runtime, listeners))
                });
            match begun {
                // Nobody waits any more where the start was given up: the orders' end ends this worker too.
                Ok((runtime, listeners)) => {
                    started.send(Ok(())).ok();
                    runtime.block_on(serve(listeners));
                }
                Err(error) => drop(started.send(Err(error))),
            }
        })?;
        starts.await.unwrap_or_else(|_| Err(io::Error::other("a worker died at its start")))?;
        Ok(thread)
    }
}

/// Tells of a worker's end, also of one by a panic.
struct Ended(Sender<()>);

impl Drop for Ended {
    fn drop(&mut self) {
        // A full channel already says that one ended.
        self.0.try_send(()).ok();
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        for socket in &self.0 {
            if let Socketed::Unix(_, path) = socket
                && let Err(error) = fs::remove_file(path)
            {
                tracing::debug!(%error, "socket file not removed");
            }
        }
    }
}

impl Socketed {
    fn again(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(socket, address, proof) => Self::Tcp(socket.try_clone()?, *address, *proof),
            Self::Tls(socket, address, certified) => {
                Self::Tls(socket.try_clone()?, *address, Arc::clone(certified))
            }
            Self::Unix(socket, path) => Self::Unix(socket.try_clone()?, path.clone()),
        })
    }

    fn listener(self) -> io::Result<Listener> {
        Ok(match self {
            Self::Tcp(socket, _, proof) => Listener::Tcp(TcpListener::from_std(socket)?, proof),
            Self::Tls(socket, _, certified) => Listener::Tls(TcpListener::from_std(socket)?, certified),
            Self::Unix(socket, _) => Listener::Unix(UnixListener::from_std(socket)?),
        })
    }
}

/// A listener of one worker.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener, Proof),
    Tls(TcpListener, Arc<Certified>),
    Unix(UnixListener),
}

/// An accepted connection.
#[derive(Debug)]
pub(crate) enum Arrived {
    /// It begins with its first head.
    Open(Stream, Peer),
    /// It begins with TLS.
    Secured(TcpStream, Arc<Certified>),
}

impl Listener {
    /// The next connection. Failures of single connections are passed over; running out of descriptors rests.
    pub(crate) async fn accept(&self) -> Arrived {
        loop {
            let accepted = match self {
                Self::Tcp(socket, proof) => accept_tcp(socket, *proof).await,
                Self::Tls(socket, certified) => accept_tls(socket, certified).await,
                Self::Unix(socket) => socket.accept().await.and_then(|(stream, _)| {
                    let uid = stream.peer_cred()?.uid();
                    Ok(Arrived::Open(Stream::Unix(stream), Peer::Unix(uid)))
                }),
            };
            match accepted {
                Ok(accepted) => return accepted,
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }
}

async fn accept_tls(socket: &TcpListener, certified: &Arc<Certified>) -> io::Result<Arrived> {
    let (stream, _) = socket.accept().await?;
    stream.set_nodelay(true)?;
    Ok(Arrived::Secured(stream, Arc::clone(certified)))
}

async fn accept_tcp(socket: &TcpListener, proof: Proof) -> io::Result<Arrived> {
    let (stream, _) = socket.accept().await?;
    stream.set_nodelay(true)?;
    let peer = match proof {
        Proof::Token => Peer::Tcp,
        Proof::Uid => Peer::Loopback(peer::uid(&stream).await),
    };
    Ok(Arrived::Open(Stream::Tcp(stream), peer))
}

/// What agents call a `tls:` listener by: its certificate has to say it.
fn called(address: SocketAddr, certified: &Certified) -> String {
    match certified.name() {
        Some(ServerName::IpAddress(ip)) => SocketAddr::new(IpAddr::from(*ip), address.port()).to_string(),
        Some(name) => format!("{}:{}", name.to_str(), address.port()),
        None => address.to_string(),
    }
}

fn bind_one(
    listen: &Listen,
    has_tokens: bool,
    certified: Option<&Arc<Certified>>,
) -> Result<Socketed, StartError> {
    let refused = |place: String, why: &str| Err(StartError::Bind(place, why.to_owned()));
    match listen {
        Listen::Tcp(address) if !address.ip().is_loopback() && !has_tokens => {
            refused(address.to_string(), "off loopback every agent needs a token; give --agent-token-file")
        }
        Listen::Tls(address) if !has_tokens => {
            refused(format!("tls:{address}"), "behind TLS every agent needs a token; give --agent-token-file")
        }
        Listen::Tcp(address) => bind_tcp(*address)
            .map(|(socket, address)| Socketed::Tcp(socket, address, Proof::Token))
            .map_err(|error| StartError::Bind(address.to_string(), error.to_string())),
        Listen::Uid(address) => bind_tcp(*address)
            .map(|(socket, address)| Socketed::Tcp(socket, address, Proof::Uid))
            .map_err(|error| StartError::Bind(format!("uid:{address}"), error.to_string())),
        Listen::Tls(address) => match certified {
            None => refused(format!("tls:{address}"), "there is no certificate for it"),
            Some(certified) => bind_tcp(*address)
                .map(|(socket, address)| Socketed::Tls(socket, address, Arc::clone(certified)))
                .map_err(|error| StartError::Bind(format!("tls:{address}"), error.to_string())),
        },
        Listen::Unix(path) => bind_unix(path, has_tokens)
            .map_err(|error| StartError::Bind(format!("unix:{}", path.display()), error.to_string())),
    }
}

pub(crate) fn bind_std(address: SocketAddr) -> io::Result<StdTcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_tcp(address: SocketAddr) -> io::Result<(StdTcpListener, SocketAddr)> {
    let socket = bind_std(address)?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

/// The peer's uid decides who may use it, so with a token file (which may name uids) the file is open to all.
fn bind_unix(path: &Path, has_tokens: bool) -> io::Result<Socketed> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
        && StdUnixStream::connect(path).is_err()
    {
        // Left behind by a proxy that was killed: nobody answers.
        fs::remove_file(path)?;
    }
    let socket = StdUnixListener::bind(path)?;
    socket.set_nonblocking(true)?;
    fs::set_permissions(path, fs::Permissions::from_mode(if has_tokens { 0o666 } else { 0o600 }))?;
    Ok(Socketed::Unix(socket, path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_listeners_off_loopback_without_tokens() {
        let any: Listen = "0.0.0.0:0".parse().unwrap();
        assert!(matches!(Bound::bind(std::slice::from_ref(&any), false, None), Err(StartError::Bind(..))));
        assert!(Bound::bind(&[any], true, None).is_ok());
    }

    fn certified(name: &'static str) -> Arc<Certified> {
        let authority = Arc::new(certs::Authority::generate(std::time::SystemTime::now()).unwrap());
        let names = vec![ServerName::try_from(name).unwrap()];
        Arc::new(Certified::new(certified::Certificate { names, files: None }, &authority).unwrap())
    }

    #[test]
    fn refuses_tls_without_tokens_even_on_loopback() {
        let own = certified("proxy.example");
        let listen: [Listen; 1] = ["tls:127.0.0.1:0".parse().unwrap()];
        assert!(matches!(Bound::bind(&listen, false, Some(&own)), Err(StartError::Bind(..))));
        assert!(matches!(Bound::bind(&listen, true, None), Err(StartError::Bind(..))));
        let bound = Bound::bind(&listen, true, Some(&own)).unwrap();
        let port = bound.tcp_addresses().next().unwrap().port();
        assert_eq!(bound.names(), [format!("tls:127.0.0.1:{port}")]);
        let url = bound.entrance().unwrap().url("a:b@");
        assert_eq!(url, format!("https://a:b@proxy.example:{port}"));
        assert_eq!(bound.plain_address(), None);
        let six = Bound::bind(&listen, true, Some(&certified("::1"))).unwrap();
        assert!(six.entrance().unwrap().authority.starts_with("[::1]:"));
    }

    #[test]
    fn refuses_what_is_no_listener() {
        for text in [
            "",
            "unix:",
            "localhost:1",
            "127.0.0.1",
            ":3128",
            "uid:",
            "uid:127.0.0.1",
            // Off loopback the kernel cannot tell whose process it is.
            "uid:0.0.0.0:0",
            "uid:[::]:0",
            "uid:192.168.0.1:3128",
            "uid:unix:/s",
            "tls:",
            "tls:3128",
            "tls:proxy.example:3128",
            "tls:uid:127.0.0.1:0",
            "uid:tls:127.0.0.1:0",
        ] {
            assert_eq!(text.parse::<Listen>(), Err(ListenError), "{text}");
        }
    }

    #[test]
    fn a_listener_that_knows_uids_is_not_what_agents_with_tokens_are_told() {
        let listen = ["uid:127.0.0.1:0", "127.0.0.1:0"].map(|text| text.parse().unwrap());
        let bound = Bound::bind(&listen, false, None).unwrap();
        let names = bound.names();
        assert!(names[0].starts_with("uid:127.0.0.1:"), "{names:?}");
        assert_eq!(bound.entrance().unwrap().url(""), format!("http://{}", names[1]));
        assert_eq!(bound.tcp_addresses().count(), 2);
    }

    #[tokio::test]
    async fn a_worker_that_cannot_listen_fails_the_start() {
        // The kernel does not watch regular files.
        let file = tempfile::tempfile().unwrap();
        let socket = StdTcpListener::from(std::os::fd::OwnedFd::from(file));
        let bound = Bound(vec![Socketed::Tcp(socket, "127.0.0.1:1".parse().unwrap(), Proof::Token)]);
        let (ended, _ends) = tokio::sync::mpsc::channel(1);
        assert!(bound.start_worker(|_| async { panic!("it serves") }, ended).await.is_err());
    }

    #[tokio::test]
    async fn the_end_of_a_worker_is_heard_of_also_by_a_panic() {
        let bound = Bound::bind(&["127.0.0.1:0".parse().unwrap()], false, None).unwrap();
        let (ended, mut ends) = tokio::sync::mpsc::channel(1);
        let thread = bound.start_worker(|_| async { panic!("as a bug would") }, ended).await.unwrap();
        assert_eq!(ends.recv().await, Some(()));
        assert!(thread.join().is_err());
    }

    #[tokio::test]
    async fn takes_over_a_socket_that_nobody_answers_on() {
        let dir = tempfile::tempdir().unwrap();
        let listen = Listen::Unix(dir.path().join("s"));
        let first = StdUnixListener::bind(dir.path().join("s")).unwrap();
        assert!(Bound::bind(std::slice::from_ref(&listen), false, None).is_err());
        drop(first);
        assert_eq!(Bound::bind(&[listen], false, None).unwrap().names().len(), 1);
    }
}
