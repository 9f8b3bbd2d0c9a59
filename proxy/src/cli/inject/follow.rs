//! A sidecar that follows a server: the flags of `inject`, and what the pod has for it.
//!
//! The token by which the server knows it, and the roots that it knows the server by, are mounted into the sidecar alone.

use clap::Args;
use control::cli::{Exit, Failure};
use serde_json::{Value, json};

use crate::follow::ControlUrl;
use crate::limits;

const TOKEN: &str = "/run/doorward/control";
const ROOTS: &str = "/run/doorward/control-ca";
/// The entry of a Secret that is the sidecar's token, and the file.
const TOKEN_ENTRY: &str = "token";
/// The entry of a ConfigMap or Secret that holds the roots, and the file.
const ROOTS_ENTRY: &str = "ca.crt";
/// How long a ServiceAccount's token lives, in seconds; the kubelet replaces it before.
const TOKEN_LIFE: u32 = 3600;

/// The control server that the sidecar follows.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct FollowArgs {
    /// The control server that the sidecar follows, `https://HOST[:PORT]`: providers and secrets come from it.
    #[arg(long, value_name = "URL")]
    control: Option<String>,
    /// A Secret whose entry `token` is the sidecar's token (dwa_…). Without it, the sidecar shows a token of the pod's
    /// ServiceAccount.
    #[arg(long, value_name = "NAME", requires = "control")]
    control_token_secret: Option<String>,
    /// What that token of the ServiceAccount is meant for: the server's --kubernetes-audience. Default: doorward.
    #[arg(long, value_name = "NAME", requires = "control", conflicts_with = "control_token_secret")]
    control_audience: Option<String>,
    /// A ConfigMap whose entry `ca.crt` holds the roots that the server is verified with, in the place of the image's.
    #[arg(long, value_name = "NAME", requires = "control")]
    control_ca_config: Option<String>,
    /// The same in a Secret.
    #[arg(long, value_name = "NAME", requires = "control", conflicts_with = "control_ca_config")]
    control_ca_secret: Option<String>,
    /// How long the last snapshot is used while the control server is silent.
    #[arg(long, value_name = "TIME", requires = "control")]
    max_stale: Option<String>,
}

impl FollowArgs {
    /// What is to be followed; `None`: nothing.
    pub(super) fn followed(&self) -> Result<Option<Followed<'_>>, Failure> {
        let Some(url) = self.control.as_deref() else { return Ok(None) };
        match url.parse::<ControlUrl>() {
            Ok(ControlUrl::Https(_)) => {}
            Ok(ControlUrl::Unix(_)) => {
                return Err(usage("--control: a pod reaches a server by https://HOST[:PORT]"));
            }
            Err(why) => return Err(usage(why)),
        }
        let max_stale = self.max_stale.as_deref();
        max_stale
            .map_or(Ok(()), |time| limits::max_stale(time).map(drop))
            .map_err(|why| usage(format!("--{why}")))?;
        let proof = match (&self.control_token_secret, self.control_audience.as_deref()) {
            (Some(secret), _) => Proof::Secret(secret),
            (None, Some("")) => {
                return Err(usage("--control-audience is empty: the token would be for everybody"));
            }
            (None, audience) => Proof::Account { audience: audience.unwrap_or("doorward") },
        };
        let roots = self.control_ca_config.as_deref().map(Roots::ConfigMap);
        let roots = roots.or(self.control_ca_secret.as_deref().map(Roots::Secret));
        Ok(Some(Followed { url, proof, roots, max_stale }))
    }
}

/// By what the server knows the sidecar.
#[derive(Clone, Copy, Debug)]
pub(super) enum Proof<'a> {
    /// The token in this Secret.
    Secret(&'a str),
    /// A token of the pod's ServiceAccount, for the server alone.
    Account { audience: &'a str },
}

/// Where the roots are that the server is verified with.
#[derive(Clone, Copy, Debug)]
enum Roots<'a> {
    ConfigMap(&'a str),
    Secret(&'a str),
}

/// A server that the sidecar follows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Followed<'a> {
    url: &'a str,
    pub(super) proof: Proof<'a>,
    roots: Option<Roots<'a>>,
    max_stale: Option<&'a str>,
}

impl Followed<'_> {
    /// The sidecar's flags. The pod's loopback is its own: no token is asked for there, which no container could be given
    /// before the sidecar has it.
    pub(super) fn flags(&self) -> Vec<String> {
        let token = format!("{TOKEN}/{TOKEN_ENTRY}");
        let mut flags = vec!["--control", self.url, "--control-token-file", &token, "--no-agent-token"];
        let roots = format!("{ROOTS}/{ROOTS_ENTRY}");
        if self.roots.is_some() {
            flags.extend(["--control-ca", &roots]);
        }
        flags.extend(self.max_stale.iter().flat_map(|time| ["--max-stale", *time]));
        flags.into_iter().map(str::to_owned).collect()
    }

    pub(super) fn mounts(&self) -> Vec<Value> {
        let mut mounts = vec![json!({"name": "doorward-control", "mountPath": TOKEN, "readOnly": true})];
        mounts.extend(
            self.roots.map(|_| json!({"name": "doorward-control-ca", "mountPath": ROOTS, "readOnly": true})),
        );
        mounts
    }

    pub(super) fn volumes(&self) -> Vec<Value> {
        // Readable for every user of the sidecar's container, which has one.
        let mode = 0o444;
        let (kind, token) = match self.proof {
            Proof::Secret(name) => {
                ("secret", json!({"secretName": name, "defaultMode": mode, "items": only(TOKEN_ENTRY)}))
            }
            Proof::Account { audience } => (
                "projected",
                json!({"defaultMode": mode, "sources": [
                    {"serviceAccountToken": {"audience": audience, "expirationSeconds": TOKEN_LIFE, "path": TOKEN_ENTRY}},
                ]}),
            ),
        };
        let token = json!({"name": "doorward-control", kind: token});
        let roots = self.roots.map(|roots| match roots {
            Roots::ConfigMap(name) => {
                json!({"name": "doorward-control-ca", "configMap": {"name": name, "items": only(ROOTS_ENTRY)}})
            }
            Roots::Secret(name) => json!({
                "name": "doorward-control-ca",
                "secret": {"secretName": name, "defaultMode": mode, "items": only(ROOTS_ENTRY)},
            }),
        });
        [token].into_iter().chain(roots).collect()
    }
}

/// One entry, under its own name.
fn only(entry: &str) -> Value {
    json!([{"key": entry, "path": entry}])
}

fn usage(why: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Usage, why.to_string())
}
