//! TLS towards upstreams: always verified (invariant 7), one configuration for each agent and provider.
//!
//! There is no switch that turns verification off. Session caches are never shared between agents or providers, and
//! there is no 0-RTT.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use control::agent::AgentName;
use control::refusal::{Code, Refusal};
use control::target::{Host, Target};
use parking_lot::Mutex;
use rustls::client::Resumption;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{DnsName, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::guard::late;
use crate::limits::{self, Limits};

/// Which protocols are offered to the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Offer {
    /// h2 and http/1.1.
    Both,
    /// http/1.1 alone: an upgrade (WebSocket) needs it.
    Http1,
}

/// The TLS identity of one provider: its roots, and a configuration for each agent that used it.
#[derive(Debug)]
pub(crate) struct UpstreamTls {
    base: ClientConfig,
    configs: Mutex<HashMap<(AgentName, Offer), Arc<ClientConfig>>>,
}

impl UpstreamTls {
    /// The same trust with nothing of the sessions: no two versions of a secret share one.
    pub(crate) fn anew(&self) -> Self {
        Self { base: self.base.clone(), configs: Mutex::default() }
    }

    /// `roots`: the system's, the command line's and, where the provider has its own, those too.
    pub(crate) fn new(roots: Arc<RootCertStore>) -> Result<Self, rustls::Error> {
        let base = ClientConfig::builder_with_provider(certs::crypto::provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { base, configs: Mutex::default() })
    }

    /// The same trust, with this client certificate shown to whoever asks for one; sessions of its own.
    pub(crate) fn shown(&self, certified: Arc<CertifiedKey>) -> Self {
        let mut base = self.base.clone();
        base.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(certified));
        Self { base, configs: Mutex::default() }
    }

    fn config(&self, agent: &AgentName, offer: Offer) -> Arc<ClientConfig> {
        let mut configs = self.configs.lock();
        let config = configs.entry((agent.clone(), offer)).or_insert_with(|| {
            let mut config = self.base.clone();
            config.resumption = Resumption::in_memory_sessions(4);
            config.alpn_protocols = match offer {
                Offer::Both => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
                Offer::Http1 => vec![b"http/1.1".to_vec()],
            };
            Arc::new(config)
        });
        Arc::clone(config)
    }

    /// The handshake: SNI and the certificate check use the target's host, nothing else.
    pub(crate) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        target: &Target,
        agent: &AgentName,
        offer: Offer,
        limits: &Limits,
    ) -> Result<TlsStream<S>, Refusal> {
        let name = server_name(&target.host)?;
        let limit = limits::time(limits.upstream_tls);
        let start = Instant::now();
        let connect = TlsConnector::from(self.config(agent, offer)).connect(name, stream);
        match timeout(limit, connect).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(refuse_tls(&error, start)),
            Err(_) => Err(late("tls", limit)),
        }
    }
}

/// The name that TLS asks for and checks.
pub(crate) fn server_name(host: &Host) -> Result<ServerName<'static>, Refusal> {
    match host {
        Host::Ip(ip) => Ok(ServerName::IpAddress((*ip).into())),
        Host::Name(name) => match DnsName::try_from(name.to_string()) {
            Ok(name) => Ok(ServerName::DnsName(name)),
            Err(_) => Err(Refusal::new(Code::Dw2008, "the host is no name that a certificate can hold")),
        },
    }
}

/// The alerts by which an upstream says that it wants a client certificate, or another one (RFC 8446 section 6.2).
const CERTIFICATE_ALERTS: &[&str] = &[
    "AccessDenied",
    "BadCertificate",
    "CertificateExpired",
    "CertificateRequired",
    "CertificateRevoked",
    "CertificateUnknown",
    "UnknownCA",
    "UnsupportedCertificate",
];

/// Whether an upstream ended the TLS for want of a client certificate. With TLS 1.3 it says so after the handshake, when
/// HTTP has begun. Read from the error's text, which is all that h2 keeps of it.
pub(crate) fn wants_certificate(error: &str) -> Option<Refusal> {
    let (_, alert) = error.split_once("received fatal alert: ")?;
    let alert = CERTIFICATE_ALERTS.iter().find(|known| {
        let rest = alert.strip_prefix(**known);
        rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_alphanumeric()))
    })?;
    let detail = format!("the upstream's TLS wants another client certificate, or one at all: {alert}");
    Some(Refusal::new(Code::Dw2004, detail))
}

/// rustls names the cause in words that hold nothing of ours; a broken connection is a network failure, not a TLS one.
fn refuse_tls(error: &std::io::Error, start: Instant) -> Refusal {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(cause) => wants_certificate(&cause.to_string()).unwrap_or_else(|| {
            Refusal::new(Code::Dw2004, format!("the upstream's TLS was not accepted: {cause}"))
        }),
        None => {
            let ms = start.elapsed().as_millis();
            Refusal::new(Code::Dw2006, format!("tls: {} after {ms} ms", error.kind()))
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::AlertDescription;

    use super::*;

    #[test]
    fn alerts_about_our_certificate_are_told_from_others() {
        let text = |alert| format!("connection error: {}", rustls::Error::AlertReceived(alert));
        for alert in [
            AlertDescription::AccessDenied,
            AlertDescription::BadCertificate,
            AlertDescription::CertificateExpired,
            AlertDescription::CertificateRequired,
            AlertDescription::CertificateRevoked,
            AlertDescription::CertificateUnknown,
            AlertDescription::UnknownCA,
            AlertDescription::UnsupportedCertificate,
        ] {
            assert_eq!(wants_certificate(&text(alert)).unwrap().code, Code::Dw2004, "{alert:?}");
        }
        for other in [AlertDescription::HandshakeFailure, AlertDescription::CertificateUnobtainable] {
            assert_eq!(wants_certificate(&text(other)), None, "{other:?}");
        }
        assert_eq!(wants_certificate("connection reset"), None);
    }
}
