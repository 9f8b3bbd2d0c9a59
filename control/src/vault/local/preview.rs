//! What people may see of the bodies that they are asked about ([`crate::approval::Preview`]): sealed with the project's key
//! for as long as it is kept, for its question alone.

use super::super::seal::{Place, Record, SealError};
use super::{LocalVault, WriteError};
use crate::approval::Binding;
use crate::secret::Secret;

/// No secret has a name like this, nor a version 0.
const NAME: &str = "approval:body";

/// Everything that the question is bound to, the body among it.
fn with_place<T>(binding: &Binding, work: impl FnOnce(&Place<'_>) -> T) -> T {
    let key = hex::encode(binding.digest());
    work(&Place { project: &binding.project, name: NAME, key: &key, version: 0, expires: None, hosts: None })
}

impl LocalVault {
    /// Seals a preview for its question.
    pub(crate) async fn seal_preview(
        &self,
        binding: &Binding,
        preview: Vec<u8>,
    ) -> Result<Vec<u8>, WriteError> {
        let sealing = self.sealing(&binding.project).await?;
        let key = sealing.unlocked.key.project_key(&binding.project, sealing.generation);
        let preview = Secret::new(preview);
        let seal = |place: &Place<'_>| Record::seal((&key, sealing.generation), place, &preview);
        Ok(with_place(binding, seal)?.to_bytes())
    }

    /// Opens what was sealed for this question. After a rotation of the master key it does not open any more.
    pub(crate) fn open_preview(&self, binding: &Binding, sealed: &[u8]) -> Result<Secret, SealError> {
        let record = Record::parse(sealed)?;
        let key = self.keys.current().key.project_key(&binding.project, record.generation());
        with_place(binding, |place| record.unseal(&key, place))
    }
}
