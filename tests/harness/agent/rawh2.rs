//! HTTP/2 written by hand: frames that no library would send.

use bytes::{Buf as _, BytesMut};

use super::Agent;
use super::tunnel::Tls;

/// One frame as read.
#[derive(Clone, Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;

/// How a hand-written stream ended.
#[derive(Debug)]
pub enum End {
    /// An answer: the first byte of its header block (an indexed or literal `:status`) and its body.
    Answer { body: Vec<u8>, status: Option<u16> },
    /// RST_STREAM with this error code.
    Reset(u32),
    /// The connection closed without an answer on this stream.
    Closed,
}

impl End {
    /// The stream got this code, or the protocol layer killed it: both keep the request from leaving.
    pub fn code(&self) -> Option<String> {
        match self {
            Self::Answer { body, .. } => super::reply::find_code(&String::from_utf8_lossy(body)),
            Self::Reset(_) | Self::Closed => None,
        }
    }
}

/// A connection on which the preface and empty SETTINGS were sent.
pub struct RawH2 {
    tls: Tls,
    held: BytesMut,
}

impl Agent {
    pub async fn raw_h2(&self, host: &str) -> RawH2 {
        let tls = self.tunnel(&format!("{host}:443")).alpn(&["h2"]).open().await;
        assert_eq!(tls.alpn.as_deref(), Some("h2"));
        RawH2::over(tls).await
    }

    /// One request with exactly these fields, and its end.
    pub async fn h2_fields(&self, host: &str, fields: &[(&str, &str)]) -> End {
        let mut connection = self.raw_h2(host).await;
        connection.request(1, fields).await;
        connection.end_of(1).await
    }
}

impl RawH2 {
    /// Begins HTTP/2 on a stream that is there.
    pub async fn over(mut tls: Tls) -> Self {
        tls.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        let mut connection = Self { tls, held: BytesMut::new() };
        connection.send(SETTINGS, 0, 0, &[]).await;
        connection
    }

    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend_from_slice(&[kind, flags]);
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        let _ = self.tls.try_send(&frame).await;
    }

    /// HEADERS with END_STREAM and END_HEADERS.
    pub async fn request(&mut self, stream: u32, fields: &[(&str, &str)]) {
        self.send(HEADERS, 0x5, stream, &block(fields)).await;
    }

    /// HEADERS with END_HEADERS alone: a body follows.
    pub async fn open(&mut self, stream: u32, fields: &[(&str, &str)]) {
        self.send(HEADERS, 0x4, stream, &block(fields)).await;
    }

    pub async fn frame(&mut self) -> Option<Frame> {
        while self.held.len() < 9 || self.held.len() < 9 + length(&self.held) {
            let more = self.tls.read_any().await;
            if more.is_empty() {
                return None;
            }
            self.held.extend_from_slice(&more);
        }
        let payload = length(&self.held);
        let head = self.held.split_to(9);
        let stream = (&head[5..9]).get_u32() & 0x7fff_ffff;
        Some(Frame { kind: head[3], flags: head[4], stream, payload: self.held.split_to(payload).to_vec() })
    }

    /// Reads, and answers SETTINGS and PING, until `stream` has ended.
    pub async fn end_of(&mut self, stream: u32) -> End {
        let (mut body, mut status) = (Vec::new(), None);
        while let Some(frame) = self.frame().await {
            match frame.kind {
                SETTINGS if frame.flags & 1 == 0 => self.send(SETTINGS, 1, 0, &[]).await,
                PING if frame.flags & 1 == 0 => self.send(PING, 1, 0, &frame.payload).await,
                RST_STREAM if frame.stream == stream && status.is_none() => {
                    return End::Reset((&frame.payload[..]).get_u32());
                }
                HEADERS if frame.stream == stream => status = status.or(Some(indexed_status(&frame.payload))),
                DATA if frame.stream == stream => body.extend_from_slice(&frame.payload),
                _ => continue,
            }
            let ended =
                frame.stream == stream && frame.flags & 1 == 1 && matches!(frame.kind, DATA | HEADERS);
            if ended || (frame.kind == RST_STREAM && frame.stream == stream) {
                return End::Answer { body, status };
            }
        }
        End::Closed
    }
}

fn length(head: &[u8]) -> usize {
    usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])
}

/// The statuses that HPACK's static table has; 0 for any other.
fn indexed_status(block: &[u8]) -> u16 {
    let at = block.iter().position(|byte| byte & 0xe0 != 0x20).unwrap_or(0);
    match block.get(at) {
        Some(0x88) => 200,
        Some(0x89) => 204,
        Some(0x8a) => 206,
        Some(0x8b) => 304,
        Some(0x8c) => 400,
        Some(0x8d) => 404,
        Some(0x8e) => 500,
        _ => 0,
    }
}

/// A header block of literals without indexing and without Huffman coding: what is written here is what is sent.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            string(&mut bytes, text.as_bytes());
        }
    }
    bytes
}

fn string(bytes: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text.len();
    if rest < 127 {
        bytes.push(rest as u8);
    } else {
        bytes.push(127);
        rest -= 127;
        while rest >= 128 {
            bytes.push((rest % 128) as u8 | 128);
            rest /= 128;
        }
        bytes.push(rest as u8);
    }
    bytes.extend_from_slice(text);
}

/// The four pseudo-headers of a GET.
pub fn get<'a>(authority: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![(":method", "GET"), (":scheme", "https"), (":authority", authority), (":path", path)]
}
