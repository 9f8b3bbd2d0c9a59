//! A container registry (the OCI distribution API below `/v2`).
//!
//! Some take the credential itself; those that give out tokens for each repository (Docker Hub, ghcr.io, Quay, GitLab) get it
//! at their token service alone ([`token_scope`]). What a request does, to which repository, and which token it needs are one
//! reading of its line: a token never opens more than was judged.

mod services;

use http::Method;
use http::header::{CONTENT_TYPE, HeaderMap};

use super::read::{Segments, params};
use super::shapes::{API_KEY, BASIC, BY_RULES, ok};
use super::{Actions, Ask, AuthSpec, Clarity, InjectionSpec, Resolved, Resource, TypeSpec, UNKNOWN};

pub(crate) use services::service_of;

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "docker-registry",
    summary: "A container registry, on the host that you name. `basic` (the secret's `username` and `password`) and `bearer` are for those that take the credential itself, as registry:2 with htpasswd, Nexus, ECR, ACR and Artifact Registry do. `token-service` is for those that give out tokens for each repository: Docker Hub (`registry-1.docker.io`), ghcr.io, Quay and registry.gitlab.com are known, others name theirs in `config.tokenService`. The agent's own token calls are answered with a dummy. `scope.repositories` names repositories. Layers come from other hosts, without a credential: allow those with a provider of type `http-token` without `auth`.",
    auth: &[
        AuthSpec { name: "basic", keys: &["password", "token"], injections: BASIC, ..TOKEN },
        TOKEN,
        AuthSpec {
            name: "token-service",
            keys: &["password", "token"],
            injections: &[InjectionSpec { hosts: &[], key: "registry-token", fields: &[] }],
            ..TOKEN
        },
    ],
    actions: Actions::Listed(&["read", "write", "delete"]),
    scope: Some("repositories"),
    verify: Some(ok("https://{host}/v2/")),
    resolve,
    ..BY_RULES
};

const TOKEN: AuthSpec = AuthSpec { name: "bearer", keys: &["token"], ..API_KEY };

fn resolve<'a>(ask: &Ask<'a>) -> Resolved<'a> {
    let segments = Segments::of(ask.path);
    let action = segments.behind("v2").map_or(UNKNOWN, |rest| within(ask.method, &rest));
    if action == UNKNOWN {
        return Resolved::unknown();
    }
    let resource = match (is_ping(&segments), repository(ask.path)) {
        (true, _) => Resource::None,
        (false, Some(name)) => Resource::Named(name),
        (false, None) => Resource::Hidden,
    };
    let plain = Resolved { resource, ..Resolved::hidden(action) };
    // What a mount comes from is read, wherever it lies.
    let mounting = || Resolved { also: vec!["read"], ..Resolved::hidden(action) };
    match mounting_of(ask.method, ask.query, ask.headers) {
        Mounting::None => plain,
        Mounting::Named(_) | Mounting::Anywhere => mounting(),
        Mounting::Untold => Resolved { clarity: Clarity::Opaque, ..mounting() },
        Mounting::Twice => Resolved::unknown(),
    }
}

fn is_ping(segments: &Segments<'_>) -> bool {
    segments.len() == 1
}

/// The scope of the token that a request needs, as a token service takes it: one repository or two, and no more than the
/// request does. `None`: none, any token will do.
pub fn token_scope(method: &Method, path: &str, query: Option<&str>) -> Option<String> {
    if path == "/v2/_catalog" && matches!(*method, Method::GET | Method::HEAD) {
        return Some("registry:catalog:*".to_owned());
    }
    let segments = Segments::of(path);
    let actions = match segments.behind("v2").map(|rest| within(method, &rest))? {
        "read" => "pull",
        // Registries ask for it by the method, also where only an upload is given up.
        "write" if *method == Method::DELETE => "pull,push,delete",
        "write" => "pull,push",
        "delete" => "pull,delete",
        _ => return None,
    };
    let name = repository(path)?;
    let scope = format!("repository:{name}:{actions}");
    let Mounting::Named(from) = mounting_of(method, query, &HeaderMap::new()) else { return Some(scope) };
    let from = percent_encoding::percent_decode_str(from).decode_utf8_lossy();
    if is_name(&from) && *from != *name {
        return Some(format!("{scope} repository:{from}:pull"));
    }
    Some(scope)
}

/// Whether an upload begins with a layer of another repository, and of which.
enum Mounting<'a> {
    None,
    /// Of this one, percent-coded.
    Named(&'a str),
    /// Of whichever has it: the registry looks for it itself (automatic content discovery).
    Anywhere,
    /// Registries read these from a form in the body as well, and some split a query at `;`.
    Untold,
    /// Two are named; either could be meant.
    Twice,
}

fn mounting_of<'a>(method: &Method, query: Option<&'a str>, headers: &HeaderMap) -> Mounting<'a> {
    if *method != Method::POST {
        return Mounting::None;
    }
    let mut from = params(query, "from");
    match (from.next(), from.next()) {
        (_, Some(_)) => Mounting::Twice,
        _ if query.is_some_and(|query| query.contains(';')) || says_form(headers) => Mounting::Untold,
        (Some(name), None) => Mounting::Named(name),
        (None, None) if params(query, "mount").next().is_some() => Mounting::Anywhere,
        (None, None) => Mounting::None,
    }
}

/// Whether anyone could read the body as a form.
fn says_form(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_TYPE).iter().any(|value| {
        let said = value.as_bytes().to_ascii_lowercase();
        let has = |word: &[u8]| said.windows(word.len()).any(|part| part == word);
        has(b"form") || has(b"multipart")
    })
}

/// The name of a repository in exactly the form in which every registry reads it: `/v2/NAME/…`.
fn repository(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("/v2/")?;
    let tails = ["/blobs/", "/manifests/", "/tags/", "/referrers/"];
    // The last of them: a repository may be called `blobs`.
    let at = tails.iter().filter_map(|tail| rest.rfind(tail)).max()?;
    rest.get(..at).filter(|name| is_name(name))
}

/// The distribution specification's grammar of names.
fn is_name(name: &str) -> bool {
    let is_part = |part: &str| {
        let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = part.as_bytes();
        edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(b))
    };
    name.len() <= 255 && name.split('/').all(is_part)
}

/// One action for reading, another for what changes something.
fn read_or(method: &Method, read: &'static str, write: &'static str) -> &'static str {
    match *method {
        Method::GET | Method::HEAD => read,
        Method::POST | Method::PUT | Method::PATCH | Method::DELETE => write,
        _ => UNKNOWN,
    }
}

/// What stands behind `/v2`: a repository's name of any depth, then what is asked of it, which its last segments say.
fn within(method: &Method, rest: &Segments<'_>) -> &'static str {
    let from_end = |back: usize, word: &str| rest.len() > back && rest.is(rest.len() - back, word);
    let upload = |back: usize| from_end(back, "uploads") && from_end(back + 1, "blobs");
    match () {
        () if rest.is_cut() => UNKNOWN,
        () if rest.len() == 0 || (rest.len() == 1 && rest.is(0, "_catalog")) => {
            read_or(method, "read", UNKNOWN)
        }
        () if upload(1) || upload(2) => read_or(method, "read", "write"),
        () if from_end(2, "tags") || from_end(2, "referrers") => read_or(method, "read", UNKNOWN),
        () if from_end(2, "manifests") || from_end(2, "blobs") => {
            read_or(method, "read", if *method == Method::DELETE { "delete" } else { "write" })
        }
        () => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_no_more_than_its_request_does() {
        for (method, path, query, scope) in [
            (Method::GET, "/v2/", None, None),
            (Method::GET, "/v2/_catalog", None, Some("registry:catalog:*")),
            (Method::GET, "/v2/alpine/tags/list", None, Some("repository:alpine:pull")),
            (Method::HEAD, "/v2/library/alpine/manifests/3", None, Some("repository:library/alpine:pull")),
            (Method::GET, "/v2/a/b/c/blobs/sha256:ab", None, Some("repository:a/b/c:pull")),
            (Method::GET, "/v2/blobs/manifests/x", None, Some("repository:blobs:pull")),
            (Method::PUT, "/v2/a/b/manifests/x", None, Some("repository:a/b:pull,push")),
            (Method::POST, "/v2/a/b/blobs/uploads/", None, Some("repository:a/b:pull,push")),
            (Method::PATCH, "/v2/a/b/blobs/uploads/1", None, Some("repository:a/b:pull,push")),
            (Method::DELETE, "/v2/a/b/manifests/x", None, Some("repository:a/b:pull,delete")),
            (
                Method::POST,
                "/v2/a/b/blobs/uploads/",
                Some("mount=sha256:ab&from=c%2Fd"),
                Some("repository:a/b:pull,push repository:c/d:pull"),
            ),
            (Method::GET, "/v2/a/b/tags/list", Some("from=c"), Some("repository:a/b:pull")),
            (Method::POST, "/v2/a/b/blobs/uploads/", Some("from=c:d"), Some("repository:a/b:pull,push")),
            (Method::POST, "/v2/a/b/blobs/uploads/", Some("from=c&from=d"), Some("repository:a/b:pull,push")),
            (
                Method::POST,
                "/v2/a/b/blobs/uploads/",
                Some("x=1;from=c&from=d"),
                Some("repository:a/b:pull,push"),
            ),
            (Method::POST, "/v2/a/b/blobs/uploads/", Some("mount=c"), Some("repository:a/b:pull,push")),
            (Method::DELETE, "/v2/a/b/blobs/uploads/1", None, Some("repository:a/b:pull,push,delete")),
            (Method::POST, "/v2/_catalog", None, None),
            // What is not read the same everywhere gets no token.
            (Method::GET, "/V2/a/manifests/x", None, None),
            (Method::GET, "/v2//a/manifests/x", None, None),
            (Method::GET, "/v2/a:b/manifests/x", None, None),
            (Method::GET, "/v2/a,b/manifests/x", None, None),
            (Method::GET, "/v2/A/manifests/x", None, None),
            (Method::GET, "/v2/a b/manifests/x", None, None),
            (Method::GET, "/v2/../manifests/x", None, None),
            (Method::OPTIONS, "/v2/a/manifests/x", None, None),
            (Method::GET, "/v2/a", None, None),
            (Method::GET, "/x/v2/a/manifests/x", None, None),
        ] {
            assert_eq!(token_scope(&method, path, query).as_deref(), scope, "{method} {path}");
        }
    }
}
