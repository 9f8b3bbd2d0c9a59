//! Google Cloud: actions are IAM permissions (`storage.objects.get`), resources are named as IAM conditions name them
//! (`projects/_/buckets/acme/objects/a/b`).
//!
//! Read are Cloud Storage (JSON API, and reads of the XML API), Pub/Sub, BigQuery, Secret Manager, Compute Engine, Cloud Run, Vertex AI and
//! the calls of IAM that hand out credentials. Everything else is unknown, and opaque, since an agent can make any request so on
//! purpose: batches, percent-codes where no name needs one, system parameters that carry another method (`$httpMethod`).

mod storage;
mod tables;
mod compute;
mod names;

use std::borrow::Cow;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};

use super::shapes::ok;
use super::{Actions, Ask, AuthSpec, Clarity, InjectionSpec, Resolved, Resource, TypeSpec, UNKNOWN};
use names::{GRPC, KNOWN};
use tables::{Collection, REFERRING, SERVICES};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "gcp",
    summary: "Google Cloud, with a service account's key, or with workload identity federation (auth type `workload-identity`; the subject token comes from a file): the agent's own token calls are answered with a dummy. `scope.resources` names resources as IAM conditions do (`projects/_/buckets/acme/objects/*`). Calls that hand out credentials (`iam.serviceAccounts.getAccessToken`, `iam.serviceAccountKeys.create`, `storage.hmacKeys.create`) hand them to the agent: deny those.",
    hosts: &["*.googleapis.com"],
    auth: &[
        AuthSpec {
            name: "gcp-service-account",
            injections: &[InjectionSpec { hosts: &[], key: "gcp-service-account", fields: &[] }],
            ..KEY_FILE
        },
        AuthSpec {
            name: "workload-identity",
            injections: &[InjectionSpec { hosts: &[], key: "gcp-workload-identity", fields: &[] }],
            ..KEY_FILE
        },
    ],
    actions: Actions::Open(KNOWN),
    scope: Some("resources"),
    // Google's own clients begin with this description of an API. It wants no right of the account's and no API that is
    // switched on; what it shows is that the key was exchanged for a token, and that Google takes that.
    verify: Some(ok("https://www.googleapis.com/discovery/v1/apis/storage/v1/rest")),
    resolve,
};

const KEY_FILE: AuthSpec = AuthSpec {
    name: "",
    keys: &["key.json"],
    injections: &[],
    public_prefixes: &["ya29."],
    remove_headers: &["x-goog-iam-authorization-token"],
    remove_params: &["access_token", "oauth_token"],
    dummy: "ya29.{rand:60}",
    env: &[],
};

/// A key file for the agent, so that its libraries start: its key is published (RFC 7515, appendix A.2), so it is nobody's.
pub(crate) fn agent_key_file(dummy: &str, project: Option<&str>) -> String {
    let project = project.unwrap_or("doorward");
    let file = serde_json::json!({
        "type": "service_account",
        "project_id": project,
        "private_key_id": dummy,
        "private_key": include_str!("gcp/dummy.pem"),
        "client_email": "agent@doorward.iam.gserviceaccount.com",
        "client_id": "0",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": "https://oauth2.googleapis.com/token",
        "universe_domain": "googleapis.com",
    });
    format!("{file:#}\n")
}

/// System parameters without effect on what a call does. All others that hold a `$` are not known (`$httpMethod`).
const SYSTEM: &[&str] = &["$alt", "$fields", "$prettyPrint", "$quotaUser", "$userProject", "$.xgafv"];

fn resolve<'a>(ask: &Ask<'a>) -> Resolved<'a> {
    let mut resolved = read(ask).unwrap_or_else(Resolved::unknown);
    if resolved.action == UNKNOWN {
        resolved.clarity = Clarity::Opaque;
    }
    resolved
}

fn read<'a>(ask: &Ask<'a>) -> Option<Resolved<'a>> {
    // A server may take `;` for `&`.
    let two_readings = ask.query.is_some_and(|query| query.contains(';'));
    if two_readings || !parameters(ask.query).all(|(name, _)| !name.contains('$') || SYSTEM.contains(&&*name))
    {
        return None;
    }
    let segments: Vec<&str> = ask.path.strip_prefix('/')?.split('/').collect();
    let host = ask.host.name().and_then(|name| name.strip_suffix(".googleapis.com"));
    match host {
        Some(label) if is_grpc(ask.headers) => grpc(ask, service_of(label)?),
        // Of several services, by the path; so are hosts of one's own.
        Some("www") | None => by_path(ask, &segments, None),
        Some(label) => match service_of(label)? {
            service @ ("storage" | "bigquery" | "compute") => by_path(ask, &segments, Some(service)),
            service => by_version(ask, service, &segments),
        },
    }
}

/// The service of a host: `storage`, `us-central1-aiplatform`, `secretmanager.europe-west3.rep`.
fn service_of(label: &str) -> Option<&str> {
    let label = match label.strip_suffix(".rep") {
        Some(regional) => regional.split_once('.').filter(|(_, region)| !region.contains('.'))?.0,
        None => label,
    };
    let label = if label.ends_with("-aiplatform") { "aiplatform" } else { label };
    (!label.contains('.')).then_some(label)
}

/// The services whose paths name them; `own` is the host's, if it is of one alone.
fn by_path<'a>(ask: &Ask<'a>, segments: &[&str], own: Option<&str>) -> Option<Resolved<'a>> {
    let is = |service: &str| own.is_none_or(|own| own == service);
    match segments {
        ["bigquery", "v2", rest @ ..] if is("bigquery") => rest_call(ask, "bigquery", rest),
        // A load job with its data; what it does to which table is in the body.
        ["upload", "bigquery", "v2", "projects", _, "jobs"] if is("bigquery") => job(ask),
        ["compute", "v1" | "beta", rest @ ..] if is("compute") => rest_call(ask, "compute", rest),
        _ if is("storage") => storage::resolve(ask, segments),
        _ => None,
    }
}

fn by_version<'a>(ask: &Ask<'a>, service: &str, segments: &[&str]) -> Option<Resolved<'a>> {
    let (version, rest) = segments.split_first()?;
    let is_version = matches!(*version, "v1" | "v2" | "v1beta1");
    is_version.then(|| rest_call(ask, service, rest)).flatten()
}

/// A call on a collection or on one of its items (google.aip.dev/130 to 136).
fn rest_call<'a>(ask: &Ask<'a>, service: &str, segments: &[&str]) -> Option<Resolved<'a>> {
    // No name here needs a percent-code; one could hide a colon or a slash.
    let plain = segments.iter().all(|segment| !segment.is_empty() && !segment.contains(['%', ';', '*']));
    if !plain || names_again(ask.query, service, NAMED_BY_PATH) {
        return None;
    }
    if let ("compute", ["projects", project, "aggregated", what], &Method::GET) =
        (service, segments, ask.method)
    {
        return aggregated(project, what);
    }
    let (last, parents) = segments.split_last()?;
    let (last, verb) = match last.rsplit_once(':') {
        Some((name, verb)) => (name, Some(verb)),
        None => (*last, None),
    };
    if last.is_empty() {
        return None;
    }
    let path: Vec<&str> = parents.iter().copied().chain([last]).collect();
    let collections = SERVICES.iter().filter(|(name, _)| *name == service).flat_map(|(_, all)| *all);
    collections.into_iter().find_map(|collection| on_collection(ask, collection, &path, verb))
}

/// Fields that the path has set; the query must not set them again (without `_`, in lower case).
const NAMED_BY_PATH: &[&str] = &[
    "name",
    "parent",
    "resource",
    "topic",
    "subscription",
    "snapshot",
    "project",
    "projectid",
    "zone",
    "region",
    "instance",
    "disk",
    "image",
    "secret",
    "service",
    "job",
    "jobid",
    "endpoint",
    "model",
    "modelid",
    "datasetid",
    "tableid",
    "routineid",
];

/// Whether a parameter, or a part of it (`topic.name`), is one of these.
fn names_again(query: Option<&str>, service: &str, fields: &[&str]) -> bool {
    parameters(query).any(|(name, _)| {
        name.split('.').any(|part| {
            let part = part.trim().replace('_', "").to_ascii_lowercase();
            // Cloud Run's names of new jobs are no part of the path.
            fields.contains(&&*part) && !(service == "run" && part == "jobid")
        })
    })
}

/// A list over all zones and regions.
fn aggregated<'a>(project: &str, what: &str) -> Option<Resolved<'a>> {
    let action = ["compute.", what, ".list"].concat();
    let resource = Resource::Arns(vec![["projects/", project, "/aggregated/", what].concat()]);
    KNOWN.contains(&&*action).then(|| Resolved { resource, ..of(&action) })
}

fn on_collection<'a>(
    ask: &Ask<'a>,
    collection: &Collection,
    path: &[&str],
    verb: Option<&str>,
) -> Option<Resolved<'a>> {
    let depth = collection.path.split('/').count();
    let (head, rest) = path.split_at_checked(depth)?;
    let is_it = collection.path.split('/').zip(head).all(|(part, segment)| part == "*" || part == *segment);
    if !is_it {
        return None;
    }
    let call = match (rest, verb) {
        ([], None) => Call { method: ask.method, level: Level::Collection, verb },
        ([_], verb) => Call { method: ask.method, level: Level::Item, verb },
        // Services of the older kind name a verb by a segment.
        ([_, verb], None) if collection.by_segment => {
            Call { method: ask.method, level: Level::Item, verb: Some(verb) }
        }
        _ => return None,
    };
    let action = call.action(collection)?;
    let name = match call.level {
        Level::Collection => [&head.join("/"), "/*"].concat(),
        Level::Item => [head, rest.get(..1)?].concat().join("/"),
    };
    let alters = !matches!(*ask.method, Method::GET | Method::DELETE);
    let refers = alters && call.verb.map_or(collection.hidden, |verb| REFERRING.contains(&verb));
    let clarity = if refers { Clarity::Opaque } else { Clarity::Clear };
    let resource = if refers { Resource::Hidden } else { Resource::Arns(vec![name]) };
    // Some ask for the permission of another collection.
    let full = if action.contains('.') { action.to_owned() } else { [collection.noun, ".", action].concat() };
    Some(Resolved { clarity, resource, ..of(&full) })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Collection,
    Item,
}

/// What is asked of a collection.
struct Call<'c> {
    method: &'c Method,
    level: Level,
    verb: Option<&'c str>,
}

impl Call<'_> {
    fn action(&self, collection: &Collection) -> Option<&'static str> {
        let Some(verb) = self.verb else {
            let standard = match (self.method, self.level) {
                (&Method::GET, Level::Collection) => "list",
                (&Method::GET, Level::Item) => "get",
                (&Method::POST, Level::Collection) => "create",
                // Pub/Sub creates with PUT.
                (&Method::PUT, Level::Item) if collection.standard.contains(&"put") => "create",
                (&Method::PUT | &Method::PATCH, Level::Item) => "update",
                (&Method::DELETE, Level::Item) => "delete",
                _ => return None,
            };
            let found = collection.standard.iter().find(|known| **known == standard).copied();
            return if found == Some("get") { Some(collection.get) } else { found };
        };
        let mut verbs = collection.verbs.iter();
        verbs.find(|(method, name, _)| method == self.method && *name == verb).map(|(_, _, action)| *action)
    }
}

/// A job may be any statement of SQL, or a load into any table.
fn job<'a>(ask: &Ask<'_>) -> Option<Resolved<'a>> {
    let is_job = matches!(*ask.method, Method::POST | Method::PUT);
    is_job.then(|| Resolved { clarity: Clarity::Opaque, ..of("bigquery.jobs.create") })
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_TYPE).iter().any(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// A gRPC method, on something that is in the body, which may also come with an ACL or refer to more.
fn grpc<'a>(ask: &Ask<'_>, service: &str) -> Option<Resolved<'a>> {
    let (_, path, action) = GRPC.iter().find(|(own, path, _)| *own == service && *path == ask.path)?;
    let method = path.rsplit('/').next().unwrap_or_default();
    let reads = ["Get", "List", "Read", "BidiRead", "Access"].iter().any(|start| method.starts_with(start));
    let clarity = if reads { Clarity::Clear } else { Clarity::Opaque };
    (*ask.method == Method::POST).then(|| Resolved { clarity, ..of(action) })
}

/// An action by its name, on something that is not shown.
fn of<'a>(action: &str) -> Resolved<'a> {
    let known = KNOWN.iter().find(|known| **known == action);
    Resolved {
        action: known.map_or_else(|| Cow::Owned(action.to_owned()), |known| Cow::Borrowed(*known)),
        ..Resolved::unknown()
    }
}

/// The parameters of a query, decoded.
fn parameters(query: Option<&str>) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (form_decoded(name), form_decoded(value))
    })
}

fn decoded(text: &str) -> Cow<'_, str> {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy()
}

/// As [`decoded`], with `+` for a space.
fn form_decoded(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        return Cow::Owned(decoded(&text.replace('+', " ")).into_owned());
    }
    decoded(text)
}
