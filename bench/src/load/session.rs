//! One connection through the proxy, ready for requests, and the check that each answer is the one asked for.

use super::body::Payload;
use super::target::{Protocol, Target};
use crate::origin::{CHAT, TOKEN, TOKENS_END, VERSION_HEADER};
use crate::{BenchError, Result};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST};
use http::{HeaderValue, Method, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::pin::Pin;

const WINDOW: u32 = 8 * 1024 * 1024;

/// One kind of request and what its answer must look like.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Method.
    pub method: Method,
    /// Path.
    pub path: String,
    /// Body.
    pub payload: Payload,
    /// The answer's length, if it is known; another one is an error.
    pub answer: Option<u64>,
}

impl Ask {
    /// A small JSON answer.
    pub fn small() -> Self {
        Self { method: Method::GET, path: "/json".to_owned(), payload: Payload::None, answer: None }
    }

    /// A small body, echoed.
    pub fn echo() -> Self {
        let body = Bytes::from_static(&[b'e'; 1024]);
        let answer = Some(body.len() as u64);
        Self { method: Method::POST, path: "/echo".to_owned(), payload: Payload::Small(body), answer }
    }

    /// A download of so many MiB.
    pub fn download(mebibytes: u64) -> Self {
        let answer = Some(mebibytes << 20);
        Self { method: Method::GET, path: format!("/download/{mebibytes}"), payload: Payload::None, answer }
    }

    /// An upload of so many MiB.
    pub fn upload(mebibytes: u64) -> Self {
        let bytes = mebibytes << 20;
        let answer = Some(format!("{{\"bytes\":{bytes}}}").len() as u64);
        Self { method: Method::POST, path: "/upload".to_owned(), payload: Payload::Long(bytes), answer }
    }

    /// So many tokens of a model, one every so many milliseconds.
    pub fn tokens(count: u64, pause_ms: u64) -> Self {
        let body =
            format!(r#"{{"model":"gpt-4o","stream":true,"max_tokens":{count},"pause_ms":{pause_ms}}}"#);
        let answer = Some((count - 1) * TOKEN.len() as u64 + TOKENS_END.len() as u64);
        let payload = Payload::Small(body.into());
        Self { method: Method::POST, path: CHAT.to_owned(), payload, answer }
    }

    /// So many server-sent events, one every so many milliseconds.
    pub fn events(count: u64, interval_ms: u64) -> Self {
        let path = format!("/sse/{count}/{interval_ms}");
        Self { method: Method::GET, path, payload: Payload::None, answer: None }
    }
}

#[derive(Debug, Clone)]
enum Sender {
    H1,
    H2(http2::SendRequest<Payload>),
}

/// An open connection.
#[derive(Debug)]
pub struct Session {
    sender: Sender,
    h1: Option<http1::SendRequest<Payload>>,
    authority: String,
    host: HeaderValue,
    credential: Option<HeaderValue>,
    protocol: Protocol,
}

impl Session {
    /// Opens a connection.
    pub async fn open(target: &Target) -> Result<Self> {
        let io = TokioIo::new(target.dial().await?);
        let (sender, h1) = match target.protocol {
            Protocol::H1 => {
                let (sender, connection) = http1::Builder::new().handshake(io).await?;
                tokio::spawn(connection);
                (Sender::H1, Some(sender))
            }
            Protocol::H2 => {
                let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    .initial_stream_window_size(WINDOW)
                    .initial_connection_window_size(WINDOW)
                    .handshake(io)
                    .await?;
                tokio::spawn(connection);
                (Sender::H2(sender), None)
            }
        };
        let authority = target.authority();
        let host = HeaderValue::from_str(&authority).map_err(|e| BenchError::Usage(e.to_string()))?;
        let credential = target.credential.clone();
        Ok(Self { sender, h1, authority, host, credential, protocol: target.protocol })
    }

    /// Another handle on the same h2 connection; `None` on HTTP/1.1, which carries one request at a time.
    pub fn share(&self) -> Option<Self> {
        match &self.sender {
            Sender::H1 => None,
            Sender::H2(_) => Some(Self {
                sender: self.sender.clone(),
                h1: None,
                authority: self.authority.clone(),
                host: self.host.clone(),
                credential: self.credential.clone(),
                protocol: self.protocol,
            }),
        }
    }

    /// Sends a request and reads its whole answer; returns the bytes that went either way.
    pub async fn exchange(&mut self, ask: &Ask) -> Result<u64> {
        let mut body = self.begin(ask).await?;
        let mut bytes = 0;
        while let Some(data) = next_data(&mut body).await? {
            bytes += data.len() as u64;
        }
        match ask.answer {
            Some(expected) if expected != bytes => {
                Err(BenchError::Answer(format!("{bytes} bytes instead of {expected}")))
            }
            _ => Ok(bytes + ask.payload.len()),
        }
    }

    /// Sends a request and returns its answer's body once the head is there and right.
    pub async fn begin(&mut self, ask: &Ask) -> Result<Incoming> {
        let request = self.request(ask)?;
        let response = match (&mut self.sender, &mut self.h1) {
            (Sender::H2(sender), _) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            (Sender::H1, Some(sender)) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            (Sender::H1, None) => return Err(BenchError::Answer("closed".to_owned())),
        };
        self.check(response)
    }

    fn request(&self, ask: &Ask) -> Result<Request<Payload>> {
        let mut request = Request::builder().method(ask.method.clone());
        request = match self.protocol {
            Protocol::H1 => request.uri(ask.path.as_str()).header(HOST, self.host.clone()),
            Protocol::H2 => request.uri(format!("https://{}{}", self.authority, ask.path)),
        };
        if let Some(credential) = &self.credential {
            request = request.header(AUTHORIZATION, credential.clone());
        }
        if !ask.payload.is_empty() {
            request = request.header(CONTENT_LENGTH, ask.payload.len());
        }
        request
            .header("user-agent", "doorward-bench/1")
            .header("accept", "application/json")
            .body(ask.payload.clone())
            .map_err(|e| BenchError::Usage(e.to_string()))
    }

    fn check(&self, response: Response<Incoming>) -> Result<Incoming> {
        if response.status() != http::StatusCode::OK {
            return Err(BenchError::Answer(format!("status {}", response.status())));
        }
        let spoken = response.headers().get(VERSION_HEADER).map_or(&b""[..], HeaderValue::as_bytes);
        if spoken != self.protocol.origin_name().as_bytes() {
            return Err(BenchError::Unsupported(format!("{:?} towards the origin", self.protocol)));
        }
        Ok(response.into_body())
    }
}

/// The next piece of a body.
pub(crate) async fn next_data(body: &mut Incoming) -> Result<Option<Bytes>> {
    loop {
        let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await else {
            return Ok(None);
        };
        if let Ok(data) = frame?.into_data() {
            return Ok(Some(data));
        }
    }
}
