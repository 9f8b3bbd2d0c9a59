//! The records of a server: its sources, and their lines page by page, so that no more than a page is held.

use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;

use crate::api::{AuditRecords, AuditSources, Checkpoints};
use crate::audit::search::{Facts, Filter, clean};
use crate::cli::remote::{Client, segment};
use crate::cli::vault::project;
use crate::cli::{Env, Exit, Failure};

/// Which records of a server.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct TrailArgs {
    /// Of this source only: `control` are the server's own records, the others are sidecars'.
    #[arg(long, value_name = "NAME")]
    pub(super) source: Option<String>,
    /// Of the whole installation, not of one project: needs a token of the installation.
    #[arg(long)]
    pub(super) installation: bool,
}

impl TrailArgs {
    /// Files have no sources and no projects.
    pub(super) fn refused_for_files(&self) -> Result<(), Failure> {
        if self.source.is_some() || self.installation {
            return Err(Failure::new(
                Exit::Usage,
                "--source and --installation are for the records of a server; log in with `doorward login`",
            ));
        }
        Ok(())
    }
}

/// The records of a project, or of the installation.
#[derive(Debug)]
pub(super) struct Trail {
    pub(super) client: Client,
    base: String,
    project: Option<String>,
    source: Option<String>,
}

fn quoted(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

impl Trail {
    pub(super) fn new(env: &Env, client: Client, wanted: &TrailArgs) -> Result<Self, Failure> {
        let project = if wanted.installation { None } else { Some(project(env)?.to_owned()) };
        let base = match &project {
            Some(project) => format!("/v1/projects/{}/audit", segment(project)),
            None => "/v1/audit".to_owned(),
        };
        Ok(Self { client, base, project, source: wanted.source.clone() })
    }

    /// Asks about one source.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        verb: &str,
        source: &str,
        more: &str,
    ) -> Result<T, Failure> {
        self.client.get(&format!("{}{verb}?source={}{more}", self.base, quoted(source))).await?.read()
    }

    /// The sources that are wanted.
    pub(super) async fn sources(&self) -> Result<Vec<String>, Failure> {
        if let Some(source) = &self.source {
            return Ok(vec![source.clone()]);
        }
        Ok(self.ends().await?.into_iter().map(|(source, _)| source).collect())
    }

    /// The sources that are wanted and there, and the number of the last record of each.
    pub(super) async fn ends(&self) -> Result<Vec<(String, u64)>, Failure> {
        let all: AuditSources = self.client.get(&format!("{}/sources", self.base)).await?.read()?;
        let is_wanted = |name: &String| self.source.as_ref().is_none_or(|source| source == name);
        let ends = all.items.into_iter().map(|source| (source.name, source.last));
        Ok(ends.filter(|(name, _)| is_wanted(name)).collect())
    }

    /// Shows every record that is wanted: its source, what it says, and the whole of it, cleaned.
    pub(super) async fn each(
        &self,
        filter: &Filter,
        mut take: impl FnMut(&str, Facts, String),
    ) -> Result<(), Failure> {
        for source in self.sources().await? {
            self.on(&source, 0, filter, |line, text| take(&source, line, text)).await?;
        }
        Ok(())
    }

    /// Shows the records of a source that are wanted and come after a number; the number of the last one that was shown, or
    /// the one given.
    pub(super) async fn on(
        &self,
        source: &str,
        from: u64,
        filter: &Filter,
        mut take: impl FnMut(Facts, String),
    ) -> Result<u64, Failure> {
        let wanted = query(filter);
        let (mut after, mut last) = (from, from);
        loop {
            let more = format!("&limit=1000&after={after}{wanted}");
            let page: AuditRecords = self.ask("", source, &more).await?;
            for item in page.items {
                let text = clean(item.record.get());
                last = last.max(item.seq);
                take(Facts::of(&text).unwrap_or_default(), text);
            }
            match page.next {
                Some(next) => after = next,
                None => return Ok(last),
            }
        }
    }

    /// What a source that is stored under a name is called here.
    pub(super) fn own_name(&self, stored: &str) -> String {
        let own = self
            .project
            .as_ref()
            .and_then(|project| stored.strip_prefix(project.as_str())?.strip_prefix('/'));
        own.unwrap_or(stored).to_owned()
    }

    /// Whether all records of a stored source can be seen here.
    pub(super) fn is_whole(&self, stored: &str) -> bool {
        self.project.is_none() || self.own_name(stored) != stored
    }

    /// The number of the first record that is there.
    pub(super) async fn first(&self, source: &str) -> Result<Option<u64>, Failure> {
        let page: AuditRecords = self.ask("", source, "&limit=1").await?;
        Ok(page.items.first().map(|item| item.seq))
    }

    /// One record.
    pub(super) async fn line(&self, source: &str, seq: u64) -> Result<Option<String>, Failure> {
        let more = format!("&limit=1&after={}", seq.saturating_sub(1));
        let page: AuditRecords = self.ask("", source, &more).await?;
        Ok(page.items.into_iter().find(|item| item.seq == seq).map(|item| item.record.get().to_owned()))
    }

    /// Every checkpoint of a source, each as one line.
    pub(super) async fn checkpoints(&self, source: &str) -> Result<Vec<String>, Failure> {
        let mut all = Vec::new();
        let mut after = 0;
        loop {
            let more = format!("&limit=1000&after={after}");
            let page: Checkpoints = self.ask("/checkpoints", source, &more).await?;
            for item in page.items {
                let line = serde_json::to_string(&item);
                all.push(line.map_err(|error| Failure::new(Exit::Error, error.to_string()))?);
            }
            match page.next {
                Some(next) => after = next,
                None => return Ok(all),
            }
        }
    }
}

fn query(filter: &Filter) -> String {
    let Filter { agent, provider, host, verdict, code, request, since, until, path } = filter;
    let parts = [
        ("agent", agent),
        ("provider", provider),
        ("host", host),
        ("verdict", verdict),
        ("code", code),
        ("request", request),
        ("since", since),
        ("until", until),
        ("path", path),
    ];
    let given = parts.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    given.map(|(name, value)| format!("&{name}={}", quoted(value))).collect()
}
