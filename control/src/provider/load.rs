//! Reads provider files: every mistake of every file at once, or a whole and consistent set.
//!
//! Refuses files that are not UTF-8, empty or over 1 MiB, folders deeper than 16 and more than 4096 files; names that two
//! documents share; and two providers that name the same hosts for one agent.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::budget;
use super::build::{self, Ground};
use super::cases::{Case, CaseText};
use super::report::{Mistake, Report, shown_key, suggestion};
use super::schema::{self, KINDS, Kind, Shape};
use super::tree::{self, FILE_MAX, Node, Place, Value};
use super::{AgentRules, Provider, model};
use crate::catalog::SchemeSpec;
use crate::rule::Routes;

/// Folders below a named one.
const DEPTH_MAX: usize = 16;
/// Files of one load.
const FILES_MAX: usize = 4096;

/// What provider files hold, as run.
#[derive(Debug, Default)]
pub struct Loaded {
    /// In the order of the files.
    pub providers: Vec<Arc<Provider>>,
    /// The Agent documents.
    pub agents: Vec<AgentRules>,
    /// The providers by host.
    pub routes: Routes,
    /// The files' own tests.
    pub tests: Vec<Case>,
    /// What is allowed and worth telling.
    pub warnings: Vec<Mistake>,
    /// Every file that was read, for whoever watches them.
    pub files: Vec<PathBuf>,
}

/// Loads files and folders (recursively: `*.yaml`, `*.yml`, `*.json`, sorted; names that begin with a dot are left out,
/// as Kubernetes mounts need it). No path at all gives an empty set, in which nothing is allowed.
///
/// # Errors
/// All mistakes of all files, sorted by place.
pub fn load(paths: &[PathBuf], schemes: &[&SchemeSpec]) -> Result<Loaded, Vec<Mistake>> {
    load_allowed(paths, schemes, &|_, _| Ok(()))
}

/// Like [`load()`]; a file whose bytes `gate` refuses is not read further, and its reason is the mistake. What was checked is
/// what is used.
///
/// # Errors
/// All mistakes of all files, sorted by place.
pub fn load_allowed(
    paths: &[PathBuf],
    schemes: &[&SchemeSpec],
    gate: &Gate<'_>,
) -> Result<Loaded, Vec<Mistake>> {
    load_beside(paths, &[], schemes, gate)
}

/// A document that comes from a server.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// What mistakes are reported under.
    pub label: &'a str,
    /// The project that it stands in.
    pub project: &'a str,
    /// Its kind, `Provider` or `ModelProvider`.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
    /// YAML or JSON.
    pub text: &'a str,
}

/// Like [`load_allowed`], with documents of a server beside the files. Each of them is one provider of the name and project that
/// it was given under, and names no file.
///
/// # Errors
/// All mistakes of all files and documents, sorted by place.
pub fn load_beside(
    paths: &[PathBuf],
    given: &[Given<'_>],
    schemes: &[&SchemeSpec],
    gate: &Gate<'_>,
) -> Result<Loaded, Vec<Mistake>> {
    let mut set = Set::default();
    for one in given {
        set.given(*one, schemes);
    }
    for root in paths {
        let mut files = Vec::new();
        match find(root, 0, &mut files) {
            Ok(()) => {}
            Err(mistake) => set.mistakes.push(mistake),
        }
        for file in files {
            if set.files.contains(&file) {
                continue;
            }
            set.read(&file, root, schemes, gate);
            set.files.push(file);
        }
    }
    set.finish()
}

/// Whether a file may be used with these bytes, or why not.
pub type Gate<'a> = dyn Fn(&Path, &[u8]) -> Result<(), String> + 'a;

/// The files that [`load()`] would read now, without those that it could not find.
pub fn files(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for root in paths {
        // The mistake is told when they are loaded.
        drop(find(root, 0, &mut files));
    }
    files
}

/// Loads one text, as if it were a file of this name.
///
/// # Errors
/// All its mistakes, sorted by place.
pub fn parse_text(name: &str, text: &str, schemes: &[&SchemeSpec]) -> Result<Loaded, Vec<Mistake>> {
    let mut set = Set::default();
    set.add(
        name,
        name,
        text,
        Ground { schemes, config: None, scope: None, variant: None, path: None, folder: None, project: None },
    );
    set.finish()
}

fn find(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), Mistake> {
    let shown = path.display().to_string();
    let meta = fs::metadata(path).map_err(|error| Mistake::of_file(&shown, unreadable(&error)))?;
    if !meta.is_dir() {
        files.push(path.to_owned());
        return if files.len() > FILES_MAX {
            Err(Mistake::of_file(&shown, "too many files"))
        } else {
            Ok(())
        };
    }
    if depth >= DEPTH_MAX {
        return Err(Mistake::of_file(&shown, "the folders lie too deep"));
    }
    let entries = fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries = entries.map_err(|error| Mistake::of_file(&shown, unreadable(&error)))?;
    let mut inner: Vec<PathBuf> =
        entries.iter().map(fs::DirEntry::path).filter(|path| is_read(path)).collect();
    inner.sort();
    inner.iter().try_for_each(|path| find(path, depth + 1, files))
}

/// Inside a folder: folders, and files by their extension; nothing hidden.
fn is_read(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = path.extension().and_then(|extension| extension.to_str());
    !hidden && (matches!(extension, Some("yaml" | "yml" | "json")) || path.is_dir())
}

fn unreadable(error: &std::io::Error) -> String {
    let kind = error.kind();
    if kind == std::io::ErrorKind::NotFound {
        return "no such file or folder".to_owned();
    }
    format!("cannot be read: {kind}")
}

fn text_of(path: &Path) -> Result<String, String> {
    let file = fs::File::open(path).map_err(|error| unreadable(&error))?;
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > FILE_MAX {
        return Err("the file is over 1 MiB".to_owned());
    }
    String::from_utf8(bytes).map_err(|_| "the file is not UTF-8".to_owned())
}

#[derive(Debug)]
struct Found<T> {
    value: T,
    path: String,
    at: Place,
}

/// Where the fallbacks of a ModelProvider stand.
#[derive(Debug)]
struct Fallbacks {
    project: Arc<str>,
    name: Arc<str>,
    places: Vec<Place>,
}

/// What was read so far.
#[derive(Debug, Default)]
struct Set {
    providers: Vec<Found<Arc<Provider>>>,
    agents: Vec<Found<(AgentRules, Vec<Place>)>>,
    fallbacks: Vec<Found<Fallbacks>>,
    tests: Vec<Case>,
    mistakes: Vec<Mistake>,
    warnings: Vec<Mistake>,
    files: Vec<PathBuf>,
}

impl Set {
    fn read(&mut self, file: &Path, root: &Path, schemes: &[&SchemeSpec], gate: &Gate<'_>) {
        let shown = file.display().to_string();
        let label = file.strip_prefix(root).ok().filter(|rest| !rest.as_os_str().is_empty());
        let label = label.or_else(|| file.file_name().map(Path::new)).unwrap_or(file).display().to_string();
        match text_of(file).and_then(|text| gate(file, text.as_bytes()).map(|()| text)) {
            Ok(text) => self.add(
                &shown,
                &label,
                &text,
                Ground {
                    schemes,
                    config: None,
                    scope: None,
                    variant: None,
                    path: None,
                    folder: file.parent(),
                    project: None,
                },
            ),
            Err(message) => self.mistakes.push(Mistake::of_file(&shown, message)),
        }
    }

    fn add(&mut self, path: &str, label: &str, text: &str, ground: Ground<'_>) {
        let mut report = Report::new(path, label);
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        match tree::parse(text) {
            Ok(documents) => {
                let documents: Vec<&Node> =
                    documents.iter().filter(|node| !matches!(node.value, Value::Null)).collect();
                if documents.is_empty() {
                    report.mistake(Place { line: 1, column: 1 }, "the file holds no document");
                }
                documents.iter().for_each(|node| self.document(node, ground, &mut report));
            }
            Err((at, message)) => report.mistake(at, message),
        }
        self.mistakes.append(&mut report.mistakes);
        self.warnings.append(&mut report.warnings);
    }

    /// Whatever else stands in the text is a mistake: nobody has looked at it under its own name.
    fn given(&mut self, given: Given<'_>, schemes: &[&SchemeSpec]) {
        let Given { label, project, kind, name, text } = given;
        let (mut own, project) = (Self::default(), Some(project));
        own.add(
            label,
            label,
            text,
            Ground { schemes, config: None, scope: None, path: None, folder: None, project, variant: None },
        );
        if own.mistakes.is_empty() {
            let right = |provider: &Provider| {
                let is_kind = if provider.model.is_some() { "ModelProvider" } else { "Provider" } == kind;
                is_kind && *provider.name == *name
            };
            let why = match own.providers.as_slice() {
                [one] if own.agents.is_empty() && right(&one.value) => None,
                _ => Some("is not one document of the kind and name that it was given under"),
            };
            let beyond = own.providers.iter().find_map(|one| beyond_a_server(&one.value));
            let why = why.map(str::to_owned).or_else(|| {
                beyond.map(|(field, whose)| {
                    format!("`{field}` has no place in a document of a server: {whose}")
                })
            });
            own.mistakes.extend(why.map(|why| Mistake::of_file(label, why)));
        }
        self.providers.append(&mut own.providers);
        self.fallbacks.append(&mut own.fallbacks);
        self.tests.append(&mut own.tests);
        self.mistakes.append(&mut own.mistakes);
        self.warnings.append(&mut own.warnings);
    }

    fn document(&mut self, node: &Node, ground: Ground<'_>, report: &mut Report<'_>) {
        let Some(kind) = kind(node, report) else { return };
        schema::check(node, Shape::Map(kind.fields), kind.name, ground.schemes, report);
        match kind.name {
            "Provider" => {
                if let Some((provider, tests)) = build::provider(node, ground, report) {
                    self.provider(provider, tests, report.path, node.at);
                }
            }
            "Agent" => {
                if let Some(agent) = build::agent(node, report) {
                    let names = build::agent_providers(node);
                    let value =
                        (agent, names.filter(|name| name.text().is_some()).map(|name| name.at).collect());
                    self.agents.push(Found { value, path: report.path.to_owned(), at: node.at });
                }
            }
            _ => {
                if let Some(provider) = model::provider(node, ground, report) {
                    let list = node.field("spec").and_then(|spec| spec.field("fallbacks"));
                    let places = list.map_or(&[][..], Node::items).iter().map(|name| name.at).collect();
                    let value =
                        Fallbacks { project: provider.project.clone(), name: provider.name.clone(), places };
                    self.fallbacks.push(Found { value, path: report.path.to_owned(), at: node.at });
                    self.provider(provider, Vec::new(), report.path, node.at);
                }
            }
        }
    }

    fn provider(&mut self, provider: Provider, tests: Vec<CaseText>, path: &str, at: Place) {
        let same = |other: &&Found<Arc<Provider>>| {
            other.value.project == provider.project && other.value.name == provider.name
        };
        if let Some(other) = self.providers.iter().find(same) {
            let message = format!("a provider of the same name stands in {}:{}", other.path, other.at.line);
            self.mistakes.push(at_place(path, at, message));
        }
        let steps = budget::steps(&provider.policy, &tests);
        if steps > budget::STEPS_MAX {
            let most = budget::STEPS_MAX;
            let message =
                format!("its tests need {steps} steps of matching, which is more than {most}: test less");
            self.mistakes.push(at_place(path, at, message));
        }
        let provider = Arc::new(provider);
        self.tests.extend(tests.into_iter().map(|case| Case::new(&provider, path, case)));
        self.providers.push(Found { value: provider, path: path.to_owned(), at });
    }

    fn finish(mut self) -> Result<Loaded, Vec<Mistake>> {
        self.check_agents();
        self.check_fallbacks();
        let providers: Vec<Arc<Provider>> =
            self.providers.iter().map(|found| Arc::clone(&found.value)).collect();
        let agents: Vec<AgentRules> = self.agents.iter().map(|found| found.value.0.clone()).collect();
        let routes = Routes::new(&providers, &agents).unwrap_or_else(|overlaps| {
            for overlap in overlaps {
                let found = self.providers.iter().find(|found| {
                    found.value.source == overlap.second_source && found.value.name == overlap.second
                });
                let (path, at) =
                    found.map_or(("", Place::default()), |found| (found.path.as_str(), found.at));
                self.mistakes.push(at_place(path, at, overlap.to_string()));
            }
            Routes::default()
        });
        self.mistakes.sort();
        self.mistakes.dedup();
        if !self.mistakes.is_empty() {
            return Err(self.mistakes);
        }
        Ok(Loaded {
            providers,
            agents,
            routes,
            tests: self.tests,
            warnings: self.warnings,
            files: self.files,
        })
    }

    fn check_fallbacks(&mut self) {
        let mut mistakes = Vec::new();
        for Found { value: Fallbacks { project, name, places }, path, .. } in &self.fallbacks {
            let of = |wanted: &str| {
                let mut all = self.providers.iter().map(|found| &found.value);
                all.find(|one| one.project == *project && *one.name == *wanted)
            };
            let Some(own) = of(name) else { continue };
            let names = own.model.iter().flat_map(|rules| &rules.fallbacks);
            for (fallback, at) in names.zip(places) {
                if let Some(why) = unfit_fallback(own, of(fallback).map(|other| &**other)) {
                    mistakes.push(at_place(path, *at, why));
                }
            }
        }
        self.mistakes.append(&mut mistakes);
    }

    fn check_agents(&mut self) {
        let mut mistakes = Vec::new();
        for (index, found) in self.agents.iter().enumerate() {
            let (agent, places) = &found.value;
            if self.agents.iter().take(index).any(|other| other.value.0.name == agent.name) {
                mistakes.push(at_place(&found.path, found.at, "another document names the same agent"));
            }
            let own = self.providers.iter().filter(|other| other.value.project == agent.project);
            let known: Vec<&str> = own.map(|other| &*other.value.name).collect();
            for (name, at) in
                agent.providers.iter().zip(places).filter(|(name, _)| !known.contains(&&***name))
            {
                let hint = suggestion(name, known.iter().copied());
                mistakes.push(at_place(
                    &found.path,
                    *at,
                    format!("no provider of this name in the agent's project{hint}"),
                ));
            }
        }
        self.mistakes.append(&mut mistakes);
    }
}

/// Why a model provider cannot be another one's fallback.
fn unfit_fallback(own: &Provider, other: Option<&Provider>) -> Option<&'static str> {
    let Some(other) = other else { return Some("no model provider of this name in the project") };
    let (Some(own_rules), Some(rules)) = (&own.model, &other.model) else {
        return Some("a Provider cannot be a fallback, only a ModelProvider");
    };
    if own.name == other.name {
        return Some("a model provider cannot be its own fallback");
    }
    let same = own_rules.vendor.name == rules.vendor.name
        || (own_rules.vendor.is_compatible && rules.vendor.is_compatible);
    (!same).then_some("a fallback has to speak the same API")
}

fn at_place(path: &str, at: Place, message: impl Into<String>) -> Mistake {
    Mistake { path: path.to_owned(), line: at.line, column: at.column, message: message.into() }
}

/// What only whoever runs the sidecar can say: which of its files are read, and which addresses beside public ones it dials.
fn beyond_a_server(provider: &Provider) -> Option<(&'static str, &'static str)> {
    const FILES: &str = "it names a file of the sidecar's";
    let injections = provider.auth.iter().flat_map(|auth| &auth.injections);
    let names_a_subject = injections.into_iter().any(|one| one.fields.text("subjectTokenFile").is_some());
    [
        (provider.upstream.extra_roots.is_some(), "tls.upstreamCA", FILES),
        (names_a_subject, "config.subjectTokenFile", FILES),
        (
            !provider.upstream.allow_cidrs.is_empty(),
            "network.allowCIDRs",
            "the sidecar's own `--allow-cidr` opens addresses",
        ),
    ]
    .into_iter()
    .find_map(|(is_named, field, whose)| is_named.then_some((field, whose)))
}

fn kind(node: &Node, report: &mut Report<'_>) -> Option<&'static Kind> {
    if !matches!(node.value, Value::Map(_)) {
        report.mistake(
            node.at,
            format!(
                "a document is a map with `apiVersion`, `kind`, `metadata` and `spec`, here is {}",
                node.kind()
            ),
        );
        return None;
    }
    let Some(written) = node.field("kind") else {
        report.mistake(node.at, "`kind` is missing");
        return None;
    };
    let name = written.text().unwrap_or_default();
    let Some(kind) = KINDS.iter().find(|kind| kind.name == name) else {
        let message = if matches!(name, "Secret" | "Variable") {
            "values do not belong into provider files: use `doorward add`".to_owned()
        } else {
            format!("unknown kind{}{}", shown_key(name), suggestion(name, KINDS.iter().map(|kind| kind.name)))
        };
        report.mistake(written.at, message);
        return None;
    };
    if let Some(version) = node.field("apiVersion").filter(|version| version.text().is_some())
        && !kind.api_versions.contains(&version.text().unwrap_or_default())
    {
        let hint = suggestion(version.text().unwrap_or_default(), kind.api_versions.iter().copied());
        report.mistake(
            version.at,
            format!("`apiVersion` of a {} is {}{hint}", kind.name, kind.api_versions.join(" or ")),
        );
    }
    Some(kind)
}
