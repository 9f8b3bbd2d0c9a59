//! doorward's own small client, the demo's agent where there is no curl: reads its proxy and roots from its environment as
//! any client does, and prints head and body.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use control::cli::{Env, Exit, Failure};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};

/// No single read or write may take longer.
const LATE: Duration = Duration::from_secs(10);
/// The longest answer that is shown.
const ANSWER_MAX: u64 = 64 * 1024;

/// One request by the environment's proxy and roots.
#[derive(Args, Clone, Debug)]
pub struct Client {
    /// The method.
    method: String,
    /// Where: `https://host/path`.
    url: String,
    /// The variable whose value is sent as a bearer token.
    bearer: String,
}

impl Client {
    /// Sends it and prints the answer.
    pub fn run(&self, env: &Env) -> Result<Exit, Failure> {
        let answer = self.send(env).map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
        env.output.data(answer.trim_end());
        Ok(Exit::Ok)
    }

    fn send(&self, env: &Env) -> io::Result<String> {
        let wrong = |what: &'static str| io::Error::new(io::ErrorKind::InvalidInput, what);
        let var = |name, why| env.var(name).ok_or_else(|| wrong(why));
        let (credentials, proxy) = var("HTTPS_PROXY", "HTTPS_PROXY is not set")?
            .strip_prefix("http://")
            .and_then(|rest| rest.rsplit_once('@'))
            .ok_or_else(|| wrong("HTTPS_PROXY is not http://user:token@host:port"))?;
        let (host, path) = self
            .url
            .strip_prefix("https://")
            .and_then(|rest| rest.split_once('/'))
            .ok_or_else(|| wrong("not an https url"))?;
        let mut stream = TcpStream::connect(proxy)?;
        stream.set_read_timeout(Some(LATE))?;
        stream.set_write_timeout(Some(LATE))?;
        let basic = STANDARD.encode(credentials);
        write!(
            stream,
            "CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\nProxy-Authorization: Basic {basic}\r\n\r\n"
        )?;
        let head = head(&mut stream)?;
        if !head.starts_with("HTTP/1.1 200") {
            return Ok(head);
        }
        let tls = ClientConnection::new(
            Arc::new(config(var("SSL_CERT_FILE", "SSL_CERT_FILE is not set")?)?),
            name(host)?,
        );
        let mut tls = StreamOwned::new(tls.map_err(io::Error::other)?, stream);
        let (method, bearer) = (&self.method, env.var(&self.bearer).unwrap_or_default());
        write!(
            tls,
            "{method} /{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {bearer}\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = Vec::new();
        match BufReader::new(tls).take(ANSWER_MAX).read_to_end(&mut answer) {
            // A missing close_notify after a whole answer.
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
            Ok(_) | Err(_) => {}
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

fn head(stream: &mut TcpStream) -> io::Result<String> {
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

fn name(host: &str) -> io::Result<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).map_err(io::Error::other)
}
