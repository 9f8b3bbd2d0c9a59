//! What can go wrong in a run. A peer that is not installed is its own case: it is reported as "not run" and never as a number.

use std::io;

/// Why a run, a peer or a request failed.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A file, process or socket operation failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// TLS could not be set up or negotiated.
    #[error("tls: {0}")]
    Tls(#[from] rustls::Error),
    /// A test certificate could not be made.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A request failed below HTTP semantics.
    #[error("http: {0}")]
    Http(#[from] hyper::Error),
    /// The proxy did not answer CONNECT with 200.
    #[error("connect refused: {0}")]
    Refused(String),
    /// The answer was not the one asked for.
    #[error("unexpected answer: {0}")]
    Answer(String),
    /// The peer cannot do what the scenario asks (h2, for instance).
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// The peer is not on this machine.
    #[error("not installed: {0}")]
    NotInstalled(String),
    /// Something did not happen in time.
    #[error("timeout: {0}")]
    Timeout(String),
    /// The command line asks for something that does not exist.
    #[error("usage: {0}")]
    Usage(String),
}

impl BenchError {
    /// Gives an I/O error the words for what was being done.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

impl From<io::Error> for BenchError {
    fn from(source: io::Error) -> Self {
        Self::Io { what: "i/o".to_owned(), source }
    }
}
