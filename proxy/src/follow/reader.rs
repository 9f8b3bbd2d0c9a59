//! The messages of a stream, as they come.
//!
//! Refuses a stream on which nothing comes, by the clock that a sleeping machine does not stop.

use std::time::Duration;

use bytes::Bytes;
use control::sync::lease::Lease;
use control::sync::wire::Message;
use http_body_util::BodyExt as _;
use hyper::body::Body;
use tokio::time::timeout;

use super::lines::Lines;
use super::link::Parted;

/// How long the stream may be silent: the server pings three times in it.
const SILENCE: Duration = Duration::from_secs(30);

/// The stream's messages.
pub(super) struct Reader<B> {
    body: B,
    lines: Lines,
    /// Its clock does not stand still while the machine sleeps, as those of timers do.
    lease: Lease,
}

impl<B> Reader<B>
where
    B: Body<Data = Bytes> + Unpin,
    Parted: From<B::Error>,
{
    pub(super) fn new(body: B, lease: Lease) -> Self {
        Self { body, lines: Lines::default(), lease }
    }

    /// The next message.
    pub(super) async fn next(&mut self) -> Result<Message, Parted> {
        let late = || Parted::Late("stream", SILENCE.as_secs());
        loop {
            if let Some(line) = self.lines.next()? {
                return Ok(Message::parse(&line)?);
            }
            let begun = self.lease.clock();
            let frame = timeout(SILENCE, self.body.frame()).await.map_err(|_| late())?;
            // What lay there while the machine slept says what was so before.
            if self.lease.clock().saturating_sub(begun) > SILENCE {
                return Err(late());
            }
            let frame = frame.ok_or(Parted::Ended)??;
            if let Some(data) = frame.data_ref() {
                self.lines.push(data);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use control::sync::wire::Ping;
    use hyper::body::Frame;

    use super::*;

    impl From<Infallible> for Parted {
        fn from(never: Infallible) -> Self {
            match never {}
        }
    }

    thread_local!(static NOW: Cell<u64> = const { Cell::new(1_000) });

    #[tokio::test]
    async fn a_ping_that_lay_in_the_socket_while_the_machine_slept_renews_nothing() {
        let ping = || Bytes::from(Message::Ping(Ping { revision: 7 }).line().unwrap());
        let sleeps = [Duration::from_secs(1), SILENCE + Duration::from_secs(1)];
        let frames = sleeps.map(|slept| {
            let slept = u64::try_from(slept.as_millis()).unwrap();
            futures_util::stream::once(async move {
                NOW.set(NOW.get() + slept);
                Ok::<_, Infallible>(Frame::data(ping()))
            })
        });
        let [first, second] = frames.map(Box::pin);
        let body = http_body_util::StreamBody::new(futures_util::StreamExt::chain(first, second));
        let lease = Lease::with_clock(Duration::from_secs(60), || NOW.get());
        let mut reader = Reader::new(body, lease);
        assert!(matches!(reader.next().await, Ok(Message::Ping(_))));
        assert!(matches!(reader.next().await, Err(Parted::Late("stream", _))));
    }
}
