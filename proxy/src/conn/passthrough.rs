//! `tls.mode: passthrough`: the agent's TLS is passed on unread, nothing is injected.
//!
//! The ClientHello is read first: its SNI has to be the CONNECT host, or there has to be none for an address literal.
//! Anything else closes without a dial, so a tunnel to one host cannot be used to reach another behind the same address.

use std::time::Duration;

use control::refusal::{Code, Refusal};
use control::target::Target;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::handshake::mismatch;
use crate::limits::{self, Limits};

/// How much is read at once in either direction.
const CHUNK: usize = 16 * 1024;
/// The longest ClientHello: a record carries 16 KiB, and post-quantum shares and tickets need a few of these at most.
const HELLO_MAX: usize = 64 * 1024;

/// Reads the ClientHello and refuses it unless it is for the target. Gives the bytes back: they belong to the upstream.
pub(crate) async fn hello<S: AsyncRead + Unpin>(
    stream: &mut S,
    target: &Target,
    limits: &Limits,
) -> Result<Vec<u8>, Refusal> {
    let deadline = Instant::now() + limits::time(limits.tls_handshake);
    let mut acceptor = Acceptor::default();
    let mut seen = Vec::new();
    let mut chunk = vec![0_u8; 4096];
    loop {
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                return match mismatch(&accepted.client_hello(), &target.host) {
                    None => Ok(seen),
                    Some(refusal) => Err(refusal),
                };
            }
            Ok(None) if seen.len() < HELLO_MAX => {}
            Ok(None) | Err(_) => return Err(not_tls()),
        }
        let read = timeout_at(deadline, stream.read(&mut chunk)).await;
        let count = match read {
            Ok(Ok(count)) if count > 0 => count,
            Ok(_) | Err(_) => return Err(not_tls()),
        };
        let bytes = chunk.get(..count).unwrap_or_default();
        seen.extend_from_slice(bytes);
        let mut unread = bytes;
        while !unread.is_empty() {
            if acceptor.read_tls(&mut unread).is_err() {
                return Err(not_tls());
            }
        }
    }
}

fn not_tls() -> Refusal {
    Refusal::new(Code::Dw2003, "what came in the tunnel is not TLS")
}

/// How many bytes went each way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Carried {
    pub(crate) up: u64,
    pub(crate) down: u64,
}

/// Carries bytes both ways until both sides ended, one failed, or nothing moved for too long.
pub(crate) async fn carry<S>(agent: S, upstream: TcpStream, first: Vec<u8>, limits: &Limits) -> Carried
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let idle = limits::time(limits.tunnel_idle);
    let (agent_read, agent_write) = tokio::io::split(agent);
    let (upstream_read, mut upstream_write) = upstream.into_split();
    let mut carried = Carried { up: first.len() as u64, down: 0 };
    if timeout(idle, upstream_write.write_all(&first)).await.is_ok_and(|wrote| wrote.is_ok()) {
        let moves = Moves::default();
        tokio::join!(
            one_way(agent_read, upstream_write, idle, &moves, &mut carried.up),
            one_way(upstream_read, agent_write, idle, &moves, &mut carried.down),
        );
    }
    carried
}

/// Counts movements in either direction: a download keeps its silent upload direction alive.
#[derive(Debug, Default)]
struct Moves(std::sync::atomic::AtomicU64);

async fn one_way<R, W>(mut from: R, mut to: W, idle: Duration, moves: &Moves, carried: &mut u64)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let relaxed = std::sync::atomic::Ordering::Relaxed;
    let mut chunk = vec![0_u8; CHUNK];
    loop {
        let before = moves.0.load(relaxed);
        let count = match timeout(idle, from.read(&mut chunk)).await {
            Err(_) if moves.0.load(relaxed) != before => continue,
            Err(_) | Ok(Err(_) | Ok(0)) => break,
            Ok(Ok(count)) => count,
        };
        let bytes = chunk.get(..count).unwrap_or_default();
        if !matches!(timeout(idle, to.write_all(bytes)).await, Ok(Ok(()))) {
            break;
        }
        moves.0.fetch_add(1, relaxed);
        *carried += count as u64;
    }
    // The other side learns of the end; if it cannot be told it is gone already.
    to.shutdown().await.ok();
}
