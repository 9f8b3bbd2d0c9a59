//! Which lines of the audit somebody wants to see: the same question to a file and to a server.
//!
//! Lines are shown with control characters replaced: what a file holds may have been changed since it was written.

use serde::Deserialize;
use time::OffsetDateTime;
use time::macros::format_description;

/// What is looked at of a line.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields of a line, by their names")]
pub struct Facts {
    pub ts: String,
    pub seq: u64,
    pub kind: String,
    pub req: Option<String>,
    pub agent: Option<String>,
    pub provider: Option<String>,
    pub rule: Option<String>,
    pub method: Option<String>,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub path: Option<String>,
    pub verdict: Option<String>,
    pub code: Option<String>,
    pub reason: Option<String>,
    pub status: Option<u16>,
    pub elapsed_us: u64,
}

impl Facts {
    /// What a line says, if it is one.
    pub fn of(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }
}

/// What is wanted; all that is given has to match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this agent, or person.
    pub agent: Option<String>,
    /// Of this provider.
    pub provider: Option<String>,
    /// To this host.
    pub host: Option<String>,
    /// With this verdict.
    pub verdict: Option<String>,
    /// With this code.
    pub code: Option<String>,
    /// Of this request.
    pub request: Option<String>,
    /// From this time on, as [`moment`] writes it.
    pub since: Option<String>,
    /// Before this time, as [`moment`] writes it.
    pub until: Option<String>,
    /// With this text in the path.
    pub path: Option<String>,
}

impl Filter {
    /// Whether a line is wanted.
    pub fn takes(&self, line: &Facts) -> bool {
        let fits = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        fits(&self.agent, &line.agent)
            && fits(&self.provider, &line.provider)
            && fits(&self.host, &line.host)
            && fits(&self.verdict, &line.verdict)
            && fits(&self.code, &line.code)
            && fits(&self.request, &line.req)
            && self.since.as_ref().is_none_or(|since| line.ts >= *since)
            && self.until.as_ref().is_none_or(|until| line.ts < *until)
            && self
                .path
                .as_ref()
                .is_none_or(|text| line.path.as_ref().is_some_and(|path| path.contains(text.as_str())))
    }

    /// Whether it takes every line.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A time as lines write theirs, so that texts compare as times do.
pub fn moment(at: OffsetDateTime) -> String {
    let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    at.to_offset(time::UtcOffset::UTC).format(form).unwrap_or_default()
}

/// No character that moves a terminal's cursor or colours, ends a line or reorders text.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || super::is_format(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_filter_takes_lines_that_fit_in_every_part() {
        let line = Facts {
            ts: "2027-01-15T08:00:00.123000Z".into(),
            agent: Some("coder".into()),
            path: Some("/repos/a/issues".into()),
            ..Facts::default()
        };
        let some = |text: &str| Some(text.to_owned());
        assert!(Filter::default().takes(&line));
        assert!(!Filter { agent: some("other"), ..Filter::default() }.takes(&line));
        assert!(!Filter { agent: some("coder"), provider: some("github"), ..Filter::default() }.takes(&line));
        assert!(Filter { path: some("/a/"), ..Filter::default() }.takes(&line));
        assert!(!Filter { path: some("/b/"), ..Filter::default() }.takes(&line));
        let between = |since, until| Filter {
            since: Some(moment(since)),
            until: Some(moment(until)),
            ..Filter::default()
        };
        let (before, at, after) = (
            datetime!(2027-01-15 08:00 UTC),
            datetime!(2027-01-15 09:00:00.123 +1),
            datetime!(2027-01-15 08:00:01 UTC),
        );
        assert!(between(before, after).takes(&line) && between(at, after).takes(&line));
        assert!(!between(before, at).takes(&line) && !between(after, after).takes(&line));
    }

    #[test]
    fn nothing_that_moves_a_cursor_is_shown() {
        assert_eq!(clean("a\u{1b}[2Jb\u{9b}c\u{202e}d\ne"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d\u{fffd}e");
    }
}
