//! The key that signs the audit's checkpoints: sealed like a secret of the installation itself, which is no project, so that
//! rotating the master key takes it over, a backup holds it, and no call reaches it.
//!
//! Refuses a key that does not authenticate: it is never replaced silently, since checkpoints taken elsewhere name it.

use zeroize::Zeroizing;

use super::super::store::StoreError;
use super::{Entry, LocalVault, WriteError};
use crate::audit::{CheckpointError, Signer};
use crate::secret::{Secret, SecretName, SecretRef};
use crate::vault::SealError;

/// The installation's own rows have an empty project, which no person can name: a key of its own is derived for it.
const INSTALLATION: &str = "";
const NAME: &str = "audit-signing-key";
const KEY: &str = "seed";

/// Why there is no signer.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// It could not be stored or read.
    #[error(transparent)]
    Vault(#[from] WriteError),
    /// It does not open.
    #[error("the audit's signing key: {0}")]
    Sealed(#[from] SealError),
    /// It is no key.
    #[error(transparent)]
    Key(#[from] CheckpointError),
}

impl From<StoreError> for SignerError {
    fn from(error: StoreError) -> Self {
        Self::Vault(error.into())
    }
}

impl LocalVault {
    /// The signer of checkpoints; its key is made the first time.
    ///
    /// # Errors
    /// See [`SignerError`].
    pub async fn audit_signer(&self) -> Result<Signer, SignerError> {
        if let Some(signer) = self.stored_signer().await? {
            return Ok(signer);
        }
        let mut seed = Zeroizing::new([0_u8; 32]);
        super::super::seal::fill(&mut *seed)?;
        let mut text = Zeroizing::new(hex::encode(*seed));
        let entry = Entry {
            name: name()?,
            description: None,
            expires: None,
            hosts: None,
            values: vec![(KEY.to_owned(), Secret::new(std::mem::take(&mut *text).into_bytes()))],
        };
        match self.add(INSTALLATION, vec![entry], vec![]).await {
            // Another server was first: its key is the one.
            Ok(()) | Err(WriteError::Store(StoreError::SecretExists(_))) => {}
            Err(error) => return Err(error.into()),
        }
        self.stored_signer().await?.ok_or(SignerError::Key(CheckpointError::Seed))
    }

    async fn stored_signer(&self) -> Result<Option<Signer>, SignerError> {
        self.follow().await.map_err(WriteError::from)?;
        let name = name()?;
        let Some((row, sealed)) = self.store.values(INSTALLATION, &name).await? else { return Ok(None) };
        let opened = self.unseal(&SecretRef { project: INSTALLATION.into(), name }, &row, &sealed)?;
        let seed = opened.value(KEY).ok_or(CheckpointError::Seed)?;
        let mut bytes = Zeroizing::new([0; 32]);
        // exposed: made into the key that signs checkpoints
        hex::decode_to_slice(seed.expose(), &mut *bytes).map_err(|_| CheckpointError::Seed)?;
        Ok(Some(Signer::of_seed(&bytes)?))
    }
}

fn name() -> Result<SecretName, SignerError> {
    NAME.parse().map_err(|_| SignerError::Key(CheckpointError::Seed))
}
