//! `tls.mode: passthrough`: the agent's TLS is passed on unread, nothing is injected.
//!
//! The ClientHello is read first: its SNI has to be the CONNECT host, or there has to be none for an address literal.
//! Anything else closes without a dial, so a tunnel to one host cannot be used to reach another behind the same address.

use std::pin::pin;

use control::refusal::{Code, Refusal};
use control::target::Target;
use http::Method;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::flow::{Direction, Flow, Passed};
use super::handshake::mismatch;
use super::wire::Wire;
use super::{Conn, life};
use crate::limits::{self, Limits};
use crate::plan::Served;
use crate::request::record::Record;

/// The longest ClientHello: a record carries 16 KiB, and post-quantum shares and tickets need a few of these at most.
const HELLO_MAX: usize = 64 * 1024;

/// Serves a tunnel that is passed through, until it ends or has to.
pub(super) async fn serve(conn: Conn, target: &Target, served: &Served, mut wire: Wire) {
    let shared = &conn.worker.shared;
    let mut record = Record::open(shared, conn.next_id(), &conn.caller, &Method::CONNECT).of_tunnel();
    record.target(target);
    record.provider(served);
    if let Err(refusal) = record.passed_through() {
        shared.record_connect(Some(&conn.caller), Some(target), refusal);
        return;
    }
    let limits = &shared.limits;
    let flow = Flow::new(limits::time(limits.tunnel_idle), limits::time(limits.tunnel_write));
    let passing = async {
        let first = hello(&mut wire, target, limits).await?;
        let upstream = conn.worker.upstream.tunnel(target, &served.provider).await?;
        carry(wire, upstream, first, &flow).await;
        Ok(())
    };
    match life::until_closed(&conn.life, record.while_lasting(passing)).await {
        Some(Err(refusal)) => drop(record.refused(refusal)),
        Some(Ok(())) => {}
        None => tracing::debug!("tunnel closed before its end"),
    }
    record.received(flow.carried(Direction::Up));
    record.sent(flow.carried(Direction::Down));
}

/// Reads the ClientHello and refuses it unless it is for the target. Gives the bytes back: they belong to the upstream.
async fn hello<S: AsyncRead + Unpin>(
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

/// Carries bytes both ways until both sides ended, one failed, or nothing moved for too long.
async fn carry<S>(agent: S, upstream: TcpStream, first: Vec<u8>, flow: &Flow)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (agent_read, agent_write) = tokio::io::split(agent);
    let (upstream_read, mut upstream_write) = upstream.into_split();
    if flow.give(&mut upstream_write, &first, Direction::Up).await {
        let mut up = pin!(flow.pass(agent_read, upstream_write, Direction::Up));
        let mut down = pin!(flow.pass(upstream_read, agent_write, Direction::Down));
        // A side that takes nothing any more ends it; one that has no more to say may still listen.
        tokio::select! {
            Passed::Whole = &mut up => drop(down.await),
            Passed::Whole = &mut down => drop(up.await),
            else => {}
        }
    }
}
