//! Paths: matched in canonical form and sent in it; deny reads widely, allow narrowly.

use crate::world::{HOST, World, bearer_and};

const DENY_ADMIN: &str = "
policy:
  httpRules:
  - {id: no-admin, methods: [\"*\"], paths: [\"/admin/**\"], effect: deny}
  - {id: rest, methods: [\"*\"], paths: [\"/**\"], effect: allow}
  defaultAction: deny";

const ALLOW_V1: &str = "
policy:
  httpRules:
  - {id: v1, methods: [\"*\"], paths: [\"/v1/**\"], effect: allow}
  defaultAction: deny";

const ALLOW_ONE: &str = "
policy:
  httpRules:
  - {id: one, methods: [\"*\"], paths: [\"/v1/*\"], effect: allow}
  defaultAction: deny";

#[tokio::test]
async fn dw1002_no_spelling_of_a_path_gets_around_a_deny() {
    let world = World::of(&bearer_and(DENY_ADMIN)).await;
    for path in [
        "/admin",
        "/admin/",
        "/admin/x",
        "/v1/../admin/x",
        "/v1/./../admin/x",
        "/v1/%2e%2e/admin/x",
        "/v1/%2E./admin/x",
        "/%61dmin/x",
        "/%61%64%6d%69%6e/x",
        "/admin%2fx",
        "/admin%2Fx",
        "/admin%5cx",
        "/v1/..%2fadmin/x",
        "/v1%2f..%2fadmin/x",
        "/v1/%252e%252e/admin/x",
        "/%2561dmin/x",
        "/admin%252fx",
        "/admin;x=1/y",
        "/admin;/x",
        "/ADMIN/x",
        "/Admin%2Fx",
        "/./admin/x",
        "/v1/..;/admin/x",
        "/admin/x?a=b",
        "/admin/x/../y",
    ] {
        let reply = world.agent().get(HOST, path).await;
        // A path that hides a dot segment is refused before any rule.
        let hidden = reply.status == 400;
        reply.assert_refused(if hidden { 400 } else { 403 }, if hidden { "DW2008" } else { "DW1002" });
    }
    world.assert_nothing_left();
    let line = world.proxy.audit().code("DW1002").await;
    assert!(line["rule"].as_str().unwrap().starts_with("no-admin"), "{line}");
    assert_eq!(line["verdict"], "deny", "{line}");
}

#[tokio::test]
async fn doubled_slashes_do_not_get_around_a_deny() {
    let world = World::of(&bearer_and(DENY_ADMIN)).await;
    for path in ["//admin/x", "/.//admin/x", "///admin/x"] {
        let reply = world.agent().get(HOST, path).await;
        assert!(matches!(reply.status, 400 | 403), "{path}: {reply:?}");
    }
    world.assert_nothing_left();
}

#[tokio::test]
async fn dw2008_refuses_paths_that_have_no_canonical_form() {
    let world = World::of(&bearer_and(DENY_ADMIN)).await;
    for path in [
        "/a%00b",
        "/a%zzb",
        "/a%",
        "/a%2",
        "/%c0%ae%c0%ae/admin/x",
        "/%c0%af",
        "/%e0%80%af",
        "/../x",
        "/v1/../../x",
        "/%2e%2e/x",
        "/v1/%2e%2e/%2e%2e/x",
    ] {
        let reply = world.agent().get(HOST, path).await;
        reply.assert_refused(400, "DW2008");
    }
    world.assert_nothing_left();
}

#[tokio::test]
async fn no_spelling_of_a_path_widens_an_allow() {
    let world = World::of(&bearer_and(ALLOW_V1)).await;
    for path in [
        "/",
        "/v1x",
        "/v2/x",
        "/V1/x",
        "/v1/../v2/x",
        "/v1/%2e%2e/v2/x",
        "/v1%2fx",
        "/v1%5cx",
        "/v1;a=b/x",
        "/v2/..;/v1/x",
        "/%2576%31/x",
        "/v2/..%2fv1/x",
        "//v1/x",
        "/x/v1/y",
    ] {
        let reply = world.agent().get(HOST, path).await;
        assert!(matches!(reply.status, 400 | 403), "{path}: {reply:?}");
    }
    world.assert_nothing_left();
}

#[tokio::test]
async fn one_star_is_one_segment() {
    let world = World::of(&bearer_and(ALLOW_ONE)).await;
    for path in ["/v1", "/v1/a/b", "/v1/a/"] {
        world.agent().get(HOST, path).await.assert_refused(403, "DW1002");
    }
    world.assert_nothing_left();
    world.agent().get(HOST, "/v1/a").await.assert_ok();
}

#[tokio::test]
async fn what_was_matched_is_what_is_sent() {
    let world = World::of(&bearer_and(ALLOW_V1)).await;
    for (asked, sent) in [
        ("/v1", "/v1"),
        ("/v1/", "/v1/"),
        ("/v1/./a/../b%41", "/v1/bA"),
        ("/v2/../v1/x", "/v1/x"),
        ("/%761/%7Ex", "/v1/~x"),
        ("/v1/a?b=%2e%2e&c", "/v1/a?b=%2e%2e&c"),
        ("/v1/a%20b", "/v1/a%20b"),
        ("/v1/%C3%A9", "/v1/%C3%A9"),
    ] {
        world.agent().get(HOST, asked).await.assert_ok();
        assert_eq!(world.origin.last().target, sent, "asked {asked}");
    }
}

#[tokio::test]
async fn path_tricks_are_refused_over_h2_as_well() {
    let world = World::of(&bearer_and(DENY_ADMIN)).await;
    let mut client = world.agent().h2(HOST).await;
    for path in ["/v1/%2e%2e/admin/x", "/admin%2fx", "/%61dmin/x"] {
        client.get(path).await.assert_refused(403, "DW1002");
    }
    client.get("/a%00b").await.assert_refused(400, "DW2008");
    world.assert_nothing_left();
}
