//! Host to leaf certificate: its names, its validity, its own key (never the CA's).
//!
//! Refuses host names that are not canonical: a second spelling would be a second certificate and a
//! second cache entry for one host. A wildcard cannot be said at all: `ServerName` has none.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType,
    SerialNumber,
};
use rustls::sign::CertifiedKey;
use rustls_pki_types::ServerName;
use time::OffsetDateTime;

use crate::Error;

/// How far back validity starts: clients' clocks run behind ours.
pub(crate) const BACKDATE: Duration = Duration::from_secs(60 * 60);
/// From `not_before` to `not_after`, both seconds included: 24 h.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60 - 1);
/// RFC 5280 A.1, ub-common-name. A longer host has an empty subject and a critical SAN instead.
const COMMON_NAME_MAX: usize = 64;

/// A certificate for one host, ready to serve, with the key that is its own.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// The chain to send (leaf first, the root left out) and its key.
    pub certified: Arc<CertifiedKey>,
    /// First instant of its validity.
    pub not_before: SystemTime,
    /// Last instant of its validity.
    pub not_after: SystemTime,
}

/// From when to when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
}

impl Validity {
    /// Refuses a `now` outside the validity.
    pub(crate) fn check(&self, now: SystemTime) -> Result<(), Error> {
        match () {
            () if now < self.not_before => Err(Error::NotYetValid),
            () if now > self.not_after => Err(Error::Expired),
            () => Ok(()),
        }
    }

    /// The validity of a leaf signed now: at most 24 h and never beyond the issuer's own.
    pub(crate) fn leaf(&self, now: SystemTime) -> Result<Self, Error> {
        self.check(now)?;
        let not_before = now.checked_sub(BACKDATE).ok_or(Error::Clock)?;
        let not_after = not_before.checked_add(LIFETIME).ok_or(Error::Clock)?;
        Ok(Self { not_before: not_before.max(self.not_before), not_after: not_after.min(self.not_after) })
    }

    /// Writes it into certificate parameters, in whole seconds as certificates have them.
    pub(crate) fn write(&self, params: &mut CertificateParams) -> Result<(), Error> {
        params.not_before = utc(self.not_before)?;
        params.not_after = utc(self.not_after)?;
        Ok(())
    }
}

/// The host's text, if the name is canonical.
pub(crate) fn canonical<'a>(host: &'a ServerName<'_>) -> Result<Cow<'a, str>, Error> {
    let text = host.to_str();
    let canonical = !text.ends_with('.') && !text.bytes().any(|byte| byte.is_ascii_uppercase());
    if canonical { Ok(text) } else { Err(Error::HostNotCanonical) }
}

/// What a leaf for `host` says: SAN is exactly the host, serverAuth, not a CA, AKI and SKI present.
pub(crate) fn params(host: &ServerName<'_>, validity: &Validity) -> Result<CertificateParams, Error> {
    let text = canonical(host)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if text.len() <= COMMON_NAME_MAX {
        params.distinguished_name.push(DnType::CommonName, text.as_ref());
    }
    params.subject_alt_names = vec![match host {
        ServerName::IpAddress(address) => SanType::IpAddress(IpAddr::from(*address)),
        ServerName::DnsName(_) => SanType::DnsName(text.as_ref().try_into()?),
        // A kind of name that rustls may know one day and we do not.
        _ => return Err(Error::HostNotCanonical),
    }];
    // Explicit, because only then rcgen writes a subject key identifier.
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Python 3.13 and later verify strictly and refuse a leaf without it.
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(serial()?);
    validity.write(&mut params)?;
    Ok(params)
}

/// 128 random bits behind a leading 1: always positive, never zero, 17 of the 20 bytes allowed (RFC 5280, 4.1.2.2).
pub(crate) fn serial() -> Result<SerialNumber, Error> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|_| Error::Randomness)?;
    let mut bytes = vec![1];
    bytes.extend_from_slice(&random);
    Ok(bytes.into())
}

fn utc(time: SystemTime) -> Result<OffsetDateTime, Error> {
    let since = time.duration_since(UNIX_EPOCH).map_err(|_| Error::Clock)?;
    let seconds = i64::try_from(since.as_secs()).map_err(|_| Error::Clock)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| Error::Clock)
}
