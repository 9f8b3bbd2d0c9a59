//! OpenAI's API, which many vendors speak: its actions, the table of its paths, and the description that they share.
//!
//! A vendor's own file says hosts, base path, dummy, and which of the actions it has; what it has not is `unknown`.

use super::read::{DELETE, Line, POST, READ, Segments, WRITE, by_table};
use super::shapes::{API_KEY, BY_RULES};
use super::{Actions, Ask, AuthSpec, Resolved, TypeSpec, UNKNOWN};

/// The type of a vendor, before its own fields.
pub(super) const VENDOR: TypeSpec = TypeSpec { actions: Actions::Listed(ACTIONS), ..BY_RULES };

/// The key of a vendor, before its own fields.
pub(super) const KEY: AuthSpec = AuthSpec { remove_headers: &["api-key", "x-api-key"], ..API_KEY };

/// What the compatible vendors' requests can do.
pub(super) const ACTIONS: &[&str] = &[
    "models:read",
    "models:delete",
    "chat:create",
    "chat:read",
    "chat:update",
    "chat:delete",
    "responses:create",
    "responses:read",
    "responses:delete",
    "completions:create",
    "embeddings:create",
    "moderations:create",
    "images:create",
    "audio:create",
    "videos:read",
    "videos:create",
    "videos:delete",
    "files:read",
    "files:write",
    "batches:read",
    "batches:write",
    "fine-tuning:read",
    "fine-tuning:write",
    "vector-stores:read",
    "vector-stores:write",
    "assistants:read",
    "assistants:write",
    "threads:read",
    "threads:write",
    "conversations:read",
    "conversations:write",
    "containers:read",
    "containers:write",
    "evals:read",
    "evals:write",
    "realtime:connect",
    "admin:read",
    "admin:write",
];

/// Paths behind `/v1`.
pub(super) const TABLE: &[Line] = &[
    Line(READ, "models", "models:read"),
    Line(READ, "models/**", "models:read"),
    Line(DELETE, "models/*", "models:delete"),
    Line(POST, "chat/completions", "chat:create"),
    Line(POST, "chat/completions/*", "chat:update"),
    Line(READ, "chat/completions/**", "chat:read"),
    Line(DELETE, "chat/completions/*", "chat:delete"),
    Line(POST, "responses", "responses:create"),
    Line(POST, "responses/compact", "responses:create"),
    Line(POST, "responses/input_tokens", "responses:create"),
    Line(POST, "responses/*/cancel", "responses:create"),
    Line(READ, "responses/**", "responses:read"),
    Line(DELETE, "responses/*", "responses:delete"),
    Line(POST, "completions", "completions:create"),
    Line(POST, "embeddings", "embeddings:create"),
    Line(POST, "moderations", "moderations:create"),
    Line(POST, "images/*", "images:create"),
    Line(POST, "audio/*", "audio:create"),
    Line(READ, "videos/**", "videos:read"),
    Line(POST, "videos/**", "videos:create"),
    Line(DELETE, "videos/*", "videos:delete"),
    Line(READ, "files/**", "files:read"),
    Line(WRITE, "files/**", "files:write"),
    Line(WRITE, "uploads/**", "files:write"),
    Line(READ, "batches/**", "batches:read"),
    Line(WRITE, "batches/**", "batches:write"),
    Line(READ, "fine_tuning/**", "fine-tuning:read"),
    Line(WRITE, "fine_tuning/**", "fine-tuning:write"),
    Line(READ, "vector_stores/**", "vector-stores:read"),
    Line(POST, "vector_stores/*/search", "vector-stores:read"),
    Line(WRITE, "vector_stores/**", "vector-stores:write"),
    Line(READ, "assistants/**", "assistants:read"),
    Line(WRITE, "assistants/**", "assistants:write"),
    Line(READ, "threads/**", "threads:read"),
    Line(WRITE, "threads/**", "threads:write"),
    Line(READ, "conversations/**", "conversations:read"),
    Line(WRITE, "conversations/**", "conversations:write"),
    Line(READ, "containers/**", "containers:read"),
    Line(WRITE, "containers/**", "containers:write"),
    Line(READ, "evals/**", "evals:read"),
    Line(WRITE, "evals/**", "evals:write"),
    Line(READ, "realtime", "realtime:connect"),
    Line(POST, "realtime/**", "realtime:connect"),
    Line(READ, "organization/**", "admin:read"),
    Line(WRITE, "organization/**", "admin:write"),
    Line(READ, "projects/**", "admin:read"),
    Line(WRITE, "projects/**", "admin:write"),
];

/// A request behind the vendor's base path: by its own table, then by OpenAI's, as far as the type has the action.
pub(super) fn resolve<'a>(ask: &Ask<'a>, kind: &TypeSpec, base: &str, own: &'static [Line]) -> Resolved<'a> {
    let segments = Segments::of(ask.path);
    segments.behind(base).map_or(Resolved::unknown(), |rest| within(ask, kind, &rest, own))
}

/// A request behind a base path that ends with its version (`v1`, `openai/v1`, `api/v2`), at most four segments in.
pub(super) fn resolve_versioned<'a>(ask: &Ask<'a>, kind: &TypeSpec, own: &'static [Line]) -> Resolved<'a> {
    let segments = Segments::of(ask.path);
    let version = (0..4).find(|index| {
        let digits = segments.at(*index).strip_prefix(['v', 'V']);
        digits.is_some_and(|digits| {
            (1..=2).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
        })
    });
    version.map_or(Resolved::unknown(), |at| within(ask, kind, &segments.skip(at + 1), own))
}

fn within<'a>(ask: &Ask<'a>, kind: &TypeSpec, rest: &Segments<'a>, own: &'static [Line]) -> Resolved<'a> {
    let by_own = by_table(ask.method, rest, own);
    let resolved = if by_own.action == UNKNOWN { by_table(ask.method, rest, TABLE) } else { by_own };
    if kind.actions.names().iter().any(|name| *name == resolved.action) {
        resolved
    } else {
        Resolved::unknown()
    }
}
