//! `Authorization: Bearer TOKEN` (RFC 6750), as the schemes that exchange a secret put their token on.

use std::sync::LazyLock;

use control::catalog::Template;
use http::header::AUTHORIZATION;

use super::surface::Surface;
use super::template::{self, Alphabet, plain_into, render, sensitive};
use crate::schemes::header::ArmedHeader;
use crate::schemes::{ArmFault, Rendered, Values};

static BEARER: LazyLock<Template> = LazyLock::new(|| template::prefixed("Bearer "));

/// Where it goes.
pub(crate) fn surface() -> Surface {
    Surface::Header(AUTHORIZATION)
}

/// Renders the provider's own value, which for these schemes is the token.
pub(crate) fn arm(values: &Values<'_>) -> Result<Rendered, ArmFault> {
    let value = sensitive(render(&BEARER, values, Alphabet::Header, plain_into)?)?;
    let armed = Box::new(ArmedHeader { name: AUTHORIZATION, value });
    Ok(Rendered { armed, echoes: template::echoes(&BEARER, values)? })
}
