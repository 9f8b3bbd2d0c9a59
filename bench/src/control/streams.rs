//! Sidecars that only follow: h2 over TLS as theirs, every snapshot read and acknowledged, no value opened.

use super::api::{Server, Whole};
use crate::{BenchError, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What all streams tell together.
#[derive(Debug)]
struct Told {
    /// Snapshots and changes that were read to their end.
    heard: watch::Sender<usize>,
    /// Those of them that the server took the acknowledgement of.
    acknowledged: watch::Sender<usize>,
    open: AtomicUsize,
}

/// All of them; they end with this.
#[derive(Debug)]
pub(super) struct Streams {
    told: Arc<Told>,
    tasks: JoinSet<Result<()>>,
}

impl Default for Streams {
    fn default() -> Self {
        let told = Told {
            heard: watch::Sender::new(0),
            acknowledged: watch::Sender::new(0),
            open: AtomicUsize::new(0),
        };
        Self { told: Arc::new(told), tasks: JoinSet::new() }
    }
}

impl Streams {
    /// Opens one for each token, all at once, and waits for the first snapshots.
    pub(super) async fn open(&mut self, server: &Server, tokens: &[String], late: Duration) -> Result<()> {
        let tls = server.tls("h2")?;
        let mut connecting = JoinSet::new();
        let before = self.heard();
        for token in tokens {
            let (tls, token, told) = (Arc::clone(&tls), token.clone(), Arc::clone(&self.told));
            let (connect, address) = (server.connect(tls), server.address());
            connecting.spawn(async move { Follower::connect(connect.await?, address, token, told).await });
        }
        while let Some(connected) = connecting.join_next().await {
            let follower = connected.map_err(|e| BenchError::Answer(e.to_string()))??;
            self.tasks.spawn(follower.follow());
        }
        self.told.open.store(tokens.len(), Ordering::Relaxed);
        self.wait_heard(before + tokens.len(), late).await?;
        self.wait_acknowledged(late).await
    }

    /// Cuts all of them.
    pub(super) fn close(&mut self) {
        self.tasks = JoinSet::new();
        // What was not acknowledged will not be any more.
        let heard = self.heard();
        self.told.acknowledged.send_replace(heard);
    }

    pub(super) fn count(&self) -> usize {
        self.told.open.load(Ordering::Relaxed)
    }

    pub(super) fn heard(&self) -> usize {
        *self.told.heard.borrow()
    }

    pub(super) async fn wait_heard(&self, goal: usize, late: Duration) -> Result<()> {
        wait(self.told.heard.subscribe(), goal, late, "messages").await
    }

    pub(super) async fn wait_acknowledged(&self, late: Duration) -> Result<()> {
        wait(self.told.acknowledged.subscribe(), self.heard(), late, "acknowledgements").await
    }
}

async fn wait(mut counter: watch::Receiver<usize>, goal: usize, late: Duration, what: &str) -> Result<()> {
    let is_reached =
        matches!(tokio::time::timeout(late, counter.wait_for(|count| *count >= goal)).await, Ok(Ok(_)));
    let count = *counter.borrow();
    if is_reached { Ok(()) } else { Err(BenchError::Timeout(format!("{count} of {goal} {what}"))) }
}

struct Follower {
    sender: SendRequest<Whole>,
    body: Incoming,
    address: SocketAddr,
    bearer: String,
    key: String,
    told: Arc<Told>,
}

impl Follower {
    async fn connect(
        stream: tokio_rustls::client::TlsStream<tokio::net::TcpStream>,
        address: SocketAddr,
        token: String,
        told: Arc<Told>,
    ) -> Result<Self> {
        let (sender, connection) =
            http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut key = [0_u8; 32];
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        provider
            .secure_random
            .fill(&mut key)
            .map_err(|_| BenchError::Answer("no random bytes".to_owned()))?;
        let (key, bearer) = (URL_SAFE_NO_PAD.encode(key), format!("Bearer {token}"));
        let ask = request(Method::GET, "/v1/sync", address, &bearer, &key, Bytes::new())?;
        let mut sender = sender;
        let answer = sender.send_request(ask).await?;
        if answer.status() != StatusCode::OK {
            return Err(BenchError::Answer(format!("/v1/sync: {}", answer.status())));
        }
        Ok(Self { sender, body: answer.into_body(), address, bearer, key, told })
    }

    async fn follow(mut self) -> Result<()> {
        let mut line = Vec::new();
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await {
            let Ok(data) = frame?.into_data() else { continue };
            line.extend_from_slice(&data);
            while let Some(end) = line.iter().position(|byte| *byte == b'\n') {
                let message: Vec<u8> = line.drain(..=end).collect();
                if let Some(revision) = revision(&message) {
                    self.told.heard.send_modify(|heard| *heard += 1);
                    self.acknowledge(revision).await?;
                }
            }
        }
        Ok(())
    }

    async fn acknowledge(&mut self, revision: u64) -> Result<()> {
        let body = Bytes::from(format!("{{\"revision\":{revision}}}"));
        let ask = request(Method::POST, "/v1/sync/ack", self.address, &self.bearer, &self.key, body)?;
        let answer = self.sender.send_request(ask).await?;
        if answer.status() != StatusCode::NO_CONTENT {
            return Err(BenchError::Answer(format!("/v1/sync/ack: {}", answer.status())));
        }
        self.told.acknowledged.send_modify(|count| *count += 1);
        Ok(())
    }
}

/// Of a snapshot or change; a sign of life has none that counts.
fn revision(message: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(message).ok()?;
    let rest = text.strip_prefix("{\"snapshot\":").or_else(|| text.strip_prefix("{\"change\":"))?;
    let (_, rest) = rest.split_once("\"revision\":")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn request(
    method: Method,
    path: &str,
    address: SocketAddr,
    bearer: &str,
    key: &str,
    body: Bytes,
) -> Result<Request<Whole>> {
    let request = Request::builder()
        .method(method)
        .uri(format!("https://{address}{path}"))
        .header("authorization", bearer)
        .header("doorward-seal-key", key)
        .header("content-type", "application/json");
    request.body(Whole::new(body)).map_err(|e| BenchError::Usage(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::revision;

    #[test]
    fn only_snapshots_and_changes_have_a_revision() {
        assert_eq!(revision(b"{\"ping\":{\"revision\":7}}\n"), None);
        assert_eq!(revision(b"{\"change\":{\"revision\":71,\"project\":\"x\"}}\n"), Some(71));
        assert_eq!(revision(b"{\"snapshot\":{\"revision\":7}}\n"), Some(7));
    }
}
