//! One address before several servers, as a load balancer is: bytes go to the first server that takes the connection.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::Server;

/// The balancer; it ends with this.
pub struct Balancer {
    address: SocketAddr,
    servers: Arc<Mutex<Vec<SocketAddr>>>,
    accept: tokio::task::JoinHandle<()>,
}

impl Balancer {
    pub async fn before(servers: &[&Server]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let all = Arc::new(Mutex::new(servers.iter().map(|server| server.address()).collect::<Vec<_>>()));
        let servers = Arc::clone(&all);
        let accept = tokio::spawn(async move {
            let mut carrying = JoinSet::new();
            let mut turn = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let mut servers = servers.lock().unwrap().clone();
                turn += 1;
                if !servers.is_empty() {
                    let first = turn % servers.len();
                    servers.rotate_left(first);
                }
                carrying.spawn(carry(stream, servers));
            }
        });
        Self { address, servers: all, accept }
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The servers are at these addresses now.
    pub fn to(&self, servers: &[&Server]) {
        *self.servers.lock().unwrap() = servers.iter().map(|server| server.address()).collect();
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

async fn carry(mut client: TcpStream, servers: Vec<SocketAddr>) {
    for server in servers {
        let Ok(mut server) = TcpStream::connect(server).await else { continue };
        let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
            (client.split(), server.split());
        // Either end's end is the other's: a server that was killed closes.
        tokio::select! {
            done = tokio::io::copy(&mut from_client, &mut to_server) => drop(done),
            done = tokio::io::copy(&mut from_server, &mut to_client) => drop(done),
        }
        drop(client.shutdown().await);
        return;
    }
}
