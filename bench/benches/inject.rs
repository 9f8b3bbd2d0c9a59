//! What does it cost to clean a request, to judge it and to put the credential on? Goal: 500 ns for a request of twelve headers.

use std::sync::Arc;

use control::provider::parse_text;
use control::secret::{Secret, SecretRef};
use control::target::Target;
use control::vault::{Opened, Terms};
use divan::{Bencher, black_box};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proxy::request::inject::{ArmedCredential, Dummies, Injector};
use proxy::schemes::{Bounds, Head};

const DUMMY: &str = "dw0aaaabbbbccccddddeeeeffff";
/// As an SDK sends them.
const HEADERS: [(&str, &str); 11] = [
    ("host", "api.bench.test"),
    ("accept", "application/json"),
    ("accept-encoding", "gzip, deflate"),
    ("connection", "keep-alive"),
    ("content-type", "application/json"),
    ("user-agent", "OpenAI/Python 1.99.0"),
    ("x-stainless-lang", "python"),
    ("x-stainless-package-version", "1.99.0"),
    ("x-stainless-os", "Linux"),
    ("x-stainless-arch", "x64"),
    ("x-stainless-runtime", "CPython"),
];

fn main() {
    divan::main();
}

struct Rig {
    injector: Injector,
    armed: ArmedCredential,
    target: Target,
    head: Head,
}

/// `own`: where the agent puts the dummy; `config`: where doorward puts the value, in the words of a provider file.
fn rig(own: (&'static str, String), path: &str, config: &str) -> Rig {
    let text = format!(
        "apiVersion: doorward.dev/v1alpha1
kind: Provider
metadata: {{ name: bench }}
spec:
  type: http-token
  hosts: [api.bench.test]
  auth: {{ secretRef: bench, placeholder: {DUMMY}, {config} }}
"
    );
    let loaded = parse_text("bench.yaml", &text, proxy::schemes::specs()).expect("the document is valid");
    let dummies = Arc::new(Dummies::compile([DUMMY.to_owned()]));
    let injector =
        Injector::compile(&loaded.providers[0], &dummies, Bounds::default()).expect("it can be served");
    let secret = SecretRef { project: "bench".into(), name: "bench".parse().expect("a name") };
    let key = "token".to_owned();
    let opened = Opened {
        version: 1.into(),
        values: vec![(key, Secret::new(b"c4nary-bench-value-0123456789abcdef".to_vec()))],
        terms: Terms { secret, expires: None, hosts: None, stale_at: None, lease: None },
    };
    let (armed, _) = injector.arm(&opened).expect("the value fits");
    let mut headers = HeaderMap::new();
    for (name, value) in HEADERS {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.append(HeaderName::from_static(own.0), HeaderValue::try_from(own.1).expect("a value"));
    let head = Head { method: Method::POST, target: path.parse().expect("a target"), headers };
    Rig { injector, armed, target: Target::parse_authority("api.bench.test:443").expect("a target"), head }
}

fn place(bencher: Bencher, rig: &Rig) {
    let fresh = || Head {
        method: rig.head.method.clone(),
        target: rig.head.target.clone(),
        headers: rig.head.headers.clone(),
    };
    bencher.with_inputs(fresh).bench_local_values(|mut head| {
        rig.injector.clean(black_box(&rig.target), &mut head.headers);
        let prepared = rig.injector.prepare(black_box(&rig.target), &mut head).expect("it is allowed");
        assert!(prepared.injects());
        rig.injector.place(&rig.armed, prepared, &mut head).expect("it can be placed");
        head
    });
}

#[divan::bench]
fn header(bencher: Bencher) {
    let config = "header: Authorization, prefix: 'Bearer '";
    place(bencher, &rig(("authorization", format!("Bearer {DUMMY}")), "/v1/chat/completions?beta=1", config));
}

#[divan::bench]
fn query(bencher: Bencher) {
    let path = format!("/v1/search?q=some+words&key={DUMMY}");
    place(bencher, &rig(("x-trace", "1".to_owned()), &path, "param: key"));
}

#[divan::bench]
fn placeholder_in_basic(bencher: Bencher) {
    let basic = "Basic eC1hY2Nlc3MtdG9rZW46ZHcwYWFhYWJiYmJjY2NjZGRkZGVlZWVmZmZm".to_owned();
    place(
        bencher,
        &rig(
            ("authorization", basic),
            "/acme/api.git/info/refs",
            "inject: [{ placeholder: { in: [basic] } }]",
        ),
    );
}
