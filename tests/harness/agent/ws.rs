//! WebSocket: a real client through the tunnel, and frames written by hand.

use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::http::Request;

use super::{Agent, BoxIo};
use crate::within::within;

/// An open WebSocket to the agent.
pub type WebSocket = WebSocketStream<BoxIo>;

impl Agent {
    /// An HTTP/1.1 upgrade to `host`, with these extra headers.
    pub async fn websocket(
        &self,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<WebSocket, String> {
        let tls = self.tls(host).await;
        let mut request = Request::builder()
            .uri(format!("wss://{host}{path}"))
            .header("Host", host)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", KEY);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let opened = tokio_tungstenite::client_async(request.body(()).unwrap(), tls.into_io());
        within("websocket", opened).await.map(|(socket, _)| socket).map_err(|error| error.to_string())
    }
}

/// A fixed nonce, and what RFC 6455 answers to it.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The lines of an upgrade request after the request line and Host.
pub fn upgrade_head(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: {KEY}"
    )
}

/// One frame; `mask` as clients must.
pub fn frame(opcode: u8, fin: bool, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![u8::from(fin) << 7 | opcode];
    let masked = u8::from(mask.is_some()) << 7;
    match payload.len() {
        n @ 0..126 => bytes.push(masked | n as u8),
        n @ 126..65536 => {
            bytes.push(masked | 126);
            bytes.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            bytes.push(masked | 127);
            bytes.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    let key = mask.unwrap_or_default();
    bytes.extend_from_slice(mask.as_ref().map_or(&[][..], |key| key));
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_those_of_rfc_6455() {
        assert_eq!(frame(1, true, None, b"Hello"), [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        let masked = frame(1, true, Some([0x37, 0xfa, 0x21, 0x3d]), b"Hello");
        assert_eq!(masked, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }
}
