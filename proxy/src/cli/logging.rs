//! Operators' logs: to stderr, pretty or JSON. Audit is the record; this is not.

use std::io::{self, IsTerminal};

use control::cli::{Exit, Failure};
use tracing_subscriber::EnvFilter;

use super::proxy::LogFormat;

/// Starts logging. The filter is a flag; the environment is not read here.
pub(crate) fn start(filter: &str, format: LogFormat) -> Result<(), Failure> {
    let filter = EnvFilter::builder()
        .parse(filter)
        .map_err(|error| Failure::new(Exit::Usage, format!("--log: {error}")))?;
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    let is_terminal = io::stderr().is_terminal();
    let started = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Auto if !is_terminal => builder.json().flatten_event(true).try_init(),
        LogFormat::Auto | LogFormat::Pretty => builder.with_ansi(is_terminal).try_init(),
    };
    started.map_err(|_| Failure::new(Exit::Error, "logging was started before"))
}
