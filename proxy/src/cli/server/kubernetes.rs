//! The flags of the Kubernetes API that reviews the tokens of ServiceAccounts.

use std::path::PathBuf;

use clap::Args;
use control::cli::{Env, Failure};
use control::outgoing::Outgoing;
use control::sync::server::identify::Reviews;

use super::{error, usage};

/// Where a pod finds its own ServiceAccount.
const OWN: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Who reviews the tokens of ServiceAccounts.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct KubernetesArgs {
    /// Let sidecars in by the tokens of their ServiceAccounts, reviewed by the Kubernetes API of the cluster that the server is a
    /// pod of.
    #[arg(long, env = "DOORWARD_KUBERNETES")]
    kubernetes: bool,
    /// The same by this Kubernetes API, `https://HOST[:PORT]`.
    #[arg(long, env = "DOORWARD_KUBERNETES_API", value_name = "URL")]
    kubernetes_api: Option<String>,
    /// The roots that the Kubernetes API is verified with, PEM, in the place of the system's; default with --kubernetes: the pod's.
    #[arg(long, env = "DOORWARD_KUBERNETES_CA", value_name = "FILE")]
    kubernetes_ca: Option<PathBuf>,
    /// The server's own token for it, read again for each question; default with --kubernetes: the pod's.
    #[arg(long, env = "DOORWARD_KUBERNETES_TOKEN_FILE", value_name = "FILE")]
    kubernetes_token_file: Option<PathBuf>,
    /// The audience that sidecars' tokens are meant for.
    #[arg(long, env = "DOORWARD_KUBERNETES_AUDIENCE", value_name = "NAME", default_value = "doorward")]
    kubernetes_audience: String,
}

impl KubernetesArgs {
    fn own(&self, name: &str) -> Option<PathBuf> {
        self.kubernetes.then(|| PathBuf::from(OWN).join(name))
    }

    fn ca(&self) -> Option<PathBuf> {
        self.kubernetes_ca.clone().or_else(|| self.own("ca.crt"))
    }

    fn token(&self) -> Option<PathBuf> {
        self.kubernetes_token_file.clone().or_else(|| self.own("token"))
    }

    /// The files that are read.
    pub(super) fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.ca().into_iter().chain(self.token())
    }

    fn api(&self, env: &Env) -> Result<Option<String>, Failure> {
        if let Some(url) = &self.kubernetes_api {
            return Ok(Some(url.clone()));
        }
        if !self.kubernetes {
            return match (&self.kubernetes_ca, &self.kubernetes_token_file) {
                (None, None) => Ok(None),
                (Some(_), _) | (_, Some(_)) => {
                    Err(usage("--kubernetes-ca and --kubernetes-token-file need --kubernetes-api URL"))
                }
            };
        }
        let host = env.var("KUBERNETES_SERVICE_HOST").zip(env.var("KUBERNETES_SERVICE_PORT"));
        let (host, port) = host.ok_or_else(|| {
            usage("--kubernetes: this is no pod (KUBERNETES_SERVICE_HOST is not set); give --kubernetes-api URL")
        })?;
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        Ok(Some(format!("https://{host}:{port}")))
    }

    /// The reviews, if an API is named.
    pub(super) fn reviews(&self, env: &Env) -> Result<Option<Reviews>, Failure> {
        let Some(url) = self.api(env)? else { return Ok(None) };
        let token =
            self.token().ok_or_else(|| usage("--kubernetes-api needs --kubernetes-token-file FILE"))?;
        if self.kubernetes_audience.is_empty() {
            return Err(usage("--kubernetes-audience is empty: tokens for everybody would be for us"));
        }
        let roots = match self.ca() {
            // Only these: no other authority of the system speaks for a cluster.
            Some(file) => certs::Roots::only(&file).map_err(error)?,
            None => certs::Roots::system(),
        };
        let tls = rustls::ClientConfig::builder_with_provider(certs::crypto::provider())
            .with_safe_default_protocol_versions()
            .map_err(error)?
            .with_root_certificates(roots.store())
            .with_no_client_auth();
        let made = Reviews::new(&url, self.kubernetes_audience.clone(), token, Outgoing::new(&tls));
        made.map(Some).map_err(|why| usage(format!("--kubernetes-api: {why}")))
    }
}
