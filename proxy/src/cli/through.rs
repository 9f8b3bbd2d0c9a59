//! One request through a proxy of one's own, as any client sends it: `demo`'s where there is no curl, and `connect`'s.
//!
//! Speaks with the proxy on this machine and with nobody else; what goes out goes out by the proxy.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};

/// The longest head.
const HEAD_MAX: usize = 64 * 1024;

/// A proxy as its agents know it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Through<'a> {
    /// `http://user:token@host:port`.
    pub(crate) proxy: &'a str,
    /// The file with the roots.
    pub(crate) bundle: &'a str,
    /// No single read or write may take longer.
    pub(crate) late: Duration,
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: &'a str,
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    /// `http://` instead of `https://`.
    pub(crate) is_plain: bool,
    /// From the slash on.
    pub(crate) path: &'a str,
    /// Lines without their ends.
    pub(crate) headers: &'a [String],
    pub(crate) body: &'a str,
}

/// An answer whose body is read as far as it is wanted.
pub(crate) struct Answer {
    /// Status line and fields.
    pub(crate) head: String,
    begun: Vec<u8>,
    rest: Box<dyn Read>,
}

impl Answer {
    /// The status; 0 where there is none.
    pub(crate) fn status(&self) -> u16 {
        self.head.split_ascii_whitespace().nth(1).and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    /// A field of the head.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let mut own = fields.filter(|(own, _)| own.eq_ignore_ascii_case(name));
        own.next().map(|(_, value)| value.trim())
    }

    /// The body as it comes on the wire, of at most so many bytes.
    pub(crate) fn body(self, most: u64) -> io::Result<String> {
        let mut body = self.begun;
        let more = most.saturating_sub(body.len() as u64);
        match self.rest.take(more).read_to_end(&mut body) {
            // A missing close_notify after a whole answer.
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
            Ok(_) | Err(_) => {}
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }
}

impl Through<'_> {
    /// Sends it, and reads the answer's head. A refused CONNECT is the answer.
    pub(crate) fn ask(&self, call: &Call<'_>) -> io::Result<Answer> {
        let wrong = |what: &'static str| io::Error::new(io::ErrorKind::InvalidInput, what);
        let (credentials, proxy) = self
            .proxy
            .strip_prefix("http://")
            .and_then(|rest| rest.rsplit_once('@'))
            .ok_or_else(|| wrong("the proxy is not http://user:token@host:port"))?;
        let authorization = format!("Proxy-Authorization: Basic {}", STANDARD.encode(credentials));
        let mut stream = TcpStream::connect(proxy)?;
        stream.set_read_timeout(Some(self.late))?;
        stream.set_write_timeout(Some(self.late))?;
        let Call { host, port, path, .. } = *call;
        if call.is_plain {
            let target = format!("http://{host}:{port}{path}");
            send(&mut stream, call, &target, &format!("{authorization}\r\n"))?;
            return answer(stream);
        }
        write!(stream, "CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{authorization}\r\n\r\n")?;
        let head = connected(&mut stream)?;
        if !head.starts_with("HTTP/1.1 200") {
            return Ok(Answer { head, begun: Vec::new(), rest: Box::new(stream) });
        }
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let tls = ClientConnection::new(Arc::new(config(self.bundle)?), name).map_err(io::Error::other)?;
        let mut tls = StreamOwned::new(tls, stream);
        send(&mut tls, call, path, "")?;
        answer(tls)
    }
}

fn send(stream: &mut impl Write, call: &Call<'_>, target: &str, more: &str) -> io::Result<()> {
    let Call { method, host, port, headers, body, .. } = *call;
    let host =
        if port == if call.is_plain { 80 } else { 443 } { host.to_owned() } else { format!("{host}:{port}") };
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}");
    for line in headers {
        text.push_str(line);
        text.push_str("\r\n");
    }
    if !body.is_empty() || method == "POST" {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(body);
    stream.write_all(text.as_bytes())?;
    stream.flush()
}

fn answer(mut stream: impl Read + 'static) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    let mut piece = [0_u8; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let begun = bytes.split_off(end + 4);
            let head = String::from_utf8_lossy(&bytes).into_owned();
            return Ok(Answer { head, begun, rest: Box::new(stream) });
        }
        let read = stream.read(&mut piece)?;
        if read == 0 || bytes.len() > HEAD_MAX {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(piece.get(..read).unwrap_or_default());
    }
}

/// The head of the answer to CONNECT.
fn connected(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    // Byte by byte: what follows the head belongs to TLS.
    let mut byte = [0_u8; 1];
    while head.len() < 8192 {
        stream.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
        if head.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn config(bundle: &str) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let text = std::fs::read(Path::new(bundle))?;
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&text).filter_map(Result::ok));
    let builder =
        ClientConfig::builder_with_provider(certs::crypto::provider()).with_safe_default_protocol_versions();
    Ok(builder.map_err(io::Error::other)?.with_root_certificates(roots).with_no_client_auth())
}
