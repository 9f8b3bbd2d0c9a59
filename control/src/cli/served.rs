//! The documents of a project: those of a server, or those of the home's files, seen in one way.

use std::time::UNIX_EPOCH;

use super::apply::{self, Kind};
use super::remote::{Client, segment};
use super::users::ProviderArgs;
use super::vault::{block_on, home, not_found, project};
use super::{Env, Exit, Failure, when};
use crate::api::{AgentView, Attachments, DocumentView};
use crate::provider::{self, Given, Loaded};

/// What a server's project has; with an agent, only what is attached to it.
pub(crate) async fn views(
    client: &Client,
    project: &str,
    agent: Option<&str>,
) -> Result<Vec<DocumentView>, Failure> {
    let base = format!("/v1/projects/{}", segment(project));
    let mut views: Vec<DocumentView> = client.all(&format!("{base}/providers")).await?;
    views.extend(client.all::<DocumentView>(&format!("{base}/model-providers")).await?);
    let Some(agent) = agent else { return Ok(views) };
    let path = format!("{base}/agents/{}/attachments", segment(agent));
    let Some(sent) = client.find(&path).await? else {
        let known: Vec<AgentView> = client.all(&format!("{base}/agents")).await?;
        return Err(not_found("agent", agent, known.iter().map(|view| view.name.as_str())));
    };
    let attached: Attachments = sent.read()?;
    let is_attached = |view: &DocumentView| {
        let kind = Kind::of(&view.kind).map(Kind::shown);
        attached.items.iter().any(|one| Some(one.kind.as_str()) == kind && one.name == view.name)
    };
    views.retain(is_attached);
    Ok(views)
}

/// Reads documents of a server as its sidecars do.
///
/// # Errors
/// All mistakes; two documents for one host are one, unless they are for different agents.
pub(crate) fn read(env: &Env, project: &str, views: &[DocumentView]) -> Result<Loaded, Failure> {
    let given: Vec<Given<'_>> = views
        .iter()
        .map(|DocumentView { name, kind, document, .. }| Given {
            label: "server",
            project,
            kind,
            name,
            text: document,
        })
        .collect();
    provider::load_beside(&[], &given, env.schemes, &|_, _| Ok(())).map_err(|mistakes| {
        let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        Failure::new(Exit::Error, lines.join("\n"))
    })
}

/// The documents of the server that this command works with, or of the files where those are named or there is no server.
pub(crate) fn load(
    env: &Env,
    client: Option<&Client>,
    files: &ProviderArgs,
    agent: Option<&str>,
) -> Result<Loaded, Failure> {
    let Some(client) = client.filter(|_| files.providers.is_empty()) else { return files.load(env) };
    let project = project(env)?;
    let views = block_on(views(client, project, agent))?;
    for view in views.iter().filter(|view| view.withheld) {
        env.output.say(format!(
            "warning: the secret of `{}` is withheld: doorward approve {} {}",
            view.name,
            Kind::of(&view.kind).map_or("provider", Kind::shown),
            view.name
        ));
    }
    read(env, project, &views)
}

/// The documents of the home's files, as a server would show them.
pub(crate) fn local(env: &Env) -> Result<Vec<DocumentView>, Failure> {
    let project = project(env)?;
    let loaded = ProviderArgs::default().load(env)?;
    let mut views = Vec::new();
    for present in apply::in_folder(&home(env)?.providers_dir())? {
        let is_model = present.kind == Kind::ModelProvider;
        let found = loaded.providers.iter().find(|one| {
            *one.name == present.name && *one.project == *project && one.model.is_some() == is_model
        });
        let Some(provider) = found else { continue };
        let changed = present.file().and_then(|file| file.metadata().ok()?.modified().ok());
        let changed = changed.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let changed = when::show(changed.map_or(0, |since| since.as_secs().cast_signed()));
        views.push(DocumentView {
            kind: present.kind.written().to_owned(),
            project: project.to_owned(),
            r#type: provider.kind.name.to_owned(),
            secrets: provider.secrets().map(|secret| secret.name.to_string()).collect(),
            withheld: false,
            created: changed.clone(),
            changed,
            version: 0,
            name: present.name,
            document: present.text,
        });
    }
    views.sort_by(|a, b| (&a.kind, &a.name).cmp(&(&b.kind, &b.name)));
    Ok(views)
}
