//! AWS KMS: it makes the key and gives it wrapped beside (`GenerateDataKey`), and unwraps it (`Decrypt`). The vault's name is
//! the encryption context, which its log shows and key policies may demand.
//!
//! The key that is named is the one that is asked to decrypt: a wrapped key of somebody else's KMS key is refused there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::aws::{AwsSettings, Credentials};
use super::{ANSWER, By, DEADLINE, WrapError, Wrapped, plain_key, shown, word};
use crate::outgoing::{Outgoing, OutgoingError, Place};
use crate::vault::master::MasterKey;

/// What the encryption context calls the vault.
const CONTEXT: &str = "doorward:vault";
const FORM: &str = "--master-key-kms is aws:KEY, KEY an ARN, a key's id or alias/NAME";

/// A key of AWS KMS, and who we are there.
#[derive(Clone, Debug)]
pub struct Kms {
    key: String,
    region: String,
    place: Place,
    credentials: Credentials,
    outgoing: Outgoing,
}

/// An answer, as it lies in its buffer.
#[derive(Deserialize)]
struct Answered<'a> {
    #[serde(borrow, rename = "Plaintext")]
    plaintext: &'a str,
    #[serde(default, rename = "CiphertextBlob")]
    blob: Option<String>,
    #[serde(rename = "KeyId")]
    key: String,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default, rename = "__type")]
    kind: String,
}

impl Kms {
    /// `aws:ARN`, `aws:alias/NAME` or `aws:ID`; the region is the ARN's, or that of the environment.
    ///
    /// # Errors
    /// What names no key, or no region.
    pub fn new(text: &str, settings: AwsSettings, outgoing: Outgoing) -> Result<Self, WrapError> {
        let key = text.strip_prefix("aws:").ok_or(WrapError::Named(FORM))?;
        let is_key = (1..=2048).contains(&key.len())
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":/_-".contains(&byte));
        if !is_key {
            return Err(WrapError::Named(FORM));
        }
        let region = match key.strip_prefix("arn:") {
            Some(rest) => {
                let parts: Vec<_> = rest.split(':').collect();
                let [_, "kms", region, _, _] = parts[..] else { return Err(WrapError::Named(FORM)) };
                region.to_owned()
            }
            None => settings.region.clone().ok_or(WrapError::Named(
                "--master-key-kms: this key's region is not known; give its ARN or set AWS_REGION",
            ))?,
        };
        let outgoing = outgoing.within(DEADLINE).up_to(ANSWER);
        let place = settings.place("kms", &region)?;
        let credentials = Credentials::find(settings, &region, outgoing.clone())?;
        Ok(Self { key: key.to_owned(), region, place, credentials, outgoing })
    }

    pub(super) async fn fresh(&self, vault: &str) -> Result<(MasterKey, Wrapped), WrapError> {
        let body = json!({"KeyId": self.key, "KeySpec": "AES_256", "EncryptionContext": {CONTEXT: vault}});
        let answer = self.ask("GenerateDataKey", &body).await?;
        let answered = read(&answer)?;
        let blob = answered.blob.filter(|blob| STANDARD.decode(blob).is_ok()).ok_or(WrapError::Answer)?;
        let key = plain_key(answered.plaintext)?;
        Ok((key, Wrapped { by: By::Kms, vault: vault.to_owned(), key: answered.key, blob }))
    }

    pub(super) async fn unwrap(&self, wrapped: &Wrapped) -> Result<MasterKey, WrapError> {
        let body = json!({
            "KeyId": self.key, "CiphertextBlob": wrapped.blob, "EncryptionContext": {CONTEXT: wrapped.vault},
        });
        match self.ask("Decrypt", &body).await {
            Ok(answer) => plain_key(read(&answer)?.plaintext),
            Err(WrapError::Refused { code, .. }) if code == "IncorrectKeyException" => {
                Err(WrapError::OtherKey(shown(&wrapped.key)))
            }
            Err(error) => Err(error),
        }
    }

    async fn ask(&self, verb: &str, body: &Value) -> Result<Zeroizing<Vec<u8>>, WrapError> {
        let body = Zeroizing::new(body.to_string().into_bytes());
        let keys = self.credentials.keys().await?;
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", &format!("TrentService.{verb}")),
        ];
        let ask = keys.sign(("kms", &self.region), self.place.authority(), &headers, body)?;
        let answer = self.outgoing.call(&self.place, ask).await.map_err(WrapError::Call)?;
        if answer.status.is_success() {
            return Ok(answer.body);
        }
        let refusal: Refusal =
            serde_json::from_slice(&answer.body).unwrap_or(Refusal { kind: String::new() });
        let code = word(refusal.kind.rsplit('#').next().unwrap_or_default());
        Err(WrapError::Refused { status: answer.status.as_u16(), meaning: meaning(&code), code })
    }
}

fn read(answer: &[u8]) -> Result<Answered<'_>, WrapError> {
    serde_json::from_slice(answer).map_err(|_| WrapError::Answer)
}

/// What an exception of KMS means here.
fn meaning(code: &str) -> &'static str {
    match code {
        "NotFoundException" => "there is no such key in this region and account",
        "DisabledException" => "the key is disabled",
        "KMSInvalidStateException" => "the key is not usable now: pending deletion, or unavailable",
        "InvalidCiphertextException" => "the wrapped key was changed, or is another vault's",
        "IncorrectKeyException" => "the wrapped key is another key's",
        "AccessDeniedException" => {
            "these credentials may not use the key: kms:GenerateDataKey and kms:Decrypt are needed"
        }
        "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "ExpiredTokenException"
        | "InvalidClientTokenId"
        | "IncompleteSignature" => "the credentials are not valid, or this machine's clock is off",
        _ => "try again, or look at the service's log",
    }
}

impl From<OutgoingError> for WrapError {
    fn from(error: OutgoingError) -> Self {
        Self::Call(error)
    }
}
