//! The floor: the least that an intercepting, injecting proxy can do on this stack, written as a rival's best.
//!
//! CONNECT, TLS with a leaf made beforehand, one fixed header, a pooled upstream, TLS again; h1 goes out as h1, h2 as h2. Same crates,
//! crypto provider and socket options as doorward, one current-thread runtime, no boxing of bodies or futures on the request path, no
//! timer, no policy, no token, no audit, no scrubbing, no limits. It is a yardstick and must never face a network.

use crate::{BenchError, Result, pki};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::{http1 as client1, http2 as client2};
use hyper::server::conn::{http1 as server1, http2 as server2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls_pki_types::ServerName;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Idle HTTP/1.1 connections kept for one host; more are dropped.
const IDLE_PER_HOST: usize = 256;
const HEAD_LIMIT: usize = 8 * 1024;

/// How to run the floor.
#[derive(Debug, clap::Args)]
pub struct FloorArgs {
    /// Where to listen for CONNECT.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Where every host is dialled.
    #[arg(long)]
    pub upstream: SocketAddr,
    /// Folder with the test certificates.
    #[arg(long)]
    pub pki: PathBuf,
    /// Value of the header that is added.
    #[arg(long)]
    pub credential: String,
}

/// Serves until the process ends; `ready` gets the bound address.
pub async fn run(args: FloorArgs, ready: impl FnOnce(SocketAddr)) -> Result<()> {
    let floor = Arc::new(Floor::new(&args)?);
    let listener = TcpListener::bind(args.listen).await?;
    ready(listener.local_addr()?);
    loop {
        let (client, _) = listener.accept().await?;
        let floor = Arc::clone(&floor);
        // A tunnel that fails closes; the generator counts it as an error on its side.
        tokio::spawn(async move { floor.tunnel(client).await.ok() });
    }
}

struct Floor {
    acceptor: TlsAcceptor,
    h1: TlsConnector,
    h2: TlsConnector,
    upstream: SocketAddr,
    header: HeaderValue,
    hosts: Mutex<HashMap<String, Arc<Host>>>,
}

impl Floor {
    fn new(args: &FloorArgs) -> Result<Self> {
        let header = HeaderValue::from_str(&args.credential).map_err(|e| BenchError::Usage(e.to_string()))?;
        Ok(Self {
            acceptor: pki::server_config(&args.pki, &[b"h2", b"http/1.1"])?.into(),
            h1: pki::client_config(&args.pki, &[b"http/1.1"])?.into(),
            h2: pki::client_config(&args.pki, &[b"h2"])?.into(),
            upstream: args.upstream,
            header,
            hosts: Mutex::default(),
        })
    }

    async fn tunnel(self: Arc<Self>, mut client: TcpStream) -> Result<()> {
        client.set_nodelay(true)?;
        let name = connect_host(&mut client).await?;
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        let host = self.host(name)?;
        let client = self.acceptor.accept(client).await?;
        if client.get_ref().1.alpn_protocol() == Some(b"h2") {
            server2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(100)
                .initial_stream_window_size(256 * 1024)
                .initial_connection_window_size(1024 * 1024)
                .max_header_list_size(64 * 1024)
                .serve_connection(TokioIo::new(client), service_fn(|r| Arc::clone(&host).forward_h2(r)))
                .await?;
        } else {
            server1::Builder::new()
                .header_read_timeout(None)
                .serve_connection(TokioIo::new(client), service_fn(|r| Arc::clone(&host).forward_h1(r)))
                .await?;
        }
        Ok(())
    }

    fn host(self: &Arc<Self>, name: String) -> Result<Arc<Host>> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = hosts.get(&name) {
            return Ok(Arc::clone(host));
        }
        let sni =
            ServerName::try_from(name.clone()).map_err(|_| BenchError::Refused("bad host".to_owned()))?;
        let host =
            Arc::new(Host { floor: Arc::clone(self), sni, idle: Mutex::default(), shared: Mutex::default() });
        hosts.insert(name, Arc::clone(&host));
        Ok(host)
    }
}

/// Reads the CONNECT head and returns its host. The client waits for the answer, so nothing follows the head.
async fn connect_host(client: &mut TcpStream) -> Result<String> {
    let mut head = Vec::with_capacity(512);
    while !head.ends_with(b"\r\n\r\n") {
        if client.read_buf(&mut head).await? == 0 || head.len() > HEAD_LIMIT {
            return Err(BenchError::Refused("no head".to_owned()));
        }
    }
    std::str::from_utf8(&head)
        .ok()
        .and_then(|head| head.strip_prefix("CONNECT "))
        .and_then(|rest| rest.split_once(':'))
        .map(|(host, _)| host.to_owned())
        .ok_or_else(|| BenchError::Refused("not CONNECT".to_owned()))
}

/// One upstream host and the connections to it.
struct Host {
    floor: Arc<Floor>,
    sni: ServerName<'static>,
    idle: Mutex<Vec<client1::SendRequest<Incoming>>>,
    shared: Mutex<Option<client2::SendRequest<Incoming>>>,
}

impl Host {
    async fn forward_h1(self: Arc<Self>, mut request: Request<Incoming>) -> Result<Response<Relay>> {
        request.headers_mut().insert(AUTHORIZATION, self.floor.header.clone());
        let mut sender = self.sender_h1().await?;
        let response = sender.send_request(request).await?;
        Ok(response.map(|body| Relay { body, lease: Some((sender, self)) }))
    }

    async fn forward_h2(self: Arc<Self>, mut request: Request<Incoming>) -> Result<Response<Relay>> {
        request.headers_mut().insert(AUTHORIZATION, self.floor.header.clone());
        let mut sender = self.sender_h2().await?;
        let response = sender.send_request(request).await?;
        Ok(response.map(|body| Relay { body, lease: None }))
    }

    async fn sender_h1(&self) -> Result<client1::SendRequest<Incoming>> {
        while let Some(mut sender) = self.take_idle() {
            if sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
        let (sender, connection) =
            client1::Builder::new().handshake(TokioIo::new(self.dial(&self.floor.h1).await?)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn sender_h2(&self) -> Result<client2::SendRequest<Incoming>> {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(mut sender) = shared
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        let (sender, connection) = client2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .adaptive_window(true)
            .max_header_list_size(64 * 1024)
            .handshake(TokioIo::new(self.dial(&self.floor.h2).await?))
            .await?;
        tokio::spawn(connection);
        *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender.clone());
        Ok(sender)
    }

    async fn dial(&self, tls: &TlsConnector) -> Result<TlsStream<TcpStream>> {
        let upstream = TcpStream::connect(self.floor.upstream).await?;
        upstream.set_nodelay(true)?;
        Ok(tls.connect(self.sni.clone(), upstream).await?)
    }

    fn take_idle(&self) -> Option<client1::SendRequest<Incoming>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn give_back(&self, sender: client1::SendRequest<Incoming>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if !sender.is_closed() && idle.len() < IDLE_PER_HOST {
            idle.push(sender);
        }
    }
}

/// The upstream's body as it comes; when it is done its HTTP/1.1 connection goes back to the pool.
struct Relay {
    body: Incoming,
    lease: Option<(client1::SendRequest<Incoming>, Arc<Host>)>,
}

impl Body for Relay {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some((sender, host)) = self.lease.take() {
            host.give_back(sender);
        }
    }
}
