//! Master keys that a key service wraps: a transit engine made after its documented API, and moto's KMS, over real TLS.

use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::home::{Ran, finish};
use harness::{Home, canary};
use serde_json::json;

use crate::clients::{Server, python};

/// A home, a key service, and who we are there.
struct Bed {
    home: Home,
    server: Server,
    env: Vec<(String, String)>,
    state: tempfile::TempDir,
}

impl Bed {
    async fn transit() -> Option<Self> {
        let state = tempfile::tempdir().unwrap();
        std::fs::write(state.path().join("mode"), "ok").unwrap();
        let path = state.path().to_str().unwrap().to_owned();
        let server = Server::start_for(&python()?, "transit_server.py", &["localhost"], &[&path]).await;
        let bed = Self { home: Home::keyed(), server, env: vec![], state };
        bed.home.write("token", "s.right\n");
        bed.home.write("ca.pem", harness::ca::TestCa::world().pem());
        Some(bed)
    }

    async fn kms(more: &[&str]) -> Option<(Self, [String; 4])> {
        let state = tempfile::tempdir().unwrap();
        let mut server = Server::start_for(&python()?, "kms_server.py", &["localhost"], more).await;
        let mut lines = [const { String::new() }; 4];
        for line in &mut lines {
            *line = server.line().await;
        }
        let bed = Self { home: Home::keyed(), server, env: vec![], state };
        bed.home.write("ca.pem", harness::ca::TestCa::world().pem());
        Some((bed, lines))
    }

    fn at(&self, name: &str) -> String {
        self.home.path(name).to_str().unwrap().to_owned()
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.server.address().port())
    }

    fn transit_key(&self, key: &str) -> String {
        format!("{}#{key}", self.url())
    }

    fn mode(&self, mode: &str) {
        std::fs::write(self.state.path().join("mode"), mode).unwrap();
    }

    /// `doorward` on the vault with these flags, which say where its key is.
    fn run(&self, words: &[&str], flags: &[&str], input: &str) -> Ran {
        let (vault, ca, token) = (self.at("vault.db"), self.at("ca.pem"), self.at("token"));
        let url = self.url();
        let mut command: Command = self.home.command(words);
        command.args(["--vault", &vault, "--kms-ca", &ca]);
        if flags.contains(&"--master-key-transit") {
            command.args(["--transit-token-file", &token]);
        }
        if flags.contains(&"--master-key-kms") {
            command.args(["--kms-endpoint", &url, "--kms-sts-endpoint", &url]);
        }
        command.args(flags).envs(self.env.iter().map(|(name, value)| (name, value)));
        finish(command, input)
    }

    fn add(&self, name: &str, flags: &[&str]) -> Ran {
        self.run(&["add", "secret", name, "--from-stdin", "token"], flags, &canary::fresh())
    }

    fn rotate(&self, name: &str, flags: &[&str]) -> Ran {
        self.run(&["rotate", "secret", name, "--from-stdin", "token"], flags, &canary::fresh())
    }

    /// What lies in the vault's folder, all files of it.
    fn on_disk(&self) -> Vec<u8> {
        let files = std::fs::read_dir(self.home.folder()).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path: &PathBuf| path.is_file()).flat_map(|path| std::fs::read(path).unwrap()).collect()
    }
}

#[tokio::test]
async fn a_transit_engine_wraps_the_key_and_every_refusal_says_why_and_changes_nothing() {
    let Some(bed) = Bed::transit().await else { return };
    let team = bed.transit_key("team");
    let ours = ["--master-key-transit", team.as_str()];
    // Before there is a vault: what cannot be wrapped is no key.
    bed.mode("sealed");
    bed.add("one", &ours).assert_fails(1, "it is sealed");
    bed.mode("ok");
    bed.add("one", &ours).assert_ok();
    bed.rotate("one", &ours).assert_ok();
    let seen = std::fs::read_to_string(bed.state.path().join("seen")).unwrap();
    assert_eq!(seen.lines().count(), 1, "one key was made: {seen}");
    let plain = STANDARD.decode(seen.trim()).unwrap();
    assert_eq!(plain.len(), 32);
    assert!(
        !canary::contains(&bed.on_disk(), &plain)
            && !canary::contains(&bed.on_disk(), seen.trim().as_bytes())
    );

    let other = bed.transit_key("other");
    bed.rotate("one", &["--master-key-transit", &other])
        .assert_fails(1, "another key of the service: `transit/team`");
    let none = bed.transit_key("none");
    bed.add("x", &["--master-key-transit", &none]).assert_fails(1, "another key");
    bed.home.write("file", &"ab".repeat(32));
    bed.rotate("one", &["--master-key-file", &bed.at("file")])
        .assert_fails(1, "is wrapped by a transit engine");
    bed.home.write("phrase", "correct horse battery");
    bed.rotate("one", &["--passphrase-file", &bed.at("phrase")])
        .assert_fails(1, "is wrapped by a transit engine");
    for (mode, words) in
        [("sealed", "it is sealed"), ("cut", "the exchange broke"), ("huge", "an answer over 65536 bytes")]
    {
        bed.mode(mode);
        bed.rotate("one", &ours).assert_fails(1, words);
    }
    bed.mode("ok");
    bed.home.write("token", "s.wrong");
    bed.rotate("one", &ours).assert_fails(1, "the token is not valid");
    bed.home.write("token", "s.right");
    bed.home.write("ca.pem", "");
    let untrusted = bed.rotate("one", &ours);
    assert_eq!(untrusted.code, Some(1), "{untrusted:?}");
    bed.home.write("ca.pem", &harness::ca::server_pem(&["elsewhere.example"]).0);
    bed.rotate("one", &ours).assert_fails(1, "no verified TLS with the host");
    bed.home.write("ca.pem", harness::ca::TestCa::world().pem());
    for wrong in
        ["http://localhost#team", "https://localhost", "https://localhost#../x", "https://u:p@localhost#team"]
    {
        assert_eq!(bed.rotate("one", &["--master-key-transit", wrong]).code, Some(2), "{wrong}");
    }
    bed.run(&["backup", &bed.at("b")], &ours, "").assert_fails(2, "--backup-passphrase-file");
    bed.rotate("one", &ours).assert_ok();
}

#[tokio::test]
async fn a_wrapped_key_that_was_changed_or_is_another_vaults_opens_nothing() {
    let Some(bed) = Bed::transit().await else { return };
    let team = bed.transit_key("team");
    let ours = ["--master-key-transit", team.as_str()];
    bed.add("one", &ours).assert_ok();
    let text = "CAST(value AS TEXT)";
    bed.home
        .edit_vault(&format!("UPDATE meta SET value = CAST(replace({text}, 'vault:v1:', 'vault:v1:AAAA') AS BLOB) WHERE key = 'parameters'"))
        .await;
    bed.rotate("one", &ours).assert_fails(1, "was changed");
    bed.home
        .edit_vault(&format!("UPDATE meta SET value = CAST(replace({text}, 'vault:v1:AAAA', 'vault:v1:') AS BLOB) WHERE key = 'parameters'"))
        .await;
    bed.rotate("one", &ours).assert_ok();
    // The vault's name is authenticated by the engine.
    bed.home
        .edit_vault(&format!("UPDATE meta SET value = CAST(replace({text}, '\"vault\":\"', '\"vault\":\"0') AS BLOB) WHERE key = 'parameters'"))
        .await;
    bed.rotate("one", &ours).assert_fails(1, "was changed");
    // A lock of another vault, whose key the engine does unwrap.
    let Some(second) = Bed::transit().await else { return };
    let team = second.transit_key("team");
    let theirs = ["--master-key-transit", team.as_str()];
    second.add("one", &theirs).assert_ok();
    second
        .home
        .edit_vault(&format!(
            "ATTACH '{}' AS other; UPDATE meta SET value = (SELECT value FROM other.meta WHERE key = 'parameters') WHERE key = 'parameters'",
            bed.at("vault.db")
        ))
        .await;
    let swapped = second.rotate("one", &theirs);
    assert_eq!(swapped.code, Some(1), "{swapped:?}");
}

#[tokio::test]
async fn keys_are_rotated_to_a_service_within_it_and_back() {
    let Some(bed) = Bed::transit().await else { return };
    let file = bed.at("master.key");
    let from_file = ["--master-key-file", file.as_str()];
    bed.add("one", &from_file).assert_ok();
    let (team, other) = (bed.transit_key("team"), format!("{}/ns/engine#team", bed.url()));
    let words =
        ["key", "rotate", "--new-master-key-transit", &team, "--transit-token-file", &bed.at("token")];
    bed.mode("sealed");
    bed.run(&words, &from_file, "").assert_fails(1, "it is sealed");
    bed.mode("ok");
    bed.rotate("one", &from_file).assert_ok();
    bed.run(&words, &from_file, "").assert_ok();
    bed.rotate("one", &from_file).assert_fails(1, "is wrapped by a transit engine");
    let ours = ["--master-key-transit", team.as_str()];
    bed.rotate("one", &ours).assert_ok();
    bed.run(&["key", "rotate"], &ours, "").assert_ok();
    bed.rotate("one", &ours).assert_ok();
    bed.run(&["key", "rotate", "--new-master-key-transit", &other], &ours, "").assert_ok();
    bed.rotate("one", &ours).assert_fails(1, "another key of the service: `ns/engine/team`");
    let theirs = ["--master-key-transit", other.as_str()];
    bed.rotate("one", &theirs).assert_ok();
    let seen = std::fs::read_to_string(bed.state.path().join("seen")).unwrap();
    assert_eq!(seen.lines().collect::<std::collections::BTreeSet<_>>().len(), 3, "a fresh key each time");
    bed.home.write("phrase", "correct horse battery");
    let (phrase, backup) = (bed.at("phrase"), bed.at("b.backup"));
    bed.run(&["backup", &backup, "--backup-passphrase-file", &phrase], &theirs, "").assert_ok();
    bed.run(&["key", "rotate", "--new-master-key-file", &bed.at("next.key")], &theirs, "").assert_ok();
    bed.rotate("one", &["--master-key-file", &bed.at("next.key")]).assert_ok();
    // The backup has the wrapped key of its time.
    std::fs::remove_file(bed.at("vault.db")).unwrap();
    for more in ["vault.db-wal", "vault.db-shm"] {
        std::fs::remove_file(bed.at(more)).ok();
    }
    let back = bed.run(&["restore", &backup, "--backup-passphrase-file", &phrase], &theirs, "");
    assert!(
        back.assert_ok().stderr.contains("1 of 1 values open") || back.stderr.contains("values open"),
        "{back:?}"
    );
    bed.rotate("one", &theirs).assert_ok();
}

#[tokio::test]
async fn a_running_server_follows_a_rotation_in_its_key_service() {
    let Some(bed) = Bed::transit().await else { return };
    let team = bed.transit_key("team");
    let flags = [
        "--master-key-transit",
        &team,
        "--transit-token-file",
        &bed.at("token"),
        "--kms-ca",
        &bed.at("ca.pem"),
    ];
    let server = harness::Server::setup().flags(&flags).start().await;
    server.secret("default", "before").await;
    let database = format!("sqlite:{}", server.path("home").join("data/server.db").display());
    let mut command = bed.home.command(&["key", "rotate", "--database", &database]);
    command.args(flags);
    finish(command, "").assert_ok();
    let (_, made) = server.secret("default", "after").await;
    let body = json!({"values": {"token": server.canary()}});
    server
        .change("POST", "/v1/projects/default/secrets/after/rotate", &made.etag(), Some(body))
        .await
        .is(200);
    let seen = std::fs::read_to_string(bed.state.path().join("seen")).unwrap();
    assert_eq!(seen.lines().count(), 2, "{seen}");
}

#[tokio::test]
async fn kms_wraps_the_key_and_verifies_how_its_calls_are_signed() {
    let Some((mut bed, [id, secret, arn, other])) = Bed::kms(&["verifying"]).await else { return };
    let (key, another) = (format!("aws:{arn}"), format!("aws:{other}"));
    let ours = ["--master-key-kms", key.as_str()];
    bed.add("one", &ours).assert_fails(2, "AWS_ACCESS_KEY_ID");
    bed.env =
        vec![("AWS_ACCESS_KEY_ID".into(), id.clone()), ("AWS_SECRET_ACCESS_KEY".into(), canary::fresh())];
    let refused = bed.add("one", &ours);
    refused.assert_fails(1, "the key service refused");
    bed.env[1].1.clone_from(&secret);
    bed.add("one", &ours).assert_ok();
    bed.rotate("one", &ours).assert_ok();
    bed.run(&["key", "rotate"], &ours, "").assert_ok();
    bed.rotate("one", &ours).assert_ok();
    // To another key of KMS, and by the region of the environment.
    bed.run(&["key", "rotate", "--new-master-key-kms", &another], &ours, "").assert_ok();
    bed.env.push(("AWS_REGION".into(), "eu-west-1".into()));
    let short = format!("aws:{}", other.rsplit('/').next().unwrap());
    bed.rotate("one", &["--master-key-kms", &short]).assert_ok();
    let text = "CAST(value AS TEXT)";
    bed.home
        .edit_vault(&format!("UPDATE meta SET value = CAST(replace({text}, '\"vault\":\"', '\"vault\":\"0') AS BLOB) WHERE key = 'parameters'"))
        .await;
    bed.rotate("one", &["--master-key-kms", &another]).assert_fails(1, "InvalidCiphertextException");
    for wrong in ["gcp:x", "aws:", "aws:arn:aws:s3:::bucket", "aws:a b"] {
        assert_eq!(bed.rotate("one", &["--master-key-kms", wrong]).code, Some(2), "{wrong}");
    }
}

#[tokio::test]
async fn a_role_by_a_web_identity_opens_the_key() {
    let Some((mut bed, [_, _, arn, _])) = Bed::kms(&[]).await else { return };
    bed.home.write("identity", "eyJhbGciOiJub25lIn0.e30.x");
    bed.env = vec![
        ("AWS_WEB_IDENTITY_TOKEN_FILE".into(), bed.at("identity")),
        ("AWS_ROLE_ARN".into(), "arn:aws:iam::123456789012:role/vault".into()),
    ];
    let key = format!("aws:{arn}");
    bed.add("one", &["--master-key-kms", &key]).assert_ok();
    bed.rotate("one", &["--master-key-kms", &key]).assert_ok();
    std::fs::remove_file(bed.at("identity")).unwrap();
    bed.rotate("one", &["--master-key-kms", &key]).assert_fails(1, "AWS_WEB_IDENTITY_TOKEN_FILE");
}
