//! The cell under a clock that stands still unless a test moves it.

use std::sync::atomic::AtomicUsize;

use futures_util::future::join_all;
use tokio::time::{advance, sleep};

use super::*;

const LIFE: Duration = Duration::from_secs(1000);
const SLOW: Duration = Duration::from_secs(3);

/// An issuer that counts; each token is the number of its exchange.
#[derive(Debug, Default)]
struct Counting {
    asked: AtomicUsize,
    /// How it answers from now on; `None`: it issues.
    says_no: Mutex<Option<Because>>,
}

impl Counting {
    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn obtain(self: &Arc<Self>) -> impl FnOnce() -> Obtaining<usize> {
        let issuer = Arc::clone(self);
        || -> Obtaining<usize> {
            Box::pin(async move {
                let since = Now::read();
                let number = issuer.asked.fetch_add(1, Ordering::Relaxed) + 1;
                sleep(SLOW).await;
                match *issuer.says_no.lock() {
                    None => Ok(Fresh { value: Arc::new(number), since, life: LIFE }),
                    Some(because) => {
                        Err(Failed { refusal: Refusal::new(Code::Dw1005, "the issuer says no"), because })
                    }
                }
            })
        }
    }
}

fn pair() -> (Arc<Cell<usize>>, Arc<Counting>) {
    (Arc::default(), Arc::default())
}

async fn value(cell: &Arc<Cell<usize>>, issuer: &Arc<Counting>) -> Result<usize, Refusal> {
    cell.value(Now::read(), issuer.obtain()).await.map(|value| *value)
}

/// A thousand requests at once: what each got.
async fn thousand(cell: &Arc<Cell<usize>>, issuer: &Arc<Counting>) -> Vec<Result<usize, Refusal>> {
    join_all((0..1000).map(|_| value(cell, issuer))).await
}

/// Lets an exchange in the background begin and end.
async fn settle() {
    sleep(SLOW + Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_exchange_answers_all_who_waited_and_backs_off() {
    for (because, first, most) in [(Because::Unavailable(None), 1, 60), (Because::Refused, 5, 300)] {
        let (cell, issuer) = pair();
        *issuer.says_no.lock() = Some(because);
        assert!(
            thousand(&cell, &issuer).await.iter().all(|got| got.as_ref().unwrap_err().code == Code::Dw1005)
        );
        assert_eq!(issuer.asked(), 1);
        for failures in 1..10 {
            let pause = Duration::from_secs((first << (failures - 1)).min(most));
            // Until the pause is over nobody asks, and all are told how long it takes.
            for got in thousand(&cell, &issuer).await {
                let left = got.unwrap_err().retry_after.unwrap();
                assert!(
                    left <= pause * 5 / 4 && left > pause - Duration::from_millis(1),
                    "{left:?} {pause:?}"
                );
            }
            assert_eq!(issuer.asked(), failures);
            advance(pause * 5 / 4).await;
            assert!(thousand(&cell, &issuer).await.iter().all(Result::is_err));
            assert_eq!(issuer.asked(), failures + 1);
        }
        *issuer.says_no.lock() = None;
        advance(Duration::from_secs(most * 5 / 4)).await;
        assert_eq!(value(&cell, &issuer).await, Ok(11));
    }
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_says_when_to_come_again_is_left_alone_until_then() {
    let (cell, issuer) = pair();
    *issuer.says_no.lock() = Some(Because::Unavailable(Some(Duration::from_secs(100))));
    assert!(value(&cell, &issuer).await.is_err());
    advance(Duration::from_secs(99)).await;
    assert!(value(&cell, &issuer).await.is_err());
    assert_eq!(issuer.asked(), 1);
    assert_eq!(pause(Because::Unavailable(Some(Duration::from_secs(9_999))), 0), Duration::from_secs(300));
    assert_eq!(pause(Because::Unavailable(Some(Duration::ZERO)), 2), Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn an_expired_value_is_never_given_out_while_the_issuer_is_healthy() {
    let (cell, issuer) = pair();
    let mut began = Instant::now();
    let mut last = 0;
    for _ in 0..500 {
        let got = value(&cell, &issuer).await.unwrap();
        if got != last {
            (last, began) = (got, Instant::now());
        }
        assert!(began.elapsed() < LIFE - MARGIN, "{:?}", began.elapsed());
        advance(Duration::from_secs(47)).await;
        settle().await;
    }
    // 500 requests over some 25,000 s: a new one each 80 % of 1,000 s and no more.
    assert!((29..=36).contains(&issuer.asked()), "{}", issuer.asked());
    // A gap in which nobody asked; the last request may have begun a renewal.
    let asked = issuer.asked();
    advance(LIFE * 3).await;
    assert_eq!(value(&cell, &issuer).await, Ok(asked + 1));
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_tolerated_until_the_value_expires_and_then_fails_closed() {
    let (cell, issuer) = pair();
    assert_eq!(value(&cell, &issuer).await, Ok(1));
    *issuer.says_no.lock() = Some(Because::Unavailable(None));
    let began = Instant::now();
    while began.elapsed() < LIFE - MARGIN - SLOW {
        assert_eq!(value(&cell, &issuer).await, Ok(1));
        advance(Duration::from_secs(1)).await;
    }
    // From 80 % on, with a pause that grows to a minute: 170 s leave room for some ten attempts.
    assert!((5..=12).contains(&issuer.asked()), "{}", issuer.asked());
    advance(MARGIN).await;
    assert_eq!(value(&cell, &issuer).await.unwrap_err().code, Code::Dw1005);
    *issuer.says_no.lock() = None;
    advance(Duration::from_secs(75)).await;
    assert!(value(&cell, &issuer).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_revoked_cell_gives_nothing_and_keeps_nothing() {
    let (cell, issuer) = pair();
    assert_eq!(value(&cell, &issuer).await, Ok(1));
    cell.revoke();
    assert!(cell.current.load().is_none());
    assert!(value(&cell, &issuer).await.is_err());
    assert_eq!(issuer.asked(), 1);
    // In the middle of an exchange that a thousand wait for.
    let (cell, issuer) = pair();
    let waiting = tokio::spawn({
        let (cell, issuer) = (Arc::clone(&cell), Arc::clone(&issuer));
        async move { thousand(&cell, &issuer).await }
    });
    sleep(SLOW / 2).await;
    cell.revoke();
    assert!(waiting.await.unwrap().iter().all(Result::is_err));
    assert!(cell.current.load().is_none());
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_the_issuer_revoked_is_renewed_once_however_many_saw_it_refused() {
    let (cell, issuer) = pair();
    let first = cell.value(Now::read(), issuer.obtain()).await.unwrap();
    // At once it is not doubted: the issuer would be asked as often as an agent likes.
    cell.doubt(&first, Now::read());
    assert!(thousand(&cell, &issuer).await.iter().all(|got| *got == Ok(1)));
    assert_eq!(issuer.asked(), 1);
    advance(SETTLED).await;
    (0..1000).for_each(|_| cell.doubt(&first, Now::read()));
    assert!(
        thousand(&cell, &issuer).await.iter().all(|got| *got == Ok(1)),
        "it serves until there is another"
    );
    settle().await;
    // Late refusals of the old one say nothing of the new one.
    advance(SETTLED).await;
    (0..1000).for_each(|_| cell.doubt(&first, Now::read()));
    assert!(thousand(&cell, &issuer).await.iter().all(|got| *got == Ok(2)));
    assert_eq!(issuer.asked(), 2);
    // The one that follows it is doubted after twice the time.
    let second = cell.value(Now::read(), issuer.obtain()).await.unwrap();
    cell.doubt(&second, Now::read());
    assert_eq!(value(&cell, &issuer).await, Ok(2));
    settle().await;
    assert_eq!(issuer.asked(), 2);
    advance(SETTLED).await;
    // With the issuer down, what there is goes on serving to its end.
    *issuer.says_no.lock() = Some(Because::Unavailable(None));
    cell.doubt(&second, Now::read());
    for _ in 0..10 {
        assert!(thousand(&cell, &issuer).await.iter().all(|got| *got == Ok(2)));
        settle().await;
    }
    assert!((3..=7).contains(&issuer.asked()), "{}", issuer.asked());
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_slept_does_not_use_what_expired_meanwhile() {
    let (cell, issuer) = pair();
    assert_eq!(value(&cell, &issuer).await, Ok(1));
    let woken = Now::at(Instant::now(), SystemTime::now() + LIFE);
    assert_eq!(cell.value(woken, issuer.obtain()).await.map(|value| *value), Ok(2));
    // A clock that is set back makes nothing live longer.
    advance(LIFE).await;
    let set_back = Now::at(Instant::now(), SystemTime::UNIX_EPOCH);
    assert_eq!(cell.value(set_back, issuer.obtain()).await.map(|value| *value), Ok(3));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_took_longer_than_its_token_lives_is_not_used() {
    let (cell, issuer) = pair();
    let late = || -> Obtaining<usize> {
        Box::pin(async {
            let since = Now::read();
            sleep(SLOW).await;
            Ok(Fresh { value: Arc::new(7), since, life: SLOW })
        })
    };
    assert!(cell.value(Now::read(), late).await.is_err());
    advance(Duration::from_secs(10)).await;
    assert_eq!(value(&cell, &issuer).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_who_wait_share_one_exchange_and_none_of_them_can_cancel_it() {
    let (cell, issuer) = pair();
    // The one that begins it goes away, as do half of the others.
    assert!(tokio::time::timeout(SLOW / 2, value(&cell, &issuer)).await.is_err());
    let gone = tokio::spawn({
        let (cell, issuer) = (Arc::clone(&cell), Arc::clone(&issuer));
        async move { thousand(&cell, &issuer).await }
    });
    tokio::task::yield_now().await;
    gone.abort();
    assert!(thousand(&cell, &issuer).await.iter().all(|got| *got == Ok(1)));
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_due_is_renewed_once_behind_the_requests() {
    let (cell, issuer) = pair();
    assert_eq!(value(&cell, &issuer).await, Ok(1));
    advance(LIFE * 3 / 4 - SLOW * 2).await;
    assert!(thousand(&cell, &issuer).await.iter().all(|got| *got == Ok(1)));
    assert_eq!(issuer.asked(), 1);
    advance(LIFE / 20 + SLOW * 2).await;
    let start = Instant::now();
    assert!(thousand(&cell, &issuer).await.iter().all(|got| *got == Ok(1)));
    assert_eq!(start.elapsed(), Duration::ZERO, "nobody waits for it");
    settle().await;
    assert!(thousand(&cell, &issuer).await.iter().all(|got| *got == Ok(2)));
    assert_eq!(issuer.asked(), 2);
}

/// Each worker is a runtime of its own.
#[test]
fn an_exchange_wakes_those_who_wait_on_other_workers_also_when_its_worker_ends() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for ends in [false, true] {
        let cell: Arc<Cell<usize>> = Arc::default();
        let (go, gate) = tokio::sync::oneshot::channel::<()>();
        let first = runtime();
        let obtain = move || -> Result<Obtaining<usize>, Refusal> {
            Ok(Box::pin(async move {
                let went = gate.await;
                let refusal = Refusal::new(Code::Dw1005, "no");
                went.map_err(|_| Failed { refusal, because: Because::Refused })?;
                Ok(Fresh { value: Arc::new(1), since: Now::read(), life: LIFE })
            }))
        };
        first.block_on(async {
            let flight = cell.join(Now::read(), obtain).unwrap();
            tokio::task::yield_now().await;
            assert!(flight.borrow().is_none());
        });
        let (joined, has_joined) = std::sync::mpsc::channel();
        let waiting = std::thread::spawn({
            let cell = Arc::clone(&cell);
            move || {
                runtime().block_on(async move {
                    let never = || -> Result<Obtaining<usize>, Refusal> { unreachable!("one is in flight") };
                    let mut flight = cell.join(Now::read(), never).unwrap();
                    joined.send(()).unwrap();
                    flight.wait_for(Option::is_some).await.unwrap().clone().unwrap()
                })
            }
        });
        has_joined.recv().unwrap();
        if ends {
            drop(first);
            let refusal = waiting.join().unwrap().unwrap_err();
            assert!(refusal.detail.contains("interrupted"), "{refusal}");
            // Others may begin anew after a short pause.
            assert!(cell.state.lock().flight.is_none());
        } else {
            go.send(()).unwrap();
            first.block_on(async { settle_real(&cell).await });
            assert_eq!(*waiting.join().unwrap().unwrap(), 1);
        }
    }
}

async fn settle_real(cell: &Arc<Cell<usize>>) {
    while cell.current.load().is_none() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn an_exchange_that_begins_on_a_runtime_that_has_ended_blocks_nobody() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ended = runtime.handle().clone();
    drop(runtime);
    let (told, outcome) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _inside = ended.enter();
        let cell: Arc<Cell<usize>> = Arc::default();
        let endless = || -> Result<Obtaining<usize>, Refusal> { Ok(Box::pin(std::future::pending())) };
        let flight = cell.join(Now::read(), endless);
        told.send(flight.unwrap().borrow().clone()).unwrap();
    });
    let outcome = outcome.recv_timeout(Duration::from_secs(30)).expect("it waits for its own lock");
    assert!(outcome.unwrap().unwrap_err().detail.contains("interrupted"));
}

#[tokio::test(start_paused = true)]
async fn an_issuer_whose_tokens_end_at_once_is_not_asked_without_a_pause() {
    let (cell, asked) = (Arc::<Cell<usize>>::default(), Arc::new(AtomicUsize::new(0)));
    for _ in 0..100 {
        let asked = Arc::clone(&asked);
        let obtain = || -> Obtaining<usize> {
            Box::pin(async move {
                let value = Arc::new(asked.fetch_add(1, Ordering::Relaxed));
                Ok(Fresh { value, since: Now::read(), life: Duration::from_secs(1) })
            })
        };
        if let Err(refusal) = cell.value(Now::read(), obtain).await {
            assert!(refusal.retry_after.is_some_and(|after| after <= DISTANCE), "{refusal}");
        }
        advance(Duration::from_secs(1)).await;
    }
    let asked = asked.load(Ordering::Relaxed);
    assert!((20..30).contains(&asked), "{asked}");
}
