//! Values on their way from the server to one sidecar: X25519, HKDF-SHA256, AES-256-GCM.
//!
//! Each side makes a key of its own for each connection or snapshot, so that nothing recorded can be opened later. What is
//! authenticated with a value is everything that says where it belongs and where it may go: revision, project, agent, secret,
//! key, version, expiry, bound hosts and the sidecar's key (invariant 4). A value that was edited, moved, or sealed for
//! somebody else does not open. A snapshot as a whole carries a MAC of the same agreement, so that one that was edited on the
//! way is refused before anything is made of it, without opening a value. This is no replacement for TLS: who can change what is sent *and* holds the agent's token can
//! ask for the values itself.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::wire::{Bytes, SealedSecret, SealedValue, Snapshot, Text};
use crate::secret::{Secret, SecretName};
use crate::vault::{BoundHosts, length_prefixed};

const NONCE: usize = 12;
const TAG: usize = 16;

/// Why a value was not sealed or opened. Says nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The other side's key is none, or one that agrees with every key.
    #[error("the other side's key cannot be used")]
    Key,
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    Random,
    /// The value is not what was sealed for this sidecar in this place.
    #[error("a sealed value does not authenticate")]
    Forged,
}

/// The public half of a key, as it is sent.
pub type PublicKey = Bytes<32>;

/// A key that lives as long as a connection.
#[derive(Debug)]
pub struct SealKey {
    private: PrivateKey,
    public: PublicKey,
}

impl SealKey {
    /// A fresh key.
    pub fn generate() -> Result<Self, SealError> {
        let private = PrivateKey::generate(&X25519).map_err(|_| SealError::Random)?;
        let public = private.compute_public_key().map_err(|_| SealError::Random)?;
        let public = Bytes(public.as_ref().try_into().map_err(|_| SealError::Random)?);
        Ok(Self { private, public })
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// The key that both sides have. The order is server, sidecar.
    fn agree(&self, other: &PublicKey, server: &PublicKey, sidecar: &PublicKey) -> Result<Keys, SealError> {
        let peer = UnparsedPublicKey::new(&X25519, other.0);
        // A key of low order gives zeros, which are refused there (RFC 7748 section 6.1).
        agreement::agree(&self.private, peer, SealError::Key, |shared| {
            let derived = Hkdf::<Sha256>::new(Some(b"doorward sync 1"), shared);
            let derive = |purpose: &[u8]| {
                let info = length_prefixed(&[purpose, &server.0, &sidecar.0]);
                let mut key = Key::default();
                derived.expand(&info, key.as_mut_slice()).map(|()| key).map_err(|_| SealError::Key)
            };
            Ok(Keys {
                values: derive(b"doorward sync values")?,
                whole: derive(b"doorward sync snapshot")?,
                answers: derive(b"doorward sync answers")?,
            })
        })
    }

    /// Whether the snapshot is, whole, what the server made for this key.
    ///
    /// # Errors
    /// `Forged` if it is not.
    pub fn authenticate(&self, snapshot: &Snapshot) -> Result<(), SealError> {
        let keys = self.agree(&snapshot.seal, &snapshot.seal, &self.public)?;
        let expected = mac(&keys.whole, snapshot)?;
        if bool::from(expected.0.ct_eq(&snapshot.mac.0)) { Ok(()) } else { Err(SealError::Forged) }
    }
}

impl SealKey {
    /// Whether an answer was made for this key.
    ///
    /// # Errors
    /// `Forged` if it was not.
    pub(super) fn check_answer(
        &self,
        seal: &PublicKey,
        text: &[u8],
        mac: &Bytes<32>,
    ) -> Result<(), SealError> {
        let keys = self.agree(seal, seal, &self.public)?;
        let expected = answer_mac(&keys.answers, text)?;
        if bool::from(expected.0.ct_eq(&mac.0)) { Ok(()) } else { Err(SealError::Forged) }
    }
}

type Key = Zeroizing<[u8; 32]>;

/// What both sides derive from one agreement.
#[derive(Debug)]
struct Keys {
    values: Key,
    whole: Key,
    answers: Key,
}

/// The MAC over an answer to a question.
fn answer_mac(key: &Key, text: &[u8]) -> Result<Bytes<32>, SealError> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_slice()).map_err(|_| SealError::Key)?;
    mac.update(text);
    Ok(Bytes(mac.finalize().into_bytes().into()))
}

/// The MAC over a snapshot's own line with the field of the MAC empty.
fn mac(key: &Key, snapshot: &Snapshot) -> Result<Bytes<32>, SealError> {
    let bare = Snapshot { mac: Bytes([0; 32]), ..snapshot.clone() };
    let text = serde_json::to_vec(&bare).map_err(|_| SealError::Forged)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_slice()).map_err(|_| SealError::Key)?;
    mac.update(&text);
    Ok(Bytes(mac.finalize().into_bytes().into()))
}

/// Whose snapshot it is.
#[derive(Clone, Copy, Debug)]
pub struct Whose<'a> {
    /// The server's revision.
    pub revision: u64,
    /// The agent's project.
    pub project: &'a str,
    /// The agent.
    pub agent: &'a str,
}

impl Snapshot {
    /// What its values were sealed for.
    pub fn whose(&self) -> Whose<'_> {
        Whose { revision: self.revision, project: &self.project, agent: &self.agent }
    }
}

/// What a secret's values are sealed with.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Its name.
    pub name: &'a SecretName,
    /// The version of its values.
    pub version: u64,
    /// Where it may go.
    pub hosts: Option<&'a BoundHosts>,
    /// When it ends, unix seconds.
    pub expires: Option<i64>,
}

impl SealedSecret {
    fn facts(&self) -> Facts<'_> {
        Facts { name: &self.name, version: self.version, hosts: self.hosts.as_ref(), expires: self.expires }
    }
}

/// The server's side of one snapshot.
#[derive(Debug)]
pub struct Sealer<'a> {
    keys: Keys,
    own: PublicKey,
    sidecar: PublicKey,
    whose: Whose<'a>,
}

impl<'a> Sealer<'a> {
    /// A sealer with a key of its own.
    pub fn new(sidecar: PublicKey, whose: Whose<'a>) -> Result<Self, SealError> {
        let own = SealKey::generate()?;
        let keys = own.agree(&sidecar, &own.public, &sidecar)?;
        Ok(Self { keys, own: own.public, sidecar, whose })
    }

    /// The half of the agreement that the snapshot carries.
    pub fn public(&self) -> PublicKey {
        self.own
    }

    /// Authenticates the snapshot, which is not to be changed from here on.
    pub fn finish(&self, mut snapshot: Snapshot) -> Result<Snapshot, SealError> {
        snapshot.seal = self.own;
        snapshot.mac = mac(&self.keys.whole, &snapshot)?;
        Ok(snapshot)
    }

    /// Authenticates an answer to a question.
    pub(super) fn answer(&self, text: &[u8]) -> Result<Bytes<32>, SealError> {
        answer_mac(&self.keys.answers, text)
    }

    /// Seals the values of one secret.
    pub fn seal(&self, facts: Facts<'_>, values: &[(String, Secret)]) -> Result<SealedSecret, SealError> {
        let seal = |(key, value): &(String, Secret)| self.seal_value(facts, key, value);
        Ok(SealedSecret {
            name: facts.name.clone(),
            version: facts.version,
            hosts: facts.hosts.cloned(),
            expires: facts.expires,
            values: values.iter().map(seal).collect::<Result<_, _>>()?,
        })
    }

    fn seal_value(&self, facts: Facts<'_>, key: &str, value: &Secret) -> Result<SealedValue, SealError> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|_| SealError::Random)?;
        // Room for the tag from the start: a vector that grows leaves an unwiped copy behind.
        let mut buffer = Zeroizing::new(Vec::with_capacity(value.len() + TAG));
        // exposed: copied only to be encrypted in place
        buffer.extend_from_slice(value.expose());
        let aad = place(self.whose, facts, key, &self.sidecar);
        let tag = Aes256Gcm::new((&*self.keys.values).into())
            .encrypt_inout_detached(&Nonce::from(nonce), &aad, buffer.as_mut_slice().into())
            .map_err(|_| SealError::Key)?;
        buffer.extend_from_slice(&tag);
        Ok(SealedValue {
            key: key.to_owned(),
            nonce: Bytes(nonce),
            sealed: Text(std::mem::take(&mut *buffer)),
        })
    }
}

/// The sidecar's side: opens all values of one secret of a snapshot.
///
/// # Errors
/// `Forged` if one of them is not what the server sealed for this key in this place.
pub fn open(
    own: &SealKey,
    snapshot: &Snapshot,
    secret: &SealedSecret,
) -> Result<Vec<(String, Secret)>, SealError> {
    let keys = own.agree(&snapshot.seal, &snapshot.seal, &own.public)?;
    let one = |value: &SealedValue| {
        let aad = place(snapshot.whose(), secret.facts(), &value.key, &own.public);
        open_value(&keys.values, &aad, value).map(|opened| (value.key.clone(), opened))
    };
    secret.values.iter().map(one).collect()
}

fn open_value(key: &Key, aad: &[u8], value: &SealedValue) -> Result<Secret, SealError> {
    let split = value.sealed.0.len().checked_sub(TAG).ok_or(SealError::Forged)?;
    let (sealed, tag) = value.sealed.0.split_at_checked(split).ok_or(SealError::Forged)?;
    let tag: [u8; TAG] = tag.try_into().map_err(|_| SealError::Forged)?;
    let mut buffer = Zeroizing::new(sealed.to_vec());
    Aes256Gcm::new((&**key).into())
        .decrypt_inout_detached(
            &Nonce::from(value.nonce.0),
            aad,
            buffer.as_mut_slice().into(),
            &Tag::from(tag),
        )
        .map_err(|_| SealError::Forged)?;
    Ok(Secret::new(std::mem::take(&mut *buffer)))
}

/// Everything that is authenticated with a value.
fn place(whose: Whose<'_>, facts: Facts<'_>, key: &str, sidecar: &PublicKey) -> Vec<u8> {
    let (revision, version) = (whose.revision.to_be_bytes(), facts.version.to_be_bytes());
    let expires = facts.expires.map(i64::to_be_bytes);
    let hosts = facts.hosts.map(BoundHosts::patterns);
    let count = hosts.as_ref().map(|list| (list.len() as u64).to_be_bytes());
    let mut parts: Vec<&[u8]> = vec![
        b"doorward sync value 1",
        &revision,
        whose.project.as_bytes(),
        whose.agent.as_bytes(),
        facts.name.as_str().as_bytes(),
        key.as_bytes(),
        &version,
        expires.as_ref().map_or(&[], |bytes| bytes.as_slice()),
        &sidecar.0,
        // Empty: unbound. A list carries its count, which is never 0.
        count.as_ref().map_or(&[], |bytes| bytes.as_slice()),
    ];
    parts.extend(hosts.iter().flatten().map(String::as_bytes));
    length_prefixed(&parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::wire::{Document, DocumentKind, Message};

    const CANARY: &[u8] = b"canary-0123456789-canary";

    fn sealed_for(sidecar: &SealKey) -> Snapshot {
        let whose = Whose { revision: 4, project: "team-a", agent: "coder" };
        let sealer = Sealer::new(sidecar.public(), whose).unwrap();
        let hosts = BoundHosts::parse(&["api.github.com"]).unwrap();
        let name = "pat".parse().unwrap();
        let facts = Facts { name: &name, version: 2, hosts: Some(&hosts), expires: Some(9) };
        let values = [
            ("token".to_owned(), Secret::new(CANARY.to_vec())),
            ("other".to_owned(), Secret::new(b"12345678".to_vec())),
        ];
        let secret = sealer.seal(facts, &values).unwrap();
        let snapshot = Snapshot {
            revision: 4,
            project: "team-a".into(),
            agent: "coder".into(),
            expires: None,
            seal: sealer.public(),
            documents: vec![Document {
                kind: DocumentKind::Provider,
                name: "p".into(),
                version: 1,
                text: "text".into(),
            }],
            secrets: vec![secret],
            env: Vec::new(),
            mac: Bytes([0; 32]),
        };
        sealer.finish(snapshot).unwrap()
    }

    fn opens(key: &SealKey, snapshot: &Snapshot) -> Result<(), SealError> {
        open(key, snapshot, &snapshot.secrets[0]).map(drop)
    }

    #[test]
    fn refuses_a_value_in_any_other_place() {
        let key = SealKey::generate().unwrap();
        let good = sealed_for(&key);
        let opened = open(&key, &good, &good.secrets[0]).unwrap();
        assert!(opened[0].1.matches(CANARY) && opened[1].1.matches(b"12345678"));
        let changes: [fn(&mut Snapshot); 13] = [
            |s| s.revision += 1,
            |s| s.project = "team-b".into(),
            |s| s.agent = "other".into(),
            |s| s.seal.0[3] ^= 1,
            |s| s.secrets[0].name = "pat2".parse().unwrap(),
            |s| s.secrets[0].version += 1,
            |s| s.secrets[0].expires = None,
            |s| s.secrets[0].hosts = None,
            |s| s.secrets[0].hosts = Some(BoundHosts::parse(&["api.github.com", "evil.example"]).unwrap()),
            |s| s.secrets[0].values[0].key = "password".into(),
            |s| s.secrets[0].values[0].nonce.0[0] ^= 1,
            |s| s.secrets[0].values[0].sealed.0[0] ^= 1,
            |s| {
                let other = s.secrets[0].values[1].sealed.clone();
                s.secrets[0].values[0].sealed = other;
            },
        ];
        for (at, change) in changes.iter().enumerate() {
            let mut bad = good.clone();
            change(&mut bad);
            assert_eq!(opens(&key, &bad), Err(SealError::Forged), "{at}");
            assert_eq!(key.authenticate(&bad), Err(SealError::Forged), "{at}");
        }
    }

    #[test]
    fn refuses_a_snapshot_that_was_edited_anywhere() {
        let key = SealKey::generate().unwrap();
        let good = sealed_for(&key);
        assert_eq!(key.authenticate(&good), Ok(()));
        let changes: [fn(&mut Snapshot); 5] = [
            |s| s.expires = Some(1),
            |s| s.documents[0].text = "other".into(),
            |s| s.documents.clear(),
            |s| s.secrets.clear(),
            |s| s.mac.0[31] ^= 0x80,
        ];
        for (at, change) in changes.iter().enumerate() {
            let mut bad = good.clone();
            change(&mut bad);
            assert_eq!(key.authenticate(&bad), Err(SealError::Forged), "{at}");
        }
    }

    #[test]
    fn refuses_what_was_sealed_for_another_sidecar() {
        let (one, two) = (SealKey::generate().unwrap(), SealKey::generate().unwrap());
        assert_eq!(opens(&two, &sealed_for(&one)), Err(SealError::Forged));
    }

    #[test]
    fn refuses_keys_that_agree_with_every_other() {
        let key = SealKey::generate().unwrap();
        let whose = Whose { revision: 1, project: "p", agent: "a" };
        for low in [[0; 32], {
            let mut one = [0; 32];
            one[0] = 1;
            one
        }] {
            assert_eq!(Sealer::new(Bytes(low), whose).map(drop), Err(SealError::Key));
            let mut bad = sealed_for(&key);
            bad.seal = Bytes(low);
            assert_eq!(opens(&key, &bad), Err(SealError::Key));
        }
    }

    #[test]
    fn nothing_on_the_wire_holds_the_value_and_no_two_seals_are_alike() {
        let key = SealKey::generate().unwrap();
        let lines = [(); 2].map(|()| Message::Snapshot(sealed_for(&key)).line().unwrap());
        assert_ne!(lines[0], lines[1]);
        for line in lines {
            assert!(memchr::memmem::find(&line, b"canary").is_none());
            let Message::Snapshot(read) = Message::parse(&line).unwrap() else { panic!("a snapshot") };
            assert!(key.authenticate(&read).is_ok() && opens(&key, &read).is_ok());
        }
    }
}
