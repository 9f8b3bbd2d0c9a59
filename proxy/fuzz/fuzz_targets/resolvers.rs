//! Whatever an agent asks of whichever type: its resolver names an action and says clearly what it could not read.
#![no_main]

use control::rule::Path;
use control::target::Target;
use control::types::{ALL, Ask, Clarity, Resource, Told, UNKNOWN};
use http::{HeaderMap, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;

const METHODS: [Method; 6] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

fuzz_target!(|bytes: &[u8]| {
    let [kind, host, method, grpc, rest @ ..] = bytes else { return };
    let kind = ALL[usize::from(*kind) % ALL.len()];
    let Ok(text) = std::str::from_utf8(rest) else { return };
    // A body that was read stands in the lines behind the first.
    let (text, body) = text.split_once('\n').map_or((text, None), |(line, body)| (line, Some(body)));
    let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
    let Ok(path) = Path::parse(path) else { return };
    let host = kind.hosts.get(usize::from(*host) % kind.hosts.len().max(1)).copied().unwrap_or("a.example");
    let labels = ["storage", "pubsub", "bigquery", "us-east1-aiplatform", "acme", "www"];
    let label = labels[usize::from(*method >> 4) % labels.len()];
    let target = Target::parse_host(&host.replace('*', label), 443).expect("a host of the type");
    let mut headers = HeaderMap::new();
    if grpc & 1 == 1 {
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    }
    let ask = Ask {
        host: &target.host,
        method: &METHODS[usize::from(*method) % METHODS.len()],
        path: path.as_str(),
        query,
        body: body.map(|body| if grpc & 2 == 2 { Told::Json(body) } else { Told::Form(body) }),
        headers: &headers,
    };
    let resolved = (kind.resolve)(&ask);
    assert!(!resolved.action.is_empty());
    if let Resource::Arns(names) = &resolved.resource {
        assert!(!names.is_empty() && names.iter().all(|name| !name.is_empty()));
    }
    // A list of what is denied would hold nothing back if anybody could make a request unknown and clear.
    if ["aws", "gcp", "azure"].contains(&kind.name) && resolved.action == UNKNOWN {
        assert_eq!(resolved.clarity, Clarity::Opaque);
    }
    let overrides = |query: &str| query.split(['&', ';']).any(|pair| pair.starts_with("$httpMethod"));
    if kind.name == "gcp" && query.is_some_and(overrides) {
        assert_eq!(resolved.action, UNKNOWN);
    }
});
