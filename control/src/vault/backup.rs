//! A backup's file: what it holds is encrypted and authenticated, in order, to its end.
//!
//! Its key is derived, with a salt of its own, from the master key or from a passphrase. Behind the head come chunks, each
//! sealed with AES-256-GCM; its number is its nonce, and whether it is the last is authenticated with the head. Refuses files
//! that were cut, joined, reordered, edited or lengthened. The records within stay sealed under the vault's own keys.

use std::io::{Read, Write};

use zeroize::Zeroizing;

use super::master::{MasterError, MasterKey, Parameters};
use super::seal::{Key, NONCE, SealError, TAG, decrypt, encrypt, length_prefixed, random};
use crate::secret::Secret;

const MAGIC: &[u8; 5] = b"DWBK\x01";
const SALT: usize = 32;
/// Bytes of a chunk; one line of content may make it longer.
const CHUNK: usize = 64 * 1024;
/// The longest chunk: an audit line or a document of the largest size, and room.
const CHUNK_MAX: usize = 8 * 1024 * 1024;
/// The longest head of passphrase parameters.
const PARAMETERS_MAX: usize = 64;

/// Why a backup was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Not such a file, or of a newer format.
    #[error("this is no backup that this version can read")]
    Foreign,
    /// It does not authenticate.
    #[error("the backup was changed, or was made with another master key or passphrase")]
    Forged,
    /// It ends before its end, or goes on behind it.
    #[error("the backup is not whole")]
    Cut,
    /// It was made with a passphrase, and none was given, or the other way round.
    #[error("this backup {}", if *.made_with_passphrase { "was made with a passphrase: give --backup-passphrase-file" } else { "was made with the master key: give that and no passphrase" })]
    Kind {
        /// Which way round.
        made_with_passphrase: bool,
    },
    /// The key.
    #[error(transparent)]
    Master(#[from] MasterError),
    /// Reading or writing the file.
    #[error("the backup's file: {0}")]
    Io(#[from] std::io::Error),
    /// No random bytes, or a chunk too long.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// What a backup's key is made from.
#[derive(Debug)]
pub enum BackupKey<'a> {
    /// The vault's master key.
    Master(&'a MasterKey),
    /// A passphrase.
    Passphrase(&'a Secret),
}

/// Writes a backup.
pub struct BackupWriter<W> {
    file: W,
    key: Key,
    head: Vec<u8>,
    number: u64,
    chunk: Zeroizing<Vec<u8>>,
}

impl<W> std::fmt::Debug for BackupWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackupWriter").field("number", &self.number).finish_non_exhaustive()
    }
}

impl<W: Write> BackupWriter<W> {
    /// Begins a backup.
    pub fn begin(mut file: W, key: &BackupKey<'_>) -> Result<Self, BackupError> {
        let salt: [u8; SALT] = random()?;
        let (key, parameters) = match key {
            BackupKey::Master(key) => (key.backup_key(&salt), Vec::new()),
            BackupKey::Passphrase(passphrase) => {
                let (key, parameters) = MasterKey::of_passphrase(passphrase)?;
                (key.backup_key(&salt), parameters.encode())
            }
        };
        // Parameters are short.
        let length = u8::try_from(parameters.len()).unwrap_or(u8::MAX);
        let head = [&MAGIC[..], &salt, &[length], &parameters].concat();
        file.write_all(&head)?;
        Ok(Self { file, key, head, number: 0, chunk: Zeroizing::new(Vec::with_capacity(CHUNK)) })
    }

    /// Adds a line.
    pub fn line(&mut self, line: &[u8]) -> Result<(), BackupError> {
        if !self.chunk.is_empty() && self.chunk.len() + line.len() >= CHUNK {
            self.put(false)?;
        }
        self.chunk.extend_from_slice(line);
        self.chunk.push(b'\n');
        Ok(())
    }

    /// Ends it.
    pub fn end(mut self) -> Result<W, BackupError> {
        self.put(true)?;
        self.file.flush()?;
        Ok(self.file)
    }

    fn put(&mut self, last: bool) -> Result<(), BackupError> {
        if self.chunk.len() > CHUNK_MAX {
            return Err(SealError::TooLong.into());
        }
        let tag = encrypt(&self.key, &nonce(self.number), &bound(&self.head, last), &mut self.chunk)?;
        // CHUNK_MAX fits.
        let length = u32::try_from(self.chunk.len()).unwrap_or(u32::MAX);
        for part in [&[u8::from(last)][..], &length.to_be_bytes(), &tag, &self.chunk] {
            self.file.write_all(part)?;
        }
        self.chunk.clear();
        self.number += 1;
        Ok(())
    }
}

fn nonce(number: u64) -> [u8; NONCE] {
    let mut nonce = [0; NONCE];
    for (slot, byte) in nonce.iter_mut().skip(NONCE - 8).zip(number.to_be_bytes()) {
        *slot = byte;
    }
    nonce
}

fn bound(head: &[u8], last: bool) -> Vec<u8> {
    length_prefixed(&[b"doorward backup", head, &[u8::from(last)]])
}

/// Reads a backup. Nothing of it counts before [`BackupReader::chunk`] has given its end.
pub struct BackupReader<R> {
    file: R,
    key: Key,
    head: Vec<u8>,
    number: u64,
    ended: bool,
}

impl<R> std::fmt::Debug for BackupReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackupReader").field("number", &self.number).finish_non_exhaustive()
    }
}

impl<R: Read> BackupReader<R> {
    /// Opens a backup.
    pub fn begin(mut file: R, key: &BackupKey<'_>) -> Result<Self, BackupError> {
        let mut fixed = [0; MAGIC.len() + SALT + 1];
        file.read_exact(&mut fixed).map_err(|_| BackupError::Foreign)?;
        let rest = fixed.strip_prefix(MAGIC).ok_or(BackupError::Foreign)?;
        let (salt, length) = rest.split_first_chunk::<SALT>().ok_or(BackupError::Foreign)?;
        let length = usize::from(*length.first().ok_or(BackupError::Foreign)?);
        if length > PARAMETERS_MAX {
            return Err(BackupError::Foreign);
        }
        let mut parameters = vec![0; length];
        file.read_exact(&mut parameters).map_err(|_| BackupError::Foreign)?;
        let key = match (key, parameters.as_slice()) {
            (BackupKey::Master(key), []) => key.backup_key(salt),
            (BackupKey::Passphrase(passphrase), [_, ..]) => {
                MasterKey::from_passphrase(passphrase, &Parameters::decode(&parameters)?)?.backup_key(salt)
            }
            (BackupKey::Master(_), _) => return Err(BackupError::Kind { made_with_passphrase: true }),
            (BackupKey::Passphrase(_), _) => return Err(BackupError::Kind { made_with_passphrase: false }),
        };
        let head = [&fixed[..], &parameters].concat();
        Ok(Self { file, key, head, number: 0, ended: false })
    }

    /// The lines of the next chunk; `None` at the end, which has been authenticated.
    pub fn chunk(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, BackupError> {
        if self.ended {
            return Ok(None);
        }
        let mut front = [0; 1 + 4 + TAG];
        self.file.read_exact(&mut front).map_err(|_| BackupError::Cut)?;
        let [last, a, b, c, d, tag @ ..] = front;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if last > 1 || length > CHUNK_MAX {
            return Err(BackupError::Forged);
        }
        let mut chunk = Zeroizing::new(vec![0; length]);
        self.file.read_exact(&mut chunk).map_err(|_| BackupError::Cut)?;
        let aad = bound(&self.head, last == 1);
        decrypt(&self.key, &nonce(self.number), &aad, &mut chunk, &tag).map_err(|_| BackupError::Forged)?;
        self.number += 1;
        if last == 1 {
            self.ended = true;
            if self.file.read(&mut [0])? != 0 {
                return Err(BackupError::Cut);
            }
        }
        Ok(Some(chunk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup(key: &BackupKey<'_>, lines: usize) -> Vec<u8> {
        let mut writer = BackupWriter::begin(Vec::new(), key).unwrap();
        for number in 0..lines {
            writer.line(format!("line {number} {}", "x".repeat(1000)).as_bytes()).unwrap();
        }
        writer.end().unwrap()
    }

    fn read(bytes: &[u8], key: &BackupKey<'_>) -> Result<Vec<u8>, BackupError> {
        let mut reader = BackupReader::begin(bytes, key)?;
        let mut all = Vec::new();
        while let Some(chunk) = reader.chunk()? {
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }

    #[test]
    fn refuses_a_backup_that_was_cut_edited_reordered_or_lengthened() {
        let master = MasterKey::random().unwrap();
        let key = BackupKey::Master(&master);
        let bytes = backup(&key, 200);
        assert_eq!(read(&bytes, &key).unwrap().iter().filter(|byte| **byte == b'\n').count(), 200);
        for end in (0..bytes.len()).step_by(997).chain([bytes.len() - 1]) {
            assert!(read(&bytes[..end], &key).is_err(), "{end}");
        }
        for at in (0..bytes.len()).step_by(613).chain(0..80) {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(read(&changed, &key).is_err(), "{at}");
        }
        assert!(matches!(read(&[&bytes[..], b"x"].concat(), &key), Err(BackupError::Cut)));
        // The first chunk twice, and the second one left out.
        let head = MAGIC.len() + SALT + 1;
        let length = u32::from_be_bytes(bytes[head + 1..head + 5].try_into().unwrap()) as usize;
        let second = head + 1 + 4 + TAG + length;
        let twice = [&bytes[..second], &bytes[head..]].concat();
        assert!(matches!(read(&twice, &key), Err(BackupError::Forged)));
        let without = [&bytes[..head], &bytes[second..]].concat();
        assert!(matches!(read(&without, &key), Err(BackupError::Forged)));
    }

    #[test]
    fn refuses_another_key_and_the_other_kind_of_key() {
        let (master, other) = (MasterKey::random().unwrap(), MasterKey::random().unwrap());
        let bytes = backup(&BackupKey::Master(&master), 1);
        assert!(matches!(read(&bytes, &BackupKey::Master(&other)), Err(BackupError::Forged)));
        let passphrase = Secret::new(b"correct horse battery".to_vec());
        let kind = read(&bytes, &BackupKey::Passphrase(&passphrase));
        assert!(matches!(kind, Err(BackupError::Kind { made_with_passphrase: false })));
        let bytes = backup(&BackupKey::Passphrase(&passphrase), 1);
        let kind = read(&bytes, &BackupKey::Master(&master));
        assert!(matches!(kind, Err(BackupError::Kind { made_with_passphrase: true })));
        let wrong = Secret::new(b"correct horse batterie".to_vec());
        assert!(matches!(read(&bytes, &BackupKey::Passphrase(&wrong)), Err(BackupError::Forged)));
        assert!(read(&bytes, &BackupKey::Passphrase(&passphrase)).unwrap().starts_with(b"line 0"));
    }
}
