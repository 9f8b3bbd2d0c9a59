//! Renders templates into bytes that are wiped, and checks what a surface can carry.
//!
//! Every buffer is made large enough first: a buffer that grows leaves an unwiped copy behind.

use bytes::Bytes;
use control::catalog::{Fields, Piece, Template};
use control::secret::Secret;
use http::HeaderValue;
use zeroize::Zeroizing;

use super::encode::GROWTH;
use crate::schemes::{ArmFault, BuildError, Echo, SHORTEST_VALUE, Values};

/// The longest rendered value: what a request head can hold.
const LONGEST_VALUE: usize = 64 * 1024;

/// What a surface can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alphabet {
    /// Visible ASCII and space: a header's value.
    Header,
    /// Cookie octets (RFC 6265).
    Cookie,
    /// Any UTF-8 text without control characters; it is encoded before it is sent.
    Text,
    /// As `Text`, without a colon: the user of Basic credentials.
    User,
}

impl Alphabet {
    fn holds(self, value: &[u8]) -> bool {
        match self {
            Self::Header => value.iter().all(|b| matches!(b, 0x20..=0x7e)),
            Self::Cookie => value.iter().all(|&b| super::cookies::is_octet(b)),
            Self::Text => std::str::from_utf8(value).is_ok_and(|text| !text.chars().any(char::is_control)),
            Self::User => Self::Text.holds(value) && !value.contains(&b':'),
        }
    }
}

/// How a key's value is written between the literals.
pub(crate) type Encode = fn(&[u8], &mut Vec<u8>);

/// Writes the value as it stands.
pub(crate) fn plain_into(value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(value);
}

/// Renders a template; each key's value is checked and then encoded, literals are copied.
pub(crate) fn render(
    template: &Template,
    values: &Values<'_>,
    alphabet: Alphabet,
    encode: Encode,
) -> Result<Zeroizing<Vec<u8>>, ArmFault> {
    let mut room = 0_usize;
    for piece in &template.0 {
        room += match piece {
            Piece::Literal(text) => text.len(),
            Piece::Key(key) => values.of(key)?.len().saturating_mul(GROWTH),
        };
    }
    if room > LONGEST_VALUE * GROWTH {
        return Err(ArmFault::Long);
    }
    let mut out = Zeroizing::new(Vec::with_capacity(room));
    for piece in &template.0 {
        match piece {
            Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Key(key) => encode(checked(key, values.of(key)?, alphabet)?, &mut out),
        }
    }
    debug_assert!(out.len() <= room, "a buffer that grows leaves an unwiped copy");
    if out.len() > LONGEST_VALUE { Err(ArmFault::Long) } else { Ok(out) }
}

fn checked<'a>(key: &str, value: &'a Secret, alphabet: Alphabet) -> Result<&'a [u8], ArmFault> {
    // exposed: rendered into a wiped buffer, nothing else sees it
    let bytes = value.expose();
    if bytes.is_empty() {
        return Err(ArmFault::Missing { key: key.to_owned() });
    }
    let framed = bytes.first() == Some(&b' ') || bytes.last() == Some(&b' ');
    if framed || !alphabet.holds(bytes) {
        return Err(ArmFault::Character { key: key.to_owned() });
    }
    Ok(bytes)
}

/// The values of a template's keys, as answers are searched for them.
pub(crate) fn echoes(template: &Template, values: &Values<'_>) -> Result<Vec<Echo>, ArmFault> {
    template.keys().map(|key| echo(key, values)).collect()
}

fn echo(key: &str, values: &Values<'_>) -> Result<Echo, ArmFault> {
    // exposed: copied into a wiped buffer for the scanner of answers
    let bytes = values.of(key)?.expose();
    if bytes.len() < SHORTEST_VALUE {
        return Err(ArmFault::Short { key: key.to_owned() });
    }
    Ok(Echo { value: Zeroizing::new(bytes.to_vec()), public_prefix: 0, basic_users: Vec::new() })
}

/// The field as a template. A scalar may hold `{{key}}` too; without any it is a literal.
pub(crate) fn field(fields: &Fields, name: &'static str) -> Result<Option<Template>, BuildError> {
    if let Some(template) = fields.template(name) {
        return Ok(Some(template.clone()));
    }
    let Some(text) = fields.text(name) else { return Ok(None) };
    if !text.contains("{{") {
        return Ok(Some(literal(text)));
    }
    let why = "is not a template: write for example `{{token}}`";
    Template::parse(text).map(Some).map_err(|_| BuildError::Invalid { field: name, why })
}

/// A template without any key.
pub(crate) fn literal(text: &str) -> Template {
    Template(if text.is_empty() { Vec::new() } else { vec![Piece::Literal(text.to_owned())] })
}

/// `prefix` and then the provider's own value.
pub(crate) fn prefixed(prefix: &str) -> Template {
    let mut template = literal(prefix);
    template.0.push(Piece::Key("token".to_owned()));
    template
}

/// A header value over wiped bytes that shows nothing in Debug and is never indexed by HPACK.
pub(crate) fn sensitive(value: Zeroizing<Vec<u8>>) -> Result<HeaderValue, ArmFault> {
    let fault = |_| ArmFault::Character { key: "token".to_owned() };
    let mut value = HeaderValue::from_maybe_shared(wiped(value)).map_err(fault)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Shared bytes that are wiped with their last owner.
pub(crate) fn wiped(value: Zeroizing<Vec<u8>>) -> Bytes {
    Bytes::from_owner(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schemes::conformance::opened;

    fn rendered(template: &str, value: &str, alphabet: Alphabet) -> Result<Vec<u8>, ArmFault> {
        let (opened, keys) = (opened(&[("token", value)]), ["token".to_owned()]);
        let values = Values::new(&opened, &keys);
        render(&Template::parse(template).unwrap(), &values, alphabet, plain_into).map(|out| out.to_vec())
    }

    #[test]
    fn refuses_what_the_surface_cannot_carry() {
        let character = || Err(ArmFault::Character { key: "token".to_owned() });
        for (alphabet, value) in [
            (Alphabet::Header, " a"),
            (Alphabet::Header, "a "),
            (Alphabet::Header, "a\tb"),
            (Alphabet::Header, "\u{e4}"),
            (Alphabet::Cookie, "a b"),
            (Alphabet::Cookie, "a;b"),
            (Alphabet::Text, "a\nb"),
            (Alphabet::User, "a:b"),
            (Alphabet::User, "a\0"),
        ] {
            assert_eq!(rendered("{{token}}", value, alphabet), character(), "{alphabet:?} {value:?}");
        }
        assert_eq!(
            rendered("{{token}}", "", Alphabet::Text),
            Err(ArmFault::Missing { key: "token".to_owned() })
        );
        assert_eq!(rendered("<{{token}}>", "a b~", Alphabet::Header).unwrap(), b"<a b~>");
        assert_eq!(rendered("{{token}}", "\u{e4}:", Alphabet::Text).unwrap(), "\u{e4}:".as_bytes());
    }

    #[test]
    fn the_longest_value_has_64_kib() {
        let longest = "a".repeat(65_536);
        assert_eq!(rendered("{{token}}", &longest, Alphabet::Header).unwrap().len(), 65_536);
        for (template, value) in [("b{{token}}", longest.clone()), ("{{token}}", longest.repeat(4))] {
            assert_eq!(rendered(template, &value, Alphabet::Header), Err(ArmFault::Long));
        }
    }
}
