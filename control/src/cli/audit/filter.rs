//! Which lines are shown, as flags.

use clap::Args;
use time::OffsetDateTime;

use crate::audit::search::{Filter, moment};
use crate::cli::{Exit, Failure, when};
use crate::refusal::Code;

/// Which lines are shown; all that is given has to match.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct FilterArgs {
    /// Of this agent, or of this caller of a server.
    #[arg(long)]
    pub(super) agent: Option<String>,
    /// Of this provider.
    #[arg(long)]
    pub(super) provider: Option<String>,
    /// To this host.
    #[arg(long)]
    pub(super) host: Option<String>,
    /// With this verdict: allow, deny, would-deny or error.
    #[arg(long, value_parser = ["allow", "deny", "would-deny", "error"])]
    pub(super) verdict: Option<String>,
    /// With this code (`DW1002`).
    #[arg(long)]
    pub(super) code: Option<String>,
    /// Of this request (`Doorward-Request-Id`).
    #[arg(long)]
    pub(super) request: Option<String>,
    /// From this time on: `2027-01-31`, `2027-01-31T12:00:00Z`, or so long ago `90d`, `12h`, `30m`.
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<String>,
    /// Before this time.
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<String>,
    /// With this text in the path.
    #[arg(long, value_name = "TEXT")]
    pub(super) path: Option<String>,
}

impl FilterArgs {
    pub(super) fn checked(&self) -> Result<Filter, Failure> {
        let code = match &self.code {
            Some(text) => {
                let code = Code::parse(text).ok_or_else(|| {
                    Failure::new(Exit::Usage, "--code is not a code; `doorward explain` lists all")
                })?;
                Some(code.name().to_owned())
            }
            None => None,
        };
        let time = |text: &Option<String>, flag| text.as_deref().map(|text| past(text, flag)).transpose();
        Ok(Filter {
            agent: self.agent.clone(),
            provider: self.provider.clone(),
            host: self.host.clone(),
            verdict: self.verdict.clone(),
            code,
            request: self.request.clone(),
            since: time(&self.since, "--since")?.map(moment),
            until: time(&self.until, "--until")?.map(moment),
            path: self.path.clone(),
        })
    }
}

/// A time, or a span before now.
pub(super) fn past(text: &str, flag: &str) -> Result<OffsetDateTime, Failure> {
    let now = OffsetDateTime::now_utc();
    let read = when::parse(text, now).and_then(|time| {
        // A span is read as one from now on.
        if text.ends_with(['d', 'h', 'm']) { now.checked_sub(time - now) } else { Some(time) }
    });
    read.ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            format!("{flag} is no time: 2027-01-31, 2027-01-31T12:00:00Z, 90d, 12h, 30m"),
        )
    })
}
