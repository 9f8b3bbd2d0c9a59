//! `doorward health`: for probes of containers that hold no curl. Exit 0 when the proxy or server is ready (or lives), 7 when not.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use clap::Args;
use control::cli::{Env, Exit, Failure};

/// A probe's own deadline is often one second.
const LATE: Duration = Duration::from_millis(900);
/// The report is a few lines.
const ANSWER_MAX: u64 = 64 * 1024;
const READY: &str = "/readyz?verbose";
const LIVE: &str = "/livez";

/// Ask a proxy or a server whether it is ready (exit 0) or not (exit 7).
#[derive(Args, Clone, Debug)]
pub struct Health {
    /// The admin address, as --admin was given: http://127.0.0.1:3129 or 127.0.0.1:3129.
    #[arg(long, env = "DOORWARD_ADMIN", value_name = "URL", default_value = "http://127.0.0.1:3129")]
    admin: String,
    /// Ask whether it lives, ready or not.
    #[arg(long)]
    live: bool,
}

impl Health {
    /// Asks.
    pub fn run(&self, env: &Env) -> Result<Exit, Failure> {
        let address = self.address()?;
        let unhealthy = |why: String| Failure::new(Exit::Unhealthy, format!("{}: {why}", self.admin));
        let answer = ask(address, if self.live { LIVE } else { READY })
            .map_err(|error| unhealthy(error.to_string()))?;
        let (head, report) =
            answer.split_once("\r\n\r\n").ok_or_else(|| unhealthy("no HTTP answer".to_owned()))?;
        env.output.data(report.trim_end());
        match head.split(' ').nth(1) {
            Some("200") => Ok(Exit::Ok),
            _ => Ok(Exit::Unhealthy),
        }
    }

    fn address(&self) -> Result<SocketAddr, Failure> {
        let usage =
            || Failure::new(Exit::Usage, "--admin is an address with its port, http://127.0.0.1:3129");
        let text = self.admin.strip_prefix("http://").unwrap_or(&self.admin).trim_end_matches('/');
        text.to_socket_addrs().ok().and_then(|mut found| found.next()).ok_or_else(usage)
    }
}

fn ask(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, LATE)?;
    stream.set_read_timeout(Some(LATE))?;
    stream.set_write_timeout(Some(LATE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::TcpListener;

    use control::cli::{Globals, Output};

    use super::*;

    fn health(admin: &str) -> Result<Exit, Failure> {
        asked(admin, false)
    }

    fn asked(admin: &str, live: bool) -> Result<Exit, Failure> {
        let env = Env {
            vars: BTreeMap::new(),
            globals: Globals::default(),
            schemes: &[],
            output: Output,
            tls: control::cli::no_tls,
            browse: control::cli::no_browser,
        };
        Health { admin: admin.to_owned(), live }.run(&env)
    }

    /// Answers with this; where it is asked whether it lives, with 200.
    fn answering(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 1024];
            assert!(stream.read(&mut head).unwrap() > 0);
            let answer = if head.starts_with(b"GET /livez ") { "HTTP/1.1 200 OK\r\n\r\nok" } else { answer };
            stream.write_all(answer.as_bytes()).unwrap();
        });
        format!("http://{address}")
    }

    #[test]
    fn a_proxy_that_is_not_there_or_not_ready_is_unhealthy() {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(health(&nobody.to_string()).unwrap_err().exit, Exit::Unhealthy);
        assert_eq!(health(&answering("HTTP/1.1 503 No\r\n\r\n[-] serving")).unwrap(), Exit::Unhealthy);
        assert_eq!(asked(&answering("HTTP/1.1 503 No\r\n\r\n[-] serving"), true).unwrap(), Exit::Ok);
        assert_eq!(health(&answering("nonsense")).unwrap_err().exit, Exit::Unhealthy);
        assert_eq!(health("not an address").unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn a_proxy_that_is_ready_is_healthy() {
        assert_eq!(health(&answering("HTTP/1.1 200 OK\r\n\r\n[+] serving")).unwrap(), Exit::Ok);
    }
}
