//! A WebSocket after its handshake: what the agent sends is passed on, what the upstream sends is searched in its frames.
//!
//! It ends when one side ends, when nothing moves either way for too long, when a side takes nothing any more, or when
//! the agent's connection has to close. Broken frames of the upstream end it with 1002.

use std::sync::Arc;

use bytes::BytesMut;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use crate::conn::Conn;
use crate::conn::flow::{CHUNK, Direction, Flow, Took};
use crate::conn::life;
use crate::request::answer::Held;
use crate::request::record::Record;
use crate::request::scrub::frames::FrameScrubber;
use crate::upstream::pool::Lease;

/// RFC 6455 section 7.4.1: 1002, protocol error.
const PROTOCOL_ERROR: [u8; 4] = [0x88, 0x02, 0x03, 0xea];

/// Carries a WebSocket once both sides agreed.
pub(super) struct Carrier {
    pub(super) agent: OnUpgrade,
    pub(super) upstream: OnUpgrade,
    /// `None`: nothing was injected, so there is nothing to mask.
    pub(super) scrubber: Option<FrameScrubber>,
    pub(super) flow: Flow,
    /// Keeps the agent's connection registered for as long as the stream lives.
    pub(super) conn: Arc<Conn>,
    pub(super) record: Record,
    /// Its places: among the agent's requests, and among the upstream's connections.
    pub(super) _held: (Held, Lease),
}

impl Carrier {
    pub(super) async fn run(self) {
        let Self { agent, upstream, scrubber, flow, conn, mut record, _held } = self;
        let carrying = record.while_lasting(carry(agent, upstream, scrubber, &flow));
        if life::until_closed(&conn.life, carrying).await.is_none() {
            tracing::debug!("websocket closed with its connection");
        }
        record.received(flow.carried(Direction::Up));
        record.sent(flow.carried(Direction::Down));
    }
}

async fn carry(agent: OnUpgrade, upstream: OnUpgrade, scrubber: Option<FrameScrubber>, flow: &Flow) {
    // The agent's side is there once it took the head of our answer.
    let both = timeout(flow.stall, async { tokio::join!(agent, upstream) }).await;
    let Ok((Ok(agent), Ok(upstream))) = both else { return };
    let (agent_read, agent_write) = tokio::io::split(TokioIo::new(agent));
    let (upstream_read, upstream_write) = tokio::io::split(TokioIo::new(upstream));
    tokio::select! {
        _ = flow.pass(agent_read, upstream_write, Direction::Up) => {}
        () = masked(upstream_read, agent_write, scrubber, flow) => {}
    }
}

async fn masked<R, W>(mut from: R, mut to: W, scrubber: Option<FrameScrubber>, flow: &Flow)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let Some(mut scrubber) = scrubber else {
        flow.pass(from, to, Direction::Down).await;
        return;
    };
    let mut chunk = BytesMut::with_capacity(CHUNK);
    loop {
        let released = match flow.take(&mut from, &mut chunk, scrubber.deadline()).await {
            Took::Bytes => scrubber.push(chunk.split().freeze(), Instant::now()),
            Took::Late => Err(scrubber.expire()),
            Took::End => break,
        };
        let Ok(released) = released else {
            flow.give(&mut to, &PROTOCOL_ERROR, Direction::Down).await;
            break;
        };
        if !flow.give(&mut to, &released, Direction::Down).await {
            return;
        }
        chunk.reserve(CHUNK);
    }
    // The agent learns of the end; if it cannot be told it is gone already.
    drop(timeout(flow.stall, to.shutdown()).await);
}
