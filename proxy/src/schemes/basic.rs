//! `basic`: user and password in `Authorization: Basic` (RFC 7617).
//!
//! Answers are searched for the password; for the user only where the password holds nothing of the secret (an API key
//! as the user), since a login name stands in many answers.

use control::catalog::{FieldKind, FieldSpec, Fields, Piece, SchemeSpec, Template};
use control::refusal::Refusal;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use zeroize::Zeroizing;

use super::shared::basic_auth;
use super::shared::surface::Surface;
use super::shared::template::{self, Alphabet, plain_into, render, sensitive};
use super::{ArmFault, Armed, BuildError, Outgoing, Rendered, Scheme, Values};

/// The scheme as data.
pub(crate) static SPEC: SchemeSpec = SchemeSpec {
    name: "basic",
    auth_types: &["basic"],
    inject_key: Some("basic"),
    summary: "Sets `Authorization: Basic …` from a user name and the secret.",
    auth_fields: &[FieldSpec {
        name: "username",
        kind: FieldKind::Text,
        required: false,
        default: None,
        doc: "The user name; without it the secret's key `username`.",
    }],
    inject_fields: &[
        FieldSpec {
            name: "username",
            kind: FieldKind::Text,
            required: false,
            default: None,
            doc: "The user name, a literal or with `{{key}}`; without it the secret's key `username`.",
        },
        FieldSpec {
            name: "password",
            kind: FieldKind::Text,
            required: false,
            default: Some("{{token}}"),
            doc: "The password, a literal or with `{{key}}`.",
        },
    ],
    default_keys: &["password", "token"],
};

pub(super) fn build(fields: &Fields) -> Result<Box<dyn Scheme>, BuildError> {
    let user = template::field(fields, "username")?
        .unwrap_or_else(|| Template(vec![Piece::Key("username".to_owned())]));
    let password = template::field(fields, "password")?.unwrap_or_else(|| template::prefixed(""));
    if user.0.iter().any(|piece| matches!(piece, Piece::Literal(text) if text.contains(':'))) {
        return Err(BuildError::Invalid {
            field: "username",
            why: "holds a colon, which ends the user name",
        });
    }
    if user.keys().chain(password.keys()).next().is_none() {
        return Err(BuildError::Invalid {
            field: "password",
            why: "names no key, so nothing of the secret would be sent",
        });
    }
    Ok(Box::new(Basic { surface: Surface::Header(AUTHORIZATION), user, password }))
}

#[derive(Debug)]
struct Basic {
    surface: Surface,
    user: Template,
    password: Template,
}

impl Scheme for Basic {
    fn surface(&self) -> &Surface {
        &self.surface
    }

    fn arm(&self, values: &Values<'_>) -> Result<Rendered, ArmFault> {
        let user = render(&self.user, values, Alphabet::User, plain_into)?;
        let password = render(&self.password, values, Alphabet::Text, plain_into)?;
        let mut pair = Zeroizing::new(Vec::with_capacity(user.len() + password.len() + 1));
        pair.extend_from_slice(&user);
        pair.push(b':');
        pair.extend_from_slice(&password);
        let value = sensitive(basic_auth::encoded(&pair))?;
        let mut echoes = template::echoes(&self.password, values)?;
        if echoes.is_empty() {
            echoes = template::echoes(&self.user, values)?;
        } else {
            echoes.iter_mut().for_each(|echo| echo.basic_users.push(user.clone()));
        }
        Ok(Rendered { armed: Box::new(ArmedBasic(value)), echoes })
    }
}

#[derive(Debug)]
struct ArmedBasic(HeaderValue);

impl Armed for ArmedBasic {
    fn place(&self, out: &mut Outgoing<'_>) -> Result<(), Refusal> {
        out.set_header(&AUTHORIZATION, self.0.clone())
    }
}
