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

/// What a lane is given, and what it gives.
type Asked = (Arc<Conn>, Request<Incoming>);
type Answered = Response<Body>;

/// A worker's resting lanes.
#[derive(Debug)]
pub(crate) struct Lanes<Q = Asked, A = Answered> {
    resting: Mutex<Vec<Lane<Q, A>>>,
    /// The journey of all of them.
    work: fn(Shared<Q, A>) -> Work,
}

type Shared<Q, A> = Arc<Mutex<Desk<Q, A>>>;
type Work = Pin<Box<dyn Future<Output = Infallible> + Send>>;

impl Default for Lanes {
    fn default() -> Self {
        Self::new(|desk| Box::pin(work(desk, |(conn, request)| request::serve(conn, request))))
    }
}

impl<Q, A> Lanes<Q, A> {
    fn new(work: fn(Shared<Q, A>) -> Work) -> Self {
        Self { resting: Mutex::default(), work }
    }

    /// Serves a request in a lane.
    pub(crate) fn serve(self: &Arc<Self>, asked: Q) -> Journey<Q, A> {
        let lane = self.resting.lock().pop();
        let lane = lane.unwrap_or_else(|| {
            let desk = Shared::<Q, A>::default();
            Lane { work: (self.work)(Arc::clone(&desk)), desk }
        });
        lane.desk.lock().request = Some(asked);
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
struct Desk<Q, A> {
    request: Option<Q>,
    answer: Option<A>,
}

impl<Q, A> Default for Desk<Q, A> {
    fn default() -> Self {
        Self { request: None, answer: None }
    }
}

struct Lane<Q, A> {
    desk: Shared<Q, A>,
    work: Work,
}

impl<Q, A> fmt::Debug for Lane<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lane")
    }
}

/// One journey after the other.
async fn work<Q, A, F: Future<Output = A>>(desk: Shared<Q, A>, serve: fn(Q) -> F) -> Infallible {
    loop {
        // Nobody has to be woken for a request: whoever lays it down polls.
        let asked = poll_fn(|_| desk.lock().request.take().map_or(Poll::Pending, Poll::Ready)).await;
        let answer = serve(asked).await;
        desk.lock().answer = Some(answer);
    }
}

/// A request on its journey.
#[derive(Debug)]
#[must_use = "a journey goes no further than it is polled"]
pub(crate) struct Journey<Q = Asked, A = Answered> {
    /// Taken when the answer is there.
    lane: Option<Lane<Q, A>>,
    lanes: Arc<Lanes<Q, A>>,
}

impl<Q, A> Future for Journey<Q, A> {
    type Output = Result<A, Infallible>;

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

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::sync::oneshot;

    use super::*;

    /// A journey that waits for what it is sent, and holds something meanwhile.
    type Test = Lanes<(oneshot::Receiver<u32>, Arc<()>), u32>;

    fn lanes() -> Arc<Test> {
        Arc::new(Lanes::new(|desk| {
            Box::pin(work(desk, |(receiver, held)| async move {
                let answer = receiver.await.unwrap_or_default();
                drop(held);
                answer
            }))
        }))
    }

    fn look<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
        Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn resting(lanes: &Test) -> usize {
        lanes.resting.lock().len()
    }

    #[test]
    fn a_request_that_is_given_up_takes_its_lane_and_all_it_held_along() {
        let (lanes, held) = (lanes(), Arc::new(()));
        let (_sender, receiver) = oneshot::channel();
        let mut journey = lanes.serve((receiver, Arc::clone(&held)));
        assert!(look(&mut journey).is_pending());
        assert_eq!(Arc::strong_count(&held), 2);
        drop(journey);
        assert_eq!((Arc::strong_count(&held), resting(&lanes)), (1, 0));
    }

    #[test]
    fn a_request_that_was_never_looked_at_leaves_nothing_for_the_next() {
        let (lanes, held) = (lanes(), Arc::new(()));
        drop(lanes.serve((oneshot::channel().1, Arc::clone(&held))));
        assert_eq!((Arc::strong_count(&held), resting(&lanes)), (1, 0));
    }

    #[tokio::test]
    async fn one_lane_after_the_other_gives_each_request_its_own_answer() {
        let lanes = lanes();
        for round in 0..3 {
            let (senders, receivers): (Vec<_>, Vec<_>) = (0..4).map(|_| oneshot::channel()).unzip();
            let held = Arc::new(());
            let mut journeys: Vec<_> =
                receivers.into_iter().map(|receiver| lanes.serve((receiver, Arc::clone(&held)))).collect();
            assert!(journeys.iter_mut().all(|journey| look(journey).is_pending()));
            assert_eq!(resting(&lanes), 0);
            for (n, sender) in (0..4).zip(senders).rev() {
                sender.send(10 * round + n).unwrap();
            }
            for (n, journey) in (0..).zip(journeys) {
                assert_eq!(journey.await, Ok(10 * round + n));
            }
            // What rests holds nothing of who was there.
            assert_eq!((resting(&lanes), Arc::strong_count(&held)), (4, 1));
        }
        lanes.sweep();
        assert_eq!(resting(&lanes), 2);
        lanes.sweep();
        lanes.sweep();
        assert_eq!(resting(&lanes), 0);
    }

    #[tokio::test]
    async fn no_more_lanes_rest_than_the_limit() {
        let lanes = lanes();
        let answered = |_| {
            let (sender, receiver) = oneshot::channel();
            sender.send(7).unwrap();
            lanes.serve((receiver, Arc::default()))
        };
        let journeys: Vec<_> = (0..limits::RESTING_LANES + 3).map(answered).collect();
        for journey in journeys {
            assert_eq!(journey.await, Ok(7));
        }
        assert_eq!(resting(&lanes), limits::RESTING_LANES);
    }
}
