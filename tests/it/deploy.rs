//! What `deploy/` and `doorward inject` promise to systemd and Kubernetes, checked by their own tools.

use std::path::PathBuf;
use std::process::Stdio;

use harness::binary::doorward;
use harness::{Origin, Proxy, within};
use rustix::process::Signal;
use tokio::net::UnixDatagram;
use tokio::process::Command;

use crate::world::HOST;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A version of Kubernetes that is supported today; native sidecars are there since 1.29.
const KUBERNETES: &str = "1.33.0";

/// A tool that `.ci/run` installs; `None` where it is absent and nobody asked for the whole check.
fn installed(tool: PathBuf) -> Option<PathBuf> {
    if tool.exists() {
        return Some(tool);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing; .ci/run installs it", tool.display());
    eprintln!("skipped: {} is missing", tool.display());
    None
}

#[tokio::test]
async fn systemd_is_told_when_the_proxy_serves_and_when_it_drains() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let told = async || {
        let mut buffer = [0; 256];
        let read = within("systemd is told", socket.recv(&mut buffer)).await.unwrap();
        String::from_utf8_lossy(&buffer[..read]).trim_end().to_owned()
    };
    let origin = Origin::start(HOST).await;
    let builder = Proxy::builder().env("NOTIFY_SOCKET", path.to_str().unwrap());
    let proxy = builder.bearer(HOST).origin(&origin).start().await;
    assert_eq!(told().await, "READY=1");
    // It serves: the socket is no way around the process's confinement, nor hindered by it.
    proxy.agent().get(HOST, "/").await.assert_ok();
    proxy.signal(Signal::TERM);
    assert_eq!(told().await, "STOPPING=1");
}

#[tokio::test]
async fn the_service_is_confined_as_far_as_systemd_can_tell() {
    let Some(tool) = installed("/usr/bin/systemd-analyze".into()) else { return };
    let unit = format!("{ROOT}/deploy/systemd/doorward.service");
    // In tenths: systemd calls up to 2.0 "OK" for a service with network access.
    let judged = Command::new(tool).args(["security", "--offline=true", "--threshold=15", &unit]).output();
    let judged = within("systemd-analyze", judged).await.unwrap();
    let text = String::from_utf8_lossy(&judged.stdout).into_owned();
    assert!(judged.status.success() && text.contains("Overall exposure level"), "{text}");
}

const WORKLOADS: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      containers:
      - {name: agent, image: 'agent:1', env: [{name: A, value: b}]}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: '0 3 * * *'
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          initContainers: [{name: clone, image: 'git:1'}]
          containers: [{name: agent, image: 'agent:1'}]
---
apiVersion: v1
kind: Service
metadata: {name: agent}
spec: {selector: {app: agent}, ports: [{port: 80}]}
";

/// What `doorward inject` prints for a manifest, or its complaint.
async fn inject(manifest: &str, flags: &[&str]) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("in.yaml"), manifest).unwrap();
    std::fs::write(
        folder.path().join("github.yaml"),
        "apiVersion: doorward.dev/v1alpha1\nkind: Provider\nmetadata: {name: github}\nspec:\n  type: github\n  auth: {type: pat, secretRef: github-pat}\n",
    )
    .unwrap();
    let mut command = Command::new(doorward());
    command.env_clear().current_dir(folder.path()).args(["inject", "-f", "in.yaml"]).args(flags);
    let output = within("inject", command.stdin(Stdio::null()).output()).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[tokio::test]
async fn refuses_workloads_whose_agent_is_given_the_secret_and_prints_nothing() {
    let manifest =
        WORKLOADS.replace("env: [{name: A, value: b}]", "envFrom: [{secretRef: {name: github-pat}}]");
    let refused = inject(&manifest, &["--secret", "github-pat"]).await.unwrap_err();
    assert!(refused.contains("in.yaml: document 1: container `agent` is given the secret"), "{refused}");
    assert!(inject("kind: Service\n", &[]).await.unwrap_err().contains("holds no workload"));
    assert!(inject(WORKLOADS, &["--enforce", "nftables"]).await.unwrap_err().contains("--enforce-image"));
    // A manifest may hold a secret, which no complaint repeats.
    let refused = inject("kind: Secret\nkind: Secret\nstringData: {t: canary-in-a-manifest}\n", &[]).await;
    assert!(!refused.unwrap_err().contains("canary"));
}

#[tokio::test]
async fn what_inject_prints_is_as_kubernetes_publishes_it() {
    let flags = [
        "--secret",
        "github-pat",
        "--provider-config",
        "rules",
        "--providers",
        "github.yaml",
        "--enforce",
        "nftables",
        "--enforce-image",
        "nft:1",
    ];
    let printed = inject(WORKLOADS, &flags).await.unwrap();
    assert_eq!(printed.matches("restartPolicy: Always").count(), 2, "{printed}");
    assert!(printed.contains("ghp_dw0") && printed.contains("http://agent:none@127.0.0.1:3128"), "{printed}");
    let Some(tool) = installed(format!("{ROOT}/.ci/venv/bin/kubernetes-validate").into()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.yaml");
    let check = async |text: &str| {
        std::fs::write(&file, text).unwrap();
        let checked = Command::new(&tool).args(["--strict", "-k", KUBERNETES]).arg(&file).output();
        let checked = within("kubernetes-validate", checked).await.unwrap();
        (checked.status.success(), String::from_utf8_lossy(&checked.stdout).into_owned())
    };
    let (fits, complaints) = check(&printed).await;
    assert!(fits, "{complaints}\n{printed}");
    // The tool looks: a misspelt field is found.
    let (fits, _) = check(&printed.replacen("readOnlyRootFilesystem", "readonlyRootFilesystem", 1)).await;
    assert!(!fits);
}
