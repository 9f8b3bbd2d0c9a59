//! `query`: the credential is the value of one query parameter.

use control::catalog::{FieldKind, FieldSpec, Fields, SchemeSpec, Template};
use control::refusal::Refusal;
use zeroize::Zeroizing;

use super::shared::encode::query_into;
use super::shared::surface::Surface;
use super::shared::template::{self, Alphabet, render};
use super::{ArmFault, Armed, BuildError, Outgoing, Rendered, Scheme, Values};

/// The scheme as data.
pub(crate) static SPEC: SchemeSpec = SchemeSpec {
    name: "query",
    auth_types: &["query"],
    inject_key: Some("query"),
    summary: "Sets one query parameter to the secret.",
    auth_fields: &[FieldSpec {
        name: "param",
        kind: FieldKind::ParamName,
        required: true,
        default: None,
        doc: "The parameter.",
    }],
    inject_fields: &[
        FieldSpec {
            name: "name",
            kind: FieldKind::ParamName,
            required: true,
            default: None,
            doc: "The parameter.",
        },
        FieldSpec {
            name: "template",
            kind: FieldKind::Template,
            required: false,
            default: Some("{{token}}"),
            doc: "Its value before it is encoded.",
        },
    ],
    default_keys: &["token"],
};

pub(super) fn build(fields: &Fields) -> Result<Box<dyn Scheme>, BuildError> {
    let name = fields.text("param").or(fields.text("name")).ok_or(BuildError::Missing("param"))?;
    let value = template::field(fields, "template")?.unwrap_or_else(|| template::prefixed(""));
    Ok(Box::new(Query::new(name, value)?))
}

/// A query parameter that is set as a whole.
#[derive(Debug)]
pub(super) struct Query {
    surface: Surface,
    name: String,
    value: Template,
}

impl Query {
    pub(super) fn new(name: &str, value: Template) -> Result<Self, BuildError> {
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(BuildError::Invalid { field: "param", why: "is no name of a query parameter" });
        }
        if value.keys().next().is_none() {
            return Err(BuildError::Invalid {
                field: "template",
                why: "names no key, so nothing of the secret would be sent",
            });
        }
        let name = name.to_owned();
        Ok(Self { surface: Surface::Query(name.clone()), name, value })
    }
}

impl Scheme for Query {
    fn surface(&self) -> &Surface {
        &self.surface
    }

    fn arm(&self, values: &Values<'_>) -> Result<Rendered, ArmFault> {
        let plain = render(&self.value, values, Alphabet::Text, template::plain_into)?;
        let mut encoded = Zeroizing::new(Vec::with_capacity(plain.len() * super::shared::encode::GROWTH));
        query_into(&plain, &mut encoded);
        let armed = Box::new(ArmedQuery { name: self.name.clone(), encoded });
        Ok(Rendered { armed, echoes: template::echoes(&self.value, values)? })
    }
}

struct ArmedQuery {
    name: String,
    encoded: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for ArmedQuery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArmedQuery").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Armed for ArmedQuery {
    fn place(&self, out: &mut Outgoing<'_>) -> Result<(), Refusal> {
        out.set_query(&self.name, &self.encoded)
    }
}
