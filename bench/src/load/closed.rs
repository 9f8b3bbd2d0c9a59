//! Closed loop: each session sends its next request when the last answer is complete. For CPU per request and for bulk bodies.

use super::{Ask, Sample, Session, Target};
use crate::Result;
use std::time::{Duration, Instant};

/// When a closed loop ends: at the first of the two.
#[derive(Debug, Clone, Copy)]
pub struct Stop {
    /// After so many requests in all.
    pub requests: u64,
    /// After so long.
    pub after: Duration,
}

/// Opens the sessions, one after the other so that the proxy's upstream pool is warm and small, each with one request.
///
/// On h2, `streams` handles share each connection.
pub async fn open(target: &Target, sessions: usize, streams: usize, ask: &Ask) -> Result<Vec<Session>> {
    let mut open = Vec::with_capacity(sessions * streams);
    for _ in 0..sessions {
        let mut session = Session::open(target).await?;
        session.exchange(ask).await?;
        for _ in 1..streams {
            open.extend(session.share());
        }
        open.push(session);
    }
    Ok(open)
}

/// Runs all sessions at once until `stop`; a session that breaks is opened again. Gives the sessions back for the next part.
pub async fn drive(target: &Target, sessions: Vec<Session>, ask: &Ask, stop: Stop) -> (Sample, Vec<Session>) {
    let start = Instant::now();
    let workers = sessions.len().max(1) as u64;
    let share = stop.requests.div_ceil(workers);
    let tasks: Vec<_> = sessions
        .into_iter()
        .map(|session| tokio::spawn(work(target.clone(), session, ask.clone(), share, start + stop.after)))
        .collect();
    let mut all = Sample::default();
    let mut sessions = Vec::new();
    for task in tasks {
        match task.await {
            Ok((sample, session)) => {
                all.merge(sample);
                sessions.push(session);
            }
            Err(_) => all.errors += 1,
        }
    }
    all.elapsed = start.elapsed();
    (all, sessions)
}

async fn work(
    target: Target,
    mut session: Session,
    ask: Ask,
    requests: u64,
    end: Instant,
) -> (Sample, Session) {
    let mut sample = Sample::default();
    for _ in 0..requests {
        let begun = Instant::now();
        if begun >= end || sample.hopeless() {
            break;
        }
        match session.exchange(&ask).await {
            Ok(bytes) => {
                sample.latencies.push(begun.elapsed().as_nanos() as u64);
                sample.bytes += bytes;
            }
            Err(error) => {
                sample.failed(&error);
                if let Ok(again) = Session::open(&target).await {
                    session = again;
                }
            }
        }
    }
    (sample, session)
}
