//! A pod with the sidecar in it.

use serde_json::{Map, Value, json};

/// Where the sidecar listens: the pod's loopback, which its containers share.
pub(super) const ADDRESS: &str = "127.0.0.1:3128";
/// Where the agent's containers find the CA and the bundle.
pub(super) const PUBLIC: &str = "/run/doorward/public";
const PROVIDERS: &str = "/etc/doorward/providers";
const SECRETS: &str = "/run/doorward/secrets";
/// The sidecar's container and the prefix of its volumes.
const NAME: &str = "doorward";
/// The user of the image.
const USER: u64 = 65_532;

/// Only the sidecar's user leaves the pod; the rest reaches loopback alone. Answers to what came in pass, so that probes work.
/// Names are looked up by the sidecar.
const RULES: &str = "table inet doorward {
  chain output {
    type filter hook output priority 0; policy drop;
    oifname lo accept
    ct state established,related accept
    meta skuid 65532 accept
    reject
  }
}
";

/// Why a workload is not changed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("has no containers")]
    NoContainers,
    #[error("there is a container or volume `{0}` already")]
    Taken(String),
    #[error("container `{0}` does not exist")]
    NoContainer(String),
    #[error("container `{container}` is given the secret `{secret}`, which only the sidecar may hold")]
    SecretShared { container: String, secret: String },
    #[error("container `{container}` sets `{variable}` itself; remove it there")]
    VariableSet { container: String, variable: String },
    #[error("container `{0}` runs as the sidecar's user 65532; give it another one (runAsUser)")]
    SameUser(String),
    #[error("a pod on its host's network shares its loopback with others (hostNetwork)")]
    HostNetwork,
    #[error(
        "containers that share one process namespace can read each other's memory (shareProcessNamespace)"
    )]
    SharedProcesses,
    #[error("`{0}` is not of the form that Kubernetes has there")]
    Form(&'static str),
}

/// The pod's spec within a workload; `None`: it is none.
pub(super) fn of(document: &mut Value) -> Option<&mut Map<String, Value>> {
    let path = match document.get("kind")?.as_str()? {
        "Pod" => "/spec",
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" => "/spec/template/spec",
        "CronJob" => "/spec/jobTemplate/spec/template/spec",
        _ => return None,
    };
    document.pointer_mut(path)?.as_object_mut()
}

/// What goes in.
#[derive(Debug)]
pub(super) struct Sidecar<'a> {
    pub(super) image: &'a str,
    pub(super) provider_config: Option<&'a str>,
    pub(super) secrets: &'a [String],
    /// Empty: all.
    pub(super) containers: &'a [String],
    pub(super) environment: Vec<(String, String)>,
    /// The image of the init container that confines the pod.
    pub(super) nft_image: Option<&'a str>,
}

type Spec = Map<String, Value>;

impl Sidecar<'_> {
    /// Puts the sidecar in, or leaves the pod as it was.
    pub(super) fn put_into(&self, pod: &mut Spec) -> Result<(), Refused> {
        let mut changed = pod.clone();
        self.refuse(&changed)?;
        let agents = list(&mut changed, "containers")?;
        for container in agents.iter_mut().filter(|container| self.is_agent(container)) {
            self.lead(container)?;
        }
        let mut first = vec![self.container()];
        first.splice(0..0, self.nft_image.map(confiner));
        let initial = list(&mut changed, "initContainers")?;
        for container in initial.iter_mut() {
            self.lead(container)?;
        }
        initial.splice(0..0, first);
        list(&mut changed, "volumes")?.extend(self.volumes());
        *pod = changed;
        Ok(())
    }

    fn is_agent(&self, container: &Value) -> bool {
        self.containers.is_empty() || self.containers.iter().any(|own| own == name(container))
    }

    fn refuse(&self, pod: &Spec) -> Result<(), Refused> {
        let containers = || all(pod, "containers").chain(all(pod, "initContainers"));
        if all(pod, "containers").next().is_none() {
            return Err(Refused::NoContainers);
        }
        if is_true(pod.get("hostNetwork")) {
            return Err(Refused::HostNetwork);
        }
        if is_true(pod.get("shareProcessNamespace")) {
            return Err(Refused::SharedProcesses);
        }
        for taken in containers().chain(all(pod, "volumes")).map(name) {
            if taken == NAME || taken.starts_with("doorward-") {
                return Err(Refused::Taken(taken.to_owned()));
            }
        }
        for wanted in self.containers {
            if !all(pod, "containers").any(|container| name(container) == wanted) {
                return Err(Refused::NoContainer(wanted.clone()));
            }
        }
        let user_of_all = pod.get("securityContext").and_then(|context| context.get("runAsUser"));
        for container in containers() {
            let own = container.pointer("/securityContext/runAsUser").or(user_of_all);
            if self.nft_image.is_some() && own.and_then(Value::as_u64) == Some(USER) {
                return Err(Refused::SameUser(name(container).to_owned()));
            }
            for secret in self.secrets {
                if is_given(pod, container, secret) {
                    let container = name(container).to_owned();
                    return Err(Refused::SecretShared { container, secret: secret.clone() });
                }
            }
        }
        Ok(())
    }

    /// The environment that leads a container's clients to the sidecar, and the public files.
    fn lead(&self, container: &mut Value) -> Result<(), Refused> {
        let own = name(container).to_owned();
        let container = container.as_object_mut().ok_or(Refused::Form("containers"))?;
        let env = list(container, "env")?;
        let set = |variable: &str| env.iter().any(|entry| name(entry) == variable);
        if let Some((variable, _)) = self.environment.iter().find(|(variable, _)| set(variable)) {
            return Err(Refused::VariableSet { container: own, variable: variable.clone() });
        }
        env.extend(self.environment.iter().map(|(name, value)| json!({"name": name, "value": value})));
        let mounts = list(container, "volumeMounts")?;
        mounts.push(json!({"name": "doorward-public", "mountPath": PUBLIC, "readOnly": true}));
        Ok(())
    }

    fn container(&self) -> Value {
        let mut args = vec!["proxy", "--listen", ADDRESS, "--admin", "127.0.0.1:3129", "--publish", PUBLIC];
        let mut mounts = vec![json!({"name": "doorward-public", "mountPath": PUBLIC})];
        if self.provider_config.is_some() {
            args.extend(["--providers", PROVIDERS]);
            mounts.push(json!({"name": "doorward-providers", "mountPath": PROVIDERS, "readOnly": true}));
        }
        if !self.secrets.is_empty() {
            args.extend(["--secrets", SECRETS]);
        }
        mounts.extend(self.secrets.iter().enumerate().map(|(number, secret)| {
            json!({"name": secret_volume(number), "mountPath": format!("{SECRETS}/{secret}"), "readOnly": true})
        }));
        args.extend(["--audit", "-", "--log-format", "json"]);
        // `health` asks the admin port from inside: the kubelet could reach it only if the whole network could.
        let probe = |failures: u32| json!({"exec": {"command": ["/doorward", "health"]}, "periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": failures});
        json!({
            "name": NAME,
            "image": self.image,
            "restartPolicy": "Always",
            "args": args,
            "startupProbe": probe(30),
            "readinessProbe": probe(3),
            "securityContext": {
                "runAsUser": USER, "runAsGroup": USER, "runAsNonRoot": true, "readOnlyRootFilesystem": true,
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
            "volumeMounts": mounts,
        })
    }

    fn volumes(&self) -> Vec<Value> {
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
        volumes
    }
}

/// A Secret's name may be longer than a volume's.
fn secret_volume(number: usize) -> String {
    format!("doorward-secret-{number}")
}

/// Runs before everything else, the sidecar as well.
fn confiner(image: &str) -> Value {
    json!({
        "name": "doorward-confine",
        "image": image,
        "command": ["sh", "-c", "printf %s \"$RULES\" | nft -f -"],
        "env": [{"name": "RULES", "value": RULES}],
        "securityContext": {
            "runAsUser": 0, "runAsNonRoot": false, "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}, "seccompProfile": {"type": "RuntimeDefault"},
        },
    })
}

/// Whether a container sees a Kubernetes Secret: by a variable, by all of its entries, or by a volume.
fn is_given(pod: &Spec, container: &Value, secret: &str) -> bool {
    let is = |value: Option<&Value>| value.and_then(Value::as_str) == Some(secret);
    let by_variable =
        entries(container, "env").any(|entry| is(entry.pointer("/valueFrom/secretKeyRef/name")));
    let by_all = entries(container, "envFrom").any(|entry| is(entry.pointer("/secretRef/name")));
    let holds = |volume: &&Value| {
        is(volume.pointer("/secret/secretName"))
            || volume
                .pointer("/projected/sources")
                .and_then(Value::as_array)
                .is_some_and(|sources| sources.iter().any(|source| is(source.pointer("/secret/name"))))
    };
    let mounted = |volume: &Value| {
        ["volumeMounts", "volumeDevices"]
            .iter()
            .any(|kind| entries(container, kind).any(|mount| name(mount) == name(volume)))
    };
    by_variable || by_all || all(pod, "volumes").filter(holds).any(mounted)
}

fn is_true(value: Option<&Value>) -> bool {
    value.and_then(Value::as_bool) == Some(true)
}

fn name(value: &Value) -> &str {
    value.get("name").and_then(Value::as_str).unwrap_or_default()
}

fn all<'a>(map: &'a Spec, key: &str) -> impl Iterator<Item = &'a Value> {
    map.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn entries<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// A list that is there, or an empty one.
fn list<'a>(map: &'a mut Spec, key: &'static str) -> Result<&'a mut Vec<Value>, Refused> {
    let value = map.entry(key).or_insert_with(|| json!([]));
    if value.is_null() {
        *value = json!([]);
    }
    value.as_array_mut().ok_or(Refused::Form(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sidecar<'a>(secrets: &'a [String], containers: &'a [String]) -> Sidecar<'a> {
        Sidecar {
            image: "doorward:1",
            provider_config: Some("rules"),
            secrets,
            containers,
            environment: vec![("HTTPS_PROXY".into(), "http://agent:none@127.0.0.1:3128".into())],
            nft_image: Some("nft:1"),
        }
    }

    fn pod(spec: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": spec})
    }

    #[test]
    fn refuses_what_would_give_the_agent_a_secret_or_a_way_out_and_changes_nothing() {
        let secrets = ["github-pat".to_owned()];
        let with = |extra: Value| {
            let mut container = json!({"name": "agent", "image": "a"});
            container.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            json!({
                "containers": [container],
                "volumes": [
                    {"name": "v", "secret": {"secretName": "github-pat"}},
                    {"name": "p", "projected": {"sources": [{"secret": {"name": "github-pat"}}]}},
                ],
            })
        };
        let shared = Refused::SecretShared { container: "agent".into(), secret: "github-pat".into() };
        for (spec, why) in [
            (json!({}), Refused::NoContainers),
            (json!({"containers": []}), Refused::NoContainers),
            (json!({"hostNetwork": true, "containers": [{"name": "a"}]}), Refused::HostNetwork),
            (json!({"shareProcessNamespace": true, "containers": [{"name": "a"}]}), Refused::SharedProcesses),
            (json!({"containers": [{"name": "doorward"}]}), Refused::Taken("doorward".into())),
            (
                json!({"containers": [{"name": "a"}], "volumes": [{"name": "doorward-public"}]}),
                Refused::Taken("doorward-public".into()),
            ),
            (
                json!({"containers": [{"name": "a", "securityContext": {"runAsUser": 65532}}]}),
                Refused::SameUser("a".into()),
            ),
            (
                json!({"securityContext": {"runAsUser": 65532}, "containers": [{"name": "a"}]}),
                Refused::SameUser("a".into()),
            ),
            (
                with(json!({"env": [{"name": "HTTPS_PROXY", "value": "http://other"}]})),
                Refused::VariableSet { container: "agent".into(), variable: "HTTPS_PROXY".into() },
            ),
            (
                with(
                    json!({"env": [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "github-pat", "key": "token"}}}]}),
                ),
                Refused::SecretShared { container: "agent".into(), secret: "github-pat".into() },
            ),
            (
                with(json!({"envFrom": [{"secretRef": {"name": "github-pat"}}]})),
                Refused::SecretShared { container: "agent".into(), secret: "github-pat".into() },
            ),
            (
                with(json!({"volumeMounts": [{"name": "p", "mountPath": "/p"}]})),
                Refused::SecretShared { container: "agent".into(), secret: "github-pat".into() },
            ),
            (with(json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]})), shared),
        ] {
            let mut document = pod(spec);
            let before = document.clone();
            let refused = sidecar(&secrets, &[]).put_into(of(&mut document).unwrap()).unwrap_err();
            assert_eq!(refused, why, "{before}");
            assert_eq!(document, before);
        }
        let mut document = pod(json!({"containers": [{"name": "a"}]}));
        let refused = sidecar(&[], &["b".to_owned()]).put_into(of(&mut document).unwrap()).unwrap_err();
        assert_eq!(refused, Refused::NoContainer("b".into()));
    }

    #[test]
    fn puts_the_sidecar_before_all_others_and_the_secrets_into_it_alone() {
        let secrets = ["github-pat".to_owned()];
        let mut document = json!({"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": {"spec": {
            "initContainers": [{"name": "clone"}],
            "containers": [{"name": "agent"}, {"name": "other"}],
        }}}}}});
        let only = ["agent".to_owned()];
        sidecar(&secrets, &only).put_into(of(&mut document).unwrap()).unwrap();
        let spec = document.pointer("/spec/jobTemplate/spec/template/spec").unwrap();
        let names: Vec<&str> = entries(spec, "initContainers").map(name).collect();
        assert_eq!(names, ["doorward-confine", "doorward", "clone"]);
        let text = |pointer: &str| spec.pointer(pointer).map(ToString::to_string).unwrap_or_default();
        assert!(text("/initContainers/1").contains("/run/doorward/secrets/github-pat"));
        assert!(text("/initContainers/2").contains("HTTPS_PROXY"));
        assert!(text("/containers/0").contains("HTTPS_PROXY") && !text("/containers/0").contains("secret"));
        assert_eq!(text("/containers/1"), r#"{"name":"other"}"#);
    }

    #[test]
    fn other_documents_are_no_workloads() {
        for mut document in [json!({"kind": "Service", "spec": {}}), json!({}), json!([])] {
            assert!(of(&mut document).is_none());
        }
    }
}
