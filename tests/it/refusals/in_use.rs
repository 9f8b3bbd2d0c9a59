//! What is still used is not deleted.

use harness::proxy::build::provider_yaml;
use harness::{Home, canary};

use crate::world::bearer;

#[test]
fn dw6002_a_secret_that_a_provider_uses_is_not_deleted() {
    let home = Home::keyed();
    home.add("canary", &canary::fresh(), &[]).assert_ok();
    home.write("demo.yaml", &provider_yaml("demo", &bearer()));
    let file = home.path("demo.yaml").to_str().unwrap().to_owned();
    let delete =
        |more: &[&str]| home.run(&[&["delete", "secret", "canary", "--providers", &file], more].concat(), "");
    let refused = delete(&[]);
    refused.assert_fails(6, "DW6002 secret `canary` is used by provider");
    assert!(refused.stderr.contains("demo.yaml:"), "{refused:?}");
    let names = || home.run(&["get", "secrets", "-o", "name"], "").assert_ok().stdout.clone();
    assert_eq!(names().trim(), "secret/canary");
    delete(&["--force"]).assert_ok();
    assert_eq!(names().trim(), "");
}
