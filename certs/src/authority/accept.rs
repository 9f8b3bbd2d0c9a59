//! Would clients accept this CA? Refuses one that may not sign, is out of its time, whose key is not
//! its own, or whose chain does not reach a root: with the sentence that says what to change.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::KeyPair;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{ASN1Time, FromDer as _, X509Certificate, X509Version};

use super::Names;
use crate::leaf::Validity;
use crate::{Error, crypto};

/// What is known of a CA that has passed.
pub(super) struct Accepted<'a> {
    pub(super) signer: &'a CertificateDer<'static>,
    /// Where the validities of the whole chain overlap.
    pub(super) validity: Validity,
    pub(super) names: Names,
    /// Trusts the root of the chain and nothing else.
    pub(super) verifier: Arc<WebPkiServerVerifier>,
}

/// Checks a chain (signer first, root last) and the signer's key.
pub(super) fn check<'a>(
    chain: &'a [CertificateDer<'static>],
    key: &KeyPair,
    now: SystemTime,
) -> Result<Accepted<'a>, Error> {
    let (Some(signer), Some(root)) = (chain.first(), chain.last()) else {
        return Err(Error::ChainBroken { entry: 1 });
    };
    key_kind(key)?;

    let parsed = parse(chain)?;
    for (index, certificate) in parsed.iter().enumerate() {
        let entry = index + 1;
        may_sign(certificate, index).map_err(|reason| Error::NotACa { entry, reason })?;
        // The root's issuer is the root itself.
        let above = parsed.get(entry).unwrap_or(certificate);
        if certificate.issuer().as_raw() != above.subject().as_raw() {
            return Err(Error::ChainBroken { entry });
        }
    }
    let validity = overlap(&parsed)?;
    validity.check(now)?;
    if !parsed.first().is_some_and(|signer| belongs(key, signer)) {
        return Err(Error::KeyMismatch);
    }

    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).map_err(|source| Error::Unusable { source })?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), crypto::provider())
        .build()
        .map_err(|error| Error::Unusable { source: rustls::Error::General(error.to_string()) })?;
    let names = if parsed.iter().any(constrains_names) { Names::Constrained } else { Names::Any };
    Ok(Accepted { signer, validity, names, verifier })
}

fn parse<'a>(chain: &'a [CertificateDer<'static>]) -> Result<Vec<X509Certificate<'a>>, Error> {
    let parse = |(index, der): (usize, &'a CertificateDer<'static>)| match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) | Err(_) => {
            Err(Error::NotACa { entry: index + 1, reason: "it is not a valid X.509 certificate" })
        }
    };
    chain.iter().enumerate().map(parse).collect()
}

/// Ed25519 and post-quantum signatures are refused by too many clients to be of use.
fn key_kind(key: &KeyPair) -> Result<(), Error> {
    let known = [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ECDSA_P521_SHA512,
        &rcgen::PKCS_RSA_SHA256,
    ];
    if known.contains(&key.algorithm()) { Ok(()) } else { Err(Error::KeyKind) }
}

fn belongs(key: &KeyPair, signer: &X509Certificate<'_>) -> bool {
    signer.public_key().subject_public_key.data.as_ref() == key.public_key_raw()
}

/// `below`: how many CA certificates of the chain stand below this one.
fn may_sign(certificate: &X509Certificate<'_>, below: usize) -> Result<(), &'static str> {
    let malformed = |_| "an extension is malformed or appears twice";
    if certificate.version() != X509Version::V3 {
        return Err("it is not an X.509 version 3 certificate");
    }
    let constraints = certificate.basic_constraints().map_err(malformed)?;
    let Some(constraints) = constraints.filter(|constraints| constraints.value.ca) else {
        return Err("its basic constraints do not say CA:TRUE");
    };
    if constraints.value.path_len_constraint.is_some_and(|most| usize::try_from(most).unwrap_or(0) < below) {
        return Err("its path length does not allow the CA certificates below it");
    }
    let usage = certificate.key_usage().map_err(malformed)?;
    if !usage.is_some_and(|usage| usage.value.key_cert_sign()) {
        return Err("its key usage lacks keyCertSign");
    }
    let extended = certificate.extended_key_usage().map_err(malformed)?;
    if extended.is_some_and(|usage| !usage.value.any && !usage.value.server_auth) {
        return Err("its extended key usage excludes serverAuth");
    }
    Ok(())
}

fn constrains_names(certificate: &X509Certificate<'_>) -> bool {
    // Malformed counts as constrained: then every leaf is checked before it is used.
    !matches!(certificate.name_constraints(), Ok(None))
}

/// When the whole chain is valid at once.
fn overlap(chain: &[X509Certificate<'_>]) -> Result<Validity, Error> {
    let mut all = None::<Validity>;
    for certificate in chain {
        let not_before = system_time(certificate.validity().not_before)?;
        let not_after = system_time(certificate.validity().not_after)?;
        all = Some(all.map_or(Validity { not_before, not_after }, |all| Validity {
            not_before: all.not_before.max(not_before),
            not_after: all.not_after.min(not_after),
        }));
    }
    all.ok_or(Error::ChainBroken { entry: 1 })
}

fn system_time(time: ASN1Time) -> Result<SystemTime, Error> {
    // A certificate from before 1970 is valid since long enough.
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or(Error::Clock)
}
