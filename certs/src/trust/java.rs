//! A truststore that Java reads: PKCS#12 (RFC 7292) with certificates only.
//!
//! It holds nothing secret and is guarded by its file's mode, so it is neither encrypted nor given a MAC, which
//! Java accepts with any password. Written by hand because the whole of it is six nested DER sequences;
//! the crates that write PKCS#12 bring RC2, DES and pre-release dependencies.

use rustls_pki_types::CertificateDer;

/// The password to name in `javax.net.ssl.trustStorePassword`; it protects nothing.
pub const PASSWORD: &str = "changeit";

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const BMP_STRING: u8 = 0x1e;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const EXPLICIT_0: u8 = 0xa0;

/// 1.2.840.113549.1.7.1, PKCS#7 data.
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
/// 1.2.840.113549.1.12.10.1.3, certBag.
const CERT_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01, 0x03];
/// 1.2.840.113549.1.9.22.1, x509Certificate.
const X509_CERTIFICATE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x16, 0x01];
/// 1.2.840.113549.1.9.20, friendlyName: the alias.
const FRIENDLY_NAME: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x14];
/// 2.16.840.1.113894.746875.1.1, Oracle's trustedKeyUsage: without it Java sees no trusted entry.
const TRUSTED_KEY_USAGE: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x86, 0xf9, 0x66, 0xad, 0xca, 0x7b, 0x01, 0x01];
/// 2.5.29.37.0, anyExtendedKeyUsage.
const ANY_USAGE: &[u8] = &[0x55, 0x1d, 0x25, 0x00];

/// The CA's chain under `doorward-ca-N`, the roots under `root-N`.
pub(super) fn truststore(chain: &[CertificateDer<'_>], roots: &[CertificateDer<'_>]) -> Vec<u8> {
    let bags: Vec<Vec<u8>> = named("doorward-ca", chain).chain(named("root", roots)).collect();
    let contents = der(SEQUENCE, &bags);
    let safe = der(SEQUENCE, &[data(&contents)]);
    der(SEQUENCE, &[der(INTEGER, &[&[3]]), data(&safe)])
}

fn named<'a>(kind: &'a str, certificates: &'a [CertificateDer<'_>]) -> impl Iterator<Item = Vec<u8>> + 'a {
    certificates
        .iter()
        .enumerate()
        .map(move |(index, certificate)| bag(certificate, &format!("{kind}-{}", index + 1)))
}

fn bag(certificate: &CertificateDer<'_>, alias: &str) -> Vec<u8> {
    let wrapped = der(EXPLICIT_0, &[der(OCTET_STRING, &[certificate])]);
    let value = der(SEQUENCE, &[der(OID, &[X509_CERTIFICATE]), wrapped]);
    let alias: Vec<u8> = alias.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let attributes = [
        attribute(FRIENDLY_NAME, &der(BMP_STRING, &[alias])),
        attribute(TRUSTED_KEY_USAGE, &der(OID, &[ANY_USAGE])),
    ];
    der(SEQUENCE, &[der(OID, &[CERT_BAG]), der(EXPLICIT_0, &[value]), der(SET, &attributes)])
}

fn attribute(oid: &[u8], value: &[u8]) -> Vec<u8> {
    der(SEQUENCE, &[der(OID, &[oid]), der(SET, &[value])])
}

/// ContentInfo of type data.
fn data(content: &[u8]) -> Vec<u8> {
    der(SEQUENCE, &[der(OID, &[DATA]), der(EXPLICIT_0, &[der(OCTET_STRING, &[content])])])
}

/// One DER element: tag, definite length, the parts one after the other.
fn der(tag: u8, parts: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.as_ref().len()).sum();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            // At most eight bytes of length.
            out.push(0x80 | u8::try_from(bytes.len()).unwrap_or(8));
            out.extend(bytes);
        }
    }
    for part in parts {
        out.extend_from_slice(part.as_ref());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_in_the_shortest_form() {
        let cases: [(usize, &[u8]); 6] = [
            (0, &[0]),
            (127, &[127]),
            (128, &[0x81, 128]),
            (255, &[0x81, 255]),
            (256, &[0x82, 1, 0]),
            (65_536, &[0x83, 1, 0, 0]),
        ];
        for (length, header) in cases {
            let element = der(OCTET_STRING, &[vec![7; length]]);
            assert_eq!(element[1..=header.len()], *header);
            assert_eq!(element.len(), 1 + header.len() + length);
        }
    }
}
