//! `path`: the credential is part of the path, `/bot{{token}}/`.
//!
//! It goes where the agent's dummy (or a token of its own) stands, see [`PathShape`]; a path without such a place goes out
//! without a credential.

use control::catalog::{FieldKind, FieldSpec, Fields, SchemeSpec};
use control::refusal::Refusal;
use zeroize::Zeroizing;

use super::shared::pathshape::PathShape;
use super::shared::surface::Surface;
use super::shared::template;
use super::{ArmFault, Armed, BuildError, Outgoing, Rendered, Scheme, Values};

const FIELDS: &[FieldSpec] = &[FieldSpec {
    name: "template",
    kind: FieldKind::PathTemplate,
    required: true,
    default: None,
    doc: "The part of the path that holds the credential, for example `/bot{{token}}/`.",
}];

/// The scheme as data.
pub(crate) static SPEC: SchemeSpec = SchemeSpec {
    name: "path",
    auth_types: &["path"],
    inject_key: Some("path"),
    summary: "Puts the secret into the path, where the agent's dummy stands.",
    auth_fields: FIELDS,
    inject_fields: FIELDS,
    default_keys: &["token"],
};

pub(super) fn build(fields: &Fields) -> Result<Box<dyn Scheme>, BuildError> {
    let template = template::field(fields, "template")?.ok_or(BuildError::Missing("template"))?;
    let shape = PathShape::new(&template)?;
    Ok(Box::new(Path { surface: Surface::Path(shape.clone()), shape }))
}

#[derive(Debug)]
struct Path {
    surface: Surface,
    shape: PathShape,
}

impl Scheme for Path {
    fn surface(&self) -> &Surface {
        &self.surface
    }

    fn arm(&self, values: &Values<'_>) -> Result<Rendered, ArmFault> {
        let rendered = self.shape.render(values)?;
        let armed = Box::new(ArmedPath { shape: self.shape.clone(), rendered });
        Ok(Rendered { armed, echoes: template::echoes(self.shape.template(), values)? })
    }
}

struct ArmedPath {
    shape: PathShape,
    rendered: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for ArmedPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArmedPath").field("shape", &self.shape).finish_non_exhaustive()
    }
}

impl Armed for ArmedPath {
    fn place(&self, out: &mut Outgoing<'_>) -> Result<(), Refusal> {
        out.set_path_part(&self.shape, &self.rendered)
    }
}
