//! The chart: what it refuses, what it renders, and that the server takes it.

use std::process::Stdio;

use harness::binary::doorward;
use harness::within;
use tokio::process::Command;

use super::inject::check;
use super::{ROOT, installed};

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
