//! Finding a secret in bytes, in every form that SECURITY.md promises to scrub.
//!
//! Deliberately the other way round from the product: nothing is encoded here. The bytes are decoded in every way that they could be
//! read, and the plain secret is looked for in what comes out, so that a form which the scrubber forgot to generate is still found.

/// A secret that no other journey uses: 40 visible characters, high entropy, easily told in a log.
pub fn fresh() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).unwrap();
    format!("canary-{}z", hex::encode(bytes))
}

/// The form in which `secret` occurs in `haystack`, if it does.
pub fn search(haystack: &[u8], secret: &str) -> Option<&'static str> {
    Reading::of(haystack).holds(secret)
}

/// Bytes in every way that they can be read, decoded once for all secrets that are looked for.
pub struct Reading<'a> {
    raw: &'a [u8],
    unescaped: [Vec<u8>; 2],
    hex: Vec<Vec<u8>>,
    base64: Vec<Vec<u8>>,
}

impl<'a> Reading<'a> {
    pub fn of(raw: &'a [u8]) -> Self {
        let readable = unescape(raw);
        // Twice, since a JSON log line may quote a percent-encoded query.
        let reread = unescape(&readable);
        let (mut hex, mut base64) = (Vec::new(), Vec::new());
        for text in [raw, &readable] {
            for run in runs(text, is_hex) {
                hex.extend((0..2).map(|skip| from_hex(&run[skip.min(run.len())..])));
            }
            for run in runs(text, is_base64) {
                base64.extend((0..4.min(run.len())).map(|skip| from_base64(&run[skip..])));
            }
        }
        Self { raw, unescaped: [readable, reread], hex, base64 }
    }

    /// The form in which the secret is there.
    pub fn holds(&self, secret: &str) -> Option<&'static str> {
        let secret = secret.as_bytes();
        // The two characters at each edge are mixed with their neighbours by an encoder.
        let inner = &secret[2..secret.len() - 2];
        if contains(self.raw, secret) {
            Some("raw")
        } else if self.unescaped.iter().any(|text| contains(text, secret)) {
            Some("escaped (percent, JSON or HTML)")
        } else if self.hex.iter().any(|text| contains(text, secret)) {
            Some("hex")
        } else if self.base64.iter().any(|text| contains(text, inner)) {
            Some("base64")
        } else {
            None
        }
    }
}

/// The length of the longest head of `secret` that occurs plainly in `haystack`.
pub fn longest_head(haystack: &[u8], secret: &str) -> usize {
    (1..=secret.len()).rev().find(|&n| contains(haystack, &secret.as_bytes()[..n])).unwrap_or(0)
}

pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}

/// One reading of percent codes, JSON escapes and HTML entities, in any mixture.
fn unescape(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        let read = match first {
            b'%' => percent(tail),
            b'\\' => json(tail),
            b'&' => html(tail),
            _ => None,
        };
        match read {
            Some((value, used)) => {
                let mut utf8 = [0; 4];
                out.extend_from_slice(value.encode_utf8(&mut utf8).as_bytes());
                rest = &tail[used..];
            }
            None => {
                out.push(first);
                rest = tail;
            }
        }
    }
    out
}

fn percent(tail: &[u8]) -> Option<(char, usize)> {
    let value = number(tail.get(..2)?, 16)?;
    Some((value, 2))
}

fn json(tail: &[u8]) -> Option<(char, usize)> {
    match tail.first()? {
        b'u' => Some((number(tail.get(1..5)?, 16)?, 5)),
        b'n' => Some(('\n', 1)),
        b't' => Some(('\t', 1)),
        b'r' => Some(('\r', 1)),
        &c @ (b'"' | b'\\' | b'/') => Some((c.into(), 1)),
        _ => None,
    }
}

fn html(tail: &[u8]) -> Option<(char, usize)> {
    const NAMED: [(&[u8], char); 7] = [
        (b"amp", '&'),
        (b"lt", '<'),
        (b"gt", '>'),
        (b"quot", '"'),
        (b"apos", '\''),
        (b"sol", '/'),
        (b"equals", '='),
    ];
    let end = tail.iter().take(12).position(|&c| c == b';')?;
    let (name, used) = (&tail[..end], end + 1);
    let value = match name {
        [b'#', b'x' | b'X', digits @ ..] => number(digits, 16)?,
        [b'#', digits @ ..] => number(digits, 10)?,
        _ => NAMED.iter().find(|(known, _)| *known == name)?.1,
    };
    Some((value, used))
}

fn number(digits: &[u8], radix: u32) -> Option<char> {
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    char::from_u32(u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()?)
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

fn runs(bytes: &[u8], class: fn(u8) -> bool) -> impl Iterator<Item = &[u8]> {
    bytes.split(move |&byte| !class(byte)).filter(|run| run.len() >= 8)
}

fn from_hex(run: &[u8]) -> Vec<u8> {
    hex::decode(&run[..run.len() & !1]).unwrap_or_default()
}

fn from_base64(run: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(run.len() * 3 / 4);
    let (mut bits, mut held) = (0u32, 0);
    for &c in run {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' | b'-' => 62,
            _ => 63,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    const SECRET: &str = "s3cr3t/with+odd=\"chars\"&<more>";

    fn found(text: impl AsRef<[u8]>) -> bool {
        let mut hay = b"before ".to_vec();
        hay.extend_from_slice(text.as_ref());
        hay.extend_from_slice(b" after");
        search(&hay, SECRET).is_some()
    }

    #[test]
    fn finds_nothing_where_there_is_nothing() {
        assert!(!found("s3cr3t/with+odd"));
        assert!(!found("**********"));
        assert!(!found(STANDARD.encode("something else altogether, which is long")));
    }

    #[test]
    fn finds_the_plain_form() {
        assert!(found(SECRET));
    }

    #[test]
    fn finds_percent_json_html_and_mixtures() {
        let percent: String = SECRET.bytes().map(|b| format!("%{b:02x}")).collect();
        let upper: String = SECRET.bytes().map(|b| format!("%{b:02X}")).collect();
        let json: String = SECRET.chars().map(|c| format!("\\u{:04x}", c as u32)).collect();
        let html: String = SECRET.chars().map(|c| format!("&#{};", c as u32)).collect();
        let html_hex: String = SECRET.chars().map(|c| format!("&#x{:x};", c as u32)).collect();
        let mixed =
            SECRET.replace('c', "%63").replace('"', "\\\"").replace('&', "&amp;").replace('<', "&#0060;");
        for form in [percent, upper, json, html, html_hex, mixed] {
            assert!(found(&form), "{form}");
        }
    }

    #[test]
    fn finds_base64_at_every_alignment() {
        for prefix in ["", "u", "ur", "user:"] {
            assert!(found(STANDARD.encode(format!("{prefix}{SECRET}"))));
            assert!(found(URL_SAFE_NO_PAD.encode(format!("{prefix}{SECRET} and more"))));
        }
    }

    #[test]
    fn finds_hex_in_both_cases_and_at_odd_offsets() {
        assert!(found(hex::encode(SECRET)));
        assert!(found(hex::encode_upper(SECRET)));
        assert!(found(format!("a{}", hex::encode(SECRET))));
    }

    #[test]
    fn longest_head_counts_plain_bytes() {
        assert_eq!(longest_head(b"xx s3cr3t/w yy", SECRET), 8);
        assert_eq!(longest_head(b"nothing", "zzz"), 0);
    }
}
