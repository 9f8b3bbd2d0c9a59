//! Real handshakes in memory, single flight, renewal, and the walls between hosts.

use std::collections::HashSet;
use std::sync::Barrier;

use proptest::prelude::*;
use rustls::client::{ClientConfig, ClientConnection};
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, ProtocolVersion};

use super::*;
use crate::testing::{DAY, HOUR, client, handshake, host, now};

fn leaves(capacity: usize) -> (Arc<Authority>, Leaves) {
    let authority = Arc::new(Authority::generate(now()).unwrap());
    let leaves = Leaves::new(Arc::clone(&authority), capacity).unwrap();
    (authority, leaves)
}

fn any_version(authority: &Authority) -> Arc<ClientConfig> {
    Arc::new(client(authority.certificate_der(), &[&TLS13, &TLS12], &[]))
}

#[test]
fn refuses_a_client_that_asked_for_another_host() {
    let (authority, leaves) = leaves(16);
    let client = any_version(&authority);
    for (served, wanted) in [
        ("a.example", "b.example"),
        ("a.example", "x.a.example"),
        ("x.a.example", "a.example"),
        ("127.0.0.1", "127.0.0.2"),
        ("a.example", "127.0.0.1"),
        ("::1", "::2"),
    ] {
        let config = leaves.config_for(&host(served), now()).unwrap();
        assert!(handshake(&config, &client, &host(wanted)).is_err(), "{served} for {wanted}");
    }
}

#[test]
fn refuses_a_client_that_trusts_another_ca() {
    let (_, leaves) = leaves(16);
    let stranger = any_version(&Authority::generate(now()).unwrap());
    let config = leaves.config_for(&host("a.example"), now()).unwrap();
    assert!(handshake(&config, &stranger, &host("a.example")).is_err());
}

#[test]
fn refuses_hosts_that_are_not_canonical() {
    let (_, leaves) = leaves(16);
    for name in ["A.example", "a.example."] {
        assert!(matches!(leaves.config_for(&host(name), now()), Err(Error::HostNotCanonical)));
    }
    assert_eq!((leaves.minted(), leaves.len()), (0, 0));
}

#[test]
fn clients_accept_names_and_addresses_in_both_versions_with_each_alpn() {
    let (authority, leaves) = leaves(16);
    type Offer = (&'static [&'static [u8]], Option<&'static [u8]>);
    let offers: [Offer; 4] = [
        (&[b"h2"], Some(b"h2")),
        (&[b"http/1.1"], Some(b"http/1.1")),
        (&[b"http/1.1", b"h2"], Some(b"h2")),
        (&[], None),
    ];
    let versions = [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)];
    let long = format!("{}.{}.example", "a".repeat(63), "b".repeat(63));
    for name in ["api.example.com", "localhost", "my_service", "192.0.2.7", "2001:db8::7", &long] {
        for (version, expected_version) in versions {
            for (offer, expected) in offers {
                let config = leaves.config_for(&host(name), now()).unwrap();
                let client = Arc::new(client(authority.certificate_der(), &[version], offer));
                let (client, server) = handshake(&config, &client, &host(name)).unwrap();
                assert_eq!(client.protocol_version(), Some(expected_version));
                assert_eq!(server.alpn_protocol(), expected);
            }
        }
    }
    assert_eq!(leaves.minted(), 6, "one for each host");
}

#[test]
fn refuses_alpn_that_we_do_not_speak() {
    let (authority, leaves) = leaves(16);
    let config = leaves.config_for(&host("a.example"), now()).unwrap();
    let client = Arc::new(client(authority.certificate_der(), &[&TLS13], &[b"spdy/3"]));
    assert!(handshake(&config, &client, &host("a.example")).is_err());
}

/// What a client that keeps one session cache for all hosts would present: the session of `from` at `to`.
fn resumes(leaves: &Leaves, client: &Arc<ClientConfig>, at: [(SystemTime, &str); 2]) -> HandshakeKind {
    let name = host("one.example");
    let kinds = at.map(|(now, served)| {
        let mut config = leaves.config_for(&host(served), now).unwrap();
        if served != "one.example" {
            // The same leaf, so that the client has no objection of its own; tickets and sessions are `served`'s.
            let mut lying = config.as_ref().clone();
            lying.cert_resolver = Arc::clone(&leaves.config_for(&name, now).unwrap().cert_resolver);
            config = Arc::new(lying);
        }
        let (client, _) = handshake(&config, client, &name).unwrap();
        client.handshake_kind().unwrap()
    });
    assert_ne!(kinds[0], HandshakeKind::Resumed);
    kinds[1]
}

#[test]
fn a_session_of_one_host_is_never_resumed_at_another_nor_under_a_new_leaf() {
    // Yesterday's leaf is renewed at `at`, yet clients, which go by the real clock, accept both.
    let (at, yesterday) = (now(), now() - 22 * HOUR);
    let authority = Arc::new(Authority::generate(at - 2 * DAY).unwrap());
    for version in [&TLS12, &TLS13] {
        let leaves = || Leaves::new(Arc::clone(&authority), 16).unwrap();
        let client = || Arc::new(client(authority.certificate_der(), &[version], &[]));
        let same = resumes(&leaves(), &client(), [(at, "one.example"), (at, "one.example")]);
        assert_eq!(same, HandshakeKind::Resumed, "resumption works at all");
        let other = resumes(&leaves(), &client(), [(at, "two.example"), (at, "one.example")]);
        assert_ne!(other, HandshakeKind::Resumed);
        let renewed = leaves();
        let kind = resumes(&renewed, &client(), [(yesterday, "one.example"), (at, "one.example")]);
        assert_ne!(kind, HandshakeKind::Resumed);
        assert_eq!(renewed.minted(), 2);
    }
}

#[test]
fn early_data_is_never_accepted() {
    let (authority, leaves) = leaves(16);
    let config = leaves.config_for(&host("a.example"), now()).unwrap();
    assert_eq!(config.max_early_data_size, 0);
    let mut early = client(authority.certificate_der(), &[&TLS13], &[]);
    early.enable_early_data = true;
    let early = Arc::new(early);
    handshake(&config, &early, &host("a.example")).unwrap();
    let mut again = ClientConnection::new(early, host("a.example")).unwrap();
    assert!(again.early_data().is_none());
}

#[test]
fn many_threads_at_one_new_host_mint_once() {
    let (_, leaves) = leaves(1024);
    for round in 0..20_u64 {
        let name = host(&format!("host{round}.example"));
        let start = Barrier::new(16);
        let configs: HashSet<usize> = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..16)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        Arc::as_ptr(&leaves.config_for(&name, now()).unwrap()) as usize
                    })
                })
                .collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).collect()
        });
        assert_eq!((configs.len(), leaves.minted()), (1, round + 1));
    }
}

#[test]
fn many_threads_at_a_stale_leaf_renew_it_once() {
    let (_, leaves) = leaves(16);
    let (name, at) = (host("a.example"), now());
    leaves.config_for(&name, at).unwrap();
    let start = Barrier::new(16);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                start.wait();
                leaves.config_for(&name, at + DAY).unwrap();
            });
        }
    });
    assert_eq!(leaves.minted(), 2);
}

#[test]
fn a_leaf_is_renewed_an_hour_before_its_end_and_not_sooner() {
    let (_, leaves) = leaves(16);
    let (name, at) = (host("a.example"), now());
    let end = at - HOUR + DAY - Duration::from_secs(1);
    for (time, minted) in [
        (at, 1),
        (at + HOUR, 1),
        (end - HOUR - Duration::from_secs(1), 1),
        (end - HOUR, 2),
        // The clock is set back to before the new leaf.
        (at - HOUR, 3),
    ] {
        leaves.config_for(&name, time).unwrap();
        assert_eq!(leaves.minted(), minted, "{time:?}");
    }
}

#[test]
fn near_the_end_of_the_ca_leaves_are_still_cached() {
    let (authority, leaves) = leaves(16);
    let name = host("a.example");
    let end = authority.not_after();
    for second in 0..600 {
        leaves.config_for(&name, end - Duration::from_secs(600 - second)).unwrap();
    }
    assert!(leaves.minted() < 15, "{}", leaves.minted());
    assert!(matches!(leaves.config_for(&name, end + HOUR), Err(Error::Expired)));
}

#[test]
fn a_failed_mint_leaves_no_trace_and_blocks_nobody() {
    let (authority, leaves) = leaves(16);
    let (name, past) = (host("a.example"), authority.not_after() + DAY);
    for _ in 0..3 {
        assert!(leaves.config_for(&name, past).is_err());
    }
    assert_eq!((leaves.minted(), leaves.len()), (0, 0));
    leaves.config_for(&name, now()).unwrap();
}

#[test]
fn the_cache_never_outgrows_its_capacity() {
    let (_, leaves) = leaves(128);
    for index in 0..1000 {
        leaves.config_for(&host(&format!("host{index}.example")), now()).unwrap();
        assert!(leaves.len() <= 128, "{}", leaves.len());
    }
    assert!(leaves.len() > 64, "and is used: {}", leaves.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn a_host_gets_only_its_own_configuration(names in prop::collection::vec("[a-c]{1,2}\\.(example|test)", 1..40)) {
        let (authority, leaves) = leaves(8);
        let client = any_version(&authority);
        for name in names {
            let config = leaves.config_for(&host(&name), now()).unwrap();
            prop_assert!(handshake(&config, &client, &host(&name)).is_ok());
        }
    }
}
