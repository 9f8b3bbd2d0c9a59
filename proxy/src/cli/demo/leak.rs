//! Looks for a secret in what an agent could read, in every form that SECURITY.md promises to scrub.
//!
//! The other way round from the scrubber: nothing is encoded here. The bytes are decoded in every way in which they could be
//! read, so that a form which the scrubber forgot is still found.

/// The form in which `secret` is in `bytes`, if it is.
pub(super) fn find(bytes: &[u8], secret: &[u8]) -> Option<&'static str> {
    if contains(bytes, secret) {
        return Some("plainly");
    }
    let readable = unescape(bytes);
    // Twice: a JSON line may quote a percent-encoded query.
    let again = unescape(&readable);
    if contains(&readable, secret) || contains(&again, secret) {
        return Some("escaped (percent, JSON or HTML)");
    }
    for text in [bytes, &readable] {
        if runs(text, |byte| byte.is_ascii_hexdigit()).any(|run| in_hex(run, secret)) {
            return Some("in hex");
        }
        if runs(text, |byte| sextet(byte).is_some()).any(|run| in_base64(run, secret)) {
            return Some("in base64");
        }
    }
    None
}

fn contains(bytes: &[u8], secret: &[u8]) -> bool {
    memchr::memmem::find(bytes, secret).is_some()
}

/// One reading of percent codes, JSON escapes and numeric HTML entities, in any mixture.
fn unescape(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        let read = match first {
            b'%' => number(tail.get(..2), 16).map(|value| (value, 2)),
            b'\\' => json(tail),
            b'&' => html(tail),
            _ => None,
        };
        let Some((value, used)) = read else {
            out.push(*first);
            rest = tail;
            continue;
        };
        out.extend_from_slice(value.encode_utf8(&mut [0; 4]).as_bytes());
        rest = tail.get(used..).unwrap_or_default();
    }
    out
}

fn json(tail: &[u8]) -> Option<(char, usize)> {
    match tail.first()? {
        b'u' => number(tail.get(1..5), 16).map(|value| (value, 5)),
        other @ (b'"' | b'\\' | b'/') => Some((char::from(*other), 1)),
        _ => None,
    }
}

fn html(tail: &[u8]) -> Option<(char, usize)> {
    let end = tail.iter().take(12).position(|byte| *byte == b';')?;
    let value = match tail.get(..end)? {
        [b'#', b'x' | b'X', digits @ ..] => number(Some(digits), 16)?,
        [b'#', digits @ ..] => number(Some(digits), 10)?,
        b"amp" => '&',
        b"lt" => '<',
        b"gt" => '>',
        b"quot" => '"',
        b"apos" => '\'',
        _ => return None,
    };
    Some((value, end + 1))
}

fn number(digits: Option<&[u8]>, radix: u32) -> Option<char> {
    let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    char::from_u32(u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()?)
}

/// Runs of at least eight bytes of a class.
fn runs(bytes: &[u8], class: fn(u8) -> bool) -> impl Iterator<Item = &[u8]> {
    bytes.split(move |byte| !class(*byte)).filter(|run| run.len() >= 8)
}

fn in_hex(run: &[u8], secret: &[u8]) -> bool {
    let value = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
    (0..2).filter_map(|skip| run.get(skip..)).any(|run| {
        let decoded: Vec<u8> = run
            .chunks_exact(2)
            .filter_map(|pair| Some(value(*pair.first()?) << 4 | value(*pair.last()?)))
            .collect();
        contains(&decoded, secret)
    })
}

/// Whether a run, read at any of its alignments, holds the secret but for what an encoder mixes with its neighbours.
fn in_base64(run: &[u8], secret: &[u8]) -> bool {
    let inner = secret.get(2..secret.len().saturating_sub(2)).unwrap_or(secret);
    (0..4).filter_map(|skip| run.get(skip..)).any(|run| contains(&from_base64(run), inner))
}

fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

fn from_base64(run: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(run.len() * 3 / 4);
    for four in run.chunks(4) {
        let bits = four.iter().fold(0_u32, |bits, byte| bits << 6 | u32::from(sextet(*byte).unwrap_or(0)));
        let [_, bytes @ ..] = (bits << (6 * (4 - four.len()))).to_be_bytes();
        out.extend(bytes.iter().take(four.len() * 6 / 8));
    }
    out
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    use super::*;

    const SECRET: &str = "demo_live_0123\"456789&abcdef";

    fn found(text: impl AsRef<[u8]>) -> Option<&'static str> {
        find(&[b"before ", text.as_ref(), b" after"].concat(), SECRET.as_bytes())
    }

    #[test]
    fn finds_nothing_in_masked_and_unrelated_text() {
        for text in [
            "",
            "Bearer ****************",
            "demo_live_",
            "ZGVtbyBub3RoaW5nIGhlcmUgYXQgYWxs",
            "64656d6f5f6c697665",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    #[test]
    fn finds_every_form_that_is_scrubbed() {
        let each = |form: fn(u8) -> String| SECRET.bytes().map(form).collect::<String>();
        let forms = [
            SECRET.to_owned(),
            each(|b| format!("%{b:02X}")),
            each(|b| format!("\\u{b:04x}")),
            each(|b| format!("&#{b};")),
            each(|b| format!("&#x{b:x};")),
            SECRET.replace('"', "\\\"").replace('&', "&amp;"),
            each(|b| format!("{b:02x}")),
            each(|b| format!("{b:02X}")),
            format!("a{}", each(|b| format!("{b:02x}"))),
            STANDARD.encode(SECRET),
            STANDARD.encode(format!("u{SECRET}")),
            STANDARD.encode(format!("ur{SECRET}")),
            URL_SAFE_NO_PAD.encode(format!("user:{SECRET}")),
        ];
        for form in forms {
            assert!(found(&form).is_some(), "{form}");
        }
    }
}
