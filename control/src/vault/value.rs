//! What a value and a key of a secret may look like, wherever the value comes from.
//!
//! Refuses values that cannot be put on a request in one piece (control bytes, blanks at an edge), values so short that
//! scrubbing them would mask ordinary text, and keys that are no plain names. Key files and PEM texts have to be what
//! their key says: a mistake is told when they are stored, not when they are first used.

use super::certificate;
use crate::keyfile::{self, KeyFileFault};
use crate::pem::{self, PemFault, PrivateKey};
use crate::secret::Secret;

/// The longest value: room for certificate chains and service account files.
pub const VALUE_MAX: usize = 64 * 1024;
/// The shortest value: shorter ones are found in ordinary text, so answers could not be scrubbed of them.
pub const VALUE_MIN: usize = 8;
/// The most keys that one secret has.
pub const KEYS_MAX: usize = 64;
/// The longest name of a key.
pub(crate) const KEY_MAX: usize = 253;

/// Keys whose values are files: line breaks and any bytes are theirs.
const FILE_KEYS: &[&str] = &["key.json", "private_key", "certificate", "tls.crt", "tls.key"];
/// Keys whose values say who, not prove it: they may be short.
const IDENTIFIER_KEYS: &[&str] = &[
    "username",
    "app_id",
    "installation_id",
    "client_id",
    "tenant_id",
    "access_key_id",
    "account_id",
    "key_id",
];

/// Whether the values of such a key say who, or are for everybody's eyes: they open nothing and may stand anywhere.
pub fn opens_nothing(key: &str) -> bool {
    IDENTIFIER_KEYS.contains(&key) || key == "tls.crt"
}

/// Why a value or key was refused. Says nothing of the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not a key's name.
    #[error("a key is made of letters, digits, `.`, `_` and `-`, and does not begin with `..`")]
    Key,
    /// Nothing there.
    #[error("the value of key `{0}` is empty")]
    Empty(String),
    /// Too short to be scrubbed from answers.
    #[error("the value of key `{0}` has under {VALUE_MIN} bytes: too short to be found again in answers")]
    TooShort(String),
    /// Too long.
    #[error("the value of key `{0}` has over {VALUE_MAX} bytes")]
    TooLong(String),
    /// A line break, NUL, control byte or a byte beyond ASCII.
    #[error("the value of key `{0}` holds a line break or another byte that is not visible ASCII")]
    NotVisible(String),
    /// A blank at the beginning or end.
    #[error("the value of key `{0}` begins or ends with a blank")]
    Blank(String),
    /// A file of another kind than the key is for.
    #[error("the value of key `{0}` is {1}")]
    Unfit(String, &'static str),
    /// A private key and somebody else's certificate.
    #[error(
        "the private key in `tls.key` does not belong to the first certificate in `tls.crt`: expected a pair"
    )]
    OtherKey,
    /// It is no key file of a service account.
    #[error("the value of key `{key}` {fault}")]
    KeyFile {
        /// The key.
        key: String,
        /// What is wrong with it.
        fault: KeyFileFault,
    },
    /// It is no PEM text of what the key is for.
    #[error("the value of key `{key}` {fault}")]
    Pem {
        /// The key.
        key: String,
        /// What is wrong with it.
        fault: PemFault,
    },
    /// It is not the number of an installation.
    #[error("the value of key `{0}` is not a number, as GitHub shows it in the address of an installation")]
    NotNumber(String),
    /// The same key twice.
    #[error("key `{0}` is given twice")]
    Twice(String),
    /// No keys, or too many.
    #[error("a secret has from 1 to {KEYS_MAX} keys")]
    Count,
}

/// Keys that people and this program name so: a mistake may name them. Any other may be a value in the wrong place.
const COMMON_KEYS: &[&str] = &["token", "api-key", "password", "secret", "client_secret", "refresh_token"];

impl ValueError {
    /// The same mistake with a key that whoever is told of it may see: a common one, or else its place.
    #[must_use]
    pub(crate) fn told_as(self, place: &str) -> Self {
        let key = |key: String| {
            let known = [FILE_KEYS, IDENTIFIER_KEYS, COMMON_KEYS].concat();
            if known.contains(&key.as_str()) { key } else { place.to_owned() }
        };
        match self {
            Self::Empty(name) => Self::Empty(key(name)),
            Self::TooShort(name) => Self::TooShort(key(name)),
            Self::TooLong(name) => Self::TooLong(key(name)),
            Self::NotVisible(name) => Self::NotVisible(key(name)),
            Self::Blank(name) => Self::Blank(key(name)),
            Self::Unfit(name, what) => Self::Unfit(key(name), what),
            Self::KeyFile { key: name, fault } => Self::KeyFile { key: key(name), fault },
            Self::Pem { key: name, fault } => Self::Pem { key: key(name), fault },
            Self::NotNumber(name) => Self::NotNumber(key(name)),
            Self::Twice(name) => Self::Twice(key(name)),
            Self::Key | Self::OtherKey | Self::Count => self,
        }
    }
}

/// Whether this can be a key of a secret: also a plain file name, for secrets that are folders.
pub fn is_key(text: &str) -> bool {
    (1..=KEY_MAX).contains(&text.len())
        && text != "."
        && !text.starts_with("..")
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Checks one value against what its key is for.
pub fn check(key: &str, value: &Secret) -> Result<(), ValueError> {
    if !is_key(key) {
        return Err(ValueError::Key);
    }
    let name = || key.to_owned();
    if value.is_empty() {
        return Err(ValueError::Empty(name()));
    }
    if value.len() > VALUE_MAX {
        return Err(ValueError::TooLong(name()));
    }
    if FILE_KEYS.contains(&key) {
        return if value.len() < VALUE_MIN {
            Err(ValueError::TooShort(name()))
        } else {
            check_file(key, value)
        };
    }
    if value.len() < VALUE_MIN && !IDENTIFIER_KEYS.contains(&key) {
        return Err(ValueError::TooShort(name()));
    }
    // exposed: its bytes are looked at, none is kept
    let bytes = value.expose();
    if !bytes.iter().all(|b| (0x20..0x7f).contains(b)) {
        return Err(ValueError::NotVisible(name()));
    }
    if bytes.first() == Some(&b' ') || bytes.last() == Some(&b' ') {
        return Err(ValueError::Blank(name()));
    }
    if key == "installation_id" && !(bytes.len() <= 20 && bytes.iter().all(u8::is_ascii_digit)) {
        return Err(ValueError::NotNumber(name()));
    }
    Ok(())
}

/// Whether a file is what its key says.
fn check_file(key: &str, value: &Secret) -> Result<(), ValueError> {
    // exposed: its form is looked at, what is made of it is wiped
    let text = value.expose();
    let pem =
        |result: Result<(), PemFault>| result.map_err(|fault| ValueError::Pem { key: key.to_owned(), fault });
    match key {
        "key.json" => {
            keyfile::check(text).map_err(|fault| ValueError::KeyFile { key: key.to_owned(), fault })
        }
        "private_key" => pem(PrivateKey::read(text).map(drop)),
        // Azure's: the certificate with its key.
        "certificate" => pem(pem::first_certificate(text).and(PrivateKey::read_rsa(text)).map(drop)),
        _ => certificate::check(key, value),
    }
}

/// Checks all values of one version of a secret.
pub fn check_all(values: &[(String, Secret)]) -> Result<(), ValueError> {
    if !(1..=KEYS_MAX).contains(&values.len()) {
        return Err(ValueError::Count);
    }
    let mut seen = std::collections::BTreeSet::new();
    for (key, value) in values {
        check(key, value)?;
        if !seen.insert(key.as_str()) {
            return Err(ValueError::Twice(key.clone()));
        }
    }
    check_together(values)
}

/// Checks the values that have to fit each other.
pub(super) fn check_together(values: &[(String, Secret)]) -> Result<(), ValueError> {
    certificate::check_pair(values)
}

/// Drops the one line break that editors, `echo` and most programs put at the end.
/// The shortest value of which a part may be shown.
const HINT_MIN: usize = 20;
/// How many characters of either end are shown.
const HINT_PART: usize = 4;

/// The first and last characters of a value that is long and has one line.
pub(crate) fn hint(value: &Secret) -> Option<String> {
    // exposed: eight characters of a long value, kept in readable form where the project says so
    let text =
        str::from_utf8(value.expose()).ok().filter(|text| text.bytes().all(|b| b.is_ascii_graphic()))?;
    let ends = (text.get(..HINT_PART)?, text.get(text.len().checked_sub(HINT_PART)?..)?);
    (text.len() >= HINT_MIN).then(|| format!("{}…{}", ends.0, ends.1))
}

/// The value without the line break that editors and `echo` put behind it.
pub fn without_final_line_break(mut bytes: Vec<u8>) -> Secret {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    Secret::new(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(bytes: &[u8]) -> Secret {
        Secret::new(bytes.to_vec())
    }

    #[test]
    fn refuses_values_that_cannot_go_on_a_request_in_one_piece() {
        for value in [
            &b""[..],
            b"1234567",
            b"12345678\r",
            b"12345678\n",
            b"1234\r\n5678",
            b"1234\x005678",
            b"1234\t5678",
            b"1234\x7f5678",
            b" 12345678",
            b"12345678 ",
            "1234567é".as_bytes(),
            b"1234\xff5678",
            &[b'x'; VALUE_MAX + 1],
        ] {
            assert!(check("token", &secret(value)).is_err(), "{value:?}");
        }
        assert!(check("key.json", &secret(b"{}")).is_err());
        assert!(check("username", &secret(b"a\nb")).is_err());
        check("token", &secret(b"12345678")).unwrap();
        check("password", &secret(b"correct horse")).unwrap();
        check("username", &secret(b"bob")).unwrap();
    }

    #[test]
    fn refuses_files_that_are_not_what_their_key_says() {
        let fault = |key: &str, value: &str| check(key, &secret(value.as_bytes())).unwrap_err().to_string();
        let canary = "canary-7f3e1c";
        for (key, value, told) in [
            (
                "key.json",
                format!("{{\"type\":\"service_account\",\"x\":\"{canary}\"}}"),
                "lacks the field `client_email`",
            ),
            ("key.json", canary.to_owned(), "is not a service account's key file"),
            ("key.json", "{\"type\":\"external_account\"}".to_owned(), "lacks the field `token_url`"),
            (
                "key.json",
                keyfile::external::tests::file()
                    .to_string()
                    .replace("\"file\":", &format!("\"url\":\"https://{canary}\",\"file\":")),
                "`url`, which is refused: another host",
            ),
            ("private_key", canary.to_owned(), "holds no PEM private key"),
            ("certificate", canary.to_owned(), "holds no PEM certificate"),
            ("installation_id", canary.to_owned(), "is not a number"),
        ] {
            let shown = fault(key, &value);
            assert!(shown.contains(told) && shown.contains(key) && !shown.contains(canary), "{shown}");
        }
        check("key.json", &secret(keyfile::tests::file().to_string().as_bytes())).unwrap();
        check("key.json", &secret(keyfile::external::tests::file().to_string().as_bytes())).unwrap();
        check("private_key", &secret(keyfile::tests::PEM.as_bytes())).unwrap();
        check("installation_id", &secret(b"12345678")).unwrap();
    }

    #[test]
    fn a_mistake_names_no_key_that_may_be_a_value_in_the_wrong_place() {
        let canary = "ghp_canary7f3e1c";
        for value in [&b""[..], b"1234567", b"12345678\n", b" 12345678", &[b'x'; VALUE_MAX + 1]] {
            let told = check(canary, &secret(value)).unwrap_err().told_as("#2").to_string();
            assert!(told.contains("#2") && !told.contains(canary), "{told}");
        }
        assert!(check("token", &secret(b"")).unwrap_err().told_as("#1").to_string().contains("`token`"));
    }

    #[test]
    fn refuses_keys_that_are_no_plain_names() {
        for key in ["", ".", "..", "..data", "a/b", "a b", "a\0", "ä", &"k".repeat(254)] {
            assert!(!is_key(key), "{key:?}");
        }
        assert!(is_key("key.json") && is_key("API_KEY") && is_key(".dockerconfigjson"));
    }

    #[test]
    fn refuses_a_key_given_twice_and_no_key_at_all() {
        let pair = || ("token".to_owned(), secret(b"12345678"));
        assert_eq!(check_all(&[pair(), pair()]), Err(ValueError::Twice("token".into())));
        assert_eq!(check_all(&[]), Err(ValueError::Count));
    }

    #[test]
    fn drops_exactly_one_line_break() {
        for (raw, kept) in
            [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a\r", "a\r"), ("a", "a"), ("", "")]
        {
            assert!(without_final_line_break(raw.into()).matches(kept.as_bytes()), "{raw:?}");
        }
    }
}
