//! Edits of a query string that leave every other parameter byte for byte as it was, in its order.
//!
//! `&` and `;` both separate (some servers split at either). Names are compared decoded, without case and with `.` and
//! space read as `_`, because servers exist that do each of these; so no second spelling of an injected name survives.

use super::encode::form_decoded;

/// One piece of a query: the separator before it and its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter<'a> {
    /// `&` or `;`; none before the first.
    pub separator: Option<u8>,
    /// The whole piece, `name=value`.
    pub text: &'a str,
}

impl<'a> Parameter<'a> {
    /// The part before the first `=`.
    pub fn name(&self) -> &'a str {
        self.text.split_once('=').map_or(self.text, |(name, _)| name)
    }

    /// The part after the first `=`.
    pub fn value(&self) -> &'a str {
        self.text.split_once('=').map_or("", |(_, value)| value)
    }

    /// Whether a server could read the name as this one.
    pub fn is_named(&self, name: &str) -> bool {
        same_name(self.name().as_bytes(), name)
    }
}

/// The pieces of a query, empty ones included.
pub fn parameters(query: &str) -> impl Iterator<Item = Parameter<'_>> {
    let mut rest = Some(query);
    let mut separator = None;
    std::iter::from_fn(move || {
        let text = rest?;
        let found =
            text.bytes().position(|b| b == b'&' || b == b';').and_then(|at| text.split_at_checked(at));
        let Some((head, tail)) = found else {
            rest = None;
            return Some(Parameter { separator, text });
        };
        let piece = Parameter { separator, text: head };
        separator = tail.bytes().next();
        rest = tail.get(1..);
        Some(piece)
    })
}

/// Writes the query without the parameters of this name, and then `name=value` (both encoded already).
///
/// The caller reserves room for the query, the name, the value and two bytes.
pub fn set_into(query: &str, name: &str, encoded_name: &[u8], encoded_value: &[u8], out: &mut Vec<u8>) {
    let mut first = true;
    for parameter in parameters(query).filter(|parameter| !query.is_empty() && !parameter.is_named(name)) {
        if !first {
            out.extend(parameter.separator);
        }
        out.extend_from_slice(parameter.text.as_bytes());
        first = false;
    }
    if !first {
        out.push(b'&');
    }
    out.extend_from_slice(encoded_name);
    out.push(b'=');
    out.extend_from_slice(encoded_value);
}

/// A parameter that has to go stands beside a `;`. Policy splits at `&` alone: with the parameter gone, what followed its `;`
/// would be a parameter that policy took for a part of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a parameter that does not go upstream stands beside a semicolon")]
pub struct BesideSemicolon;

/// The query without the parameters of these names; `None` where it has none of them.
///
/// # Errors
/// When whoever splits at `&` alone would read other parameters afterwards than before.
pub fn without(query: &str, names: &[&str]) -> Result<Option<String>, BesideSemicolon> {
    let is_kept = |parameter: &Parameter<'_>| !names.iter().any(|name| parameter.is_named(name));
    if parameters(query).all(|parameter| is_kept(&parameter)) {
        return Ok(None);
    }
    let is_torn =
        |piece: &str| piece.contains(';') && parameters(piece).any(|parameter| !is_kept(&parameter));
    if query.split('&').any(is_torn) {
        return Err(BesideSemicolon);
    }
    let mut out = String::with_capacity(query.len());
    for (index, parameter) in parameters(query).filter(is_kept).enumerate() {
        out.extend(parameter.separator.filter(|_| index > 0).map(char::from));
        out.push_str(parameter.text);
    }
    Ok(Some(out))
}

fn same_name(raw: &[u8], name: &str) -> bool {
    let decoded = form_decoded(raw);
    let text = decoded.trim_ascii_start();
    let fold = |b: u8| match b {
        b'.' | b' ' => b'_',
        other => other.to_ascii_lowercase(),
    };
    text.len() == name.len() && text.iter().copied().map(fold).eq(name.bytes().map(fold))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(query: &str, name: &str, value: &str) -> String {
        let mut out = Vec::new();
        set_into(query, name, name.as_bytes(), value.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn removes_every_spelling_of_the_name_that_some_server_takes_for_it() {
        for own in [
            "api_key",
            "API_KEY",
            "api%5fkey",
            "api.key",
            "api+key",
            "%61pi_key",
            "+api_key",
            "api%20key",
            "%20api_key",
        ] {
            assert_eq!(set(&format!("{own}=own&a=b"), "api_key", "V"), "a=b&api_key=V", "{own}");
            assert_eq!(set(&format!("a=b;{own}=own"), "api_key", "V"), "a=b&api_key=V", "{own}");
            assert_eq!(set(own, "api_key", "V"), "api_key=V", "{own}");
        }
        for other in ["apikey", "api_key2", "xapi_key", "api%255fkey", "api_key%00"] {
            assert_eq!(set(&format!("{other}=c"), "api_key", "V"), format!("{other}=c&api_key=V"));
        }
    }

    #[test]
    fn leaves_odd_queries_as_they_are() {
        for query in ["a", "a=b=c", "&a", "a&", "a&&b;;c", "=x", "%zz=%", "&"] {
            assert_eq!(set(query, "k", "V"), format!("{query}&k=V"));
        }
        assert_eq!(set("", "k", "V"), "k=V");
    }

    #[test]
    fn name_and_value_part_at_the_first_equals_sign() {
        let read = |query| parameters(query).map(|p| (p.name(), p.value())).collect::<Vec<_>>();
        assert_eq!(read("a=b=c;d&=e&f="), [("a", "b=c"), ("d", ""), ("", "e"), ("f", "")]);
    }

    #[test]
    fn takes_parameters_out_in_every_spelling() {
        let without = |query| without(query, &["token", "key"]).unwrap();
        assert_eq!(without("a=b&c"), None);
        assert_eq!(without("token=x&a=b&KEY=y&&tok%65n&c").as_deref(), Some("a=b&&c"));
        assert_eq!(without("key").as_deref(), Some(""));
        assert_eq!(without("token=x&a;b").as_deref(), Some("a;b"));
    }

    #[test]
    fn refuses_to_take_out_what_stands_beside_a_semicolon() {
        for query in
            ["token=x;channel=C", "channel=C;token=x", "a&b;token&c", ";token", "token;", "a;TOK%45N;b"]
        {
            assert_eq!(without(query, &["token"]), Err(BesideSemicolon), "{query}");
        }
    }

    proptest! {
        #[test]
        fn all_other_parameters_stay_byte_for_byte_in_order(query in "([ak%_.=+]{0,6}[&;]){0,6}[ak%_.=+]{0,6}", name in "[ak_]{1,2}") {
            let after = set(&query, &name, "V");
            let kept: Vec<_> = parameters(&query).filter(|p| !query.is_empty() && !p.is_named(&name)).map(|p| p.text).collect();
            let mut now: Vec<_> = parameters(&after).map(|p| p.text).collect();
            let ours = format!("{name}=V");
            prop_assert_eq!(now.pop(), Some(ours.as_str()));
            prop_assert_eq!(now, kept);
            prop_assert_eq!(parameters(&after).filter(|p| p.is_named(&name)).count(), 1);
        }

        #[test]
        fn whoever_splits_at_ampersands_reads_the_rest_as_before(query in "([ak=]{0,3}[&;]){0,6}[ak=]{0,3}") {
            if let Ok(Some(after)) = without(&query, &["k"]) {
                let split = |text: &str| text.split('&').map(str::to_owned).collect::<Vec<_>>();
                let mut kept = split(&query);
                kept.retain(|piece| piece.contains(';') || !parameters(piece).any(|p| p.is_named("k")));
                prop_assert_eq!(if kept.is_empty() { vec![String::new()] } else { kept }, split(&after));
            }
        }

        #[test]
        fn pieces_and_separators_make_the_query_again(query in "\\PC{0,40}") {
            let mut whole = String::new();
            for piece in parameters(&query) {
                whole.extend(piece.separator.map(char::from));
                whole.push_str(piece.text);
            }
            prop_assert_eq!(whole, query);
        }
    }
}
