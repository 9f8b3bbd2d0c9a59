//! `--control` and what belongs to it: the server that a sidecar follows.
//!
//! Refuses a server that TLS cannot verify, a token of another class, and a secret's value anywhere in argv.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use control::cli::{Exit, Failure};
use control::sync::lease::Lease;
use control::sync::source::Followed;
use rustls::ClientConfig;

use crate::follow::{CertificateFiles, ControlUrl, Server, Shown, TokenFile};
use crate::limits;
use crate::loader::{AgentProof, Control};

/// Where the server is and how its certificate is verified.
type Link = (ControlUrl, Arc<ClientConfig>);

/// The control server of a sidecar.
#[derive(Args, Clone, Debug, Default)]
pub struct ControlArgs {
    /// The control server, `https://HOST[:PORT]` or `unix:PATH`: providers, secrets and the agent come from it.
    #[arg(long, env = "DOORWARD_CONTROL", value_name = "URL")]
    pub control: Option<String>,
    /// The roots that the control server is verified with, PEM, in the place of the system's.
    #[arg(long, env = "DOORWARD_CONTROL_CA", value_name = "FILE", requires = "control")]
    pub control_ca: Option<PathBuf>,
    /// The sidecar's token: dwa_…, as the server printed it when the agent was made, or the token of its Kubernetes ServiceAccount.
    /// Not for the agent.
    #[arg(long, env = "DOORWARD_CONTROL_TOKEN_FILE", value_name = "FILE", requires = "control")]
    pub control_token_file: Option<PathBuf>,
    /// Instead of a token, the sidecar's certificate chain (an X.509-SVID), PEM; read again when it changes. Not for the agent.
    #[arg(
        long,
        env = "DOORWARD_CONTROL_CERT",
        value_name = "FILE",
        requires_all = ["control", "control_key"],
        conflicts_with = "control_token_file"
    )]
    pub control_cert: Option<PathBuf>,
    /// The certificate's private key, PEM.
    #[arg(long, env = "DOORWARD_CONTROL_KEY", value_name = "FILE", requires_all = ["control", "control_cert"])]
    pub control_key: Option<PathBuf>,
    /// How long the last snapshot is used while the control server is silent.
    #[arg(long, env = "DOORWARD_MAX_STALE", value_name = "TIME", default_value = "15m")]
    pub max_stale: String,
}

impl ControlArgs {
    /// Files that are read while the proxy runs.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.control_ca
            .iter()
            .chain(&self.control_token_file)
            .chain(&self.control_cert)
            .chain(&self.control_key)
    }

    /// The same flags for a proxy that is started; none without `--control`.
    pub(crate) fn flags(&self) -> Vec<(&'static str, OsString)> {
        let Some(url) = &self.control else { return Vec::new() };
        let mut flags: Vec<(&str, OsString)> =
            vec![("--control", url.into()), ("--max-stale", self.max_stale.clone().into())];
        flags.extend(self.control_ca.iter().map(|file| ("--control-ca", file.into())));
        flags.extend(self.control_token_file.iter().map(|file| ("--control-token-file", file.into())));
        flags.extend(self.control_cert.iter().map(|file| ("--control-cert", file.into())));
        flags.extend(self.control_key.iter().map(|file| ("--control-key", file.into())));
        flags
    }

    /// The server and what will come of it; `None` without `--control`.
    pub(crate) fn open(&self) -> Result<Option<(Link, Control)>, Failure> {
        let Some(url) = &self.control else { return Ok(None) };
        let url: ControlUrl = url.parse().map_err(usage)?;
        let shown = self.shown(&url)?;
        let roots = match &self.control_ca {
            // Only these: whoever runs a server of their own trusts nobody else to speak for it.
            Some(file) => certs::trust::Roots::only(file),
            None => Ok(certs::trust::Roots::system()),
        };
        let tls = roots.map_err(error).and_then(|roots| Server::tls(&roots, &shown).map_err(error))?;
        let server = match &url {
            ControlUrl::Https(target) => Some(target.clone()),
            ControlUrl::Unix(_) => None,
        };
        let followed = Arc::new(Followed::new(Lease::new(self.max_stale()?)));
        Ok(Some(((url, tls), Control { followed, shown: Arc::new(shown), server, proof: AgentProof::Token })))
    }

    /// What the server is shown.
    fn shown(&self, url: &ControlUrl) -> Result<Shown, Failure> {
        if let Some(file) = self.control_token_file.clone() {
            let token = TokenFile::open(file).map_err(|why| usage(format!("--control-token-file {why}")))?;
            return Ok(Shown::Token(token));
        }
        let (Some(certificate), Some(key)) = (self.control_cert.clone(), self.control_key.clone()) else {
            return Err(usage(
                "--control needs --control-token-file FILE, or --control-cert FILE and --control-key FILE",
            ));
        };
        if matches!(url, ControlUrl::Unix(_)) {
            return Err(usage(
                "--control-cert: over a unix socket no certificate is shown; use --control-token-file",
            ));
        }
        let files = CertificateFiles::open(certificate, key);
        files.map(Shown::Certificate).map_err(|why| usage(format!("--control-cert: {why}")))
    }

    fn max_stale(&self) -> Result<Duration, Failure> {
        limits::max_stale(&self.max_stale).map_err(|why| usage(format!("--{why}")))
    }
}

fn usage(why: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Usage, why.to_string())
}

fn error(why: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Error, why.to_string())
}
