//! `doorward apply -f` and `doorward diff -f`: makes of a folder of documents what the server, or the home's provider files,
//! hold. Secrets are referred to, never in the documents.
//!
//! Everything is read once and checked first, by a server too: with a mistake in any document nothing is changed. What only
//! shows in the doing (somebody else's change meanwhile, a document that is in use and would be pruned, one that falls back to a
//! new one) stops it where it is: what was done before stays, and running it again goes on.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::difference::difference;
use super::remote::{Body, Client, Sent, segment, server};
use super::vault::{block_on, home, project};
use super::{Env, Exit, Failure};
use crate::api::DocumentView;
use crate::private;
use crate::provider;

/// The documents.
#[derive(Args, Clone, Debug)]
struct Files {
    /// A file, or a folder of files (repeatable).
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true)]
    files: Vec<PathBuf>,
}

/// Make what the documents say.
#[derive(Args, Clone, Debug)]
pub struct Apply {
    #[command(flatten)]
    files: Files,
    /// Only say what would be done, after the same checks.
    #[arg(long)]
    dry_run: bool,
    /// Remove providers and model providers of the project that the documents do not have.
    #[arg(long)]
    prune: bool,
}

/// Say what `apply` would change, line by line.
#[derive(Args, Clone, Debug)]
pub struct Diff {
    #[command(flatten)]
    files: Files,
}

/// One document of a file.
#[derive(Debug)]
struct Document {
    kind: Kind,
    name: String,
    text: String,
    /// Those whose fallbacks have to be there first come last.
    is_late: bool,
}

/// The kinds of documents that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Provider,
    ModelProvider,
}

impl Kind {
    /// As the command line says it.
    pub(crate) fn shown(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::ModelProvider => "model-provider",
        }
    }

    /// As a document says it.
    pub(crate) fn written(self) -> &'static str {
        match self {
            Self::Provider => "Provider",
            Self::ModelProvider => "ModelProvider",
        }
    }

    /// As the paths of the API say it.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Provider => "providers",
            Self::ModelProvider => "model-providers",
        }
    }

    /// Reads it from a document.
    pub(crate) fn of(name: &str) -> Option<Self> {
        match name {
            "Provider" => Some(Self::Provider),
            "ModelProvider" => Some(Self::ModelProvider),
            _ => None,
        }
    }
}

/// What of a document says which it is.
#[derive(Default, Deserialize)]
struct Glance {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
}

#[derive(Default, Deserialize)]
struct Spec {
    #[serde(default)]
    fallbacks: Vec<String>,
}

/// A document as it is now.
pub(crate) struct Present {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) text: String,
    place: Place,
}

impl Present {
    /// The file that it stands in.
    pub(crate) fn file(&self) -> Option<&std::path::Path> {
        match &self.place {
            Place::File(file, _) => Some(file),
            Place::Server => None,
        }
    }
}

enum Place {
    Server,
    /// The file, and whether it holds this document alone.
    File(PathBuf, bool),
}

/// Where documents are kept.
enum Keep {
    Server(Client, String),
    Folder(PathBuf),
}

/// What becomes of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Created,
    Changed,
    Unchanged,
    Pruned,
}

impl Fate {
    fn shown(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Pruned => "pruned",
        }
    }
}

impl Files {
    /// Reads and checks all of them.
    fn read(&self, env: &Env) -> Result<Vec<Document>, Failure> {
        let read: Vec<(PathBuf, String)> = provider::files(&self.files)
            .into_iter()
            .map(|file| text_of(&file).map(|text| (file, text)))
            .collect::<Result<_, _>>()?;
        let loaded = provider::load(&self.files, env.schemes).map_err(|mistakes| {
            let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
            Failure::new(Exit::Error, lines.join("\n"))
        })?;
        let failed: Vec<_> = loaded
            .tests
            .iter()
            .filter_map(|case| case.run().err().map(|why| format!("{}:{}: {why}", case.path, case.line)))
            .collect();
        if !failed.is_empty() {
            return Err(Failure::new(Exit::Error, failed.join("\n")));
        }
        let mut all = Vec::new();
        for file in &loaded.files {
            let shown = file.display();
            // What is applied is what was checked: the same before and after.
            let checked = read.iter().find(|(other, _)| other == file).map(|(_, text)| text.as_str());
            let text = text_of(file)?;
            if checked != Some(text.as_str()) {
                let message = format!("{shown} was changed while it was checked; nothing was applied");
                return Err(Failure::new(Exit::Conflict, message));
            }
            for text in split(&text) {
                let glance: Glance = serde_saphyr::from_str(&text).unwrap_or_default();
                let kind = Kind::of(&glance.kind).ok_or_else(|| {
                    let what = format!("{shown}: `apply` takes Provider and ModelProvider documents; agents are made by `doorward add agent` and `doorward attach`");
                    Failure::new(Exit::Usage, what)
                })?;
                let is_late = !glance.spec.fallbacks.is_empty();
                all.push(Document { kind, name: glance.metadata.name, text, is_late });
            }
        }
        all.sort_by(|a, b| (a.is_late, a.kind, &a.name).cmp(&(b.is_late, b.kind, &b.name)));
        Ok(all)
    }
}

fn text_of(file: &std::path::Path) -> Result<String, Failure> {
    std::fs::read_to_string(file)
        .map_err(|error| Failure::new(Exit::Error, format!("{}: {error}", file.display())))
}

/// The documents of a text: a line that is `---` begins the next one, in every YAML text.
fn split(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    for line in text.strip_prefix('\u{feff}').unwrap_or(text).lines() {
        if line == "---" || line.starts_with("--- ") {
            all.push(line.strip_prefix("---").unwrap_or_default().trim_start().to_owned());
        } else if let Some(last) = all.last_mut() {
            last.push_str(line);
        }
        if let Some(last) = all.last_mut().filter(|last| !last.is_empty()) {
            last.push('\n');
        }
    }
    let is_empty = |text: &String| {
        text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with('#') || line == "...")
    };
    all.retain(|text| !is_empty(text));
    all
}

impl Keep {
    fn of(env: &Env) -> Result<Self, Failure> {
        Ok(match server(env)? {
            Some(client) => Self::Server(client, format!("/v1/projects/{}", segment(project(env)?))),
            None => Self::Folder(home(env)?.providers_dir()),
        })
    }

    async fn present(&self) -> Result<Vec<Present>, Failure> {
        match self {
            Self::Server(client, base) => {
                let mut all = Vec::new();
                for kind in [Kind::Provider, Kind::ModelProvider] {
                    let views: Vec<DocumentView> = client.all(&format!("{base}/{}", kind.folder())).await?;
                    all.extend(views.into_iter().map(|view| Present {
                        kind,
                        name: view.name,
                        text: view.document,
                        place: Place::Server,
                    }));
                }
                Ok(all)
            }
            Self::Folder(folder) => in_folder(folder),
        }
    }

    async fn put(&self, document: &Document, before: Option<&Present>, is_dry: bool) -> Result<(), Failure> {
        match self {
            Self::Server(client, base) => {
                let all = format!("{base}/{}", document.kind.folder());
                let dry = if is_dry { "?dryRun=true" } else { "" };
                let body = Body::of(&json!({"document": document.text}));
                if before.is_none() {
                    client.post(&format!("{all}{dry}"), body).await?;
                    return Ok(());
                }
                let one = format!("{all}/{}", segment(&document.name));
                let seen: Sent = client.get(&one).await?;
                client.change(Method::PUT, &format!("{one}{dry}"), Some(body), &seen).await?;
                Ok(())
            }
            Self::Folder(folder) => {
                let path = match before.map(|before| &before.place) {
                    Some(Place::File(path, true)) => path.clone(),
                    Some(Place::File(path, false)) => {
                        return Err(shared(path, document.kind, &document.name));
                    }
                    Some(Place::Server) | None => {
                        folder.join(format!("{}-{}.yaml", document.kind.shown(), document.name))
                    }
                };
                if is_dry {
                    return Ok(());
                }
                let failed = |error: private::PrivateError| Failure::new(Exit::Error, error.to_string());
                private::folder(folder).map_err(failed)?;
                private::replace(&path, document.text.as_bytes()).map_err(failed)
            }
        }
    }

    async fn remove(&self, present: &Present, is_dry: bool) -> Result<(), Failure> {
        match (self, &present.place) {
            (Self::Server(client, base), _) => {
                let one = format!("{base}/{}/{}", present.kind.folder(), segment(&present.name));
                let seen = client.get(&one).await?;
                if !is_dry {
                    client.change(Method::DELETE, &one, None, &seen).await?;
                }
                Ok(())
            }
            (Self::Folder(_), Place::File(path, true)) if is_dry => {
                debug_assert!(path.exists());
                Ok(())
            }
            (Self::Folder(_), Place::File(path, true)) => std::fs::remove_file(path)
                .map_err(|error| Failure::new(Exit::Error, format!("{}: {error}", path.display()))),
            (Self::Folder(_), Place::File(path, false)) => Err(shared(path, present.kind, &present.name)),
            (Self::Folder(_), Place::Server) => Ok(()),
        }
    }
}

fn shared(path: &std::path::Path, kind: Kind, name: &str) -> Failure {
    Failure::new(
        Exit::Conflict,
        format!(
            "{}/{name} stands in {} beside other documents; change that file",
            kind.shown(),
            path.display()
        ),
    )
}

/// The documents of a folder.
pub(crate) fn in_folder(folder: &std::path::Path) -> Result<Vec<Present>, Failure> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut all = Vec::new();
    for file in provider::files(&[folder.to_owned()]) {
        let text = std::fs::read_to_string(&file)
            .map_err(|error| Failure::new(Exit::Error, format!("{}: {error}", file.display())))?;
        let texts = split(&text);
        let is_alone = texts.len() == 1;
        for text in texts {
            let glance: Glance = serde_saphyr::from_str(&text).unwrap_or_default();
            let Some(kind) = Kind::of(&glance.kind) else { continue };
            let place = Place::File(file.clone(), is_alone);
            all.push(Present { kind, name: glance.metadata.name, text, place });
        }
    }
    Ok(all)
}

impl Apply {
    /// Applies them.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        let documents = self.files.read(env)?;
        let keep = Keep::of(env)?;
        block_on(async {
            let present = keep.present().await?;
            let names: BTreeSet<_> = documents.iter().map(|one| (one.kind, one.name.as_str())).collect();
            let say = |kind: Kind, name: &str, fate: Fate| {
                let dry = if self.dry_run { " (dry run)" } else { "" };
                env.output.data(format!("{}/{name} {}{dry}", kind.shown(), fate.shown()));
            };
            let fated = |document: &Document| match find(&present, document) {
                None => Fate::Created,
                Some(before) if before.text.trim_end() == document.text.trim_end() => Fate::Unchanged,
                Some(_) => Fate::Changed,
            };
            // Those that fall back to others can only be checked where these are.
            for document in documents.iter().filter(|one| !one.is_late && fated(one) != Fate::Unchanged) {
                keep.put(document, find(&present, document), true).await?;
            }
            for document in &documents {
                let (before, fate) = (find(&present, document), fated(document));
                if fate != Fate::Unchanged {
                    keep.put(document, before, self.dry_run).await?;
                }
                say(document.kind, &document.name, fate);
            }
            let gone = present.iter().filter(|one| !names.contains(&(one.kind, one.name.as_str())));
            // Those with fallbacks name others: they go first, as they came last.
            for one in gone.filter(|_| self.prune) {
                keep.remove(one, self.dry_run).await?;
                say(one.kind, &one.name, Fate::Pruned);
            }
            Ok(Exit::Ok)
        })
    }
}

fn find<'a>(present: &'a [Present], document: &Document) -> Option<&'a Present> {
    present.iter().find(|one| one.kind == document.kind && one.name == document.name)
}

impl Diff {
    /// Prints what differs.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        let documents = self.files.read(env)?;
        let keep = Keep::of(env)?;
        block_on(async {
            let present = keep.present().await?;
            for document in &documents {
                let before = find(&present, document).map_or("", |before| before.text.as_str());
                if before.trim_end() == document.text.trim_end() {
                    continue;
                }
                env.output.data(format!("{}/{}", document.kind.shown(), document.name));
                difference(before, &document.text).iter().for_each(|line| env.output.data(line));
            }
            Ok(Exit::Ok)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_split_where_yaml_begins_a_document() {
        assert_eq!(
            split("a: 1\n---\nb: |\n  ---x\n  --- \n---\n# only a comment\n"),
            ["a: 1\n", "b: |\n  ---x\n  --- \n"]
        );
        assert_eq!(split("---\na: 1\n"), ["a: 1\n"]);
        assert_eq!(split("{\"a\": 1}"), ["{\"a\": 1}\n"]);
        assert!(split("\n# nothing\n---\n").is_empty());
    }
}
