//! A corporate forward proxy: CONNECT with or without a password, for `--upstream-proxy`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A running forward proxy that knows some names.
pub struct ForwardProxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    accept: tokio::task::JoinHandle<()>,
}

impl ForwardProxy {
    /// Tunnels to `names` (as `host:port`); demands `authorization` if there is one.
    pub async fn start(names: &[(&str, SocketAddr)], authorization: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let names: HashMap<String, SocketAddr> =
            names.iter().map(|(name, to)| (name.to_string(), *to)).collect();
        let wanted = authorization.map(|value| format!("proxy-authorization: {value}"));
        let heads = Arc::new(Mutex::new(Vec::new()));
        let shared = heads.clone();
        let accept = tokio::spawn(async move {
            let mut tasks = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                tasks.spawn(tunnel(stream, names.clone(), wanted.clone(), shared.clone()));
            }
        });
        Self { address, heads, accept }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The heads of the CONNECTs received.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn tunnel(
    mut stream: TcpStream,
    names: HashMap<String, SocketAddr>,
    wanted: Option<String>,
    heads: Arc<Mutex<Vec<String>>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    heads.lock().unwrap().push(head.clone());
    let authorized = wanted.is_none_or(|wanted| {
        head.lines().any(|line| {
            let (name, value) = line.split_once(": ").unwrap_or_default();
            format!("{}: {value}", name.to_ascii_lowercase()) == wanted
        })
    });
    if !authorized {
        let _ = stream
            .write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            .await;
        return;
    }
    let target = head.split(' ').nth(1).unwrap_or_default();
    let Some(address) = names.get(target) else {
        let _ = stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n").await;
        return;
    };
    let Ok(mut upstream) = TcpStream::connect(address).await else { return };
    if stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.is_ok() {
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut upstream).await;
    }
}

impl Drop for ForwardProxy {
    fn drop(&mut self) {
        self.accept.abort();
    }
}
