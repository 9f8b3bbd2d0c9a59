//! `/v1/projects/{project}/import`: a `.env` text in one call, all or nothing.
//!
//! Each line becomes a secret or a variable by the rules of `doorward import`. Nothing of a value is in the answer.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{Json, SecretText};
use super::call::{Call, Did};
use super::permission::Permission;
use super::problem::{Answer, Problem, ProblemSchema};
use super::{Api, Path, Sent, bounded_value};
use crate::cli::dotenv;
use crate::cli::import::{Choices, Plan, Told};
use crate::refusal::Code;
use crate::registry::{ObjectKind, Seen};

/// Most lines of one import.
pub(super) const LINES: usize = 2000;
/// The most bytes of the text: below the bound of the body, so that it is told of the text.
pub(super) const TEXT: usize = 1_000_000;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(import))
}

/// What is taken over.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ImportBody {
    /// `NAME=VALUE` lines. Write-only.
    #[schema(value_type = String, write_only)]
    text: SecretText,
    /// Names of lines that become secrets whatever they look like.
    #[serde(default)]
    secrets: Vec<String>,
    /// Names of lines that become variables whatever they look like.
    #[serde(default)]
    variables: Vec<String>,
    /// Only say what would be done.
    #[serde(default)]
    dry_run: bool,
}

/// What becomes of one line.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImportLine {
    /// Its number, from 1.
    pub(crate) line: usize,
    /// The name in the line; empty where the line cannot be taken: it may be part of a value then.
    pub(crate) from: String,
    /// `secret` or `variable`.
    pub(crate) becomes: String,
    /// The name that it gets; empty where the line cannot be taken.
    pub(crate) name: String,
    /// The key of the secret.
    pub(crate) key: Option<String>,
    /// The provider type that knows the name; the secret is bound to its hosts.
    pub(crate) known_provider: Option<String>,
    /// Whether something of that name exists.
    pub(crate) clash: bool,
    /// Why the line cannot be taken.
    pub(crate) mistake: Option<String>,
}

/// What was, or would be, done.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Imported {
    /// Whether anything was stored.
    pub(crate) imported: bool,
    pub(crate) lines: Vec<ImportLine>,
}

fn line(told: Told) -> ImportLine {
    let shown = |name: String| if told.mistake.is_some() { String::new() } else { name };
    ImportLine {
        line: told.number,
        from: shown(told.line),
        becomes: if told.key.is_some() { "secret" } else { "variable" }.to_owned(),
        name: shown(told.name),
        key: told.key,
        known_provider: told.kind,
        clash: told.is_clash,
        mistake: told.mistake,
    }
}

/// Take over a `.env` text: secrets as secrets, the rest as variables.
#[utoipa::path(post, path = "/v1/projects/{project}/import", tag = "secrets",
    params(("project" = String, Path)), request_body = ImportBody,
    responses((status = 200, body = Imported), (status = "4XX", body = ProblemSchema)))]
async fn import(
    State(api): State<Api>,
    call: Call,
    Path(project): Path<String>,
    body: Json<ImportBody>,
) -> Answer<Sent<Imported>> {
    let owner = call.enter(&api, &project, Permission::SecretsManage).await?;
    call.need_in(Some(&project), Permission::ProvidersManage)?;
    let request = body.digest(&api, &call);
    let ImportBody { text, secrets, variables, dry_run } = body.0;
    bounded_value("text", &text, TEXT)?;
    let too_many = |named: &[String]| named.len() > LINES;
    if too_many(&secrets) || too_many(&variables) {
        return Err(Problem::new(
            Code::Dw6016,
            format!("`secrets` and `variables` have at most {LINES} names each"),
        ));
    }
    let lines = read(&text)?;
    let choices = Choices { secret: secrets, variable: variables };
    if choices.unknown(&lines).is_some() || choices.doubled().is_some() {
        return Err(Problem::new(
            Code::Dw6016,
            "`secrets` and `variables` hold names of lines of the text, none in both",
        ));
    }
    let (taken, variables) = taken(&api, &project).await?;
    let did = Did::new(ObjectKind::Project, &project, "imported into");
    let is_repeated = !dry_run && call.is_repeated(&api, &did, request).await?;
    let mut plan = Plan::new(lines, &choices, &taken, &variables);
    if !owner.settings.unbound_secrets {
        refuse_unbound(&mut plan);
    }
    let faults = plan.told.iter().filter(|told| told.is_clash || told.mistake.is_some()).count();
    let told = std::mem::take(&mut plan.told);
    if dry_run || is_repeated {
        let lines = told.into_iter().map(line).collect();
        return Ok(Sent::ok(Imported { imported: is_repeated, lines }).replayed(is_repeated));
    }
    if faults > 0 {
        return Err(fault(&told));
    }
    let (entries, variables) =
        plan.entries().map_err(|error| Problem::new(Code::Dw6016, error.to_string()))?;
    let act = call.act_once(&api, &did, request)?;
    api.acting(act, Seen::Any).add(&project, entries, variables).await?;
    Ok(Sent::ok(Imported { imported: true, lines: told.into_iter().map(line).collect() }))
}

fn read(text: &SecretText) -> Answer<Vec<dotenv::Line>> {
    // exposed: read line by line; each value becomes a secret of its own
    let text = std::str::from_utf8(text.0.expose())
        .map_err(|_| Problem::new(Code::Dw6016, "`text` is not UTF-8"))?;
    let lines = dotenv::parse(text).map_err(|mistakes| {
        let errors = mistakes.iter().map(|(line, why)| format!("line {line}: {why}")).collect();
        Problem::new(Code::Dw6016, "`text` has lines that are not NAME=VALUE").with_errors(errors)
    })?;
    if lines.len() > LINES {
        return Err(Problem::new(Code::Dw6016, format!("`text` has over {LINES} lines")));
    }
    Ok(lines)
}

/// The names of secrets and variables that exist.
async fn taken(api: &Api, project: &str) -> Answer<(Vec<String>, Vec<String>)> {
    let store = api.vault.store();
    let secrets = store.secrets(project).await?.into_iter().map(|row| row.name.to_string()).collect();
    let variables = store.variables(project).await?.into_iter().map(|row| row.name).collect();
    Ok((secrets, variables))
}

fn refuse_unbound(plan: &mut Plan) {
    let unbound: Vec<String> = plan.unbound().map(ToString::to_string).collect();
    for told in plan.told.iter_mut().filter(|told| told.key.is_some() && unbound.contains(&told.name)) {
        told.mistake.get_or_insert_with(|| {
            "no provider type knows this name, and the project does not allow secrets without hosts"
                .to_owned()
        });
    }
}

/// 409 where the only fault is that names are taken.
fn fault(told: &[Told]) -> Problem {
    let told_of = |told: &Told| {
        match &told.mistake {
            // The name may be part of a value.
            Some(why) => Some(format!("line {}: {why}", told.number)),
            None => told.is_clash.then(|| format!("line {}: {}: exists already", told.number, told.line)),
        }
    };
    let errors = told.iter().filter_map(told_of).collect();
    let is_mistake = told.iter().any(|told| told.mistake.is_some());
    let code = if is_mistake { Code::Dw6016 } else { Code::Dw6009 };
    Problem::new(code, "nothing was imported").with_errors(errors)
}
