//! How audit lines are shown: as they stand, or one row each.
//!
//! Control characters are never passed on: a file may have been changed since it was written.

use serde::Deserialize;

use crate::cli::{Env, Exit, Failure, Format};

/// What is shown of a line.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Shown {
    pub(super) ts: String,
    pub(super) kind: String,
    pub(super) req: Option<String>,
    pub(super) agent: Option<String>,
    pub(super) provider: Option<String>,
    pub(super) rule: Option<String>,
    pub(super) method: Option<String>,
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) path: Option<String>,
    pub(super) verdict: Option<String>,
    pub(super) code: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) status: Option<u16>,
    pub(super) elapsed_us: u64,
}

/// No character that moves a terminal's cursor or colours.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || crate::audit::is_format(c) { '\u{fffd}' } else { c }).collect()
}

/// Whether the printing ends: an array has to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Ends,
    Endless,
}

#[derive(Debug)]
pub(super) struct Printer<'a> {
    env: &'a Env,
}

impl<'a> Printer<'a> {
    pub(super) fn new(env: &'a Env, stream: Stream) -> Result<Self, Failure> {
        match (env.globals.output, stream) {
            (Format::Table | Format::Wide | Format::Jsonl, _) | (Format::Json, Stream::Ends) => {
                Ok(Self { env })
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

    pub(super) fn print(&self, lines: impl Iterator<Item = (Shown, String)>) {
        let output = self.env.globals.output;
        if output == Format::Json {
            // Each text is a whole object already: joined, so that the order of the keys is kept.
            let texts: Vec<_> = lines.map(|(_, text)| text).collect();
            self.env.output.data(format_args!("[{}]", texts.join(",\n")));
            return;
        }
        for (line, text) in lines {
            match output {
                Format::Jsonl => self.env.output.data(text),
                Format::Wide => self.env.output.data(row(&line, true)),
                Format::Table
                | Format::Json
                | Format::Yaml
                | Format::Name
                | Format::Sh
                | Format::Dotenv
                | Format::Docker
                | Format::Pem
                | Format::Bundle
                | Format::Java => {
                    self.env.output.data(row(&line, false));
                }
            }
        }
    }
}

pub(super) fn row(line: &Shown, wide: bool) -> String {
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
