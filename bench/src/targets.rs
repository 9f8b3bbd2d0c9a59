//! The targets of the issue, as data: what doorward must reach against the floor and its peers in the same run.

use crate::compare::{CPU_MS_PER_GIB, CPU_US, GROWTH_KIB, IDLE_MIB, KIB_PER_TUNNEL, Metrics, P50_US, P99_US};
use crate::peer::Peer;
use crate::peer::Peer::{Direct, Doorward, Envoy, Floor, Hudsucker};
use std::collections::BTreeMap;

/// Medians by scenario and peer.
pub type Results = BTreeMap<(String, Peer), Metrics>;

/// One target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// In words.
    pub what: &'static str,
    /// How it is computed.
    pub rule: Rule,
    /// Not above this.
    pub limit: f64,
}

/// How a target's number comes from the medians.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    /// doorward / peer.
    Ratio(&'static str, &'static str, Peer),
    /// (doorward − direct) / (floor − direct): what the proxies add.
    AddedRatio(&'static str, &'static str),
    /// Microseconds that a never-seen host costs more than a known one, beyond what it costs the floor (the upstream handshake).
    ColdExcess,
    /// doorward alone.
    Own(&'static str, &'static str),
}

const fn ratio(
    what: &'static str,
    scenario: &'static str,
    metric: &'static str,
    peer: Peer,
    limit: f64,
) -> Target {
    Target { what, rule: Rule::Ratio(scenario, metric, peer), limit }
}

const fn own(what: &'static str, scenario: &'static str, metric: &'static str, limit: f64) -> Target {
    Target { what, rule: Rule::Own(scenario, metric), limit }
}

const fn added(what: &'static str, scenario: &'static str, metric: &'static str, limit: f64) -> Target {
    Target { what, rule: Rule::AddedRatio(scenario, metric), limit }
}

/// All targets, in the order of the issue.
pub const TARGETS: &[Target] = &[
    ratio("CPU per keep-alive request h1→h1, × floor", "keepalive-h1", CPU_US, Floor, 1.15),
    ratio("the same, × hudsucker", "keepalive-h1", CPU_US, Hudsucker, 0.85),
    ratio("the same, × Envoy", "keepalive-h1", CPU_US, Envoy, 0.35),
    ratio("CPU per keep-alive request h2→h2, × floor", "keepalive-h2", CPU_US, Floor, 1.25),
    ratio("the same, × hudsucker", "keepalive-h2", CPU_US, Hudsucker, 0.85),
    ratio("the same, × Envoy", "keepalive-h2", CPU_US, Envoy, 0.35),
    ratio(
        "CPU per new CONNECT + TLS, warm leaf, pooled upstream, h1, × floor",
        "new-h1",
        CPU_US,
        Floor,
        1.10,
    ),
    ratio("the same h2, × floor", "new-h2", CPU_US, Floor, 1.10),
    ratio("first response on a new connection, p50, h1, × floor", "new-h1", P50_US, Floor, 1.3),
    ratio("the same h2, × floor", "new-h2", P50_US, Floor, 1.3),
    Target {
        what: "never-seen host on top of that, besides the upstream handshake, µs",
        rule: Rule::ColdExcess,
        limit: 500.0,
    },
    ratio("CPU per GiB down, h1, × floor", "download-h1", CPU_MS_PER_GIB, Floor, 1.25),
    ratio("CPU per GiB down, h2, × floor", "download-h2", CPU_MS_PER_GIB, Floor, 1.25),
    ratio("CPU per GiB up, h1, × floor", "upload-h1", CPU_MS_PER_GIB, Floor, 1.25),
    ratio("CPU per GiB up, h2, × floor", "upload-h2", CPU_MS_PER_GIB, Floor, 1.25),
    added("added latency p50 at 200/s, h1, × floor's", "rate-h1", P50_US, 1.2),
    added("added latency p99 at 200/s, h1, × floor's", "rate-h1", P99_US, 1.5),
    added("added latency p50 at 200/s, h2, × floor's", "rate-h2", P50_US, 1.2),
    added("added latency p99 at 200/s, h2, × floor's", "rate-h2", P99_US, 1.5),
    own("SSE event delay p99, h1, µs", "sse-h1", P99_US, 1000.0),
    own("SSE event delay p99, h2, µs", "sse-h2", P99_US, 1000.0),
    own("idle RSS, MiB", "idle-h1", IDLE_MIB, 12.0),
    own("KiB per idle intercepted connection, h1", "idle-h1", KIB_PER_TUNNEL, 28.0),
    own("KiB per idle intercepted connection, h2", "idle-h2", KIB_PER_TUNNEL, 28.0),
    own("RSS growth over 10⁶ requests after the first tenth, KiB", "flat-h1", GROWTH_KIB, 1024.0),
];

impl Target {
    /// The number, if everything that it needs was measured.
    pub fn value(&self, results: &Results) -> Option<f64> {
        let number = |scenario: &str, peer: Peer, metric: &str| {
            results.get(&(scenario.to_owned(), peer))?.get(metric).copied()
        };
        match self.rule {
            Rule::Own(scenario, metric) => number(scenario, Doorward, metric),
            Rule::Ratio(scenario, metric, peer) => {
                Some(number(scenario, Doorward, metric)? / number(scenario, peer, metric)?)
            }
            Rule::AddedRatio(scenario, metric) => {
                let direct = number(scenario, Direct, metric)?;
                let floor = number(scenario, Floor, metric)? - direct;
                // A floor that adds nothing measurable makes the ratio meaningless.
                (floor > 0.0).then_some((number(scenario, Doorward, metric)? - direct) / floor)
            }
            Rule::ColdExcess => {
                let extra = |peer| Some(number("cold-host", peer, P50_US)? - number("new-h1", peer, P50_US)?);
                Some(extra(Doorward)? - extra(Floor)?)
            }
        }
    }

    /// Whether a value is good enough.
    pub fn is_met(&self, value: f64) -> bool {
        value <= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::{Results, Rule, TARGETS, Target};
    use crate::compare::{CPU_US, Metrics, P50_US};
    use crate::peer::Peer;
    use crate::scenario::by_name;

    fn results(rows: &[(&str, Peer, &str, f64)]) -> Results {
        let mut results = Results::new();
        for (scenario, peer, metric, value) in rows {
            let metrics: &mut Metrics = results.entry(((*scenario).to_owned(), *peer)).or_default();
            metrics.insert((*metric).to_owned(), *value);
        }
        results
    }

    #[test]
    fn a_target_without_its_measurements_has_no_value() {
        for target in TARGETS {
            assert_eq!(target.value(&Results::new()), None, "{}", target.what);
        }
        let only_own = results(&[("keepalive-h1", Peer::Doorward, CPU_US, 30.0)]);
        assert_eq!(TARGETS.first().and_then(|target| target.value(&only_own)), None);
    }

    #[test]
    fn added_latency_is_compared_without_the_direct_part() {
        let target = Target { what: "", rule: Rule::AddedRatio("rate-h1", P50_US), limit: 1.2 };
        let rows = [
            ("rate-h1", Peer::Direct, P50_US, 100.0),
            ("rate-h1", Peer::Floor, P50_US, 200.0),
            ("rate-h1", Peer::Doorward, P50_US, 230.0),
        ];
        let value = target.value(&results(&rows));
        assert!(value.is_some_and(|value| (value - 1.3).abs() < 1e-9 && !target.is_met(value)));
    }

    #[test]
    fn a_cold_host_is_charged_only_beyond_the_upstream_handshake() {
        let target = Target { what: "", rule: Rule::ColdExcess, limit: 500.0 };
        let rows = [
            ("new-h1", Peer::Floor, P50_US, 800.0),
            ("cold-host", Peer::Floor, P50_US, 1800.0),
            ("new-h1", Peer::Doorward, P50_US, 900.0),
            ("cold-host", Peer::Doorward, P50_US, 2100.0),
        ];
        assert_eq!(target.value(&results(&rows)), Some(200.0));
    }

    #[test]
    fn every_target_names_a_scenario_that_exists() {
        for target in TARGETS {
            let name = match target.rule {
                Rule::Ratio(name, ..) | Rule::AddedRatio(name, _) | Rule::Own(name, _) => name,
                Rule::ColdExcess => "cold-host",
            };
            assert!(by_name(name).is_some(), "{name}");
        }
    }
}
