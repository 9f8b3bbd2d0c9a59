//! Origins that answer hand-written bytes, in TLS or bare, and keep what they were sent byte for byte.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::agent::BoxIo;
use crate::ca::{Flaw, server_config};
use crate::within::eventually;

/// What is done on a connection, step by step. A script that begins with `Say` waits for the head of a request first.
#[derive(Clone, Debug)]
pub enum Step {
    /// Writes these bytes.
    Say(Vec<u8>),
    /// Reads (and keeps) until these bytes have come.
    Hear(Vec<u8>),
    /// Drops the connection at once.
    Close,
    /// Reads for ever without answering.
    Hold,
}

/// A scripted origin; every connection runs the same script.
pub struct RawOrigin {
    hosts: Vec<String>,
    address: SocketAddr,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
    accept: tokio::task::JoinHandle<()>,
}

impl RawOrigin {
    /// HTTP/1.1 inside TLS: waits for a head, then runs the script.
    pub async fn tls(host: &str, script: Vec<Step>) -> Self {
        Self::with_alpn(host, &["http/1.1"], script).await
    }

    pub async fn with_alpn(host: &str, alpn: &[&str], script: Vec<Step>) -> Self {
        let config = server_config(&[host.to_owned()], alpn, Flaw::None);
        let acceptor = tokio_rustls::TlsAcceptor::from(config);
        Self::serve(host, Some(acceptor), script).await
    }

    /// No TLS: the script starts with the first byte that comes.
    pub async fn tcp(host: &str, script: Vec<Step>) -> Self {
        Self::serve(host, None, script).await
    }

    /// One answer, then the connection closes.
    pub async fn says(host: &str, answer: &[u8]) -> Self {
        Self::tls(host, vec![Step::Say(answer.to_vec())]).await
    }

    async fn serve(host: &str, acceptor: Option<tokio_rustls::TlsAcceptor>, script: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let shared = heard.clone();
        let accept = tokio::spawn(async move {
            let mut tasks = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let slot = {
                    let mut heard = shared.lock().unwrap();
                    heard.push(Vec::new());
                    heard.len() - 1
                };
                let (acceptor, script, shared) = (acceptor.clone(), script.clone(), shared.clone());
                tasks.spawn(async move {
                    let io: BoxIo = match acceptor {
                        Some(acceptor) => match acceptor.accept(stream).await {
                            Ok(tls) => Box::new(tls),
                            Err(_) => return,
                        },
                        None => Box::new(stream),
                    };
                    run(io, script, |bytes| shared.lock().unwrap()[slot].extend_from_slice(bytes)).await;
                });
            }
        });
        Self { hosts: vec![host.to_owned()], address, heard, accept }
    }

    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was heard, a string of bytes for each connection.
    pub fn heard(&self) -> Vec<Vec<u8>> {
        self.heard.lock().unwrap().clone()
    }

    /// All that was heard, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.heard().concat()).into_owned()
    }

    pub async fn wait_for(&self, needle: &str) -> String {
        eventually(&format!("{needle:?} at the origin"), crate::within::DEADLINE, || {
            Some(self.text()).filter(|text| text.contains(needle))
        })
        .await
    }
}

async fn run(mut io: BoxIo, script: Vec<Step>, keep: impl Fn(&[u8])) {
    let mut held = Vec::new();
    let speaks_first = matches!(script.first(), Some(Step::Say(_)));
    if speaks_first && !hear(&mut io, &mut held, b"\r\n\r\n", &keep).await {
        return;
    }
    for step in script {
        match step {
            Step::Say(bytes) => {
                if io.write_all(&bytes).await.is_err() || io.flush().await.is_err() {
                    return;
                }
            }
            Step::Hear(needle) => {
                if !hear(&mut io, &mut held, &needle, &keep).await {
                    return;
                }
            }
            Step::Close => return,
            Step::Hold => while hear(&mut io, &mut held, b"\0never\0", &keep).await {},
        }
    }
    let _ = io.shutdown().await;
    // The other side may still be writing; a reset would destroy what we said.
    while hear(&mut io, &mut held, b"\0never\0", &keep).await {}
}

async fn hear(io: &mut BoxIo, held: &mut Vec<u8>, needle: &[u8], keep: impl Fn(&[u8])) -> bool {
    loop {
        if let Some(at) = memchr::memmem::find(held, needle) {
            held.drain(..at + needle.len());
            return true;
        }
        let mut piece = [0; 4096];
        match io.read(&mut piece).await {
            Ok(n @ 1..) => {
                keep(&piece[..n]);
                held.extend_from_slice(&piece[..n]);
            }
            _ => return false,
        }
    }
}

impl Drop for RawOrigin {
    fn drop(&mut self) {
        self.accept.abort();
    }
}
