//! The same verbs against a server: which one, who we are there, and what it says.

mod client;
pub mod keep;
pub mod login;
mod whose;

pub(crate) use client::{Body, Client, Sent, segment};

use super::{Env, Failure};

/// The server that this command works with; `None`: the local vault.
///
/// `--context`, else `DOORWARD_SERVER` with `DOORWARD_TOKEN_FILE`, else the context that was chosen by `doorward login` or
/// `doorward context use`.
///
/// # Errors
/// A context that is not there, or whose files cannot be read.
pub(crate) fn server(env: &Env) -> Result<Option<Client>, Failure> {
    login::chosen(env)?.map(|chosen| Client::new(env, chosen)).transpose()
}
