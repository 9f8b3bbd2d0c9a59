//! The test PKI: one CA, one leaf for all bench hosts, and the rustls settings that every end shares.
//!
//! The CA key lies in a temporary folder because peers (hudsucker, mitmproxy, squid) mint with it. It signs for `.test` names only.

use crate::{BenchError, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;
use time::{Duration, OffsetDateTime};

/// The host that most scenarios ask for.
pub const HOST: &str = "origin.bench.test";

/// A host that no proxy has seen before; the leaf and the provider file cover all of them.
pub fn cold_host(number: usize) -> String {
    format!("h{number}.cold.bench.test")
}

/// Writes `ca.crt`, `ca.key`, `leaf.crt` and `leaf.key` into `folder`.
pub fn create(folder: &Path) -> Result<()> {
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "doorward bench CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    short_lived(&mut ca);
    let ca_key = KeyPair::generate()?;
    let ca_cert = ca.self_signed(&ca_key)?;

    let names = [HOST, "*.cold.bench.test", "localhost"].map(str::to_owned);
    let mut leaf = CertificateParams::new(names)?;
    leaf.distinguished_name.push(DnType::CommonName, HOST);
    leaf.use_authority_key_identifier_extension = true;
    short_lived(&mut leaf);
    let leaf_key = KeyPair::generate()?;
    let ca_key_pem = ca_key.serialize_pem();
    let leaf_cert = leaf.signed_by(&leaf_key, &Issuer::new(ca, ca_key))?;

    let write = |name: &str, text: &str| {
        std::fs::write(folder.join(name), text).map_err(BenchError::io(format!("writing {name}")))
    };
    write("ca.crt", &ca_cert.pem())?;
    write("ca.key", &ca_key_pem)?;
    write("leaf.crt", &leaf_cert.pem())?;
    write("leaf.key", &leaf_key.serialize_pem())
}

/// A server configuration with the leaf: TLS 1.2 and 1.3, one session ticket.
pub fn server_config(folder: &Path, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>> {
    let chain = certificates(&folder.join("leaf.crt"))?;
    let key_file = folder.join("leaf.key");
    let key = PrivateKeyDer::from_pem_file(&key_file).map_err(|e| pem_error(&key_file, &e))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// A client configuration that trusts the test CA and resumes sessions as any HTTP client does.
pub fn client_config(folder: &Path, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>> {
    Ok(Arc::new(client(&[folder.join("ca.crt")], alpn)?))
}

/// A client configuration whose every handshake is a full one: what a new agent process does.
pub fn client_config_without_resumption(
    roots: &[impl AsRef<Path>],
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>> {
    let mut config = client(roots, alpn)?;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn client(roots: &[impl AsRef<Path>], alpn: &[&[u8]]) -> Result<ClientConfig> {
    let mut store = RootCertStore::empty();
    for file in roots {
        store.add_parsable_certificates(certificates(file.as_ref())?);
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    Ok(config)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(file).and_then(Iterator::collect).map_err(|e| pem_error(file, &e))
}

fn pem_error(file: &Path, error: &rustls_pki_types::pem::Error) -> BenchError {
    BenchError::Usage(format!("{}: {error}", file.display()))
}

fn short_lived(params: &mut CertificateParams) {
    params.not_before = OffsetDateTime::now_utc() - Duration::hours(1);
    params.not_after = params.not_before + Duration::days(2);
}
