//! The chart: what it refuses, what it renders, and that the server takes it.

use std::process::{Output, Stdio};

use harness::binary::doorward;
use harness::within;
use tokio::process::Command;

use super::inject::check;
use super::{ROOT, installed};

/// What the tool of `.ci/run` says; `None`: it is absent.
async fn ran(tool: &str, words: &[&str]) -> Option<Output> {
    let tool = installed(format!("{ROOT}/.ci/venv/bin/{tool}").into())?;
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(tool);
    // Below its folder: what helm keeps goes into its own.
    command.args(words).current_dir(format!("{ROOT}/deploy/helm")).env_clear().env("HOME", folder.path());
    Some(within("a tool", command.stdin(Stdio::null()).output()).await.unwrap())
}

/// The chart with these values, rendered by helm: the manifests, or its complaint.
async fn chart(values: &str) -> Option<Result<String, String>> {
    rendered(&["--set", values]).await
}

async fn rendered(values: &[&str]) -> Option<Result<String, String>> {
    let words = [&["template", "team", "doorward", "--namespace", "vault"], values].concat();
    let output = ran("helm", &words).await?;
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
        (format!("{SECRETS},database.size=plenty"), "size"),
        (format!("{SECRETS},service.port=0"), "port"),
        (format!("{SECRETS},image.repository="), "repository"),
        (format!("{SECRETS},hosts[0]=https://vault.example.com"), "hosts"),
    ] {
        let Some(rendered) = chart(&values).await else { return };
        let refused = rendered.unwrap_err();
        assert!(refused.contains(told), "{values}: {refused}");
    }
}

/// Every value that the chart has, each as nobody else would have it.
const EVERYTHING: &str = r#"
image: {repository: registry.example/team/doorward, tag: "9", digest: "sha256:1111111111111111111111111111111111111111111111111111111111111111", pullPolicy: Always}
imagePullSecrets: [{name: of-the-registry}]
replicas: 3
database: {existingSecret: of-the-database, size: 7Gi, storageClass: fast}
masterKey: {existingSecret: of-the-key}
rootToken: {existingSecret: of-the-root}
tls: {existingSecret: of-the-certificate}
kubernetes: {enabled: true, audience: of-the-team}
clientCA: {existingConfigMap: of-the-clients}
hosts: [vault.example.com, "192.0.2.7"]
service: {type: LoadBalancer, port: 8443, annotations: {example.com/of-the-service: "yes"}}
networkPolicy: {enabled: true, from: [{namespaceSelector: {matchLabels: {of-the-policy: "yes"}}}]}
extraArgs: ["--audit-keep", "90d"]
logFormat: pretty
resources: {limits: {memory: 777Mi}}
podAnnotations: {example.com/of-the-pod: "yes"}
nodeSelector: {of-the-node: "yes"}
tolerations: [{key: of-the-taint, operator: Exists}]
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: of-the-affinity, operator: Exists}]}]}}}
priorityClassName: of-the-class
"#;

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
        starts_the_server(&rendered).await;
    }
}

#[tokio::test]
async fn every_value_of_the_chart_gets_where_it_belongs_and_every_template_is_as_kubernetes_publishes_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.yaml");
    std::fs::write(&file, EVERYTHING).unwrap();
    let Some(rendered) = rendered(&["-f", file.to_str().unwrap()]).await else { return };
    let rendered = rendered.unwrap();
    let Some((fits, complaints)) = check(&rendered).await else { return };
    assert!(fits, "{complaints}\n{rendered}");
    let templates = std::fs::read_dir(format!("{ROOT}/deploy/helm/doorward/templates")).unwrap();
    let names = templates.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    for name in names.filter(|name| name.ends_with(".yaml")) {
        assert!(rendered.contains(&format!("templates/{name}\n")), "{name} is not checked\n{rendered}");
    }
    // Of each text of the values: the image's tag counts after its digest, and with PostgreSQL there is no volume.
    let texts = EVERYTHING.split(['{', '}', '[', ']', ',', ' ', '\n', '"']).filter(|text| {
        let is_name =
            text.starts_with("of-the-") || text.starts_with("example.com/") || text.starts_with("sha256:");
        is_name
            || ["registry.example/team/doorward", "Always", "192.0.2.7", "8443", "90d", "777Mi"]
                .contains(text)
    });
    let texts: Vec<&str> = texts.map(|text| text.trim_end_matches(':')).collect();
    assert!(texts.len() > 20, "{texts:?}");
    for text in texts {
        assert!(rendered.contains(text), "{text}\n{rendered}");
    }
    starts_the_server(&rendered).await;
}

/// The flags are the program's own: it gets as far as the folder that a pod has.
async fn starts_the_server(rendered: &str) {
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

/// Which values the schema knows and `values.yaml` does not show, and whether its own are right.
const COMPARED: &str = r#"
import json, yaml, jsonschema
schema = json.load(open("doorward/values.schema.json"))
values = yaml.safe_load(open("doorward/values.yaml"))

def hidden(schema, values, path):
    for name, inner in schema.get("properties", {}).items():
        if name not in values and path + name != "global":
            yield path + name
        elif isinstance(values.get(name), dict):
            yield from hidden(inner, values[name], path + name + ".")

print(*hidden(schema, values, ""), sep="\n")
print(*("/".join(map(str, wrong.path)) for wrong in jsonschema.Draft7Validator(schema).iter_errors(values)))
"#;

#[tokio::test]
async fn values_yaml_shows_every_value_that_the_chart_takes_and_lacks_only_what_nobody_can_know() {
    let Some(compared) = ran("python", &["-c", COMPARED]).await else { return };
    assert!(compared.status.success(), "{compared:?}");
    let said = String::from_utf8_lossy(&compared.stdout).into_owned();
    let wrong: Vec<&str> = said.split_whitespace().collect();
    assert_eq!(
        wrong,
        ["masterKey/existingSecret", "rootToken/existingSecret", "tls/existingSecret"],
        "{said}"
    );
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
