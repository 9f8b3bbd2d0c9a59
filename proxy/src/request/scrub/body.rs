//! The response as the agent gets it: head, body and trailers scrubbed.
//!
//! Invariant: no byte of the body and no trailer passes by the filter; an error ends the body for good.
//! Where nothing was injected the body passes as it is.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::coded::{Coded, Coding, Decoding, TURN};
use super::error::{BoxError, ScrubError};
use super::headers::{self, Trailers};
use super::masker::{Extent, HOLD, Masker, Watch};
use super::scanner::Scanner;

/// What to look for in one exchange, and who hears of it.
#[derive(Clone)]
pub struct Search {
    /// All values that were injected.
    pub scanner: Arc<Scanner>,
    /// Hears of hits and events.
    pub watch: Arc<dyn Watch>,
    /// How far a coded body is decoded.
    pub decoding: Decoding,
}

impl std::fmt::Debug for Search {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Search")
    }
}

/// Scrubs a response. Without a search (nothing was injected) only undeclared trailers are dropped.
///
/// # Errors
/// When its body has a coding that cannot be read; nothing of it may be forwarded (DW2009).
pub fn response<B>(search: Option<Search>, answer: Response<B>) -> Result<Response<Scrubbed<B>>, ScrubError>
where
    B: Body<Data = Bytes>,
{
    let (mut head, body) = answer.into_parts();
    let body = Scrubbed::new(search.clone(), head.status, &head.headers, body)?;
    if let Some(search) = search {
        headers::scrub(&search.scanner, &*search.watch, &mut head.headers)?;
    }
    Ok(Response::from_parts(head, body))
}

enum Filter {
    Pass,
    Mask(Box<Masker>),
    Coded(Box<Coded>),
}

impl Filter {
    /// What may go of a chunk. A coded one is only taken, and worked through by [`Filter::turn`].
    fn push(&mut self, chunk: Bytes) -> Result<Bytes, ScrubError> {
        match self {
            Self::Pass => Ok(chunk),
            Self::Mask(masker) => masker.push(chunk, Instant::now()),
            Self::Coded(coded) => coded.begin(chunk, Instant::now()).map(|()| Bytes::new()),
        }
    }

    /// Works on, if there is something to work on.
    fn turn(&mut self, left: &mut usize) -> Turn {
        match self {
            Self::Coded(coded) if coded.is_busy() => match coded.turn(left, Instant::now()) {
                Ok(None) => Turn::Over,
                Ok(Some(bytes)) if bytes.is_empty() => Turn::Idle,
                Ok(Some(bytes)) => Turn::Done(Ok(bytes)),
                Err(error) => Turn::Done(Err(error)),
            },
            Self::Coded(_) | Self::Pass | Self::Mask(_) => Turn::Idle,
        }
    }

    fn finish(&mut self) -> Result<Bytes, ScrubError> {
        match self {
            Self::Pass => Ok(Bytes::new()),
            Self::Mask(masker) => Ok(masker.finish()),
            Self::Coded(coded) => coded.finish(),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Pass => None,
            Self::Mask(masker) => masker.deadline(),
            Self::Coded(coded) => coded.deadline(),
        }
    }

    fn expire(&mut self) -> ScrubError {
        match self {
            Self::Pass => ScrubError::Held,
            Self::Mask(masker) => masker.expire(),
            Self::Coded(coded) => coded.expire(),
        }
    }

    fn held(&self) -> usize {
        match self {
            Self::Pass => 0,
            Self::Mask(masker) => masker.held(),
            Self::Coded(coded) => coded.held(),
        }
    }

    /// Whether an end here needs no more from us.
    fn may_end(&self) -> bool {
        match self {
            Self::Pass => true,
            Self::Mask(masker) => masker.held() == 0,
            Self::Coded(coded) => coded.may_end(),
        }
    }
}

/// What a turn came to.
enum Turn {
    /// There is nothing more to do: the next frame is due.
    Idle,
    /// There is, but others have to have their turn first.
    Over,
    Done(Result<Bytes, ScrubError>),
}

enum Stage {
    Flowing,
    /// The body has ended, its trailers are still to go.
    Trailing(Box<HeaderMap>),
    Done,
}

pin_project! {
    /// A body that is scrubbed as it passes.
    pub struct Scrubbed<B> {
        #[pin]
        inner: B,
        filter: Filter,
        search: Option<Search>,
        trailers: Trailers,
        stage: Stage,
        // What was looked at before the head went out.
        ahead: Option<Frame<Bytes>>,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<B> std::fmt::Debug for Scrubbed<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scrubbed")
    }
}

impl<B: Body<Data = Bytes>> Scrubbed<B> {
    /// The body of a response with this status and these headers.
    ///
    /// # Errors
    /// As [`response`].
    pub fn new(
        search: Option<Search>,
        status: StatusCode,
        head: &HeaderMap,
        inner: B,
    ) -> Result<Self, ScrubError> {
        let search = search.filter(|search| !search.scanner.is_empty());
        let filter = match &search {
            Some(search) if !inner.is_end_stream() => filter(search, status, head)?,
            Some(_) | None => Filter::Pass,
        };
        Ok(Self {
            inner,
            filter,
            search,
            trailers: Trailers::of(head),
            stage: Stage::Flowing,
            ahead: None,
            timer: None,
        })
    }
}

impl<B> Scrubbed<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    /// Whether the body is read beside its way and never rewritten, so that a hit ends it.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        matches!(self.filter, Filter::Coded(_))
    }

    /// Looks at the beginning of the body before its head goes out: what ends the response there can still be told. What
    /// does not come within [`HOLD`] is not waited for.
    ///
    /// # Errors
    /// When nothing of the response may go.
    pub async fn begin(&mut self) -> Result<(), ScrubError> {
        let first = poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx));
        if let Ok(Some(frame)) = timeout(HOLD, first).await {
            self.ahead = Some(frame?);
        }
        Ok(())
    }
}

fn filter(search: &Search, status: StatusCode, head: &HeaderMap) -> Result<Filter, ScrubError> {
    let Search { scanner, watch, decoding } = search.clone();
    Ok(match Coding::of(head)? {
        Some(coding) => Filter::Coded(Box::new(Coded::new(coding, scanner, watch, decoding)?)),
        None => {
            let extent = if status == StatusCode::PARTIAL_CONTENT { Extent::Slice } else { Extent::Whole };
            Filter::Mask(Box::new(Masker::new(scanner, watch, extent)))
        }
    })
}

impl<B> Body for Scrubbed<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = ScrubError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ScrubError>>> {
        let mut this = self.project();
        if let Some(frame) = this.ahead.take() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let mut left = TURN;
        loop {
            // Whatever leaves from here on other than by putting this back has ended the body.
            match std::mem::replace(this.stage, Stage::Done) {
                Stage::Done => return Poll::Ready(None),
                Stage::Trailing(trailers) => return Poll::Ready(Some(Ok(Frame::trailers(*trailers)))),
                Stage::Flowing => {}
            }
            match this.filter.turn(&mut left) {
                Turn::Idle => {}
                Turn::Over => {
                    *this.stage = Stage::Flowing;
                    // Wakes us once what is ready elsewhere had its turn, sockets too: to wake ourselves would keep the
                    // runtime from looking at those for dozens of turns.
                    if pin!(yield_now()).poll(cx).is_ready() {
                        cx.waker().wake_by_ref();
                    }
                    return Poll::Pending;
                }
                Turn::Done(Ok(bytes)) => {
                    *this.stage = Stage::Flowing;
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Turn::Done(Err(error)) => return Poll::Ready(Some(Err(error))),
            }
            let Poll::Ready(frame) = this.inner.as_mut().poll_frame(cx) else {
                let Poll::Ready(error) = poll_hold(this.filter, this.timer, cx) else {
                    *this.stage = Stage::Flowing;
                    return Poll::Pending;
                };
                return Poll::Ready(Some(Err(error)));
            };
            let step = match frame {
                None => this.filter.finish(),
                Some(Err(error)) => Err(ScrubError::Upstream(error.into())),
                Some(Ok(frame)) => {
                    let search = this.search.as_ref();
                    take(frame, this.filter, search, this.trailers).map(|(bytes, stage)| {
                        *this.stage = stage;
                        bytes
                    })
                }
            };
            match step {
                Ok(bytes) if !bytes.is_empty() => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self.stage {
            _ if self.ahead.is_some() => false,
            Stage::Done => true,
            Stage::Trailing(_) => false,
            Stage::Flowing => self.inner.is_end_stream() && self.filter.may_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.inner.size_hint();
        let ahead = self.ahead.as_ref().and_then(Frame::data_ref).map_or(0, Bytes::len);
        let held = (self.filter.held() + ahead) as u64;
        if held == 0 {
            return inner;
        }
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(held));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint
    }
}

/// Filters a frame: what may go of it now, and how the body goes on.
fn take(
    frame: Frame<Bytes>,
    filter: &mut Filter,
    search: Option<&Search>,
    rule: &Trailers,
) -> Result<(Bytes, Stage), ScrubError> {
    let frame = match frame.into_data() {
        Ok(chunk) => return Ok((filter.push(chunk)?, Stage::Flowing)),
        Err(frame) => frame,
    };
    let Ok(trailers) = frame.into_trailers() else { return Ok((Bytes::new(), Stage::Flowing)) };
    let rest = filter.finish()?;
    let kept = rule.pass(search.map(|search| (&*search.scanner, &*search.watch)), trailers)?;
    let stage = if kept.is_empty() { Stage::Done } else { Stage::Trailing(Box::new(kept)) };
    Ok((rest, stage))
}

/// Waits while something is held; ready when that has been too long.
fn poll_hold(
    filter: &mut Filter,
    timer: &mut Option<Pin<Box<Sleep>>>,
    cx: &mut Context<'_>,
) -> Poll<ScrubError> {
    let Some(deadline) = filter.deadline() else {
        *timer = None;
        return Poll::Pending;
    };
    let sleep = timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
    if sleep.deadline() != deadline {
        sleep.as_mut().reset(deadline);
    }
    ready!(sleep.as_mut().poll(cx));
    Poll::Ready(filter.expire())
}

#[cfg(test)]
mod tests;
