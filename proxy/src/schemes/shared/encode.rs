//! Percent-encoding of what is placed in a path or a query (RFC 3986), decoding for comparison, and hex.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

/// Query values: everything but unreserved characters.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Path segments: `pchar` stays, so that a Telegram token keeps its colon.
const SEGMENT: &AsciiSet = &QUERY
    .remove(b':')
    .remove(b'@')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=');

/// The most bytes that one byte becomes.
pub(crate) const GROWTH: usize = 3;

/// Appends a query value. The caller reserves [`GROWTH`] bytes for each, so that no copy is left in a grown buffer.
pub(crate) fn query_into(value: &[u8], out: &mut Vec<u8>) {
    for piece in percent_encode(value, QUERY) {
        out.extend_from_slice(piece.as_bytes());
    }
}

/// Appends a path segment or a part of one.
pub(crate) fn segment_into(value: &[u8], out: &mut Vec<u8>) {
    for piece in percent_encode(value, SEGMENT) {
        out.extend_from_slice(piece.as_bytes());
    }
}

/// Decodes percent codes; text without any is borrowed.
pub(crate) fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    percent_decode(text).into()
}

/// Decodes a query's name or value, where `+` is a space.
pub(crate) fn form_decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'+') {
        return decoded(text);
    }
    let spaced: Vec<u8> = text.iter().map(|&b| if b == b'+' { b' ' } else { b }).collect();
    Cow::Owned(decoded(&spaced).into_owned())
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| DIGITS.get(usize::from(half)).copied().map_or('0', char::from);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
