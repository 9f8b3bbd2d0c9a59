//! Prometheus metrics of the admin port: names by its conventions, no host and no path labels.
//!
//! The request path only adds to counters that were made at start; nothing there looks a label up.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};

use control::refusal::Code;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::process::{SelfCheck, State};
use crate::request::record::Verdict;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabel {
    verdict: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MeasureLabel {
    measure: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabel {
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabel {
    version: &'static str,
}

/// All metrics of one proxy.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    allowed: Counter,
    denied: Counter,
    would_deny: Counter,
    errors: Counter,
    refusals: Family<CodeLabel, Counter>,
    pub(crate) connections: Gauge<i64, AtomicI64>,
    pub(crate) in_flight: Gauge<i64, AtomicI64>,
    pub(crate) bytes_in: Counter<u64, AtomicU64>,
    pub(crate) bytes_out: Counter<u64, AtomicU64>,
    pub(crate) masked: Counter,
    pub(crate) duration: Histogram,
    pub(crate) reloads: Counter,
    pub(crate) failed_reloads: Counter,
    pub(crate) revision: Gauge<i64, AtomicI64>,
    pub(crate) degraded: Gauge<i64, AtomicI64>,
    pub(crate) reload_failed: Gauge<i64, AtomicI64>,
    measures: Family<MeasureLabel, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("doorward");
        let requests = Family::<VerdictLabel, Counter>::default();
        let bytes = Family::<DirectionLabel, Counter>::default();
        let build = Family::<VersionLabel, Gauge>::default();
        build.get_or_create(&VersionLabel { version: env!("CARGO_PKG_VERSION") }).set(1);
        let verdict = |verdict| requests.get_or_create(&VerdictLabel { verdict }).clone();
        let direction = |direction| bytes.get_or_create(&DirectionLabel { direction }).clone();
        let metrics = Self {
            allowed: verdict("allow"),
            denied: verdict("deny"),
            would_deny: verdict("would-deny"),
            errors: verdict("error"),
            bytes_in: direction("in"),
            bytes_out: direction("out"),
            duration: Histogram::new(exponential_buckets(0.001, 4.0, 10)),
            refusals: Family::default(),
            connections: Gauge::default(),
            in_flight: Gauge::default(),
            masked: Counter::default(),
            reloads: Counter::default(),
            failed_reloads: Counter::default(),
            revision: Gauge::default(),
            degraded: Gauge::default(),
            reload_failed: Gauge::default(),
            measures: Family::default(),
            registry: Registry::default(),
        };
        registry.register(
            "process_measures",
            "1 where a measure of the process holds",
            metrics.measures.clone(),
        );
        registry.register("requests", "Requests by verdict", requests);
        registry.register("refusals", "Refusals by code", metrics.refusals.clone());
        registry.register("connections", "Connections of agents that are open", metrics.connections.clone());
        registry.register(
            "requests_in_flight",
            "Requests that are not answered whole",
            metrics.in_flight.clone(),
        );
        registry.register_with_unit("body", "Body bytes from (in) and to (out) agents", Unit::Bytes, bytes);
        registry.register(
            "echoes_masked",
            "Echoes of credentials that were masked or cut",
            metrics.masked.clone(),
        );
        let duration = metrics.duration.clone();
        registry.register_with_unit(
            "request_duration",
            "From the head to the end of the answer",
            Unit::Seconds,
            duration,
        );
        registry.register("reloads", "Plans that were swapped in", metrics.reloads.clone());
        registry.register(
            "reload_failures",
            "Reloads that kept the old plan",
            metrics.failed_reloads.clone(),
        );
        registry.register(
            "reload_failed",
            "1 while the newest files are not in force",
            metrics.reload_failed.clone(),
        );
        registry.register("plan_revision", "Revision of the plan in force", metrics.revision.clone());
        registry.register(
            "providers_degraded",
            "Providers whose secret is missing",
            metrics.degraded.clone(),
        );
        registry.register("build_info", "The version that runs", build);
        Self { registry, ..metrics }
    }
}

impl Metrics {
    pub(crate) fn count(&self, verdict: Verdict, code: Option<Code>) {
        match verdict {
            Verdict::Allow => self.allowed.inc(),
            Verdict::Deny => self.denied.inc(),
            Verdict::WouldDeny => self.would_deny.inc(),
            Verdict::Error => self.errors.inc(),
        };
        if let Some(code) = code {
            self.refusals.get_or_create(&CodeLabel { code: code.entry().name }).inc();
        }
    }

    /// What the process did to itself at start.
    pub(crate) fn measures(&self, selfcheck: &SelfCheck) {
        for measure in selfcheck.measures() {
            let label = MeasureLabel { measure: measure.name };
            self.measures.get_or_create(&label).set(i64::from(measure.state == State::On));
        }
    }

    /// The text format of the admin port.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        if prometheus_client::encoding::text::encode(&mut text, &self.registry).is_err() {
            text.clear();
        }
        text
    }
}

/// A gauge raised for as long as the guard lives.
#[derive(Debug)]
pub(crate) struct Raised(Arc<crate::worker::Shared>, fn(&Metrics) -> &Gauge<i64, AtomicI64>);

impl Raised {
    pub(crate) fn new(
        shared: &Arc<crate::worker::Shared>,
        of: fn(&Metrics) -> &Gauge<i64, AtomicI64>,
    ) -> Self {
        of(&shared.metrics).inc();
        Self(Arc::clone(shared), of)
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        (self.1)(&self.0.metrics).dec();
    }
}
