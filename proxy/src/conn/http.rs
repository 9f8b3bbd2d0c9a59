//! HTTP with the agent, by the protocol that ALPN settled, until the connection ends or has to.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Conn;
use super::life::{Closing, Life};
use super::unparsed::{self, Unparsed};
use crate::limits::{self, Limits};

/// Serves requests until the connection ends, in a task of its own: what led here (heads, handshake, plan) is given back
/// while a tunnel rests, and a wake passes through none of it. The registry's entry in `conn` lives as long as the task.
pub(crate) fn serve<S>(conn: Arc<Conn>, stream: S, is_http2: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    drop(tokio::spawn(requests(conn, stream, is_http2)));
}

async fn requests<S>(conn: Arc<Conn>, stream: S, is_http2: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let worker = Arc::clone(&conn.worker);
    let limits = &worker.shared.limits;
    let (of_requests, lanes) = (Arc::clone(&conn), Arc::clone(&worker.lanes));
    let service = service_fn(move |request| lanes.serve((Arc::clone(&of_requests), request)));
    let ended = if is_http2 {
        let serving = http2_settings(limits).serve_connection(TokioIo::new(stream), service);
        drive(&conn.life, serving, http2::Connection::graceful_shutdown).await
    } else {
        conn.life.time_heads();
        let io = TokioIo::new(Unparsed::new(stream, Arc::clone(&conn)));
        let serving = http1_settings(limits).serve_connection(io, service).with_upgrades();
        drive(&conn.life, serving, http1::UpgradeableConnection::graceful_shutdown).await
    };
    if let Some(Err(error)) = ended {
        tracing::debug!(conn = conn.id, error = %crate::plan::chain(&error), "connection ended");
        if error.is_parse() || broke_http2(&error) {
            unparsed::unanswered(&conn);
        }
    }
}

/// Whether the connection was ended for what the agent sent: HTTP/2 has no answer to that but its own codes. A stream that is
/// reset by itself is not told of.
fn broke_http2(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    source.is_some_and(h2::Error::is_library)
}

/// Polls the connection and what it is told: to end after what is in flight, or at once.
async fn drive<C>(life: &Life, serving: C, graceful: fn(Pin<&mut C>)) -> Option<C::Output>
where
    C: Future,
{
    let mut serving = pin!(serving);
    let mut told = Closing::No;
    poll_fn(|cx| {
        let closing = life.poll_closing(cx);
        if closing == Closing::Now {
            return Poll::Ready(None);
        }
        if closing > told {
            told = closing;
            graceful(serving.as_mut());
        }
        serving.as_mut().poll(cx).map(Some)
    })
    .await
}

fn http1_settings(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .max_headers(limits::count(limits.header_fields))
        // Request line and fields have limits of their own, which `parse` keeps exactly.
        .max_header_size(limits::count(limits.header_bytes + limits.url_bytes))
        // The life's sweep times slow heads; hyper's own timer would be armed and disarmed for each request.
        .header_read_timeout(None)
        .half_close(false);
    builder
}

fn http2_settings(limits: &Limits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::count32(limits.h2_streams))
        .initial_stream_window_size(limits::count32(limits.h2_stream_window))
        .initial_connection_window_size(limits::count32(limits.h2_connection_window))
        // As for h1: `parse` keeps the limits exactly, with a code and a record. What is over both, h2 ends by itself.
        .max_header_list_size(limits::count32(limits.header_bytes + limits.url_bytes))
        .max_pending_accept_reset_streams(limits::count(limits.h2_pending_resets))
        .max_local_error_reset_streams(limits::count(limits.h2_local_resets))
        .enable_connect_protocol();
    builder
}
