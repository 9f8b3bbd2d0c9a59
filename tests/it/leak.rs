//! `doorward check leak` beside its neighbours that read files: `convert` and `man`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::canary;
use harness::home::{Home, Ran, finish};
use harness::proxy::build::put;
use serde_json::Value;

/// The places where a value was found, and its form.
fn places(ran: &Ran) -> Vec<(String, String)> {
    let found: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    found.iter().map(|one| (text(one, "where"), text(one, "form"))).collect()
}

fn text(object: &Value, field: &str) -> String {
    object[field].as_str().unwrap().to_owned()
}

/// A home with one secret, and a folder that an agent reads.
fn world() -> (Home, String) {
    let (home, value) = (Home::keyed(), canary::fresh());
    home.add("pat", &value, &[]).assert_ok();
    std::fs::create_dir_all(home.path("agent/deep")).unwrap();
    home.write("agent/clean.txt", "nothing to see");
    (home, value)
}

#[test]
fn finds_a_value_in_files_in_any_form_and_never_prints_it() {
    let (home, value) = world();
    let agent = home.path("agent");
    let look = |words: &[&str], input: &str| {
        let ran = home.run(&[&["-o", "jsonl", "check", "leak"], words].concat(), input);
        let printed = format!("{}{}", ran.stdout, ran.stderr);
        assert!(canary::search(printed.as_bytes(), &value).is_none(), "{printed}");
        ran
    };
    let clean = look(&[agent.to_str().unwrap()], "");
    assert_eq!((clean.assert_ok().stdout.as_str(), clean.stderr.contains("looked for 1 values")), ("", true));
    home.write("agent/deep/.netrc", &format!("machine a login b password {value}"));
    home.write("agent/encoded", &STANDARD.encode(format!("u:{value}")));
    let found = look(&[agent.to_str().unwrap()], "");
    assert_eq!(found.code, Some(3), "{found:?}");
    let wanted = [("deep/.netrc", "plainly"), ("encoded", "in base64")];
    assert_eq!(
        places(&found),
        wanted.map(|(file, form)| (format!("{}/{file}", agent.display()), form.to_owned()))
    );
    // On stdin, and from another project, where there is nothing of the kind.
    let found = look(&["-"], &format!("log: {value}\n"));
    assert_eq!((found.code, places(&found)), (Some(3), vec![("stdin".to_owned(), "plainly".to_owned())]));
    look(&["-n", "other", "-"], &value).assert_fails(5, "project other has no secret to look for");
    // What could not be read is not said to be clean.
    look(&[home.path("absent").to_str().unwrap()], "").assert_fails(1, "1 places could not be read");
}

#[test]
fn finds_a_value_in_environments_and_command_lines() {
    let (home, value) = world();
    let words = [&["-o", "jsonl", "check", "leak", "-"], home.vault_flags().as_slice()].concat();
    let mut own = home.command(&words);
    own.env("GITHUB_TOKEN", &value);
    let found = finish(own, "");
    assert_eq!(found.code, Some(3), "{found:?}");
    assert_eq!(places(&found), [("environment: GITHUB_TOKEN".to_owned(), "plainly".to_owned())]);
    // `cat` waits for its stdin; the value is in what it was started with.
    let mut agent = Command::new("cat");
    let mut agent =
        agent.arg("-").env("TOKEN", &value).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let pid = agent.id().to_string();
    let found = home.run(&["-o", "jsonl", "check", "leak", "--pid", &pid], "");
    agent.stdin.take().unwrap().write_all(b"").unwrap();
    agent.wait().unwrap();
    assert_eq!(places(&found), [(format!("/proc/{pid}/environ"), "plainly".to_owned())], "{found:?}");
}

#[test]
fn converts_documents_of_pai_and_leaves_the_files_as_they_are() {
    let (home, _) = world();
    let document = |name: &str| {
        format!(
            "# mine\napiVersion: pai.io/v1\nkind: Provider\nmetadata: {{name: {name}}}\nspec: {{type: {name}, auth: {{secretRef: pat}}}}\n"
        )
    };
    std::fs::create_dir(home.path("files")).unwrap();
    home.write("files/a.yaml", &document("telegram"));
    home.write("files/b.yaml", &document("slack"));
    let converted = home.command(&["convert", "-f", home.path("files").to_str().unwrap()]);
    let converted = finish(converted, "");
    let wanted =
        [document("telegram"), document("slack")].join("---\n").replace("pai.io/v1", "doorward.dev/v1alpha1");
    assert_eq!(converted.assert_ok().stdout, wanted);
    assert_eq!(std::fs::read_to_string(home.path("files/a.yaml")).unwrap(), document("telegram"));
    put(&home.path("converted.yaml"), &converted.stdout);
    finish(home.command(&["check", "provider", "-f", home.path("converted.yaml").to_str().unwrap()]), "")
        .assert_ok();
    home.write("files/c.yaml", "apiVersion: pai.io/v1\nkind: Provider\n");
    let refused = finish(home.command(&["convert", "-f", home.path("files").to_str().unwrap()]), "");
    refused.assert_fails(1, "c.yaml:1:1");
    assert_eq!(refused.stdout, "");
}

#[test]
fn every_command_has_a_manual_page() {
    let (home, _) = world();
    let man = |words: &[&str]| finish(home.command(&[&["man"], words].concat()), "");
    let page = man(&["add", "secret"]);
    assert!(page.assert_ok().stdout.contains(".TH doorward-add-secret 1"), "{page:?}");
    assert!(page.stdout.contains("from\\-stdin"), "{page:?}");
    man(&["add", "secrte"]).assert_fails(5, "there is no command `secrte`");
    let pages = home.path("man");
    man(&["--dir", pages.to_str().unwrap()]).assert_ok();
    for name in ["doorward", "doorward-proxy", "doorward-check-leak", "doorward-server"] {
        let page = std::fs::read_to_string(pages.join(format!("{name}.1"))).unwrap();
        assert!(page.contains(&format!(".TH {name} 1")), "{name}: {page}");
    }
}
