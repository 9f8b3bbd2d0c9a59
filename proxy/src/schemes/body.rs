//! `body`: the credential is the string at a JSON pointer of the body, which is held in memory for it.

use control::catalog::{FieldKind, FieldSpec, Fields, SchemeSpec, Template};
use control::refusal::{Code, Refusal};
use zeroize::Zeroizing;

use super::shared::pointer::Pointer;
use super::shared::surface::Surface;
use super::shared::template::{self, Alphabet, plain_into, render};
use super::{ArmFault, Armed, BuildError, Outgoing, Rendered, Scheme, Values};

/// The scheme as data.
pub(crate) static SPEC: SchemeSpec = SchemeSpec {
    name: "body",
    auth_types: &[],
    inject_key: Some("body"),
    summary: "Sets the string at a JSON pointer of the request's body to the secret.",
    auth_fields: &[],
    inject_fields: &[
        FieldSpec {
            name: "jsonPointer",
            kind: FieldKind::JsonPointer,
            required: true,
            default: None,
            doc: "The place in the body (RFC 6901), for example `/auth/key`.",
        },
        FieldSpec {
            name: "template",
            kind: FieldKind::Template,
            required: false,
            default: Some("{{token}}"),
            doc: "The string, before it is escaped.",
        },
    ],
    default_keys: &["token"],
};

pub(super) fn build(fields: &Fields) -> Result<Box<dyn Scheme>, BuildError> {
    let text = fields.text("jsonPointer").ok_or(BuildError::Missing("jsonPointer"))?;
    let why = "is no JSON pointer (RFC 6901) of at most 16 levels";
    let pointer = Pointer::parse(text).map_err(|_| BuildError::Invalid { field: "jsonPointer", why })?;
    let value = template::field(fields, "template")?.unwrap_or_else(|| template::prefixed(""));
    if value.keys().next().is_none() {
        return Err(BuildError::Invalid {
            field: "template",
            why: "names no key, so nothing of the secret would be sent",
        });
    }
    Ok(Box::new(Body { surface: Surface::Body(pointer.clone()), pointer, value }))
}

#[derive(Debug)]
struct Body {
    surface: Surface,
    pointer: Pointer,
    value: Template,
}

impl Scheme for Body {
    fn surface(&self) -> &Surface {
        &self.surface
    }

    fn arm(&self, values: &Values<'_>) -> Result<Rendered, ArmFault> {
        let value = render(&self.value, values, Alphabet::Text, plain_into)?;
        let armed = Box::new(ArmedBody { pointer: self.pointer.clone(), value });
        Ok(Rendered { armed, echoes: template::echoes(&self.value, values)? })
    }
}

struct ArmedBody {
    pointer: Pointer,
    value: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for ArmedBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArmedBody").field("pointer", &self.pointer).finish_non_exhaustive()
    }
}

impl Armed for ArmedBody {
    fn place(&self, out: &mut Outgoing<'_>) -> Result<(), Refusal> {
        let unfit =
            |_| Refusal::new(Code::Dw1004, "the secret holds characters that cannot be sent on this surface");
        out.set_body(&self.pointer, std::str::from_utf8(&self.value).map_err(unfit)?)
    }
}
