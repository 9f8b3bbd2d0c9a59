//! The CA: made in memory, or kept in a directory (`ca.crt`, `ca.key`), also one of the user's own;
//! and the signing of leaves.
//!
//! Refuses a CA that clients would not accept, so that the mistake shows at start and not as a TLS
//! error in an agent. The key never leaves this module except into `ca.key` (0600); it is wiped when dropped.

mod accept;
mod kept;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SignatureAlgorithm, SigningKey,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use zeroize::Zeroizing;

use crate::leaf::{self, BACKDATE, Leaf, Validity};
use crate::{Error, crypto, pem};

/// A CA that we make lives ten years at most, its backdating included.
const LIFETIME: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// A name that resolves nowhere (RFC 2606), for the proof that a CA works.
const PROBE: &str = "doorward.invalid";

/// The CA that agents trust: signs a leaf for each host that they reach.
pub struct Authority {
    issuer: Issuer<'static, CaKey>,
    /// The signing certificate first, the root last; one certificate when the CA is the root.
    chain: Vec<CertificateDer<'static>>,
    pem: String,
    fingerprint: String,
    validity: Validity,
    verifier: Arc<WebPkiServerVerifier>,
    names: Names,
}

/// Whether the chain limits the hosts that the CA may sign for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    Any,
    Constrained,
}

impl Authority {
    /// A new CA that lives in memory only: P-256, pathlen 0, ten years from `now` less one hour.
    pub fn generate(now: SystemTime) -> Result<Self, Error> {
        let (key, certificate) = make(now)?;
        Self::accept(vec![certificate], key, now)
    }

    /// The CA kept in `dir` as `ca.crt` and `ca.key`, made there if both are absent.
    ///
    /// A CA of the user's own is taken as it is when clients would accept it; if it is not a root,
    /// `ca.crt` holds the chain up to its root. Safe when several processes start at once.
    pub fn load_or_create(dir: &Path, now: SystemTime) -> Result<Self, Error> {
        let pair = kept::load_or_create(dir, || {
            let (key, certificate) = make(now)?;
            Ok(kept::Fresh {
                certificate: pem::certificates([&certificate]),
                key: pem::private_key(key.serialized_der()),
            })
        })?;
        let chain = pem::read_certificates(&pair.certificate_path, &pair.certificate)?;
        let key = pem::read_key(&pair.key_path, &pair.key)?;
        let key = KeyPair::try_from(&*key).map_err(|_| Error::KeyKind)?;
        Self::accept(chain, Zeroizing::new(key), now)
    }

    /// The CA's certificate as PEM, for agents; for a CA below a root, the whole chain.
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// The certificate that signs the leaves.
    #[expect(clippy::indexing_slicing, reason = "accept refuses an empty chain")]
    pub fn certificate_der(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    /// The signing certificate and those above it, the root last.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// SHA-256 of the signing certificate in lower-case hex, for people to compare.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Last instant of the CA's validity.
    pub fn not_after(&self) -> SystemTime {
        self.validity.not_after
    }

    /// Signs a leaf for exactly `host`, with a fresh P-256 key of its own, valid at most 24 h.
    ///
    /// 90 µs of CPU (release build, loaded 2-core machine): 36 to make the key, 15 to hand it to rustls,
    /// 23 for the signature, the rest encoding.
    pub fn sign(&self, host: &ServerName<'_>, now: SystemTime) -> Result<Leaf, Error> {
        let leaf = self.mint(host, now)?;
        if self.names == Names::Constrained {
            self.verify(&leaf, host, now).map_err(|source| Error::HostNotAllowed { source })?;
        }
        Ok(leaf)
    }

    fn mint(&self, host: &ServerName<'_>, now: SystemTime) -> Result<Leaf, Error> {
        let validity = self.validity.leaf(now)?;
        let key = Zeroizing::new(KeyPair::generate()?);
        let certificate = leaf::params(host, &validity)?.signed_by(&*key, &self.issuer)?;

        let above = self.chain.split_last().map_or(&[][..], |(_root, above)| above);
        let mut chain = Vec::with_capacity(1 + above.len());
        chain.push(certificate.into());
        chain.extend_from_slice(above);
        let key = crypto::ecdsa_key(key.serialized_der())?;
        Ok(Leaf {
            certified: Arc::new(CertifiedKey::new(chain, key)),
            not_before: validity.not_before,
            not_after: validity.not_after,
        })
    }

    /// What a client that trusts our root would say to this leaf.
    fn verify(&self, leaf: &Leaf, host: &ServerName<'_>, now: SystemTime) -> Result<(), rustls::Error> {
        let (end_entity, above) =
            leaf.certified.cert.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
        let since =
            now.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| rustls::Error::FailedToGetCurrentTime)?;
        let now = UnixTime::since_unix_epoch(since);
        self.verifier.verify_server_cert(end_entity, above, host, &[], now).map(drop)
    }

    fn accept(
        chain: Vec<CertificateDer<'static>>,
        key: Zeroizing<KeyPair>,
        now: SystemTime,
    ) -> Result<Self, Error> {
        let accepted = accept::check(&chain, &key, now)?;
        let authority = Self {
            issuer: Issuer::from_ca_cert_der(accepted.signer, CaKey(key))?,
            pem: pem::certificates(&chain),
            fingerprint: crypto::sha256_hex(accepted.signer),
            validity: accepted.validity,
            verifier: accepted.verifier,
            names: accepted.names,
            chain,
        };
        authority.prove(now)?;
        Ok(authority)
    }

    /// Signs for a name that nobody has and checks the result as a client would: finds wrong
    /// signatures within the chain, and names that cannot be written back as they were.
    /// A constrained CA could not sign that name; each of its leaves is checked instead.
    fn prove(&self, now: SystemTime) -> Result<(), Error> {
        if self.names == Names::Constrained {
            return Ok(());
        }
        let host = ServerName::try_from(PROBE).map_err(|_| Error::HostNotCanonical)?;
        let leaf = self.mint(&host, now)?;
        self.verify(&leaf, &host, now).map_err(|source| Error::Unusable { source })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

fn make(now: SystemTime) -> Result<(Zeroizing<KeyPair>, CertificateDer<'static>), Error> {
    let key = Zeroizing::new(KeyPair::generate()?);
    let not_before = now.checked_sub(BACKDATE).ok_or(Error::Clock)?;
    let not_after = not_before.checked_add(LIFETIME).ok_or(Error::Clock)?;

    let mut params = CertificateParams::default();
    // The name differs for each CA: a client that trusts two of them must not mix them up.
    let id: String = crypto::sha256_hex(key.public_key_raw()).chars().take(8).collect();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("doorward CA {id}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(leaf::serial()?);
    Validity { not_before, not_after }.write(&mut params)?;
    let certificate = params.self_signed(&*key)?;
    Ok((key, certificate.into()))
}

/// The CA's key: signs, and is wiped when dropped.
struct CaKey(Zeroizing<KeyPair>);

impl PublicKeyData for CaKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        PublicKeyData::algorithm(&*self.0)
    }
}

impl SigningKey for CaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

#[cfg(test)]
mod tests;
