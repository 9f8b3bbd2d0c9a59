//! The flags of the issuer that people log in with.

use std::path::PathBuf;

use clap::Args;
use control::cli::{Env, Failure};
use control::oidc::Issuer;
use control::outgoing::Outgoing;
use control::secret::Secret;
use control::vault::value::without_final_line_break;

use super::{error, usage};

/// The longest file with the server's secret.
const SECRET_MOST: u64 = 4096;

/// Who people log in with.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct OidcArgs {
    /// The issuer that people log in with (OpenID Connect): its `https://` URL, as its tokens write it.
    #[arg(long, env = "DOORWARD_OIDC_ISSUER", value_name = "URL", requires = "oidc_client_id")]
    oidc_issuer: Option<String>,
    /// What this server is called at the issuer.
    #[arg(long, env = "DOORWARD_OIDC_CLIENT_ID", value_name = "ID", requires = "oidc_issuer")]
    oidc_client_id: Option<String>,
    /// The file with the secret that the issuer gave the server; without it, the server is a public client.
    #[arg(long, env = "DOORWARD_OIDC_CLIENT_SECRET_FILE", value_name = "FILE", requires = "oidc_issuer")]
    oidc_client_secret_file: Option<PathBuf>,
    /// More roots (PEM) that the issuer's certificate may come from.
    #[arg(long, env = "DOORWARD_OIDC_CA", value_name = "FILE", requires = "oidc_issuer")]
    oidc_ca: Option<PathBuf>,
}

impl OidcArgs {
    /// The files that are read.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.oidc_client_secret_file.iter().chain(&self.oidc_ca)
    }

    /// The issuer, if one is named.
    pub(super) fn issuer(&self, env: &Env) -> Result<Option<Issuer>, Failure> {
        let (Some(issuer), Some(client)) = (&self.oidc_issuer, &self.oidc_client_id) else { return Ok(None) };
        let secret = self.oidc_client_secret_file.as_ref().map(secret).transpose()?;
        let tls = (env.tls)(self.oidc_ca.as_deref()).map_err(error)?;
        let made = Issuer::new(issuer.clone(), client.clone(), secret, Outgoing::new(&tls));
        made.map(Some).map_err(|why| usage(format!("--oidc-issuer: {why}")))
    }
}

fn secret(file: &PathBuf) -> Result<Secret, Failure> {
    use std::io::Read as _;
    let cannot = |why: &dyn std::fmt::Display| usage(format!("{}: {why}", file.display()));
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(4096 + 1));
    let opened = std::fs::File::open(file).map_err(|why| cannot(&why))?;
    opened.take(SECRET_MOST + 1).read_to_end(&mut bytes).map_err(|why| cannot(&why))?;
    if bytes.len() > 4096 {
        return Err(cannot(&"it is too long for a secret"));
    }
    Ok(without_final_line_break(std::mem::take(&mut *bytes)))
}
