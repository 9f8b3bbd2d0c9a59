//! `--enforce nftables`: the rules load and hold, in a network namespace of the test's.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use super::inject::inject;
use super::installed;

/// What the script ends with where the kernel or the container around us allows no namespaces or links.
const NO_NAMESPACES: i32 = 3;
/// Some twenty programs are started, and a packet that goes nowhere is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
/// What runtimes give to root of a container that asks for nothing (containerd's and Docker's default).
const ROOTS: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SYS_CHROOT",
    "MKNOD",
    "AUDIT_WRITE",
    "SETFCAP",
];

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: agent}
spec: {containers: [{name: agent, image: 'agent:1', securityContext: {runAsUser: 0}}]}
";

/// As setpriv has them.
fn capabilities<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| format!(",+{}", name.to_ascii_lowercase())).collect()
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[tokio::test]
async fn only_the_sidecars_user_leaves_a_pod_that_is_confined_whatever_root_in_it_tries() {
    for tool in ["/usr/sbin/nft", "/usr/sbin/ip"] {
        if installed(tool.into()).is_none() {
            return;
        }
    }
    assert!(rustix::process::geteuid().is_root(), "a network of our own needs root");
    let flags = ["--enforce", "nftables", "--enforce-image", "nft:1", "-o", "json"];
    let printed: Value = serde_json::from_str(&inject(POD, &flags).await.unwrap()).unwrap();
    let pod = &printed["items"][0]["spec"];
    let confiner = &pod["initContainers"][0];
    assert_eq!(texts(&confiner["command"])[..2], ["sh", "-c"], "{confiner}");
    assert_eq!(
        (&confiner["env"][0]["name"], &confiner["securityContext"]["runAsUser"]),
        (&"RULES".into(), &0.into())
    );
    let added = texts(&confiner["securityContext"]["capabilities"]["add"]);
    let agents = &pod["containers"][0]["securityContext"];
    assert_eq!(agents["allowPrivilegeEscalation"], false);
    let dropped = texts(&agents["capabilities"]["drop"]);
    let left = ROOTS.into_iter().filter(|one| !dropped.contains(one));

    let scratch = tempfile::tempdir().unwrap();
    std::fs::set_permissions(&scratch, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let at = |name: &str| format!("{}/it/deploy/{name}", env!("CARGO_MANIFEST_DIR"));
    // Other users read it: the repository may lie where they may not go.
    let reach = scratch.path().join("reach");
    std::fs::copy(at("nftables.py"), &reach).unwrap();
    let namespaces = ["--net", "--mount", "--propagation", "private"];
    if !Command::new("unshare").args(namespaces).arg("true").status().await.unwrap().success() {
        eprintln!("skipped: no namespaces here");
        return;
    }
    let mut command = Command::new("unshare");
    command.args(namespaces).arg(at("nftables.sh")).arg(reach).current_dir(&scratch).env_clear();
    command.env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").env("COMMAND", texts(&confiner["command"])[2]);
    command
        .env("RULES", confiner["env"][0]["value"].as_str().unwrap())
        .env("CONFINER_CAPS", capabilities(added));
    command.env("AGENT_CAPS", capabilities(left)).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("the script ends").unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = format!("{said}{}", String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(NO_NAMESPACES) {
        eprintln!("skipped: {told}");
        return;
    }
    assert!(output.status.success(), "{told}");
    let expected = "before: yes yes\n\
        agent out: no no no no\n\
        sidecar out: yes yes yes yes\n\
        agent to the proxy: yes\n\
        world to the agent: yes\n\
        root out: no\n\
        root by packets: no\n\
        root as the sidecar: no\n\
        root by a file: no\n\
        rules left: 1\n";
    assert_eq!(said, expected, "{told}");
}
