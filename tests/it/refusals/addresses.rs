//! Invariants 2 and 6: spellings of addresses, default deny before any look-up, and ranges that are never dialled.

use harness::{Origin, Proxy};

use crate::world::{HOST, World, bearer, bearer_and};

#[tokio::test]
async fn refuses_connect_targets_outside_the_strict_grammar() {
    let world = World::bearer().await;
    for authority in [
        "127.1:443",
        "0x7f.1:443",
        "0x7f000001:443",
        "2130706433:443",
        "0177.0.0.1:443",
        "127.0.0.01:443",
        "127.0.0.1.:443",
        "user@api.example.com:443",
        "api.example.com@evil.example.net:443",
        "[fe80::1%25eth0]:443",
        "[fe80::1%eth0]:443",
        "[::1:443",
        "::1:443",
        "[api.example.com]:443",
        "api.example.com..:443",
        ".api.example.com:443",
        "api..example.com:443",
        "api%2eexample.com:443",
        "api.example.com#:443",
        "api.example.com;:443",
        "api.example.com\\:443",
        "api.example.com,:443",
        "b\u{fc}cher.example.com:443",
        "-api.example.com:443",
        "api.example.com:0",
        "api.example.com:65536",
        "api.example.com:0443",
        "api.example.com:+443",
        "api.example.com:-443",
        "api.example.com:0x1bb",
        "api.example.com:https",
        "api.example.com:",
        "api.example.com",
        ":443",
        "*:443",
        "/",
        "https://api.example.com:443",
    ] {
        let reply = world.agent().connect(authority).await;
        assert_eq!(reply.status, 400, "{authority}: {reply:?}");
    }
    world.origin.assert_untouched();
}

#[tokio::test]
async fn dw1001_refuses_every_address_that_no_rule_names() {
    let world = World::bearer().await;
    for authority in [
        "127.0.0.1:443",
        "[::1]:443",
        "[::ffff:127.0.0.1]:443",
        "169.254.169.254:443",
        "[fd00:ec2::254]:443",
        "metadata.google.internal:443",
        "localhost:443",
        "example.com:443",
        "api.example.com.evil.example.net:443",
        "xapi.example.com:443",
        "sub.api.example.com:443",
    ] {
        let refused = world.agent().refused(authority).await;
        assert!(refused.status == 403 && refused.is("DW1001"), "{authority}: {refused:?}");
    }
    world.origin.assert_untouched();
}

#[tokio::test]
async fn denies_by_default_before_any_lookup() {
    let world = World::bearer().await;
    // A look-up of this name would fail, and say DW2006.
    let refused = world.agent().refused("no-such-host.invalid:443").await;
    assert!(refused.is("DW1001"), "{refused:?}");
}

#[tokio::test]
async fn with_no_provider_at_all_nothing_is_allowed() {
    let origin = Origin::start(HOST).await;
    let proxy = Proxy::builder().origin(&origin).start().await;
    let refused = proxy.agent().refused("api.example.com:443").await;
    assert!(refused.is("DW1001"), "{refused:?}");
    origin.assert_untouched();
}

#[tokio::test]
async fn another_port_of_an_allowed_host_is_refused_at_connect_with_the_code_in_the_reason() {
    let world = World::bearer().await;
    for port in [80, 22, 8443, 25] {
        let mut pipe = world.agent().dial().await;
        let head = world.agent().connect_head(&format!("api.example.com:{port}"));
        let reply = pipe.exchange(head.as_bytes()).await;
        assert_eq!((reply.status, reply.reason.contains("DW1001")), (403, true), "{reply:?}");
        pipe.assert_closed().await;
    }
    world.origin.assert_untouched();
}

#[tokio::test]
async fn dw2005_refuses_a_private_address_that_nobody_listed() {
    let origin = Origin::start(HOST).await;
    let proxy = Proxy::builder().strict_addresses().bearer(HOST).origin(&origin).start().await;
    proxy.agent().get(HOST, "/").await.assert_refused(403, "DW2005");
    origin.assert_untouched();
    assert_eq!(proxy.audit().code("DW2005").await["host"], HOST);
}

#[tokio::test]
async fn refuses_every_reserved_range_and_its_embeddings() {
    let addresses = [
        "0.0.0.0",
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "169.254.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[fc00::1]",
        "[fe80::1]",
        "[ff02::1]",
        "[2001:db8::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:10.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::1]",
        "[2001:0:1::1]",
    ];
    let mut builder = Proxy::builder().strict_addresses();
    builder = builder.provider("demo", &bearer().replace("host: api.example.com", "host: \"*.example.com\""));
    for (n, address) in addresses.iter().enumerate() {
        builder = builder.arg("--resolve").arg(&format!("h{n}.example.com:443:{address}:443"));
    }
    let proxy = builder.start().await;
    for (n, address) in addresses.iter().enumerate() {
        let refused = proxy.agent().refused(&format!("h{n}.example.com:443")).await;
        assert!(refused.status == 403 && refused.is("DW2005"), "{address}: {refused:?}");
    }
}

#[tokio::test]
async fn refuses_metadata_addresses_even_when_their_range_is_listed() {
    let addresses = [
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "[fd00:ec2::254]",
        "[fd20:ce::254]",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
    ];
    let mut builder = Proxy::builder().allow_cidr("0.0.0.0/0").allow_cidr("::/0");
    builder = builder.provider("demo", &bearer().replace("host: api.example.com", "host: \"*.example.com\""));
    for (n, address) in addresses.iter().enumerate() {
        builder = builder.arg("--resolve").arg(&format!("h{n}.example.com:443:{address}:443"));
    }
    let proxy = builder.start().await;
    for (n, address) in addresses.iter().enumerate() {
        let refused = proxy.agent().refused(&format!("h{n}.example.com:443")).await;
        assert!(refused.is("DW2005"), "{address}: {refused:?}");
    }
}

#[tokio::test]
async fn refuses_to_dial_its_own_listeners() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let own = free.local_addr().unwrap();
    drop(free);
    let proxy = Proxy::builder().listen(&[&own.to_string()]).bearer(HOST).route(HOST, 443, own).start().await;
    proxy.agent().get(HOST, "/").await.assert_refused(403, "DW2005");
}

#[tokio::test]
async fn a_cidr_of_one_provider_does_not_serve_another() {
    let origin = Origin::builder(&[HOST, "other.example.com"]).start().await;
    let listed = bearer_and("network: {allowCIDRs: [127.0.0.0/8]}");
    let other = bearer().replace(HOST, "other.example.com");
    let builder = Proxy::builder().strict_addresses().provider("demo", &listed).provider("other", &other);
    let proxy = builder.origin(&origin).start().await;
    proxy.agent().get(HOST, "/").await.assert_ok();
    proxy.agent().get("other.example.com", "/").await.assert_refused(403, "DW2005");
    assert_eq!(origin.requests().len(), 1);
}
