//! A pod with the sidecar in it.

use serde_json::{Map, Value, json};

use super::confine;
use super::container::{NAME, PUBLIC, Sidecar};
use super::follow::Proof;

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
    #[error(
        "container `{container}` is given a token for `{audience}`, by which the server would take it for the sidecar"
    )]
    TokenShared { container: String, audience: String },
    #[error("it names no ServiceAccount, by which the server could know it (serviceAccountName)")]
    NoAccount,
    #[error("container `{0}` runs as the sidecar's user 65532; give it another one (runAsUser)")]
    SameUser(String),
    #[error(
        "it is not said which user container `{0}` runs as, and it may be the sidecar's, 65532 (runAsUser)"
    )]
    UnknownUser(String),
    #[error("container `{0}` could become the sidecar's user (allowPrivilegeEscalation)")]
    Escalation(String),
    #[error("container `{container}` could get around the rules with `{capability}` (capabilities.add)")]
    Capability { container: String, capability: String },
    #[error("container `{0}` is privileged: it can read whatever the machine has, the sidecar's secrets too")]
    Privileged(String),
    #[error("a pod on its host's network shares its loopback with others (hostNetwork)")]
    HostNetwork,
    #[error(
        "containers that share one process namespace can read each other's memory (shareProcessNamespace, hostPID)"
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
        let initial = list(&mut changed, "initContainers")?;
        for container in initial.iter_mut() {
            self.lead(container)?;
        }
        if self.nft_image.is_some() {
            for kind in ["containers", "initContainers"] {
                for container in list(&mut changed, kind)? {
                    confine::confine(container.as_object_mut().ok_or(Refused::Form(kind))?)?;
                }
            }
        }
        let first = self.nft_image.map(confine::confiner).into_iter().chain([self.container()]);
        let initial = list(&mut changed, "initContainers")?;
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
        if is_true(pod.get("shareProcessNamespace")) || is_true(pod.get("hostPID")) {
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
        let audience = self.followed.and_then(|followed| match followed.proof {
            Proof::Secret(_) => None,
            Proof::Account { audience } => Some(audience),
        });
        let account = pod.get("serviceAccountName").and_then(Value::as_str).filter(|name| !name.is_empty());
        if audience.is_some() && account.is_none() {
            return Err(Refused::NoAccount);
        }
        let user_of_all = pod.get("securityContext").and_then(|context| context.get("runAsUser"));
        for container in containers() {
            let own = || name(container).to_owned();
            if is_true(container.pointer("/securityContext/privileged")) {
                return Err(Refused::Privileged(own()));
            }
            if self.nft_image.is_some() {
                confine::refuse(container, user_of_all)?;
            }
            if let Some(secret) = self.own_secrets().find(|secret| is_given(pod, container, secret)) {
                return Err(Refused::SecretShared { container: own(), secret: secret.to_owned() });
            }
            if let Some(audience) = audience.filter(|audience| is_given_token(pod, container, audience)) {
                return Err(Refused::TokenShared { container: own(), audience: audience.to_owned() });
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
    by_variable || by_all || all(pod, "volumes").filter(holds).any(|volume| mounts(container, volume))
}

/// Whether a container sees a ServiceAccount's token that is meant for whoever the sidecar shows its own to.
fn is_given_token(pod: &Spec, container: &Value, audience: &str) -> bool {
    let is_for = |source: &Value| {
        source.pointer("/serviceAccountToken/audience").and_then(Value::as_str) == Some(audience)
    };
    let holds = |volume: &&Value| {
        volume
            .pointer("/projected/sources")
            .and_then(Value::as_array)
            .is_some_and(|all| all.iter().any(is_for))
    };
    all(pod, "volumes").filter(holds).any(|volume| mounts(container, volume))
}

fn mounts(container: &Value, volume: &Value) -> bool {
    ["volumeMounts", "volumeDevices"]
        .iter()
        .any(|kind| entries(container, kind).any(|mount| name(mount) == name(volume)))
}

pub(super) fn is_true(value: Option<&Value>) -> bool {
    value.and_then(Value::as_bool) == Some(true)
}

pub(super) fn name(value: &Value) -> &str {
    value.get("name").and_then(Value::as_str).unwrap_or_default()
}

fn all<'a>(map: &'a Spec, key: &str) -> impl Iterator<Item = &'a Value> {
    map.get(key).and_then(Value::as_array).into_iter().flatten()
}

pub(super) fn entries<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// A list that is there, or an empty one.
pub(super) fn list<'a>(map: &'a mut Spec, key: &'static str) -> Result<&'a mut Vec<Value>, Refused> {
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
            followed: None,
            containers,
            environment: vec![("HTTPS_PROXY".into(), "http://agent:none@127.0.0.1:3128".into())],
            nft_image: None,
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
            (json!({"hostPID": true, "containers": [{"name": "a"}]}), Refused::SharedProcesses),
            (
                json!({"containers": [{"name": "a"}], "initContainers": [{"name": "i", "securityContext": {"privileged": true}}]}),
                Refused::Privileged("i".into()),
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
        let confining = Sidecar { nft_image: Some("nft:1"), ..sidecar(&secrets, &only) };
        let refused = confining.put_into(of(&mut document).unwrap()).unwrap_err();
        assert_eq!(refused, Refused::UnknownUser("agent".into()));
        of(&mut document).unwrap().insert("securityContext".into(), json!({"runAsUser": 1000}));
        confining.put_into(of(&mut document).unwrap()).unwrap();
        let spec = document.pointer("/spec/jobTemplate/spec/template/spec").unwrap();
        let names: Vec<&str> = entries(spec, "initContainers").map(name).collect();
        assert_eq!(names, ["doorward-confine", "doorward", "clone"]);
        let text = |pointer: &str| spec.pointer(pointer).map(ToString::to_string).unwrap_or_default();
        assert!(text("/initContainers/1").contains("/run/doorward/secrets/github-pat"));
        assert!(text("/initContainers/2").contains("HTTPS_PROXY"));
        assert!(text("/containers/0").contains("HTTPS_PROXY") && !text("/containers/0").contains("secret"));
        // No agent, but confined all the same.
        assert!(!text("/containers/1").contains("HTTPS_PROXY"));
        for place in ["/initContainers/2", "/containers/0", "/containers/1"] {
            assert!(
                text(&format!("{place}/securityContext/capabilities/drop")).contains("NET_RAW"),
                "{place}"
            );
        }
    }

    #[test]
    fn refuses_to_let_another_container_show_the_server_what_the_sidecar_shows() {
        let refused = |flags: &[&str], spec: Value| {
            let parsed = <Flags as clap::Parser>::try_parse_from(["inject"].iter().chain(flags)).unwrap();
            let followed = parsed.follow.followed().unwrap();
            let mut document = pod(spec);
            let following = Sidecar { followed, ..sidecar(&[], &[]) };
            following.put_into(of(&mut document).unwrap()).err()
        };
        let by_secret = ["--control", "https://vault.example", "--control-token-secret", "bot"];
        let by_account = ["--control", "https://vault.example", "--control-audience", "team"];
        let spec = |audience: &str| {
            json!({
                "serviceAccountName": "bot",
                "volumes": [{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"audience": audience, "path": "t"}}]}}],
                "containers": [{"name": "a", "volumeMounts": [{"name": "t", "mountPath": "/t"}]}],
            })
        };
        let shared = Refused::TokenShared { container: "a".into(), audience: "team".into() };
        assert_eq!(refused(&by_account, spec("team")), Some(shared));
        assert_eq!(refused(&by_account, spec("other")), None);
        assert_eq!(refused(&by_account, json!({"containers": [{"name": "a"}]})), Some(Refused::NoAccount));
        let given = json!({"containers": [{"name": "a", "envFrom": [{"secretRef": {"name": "bot"}}]}]});
        let shared = Refused::SecretShared { container: "a".into(), secret: "bot".into() };
        assert_eq!(refused(&by_secret, given), Some(shared));
    }

    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        follow: super::super::follow::FollowArgs,
    }

    #[test]
    fn other_documents_are_no_workloads() {
        for mut document in [json!({"kind": "Service", "spec": {}}), json!({}), json!([])] {
            assert!(of(&mut document).is_none());
        }
    }
}
