use clap::Parser;

use super::*;
use crate::catalog::{FieldKind, FieldSpec};

#[derive(Parser, Debug)]
struct Line {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// The schemes that the type github needs, as the data plane describes them.
static HEADER: SchemeSpec = SchemeSpec {
    name: "header",
    auth_types: &[],
    inject_key: Some("header"),
    summary: "",
    auth_fields: &[],
    inject_fields: &[field("header", FieldKind::HeaderName), field("template", FieldKind::Template)],
    default_keys: &[],
};
static BASIC: SchemeSpec = SchemeSpec {
    name: "basic",
    inject_key: Some("basic"),
    inject_fields: &[field("username", FieldKind::Text), field("password", FieldKind::Template)],
    ..HEADER
};

static SCHEMES: &[&SchemeSpec] = &[&HEADER, &BASIC];

const fn field(name: &'static str, kind: FieldKind) -> FieldSpec {
    FieldSpec { name, kind, required: true, default: None, doc: "" }
}

struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.dir.path().join(name), text).unwrap();
        self.path(name)
    }

    fn try_run(&self, words: &[&str]) -> Result<Exit, Failure> {
        let home = self.path("home");
        let line = [&["doorward", "--home", &home, "--no-input"][..], words].concat();
        let line =
            Line::try_parse_from(line).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
        let env = Env {
            vars: BTreeMap::new(),
            globals: line.globals,
            schemes: SCHEMES,
            output: Output,
            tls: no_tls,
            browse: no_browser,
        };
        line.command.run(&env)
    }

    fn run(&self, words: &[&str]) {
        assert_eq!(self.try_run(words).unwrap(), Exit::Ok, "{words:?}");
    }

    fn refused(&self, words: &[&str]) -> (Exit, String) {
        let failure = self.try_run(words).expect_err("it was not refused");
        (failure.exit, failure.message)
    }

    fn rows(&self) -> Vec<crate::vault::store::SecretRow> {
        let db = self.dir.path().join("home/data/vault.db");
        vault::block_on(async {
            let store = crate::database::Database::sqlite(&db, false).await?;
            Ok(crate::vault::store::Store::secrets(&store, "default").await?)
        })
        .unwrap()
    }
}

#[test]
fn the_words_are_consistent() {
    use clap::CommandFactory;
    Line::command().debug_assert();
}

#[test]
fn refuses_with_the_exit_code_that_scripts_look_for() {
    let machine = Machine::new();
    let file = machine.write("token", "value-one\n");
    machine.run(&["add", "secret", "github-pat", "--from-file", &file]);
    let (exit, message) = machine.refused(&["add", "secret", "github-pat", "--from-file", &file]);
    assert_eq!(exit, Exit::Conflict, "{message}");
    let (exit, message) = machine.refused(&["describe", "secret", "github-pta"]);
    assert_eq!(exit, Exit::NotFound);
    assert!(message.contains("did you mean `github-pat`"), "{message}");
    for words in [
        &["get", "secrets", "none"][..],
        &["rotate", "secret", "none", "--from-file", &file],
        &["rollback", "secret", "none"],
        &["rollback", "secret", "github-pat"],
        &["delete", "secret", "none"],
        &["delete", "variable", "none"],
        &["describe", "variable", "none"],
    ] {
        assert_eq!(machine.refused(words).0, Exit::NotFound, "{words:?}");
    }
    for words in [
        &["add", "secret", "two"][..],
        &["add", "secret", "Bad/Name", "--from-file", &file],
        &["add", "secret", "two", "--from-file", &file, "--hosts", "*.com"],
        &["add", "secret", "two", "--from-file", &file, "--expires", "2001-01-01"],
        &["add", "secret", "two", "--from-file", &file, "--project", "../x"],
        &["get", "secrets", "-o", "docker"],
        &["add", "variable", "A"],
        &["add", "secret", "two", "--from-command", "token='x"],
    ] {
        let (exit, message) = machine.refused(words);
        assert!(matches!(exit, Exit::Usage | Exit::Error), "{words:?}: {message}");
    }
    assert_eq!(machine.rows().len(), 1);
}

#[test]
fn never_says_a_value_when_it_refuses() {
    let machine = Machine::new();
    let short = machine.write("short", "hunter2");
    let lines = machine.write("lines", "hunter2\nhunter2\n");
    let env = machine.write("env", "A=hunter2\nhunter2\n");
    for words in [
        &["add", "secret", "a", "--from-literal", "hunter2"][..],
        &["add", "secret", "a", "--from-literal", "k=hunter2"],
        &["add", "secret", "a", "--from-file", &short],
        &["add", "secret", "a", "--from-file", &format!("token={lines}")],
        &["add", "secret", "a", "--from-env-file", &env],
        &["import", &env],
        &["add", "secret", "a", "--from-command", "token=printf hunter2"],
    ] {
        let (_, message) = machine.refused(words);
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn stores_rotates_rolls_back_and_deletes() {
    let machine = Machine::new();
    let file = machine.write("value", "value-one\n");
    machine.run(&[
        "create",
        "secrets",
        "one",
        "--from-file",
        &format!("token={file}"),
        "--hosts",
        "b.example,a.example",
        "--expires",
        "30d",
        "--description",
        "x",
    ]);
    let first = machine.rows().remove(0);
    assert_eq!(first.hosts.as_deref(), Some("a.example,b.example"));
    assert_eq!(first.keys[0].0, "token");
    machine.run(&["rotate", "secret", "one", "--from-command", "token=printf 'value-two'"]);
    let second = machine.rows().remove(0);
    assert_eq!((second.version, &second.hosts, second.expires), (2, &first.hosts, first.expires));
    assert_ne!(second.keys, first.keys);
    machine.run(&["rollback", "secret", "one"]);
    let third = machine.rows().remove(0);
    assert_eq!((third.version, &third.keys), (3, &first.keys));
    for format in ["table", "wide", "json", "yaml", "name", "jsonl"] {
        machine.run(&["get", "secrets", "-o", format]);
        machine.run(&["describe", "secret", "one", "-o", format]);
    }
    machine.run(&["add", "variable", "REGION=eu", "zone=1"]);
    machine.run(&["get", "variables", "-o", "wide"]);
    machine.run(&["describe", "variable", "zone"]);
    machine.run(&["delete", "variable", "REGION"]);
    machine.run(&["delete", "secret", "one"]);
    assert!(machine.rows().is_empty());
}

#[test]
fn refuses_another_key_and_takes_each_kind() {
    let machine = Machine::new();
    let value = machine.write("token", "value-one");
    let phrase = machine.write("phrase", "correct horse battery\n");
    std::fs::set_permissions(&phrase, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let vault = machine.path("home/data/other.db");
    machine.run(&["get", "secrets"]);
    let add = |secret: &str, key: &[&str]| {
        let words = ["add", "secret", secret, "--from-file", &value, "--vault", &vault];
        machine.try_run(&[&words[..], key].concat())
    };
    assert_eq!(add("one", &["--passphrase-file", &phrase]).unwrap(), Exit::Ok);
    assert!(add("two", &[]).unwrap_err().message.contains("was made with a passphrase"));
    let digits = format!("printf {}", "ab".repeat(32));
    assert!(add("two", &["--master-key-command", &digits]).unwrap_err().message.contains("passphrase"));
    assert_eq!(
        add("two", &["--master-key-command", &digits, "--passphrase-file", &phrase]).unwrap_err().exit,
        Exit::Usage
    );
    assert_eq!(add("two", &["--passphrase-file", &phrase]).unwrap(), Exit::Ok);
}

#[test]
fn refuses_to_delete_what_a_provider_uses() {
    let machine = Machine::new();
    let value = machine.write("token", "value-one");
    machine.run(&["add", "secret", "github-pat", "--from-file", &value, "--for", "github"]);
    assert!(machine.rows()[0].hosts.as_deref().unwrap().contains("api.github.com"));
    let text = "apiVersion: doorward.dev/v1alpha1\nkind: Provider\nmetadata: {name: gh}\nspec:\n  type: github\n  auth: {type: pat, secretRef: github-pat}\n";
    let file = machine.write("gh.yaml", text);
    let (exit, message) = machine.refused(&["delete", "secret", "github-pat", "--providers", &file]);
    assert_eq!(exit, Exit::Conflict, "{message}");
    assert!(message.contains("gh.yaml"), "{message}");
    let broken = machine.write("broken.yaml", "kind: Nonsense\n");
    assert_eq!(machine.refused(&["delete", "secret", "github-pat", "--providers", &broken]).0, Exit::Error);
    assert_eq!(machine.rows().len(), 1);
    machine.run(&["get", "secrets", "-o", "wide", "--providers", &broken]);
    machine.run(&["get", "secrets", "-o", "wide", "--providers", &file]);
    machine.run(&["delete", "secret", "github-pat", "--providers", &file, "--force"]);
    let (exit, message) = machine.refused(&["add", "secret", "x", "--from-file", &value, "--for", "gihtub"]);
    assert_eq!(exit, Exit::Usage);
    assert!(message.contains("did you mean `github`"), "{message}");
    assert_eq!(
        machine.refused(&["add", "secret", "x", "--from-file", &value, "--for", "custom"]).0,
        Exit::Usage
    );
}

#[test]
fn imports_all_or_nothing() {
    let machine = Machine::new();
    let text = "# settings\nexport GITHUB_TOKEN=ghp_0123456789\nAWS_ACCESS_KEY_ID=AKIA0123456789\nAWS_SECRET_ACCESS_KEY='secret/of+aws'\nREGION=eu\nDB_PASSWORD=correct-horse\n";
    let env = machine.write(".env", text);
    machine.run(&["import", &env, "--dry-run"]);
    assert!(machine.rows().is_empty());
    machine.run(&["import", &env, "--variable", "DB_PASSWORD"]);
    let rows = machine.rows();
    assert_eq!(
        rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(),
        ["AWS_CREDENTIALS", "GITHUB_TOKEN"]
    );
    assert_eq!(
        rows[0].keys.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(),
        ["access_key_id", "secret_access_key"]
    );
    let more = machine.write("more", "NEW_TOKEN=0123456789\nGITHUB_TOKEN=ghp_9876543210\n");
    assert_eq!(machine.refused(&["import", &more]).0, Exit::Conflict);
    let short = machine.write("short", "NEW_TOKEN=0123456789\nPASSWORD=short\n");
    assert_eq!(machine.refused(&["import", &short]).0, Exit::Error);
    assert_eq!(machine.refused(&["import", &short, "--variable", "PASWORD"]).0, Exit::NotFound);
    assert_eq!(machine.rows().len(), 2);
    machine.run(&["import", &short, "--variable", "PASSWORD"]);
    assert_eq!(machine.rows().len(), 3);
}

#[test]
fn pins_and_unpins_provider_files() {
    let machine = Machine::new();
    let file = machine.write("p.yaml", "a");
    machine.run(&["allow", &file]);
    machine.run(&["allow", "--list"]);
    machine.run(&["allow", &file, "--revoke"]);
    assert_eq!(machine.refused(&["allow", &file, "--revoke"]).0, Exit::NotFound);
    assert_eq!(machine.refused(&["allow", &machine.path("none")]).0, Exit::Error);
    assert_eq!(machine.refused(&["allow"]).0, Exit::Usage);
}

#[test]
fn the_catalogue_needs_no_vault() {
    let machine = Machine::new();
    assert_eq!(machine.refused(&["describe", "type", "githb"]).0, Exit::NotFound);
    assert_eq!(machine.refused(&["get", "types", "-o", "pem"]).0, Exit::Usage);
    for format in ["table", "wide", "json", "yaml", "jsonl", "name"] {
        machine.run(&["get", "types", "-o", format]);
        machine.run(&["describe", "type", "github", "-o", format]);
    }
    machine.run(&["get", "type", "github", "http-token"]);
    assert!(!Path::new(&machine.path("home")).exists());
}

#[test]
fn a_backup_made_before_the_keys_were_rotated_comes_back_with_the_earlier_key() {
    let machine = Machine::new();
    let value = machine.write("value", "canary-value-of-one\n");
    machine.run(&["add", "secret", "one", "--from-file", &format!("token={value}")]);
    let path = |name: &str| machine.dir.path().join(name).display().to_string();
    let (backup, locked) = (path("team.backup"), path("locked.backup"));
    machine.run(&["backup", &backup]);
    assert_eq!(machine.refused(&["backup", &backup]).0, Exit::Error, "it is never overwritten");
    let passphrase = machine.write("passphrase", "correct horse battery\n");
    std::fs::set_permissions(&passphrase, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    machine.run(&["backup", &locked, "--backup-passphrase-file", &passphrase]);
    let before = machine.rows();
    machine.run(&["key", "rotate"]);
    machine.run(&["-n", "default", "key", "rotate", "--project-key"]);
    assert_ne!(machine.rows()[0].keys, before[0].keys, "fingerprints are the new key's");
    machine.run(&["rotate", "secret", "one", "--from-file", &format!("token={value}"), "--grace", "1h"]);
    assert_eq!(
        machine.refused(&["rotate", "secret", "one", "--from-file", &value, "--grace", "soon"]).0,
        Exit::Usage
    );
    machine.run(&["clone", "secret", "one", "--to", "other"]);
    assert_eq!(machine.refused(&["clone", "secret", "one", "--to", "other"]).0, Exit::Conflict);
    assert_eq!(machine.refused(&["clone", "secret", "none", "--to", "other"]).0, Exit::NotFound);
    assert_eq!(machine.refused(&["clone", "secret", "one", "--to", "Other"]).0, Exit::Usage);

    let restored = path("restored.db");
    let current = machine.refused(&["restore", &backup, "--vault", &restored]);
    assert!(current.1.contains("another master key"), "{}", current.1);
    let earlier = path("home/config/master.key.earlier.1");
    let from = ["--master-key-file", &earlier];
    machine.run(&[&["restore", &backup, "--vault", &restored][..], &from].concat());
    assert_eq!(
        machine.refused(&[&["restore", &backup, "--vault", &restored][..], &from].concat()).0,
        Exit::Conflict
    );
    let by_passphrase = path("by-passphrase.db");
    let words = ["restore", &locked, "--vault", &by_passphrase, "--backup-passphrase-file", &passphrase];
    machine.run(&[&words[..], &from].concat());
    let server = format!("sqlite:{}", path("server.db"));
    machine.run(
        &[&["restore", &locked, "--backup-passphrase-file", &passphrase, "--database", &server][..], &from]
            .concat(),
    );
}
