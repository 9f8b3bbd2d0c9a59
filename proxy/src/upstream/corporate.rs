//! `--upstream-proxy http://user:pass@host:port`: a plain corporate proxy between us and the upstreams.
//!
//! TLS with the upstream is ours all the same: this proxy sees CONNECT and then only ciphertext. It resolves the names,
//! so the address guard can judge only literals, `--resolve` and metadata names (the docs say so).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use control::provider::Provider;
use control::refusal::{Code, Refusal};
use control::secret::Secret;
use control::target::Target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::guard::{Guard, late};
use crate::limits::{self, Limits};

/// The longest answer to our CONNECT that is read.
const HEAD_MAX: usize = 16 * 1024;

/// Where the corporate proxy is and how we authenticate.
pub(crate) struct CorporateProxy {
    address: Target,
    authorization: Option<Secret>,
}

impl fmt::Debug for CorporateProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CorporateProxy({})", self.address)
    }
}

/// Why an `--upstream-proxy` was not taken. Shows nothing of the URL: it may hold a password.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`--upstream-proxy` takes http://[user:password@]host:port (a proxy that itself speaks TLS is not supported)"
)]
pub(crate) struct CorporateProxyError;

impl CorporateProxy {
    /// Takes the flag.
    pub(crate) fn parse(url: &str) -> Result<Self, CorporateProxyError> {
        let rest = url.strip_prefix("http://").ok_or(CorporateProxyError)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, address) = match rest.rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, rest),
        };
        let address = Target::parse_authority(address).map_err(|_| CorporateProxyError)?;
        let authorization = user.map(basic).transpose()?;
        Ok(Self { address, authorization })
    }

    /// Asks for a tunnel to the target.
    pub(crate) async fn tunnel(
        &self,
        guard: &Guard,
        target: &Target,
        provider: &Provider,
        limits: &Limits,
    ) -> Result<TcpStream, Refusal> {
        let authority = match guard.judge_remote(target, provider).await? {
            Some(address) => address.to_string(),
            None => target.to_string(),
        };
        let named = |refusal: Refusal| Refusal {
            detail: format!("upstream proxy: {}", refusal.detail).into(),
            ..refusal
        };
        let mut stream = guard.dial_configured(&self.address).await.map_err(named)?;
        let limit = limits::time(limits.upstream_connect);
        match timeout(limit, self.ask(&mut stream, &authority)).await {
            Ok(outcome) => outcome.map(|()| stream),
            Err(_) => Err(late("upstream proxy", limit)),
        }
    }

    async fn ask(&self, stream: &mut TcpStream, authority: &str) -> Result<(), Refusal> {
        let mut head =
            Zeroizing::new(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n").into_bytes());
        if let Some(authorization) = &self.authorization {
            head.extend_from_slice(b"Proxy-Authorization: ");
            // exposed: to the operator's own proxy, which is the only place that this value is for
            head.extend_from_slice(authorization.expose());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        let broken =
            |error: std::io::Error| Refusal::new(Code::Dw2006, format!("upstream proxy: {}", error.kind()));
        stream.write_all(&head).await.map_err(broken)?;
        let status = read_status(stream).await?;
        if (200..300).contains(&status) {
            return Ok(());
        }
        Err(Refusal::new(Code::Dw2006, format!("upstream proxy: it refused the tunnel with status {status}")))
    }
}

fn basic(user: &str) -> Result<Secret, CorporateProxyError> {
    let decoded: Zeroizing<Vec<u8>> = Zeroizing::new(percent_encoding::percent_decode_str(user).collect());
    if !decoded.contains(&b':') || decoded.iter().any(u8::is_ascii_control) {
        return Err(CorporateProxyError);
    }
    let encoded = Zeroizing::new(STANDARD.encode(&*decoded));
    Ok(Secret::new([b"Basic ", encoded.as_bytes()].concat()))
}

/// Reads exactly the head: what follows it belongs to TLS.
async fn read_status(stream: &mut TcpStream) -> Result<u16, Refusal> {
    let mut head = Vec::with_capacity(512);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= HEAD_MAX {
            return Err(Refusal::new(Code::Dw2006, "upstream proxy: its answer is too long"));
        }
        // Byte by byte: the next byte may be the upstream's, and this happens once for a connection.
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(error) => {
                return Err(Refusal::new(Code::Dw2006, format!("upstream proxy: {}", error.kind())));
            }
        }
    }
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut answer = httparse::Response::new(&mut fields);
    match answer.parse(&head) {
        Ok(httparse::Status::Complete(_)) => Ok(answer.code.unwrap_or_default()),
        Ok(httparse::Status::Partial) | Err(_) => {
            Err(Refusal::new(Code::Dw2006, "upstream proxy: its answer is not HTTP"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_urls_that_are_not_a_plain_proxy() {
        for url in [
            "",
            "https://a:1",
            "http://a",
            "http://a:1/x",
            "socks5://a:1",
            "http://u@a:1",
            "http://u:p%0d@a:1",
            "http://u:p@",
        ] {
            assert_eq!(CorporateProxy::parse(url).unwrap_err(), CorporateProxyError, "{url}");
        }
    }

    #[test]
    fn takes_user_and_password_percent_encoded() {
        let proxy = CorporateProxy::parse("http://us%65r:p%40ss@proxy.corp:8080/").unwrap();
        assert_eq!(proxy.address.to_string(), "proxy.corp:8080");
        assert!(
            proxy
                .authorization
                .unwrap()
                .matches(format!("Basic {}", STANDARD.encode("user:p@ss")).as_bytes())
        );
        assert!(CorporateProxy::parse("http://proxy:1").unwrap().authorization.is_none());
    }
}
