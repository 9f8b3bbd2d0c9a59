//! How the server closes connections: no answer is lost by it, and over TLS it says that nothing more comes.

use harness::within::within;
use harness::{Server, TlsStream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn read_to(stream: &mut TlsStream, end: &str) -> String {
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains(end) {
        let read = within("an answer", stream.read_buf(&mut text)).await.expect("an answer");
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&text));
    }
    String::from_utf8(text).unwrap()
}

/// The end has to be said (close_notify): rustls calls any other one an error.
async fn read_to_end(stream: &mut TlsStream) -> String {
    let mut text = String::new();
    within("an end", stream.read_to_string(&mut text)).await.expect("an orderly end");
    text
}

#[tokio::test]
async fn a_refusal_before_the_body_came_says_that_it_is_the_last_answer_and_takes_the_body_all_the_same() {
    let server = Server::start().await;
    let mut stream = server.connect().await;
    let head = format!(
        "POST /v1/projects HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer x\r\nContent-Length: 200000\r\n\r\n",
        server.address()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let answer = read_to(&mut stream, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(answer.to_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
    // Some clients read only then: what they still send must not be answered by a reset.
    for _ in 0..2 {
        stream.write_all(&[b'x'; 100_000]).await.expect("somebody takes it");
        stream.flush().await.expect("somebody takes it");
    }
    assert!(read_to_end(&mut stream).await.contains("DW6004") || answer.contains("DW6004"));
}

#[tokio::test]
async fn a_connection_that_is_used_no_more_ends_with_close_notify() {
    let server = Server::start().await;
    let mut stream = server.connect().await;
    let head = format!("GET /v1/projects HTTP/1.1\r\nHost: {}\r\n\r\n", server.address());
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_to(&mut stream, "\r\n\r\n").await;
    assert!(!answer.to_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
    let rest = read_to_end(&mut stream).await;
    assert!(rest.matches("HTTP/1.1").count() == 0, "{rest}");
}

#[tokio::test]
async fn a_head_that_is_none_is_answered_and_the_connection_ends_with_close_notify() {
    let server = Server::start().await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /v1/projects HTTP/1.1\r\nHost: \0\r\n\r\nmore that nobody reads").await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}
