//! WebSocket: the limits of every request hold for its handshake, and its stream has limits of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use harness::agent::ws;
use harness::origin::raw::{RawOrigin, Step};
use harness::within::{DEADLINE, until};
use harness::{Origin, Proxy, ProxyBuilder, answer, within};
use tokio_tungstenite::tungstenite::Message;

use crate::world::{HOST, World, bearer_and};

const SWITCHING: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ";

fn switching(more: &str) -> Vec<u8> {
    format!("{SWITCHING}{}\r\n{more}\r\n", ws::ACCEPT).into_bytes()
}

async fn raw(builder: ProxyBuilder, script: Vec<Step>) -> (Proxy, RawOrigin) {
    let origin = RawOrigin::tls(HOST, script).await;
    let proxy = builder.route(HOST, 443, origin.address()).start().await;
    (proxy, origin)
}

#[tokio::test]
async fn dw2013_a_websocket_counts_among_the_upstreams_connections() {
    let builder = Proxy::builder()
        .bearer(HOST)
        .limit("upstream-connections", "1")
        .limit("upstream-wait", "100ms")
        .arg("--workers")
        .arg("1");
    let echo = answer::websocket(|_, message| Some(message));
    let world = World::built(Origin::builder(&[HOST]).h1().answer(echo), builder).await;
    // An idle connection of the pool gives way.
    assert_eq!(world.agent().get(HOST, "/").await.status, 426);
    let socket = world.agent().websocket(HOST, "/first", &[]).await.unwrap();
    world.agent().ask(HOST, &ws::upgrade_head("/second")).await.assert_refused(503, "DW2013");
    world.agent().get(HOST, "/third").await.assert_refused(503, "DW2013");
    drop(socket);
    world.proxy.audit().request("/first").await;
    assert!(world.agent().websocket(HOST, "/again", &[]).await.is_ok());
}

#[tokio::test]
async fn dw2006_a_providers_timeout_holds_for_the_handshake() {
    let builder = Proxy::builder().provider("demo", &bearer_and("limits: {timeout: 1s}"));
    let (proxy, _origin) = raw(builder, vec![Step::Hear(b"\r\n\r\n".to_vec()), Step::Hold]).await;
    proxy.agent().ask(HOST, &ws::upgrade_head("/")).await.assert_refused(504, "DW2006");
}

#[tokio::test]
async fn dw2010_too_many_interim_answers_to_a_handshake() {
    let mut wire = b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(9);
    wire.extend(switching(""));
    let (proxy, _origin) = raw(Proxy::builder().bearer(HOST), vec![Step::Say(wire)]).await;
    proxy.agent().ask(HOST, &ws::upgrade_head("/")).await.assert_refused(502, "DW2010");
}

#[tokio::test]
async fn dw2010_an_agreement_with_too_many_fields() {
    for fields in ["X-Many: 1\r\n".repeat(120), format!("X-Long: {}\r\n", "x".repeat(80_000))] {
        let script = vec![Step::Say(switching(&fields))];
        let (proxy, _origin) = raw(Proxy::builder().bearer(HOST), script).await;
        proxy.agent().ask(HOST, &ws::upgrade_head("/")).await.assert_refused(502, "DW2010");
    }
}

#[tokio::test]
async fn a_handshake_that_is_asked_for_long_is_opened_in_the_audit() {
    let builder = Proxy::builder().bearer(HOST).limit("audit-open-after", "100ms");
    let (proxy, _origin) = raw(builder, vec![Step::Hear(b"\r\n\r\n".to_vec()), Step::Hold]).await;
    let mut tls = proxy.agent().tls(HOST).await;
    tls.send(&harness::agent::wire(HOST, &ws::upgrade_head("/asked"), b"")).await;
    proxy.audit().wait_for("open", |line| line["kind"] == "open" && line["path"] == "/asked").await;
}

#[tokio::test]
async fn a_websocket_that_moves_one_way_is_not_idle() {
    let heard = Arc::new(AtomicUsize::new(0));
    let hearing = Arc::clone(&heard);
    let quiet = answer::websocket(move |_, message| {
        hearing.fetch_add(1, Ordering::Relaxed);
        message.to_text().is_ok_and(|text| text == "end").then_some(message)
    });
    let builder = Proxy::builder().bearer(HOST).limit("tunnel-idle", "2s");
    let world = World::built(Origin::builder(&[HOST]).answer(quiet), builder).await;
    let mut socket = world.agent().websocket(HOST, "/ws", &[]).await.unwrap();
    let start = Instant::now();
    // Time has to pass here, it is what is tested; each message is there before the next one goes.
    let mut sent = 0;
    while start.elapsed() < Duration::from_secs(5) {
        socket.send(Message::text("ping")).await.unwrap();
        sent += 1;
        until("the message", DEADLINE, async || heard.load(Ordering::Relaxed) == sent).await;
    }
    socket.send(Message::text("end")).await.unwrap();
    let answer = within("an answer", socket.next()).await.expect("an open socket").unwrap();
    assert_eq!(answer, Message::text("end"));
    // Where nothing moves either way it ends.
    while let Some(Ok(_)) = within("the end", socket.next()).await {}
}

#[tokio::test]
async fn an_agent_that_takes_nothing_ends_its_websocket_and_what_it_got_is_recorded() {
    let mut wire = switching("");
    wire.extend(ws::frame(2, true, None, &vec![7; 32 << 20]));
    let builder = Proxy::builder().bearer(HOST).limit("tunnel-write", "500ms");
    let (proxy, _origin) = raw(builder, vec![Step::Say(wire), Step::Hold]).await;
    let mut tls = proxy.agent().tls(HOST).await;
    tls.send(&harness::agent::wire(HOST, &ws::upgrade_head("/stuck"), b"")).await;
    assert_eq!(tls.read_head().await.status, 101);
    // Nothing more is read; the record is that of the end.
    let line = proxy.audit().request("/stuck").await;
    let out = line["bytes_out"].as_u64().unwrap();
    assert!(out > 0 && out < 32 << 20, "{line}");
}

#[tokio::test]
async fn the_record_of_a_handshake_over_h2_has_the_method_that_was_judged() {
    let rules = "policy: {httpRules: [{id: open, methods: [GET], paths: [/open], effect: allow}], defaultAction: deny}";
    let echo = answer::websocket(|_, message| Some(message));
    let world = World::with(Origin::builder(&[HOST]).answer(echo), &bearer_and(rules)).await;
    let mut client = world.agent().h2(HOST).await;
    client.websocket("/closed").await.unwrap_err().assert_refused(403, "DW1002");
    drop(client.websocket("/open").await.unwrap());
    for path in ["/closed", "/open"] {
        let line = world.proxy.audit().request(path).await;
        assert_eq!(line["method"], "GET", "{line}");
    }
}
