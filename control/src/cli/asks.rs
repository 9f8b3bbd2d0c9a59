//! `doorward get asks`, `describe ask`, `approve ask`, `deny ask`: what rules with `effect: ask` ask people.
//!
//! With a server the questions are the server's; without one they are those of the proxies of this home, which keep them in a
//! file of this user alone. What is shown is escaped again here, whatever a server sent.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::json;
use time::OffsetDateTime;

use super::listing::{Item, Listing, describe};
use super::remote::{Body, Sent, segment, server};
use super::vault::{block_on, home, not_found, project};
use super::{Env, Exit, Failure, when};
use crate::api::{AskView, ask_until, ask_view, ask_view_with};
use crate::approval::{AskRow, Decision, LONGEST, Preview, State, escaped, shown_again};
use crate::audit::{Entry, Kind, Verdict};
use crate::database::Database;
use crate::registry::{Act, Page, Registry, RegistryError, Seen};

/// The most questions of a file: more than are kept.
const ALL: Page = Page { after: None, limit: 100_000 };

/// Where the questions of this machine's proxies are.
#[derive(Args, Clone, Debug, Default)]
pub struct AsksArgs {
    /// Where proxies without a server keep what they ask (`effect: ask`); the home's own file where it is left out.
    #[arg(long, env = "DOORWARD_ASKS", value_name = "FILE")]
    pub asks: Option<PathBuf>,
}

impl AsksArgs {
    /// The file. The home's folders are made where it is the home's own.
    pub fn file(&self, env: &Env) -> Result<PathBuf, Failure> {
        if let Some(file) = &self.asks {
            return Ok(file.clone());
        }
        let home = home(env)?;
        home.prepare().map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
        let file = home.asks_db();
        if let Some(folder) = file.parent() {
            crate::private::folder(folder).map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
        }
        Ok(file)
    }

    async fn open(&self, env: &Env) -> Result<Database, Failure> {
        Ok(Database::sqlite(&self.file(env)?, true).await?)
    }
}

/// Which questions.
#[derive(Args, Clone, Debug)]
pub struct Asks {
    /// Also those that are used, settled or over.
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    place: AsksArgs,
}

/// Which question.
#[derive(Args, Clone, Debug)]
pub struct Ask {
    /// Its id.
    pub id: String,
    #[command(flatten)]
    place: AsksArgs,
}

/// What is approved: without a flag this one request, once, within an hour.
#[derive(Args, Clone, Debug)]
pub struct ApproveAsk {
    #[command(flatten)]
    which: Ask,
    /// One request alone (the default).
    #[arg(long, conflicts_with = "time")]
    once: bool,
    /// Each such request for this long: `30m`, `2h`, `7d` at most.
    #[arg(long = "for", value_name = "TIME", id = "time")]
    time: Option<String>,
    /// Put a rule that allows it in front of the one that asks, in the server's document, whatever query and body are.
    #[arg(long = "rule", conflicts_with_all = ["once", "time", "any_body"])]
    as_rule: bool,
    /// Whatever the body is: what was seen of it no longer counts.
    #[arg(long)]
    any_body: bool,
}

/// Let something not happen.
#[derive(Subcommand, Clone, Debug)]
pub enum Deny {
    /// A request that waits for a person; remembered for an hour.
    #[command(visible_alias = "asks")]
    Ask(Ask),
}

async fn views(env: &Env, place: &AsksArgs) -> Result<Vec<AskView>, Failure> {
    let project = project(env)?;
    if let Some(client) = server(env)? {
        return client.all(&format!("/v1/projects/{}/asks", segment(project))).await;
    }
    let rows = place.open(env).await?.asks(project, ALL).await;
    Ok(rows.map_err(failed)?.into_iter().map(ask_view).collect())
}

fn failed(error: RegistryError) -> Failure {
    crate::vault::store::StoreError::from(error).into()
}

fn is_live(view: &AskView, now: OffsetDateTime) -> bool {
    let is_over = when::parse(&view.expires, now).is_none_or(|end| end <= now);
    let is_settled = [State::Used, State::Settled].iter().any(|state| state.name() == view.state);
    !is_over && !is_settled
}

impl Asks {
    pub(super) fn listing(&self, env: &Env) -> Result<Listing, Failure> {
        let now = OffsetDateTime::now_utc();
        let mut views = block_on(views(env, &self.place))?;
        views.retain(|view| self.all || is_live(view, now));
        let item = |view: AskView| {
            let created = when::parse(&view.created, now).unwrap_or(now).unix_timestamp();
            let body = format!("{} bytes", view.body_bytes);
            let shown = [
                &view.name,
                &view.state,
                &view.agent,
                &view.provider,
                &view.rule,
                &view.method,
                &view.host,
                &view.path,
            ];
            let mut cells: Vec<String> = shown.into_iter().map(|text| escaped(text)).collect();
            cells.extend([body, when::age(created, now)]);
            cells.extend([&view.body_sha256, &view.binding, &view.expires].map(|text| escaped(text)));
            Ok(Item { name: escaped(&view.name), cells, object: object(&view)? })
        };
        let items: Result<Vec<_>, Failure> = views.into_iter().map(item).collect();
        let columns = &[
            "ID",
            "STATE",
            "AGENT",
            "PROVIDER",
            "RULE",
            "METHOD",
            "HOST",
            "PATH",
            "BODY",
            "AGE",
            "BODY SHA-256",
            "BINDING",
            "EXPIRES",
        ];
        Ok(Listing { kind: "ask", columns, wide_from: 10, items: items? })
    }
}

fn object(view: &AskView) -> Result<serde_json::Value, Failure> {
    serde_json::to_value(view).map_err(|error| Failure::new(Exit::Error, error.to_string()))
}

/// What may be seen of the body.
fn begins(view: &AskView) -> String {
    match (&view.body_preview, view.body_preview_bytes) {
        (Some(_), Some(0)) if view.body_bytes > 0 => "it is no text".to_owned(),
        (Some(text), Some(bytes)) if bytes < view.body_bytes => {
            format!("{} (the first {bytes} bytes)", shown_again(text))
        }
        (Some(text), _) => shown_again(text),
        (None, _) => "-".to_owned(),
    }
}

impl Ask {
    /// Shows everything that is known of it.
    pub(super) fn describe(&self, env: &Env) -> Result<Exit, Failure> {
        let (view, _) = block_on(self.find(env))?;
        let maybe = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), escaped);
        let lines = [
            ("Id", escaped(&view.name)),
            ("State", escaped(&view.state)),
            ("Agent", escaped(&view.agent)),
            ("Provider", escaped(&view.provider)),
            ("Rule", escaped(&view.rule)),
            ("Method", escaped(&view.method)),
            ("Host", escaped(&view.host)),
            ("Path", escaped(&view.path)),
            ("Action", maybe(&view.action)),
            ("Credential", view.scheme.as_deref().map_or_else(|| "none is put on".to_owned(), escaped)),
            (
                "WebSocket",
                if view.websocket { "yes: what is said on it is not known" } else { "no" }.to_owned(),
            ),
            ("Body", format!("{} bytes, SHA-256 {}", view.body_bytes, escaped(&view.body_sha256))),
            ("Body begins", begins(&view)),
            ("Approved for", if view.any_body { "any body" } else { "this body" }.to_owned()),
            ("Binding", escaped(&view.binding)),
            ("Request", escaped(&view.request)),
            ("Asked", escaped(&view.created)),
            ("Ends", escaped(&view.expires)),
            ("Decided", maybe(&view.decided)),
            ("Decided by", maybe(&view.decided_by)),
        ];
        describe(env, &format!("ask/{}", escaped(&view.name)), &lines, &object(&view)?)
    }

    /// It, and with a server the answer that showed it.
    async fn find(&self, env: &Env) -> Result<(AskView, Option<Sent>), Failure> {
        let found = match server(env)? {
            Some(client) => {
                let path = format!("/v1/projects/{}/asks/{}", segment(project(env)?), segment(&self.id));
                match client.find(&path).await? {
                    Some(sent) => Some((sent.read()?, Some(sent))),
                    None => None,
                }
            }
            None => {
                let row = self.place.open(env).await?.asked(project(env)?, &self.id).await;
                let now = OffsetDateTime::now_utc().unix_timestamp();
                row.map_err(failed)?.map(|row| {
                    let preview =
                        row.open_preview(now).and_then(|kept| Preview::parse(&kept.0, &row.binding));
                    (ask_view_with(row, preview), None)
                })
            }
        };
        match found {
            Some(found) => Ok(found),
            None => {
                let known = views(env, &self.place).await?;
                Err(not_found("ask", &self.id, known.iter().map(|view| view.name.as_str())))
            }
        }
    }

    /// Decides it, in the version that is there now.
    async fn decide(&self, env: &Env, wanted: Wanted) -> Result<AskView, Failure> {
        let (view, sent) = self.find(env).await?;
        if let (Some(client), Some(sent)) = (server(env)?, &sent) {
            let path = format!("/v1/projects/{}/asks/{}", segment(project(env)?), segment(&self.id));
            let (verb, body) = match wanted {
                Wanted::Approve { seconds, any_body } => {
                    ("approve", json!({"forSeconds": seconds, "anyBody": any_body}))
                }
                Wanted::Rule => ("approve", json!({"asRule": true})),
                Wanted::Deny => ("deny", json!({})),
            };
            return client
                .change(Method::POST, &format!("{path}/{verb}"), Some(Body::of(&body)), sent)
                .await?
                .read();
        }
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let decision = wanted.decision(now)?;
        let database = self.place.open(env).await?;
        let missing = || not_found("ask", &self.id, std::iter::empty());
        let row = database.asked(project(env)?, &self.id).await.map_err(failed)?.ok_or_else(missing)?;
        let by = format!("uid {}", rustix::process::getuid().as_raw());
        let act = Act { entry: Some(record(&row, decision, &by)), ..Act::at(now) };
        let seen = Seen::Version(view.version);
        let decided = database.decide_ask(project(env)?, &self.id, (decision, &by), seen, act).await;
        Ok(ask_view(decided.map_err(failed)?))
    }
}

/// The line that a file of questions keeps of a decision, as a server keeps it in its audit.
fn record(row: &AskRow, decision: Decision, by: &str) -> Entry {
    let mut entry = Entry::new(Kind::Control, SystemTime::now());
    entry.agent = Some(by.into());
    entry.verdict = Some(Verdict::Allow);
    entry.reason = format!("ask {} {}", row.id, row.told(decision)).into();
    entry
}

#[derive(Clone, Copy, Debug)]
enum Wanted {
    /// Once, or for so many seconds.
    Approve {
        seconds: Option<u64>,
        any_body: bool,
    },
    /// As a rule of the document.
    Rule,
    Deny,
}

impl Wanted {
    fn decision(self, now: i64) -> Result<Decision, Failure> {
        Ok(match self {
            Self::Approve { seconds: None, any_body } => Decision::Once { any_body },
            Self::Approve { seconds: Some(seconds), any_body } => {
                Decision::Until { until: ask_until(seconds, now).ok_or_else(too_long)?, any_body }
            }
            Self::Rule => {
                let message = "--rule changes a server's document; without a server put a rule with `effect: allow` in front of the one that asks";
                return Err(Failure::new(Exit::Usage, message));
            }
            Self::Deny => Decision::Deny,
        })
    }
}

fn too_long() -> Failure {
    Failure::new(Exit::Usage, format!("--for takes a time up to {} days: `30m`, `2h`", LONGEST / 86_400))
}

impl ApproveAsk {
    /// Approves it.
    pub(super) fn run(self, env: &Env) -> Result<Exit, Failure> {
        let command = self;
        let seconds = command.time.as_deref().map(span).transpose()?;
        let wanted = if command.as_rule {
            Wanted::Rule
        } else {
            Wanted::Approve { seconds, any_body: command.any_body }
        };
        let view = block_on(command.which.decide(env, wanted))?;
        let how = match (command.as_rule, seconds) {
            (true, _) => format!("as a rule of provider/{}", escaped(&view.provider)),
            (false, Some(_)) => format!("until {}", escaped(&view.expires)),
            (false, None) => "once".to_owned(),
        };
        env.output.say(format!("ask/{} approved {how}: {}", escaped(&view.name), shown(&view)));
        Ok(Exit::Ok)
    }
}

impl Deny {
    /// Denies it.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        let Self::Ask(ask) = self;
        let view = block_on(ask.decide(env, Wanted::Deny))?;
        env.output.say(format!("ask/{} denied: {}", escaped(&view.name), shown(&view)));
        Ok(Exit::Ok)
    }
}

/// A span as seconds.
fn span(text: &str) -> Result<u64, Failure> {
    let now = OffsetDateTime::UNIX_EPOCH;
    let is_span = text.ends_with(['d', 'h', 'm']);
    let end = when::parse(text, now).filter(|_| is_span).ok_or_else(too_long)?;
    u64::try_from(end.unix_timestamp())
        .ok()
        .filter(|seconds| ask_until(*seconds, 0).is_some())
        .ok_or_else(too_long)
}

/// The request, in one line.
fn shown(view: &AskView) -> String {
    let body = if view.any_body {
        "any body".to_owned()
    } else {
        format!("body of {} bytes, SHA-256 {}", view.body_bytes, escaped(&view.body_sha256))
    };
    let [agent, method, host, path] =
        [&view.agent, &view.method, &view.host, &view.path].map(|text| escaped(text));
    format!("{agent} {method} {host}{path}, {body}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_times_over_a_week_and_what_is_no_span() {
        for text in ["8d", "0m", "1w", "2027-01-31", "2027-01-31T12:00:00Z", "", "h", "-1h"] {
            assert_eq!(span(text).unwrap_err().exit, Exit::Usage, "{text}");
        }
        assert_eq!(span("7d").unwrap(), 604_800);
        assert_eq!(span("30m").unwrap(), 1800);
    }
}
