//! The token cell: one short-lived value that many requests use and one exchange renews.
//!
//! For: schemes that exchange a stored secret for a token. A cell belongs to one version of a secret. Refuses with the last
//! failure while it backs off. Invariants: at most one exchange is in flight, however many wait and whichever of them goes
//! away; an expired value is never given out; a revoked cell gives nothing and keeps nothing. A hit is one load and two
//! clocks; no lock is held across an await.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use control::refusal::{Code, Refusal};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

/// A moment by both clocks. The monotonic one stands still while a machine sleeps, the other one may be set: what one of
/// them says has passed has passed.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    instant: Instant,
    wall: SystemTime,
}

impl Now {
    /// This moment.
    pub fn read() -> Self {
        Self { instant: Instant::now(), wall: SystemTime::now() }
    }

    /// A moment of these two clocks.
    pub fn at(instant: Instant, wall: SystemTime) -> Self {
        Self { instant, wall }
    }

    fn after(self, time: Duration) -> Self {
        Self { instant: self.instant + time, wall: self.wall + time }
    }

    fn has_reached(&self, other: &Self) -> bool {
        self.instant >= other.instant || self.wall >= other.wall
    }
}

/// The longest life that is believed: a token is renewed daily at least.
pub const LONGEST: Duration = Duration::from_secs(86_400);
/// What an issuer that does not say is taken to mean.
pub const UNSAID: Duration = Duration::from_secs(300);
/// Younger than this (or a tenth of its life) a token is not doubted, and twice as long after each one that was: an agent
/// that provokes refusals cannot have the issuer asked more often, nor so many tokens made that the first are forgotten.
const SETTLED: Duration = Duration::from_secs(60);
/// How long before its end a token is not used any more: it has to travel and the issuer's clock may be ahead.
const MARGIN: Duration = Duration::from_secs(30);

/// Tokens that live shorter than this are counted.
const SHORT: Duration = Duration::from_secs(60);
/// So many of them in a row are exchanged for as they come; from then on exchanges keep a distance. Each may have a vault
/// written and a plan made anew, and nothing says that the issuer means well.
const BURST: u32 = 8;
/// The distance.
const DISTANCE: Duration = Duration::from_secs(5);

/// A value as an exchange gave it.
#[derive(Debug)]
pub struct Fresh<T> {
    /// What requests use.
    pub value: Arc<T>,
    /// Before the exchange began: the issuer counts from somewhere behind it.
    pub since: Now,
    /// How long the issuer says that it lives.
    pub life: Duration,
}

/// An exchange that gave nothing.
#[derive(Clone, Debug)]
pub struct Failed {
    /// What the waiting requests are told.
    pub refusal: Refusal,
    /// Whether trying again soon makes sense.
    pub because: Because,
}

impl Failed {
    /// The same as a no to the one part that was asked for.
    #[must_use]
    pub fn of_part_if(self, of_part: bool) -> Self {
        let because =
            if of_part && self.because == Because::Refused { Because::PartRefused } else { self.because };
        Self { because, ..self }
    }
}

/// Why an exchange gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// The issuer said no to the credential, or the secret cannot be used: the same again would get the same.
    Refused,
    /// The issuer said no to this part of what the credential opens, and maybe not to another.
    PartRefused,
    /// The credential is void now: nothing but another version of the secret helps.
    Spent,
    /// The issuer could not be reached or could not answer; it may have said when to come again.
    Unavailable(Option<Duration>),
}

/// An exchange on its way.
pub type Obtaining<T> = Pin<Box<dyn Future<Output = Result<Fresh<T>, Failed>> + Send>>;

/// One value with its life.
#[derive(Debug)]
struct Held<T> {
    value: Arc<T>,
    settled: Now,
    renew: Now,
    end: Now,
    /// The upstream did not take it, though it has not ended: the issuer may have revoked it.
    doubted: AtomicBool,
}

impl<T> Held<T> {
    fn is_due(&self, now: Now) -> bool {
        now.has_reached(&self.renew) || self.doubted.load(Ordering::Relaxed)
    }
}

/// The value that all requests use, and the one exchange that renews it.
#[derive(Debug)]
pub struct Cell<T> {
    current: ArcSwapOption<Held<T>>,
    state: Mutex<State<T>>,
    common: Arc<Common>,
}

/// What the cells of one secret's parts learn of its issuer from each other.
#[derive(Debug, Default)]
pub struct Common(Mutex<Learnt>);

#[derive(Debug, Default)]
struct Learnt {
    failures: u32,
    /// No exchange of any part begins before this, and what is said meanwhile.
    pause: Option<(Instant, Refusal)>,
    /// How the last exchange failed, if it did.
    last: Option<Refusal>,
}

impl Common {
    /// How the last exchange of any part failed, if it did.
    pub fn failure(&self) -> Option<Refusal> {
        self.0.lock().last.clone()
    }

    fn paused(&self, now: Now) -> Option<Refusal> {
        left(self.0.lock().pause.as_ref(), now)
    }

    fn failed(&self, failed: &Failed) {
        let mut learnt = self.0.lock();
        learnt.last = Some(failed.refusal.clone());
        // The same credential would be refused for every part, and an issuer that names a time means all who ask it.
        if matches!(failed.because, Because::Refused | Because::Spent | Because::Unavailable(Some(_))) {
            let pause = pause(failed.because, learnt.failures);
            learnt.failures = learnt.failures.saturating_add(1);
            let until = Instant::now() + pause + jitter(pause / 4);
            // Of those that were in flight together one may have been told of a longer time.
            let longer = learnt.pause.as_ref().is_none_or(|(known, _)| *known < until);
            if longer {
                learnt.pause = Some((until, failed.refusal.clone()));
            }
        }
    }

    fn succeeded(&self) {
        let mut learnt = self.0.lock();
        learnt.last = None;
        // An exchange that began before the failure says nothing against it.
        if learnt.pause.as_ref().is_none_or(|(until, _)| *until <= Instant::now()) {
            learnt.failures = 0;
            learnt.pause = None;
        }
    }
}

fn left(pause: Option<&(Instant, Refusal)>, now: Now) -> Option<Refusal> {
    let (until, refusal) = pause?;
    let left = until.checked_duration_since(now.instant).filter(|left| !left.is_zero())?;
    Some(refusal.clone().retry_after(left))
}

type Outcome<T> = Option<Result<Arc<T>, Refusal>>;

#[derive(Debug)]
struct State<T> {
    flight: Option<watch::Receiver<Outcome<T>>>,
    failures: u32,
    /// How many tokens in a row were renewed because they were doubted.
    doubts: u32,
    /// How many tokens in a row lived short.
    short: u32,
    /// No exchange begins before this, and what is said meanwhile.
    pause: Option<(Instant, Refusal)>,
    revoked: bool,
}

impl<T> Default for Cell<T> {
    fn default() -> Self {
        let state = State { flight: None, failures: 0, doubts: 0, short: 0, pause: None, revoked: false };
        Self { current: ArcSwapOption::empty(), state: Mutex::new(state), common: Arc::default() }
    }
}

impl<T: Send + Sync + 'static> Cell<T> {
    /// One that learns from others.
    pub fn with(common: &Arc<Common>) -> Self {
        Self { common: Arc::clone(common), ..Self::default() }
    }

    /// The value, if there is one that can be used now. One that is due is renewed behind the request's back.
    ///
    /// # Errors
    /// The exchange's refusal, or the last one while it backs off.
    pub async fn value(
        self: &Arc<Self>,
        now: Now,
        obtain: impl FnOnce() -> Obtaining<T>,
    ) -> Result<Arc<T>, Refusal> {
        self.value_if(now, || Ok(obtain())).await
    }

    /// As [`Self::value`], where an exchange may have no room to begin.
    ///
    /// # Errors
    /// As there, and why there is no room. That is of the one who asks: it makes nobody else wait.
    pub async fn value_if(
        self: &Arc<Self>,
        now: Now,
        obtain: impl FnOnce() -> Result<Obtaining<T>, Refusal>,
    ) -> Result<Arc<T>, Refusal> {
        if let Some(held) = &*self.current.load()
            && !now.has_reached(&held.end)
        {
            if held.is_due(now) {
                self.renew(now, obtain);
            }
            return Ok(Arc::clone(&held.value));
        }
        let mut flight = self.join(now, obtain)?;
        match flight.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            Ok(None) | Err(_) => Err(interrupted()),
        }
    }

    /// The upstream did not take this value: it is renewed behind the next request. It serves until then, since the issuer
    /// may be down and the refusal of another making.
    pub fn doubt(&self, value: &Arc<T>, now: Now) {
        if let Some(held) = &*self.current.load()
            && Arc::ptr_eq(&held.value, value)
            && now.has_reached(&held.settled)
        {
            held.doubted.store(true, Ordering::Relaxed);
        }
    }

    /// Why no exchange begins at present, if none does.
    pub fn failure(&self) -> Option<Refusal> {
        self.state.lock().pause.as_ref().map(|(_, refusal)| refusal.clone())
    }

    /// Whether nothing would be lost with it but its value: no exchange is in flight, and none has to wait.
    pub fn is_idle(&self, now: Now) -> bool {
        let state = self.state.lock();
        state.flight.is_none() && state.paused(now).is_none()
    }

    /// Drops the value at once; an exchange that is in flight ends with nothing.
    pub fn revoke(&self) {
        self.state.lock().revoked = true;
        self.current.store(None);
    }

    /// Begins an exchange, unless one is in flight or has just failed.
    fn renew(self: &Arc<Self>, now: Now, obtain: impl FnOnce() -> Result<Obtaining<T>, Refusal>) {
        // Whoever holds the lock does this already.
        let Some(mut state) = self.state.try_lock() else { return };
        let due = self.current.load().as_ref().is_some_and(|held| held.is_due(now));
        let rests = state.paused(now).is_none() && self.common.paused(now).is_none();
        if due && state.flight.is_none() && rests && !state.revoked {
            // Without room the value serves on, and the next request tries again.
            let Ok(obtaining) = obtain() else { return };
            let (flight, task) = self.begin(obtaining);
            state.flight = Some(flight);
            drop(state);
            tokio::spawn(task);
        }
    }

    /// The exchange in flight, or a new one.
    fn join(
        self: &Arc<Self>,
        now: Now,
        obtain: impl FnOnce() -> Result<Obtaining<T>, Refusal>,
    ) -> Result<watch::Receiver<Outcome<T>>, Refusal> {
        let mut state = self.state.lock();
        if state.revoked {
            return Err(revoked());
        }
        if let Some(flight) = &state.flight {
            return Ok(flight.clone());
        }
        // One may have landed since the caller looked.
        if let Some(held) = &*self.current.load()
            && !now.has_reached(&held.end)
        {
            let (_, landed) = watch::channel(Some(Ok(Arc::clone(&held.value))));
            return Ok(landed);
        }
        if let Some(refusal) = state.paused(now).or_else(|| self.common.paused(now)) {
            return Err(refusal);
        }
        let (flight, task) = self.begin(obtain()?);
        state.flight = Some(flight.clone());
        drop(state);
        tokio::spawn(task);
        Ok(flight)
    }

    /// The exchange is a task of its own: nobody who waits for it can cancel it for the others. It is spawned without the
    /// lock, which it takes: a runtime that ends drops it at once.
    fn begin(
        self: &Arc<Self>,
        obtaining: Obtaining<T>,
    ) -> (watch::Receiver<Outcome<T>>, impl Future<Output = ()> + Send + use<T>) {
        let (told, flight) = watch::channel(None);
        let flying = Flying { cell: Arc::clone(self), told, landed: false };
        let task = async move {
            let outcome = obtaining.await;
            flying.land(outcome);
        };
        (flight, task)
    }

    fn keep(&self, fresh: Fresh<T>) -> Result<Arc<T>, Failed> {
        let Fresh { value, since, life } = fresh;
        let life = life.min(LONGEST);
        let end = since.after(life - MARGIN.min(life / 10));
        // 80 % of its life, some of them earlier: many proxies that began together do not all ask together.
        let renew = since.after(life * 4 / 5 - jitter(life / 20));
        let mut state = self.state.lock();
        state.flight = None;
        let was_doubted =
            self.current.load().as_ref().is_some_and(|held| held.doubted.load(Ordering::Relaxed));
        state.doubts = if was_doubted { (state.doubts + 1).min(10) } else { 0 };
        let settled = since.after(SETTLED.min(life / 10) * (1 << state.doubts));
        let doubted = AtomicBool::new(false);
        let held = Arc::new(Held { value: Arc::clone(&value), settled, renew, end, doubted });
        if state.revoked {
            return Err(Failed { refusal: revoked(), because: Because::Refused });
        }
        if Now::read().has_reached(&end) {
            let detail = "the token endpoint took longer than its token lives";
            return Err(Failed {
                refusal: Refusal::new(Code::Dw1005, detail),
                because: Because::Unavailable(None),
            });
        }
        state.failures = 0;
        state.short = if life < SHORT { state.short.saturating_add(1) } else { 0 };
        state.pause = (state.short > BURST).then(|| (Instant::now() + DISTANCE, too_often()));
        self.current.store(Some(held));
        self.common.succeeded();
        Ok(value)
    }

    fn back_off(&self, failed: &Failed) {
        self.common.failed(failed);
        let mut state = self.state.lock();
        state.flight = None;
        let pause = pause(failed.because, state.failures);
        state.failures = state.failures.saturating_add(1);
        state.pause = Some((Instant::now() + pause + jitter(pause / 4), failed.refusal.clone()));
    }
}

impl<T> State<T> {
    fn paused(&self, now: Now) -> Option<Refusal> {
        left(self.pause.as_ref(), now)
    }
}

/// An exchange in flight: whatever becomes of its task, all who wait are told.
struct Flying<T: Send + Sync + 'static> {
    cell: Arc<Cell<T>>,
    told: watch::Sender<Outcome<T>>,
    landed: bool,
}

impl<T: Send + Sync + 'static> Flying<T> {
    fn land(mut self, outcome: Result<Fresh<T>, Failed>) {
        self.landed = true;
        let outcome = outcome.and_then(|fresh| self.cell.keep(fresh));
        if let Err(failed) = &outcome {
            tracing::warn!(code = %failed.refusal.code, reason = %failed.refusal.detail, "token not renewed");
            self.cell.back_off(failed);
        }
        self.told.send_replace(Some(outcome.map_err(|failed| failed.refusal)));
    }
}

/// The task was dropped with its worker, or panicked.
impl<T: Send + Sync + 'static> Drop for Flying<T> {
    fn drop(&mut self) {
        if !self.landed {
            self.cell.back_off(&Failed { refusal: interrupted(), because: Because::Unavailable(None) });
            self.told.send_replace(Some(Err(interrupted())));
        }
    }
}

/// The pause after a failure: it doubles with each, up to a minute; up to five where the issuer said no.
fn pause(because: Because, failures: u32) -> Duration {
    let doubled = |first: u64, most: u64| Duration::from_secs((first << failures.min(16)).min(most));
    match because {
        Because::Refused | Because::PartRefused => doubled(5, 300),
        Because::Spent => LONGEST,
        Because::Unavailable(None) => doubled(1, 60),
        Because::Unavailable(Some(asked)) => asked.clamp(doubled(1, 60), Duration::from_secs(300)),
    }
}

/// Something up to this.
fn jitter(most: Duration) -> Duration {
    let part = u32::try_from(RandomState::new().hash_one(0_u8) >> 48).unwrap_or_default();
    most * part / (1 << 16)
}

fn interrupted() -> Refusal {
    Refusal::new(Code::Dw1005, "the token exchange was interrupted").retry_after(Duration::from_secs(1))
}

fn too_often() -> Refusal {
    Refusal::new(Code::Dw1005, "the issuer's tokens live too short to be renewed without a pause")
}

fn revoked() -> Refusal {
    Refusal::new(Code::Dw1005, "the secret was changed while a token was asked for")
        .retry_after(Duration::from_secs(1))
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
