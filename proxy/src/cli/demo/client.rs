//! doorward's own small client, the demo's agent where there is no curl: reads its proxy and roots from its environment as
//! any client does, and prints head and body.

use std::io;
use std::time::Duration;

use clap::Args;
use control::cli::{Env, Exit, Failure};

use crate::cli::through::{Call, Through};

/// No single read or write may take longer.
const LATE: Duration = Duration::from_secs(10);
/// The longest answer that is shown.
const ANSWER_MAX: u64 = 64 * 1024;

/// One request by the environment's proxy and roots.
#[derive(Args, Clone, Debug)]
pub struct Client {
    /// The method.
    method: String,
    /// Where: `https://host/path`.
    url: String,
    /// The variable whose value is sent as a bearer token.
    bearer: String,
}

impl Client {
    /// Sends it and prints the answer.
    pub fn run(&self, env: &Env) -> Result<Exit, Failure> {
        let answer = self.send(env).map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
        env.output.data(answer.trim_end());
        Ok(Exit::Ok)
    }

    fn send(&self, env: &Env) -> io::Result<String> {
        let wrong = |what: &'static str| io::Error::new(io::ErrorKind::InvalidInput, what);
        let var = |name, why| env.var(name).ok_or_else(|| wrong(why));
        let rest = self.url.strip_prefix("https://").ok_or_else(|| wrong("not an https url"))?;
        let (host, path) = rest.split_once('/').ok_or_else(|| wrong("not an https url"))?;
        let through = Through {
            proxy: var("HTTPS_PROXY", "HTTPS_PROXY is not set")?,
            bundle: var("SSL_CERT_FILE", "SSL_CERT_FILE is not set")?,
            late: LATE,
        };
        let bearer = format!("Authorization: Bearer {}", env.var(&self.bearer).unwrap_or_default());
        let answer = through.ask(&Call {
            method: &self.method,
            host,
            port: 443,
            is_plain: false,
            path: &format!("/{path}"),
            headers: &[bearer],
            body: "",
        })?;
        let head = answer.head.clone();
        Ok(head + &answer.body(ANSWER_MAX)?)
    }
}
