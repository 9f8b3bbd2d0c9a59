//! The values of a project, to be looked for where an agent can read.
//!
//! Invariant: an opened value goes into [`Sought`], which says where it is and gives it to nobody.

use super::super::store::StoreError;
use super::{LocalVault, WriteError};
use crate::leak::Sought;
use crate::secret::SecretRef;

impl LocalVault {
    /// The current values of all secrets of a project.
    ///
    /// # Errors
    /// The store does not answer, or a record does not authenticate: what was not looked for is not said to be nowhere.
    pub async fn sought(&self, project: &str) -> Result<Sought, WriteError> {
        self.follow().await?;
        let mut sought = Sought::default();
        for known in self.store.secrets(project).await? {
            let found = self.store.values(project, &known.name).await?;
            let (row, sealed) = found.ok_or_else(|| StoreError::NoSecret(known.name.clone()))?;
            let secret = SecretRef { project: project.into(), name: known.name };
            let opened = self.unseal(&secret, &row, &sealed)?;
            opened.values.into_iter().for_each(|(key, value)| sought.add(&secret, key, value));
        }
        Ok(sought)
    }
}
