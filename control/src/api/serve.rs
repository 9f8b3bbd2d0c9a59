//! How calls come in: over TCP (TLS, where the server has a certificate) and over a unix socket.
//!
//! The peers of the socket are this user and root. Connections are bounded, together and by address, and again until their
//! first valid token ([`super::standing`]); the socket has places of its own. At the end calls in flight are finished,
//! streams are ended. What happens on one connection is [`super::connection`]'s.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use parking_lot::Mutex;
use rustls_pki_types::CertificateDer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::call::Peer;
use super::connection::{self, Version};
use super::limits::Limits;
use super::listen::Socket;
pub use super::listen::{BindError, Bound, Listen, ListenError};
use super::standing::Standing;
use crate::sync::server::identify::Certified;

/// How long accepting rests when the process is out of file descriptors.
const REST: Duration = Duration::from_millis(50);
/// Connections of the unix socket at once, beside those over TCP.
const LOCAL: u32 = 1024;

/// TLS of the listeners over TCP.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The server's certificate, and whether clients may show one.
    pub config: Arc<rustls::ServerConfig>,
    /// Reads a client's certificate, which `config` has verified.
    pub certified: fn(&CertificateDer<'_>) -> Option<Certified>,
}

/// What every connection shares.
pub(super) struct Shared {
    pub(super) router: Router,
    pub(super) tls: Option<(TlsAcceptor, Tls)>,
    places: Arc<Semaphore>,
    local: Arc<Semaphore>,
    unproven: Arc<Semaphore>,
    most: u32,
    addresses: Mutex<HashMap<(IpAddr, Count), u64>>,
    most_of_address: u64,
    is_open: bool,
    pub(super) ends: watch::Receiver<bool>,
}

/// Serves until `ends` turns true; then stops accepting and waits for what is in flight, as long as the limits say.
pub async fn serve(
    bound: Bound,
    tls: Option<Tls>,
    router: Router,
    limits: &Limits,
    ends: watch::Receiver<bool>,
) {
    let most = u32::try_from(limits.connections).unwrap_or(u32::MAX >> 4);
    let places = |most: u64| Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(usize::MAX >> 4)));
    let shared = Arc::new(Shared {
        router,
        tls: tls.map(|tls| (TlsAcceptor::from(Arc::clone(&tls.config)), tls)),
        places: places(most.into()),
        local: places(LOCAL.into()),
        // Never all: those who showed a token before are not shut out by those who do not.
        unproven: places((limits.connections / 2).max(1)),
        most,
        addresses: Mutex::default(),
        most_of_address: limits.connections_per_address,
        is_open: bound.is_open,
        ends: ends.clone(),
    });
    let accepting = bound.sockets.iter().map(|socket| accept(socket, Arc::clone(&shared)));
    let mut stop = ends;
    tokio::select! {
        _ = futures_util::future::join_all(accepting) => {}
        () = ended(&mut stop) => {}
    }
    drop(bound);
    // Every place free: every connection has ended.
    let drained =
        futures_util::future::join(shared.places.acquire_many(shared.most), shared.local.acquire_many(LOCAL));
    if tokio::time::timeout(Duration::from_secs(limits.drain_seconds), drained).await.is_err() {
        tracing::warn!("connections were cut at the end of the drain");
    }
}

/// Returns when the server ends, or nobody is left to say so; holds nothing of the channel.
pub(super) async fn ended(ends: &mut watch::Receiver<bool>) {
    if ends.wait_for(|ends| *ends).await.is_err() {
        tracing::debug!("nobody is left to end the server");
    }
}

async fn accept(socket: &Socket, shared: Arc<Shared>) {
    let places = match socket {
        Socket::Tcp(..) => &shared.places,
        Socket::Unix(..) => &shared.local,
    };
    loop {
        // A place first: what cannot be served stays in the kernel's queue.
        let Ok(place) = Arc::clone(places).acquire_owned().await else { return };
        match socket {
            Socket::Tcp(listener, _) => {
                let standing = if shared.is_open {
                    None
                } else {
                    let Ok(unproven) = Arc::clone(&shared.unproven).acquire_owned().await else { return };
                    Some(unproven)
                };
                match listener.accept().await {
                    Ok((stream, address)) => admit(stream, address.ip(), (place, standing), &shared),
                    Err(error) => rest(&error).await,
                }
            }
            Socket::Unix(listener, _) => match listener.accept().await {
                Ok((stream, _)) => match stream.peer_cred().map(|peer| peer.uid()) {
                    Ok(uid) if uid == 0 || uid == rustix::process::geteuid().as_raw() => {
                        let (from, shared) = ((Peer::User(uid), Standing::proven()), Arc::clone(&shared));
                        tokio::spawn(async move {
                            connection::serve(stream, from, Version::One, &shared).await;
                            drop(place);
                        });
                    }
                    Ok(uid) => tracing::warn!(uid, "a peer of the socket refused"),
                    Err(error) => tracing::warn!(%error, "a peer of the socket without a user"),
                },
                Err(error) => rest(&error).await,
            },
        }
    }
}

/// Serves a connection over TCP, unless its address has too many.
fn admit(
    stream: tokio::net::TcpStream,
    address: IpAddr,
    (place, unproven): (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
    shared: &Arc<Shared>,
) {
    let Some(counted) = Counted::new(shared, address, Count::All) else { return };
    let standing = match unproven {
        None => Standing::proven(),
        Some(unproven) => match Counted::new(shared, address, Count::Unproven) {
            Some(counted) => Standing::unproven((unproven, counted)),
            None => return,
        },
    };
    // Small answers are not to wait for more.
    stream.set_nodelay(true).ok();
    let (from, shared) = ((Peer::Address(address), standing), Arc::clone(shared));
    tokio::spawn(async move {
        connection::over_tcp(stream, from, &shared).await;
        drop((place, counted));
    });
}

async fn rest(error: &io::Error) {
    tracing::warn!(%error, "accept failed");
    tokio::time::sleep(REST).await;
}

/// Which of an address's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Count {
    All,
    /// Without a valid token until now: half of them at most.
    Unproven,
}

/// One connection of an address, as long as it lives.
struct Counted {
    shared: Arc<Shared>,
    key: (IpAddr, Count),
}

impl Counted {
    fn new(shared: &Arc<Shared>, address: IpAddr, which: Count) -> Option<Self> {
        let most = match which {
            Count::All => shared.most_of_address,
            Count::Unproven => (shared.most_of_address / 2).max(1),
        };
        let key = (address, which);
        let mut addresses = shared.addresses.lock();
        let count = addresses.entry(key).or_default();
        if *count >= most {
            tracing::warn!(%address, ?which, "too many connections of one address");
            return None;
        }
        *count += 1;
        Some(Self { shared: Arc::clone(shared), key })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut addresses = self.shared.addresses.lock();
        if let Some(count) = addresses.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::limits::HEAD_TIME;
    use super::*;

    /// What connections of a test share.
    pub(in super::super) fn shared(ends: watch::Receiver<bool>, router: Router) -> Arc<Shared> {
        Arc::new(Shared {
            router,
            tls: None,
            places: Arc::new(Semaphore::new(4)),
            local: Arc::new(Semaphore::new(4)),
            unproven: Arc::new(Semaphore::new(4)),
            most: 4,
            addresses: Mutex::default(),
            most_of_address: 4,
            is_open: false,
            ends,
        })
    }

    #[tokio::test]
    async fn an_address_has_half_of_its_connections_without_a_token() {
        let (_ends, ended) = watch::channel(false);
        let shared = shared(ended, Router::new());
        let address = IpAddr::from([192, 0, 2, 1]);
        let held: Vec<_> = (0..2).map(|_| Counted::new(&shared, address, Count::Unproven).unwrap()).collect();
        assert!(Counted::new(&shared, address, Count::Unproven).is_none());
        Counted::new(&shared, address, Count::All).unwrap();
        drop(held);
        Counted::new(&shared, address, Count::Unproven).unwrap();
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "the server of the test, on loopback")]
    async fn the_unix_socket_answers_while_all_places_over_tcp_are_taken() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api");
        let listen = ["127.0.0.1:0".parse().unwrap(), Listen::Unix(path.clone())];
        let bound = Bound::bind(&listen, false).await.unwrap();
        let Some(Socket::Tcp(_, address)) = bound.sockets.first() else { panic!("no TCP") };
        let (address, limits) = (*address, Limits { connections: 1, ..Limits::default() });
        let (end, ends) = watch::channel(false);
        let router = Router::new().route("/", axum::routing::get(|| async { "here" }));
        let serving = tokio::spawn(async move { serve(bound, None, router, &limits, ends).await });
        let _holding = tokio::net::TcpStream::connect(address).await.unwrap();
        let mut socket = tokio::net::UnixStream::connect(&path).await.unwrap();
        socket.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        let reading = socket.read_to_string(&mut answer);
        // Before the silent connection's time for a head is over.
        tokio::time::timeout(HEAD_TIME / 2, reading).await.expect("an answer").unwrap();
        assert!(answer.ends_with("here"), "{answer}");
        end.send_replace(true);
        serving.abort();
    }
}
