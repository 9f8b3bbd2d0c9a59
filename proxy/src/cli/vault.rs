//! The local vault as the data plane opens it: on a thread of its own, since workers have a runtime each.

use std::sync::Arc;

use control::cli::vault::VaultArgs;
use control::cli::{Env, Exit, Failure};
use control::vault::{Locked, Source};

/// Unlocks the vault. A vault without its key is no reason not to start: its providers answer DW5001.
pub(crate) fn open(flags: &VaultArgs, env: &Env) -> Result<Arc<dyn Source>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
    match runtime.block_on(flags.unlock(env)) {
        Ok(vault) => Ok(Arc::new(vault)),
        Err(failure) if failure.exit == Exit::Error => {
            tracing::error!(%failure, "the vault is locked");
            Ok(Arc::new(Locked))
        }
        Err(failure) => Err(failure),
    }
}
