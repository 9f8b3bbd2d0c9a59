//! `doorward doctor`: the traps that it finds, each by its code, and Python's packages.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use harness::ca::TestCa;
use harness::{Proxy, binary::doorward, within};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::world::HOST;

const PROXY: (&str, &str) = ("https_proxy", "http://agent:none@127.0.0.1:3128");

/// A machine that has these programs and nothing else.
struct Machine(TempDir);

/// What doctor found, and its exit code.
struct Found(Vec<Value>, Option<i32>);

impl Machine {
    fn with(programs: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bin")).unwrap();
        for (name, text) in programs {
            let path = folder.path().join("bin").join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    async fn doctor(&self, vars: &[(&str, &str)]) -> Found {
        let mut command = Command::new(doorward());
        command.arg("--home").arg(self.path().join("home")).args(["doctor", "-o", "json"]);
        command.current_dir(self.path()).env_clear().env("PATH", self.path().join("bin"));
        command.envs(vars.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
        let output = within("doctor", command.output()).await.unwrap();
        let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        Found(found.as_array().unwrap().clone(), output.status.code())
    }
}

impl Found {
    fn named(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|finding| finding["name"] == name)
    }

    /// This is wrong, by this code, and doctor says so with its exit code.
    #[track_caller]
    fn assert_bad(&self, name: &str, code: &str) {
        let is_it = |finding: &&Value| finding["name"] == name && finding["code"] == code;
        let finding =
            self.0.iter().find(is_it).unwrap_or_else(|| panic!("no {code} {name} in {:#?}", self.0));
        assert_eq!(finding["state"], "bad", "{finding}");
        assert!(finding["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{finding}");
        assert_eq!(self.1, Some(7));
    }
}

#[tokio::test]
async fn dw4001_no_proxy_leads_around_the_proxy() {
    let machine = Machine::with(&[]);
    let found = machine.doctor(&[PROXY, ("NO_PROXY", "localhost,.github.com")]).await;
    found.assert_bad("NO_PROXY", "DW4001");
    assert!(found.named("NO_PROXY").unwrap()["detail"].as_str().unwrap().ends_with(": .github.com"));
}

#[tokio::test]
async fn dw4002_a_client_ignores_the_proxy() {
    let machine = Machine::with(&[("java", ""), ("node", "#!/bin/sh\necho v24.1.0\n")]);
    let found = machine.doctor(&[PROXY, ("JAVA_TOOL_OPTIONS", "-Xmx1g")]).await;
    found.assert_bad("java", "DW4002");
    found.assert_bad("node fetch", "DW4002");
    // An old Node ignores it whatever it is told, and a library only its program can tell.
    let python = "#!/bin/sh\necho '{\"aiohttp\":\"3.14.0\"}'\n";
    let machine = Machine::with(&[("node", "#!/bin/sh\necho v20.1.0\n"), ("python3", python)]);
    let found = machine.doctor(&[PROXY, ("NODE_USE_ENV_PROXY", "1")]).await;
    for name in ["node", "python: aiohttp"] {
        let finding = found.named(name).unwrap();
        assert_eq!((&finding["code"], &finding["state"]), (&"DW4002".into(), &"note".into()), "{finding}");
    }
}

#[tokio::test]
async fn dw4003_a_client_reads_lower_case_only() {
    let machine = Machine::with(&[("wget", ""), ("python3", "#!/bin/sh\necho '{\"grpcio\":\"1.85.0\"}'\n")]);
    let found = machine.doctor(&[("HTTPS_PROXY", PROXY.1)]).await;
    found.assert_bad("wget", "DW4003");
    found.assert_bad("python: grpcio", "DW4003");
}

#[tokio::test]
async fn dw4004_a_bundle_lacks_the_systems_roots() {
    let machine = Machine::with(&[("curl", "")]);
    let bundle = machine.path().join("bare.pem");
    std::fs::write(&bundle, TestCa::world().pem()).unwrap();
    let found = machine.doctor(&[PROXY, ("SSL_CERT_FILE", bundle.to_str().unwrap())]).await;
    found.assert_bad("SSL_CERT_FILE", "DW4004");
}

#[tokio::test]
async fn finds_python_packages_that_are_told_of_no_roots() {
    let python =
        "#!/bin/sh\necho '{\"requests\":\"2.34.2\",\"botocore\":\"1.44.0\",\"certifi\":\"2026.1\"}'\n";
    let machine = Machine::with(&[("python3", python)]);
    let bundle = machine.path().join("bundle.pem");
    std::fs::write(&bundle, TestCa::world().pem()).unwrap();
    let found = machine.doctor(&[PROXY, ("AWS_CA_BUNDLE", bundle.to_str().unwrap())]).await;
    found.assert_bad("python: requests", "DW2001");
    assert!(!found.0.iter().any(|finding| finding["name"] == "python: boto3" && finding["code"] == "DW2001"));
    assert!(found.named("python: certifi").is_some() && found.named("python: httpx").is_none());
}

#[tokio::test]
async fn a_python_that_does_not_answer_does_not_hold_doctor_up() {
    let machine = Machine::with(&[("python3", "#!/bin/sh\nexec /bin/sleep 600\n")]);
    let found = machine.doctor(&[]).await;
    let silent = found.named("python3").unwrap();
    assert_eq!(silent["state"], "note", "{silent}");
    assert_eq!(found.1, Some(0));
}

#[tokio::test]
async fn asks_a_real_python_and_imports_nothing_of_the_folder_that_it_is_in() {
    let Some(python) = crate::clients::python() else { return };
    let machine = Machine::with(&[]);
    for module in ["json", "site", "re", "sitecustomize", "requests"] {
        let text = "open('imported', 'w').close()\n";
        std::fs::write(machine.path().join(format!("{module}.py")), text).unwrap();
    }
    let path = python.parent().unwrap().to_str().unwrap();
    let found = machine.doctor(&[("PATH", path), ("PYTHONPATH", machine.path().to_str().unwrap())]).await;
    for name in
        ["python: requests", "python: httpx", "python: grpcio", "python: websockets", "python: certifi"]
    {
        assert!(found.named(name).is_some(), "{name} is not in {:#?}", found.0);
    }
    assert!(!machine.path().join("imported").exists());
}

#[tokio::test]
async fn what_a_proxy_publishes_holds_no_trap() {
    let proxy = Proxy::builder().bearer(HOST).start().await;
    let machine = Machine::with(&[
        ("curl", ""),
        ("git", ""),
        ("wget", ""),
        ("node", "#!/bin/sh\necho v24.1.0\n"),
        (
            "python3",
            "#!/bin/sh\necho '{\"requests\":\"2.34.2\",\"grpcio\":\"1.85.0\",\"botocore\":\"1.44.0\"}'\n",
        ),
    ]);
    let published = proxy.path("publish");
    let found = machine.doctor(&[("DOORWARD_PUBLISH", published.to_str().unwrap())]).await;
    let bad: Vec<_> = found.0.iter().filter(|finding| finding["state"] == "bad").collect();
    assert!(bad.is_empty() && found.1 == Some(0), "{bad:#?}");
}
