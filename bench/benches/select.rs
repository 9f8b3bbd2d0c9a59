//! What does it cost to canonicalise a request's path, to find its provider among many, and to decide by its rules?

use std::sync::Arc;

use control::agent::AgentName;
use control::policy::{Facts, decide};
use control::provider::{Loaded, parse_text};
use control::rule::Path;
use control::target::Target;
use divan::{Bencher, black_box};
use http::{HeaderMap, Method};

const PATH: &str = "/repos/acme/api/issues/42/comments";

fn main() {
    divan::main();
}

/// As many providers as this, each with an exact host and a wildcard, and three rules.
fn loaded(count: usize) -> Loaded {
    let document = |index: usize| {
        format!(
            "apiVersion: doorward.dev/v1alpha1
kind: Provider
metadata: {{ name: p{index} }}
spec:
  type: http-token
  hosts: [api{index}.bench.test, '*.wide{index}.bench.test']
  auth: {{ secretRef: s{index} }}
  policy:
    httpRules:
    - {{ effect: deny, methods: [DELETE], paths: ['/**'] }}
    - {{ effect: deny, methods: ['*'], paths: ['/admin/**'] }}
    - {{ effect: allow, methods: ['*'], paths: ['/repos/*/*/**'] }}
"
        )
    };
    let text = (0..count).map(document).collect::<Vec<_>>().join("---\n");
    parse_text("bench.yaml", &text, proxy::schemes::specs()).expect("the documents are valid")
}

fn target(authority: &str) -> Target {
    Target::parse_authority(authority).expect("a target")
}

#[divan::bench]
fn canonical_path(bencher: Bencher) {
    bencher.bench_local(|| Path::parse(black_box(PATH)));
}

#[divan::bench(args = [3, 300])]
fn route_exact(bencher: Bencher, count: usize) {
    let (loaded, agent) = (loaded(count), AgentName::local());
    let target = target("api1.bench.test:443");
    assert!(loaded.routes.route(&target, &agent).is_some());
    bencher.bench_local(|| loaded.routes.route(black_box(&target), &agent).is_some());
}

#[divan::bench(args = [3, 300])]
fn route_wildcard(bencher: Bencher, count: usize) {
    let (loaded, agent) = (loaded(count), AgentName::local());
    let target = target("a.b.wide1.bench.test:443");
    assert!(loaded.routes.route(&target, &agent).is_some());
    bencher.bench_local(|| loaded.routes.route(black_box(&target), &agent).is_some());
}

#[divan::bench]
fn decide_by_rules(bencher: Bencher) {
    let (loaded, agent) = (loaded(3), AgentName::local());
    let target = target("api1.bench.test:443");
    let provider = Arc::clone(loaded.routes.route(&target, &agent).expect("a route"));
    let (path, headers) = (Path::parse(PATH).expect("a path"), HeaderMap::new());
    let facts = Facts {
        agent: &agent,
        target: &target,
        provider: &provider,
        method: &Method::GET,
        path: &path,
        query: None,
        body: None,
        headers: &headers,
    };
    assert!(decide(&facts).is_ok_and(|verdict| verdict.permit().is_some()));
    bencher.bench_local(|| decide(black_box(&facts)));
}
