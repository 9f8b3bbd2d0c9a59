//! Signed checkpoints: where a chain stood at a time, under a key that whoever edits lines does not have.
//!
//! A chain without a key cannot show that its end was cut off, or that it was written anew from its first line on. A
//! checkpoint that was taken elsewhere does: the chain must still hold the line of that number with that hash. Ed25519 over
//! length-prefixed parts; the key's id is a digest of the public key, so that one id stands for one key.
//!
//! Refuses checkpoints of keys that were not given, signatures that do not verify, and fields that are not as written.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

use super::line::{Chain, Hash};
use crate::vault::length_prefixed;

/// What is signed begins with it.
const PURPOSE: &[u8] = b"doorward audit checkpoint 1";
/// Before the 32 bytes of an Ed25519 public key in its DER form (RFC 8410).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";
/// Bytes of a signature.
const SIGNATURE: usize = 64;
/// The longest line of a file of checkpoints.
pub const CHECKPOINT_MAX: usize = 2048;

/// Why a checkpoint, or a key, does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not a line as it is written.
    #[error("not a checkpoint")]
    Malformed,
    /// Signed by a key that was not given.
    #[error("it is signed by a key that was not given")]
    UnknownKey,
    /// The signature does not verify.
    #[error("its signature does not verify")]
    Forged,
    /// No public key where one is expected.
    #[error("no Ed25519 public key in PEM form")]
    NoKey,
    /// The seed is no key.
    #[error("the signing key is damaged")]
    Seed,
}

/// Where a chain stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose chain, as it is stored.
    pub source: String,
    /// The line.
    pub chain: Chain,
    /// When it was signed, unix seconds.
    pub at: i64,
    /// The id of the key.
    pub key: String,
    /// Ed25519 over the rest.
    pub signature: [u8; SIGNATURE],
}

/// A checkpoint as it is written.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AuditCheckpoint)]
pub(crate) struct Written {
    /// Whose chain.
    source: String,
    /// The number of the line.
    seq: u64,
    /// Its hash.
    hash: String,
    /// When it was signed.
    at: String,
    /// The id of the key.
    key: String,
    /// Ed25519, base64.
    signature: String,
}

impl Checkpoint {
    /// Reads one line.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`]. The signature is not looked at.
    pub fn parse(line: &str) -> Result<Self, CheckpointError> {
        let malformed = CheckpointError::Malformed;
        let written: Written = serde_json::from_str(line).map_err(|_| malformed)?;
        let signature = STANDARD.decode(&written.signature).map_err(|_| malformed)?;
        let at = OffsetDateTime::parse(&written.at, &Rfc3339).map_err(|_| malformed)?;
        Ok(Self {
            chain: Chain { seq: written.seq, hash: Hash::parse(&written.hash).ok_or(malformed)? },
            source: written.source,
            at: at.unix_timestamp(),
            key: written.key,
            signature: signature.try_into().map_err(|_| malformed)?,
        })
    }

    pub(crate) fn written(&self) -> Written {
        let at = OffsetDateTime::from_unix_timestamp(self.at).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        Written {
            source: self.source.clone(),
            seq: self.chain.seq,
            hash: self.chain.hash.to_string(),
            at: at.format(&Rfc3339).unwrap_or_default(),
            key: self.key.clone(),
            signature: STANDARD.encode(self.signature),
        }
    }

    fn message(&self) -> Vec<u8> {
        length_prefixed(&[
            PURPOSE,
            self.source.as_bytes(),
            &self.chain.seq.to_be_bytes(),
            &self.chain.hash.0,
            &self.at.to_be_bytes(),
            self.key.as_bytes(),
        ])
    }

    /// Whether one of the keys signed it.
    ///
    /// # Errors
    /// None of them did.
    pub fn check(&self, keys: &[PublicKey]) -> Result<(), CheckpointError> {
        let key = keys.iter().find(|key| key.id() == self.key).ok_or(CheckpointError::UnknownKey)?;
        let key = UnparsedPublicKey::new(&ED25519, key.0);
        key.verify(&self.message(), &self.signature).map_err(|_| CheckpointError::Forged)
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(&self.written()).map_err(|_| fmt::Error)?)
    }
}

/// An Ed25519 public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// How checkpoints name it: 16 digits of the digest of the key.
    pub fn id(&self) -> String {
        let digest = Sha256::digest(self.0);
        hex::encode(digest.get(..8).unwrap_or_default())
    }

    /// As `PUBLIC KEY` in PEM (RFC 8410), which other programs read as well.
    pub fn pem(&self) -> String {
        let der: Vec<u8> = SPKI.iter().chain(&self.0).copied().collect();
        format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(der))
    }

    /// All keys of a PEM text: earlier ones beside the current one.
    ///
    /// # Errors
    /// A block that is no Ed25519 key, or none at all.
    pub fn read_all(text: &str) -> Result<Vec<Self>, CheckpointError> {
        let mut keys = Vec::new();
        let mut rest = text;
        while let Some((_, block)) = rest.split_once(BEGIN) {
            let (body, after) = block.split_once(END).ok_or(CheckpointError::NoKey)?;
            let body: String = body.split_ascii_whitespace().collect();
            let der = STANDARD.decode(body).map_err(|_| CheckpointError::NoKey)?;
            let key = der.strip_prefix(&SPKI).ok_or(CheckpointError::NoKey)?;
            keys.push(Self(key.try_into().map_err(|_| CheckpointError::NoKey)?));
            rest = after;
        }
        if keys.is_empty() { Err(CheckpointError::NoKey) } else { Ok(keys) }
    }
}

/// Signs checkpoints.
pub struct Signer(Ed25519KeyPair);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signer").field(&self.public().id()).finish()
    }
}

impl Signer {
    /// The signer of a seed.
    pub(crate) fn of_seed(seed: &[u8; 32]) -> Result<Self, CheckpointError> {
        Ed25519KeyPair::from_seed_unchecked(seed).map(Self).map_err(|_| CheckpointError::Seed)
    }

    /// The key that verifies what it signs.
    pub fn public(&self) -> PublicKey {
        let mut key = [0; 32];
        for (slot, byte) in key.iter_mut().zip(self.0.public_key().as_ref()) {
            *slot = *byte;
        }
        PublicKey(key)
    }

    /// Signs where a chain stands.
    pub fn sign(&self, source: &str, chain: Chain, at: i64) -> Checkpoint {
        let key = self.public().id();
        let mut checkpoint =
            Checkpoint { source: source.to_owned(), chain, at, key, signature: [0; SIGNATURE] };
        let signature = self.0.sign(&checkpoint.message());
        for (slot, byte) in checkpoint.signature.iter_mut().zip(signature.as_ref()) {
            *slot = *byte;
        }
        checkpoint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(byte: u8) -> Signer {
        Signer::of_seed(&[byte; 32]).unwrap()
    }

    fn chain(seq: u64) -> Chain {
        Chain { seq, hash: Hash([7; 32]) }
    }

    #[test]
    fn refuses_a_checkpoint_that_was_edited_in_any_field() {
        let signer = signer(1);
        let good = signer.sign("control", chain(12), 1_900_000_000);
        good.check(&[signer.public()]).unwrap();
        let edits: [fn(&mut Checkpoint); 5] = [
            |one| one.source = "other".into(),
            |one| one.chain.seq = 13,
            |one| one.chain.hash = Hash([8; 32]),
            |one| one.at += 1,
            |one| one.signature[0] ^= 1,
        ];
        for edit in edits {
            let mut edited = good.clone();
            edit(&mut edited);
            assert_eq!(edited.check(&[signer.public()]), Err(CheckpointError::Forged), "{edited}");
        }
    }

    #[test]
    fn refuses_keys_that_were_not_given_and_one_that_takes_anothers_id() {
        let (ours, theirs) = (signer(1), signer(2));
        let mut checkpoint = theirs.sign("control", chain(1), 0);
        assert_eq!(checkpoint.check(&[ours.public()]), Err(CheckpointError::UnknownKey));
        checkpoint.key = ours.public().id();
        assert_eq!(checkpoint.check(&[ours.public(), theirs.public()]), Err(CheckpointError::Forged));
    }

    #[test]
    fn refuses_lines_that_are_no_checkpoint() {
        let line = signer(1).sign("control", chain(1), 0).to_string();
        for wrong in [
            String::new(),
            "{}".to_owned(),
            line.replace("\"seq\"", "\"more\":1,\"seq\""),
            line.replace("\"seq\":1", "\"seq\":-1"),
            line.replace("0707", "07G7"),
            line.replace("1970", "70"),
        ] {
            assert_eq!(Checkpoint::parse(&wrong), Err(CheckpointError::Malformed), "{wrong}");
        }
        assert_eq!(Checkpoint::parse(&line).unwrap().to_string(), line);
    }

    #[test]
    fn refuses_texts_without_an_ed25519_key_and_reads_several() {
        let pem = signer(1).public().pem();
        for wrong in ["", BEGIN, &pem.replace("MCow", "MCox"), &pem.replace(END, "")] {
            assert_eq!(PublicKey::read_all(wrong), Err(CheckpointError::NoKey), "{wrong}");
        }
        let both = format!("# earlier\n{pem}{}", signer(2).public().pem());
        assert_eq!(PublicKey::read_all(&both).unwrap(), [signer(1).public(), signer(2).public()]);
    }

    /// RFC 8032 section 7.1, test 1: the seed gives the published key.
    #[test]
    fn agrees_with_the_published_vector() {
        let seed = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        let signer = Signer::of_seed(seed.as_slice().try_into().unwrap()).unwrap();
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert_eq!(hex::encode(signer.public().0), public);
    }
}
