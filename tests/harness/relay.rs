//! Somebody between a sidecar and its server who ends the TLS of both: what goes to the sidecar is recorded, can be changed, held
//! back and cut.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::Server;
use crate::ca::{Flaw, client_config, server_config};

/// What is done to what the server says.
pub type Change = fn(&mut Vec<u8>);

/// The relay; it ends with this.
pub struct Relay {
    address: SocketAddr,
    said: Arc<Mutex<Vec<u8>>>,
    change: Arc<Mutex<Option<Change>>>,
    is_closed: Arc<AtomicBool>,
    /// Rises when every connection is cut.
    cuts: watch::Sender<u64>,
    connections: Arc<Mutex<usize>>,
}

impl Relay {
    /// Before this server, with a certificate of the world's authority.
    pub async fn before(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let to: SocketAddr = server.url().strip_prefix("https://").unwrap().parse().unwrap();
        let trusted = std::fs::read_to_string(server.ca()).unwrap();
        let accept = TlsAcceptor::from(server_config(&["127.0.0.1".to_owned()], &["http/1.1"], Flaw::None));
        let connect = TlsConnector::from(client_config(&trusted, &["http/1.1"], rustls::DEFAULT_VERSIONS));
        let relay = Self {
            address,
            said: Arc::default(),
            change: Arc::default(),
            is_closed: Arc::default(),
            cuts: watch::Sender::new(0),
            connections: Arc::default(),
        };
        let (said, change, is_closed) =
            (Arc::clone(&relay.said), Arc::clone(&relay.change), Arc::clone(&relay.is_closed));
        let (cuts, connections) = (relay.cuts.subscribe(), Arc::clone(&relay.connections));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if is_closed.load(Ordering::SeqCst) {
                    continue;
                }
                *connections.lock().unwrap() += 1;
                let (accept, connect) = (accept.clone(), connect.clone());
                let (said, change, mut cuts) = (Arc::clone(&said), Arc::clone(&change), cuts.clone());
                cuts.mark_unchanged();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = cuts.changed() => {}
                        done = carry(stream, to, (accept, connect), &said, &change) => drop(done),
                    }
                });
            }
        });
        relay
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Everything that the server said so far, as the one in between reads it.
    pub fn said(&self) -> Vec<u8> {
        self.said.lock().unwrap().clone()
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }

    /// From now on what the server says is changed so.
    pub fn change(&self, change: Option<Change>) {
        *self.change.lock().unwrap() = change;
    }

    /// Cuts every connection; new ones are taken.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Cuts every connection and closes each new one.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.cut();
    }

    /// Takes connections again.
    pub fn open(&self) {
        self.is_closed.store(false, Ordering::SeqCst);
    }
}

async fn carry(
    stream: TcpStream,
    to: SocketAddr,
    (accept, connect): (TlsAcceptor, TlsConnector),
    said: &Mutex<Vec<u8>>,
    change: &Mutex<Option<Change>>,
) -> std::io::Result<()> {
    let sidecar = accept.accept(stream).await?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let server = connect.connect(name, TcpStream::connect(to).await?).await?;
    let (mut from_sidecar, mut to_sidecar) = tokio::io::split(sidecar);
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let asking = async {
        tokio::io::copy(&mut from_sidecar, &mut to_server).await?;
        to_server.shutdown().await
    };
    let answering = async {
        let mut piece = vec![0; 64 << 10];
        loop {
            let read = from_server.read(&mut piece).await?;
            if read == 0 {
                return to_sidecar.shutdown().await;
            }
            let mut bytes = piece[..read].to_vec();
            said.lock().unwrap().extend_from_slice(&bytes);
            let change = *change.lock().unwrap();
            if let Some(change) = change {
                change(&mut bytes);
            }
            to_sidecar.write_all(&bytes).await?;
            to_sidecar.flush().await?;
        }
    };
    tokio::try_join!(asking, answering).map(drop)
}
