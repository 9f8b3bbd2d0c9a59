//! What an auth scheme needs, as data.
//!
//! `proxy` owns the schemes and hands their [`SchemeSpec`]s to this crate as a slice, so that config validation, the JSON
//! schema, CLI prompts and the docs all follow from one table, and adding a scheme is one file and one table line there.

use std::collections::BTreeMap;
use std::fmt;

/// An auth scheme as data: which names choose it and which fields it takes.
#[derive(Debug)]
pub struct SchemeSpec {
    /// The scheme's name, as audit records show it (`header`, `basic`, `query` …).
    pub name: &'static str,
    /// The `auth.type` values of an http-token provider that choose it (`api-key`, `bearer`); empty: only by `auth.inject`.
    pub auth_types: &'static [&'static str],
    /// The key that chooses it in an `auth.inject` entry (`basic: {…}`). `None`: not available there.
    pub inject_key: Option<&'static str>,
    /// One sentence for the docs.
    pub summary: &'static str,
    /// Its fields in an http-token provider's `auth` block.
    pub auth_fields: &'static [FieldSpec],
    /// Its fields in an `auth.inject` entry. If the entry's value is a scalar it is the first field and the rest are siblings
    /// (`{header: X, template: T}`).
    pub inject_fields: &'static [FieldSpec],
    /// The secret's keys to look for where `secretKey` is not given, in this order.
    pub default_keys: &'static [&'static str],
}

/// One field of a scheme.
#[derive(Debug)]
pub struct FieldSpec {
    /// As written in the file (`jsonPointer`).
    pub name: &'static str,
    /// What it may hold.
    pub kind: FieldKind,
    /// Whether it has to be there.
    pub required: bool,
    /// Its value where it is left out.
    pub default: Option<&'static str>,
    /// One sentence for docs and prompts.
    pub doc: &'static str,
}

/// What a field may hold; each kind is validated with the place in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// Any visible text.
    Text,
    /// An HTTP field name.
    HeaderName,
    /// Text with `{{key}}` in it, see [`Template`].
    Template,
    /// A template that starts with `/`.
    PathTemplate,
    /// A query parameter's name.
    ParamName,
    /// A cookie's name.
    CookieName,
    /// A JSON pointer (RFC 6901), not empty.
    JsonPointer,
    /// A list of names of lower-case letters, digits and hyphens, kept as text with commas. For a built-in type it comes from
    /// the provider's `config`.
    Labels,
    /// A list of keys of the secret, which may be empty; kept as text with commas.
    Keys,
    /// A template that is signed, not sent: line breaks are its own. It names what tells one request from another: path,
    /// query or body.
    Message,
    /// A map from header names to what stands in them, with `{{name}}`.
    Headers,
    /// The URL of a token endpoint, see [`crate::token_url::TokenUrl`]. The secret has to be bound to its host.
    TokenUrl,
    /// As [`Self::TokenUrl`], given by a built-in type's provider in its `config`.
    TokenService,
    /// The name by which a registry goes at its token service.
    ServiceName,
    /// A list of OAuth scopes (RFC 6749 section 3.3), kept as text with blanks.
    Scopes,
    /// The ARN of an AWS role, see [`crate::aws::role`].
    RoleArn,
    /// The external id with which a role is assumed.
    ExternalId,
    /// The absolute path of a file that the proxy may read while it runs.
    File,
    /// A whole number of seconds from the first to the last.
    Seconds(u32, u32),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of placeholder spots: `header:NAME`, `query:NAME`, `path`, `basic`, `body:/pointer`.
    Spots,
}

impl FieldKind {
    /// Whether a built-in type's provider gives such a field in its `config`.
    pub fn is_setting(self) -> bool {
        matches!(
            self,
            Self::Labels
                | Self::Scopes
                | Self::Choice(_)
                | Self::RoleArn
                | Self::ExternalId
                | Self::File
                | Self::TokenService
                | Self::ServiceName
                | Self::Seconds(..)
        )
    }
}

/// A field's value after validation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldValue {
    /// A scalar of any kind but templates.
    Text(String),
    /// A parsed template.
    Template(Template),
    /// Placeholder spots.
    Spots(Vec<Spot>),
    /// Header names, in lower case, with what stands in them.
    Headers(Vec<(String, Template)>),
}

/// The validated fields of one use of a scheme, by field name; defaults are filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub BTreeMap<&'static str, FieldValue>);

impl Fields {
    /// The text of a field.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name) {
            Some(FieldValue::Text(text)) => Some(text),
            Some(FieldValue::Template(_) | FieldValue::Spots(_) | FieldValue::Headers(_)) | None => None,
        }
    }

    /// The template of a field.
    pub fn template(&self, name: &str) -> Option<&Template> {
        match self.0.get(name) {
            Some(FieldValue::Template(template)) => Some(template),
            Some(FieldValue::Text(_) | FieldValue::Spots(_) | FieldValue::Headers(_)) | None => None,
        }
    }

    /// The spots of a field; none if it is not there.
    pub fn spots(&self, name: &str) -> &[Spot] {
        match self.0.get(name) {
            Some(FieldValue::Spots(spots)) => spots,
            Some(FieldValue::Text(_) | FieldValue::Template(_) | FieldValue::Headers(_)) | None => &[],
        }
    }

    /// The headers of a field; none if it is not there.
    pub fn headers(&self, name: &str) -> &[(String, Template)] {
        match self.0.get(name) {
            Some(FieldValue::Headers(headers)) => headers,
            Some(FieldValue::Text(_) | FieldValue::Template(_) | FieldValue::Spots(_)) | None => &[],
        }
    }
}

/// A named surface in which a placeholder is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Spot {
    /// The value of this header (lower-case name).
    Header(String),
    /// The value of this query parameter.
    Query(String),
    /// Anywhere in one path segment.
    Path,
    /// User or password inside `Authorization: Basic`.
    Basic,
    /// The string at this JSON pointer of the body.
    Body(String),
}

/// Text with references to keys of the secret: `Bearer {{token}}`.
///
/// `{{KEY}}` is the value of that key of the secret. `{{token}}` is the provider's own credential: the value of its `secretKey`
/// (or of the first of its type's keys that the secret has), also where the secret has a key `token` of its own, which it
/// stands for only if there is none of those.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(pub Vec<Piece>);

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Copied as it stands.
    Literal(String),
    /// The value of this key of the secret.
    Key(String),
}

/// Why a text is not a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `{{` without `}}`.
    #[error("`{{{{` is never closed by `}}}}`")]
    Unclosed,
    /// The text between the braces is no key name.
    #[error("a key between braces is made of letters, digits, `.`, `_` and `-`")]
    Key,
    /// It refers to no key, so nothing of the secret would be sent.
    #[error("the template names no key, write for example `{{{{token}}}}`")]
    NoKey,
}

impl Template {
    /// Parses a template; at least one key must be referred to.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once("{{") {
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal.to_owned()));
            }
            let (key, tail) = after.split_once("}}").ok_or(TemplateError::Unclosed)?;
            let key = key.trim();
            if key.is_empty()
                || !key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
            {
                return Err(TemplateError::Key);
            }
            pieces.push(Piece::Key(key.to_owned()));
            rest = tail;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(rest.to_owned()));
        }
        if pieces.iter().any(|piece| matches!(piece, Piece::Key(_))) {
            Ok(Self(pieces))
        } else {
            Err(TemplateError::NoKey)
        }
    }

    /// The keys that it refers to, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Key(key) => Some(key.as_str()),
            Piece::Literal(_) => None,
        })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Literal(text) => f.write_str(text),
            Piece::Key(key) => write!(f, "{{{{{key}}}}}"),
        })
    }
}
