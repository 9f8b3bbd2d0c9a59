//! Private keys and certificates as PEM text (RFC 7468), as secrets hold them.
//!
//! For: the checks of values that are stored, and the schemes that sign with them. Refuses what is no PEM, encrypted keys,
//! two keys in one text, and bodies that are no whole DER element. Invariant: what was decoded is wiped when it goes, and no fault
//! tells anything of the text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// More than any key with its chain has.
const LONGEST: usize = 64 << 10;
const RSA_OID: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC_OID: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const SEQUENCE: u8 = 0x30;

/// What is wrong with a PEM text. Tells nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemFault {
    /// There is no private key in it.
    #[error("holds no PEM private key (`-----BEGIN PRIVATE KEY-----`)")]
    NoKey,
    /// There is no certificate in it.
    #[error("holds no PEM certificate (`-----BEGIN CERTIFICATE-----`)")]
    NoCertificate,
    /// There are several private keys in it.
    #[error("holds more than one private key")]
    SeveralKeys,
    /// The key is encrypted with a passphrase.
    #[error("holds a private key that is encrypted; store it decrypted, the vault encrypts it")]
    Encrypted,
    /// A block does not end, or its base64 or its DER is broken.
    #[error("holds PEM that is damaged (a line is missing, or its line breaks are lost)")]
    Damaged,
    /// It is a key, but not for RSA.
    #[error("holds a private key that is not an RSA one")]
    NotRsa,
    /// The text is too long.
    #[error("is longer than any key")]
    Long,
}

/// The form of a private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// `PRIVATE KEY`: any algorithm (RFC 5958).
    Pkcs8,
    /// `RSA PRIVATE KEY` (RFC 8017, appendix A.1.2).
    Pkcs1,
    /// `EC PRIVATE KEY` (RFC 5915).
    Sec1,
}

/// What a private key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA.
    Rsa,
    /// Elliptic curves.
    Ec,
    /// Something else.
    Other,
}

/// A private key, decoded.
pub struct PrivateKey {
    /// Its form.
    pub form: KeyForm,
    /// Its DER.
    pub der: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrivateKey").field("form", &self.form).finish_non_exhaustive()
    }
}

impl PrivateKey {
    /// The one private key of a PEM text. Certificates beside it are passed over.
    pub fn read(text: &[u8]) -> Result<Self, PemFault> {
        let mut found = None;
        for block in blocks(text)? {
            let form = match block.label {
                b"PRIVATE KEY" => KeyForm::Pkcs8,
                b"RSA PRIVATE KEY" => KeyForm::Pkcs1,
                b"EC PRIVATE KEY" => KeyForm::Sec1,
                b"ENCRYPTED PRIVATE KEY" => return Err(PemFault::Encrypted),
                _ => continue,
            };
            if found.replace(Self { form, der: block.der()? }).is_some() {
                return Err(PemFault::SeveralKeys);
            }
        }
        found.ok_or(PemFault::NoKey)
    }

    /// As [`Self::read`], of an RSA key.
    pub fn read_rsa(text: &[u8]) -> Result<Self, PemFault> {
        let key = Self::read(text)?;
        if key.kind() == KeyKind::Rsa { Ok(key) } else { Err(PemFault::NotRsa) }
    }

    /// What it is for.
    pub fn kind(&self) -> KeyKind {
        match self.form {
            KeyForm::Pkcs1 => KeyKind::Rsa,
            KeyForm::Sec1 => KeyKind::Ec,
            KeyForm::Pkcs8 => match algorithm(&self.der) {
                Some(RSA_OID) => KeyKind::Rsa,
                Some(EC_OID) => KeyKind::Ec,
                Some(_) | None => KeyKind::Other,
            },
        }
    }
}

/// The first certificate of a PEM text, as DER.
pub fn first_certificate(text: &[u8]) -> Result<Vec<u8>, PemFault> {
    let blocks = blocks(text)?;
    let first = blocks.iter().find(|block| block.label == b"CERTIFICATE").ok_or(PemFault::NoCertificate)?;
    first.der().map(|der| der.to_vec())
}

/// The object identifier of a PKCS#8 key: SEQUENCE { INTEGER, SEQUENCE { OID ..
fn algorithm(der: &[u8]) -> Option<&[u8]> {
    let (SEQUENCE, whole, _) = element(der)? else { return None };
    let (0x02, _, rest) = element(whole)? else { return None };
    let (SEQUENCE, identifier, _) = element(rest)? else { return None };
    let (0x06, oid, _) = element(identifier)? else { return None };
    Some(oid)
}

/// The tag and the content of a DER element with a definite length, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk::<2>()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f)).filter(|(digits, _)| {
            // Four bytes say more than any key has; none would be an indefinite length.
            (1..=4).contains(&digits.len())
        })?;
        (digits.iter().fold(0_usize, |sum, digit| (sum << 8) | usize::from(*digit)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

struct Block<'a> {
    label: &'a [u8],
    lines: Vec<&'a [u8]>,
}

impl Block<'_> {
    fn der(&self) -> Result<Zeroizing<Vec<u8>>, PemFault> {
        if self.lines.iter().any(|line| line.contains(&b':')) {
            // `Proc-Type: 4,ENCRYPTED` of OpenSSL's own format.
            return Err(PemFault::Encrypted);
        }
        let coded = Zeroizing::new(self.lines.concat());
        let mut der = Zeroizing::new(Vec::with_capacity(base64::decoded_len_estimate(coded.len())));
        STANDARD.decode_vec(&*coded, &mut der).map_err(|_| PemFault::Damaged)?;
        match element(&der) {
            Some((SEQUENCE, _, [])) => Ok(der),
            Some(_) | None => Err(PemFault::Damaged),
        }
    }
}

/// The blocks of a text; what stands between them is passed over (RFC 7468, section 2).
fn blocks(text: &[u8]) -> Result<Vec<Block<'_>>, PemFault> {
    if text.len() > LONGEST {
        return Err(PemFault::Long);
    }
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut open = false;
    for line in text.split(|b| *b == b'\n').map(<[u8]>::trim_ascii) {
        let border = |start: &[u8]| line.strip_prefix(start).and_then(|line| line.strip_suffix(b"-----"));
        match (border(b"-----BEGIN "), border(b"-----END "), blocks.last_mut()) {
            (Some(label), _, _) if !open => {
                open = true;
                blocks.push(Block { label, lines: Vec::new() });
            }
            (_, Some(label), Some(last)) if open && label == last.label => open = false,
            (None, None, Some(last)) if open => last.lines.push(line),
            (None, None, _) if !line.starts_with(b"-----") => {}
            _ => return Err(PemFault::Damaged),
        }
    }
    if open { Err(PemFault::Damaged) } else { Ok(blocks) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of RFC 7515, appendix A.3.
    const EC: &str = "-----BEGIN EC PRIVATE KEY-----
MHcCAQEEII6bEJ5xkJi/mASH3x9dd+nLKWBuvtImO19XwhPfhPSyoAoGCCqGSM49
AwEHoUQDQgAEf83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEXH8UTNG72b
focs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==
-----END EC PRIVATE KEY-----
";

    fn fault(text: &str) -> PemFault {
        PrivateKey::read(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn refuses_what_is_no_private_key() {
        assert_eq!(fault(""), PemFault::NoKey);
        assert_eq!(fault("ghp_0123456789"), PemFault::NoKey);
        assert_eq!(fault(&EC.replace("EC PRIVATE KEY", "PUBLIC KEY")), PemFault::NoKey);
        assert_eq!(fault(&EC.replace("EC PRIVATE", "ENCRYPTED PRIVATE")), PemFault::Encrypted);
        assert_eq!(fault(&EC.replace("MHcC", "Proc-Type: 4,ENCRYPTED\nMHcC")), PemFault::Encrypted);
        assert_eq!(fault(&[EC, EC].concat()), PemFault::SeveralKeys);
        assert_eq!(fault(&"x\n".repeat(40_000)), PemFault::Long);
    }

    #[test]
    fn refuses_damaged_text() {
        for (from, to) in [
            ("-----END EC PRIVATE KEY-----", ""),
            ("-----END EC", "-----END RSA"),
            ("-----BEGIN EC PRIVATE KEY-----", ""),
            ("MHcC", "MHc*"),
            ("MHcC", "MHgC"),
            ("MHcC", "MXcC"),
            ("focs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==\n", ""),
            ("\n", "\\n"),
            ("\n", " "),
        ] {
            let fault = fault(&EC.replace(from, to));
            assert!(matches!(fault, PemFault::Damaged | PemFault::NoKey), "{from} {to} {fault:?}");
        }
        assert_eq!(PrivateKey::read_rsa(EC.as_bytes()).unwrap_err(), PemFault::NotRsa);
        // A byte behind the element.
        let behind = "-----BEGIN PRIVATE KEY-----\nMAAA\n-----END PRIVATE KEY-----\n";
        assert_eq!(fault(behind), PemFault::Damaged);
    }

    #[test]
    fn reads_a_key_beside_a_certificate_and_remarks() {
        let certificate =
            "Bag Attributes\r\n-----BEGIN CERTIFICATE-----\r\nMAA=\r\n-----END CERTIFICATE-----\r\n";
        let both = [certificate, EC].concat();
        let key = PrivateKey::read(both.as_bytes()).unwrap();
        assert_eq!((key.form, key.kind(), key.der.len()), (KeyForm::Sec1, KeyKind::Ec, 121));
        assert_eq!(first_certificate(both.as_bytes()).unwrap(), [0x30, 0]);
        assert_eq!(first_certificate(EC.as_bytes()), Err(PemFault::NoCertificate));
    }

    #[test]
    fn tells_the_algorithm_of_a_key() {
        let kind = |oid: &[u8]| {
            let identifier = [&[SEQUENCE, oid.len() as u8 + 2, 6, oid.len() as u8], oid].concat();
            let whole = [&[2, 1, 0], &*identifier].concat();
            let der = Zeroizing::new([&[SEQUENCE, whole.len() as u8], &*whole].concat());
            PrivateKey { form: KeyForm::Pkcs8, der }.kind()
        };
        assert_eq!([kind(RSA_OID), kind(EC_OID), kind(&[1])], [KeyKind::Rsa, KeyKind::Ec, KeyKind::Other]);
        for der in ["", "\x30", "\x30\u{7f}", "\x02\x01\x00"] {
            assert_eq!(algorithm(der.as_bytes()), None);
        }
    }
}
