//! Google's key files (`key.json`), of service accounts and of federated identities ([`external`]): what stands in one, checked when it is stored and read when it signs.
//!
//! Refuses files of other kinds by their names, fields that are missing or given twice, and keys that are no RSA PEM. Invariant: the private key
//! is unescaped into wiped bytes only, and no fault tells anything of the file but the names of its fields.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::pem::{PemFault, PrivateKey};

pub mod external;

/// Google's own token endpoints.
pub const TOKEN_URIS: &[&str] = &[
    "https://oauth2.googleapis.com/token",
    "https://accounts.google.com/o/oauth2/token",
    "https://www.googleapis.com/oauth2/v4/token",
];

/// What is wrong with a key file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileFault {
    /// It is no JSON object, or a field is given twice or holds something else than text.
    #[error(
        "is not a service account's key file (a JSON object with `type`, `client_email` and `private_key`, each once)"
    )]
    Form,
    /// A field is missing or empty.
    #[error("lacks the field `{0}`")]
    Missing(&'static str),
    /// A field holds something else than it should.
    #[error("has a field `{0}` that is not {1}")]
    Invalid(&'static str, &'static str),
    /// The private key cannot be read.
    #[error("has a field `private_key` that {0}")]
    Key(PemFault),
    /// Another kind of file.
    #[error("is of type `{0}`, which comes with a later release; use the key file of a service account")]
    Later(&'static str),
    /// A federated identity where a service account's key is asked for.
    #[error("is of type `external_account`: use auth type `workload-identity`")]
    External,
    /// A service account's key where a federated identity is asked for.
    #[error("is of type `service_account`: use auth type `gcp-service-account`")]
    NotExternal,
    /// It is no JSON object, or a field is given twice or holds something of another kind.
    #[error("is not a credential file of workload identity federation")]
    ExternalForm,
    /// A field that would change what is asked.
    #[error(
        "has a field `{0}`, which is not served: only workload identity pools without a client of their own are"
    )]
    Unserved(&'static str),
    /// A source of subject tokens that is not read.
    #[error(
        "has a `credential_source` with `{0}`, which is refused: {1}; let something write the subject token into a file"
    )]
    Source(&'static str, &'static str),
    /// A person's login of gcloud.
    #[error(
        "is of type `authorized_user`, a person's login: use the key file of a service account, or auth type `oauth2-refresh`"
    )]
    Login,
}

/// A service account's key.
pub struct ServiceAccount {
    /// Who signs.
    pub client_email: String,
    /// The PEM text.
    pub private_key: Zeroizing<Vec<u8>>,
    /// Which of its keys it is.
    pub private_key_id: Option<String>,
    /// Where assertions are exchanged: one of [`TOKEN_URIS`].
    pub token_uri: &'static str,
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceAccount")
    }
}

/// The fields that are looked at. Texts are borrowed, so that no copy of the key is made on the way.
#[derive(Deserialize)]
struct File<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    client_email: Option<Cow<'a, str>>,
    #[serde(borrow)]
    private_key: Option<&'a RawValue>,
    #[serde(borrow)]
    private_key_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    token_uri: Option<Cow<'a, str>>,
    #[serde(borrow)]
    universe_domain: Option<Cow<'a, str>>,
}

impl ServiceAccount {
    /// Reads a key file.
    pub fn read(text: &[u8]) -> Result<Self, KeyFileFault> {
        let file: File<'_> = serde_json::from_slice(text).map_err(|_| KeyFileFault::Form)?;
        match file.kind.as_deref() {
            Some("service_account") => {}
            Some("external_account") => return Err(KeyFileFault::External),
            Some("impersonated_service_account") => {
                return Err(KeyFileFault::Later("impersonated_service_account"));
            }
            Some("authorized_user") => return Err(KeyFileFault::Login),
            Some(_) => return Err(KeyFileFault::Invalid("type", "`service_account`")),
            None => return Err(KeyFileFault::Missing("type")),
        }
        if file.universe_domain.is_some_and(|domain| domain != "googleapis.com") {
            return Err(KeyFileFault::Invalid("universe_domain", "`googleapis.com`"));
        }
        let client_email = visible(file.client_email, "client_email")?
            .filter(|email| email.contains('@'))
            .ok_or(KeyFileFault::Invalid("client_email", "an address"))?;
        let raw = file.private_key.ok_or(KeyFileFault::Missing("private_key"))?;
        let private_key = unescaped(raw.get()).ok_or(KeyFileFault::Invalid("private_key", "a PEM text"))?;
        PrivateKey::read_rsa(&private_key).map_err(KeyFileFault::Key)?;
        Ok(Self {
            client_email,
            private_key,
            private_key_id: match file.private_key_id {
                Some(id) => visible(Some(id), "private_key_id")?,
                None => None,
            },
            token_uri: token_uri(file.token_uri.as_deref())?,
        })
    }
}

/// Whether a file is one of those that can be used.
pub fn check(text: &[u8]) -> Result<(), KeyFileFault> {
    match ServiceAccount::read(text).map(drop) {
        Err(KeyFileFault::External) => external::ExternalAccount::read(text).map(drop),
        outcome => outcome,
    }
}

/// Whoever writes the file must not choose where assertions go.
fn token_uri(text: Option<&str>) -> Result<&'static str, KeyFileFault> {
    let Some(text) = text else { return Ok(TOKEN_URIS.first().copied().unwrap_or_default()) };
    let known = TOKEN_URIS.iter().find(|known| **known == text).copied();
    known.ok_or(KeyFileFault::Invalid("token_uri", "one of Google's (`https://oauth2.googleapis.com/token`)"))
}

/// A field of visible characters that is there.
fn visible(text: Option<Cow<'_, str>>, field: &'static str) -> Result<Option<String>, KeyFileFault> {
    let text = text.filter(|text| !text.is_empty()).ok_or(KeyFileFault::Missing(field))?;
    if text.len() > 512 || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(KeyFileFault::Invalid(field, "made of visible ASCII characters"));
    }
    Ok(Some(text.into_owned()))
}

/// A JSON string of ASCII, unescaped into wiped bytes.
fn unescaped(raw: &str) -> Option<Zeroizing<Vec<u8>>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    let mut out = Zeroizing::new(Vec::with_capacity(inner.len()));
    let mut bytes = inner.bytes();
    while let Some(byte) = bytes.next() {
        out.push(if byte == b'\\' { escaped(&mut bytes)? } else { byte });
    }
    Some(out)
}

fn escaped(bytes: &mut impl Iterator<Item = u8>) -> Option<u8> {
    Some(match bytes.next()? {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        byte @ (b'"' | b'\\' | b'/') => byte,
        b'u' => {
            let digits = bytes.by_ref().take(4).map(|byte| (byte as char).to_digit(16));
            let code = digits.collect::<Option<Vec<u32>>>().filter(|digits| digits.len() == 4)?;
            let code = code.iter().fold(0, |sum, digit| sum * 16 + digit);
            u8::try_from(code).ok().filter(u8::is_ascii)?
        }
        _ => return None,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The key of RFC 7515, appendix A.2.
    pub(crate) const PEM: &str = include_str!("types/gcp/dummy.pem");

    pub(crate) fn file() -> serde_json::Value {
        serde_json::json!({
            "type": "service_account",
            "project_id": "p",
            "private_key_id": "k1",
            "private_key": PEM,
            "client_email": "a@p.iam.gserviceaccount.com",
            "token_uri": "https://oauth2.googleapis.com/token",
        })
    }

    fn read(value: &serde_json::Value) -> Result<ServiceAccount, KeyFileFault> {
        ServiceAccount::read(value.to_string().as_bytes())
    }

    fn with(field: &str, value: impl Into<serde_json::Value>) -> KeyFileFault {
        let mut file = file();
        file[field] = value.into();
        read(&file).unwrap_err()
    }

    #[test]
    fn refuses_files_that_are_no_key_files() {
        for text in
            ["", "x", "[]", "{\"type\": 1}", "{\"type\":\"service_account\",\"type\":\"service_account\"}"]
        {
            assert_eq!(ServiceAccount::read(text.as_bytes()).unwrap_err(), KeyFileFault::Form, "{text}");
        }
        assert_eq!(ServiceAccount::read(b"{}").unwrap_err(), KeyFileFault::Missing("type"));
        assert_eq!(with("type", "external_account"), KeyFileFault::External);
        assert_eq!(with("type", "authorized_user"), KeyFileFault::Login);
        assert!(matches!(with("type", "other"), KeyFileFault::Invalid("type", _)));
    }

    #[test]
    fn refuses_a_field_that_is_missing_or_something_else() {
        for field in ["client_email", "private_key"] {
            let mut file = file();
            file.as_object_mut().unwrap().remove(field);
            assert_eq!(read(&file).unwrap_err(), KeyFileFault::Missing(field));
        }
        assert!(matches!(with("client_email", "nobody"), KeyFileFault::Invalid("client_email", _)));
        assert!(matches!(with("client_email", "a@b\r\nc"), KeyFileFault::Invalid("client_email", _)));
        assert!(matches!(with("private_key", 7), KeyFileFault::Invalid("private_key", _)));
        assert_eq!(with("private_key", "no key"), KeyFileFault::Key(PemFault::NoKey));
        assert!(matches!(with("universe_domain", "evil.example"), KeyFileFault::Invalid(_, _)));
    }

    #[test]
    fn refuses_to_send_assertions_elsewhere() {
        for uri in [
            "https://evil.example/token",
            "http://oauth2.googleapis.com/token",
            "https://oauth2.googleapis.com/token?x",
            "https://oauth2.googleapis.com@evil.example/token",
            "",
        ] {
            assert!(matches!(with("token_uri", uri), KeyFileFault::Invalid("token_uri", _)), "{uri}");
        }
    }

    #[test]
    fn reads_what_google_writes() {
        let account = read(&file()).unwrap();
        assert_eq!(account.client_email, "a@p.iam.gserviceaccount.com");
        assert_eq!((account.private_key_id.as_deref(), account.token_uri), (Some("k1"), TOKEN_URIS[0]));
        assert_eq!(*account.private_key, PEM.as_bytes());
        let odd = file().to_string().replace('=', "\\u003d").replace("PRIVATE", "\\u0050RIVATE");
        assert_eq!(*ServiceAccount::read(odd.as_bytes()).unwrap().private_key, PEM.as_bytes());
    }
}
