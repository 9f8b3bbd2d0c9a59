//! What `deploy/` and `doorward inject` promise to systemd and Kubernetes, checked by their own tools.

mod compose;

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
    let Some((fits, complaints)) = check(&printed).await else { return };
    assert!(fits, "{complaints}\n{printed}");
    // The tool looks: a misspelt field is found.
    let misspelt = printed.replacen("readOnlyRootFilesystem", "readonlyRootFilesystem", 1);
    assert!(check(&misspelt).await.is_some_and(|(fits, _)| !fits));
}

/// Whether Kubernetes' published schemas take it, and the complaints; `None`: the tool is absent.
async fn check(text: &str) -> Option<(bool, String)> {
    let tool = installed(format!("{ROOT}/.ci/venv/bin/kubernetes-validate").into())?;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.yaml");
    std::fs::write(&file, text).unwrap();
    let checked = Command::new(&tool).args(["--strict", "-k", KUBERNETES]).arg(&file).output();
    let checked = within("kubernetes-validate", checked).await.unwrap();
    Some((checked.status.success(), String::from_utf8_lossy(&checked.stdout).into_owned()))
}

/// The chart with these values, rendered by helm: the manifests, or its complaint.
async fn chart(values: &str) -> Option<Result<String, String>> {
    let helm = installed(format!("{ROOT}/.ci/venv/bin/helm").into())?;
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(helm);
    command.args(["template", "team", "doorward", "--namespace", "vault", "--set", values]);
    // Below its folder: what helm keeps goes into its own.
    command.current_dir(format!("{ROOT}/deploy/helm")).env_clear().env("HOME", folder.path());
    let output = within("helm", command.stdin(Stdio::null()).output()).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) })
}

const SECRETS: &str = "masterKey.existingSecret=key,rootToken.existingSecret=root,tls.existingSecret=tls";

#[tokio::test]
async fn the_chart_refuses_values_that_make_no_safe_server() {
    for (values, told) in [
        (SECRETS.replace("masterKey.existingSecret=key,", ""), "masterKey"),
        (format!("{SECRETS},replicas=2"), "more than one server needs PostgreSQL"),
        (format!("{SECRETS},masterKey.value=x"), "value"),
        (format!("{SECRETS},image.digest=latest"), "digest"),
        (format!("{SECRETS},kubernetes.audience="), "audience"),
    ] {
        let Some(rendered) = chart(&values).await else { return };
        let refused = rendered.unwrap_err();
        assert!(refused.contains(told), "{values}: {refused}");
    }
}

#[tokio::test]
async fn what_the_chart_renders_is_as_kubernetes_publishes_it_and_starts_the_server() {
    let ways = "kubernetes.enabled=true,clientCA.existingConfigMap=bundle";
    for values in [
        SECRETS.to_owned(),
        format!("{SECRETS},replicas=3,database.existingSecret=url"),
        format!("{SECRETS},{ways}"),
    ] {
        let Some(rendered) = chart(&values).await else { return };
        let rendered = rendered.unwrap();
        let Some((fits, complaints)) = check(&rendered).await else { return };
        assert!(fits, "{complaints}\n{rendered}");
        // It may ask whose tokens are where that is wanted, and never more.
        let is_asking = values.contains("kubernetes.enabled=true");
        let asked =
            ["tokenreviews]\n  verbs: [create]", "automountServiceAccountToken: true", "- --kubernetes\n"];
        for part in asked {
            assert_eq!(rendered.contains(part), is_asking, "{part}\n{rendered}");
        }
        assert_eq!(rendered.matches("verbs:").count(), usize::from(is_asking));
        // The flags are the program's own: it gets as far as the folder that a pod has.
        let lines = rendered.split("        args:\n").nth(1).unwrap().lines();
        let flags = lines.map_while(|line| line.strip_prefix("        - "));
        let flags: Vec<&str> = flags.map(|flag| flag.trim_matches('"')).collect();
        let mut command = Command::new(doorward());
        command.env_clear().args(&flags).stdin(Stdio::null());
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        command.args(["--home", home]);
        let output = within("server", command.output()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("/run/doorward/"), "{said}");
    }
}

/// A Secret's volume as the kubelet makes it: links through `..data`, files of root's that a group may read, read-only.
#[tokio::test]
async fn a_master_key_is_read_as_kubernetes_mounts_it_and_not_where_somebody_could_swap_it() {
    let script = "set -eu; mkdir k; mount -t tmpfs -o mode=1777 none k; mkdir k/..1; ln -s ..1 k/..data; ln -s ..data/master.key k/master.key; \
         head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \\n' > k/..1/master.key; chgrp \"$(id -g)\" k/..1/master.key; chmod 0440 k/..1/master.key; \
         eval \"$MOUNT\"; printf %s canary-value-0123456789 | \"$DOORWARD\" --home h add secret s --from-stdin token --hosts a.example --master-key-file k/master.key";
    let add = async |mount: &str| {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", script]).current_dir(folder.path());
        command.env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").env("HOME", folder.path());
        command.env("DOORWARD", doorward()).env("MOUNT", mount);
        let output = within("unshare", command.stdin(Stdio::null()).output()).await.unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (done, said) = add("mount -o remount,ro k").await;
    assert!(done, "{said}");
    let (done, said) = add(":").await;
    assert!(!done && said.contains("is not a plain file"), "{said}");
}
