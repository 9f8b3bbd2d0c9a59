//! The world's certificate authority, as far as the tests go, and the bad certificates that a proxy must refuse.

use std::sync::{Arc, OnceLock};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};

/// An authority that signs for anyone.
pub struct TestCa {
    pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// What is wrong with an origin's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    None,
    Expired,
    NotYetValid,
    OtherHost,
    SelfSigned,
    UnknownCa,
}

impl TestCa {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let (not_before, not_after) = window(Flaw::None);
        params.not_before = not_before;
        params.not_after = not_after;
        let certificate = params.self_signed(&key).unwrap();
        Self { pem: certificate.pem(), der: certificate.der().clone(), issuer: Issuer::new(params, key) }
    }

    /// The one that `--upstream-ca` names in every journey.
    pub fn world() -> &'static Self {
        static WORLD: OnceLock<TestCa> = OnceLock::new();
        WORLD.get_or_init(|| Self::new("harness world"))
    }

    fn stranger() -> &'static Self {
        static STRANGER: OnceLock<TestCa> = OnceLock::new();
        STRANGER.get_or_init(|| Self::new("harness stranger"))
    }

    pub fn pem(&self) -> &str {
        &self.pem
    }

    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }
}

/// A workload's certificate (X.509-SVID) and its key, both PEM.
pub struct Svid {
    pub certificate: String,
    pub key: String,
}

impl TestCa {
    /// Another authority of that name.
    pub fn named(name: &str) -> Self {
        Self::new(name)
    }

    /// A certificate with these URIs, good for so long.
    pub fn svid(&self, uris: &[&str], life: Duration) -> Svid {
        self.svid_with(uris, life, |_| {})
    }

    /// The same with something odd about it.
    pub fn svid_with(
        &self,
        uris: &[&str],
        life: Duration,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Svid {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        let uri = |uri: &&str| rcgen::SanType::URI((*uri).try_into().unwrap());
        params.subject_alt_names = uris.iter().map(uri).collect();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let now = OffsetDateTime::now_utc();
        (params.not_before, params.not_after) = (now - Duration::hours(1), now + life);
        params.use_authority_key_identifier_extension = true;
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Svid { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

/// Whom an origin lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    Anyone,
    /// Who shows a certificate of the world's authority.
    Certified,
}

impl Clients {
    fn verifier(self) -> Arc<dyn rustls::server::danger::ClientCertVerifier> {
        use rustls::server::WebPkiClientVerifier;
        if self == Self::Anyone {
            return WebPkiClientVerifier::no_client_auth();
        }
        let mut roots = rustls::RootCertStore::empty();
        roots.add(TestCa::world().der().clone()).unwrap();
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build().unwrap()
    }
}

/// A client's certificate (as PEM and DER) and its key.
pub struct Client {
    pub certificate: String,
    pub key: String,
    pub der: Vec<u8>,
}

impl Client {
    /// Of the world's authority, or with what is wrong with it.
    pub fn new(name: &str, flaw: Flaw) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        (params.not_before, params.not_after) = window(flaw);
        let issuer = if flaw == Flaw::UnknownCa { TestCa::stranger() } else { TestCa::world() };
        let certificate = params.signed_by(&key, &issuer.issuer).unwrap();
        Self { certificate: certificate.pem(), key: key.serialize_pem(), der: certificate.der().to_vec() }
    }

    /// A part of the key that no other text holds.
    pub fn telling(&self) -> String {
        self.key.lines().nth(2).unwrap()[..40].to_owned()
    }
}

/// A server configuration for `hosts` with the flaw asked for.
pub fn server_config(hosts: &[String], alpn: &[&str], flaw: Flaw) -> Arc<rustls::ServerConfig> {
    server_config_for(hosts, alpn, flaw, Clients::Anyone)
}

/// The same, for these clients.
pub fn server_config_for(
    hosts: &[String],
    alpn: &[&str],
    flaw: Flaw,
    clients: Clients,
) -> Arc<rustls::ServerConfig> {
    let names = match flaw {
        Flaw::OtherHost => vec!["other.example.net".to_owned()],
        _ => hosts.to_vec(),
    };
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(names).unwrap();
    (params.not_before, params.not_after) = window(flaw);
    params.use_authority_key_identifier_extension = flaw != Flaw::SelfSigned;
    let certificate = match flaw {
        Flaw::SelfSigned => params.self_signed(&key).unwrap(),
        Flaw::UnknownCa => params.signed_by(&key, &TestCa::stranger().issuer).unwrap(),
        _ => params.signed_by(&key, &TestCa::world().issuer).unwrap(),
    };
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let builder = rustls::ServerConfig::builder_with_provider(provider());
    let mut config = builder
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.verifier())
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A certificate of the world's authority for `hosts` and its key, both PEM: for servers that are other people's programs.
pub fn server_pem(hosts: &[&str]) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    (params.not_before, params.not_after) = window(Flaw::None);
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &TestCa::world().issuer).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// A client configuration that trusts the certificates in `pem` and nothing else.
pub fn client_config(
    pem: &str,
    alpn: &[&str],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<rustls::ClientConfig> {
    use rustls_pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn window(flaw: Flaw) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::now_utc();
    match flaw {
        Flaw::Expired => (now - Duration::days(30), now - Duration::days(1)),
        Flaw::NotYetValid => (now + Duration::days(1), now + Duration::days(30)),
        _ => (now - Duration::hours(1), now + Duration::days(30)),
    }
}
