//! The admin port: `/livez`, `/readyz`, `/metrics`, and nothing else.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use control::refusal::Code;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::TcpListener;

use crate::app::StartError;
use crate::follow::Told;
use crate::limits;
use crate::listen::bind_std;
use crate::process::{SelfCheck, State};
use crate::worker::Shared;

/// What readiness is judged by.
#[derive(Debug)]
pub(crate) struct Health {
    shared: Arc<Shared>,
    draining: AtomicBool,
    /// Providers whose secret is missing: `project/name: why`.
    degraded: Mutex<Vec<String>>,
    /// Why the newest files are not in force.
    reload: Mutex<Vec<String>>,
    selfcheck: SelfCheck,
    /// The control server, where one is followed.
    control: Option<Told>,
}

impl Health {
    pub(crate) fn new(
        shared: Arc<Shared>,
        degraded: Vec<String>,
        selfcheck: SelfCheck,
        control: Option<Told>,
    ) -> Self {
        shared.metrics.measures(&selfcheck);
        let health = Self {
            shared,
            draining: AtomicBool::new(false),
            degraded: Mutex::default(),
            reload: Mutex::default(),
            selfcheck,
            control,
        };
        health.reloaded(degraded);
        health
    }

    /// A plan was swapped in.
    pub(crate) fn reloaded(&self, degraded: Vec<String>) {
        for provider in &degraded {
            tracing::warn!(%provider, "provider degraded");
        }
        let metrics = &self.shared.metrics;
        metrics.degraded.set(i64::try_from(degraded.len()).unwrap_or(i64::MAX));
        metrics.reload_failed.set(0);
        self.swapped();
        *self.degraded.lock() = degraded;
        self.reload.lock().clear();
    }

    /// Another plan is in force, whatever is said of the files.
    pub(crate) fn swapped(&self) {
        let revision = self.shared.plan.load().revision;
        self.shared.metrics.revision.set(i64::try_from(revision).unwrap_or(i64::MAX));
    }

    /// A reload kept the old plan.
    pub(crate) fn reload_failed(&self, mistakes: Vec<String>) {
        for mistake in &mistakes {
            tracing::error!(code = %Code::Dw6001, %mistake, "reload refused, the old plan stays");
        }
        self.shared.metrics.failed_reloads.inc();
        self.shared.metrics.reload_failed.set(1);
        *self.reload.lock() = mistakes;
    }

    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether requests can be served, and a line for each part.
    fn report(&self) -> (bool, String) {
        let draining = self.draining.load(Ordering::Relaxed);
        let audit = self.shared.audit.health().failure;
        let mut text = String::new();
        let mut line = |good: bool, what: std::fmt::Arguments<'_>| {
            // Writing to a String cannot fail.
            if writeln!(text, "[{}] {what}", if good { "+" } else { "-" }).is_err() {
                tracing::trace!("report cut");
            }
        };
        line(!draining, format_args!("serving: {}", if draining { "draining" } else { "yes" }));
        line(audit.is_none(), format_args!("audit: {}", audit.as_deref().unwrap_or("ok")));
        line(true, format_args!("plan: revision {}", self.shared.plan.load().revision));
        let is_fresh = self.control.as_ref().is_none_or(|control| !control.lease.is_over());
        // Nothing of the agent's is served then, although the server may not have said so yet.
        let has_ended = self.control.as_ref().is_some_and(|control| control.has_ended(SystemTime::now()));
        if let Some(control) = &self.control {
            line(control.status.is_connected() && is_fresh, format_args!("{control}"));
        }
        if has_ended {
            line(false, format_args!("agent: {} its end at the control server has come", Code::Dw3002));
        }
        for provider in &*self.degraded.lock() {
            line(false, format_args!("degraded {provider}"));
        }
        for provider in self.shared.plan.load().without_token() {
            line(false, format_args!("degraded {provider}"));
        }
        for mistake in &*self.reload.lock() {
            line(false, format_args!("reload {}: {mistake}", Code::Dw6001));
        }
        for measure in self.selfcheck.measures() {
            line(measure.state == State::On, format_args!("process {}: {}", measure.name, measure.detail));
        }
        (!draining && audit.is_none() && is_fresh && !has_ended, text)
    }
}

/// The admin listener, bound.
#[derive(Debug)]
pub(crate) struct Admin {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

/// Binds the admin port.
pub(crate) fn bind(address: SocketAddr) -> Result<Admin, StartError> {
    let bound = || -> io::Result<Admin> {
        let listener = TcpListener::from_std(bind_std(address)?)?;
        let address = listener.local_addr()?;
        Ok(Admin { listener, address })
    };
    bound().map_err(|error| StartError::Bind(format!("{address} (admin)"), error.to_string()))
}

impl Admin {
    /// Serves until the process ends.
    pub(crate) async fn serve(self, health: Arc<Health>) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(one(stream, Arc::clone(&health)))),
                Err(error) => {
                    tracing::warn!(%error, "admin accept failed");
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

async fn one(stream: tokio::net::TcpStream, health: Arc<Health>) {
    let service = service_fn(move |request| {
        let health = Arc::clone(&health);
        async move { Ok::<_, Infallible>(answer(&request, &health)) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::ADMIN_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = serving.await {
        tracing::debug!(%error, "admin connection ended");
    }
}

fn answer(request: &Request<Incoming>, health: &Health) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".to_owned());
    }
    match request.uri().path() {
        "/livez" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => {
            let (ready, report) = health.report();
            let verbose =
                request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "verbose"));
            let body = if verbose { report } else { (if ready { "ok\n" } else { "not ready\n" }).to_owned() };
            text(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, body)
        }
        "/metrics" => {
            if let Some(control) = &health.control {
                health.shared.metrics.control(control);
            }
            let mut answer = text(StatusCode::OK, health.shared.metrics.text());
            let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format));
            answer
        }
        _ => text(StatusCode::NOT_FOUND, "not found\n".to_owned()),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}
