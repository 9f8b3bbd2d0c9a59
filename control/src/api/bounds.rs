//! What the description says of how long and how many: the numbers that the checks of each resource refuse by.
//!
//! Lengths are refused by bytes and described in characters, of which no text has more. The tests go over every field of every
//! body: one without a bound here fails, and so does one whose bound is not refused.

use utoipa::openapi::schema::{AdditionalProperties, ArrayItems, Object, Schema};
use utoipa::openapi::{OpenApi, RefOr};

use super::{DESCRIPTION, TIME, attachments, audit, documents, import, login, members, secrets};
use super::{projects, tokens, variables};
use crate::approval::LONGEST;
use crate::registry::{IDENTITIES_MAX, SPIFFE_MAX};
use crate::vault::bound::PATTERNS_MAX;
use crate::vault::value::{KEY_MAX, KEYS_MAX, VALUE_MAX};

/// The longest name of a secret or variable ([`crate::secret::SecretName`]).
const NAME: usize = 253;

/// The bound of one field.
#[derive(Clone, Copy, Debug)]
enum Bound {
    Text(usize),
    /// So many, each so long.
    Texts(usize, usize),
    /// From 1 to this.
    Number(i64),
    /// The values of a secret.
    Values,
}

use Bound::{Number, Text, Texts, Values};

const HOSTS: Bound = Texts(PATTERNS_MAX, secrets::HOST);
const IDENTITIES: Bound = Texts(IDENTITIES_MAX, SPIFFE_MAX);
const LINES: Bound = Texts(import::LINES, NAME);

/// The fields of all bodies.
const BOUNDS: &[(&str, &[(&str, Bound)])] = &[
    ("ApproveBody", &[("forSeconds", Number(LONGEST))]),
    (
        "AttachBody",
        &[
            ("name", Text(attachments::NAME)),
            ("variable", Text(attachments::NAME)),
            ("secret", Text(attachments::NAME)),
        ],
    ),
    ("AuditPrune", &[("before", Text(TIME)), ("source", Text(audit::SOURCE))]),
    ("CloneBody", &[("project", Text(projects::NAME))]),
    ("DocumentBody", &[("document", Text(documents::DOCUMENT))]),
    ("IdentitiesBody", &[("identities", IDENTITIES)]),
    ("ImportBody", &[("text", Text(import::TEXT)), ("secrets", LINES), ("variables", LINES)]),
    (
        "LoginBody",
        &[
            ("code", Text(login::CODE)),
            ("verifier", Text(login::VERIFIER)),
            ("nonce", Text(login::NONCE)),
            ("redirectUri", Text(login::REDIRECT)),
        ],
    ),
    (
        "NewAgentBody",
        &[
            ("name", Text(projects::NAME)),
            ("description", Text(DESCRIPTION)),
            ("expires", Text(TIME)),
            ("identities", IDENTITIES),
        ],
    ),
    ("NewMemberBody", &[("email", Text(members::NAME)), ("subject", Text(members::NAME))]),
    ("NewProjectBody", &[("name", Text(projects::NAME)), ("description", Text(DESCRIPTION))]),
    (
        "NewSecretBody",
        &[
            ("name", Text(NAME)),
            ("values", Values),
            ("description", Text(DESCRIPTION)),
            ("expires", Text(TIME)),
            ("hosts", HOSTS),
            ("for", Text(secrets::TYPE)),
        ],
    ),
    ("NewTokenBody", &[("name", Text(tokens::NAME)), ("expires", Text(TIME))]),
    ("NewVariableBody", &[("name", Text(NAME)), ("value", Text(variables::VALUE))]),
    ("ProjectBody", &[("description", Text(DESCRIPTION))]),
    ("RotateAgentBody", &[("expires", Text(TIME))]),
    (
        "RotateBody",
        &[
            ("values", Values),
            ("expires", Text(TIME)),
            ("hosts", HOSTS),
            ("for", Text(secrets::TYPE)),
            ("grace", Text(TIME)),
        ],
    ),
    ("VariableBody", &[("value", Text(variables::VALUE))]),
];

/// Puts them into the description.
pub(super) fn describe(document: &mut OpenApi) {
    let Some(components) = document.components.as_mut() else { return };
    for (name, fields) in BOUNDS {
        let Some(RefOr::T(Schema::Object(body))) = components.schemas.get_mut(*name) else { continue };
        for (field, bound) in *fields {
            match body.properties.get_mut(*field) {
                Some(RefOr::T(schema)) => put(schema, *bound),
                Some(RefOr::Ref(_)) | None => {}
            }
        }
    }
}

fn put(schema: &mut Schema, bound: Bound) {
    match (schema, bound) {
        (Schema::Object(text), Text(most)) => text.max_length = Some(most),
        (Schema::Object(number), Number(most)) => {
            number.minimum = Some(1.into());
            number.maximum = isize::try_from(most).ok().map(Into::into);
        }
        (Schema::Array(list), Texts(most, each)) => {
            list.max_items = Some(most);
            if let ArrayItems::RefOrSchema(items) = &mut list.items
                && let RefOr::T(item) = items.as_mut()
            {
                put(item, Text(each));
            }
        }
        (Schema::Object(values), Values) => put_values(values),
        // Nothing is said of it then, which the tests find.
        (_, Text(_) | Texts(..) | Number(_) | Values) => {}
    }
}

fn put_values(values: &mut Object) {
    values.max_properties = Some(KEYS_MAX);
    if let Some(keys) = values.property_names.as_deref_mut() {
        put(keys, Text(KEY_MAX));
    }
    if let Some(AdditionalProperties::RefOr(RefOr::T(value))) = values.additional_properties.as_deref_mut() {
        put(value, Text(VALUE_MAX));
    }
}
