//! WebSocket: decided on the handshake, read both ways, masked in place.

use futures_util::{SinkExt as _, StreamExt as _};
use harness::agent::ws;
use harness::origin::raw::{RawOrigin, Step};
use harness::{Origin, Proxy, answer, canary, within};
use tokio_tungstenite::tungstenite::Message;

use crate::world::{HOST, World, bearer, bearer_and};

fn echo() -> answer::Answer {
    answer::websocket(|_, message| Some(message))
}

/// Answers every message with the credential that came with the handshake.
fn leak() -> answer::Answer {
    answer::websocket(|seen, _| {
        Some(Message::text(format!("<{}>", seen.header("authorization").unwrap_or_default())))
    })
}

async fn raw(script: Vec<Step>) -> (Proxy, RawOrigin) {
    let origin = RawOrigin::tls(HOST, script).await;
    let proxy = Proxy::builder().bearer(HOST).route(HOST, 443, origin.address()).start().await;
    (proxy, origin)
}

fn switching(accept: &str) -> Vec<u8> {
    format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n")
        .into_bytes()
}

#[tokio::test]
async fn rules_are_decided_on_the_handshake() {
    let rules = "policy: {httpRules: [{id: open, methods: [GET], paths: [/open], effect: allow}], defaultAction: deny}";
    let world = World::with(Origin::builder(&[HOST]).answer(echo()), &bearer_and(rules)).await;
    world.agent().ask(HOST, &ws::upgrade_head("/closed")).await.assert_refused(403, "DW1002");
    let mut client = world.agent().h2(HOST).await;
    client.websocket("/closed").await.unwrap_err().assert_refused(403, "DW1002");
    world.assert_nothing_left();
    assert!(world.agent().websocket(HOST, "/open", &[]).await.is_ok());
}

#[tokio::test]
async fn dw2010_refuses_a_101_with_a_wrong_accept_value() {
    for accept in ["", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=", "s3pPLMBiTxaQ9kYGzzhZRbK+xOp="] {
        let (proxy, _origin) = raw(vec![Step::Say(switching(accept))]).await;
        proxy.agent().ask(HOST, &ws::upgrade_head("/")).await.assert_refused(502, "DW2010");
    }
}

#[tokio::test]
async fn nothing_is_forwarded_past_an_upgrade_request_before_a_valid_101() {
    let (proxy, origin) =
        raw(vec![Step::Say(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_vec())]).await;
    let mut tls = proxy.agent().tls(HOST).await;
    let mut bytes = harness::agent::wire(HOST, &ws::upgrade_head("/"), b"");
    bytes.extend_from_slice(b"smuggled bytes that are no request\r\n\r\n");
    let reply = tls.exchange(&bytes).await;
    assert!(matches!(reply.status, 403 | 400), "{reply:?}");
    assert!(!origin.text().contains("smuggled"));
}

#[tokio::test]
async fn an_upgrade_to_anything_else_is_not_forwarded() {
    let world = World::bearer().await;
    for upgrade in ["h2c", "tcp", "websocket2"] {
        let head = format!(
            "GET / HTTP/1.1\nConnection: Upgrade, HTTP2-Settings\nUpgrade: {upgrade}\nHTTP2-Settings: AAMAAABkAAQAAP__"
        );
        world.agent().ask(HOST, &head).await;
    }
    for seen in world.origin.requests() {
        assert_eq!((seen.header("upgrade"), seen.header("http2-settings")), (None, None), "{seen:#?}");
    }
}

#[tokio::test]
async fn messages_flow_both_ways_over_h1() {
    let world = World::with(Origin::builder(&[HOST]).answer(echo()), &bearer()).await;
    let mut socket = world.agent().websocket(HOST, "/ws", &[]).await.unwrap();
    for message in
        [Message::text("hello"), Message::binary(vec![0, 1, 2]), Message::text("x".repeat(100_000))]
    {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(within("an echo", socket.next()).await.unwrap().unwrap(), message);
    }
    world.assert_injected();
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = within("the close", socket.next()).await {}
    let line = world.proxy.audit().request("/ws").await;
    assert_eq!(line["status"], 101, "{line}");
}

#[tokio::test]
async fn rfc_8441_from_the_agent_becomes_an_upgrade_upstream() {
    for up in ["h1", "h2"] {
        let answer = echo();
        let builder = Origin::builder(&[HOST]).answer(answer);
        // The upstream of a WebSocket is always asked for HTTP/1.1.
        let builder = if up == "h1" { builder.h1() } else { builder };
        let world = World::with(builder, &bearer()).await;
        let mut client = world.agent().h2(HOST).await;
        let mut socket = client.websocket("/ws").await.unwrap();
        socket.send(Message::text("over h2")).await.unwrap();
        assert_eq!(within("an echo", socket.next()).await.unwrap().unwrap(), Message::text("over h2"));
        let seen = world.origin.only();
        assert_eq!((seen.method.as_str(), seen.version.as_str()), ("GET", "HTTP/1.1"));
        assert_eq!(seen.header("upgrade"), Some("websocket"));
        world.assert_injected();
    }
}

#[tokio::test]
async fn a_credential_in_a_payload_is_masked_in_place() {
    let world = World::with(Origin::builder(&[HOST]).answer(leak()), &bearer()).await;
    let mut socket = world.agent().websocket(HOST, "/ws", &[]).await.unwrap();
    socket.send(Message::text("say it")).await.unwrap();
    let message = within("an answer", socket.next()).await.unwrap().unwrap().into_text().unwrap().to_string();
    assert_eq!(message, format!("<Bearer {}>", "*".repeat(world.proxy.canary().len())));
    world.proxy.sweep().note("websocket", message.as_bytes());
}

#[tokio::test]
async fn a_credential_in_a_payload_is_masked_over_h2_too() {
    let world = World::with(Origin::builder(&[HOST]).answer(leak()), &bearer()).await;
    let mut client = world.agent().h2(HOST).await;
    let mut socket = client.websocket("/ws").await.unwrap();
    socket.send(Message::text("say it")).await.unwrap();
    let message = within("an answer", socket.next()).await.unwrap().unwrap().into_text().unwrap().to_string();
    assert_eq!(canary::search(message.as_bytes(), world.proxy.canary()), None);
    assert!(message.ends_with("*>"), "{message}");
}

#[tokio::test]
async fn a_credential_split_over_frames_is_masked() {
    let secret = canary::fresh();
    let (head, tail) = secret.split_at(20);
    let mut wire = switching(ws::ACCEPT);
    wire.extend(ws::frame(1, false, None, format!("<{head}").as_bytes()));
    wire.extend(ws::frame(0, true, None, format!("{tail}>").as_bytes()));
    let origin = RawOrigin::tls(HOST, vec![Step::Say(wire)]).await;
    let proxy =
        Proxy::builder().canary(&secret).bearer(HOST).route(HOST, 443, origin.address()).start().await;
    let mut tls = proxy.agent().tls(HOST).await;
    tls.send(&harness::agent::wire(HOST, &ws::upgrade_head("/"), b"")).await;
    let all = tls.read_to_end().await;
    // In the frames' payloads, read one after the other.
    let payloads: Vec<u8> = all.into_iter().filter(u8::is_ascii_graphic).collect();
    assert!(canary::longest_head(&payloads, &secret) < 16, "{}", String::from_utf8_lossy(&payloads));
}

#[tokio::test]
async fn permessage_deflate_is_not_offered_upstream() {
    let world = World::with(Origin::builder(&[HOST]).answer(echo()), &bearer()).await;
    let extension = [
        ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
        ("Sec-WebSocket-Protocol", "chat"),
    ];
    let head = format!(
        "{}\n{}",
        ws::upgrade_head("/"),
        extension.map(|(name, value)| format!("{name}: {value}")).join("\n")
    );
    assert_eq!(world.agent().ask(HOST, &head).await.status, 101);
    let seen = world.origin.only();
    assert_eq!(
        (seen.header("sec-websocket-extensions"), seen.header("sec-websocket-protocol")),
        (None, Some("chat"))
    );
}

#[tokio::test]
async fn broken_frames_of_the_upstream_close_with_1002() {
    for broken in [
        ws::frame(3, true, None, b"reserved opcode"),
        ws::frame(1, true, Some([1, 2, 3, 4]), b"masked by a server"),
        ws::frame(9, true, None, &[0; 200]),
        vec![0xf1, 0x02, b'h', b'i'],
        ws::frame(0, true, None, b"continues nothing"),
        vec![0x81, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ] {
        let mut wire = switching(ws::ACCEPT);
        wire.extend(&broken);
        let (proxy, _origin) = raw(vec![Step::Say(wire), Step::Hear(b"\0never\0".to_vec())]).await;
        let mut tls = proxy.agent().tls(HOST).await;
        tls.send(&harness::agent::wire(HOST, &ws::upgrade_head("/"), b"")).await;
        assert_eq!(tls.read_head().await.status, 101);
        let mut rest = Vec::new();
        let close = loop {
            if let Some(at) = rest.windows(4).position(|frame| frame[0] == 0x88) {
                break rest[at + 2..at + 4].to_vec();
            }
            let more = tls.read_any().await;
            assert!(!more.is_empty(), "{broken:?}: closed without a close frame: {rest:?}");
            rest.extend(more);
        };
        assert_eq!(close, 1002u16.to_be_bytes(), "{broken:?}: {rest:?}");
    }
}

#[tokio::test]
async fn pings_pongs_and_closes_pass() {
    let mut wire = switching(ws::ACCEPT);
    wire.extend(ws::frame(9, true, None, b"ping"));
    wire.extend(ws::frame(8, true, None, &[0x03, 0xe8]));
    let (proxy, origin) = raw(vec![Step::Say(wire), Step::Hear(b"\0never\0".to_vec())]).await;
    let mut tls = proxy.agent().tls(HOST).await;
    tls.send(&harness::agent::wire(HOST, &ws::upgrade_head("/"), b"")).await;
    assert_eq!(tls.read_head().await.status, 101);
    assert_eq!(tls.read_some(6).await, ws::frame(9, true, None, b"ping"));
    assert_eq!(tls.read_some(4).await, ws::frame(8, true, None, &[0x03, 0xe8]));
    tls.send(&ws::frame(8, true, Some([0; 4]), &[0x03, 0xe8])).await;
    // Opcode and length of the close arrive, masked by whichever key.
    origin.wait_for("\u{fffd}").await;
}
