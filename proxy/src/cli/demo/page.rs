//! What the demo shows: what the agent held, what the origin received, what the agent received, side by side.

use std::fmt::Write as _;
use std::path::Path;

use super::DUMMY;
use super::evidence::{Evidence, Line};
use super::origin::{Presented, Received};

/// The left column.
const WIDTH: usize = 52;
/// Variables that are worth a line.
const SHOWN: &[&str] = &[DUMMY, "HTTPS_PROXY", "SSL_CERT_FILE"];

/// The page.
pub(super) fn page(evidence: &Evidence<'_>) -> String {
    let agent = &evidence.stage.agent;
    let mut page = String::from(
        "doorward demo: a vault, a proxy, a TLS origin and an agent process, all on this machine\n",
    );
    heading(&mut page, &format!("The agent's environment ({} variables, no secret)", agent.env.len()));
    for (name, value) in agent.env.iter().filter(|(name, _)| SHOWN.contains(&name.as_str())) {
        put(&mut page, format_args!("  {name:<15} {}", without_token(value)));
    }
    let command = "GET https://api.demo.internal/v1/user -H \"Authorization: Bearer $DEMO_API_TOKEN\"";
    heading(&mut page, &format!("The agent ran {}: {command}", agent.name()));
    let received = evidence.stage.origin.received();
    let left = received.first().map_or_else(|| vec!["nothing".to_owned()], request);
    let right = evidence.answers.allowed.brief();
    columns(&mut page, "the origin received", "the agent received", &left, &right);
    heading(&mut page, "Then it tried what it may not");
    for (asked, answer) in [
        ("DELETE https://api.demo.internal/v1/user", &evidence.answers.denied),
        ("GET https://elsewhere.demo.internal/", &evidence.answers.elsewhere),
    ] {
        let status = answer.status().map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        put(&mut page, format_args!("  {asked}"));
        let member = |name| answer.member(name).unwrap_or_default();
        put(&mut page, format_args!("    {status} {}: {}", member("code"), member("detail")));
    }
    heading(&mut page, "The audit");
    for line in &evidence.audit.requests {
        put(&mut page, format_args!("  {}", audit_line(line)));
    }
    heading(&mut page, "Did it hold?");
    page.truncate(page.trim_end().len());
    page
}

/// How to use what was left running.
pub(super) fn usage(published: &Path, home: &Path, address: &str) -> String {
    let (env, audit) = (published.join("agent.env"), home.join("audit.jsonl"));
    format!(
        "\nStill running, proxy on {address}. In another shell, be the agent:\n\
         \n  set -a; . {}; set +a\n  curl https://api.demo.internal/v1/user -H \"Authorization: Bearer ${DUMMY}\"\n\
         \nWhat it did:          doorward audit tail {}\
         \nWhat it may do:       {} (edit it: the proxy follows)\
         \nCtrl-C ends it and removes everything.",
        env.display(),
        audit.display(),
        home.join("demo.yaml").display()
    )
}

fn heading(page: &mut String, text: &str) {
    put(page, format_args!("\n{text}"));
}

fn put(page: &mut String, line: std::fmt::Arguments<'_>) {
    if writeln!(page, "{line}").is_err() {
        // Writing to a String cannot fail.
    }
}

/// The token is the agent's own, but no reader of a screenshot needs it.
fn without_token(value: &str) -> String {
    match value.strip_prefix("http://agent:").and_then(|rest| rest.split_once('@')) {
        Some((_token, address)) => format!("http://agent:…@{address}"),
        None => value.to_owned(),
    }
}

fn request(received: &Received) -> Vec<String> {
    let credential = match received.presented {
        Presented::RealCredential => "authorization: Bearer <the real one, from the vault>",
        Presented::SomethingElse => "authorization: <not the real credential>",
        Presented::Nothing => "no authorization",
    };
    let mut lines = vec![received.line.clone(), credential.to_owned()];
    lines.extend(received.headers.iter().cloned());
    lines
}

fn columns(page: &mut String, left_head: &str, right_head: &str, left: &[String], right: &[String]) {
    put(page, format_args!("  {left_head:<WIDTH$} | {right_head}"));
    put(page, format_args!("  {:-<WIDTH$} | {:-<30}", "", ""));
    let line = |side: &[String], at: usize| side.get(at).cloned().unwrap_or_default();
    for at in 0..left.len().max(right.len()) {
        let text = format!("  {:<WIDTH$} | {}", cut(&line(left, at)), line(right, at));
        put(page, format_args!("{}", text.trim_end()));
    }
}

fn cut(line: &str) -> String {
    if line.chars().count() <= WIDTH {
        line.to_owned()
    } else {
        line.chars().take(WIDTH - 1).chain(['…']).collect()
    }
}

fn audit_line(line: &Line) -> String {
    let text = |member: &Option<String>| member.clone().unwrap_or_else(|| "-".to_owned());
    let status = line.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
    format!(
        "{:<6} {:<7} {status:<4} {:<7} {}{}  secret: {}",
        text(&line.verdict),
        text(&line.code),
        text(&line.method),
        text(&line.host),
        line.path.as_deref().unwrap_or_default(),
        text(&line.secret)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_token_is_not_shown() {
        assert_eq!(without_token("http://agent:0123@127.0.0.1:1"), "http://agent:…@127.0.0.1:1");
    }

    #[test]
    fn long_lines_of_the_left_column_are_cut() {
        assert_eq!(cut(&"é".repeat(60)).chars().count(), WIDTH);
    }
}
