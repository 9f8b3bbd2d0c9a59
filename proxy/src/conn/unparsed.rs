//! Heads that hyper's parser refuses: it answers them itself, with a status and nothing else. What it writes is replaced here by
//! a refusal like any other, with its code and a record (invariants 8 and 9), and the client is left the time to read it.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use control::audit::RequestId;
use control::refusal::{Code, Refusal};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::{Conn, Door};
use crate::limits;
use crate::request::refuse::{self, Dialect};

/// How much of what such a client goes on sending is read away: bytes that were not read would cut the answer off (RST).
const REST: usize = 1 << 20;

/// The agent's stream below hyper's HTTP/1.1.
#[derive(Debug)]
pub(super) struct Unparsed<S> {
    stream: S,
    conn: Arc<Conn>,
    answer: Option<Box<Answer>>,
}

/// What is written in the place of hyper's answer.
#[derive(Debug)]
struct Answer {
    /// How long hyper's is: so much counts as written once ours is.
    replaces: usize,
    left: Bytes,
    linger: Option<Linger>,
}

/// The time in which the client may read it.
#[derive(Debug)]
struct Linger {
    ends: Pin<Box<Sleep>>,
    rest: usize,
}

impl<S> Unparsed<S> {
    pub(super) fn new(stream: S, conn: Arc<Conn>) -> Self {
        Self { stream, conn, answer: None }
    }
}

impl<S: AsyncWrite + Unpin> Unparsed<S> {
    /// Writes on what stands in the place of these bytes; `None`: they are no answer of hyper's own.
    fn poll_answer(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Option<Poll<io::Result<usize>>> {
        if self.answer.is_none() {
            let left = refusal(&self.conn, status_of(bytes)?);
            self.answer = Some(Box::new(Answer { replaces: bytes.len(), left, linger: None }));
        }
        let answer = self.answer.as_mut()?;
        while answer.left.has_remaining() {
            match Pin::new(&mut self.stream).poll_write(cx, &answer.left) {
                Poll::Ready(Ok(0)) => return Some(Poll::Ready(Err(io::ErrorKind::WriteZero.into()))),
                Poll::Ready(Ok(count)) => answer.left.advance(count),
                Poll::Ready(Err(error)) => return Some(Poll::Ready(Err(error))),
                Poll::Pending => return Some(Poll::Pending),
            }
        }
        Some(Poll::Ready(Ok(answer.replaces)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Unparsed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Unparsed<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match this.poll_answer(cx, buf) {
            Some(polled) => polled,
            None => Pin::new(&mut this.stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // hyper's own answer has no body: its head is all that is written.
        if let [only] = bufs
            && let Some(polled) = this.poll_answer(cx, only)
        {
            return polled;
        }
        Pin::new(&mut this.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        let Some(answer) = &mut this.answer else { return Poll::Ready(Ok(())) };
        let linger =
            answer.linger.get_or_insert_with(|| Linger { ends: Box::pin(sleep(limits::LINGER)), rest: REST });
        let mut scratch = [0_u8; 1024];
        while linger.rest > 0 && linger.ends.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut scratch);
            if ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buf)).is_err() || buf.filled().is_empty()
            {
                break;
            }
            linger.rest = linger.rest.saturating_sub(buf.filled().len());
        }
        Poll::Ready(Ok(()))
    }
}

/// The status that hyper answers by itself. It writes these lines and no other; an upstream's answer has its own fields first.
fn status_of(head: &[u8]) -> Option<u16> {
    let (line, fields) = head.strip_prefix(b"HTTP/1.1 4")?.split_at_checked(2)?;
    let status = match line {
        b"00" => 400,
        b"14" => 414,
        b"31" => 431,
        _ => return None,
    };
    let reason = StatusCode::from_u16(status).ok()?.canonical_reason()?;
    let fields = fields.strip_prefix(b" ")?.strip_prefix(reason.as_bytes())?;
    fields.starts_with(b"\r\nconnection: close\r\ncontent-length: 0\r\ndate: ").then_some(status)
}

/// What could not be parsed and got no answer, as the preface of HTTP/2 where HTTP/1.1 was agreed, is recorded all the same.
pub(super) fn unanswered(conn: &Conn) {
    if !conn.unparsed.load(Ordering::Relaxed) {
        record(conn, 400);
    }
}

fn record(conn: &Conn, status: u16) -> (RequestId, Refusal) {
    conn.unparsed.store(true, Ordering::Relaxed);
    let target = match &conn.door {
        Door::Tunnel { named, .. } => Some(&named.target),
        Door::Plain(_) => None,
    };
    let id = conn.next_id();
    let refusal = Refusal::new(Code::Dw2008, "the request is malformed").with_status(status);
    (id, conn.worker.shared.record_unparsed(id, &conn.caller, target, refusal))
}

/// The refusal as it goes over the wire, recorded.
fn refusal(conn: &Conn, status: u16) -> Bytes {
    let (id, refusal) = record(conn, status);
    let answer = refuse::response(&refusal, &id.to_string(), &Dialect::Json);
    let (head, body) = answer.into_parts();
    let reason = head.status.canonical_reason().unwrap_or_default();
    let mut wire = format!("HTTP/1.1 {} {reason}\r\n", head.status.as_u16()).into_bytes();
    for (name, value) in &head.headers {
        wire.extend_from_slice(name.as_str().as_bytes());
        wire.extend_from_slice(b": ");
        wire.extend_from_slice(value.as_bytes());
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"connection: close\r\n\r\n");
    wire.extend_from_slice(&body);
    wire.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_hypers_own_answers_from_all_others() {
        const END: &str =
            "connection: close\r\ncontent-length: 0\r\ndate: Mon, 23 Nov 2026 03:00:00 GMT\r\n\r\n";
        for (line, status) in [
            ("400 Bad Request", Some(400)),
            ("414 URI Too Long", Some(414)),
            ("431 Request Header Fields Too Large", Some(431)),
            ("403 Forbidden", None),
            ("400 Bad", None),
        ] {
            assert_eq!(status_of(format!("HTTP/1.1 {line}\r\n{END}").as_bytes()), status, "{line}");
        }
        for other in [
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\ndate: x\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\nx: y\r\nconnection: close\r\ncontent-length: 0\r\ndate: x\r\n\r\n",
            "HTTP/1.1 4",
            "",
        ] {
            assert_eq!(status_of(other.as_bytes()), None, "{other}");
        }
    }
}
