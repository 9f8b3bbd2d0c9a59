//! GraphQL's requests: whether all that one asks for is queries, which change nothing.
//!
//! Refuses to say so of whatever two readers could take differently: a body with more members than these three, or one of
//! them twice; a document with another definition than queries and fragments, with a block string (readers of before 2018
//! have none), or with a character beyond ASCII outside of its strings.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Ask, Told};

/// The action of a request that only asks.
pub(super) const QUERY: &str = "graphql:query";
/// The action of one that may change something.
pub(super) const MUTATION: &str = "graphql:mutation";

/// Whether the request's body was read, and holds nothing but queries. Parameters in its URL could say something else.
pub(super) fn only_asks(ask: &Ask<'_>) -> bool {
    let Some(Told::Json(body)) = ask.body else { return false };
    ask.query.is_none_or(str::is_empty) && is_query(body)
}

/// What servers take; anything else (`extensions`, a stored query's id, a batch) is theirs to interpret.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Request<'a> {
    #[serde(borrow)]
    query: Cow<'a, str>,
    #[serde(rename = "operationName")]
    _operation_name: Option<IgnoredAny>,
    #[serde(rename = "variables")]
    _variables: Option<IgnoredAny>,
}

fn is_query(body: &str) -> bool {
    // A list would be read as the members in their order.
    body.trim_ascii_start().starts_with('{')
        && serde_json::from_str::<Request<'_>>(body).is_ok_and(|request| holds_queries(&request.query))
}

/// Where in a document a token stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// A definition begins.
    Top,
    /// Behind `query` or `fragment`, at this depth of parentheses and what stands in them.
    Head(u32),
    /// In the braces of a definition, at this depth.
    Body(u32),
}

/// Whether a document's definitions are queries and fragments, one query at least.
fn holds_queries(document: &str) -> bool {
    let (mut at, mut queries) = (At::Top, 0_u32);
    let mut rest = document.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        at = match (first, at) {
            (b' ' | b'\t' | b'\n' | b'\r' | b',', _) => at,
            (b'#', _) => match comment(after) {
                Some(after) => {
                    rest = after;
                    at
                }
                None => return false,
            },
            (b'"', At::Head(_) | At::Body(_)) => match string(after) {
                Some(after) => {
                    rest = after;
                    at
                }
                None => return false,
            },
            (b'{', At::Top | At::Head(0)) => {
                queries += u32::from(at == At::Top);
                At::Body(0)
            }
            (b'(' | b'[' | b'{', At::Head(depth)) => At::Head(depth + 1),
            (b')' | b']' | b'}', At::Head(depth @ 1..)) => At::Head(depth - 1),
            (b'(' | b'[' | b'{', At::Body(depth)) => At::Body(depth + 1),
            (b'}', At::Body(0)) => At::Top,
            (b')' | b']' | b'}', At::Body(depth @ 1..)) => At::Body(depth - 1),
            (b'a'..=b'z' | b'A'..=b'Z' | b'_', At::Top) => {
                let end = after.iter().position(|b| !b.is_ascii_alphanumeric() && *b != b'_');
                let (name, behind) = after.split_at(end.unwrap_or(after.len()));
                rest = behind;
                match (first, name) {
                    (b'q', b"uery") => queries += 1,
                    (b'f', b"ragment") => {}
                    _ => return false,
                }
                At::Head(0)
            }
            (0x21..=0x7e, At::Head(_) | At::Body(_)) if !b"()[]{}\"".contains(&first) => at,
            _ => return false,
        };
    }
    at == At::Top && queries > 0
}

/// What stands behind a comment: at the end of its line, which older readers see in other characters as well.
fn comment(text: &[u8]) -> Option<&[u8]> {
    let end = text.iter().position(|b| matches!(b, b'\n' | b'\r')).unwrap_or(text.len());
    let (comment, rest) = text.split_at(end);
    comment.iter().all(|b| (0x20..0x7f).contains(b) || *b == b'\t').then_some(rest)
}

/// What stands behind a string that has begun; none for a block string, and for one that does not end in its line.
fn string(text: &[u8]) -> Option<&[u8]> {
    if text.starts_with(b"\"\"") {
        return None;
    }
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        rest = match first {
            b'"' => return Some(after),
            b'\\' => after.split_first().filter(|(escaped, _)| **escaped >= b' ')?.1,
            0..=0x1f | 0x7f => return None,
            _ => after,
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(document: &str) -> String {
        serde_json::json!({"query": document, "variables": {"a": 1}}).to_string()
    }

    #[test]
    fn what_could_change_something_or_be_read_in_two_ways_is_no_query() {
        for document in [
            "mutation { a }",
            "mutation{a}",
            "query { a } mutation { b }",
            "{ a } mutation B { b }",
            "# query { a }\nmutation { b }",
            "# a\rmutation { b }",
            "# a\u{2028}mutation { b }\n{ a }",
            "subscription { a }",
            "fragment A on B { c }",
            "type A { b: C }",
            "extend type A { b: C }",
            "queryx { a }",
            "query",
            "query { a",
            "query { a } }",
            "query { a ) }",
            "query A($b: C = \"\"\"}\"\"\") { a }",
            "{ a(b: \"\"\"\n} mutation { c } {\"\"\") }",
            "{ a(b: \"\n\") }",
            "{ a(b: \"x) }",
            "{ a(b: \"\\",
            "\u{feff}{ a }",
            "{ \u{e4} }",
            "{ a }\0",
            "\"a\" { b }",
            "",
            " ",
        ] {
            assert!(!is_query(&body(document)), "{document:?}");
        }
    }

    #[test]
    fn queries_are_told_whatever_stands_in_their_strings_and_comments() {
        for document in [
            "{ a }",
            "{a{b c}}",
            "query { a }",
            "query A($b: [C!]! = [1, 2], $d: E = {f: {g: 1}}) @h(i: {j: \"}\"}) { a(b: $b) { ...K ... on L { m } } }\nfragment K on N { o }",
            "# mutation { b }\n{ a }",
            "{ a(b: \"mutation { c } \\\" } \u{e4}\") }",
            "{ a(b: \"\", c: -1.5e3) @d }",
            "fragment A on B { c }\nquery { ...A },,",
            "{ a } query B { c }",
        ] {
            assert!(is_query(&body(document)), "{document:?}");
        }
        assert!(is_query(r#" {"operationName": null, "query": "{ a }"}"#));
    }

    #[test]
    fn a_body_that_says_more_or_twice_is_no_query() {
        for text in [
            r#"{"query": "{ a }", "query": "mutation { b }"}"#,
            r#"{"query": "{ a }", "_json": [{"query": "mutation { b }"}]}"#,
            r#"{"query": "{ a }", "extensions": {"persistedQuery": {"sha256Hash": "0"}}}"#,
            r#"{"query": "{ a }", "Query": "mutation { b }"}"#,
            r#"[{"query": "{ a }"}]"#,
            r#"["{ a }", null, null]"#,
            r#"{"id": "1"}"#,
            r#"{"query": ["{ a }"]}"#,
            r#"{"query": "{ a }"} {"query": "mutation { b }"}"#,
            "{ a }",
            "",
        ] {
            assert!(!is_query(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in r#"[\PC{}()"\\#a-z \n]{0,60}"#) {
            holds_queries(&text);
            is_query(&text);
        }

        #[test]
        fn a_mutation_beside_anything_is_never_a_query(
            before in r#"(\{ ?a ?\}|query A \{ b\(c: "[a-z}{]*"\) \}|# [a-z {}"]*\n|[ ,\n])*"#,
            after in r#"(\{ ?a ?\}|[ ,\n])*"#,
        ) {
            let document = format!("{before}mutation {{ x }}{after}");
            prop_assert!(!holds_queries(&document), "{}", document);
        }
    }
}
