//! The audit record of one exchange: opened with the request, closed when its answer ends, on drop at the latest
//! (invariant 9).
//!
//! Its place in the writer's ring is taken before a secret is opened; a refused request needs one too, so that nothing is
//! answered unrecorded. Bytes are counted here, and metrics follow from the same record.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use control::agent::AgentName;
pub(crate) use control::audit::Verdict;
use control::audit::{Entry, Kind, McpUse, Place, RequestId};
use control::mcp::Calls;
use control::policy::Permit;
use control::refusal::{Code, Refusal};
use control::rule::Path;
use control::target::Target;
use http::{HeaderMap, Method, StatusCode};

use super::body::Progress;
use super::model::Meter;
use super::send::Signed;
use crate::conn::identify::Caller;
use crate::limits::held::Holding;
use crate::metrics::Raised;
use crate::plan::Served;
use crate::worker::Shared;

/// One exchange's record.
#[derive(Debug)]
pub(crate) struct Record {
    shared: Arc<Shared>,
    place: Option<Place>,
    entry: Entry,
    agent: AgentName,
    start: Instant,
    progress: Option<Arc<Progress>>,
    meter: Option<Box<Meter>>,
    logged: bool,
    _in_flight: Raised,
}

impl Record {
    /// Opens the record of a request.
    pub(crate) fn open(shared: &Arc<Shared>, id: RequestId, caller: &Caller, method: &Method) -> Self {
        let mut entry = Entry::new(Kind::Request, SystemTime::now());
        entry.id = Some(id);
        entry.agent = Some(caller.name.shared());
        entry.method = Some(method.clone());
        Self {
            place: shared.audit.reserve().ok(),
            shared: Arc::clone(shared),
            entry,
            agent: caller.name.clone(),
            start: Instant::now(),
            progress: None,
            meter: None,
            logged: true,
            _in_flight: Raised::new(shared, |metrics| &metrics.in_flight),
        }
    }

    /// Makes it the record of a tunnel that is passed through.
    pub(crate) fn of_tunnel(mut self) -> Self {
        self.entry.kind = Kind::Connect;
        self
    }

    /// When the request came.
    pub(crate) fn began(&self) -> SystemTime {
        self.entry.at
    }

    /// Closes this record, and opens that of the same request's next attempt.
    pub(crate) fn next_attempt(&mut self, id: RequestId, caller: &Caller) {
        let method = self.entry.method.clone().unwrap_or_default();
        *self = Self::open(&Arc::clone(&self.shared), id, caller, &method);
    }

    /// The id that the agent sees as well.
    pub(crate) fn id(&self) -> String {
        self.entry.id.map(|id| id.to_string()).unwrap_or_default()
    }

    pub(crate) fn target(&mut self, target: &Target) {
        self.entry.target = Some(target.clone());
    }

    pub(crate) fn path(&mut self, path: &Path) {
        self.entry.path = Some(path.as_str().into());
    }

    pub(crate) fn provider(&mut self, served: &Served) {
        let target_and_path = self.entry.target.as_ref().zip(self.entry.path.as_ref());
        if let Some(shown) =
            target_and_path.and_then(|(target, path)| served.injector.shown_path(target, path))
        {
            self.entry.path = Some(shown.into());
        }
        self.entry.provider = Some(Arc::clone(&served.provider.name));
        self.logged = served.provider.log_requests;
    }

    /// The request as it goes out: which version of the secret is on it, and its body to be counted.
    pub(crate) fn signed(&mut self, signed: &Signed) {
        self.progress = Some(Arc::clone(&signed.progress));
        self.entry.revision = signed.used.as_ref().map(|used| used.version.number);
    }

    /// The request goes out once more; the bytes of both are counted.
    pub(crate) fn replayed(&mut self, progress: &Arc<Progress>) {
        let before = self.progress.replace(Arc::clone(progress));
        self.entry.bytes_in += before.map_or(0, |progress| progress.sent());
    }

    /// Counts what the answer uses.
    pub(crate) fn meter(&mut self, meter: Option<Meter>) {
        self.entry.model = meter.as_ref().map(|meter| Box::new(meter.begun()));
        self.meter = meter.map(Box::new);
    }

    /// What is asked of an MCP server, whatever policy says of it.
    pub(crate) fn asks(&mut self, calls: &Calls) {
        self.entry.mcp = Some(Box::new(McpUse::of(calls)));
    }

    /// What policy said; with `write` and `sync` durability the `open` line is down before this returns.
    pub(crate) async fn permitted(
        &mut self,
        permit: &Permit,
        scheme: Option<&'static str>,
    ) -> Result<(), Refusal> {
        let trace = permit.trace();
        self.entry.verdict = Some(Verdict::Allow);
        self.entry.rule.clone_from(&trace.rule);
        self.entry.approval.clone_from(&trace.approval);
        if let Some(refusal) = &trace.would_deny {
            self.entry.verdict = Some(Verdict::WouldDeny);
            self.entry.code = Some(refusal.code);
            self.entry.rule = refusal.rule.clone().or_else(|| self.entry.rule.take());
            self.entry.reason = refusal.detail.clone();
        }
        if let (Some(scheme), Some(auth)) = (scheme, &permit.provider().auth) {
            self.entry.scheme = Some(scheme);
            self.entry.secret = Some(auth.secret.name.clone());
            let certificate = permit.provider().upstream.client_cert.as_ref();
            self.entry.client_cert = certificate.map(|secret| secret.name.clone());
        } else if let Some(certificate) = &permit.provider().upstream.client_cert {
            // Nothing is put on this request, but its connection is authenticated.
            self.entry.scheme = Some("mtls");
            self.entry.secret = Some(certificate.name.clone());
        }
        match &mut self.place {
            Some(place) => place.write_open(&self.entry).await.map_err(|_| unrecorded()),
            None => Err(unrecorded()),
        }
    }

    /// A call that the proxy answers itself: nothing is sent anywhere.
    pub(crate) fn answered_here(&mut self) -> Result<(), Refusal> {
        if self.place.is_none() {
            return Err(unrecorded());
        }
        self.entry.verdict = Some(Verdict::Allow);
        self.entry.reason = Cow::Borrowed("answered by the proxy in the issuer's place");
        Ok(())
    }

    /// A tunnel that is passed on unread, with nothing injected.
    pub(crate) fn passed_through(&mut self) -> Result<(), Refusal> {
        if self.place.is_none() {
            return Err(unrecorded());
        }
        self.entry.verdict = Some(Verdict::Allow);
        self.entry.status = 200;
        Ok(())
    }

    /// The answer's status, and what was wrong with our credential if the upstream said so (DW1006).
    pub(crate) fn answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.entry.status = status.as_u16();
        if let Some(meter) = &mut self.meter {
            meter.answered(status, headers);
        }
    }

    /// The answer came to its own end.
    pub(crate) fn ended(&mut self) {
        if let Some(meter) = &mut self.meter {
            meter.ended();
        }
    }

    /// The upstream did not take our credential; what policy would have refused stays in the record beside it.
    pub(crate) fn credential_rejected(&mut self) {
        let rejected = format!("the upstream answered {} to the credential", self.entry.status);
        let host = self.entry.target.as_ref().map(|target| tracing::field::display(&target.host));
        tracing::warn!(
            req = self.id(), agent = self.entry.agent.as_deref(), host, code = %Code::Dw1006, reason = rejected,
            "upstream rejected the credential"
        );
        self.entry.code = Some(Code::Dw1006);
        self.entry.reason = if self.entry.reason.is_empty() {
            rejected.into()
        } else {
            format!("{}; {rejected}", self.entry.reason).into()
        };
    }

    /// The request was refused, or failed after it was let through. Gives what the agent is told: where nothing can be
    /// recorded, nothing is said but that (invariant 9), or an agent that fills the audit could probe unseen.
    pub(crate) fn refused(&mut self, refusal: Refusal) -> Refusal {
        let refusal = if self.place.is_some() { refusal } else { unrecorded() };
        let failed = self.entry.verdict.is_some()
            && !matches!(refusal.code, Code::Dw1007 | Code::Dw1008 | Code::Dw1009);
        self.entry.verdict = Some(if failed { Verdict::Error } else { Verdict::Deny });
        self.entry.status = refusal.status;
        self.entry.code = Some(refusal.code);
        self.entry.reason = refusal.detail.clone();
        if let Some(rule) = &refusal.rule {
            self.entry.rule = Some(Arc::clone(rule));
        }
        let host = self.entry.target.as_ref().map(|target| tracing::field::display(&target.host));
        tracing::warn!(
            req = self.id(), agent = self.entry.agent.as_deref(), host, code = %refusal.code,
            reason = %refusal.detail, "request refused"
        );
        refusal
    }

    /// The answer could not be finished.
    pub(crate) fn failed(&mut self, code: Code, reason: &'static str) {
        self.entry.verdict = Some(Verdict::Error);
        self.entry.code = Some(code);
        self.entry.reason = Cow::Borrowed(reason);
    }

    /// Bytes went out to the agent.
    pub(crate) fn sent(&mut self, bytes: u64) {
        self.entry.bytes_out += bytes;
    }

    /// These bytes of the answer went out to the agent.
    pub(crate) fn passed(&mut self, bytes: &[u8]) {
        self.sent(bytes.len() as u64);
        if let Some(meter) = &mut self.meter {
            meter.passed(bytes);
        }
    }

    /// Bytes came in from the agent outside of a request body.
    pub(crate) fn received(&mut self, bytes: u64) {
        self.entry.bytes_in += bytes;
    }

    /// From when on the exchange is one that lasts.
    pub(crate) fn lasts_from(&self) -> Instant {
        self.start + crate::limits::time(self.shared.limits.audit_open_after)
    }

    /// The room for this exchange's body, if it has to be read whole.
    pub(crate) fn holding(&self) -> Holding {
        self.shared.holding(&self.agent)
    }

    /// Does a part of the exchange; if the exchange lasts meanwhile, its `open` line is written.
    pub(crate) async fn while_lasting<F: Future>(&mut self, work: F) -> F::Output {
        let mut work = pin!(work);
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = tokio::time::sleep_until(self.lasts_from().into()) => {}
        }
        self.note_lasting();
        work.await
    }

    /// An exchange that lasts writes an `open` line first; called as the body moves.
    pub(crate) fn note_lasting(&mut self) {
        if let Some(place) = &mut self.place
            && self.start.elapsed() >= crate::limits::time(self.shared.limits.audit_open_after)
        {
            place.note_open(&self.entry);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.entry.elapsed = self.start.elapsed();
        if let Some(progress) = &self.progress {
            self.entry.bytes_in += progress.sent();
        }
        let verdict = *self.entry.verdict.get_or_insert(Verdict::Error);
        let metrics = &self.shared.metrics;
        metrics.count(verdict, self.entry.code);
        if let Some(mut meter) = self.meter.take() {
            let was_sent = self.progress.as_ref().is_some_and(|progress| progress.sent() > 0);
            let used = meter.settle(was_sent);
            metrics.tokens(&used);
            self.entry.model = Some(Box::new(used));
        }
        metrics.bytes_in.inc_by(self.entry.bytes_in);
        metrics.bytes_out.inc_by(self.entry.bytes_out);
        metrics.duration.observe(self.entry.elapsed.as_secs_f64());
        tracing::debug!(
            req = ?self.entry.id, verdict = verdict.name(), code = ?self.entry.code, status = self.entry.status,
            "request ended"
        );
        if let Some(place) = self.place.take()
            && (self.logged || verdict != Verdict::Allow)
        {
            place.close(&self.entry);
        }
    }
}

pub(crate) fn unrecorded() -> Refusal {
    Refusal::new(Code::Dw5003, "the audit cannot take another record")
}
