//! The generator must notice what would make a comparison false: a peer that does not inject, a cut answer, the wrong protocol, a stall.

use bench::floor::{self, FloorArgs};
use bench::load::{Ask, Protocol, Session, Target, events, paced};
use bench::origin::{self, OriginArgs};
use bench::{BenchError, pki};
use http::HeaderValue;
use std::net::SocketAddr;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

const CREDENTIAL: &str = "Bearer of-the-tests";

struct Scene {
    folder: TempDir,
    h1: SocketAddr,
    h2: SocketAddr,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        pki::create(folder.path()).expect("pki");
        let (ready, addresses) = oneshot::channel();
        let arguments = OriginArgs { pki: folder.path().into(), credential: CREDENTIAL.into() };
        tokio::spawn(origin::run(arguments, |h1, h2| ready.send((h1, h2)).expect("someone waits")));
        let (h1, h2) = addresses.await.expect("the origin serves");
        Self { folder, h1, h2 }
    }

    fn origin(&self, protocol: Protocol) -> SocketAddr {
        match protocol {
            Protocol::H1 => self.h1,
            Protocol::H2 => self.h2,
        }
    }

    fn direct(&self, protocol: Protocol) -> Target {
        let roots = [self.folder.path().join("ca.crt")];
        Target {
            proxy: None,
            origin: self.origin(protocol),
            host: pki::HOST.into(),
            port: 443,
            token: None,
            credential: Some(HeaderValue::from_static(CREDENTIAL)),
            tls: pki::client_config_without_resumption(&roots, &[protocol.alpn()]).expect("tls"),
            protocol,
        }
    }

    async fn through_floor(&self, protocol: Protocol, credential: &str) -> Target {
        let (ready, address) = oneshot::channel();
        let arguments = FloorArgs {
            listen: "127.0.0.1:0".parse().expect("an address"),
            upstream: self.origin(protocol),
            pki: self.folder.path().into(),
            credential: credential.into(),
        };
        tokio::spawn(floor::run(arguments, |address| ready.send(address).expect("someone waits")));
        let proxy = Some(address.await.expect("the floor serves"));
        Target { proxy, credential: None, ..self.direct(protocol) }
    }
}

#[tokio::test]
async fn a_peer_that_injects_nothing_useful_has_no_number() {
    let scene = Scene::new().await;
    for protocol in [Protocol::H1, Protocol::H2] {
        let target = scene.through_floor(protocol, "Bearer of-nobody").await;
        let mut session = Session::open(&target).await.expect("a tunnel");
        let error = session.exchange(&Ask::small()).await.expect_err("no credential");
        assert!(matches!(&error, BenchError::Answer(text) if text.contains("401")), "{error}");
    }
}

#[tokio::test]
async fn an_answer_of_another_length_is_an_error() {
    let scene = Scene::new().await;
    let mut session = Session::open(&scene.direct(Protocol::H1)).await.expect("a connection");
    let ask = Ask { answer: Some(1), ..Ask::small() };
    assert!(matches!(session.exchange(&ask).await, Err(BenchError::Answer(_))));
}

#[tokio::test]
async fn an_origin_without_h2_is_not_measured_as_h2() {
    let scene = Scene::new().await;
    let target = Target { origin: scene.h1, ..scene.direct(Protocol::H2) };
    assert!(Session::open(&target).await.is_err());
}

#[tokio::test]
async fn a_connect_that_is_refused_names_the_answer() {
    let scene = Scene::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let proxy = Some(listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        let (mut agent, _) = listener.accept().await.expect("an agent");
        agent.write_all(b"HTTP/1.1 403 DW1001\r\n\r\n").await.expect("an answer");
    });
    let target = Target { proxy, ..scene.direct(Protocol::H1) };
    let error = Session::open(&target).await.expect_err("a refusal");
    assert!(matches!(&error, BenchError::Refused(text) if text.contains("403 DW1001")), "{error}");
}

#[tokio::test]
async fn a_stall_is_charged_to_every_request_that_waited_for_it() {
    let scene = Scene::new().await;
    let target = scene.direct(Protocol::H1);
    let session = Session::open(&target).await.expect("a connection");
    // One connection, an answer that takes 50 ms, a request due every millisecond: the fifth has waited for four others.
    let slow = Ask::events(1, 50);
    let sample = paced::drive(&target, vec![session], &slow, 1000, 5).await;
    assert_eq!((sample.errors, sample.latencies.len()), (0, 5));
    let last = Duration::from_nanos(sample.latencies.last().copied().unwrap_or(0));
    assert!(last >= Duration::from_millis(5 * 50 - 5), "{last:?}");
}

#[tokio::test]
async fn the_floor_carries_both_protocols_and_bodies_both_ways() {
    let scene = Scene::new().await;
    for protocol in [Protocol::H1, Protocol::H2] {
        let target = scene.through_floor(protocol, CREDENTIAL).await;
        let mut session = Session::open(&target).await.expect("a tunnel");
        for ask in [Ask::small(), Ask::echo(), Ask::download(2), Ask::upload(2), Ask::small()] {
            session.exchange(&ask).await.unwrap_or_else(|error| panic!("{protocol:?} {}: {error}", ask.path));
        }
        let sample = events::read(&mut session, 5, 2).await.expect("events");
        assert_eq!((sample.errors, sample.latencies.len()), (0, 5));
    }
}
