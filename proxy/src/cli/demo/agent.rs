//! The demo's agent: a process of its own with the published environment and nothing else.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use control::cli::{Env, Failure};
use tokio::process::Command;

use super::{DUMMY, failed};
use crate::cli::sidecar;

/// No request of the demo takes longer.
const LATE: Duration = Duration::from_secs(15);

/// A client and its environment.
#[derive(Debug)]
pub(super) struct Agent {
    curl: Option<PathBuf>,
    /// Its whole environment.
    pub(super) env: Vec<(String, String)>,
}

/// What a client printed.
#[derive(Debug)]
pub(super) struct Answer {
    /// Head and body.
    pub(super) text: String,
    /// What it complained about.
    pub(super) complaint: String,
}

impl Answer {
    /// The status, if there is an answer.
    pub(super) fn status(&self) -> Option<u16> {
        self.text.split_ascii_whitespace().nth(1)?.parse().ok()
    }

    /// Status line and body.
    pub(super) fn brief(&self) -> Vec<String> {
        let (head, body) = self.text.split_once("\r\n\r\n").unwrap_or((&self.text, ""));
        let status = head.lines().next().unwrap_or("no answer").trim();
        std::iter::once(status).chain(body.lines()).map(str::to_owned).collect()
    }

    /// A member of the answer's JSON body.
    pub(super) fn member(&self, name: &str) -> Option<String> {
        let (_, body) = self.text.split_once("\r\n\r\n")?;
        let body: serde_json::Value = serde_json::from_str(body).ok()?;
        body.get(name)?.as_str().map(str::to_owned)
    }
}

impl Agent {
    /// curl if it is there, else doorward's own client.
    pub(super) fn new(env: &Env, agent_env: &[(String, String)]) -> Self {
        let path = env.var("PATH").unwrap_or_default();
        let curl = std::env::split_paths(path).map(|folder| folder.join("curl")).find(|file| file.is_file());
        Self { curl, env: agent_env.to_vec() }
    }

    /// What it is, for people.
    pub(super) fn name(&self) -> &'static str {
        if self.curl.is_some() { "curl" } else { "doorward's own client (there is no curl)" }
    }

    /// The dummy that it holds.
    pub(super) fn dummy(&self) -> &str {
        self.env.iter().find(|(name, _)| name == DUMMY).map_or("", |(_, value)| value)
    }

    /// Sends one request with the dummy as its bearer token.
    pub(super) async fn ask(&self, method: &str, url: &str) -> Result<Answer, Failure> {
        let mut command = match &self.curl {
            Some(curl) => {
                let mut command = Command::new(curl);
                command.args([
                    "-q",
                    "-sS",
                    "-i",
                    "--suppress-connect-headers",
                    "--max-time",
                    "10",
                    "-X",
                    method,
                ]);
                command.arg("-H").arg(format!("Authorization: Bearer {}", self.dummy())).arg(url);
                command
            }
            None => {
                let mut command = sidecar::doorward()?;
                command.args(["demo-client", method, url, DUMMY]);
                command
            }
        };
        command.env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let output = tokio::time::timeout(LATE, command.output()).await;
        let output = output.map_err(|_| failed("the agent did not end"))?;
        let output = output.map_err(|error| failed(format!("the agent did not start: {error}")))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Answer { text: text(&output.stdout), complaint: text(&output.stderr) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_a_status_has_none() {
        let answer = Answer { text: String::new(), complaint: "curl: (7)".to_owned() };
        assert_eq!((answer.status(), answer.member("code")), (None, None));
        assert_eq!(answer.brief(), ["no answer"]);
    }

    #[test]
    fn an_answer_is_read_as_a_client_prints_it() {
        let answer = Answer {
            text: "HTTP/2 403 \r\na: b\r\n\r\n{\"code\": \"DW1002\"}".to_owned(),
            complaint: String::new(),
        };
        assert_eq!((answer.status(), answer.member("code").as_deref()), (Some(403), Some("DW1002")));
    }
}
