//! The transit engine of HashiCorp Vault and OpenBao: a key that is made here is encrypted there, and decrypted when the vault is
//! unlocked. The vault's name is associated data.
//!
//! The token is read from its file for each call, so that an agent that renews it is enough. The policy needs `update` on
//! `MOUNT/encrypt/KEY` and `MOUNT/decrypt/KEY`, no more.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{ANSWER, By, DEADLINE, WrapError, Wrapped, plain_key, shown};
use crate::outgoing::{Ask, Outgoing, Place};
use crate::private;
use crate::vault::master::MasterKey;

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
/// Says that a person's browser is not at work here; OpenBao and Vault agents ask for it.
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");
/// The longest token: those of a cluster with namespaces have some hundred characters.
const TOKEN_MAX: usize = 8 * 1024;
/// Where the engine is if nobody says otherwise.
const MOUNT: &str = "transit";

/// A key of a transit engine, and who we are there.
#[derive(Clone, Debug)]
pub struct Transit {
    place: Place,
    mount: String,
    key: String,
    token: PathBuf,
    outgoing: Outgoing,
}

/// An answer of the engine, as it lies in its buffer.
#[derive(Deserialize)]
struct Answered<'a> {
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(default)]
    ciphertext: Option<String>,
    #[serde(default, borrow)]
    plaintext: Option<&'a str>,
}

#[derive(Serialize)]
struct Encrypt<'a> {
    plaintext: &'a str,
    associated_data: &'a str,
}

#[derive(Serialize)]
struct Decrypt<'a> {
    ciphertext: &'a str,
    associated_data: &'a str,
}

impl Transit {
    /// `https://HOST[:PORT][/MOUNT]#KEY`, and the file with the token.
    ///
    /// # Errors
    /// What is no such URL.
    pub fn new(text: &str, token: PathBuf, outgoing: Outgoing) -> Result<Self, WrapError> {
        let form = WrapError::Named("--master-key-transit is https://HOST[:PORT][/MOUNT]#KEY");
        let Some((url, key)) = text.split_once('#') else { return Err(form) };
        let is_name = |name: &str| {
            !name.is_empty()
                && !name.starts_with('.')
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        let place = Place::parse(url).map_err(WrapError::Call)?;
        let mount = place.path().trim_matches('/');
        let mount = if mount.is_empty() { MOUNT } else { mount }.to_owned();
        if !is_name(key) || !mount.split('/').all(is_name) {
            return Err(form);
        }
        let outgoing = outgoing.within(DEADLINE).up_to(ANSWER);
        Ok(Self { place, mount, key: key.to_owned(), token, outgoing })
    }

    /// The key as the lock names it; the host may be another one tomorrow.
    fn name(&self) -> String {
        format!("{}/{}", self.mount, self.key)
    }

    pub(super) async fn fresh(&self, vault: &str) -> Result<(MasterKey, Wrapped), WrapError> {
        let key = MasterKey::random().map_err(|_| WrapError::Random)?;
        let plaintext = key.base64();
        let associated_data = STANDARD.encode(vault);
        let body = Encrypt { plaintext: &plaintext, associated_data: &associated_data };
        let answer = self.ask("encrypt", &body).await?;
        let blob = read(&answer)?.ciphertext.filter(|text| is_ciphertext(text)).ok_or(WrapError::Answer)?;
        Ok((key, Wrapped { by: By::Transit, vault: vault.to_owned(), key: self.name(), blob }))
    }

    pub(super) async fn unwrap(&self, wrapped: &Wrapped) -> Result<MasterKey, WrapError> {
        if wrapped.key != self.name() {
            return Err(WrapError::OtherKey(shown(&wrapped.key)));
        }
        let associated_data = STANDARD.encode(&wrapped.vault);
        let body = Decrypt { ciphertext: &wrapped.blob, associated_data: &associated_data };
        let answer = self.ask("decrypt", &body).await?;
        plain_key(read(&answer)?.plaintext.ok_or(WrapError::Answer)?)
    }

    async fn ask(&self, verb: &str, body: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, WrapError> {
        let place =
            self.place.at(&format!("/v1/{}/{verb}/{}", self.mount, self.key)).map_err(WrapError::Call)?;
        let token = private::read(&self.token, TOKEN_MAX).map_err(WrapError::File)?;
        let mut token = HeaderValue::from_bytes(token.trim_ascii())
            .map_err(|_| WrapError::Nobody("the token's file holds no token"))?;
        token.set_sensitive(true);
        let mut bytes = Zeroizing::new(Vec::with_capacity(8 * 1024));
        serde_json::to_writer(&mut *bytes, body).map_err(|_| WrapError::Answer)?;
        let ask = Ask::post("application/json", bytes)
            .with(TOKEN, token)
            .with(REQUEST, HeaderValue::from_static("true"));
        let answer = self.outgoing.call(&place, ask).await.map_err(WrapError::Call)?;
        let status = answer.status.as_u16();
        let meaning = match status {
            200 => return Ok(answer.body),
            400 => "the engine does not have this key, or the wrapped key is of another one or was changed",
            403 => "the token is not valid, or its policy does not permit this key",
            404 => "there is no transit engine at this path",
            503 => "it is sealed, or in maintenance",
            _ => "try again, or look at its log",
        };
        Err(WrapError::Refused { status, code: String::new(), meaning })
    }
}

fn read(answer: &[u8]) -> Result<Data<'_>, WrapError> {
    let answered: Answered<'_> = serde_json::from_slice(answer).map_err(|_| WrapError::Answer)?;
    Ok(answered.data)
}

/// `vault:v1:BASE64`.
fn is_ciphertext(text: &str) -> bool {
    text.len() <= 4096
        && text.starts_with("vault:v")
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":+/=-_".contains(&byte))
}
