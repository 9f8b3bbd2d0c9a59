//! What probes and collectors ask: `/livez`, `/readyz`, `/metrics`, and nothing else, on a port of its own.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::Api;

impl Api {
    /// The paths of the admin port.
    pub fn admin(&self) -> Router {
        Router::new()
            .route("/livez", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .with_state(self.clone())
    }
}

/// Ready is who can read its database and is not about to end.
async fn ready(State(api): State<Api>) -> (StatusCode, &'static str) {
    if *api.ends.borrow() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    match api.registry.latest().await {
        Ok(_) => (StatusCode::OK, "ok\n"),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "the database cannot be used\n")
        }
    }
}

async fn metrics(State(api): State<Api>) -> ([(http::HeaderName, &'static str); 1], String) {
    let revision = *api.registry.watch().borrow();
    let mut text = String::from(
        "# TYPE doorward_api_calls counter\n# HELP doorward_api_calls Calls by the class of their status.\n",
    );
    for (class, count) in api.calls.counts() {
        text.push_str(&format!("doorward_api_calls_total{{status=\"{class}xx\"}} {count}\n"));
    }
    text.push_str(&format!(
        "# TYPE doorward_api_revision gauge\n# HELP doorward_api_revision The last change.\ndoorward_api_revision {revision}\n# EOF\n"
    ));
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}

/// How many calls ended how.
#[derive(Debug, Default)]
pub(super) struct Calls([std::sync::atomic::AtomicU64; 6]);

impl Calls {
    pub(super) fn note(&self, status: StatusCode) {
        if let Some(count) = self.0.get(usize::from(status.as_u16() / 100)) {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    fn counts(&self) -> impl Iterator<Item = (usize, u64)> {
        let load = |count: &std::sync::atomic::AtomicU64| count.load(std::sync::atomic::Ordering::Relaxed);
        self.0.iter().map(load).enumerate().skip(2)
    }
}
