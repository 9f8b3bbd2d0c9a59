//! Stage 4: TLS with the agent, by a leaf for the CONNECT host and nothing else.
//!
//! One deadline covers ClientHello and handshake. An SNI that names another host is still answered with the CONNECT
//! host's leaf (its own name is never minted), then with 421 (DW2007). Absent SNI is accepted. A `tls:` listener's own TLS,
//! which comes before the first head, is here as well.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use control::refusal::{Code, Refusal};
use control::target::{Host, Target};
use rustls::server::{Acceptor, ClientHello};
use rustls::{AlertDescription, Error as TlsError, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

use crate::limits::{self, Limits};
use crate::upstream::tls::server_name;

/// A finished handshake.
pub(crate) struct Accepted<S> {
    pub(crate) stream: TlsStream<S>,
    /// DW2007 where the SNI named another host than CONNECT did.
    pub(crate) mismatch: Option<Refusal>,
}

/// Why there is no TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It took too long.
    Late,
    /// It was not TLS, or TLS that we do not speak (DW2003).
    NotTls,
    /// The client does not trust our CA (DW2001).
    Untrusted,
    /// The client went away after it saw our certificate (DW2002 if it trusts the CA elsewhere).
    ClosedAfterCertificate,
    /// The connection broke before that, or our side failed.
    Broken,
}

/// Accepts TLS for the target's host.
pub(crate) async fn accept<S, F>(
    stream: S,
    target: &Target,
    limits: &Limits,
    leaf: F,
) -> Result<Accepted<S>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: FnOnce(&rustls_pki_types::ServerName<'_>, SystemTime) -> Result<Arc<ServerConfig>, certs::Error>,
{
    let deadline = Instant::now() + limits::time(limits.tls_handshake);
    let hello = match timeout_at(deadline, LazyConfigAcceptor::new(Acceptor::default(), stream)).await {
        Err(_) => return Err(Failure::Late),
        Ok(Err(error)) => return Err(before_certificate(&error)),
        Ok(Ok(hello)) => hello,
    };
    let mismatch = mismatch(&hello.client_hello(), &target.host);
    let name = server_name(&target.host).map_err(|_| Failure::Broken)?;
    let config = leaf(&name, SystemTime::now()).map_err(|error| {
        tracing::error!(%error, host = %target.host, "leaf not minted");
        Failure::Broken
    })?;
    match timeout_at(deadline, hello.into_stream(config)).await {
        Err(_) => Err(Failure::Late),
        Ok(Err(error)) => Err(after_certificate(&error)),
        Ok(Ok(stream)) => Ok(Accepted { stream, mismatch }),
    }
}

/// Accepts a `tls:` listener's own TLS, within the same deadline.
pub(super) async fn secure<S>(
    stream: S,
    config: Arc<ServerConfig>,
    limits: &Limits,
) -> Result<TlsStream<S>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match timeout(limits::time(limits.tls_handshake), TlsAcceptor::from(config).accept(stream)).await {
        Err(_) => Err(Failure::Late),
        Ok(accepted) => accepted.map_err(|error| after_certificate(&error)),
    }
}

/// The name in the ClientHello has to be the CONNECT host; an address has no name to send.
pub(crate) fn mismatch(hello: &ClientHello<'_>, host: &Host) -> Option<Refusal> {
    let sni = hello.server_name()?;
    let named = Host::parse(sni).is_ok_and(|named| named == *host);
    (!named).then(|| Refusal::new(Code::Dw2007, "the TLS server name is another host than the tunnel's"))
}

fn before_certificate(error: &io::Error) -> Failure {
    match cause(error) {
        Some(_) => Failure::NotTls,
        None if error.kind() == io::ErrorKind::InvalidData => Failure::NotTls,
        None => Failure::Broken,
    }
}

fn after_certificate(error: &io::Error) -> Failure {
    match cause(error) {
        Some(TlsError::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateExpired,
        )) => Failure::Untrusted,
        Some(_) => Failure::NotTls,
        None => Failure::ClosedAfterCertificate,
    }
}

fn cause(error: &io::Error) -> Option<&TlsError> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}
