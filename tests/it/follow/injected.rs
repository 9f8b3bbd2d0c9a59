//! The sidecar that `doorward inject --control` puts into a pod, run as the pod would: its arguments, its mounts and its probes are taken out
//! of the manifest, and whatever they lead to has to serve the agent's containers by the environment that those are given.

use std::path::PathBuf;
use std::process::Stdio;

use harness::agent::Via;
use harness::binary::doorward;
use harness::ca::TestCa;
use harness::sweep::Sweep;
use harness::within::{eventually, until};
use harness::{Agent, Origin, Proxy, canary, within};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, Command};

use super::identity::World;
use super::team::{AUTHORITY, SOON, Team};
use crate::deploy::inject::inject;
use crate::world::HOST;

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: agent}
spec: {serviceAccountName: coder, containers: [{name: agent, image: 'agent:1'}]}
";

/// What the cluster would have in its Secrets, ConfigMaps and projected tokens, by their entries.
struct Entries<'a> {
    token: &'a str,
    roots: String,
}

/// A running sidecar of a pod.
struct Pod {
    folder: tempfile::TempDir,
    child: Child,
    ready: Value,
    spec: Value,
}

fn array<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

impl Pod {
    /// Injects the sidecar with these flags and starts it before this origin.
    async fn start(flags: &[&str], entries: &Entries<'_>, origin: &Origin) -> Self {
        let printed = inject(POD, &[flags, &["-o", "json"]].concat()).await.unwrap();
        let spec = serde_json::from_str::<Value>(&printed).unwrap()["items"][0]["spec"].clone();
        let sidecar = &spec["initContainers"][0];
        assert_eq!(sidecar["name"], "doorward");
        let folder = tempfile::tempdir().unwrap();
        let mut words: Vec<String> =
            array(sidecar, "/args").iter().map(|word| word.as_str().unwrap().to_owned()).collect();
        for mount in array(sidecar, "/volumeMounts") {
            let volume = array(&spec, "/volumes").iter().find(|volume| volume["name"] == mount["name"]);
            let (place, here) = (mount["mountPath"].as_str().unwrap(), within_pod(&folder, mount));
            std::fs::create_dir_all(&here).unwrap();
            fill(&here, volume.expect("the mounted volume"), entries);
            let here = here.to_str().unwrap();
            // A path of its own, not one that begins alike.
            for word in &mut words {
                if *word == place || word.starts_with(&format!("{place}/")) {
                    *word = word.replacen(place, here, 1);
                }
            }
        }
        // Ports of ours: other tests run beside.
        for word in words.iter_mut().filter(|word| word.starts_with("127.0.0.1:")) {
            "127.0.0.1:0".clone_into(word);
        }
        let roots = folder.path().join("origins.pem");
        std::fs::write(&roots, TestCa::world().pem()).unwrap();
        let file = |name: &str| std::fs::File::create(folder.path().join(name)).unwrap();
        let mut command = Command::new(doorward());
        command.args(&words).env_clear().env("HOME", "/proc/nowhere").env("DOORWARD_UPSTREAM_CA", roots);
        let address = origin.address();
        command.env("DOORWARD_RESOLVE", format!("{HOST}:443:{}:{}", address.ip(), address.port()));
        command
            .env("DOORWARD_ALLOW_CIDR", "127.0.0.0/8")
            .env("DOORWARD_READY_FILE", folder.path().join("ready"));
        command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr")).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let ready = eventually("the sidecar is ready", SOON, || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("{status}: {}", std::fs::read_to_string(folder.path().join("stderr")).unwrap());
            }
            serde_json::from_slice(&std::fs::read(folder.path().join("ready")).ok()?).ok()
        })
        .await;
        Self { folder, child, ready, spec }
    }

    /// What the agent's container is told.
    fn variable(&self, name: &str) -> &str {
        let env = array(&self.spec, "/containers/0/env");
        env.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{name}"))["value"]
            .as_str()
            .unwrap()
    }

    /// The agent, as its container's environment has it: by that address, with what stands before the `@`, trusting that file.
    fn agent(&self) -> Agent {
        let (proof, address) =
            self.variable("HTTPS_PROXY").strip_prefix("http://").unwrap().split_once('@').unwrap();
        assert_eq!(address, "127.0.0.1:3128");
        let mount = &array(&self.spec, "/containers/0/volumeMounts")[0];
        let place = mount["mountPath"].as_str().unwrap();
        let ca = self.variable("NODE_EXTRA_CA_CERTS").strip_prefix(place).unwrap().trim_start_matches('/');
        let ca = std::fs::read_to_string(within_pod(&self.folder, mount).join(ca)).unwrap();
        let (user, password) = proof.split_once(':').unwrap();
        let here = self.ready["proxy"].as_str().unwrap().strip_prefix("http://").unwrap();
        Agent::new(Via::Tcp(here.parse().unwrap()), ca, Sweep::default()).with_basic(user, password)
    }

    /// How the sidecar's probes end.
    async fn probes(&self) -> Vec<(&'static str, bool)> {
        let mut found = Vec::new();
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            let command = array(&self.spec, &format!("/initContainers/0/{probe}/exec/command"));
            assert_eq!(command[0], "/doorward", "{probe}");
            let mut asked = Command::new(doorward());
            asked.args(command[1..].iter().map(|word| word.as_str().unwrap()));
            asked.env_clear().env("DOORWARD_ADMIN", self.ready["admin"].as_str().unwrap());
            let answer = within(probe, asked.output()).await.unwrap();
            found.push((probe, answer.status.success()));
        }
        found
    }

    async fn shows(&self, origin: &Origin, value: &str) {
        let wanted = format!("Bearer {value}");
        until("the value at the origin", SOON, async || {
            let reply = self.agent().get(HOST, "/").await;
            reply.status == 200 && origin.last().headers_named("authorization") == [wanted.as_str()]
        })
        .await;
    }

    /// Ends it, and returns what it wrote: records on the one, the log on the other.
    async fn stop(mut self) -> (String, String) {
        let pid = Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        assert!(within("the sidecar ends", self.child.wait()).await.unwrap().success());
        let read = |name: &str| std::fs::read_to_string(self.folder.path().join(name)).unwrap();
        (read("stdout"), read("stderr"))
    }
}

/// Where a mount is here.
fn within_pod(folder: &tempfile::TempDir, mount: &Value) -> PathBuf {
    folder.path().join("pod").join(mount["mountPath"].as_str().unwrap().trim_start_matches('/'))
}

/// What the kubelet would put into a volume.
fn fill(here: &std::path::Path, volume: &Value, entries: &Entries<'_>) {
    let listed = ["/secret/items", "/configMap/items"].iter().flat_map(|items| array(volume, items));
    let listed = listed.map(|item| {
        let content = match item["key"].as_str().unwrap() {
            "token" => entries.token,
            "ca.crt" => &entries.roots,
            other => panic!("nobody makes an entry `{other}`"),
        };
        (item["path"].as_str().unwrap(), content)
    });
    let projected = array(volume, "/projected/sources").iter().map(|source| {
        assert_eq!(source["serviceAccountToken"]["audience"], harness::cluster::AUDIENCE);
        (source["serviceAccountToken"]["path"].as_str().unwrap(), entries.token)
    });
    for (path, content) in listed.chain(projected) {
        std::fs::write(here.join(path), content).unwrap();
    }
}

/// Flags of a sidecar of this team, and what the cluster has for it.
fn followed<'a>(team: &'a Team, token: &'a str) -> (Vec<&'a str>, Entries<'a>) {
    let flags = vec!["--control", team.server.url(), "--control-ca-config", "roots", "--max-stale", "1h"];
    (flags, Entries { token, roots: std::fs::read_to_string(team.server.ca()).unwrap() })
}

/// The journey of each: secrets by the server, a rotation, the end of the agent.
async fn serves(pod: Pod, team: &Team, origin: &Origin, token: &str) {
    let probes = ["startupProbe", "readinessProbe", "livenessProbe"].map(|probe| (probe, true));
    assert_eq!(pod.probes().await, probes);
    pod.shows(origin, &team.value).await;
    let fresh = team.rotate("pat").await;
    pod.shows(origin, &fresh).await;
    team.revoke("coder").await;
    until("the agent to be nobody", SOON, async || pod.agent().connect(AUTHORITY).await.status == 407).await;
    let (records, log) = pod.stop().await;
    let records: Vec<Value> = records.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let is_allowed =
        |line: &&Value| line["verdict"] == "allow" && line["agent"] == "coder" && line["host"] == HOST;
    assert!(records.iter().any(|line| is_allowed(&line)), "{records:?}");
    let all = format!("{records:?}{log}");
    for secret in [&team.value, &fresh, token] {
        assert!(canary::search(all.as_bytes(), secret).is_none());
    }
}

#[tokio::test]
async fn the_injected_sidecar_serves_its_pod_by_the_token_in_a_secret() {
    let (team, origin) = (Team::new().await, Origin::start(HOST).await);
    let (flags, entries) = followed(&team, &team.token);
    let pod =
        Pod::start(&[&flags[..], &["--control-token-secret", "coder"]].concat(), &entries, &origin).await;
    serves(pod, &team, &origin, &team.token).await;
}

#[tokio::test]
async fn the_injected_sidecar_serves_its_pod_by_the_token_of_its_service_account() {
    let (world, origin) = (World::new().await, Origin::start(HOST).await);
    let token = world.token(3600);
    let (flags, entries) = followed(&world.team, &token);
    let pod = Pod::start(&flags, &entries, &origin).await;
    serves(pod, &world.team, &origin, &token).await;
}

#[tokio::test]
async fn without_a_token_of_the_agent_a_sidecar_listens_on_loopback_alone_and_only_beside_a_server() {
    let team = Team::new().await;
    for (listen, words) in [
        ("0.0.0.0:0", "off loopback every agent needs a token"),
        ("tls:127.0.0.1:0", "behind TLS every agent needs"),
    ] {
        let sidecar = team.sidecar(team.server.url(), team.server.ca().to_str().unwrap(), &team.token);
        let Err(failure) = sidecar.listen(&[listen]).arg("--no-agent-token").try_start().await else {
            panic!("{listen}")
        };
        assert!(failure.code == Some(1) && failure.stderr.contains(words), "{listen}: {}", failure.stderr);
    }
    let alone = Proxy::builder().no_token().arg("--no-agent-token").try_start().await;
    let Err(failure) = alone else { panic!("it started") };
    assert!(failure.code == Some(2) && failure.stderr.contains("--control"), "{}", failure.stderr);
    let sidecar = team.sidecar(team.server.url(), team.server.ca().to_str().unwrap(), &team.token);
    let both =
        sidecar.tokens("0123456789abcdef0\n", "0123456789abcdef0").arg("--no-agent-token").try_start().await;
    let Err(failure) = both else { panic!("it started") };
    assert!(failure.code == Some(2) && failure.stderr.contains("--agent-token-file"), "{}", failure.stderr);
    // What it publishes for programs that read it says the same, and Java is led in.
    let sidecar = team.sidecar(team.server.url(), team.server.ca().to_str().unwrap(), &team.token);
    let proxy = sidecar.arg("--no-agent-token").start().await;
    let env = proxy.agent_env();
    let value = |name: &str| env.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
    assert!(
        value("https_proxy").is_some_and(|url| url.starts_with("http://agent:none@127.0.0.1:")),
        "{env:?}"
    );
    assert!(value("JAVA_TOOL_OPTIONS").is_some() && proxy.path("publish/truststore.p12").exists(), "{env:?}");
}
