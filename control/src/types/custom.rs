//! Any service with OpenAI's API, behind whatever base path its URL has (`/v1`, `/openai/v1`, `/api/v2`).

use super::openai::{ACTIONS, BEARER, TABLE};
use super::read::{Segments, by_table};
use super::{Actions, Ask, AuthSpec, Resolved, TypeSpec};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "custom",
    summary: "A service with OpenAI's API on a host of your own: `Authorization: Bearer`.",
    hosts: &[],
    auth: &[AuthSpec {
        name: "api-key",
        keys: &["api-key", "token"],
        injections: BEARER,
        public_prefixes: &[],
        remove_headers: &["api-key", "x-api-key"],
        remove_params: &[],
        dummy: "sk-{rand:48}",
        env: &["OPENAI_API_KEY"],
    }],
    actions: Actions::Listed(ACTIONS),
    scope: None,
    verify: None,
    resolve,
};

/// The base path ends with its version: `v1`, `v2` …, at most four segments in.
fn resolve<'a>(ask: &Ask<'a>) -> Resolved<'a> {
    let segments = Segments::of(ask.path);
    let version = (0..4).find(|index| {
        let digits = segments.at(*index).strip_prefix(['v', 'V']);
        digits.is_some_and(|digits| {
            (1..=2).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
        })
    });
    version.map_or(Resolved::unknown(), |at| by_table(ask.method, &segments.skip(at + 1), TABLE))
}
