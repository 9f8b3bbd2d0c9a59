//! `cookie`: the credential is the value of one cookie; the agent's other cookies stay.

use control::catalog::{FieldKind, FieldSpec, Fields, SchemeSpec, Template};
use control::refusal::Refusal;
use zeroize::Zeroizing;

use super::shared::cookies;
use super::shared::surface::Surface;
use super::shared::template::{self, Alphabet, plain_into, render};
use super::{ArmFault, Armed, BuildError, Outgoing, Rendered, Scheme, Values};

const NAME: FieldSpec = FieldSpec {
    name: "name",
    kind: FieldKind::CookieName,
    required: true,
    default: None,
    doc: "The cookie.",
};

/// The scheme as data.
pub(crate) static SPEC: SchemeSpec = SchemeSpec {
    name: "cookie",
    auth_types: &["cookie"],
    inject_key: Some("cookie"),
    summary: "Sets one cookie to the secret.",
    auth_fields: &[NAME],
    inject_fields: &[
        NAME,
        FieldSpec {
            name: "template",
            kind: FieldKind::Template,
            required: false,
            default: Some("{{token}}"),
            doc: "Its value.",
        },
    ],
    default_keys: &["token"],
};

pub(super) fn build(fields: &Fields) -> Result<Box<dyn Scheme>, BuildError> {
    let name = fields.text("name").ok_or(BuildError::Missing("name"))?;
    // A cookie's name is a token, as a header's name is (RFC 6265 section 4.1.1).
    if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err(BuildError::Invalid { field: "name", why: "is no name of a cookie" });
    }
    let value = template::field(fields, "template")?.unwrap_or_else(|| template::prefixed(""));
    let literals_fit = value.0.iter().all(|piece| match piece {
        control::catalog::Piece::Literal(text) => text.bytes().all(cookies::is_octet),
        control::catalog::Piece::Key(_) => true,
    });
    if !literals_fit || value.keys().next().is_none() {
        return Err(BuildError::Invalid {
            field: "template",
            why: "names no key or holds what a cookie cannot",
        });
    }
    Ok(Box::new(Cookie { surface: Surface::Cookie(name.to_owned()), name: name.to_owned(), value }))
}

#[derive(Debug)]
struct Cookie {
    surface: Surface,
    name: String,
    value: Template,
}

impl Scheme for Cookie {
    fn surface(&self) -> &Surface {
        &self.surface
    }

    fn arm(&self, values: &Values<'_>) -> Result<Rendered, ArmFault> {
        let value = render(&self.value, values, Alphabet::Cookie, plain_into)?;
        let mut pair = Zeroizing::new(Vec::with_capacity(self.name.len() + value.len() + 1));
        pair.extend_from_slice(self.name.as_bytes());
        pair.push(b'=');
        pair.extend_from_slice(&value);
        let armed = Box::new(ArmedCookie { name: self.name.clone(), pair });
        Ok(Rendered { armed, echoes: template::echoes(&self.value, values)? })
    }
}

struct ArmedCookie {
    name: String,
    pair: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for ArmedCookie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArmedCookie").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Armed for ArmedCookie {
    fn place(&self, out: &mut Outgoing<'_>) -> Result<(), Refusal> {
        out.set_cookie(&self.name, &self.pair)
    }
}
