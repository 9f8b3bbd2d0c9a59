//! What goes into a pod: the sidecar's container and its volumes.

use serde_json::{Value, json};

use super::follow::{Followed, Proof};

/// Where the sidecar listens: the pod's loopback, which its containers share.
pub(super) const ADDRESS: &str = "127.0.0.1:3128";
/// Where the agent's containers find the CA and the bundle.
pub(super) const PUBLIC: &str = "/run/doorward/public";
const PROVIDERS: &str = "/etc/doorward/providers";
const SECRETS: &str = "/run/doorward/secrets";
/// The sidecar's container and the prefix of its volumes.
pub(super) const NAME: &str = "doorward";
/// The user of the image.
pub(super) const USER: u64 = 65_532;

/// What goes in.
#[derive(Debug)]
pub(super) struct Sidecar<'a> {
    pub(super) image: &'a str,
    pub(super) provider_config: Option<&'a str>,
    pub(super) secrets: &'a [String],
    /// The server that it follows.
    pub(super) followed: Option<Followed<'a>>,
    /// Empty: all.
    pub(super) containers: &'a [String],
    pub(super) environment: Vec<(String, String)>,
    /// The image of the init container that confines the pod.
    pub(super) nft_image: Option<&'a str>,
}

impl Sidecar<'_> {
    /// The Secrets that are for it alone.
    pub(super) fn own_secrets(&self) -> impl Iterator<Item = &str> {
        let token = self.followed.and_then(|followed| match followed.proof {
            Proof::Secret(name) => Some(name),
            Proof::Account { .. } => None,
        });
        self.secrets.iter().map(String::as_str).chain(token)
    }

    pub(super) fn container(&self) -> Value {
        json!({
            "name": NAME,
            "image": self.image,
            "restartPolicy": "Always",
            "args": self.args(),
            "startupProbe": probe(&["/doorward", "health"], 2, 30),
            "readinessProbe": probe(&["/doorward", "health"], 2, 3),
            // Not whether it is ready: one that waits for its server or its secrets is not mended by a restart, and loses
            // its snapshot and its tunnels by it.
            "livenessProbe": probe(&["/doorward", "health", "--live"], 10, 6),
            "securityContext": {
                "runAsUser": USER, "runAsGroup": USER, "runAsNonRoot": true, "readOnlyRootFilesystem": true,
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
            "volumeMounts": self.mounts(),
        })
    }

    fn args(&self) -> Vec<String> {
        let mut args = vec!["proxy", "--listen", ADDRESS, "--admin", "127.0.0.1:3129", "--publish", PUBLIC];
        if self.provider_config.is_some() {
            args.extend(["--providers", PROVIDERS]);
        }
        if !self.secrets.is_empty() {
            args.extend(["--secrets", SECRETS]);
        }
        let followed = self.followed.iter().flat_map(Followed::flags);
        let last = ["--audit", "-", "--log-format", "json"].map(str::to_owned);
        args.into_iter().map(str::to_owned).chain(followed).chain(last).collect()
    }

    fn mounts(&self) -> Vec<Value> {
        let mut mounts = vec![json!({"name": "doorward-public", "mountPath": PUBLIC})];
        mounts.extend(
            self.provider_config
                .map(|_| json!({"name": "doorward-providers", "mountPath": PROVIDERS, "readOnly": true})),
        );
        mounts.extend(self.secrets.iter().enumerate().map(|(number, secret)| {
            json!({"name": secret_volume(number), "mountPath": format!("{SECRETS}/{secret}"), "readOnly": true})
        }));
        mounts.extend(self.followed.iter().flat_map(Followed::mounts));
        mounts
    }

    pub(super) fn volumes(&self) -> Vec<Value> {
        let mut volumes =
            vec![json!({"name": "doorward-public", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}})];
        volumes.extend(
            self.provider_config
                .map(|config| json!({"name": "doorward-providers", "configMap": {"name": config}})),
        );
        // Readable for every user of the sidecar's container, which has one.
        volumes.extend(self.secrets.iter().enumerate().map(|(number, secret)| {
            json!({"name": secret_volume(number), "secret": {"secretName": secret, "defaultMode": 0o444}})
        }));
        volumes.extend(self.followed.iter().flat_map(Followed::volumes));
        volumes
    }
}

/// `health` asks the admin port from inside: the kubelet could reach it only if the whole network could.
fn probe(command: &[&str], seconds: u32, failures: u32) -> Value {
    json!({"exec": {"command": command}, "periodSeconds": seconds, "timeoutSeconds": 2, "failureThreshold": failures})
}

/// A Secret's name may be longer than a volume's.
fn secret_volume(number: usize) -> String {
    format!("doorward-secret-{number}")
}
