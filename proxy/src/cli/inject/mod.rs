//! `doorward inject`: puts the sidecar into Kubernetes workloads. Reads manifests, prints them with the sidecar in.
//!
//! A native sidecar (an init container that is restarted, Kubernetes 1.29): it is ready before the agent's containers start
//! and ends after them. Secrets, and the token by which a server knows it, are mounted into it alone. Refuses workloads in
//! which another container is given one of these or could reach into the sidecar, or in which something stands where it would go;
//! nothing is printed then.

mod confine;
mod container;
mod follow;
mod pod;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use control::cli::{Env, Exit, Failure, Format};
use serde_json::Value;

use crate::listen::Entrance;
use crate::publish::{self, Doorway, Own};
use crate::schemes;

/// Put the sidecar into Kubernetes workloads: Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, Job, CronJob.
#[derive(Args, Clone, Debug)]
pub struct Inject {
    /// The manifest; - for standard input. Documents of other kinds pass as they are.
    #[arg(long, short = 'f', value_name = "FILE")]
    file: PathBuf,
    /// The sidecar's image.
    #[arg(long, env = "DOORWARD_IMAGE", value_name = "IMAGE", default_value = concat!("doorward:", env!("CARGO_PKG_VERSION")))]
    image: String,
    /// A ConfigMap whose entries are provider files.
    #[arg(long, value_name = "NAME")]
    provider_config: Option<String>,
    /// A Secret whose entries are the keys of the doorward secret of the same name (repeatable).
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    secret: Vec<String>,
    /// The same provider files here: their dummies go into the containers' environment.
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    providers: Vec<PathBuf>,
    #[command(flatten)]
    follow: follow::FollowArgs,
    /// The containers that are agents (repeatable); default: all of the pod.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    container: Vec<String>,
    /// What keeps the agent from going out by itself.
    #[arg(long, value_enum, default_value = "none")]
    enforce: Enforce,
    /// An image with `nft` and `sh`, for --enforce nftables.
    #[arg(long, value_name = "IMAGE", required_if_eq("enforce", "nftables"))]
    enforce_image: Option<String>,
}

/// How the pod's network is confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Enforce {
    /// Not at all: leave it to a NetworkPolicy.
    None,
    /// An init container lets only the sidecar's user out of the pod.
    Nftables,
}

impl Inject {
    /// Prints the manifests with the sidecar in.
    pub fn run(&self, env: &Env) -> Result<Exit, Failure> {
        let mut documents = read(&self.file)?;
        let sidecar = container::Sidecar {
            image: &self.image,
            provider_config: self.provider_config.as_deref(),
            secrets: &self.secret,
            followed: self.follow.followed()?,
            containers: &self.container,
            environment: self.environment()?,
            nft_image: self.enforce_image.as_deref().filter(|_| self.enforce == Enforce::Nftables),
        };
        let mut workloads = 0;
        for (number, document) in documents.iter_mut().enumerate() {
            let Some(pod) = pod::of(document) else { continue };
            workloads += 1;
            sidecar.put_into(pod).map_err(|why| {
                Failure::new(Exit::Error, format!("{}: document {}: {why}", self.file.display(), number + 1))
            })?;
        }
        if workloads == 0 {
            return Err(Failure::new(Exit::Error, format!("{}: holds no workload", self.file.display())));
        }
        env.output.data(print(&documents, env.globals.output)?.trim_end());
        Ok(Exit::Ok)
    }

    /// What the agent's containers get: loopback is the pod's own, so that no token is needed there.
    fn environment(&self) -> Result<Vec<(String, String)>, Failure> {
        let mut dummies = Vec::new();
        if !self.providers.is_empty() {
            let loaded = control::provider::load(&self.providers, schemes::specs()).map_err(|mistakes| {
                let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
                Failure::new(Exit::Error, lines.join("\n"))
            })?;
            dummies.extend(loaded.providers.iter().flat_map(|provider| provider.agent_env.iter().cloned()));
        }
        let public = Path::new(container::PUBLIC);
        let doorway = Doorway {
            entrance: Some(Entrance { is_tls: false, authority: container::ADDRESS.to_owned() }),
            ca: public.join("ca.crt"),
            bundle: public.join("ca-bundle.crt"),
            truststore: public.join("truststore.p12"),
        };
        Ok(publish::agent_env(&doorway, &Own { dummies, ..Own::default() }))
    }
}

fn read(file: &Path) -> Result<Vec<Value>, Failure> {
    let failed = |why: String| Failure::new(Exit::Error, format!("{}: {why}", file.display()));
    let text = if file.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(file)
    };
    let text = text.map_err(|error| failed(error.to_string()))?;
    // Without a snippet: a manifest may hold a Secret.
    serde_saphyr::from_multiple(&text).map_err(|error| failed(error.without_snippet().to_string()))
}

fn print(documents: &[Value], format: Format) -> Result<String, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(Exit::Error, error.to_string());
    match format {
        Format::Table | Format::Yaml => {
            let texts: Result<Vec<String>, Failure> = documents
                .iter()
                .map(|document| serde_saphyr::to_string(document).map_err(|error| failed(&error)))
                .collect();
            Ok(texts?.join("---\n"))
        }
        Format::Json => {
            let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": documents});
            serde_json::to_string_pretty(&list).map_err(|error| failed(&error))
        }
        Format::Wide
        | Format::Jsonl
        | Format::Name
        | Format::Sh
        | Format::Dotenv
        | Format::Docker
        | Format::Pem
        | Format::Bundle
        | Format::Java => Err(Failure::new(Exit::Usage, "inject prints yaml or json")),
    }
}
