//! Every place where a secret's bytes leave `Secret` says why, and this is the list of them: a new one is a decision, not an accident.

use std::fs;
use std::path::{Path, PathBuf};

/// Calls of `.expose()` outside tests, by file.
const EXPOSED: &[(&str, usize)] = &[
    ("control/src/agent/mod.rs", 1),
    ("control/src/api/agents.rs", 1),
    ("control/src/api/asks.rs", 1),
    ("control/src/api/import.rs", 1),
    ("control/src/api/install.rs", 1),
    ("control/src/aws/sign.rs", 1),
    ("control/src/cli/import.rs", 2),
    ("control/src/cli/remote/client.rs", 3),
    ("control/src/cli/remote/login.rs", 2),
    ("control/src/database/place.rs", 1),
    ("control/src/leak.rs", 1),
    ("control/src/oidc/facts.rs", 4),
    ("control/src/secret.rs", 1),
    ("control/src/sync/seal.rs", 1),
    ("control/src/sync/server/identify/accounts.rs", 1),
    ("control/src/sync/server/identify/mod.rs", 1),
    ("control/src/sync/token.rs", 1),
    ("control/src/vault/certificate.rs", 2),
    ("control/src/vault/command.rs", 2),
    ("control/src/vault/local/audit_key.rs", 1),
    ("control/src/vault/local.rs", 1),
    ("control/src/vault/master/derive.rs", 4),
    ("control/src/vault/master/passphrase.rs", 1),
    ("control/src/vault/master.rs", 2),
    ("control/src/vault/seal.rs", 1),
    ("control/src/vault/value.rs", 3),
    ("control/src/vault/wrapped/aws.rs", 2),
    ("proxy/src/cli/connect/login/callback.rs", 1),
    ("proxy/src/cli/connect/login/device.rs", 5),
    ("proxy/src/cli/connect/login/facts.rs", 10),
    ("proxy/src/cli/connect/login/mod.rs", 2),
    ("proxy/src/cli/connect/login/pkce.rs", 1),
    ("proxy/src/cli/connect/trial.rs", 1),
    ("proxy/src/cli/demo/evidence.rs", 1),
    ("proxy/src/cli/demo/mod.rs", 1),
    ("proxy/src/cli/demo/origin.rs", 1),
    ("proxy/src/follow/shown.rs", 2),
    ("proxy/src/publish.rs", 2),
    ("proxy/src/request/inject/renew.rs", 1),
    ("proxy/src/schemes/aws_sigv4/key.rs", 2),
    ("proxy/src/schemes/aws_sigv4/role.rs", 4),
    ("proxy/src/schemes/aws_sigv4/scheme.rs", 7),
    ("proxy/src/schemes/azure_client_credentials.rs", 5),
    ("proxy/src/schemes/gcp_service_account.rs", 1),
    ("proxy/src/schemes/gcp_workload_identity.rs", 7),
    ("proxy/src/schemes/github_app.rs", 2),
    ("proxy/src/schemes/hmac/mod.rs", 2),
    ("proxy/src/schemes/oauth2_refresh/held.rs", 5),
    ("proxy/src/schemes/oauth2_refresh.rs", 5),
    ("proxy/src/schemes/registry_token.rs", 4),
    ("proxy/src/schemes/shared/issuer.rs", 4),
    ("proxy/src/schemes/shared/jwt.rs", 1),
    ("proxy/src/schemes/shared/strict.rs", 1),
    ("proxy/src/schemes/shared/template.rs", 2),
    ("proxy/src/upstream/corporate.rs", 1),
];

const CRATES: [&str; 3] = ["certs/src", "control/src", "proxy/src"];

#[test]
fn every_exposed_secret_is_on_the_list() {
    let root = root();
    let mut found: Vec<(String, usize)> = Vec::new();
    for file in sources(&root) {
        let calls = calls(&product(&fs::read_to_string(&file).expect("a source file"))).len();
        if calls > 0 {
            let name =
                file.strip_prefix(&root).expect("below the root").to_str().expect("a plain name").to_owned();
            found.push((name, calls));
        }
    }
    let listed: Vec<(String, usize)> =
        EXPOSED.iter().map(|(name, calls)| ((*name).to_owned(), *calls)).collect();
    assert_eq!(found, listed, "left: the calls in the code; right: the list in tests/it/exposed.rs");
}

#[test]
fn every_exposed_secret_says_why() {
    for file in sources(&root()) {
        let text = product(&fs::read_to_string(&file).expect("a source file"));
        let lines: Vec<&str> = text.lines().collect();
        for at in calls(&text) {
            assert!(
                says_why(&lines, at),
                "{}:{}: `.expose()` without `// exposed: why` above it",
                file.display(),
                at + 1
            );
        }
    }
}

#[test]
fn a_call_without_its_reason_is_found() {
    let text = "fn f() {\n    // exposed: to seal it\n    seal(a.expose());\n\n    leak(b.expose());\n}\n";
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(calls(text), [2, 4]);
    assert!(says_why(&lines, 2));
    assert!(!says_why(&lines, 4));
    assert!(
        calls(&product(&format!("{}#[cfg(test)]\nmod tests {{ x.expose() }}\n", "fn f() {}\n"))).is_empty()
    );
}

/// On the line itself, or in the comment that stands directly above it or above the statement that it continues.
fn says_why(lines: &[&str], at: usize) -> bool {
    let reason = |line: &&str| line.contains("// exposed: ");
    let above = lines[..at].iter().rev();
    lines.get(at).is_some_and(reason) || above.take(4).take_while(|line| !line.trim().is_empty()).any(reason)
}

/// The lines (from 0) that call `.expose()`, once for each call.
fn calls(text: &str) -> Vec<usize> {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    code.enumerate().flat_map(|(at, line)| line.match_indices(".expose()").map(move |_| at)).collect()
}

/// The text before its tests, which stand last (STYLE 6).
fn product(text: &str) -> String {
    let tests = text
        .match_indices("#[cfg(test)]")
        .find(|(at, _)| text[*at..].lines().nth(1).is_some_and(|line| line.starts_with("mod tests {")));
    text[..tests.map_or(text.len(), |(at, _)| at)].to_owned()
}

/// All sources but those that are tests as a whole.
fn sources(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = CRATES.iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a source folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            match path.is_dir() {
                true if name != "tests" => folders.push(path),
                false if name != "tests" && name != "testing" && !name.ends_with("_tests") => {
                    found.push(path)
                }
                _ => {}
            }
        }
    }
    found.sort();
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}
