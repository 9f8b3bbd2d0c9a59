//! How audit lines are shown: as they stand, or one row each. A stream: nothing is collected.

use crate::audit::search::{Facts, clean};
use crate::cli::{Env, Exit, Failure, Format};

/// Whether the printing ends: an array has to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Ends,
    Endless,
}

#[derive(Debug)]
pub(super) struct Printer<'a> {
    env: &'a Env,
    /// The item of an array that waits until it is known whether another one follows.
    waiting: Option<String>,
    begun: bool,
}

impl<'a> Printer<'a> {
    pub(super) fn new(env: &'a Env, stream: Stream) -> Result<Self, Failure> {
        match (env.globals.output, stream) {
            (Format::Table | Format::Wide | Format::Jsonl, _) | (Format::Json, Stream::Ends) => {
                Ok(Self { env, waiting: None, begun: false })
            }
            (Format::Json, Stream::Endless) => {
                Err(Failure::new(Exit::Usage, "-o json has an end; with -f use -o jsonl"))
            }
            (
                Format::Yaml
                | Format::Name
                | Format::Sh
                | Format::Dotenv
                | Format::Docker
                | Format::Pem
                | Format::Bundle
                | Format::Java,
                _,
            ) => Err(Failure::new(Exit::Usage, "audit prints -o table, wide, json or jsonl")),
        }
    }

    /// One line; `raw` is the whole of it, cleaned.
    pub(super) fn print(&mut self, line: &Facts, raw: &str) {
        match self.env.globals.output {
            Format::Jsonl => self.env.output.data(raw),
            // Each text is a whole object already: joined, so that the order of the keys is kept.
            Format::Json => self.item(Some(raw.to_owned())),
            Format::Wide => self.env.output.data(row(line, true)),
            Format::Table
            | Format::Yaml
            | Format::Name
            | Format::Sh
            | Format::Dotenv
            | Format::Docker
            | Format::Pem
            | Format::Bundle
            | Format::Java => self.env.output.data(row(line, false)),
        }
    }

    /// After the last line.
    pub(super) fn end(&mut self) {
        if self.env.globals.output == Format::Json {
            self.item(None);
        }
    }

    fn item(&mut self, next: Option<String>) {
        let head = if self.begun { "" } else { "[" };
        match (std::mem::replace(&mut self.waiting, next), &self.waiting) {
            (Some(item), Some(_)) => self.env.output.data(format_args!("{head}{item},")),
            (Some(item), None) => self.env.output.data(format_args!("{head}{item}]")),
            (None, None) => self.env.output.data("[]"),
            (None, Some(_)) => return,
        }
        self.begun = true;
    }
}

pub(super) fn row(line: &Facts, wide: bool) -> String {
    let or_dash =
        |text: &Option<String>| clean(text.as_deref().filter(|text| !text.is_empty()).unwrap_or("-"));
    let status = line.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
    let port = line.port.filter(|port| *port != 443).map(|port| format!(":{port}")).unwrap_or_default();
    let place = format!("{}{port}{}", or_dash(&line.host), clean(line.path.as_deref().unwrap_or_default()));
    let mut row = format!(
        "{}  {:<10} {:<9} {:<12} {:<6} {:>3} {:>6}ms {place}",
        clean(line.ts.get(..23).unwrap_or(&line.ts)),
        or_dash(&line.verdict),
        clean(&line.kind),
        or_dash(&line.agent),
        or_dash(&line.method),
        status,
        line.elapsed_us / 1000,
    );
    for part in [&line.code, &line.reason].into_iter().flatten() {
        row.push_str("  ");
        row.push_str(&clean(part));
    }
    if wide {
        row.push_str(&format!(
            "  provider={} rule={} req={}",
            or_dash(&line.provider),
            or_dash(&line.rule),
            or_dash(&line.req)
        ));
    }
    row.trim_end().to_owned()
}
