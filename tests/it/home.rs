//! A developer's home, and `doorward run` in it.

use std::path::Path;
use std::process::Stdio;

use harness::ca::TestCa;
use harness::{Origin, binary::doorward, canary, within};
use tempfile::TempDir;
use tokio::process::Command;

use crate::world::HOST;

/// A home with one provider, and what `run` needs to reach the origin.
pub(crate) struct Home {
    folder: TempDir,
    pub(crate) secret: String,
}

impl Home {
    pub(crate) fn new() -> Self {
        let (folder, secret) = (tempfile::tempdir().unwrap(), canary::fresh());
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("secrets/canary")).unwrap();
        std::fs::create_dir_all(at("tmp")).unwrap();
        std::fs::write(at("secrets/canary/token"), &secret).unwrap();
        std::fs::write(at("ca.pem"), TestCa::world().pem()).unwrap();
        let provider = format!(
            "apiVersion: doorward.dev/v1alpha1\nkind: Provider\nmetadata: {{name: demo}}\nspec:\n  type: http-token\n  host: {HOST}\n  \
             auth: {{type: bearer, secretRef: canary, secretKey: token, agentEnvVar: API_TOKEN}}\n"
        );
        std::fs::write(at("demo.yaml"), provider).unwrap();
        Self { folder, secret }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// `doorward run` with these words, in an environment that holds a real credential.
    pub(crate) fn run(&self, words: &[&str]) -> Command {
        let mut command = Command::new(doorward());
        command
            .arg("--home")
            .arg(self.path().join("home"))
            .arg("run")
            .arg("--providers")
            .arg(self.path().join("demo.yaml"));
        command.args(words).env_clear();
        command
            .env("PATH", "/usr/bin:/bin")
            .env("API_TOKEN", &self.secret)
            .env("TMPDIR", self.path().join("tmp"));
        command.env("DOORWARD_SECRETS", self.path().join("secrets"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    pub(crate) async fn output(&self, words: &[&str]) -> (Option<i32>, String, String) {
        let output = within("doorward run", self.run(words).output()).await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(std::fs::read_dir(self.path().join("tmp")).unwrap().count(), 0, "something stayed behind");
        assert_eq!(canary::search(&output.stderr, &self.secret), None);
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    /// Lets the proxy of this `run` reach the origin.
    pub(crate) fn towards(&self, command: &mut Command, origin: &Origin) {
        command.env("DOORWARD_UPSTREAM_CA", self.path().join("ca.pem"));
        command.env("DOORWARD_ALLOW_CIDR", "127.0.0.1/32");
        command.env("DOORWARD_RESOLVE", format!("{HOST}:443:{}", origin.address()));
    }
}
