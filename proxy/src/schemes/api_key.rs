//! `api-key` and `bearer`: the credential in a header (default `Authorization: Bearer …`) or in a query parameter.

use control::catalog::{FieldKind, FieldSpec, Fields, SchemeSpec};

use super::header::Header;
use super::query::Query;
use super::shared::template;
use super::{BuildError, Scheme};

/// The scheme as data.
pub(crate) static SPEC: SchemeSpec = SchemeSpec {
    name: "api_key",
    auth_types: &["api-key", "bearer"],
    inject_key: None,
    summary: "Sets `Authorization: Bearer …`, another header, or a query parameter to the secret.",
    auth_fields: &[
        FieldSpec {
            name: "header",
            kind: FieldKind::HeaderName,
            required: false,
            default: None,
            doc: "The header; `Authorization` where neither it nor `param` is given.",
        },
        FieldSpec {
            name: "prefix",
            kind: FieldKind::Text,
            required: false,
            default: None,
            doc: "What stands before the value in the header; `Bearer ` where it is left out.",
        },
        FieldSpec {
            name: "param",
            kind: FieldKind::ParamName,
            required: false,
            default: None,
            doc: "A query parameter instead of a header.",
        },
    ],
    inject_fields: &[],
    default_keys: &["token"],
};

pub(super) fn build(fields: &Fields) -> Result<Box<dyn Scheme>, BuildError> {
    let (header, prefix) = (fields.text("header"), fields.text("prefix"));
    match fields.text("param") {
        Some(_) if header.is_some() => {
            Err(BuildError::Invalid { field: "param", why: "cannot stand beside `header`" })
        }
        Some(_) if prefix.is_some() => {
            Err(BuildError::Invalid { field: "param", why: "cannot stand beside `prefix`" })
        }
        Some(param) => Ok(Box::new(Query::new(param, template::prefixed(""))?)),
        None => {
            let value = template::prefixed(prefix.unwrap_or("Bearer "));
            Ok(Box::new(Header::new(header.unwrap_or("authorization"), value)?))
        }
    }
}
