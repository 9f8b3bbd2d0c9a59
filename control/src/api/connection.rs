//! One connection, from its handshake to its end.
//!
//! Refuses handshakes and heads that do not come, and to hold what [`super::standing`] calls overdue. However it ends, it is
//! closed as [`super::closing`] says: nobody loses an answer by it.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::header::{CONNECTION, EXPECT, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tower::ServiceExt as _;

use super::call::Peer;
use super::closing::{Asked, Lent, close};
use super::limits::{HANDSHAKE_TIME, HEAD_TIME};
use super::serve::{Shared, ended};
use super::standing::{Impatient, Moving, Standing};
use crate::sync::server::identify::Certified;

/// The largest head.
const HEAD: usize = 64 * 1024;
/// Calls of one HTTP/2 connection at once.
const STREAMS: u32 = 100;
/// How long calls in flight may take on a connection that is overdue.
const PARTING: Duration = Duration::from_secs(2);

/// Which HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// Who is at the other end.
pub(super) type From = (Peer, Arc<Standing>);

/// Serves a connection over TCP, by TLS where the server has a certificate.
pub(super) async fn over_tcp(stream: tokio::net::TcpStream, from: From, shared: &Shared) {
    let Some((acceptor, tls)) = &shared.tls else {
        return serve(stream, from, Version::One, shared).await;
    };
    let shaken = tokio::time::timeout(HANDSHAKE_TIME, acceptor.accept(stream).into_fallible()).await;
    match shaken {
        Ok(Ok(stream)) => {
            let is_two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let certified = shown.and_then(tls.certified);
            let version = if is_two { Version::Two } else { Version::One };
            serve_certified(stream, (from, certified), version, shared).await;
        }
        Ok(Err((error, stream))) => {
            tracing::debug!(%error, "a handshake failed");
            // The alert that says why has to arrive.
            close(stream).await;
        }
        Err(_) => tracing::debug!("a handshake took too long"),
    }
}

/// Serves a connection until it ends.
pub(super) async fn serve<S>(io: S, from: From, version: Version, shared: &Shared)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    serve_certified(io, (from, None), version, shared).await;
}

/// The same, of a client that may have shown a certificate.
async fn serve_certified<S>(
    io: S,
    ((peer, standing), certified): (From, Option<Certified>),
    version: Version,
    shared: &Shared,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (io, back) = Lent::new(Impatient::new(io));
    let io = TokioIo::new(io);
    let carried = Arc::clone(&standing);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let standing = Arc::clone(&carried);
        standing.note();
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(Arc::clone(&standing));
        if let Some(certified) = &certified {
            request.extensions_mut().insert(certified.clone());
        }
        let router = shared.router.clone();
        async move {
            let response = answer(router, request, version).await?;
            Ok::<_, Infallible>(response.map(|body| Body::new(Moving { body, standing })))
        }
    });
    let mut ends = shared.ends.clone();
    let ended = match version {
        Version::One => {
            let serving = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME)
                .max_buf_size(HEAD)
                .serve_connection(io, service);
            run(pin!(serving), http1::Connection::graceful_shutdown, &standing, &mut ends).await
        }
        Version::Two => {
            let serving = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(STREAMS)
                .max_header_list_size(u32::try_from(HEAD).unwrap_or(u32::MAX))
                .keep_alive_interval(Duration::from_secs(20))
                .serve_connection(io, service);
            run(pin!(serving), http2::Connection::graceful_shutdown, &standing, &mut ends).await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
    // An error says that hyper still has it, which it has not.
    if let Ok(io) = back.await {
        close(io).await;
    }
}

/// Runs until the connection ends by itself, or tells it to end.
async fn run<C: Future<Output = hyper::Result<()>>>(
    mut serving: Pin<&mut C>,
    end: impl FnOnce(Pin<&mut C>),
    standing: &Standing,
    ends: &mut watch::Receiver<bool>,
) -> hyper::Result<()> {
    let why = tokio::select! {
        ended = serving.as_mut() => return ended,
        why = standing.overdue() => Some(why),
        () = ended(ends) => None,
    };
    end(serving.as_mut());
    let Some(why) = why else { return serving.await };
    tracing::debug!(why, "a connection is ended");
    tokio::time::timeout(PARTING, serving).await.unwrap_or(Ok(()))
}

/// One answer. One that does not wait for the body of its request says that the connection ends with it.
async fn answer(
    router: axum::Router,
    request: Request<Incoming>,
    version: Version,
) -> Result<Response<Body>, Infallible> {
    // Reading would ask the client for a body that nobody wants.
    let is_held = request.headers().contains_key(EXPECT);
    let (head, body) = request.into_parts();
    let (body, rest) = Asked::new(body);
    let mut response = router.oneshot(Request::from_parts(head, Body::new(body))).await?;
    // On HTTP/2 only that request's own stream ends.
    if version == Version::One && !rest.drained(is_held).await {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::super::serve::tests::shared;
    use super::*;

    const ENOUGH: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_connection_that_sends_nothing_is_closed_whatever_it_speaks() {
        let (_ends, ended) = watch::channel(false);
        let shared = shared(ended, Router::new());
        // Before a head's time is over; HTTP/2 has none.
        for (version, soon) in [(Version::One, HEAD_TIME / 2), (Version::Two, ENOUGH)] {
            let (mut peer, ours) = tokio::io::duplex(1 << 16);
            let from = (Peer::User(0), Standing::unproven_for((), Duration::from_millis(50)));
            let mut all = Vec::new();
            let reading = async {
                tokio::select! {
                    read = peer.read_to_end(&mut all) => assert!(read.is_ok()),
                    () = serve(ours, from, version, &shared) => {}
                }
            };
            let ended = tokio::time::timeout(soon, reading).await;
            assert!(ended.is_ok(), "{version:?}");
        }
    }

    /// A client's end of a connection that is served, and the task that serves it.
    #[expect(clippy::disallowed_methods, reason = "the client of the test, on loopback")]
    async fn connected(standing: Arc<Standing>) -> (TcpStream, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let slow = || async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            "done"
        };
        let router = Router::new().route("/slow", axum::routing::get(slow));
        let serving = tokio::spawn(async move {
            let (_end, ends) = watch::channel(false);
            serve(stream, (Peer::User(0), standing), Version::One, &shared(ends, router)).await;
        });
        (client, serving)
    }

    async fn read_to(client: &mut TcpStream, end: &str) -> String {
        let mut text = Vec::new();
        let reading = async {
            while !String::from_utf8_lossy(&text).contains(end) {
                assert_ne!(client.read_buf(&mut text).await.unwrap(), 0, "{text:?}");
            }
        };
        tokio::time::timeout(ENOUGH, reading).await.expect("an answer");
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn an_answer_before_the_body_says_that_it_is_the_last_and_is_not_lost_to_who_still_sends() {
        let (mut client, serving) = connected(Standing::proven()).await;
        let head = "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n";
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(&[b'x'; 150_000]).await.unwrap();
        // The server has ended by now, for its part.
        while client.ready(tokio::io::Interest::READABLE).await.unwrap().is_readable() {
            let mut first = [0; 1];
            if client.peek(&mut first).await.unwrap() == 1 {
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.write_all(&[b'x'; 150_000]).await.expect("somebody takes it");
        let mut answer = String::new();
        let reading = tokio::time::timeout(ENOUGH, client.read_to_string(&mut answer)).await;
        reading.expect("an end").expect("no reset");
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        assert!(answer.to_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
        drop(client);
        tokio::time::timeout(ENOUGH, serving).await.expect("an end").unwrap();
    }

    #[tokio::test]
    async fn a_body_that_nobody_reads_and_that_comes_at_once_costs_no_connection() {
        let (mut client, _serving) = connected(Standing::proven()).await;
        for _ in 0..3 {
            let request = "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
            client.write_all(request.as_bytes()).await.unwrap();
            let answer = read_to(&mut client, "\r\n\r\n").await;
            assert!(!answer.to_lowercase().contains("connection: close"), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_call_in_flight_on_an_overdue_connection_is_answered_first() {
        let (mut client, serving) = connected(Standing::unproven_for((), Duration::from_millis(100))).await;
        client.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let answer = read_to(&mut client, "done").await;
        assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
        drop(client);
        tokio::time::timeout(ENOUGH, serving).await.expect("an end").unwrap();
    }
}
