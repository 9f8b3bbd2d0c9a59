//! Connections in unusual pieces: everything at once, one byte at a time, half closed, many.

use std::io::Cursor;

use harness::agent::tunnel::Pipe;
use rustls::ClientConnection;

use crate::world::{HOST, World};

/// Drives a handshake by hand to its end.
async fn shake(pipe: &mut Pipe, client: &mut ClientConnection) {
    while client.is_handshaking() || client.wants_write() {
        while client.wants_write() {
            let mut out = Vec::new();
            client.write_tls(&mut out).unwrap();
            pipe.send(&out).await;
        }
        if client.is_handshaking() {
            let bytes = pipe.read_any().await;
            assert!(!bytes.is_empty(), "closed in the handshake");
            let mut cursor = Cursor::new(bytes);
            while (cursor.position() as usize) < cursor.get_ref().len() {
                client.read_tls(&mut cursor).unwrap();
                client.process_new_packets().unwrap();
            }
        }
    }
}

fn client(world: &World) -> ClientConnection {
    let config = harness::ca::client_config(&world.proxy.ca_pem(), &["http/1.1"], rustls::ALL_VERSIONS);
    ClientConnection::new(config, HOST.try_into().unwrap()).unwrap()
}

#[tokio::test]
async fn a_client_hello_may_follow_connect_in_the_same_packet() {
    let world = World::bearer().await;
    let mut client = client(&world);
    let mut bytes = world.agent().connect_head("api.example.com:443").into_bytes();
    client.write_tls(&mut bytes).unwrap();
    let mut pipe = world.agent().dial().await;
    pipe.send(&bytes).await;
    assert_eq!(pipe.read_head().await.status, 200);
    shake(&mut pipe, &mut client).await;
    assert_eq!(client.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[tokio::test]
async fn heads_and_hellos_may_come_one_byte_at_a_time() {
    let world = World::bearer().await;
    let mut pipe = world.agent().dial().await;
    for byte in world.agent().connect_head("api.example.com:443").bytes() {
        pipe.send(&[byte]).await;
    }
    assert_eq!(pipe.read_head().await.status, 200);
    let mut client = client(&world);
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    for byte in hello {
        pipe.send(&[byte]).await;
    }
    shake(&mut pipe, &mut client).await;
    let mut tls = world.agent().tls(HOST).await;
    for byte in b"POST /slow HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 5\r\n\r\nhello" {
        tls.send(&[*byte]).await;
    }
    assert!(tls.read_reply("POST").await.assert_ok().text().ends_with("hello"));
}

#[tokio::test]
async fn sixty_tunnels_at_once_are_all_served() {
    let world = World::bearer().await;
    let tasks: Vec<_> = (0..60)
        .map(|n| {
            let agent = world.agent();
            tokio::spawn(async move { agent.get(HOST, &format!("/{n}")).await.assert_ok().text() })
        })
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert!(task.await.unwrap().starts_with(&format!("GET /{n}\n")));
    }
    for seen in world.origin.requests() {
        assert_eq!(seen.headers_named("authorization"), [world.bearer_value()]);
    }
}

#[tokio::test]
async fn a_tunnel_that_closes_without_a_word_leaves_a_record_and_no_connection() {
    let world = World::bearer().await;
    let mut pipe = world.agent().dial().await;
    pipe.send(world.agent().connect_head("api.example.com:443").as_bytes()).await;
    assert_eq!(pipe.read_head().await.status, 200);
    drop(pipe);
    drop(world.agent().tls(HOST).await);
    world.agent().get(HOST, "/after").await.assert_ok();
    assert_eq!(world.origin.requests().len(), 1);
}
