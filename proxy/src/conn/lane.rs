//! Lanes: the room in which requests make their journey, used again for the next one.
//!
//! A journey's future is 5 KiB. Inside hyper it would take that room for as long as the connection rests (h1) or be moved
//! into a task of its own (h2); allocated for each request it would cost the allocator more than the rest of the journey. A
//! lane is allocated once, given a request, polled until it has the answer, and then rests here for the next request of any
//! connection of its worker. A request that is given up takes its lane along, with all that the journey held.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use hyper::body::Incoming;
use parking_lot::Mutex;

use super::Conn;
use crate::limits;
use crate::request::{self, answer::Body};

/// A worker's resting lanes.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    resting: Mutex<Vec<Lane>>,
}

impl Lanes {
    /// Serves a request in a lane.
    pub(crate) fn serve(self: &Arc<Self>, conn: Arc<Conn>, request: Request<Incoming>) -> Journey {
        let lane = self.resting.lock().pop().unwrap_or_else(Lane::new);
        lane.desk.lock().request = Some((conn, request));
        Journey { lane: Some(lane), lanes: Arc::clone(self) }
    }

    /// Gives half of what rests back: a burst is forgotten within seconds.
    pub(crate) fn sweep(&self) {
        let mut resting = self.resting.lock();
        let half = resting.len() / 2;
        drop(resting.split_off(half));
        resting.shrink_to(half);
    }
}

/// Where a request is laid down and its answer picked up. Only the task that polls the lane touches it.
#[derive(Default)]
struct Desk {
    request: Option<(Arc<Conn>, Request<Incoming>)>,
    answer: Option<Response<Body>>,
}

struct Lane {
    desk: Arc<Mutex<Desk>>,
    work: Pin<Box<dyn Future<Output = Infallible> + Send>>,
}

impl Lane {
    fn new() -> Self {
        let desk = Arc::<Mutex<Desk>>::default();
        Self { work: Box::pin(work(Arc::clone(&desk))), desk }
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lane")
    }
}

/// One journey after the other.
async fn work(desk: Arc<Mutex<Desk>>) -> Infallible {
    loop {
        // Nobody has to be woken for a request: whoever lays it down polls.
        let (conn, request) =
            poll_fn(|_| desk.lock().request.take().map_or(Poll::Pending, Poll::Ready)).await;
        let answer = request::serve(conn, request).await;
        desk.lock().answer = Some(answer);
    }
}

/// A request on its journey.
#[derive(Debug)]
#[must_use = "a journey goes no further than it is polled"]
pub(crate) struct Journey {
    /// Taken when the answer is there.
    lane: Option<Lane>,
    lanes: Arc<Lanes>,
}

impl Future for Journey {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(lane) = &mut this.lane else { return Poll::Pending };
        match lane.work.as_mut().poll(cx) {
            Poll::Ready(never) => match never {},
            Poll::Pending => {}
        }
        let Some(answer) = lane.desk.lock().answer.take() else { return Poll::Pending };
        let mut resting = this.lanes.resting.lock();
        if resting.len() < limits::RESTING_LANES {
            resting.extend(this.lane.take());
        }
        Poll::Ready(Ok(answer))
    }
}
