//! `placeholder`: the provider's dummy is replaced by the credential on the named spots and nowhere else.
//!
//! Where no spot holds the dummy the request goes out as it is, without a credential: what else stands there is not known
//! to be a credential. Under `onAgentCredential: reject` another value on a named header, parameter or Basic is refused.

use control::catalog::{FieldKind, FieldSpec, Fields, SchemeSpec, Template};
use control::refusal::Refusal;
use zeroize::Zeroizing;

use super::shared::surface::{PlaceholderSpot, Surface};
use super::shared::template::{self, Alphabet, plain_into, render};
use super::{ArmFault, Armed, BuildError, Outgoing, Rendered, Scheme, Values};

/// The scheme as data.
pub(crate) static SPEC: SchemeSpec = SchemeSpec {
    name: "placeholder",
    auth_types: &[],
    inject_key: Some("placeholder"),
    summary: "Replaces the agent's dummy by the secret, on the named spots only.",
    auth_fields: &[],
    inject_fields: &[
        FieldSpec {
            name: "in",
            kind: FieldKind::Spots,
            required: true,
            default: None,
            doc: "The spots: `header:NAME`, `query:NAME`, `path`, `basic`, `body:/pointer`.",
        },
        FieldSpec {
            name: "template",
            kind: FieldKind::Template,
            required: false,
            default: Some("{{token}}"),
            doc: "What the dummy is replaced by.",
        },
    ],
    default_keys: &["token"],
};

pub(super) fn build(fields: &Fields) -> Result<Box<dyn Scheme>, BuildError> {
    let spots = fields.spots("in");
    if spots.is_empty() {
        return Err(BuildError::Missing("in"));
    }
    let why = "names a spot that cannot carry a credential";
    let spots: Option<Vec<PlaceholderSpot>> = spots.iter().map(PlaceholderSpot::new).collect();
    let spots = spots.ok_or(BuildError::Invalid { field: "in", why })?;
    let value = template::field(fields, "template")?.unwrap_or_else(|| template::prefixed(""));
    if value.keys().next().is_none() {
        return Err(BuildError::Invalid {
            field: "template",
            why: "names no key, so nothing of the secret would be sent",
        });
    }
    Ok(Box::new(Placeholder { surface: Surface::Placeholder(spots.clone()), spots, value }))
}

#[derive(Debug)]
struct Placeholder {
    surface: Surface,
    spots: Vec<PlaceholderSpot>,
    value: Template,
}

impl Placeholder {
    fn alphabet(&self) -> Alphabet {
        let is_header = |spot: &PlaceholderSpot| matches!(spot, PlaceholderSpot::Header(_));
        if self.spots.iter().any(is_header) { Alphabet::Header } else { Alphabet::Text }
    }
}

impl Scheme for Placeholder {
    fn surface(&self) -> &Surface {
        &self.surface
    }

    fn arm(&self, values: &Values<'_>) -> Result<Rendered, ArmFault> {
        let value = render(&self.value, values, self.alphabet(), plain_into)?;
        let armed = Box::new(ArmedPlaceholder { spots: self.spots.clone(), value });
        Ok(Rendered { armed, echoes: template::echoes(&self.value, values)? })
    }
}

struct ArmedPlaceholder {
    spots: Vec<PlaceholderSpot>,
    value: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for ArmedPlaceholder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArmedPlaceholder").field("spots", &self.spots).finish_non_exhaustive()
    }
}

impl Armed for ArmedPlaceholder {
    fn place(&self, out: &mut Outgoing<'_>) -> Result<(), Refusal> {
        self.spots.iter().try_for_each(|spot| out.replace_placeholder(spot, &self.value))
    }
}
