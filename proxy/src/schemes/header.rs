//! `header`: the credential is the value of one header.

use control::catalog::{FieldKind, FieldSpec, Fields, SchemeSpec, Template};
use control::refusal::Refusal;
use http::{HeaderName, HeaderValue};

use super::shared::names;
use super::shared::surface::Surface;
use super::shared::template::{self, Alphabet, plain_into, render, sensitive};
use super::{ArmFault, Armed, BuildError, Outgoing, Rendered, Scheme, Values};

/// The scheme as data.
pub(crate) static SPEC: SchemeSpec = SchemeSpec {
    name: "header",
    auth_types: &["header"],
    inject_key: Some("header"),
    summary: "Sets one header to the secret, with a prefix or in a template.",
    auth_fields: &[
        FieldSpec {
            name: "header",
            kind: FieldKind::HeaderName,
            required: true,
            default: None,
            doc: "The header.",
        },
        FieldSpec {
            name: "prefix",
            kind: FieldKind::Text,
            required: false,
            default: Some(""),
            doc: "What stands before the value.",
        },
    ],
    inject_fields: &[
        FieldSpec {
            name: "header",
            kind: FieldKind::HeaderName,
            required: true,
            default: None,
            doc: "The header.",
        },
        FieldSpec {
            name: "template",
            kind: FieldKind::Template,
            required: false,
            default: Some("{{token}}"),
            doc: "Its value, for example `Bearer {{token}}`.",
        },
    ],
    default_keys: &["token"],
};

pub(super) fn build(fields: &Fields) -> Result<Box<dyn Scheme>, BuildError> {
    let name = fields.text("header").ok_or(BuildError::Missing("header"))?;
    let value = match (template::field(fields, "template")?, fields.text("prefix")) {
        (Some(template), None) => template,
        (None, prefix) => template::prefixed(prefix.unwrap_or_default()),
        (Some(_), Some(_)) => return Err(BuildError::Unknown("prefix")),
    };
    Ok(Box::new(Header::new(name, value)?))
}

/// A header that is set as a whole.
#[derive(Debug)]
pub(super) struct Header {
    surface: Surface,
    name: HeaderName,
    value: Template,
}

impl Header {
    pub(super) fn new(name: &str, value: Template) -> Result<Self, BuildError> {
        let why = "names a header that cannot carry a credential";
        let name = names::injectable(name).ok_or(BuildError::Invalid { field: "header", why })?;
        if value.keys().next().is_none() {
            return Err(BuildError::Invalid {
                field: "template",
                why: "names no key, so nothing of the secret would be sent",
            });
        }
        Ok(Self { surface: Surface::Header(name.clone()), name, value })
    }
}

impl Scheme for Header {
    fn surface(&self) -> &Surface {
        &self.surface
    }

    fn arm(&self, values: &Values<'_>) -> Result<Rendered, ArmFault> {
        let value = sensitive(render(&self.value, values, Alphabet::Header, plain_into)?)?;
        let armed = Box::new(ArmedHeader { name: self.name.clone(), value });
        Ok(Rendered { armed, echoes: template::echoes(&self.value, values)? })
    }
}

/// A header with its rendered value.
#[derive(Debug)]
pub(super) struct ArmedHeader {
    pub(super) name: HeaderName,
    pub(super) value: HeaderValue,
}

impl Armed for ArmedHeader {
    fn place(&self, out: &mut Outgoing<'_>) -> Result<(), Refusal> {
        out.set_header(&self.name, self.value.clone())
    }
}
