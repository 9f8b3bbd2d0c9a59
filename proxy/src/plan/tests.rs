//! What the plan keeps from one snapshot to the next, and how failures answer who waits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use control::policy::{Facts, Permit, decide};
use control::refusal::Code;
use control::rule::Path;
use control::secret::SecretRef;
use control::vault::{OpenError, Opened, Opening, SecretFacts, Source};
use http::{HeaderMap, Method};
use time::OffsetDateTime;

use super::served::{BACK_OFF, Failure};
use super::*;
use crate::request::inject::Injector;
use crate::request::inject::dummies::Dummies;
use crate::request::scrub::{Standing, Use};
use crate::schemes::{Bounds, specs};
use crate::upstream::tls::UpstreamTls;

/// A source that takes a while to fail, as a command past its deadline does.
#[derive(Debug, Default)]
struct Failing(AtomicUsize);

impl Source for Failing {
    fn open<'a>(&'a self, _permit: &'a Permit, secret: &'a SecretRef) -> Opening<'a, Opened> {
        Box::pin(async move {
            self.0.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(5)).await;
            Err(OpenError::MissingKey(secret.clone(), "token".to_owned()))
        })
    }

    fn facts<'a>(&'a self, secret: &'a SecretRef) -> Opening<'a, SecretFacts> {
        Box::pin(async { Err(OpenError::Missing(secret.clone())) })
    }
}

fn served() -> Served {
    let text = "apiVersion: doorward.dev/v1alpha1\nkind: Provider\nmetadata: {name: p}\n\
                spec: {type: http-token, host: a.example, auth: {type: bearer, secretRef: s}}\n";
    let loaded = control::provider::parse_text("p.yaml", text, specs()).unwrap();
    let provider = Arc::clone(&loaded.providers[0]);
    let injector = Injector::compile(&provider, &Arc::new(Dummies::of([])), Bounds::default()).unwrap();
    let tls = UpstreamTls::new(Arc::new(rustls::RootCertStore::empty())).unwrap();
    Served::new(
        1,
        MadeFrom { own: [0; 32], definition: [0; 32], version: None, client_cert: None },
        provider,
        injector,
        tls,
    )
}

fn permit(served: &Served) -> Permit {
    let facts = Facts {
        agent: &AgentName::local(),
        target: &Target::parse_authority("a.example:443").unwrap(),
        provider: &served.provider,
        method: &Method::GET,
        path: &Path::of_uri(&"/".parse().unwrap()).unwrap(),
        query: None,
        body: None,
        headers: &HeaderMap::new(),
    };
    decide(&facts).unwrap().permit().unwrap()
}

#[tokio::test(start_paused = true)]
async fn one_attempt_that_failed_answers_all_who_waited_for_it() {
    let source = Arc::new(Failing::default());
    let (served, vault) =
        (served(), Vault::new(vec![Arc::clone(&source) as Arc<dyn Source>], OffsetDateTime::now_utc));
    let permit = permit(&served);
    let start = tokio::time::Instant::now();
    let waiting = (0..50).map(|_| served.credential(&vault, &permit));
    for outcome in futures_util::future::join_all(waiting).await {
        assert_eq!(outcome.unwrap_err().code, Code::Dw1004);
    }
    assert_eq!((source.0.load(Ordering::Relaxed), start.elapsed()), (1, Duration::from_secs(5)));
    // The next one is answered by it too, until the back-off is over.
    assert!(served.credential(&vault, &permit).await.is_err());
    assert_eq!(source.0.load(Ordering::Relaxed), 1);
}

#[test]
fn a_plan_of_another_version_frees_what_was_blocked_of_the_ones_before() {
    let incidents = Incidents::default();
    let of = |version: u64| Use { agent: "a".into(), secret: "default/s".into(), version: version.into() };
    for version in [1, 2] {
        let noted = [(); 3].map(|()| incidents.record(&of(version), Instant::now()));
        assert_eq!(noted, [Standing::Open, Standing::Open, Standing::Blocked]);
    }
    let mut served = served();
    served.made_from.version = Some(2.into());
    let plan = Plan {
        revision: 1,
        agents: None,
        routes: Routes::default(),
        grants: Vec::new(),
        served: vec![Some(Arc::new(served))],
        locals: Locals::default(),
        vault: Arc::new(Vault::new(Vec::new(), OffsetDateTime::now_utc)),
        server: None,
    };
    plan.forget_older(&incidents);
    assert_eq!(incidents.blocked(), [of(2)]);
}

#[test]
fn the_log_is_told_once_a_minute_of_what_an_agent_can_repeat() {
    let (served, now) = (served(), Instant::now());
    let told =
        [0, 1, 59, 60, 61, 119, 120].map(|seconds| served.may_tell(now + Duration::from_secs(seconds)));
    assert_eq!(told, [true, false, false, true, false, false, true]);
}

#[test]
fn a_failure_answers_those_who_waited_however_long_ago_it_was() {
    let served = served();
    let refusal = Refusal::new(Code::Dw1004, "gone");
    let at = Instant::now().checked_sub(BACK_OFF * 2).unwrap();
    *served.failure.lock() = Some(Failure { number: 3, at, refusal });
    assert!(served.refuse_failed(2).is_err());
    assert!(served.refuse_failed(3).is_ok());
}
