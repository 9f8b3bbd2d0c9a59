//! Refusals before there is a tunnel: recorded, answered with the code in the reason phrase, closed.
//!
//! Nothing is answered that could not be recorded (invariant 9).

use std::sync::Arc;

use control::refusal::{Code, Refusal};
use control::target::Target;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::Conn;
use super::accept::Head;
use super::handshake::Failure;
use super::identify::Caller;
use super::wire::Stream;
use crate::limits;
use crate::worker::Worker;

/// Refuses before there is a tunnel: records, answers, closes.
pub(super) async fn turn_away(
    worker: &Arc<Worker>,
    stream: &mut Stream,
    head: Option<(&Head, &Caller)>,
    refusal: Refusal,
) {
    let target = head.and_then(|(head, _)| Target::parse_authority(&head.target).ok());
    let refusal = worker.shared.record_connect(head.map(|(_, caller)| caller), target.as_ref(), refusal);
    answer(stream, &refusal, false).await;
}

/// A challenge: the connection is kept for another attempt if the client may make one. Tells whether it is.
pub(super) async fn challenge(
    worker: &Arc<Worker>,
    stream: &mut Stream,
    refusal: Refusal,
    keeps: bool,
) -> bool {
    let refusal = worker.shared.record_connect(None, None, refusal);
    let keeps = keeps && refusal.status == 407;
    answer(stream, &refusal, keeps).await && keeps
}

/// TLS with the agent failed: there is nobody to answer, but the operator learns why (DW2001 to DW2003).
pub(super) fn handshake_failed(conn: &Conn, target: &Target, failure: Failure) {
    let shared = &conn.worker.shared;
    let code = match failure {
        Failure::NotTls => Code::Dw2003,
        Failure::Untrusted if shared.trusts.elsewhere(&conn.caller.name, target) => Code::Dw2002,
        Failure::Untrusted => Code::Dw2001,
        Failure::ClosedAfterCertificate if shared.trusts.elsewhere(&conn.caller.name, target) => Code::Dw2002,
        Failure::ClosedAfterCertificate | Failure::Broken | Failure::Late => return,
    };
    tracing::warn!(agent = %conn.caller.name, host = %target.host, %code, "tls with the agent failed");
    shared.record_connect(Some(&conn.caller), Some(target), Refusal::new(code, code.entry().title));
}

/// A `tls:` listener's own TLS failed: who it was is not known.
pub(super) fn not_secured(worker: &Arc<Worker>, failure: Failure) {
    let (code, why) = match failure {
        Failure::NotTls => {
            (Code::Dw2003, "what came on a `tls:` listener is not TLS, or none that it speaks")
        }
        Failure::Untrusted => {
            (Code::Dw2001, "the client does not trust the certificate of a `tls:` listener")
        }
        Failure::ClosedAfterCertificate | Failure::Broken | Failure::Late => return,
    };
    worker.shared.record_connect(None, None, Refusal::new(code, why));
}

/// The code goes into the reason phrase too: of a refused CONNECT that is all that most clients show.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, refusal: &Refusal, keeps: bool) -> bool {
    let entry = refusal.code.entry();
    let connection = if keeps { "keep-alive" } else { "close" };
    let challenge =
        if refusal.status == 407 { "Proxy-Authenticate: Basic realm=\"doorward\"\r\n" } else { "" };
    let body = format!("doorward {}: {}. {}\n", entry.name, refusal.detail, entry.hint);
    let head = format!(
        "HTTP/1.1 {} {} {}\r\n{challenge}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nProxy-Status: doorward; details=\"{}\"\r\nConnection: {connection}\r\n\r\n{body}",
        refusal.status,
        entry.name,
        entry.title,
        body.len(),
        entry.name,
    );
    let sent = stream.write_all(head.as_bytes()).await.is_ok() && stream.flush().await.is_ok();
    if !keeps {
        linger(stream).await;
    }
    sent
}

/// Closes so that the client can read the answer: unread bytes at close would make the kernel send RST and drop it.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut rest = [0_u8; 1024];
    let drain = async {
        for _ in 0..64 {
            if !matches!(stream.read(&mut rest).await, Ok(count) if count > 0) {
                break;
            }
        }
    };
    // Past the deadline the client has had its time to read.
    drop(timeout(limits::LINGER, drain).await);
}
