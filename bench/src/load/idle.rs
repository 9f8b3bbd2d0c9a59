//! Idle tunnels: each is opened, carries one request and is then left alone, as agents' keep-alive pools leave them.

use super::{Ask, Session, Target};
use crate::Result;

/// Opens `count` tunnels one after the other, so that they share what a proxy can share upstream.
pub async fn open(target: &Target, count: usize) -> Result<Vec<Session>> {
    let ask = Ask::small();
    let mut tunnels = Vec::with_capacity(count);
    for _ in 0..count {
        let mut tunnel = Session::open(target).await?;
        tunnel.exchange(&ask).await?;
        tunnels.push(tunnel);
    }
    Ok(tunnels)
}
