//! `doorward inject`: what it prints and what it refuses.

use std::process::Stdio;

use harness::binary::doorward;
use harness::within;
use tokio::process::Command;

use super::{GITHUB, ROOT, installed};

/// A version of Kubernetes that is supported today; native sidecars are there since 1.29.
const KUBERNETES: &str = "1.33.0";

const WORKLOADS: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      serviceAccountName: agent
      securityContext: {runAsUser: 1000}
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
          serviceAccountName: nightly
          restartPolicy: Never
          securityContext: {runAsUser: 0}
          initContainers: [{name: clone, image: 'git:1'}]
          containers: [{name: agent, image: 'agent:1'}]
---
apiVersion: v1
kind: Service
metadata: {name: agent}
spec: {selector: {app: agent}, ports: [{port: 80}]}
";

/// What `doorward inject` prints for a manifest, or its complaint.
pub(crate) async fn inject(manifest: &str, flags: &[&str]) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("in.yaml"), manifest).unwrap();
    std::fs::write(folder.path().join("github.yaml"), GITHUB).unwrap();
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

const CONFINED: [&str; 4] = ["--enforce", "nftables", "--enforce-image", "nft:1"];

#[tokio::test]
async fn what_inject_prints_is_as_kubernetes_publishes_it() {
    let files = ["--secret", "github-pat", "--provider-config", "rules", "--providers", "github.yaml"];
    let control = ["--control", "https://vault.vault.svc:3130", "--max-stale", "1h"];
    let account = ["--control-audience", "team", "--control-ca-config", "roots"];
    let token = ["--control-token-secret", "bot", "--control-ca-secret", "roots"];
    for flags in [
        [&files[..], &CONFINED].concat(),
        [&control[..], &account, &CONFINED].concat(),
        [&files[..], &control, &token].concat(),
        [&control[..]].concat(),
    ] {
        let printed = inject(WORKLOADS, &flags).await.unwrap();
        assert_eq!(printed.matches("restartPolicy: Always").count(), 2, "{printed}");
        assert_eq!(printed.matches("livenessProbe:").count(), 2);
        assert!(printed.contains("http://agent:none@127.0.0.1:3128"), "{printed}");
        assert_eq!(printed.contains("ghp_dw0"), flags.contains(&"github.yaml"), "{printed}");
        let Some((fits, complaints)) = check(&printed).await else { return };
        assert!(fits, "{complaints}\n{printed}");
        // The tool looks: a misspelt field is found.
        let misspelt = printed.replacen("readOnlyRootFilesystem", "readonlyRootFilesystem", 1);
        assert!(check(&misspelt).await.is_some_and(|(fits, _)| !fits));
    }
}

#[tokio::test]
async fn refuses_servers_that_a_pod_cannot_follow_and_prints_nothing() {
    let server = ["--control", "https://vault.example"];
    for (flags, words) in [
        (vec!["--control", "http://vault.example"], "https://"),
        (vec!["--control", "unix:/run/api.sock"], "a pod reaches a server by https://"),
        (vec!["--control-token-secret", "bot"], "--control"),
        (vec!["--control-ca-config", "roots"], "--control"),
        ([&server[..], &["--control-audience", ""]].concat(), "for everybody"),
        ([&server[..], &["--max-stale", "1s"]].concat(), "max-stale"),
        (
            [&server[..], &["--control-token-secret", "a", "--control-audience", "b"]].concat(),
            "cannot be used",
        ),
        ([&server[..], &["--control-ca-secret", "a", "--control-ca-config", "b"]].concat(), "cannot be used"),
    ] {
        let refused = inject(WORKLOADS, &flags).await.unwrap_err();
        assert!(refused.contains(words), "{flags:?}: {refused}");
    }
    let nameless = WORKLOADS.replace("      serviceAccountName: agent\n", "");
    let refused = inject(&nameless, &server).await.unwrap_err();
    assert!(refused.contains("document 1: it names no ServiceAccount"), "{refused}");
    // One that shows a token of its own needs none.
    inject(&nameless, &[&server[..], &["--control-token-secret", "bot"]].concat()).await.unwrap();
}

/// Whether Kubernetes' published schemas take it, and the complaints; `None`: the tool is absent.
pub(super) async fn check(text: &str) -> Option<(bool, String)> {
    let tool = installed(format!("{ROOT}/.ci/venv/bin/kubernetes-validate").into())?;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.yaml");
    std::fs::write(&file, text).unwrap();
    let checked = Command::new(&tool).args(["--strict", "-k", KUBERNETES]).arg(&file).output();
    let checked = within("kubernetes-validate", checked).await.unwrap();
    Some((checked.status.success(), String::from_utf8_lossy(&checked.stdout).into_owned()))
}
