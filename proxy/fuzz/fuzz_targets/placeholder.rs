//! The dummy becomes the value on the named spots, in one pass, and the value gets nowhere else.
//!
//! The input's parts (separated by 0x02) are the target, then the headers in the order of `HEADERS`; 0x01 stands for the dummy.
#![no_main]

use bytes::Bytes;
use control::catalog::{FieldValue, Fields, Spot};
use control::secret::{Secret, SecretRef};
use control::vault::{Opened, Terms};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;
use proxy::schemes::{self, Bounds, Head, Outgoing, Values};

const DUMMY: &str = "tst_dw0aaaabbbbccccdddd";
/// Holds the dummy: what was put in must not be read again.
const VALUE: &str = "c4nary-tst_dw0aaaabbbbccccdddd-yran4c";
const HEADERS: [&str; 4] = ["x-api-key", "authorization", "user-agent", "cookie"];

fuzz_target!(|input: &[u8]| {
    if contains(input, b"c4nary") {
        return;
    }
    let Some(mut head) = request(input) else { return };
    let before = head.headers.clone();
    let dummies = [DUMMY.to_owned()];
    let bounds = Bounds::default();
    let mut out = Outgoing::new(&mut head, &dummies, &bounds, None::<Bytes>);
    let placed = armed().place(&mut out).and_then(|()| out.finish());
    for name in ["user-agent", "cookie"] {
        assert_eq!(before.get(name), head.headers.get(name), "{name} was changed");
    }
    if placed.is_err() {
        return;
    }
    if let Some(sent) = before.get("x-api-key") {
        let sent = String::from_utf8_lossy(sent.as_bytes()).replace(DUMMY, VALUE);
        let now = head.headers.get("x-api-key").map(|value| String::from_utf8_lossy(value.as_bytes()));
        assert_eq!(now.as_deref(), Some(sent.as_str()));
    }
    assert!(head.target.as_str().len() <= bounds.url_bytes);
});

fn armed() -> Box<dyn schemes::Armed> {
    let spots = vec![Spot::Header("x-api-key".into()), Spot::Query("key".into()), Spot::Path, Spot::Basic];
    let fields = Fields([("in", FieldValue::Spots(spots))].into_iter().collect());
    let scheme = schemes::build("placeholder", &fields).expect("the fields are valid");
    let secret = SecretRef { project: "p".into(), name: "fuzz".parse().expect("a name") };
    let opened = Opened {
        version: 1.into(),
        values: vec![("token".to_owned(), Secret::new(VALUE.as_bytes().to_vec()))],
        terms: Terms { secret, expires: None, hosts: None, stale_at: None, lease: None },
    };
    let keys = ["token".to_owned()];
    scheme.arm(&Values::new(&opened, &keys)).expect("the value fits").armed
}

fn request(input: &[u8]) -> Option<Head> {
    let mut parts = input.split(|byte| *byte == 2).map(|part| {
        part.iter().flat_map(|byte| match byte {
            1 => DUMMY.as_bytes().to_vec(),
            other => vec![*other],
        })
    });
    let target: Vec<u8> = parts.next()?.collect();
    let mut headers = HeaderMap::new();
    for (name, part) in HEADERS.iter().zip(parts) {
        headers
            .insert(HeaderName::from_static(name), HeaderValue::from_bytes(&part.collect::<Vec<u8>>()).ok()?);
    }
    let target = target.as_slice().try_into().ok()?;
    Some(Head { method: Method::GET, target, headers })
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
