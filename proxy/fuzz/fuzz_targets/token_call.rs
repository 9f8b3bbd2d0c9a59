//! Whatever an agent sends to a token endpoint: it gets the dummy for one of its own grants, or nothing.
#![no_main]

use control::rule::Path;
use control::token_url::TokenUrl;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;
use proxy::schemes::StandIn;
use proxy::schemes::shared::stand_in::{Call, TokenEndpoint};

fuzz_target!(|bytes: &[u8]| {
    let Some((first, body)) = bytes.split_first() else { return };
    let json = first & 1 == 1;
    let kind = if json { "application/json" } else { "application/x-www-form-urlencoded" };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    let path = Path::parse("/token").expect("a path");
    let endpoint = TokenEndpoint(TokenUrl::parse("https://a.example/token").expect("a URL"));
    let call =
        Call { method: &Method::POST, path: &path, query: None, headers: &headers, body, dummy: "dummy-1" };
    if let Ok(answer) = endpoint.answer(&call) {
        assert_eq!(answer.body, r#"{"access_token":"dummy-1","expires_in":3600,"token_type":"Bearer"}"#);
        // No other grant can hide behind the one that was read: in a form there is one such name, however it is coded.
        assert!(
            json || body.split(|&b| b == b'&').filter(|pair| pair.starts_with(b"grant_type=")).count() <= 1
        );
    }
    if let Ok(text) = std::str::from_utf8(body)
        && let Ok(path) = Path::parse(text)
    {
        let host = &endpoint.0.target().host;
        assert!(!path.as_str().eq_ignore_ascii_case("/token") || endpoint.covers(host, &path));
    }
});
