//! PyPI, and other indexes with its APIs: the simple index, files, JSON, and uploads.
//!
//! Only the upload host gets the credential; the others take none. There is no call that verifies an upload token.

use http::Method;

use super::read::{Line, POST, READ, Segments, by_table, is_read};
use super::shapes::{API_KEY, BY_RULES};
use super::{Actions, Ask, AuthSpec, InjectionSpec, Resolved, TypeSpec};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "pypi",
    summary: "PyPI, or another index: Basic as `__token__` (`pat`), or with the secret's own `username` (`basic`), on upload.pypi.org or your host. Installing needs no credential on PyPI.",
    hosts: &["upload.pypi.org", "pypi.org", "files.pythonhosted.org"],
    auth: &[
        TOKEN,
        AuthSpec {
            name: "basic",
            keys: &["password", "token"],
            injections: &[InjectionSpec {
                hosts: UPLOAD,
                key: "basic",
                fields: &[("password", "{{token}}")],
            }],
            ..TOKEN
        },
    ],
    actions: Actions::Listed(&["read", "write"]),
    resolve,
    ..BY_RULES
};

const UPLOAD: &[&str] = &["upload.pypi.org"];

const TOKEN: AuthSpec = AuthSpec {
    name: "pat",
    keys: &["token"],
    injections: &[InjectionSpec {
        hosts: UPLOAD,
        key: "basic",
        fields: &[("username", "__token__"), ("password", "{{token}}")],
    }],
    // What every token of the two indexes begins with: the name of its issuer. A bare `pypi-` begins names of secrets, too.
    public_prefixes: &["pypi-AgEIcHlwaS5vcmc", "pypi-AgENdGVzdC5weXBpLm9yZw"],
    dummy: "pypi-{rand:160}",
    env: &[
        "TWINE_PASSWORD",
        "UV_PUBLISH_TOKEN",
        "POETRY_PYPI_TOKEN_PYPI",
        "HATCH_INDEX_AUTH",
        "FLIT_PASSWORD",
        "PDM_PUBLISH_PASSWORD",
        "MATURIN_PYPI_TOKEN",
    ],
    ..API_KEY
};

/// pypi.org.
const INDEX: &[Line] = &[
    Line(READ, "simple/**", "read"),
    Line(READ, "pypi/**", "read"),
    Line(READ, "project/**", "read"),
    Line(READ, "integrity/**", "read"),
    Line(READ, "packages/**", "read"),
    Line(READ, "rss/**", "read"),
];

const UPLOADS: &[Line] = &[Line(POST, "legacy", "write")];

fn resolve<'a>(ask: &Ask<'a>) -> Resolved<'a> {
    let segments = Segments::of(ask.path);
    match ask.host.name() {
        Some("upload.pypi.org") => by_table(ask.method, &segments, UPLOADS),
        Some("pypi.org") => by_table(ask.method, &segments, INDEX),
        Some("files.pythonhosted.org") => {
            if is_read(ask.method) {
                Resolved::free("read")
            } else {
                Resolved::unknown()
            }
        }
        Some(_) | None => other_index(ask, &segments),
    }
}

/// An index of one's own, behind whatever path it has.
fn other_index<'a>(ask: &Ask<'a>, segments: &Segments<'_>) -> Resolved<'a> {
    let last = segments.len().saturating_sub(1);
    let shown = (0..segments.len().min(6)).any(|at| segments.is_any(at, &["simple", "+simple", "packages"]));
    match *ask.method {
        Method::GET | Method::HEAD if shown => Resolved::free("read"),
        // Where twine sends to: `/legacy/`, `/repository/NAME/` of Nexus, `/api/pypi/NAME` of Artifactory, `…/packages/pypi`.
        Method::POST if segments.is_any(last, &["legacy", "pypi"]) => Resolved::free("write"),
        Method::POST if segments.is(0, "repository") && segments.len() == 2 => Resolved::free("write"),
        Method::POST if last >= 2 && segments.is(last - 2, "api") && segments.is(last - 1, "pypi") => {
            Resolved::free("write")
        }
        _ => Resolved::unknown(),
    }
}
