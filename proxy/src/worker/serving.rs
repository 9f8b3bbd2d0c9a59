//! A worker's thread from its first connection to its end: it accepts, sweeps, hears of new plans, and drains.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Worker;
use crate::app::Order;
use crate::conn;
use crate::conn::life::{Closing, SWEEP};
use crate::listen::{Arrived, Listener};

/// Serves on a worker's thread until drained.
pub(crate) async fn serve(worker: Arc<Worker>, listeners: Vec<Listener>, mut orders: watch::Receiver<Order>) {
    let accepting: Vec<_> =
        listeners.into_iter().map(|listener| tokio::spawn(accept(Arc::clone(&worker), listener))).collect();
    let mut sweeps = tokio::time::interval(SWEEP);
    sweeps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let deadline = loop {
        tokio::select! {
            _ = sweeps.tick() => worker.sweep(),
            told = orders.changed() => match told.map(|()| *orders.borrow_and_update()) {
                Ok(Order { drain: Some(deadline), .. }) => break deadline,
                Ok(Order { drain: None, .. }) => worker.recheck(),
                Err(_) => break Instant::now(),
            },
        }
    };
    for task in accepting {
        task.abort();
    }
    drain(&worker, orders, deadline).await;
    worker.registry.close_if(Closing::Now, |_| true);
    // What is cut writes down what it carried, which takes no longer than its turn on this thread.
    let end = Instant::now() + CUT;
    while worker.registry.len() > 0 && Instant::now() < end {
        tokio::task::yield_now().await;
    }
}

/// How often a draining worker looks whether all is done.
const DRAIN_LOOK: Duration = Duration::from_millis(10);
/// How long the connections that are cut at the end may take to be gone.
const CUT: Duration = Duration::from_millis(500);

/// Lets what is in flight finish. Idle limits, revocation and expiry go on meanwhile.
async fn drain(worker: &Worker, mut orders: watch::Receiver<Order>, mut deadline: Instant) {
    let mut swept = Instant::now();
    worker.recheck();
    while worker.is_busy() && Instant::now() < deadline {
        // A connection may begin its last exchange between two looks: it is told again.
        worker.registry.close_if(Closing::WhenIdle, |_| true);
        tokio::select! {
            () = tokio::time::sleep(DRAIN_LOOK) => {}
            told = orders.changed() => match told.map(|()| *orders.borrow_and_update()) {
                // A second signal brings the end forward.
                Ok(order) => {
                    deadline = order.drain.unwrap_or(deadline);
                    worker.recheck();
                }
                Err(_) => return,
            },
        }
        if swept.elapsed() >= SWEEP {
            swept = Instant::now();
            worker.sweep();
        }
    }
}

async fn accept(worker: Arc<Worker>, listener: Listener) {
    loop {
        let worker = Arc::clone(&worker);
        match listener.accept().await {
            Arrived::Open(stream, peer) => drop(tokio::spawn(conn::serve(worker, stream, peer))),
            Arrived::Secured(stream, certified) => {
                drop(tokio::spawn(conn::serve_secured(worker, stream, certified)));
            }
        }
    }
}
