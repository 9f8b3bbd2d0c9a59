//! Before a token is looked up: wrong ones are counted by address, and cost nobody but themselves.
//!
//! An address that sent too many is refused, except for tokens that were good before, and for those that wait their turn to be
//! looked up: a neighbour's wrong tokens, or an agent's, never lock the owner's out.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::limits::Limits;
use super::rates::Rates;

/// Tokens of addresses over their bound that are looked up at once.
const DOUBTFUL: usize = 2;
/// How long such a token waits for its turn.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most tokens that are remembered as good.
const REMEMBERED: usize = 65_536;

/// What all listeners share.
#[derive(Debug)]
pub struct Gate {
    failed: Rates<IpAddr>,
    /// Digests of tokens that were good. They are looked up all the same: this only spares them the queue.
    good: Mutex<HashSet<[u8; 32]>>,
    doubtful: Semaphore,
    patience: Duration,
}

/// A token may be looked up as long as this is held.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    is_doubtful: bool,
    _place: Option<SemaphorePermit<'a>>,
}

impl Turn<'_> {
    /// Whether its address is over the bound: then an unknown token is told to wait.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.is_doubtful
    }
}

impl Gate {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            failed: Rates::new(limits.failed_logins, limits.failed_logins * 5),
            good: Mutex::default(),
            doubtful: Semaphore::new(DOUBTFUL),
            patience: PATIENCE,
        }
    }

    /// Refuses what is no token at all from an address that sent too many of them.
    pub(crate) fn check(&self, address: Option<IpAddr>) -> Result<(), Duration> {
        address.map_or(Ok(()), |address| self.failed.check(&address, Instant::now()))
    }

    /// Waits for the turn to look a token up; the error is how long to stay away.
    pub(crate) async fn turn(
        &self,
        address: Option<IpAddr>,
        digest: &[u8; 32],
    ) -> Result<Turn<'_>, Duration> {
        let at_once = Turn { is_doubtful: false, _place: None };
        let Err(wait) = self.check(address) else { return Ok(at_once) };
        if self.good.lock().contains(digest) {
            return Ok(at_once);
        }
        match tokio::time::timeout(self.patience, self.doubtful.acquire()).await {
            Ok(Ok(place)) => Ok(Turn { is_doubtful: true, _place: Some(place) }),
            Ok(Err(_)) | Err(_) => Err(wait),
        }
    }

    /// The token is good.
    pub(crate) fn passed(&self, digest: &[u8; 32]) {
        let mut good = self.good.lock();
        if good.len() >= REMEMBERED && !good.contains(digest) {
            good.clear();
        }
        good.insert(*digest);
    }

    /// The token was none, or is none any more.
    pub(crate) fn refused(&self, address: Option<IpAddr>, digest: Option<&[u8; 32]>) {
        if let Some(digest) = digest {
            self.good.lock().remove(digest);
        }
        // Over the bound already: said so by the check.
        if let Some(address) = address
            && self.failed.take(address, Instant::now()).is_err()
        {
            tracing::debug!(%address, "too many calls without a valid token");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_over_its_failed_logins_still_gets_a_valid_token_through() {
        let gate = Gate::new(&Limits { failed_logins: 1, ..Limits::default() });
        let address = Some(IpAddr::from([192, 0, 2, 1]));
        let (good, other) = ([1; 32], [2; 32]);
        gate.passed(&good);
        for _ in 0..50 {
            gate.refused(address, Some(&other));
        }
        assert!(gate.check(address).is_err() && gate.check(None).is_ok());
        assert!(!gate.turn(address, &good).await.unwrap().is_doubtful());
        // One that was not seen yet waits for its turn, and gets it.
        assert!(gate.turn(address, &[3; 32]).await.unwrap().is_doubtful());
        assert!(!gate.turn(Some(IpAddr::from([192, 0, 2, 2])), &[3; 32]).await.unwrap().is_doubtful());
        // Revoked: it is one of the doubtful from now on.
        gate.refused(address, Some(&good));
        assert!(gate.turn(address, &good).await.unwrap().is_doubtful());
    }

    #[tokio::test]
    async fn refuses_those_that_waited_too_long_for_their_turn() {
        let mut gate = Gate::new(&Limits { failed_logins: 1, ..Limits::default() });
        gate.patience = Duration::from_millis(20);
        let address = Some(IpAddr::from([192, 0, 2, 1]));
        for _ in 0..50 {
            gate.refused(address, None);
        }
        let first = gate.turn(address, &[1; 32]).await.unwrap();
        let second = gate.turn(address, &[2; 32]).await.unwrap();
        assert!(gate.turn(address, &[3; 32]).await.is_err());
        drop((first, second));
        gate.turn(address, &[3; 32]).await.unwrap();
    }
}
