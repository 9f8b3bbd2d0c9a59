//! Codes whose situations come with a later release: until then what would lead to them is refused by its name.

use harness::Proxy;

use crate::world::HOST;

#[tokio::test]
async fn dw5002_a_proxy_that_would_follow_a_control_server_does_not_start() {
    let builder = Proxy::builder().bearer(HOST).arg("--control").arg("https://control.example.com");
    let Err(failure) = builder.try_start().await else { panic!("it started") };
    assert_eq!(failure.code, Some(2), "{failure:?}");
    assert!(failure.stderr.contains("--control"), "{}", failure.stderr);
}
