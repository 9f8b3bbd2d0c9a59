//! X.509-SVIDs: the SPIFFE id that a leaf names. The path to a root is verified by TLS; here is what SPIFFE asks beyond that
//! (X509-SVID, sections 2, 4.1, 4.3 and 5.2).
//!
//! Refuses certificates with none or several URIs, authorities, and keys that may sign certificates or not sign at all.

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// Why a verified certificate is no SVID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SvidError {
    /// It is no X.509, or an extension occurs twice.
    #[error("it cannot be read")]
    Form,
    /// An authority speaks for others, never for itself.
    #[error("it is an authority's")]
    Authority,
    /// `digitalSignature` is missing, or `keyCertSign` or `cRLSign` is there.
    #[error("its key usage is not that of a leaf")]
    Usage,
    /// None, or several: which one would count?
    #[error("it has {0} URIs instead of one")]
    Uris(usize),
}

/// What a leaf says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Svid {
    /// The only URI of its alternative names, as it stands there.
    pub uri: String,
    /// When it ends, unix seconds.
    pub ends: i64,
}

impl Svid {
    /// Reads a leaf whose path TLS has verified.
    ///
    /// # Errors
    /// See [`SvidError`].
    pub fn read(leaf: &CertificateDer<'_>) -> Result<Self, SvidError> {
        let Ok(([], leaf)) = X509Certificate::from_der(leaf) else { return Err(SvidError::Form) };
        let constraints = leaf.basic_constraints().map_err(|_| SvidError::Form)?;
        if constraints.is_some_and(|constraints| constraints.value.ca) {
            return Err(SvidError::Authority);
        }
        let usage = leaf.key_usage().map_err(|_| SvidError::Form)?.ok_or(SvidError::Usage)?.value;
        if !usage.digital_signature() || usage.key_cert_sign() || usage.crl_sign() {
            return Err(SvidError::Usage);
        }
        let names =
            leaf.subject_alternative_name().map_err(|_| SvidError::Form)?.ok_or(SvidError::Uris(0))?;
        let names = &names.value.general_names;
        if names.iter().any(|name| matches!(name, GeneralName::Invalid(..))) {
            return Err(SvidError::Form);
        }
        let uri = |name| if let &GeneralName::URI(uri) = name { Some(uri) } else { None };
        let uris: Vec<&str> = names.iter().filter_map(uri).collect();
        let [uri] = uris.as_slice() else { return Err(SvidError::Uris(uris.len())) };
        Ok(Self { uri: (*uri).to_owned(), ends: leaf.validity().not_after.timestamp() })
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
    };

    use super::*;

    fn leaf(uris: &[&str], change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["workload.example".to_owned()]).unwrap();
        let uri = |uri: &&str| SanType::URI((*uri).try_into().unwrap());
        params.subject_alt_names.extend(uris.iter().map(uri));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.not_after = date_time_ymd(2040, 1, 1);
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    const ID: &str = "spiffe://example.org/a";

    #[test]
    fn refuses_leaves_that_are_no_svids() {
        for (uris, error) in [
            (&[][..], SvidError::Uris(0)),
            (&[ID, "spiffe://example.org/b"], SvidError::Uris(2)),
            (&[ID, "https://example.org/"], SvidError::Uris(2)),
        ] {
            assert_eq!(Svid::read(&leaf(uris, |_| {})), Err(error));
        }
        let authority = leaf(&[ID], |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
        assert_eq!(Svid::read(&authority), Err(SvidError::Authority));
        for usages in [
            &[][..],
            &[KeyUsagePurpose::KeyEncipherment],
            &[KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign],
            &[KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign],
        ] {
            let odd = leaf(&[ID], |params| params.key_usages = usages.to_vec());
            assert_eq!(Svid::read(&odd), Err(SvidError::Usage), "{usages:?}");
        }
        let mut cut = leaf(&[ID], |_| {}).to_vec();
        cut.pop();
        assert_eq!(Svid::read(&cut.into()), Err(SvidError::Form));
    }

    #[test]
    fn reads_the_only_uri_beside_other_names_and_the_end() {
        let svid = Svid::read(&leaf(&[ID], |params| params.is_ca = IsCa::ExplicitNoCa)).unwrap();
        assert_eq!(svid, Svid { uri: ID.to_owned(), ends: 2_208_988_800 });
    }
}
